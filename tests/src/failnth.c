// SPDX-License-Identifier: GPL-2.0
/*
 * One direct I/O again and again, with the first, second, third... place where the kernel can inject a failure failing,
 * until there is none left (/proc/PID/fail-nth).
 *
 *	failnth anon|aio|disjoint|overlap|read|extend|hole FILE
 *
 * Whatever fails, the result must be an error a user can understand or a count, and the next operation, undisturbed, must
 * work. "failnth: ok" and, on stderr, the number of places.
 */
#include "async.h"

static int armfd;

static void arm(unsigned int n)
{
	char s[16];
	int len = snprintf(s, sizeof(s), "%u", n);

	if (pwrite(armfd, s, (size_t)len, 0) != len)
		die("fail-nth");
}

/* Whether the failure asked for did happen. */
static bool fired(void)
{
	char s[16] = "";

	if (pread(armfd, s, sizeof(s) - 1, 0) <= 0)
		die("fail-nth");
	return atoi(s) == 0;
}

int main(int argc, char **argv)
{
	size_t len = 16 * PAGE, to = 1 << 20, from = 2 << 20;
	bool overlap, is_read, extend, hole, anon, aio;
	static struct queue q;
	unsigned int n, results = 0;
	unsigned char *anonbuf, *m;
	char seen[8][32];
	struct stat st;
	int fd, dfd;

	errno = 0;
	if (argc != 3)
		die("usage: failnth SHAPE FILE");
	overlap = !strcmp(argv[1], "overlap");
	is_read = !strcmp(argv[1], "read");
	extend = !strcmp(argv[1], "extend");
	hole = !strcmp(argv[1], "hole");
	aio = !strcmp(argv[1], "aio");
	anon = aio || !strcmp(argv[1], "anon");
	fd = xopen(argv[2], O_RDWR);
	dfd = xopen(argv[2], O_RDWR | O_DIRECT);
	armfd = xopen("/proc/thread-self/fail-nth", O_RDWR);
	anonbuf = xalloc(len);
	memset(anonbuf, 0x33, len);
	if (aio)
		queue_init(&q, AIO);
	if (fstat(fd, &st))
		die("fstat");
	if (overlap)
		from = to;

	for (n = 1; n < 2000; n++) {
		ssize_t ret;
		int err;

		if (hole) {
			to = (size_t)st.st_size + (n * 2 + 2) * len;
			if (ftruncate(fd, (off_t)(to + 2 * len)))
				die("ftruncate");
		}
		if (extend) {
			to = (size_t)st.st_size;
			if (ftruncate(fd, st.st_size))
				die("ftruncate");
		}
		m = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)from);
		if (m == MAP_FAILED)
			die("mmap");
		posix_fadvise(fd, (off_t)from, (off_t)len, POSIX_FADV_DONTNEED);
		arm(n);
		if (aio) {
			struct iovec iov = { anonbuf, len };
			uint64_t tag;

			queue_submit(&q, true, dfd, &iov, 1, to, 0);
			ret = queue_wait(&q, &tag);
			errno = ret < 0 ? (int)-ret : 0;
		} else {
			ret = is_read ? pread(dfd, m, len, (off_t)to) :
				pwrite(dfd, anon ? anonbuf : m, len, (off_t)to);
		}
		err = ret < 0 ? errno : 0;
		if (!fired())
			break;
		arm(0);
		if (ret < 0) {
			const char *name = errname(err);
			unsigned int i;

			for (i = 0; i < results && strcmp(seen[i], name); i++)
				;
			if (i == results && results < 8)
				snprintf(seen[results++], sizeof(seen[0]), "%s", name);
			if (err != ENOMEM && err != EIO && err != EFAULT && err != EAGAIN && err != ENOSPC) {
				printf("failure %u: %s\n", n, name);
				return 1;
			}
		} else if ((size_t)ret > len) {
			printf("failure %u: %zd\n", n, ret);
			return 1;
		}
		munmap(m, len);

		/* Undisturbed, all is as ever. */
		ret = pwrite(dfd, anonbuf, len, (off_t)to);
		if (ret != (ssize_t)len) {
			printf("after failure %u: %zd %s\n", n, ret, ret < 0 ? errname(errno) : "");
			return 1;
		}
	}
	arm(0);
	fprintf(stderr, "%s: %u places;", argv[1], n - 1);
	for (unsigned int i = 0; i < results; i++)
		fprintf(stderr, " %s", seen[i]);
	fprintf(stderr, "\n");
	if (n < 2) {
		printf("only %u places where a failure could be injected\n", n - 1);
		return 1;
	}
	printf("failnth: ok\n");
	return 0;
}
