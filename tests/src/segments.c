// SPDX-License-Identifier: GPL-2.0
/*
 * Direct writes of two segments, the second of which is not aligned: EINVAL, whoever waits, and nothing is written.
 *
 *	segments FILE
 */
#include "async.h"

int main(int argc, char **argv)
{
	static const enum engine engines[] = { SYNC, AIO, URING };
	unsigned char *buf = xalloc(4 * PAGE), *was = xalloc(2 * PAGE), *is = xalloc(2 * PAGE);
	struct iovec iov[2];
	struct queue q;
	uint64_t tag;
	long res;
	int fd;

	errno = 0;
	if (argc != 2)
		die("usage: segments FILE");
	fd = xopen(argv[1], O_RDWR | O_CREAT | O_DIRECT);
	pattern_fill(was, 2 * PAGE, 1, 0);
	pattern_fill(buf, 4 * PAGE, 2, 0);
	iov[0] = (struct iovec){ buf, PAGE };
	iov[1] = (struct iovec){ buf + 2 * PAGE + 1, PAGE };
	for (int i = 0; i < 4; i++) {
		pwrite_all(fd, was, 2 * PAGE, 0);
		queue_init(&q, engines[i % 3]);
		q.flags = i == 3 ? RWF_NOWAIT : 0;
		queue_submit(&q, true, fd, iov, 2, 0, 0);
		res = queue_wait(&q, &tag);
		if (res != -EINVAL) {
			printf("engine %d, flags %x: %ld\n", i % 3, (unsigned int)q.flags, res);
			return 1;
		}
		if (pread_all(fd, is, 2 * PAGE, 0) != 2 * PAGE || memcmp(is, was, 2 * PAGE)) {
			printf("engine %d, flags %x: something was written\n", i % 3, (unsigned int)q.flags);
			return 1;
		}
	}
	printf("segments: ok\n");
	return 0;
}
