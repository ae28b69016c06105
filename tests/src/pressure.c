// SPDX-License-Identifier: GPL-2.0
/*
 * Direct writes from a mapping of the same file whose pages memory pressure takes away.
 *
 *	pressure [-t SECONDS] [-P] PAGES FILE HOG CGROUP
 *
 * Moves to CGROUP, a memory cgroup that has room for less than HOG, a file that one process loads through a mapping without
 * pause. Another loads PAGES pages of FILE, waits until mincore(2) sees one of them gone, and only then writes them directly
 * to another place of FILE. -P a private mapping. "pressure: ok" if that came about at least five times, the data was right
 * each time, and nothing stood still for 20 s (times TIME_FACTOR). The size of both files is a multiple of 8 MiB.
 */
#include "util.h"
#include <signal.h>
#include <sys/wait.h>

static void hog(const char *path)
{
	int fd = xopen(path, O_RDONLY);
	volatile unsigned char sink;
	unsigned char *m;
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		die("mmap");
	for (;;)
		for (size_t i = 0; i < (size_t)st.st_size; i += PAGE)
			sink = m[i];
	(void)sink;
}

static int end(pid_t pid, int status)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return status;
}

static unsigned int gone(unsigned char *m, size_t pages)
{
	static unsigned char resident[1024];
	unsigned int n = 0;

	if (mincore(m, pages * PAGE, resident))
		die("mincore");
	for (size_t i = 0; i < pages; i++)
		n += !(resident[i] & 1);
	return n;
}

int main(int argc, char **argv)
{
	unsigned char *buf = xalloc(16 * PAGE), *want = xalloc(16 * PAGE), *m;
	unsigned long long rounds = 0, evicted = 0, after = 0;
	unsigned int seconds = 2, patience = 20;
	const char *tf = getenv("TIME_FACTOR");
	volatile unsigned char sink;
	uint64_t deadline, state = 1;
	bool private = false;
	size_t pages, len, half;
	struct stat st;
	char procs[4096];
	int opt, fd, dfd;
	pid_t pid;

	while ((opt = getopt(argc, argv, "t:P")) != -1) {
		switch (opt) {
		case 't': seconds = (unsigned int)parse_size(optarg); break;
		case 'P': private = true; break;
		default: return 2;
		}
	}
	errno = 0;
	if (optind + 4 != argc)
		die("usage: pressure [options] PAGES FILE HOG CGROUP");
	pages = parse_size(argv[optind]);
	len = pages * PAGE;
	if (!pages || pages > 1024)
		die("1 to 1024 pages");
	if (tf && atoi(tf) > 0)
		patience *= (unsigned int)atoi(tf);
	fd = xopen(argv[optind + 1], O_RDWR);
	dfd = xopen(argv[optind + 1], O_RDWR | O_DIRECT);
	if (fstat(fd, &st))
		die("fstat");
	half = (size_t)st.st_size / 2;
	/* What the programs themselves need they have by now, at the expense of others. */
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", argv[optind + 3]);
	opt = xopen(procs, O_WRONLY);
	if (write(opt, "0", 1) != 1)
		die("%s", procs);
	close(opt);
	pid = xfork();
	if (!pid)
		hog(argv[optind + 2]);

	deadline = now_ns() + seconds * 1000000000ull;
	while (now_ns() < deadline || rounds < 5) {
		/* The first half is a source, the second a target. */
		size_t slots = half / len, from = rnd(&state) % slots * len, to = half + rnd(&state) % slots * len;
		uint64_t t0 = now_ns();
		unsigned int missing;
		ssize_t n;

		m = mmap(NULL, len, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, fd, (off_t)from);
		if (m == MAP_FAILED)
			die("mmap");
		for (size_t i = 0; i < len; i += PAGE)
			sink = m[i];
		while (!(missing = gone(m, pages))) {
			if (now_ns() - t0 > patience * 1000000000ull) {
				printf("none of %zu pages was evicted within %u s, after %llu rounds\n", pages, patience,
				       rounds);
				return end(pid, 1);
			}
			usleep(1000);
		}
		n = pwrite(dfd, m, len, (off_t)to);
		if (n != (ssize_t)len) {
			printf("direct write: %zd %s\n", n, n < 0 ? errname(errno) : "");
			return end(pid, 1);
		}
		after += gone(m, pages);
		munmap(m, len);
		for (size_t i = 0; i < len; i += 16 * PAGE) {
			size_t part = len - i < 16 * PAGE ? len - i : 16 * PAGE, at;

			pattern_fill(want, part, 1, from + i);
			if (pread_all(rounds & 1 ? fd : dfd, buf, part, to + i) != part)
				die("short read");
			at = first_diff(buf, want, part);
			if (at < part) {
				printf("wrong data at byte %zu of %zu\n", i + at, len);
				return end(pid, 1);
			}
		}
		evicted += missing;
		rounds++;
	}
	(void)sink;
	fprintf(stderr, "%zu pages, %s: %llu writes, %llu pages gone before, %llu after\n", pages,
		private ? "private" : "shared", rounds, evicted, after);
	printf("pressure: ok\n");
	return end(pid, 0);
}
