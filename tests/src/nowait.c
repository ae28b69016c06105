// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O that must not wait is all or nothing.
 *
 * nowait fresh ROUNDS FILE      io_uring reads and writes with memory of which one page has been touched: whole counts
 * nowait split SECONDS FILE     RWF_NOWAIT on a file of many extents, then on one of a single extent, while others ask for
 *                               its map: EAGAIN, and nothing was done, or the whole count
 */
#include "async.h"
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>

#define LEN ((size_t)256 << 10)
#define BLOCK ((size_t)4096)
#define SPLIT ((size_t)128 << 10)

static volatile bool stop;

static void fresh(unsigned int rounds, const char *path)
{
	unsigned char *want = xalloc(LEN), *buf;
	uint64_t seed = 1, tag;
	struct queue q;
	int fd = xopen(path, O_RDWR | O_CREAT | O_DIRECT);

	pattern_fill(want, LEN, 1, 0);
	pwrite_all(fd, want, LEN, 0);
	queue_init(&q, URING);
	for (unsigned int r = 0; r < rounds; r++) {
		bool write = r % 4 == 3;
		struct iovec iov;
		size_t page = r % 2 ? rnd(&seed) % (LEN / PAGE) : 0;
		long res;

		buf = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buf == MAP_FAILED)
			die("mmap");
		buf[page * PAGE] = 1;
		iov.iov_base = buf;
		iov.iov_len = LEN;
		queue_submit(&q, write, fd, &iov, 1, 0, 0);
		res = queue_wait(&q, &tag);
		if (res != (long)LEN) {
			printf("%s with page %zu touched: %ld\n", write ? "write" : "read", page, res);
			exit(1);
		}
		if (write) {
			memset(want, 0, LEN);
			want[page * PAGE] = 1;
		}
		if (first_diff(buf, want, LEN) != LEN) {
			printf("read other data\n");
			exit(1);
		}
		munmap(buf, LEN);
		if (write) {
			pattern_fill(want, LEN, r, 0);
			pwrite_all(fd, want, LEN, 0);
		}
	}
	printf("whole counts\n");
}

static unsigned int extents(int fd)
{
	struct fiemap map = { .fm_length = ~0ull };

	if (ioctl(fd, FS_IOC_FIEMAP, &map))
		die("FIEMAP");
	return map.fm_mapped_extents;
}

static void *asker(void *path)
{
	int fd = xopen(path, O_RDONLY);
	struct statx stx;

	while (!stop) {
		statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &stx);
		lseek(fd, 0, SEEK_HOLE);
	}
	close(fd);
	return NULL;
}

static void compare(const char *what, const unsigned char *buf, const unsigned char *want)
{
	size_t at = first_diff(buf, want, SPLIT);

	if (at == SPLIT)
		return;
	printf("%s: byte %zu is another\n", what, at);
	exit(1);
}

static void split_one(const char *path, unsigned int seconds, const char *what, bool must)
{
	unsigned char *want = xalloc(SPLIT), *buf = xalloc(SPLIT), *fill = xalloc(SPLIT);
	unsigned int again = 0, done = 0, touched = 0;
	int fd = xopen(path, O_RDWR | O_DIRECT), fd2 = xopen(path, O_RDONLY);
	struct iovec iov = { buf, SPLIT };
	pthread_t t[2];
	uint64_t until;

	if (pread_all(fd, want, SPLIT, 0) != SPLIT)
		die("read");
	memset(fill, 0xa5, SPLIT);
	stop = false;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&t[i], NULL, asker, (void *)path))
			die("pthread_create");
	until = now_ns() + seconds * 1000000000ull;
	for (unsigned int r = 0; now_ns() < until; r++) {
		struct stat before, after;
		ssize_t n;

		if (r % 8 == 7 && pread(fd2, buf, BLOCK, 0) != (ssize_t)BLOCK)
			die("read");
		if (fstat(fd, &before))
			die("fstat");
		pattern_fill(buf, SPLIT, r + 100, 0);
		n = pwritev2(fd, &iov, 1, 0, RWF_NOWAIT);
		if (n == (ssize_t)SPLIT) {
			memcpy(want, buf, SPLIT);
			done++;
		} else if (n >= 0 || errno != EAGAIN) {
			printf("%s: write: %zd %s\n", what, n, n < 0 ? errname(errno) : "");
			exit(1);
		} else {
			if (fstat(fd, &after))
				die("fstat");
			if (before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
				touched++;
			again++;
		}
		memcpy(buf, fill, SPLIT);
		if (pread_all(fd, buf, SPLIT, 0) != SPLIT)
			die("read");
		compare("after a write", buf, want);
		memcpy(buf, fill, SPLIT);
		n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);
		if (n == (ssize_t)SPLIT) {
			compare("read", buf, want);
			done++;
		} else if (n >= 0 || errno != EAGAIN) {
			printf("%s: read: %zd %s\n", what, n, n < 0 ? errname(errno) : "");
			exit(1);
		} else {
			compare("after a read that was refused", buf, fill);
			again++;
		}
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	fprintf(stderr, "%s: %u extents, %u done, %u refused, %u of them with the time changed\n", what, extents(fd),
		done, again, touched);
	/* The map may be taken between the last look at it and the first extent; not every time. */
	if (touched > again / 10)
		printf("%s: refused writes change the time\n", what);
	if (must && !done)
		printf("%s: nothing was done\n", what);
	close(fd);
	close(fd2);
}

static void split(unsigned int seconds, const char *path)
{
	unsigned char *buf = xalloc(SPLIT);
	int fd = xopen(path, O_RDWR | O_CREAT | O_DIRECT);

	/* From the end, so that no block has the next one of the file behind it. */
	pattern_fill(buf, SPLIT, 1, 0);
	for (size_t at = SPLIT; at > 0; at -= BLOCK)
		pwrite_all(fd, buf + at - BLOCK, BLOCK, at - BLOCK);
	if (extents(fd) < 16)
		die("only %u extents", extents(fd));
	split_one(path, seconds, "many extents", false);
	if (ftruncate(fd, 0))
		die("truncate");
	pwrite_all(fd, buf, SPLIT, 0);
	if (extents(fd) != 1)
		die("%u extents", extents(fd));
	split_one(path, seconds, "one extent", true);
	printf("all or nothing\n");
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	if (!strcmp(argv[1], "fresh"))
		fresh((unsigned int)parse_size(argv[2]), argv[3]);
	else if (!strcmp(argv[1], "split"))
		split((unsigned int)parse_size(argv[2]), argv[3]);
	else
		return 2;
	return 0;
}
