// SPDX-License-Identifier: GPL-2.0
/*
 * Do direct writes to disjoint ranges of one file run at the same time?
 *
 *	parallel [-t MILLISECONDS] [-p PAGES] WRITERS FILE [INFLIGHT]
 *
 * WRITERS processes write to ranges of their own, inside the file. Prints writes per second, and with
 * INFLIGHT, the device's count of requests (/sys/block/DEVICE/inflight), how many writes it had at most at once. That the calls overlap would
 * say nothing: those who wait for a lock are in a call as well.
 */
#include "util.h"
#include <stdatomic.h>
#include <sys/wait.h>

#define SLOTS 16u

static struct shared {
	_Atomic uint64_t count;
	_Atomic unsigned int ready;
	atomic_bool go, stop;
} *sh;

/* The writes that the device has now. */
static unsigned int inflight(int fd)
{
	char s[64] = "";
	unsigned int reads, writes;

	if (pread(fd, s, sizeof(s) - 1, 0) <= 0 || sscanf(s, "%u %u", &reads, &writes) != 2)
		die("inflight");
	return writes;
}

int main(int argc, char **argv)
{
	unsigned int ms = 1000, pages = 1, writers;
	uint64_t t0, t1;
	unsigned int most = 0;
	int opt, fd, ifd, bad = 0;
	size_t len, span;

	while ((opt = getopt(argc, argv, "t:p:")) != -1) {
		switch (opt) {
		case 't': ms = parse_size(optarg); break;
		case 'p': pages = parse_size(optarg); break;
		default: return 2;
		}
	}
	errno = 0;
	if (optind + 2 != argc && optind + 3 != argc)
		die("usage: parallel [options] WRITERS FILE [INFLIGHT]");
	writers = parse_size(argv[optind]);
	ifd = argv[optind + 2] ? xopen(argv[optind + 2], O_RDONLY) : -1;
	len = pages * PAGE;
	span = len * SLOTS;
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	fd = xopen(argv[optind + 1], O_RDWR | O_CREAT);
	for (unsigned int i = 0; i < writers; i++) {
		void *b = xalloc(span);

		pattern_fill(b, span, 1, i * span);
		pwrite_all(fd, b, span, i * span);
		free(b);
	}
	if (fsync(fd))
		die("fsync");
	close(fd);
	for (unsigned int i = 0; i < writers; i++) {
		if (xfork())
			continue;
		fd = xopen(argv[optind + 1], O_RDWR | O_DIRECT);
		unsigned char *b = xalloc(len);

		sh->ready++;
		while (!sh->go)
			usleep(1000);
		for (unsigned int n = 0; !sh->stop; n++) {
			pattern_fill(b, len, n + 2, i);
			if (pwrite(fd, b, len, (off_t)(i * span + n % SLOTS * len)) != (ssize_t)len)
				die("direct write");
			sh->count++;
		}
		_exit(0);
	}
	while (sh->ready < writers)
		usleep(1000);
	t0 = now_ns();
	sh->go = true;
	do {
		unsigned int now = ifd < 0 ? 0 : inflight(ifd);

		most = now > most ? now : most;
		usleep(1000);
		t1 = now_ns();
	} while (t1 - t0 < ms * 1000000ull);
	printf("%llu writes/s", (unsigned long long)(sh->count * 1000000000ull / (t1 - t0)));
	if (ifd >= 0)
		printf(", at most %u at once", most);
	printf("\n");
	sh->stop = true;
	for (unsigned int i = 0; i < writers; i++) {
		int status;

		if (wait(&status) < 0 || status)
			bad = 1;
	}
	return bad;
}
