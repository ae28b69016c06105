// SPDX-License-Identifier: GPL-2.0
/*
 * One direct I/O again and again, with the first, second, third... place where the kernel can inject a failure into this
 * task failing, until there is none left (/proc/PID/fail-nth).
 *
 *	failnth [-n FIRST] [-b] anon|aio|uring|disjoint|overlap|read|extend|hole FILE
 *
 * FILE has 1 MiB of a pattern (seed 1), or is as an earlier call left it. Whatever fails, the result must be a count or an
 * error that was injected, and of a failed write nothing may be seen beyond its range, and within it only whole
 * sectors of what was there or of what was to be written; an overlapping one (unless -b says that it is done as a buffered
 * write) changes nothing at all, and fails with EFAULT when nothing else does. The next operation, undisturbed, must work.
 *
 * ENOMEM and EIO must have been among the results (not of an overlapping write, which makes no request). "failnth: ok" and, on stderr,
 * the number of places. Exit status 3, and on stdout the number to go on with after a new mount, if an I/O error has
 * made the file system read-only.
 */
#include "async.h"

#define LEN (16 * PAGE)
#define SIZE ((size_t)1 << 20)
#define SECTOR ((size_t)512)

static int armfd, dfd;
static const char *path;

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

/*
 * The file, seen directly, against what it was: equal, but from `to` on `done` bytes of `new`, and behind them, as far as
 * LEN, sectors of either.
 */
static bool check(const unsigned char *was, size_t size, size_t to, const unsigned char *new, size_t done, bool may_differ)
{
	static unsigned char *is;
	int fd = xopen(path, O_RDONLY | O_DIRECT);
	size_t max = size < to + LEN ? to + LEN : size, have;
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	free(is);
	is = xalloc(max + PAGE);
	memset(is, 0, max + PAGE);
	have = pread_all(fd, is, (size_t)st.st_size, 0);
	close(fd);
	if (have != (size_t)st.st_size || (size_t)st.st_size != (to + done > size ? to + done : size)) {
		printf("size %lld, %zu bytes read; it was %zu, and %zu were written at %zu\n", (long long)st.st_size, have,
		       size, done, to);
		return false;
	}
	for (size_t at = 0; at < have; at += SECTOR) {
		bool in = at >= to && at < to + LEN, must = in && at < to + done;
		const unsigned char *n = in ? new + (at - to) : NULL;
		bool old_ok = !must && at < size && !memcmp(is + at, was + at, SECTOR);

		if (old_ok || (in && (must || may_differ) && !memcmp(is + at, n, SECTOR)))
			continue;
		printf("byte %zu of the file is neither what was there nor what was written (%zu at %zu)\n", at, done, to);
		return false;
	}
	return true;
}

/* What is on the device. */
static unsigned char *snapshot(int fd, size_t *size)
{
	unsigned char *data;
	struct stat st;

	if (fsync(fd) || fstat(fd, &st))
		die("fsync");
	*size = (size_t)st.st_size;
	data = xalloc(*size + PAGE);
	if (pread_all(dfd, data, *size, 0) != *size)
		die("short read");
	return data;
}

int main(int argc, char **argv)
{
	static const char *const shapes[] = { "anon", "aio", "uring", "disjoint", "overlap", "read", "extend", "hole" };
	enum { ANON, AIO_, URING_, DISJOINT, OVERLAP, READ, EXTEND, HOLE, SHAPES } shape;
	size_t to = 256 << 10, from = 512 << 10, size;
	unsigned int n = 1, first, injected[4] = {0};
	static const int errors[4] = { ENOMEM, EIO, EFAULT, EAGAIN };
	unsigned char *anonbuf = xalloc(LEN), *was, *src, *m;
	static struct queue q;
	bool buffered = false;
	struct stat st;
	int fd, opt, i;

	while ((opt = getopt(argc, argv, "n:b")) != -1) {
		switch (opt) {
		case 'n': n = (unsigned int)parse_size(optarg); break;
		case 'b': buffered = true; break;
		default: return 2;
		}
	}
	errno = 0;
	if (argc - optind != 2)
		die("usage: failnth [-n FIRST] [-b] SHAPE FILE");
	for (shape = ANON; shape < SHAPES && strcmp(argv[optind], shapes[shape]); shape++)
		;
	if (shape == SHAPES)
		die("no shape '%s'", argv[optind]);
	path = argv[optind + 1];
	fd = xopen(path, O_RDWR);
	dfd = xopen(path, O_RDWR | O_DIRECT);
	armfd = xopen("/proc/thread-self/fail-nth", O_RDWR);
	if (shape == AIO_ || shape == URING_)
		queue_init(&q, shape == AIO_ ? AIO : URING);
	/*
	 * The first half of the buffer is elsewhere, and has to be faulted in before the second is seen to overlap. (A copy
	 * through the cache onto itself would not be what the buffer held before.)
	 */
	if (shape == OVERLAP)
		from = buffered ? to : to - LEN / 2;
	first = n;
	for (;; n++) {
		struct iovec iov = { anonbuf, LEN };
		uint64_t tag;
		ssize_t ret;
		int err;

		if (fstat(fd, &st))
			die("fstat");
		if (shape == HOLE) {
			to = SIZE + LEN;
			if (ftruncate(fd, SIZE) || ftruncate(fd, SIZE + 4 * LEN))
				die("ftruncate");
		}
		if (shape == EXTEND) {
			to = SIZE;
			if (ftruncate(fd, SIZE))
				die("ftruncate");
		}
		was = snapshot(fd, &size);
		m = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)from);
		if (m == MAP_FAILED)
			die("mmap");
		posix_fadvise(fd, (off_t)from, (off_t)LEN, POSIX_FADV_DONTNEED);
		pattern_fill(anonbuf, LEN, n + 100, 0);
		src = shape >= DISJOINT && shape <= OVERLAP ? was + from : anonbuf;

		arm(n);
		if (q.engine != SYNC) {
			queue_submit(&q, true, dfd, &iov, 1, to, 0);
			ret = queue_wait(&q, &tag);
			err = ret < 0 ? (int)-ret : 0;
		} else {
			ret = shape == READ ? pread(dfd, m, LEN, (off_t)to) :
				pwrite(dfd, src == anonbuf ? anonbuf : m, LEN, (off_t)to);
			err = ret < 0 ? errno : 0;
		}
		if (!fired()) {
			arm(0);
			if (shape == OVERLAP && !buffered ? err != EFAULT : ret != (ssize_t)LEN) {
				printf("with nothing failing: %zd %s\n", ret, err ? errname(err) : "");
				return 1;
			}
			break;
		}
		arm(0);
		if (err) {
			for (i = 0; i < 4 && errors[i] != err; i++)
				;
			/* EAGAIN is what the asynchronous interfaces say of their own memory; EFAULT must not stand for anything else. */
			if (i == 4 || (err == EAGAIN && q.engine == SYNC) ||
			    (err == EFAULT && shape < DISJOINT)) {
				printf("failure %u: %s\n", n, errname(err));
				return 1;
			}
			injected[i]++;
		} else if ((size_t)ret > LEN || (shape == OVERLAP && !buffered)) {
			printf("failure %u: %zd\n", n, ret);
			return 1;
		}
		if (shape == READ ? !check(was, size, from, was + to, ret > 0 ? (size_t)ret : 0, true) :
		    !check(was, size, to, src, ret > 0 ? (size_t)ret : 0, shape != OVERLAP || buffered)) {
			printf("after failure %u: %zd %s\n", n, ret, err ? errname(err) : "");
			return 1;
		}
		munmap(m, LEN);
		free(was);
		/* What was lost of a buffered write is said once more, to who has the file open. */
		if (fsync(fd) && err != EIO)
			die("fsync");
		was = snapshot(fd, &size);

		/* Undisturbed, all is as ever. */
		ret = pwrite(dfd, anonbuf, LEN, (off_t)to);
		if (ret < 0 && errno == EROFS && err == EIO) {
			printf("%u\n", n + 1);
			return 3;
		}
		if (ret != (ssize_t)LEN) {
			printf("after failure %u: %zd %s\n", n, ret, ret < 0 ? errname(errno) : "");
			return 1;
		}
		if (!check(was, size, to, anonbuf, LEN, false)) {
			printf("in the write after failure %u\n", n);
			return 1;
		}
		free(was);
	}
	fprintf(stderr, "%s: %u places;", shapes[shape], n - 1);
	for (i = 0; i < 4; i++)
		fprintf(stderr, " %s %u", errname(errors[i]), injected[i]);
	fprintf(stderr, "\n");
	/*
	 * What a ring cannot have at once its worker, whom nothing disturbs, does again. A page fault that fails is an
	 * address that cannot be read, and before an overlap is seen nothing else is tried.
	 */
	if (first == 1 && (shape == OVERLAP ? n <= 10 || (buffered && !injected[1]) :
			   (!injected[0] && shape != URING_) || !injected[1])) {
		printf("%u places where a failure was injected; ENOMEM %u times, EIO %u times\n", n - 1, injected[0],
		       injected[1]);
		return 1;
	}
	printf("failnth: ok\n");
	return 0;
}
