// SPDX-License-Identifier: GPL-2.0
/*
 * What is done to a file while a direct write that makes it longer, or gives it blocks, is under way, on a device that takes
 * its time.
 *
 *	inflight fallocate|truncate|tail|nospace|nowait|windows|append DIRECTORY
 *
 * fallocate	in front of where the write will end: the file is as long as the write has made it
 * truncate	to the middle of what is written: what was behind reads as zeroes when the file is made longer again
 * tail		a second write, to a part of the same block, whose buffer ends before it should: nothing of the first is zeroed
 * nospace	there is none for the write: an error, and nothing of what there is has gone
 * nowait	RWF_NOWAIT of 8 MiB, with and without a page of it in the cache: all or nothing
 * windows	17 MiB, more than are done at once: the count is that of all
 * append	from a mapping of a page that others take away, beside others who append: the whole count, or an error
 *
 * Prints "ok", or what is wrong.
 */
#include "util.h"
#include "async.h"
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

#define LENGTH ((size_t)1 << 20)

static const char *dir;
static struct queue q;
static atomic_bool stop;
static _Atomic unsigned int nothing;

static int make(const char *name, int flags)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return xopen(path, O_RDWR | O_CREAT | O_DIRECT | flags);
}

static off_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	return st.st_size;
}

static unsigned char *filled(size_t len, int byte)
{
	unsigned char *b = xalloc(len);

	memset(b, byte, len);
	return b;
}

static void submit(int fd, void *b, size_t len, off_t pos)
{
	queue_submit(&q, true, fd, &(struct iovec){ b, len }, 1, (uint64_t)pos, 0);
	queue_flush(&q);
}

static void expect(const char *what, long long have, long long want)
{
	if (have == want)
		return;
	printf("%s: %lld, not %lld\n", what, have, want);
	exit(1);
}

static long reap(void)
{
	uint64_t tag;

	return queue_wait(&q, &tag);
}

static void begin(int fd, unsigned char *b)
{
	if (pwrite(fd, b, PAGE, 0) != (ssize_t)PAGE)
		die("write");
	submit(fd, b, LENGTH - PAGE, PAGE);
	/* If it were longer by now there would be nothing to see. */
	if (size_of(fd) != (off_t)PAGE)
		die("the write is complete too early");
}

static void with_fallocate(void)
{
	int fd = make("fallocate", O_TRUNC);

	begin(fd, filled(LENGTH, 0xaa));
	if (fallocate(fd, 0, 0, 2 * PAGE))
		die("fallocate");
	expect("written", reap(), LENGTH - PAGE);
	expect("size", size_of(fd), LENGTH);
}

static void with_truncate(void)
{
	int fd = make("truncate", O_TRUNC);
	unsigned char *b = filled(LENGTH, 0xaa);
	off_t to = LENGTH / 2 + 100;

	begin(fd, b);
	if (ftruncate(fd, to))
		die("ftruncate");
	expect("written", reap(), LENGTH - PAGE);
	expect("size", size_of(fd), to);
	if (ftruncate(fd, LENGTH))
		die("ftruncate");
	for (int buffered = 0; buffered < 2; buffered++) {
		if (buffered)
			fcntl(fd, F_SETFL, 0);
		expect("read", pread(fd, b, LENGTH, 0), LENGTH);
		for (off_t i = to; i < (off_t)LENGTH; i++)
			expect("a byte that was cut off", b[i], 0);
	}
}

static void with_tail(void)
{
	int fd = make("tail", O_TRUNC);
	unsigned char *b = filled(PAGE, 0xaa), *hole;

	if (ftruncate(fd, 16 * PAGE))
		die("ftruncate");
	hole = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hole == MAP_FAILED)
		die("mmap");
	memset(hole, 0xbb, PAGE);
	munmap(hole + PAGE, PAGE);
	submit(fd, b, PAGE, 0);
	expect("the second write", pwrite(fd, hole + 512, 2 * PAGE, 0), PAGE - 512);
	expect("the first write", reap(), PAGE);
	expect("read", pread(fd, b, PAGE, 0), PAGE);
	for (size_t i = PAGE - 512; i < PAGE; i++)
		expect("a byte of the first write", b[i], 0xaa);
}

static void with_nospace(void)
{
	struct statvfs before, after;
	int fill = make("fill", O_TRUNC), fd = make("nospace", O_TRUNC);
	size_t len;

	if (statvfs(dir, &before) || fallocate(fill, 0, 0, (off_t)(before.f_bavail - 512) * 4096) || statvfs(dir, &before))
		die("no way to fill it");
	len = (before.f_bavail + 64) * PAGE;
	submit(fd, filled(len, 0xcc), len, 0);
	expect("written", reap(), -ENOSPC);
	if (statvfs(dir, &after))
		die("statvfs");
	expect("size", size_of(fd), 0);
	expect("free blocks", (long long)after.f_bfree, (long long)before.f_bfree);
	if (ftruncate(fill, 0))
		die("ftruncate");
}

static void with_nowait(void)
{
	int fd = make("nowait", O_TRUNC), buffered = make("nowait", 0);
	size_t len = 8 * LENGTH;
	struct iovec iov = { filled(len, 1), len };
	ssize_t ret;
	char byte;

	fcntl(buffered, F_SETFL, 0);
	if (fallocate(fd, 0, 0, (off_t)len) || pwrite(fd, iov.iov_base, len, 0) != (ssize_t)len || fsync(fd))
		die("write");
	ret = pwritev2(fd, &iov, 1, 0, RWF_NOWAIT);
	if (ret < 0 && errno != EAGAIN)
		die("pwritev2");
	if (ret >= 0)
		expect("written", ret, (long long)len);
	posix_fadvise(buffered, 0, 0, POSIX_FADV_RANDOM);
	expect("read", pread(buffered, &byte, 1, (off_t)(6 * LENGTH)), 1);
	expect("written with a page in the cache", pwritev2(fd, &iov, 1, 0, RWF_NOWAIT), -1);
	expect("errno", errno, EAGAIN);
}

static void with_windows(void)
{
	int fd = make("windows", O_TRUNC);
	size_t len = 17 * LENGTH;
	unsigned char *b = filled(len, 5);

	for (int i = 0; i < 2; i++) {
		submit(fd, b, len, 0);
		expect("written", reap(), (long long)len);
	}
}

static void *appends(void *buffer)
{
	int fd = make("append", O_APPEND);

	while (!stop) {
		ssize_t ret = write(fd, buffer, PAGE);

		if (ret != (ssize_t)PAGE)
			nothing++;
	}
	return NULL;
}

static void *punches(void *arg)
{
	int fd = *(int *)arg;

	while (!stop)
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE))
			die("fallocate");
	return NULL;
}

static void with_append(void)
{
	int other = make("other", O_TRUNC), fd = make("append", O_TRUNC);
	unsigned char *m;
	pthread_t t[4];

	if (pwrite(other, filled(PAGE, 1), PAGE, 0) != (ssize_t)PAGE)
		die("write");
	m = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, other, 0);
	if (m == MAP_FAILED)
		die("mmap");
	if (pthread_create(&t[0], NULL, appends, m) || pthread_create(&t[1], NULL, appends, filled(PAGE, 2)) ||
	    pthread_create(&t[2], NULL, appends, filled(PAGE, 3)) || pthread_create(&t[3], NULL, punches, &other))
		die("pthread_create");
	sleep(3);
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	expect("appends that were not whole", nothing, 0);
	expect("size in the middle of a page", size_of(fd) % (off_t)PAGE, 0);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{ "fallocate", with_fallocate }, { "truncate", with_truncate }, { "tail", with_tail },
		{ "nospace", with_nospace }, { "nowait", with_nowait }, { "windows", with_windows }, { "append", with_append },
	};

	if (argc != 3)
		die("usage: inflight fallocate|truncate|tail|nospace|nowait|windows|append DIRECTORY");
	dir = argv[2];
	queue_init(&q, AIO);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		cases[i].run();
		printf("ok\n");
		return 0;
	}
	die("no case '%s'", argv[1]);
}
