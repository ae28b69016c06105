// SPDX-License-Identifier: GPL-2.0
/*
 * Does one kind of access starve the other? The worst wait of the few while the many do not pause.
 *
 *	starve [-n MANY] [-t SECONDS] [-l LIMIT-MS] [-1] [-s] readers|writers FILE
 *
 * readers: MANY processes fault F in, evict it, fault again, without end, or with -s store to it; one process makes direct
 * writes of one page.
 * writers: MANY processes make direct writes without end; one evicts a page and loads it, or with -s stores to it. Prints the number, the
 * median and the worst latency of the one, on stderr. Before that, for comparison, alone, and with the many on another file,
 * FILE.other: what a busy machine costs without any lock in common. "starve: ok" if the worst is under the limit, or
 * at most four times that of the comparison.
 *
 * -1 makes no comparison and knows no limit. The many stop after SECONDS, so that even whoever is starved ends; and on stdout
 * is "N done, worst U us".
 */
#include "util.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define PAGES 256u
#define SAMPLES 1000000u

static const char *path;
static char other[4096];
static bool once, store;
static unsigned int done;
static struct shared {
	atomic_bool stop;
	_Atomic uint64_t many, deadline;
	uint32_t us[SAMPLES];
} *sh;

static bool over(void)
{
	return sh->stop || now_ns() >= sh->deadline;
}

static void fault_forever(unsigned int me)
{
	int fd = xopen(path, O_RDWR);
	volatile unsigned char sink;
	unsigned char *m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (m == MAP_FAILED)
		die("mmap");
	madvise(m, PAGES * PAGE, MADV_RANDOM);
	for (unsigned int i = me * 31; !over(); i++) {
		/* A window of its own for each, so that a page is evicted by who faults it next. */
		size_t at = i % PAGES * PAGE;

		if (store)
			*(volatile unsigned char *)(m + at) = 1;
		else
			sink = m[at];
		madvise(m + at, PAGE, MADV_DONTNEED);
		posix_fadvise(fd, (off_t)at, PAGE, POSIX_FADV_DONTNEED);
		sh->many++;
	}
	(void)sink;
	_exit(0);
}

static void write_forever(unsigned int me, unsigned int many)
{
	int fd = xopen(path, O_RDWR | O_DIRECT);
	unsigned char *b = xalloc(PAGE);

	memset(b, (int)me, PAGE);
	for (unsigned int i = 0; !over(); i++) {
		if (pwrite(fd, b, PAGE, (off_t)((i * many + me) % PAGES * PAGE)) != (ssize_t)PAGE)
			die("direct write");
		sh->many++;
	}
	_exit(0);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The few: returns the worst latency in microseconds. */
static uint64_t measure(bool readers, unsigned int seconds, const char *title)
{
	uint64_t deadline = now_ns() + seconds * 1000000000ull, t0;
	int fd = xopen(path, readers ? O_RDWR | O_DIRECT : O_RDWR);
	unsigned char *b = xalloc(PAGE), *m = NULL;
	volatile unsigned char sink;
	uint64_t many = sh->many;
	unsigned int n = 0;

	memset(b, 0x77, PAGE);
	if (!readers) {
		m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (m == MAP_FAILED)
			die("mmap");
		madvise(m, PAGES * PAGE, MADV_RANDOM);
	}
	for (; n < SAMPLES && (now_ns() < deadline || n < (once ? 1 : 10)); n++) {
		size_t at = n * 7u % PAGES * PAGE;

		if (!readers) {
			madvise(m + at, PAGE, MADV_DONTNEED);
			posix_fadvise(fd, (off_t)at, PAGE, POSIX_FADV_DONTNEED);
		}
		t0 = now_ns();
		if (readers) {
			if (pwrite(fd, b, PAGE, (off_t)at) != (ssize_t)PAGE)
				die("direct write");
		} else if (store) {
			*(volatile unsigned char *)(m + at) = 1;
		} else {
			sink = m[at];
		}
		sh->us[n] = (uint32_t)((now_ns() - t0) / 1000);
	}
	(void)sink;
	close(fd);
	qsort(sh->us, n, sizeof(sh->us[0]), by_value);
	fprintf(stderr, "%-34s %7u done, median %6u us, 99%% %6u us, worst %7u us; the many did %llu\n", title, n,
		sh->us[n / 2], sh->us[n * 99ull / 100], sh->us[n - 1],
		(unsigned long long)(sh->many - many));
	done = n;
	return sh->us[n - 1];
}

static void make_file(const char *name)
{
	unsigned char *b = xalloc(PAGES * PAGE);
	int fd = xopen(name, O_RDWR | O_CREAT | O_TRUNC);

	pattern_fill(b, PAGES * PAGE, 1, 0);
	pwrite_all(fd, b, PAGES * PAGE, 0);
	if (fsync(fd))
		die("fsync");
	close(fd);
	free(b);
}

/* The one, on `path`, while MANY others work on `victim`. */
static uint64_t among(bool readers, unsigned int many, const char *victim, unsigned int seconds, const char *title)
{
	const char *mine = path;
	uint64_t worst;

	sh->stop = false;
	sh->deadline = once ? now_ns() + seconds * 1000000000ull : UINT64_MAX;
	for (unsigned int i = 0; i < many; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			path = victim;
			if (readers)
				fault_forever(i);
			else
				write_forever(i, many);
		}
	}
	path = mine;
	worst = measure(readers, seconds, title);
	sh->stop = true;
	for (unsigned int i = 0; i < many; i++) {
		int status;

		if (wait(&status) < 0 || status) {
			printf("one of the many failed\n");
			exit(1);
		}
	}
	return worst;
}

int main(int argc, char **argv)
{
	unsigned int many = 4, seconds = 3;
	uint64_t limit = 1000, base, worst;
	bool readers;
	int opt;

	while ((opt = getopt(argc, argv, "n:t:l:1s")) != -1) {
		switch (opt) {
		case 'n': many = parse_size(optarg); break;
		case 't': seconds = parse_size(optarg); break;
		case 'l': limit = parse_size(optarg); break;
		case '1': once = true; break;
		case 's': store = true; break;
		default: return 2;
		}
	}
	if (optind + 2 != argc)
		die("usage: starve [options] readers|writers FILE");
	readers = !strcmp(argv[optind], "readers");
	if (!readers && strcmp(argv[optind], "writers"))
		die("'%s' is neither readers nor writers", argv[optind]);
	path = argv[optind + 1];
	snprintf(other, sizeof(other), "%s.other", path);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	make_file(path);
	if (once) {
		worst = among(readers, many, path, seconds, "among them");
		printf("%u done, worst %llu us\n", done, (unsigned long long)worst);
		return 0;
	}
	make_file(other);
	measure(readers, 1, readers ? "1 direct writer, alone" : "1 faulting reader, alone");
	base = among(readers, many, other, seconds,
		     readers ? "1 writer, readers of another file" : "1 reader, writers of another file");
	worst = among(readers, many, path, seconds,
		      readers ? "1 writer, readers of the same" : "1 reader, writers of the same");
	if (worst > limit * 1000 && worst > 4 * base) {
		printf("starved: worst wait %llu us, limit %llu ms; %llu us where the many were elsewhere\n",
		       (unsigned long long)worst, (unsigned long long)limit, (unsigned long long)base);
		return 1;
	}
	printf("starve: ok\n");
	return 0;
}
