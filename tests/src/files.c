// SPDX-License-Identifier: GPL-2.0
/*
 * What users of file systems and databases have reported about direct I/O, case by case.
 *
 *	files [-l] [-m] [-n FACTOR] [-s SEED] [-o MOUNT-OPTIONS] DIRECTORY [CASE]...
 *
 * DIRECTORY is where the file system is mounted; cases that mount it again do so with MOUNT-OPTIONS. -m keeps to one
 * CPU what compares a mapping with what others write meanwhile. -n does more of it. Prints a line for each case; -l lists them.
 *
 * Each case is a process with an end, in a group of its own. It fails with a message, or is right.
 */
#include "async.h"
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x00000020
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x00000040
#endif
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x00000080
#endif

#define SECTOR ((size_t)512)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static const char *dir, *options = "";
static char device[256], fstype[64];
static bool one_cpu;
static uint64_t seed = 1;
static int load = 1;

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *fmt, ...)
{
	va_list ap;

	printf("    ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

static size_t up(size_t n, size_t unit)
{
	return (n + unit - 1) / unit * unit;
}

/* A number below `n`. */
static size_t pick(size_t n)
{
	return (size_t)((rnd(&seed) >> 20) % n);
}

static void shuffle(unsigned int *a, unsigned int n)
{
	for (unsigned int i = n; i > 1; i--) {
		unsigned int j = (unsigned int)pick(i), t = a[j];

		a[j] = a[i - 1];
		a[i - 1] = t;
	}
}

static void *share(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* A child, 0 in the child, which draws other numbers. */
static pid_t child(void)
{
	pid_t pid = xfork();

	if (!pid)
		seed += (uint64_t)getpid() * 7919;
	return pid;
}

/* All children must end well. */
static void children(void)
{
	int status, bad = 0;

	while (wait(&status) > 0)
		if (status)
			bad = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	if (bad)
		_exit(bad);
}

static char *path_of(const char *name)
{
	static char paths[16][300];
	static int next;
	char *p = paths[next++ % 16];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, name);
	return p;
}

/* One file, opened past the page cache and through it. */
struct file {
	char *path;
	int d, b;
};

static void reopen(struct file *f)
{
	f->d = xopen(f->path, O_RDWR | O_DIRECT);
	f->b = xopen(f->path, O_RDWR);
}

static struct file create(const char *name)
{
	struct file f = { path_of(name), -1, -1 };

	unlink(f.path);
	f.d = xopen(f.path, O_RDWR | O_DIRECT | O_CREAT);
	f.b = xopen(f.path, O_RDWR);
	return f;
}

static void destroy(struct file *f)
{
	close(f->d);
	close(f->b);
	if (unlink(f->path))
		die("unlink %s", f->path);
}

static void evict(struct file *f)
{
	if (fsync(f->b))
		fail("fsync: %s", errname(errno));
	posix_fadvise(f->b, 0, 0, POSIX_FADV_DONTNEED);
}

/* Makes the file `size` bytes of a pattern, on the device and not in the cache. */
static void fill(struct file *f, size_t size, uint64_t pattern)
{
	unsigned char *buf = xalloc(size);

	pattern_fill(buf, size, pattern, 0);
	pwrite_all(f->b, buf, size, 0);
	free(buf);
	evict(f);
}

static size_t size_of(struct file *f)
{
	struct stat st;

	if (fstat(f->b, &st))
		die("fstat");
	return (size_t)st.st_size;
}

static void set_size(struct file *f, size_t size)
{
	if (ftruncate(f->b, (off_t)size))
		die("ftruncate to %zu", size);
}

static void same(const void *got, const void *want, size_t len, size_t pos, const char *what, const char *how)
{
	size_t at = first_diff(got, want, len);

	if (at < len)
		fail("%s: %s, byte %zu is %02x, should be %02x", what, how, pos + at, ((const unsigned char *)got)[at],
		     ((const unsigned char *)want)[at]);
}

/* The file must be the `size` bytes of `model`, through the cache and past it. */
static void check(struct file *f, const void *model, size_t size, const char *what)
{
	size_t room = up(size + 1, PAGE), n;
	unsigned char *buf = xalloc(room);

	for (int direct = 0; direct < 2; direct++) {
		memset(buf, 0x55, room);
		n = pread_all(direct ? f->d : f->b, buf, room, 0);
		if (n != size || size_of(f) != size)
			fail("%s: %s finds %zu bytes, stat %zu, should be %zu", what, direct ? "direct read" : "read", n,
			     size_of(f), size);
		same(buf, model, size, 0, what, direct ? "direct read" : "read");
	}
	free(buf);
}

/* The same with nothing in any cache, if this is a file system of ours. */
static void cycle(void)
{
	if (umount(dir))
		die("umount %s", dir);
	if (mount(device, dir, fstype, 0, options))
		die("mount %s", dir);
}

static struct statvfs space(void)
{
	struct statvfs st;
	int fd = xopen(dir, O_RDONLY | O_DIRECTORY);

	if (syncfs(fd) || fstatvfs(fd, &st))
		die("statvfs");
	close(fd);
	return st;
}

static uint64_t free_blocks(void)
{
	return space().f_bfree;
}

/* Requests that are submitted with one system call. */
struct op {
	bool read;
	int fd;
	unsigned char *buf;
	size_t len, pos;
	int rwf;
	long res;
};

struct ring {
	enum engine engine;
	struct queue *q;
};

/* One of each kind in each process: to end one takes long. */
static void ring_init(struct ring *r, enum engine engine)
{
	static struct queue queues[3];
	static pid_t owners[3];

	r->engine = engine;
	r->q = &queues[engine];
	if (owners[engine] != getpid()) {
		queue_init(r->q, engine);
		owners[engine] = getpid();
	}
}

static void submit(struct ring *r, struct op *ops, unsigned int n)
{
	struct queue *q = r->q;
	static struct iocb iocbs[QUEUE_MAX];
	static struct iocb *list[QUEUE_MAX];
	unsigned int tail;

	if (n > QUEUE_MAX)
		die("too many requests");
	if (r->engine == AIO) {
		for (unsigned int i = 0; i < n; i++) {
			list[i] = &iocbs[i];
			memset(&iocbs[i], 0, sizeof(iocbs[i]));
			iocbs[i].aio_data = (uintptr_t)&ops[i];
			iocbs[i].aio_lio_opcode = ops[i].read ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
			iocbs[i].aio_fildes = (uint32_t)ops[i].fd;
			iocbs[i].aio_buf = (uintptr_t)ops[i].buf;
			iocbs[i].aio_nbytes = ops[i].len;
			iocbs[i].aio_offset = (int64_t)ops[i].pos;
			iocbs[i].aio_rw_flags = ops[i].rwf;
		}
		for (unsigned int i = 0; i < n;) {
			long done = syscall(__NR_io_submit, q->ctx, (long)(n - i), list + i);

			if (done <= 0)
				fail("io_submit: %s", errname(errno));
			i += (unsigned int)done;
		}
		return;
	}
	tail = *q->sq_tail;
	for (unsigned int i = 0; i < n; i++) {
		unsigned int at = (tail + i) & *q->sq_mask;
		struct io_uring_sqe *sqe = &q->sqes[at];

		memset(sqe, 0, sizeof(*sqe));
		sqe->opcode = ops[i].read ? IORING_OP_READ : IORING_OP_WRITE;
		sqe->fd = ops[i].fd;
		sqe->off = ops[i].pos;
		sqe->addr = (uintptr_t)ops[i].buf;
		sqe->len = (uint32_t)ops[i].len;
		sqe->rw_flags = ops[i].rwf;
		sqe->user_data = (uintptr_t)&ops[i];
		q->sq_array[at] = at;
	}
	__atomic_store_n(q->sq_tail, tail + n, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, q->ring, n, 0, 0, NULL, 0) != (long)n)
		die("io_uring_enter");
}

static struct op *reap(struct ring *r)
{
	uint64_t tag;
	long res = queue_wait(r->q, &tag);
	struct op *op = (struct op *)(uintptr_t)tag;

	op->res = res;
	return op;
}

static const char *engine_name(enum engine engine)
{
	return engine == AIO ? "aio" : engine == URING ? "io_uring" : "sync";
}

/* Must have succeeded, and must be there now. */
static void acknowledged(struct op *op, struct file *f, const char *what)
{
	unsigned char *got;

	if (op->res != (long)op->len)
		fail("%s: %zu bytes at %zu: result %ld", what, op->len, op->pos, op->res);
	if (size_of(f) < op->pos + op->len)
		fail("%s: %zu bytes at %zu were written, the size is %zu", what, op->len, op->pos, size_of(f));
	got = xalloc(op->len);
	for (int direct = 0; direct < 2; direct++) {
		pread_all(direct ? f->d : f->b, got, op->len, op->pos);
		same(got, op->buf, op->len, op->pos, what, direct ? "direct read after completion" : "read after completion");
	}
	free(got);
}

enum before { WRITTEN, UNWRITTEN, HOLE, BEYOND };

/* Sectors of one block on their way together. */
static void subblock(int before)
{
	static const char *const names[] = { "written", "unwritten", "hole", "beyond the end" };
	struct file f = create("subblock");
	unsigned char *buf = xalloc(2 * PAGE), *model = xalloc(4 * PAGE);
	struct op ops[16];
	unsigned int order[16];

	for (int round = 0; round < 8 * load; round++) {
		struct ring r;
		unsigned int n = 0;
		size_t size = 4 * PAGE;
		char what[64];

		ring_init(&r, round & 1 ? AIO : URING);
		snprintf(what, sizeof(what), "%s, %s, round %d", names[before], engine_name(r.engine), round);
		memset(model, 0, 4 * PAGE);
		set_size(&f, 0);
		switch (before) {
		case WRITTEN:
			pattern_fill(model, size, 100, 0);
			fill(&f, size, 100);
			break;
		case UNWRITTEN:
			if (fallocate(f.b, 0, 0, (off_t)size))
				fail("%s: fallocate: %s", what, errname(errno));
			break;
		case HOLE:
			set_size(&f, size);
			break;
		case BEYOND:
			size = PAGE + (1 + pick(7)) * SECTOR - (round % 3 == 1 ? 100 : 0);
			pattern_fill(model, size, 100, 0);
			fill(&f, size, 100);
			break;
		}
		/* Of two blocks, so that some requests could be joined across them. */
		for (unsigned int i = 0; i < 16; i++)
			order[i] = i;
		shuffle(order, 16);
		/* The last sector first, while the file ends behind it. */
		for (unsigned int i = 1; before == BEYOND && i < 16; i++)
			if (order[i] == (size - PAGE) / SECTOR - 1) {
				order[i] = order[0];
				order[0] = (unsigned int)((size - PAGE) / SECTOR - 1);
			}
		pattern_fill(buf, 2 * PAGE, 200 + (uint64_t)round, 0);
		for (unsigned int i = 0; i < 16; i++) {
			size_t pos = PAGE + order[i] * SECTOR;

			if (i && round % 4 && !pick(3))
				continue;
			ops[n++] = (struct op){ .fd = f.d, .buf = buf + order[i] * SECTOR, .len = SECTOR, .pos = pos };
			memcpy(model + pos, buf + order[i] * SECTOR, SECTOR);
			if (before == BEYOND && pos + SECTOR > size)
				size = pos + SECTOR;
		}
		submit(&r, ops, n);
		for (unsigned int i = 0; i < n; i++)
			acknowledged(reap(&r), &f, what);
		check(&f, model, size, what);
		evict(&f);
		check(&f, model, size, what);
	}
	destroy(&f);
}

/* The last sector overwritten, and the file extended within the block, while the first is not at the device yet. */
static void tail(int arg)
{
	struct file f = create("tail"), long_ = create("long");
	unsigned char *model = xalloc(2 * PAGE), *buf = xalloc(2 * PAGE), *much = xalloc(1 << 20);
	struct op ops[20];
	struct ring r;

	(void)arg;
	fill(&long_, 1 << 20, 1);
	pread_all(long_.b, much, 1 << 20, 0);
	ring_init(&r, URING);
	for (int round = 0; round < 10 * load; round++) {
		unsigned int n = 0;
		size_t last = PAGE + (1 + pick(6)) * SECTOR;

		set_size(&f, 0);
		fill(&f, last + SECTOR, 1);
		pattern_fill(model, 2 * PAGE, 1, 0);
		pattern_fill(buf, 2 * PAGE, 10 + (uint64_t)round, 0);
		memcpy(model + last, buf + last, 2 * SECTOR);
		for (size_t pos = last; pos < last + 2 * SECTOR; pos += SECTOR)
			ops[n++] = (struct op){ .fd = f.d, .buf = buf + pos, .len = SECTOR, .pos = pos };
		/* Keep the submitter, and with it what it has queued but not sent to the device. */
		while (n < 20)
			ops[n++] = (struct op){ .read = true, .fd = long_.b, .buf = much, .len = 1 << 20 };
		submit(&r, ops, n);
		while (n--) {
			struct op *op = reap(&r);

			if (op->res != (long)op->len)
				fail("round %d: %ld", round, op->res);
		}
		check(&f, model, last + 2 * SECTOR, "tail");
		evict(&f);
		check(&f, model, last + 2 * SECTOR, "tail");
	}
	destroy(&long_);
	destroy(&f);
}

/* Asynchronous writes each of which makes the file longer. */
static void extend(int arg)
{
	struct file f = create("extend");
	size_t total = 512 << 10;
	unsigned char *buf = xalloc(total), *got = xalloc(total);
	atomic_bool *stop = share(sizeof(*stop));
	struct op ops[32];

	(void)arg;
	pattern_fill(buf, total, 7, 0);
	if (!child()) {
		struct file g = f;

		/* Whoever looks meanwhile finds what is written, or zeroes. */
		reopen(&g);
		while (!*stop) {
			size_t n = pread_all(pick(2) ? g.d : g.b, got, total, 0);

			for (size_t i = 0; i < n; i++)
				if (got[i] && got[i] != buf[i])
					fail("a reader beside them finds %02x in byte %zu", got[i], i);
		}
		_exit(0);
	}
	for (int round = 0; round < 6 * load; round++) {
		size_t pos = 0, n = 0;
		unsigned int order[32];
		struct ring r;
		char what[64];

		ring_init(&r, round & 1 ? AIO : URING);
		snprintf(what, sizeof(what), "%s, round %d", engine_name(r.engine), round);
		set_size(&f, 0);
		while (n < 32) {
			size_t len = (1 + pick(round & 2 ? 32 : 4)) * SECTOR;

			ops[n++] = (struct op){ .fd = f.d, .buf = buf + pos, .len = len, .pos = pos };
			pos += len;
			order[n - 1] = (unsigned int)n - 1;
		}
		if (round & 4) {
			shuffle(order, 32);
			for (unsigned int i = 0; i < 32; i++) {
				struct op t = ops[i];

				ops[i] = ops[order[i]];
				ops[order[i]] = t;
			}
		}
		submit(&r, ops, 32);
		for (unsigned int i = 0; i < 32; i++) {
			acknowledged(reap(&r), &f, what);
			if (size_of(&f) > pos)
				fail("%s: the size is %zu, no more than %zu was written", what, size_of(&f), pos);
		}
		check(&f, buf, pos, what);
		evict(&f);
		check(&f, buf, pos, what);
	}
	*stop = true;
	children();
	destroy(&f);
}

/* A record: each of its sectors says whose it is, which, how long, and where in the record. */
static void record(unsigned char *buf, unsigned int who, unsigned int seq, unsigned int sectors)
{
	for (unsigned int i = 0; i < sectors; i++) {
		uint32_t *w = (uint32_t *)(buf + i * SECTOR);

		for (unsigned int k = 0; k < SECTOR / 16; k++) {
			w[4 * k] = who + 1;
			w[4 * k + 1] = seq;
			w[4 * k + 2] = sectors;
			w[4 * k + 3] = i;
		}
	}
}

#define WRITERS 4u
#define RECORDS 48u

/* Several tasks append at once: no record is lost, torn or overwritten. */
static void append(int how)
{
	struct file f = create("append");
	bool seen[WRITERS][RECORDS] = { 0 };
	unsigned char *all, want[8 * SECTOR];
	size_t size, pos = 0;

	for (unsigned int who = 0; who < WRITERS; who++) {
		int fd;
		unsigned char *buf;
		struct op ops[RECORDS];

		if (child())
			continue;
		fd = xopen(f.path, how == 1 ? O_WRONLY | O_DIRECT : O_WRONLY | O_DIRECT | O_APPEND);
		buf = xalloc(RECORDS * 8 * SECTOR);
		for (unsigned int i = 0; i < RECORDS; i++) {
			unsigned int sectors = 1 + (unsigned int)pick(8);
			struct iovec iov = { buf + i * 8 * SECTOR, sectors * SECTOR };

			record(iov.iov_base, who, i, sectors);
			ops[i] = (struct op){ .fd = fd, .buf = iov.iov_base, .len = iov.iov_len };
			if (how < 2) {
				ssize_t n = pwritev2(fd, &iov, 1, 0, how ? RWF_APPEND : 0);

				if (n != (ssize_t)iov.iov_len)
					fail("append of %zu bytes: %zd, %s", iov.iov_len, n, errname(errno));
			}
		}
		if (how >= 2) {
			struct ring r;

			ring_init(&r, how == 2 ? AIO : URING);
			for (unsigned int i = 0; i < RECORDS; i += 12) {
				submit(&r, ops + i, 12);
				for (unsigned int k = 0; k < 12; k++) {
					struct op *op = reap(&r);

					if (op->res != (long)op->len)
						fail("%s append of %zu bytes: %ld", engine_name(r.engine), op->len, op->res);
				}
			}
		}
		_exit(0);
	}
	children();
	size = size_of(&f);
	all = xalloc(size + PAGE);
	for (int direct = 0; direct < 2; direct++) {
		memset(seen, 0, sizeof(seen));
		if (pread_all(direct ? f.d : f.b, all, up(size + 1, PAGE), 0) != size)
			fail("short read");
		for (pos = 0; pos < size;) {
			uint32_t *w = (uint32_t *)(all + pos);

			if (!w[0] || w[0] > WRITERS || w[1] >= RECORDS || !w[2] || w[2] > 8)
				fail("no record at %zu", pos);
			record(want, w[0] - 1, w[1], w[2]);
			same(all + pos, want, w[2] * SECTOR, pos, "record", direct ? "direct read" : "read");
			if (seen[w[0] - 1][w[1]])
				fail("record %u of %u is there twice", w[1], w[0] - 1);
			seen[w[0] - 1][w[1]] = true;
			pos += w[2] * SECTOR;
		}
		for (unsigned int who = 0; who < WRITERS; who++)
			for (unsigned int i = 0; i < RECORDS; i++)
				if (!seen[who][i])
					fail("record %u of %u is lost", i, who);
		evict(&f);
	}
	free(all);
	destroy(&f);
}

/* Each RWF_ flag is honoured, or refused with EOPNOTSUPP and nothing changed. */
static void rwf(int direct)
{
	static const struct {
		const char *name;
		int flags;
		bool appends, appending, may_again, must_refuse;
	} t[] = {
		{ "0", 0, .appends = false },
		{ "RWF_APPEND", RWF_APPEND, .appends = true },
		{ "RWF_APPEND on O_APPEND", RWF_APPEND, .appends = true, .appending = true },
		{ "0 on O_APPEND", 0, .appends = true, .appending = true },
		{ "RWF_NOAPPEND on O_APPEND", RWF_NOAPPEND, .appending = true },
		{ "RWF_NOAPPEND", RWF_NOAPPEND, .appends = false },
		{ "RWF_NOWAIT", RWF_NOWAIT, .may_again = true },
		{ "RWF_NOWAIT|RWF_APPEND", RWF_NOWAIT | RWF_APPEND, .appends = true, .may_again = true },
		{ "RWF_NOWAIT|RWF_DSYNC", RWF_NOWAIT | RWF_DSYNC, .may_again = true },
		{ "RWF_DSYNC", RWF_DSYNC, .appends = false },
		{ "RWF_SYNC", RWF_SYNC, .appends = false },
		{ "RWF_DSYNC|RWF_APPEND", RWF_DSYNC | RWF_APPEND, .appends = true },
		{ "RWF_HIPRI", RWF_HIPRI, .appends = false },
		{ "RWF_HIPRI|RWF_DSYNC", RWF_HIPRI | RWF_DSYNC, .appends = false },
		{ "RWF_HIPRI|RWF_NOWAIT", RWF_HIPRI | RWF_NOWAIT, .may_again = true },
		{ "RWF_DONTCACHE", RWF_DONTCACHE, .appends = false },
		{ "RWF_DONTCACHE|RWF_APPEND", RWF_DONTCACHE | RWF_APPEND, .appends = true },
		{ "RWF_ATOMIC", RWF_ATOMIC, .appends = false },
		{ "RWF_ATOMIC|RWF_APPEND", RWF_ATOMIC | RWF_APPEND, .appends = true },
		{ "an unknown flag", 1 << 29, .must_refuse = true },
		{ "RWF_APPEND|RWF_NOAPPEND", RWF_APPEND | RWF_NOAPPEND, .must_refuse = true },
	};
	unsigned char *model = xalloc(8 * PAGE), *buf = xalloc(PAGE), *got = xalloc(8 * PAGE);

	for (int engine = SYNC; engine <= URING; engine++)
		for (size_t i = 0; i < ARRAY_SIZE(t); i++)
			for (int warm = engine == SYNC ? 0 : 1; warm < 2; warm++) {
				struct file f = create("rwf");
				size_t size = 3 * PAGE, at = t[i].appends ? size : PAGE;
				struct op op = { .buf = buf, .len = PAGE, .pos = PAGE, .rwf = t[i].flags };
				struct cachestat_ cs;
				struct ring r;
				char what[96];

				snprintf(what, sizeof(what), "%s, %s%s", t[i].name, engine_name((enum engine)engine),
					 warm ? ", warm" : "");
				pattern_fill(model, size, i, 0);
				fill(&f, size, i);
				if (warm)
					pread_all(f.b, got, size, 0);
				op.fd = xopen(f.path, O_RDWR | (direct ? O_DIRECT : 0) | (t[i].appending ? O_APPEND : 0));
				pattern_fill(buf, PAGE, 1000 + i, 0);
				if (engine == SYNC) {
					struct iovec iov = { buf, PAGE };
					ssize_t n = pwritev2(op.fd, &iov, 1, (off_t)op.pos, op.rwf);

					op.res = n < 0 ? -errno : n;
				} else if (engine == AIO) {
					/* Flags that are refused are refused by io_submit. */
					struct iocb iocb = { .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (uint32_t)op.fd,
							     .aio_buf = (uintptr_t)buf, .aio_nbytes = PAGE,
							     .aio_offset = (int64_t)op.pos, .aio_rw_flags = op.rwf,
							     .aio_data = (uintptr_t)&op };
					struct iocb *list = &iocb;

					ring_init(&r, AIO);
					if (syscall(__NR_io_submit, r.q->ctx, 1, &list) == 1)
						reap(&r);
					else
						op.res = -errno;
				} else {
					ring_init(&r, URING);
					submit(&r, &op, 1);
					reap(&r);
				}
				if (op.res == (long)PAGE && !t[i].must_refuse) {
					memcpy(model + at, buf, PAGE);
					if (at + PAGE > size)
						size = at + PAGE;
					if (!direct && t[i].flags & (RWF_DSYNC | RWF_SYNC)) {
						if (!cachestat_of(f.b, 0, 0, &cs))
							die("cachestat");
						if (cs.dirty || cs.writeback)
							fail("%s: %llu pages are dirty afterwards", what,
							     (unsigned long long)(cs.dirty + cs.writeback));
					}
				} else if (!(op.res == -EOPNOTSUPP && op.rwf) && !(op.res == -EAGAIN && t[i].may_again) &&
					   !(op.res == -EINVAL && (t[i].must_refuse || (!direct && op.rwf & RWF_NOWAIT) ||
								    (engine == URING && op.rwf & RWF_HIPRI)))) {
					fail("%s: %ld", what, op.res);
				}
				check(&f, model, size, what);
				evict(&f);
				check(&f, model, size, what);
				close(op.fd);
				destroy(&f);
			}
}

/* A ring that polls for completions: done, or refused, but not for ever on its way. */
static void iopoll(int arg)
{
	struct file f = create("iopoll");
	unsigned char *buf = xalloc(PAGE), *model = xalloc(6 * PAGE);
	size_t size = 4 * PAGE;
	struct io_uring_params p = { .flags = IORING_SETUP_IOPOLL };
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned int *cq_head, *cq_tail;
	int ring;

	(void)arg;
	pattern_fill(model, 4 * PAGE, 1, 0);
	fill(&f, 4 * PAGE, 1);
	ring = (int)syscall(__NR_io_uring_setup, 8, &p);
	if (ring < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*cqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_CQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED)
		die("mmap of a ring");
	cq_head = (unsigned int *)(cq + p.cq_off.head);
	cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	for (unsigned int i = 0; i < 6; i++) {
		/* The last read is at the end, the last write behind it. */
		bool write = i & 1;
		size_t pos = i >= 4 ? i * PAGE : PAGE;
		unsigned int tail = *(unsigned int *)(sq + p.sq_off.tail);
		unsigned int at = tail & *(unsigned int *)(sq + p.sq_off.ring_mask);
		long res;

		pattern_fill(buf, PAGE, 50 + i, 0);
		memset(&sqes[at], 0, sizeof(sqes[at]));
		sqes[at].opcode = write ? IORING_OP_WRITE : IORING_OP_READ;
		sqes[at].fd = f.d;
		sqes[at].addr = (uintptr_t)buf;
		sqes[at].len = (uint32_t)PAGE;
		sqes[at].off = pos;
		((unsigned int *)(sq + p.sq_off.array))[at] = at;
		__atomic_store_n((unsigned int *)(sq + p.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
		if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
			die("io_uring_enter");
		while (*cq_head == __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE))
			if (syscall(__NR_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
				die("io_uring_enter");
		res = cqes[*cq_head & *(unsigned int *)(cq + p.cq_off.ring_mask)].res;
		__atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
		see_memory();
		if (res == -EOPNOTSUPP)
			continue;
		if (res != (i == 4 ? 0 : (long)PAGE))
			fail("request %u: %ld", i, res);
		if (!write) {
			same(buf, model + pos, (size_t)res, pos, "polled", "read");
			continue;
		}
		memcpy(model + pos, buf, PAGE);
		if (pos + PAGE > size)
			size = pos + PAGE;
	}
	check(&f, model, size, "afterwards");
	destroy(&f);
}

/* Leaves about `left` blocks that data can have, without writing to them. */
static int ballast(uint64_t left)
{
	char *path = path_of("ballast");
	int fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC);
	uint64_t size = 0, step = 1 << 20;

	while (step) {
		uint64_t room = space().f_bavail;

		if (room <= left)
			break;
		if (step > room - left)
			step = room - left;
		if (fallocate(fd, 0, (off_t)(size * PAGE), (off_t)(step * PAGE))) {
			if (errno != ENOSPC)
				die("fallocate of ballast");
			step /= 2;
			continue;
		}
		size += step;
	}
	return fd;
}

static sigjmp_buf after_sigbus;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(after_sigbus, 1);
}

/* A full disk: errors where they belong, what was acknowledged is there, and the space comes back. */
static void full(int arg)
{
	static const char *const names[] = { "direct", "aio", "io_uring", "buffered", "mmap", "fallocate" };
	enum { DIRECT, LIBAIO, IO_URING, BUFFERED, MMAP, FALLOCATE };
	size_t most = 16 << 20, piece = 64 << 10;
	unsigned char *buf = xalloc(most);
	uint64_t before, empty;
	int fd;

	(void)arg;
	pattern_fill(buf, most, 3, 0);
	for (int how = 0; how <= FALLOCATE; how++) {
		struct file f = create("full");

		destroy(&f);	/* the directory has room for the name now */
	}
	close(xopen(path_of("ballast"), O_RDWR | O_CREAT));
	unlink(path_of("ballast"));
	empty = free_blocks();
	fd = ballast(600);
	before = free_blocks();
	for (int how = 0; how <= FALLOCATE; how++) {
		struct file f = create("full");
		size_t pos = 0;
		volatile int err = 0;

		if (how == LIBAIO || how == IO_URING) {
			struct ring r;
			struct op ops[32];
			bool ok[32] = { 0 };

			ring_init(&r, how == LIBAIO ? AIO : URING);
			while (!err && pos < most) {
				for (unsigned int i = 0; i < 8; i++)
					ops[i] = (struct op){ .fd = f.d, .buf = buf + pos + i * piece, .len = piece,
							      .pos = pos + i * piece };
				submit(&r, ops, 8);
				for (unsigned int i = 0; i < 8; i++) {
					struct op *op = reap(&r);

					ok[op - ops] = op->res > 0;
					if (op->res < 0)
						err = (int)-op->res;
				}
				for (unsigned int i = 0; i < 8; i++) {
					unsigned char got[PAGE] __attribute__((aligned(4096)));

					/* Holes between are possible: what was acknowledged counts. */
					for (size_t at = 0; ok[i] && at < (size_t)ops[i].res; at += PAGE) {
						if (pread_all(at & PAGE ? f.d : f.b, got, PAGE, ops[i].pos + at) != PAGE)
							fail("%s: short at %zu", names[how], ops[i].pos + at);
						same(got, ops[i].buf + at, PAGE, ops[i].pos + at, names[how], "read");
					}
				}
				pos += 8 * piece;
			}
		} else if (how == FALLOCATE) {
			err = fallocate(f.b, 0, 0, (off_t)most) ? errno : 0;
			if (err && size_of(&f))
				fail("%s: failed, and the size is %zu", names[how], size_of(&f));
		} else if (how == MMAP) {
			unsigned char *m;
			static volatile size_t stored;

			set_size(&f, most);
			m = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_SHARED, f.b, 0);
			if (m == MAP_FAILED)
				die("mmap");
			signal(SIGBUS, on_sigbus);
			if (!sigsetjmp(after_sigbus, 1))
				for (stored = 0; stored < most; stored += PAGE)
					memcpy(m + stored, buf + stored, PAGE);
			else
				err = ENOSPC;
			if (msync(m, most, MS_SYNC))
				fail("%s: msync: %s", names[how], errname(errno));
			munmap(m, most);
			memset(buf + stored, 0, most - stored);
			evict(&f);
			check(&f, buf, most, names[how]);
			pattern_fill(buf, most, 3, 0);
		} else {
			while (pos < most) {
				ssize_t n = pwrite(how == DIRECT ? f.d : f.b, buf + pos, piece, (off_t)pos);

				if (n < 0) {
					err = errno;
					break;
				}
				pos += (size_t)n;
				if (n < (ssize_t)piece && n % (ssize_t)SECTOR && how == DIRECT)
					fail("%s: wrote %zd bytes", names[how], n);
			}
			check(&f, buf, pos, names[how]);
			evict(&f);
			check(&f, buf, pos, names[how]);
		}
		if (err != ENOSPC)
			fail("%s: %s", names[how], err ? errname(err) : "no error");
		/* It can be used as before. */
		if (how == DIRECT) {
			if (pwrite(f.d, buf, piece, 0) != (ssize_t)piece)
				fail("%s: cannot write what is there: %s", names[how], errname(errno));
		}
		destroy(&f);
		if (free_blocks() != before)
			fail("%s: %llu blocks are free after unlink, before there were %llu", names[how],
			     (unsigned long long)free_blocks(), (unsigned long long)before);
	}
	close(fd);
	unlink(path_of("ballast"));
	if (free_blocks() != empty)
		fail("%llu blocks are free at the end, %llu at the beginning", (unsigned long long)free_blocks(),
		     (unsigned long long)empty);
}

/* What was preallocated can be written when the disk is full. */
static void full_preallocated(int arg)
{
	struct file f = create("preallocated"), g = create("rest");
	size_t size = 4 << 20, pages = size / PAGE;
	unsigned char *buf = xalloc(size), *m;
	unsigned int *order = xalloc(pages * sizeof(*order));
	int fd;

	(void)arg;
	pattern_fill(buf, size, 5, 0);
	if (posix_fallocate(f.b, 0, (off_t)size))
		fail("posix_fallocate");
	if (fsync(f.b))
		fail("fsync");
	fd = ballast(8);
	for (size_t pos = 0; pwrite(g.b, buf, PAGE, (off_t)pos) == (ssize_t)PAGE; pos += PAGE)
		;
	m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f.b, 0);
	if (m == MAP_FAILED)
		die("mmap");
	/* Page by page and in no order: as many pieces as can be. */
	for (unsigned int i = 0; i < pages; i++)
		order[i] = i;
	shuffle(order, (unsigned int)pages);
	for (unsigned int i = 0; i < pages; i++) {
		size_t pos = order[i] * PAGE;

		if (i % 4 == 3) {
			memcpy(m + pos, buf + pos, PAGE);
		} else if (pwrite(i % 4 == 2 ? f.b : f.d, buf + pos, PAGE, (off_t)pos) != (ssize_t)PAGE) {
			fail("%s write %u of %zu, at %zu: %s", i % 4 == 2 ? "buffered" : "direct", i, pages, pos,
			     errname(errno));
		}
	}
	if (msync(m, size, MS_SYNC))
		fail("msync: %s", errname(errno));
	munmap(m, size);
	check(&f, buf, size, "written");
	evict(&f);
	check(&f, buf, size, "evicted");
	close(fd);
	unlink(path_of("ballast"));
	destroy(&g);
	destroy(&f);
}

/* Reads at the end of a file: as many bytes as there are, and none of anybody else's. */
static void eof_reads(int arg)
{
	static const size_t sizes[] = { 1, 511, 512, 513, 1000, 4095, 4096, 4097, 10000, 12288 };
	unsigned char *model = xalloc(8 * PAGE), *got = xalloc(16 * PAGE);

	(void)arg;
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct file f = create("eof");
		size_t size = sizes[i];
		unsigned char *m;

		memset(model, 0, 8 * PAGE);
		pattern_fill(model, size, i, 0);
		fill(&f, size, i);
		/* Something that nobody may see. */
		m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, f.b, 0);
		if (size % PAGE) {
			memset(m + size, 0x99, PAGE - size % PAGE);
			if (i & 1)
				msync(m, 4 * PAGE, MS_SYNC);
		}
		for (int engine = SYNC; engine <= URING; engine++) {
			struct ring r;

			ring_init(&r, (enum engine)engine);
			for (size_t pos = 0; pos <= up(size, PAGE) + PAGE; pos += SECTOR)
				for (size_t len = SECTOR; len <= 8 * PAGE; len = len < PAGE ? len + SECTOR : len * 2) {
					struct op op = { .read = true, .fd = f.d, .buf = got, .len = len, .pos = pos };
					size_t want = pos >= size ? 0 : size - pos < len ? size - pos : len;
					char what[80];

					/* All of them synchronously, some of the others. */
					if (engine != SYNC && pick(8))
						continue;
					memset(got, 0, len + PAGE);
					if (engine == SYNC) {
						op.res = pread(f.d, got, len, (off_t)pos);
						if (op.res < 0)
							op.res = -errno;
					} else {
						submit(&r, &op, 1);
						reap(&r);
					}
					snprintf(what, sizeof(what), "%s of %zu at %zu, size %zu",
						 engine_name((enum engine)engine), len, pos, size);
					if (op.res != (long)want)
						fail("%s: %ld, should be %zu", what, op.res, want);
					same(got, model + pos, want, pos, what, "data");
					for (size_t k = want; k < len + PAGE; k++)
						if (got[k])
							fail("%s: %02x beyond the end, at %zu", what, got[k], pos + k);
				}
		}
		munmap(m, 4 * PAGE);
		destroy(&f);
	}
}

/* What does not fit the device is refused, and changes nothing. */
static void misaligned(int arg)
{
	struct file f = create("misaligned");
	size_t size = 4 * PAGE, skews[] = { 0, 1, 256 };
	unsigned char *model = xalloc(size), *room = xalloc(8 * PAGE);
	struct stat before, after;

	(void)arg;
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	for (int engine = SYNC; engine <= URING; engine++)
		for (unsigned int a = 0; a < 3; a++)
			for (unsigned int b = 0; b < 3; b++)
				for (unsigned int c = 0; c < 3; c++)
					for (int read = 0; read < 2; read++)
						for (int end = 0; end < 2; end++) {
							struct op op = { .read = read, .fd = f.d, .buf = room + skews[a] };
							bool bad = skews[b] || skews[c];
							struct ring r;
							char what[100];

							if ((!a && !bad) || (engine != SYNC && pick(3)))
								continue;
							op.pos = (end && !read ? size : PAGE) + skews[b];
							op.len = PAGE + skews[c];
							pattern_fill(room, 4 * PAGE, 9, 0);
							snprintf(what, sizeof(what), "%s %s, memory +%zu, offset %zu, length %zu",
								 engine_name((enum engine)engine), read ? "read" : "write", skews[a],
								 op.pos, op.len);
							fstat(f.b, &before);
							if (engine == SYNC) {
								op.res = read ? pread(f.d, op.buf, op.len, (off_t)op.pos) :
									pwrite(f.d, op.buf, op.len, (off_t)op.pos);
								if (op.res < 0)
									op.res = -errno;
							} else {
								struct iocb iocb = {
									.aio_lio_opcode = read ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
									.aio_fildes = (uint32_t)f.d, .aio_buf = (uintptr_t)op.buf,
									.aio_nbytes = op.len, .aio_offset = (int64_t)op.pos,
									.aio_data = (uintptr_t)&op };
								struct iocb *list = &iocb;

								ring_init(&r, (enum engine)engine);
								if (engine == URING) {
									submit(&r, &op, 1);
									reap(&r);
								} else if (syscall(__NR_io_submit, r.q->ctx, 1, &list) == 1) {
									reap(&r);
								} else {
									op.res = -errno;
								}
							}
							fstat(f.b, &after);
							if (bad || op.res != (long)op.len) {
								if (op.res != -EINVAL)
									fail("%s: %ld", what, op.res);
								if (after.st_size != before.st_size || after.st_blocks != before.st_blocks)
									fail("%s: size or blocks changed", what);
							} else if (read) {
								same(op.buf, model + op.pos, op.len, op.pos, what, "data");
							} else {
								/* The device takes memory that is aligned less. */
								size_t now = end ? op.pos + op.len : size;
								unsigned char *want = xalloc(now);

								memcpy(want, model, size);
								memcpy(want + op.pos, op.buf, op.len);
								check(&f, want, now, what);
								free(want);
								set_size(&f, 0);
								fill(&f, size, 1);
							}
							if (!read)
								check(&f, model, size, what);
						}
	/* Vectors whose sum is right. */
	for (size_t cut = 1; cut < 2 * SECTOR; cut += 255) {
		struct iovec iov[2] = { { room, cut }, { room + PAGE, 2 * SECTOR - cut } };
		ssize_t n;

		pattern_fill(room, 2 * PAGE, 9, 0);
		n = pwritev(f.d, iov, 2, PAGE);
		if (n >= 0 || errno != EINVAL) {
			if (n != 2 * (ssize_t)SECTOR)
				fail("vectors of %zu: %zd", cut, n);
			memcpy(model + PAGE, room, cut);
			memcpy(model + PAGE + cut, room + PAGE, 2 * SECTOR - cut);
		}
		check(&f, model, size, "vectors");
	}
	destroy(&f);
}

/* Vectors: of nothing, of sectors, of a thousand pieces. */
static void vectors(int arg)
{
	struct file f = create("vectors");
	size_t size = 1 << 20, memory = 5 << 20;
	unsigned char *model = xalloc(size), *room = xalloc(memory), *back = xalloc(memory);
	struct iovec w[1025], r[1025];

	(void)arg;
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	for (int round = 0; round < 10 * load; round++) {
		unsigned int n = round % 5 == 0 ? 1024 : 1 + (unsigned int)pick(40);
		size_t total = 0, at = 0, pos = pick(100) * SECTOR, skip;
		bool past = round % 7 == 3;

		if (past)
			pos = size - pick(64) * SECTOR;
		pattern_fill(room, memory, 100 + (uint64_t)round, 0);
		for (unsigned int i = 0; i < n; i++) {
			size_t len = round % 5 == 0 ? SECTOR : pick(3) ? (1 + pick(16)) * SECTOR : 0;

			skip = pick(9) * SECTOR;
			/* In 1024 pieces: each on a page of its own, or side by side. */
			if (round % 10 == 0)
				at = i * PAGE + pick(8) * SECTOR;
			else
				at += skip;
			w[i] = (struct iovec){ room + at, len };
			r[i] = (struct iovec){ back + at, len };
			total += len;
			at += len;
		}
		if (pwritev2(f.d, w, (int)n, (off_t)pos, round % 3 == 0 ? RWF_DSYNC : 0) != (ssize_t)total)
			fail("round %d: pwritev of %u segments, %zu bytes: %s", round, n, total, errname(errno));
		if (pos + total > size) {
			unsigned char *more = xalloc(pos + total);

			memcpy(more, model, size);
			free(model);
			model = more;
			size = pos + total;
		}
		at = pos;
		for (unsigned int i = 0; i < n; i++) {
			memcpy(model + at, w[i].iov_base, w[i].iov_len);
			at += w[i].iov_len;
		}
		check(&f, model, size, "written");
		if (preadv(f.d, r, (int)n, (off_t)pos) != (ssize_t)total)
			fail("round %d: preadv of %u segments: %s", round, n, errname(errno));
		at = pos;
		for (unsigned int i = 0; i < n; i++) {
			same(r[i].iov_base, model + at, r[i].iov_len, at, "preadv", "data");
			at += r[i].iov_len;
		}
		if (past) {
			size = 1 << 20;
			set_size(&f, size);
		}
	}
	for (unsigned int i = 0; i < 1025; i++)
		w[i] = (struct iovec){ room, i < 1024 ? 0 : SECTOR };
	if (pwritev(f.d, w, 1024, (off_t)size) || preadv(f.d, w, 1024, 0))
		fail("1024 empty segments: %s", errname(errno));
	if (pwritev(f.d, w, 1025, 0) >= 0 || errno != EINVAL)
		fail("1025 segments");
	check(&f, model, size, "nothing written");
	destroy(&f);
}

/* Nothing, anywhere, is written without a trace. */
static void nothing(int arg)
{
	static const off_t offsets[] = { 0, 1, 512, 4096, 5000, 1 << 20, (off_t)1 << 40 };
	struct file f = create("nothing");
	unsigned char *model = xalloc(PAGE), *buf = xalloc(PAGE);
	struct stat before, after;

	(void)arg;
	pattern_fill(model, PAGE, 1, 0);
	fill(&f, PAGE, 1);
	fstat(f.b, &before);
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++)
		for (int direct = 0; direct < 2; direct++)
			for (int skew = 0; skew < 2; skew++) {
				int fd = direct ? f.d : f.b;

				if (pwrite(fd, buf + skew, 0, offsets[i]) != 0 || pread(fd, buf + skew, 0, offsets[i]) != 0)
					fail("%s, offset %lld: %s", direct ? "direct" : "buffered", (long long)offsets[i],
					     errname(errno));
			}
	fstat(f.b, &after);
	if (memcmp(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim)) || before.st_blocks != after.st_blocks)
		fail("time or blocks changed");
	check(&f, model, PAGE, "nothing written");
	destroy(&f);
}

/* Where no file can reach. */
static void limits(int arg)
{
	struct file f = create("limits");
	unsigned char *buf = xalloc(4 * PAGE), *got = xalloc(4 * PAGE), *model = xalloc(4 * PAGE);
	static const uint64_t mad[] = { 0x7fffffffffffffff, 0x7ffffffffffffe00, 0x7ffffffffffff000, 0x7fffffffffffe000,
					0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff };
	uint64_t low = 0, high = 0x7fffffffffffffff;
	struct stat st;

	(void)arg;
	pattern_fill(buf, 4 * PAGE, 1, 0);
	fill(&f, PAGE, 1);
	memcpy(model, buf, PAGE);
	for (unsigned int i = 0; i < ARRAY_SIZE(mad); i++)
		for (int direct = 0; direct < 2; direct++) {
			int fd = direct ? f.d : f.b;

			for (size_t len = SECTOR; len <= 4 * PAGE; len *= 2) {
				ssize_t n = pwrite(fd, buf, len, (off_t)mad[i]);

				if (n >= 0 || (errno != EFBIG && errno != EINVAL && errno != EOVERFLOW))
					fail("write of %zu at %llx: %zd, %s", len, (unsigned long long)mad[i], n, errname(errno));
				n = pread(fd, got, len, (off_t)mad[i]);
				if (n > 0 || (n < 0 && errno != EINVAL && errno != EOVERFLOW && errno != EFBIG))
					fail("read of %zu at %llx: %zd, %s", len, (unsigned long long)mad[i], n, errname(errno));
			}
			for (int mode = 0; mode < 4; mode++) {
				static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
							     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE };
				int ret = fallocate(fd, modes[mode], (off_t)mad[i], PAGE);

				if (!ret && mode == 3 && (off_t)mad[i] > 0 && mad[i] + PAGE < 0x8000000000000000)
					continue;	/* nothing is there to be punched */
				if (!ret || (errno != EFBIG && errno != EINVAL && errno != EOPNOTSUPP))
					fail("fallocate %d at %llx: %s", modes[mode], (unsigned long long)mad[i],
					     ret ? errname(errno) : "success");
			}
		}
	check(&f, model, PAGE, "after mad offsets");
	/* The largest size. */
	while (low + 1 < high) {
		uint64_t mid = low + (high - low) / 2;

		if (ftruncate(f.b, (off_t)mid))
			high = mid;
		else
			low = mid;
	}
	if (ftruncate(f.b, (off_t)low + 1) == 0 || errno != EFBIG)
		fail("truncate to the largest size and one: %s", errname(errno));
	if (ftruncate(f.b, PAGE))
		fail("truncate back: %s", errname(errno));
	for (int direct = 0; direct < 2; direct++) {
		int fd = direct ? f.d : f.b;
		uint64_t last = low / PAGE * PAGE - PAGE;
		ssize_t n;

		/* Up to the largest size, across it, behind it. */
		n = pwrite(fd, buf, PAGE, (off_t)last);
		if (n == (ssize_t)PAGE) {
			if (pread(fd, got, PAGE, (off_t)last) != (ssize_t)PAGE)
				fail("read at the largest size: %s", errname(errno));
			same(got, buf, PAGE, 0, "at the largest size", direct ? "direct" : "buffered");
		} else if (errno != ENOSPC && errno != EFBIG) {
			fail("write at the largest size: %zd, %s", n, errname(errno));
		}
		n = pwrite(fd, buf, 2 * PAGE, (off_t)last);
		if (n > 0 ? (uint64_t)n + last > low : errno != EFBIG && errno != EINVAL)
			fail("write across the largest size: %zd, %s", n, errname(errno));
		n = pwrite(fd, buf, PAGE, (off_t)up(low, PAGE));
		if (n >= 0 || errno != EFBIG)
			fail("write behind the largest size: %zd, %s", n, errname(errno));
		if (fstat(f.b, &st) || (uint64_t)st.st_size > low)
			fail("the size is %lld", (long long)st.st_size);
		set_size(&f, PAGE);
	}
	check(&f, model, PAGE, "after the largest size");
	destroy(&f);
}

static volatile sig_atomic_t xfsz;

static void on_sigxfsz(int sig)
{
	(void)sig;
	xfsz++;
}

/* RLIMIT_FSIZE. */
static void fsize(int arg)
{
	static const size_t limits_[] = { 4 * 4096, 4 * 4096 + 512, 4 * 4096 + 100 };
	unsigned char *buf = xalloc(16 * PAGE), *model = xalloc(16 * PAGE);

	(void)arg;
	signal(SIGXFSZ, on_sigxfsz);
	pattern_fill(buf, 16 * PAGE, 1, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(limits_); i++)
		for (int engine = SYNC; engine <= URING; engine++)
			for (int direct = 0; direct < 2; direct++) {
				size_t limit = limits_[i];
				struct rlimit l = { limit, RLIM_INFINITY }, no = { RLIM_INFINITY, RLIM_INFINITY };
				struct file f = create("fsize");
				size_t size = 0;
				char what[80];

				for (unsigned int k = 0; k < 4; k++) {
					/* Below, across, at, behind. */
					size_t starts[] = { 0, 3 * PAGE, up(limit, SECTOR), up(limit, PAGE) + PAGE };
					struct op op = { .fd = direct ? f.d : f.b, .buf = buf + starts[k],
							 .len = k == 1 ? 4 * PAGE : PAGE, .pos = starts[k] };
					struct ring r;
					int signals = xfsz;

					snprintf(what, sizeof(what), "limit %zu, %s %s at %zu", limit, direct ? "direct" : "buffered",
						 engine_name((enum engine)engine), op.pos);
					ring_init(&r, (enum engine)engine);
					if (setrlimit(RLIMIT_FSIZE, &l))
						die("setrlimit");
					if (engine == SYNC) {
						op.res = pwrite(op.fd, op.buf, op.len, (off_t)op.pos);
						if (op.res < 0)
							op.res = -errno;
					} else if (engine == URING) {
						submit(&r, &op, 1);
						reap(&r);
					} else {
						struct iocb iocb = { .aio_lio_opcode = IOCB_CMD_PWRITE,
								     .aio_fildes = (uint32_t)op.fd, .aio_buf = (uintptr_t)op.buf,
								     .aio_nbytes = op.len, .aio_offset = (int64_t)op.pos,
								     .aio_data = (uintptr_t)&op };
						struct iocb *list = &iocb;

						if (syscall(__NR_io_submit, r.q->ctx, 1, &list) == 1)
							reap(&r);
						else
							op.res = -errno;
					}
					if (setrlimit(RLIMIT_FSIZE, &no))
						die("setrlimit");
					if (op.res > 0) {
						if (op.pos + (size_t)op.res > limit || k > 1)
							fail("%s: wrote %ld", what, op.res);
						if (!k && op.res != (long)PAGE)
							fail("%s: %ld", what, op.res);
						if (k == 1 && !direct && op.pos + (size_t)op.res != limit)
							fail("%s: %ld", what, op.res);
						memset(model + size, 0, 16 * PAGE - size);
						memcpy(model + op.pos, op.buf, (size_t)op.res);
						size = op.pos + (size_t)op.res;
					} else if (op.res != -EFBIG && !(k == 1 && direct && limit % SECTOR && op.res == -EINVAL)) {
						fail("%s: %ld", what, op.res);
					} else if (op.res == -EFBIG && engine == SYNC && xfsz == signals) {
						fail("%s: no SIGXFSZ", what);
					}
					check(&f, model, size, what);
				}
				if (setrlimit(RLIMIT_FSIZE, &l))
					die("setrlimit");
				if (!ftruncate(f.b, (off_t)limit + 1) || errno != EFBIG)
					fail("%s: truncate", what);
				if (!fallocate(f.b, 0, (off_t)limit, PAGE) || errno != EFBIG)
					fail("%s: fallocate", what);
				if (setrlimit(RLIMIT_FSIZE, &no))
					die("setrlimit");
				check(&f, model, size, what);
				destroy(&f);
			}
}

static void pin_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	if (one_cpu && sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static unsigned char *map(struct file *f, size_t size)
{
	unsigned char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->b, 0);

	if (m == MAP_FAILED)
		die("mmap");
	return m;
}

#define ZONES 4u
#define ZONE (81 * SECTOR)

/*
 * Zones of one file that share blocks where they meet, each with a task that writes, punches and zeroes it and knows
 * what must be there, while the end of the file goes up and down behind them.
 */
static void race(int mapped)
{
	struct file f = create("race");
	size_t end = ZONES * ZONE, most = end + 16 * PAGE;
	atomic_uint *running = share(sizeof(*running));
	unsigned char *m;

	if (mapped)
		pin_cpu();
	set_size(&f, end);
	m = map(&f, up(most, PAGE));
	*running = ZONES;
	for (unsigned int zone = 0; zone < ZONES; zone++) {
		size_t from = zone * ZONE;
		unsigned char *model = xalloc(ZONE), *got = xalloc(ZONE + PAGE), *src = xalloc(ZONE);

		if (child())
			continue;
		reopen(&f);
		memset(model, 0, ZONE);
		for (int i = 0; i < 60 * load; i++) {
			size_t a = pick(ZONE), b = pick(ZONE), len;
			unsigned int how = (unsigned int)pick(mapped ? 7 : 5);
			const char *what = "";

			if (a > b) {
				size_t t = a;

				a = b;
				b = t;
			}
			b++;
			pattern_fill(src, ZONE, rnd(&seed), 0);
			switch (how) {
			case 0:
			case 1:
				what = "direct write";
				a = a / SECTOR * SECTOR;
				b = up(b, SECTOR);
				if (pwrite(f.d, src + a, b - a, (off_t)(from + a)) != (ssize_t)(b - a))
					fail("%s: %s", what, errname(errno));
				break;
			case 2:
				what = "buffered write";
				if (pwrite(f.b, src + a, b - a, (off_t)(from + a)) != (ssize_t)(b - a))
					fail("%s: %s", what, errname(errno));
				break;
			case 3:
			case 4:
				what = how == 3 ? "punch" : "zero range";
				memset(src, 0, ZONE);
				if (fallocate(f.b, (how == 3 ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
					      FALLOC_FL_KEEP_SIZE, (off_t)(from + a), (off_t)(b - a)) && errno != EOPNOTSUPP)
					fail("%s: %s", what, errname(errno));
				break;
			case 5:
				what = "mmap store";
				memcpy(m + from + a, src + a, b - a);
				break;
			case 6:
				what = "MADV_REMOVE";
				a = up(from + a, PAGE);
				b = (from + b) / PAGE * PAGE;
				if (a >= b)
					continue;
				memset(src, 0, ZONE);
				if (madvise(m + a, b - a, MADV_REMOVE))
					fail("%s: %s", what, errname(errno));
				a -= from;
				b -= from;
				break;
			}
			memcpy(model + a, src + a, b - a);
			len = pread_all(pick(2) ? f.d : f.b, got, ZONE, from);
			if (len != ZONE)
				fail("zone %u after %s: short read, %zu", zone, what, len);
			same(got, model, ZONE, from, what, "read");
			if (mapped)
				same(m + from, model, ZONE, from, what, "mapping");
		}
		--*running;
		_exit(0);
	}
	if (!child()) {
		unsigned char *src = xalloc(16 * PAGE), *got = xalloc(18 * PAGE), *model = xalloc(16 * PAGE);

		reopen(&f);
		pattern_fill(src, 16 * PAGE, 77, 0);
		while (*running) {
			size_t len = pick(16 * PAGE), at = pick(15 * PAGE) / SECTOR * SECTOR, size;

			set_size(&f, end + len);
			size = len;
			memset(model, 0, 16 * PAGE);
			if (pick(2)) {
				if (pwrite(f.d, src, PAGE, (off_t)(end + at)) != (ssize_t)PAGE)
					fail("direct write at the end: %s", errname(errno));
				memcpy(model + at, src, PAGE);
			} else {
				if (pwrite(f.b, src, 100, (off_t)(end + at)) != 100)
					fail("write at the end: %s", errname(errno));
				memcpy(model + at, src, 100);
				if (at + 100 > size)
					size = at + 100;
				goto compare;
			}
			if (at + PAGE > size)
				size = at + PAGE;
compare:
			if (pread_all(pick(2) ? f.d : f.b, got, 17 * PAGE, end) != size || size_of(&f) != end + size)
				fail("behind the zones: the size is %zu, should be %zu", size_of(&f), end + size);
			same(got, model, size, end, "behind the zones", "read");
			set_size(&f, end);
		}
		_exit(0);
	}
	children();
	munmap(m, up(most, PAGE));
	destroy(&f);
}

/* Two descriptors, a locked mapping, msync and FADV_DONTNEED: each sees what the others wrote. */
static void mixed(int locked)
{
	struct file f = create("mixed");
	size_t size = 16 * PAGE;
	unsigned char *model = xalloc(size), *buf = xalloc(size), *got = xalloc(size), *m;

	pin_cpu();
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	m = map(&f, size);
	if (locked && mlock(m, size))
		die("mlock");
	for (int i = 0; i < 150 * load; i++) {
		size_t a = pick(size), len = 1 + pick(size - a);
		const char *what;

		pattern_fill(buf, size, 100 + (uint64_t)i, 0);
		switch (pick(5)) {
		case 0:
			what = "direct write";
			a = a / SECTOR * SECTOR;
			len = up(len, SECTOR);
			if (a + len > size)
				len = size - a;
			pwrite_all(f.d, buf + a, len, a);
			break;
		case 1:
			what = "buffered write";
			pwrite_all(f.b, buf + a, len, a);
			break;
		case 2:
			what = "mmap store, msync";
			memcpy(m + a, buf + a, len);
			if (msync(m, size, MS_SYNC))
				fail("msync: %s", errname(errno));
			break;
		case 3:
			what = "mmap store";
			memcpy(m + a, buf + a, len);
			break;
		default:
			what = "eviction";
			len = 0;
			posix_fadvise(pick(2) ? f.b : f.d, 0, 0, POSIX_FADV_DONTNEED);
			break;
		}
		memcpy(model + a, buf + a, len);
		for (int route = 0; route < 3; route++) {
			if (pick(2))
				continue;
			if (route == 2)
				memcpy(got, m, size);
			else if (pread_all(route ? f.d : f.b, got, size, 0) != size)
				fail("short read");
			same(got, model, size, 0, what, route == 2 ? "mapping" : route ? "direct read" : "read");
		}
	}
	munmap(m, size);
	evict(&f);
	check(&f, model, size, "at the end");
	destroy(&f);
}

/* Another process's memory, which is a mapping of the file, written and read from outside. */
static void process_vm(int arg)
{
	struct file f = create("vm");
	size_t size = 8 * PAGE;
	unsigned char *model = xalloc(size), *buf = xalloc(size), *got = xalloc(size), *m, *private;
	int pipes[2];
	pid_t pid;

	(void)arg;
	pin_cpu();
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	m = map(&f, size);
	private = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, f.b, 0);
	if (private == MAP_FAILED || pipe(pipes))
		die("mmap or pipe");
	pid = child();
	if (!pid) {
		char c;

		close(pipes[1]);
		if (read(pipes[0], &c, 1))
			_exit(2);
		_exit(0);
	}
	for (int i = 0; i < 40 * load; i++) {
		size_t a = pick(size), len = 1 + pick(size - a), page = pick(8) * PAGE;
		struct iovec local, remote;

		pattern_fill(buf, size, 100 + (uint64_t)i, 0);
		local = (struct iovec){ buf + a, len };
		remote = (struct iovec){ (i % 8 == 7 ? private : m) + a, len };
		if (process_vm_writev(pid, &local, 1, &remote, 1, 0) != (ssize_t)len)
			fail("process_vm_writev: %s", errname(errno));
		if (i % 8 != 7)
			memcpy(model + a, buf + a, len);
		if (pread_all(f.d, got, size, 0) != size)
			fail("short read");
		same(got, model, size, 0, "after process_vm_writev", "direct read");
		pattern_fill(model + page, PAGE, 500 + (uint64_t)i, 0);
		memcpy(buf, model + page, PAGE);
		pwrite_all(f.d, buf, PAGE, page);
		local = (struct iovec){ got, size };
		remote = (struct iovec){ m, size };
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)size)
			fail("process_vm_readv: %s", errname(errno));
		same(got, model, size, 0, "after a direct write", "process_vm_readv");
		/* Straight from that memory to the file: pages of it that lie elsewhere. */
		local = (struct iovec){ got, PAGE };
		remote = (struct iovec){ m + page, PAGE };
		process_vm_readv(pid, &local, 1, &remote, 1, 0);
		same(got, model + page, PAGE, page, "again", "process_vm_readv");
	}
	close(pipes[1]);
	children();
	check(&f, model, size, "at the end");
	munmap(m, size);
	munmap(private, size);
	evict(&f);
	check(&f, model, size, "evicted");
	destroy(&f);
}

/* Writes that the device has completed so far. */
static unsigned long long device_writes(void)
{
	char path[300];
	unsigned long long n[5];
	FILE *s;

	snprintf(path, sizeof(path), "/sys/class/block/%s/stat", strrchr(device, '/') + 1);
	s = fopen(path, "r");
	if (!s || fscanf(s, "%llu %llu %llu %llu %llu", n, n + 1, n + 2, n + 3, n + 4) != 5)
		die("%s", path);
	fclose(s);
	return n[4];
}

/* Frozen is frozen: nobody writes, nothing reaches the device, and afterwards all go on. */
static void freeze(int arg)
{
	enum { SYNCHRONOUS, RING, LIBAIO, BUFFERED, STORE, EXTENDING, KINDS };
	static const char *const names[] = { "direct", "io_uring", "aio", "buffered", "mmap", "extending" };
	atomic_uint *count = share(KINDS * sizeof(*count));
	atomic_bool *stop = share(sizeof(*stop));
	int root = xopen(dir, O_RDONLY | O_DIRECTORY);

	(void)arg;
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct file f;
		char name[32];
		unsigned char *buf;
		struct ring r;
		struct op ops[8];

		if (child())
			continue;
		snprintf(name, sizeof(name), "freeze-%u", kind);
		f = create(name);
		fill(&f, 8 * PAGE, kind);
		buf = xalloc(8 * PAGE);
		if (kind == RING || kind == LIBAIO)
			ring_init(&r, kind == RING ? URING : AIO);
		while (!*stop) {
			pattern_fill(buf, 8 * PAGE, count[kind], 0);
			if (kind == RING || kind == LIBAIO) {
				for (unsigned int i = 0; i < 8; i++)
					ops[i] = (struct op){ .fd = f.d, .buf = buf + i * PAGE, .len = PAGE, .pos = i * PAGE };
				submit(&r, ops, 8);
				for (unsigned int i = 0; i < 8; i++)
					if (reap(&r)->res != (long)PAGE)
						fail("%s: a write failed", names[kind]);
			} else if (kind == STORE) {
				unsigned char *m = map(&f, PAGE);

				memcpy(m, buf, PAGE);
				munmap(m, PAGE);
				/* So that the next store has to ask again. */
				if (fsync(f.b))
					fail("%s: fsync: %s", names[kind], errname(errno));
			} else if (pwrite(kind == BUFFERED ? f.b : f.d, buf, PAGE,
					  kind == EXTENDING ? (off_t)((count[kind] % 64) * PAGE) : 0) != (ssize_t)PAGE) {
				fail("%s: %s", names[kind], errname(errno));
			}
			if (kind == EXTENDING && count[kind] % 64 == 0)
				set_size(&f, PAGE);
			count[kind]++;
		}
		_exit(0);
	}
	for (int round = 0; round < 3 * load; round++) {
		unsigned int then[KINDS];
		unsigned long long writes;

		for (unsigned int kind = 0; kind < KINDS; kind++) {
			unsigned int was = count[kind];

			while (count[kind] < was + 2)
				usleep(1000);
		}
		if (ioctl(root, FIFREEZE, 0)) {
			if (errno != EOPNOTSUPP)
				fail("FIFREEZE: %s", errname(errno));
			printf("    cannot be frozen\n");
			break;
		}
		writes = device_writes();
		usleep(60000);	/* who has written counts */
		for (unsigned int kind = 0; kind < KINDS; kind++)
			then[kind] = count[kind];
		usleep(200000);
		for (unsigned int kind = 0; kind < KINDS; kind++)
			if (count[kind] != then[kind])
				fail("%s writes go on while frozen", names[kind]);
		if (device_writes() != writes)
			fail("%llu requests reached the device while frozen", device_writes() - writes);
		/* Reading is allowed. */
		{
			unsigned char *got = xalloc(8 * PAGE);
			int fd = xopen(path_of("freeze-1"), O_RDONLY | O_DIRECT);

			if (pread(fd, got, 8 * PAGE, 0) != 8 * (ssize_t)PAGE)
				fail("cannot read while frozen: %s", errname(errno));
			close(fd);
			free(got);
		}
		if (ioctl(root, FITHAW, 0))
			fail("FITHAW: %s", errname(errno));
	}
	*stop = true;
	children();
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		char name[32];

		snprintf(name, sizeof(name), "freeze-%u", kind);
		unlink(path_of(name));
	}
}

/* Read-only while somebody writes: refused; afterwards: nobody writes. */
static void read_only(int arg)
{
	struct file f = create("read-only");
	atomic_uint *count = share(sizeof(*count));
	atomic_bool *stop = share(sizeof(*stop));
	unsigned char *buf = xalloc(16 * PAGE);
	struct ring r;
	struct op ops[16];
	int ret;

	(void)arg;
	pattern_fill(buf, 16 * PAGE, 2, 0);
	fill(&f, 16 * PAGE, 1);
	if (!child()) {
		reopen(&f);
		while (!*stop) {
			pwrite_all(f.d, buf, 16 * PAGE, 0);
			++*count;
		}
		_exit(0);
	}
	close(f.d);
	close(f.b);
	while (*count < 3)
		usleep(1000);
	for (int i = 0; i < 20; i++)
		if (!mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) || errno != EBUSY)
			fail("remounted read-only while a file is open for writing");
	*stop = true;
	children();
	/* On their way when their file is closed. */
	for (int engine = AIO; engine <= URING; engine++) {
		reopen(&f);
		ring_init(&r, (enum engine)engine);
		pattern_fill(buf, 16 * PAGE, 10 + (uint64_t)engine, 0);
		for (unsigned int i = 0; i < 16; i++)
			ops[i] = (struct op){ .fd = f.d, .buf = buf + i * PAGE, .len = PAGE, .pos = i * PAGE };
		submit(&r, ops, 16);
		close(f.d);
		close(f.b);
		ret = mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL);
		if (ret && errno != EBUSY)
			fail("remount: %s", errname(errno));
		for (unsigned int i = 0; i < 16; i++)
			if (reap(&r)->res != (long)PAGE)
				fail("%s: a write failed", engine_name((enum engine)engine));
		for (int i = 0; ret && i < 2000; i++) {
			usleep(1000);
			ret = mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL);
		}
		if (ret)
			fail("remount with nothing open: %s", errname(errno));
		ret = open(f.path, O_WRONLY | O_DIRECT);
		if (ret >= 0 || errno != EROFS)
			fail("open for writing: %s", ret < 0 ? errname(errno) : "success");
		f.d = xopen(f.path, O_RDONLY | O_DIRECT);
		f.b = xopen(f.path, O_RDONLY);
		check(&f, buf, 16 * PAGE, "read-only");
		close(f.d);
		close(f.b);
		if (mount(NULL, dir, NULL, MS_REMOUNT, NULL))
			fail("remount for writing: %s", errname(errno));
	}
	reopen(&f);
	pwrite_all(f.d, buf, PAGE, 0);
	destroy(&f);
}

/* One file under two names, one of them read-only. */
static void bind(int arg)
{
	struct file f = create("bound"), g = { path_of("other/bound"), -1, -1 };
	size_t size = 16 * PAGE;
	unsigned char *model = xalloc(size), *buf = xalloc(size), *m;
	char *other = path_of("other");
	ssize_t n;
	int fd;

	(void)arg;
	pin_cpu();
	mkdir(other, 0755);
	if (mount(dir, other, NULL, MS_BIND, NULL))
		die("bind mount");
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	reopen(&g);
	m = map(&f, size);
	for (int i = 0; i < 20 * load; i++) {
		size_t at = pick(16) * PAGE;

		pattern_fill(buf, PAGE, 10 + (uint64_t)i, 0);
		memcpy(model + at, buf, PAGE);
		pwrite_all(i & 1 ? f.d : g.d, buf, PAGE, at);
		same(m, model, size, 0, "written by the other name", "mapping");
		check(i & 2 ? &f : &g, model, size, "written by the other name");
	}
	/* The buffer is the target, whatever its name. */
	n = pwrite(g.d, m + PAGE, 4 * PAGE, 0);
	if (n == 4 * (ssize_t)PAGE && !strstr(options, "error"))
		memmove(model, model + PAGE, 4 * PAGE);
	else if (n >= 0 || errno != EFAULT || strstr(options, "buffered"))
		fail("overlap: %zd, %s", n, errname(errno));
	check(&f, model, size, "overlap");
	n = pwrite(g.d, m + 8 * PAGE, 4 * PAGE, 0);
	if (n != 4 * (ssize_t)PAGE)
		fail("disjoint: %zd, %s", n, errname(errno));
	memcpy(model, model + 8 * PAGE, 4 * PAGE);
	check(&g, model, size, "disjoint");
	close(g.d);
	close(g.b);
	if (mount(NULL, other, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
		fail("read-only bind mount: %s", errname(errno));
	fd = open(g.path, O_RDWR | O_DIRECT);
	if (fd >= 0 || errno != EROFS)
		fail("open for writing in a read-only mount: %s", fd < 0 ? errname(errno) : "success");
	pwrite_all(f.d, buf, PAGE, 0);
	memcpy(model, buf, PAGE);
	fd = xopen(g.path, O_RDONLY | O_DIRECT);
	if (pread_all(fd, buf, size, 0) != size)
		fail("short read");
	same(buf, model, size, 0, "read-only mount", "direct read");
	close(fd);
	munmap(m, size);
	if (umount(other))
		fail("umount: %s", errname(errno));
	rmdir(other);
	destroy(&f);
}

/* A file that has lost its name, and its descriptors, before the requests on it complete. */
static void unlinked(int arg)
{
	size_t piece = 64 << 10;
	unsigned char *buf = xalloc(16 * piece), *got = xalloc(16 * piece);
	struct file x = create("unlinked");
	uint64_t before;

	(void)arg;
	destroy(&x);
	before = free_blocks();
	pattern_fill(buf, 16 * piece, 1, 0);
	for (int round = 0; round < 12 * load; round++) {
		struct file f = create("unlinked");
		struct op ops[16];
		struct ring r;

		/* Overwriting, filling, extending; with and without a descriptor left; a task that just ends. */
		if (round % 3 == 0)
			fill(&f, 16 * piece, 2);
		else if (round % 3 == 1 && fallocate(f.b, 0, 0, (off_t)(16 * piece)))
			fail("fallocate: %s", errname(errno));
		if (child()) {
			close(f.d);
			close(f.b);
			children();
			continue;
		}
		ring_init(&r, round & 1 ? AIO : URING);
		for (unsigned int i = 0; i < 16; i++)
			ops[i] = (struct op){ .fd = f.d, .buf = buf + i * piece, .len = piece, .pos = i * piece };
		submit(&r, ops, 16);
		if (unlink(f.path))
			fail("unlink: %s", errname(errno));
		close(f.d);
		if (round & 4)
			close(f.b);
		if (round % 4 == 3)
			_exit(0);
		for (unsigned int i = 0; i < 16; i++) {
			struct op *op = reap(&r);

			if (op->res != (long)piece)
				fail("round %d: %ld", round, op->res);
		}
		if (!(round & 4)) {
			posix_fadvise(f.b, 0, 0, POSIX_FADV_DONTNEED);
			if (pread_all(f.b, got, 16 * piece, 0) != 16 * piece)
				fail("round %d: short read", round);
			same(got, buf, 16 * piece, 0, "unlinked", "read");
		}
		_exit(0);
	}
	for (int i = 0; free_blocks() != before; i++) {
		if (i == 800)
			fail("%llu blocks are free, before there were %llu", (unsigned long long)free_blocks(),
			     (unsigned long long)before);
		usleep(10000);
	}
}

/* A file system in a file, through a loop device that writes directly. */
static void loop(int arg)
{
	struct file f = create("image"), g;
	size_t size = 16 * PAGE;
	unsigned char *buf = xalloc(size), *model = xalloc(size), *m;
	struct loop_config config = { .info.lo_flags = LO_FLAGS_DIRECT_IO };
	char name[32], command[400], *inner = path_of("inner"), *where = path_of("inner/file");
	const char *outside = dir;
	struct loop_info64 info;
	int control, fd, n;
	struct ring r;
	struct op ops[16];

	(void)arg;
	set_size(&f, 24 << 20);
	control = xopen("/dev/loop-control", O_RDWR);
	n = ioctl(control, LOOP_CTL_GET_FREE);
	snprintf(name, sizeof(name), "/dev/loop%d", n);
	fd = xopen(name, O_RDWR);
	config.fd = (uint32_t)f.b;
	if (n < 0 || ioctl(fd, LOOP_CONFIGURE, &config))
		fail("LOOP_CONFIGURE: %s", errname(errno));
	if (ioctl(fd, LOOP_GET_STATUS64, &info) || !(info.lo_flags & LO_FLAGS_DIRECT_IO))
		fail("the loop device does not write directly");
	snprintf(command, sizeof(command), "mkfs.%s -fq %s", fstype, name);
	if (system(command))
		die("%s", command);
	mkdir(inner, 0755);
	for (int round = 0; round < 2 * load; round++) {
		if (mount(name, inner, fstype, 0, options))
			fail("mount of the inner file system: %s", errname(errno));
		g.path = where;
		g.d = xopen(where, O_RDWR | O_DIRECT | O_CREAT);
		g.b = xopen(where, O_RDWR);
		pattern_fill(model, size, 1, 0);
		fill(&g, size, 1);
		pattern_fill(buf, size, 2 + (uint64_t)round, 0);
		ring_init(&r, round & 1 ? AIO : URING);
		for (unsigned int i = 0; i < 16; i++)
			ops[i] = (struct op){ .fd = g.d, .buf = buf + i * PAGE, .len = PAGE, .pos = i * PAGE };
		submit(&r, ops, 16);
		for (unsigned int i = 0; i < 16; i++)
			acknowledged(reap(&r), &g, "inside");
		memcpy(model, buf, size);
		m = map(&g, size);
		memset(m + 100, 7, 5000);
		memset(model + 100, 7, 5000);
		/* From one file to the other, both ways. */
		pwrite_all(g.d, m, PAGE, 8 * PAGE);
		memcpy(model + 8 * PAGE, model, PAGE);
		munmap(m, size);
		check(&g, model, size, "inside");
		if (fsync(g.b))
			fail("fsync: %s", errname(errno));
		close(g.d);
		close(g.b);
		if (umount(inner) || mount(name, inner, fstype, 0, options))
			fail("umount and mount: %s", errname(errno));
		reopen(&g);
		check(&g, model, size, "mounted again");
		close(g.d);
		close(g.b);
		if (umount(inner))
			fail("umount: %s", errname(errno));
	}
	if (ioctl(fd, LOOP_CLR_FD, 0))
		fail("LOOP_CLR_FD: %s", errname(errno));
	close(fd);
	evict(&f);
	snprintf(command, sizeof(command), "fsck.%s -n %s >/dev/null", fstype, f.path);
	if (system(command))
		fail("the inner file system is damaged");
	rmdir(inner);
	dir = outside;
	destroy(&f);
}

/* Whether all of `pos..pos + PAGE` is mapped; written as well, if `written`. */
static bool mapped_at(int fd, size_t pos, bool written)
{
	union {
		struct fiemap map;
		char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u;
	struct fiemap_extent *e = u.map.fm_extents;

	memset(&u, 0, sizeof(u));
	u.map.fm_start = pos;
	u.map.fm_length = PAGE;
	u.map.fm_extent_count = 1;
	if (ioctl(fd, FS_IOC_FIEMAP, &u))
		fail("fiemap: %s", errname(errno));
	return u.map.fm_mapped_extents && e->fe_logical <= pos && e->fe_logical + e->fe_length >= pos + PAGE &&
		!(written && e->fe_flags & FIEMAP_EXTENT_UNWRITTEN);
}

/* Where acknowledged data is, there is no hole. */
static void seek(int preallocated)
{
	struct file f = create("seek");
	size_t pages = 512;
	atomic_uchar *done = share(pages);
	atomic_bool *stop = share(sizeof(*stop));

	set_size(&f, pages * PAGE);
	if (preallocated && fallocate(f.b, 0, 0, (off_t)(pages * PAGE)))
		fail("fallocate: %s", errname(errno));
	for (unsigned int who = 0; who < 3; who++) {
		unsigned char *buf;
		struct ring r;

		if (child())
			continue;
		reopen(&f);
		buf = xalloc(PAGE);
		memset(buf, 1, PAGE);
		if (who == 2)
			ring_init(&r, AIO);
		for (int i = 0; i < 150; i++) {
			size_t page = pick(pages / 3) * 3 + who;
			struct op op = { .fd = f.d, .buf = buf, .len = PAGE, .pos = page * PAGE };

			if (who < 2) {
				pwrite_all(who ? f.b : f.d, buf, PAGE, page * PAGE);
			} else {
				submit(&r, &op, 1);
				if (reap(&r)->res != (long)PAGE)
					fail("write: %ld", op.res);
			}
			done[page] = 1 + (unsigned char)who;
		}
		_exit(0);
	}
	if (!child()) {
		while (!*stop) {
			size_t page = pick(pages);
			unsigned int who = done[page];
			off_t data, hole, pos = (off_t)(page * PAGE);

			if (!who)
				continue;
			data = lseek(f.b, pos, SEEK_DATA);
			hole = lseek(f.b, pos, SEEK_HOLE);
			if (data != pos || hole < pos + (off_t)PAGE)
				fail("page %zu was written (by %u): data at %lld, a hole at %lld", page, who - 1, (long long)data,
				     (long long)hole);
			if (!mapped_at(f.b, page * PAGE, who != 2))
				fail("page %zu was written (by %u): fiemap does not say so", page, who - 1);
		}
		_exit(0);
	}
	for (int i = 0; i < 3; i++) {
		int status;

		if (wait(&status) < 0 || status)
			_exit(1);
	}
	*stop = true;
	children();
	evict(&f);
	for (size_t page = 0; page < pages; page++)
		if (done[page] && lseek(f.b, (off_t)(page * PAGE), SEEK_DATA) != (off_t)(page * PAGE))
			fail("page %zu is a hole at the end", page);
		else if (!done[page] && lseek(f.b, (off_t)(page * PAGE), SEEK_DATA) == (off_t)(page * PAGE))
			fail("page %zu is no hole, but was not written", page);
	destroy(&f);
}

/* What a mapping stored behind the end of the file stays invisible when the file grows over it. */
static void eof_zeroes(int arg)
{
	static const char *const names[] = { "truncate", "direct write", "buffered write", "fallocate", "aio", "append",
					     "io_uring", "mmap and truncate" };
	unsigned char *model = xalloc(16 * PAGE), *buf = xalloc(PAGE), *m;

	(void)arg;
	pin_cpu();
	for (unsigned int how = 0; how < ARRAY_SIZE(names); how++)
		for (int state = 0; state < 4; state++)
			for (int far = 0; far < 2; far++) {
				struct file f = create("eof");
				size_t size = 2 * PAGE + (state & 1 ? 512 : 1000), to = 0;
				size_t pos = far ? 6 * PAGE : 3 * PAGE;
				struct op op = { .fd = f.d, .buf = buf, .len = PAGE, .pos = pos };
				char what[80];
				struct ring r;

				/* The block behind the end: right behind it, for those who can. */
				if (how == 1 && !far && state & 1)
					op.pos = pos = size;
				snprintf(what, sizeof(what), "%s, state %d, %s", names[how], state, far ? "far" : "near");
				memset(model, 0, 16 * PAGE);
				pattern_fill(model, size, 1, 0);
				pattern_fill(buf, PAGE, 2, 0);
				fill(&f, size, 1);
				m = map(&f, 3 * PAGE);
				memset(m + size, 0x99, 3 * PAGE - size);
				if (state & 2 && msync(m, 3 * PAGE, MS_SYNC))
					fail("msync: %s", errname(errno));
				switch (how) {
				case 0:
				case 7:
					set_size(&f, to = pos + 100);
					if (how == 7) {
						m[size + 50] = 5;
						model[size + 50] = 5;
					}
					break;
				case 1:
				case 2:
					pwrite_all(how == 1 ? f.d : f.b, buf, PAGE, pos);
					memcpy(model + pos, buf, PAGE);
					to = pos + PAGE;
					break;
				case 3:
					if (fallocate(f.b, 0, (off_t)pos, PAGE))
						fail("%s: %s", what, errname(errno));
					to = pos + PAGE;
					break;
				case 4:
				case 6:
					ring_init(&r, how == 4 ? AIO : URING);
					submit(&r, &op, 1);
					if (reap(&r)->res != (long)PAGE)
						fail("%s: %ld", what, op.res);
					memcpy(model + pos, buf, PAGE);
					to = pos + PAGE;
					break;
				case 5:
					if (lseek(f.b, 0, SEEK_END) < 0 || write(f.b, buf, 100) != 100)
						fail("%s: %s", what, errname(errno));
					memcpy(model + size, buf, 100);
					to = size + 100;
					break;
				}
				check(&f, model, to, what);
				same(m, model, to < 3 * PAGE ? to : 3 * PAGE, 0, what, "mapping");
				evict(&f);
				check(&f, model, to, what);
				munmap(m, 3 * PAGE);
				/* Down into the block, and up again. */
				set_size(&f, 700);
				set_size(&f, 2 * PAGE);
				memset(model + 700, 0, 2 * PAGE);
				check(&f, model, 2 * PAGE, what);
				evict(&f);
				check(&f, model, 2 * PAGE, what);
				destroy(&f);
			}
}

/* A log: appended, synced, published; whoever reads up to there finds it. */
static void db_log(int how)
{
	struct file f = create("log");
	_Atomic size_t *published = share(sizeof(*published));
	size_t most = 128 << 10, pos = 0;
	unsigned char *all = xalloc(most);
	int fd;

	pattern_fill(all, most, 9, 0);
	for (unsigned int who = 0; who < 2; who++) {
		unsigned char *got;
		struct file g = f;

		if (child())
			continue;
		got = xalloc(most + PAGE);
		reopen(&g);
		for (size_t to = 0; to < most;) {
			size_t from = to > 8 * PAGE ? to - 8 * PAGE : 0, n;

			from = from / PAGE * PAGE;
			to = *published;
			if (to <= from) {
				usleep(100);
				continue;
			}
			n = pread_all(who ? g.d : g.b, got, up(to - from, PAGE), from);
			if (n < to - from)
				fail("%s reader: %zu bytes at %zu, %zu are published", who ? "direct" : "buffered", n, from, to);
			/*
			 * Behind that a write is on its way, which may have made the file longer since the page was
			 * found: it is zeroes there still, on every file system (filemap_read() looks at the size last).
			 */
			same(got, all + from, to - from, from, "log", who ? "direct reader" : "reader");
		}
		_exit(0);
	}
	fd = xopen(f.path, O_WRONLY | O_APPEND | (how == 1 ? O_DIRECT : how == 2 ? O_DIRECT | O_DSYNC : how == 3 ? O_DSYNC : 0));
	while (pos < most) {
		size_t len = how == 1 || how == 2 ? (1 + pick(8)) * SECTOR : 1 + pick(5000);
		ssize_t n;

		if (len > most - pos)
			len = most - pos;
		/* The memory of an O_DIRECT write is aligned as well. */
		n = write(fd, all + pos, len);
		if (n != (ssize_t)len)
			fail("append of %zu at %zu: %zd, %s", len, pos, n, errname(errno));
		if (how < 2 && fdatasync(fd))
			fail("fdatasync: %s", errname(errno));
		pos += len;
		*published = pos;
	}
	children();
	check(&f, all, most, "log");
	close(fd);
	destroy(&f);
}

/* A preallocated file filled in no order, and looked at after the next mount. */
static void db_prealloc(int keep)
{
	struct file f = create("prealloc");
	size_t size = 2 << 20, piece = 8 << 10, n = size / piece, end = keep ? 0 : size;
	unsigned char *model = xalloc(size), *buf = xalloc(size);
	unsigned int order[512];
	struct ring r;
	struct stat st;
	void *bad;

	memset(model, 0, size);
	pattern_fill(buf, size, 3, 0);
	if (fallocate(f.b, keep ? FALLOC_FL_KEEP_SIZE : 0, 0, (off_t)size))
		fail("fallocate: %s", errname(errno));
	for (unsigned int i = 0; i < n; i++)
		order[i] = i;
	shuffle(order, (unsigned int)n);
	ring_init(&r, URING);
	for (unsigned int i = 0; i < n / 2; i += 8) {
		struct op ops[8];

		for (unsigned int k = 0; k < 8; k++) {
			size_t pos = order[i + k] * piece;

			ops[k] = (struct op){ .fd = k < 6 ? f.d : f.b, .buf = buf + pos, .len = piece, .pos = pos };
			if (k == 3)
				ops[k].rwf = RWF_DSYNC;
			if (k == 4)
				ops[k].len = piece - SECTOR;
			memcpy(model + pos, buf + pos, ops[k].len);
			if (pos + ops[k].len > end)
				end = pos + ops[k].len;
		}
		submit(&r, ops, 8);
		for (unsigned int k = 0; k < 8; k++) {
			struct op *op = reap(&r);

			if (op->res != (long)op->len)
				fail("%zu bytes at %zu: %ld", op->len, op->pos, op->res);
		}
	}
	/* What fails frees nothing. */
	bad = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pwrite(f.d, bad, PAGE, (off_t)(end / PAGE * PAGE)) >= 0 || pwrite(f.b, bad, PAGE, (off_t)end) >= 0)
		fail("written from nowhere");
	check(&f, model, end, "filled");
	if (fsync(f.b) || fstat(f.b, &st))
		fail("fsync: %s", errname(errno));
	if ((size_t)st.st_blocks * 512 < size)
		fail("%zu of %zu bytes are still allocated", (size_t)st.st_blocks * 512, size);
	close(f.d);
	close(f.b);
	cycle();
	reopen(&f);
	check(&f, model, end, "after the next mount");
	if (fstat(f.b, &st) || (size_t)st.st_blocks * 512 < size)
		fail("%zu of %zu bytes are allocated after the next mount", (size_t)st.st_blocks * 512, size);
	destroy(&f);
}

/* A page of a database beside direct readers: no part is older than what was there before. Sectors are whole if the
 * device has any, which a RAM disk has not. */
static void db_page(int kib)
{
	struct file f = create("page");
	size_t size = (size_t)kib << 10;
	struct { _Atomic uint64_t begun, ended; atomic_bool stop; } *s = share(sizeof(*s));
	uint64_t *buf = xalloc(size);

	memset(buf, 0, size);
	pwrite_all(f.b, buf, size, 0);
	evict(&f);
	for (unsigned int who = 0; who < 2; who++) {
		uint64_t *got;
		struct file g = f;

		if (child())
			continue;
		got = xalloc(size);
		reopen(&g);
		while (!s->stop) {
			uint64_t from = s->ended, to;

			if (pread(g.d, got, size, 0) != (ssize_t)size)
				fail("read: %s", errname(errno));
			to = s->begun;
			for (size_t i = 0; i < size / 8; i++) {
				if (strstr(device, "null") && got[i] != got[i / 64 * 64])
					fail("sector %zu is torn: %llu and %llu", i / 64, (unsigned long long)got[i / 64 * 64],
					     (unsigned long long)got[i]);
				if (got[i] < from || got[i] > to)
					fail("sector %zu: version %llu, not between %llu and %llu", i / 64,
					     (unsigned long long)got[i], (unsigned long long)from, (unsigned long long)to);
			}
		}
		_exit(0);
	}
	for (uint64_t v = 1; v < 400u * (unsigned int)load; v++) {
		for (size_t i = 0; i < size / 8; i++)
			buf[i] = v;
		s->begun = v;
		if (pwrite(f.d, buf, size, 0) != (ssize_t)size)
			fail("write: %s", errname(errno));
		s->ended = v;
	}
	s->stop = true;
	children();
	destroy(&f);
}

/* Asynchronous O_DSYNC: when it completes, the data is on the device itself. */
static void dsync(int arg)
{
	struct file f;
	size_t size = 32 * PAGE;
	unsigned char *buf = xalloc(size), *got = xalloc(PAGE), *model = xalloc(2 * size);
	int raw = xopen(device, O_RDONLY | O_DIRECT);

	(void)arg;
	for (int engine = AIO; engine <= URING; engine++)
		for (int state = 0; state < 3; state++) {
			struct op ops[32];
			struct ring r;
			char what[64];
			int fd;

			snprintf(what, sizeof(what), "%s, state %d", engine_name((enum engine)engine), state);
			f = create("dsync");
			if (state == 0)
				fill(&f, size, 1);
			else if (state == 1 && fallocate(f.b, 0, 0, (off_t)size))
				fail("fallocate: %s", errname(errno));
			fd = xopen(f.path, O_RDWR | O_DIRECT | O_DSYNC);
			pattern_fill(buf, size, 10 + (uint64_t)state, 0);
			memcpy(model, buf, size);
			for (unsigned int i = 0; i < 32; i++)
				ops[i] = (struct op){ .fd = fd, .buf = buf + i * PAGE, .len = PAGE, .pos = i * PAGE };
			ring_init(&r, (enum engine)engine);
			submit(&r, ops, 32);
			for (unsigned int i = 0; i < 32; i++) {
				struct op *op = reap(&r);
				union {
					struct fiemap map;
					char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
				} u;

				acknowledged(op, &f, what);
				memset(&u, 0, sizeof(u));
				u.map.fm_start = op->pos;
				u.map.fm_length = PAGE;
				u.map.fm_extent_count = 1;
				if (ioctl(f.b, FS_IOC_FIEMAP, &u) || !u.map.fm_mapped_extents ||
				    u.map.fm_extents[0].fe_flags & FIEMAP_EXTENT_UNWRITTEN)
					fail("%s: page %zu is not mapped as written", what, op->pos / PAGE);
				pread_all(raw, got, PAGE, u.map.fm_extents[0].fe_physical + op->pos -
					  u.map.fm_extents[0].fe_logical);
				same(got, op->buf, PAGE, op->pos, what, "device");
			}
			check(&f, model, size, what);
			close(fd);
			destroy(&f);
		}
	close(raw);
}

/* fallocate of what others are filling. */
static void fallocating(int arg)
{
	struct file f = create("fallocating");
	size_t pages = 512;
	unsigned char *model = share(pages * PAGE);
	atomic_uint *running = share(sizeof(*running));

	(void)arg;
	set_size(&f, pages * PAGE);
	*running = 2;
	for (unsigned int who = 0; who < 2; who++) {
		unsigned char *buf, *got;

		if (child())
			continue;
		reopen(&f);
		buf = xalloc(PAGE);
		got = xalloc(PAGE);
		for (int i = 0; i < 200 * load; i++) {
			size_t page = pick(pages / 2) * 2 + who;
			size_t skip = pick(8) * SECTOR, len = PAGE - skip;

			pattern_fill(buf, PAGE, rnd(&seed), 0);
			pwrite_all(f.d, buf, len, page * PAGE + skip);
			memcpy(model + page * PAGE + skip, buf, len);
			pread_all(pick(2) ? f.d : f.b, got, PAGE, page * PAGE);
			same(got, model + page * PAGE, PAGE, page * PAGE, "written", "read");
		}
		--*running;
		_exit(0);
	}
	while (*running) {
		size_t page = pick(pages), n = 1 + pick(pages - page);

		if (posix_fallocate(f.b, (off_t)(page * PAGE), (off_t)(n * PAGE)))
			fail("posix_fallocate");
		usleep(2000);
	}
	children();
	check(&f, model, pages * PAGE, "filled");
	evict(&f);
	check(&f, model, pages * PAGE, "evicted");
	destroy(&f);
}

/* Opened two hundred times by direct readers, while it grows: what is within the size is there. */
static void many(int arg)
{
	struct file f = create("many");
	size_t most = 512 << 10, pos = 0;
	unsigned char *all = xalloc(most);
	atomic_bool *stop = share(sizeof(*stop));
	struct ring r;

	(void)arg;
	pattern_fill(all, most, 4, 0);
	for (unsigned int who = 0; who < 2; who++) {
		unsigned char *got;
		int fds[200];

		if (child())
			continue;
		got = xalloc(16 * PAGE);
		for (unsigned int i = 0; i < 200; i++)
			fds[i] = xopen(f.path, O_RDONLY | O_DIRECT);
		while (!*stop) {
			size_t size = size_of(&f), at = pick(size + PAGE) / SECTOR * SECTOR, len = (1 + pick(128)) * SECTOR;
			ssize_t n = pread(fds[pick(200)], got, len, (off_t)at);

			if (n < 0)
				fail("read of %zu at %zu, size %zu: %s", len, at, size, errname(errno));
			if (at < size && (size_t)n < (len < size - at ? len : size - at))
				fail("read of %zu at %zu, size %zu: %zd", len, at, size, n);
			if (n > 0 && at + (size_t)n > most)
				fail("read of %zu at %zu: %zd", len, at, n);
			same(got, all + at, (size_t)n, at, "growing", "direct read");
		}
		_exit(0);
	}
	ring_init(&r, URING);
	for (int i = 0; pos < most; i++) {
		struct op op = { .fd = f.d, .buf = all + pos, .pos = pos };

		op.len = (1 + pick(16)) * SECTOR;
		if (op.len > most - pos)
			op.len = most - pos;
		if (i % 3 == 0) {
			submit(&r, &op, 1);
			if (reap(&r)->res != (long)op.len)
				fail("write: %ld", op.res);
		} else {
			pwrite_all(i % 3 == 1 ? f.d : f.b, all + pos, op.len, pos);
		}
		pos += op.len;
	}
	*stop = true;
	children();
	check(&f, all, most, "grown");
	destroy(&f);
}

/* Blocks that a file loses while requests on it are on their way, and that the next file gets. */
static void reuse(int arg)
{
	size_t size = 64 * PAGE;
	unsigned char *old = xalloc(size), *new = xalloc(size);

	(void)arg;
	pattern_fill(old, size, 1, 0);
	pattern_fill(new, size, 2, 0);
	for (int round = 0; round < 8 * load; round++) {
		struct file f = create("reuse-a"), g;
		struct op ops[16];
		struct ring r;
		int fd;

		fill(&f, size, 3);
		ring_init(&r, round & 1 ? AIO : URING);
		for (unsigned int i = 0; i < 16; i++)
			ops[i] = (struct op){ .fd = f.d, .buf = old + i * 4 * PAGE, .len = 4 * PAGE, .pos = i * 4 * PAGE };
		submit(&r, ops, 16);
		switch (round / 2 % 4) {
		case 0:
			set_size(&f, 0);
			break;
		case 1:
			fd = xopen(f.path, O_WRONLY | O_TRUNC);
			close(fd);
			break;
		case 2:
			if (fallocate(f.b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size))
				fail("punch: %s", errname(errno));
			break;
		case 3:
			unlink(f.path);
			close(f.d);
			close(f.b);
			break;
		}
		g = create("reuse-b");
		pwrite_all(round % 3 == 2 ? g.b : g.d, new, size, 0);
		for (unsigned int i = 0; i < 16; i++) {
			struct op *op = reap(&r);

			if (op->res != (long)op->len)
				fail("round %d: %ld", round, op->res);
		}
		check(&g, new, size, "the next file");
		evict(&g);
		check(&g, new, size, "the next file");
		destroy(&g);
		if (round / 2 % 4 != 3)
			destroy(&f);
	}
}

/* Every kind of write shows in the time of modification, and every one of attributes. */
static void times(int arg)
{
	static const char *const names[] = { "direct", "buffered", "aio", "io_uring", "mmap", "append", "punch", "direct, again" };
	unsigned char *buf = xalloc(PAGE), *m;

	(void)arg;
	for (unsigned int how = 0; how < ARRAY_SIZE(names); how++) {
		struct file f = create("times");
		struct timespec past[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
		struct op op = { .fd = f.d, .buf = buf, .len = PAGE, .pos = PAGE };
		struct stat before, after;
		struct ring r;

		fill(&f, 4 * PAGE, 1);
		if (futimens(f.b, past))
			die("futimens");
		fstat(f.b, &before);
		usleep(20000);	/* longer than the clock's tick */
		switch (how) {
		case 0:
		case 7:
			pwrite_all(f.d, buf, PAGE, PAGE);
			break;
		case 1:
			pwrite_all(f.b, buf, PAGE, PAGE);
			break;
		case 2:
		case 3:
			ring_init(&r, how == 2 ? AIO : URING);
			submit(&r, &op, 1);
			if (reap(&r)->res != (long)PAGE)
				fail("%s: %ld", names[how], op.res);
			break;
		case 4:
			m = map(&f, 4 * PAGE);
			m[PAGE]++;
			if (msync(m, 4 * PAGE, MS_SYNC))
				fail("msync: %s", errname(errno));
			munmap(m, 4 * PAGE);
			break;
		case 5:
			pwrite_all(f.d, buf, PAGE, 4 * PAGE);
			break;
		case 6:
			if (fallocate(f.b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE))
				fail("punch: %s", errname(errno));
			break;
		}
		fstat(f.b, &after);
		if (after.st_mtim.tv_sec == 1000000000)
			fail("%s: the file seems not to be modified", names[how]);
		if (after.st_ctim.tv_sec < before.st_ctim.tv_sec ||
		    (after.st_ctim.tv_sec == before.st_ctim.tv_sec && after.st_ctim.tv_nsec <= before.st_ctim.tv_nsec))
			fail("%s: the time of change is the same", names[how]);
		destroy(&f);
	}
}

/* O_DIRECT switched on and off, and what statx says of alignment. */
static void toggle(int arg)
{
	struct file f = create("toggle");
	size_t size = 8 * PAGE;
	unsigned char *model = xalloc(size), *buf = xalloc(size);
	struct statx stx;
	int flags = fcntl(f.b, F_GETFL);

	(void)arg;
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	for (int i = 0; i < 40; i++) {
		size_t pos = pick(8) * PAGE;

		if (fcntl(f.b, F_SETFL, i & 1 ? flags | O_DIRECT : flags))
			fail("F_SETFL: %s", errname(errno));
		pattern_fill(model + pos, PAGE, 10 + (uint64_t)i, 0);
		memcpy(buf, model + pos, PAGE);
		pwrite_all(f.b, buf, PAGE, pos);
		if (pread_all(i & 2 ? f.b : f.d, buf, size, 0) != size)
			fail("short read");
		same(buf, model, size, 0, "toggled", "read");
	}
	fcntl(f.b, F_SETFL, flags);
	memset(&stx, 0, sizeof(stx));
	if (syscall(__NR_statx, f.b, "", AT_EMPTY_PATH, 0x2000 /* STATX_DIOALIGN */, &stx))
		die("statx");
	if (stx.stx_mask & 0x2000) {
		uint32_t memory = *(uint32_t *)((char *)&stx + 0x98), offset = *(uint32_t *)((char *)&stx + 0x9c);

		if (!memory || !offset)
			fail("statx: no direct I/O");
		memcpy(buf + memory, model, offset);
		if (pwrite(f.d, buf + memory, offset, offset) != (ssize_t)offset)
			fail("statx: aligned to %u and %u, yet %s", memory, offset, errname(errno));
		memcpy(model + offset, model, offset);
	}
	check(&f, model, size, "toggled");
	destroy(&f);
}

/* Pages of a file that go through a pipe, and are written directly from there. */
static void spliced(int arg)
{
	struct file f = create("spliced");
	size_t size = 16 * PAGE;
	unsigned char *model = xalloc(size), *buf = xalloc(size);
	int p[2];

	(void)arg;
	if (pipe(p))
		die("pipe");
	pattern_fill(model, size, 1, 0);
	fill(&f, size, 1);
	for (int i = 0; i < 24; i++) {
		bool overlap = i % 3 == 0;
		size_t from = pick(6) * PAGE, to = overlap ? from : (8 + pick(6)) * PAGE, moved = 0;
		loff_t in = (loff_t)from, out = (loff_t)to;
		struct iovec iov = { buf, 2 * PAGE };
		ssize_t n;

		if (i % 4 == 3) {
			pattern_fill(buf, 2 * PAGE, 10 + (uint64_t)i, 0);
			n = vmsplice(p[1], &iov, 1, 0);
		} else {
			n = splice(i & 4 ? f.d : f.b, &in, p[1], NULL, 2 * PAGE, 0);
			memcpy(buf, model + from, 2 * PAGE);
		}
		if (n != 2 * (ssize_t)PAGE)
			fail("splice to the pipe: %zd, %s", n, errname(errno));
		while (moved < 2 * PAGE) {
			n = splice(p[0], NULL, f.d, &out, 2 * PAGE - moved, 0);
			if (n <= 0)
				break;
			memcpy(model + to + moved, buf + moved, (size_t)n);
			moved += (size_t)n;
		}
		if (moved < 2 * PAGE) {
			/* Its own page, for its own place. */
			if (!overlap || n >= 0 || errno != EFAULT || strstr(options, "buffered"))
				fail("splice from the pipe to %zu, from %zu: %zu, %s", to, from, moved, errname(errno));
			close(p[0]);
			close(p[1]);
			if (pipe(p))
				die("pipe");
		}
		check(&f, model, size, "spliced");
	}
	destroy(&f);
}

/* fsync as a request among requests. */
static void sync_request(int how)
{
	struct file f = create("sync");
	size_t size = 32 * PAGE;
	unsigned char *buf = xalloc(size);
	struct cachestat_ cs;
	struct ring r;

	pattern_fill(buf, size, 1, 0);
	ring_init(&r, how ? URING : AIO);
	for (unsigned int i = 0; i < 8; i++) {
		struct op op = { .fd = f.b, .buf = buf + i * 4 * PAGE, .len = 4 * PAGE, .pos = i * 4 * PAGE };

		submit(&r, &op, 1);
		if (reap(&r)->res != 4 * (long)PAGE)
			fail("write: %ld", op.res);
		if (!how) {
			struct iocb iocb = { .aio_lio_opcode = i & 1 ? IOCB_CMD_FSYNC : IOCB_CMD_FDSYNC,
					     .aio_fildes = (uint32_t)f.b, .aio_data = (uintptr_t)&op };
			struct iocb *list = &iocb;

			if (syscall(__NR_io_submit, r.q->ctx, 1, &list) != 1)
				fail("io_submit of fsync: %s", errname(errno));
		} else {
			unsigned int tail = *r.q->sq_tail, at = tail & *r.q->sq_mask;

			memset(&r.q->sqes[at], 0, sizeof(r.q->sqes[at]));
			r.q->sqes[at].opcode = IORING_OP_FSYNC;
			r.q->sqes[at].fd = f.b;
			r.q->sqes[at].fsync_flags = i & 1 ? 0 : IORING_FSYNC_DATASYNC;
			r.q->sqes[at].user_data = (uintptr_t)&op;
			r.q->sq_array[at] = at;
			__atomic_store_n(r.q->sq_tail, tail + 1, __ATOMIC_RELEASE);
			if (syscall(__NR_io_uring_enter, r.q->ring, 1, 0, 0, NULL, 0) != 1)
				die("io_uring_enter");
		}
		if (reap(&r)->res)
			fail("fsync: %ld", op.res);
		if (!cachestat_of(f.b, 0, 0, &cs))
			die("cachestat");
		if (cs.dirty || cs.writeback)
			fail("dirty after fsync");
	}
	check(&f, buf, size, "synced");
	destroy(&f);
}

struct test {
	const char *name;
	void (*run)(int arg);
	int arg;
};

static const struct test tests[] = {
	{ "subblock-written", subblock, WRITTEN },
	{ "subblock-unwritten", subblock, UNWRITTEN },
	{ "subblock-hole", subblock, HOLE },
	{ "subblock-beyond", subblock, BEYOND },
	{ "tail", tail, 0 },
	{ "extend", extend, 0 },
	{ "append", append, 0 },
	{ "append-flag", append, 1 },
	{ "append-aio", append, 2 },
	{ "append-uring", append, 3 },
	{ "rwf-direct", rwf, true },
	{ "rwf-buffered", rwf, false },
	{ "iopoll", iopoll, 0 },
	{ "full", full, 0 },
	{ "full-preallocated", full_preallocated, 0 },
	{ "eof-reads", eof_reads, 0 },
	{ "misaligned", misaligned, 0 },
	{ "vectors", vectors, 0 },
	{ "nothing", nothing, 0 },
	{ "limits", limits, 0 },
	{ "fsize", fsize, 0 },
	{ "race", race, false },
	{ "race-mapped", race, true },
	{ "mixed", mixed, false },
	{ "mixed-locked", mixed, true },
	{ "process-vm", process_vm, 0 },
	{ "freeze", freeze, 0 },
	{ "read-only", read_only, 0 },
	{ "bind", bind, 0 },
	{ "unlinked", unlinked, 0 },
	{ "loop", loop, 0 },
	{ "seek", seek, false },
	{ "seek-preallocated", seek, true },
	{ "eof-zeroes", eof_zeroes, 0 },
	{ "db-log", db_log, 0 },
	{ "db-log-direct", db_log, 1 },
	{ "db-log-dsync", db_log, 2 },
	{ "db-log-buffered-dsync", db_log, 3 },
	{ "db-prealloc", db_prealloc, false },
	{ "db-prealloc-keep", db_prealloc, true },
	{ "db-page-8k", db_page, 8 },
	{ "db-page-16k", db_page, 16 },
	{ "dsync", dsync, 0 },
	{ "fallocating", fallocating, 0 },
	{ "many", many, 0 },
	{ "reuse", reuse, 0 },
	{ "times", times, 0 },
	{ "toggle", toggle, 0 },
	{ "spliced", spliced, 0 },
	{ "sync-aio", sync_request, false },
	{ "sync-uring", sync_request, true },
};

static void find_device(void)
{
	char line[1024], where[512];
	FILE *f = fopen("/proc/self/mounts", "r");

	while (f && fgets(line, sizeof(line), f)) {
		char from[256], type[64];

		if (sscanf(line, "%255s %511s %63s", from, where, type) == 3 && !strcmp(where, dir)) {
			strcpy(device, from);
			strcpy(fstype, type);
		}
	}
	if (f)
		fclose(f);
}

/* What a case that failed may have left. */
static void tidy(void)
{
	int fd = xopen(dir, O_RDONLY | O_DIRECTORY);

	ioctl(fd, FITHAW, 0);
	close(fd);
	umount2(path_of("other"), MNT_DETACH);
	umount2(path_of("inner"), MNT_DETACH);
}

static bool run(const struct test *t, unsigned int limit)
{
	int status;
	uint64_t t0 = now_ns();
	pid_t pid = xfork();

	if (!pid) {
		setpgid(0, 0);
		signal(SIGALRM, SIG_DFL);
		alarm(limit);
		t->run(t->arg);
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	while (waitpid(pid, &status, 0) < 0)
		;
	kill(-pid, SIGKILL);
	tidy();
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		printf("    not finished within %u s\n", limit);
	else if (WIFSIGNALED(status))
		printf("    %s\n", strsignal(WTERMSIG(status)));
	printf("%s %s\n", t->name, status ? "FAILED" : "ok");
	if (getenv("FILES_TIMES"))
		printf("    %.2f s\n", (double)(now_ns() - t0) / 1e9);
	return !status;
}

int main(int argc, char **argv)
{
	const char *factor = getenv("TIME_FACTOR");
	unsigned int limit = 20 * (factor ? (unsigned int)atoi(factor) : 1);
	bool good = true;
	int opt;

	while ((opt = getopt(argc, argv, "lmn:o:s:")) != -1) {
		switch (opt) {
		case 'l':
			for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
				puts(tests[i].name);
			return 0;
		case 'm': one_cpu = true; break;
		case 'o': options = optarg; break;
		case 'n': load = (int)parse_size(optarg); break;
		case 's': seed = parse_size(optarg); break;
		default: return 2;
		}
	}
	if (optind == argc)
		die("usage: files [options] DIRECTORY [CASE]...");
	dir = argv[optind++];
	find_device();
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++) {
		bool wanted = optind == argc;

		for (int k = optind; k < argc; k++)
			wanted |= !strcmp(argv[k], tests[i].name);
		if (wanted && !run(&tests[i], limit))
			good = false;
	}
	return !good;
}
