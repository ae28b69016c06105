// SPDX-License-Identifier: GPL-2.0
/*
 * A file that is written directly without pause, and a task that is killed while it wants a page of it.
 *
 * killed [-n ROUNDS] [-l MILLISECONDS] KIND FILE OTHER
 *
 * KIND says what the task does, over and over. With the page that is written: store to it through a mapping; load it through
 * one; read it; readahead of it and what follows; write it to OTHER. With a page that nobody else writes, and that is write-protected each
 * time: dirty, store to it; copy to it from OTHER with read(2); pipe, to it from a pipe. The task has to be gone so many milliseconds after
 * the signal.
 */
#include "util.h"
#include <signal.h>
#include <sys/wait.h>

#define WRITERS 4
#define PAGES 16
#define CLEAN (12 * PAGE)	/* where the page is that nobody writes directly */

static const char *path, *other;

static void die_with_parent(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		die("prctl");
}

/* Whether EFAULT may be because a page of the mapping went again after it was brought in, and is no error. */
static bool elusive;

/* The writers begin one after the other, so that there is always one at it. */
static void writer(unsigned int me)
{
	int fd = xopen(path, O_RDWR | O_DIRECT);
	unsigned char *buf = xalloc(PAGE);

	usleep(me * 5000);
	for (unsigned int i = 0;; i++) {
		buf[0] = (unsigned char)i;
		pwrite_all(fd, buf, PAGE, me % 2 * 5 * PAGE);
	}
}

/* Has a fault make `page` present, and not writable. */
static void protect(int fd, volatile unsigned char *page)
{
	if (sync_file_range(fd, CLEAN, PAGE, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
		die("sync_file_range");
	(void)*page;
}

static void victim(const char *kind)
{
	int fd = xopen(path, O_RDWR), ofd = xopen(other, O_RDWR), pipes[2];
	volatile unsigned char *map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unsigned char *buf = xalloc(PAGES * PAGE);
	volatile unsigned char *clean = map + CLEAN;

	if (map == MAP_FAILED || pipe(pipes))
		die("mmap or pipe");
	for (;;) {
		if (!strcmp(kind, "store")) {
			map[100]++;
		} else if (!strcmp(kind, "dirty")) {
			protect(fd, clean);
			clean[100]++;
		} else if (!strcmp(kind, "load")) {
			(void)map[100];
			madvise((void *)map, PAGE, MADV_DONTNEED);
		} else if (!strcmp(kind, "read")) {
			if (pread(fd, buf, PAGE, 0) != (ssize_t)PAGE)
				die("read");
			posix_fadvise(fd, 0, PAGE, POSIX_FADV_DONTNEED);
		} else if (!strcmp(kind, "readahead")) {
			posix_fadvise(fd, 0, PAGES * PAGE, POSIX_FADV_WILLNEED);
			if (pread(fd, buf, PAGES * PAGE, 0) != (ssize_t)(PAGES * PAGE))
				die("read");
			posix_fadvise(fd, 0, PAGES * PAGE, POSIX_FADV_DONTNEED);
		} else if (!strcmp(kind, "copy")) {
			protect(fd, clean);
			if (pread(ofd, (void *)clean, PAGE, 0) != (ssize_t)PAGE)
				die("copy");
		} else if (!strcmp(kind, "pipe")) {
			if (write(pipes[1], buf, 512) != 512)
				die("pipe");
			protect(fd, clean);
			if (read(pipes[0], (void *)clean, 512) != 512)
				die("pipe");
		} else if (!strcmp(kind, "write")) {
			ssize_t ret;

			do
				ret = pwrite(ofd, (void *)map, PAGE, 0);
			while (ret < 0 && errno == EFAULT && elusive);
			if (ret != (ssize_t)PAGE)
				die("write");
		} else {
			errno = 0;
			die("no kind '%s'", kind);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned int rounds = 20, limit = 1000;
	uint64_t seed = 1;
	pid_t writers[WRITERS];
	int c, ret = 0;

	while ((c = getopt(argc, argv, "n:l:e")) != -1) {
		switch (c) {
		case 'n': rounds = (unsigned int)parse_size(optarg); break;
		case 'l': limit = (unsigned int)parse_size(optarg); break;
		case 'e': elusive = true; break;
		default: return 2;
		}
	}
	if (optind != argc - 3)
		return 2;
	path = argv[optind + 1];
	other = argv[optind + 2];
	for (unsigned int i = 0; i < WRITERS; i++) {
		writers[i] = fork();
		if (!writers[i]) {
			die_with_parent();
			writer(i);
		}
	}
	for (unsigned int r = 0; r < rounds && !ret; r++) {
		pid_t pid = fork();
		uint64_t killed;
		int status;

		if (!pid) {
			die_with_parent();
			victim(argv[optind]);
		}
		usleep(50000 + (useconds_t)(rnd(&seed) % 150000));
		if (kill(pid, SIGKILL))
			die("kill");
		killed = now_ns();
		while (waitpid(pid, &status, WNOHANG) == 0) {
			if (now_ns() - killed > limit * 1000000ull) {
				printf("not gone after %u ms\n", limit);
				fflush(stdout);
				ret = 1;
				break;
			}
			usleep(1000);
		}
		if (!ret && !WIFSIGNALED(status)) {
			printf("it ended by itself\n");
			ret = 1;
		}
	}
	for (int i = 0; i < WRITERS; i++) {
		kill(writers[i], SIGKILL);
		waitpid(writers[i], NULL, 0);
	}
	if (!ret)
		printf("gone\n");
	return ret;
}
