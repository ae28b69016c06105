// SPDX-License-Identifier: GPL-2.0
/*
 * What users of direct I/O have reported as bugs of other file systems, of the memory management and of io_uring.
 *
 *	reports [-b] [-l] [-m DEVICE -o OPTIONS] DIRECTORY [CASE]...
 *
 * Runs the cases, or all of them, each in a process and on files of its own in DIRECTORY: a line "CASE: ok", or what went
 * wrong, for each. -b says that overlapping writes go through the page cache (selfdio=buffered). With -m, DIRECTORY is
 * where DEVICE is to be mounted, with OPTIONS, and the cases are those that mount and unmount. -l lists the cases.
 *
 * Exit status: 0 all were as they should be, 1 not all.
 */
#include "async.h"
#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>

#define SECTOR ((size_t)512)
#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static const char *dir, *device, *options = "", *self, *running;
static bool buffered;		/* selfdio=buffered */
static unsigned int factor = 1, load = 1;	/* TIME_FACTOR, LOAD_FACTOR */

static __attribute__((noreturn, format(printf, 1, 2))) void wrong(const char *fmt, ...)
{
	va_list ap;

	printf("%s: ", running);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(1);
}

#define CHECK(cond, ...) do { if (!(cond)) wrong(__VA_ARGS__); } while (0)

/* What a call returned, for a message: a count or the name of an error. */
static const char *result(long ret)
{
	static char text[4][32];
	static unsigned int n;
	char *s = text[n++ % 4];

	if (ret < 0)
		snprintf(s, sizeof(text[0]), "-%s", errname((int)-ret));
	else
		snprintf(s, sizeof(text[0]), "%ld", ret);
	return s;
}

static void msleep(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* A file, and what it should contain. */
struct file {
	char path[256];
	int fd, dfd;		/* through the page cache, direct */
	size_t len;
	unsigned char *want;	/* room for twice what the file began with and a MiB more */
};

static void cool(const struct file *f)
{
	fsync(f->fd);
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void file_open(struct file *f)
{
	f->fd = xopen(f->path, O_RDWR);
	f->dfd = xopen(f->path, O_RDWR | O_DIRECT);
}

static void file_make(struct file *f, const char *name, size_t len, uint64_t seed)
{
	snprintf(f->path, sizeof(f->path), "%s/%s", dir, name);
	unlink(f->path);
	close(xopen(f->path, O_RDWR | O_CREAT));
	file_open(f);
	f->len = len;
	f->want = xalloc(2 * len + MIB);
	memset(f->want, 0, 2 * len + MIB);
	pattern_fill(f->want, len, seed, 0);
	pwrite_all(f->fd, f->want, len, 0);
	cool(f);
}

static void file_close(struct file *f)
{
	close(f->fd);
	close(f->dfd);
	free(f->want);
}

/* `len` bytes of `bytes` should be at `pos` now. */
static void file_set(struct file *f, size_t pos, const void *bytes, size_t len)
{
	memcpy(f->want + pos, bytes, len);
	if (len && pos + len > f->len)
		f->len = pos + len;
}

/* The size, a direct read of it all, one through the page cache, and one through a mapping. */
static void file_check(const struct file *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void file_check(const struct file *f, const char *fmt, ...)
{
	size_t room = (f->len + PAGE - 1) & ~(PAGE - 1), n, at;
	static const char *const how[] = { "direct read", "read", "mapping" };
	static unsigned char *have;
	static size_t have_room;
	unsigned char *m;
	struct stat st;
	char what[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (room > have_room) {
		free(have);
		have = xalloc(room);
		have_room = room;
	}
	if (fstat(f->fd, &st))
		die("fstat");
	CHECK((size_t)st.st_size == f->len, "%s: size %lld, not %zu", what, (long long)st.st_size, f->len);
	for (int i = 0; i < 3 && f->len; i++) {
		memset(have, 0xdb, room);
		if (i < 2) {
			n = pread_all(i ? f->fd : f->dfd, have, room, 0);
			CHECK(n == f->len, "%s: %s of %zu bytes gave %zu", what, how[i], f->len, n);
		} else {
			m = mmap(NULL, f->len, PROT_READ, MAP_SHARED, f->fd, 0);
			if (m == MAP_FAILED)
				die("mmap");
			memcpy(have, m, f->len);
			munmap(m, f->len);
		}
		at = first_diff(have, f->want, f->len);
		CHECK(at == f->len, "%s: %s: byte %zu is %#x, not %#x", what, how[i], at, have[at], f->want[at]);
	}
}

static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static void *map_file(const struct file *f, size_t off, size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags, f->fd, (off_t)off);

	if (p == MAP_FAILED)
		die("mmap of a file");
	return p;
}

static const char *const engines[] = { "sync", "aio", "uring" };
static struct queue queues[3];

static struct queue *queue_of(enum engine e)
{
	static bool made[3];

	if (!made[e])
		queue_init(&queues[e], e);
	made[e] = true;
	return &queues[e];
}

static void submit(enum engine e, bool write, int fd, void *buf, size_t len, size_t off, uint64_t tag)
{
	struct iovec iov = { buf, len };

	queue_submit(queue_of(e), write, fd, &iov, 1, off, tag);
}

static long await(enum engine e)
{
	uint64_t tag;

	return queue_wait(queue_of(e), &tag);
}

static long io(enum engine e, bool write, int fd, void *buf, size_t len, size_t off)
{
	submit(e, write, fd, buf, len, off, 0);
	return await(e);
}

/* A child that should have ended well. */
static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (WIFSIGNALED(status))
		wrong("a child was killed by signal %d", WTERMSIG(status));
	if (status)
		_exit(WEXITSTATUS(status));	/* it has said why */
}

/* A child that has just been killed must be gone within a second. */
static void reap_killed(pid_t pid)
{
	uint64_t end = now_ns() + 1000000000ull * factor;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		CHECK(now_ns() < end, "a killed task is still there after a second");
		msleep(1);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

/* fork() beside direct I/O: whose page the device reads or writes must not change hands. */

static void fork_write(void)
{
	size_t len = 256 * KIB, part = len / 4;
	unsigned char *buf = map(len), *copy = xalloc(len);
	struct file f;

	file_make(&f, "fork-write", len, 1);
	for (enum engine e = AIO; e <= URING; e++)
		for (unsigned int round = 0; round < 4 * load; round++) {
			pid_t pid;

			pattern_fill(buf, len, 100 * e + round, 0);
			memcpy(copy, buf, len);
			for (size_t i = 0; i < 4; i++)
				submit(e, true, f.dfd, buf + i * part, part, i * part, i);
			pid = xfork();
			if (!pid) {
				memset(buf, 0xff, len);
				_exit(0);
			}
			for (int i = 0; i < 4; i++) {
				long ret = await(e);

				CHECK(ret == (long)part, "%s: %s", engines[e], result(ret));
			}
			reap(pid);
			CHECK(!memcmp(buf, copy, len), "%s: the parent's memory has changed", engines[e]);
			file_set(&f, 0, copy, len);
			file_check(&f, "%s, round %u", engines[e], round);
		}
}

/* The device writes to the first half of each page, the parent to the second, the child to all. */
static void fork_read(void)
{
	size_t pages = 64, half = PAGE / 2;
	unsigned char *buf = map(pages * PAGE);
	struct file f;

	file_make(&f, "fork-read", pages * half, 1);
	for (enum engine e = AIO; e <= URING; e++)
		for (unsigned int round = 0; round < 4 * load; round++) {
			pid_t pid;

			memset(buf, 0x11, pages * PAGE);
			for (size_t i = 0; i < pages; i += 2) {
				struct iovec iov[2] = { { buf + i * PAGE, half }, { buf + (i + 1) * PAGE, half } };

				queue_submit(queue_of(e), false, f.dfd, iov, 2, i * half, i);
			}
			pid = xfork();
			if (!pid) {
				memset(buf, 0xff, pages * PAGE);
				_exit(0);
			}
			for (size_t i = 0; i < pages; i++)
				memset(buf + i * PAGE + half, (int)(round + i), half);
			for (size_t i = 0; i < pages; i += 2) {
				long ret = await(e);

				CHECK(ret == (long)PAGE, "%s: %s", engines[e], result(ret));
			}
			reap(pid);
			for (size_t i = 0; i < pages; i++) {
				CHECK(!memcmp(buf + i * PAGE, f.want + i * half, half), "%s: page %zu was not read",
				      engines[e], i);
				for (size_t j = half; j < PAGE; j++)
					CHECK(buf[i * PAGE + j] == (unsigned char)(round + i),
					      "%s: a store of the parent's to page %zu is lost", engines[e], i);
			}
		}
}

struct reader {
	struct file *f;
	unsigned char *buf;
	volatile bool *stop;
	unsigned int rounds;
};

/* Neighbouring sectors of the same page are other threads'. */
static void *read_sectors(void *arg)
{
	struct reader *r = arg;
	size_t pos = 0;

	while (!*r->stop) {
		ssize_t n;

		memset(r->buf, 0x55, SECTOR);
		n = pread(r->f->dfd, r->buf, SECTOR, (off_t)pos);
		CHECK(n == (ssize_t)SECTOR, "read: %s", result(n < 0 ? -errno : n));
		CHECK(!memcmp(r->buf, r->f->want + pos, SECTOR), "a read of %zu has not reached its buffer", pos);
		pos = (pos + SECTOR) % r->f->len;
		r->rounds++;
	}
	return NULL;
}

static void fork_threads(void)
{
	unsigned char *buf = map(PAGE);
	struct reader r[3];
	volatile bool stop = false;
	pthread_t t[3];
	struct file f;

	file_make(&f, "fork-threads", 64 * KIB, 1);
	for (int i = 0; i < 3; i++) {
		r[i] = (struct reader){ &f, buf + (size_t)i * SECTOR, &stop, 0 };
		if (pthread_create(&t[i], NULL, read_sectors, &r[i]))
			die("pthread_create");
	}
	for (int i = 0; i < 20 * (int)load; i++) {
		pid_t pid = xfork();

		if (!pid) {
			buf[PAGE - 1] = 1;
			_exit(0);
		}
		buf[PAGE - 1] = 2;
		reap(pid);
	}
	stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

/* The buffer goes away, moves, or is made inaccessible while the device works on it. */

enum change { UNMAP, DONTNEED, MOVE, PROTECT, SHMEM_DONTNEED, SHMEM_REMOVE, CHANGES };

static void buffer_goes(bool write)
{
	static const char *const names[] = { "munmap", "MADV_DONTNEED", "mremap", "mprotect", "MADV_DONTNEED of shmem",
		"MADV_REMOVE" };
	size_t len = 512 * KIB, part = len / 8;
	struct file f;

	file_make(&f, write ? "goes-write" : "goes-read", len, 1);
	for (unsigned int round = 0; round < CHANGES * load; round++) {
		enum change how = round % CHANGES;
		bool shared = how == SHMEM_DONTNEED || how == SHMEM_REMOVE;
		unsigned char *buf, *room = map(len), *at, *want;

		buf = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
		if (buf == MAP_FAILED)
			die("mmap");
		at = buf;
		pattern_fill(buf, len, 50 + round, 0);
		if (write)
			file_set(&f, 0, buf, len);
		for (size_t i = 0; i < 8; i++)
			submit(AIO, write, f.dfd, buf + i * part, part, i * part, i);
		/* What is in the memory at the end if the requests are reads. */
		want = xalloc(len);
		memcpy(want, f.want, len);
		switch (how) {
		case UNMAP:
			munmap(buf, len);
			if (mmap(buf, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buf)
				die("mmap");
			memset(buf, 0xee, len);
			memset(want, 0xee, len);
			break;
		case DONTNEED:
		case SHMEM_REMOVE:
			memset(want, 0, len);
			/* fallthrough */
		case SHMEM_DONTNEED:
			if (madvise(buf, len, how == SHMEM_REMOVE ? MADV_REMOVE : MADV_DONTNEED))
				die("madvise");
			break;
		case MOVE:
			at = mremap(buf, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, room);
			if (at != room)
				die("mremap");
			break;
		case PROTECT:
			if (mprotect(buf, len, PROT_NONE))
				die("mprotect");
			break;
		case CHANGES:
			break;
		}
		for (int i = 0; i < 8; i++) {
			long ret = await(AIO);

			CHECK(ret == (long)part, "%s: %s", names[how], result(ret));
		}
		if (write) {
			file_check(&f, "%s", names[how]);
		} else {
			size_t diff;

			mprotect(at, len, PROT_READ);
			diff = first_diff(at, want, len);
			CHECK(diff == len, "%s: byte %zu of the memory is %#x, not %#x", names[how], diff, at[diff],
			      want[diff]);
		}
		munmap(buf, len);
		munmap(room, len);
		free(want);
	}
}

static void goes_write(void)
{
	buffer_goes(true);
}

static void goes_read(void)
{
	buffer_goes(false);
}

/*
 * io_uring may look at the memory after the submission. Then each page of the file is the old one, what the buffer held
 * first, or what is mapped there afterwards; a count says how many are not the old ones.
 */
static void goes_uring(void)
{
	size_t len = 256 * KIB;
	struct file f;

	file_make(&f, "goes-uring", len, 1);
	for (unsigned int round = 0; round < 6 * load; round++) {
		unsigned char *buf = map(len), *have = xalloc(len), *first = xalloc(len);
		size_t done;
		long ret;

		pattern_fill(first, len, 50 + round, 0);
		memcpy(buf, first, len);
		submit(URING, true, f.dfd, buf, len, 0, 0);
		munmap(buf, len);
		if (round % 2) {
			if (mmap(buf, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != buf)
				die("mmap");
			memset(buf, 0xee, len);
		}
		ret = await(URING);
		CHECK(ret >= 0 || ret == -EFAULT, "%s", result(ret));
		done = ret < 0 ? 0 : (size_t)ret;
		CHECK(done % SECTOR == 0 && done <= len, "%zu bytes written", done);
		if (pread_all(f.dfd, have, len, 0) != len)
			die("short read");
		for (size_t i = 0; i < len; i++) {
			bool ok = i < done ? have[i] == first[i] || (round % 2 && have[i] == 0xee) || have[i] == 0 :
				have[i] == f.want[i];

			CHECK(ok, "%zu bytes written, byte %zu is %#x", done, i, have[i]);
		}
		file_set(&f, 0, have, len);
		file_check(&f, "round %u", round);
		munmap(buf, len);
		free(have);
		free(first);
	}
}

/* Signals. */

static volatile sig_atomic_t alarms;

static void on_alarm(int sig UNUSED)
{
	alarms++;
}

static void storm(bool on)
{
	struct itimerval it = { { 0, on ? 700 : 0 }, { 0, on ? 700 : 0 } };
	struct sigaction sa = { .sa_handler = on_alarm };	/* no SA_RESTART */

	sigaction(SIGALRM, &sa, NULL);
	if (setitimer(ITIMER_REAL, &it, NULL))
		die("setitimer");
}

static void alarm_io(bool write)
{
	size_t len = 6 * MIB, max = 5 * MIB;
	uint64_t seed = write ? 7 : 8, end;
	unsigned char *src = xalloc(max);
	unsigned int rounds = 0;
	struct file f;

	file_make(&f, write ? "alarm-write" : "alarm-read", len, 1);
	end = now_ns() + 150000000ull * load;
	while (now_ns() < end || rounds < 10) {
		size_t n = rounds == 3 ? max : (rnd(&seed) % 64 + 1) * SECTOR * (rounds % 3 ? 1 : 8);
		size_t pos = rnd(&seed) % ((len - n) / SECTOR + 1) * SECTOR;
		/* Memory that has to be faulted in, some of it pages of the file. */
		bool disjoint = rounds % 5 == 4 && n <= MIB && pos >= 2 * MIB;
		unsigned char *buf = disjoint ? map_file(&f, 0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE) : map(n);
		ssize_t ret;

		if (write) {
			if (disjoint) {
				memcpy(src, f.want, n);
				cool(&f);
			} else {
				pattern_fill(src, n, rounds, 0);
				memcpy(buf, src, n);
			}
		}
		storm(true);
		ret = write ? pwrite(f.dfd, buf, n, (off_t)pos) : pread(f.dfd, buf, n, (off_t)pos);
		storm(false);
		CHECK(ret == (ssize_t)n, "%s of %zu at %zu: %s", write ? "write" : "read", n, pos,
		      result(ret < 0 ? -errno : ret));
		if (write)
			file_set(&f, pos, src, n);
		else
			CHECK(!memcmp(buf, f.want + pos, n), "read of %zu at %zu gave other data", n, pos);
		munmap(buf, n);
		rounds++;
	}
	/* The overlapping kind is refused, or goes through the page cache, in one piece either way. */
	for (unsigned int round = 0; write && round < 10; round++) {
		size_t n = 64 * PAGE, pos = round * PAGE;
		unsigned char *buf = map_file(&f, pos + PAGE, n, PROT_READ, MAP_SHARED);
		ssize_t ret;

		memcpy(src, f.want + pos + PAGE, n);
		storm(true);
		ret = pwrite(f.dfd, buf, n, (off_t)pos);
		if (ret < 0)
			ret = -errno;
		storm(false);
		CHECK(ret == (buffered ? (ssize_t)n : -EFAULT), "overlap: %s", result(ret));
		if (ret > 0)
			file_set(&f, pos, src, n);
		munmap(buf, n);
	}
	file_check(&f, "afterwards");
	CHECK(alarms, "no signal came");
}

static void alarm_write(void)
{
	alarm_io(true);
}

static void alarm_read(void)
{
	alarm_io(false);
}

#define SLOT (16 * KIB)
#define SLOTS 16

/* Writes slots that are of one value each, in all ways, until it is killed. */
static __attribute__((noreturn)) void write_slots(struct file *f, uint64_t seed)
{
	unsigned char *buf = map(SLOT * 4);
	uint64_t version = seed << 32;

	for (;;) {
		enum engine e = (enum engine)(rnd(&seed) % 3);
		unsigned int first = (unsigned int)(rnd(&seed) % (SLOTS - 3));
		bool own = rnd(&seed) % 4 == 0;

		for (unsigned int i = 0; i < 4; i++) {
			unsigned char *from = buf + i * SLOT;

			if (own) {
				/* The slots behind the first MiB are only read, through mappings. */
				from = map_file(f, MIB + i * SLOT, SLOT, PROT_READ, rnd(&seed) % 2 ? MAP_SHARED : MAP_PRIVATE);
			} else {
				version++;
				for (size_t j = 0; j < SLOT; j += 8)
					memcpy(from + j, &version, 8);
			}
			submit(e, true, f->dfd, from, SLOT, (first + i) * SLOT, i);
		}
		for (unsigned int i = 0; i < 4; i++) {
			long ret = await(e);

			CHECK(ret == (long)SLOT, "%s: %s", engines[e], result(ret));
		}
		if (rnd(&seed) % 4 == 0 && ftruncate(f->fd, (off_t)(2 * MIB + rnd(&seed) % MIB)))
			die("ftruncate");
		posix_fadvise(f->fd, MIB, MIB, POSIX_FADV_DONTNEED);
	}
}

static void kill_write(void)
{
	size_t len = 2 * MIB;
	uint64_t seed = 3, w, v;
	struct file f;

	file_make(&f, "kill-write", len, 1);
	for (size_t i = 0; i < MIB; i += SLOT)
		for (size_t j = 0; j < SLOT; j += 8)
			memcpy(f.want + MIB + i + j, &i, 8);
	memset(f.want, 0, MIB);
	pwrite_all(f.fd, f.want, len, 0);
	cool(&f);
	for (unsigned int round = 0; round < 5 * load; round++) {
		pid_t pid = xfork();

		if (!pid)
			write_slots(&f, round + 1);
		msleep(3 + (unsigned int)(rnd(&seed) % 30));
		kill(pid, SIGKILL);
		reap_killed(pid);
		/* This waits for what is in flight. */
		if (ftruncate(f.fd, (off_t)len))
			die("ftruncate");
		if (pread_all(f.dfd, f.want, MIB, 0) != MIB)
			die("short read");
		for (size_t s = 0; s < MIB; s += SECTOR) {
			memcpy(&v, f.want + s, 8);
			for (size_t j = 8; j < SECTOR; j += 8) {
				memcpy(&w, f.want + s + j, 8);
				CHECK(v == w, "round %u: sector %zu is torn", round, s / SECTOR);
			}
		}
		file_check(&f, "round %u", round);
	}
}

/* What a write that fails must leave alone. */
static void stat_same(const struct file *f, const struct stat *was, const char *what)
{
	struct stat st;

	if (fstat(f->fd, &st))
		die("fstat");
	CHECK(st.st_size == was->st_size && st.st_blocks == was->st_blocks && st.st_mode == was->st_mode,
	      "%s: size %lld, blocks %lld, mode %o; were %lld, %lld, %o", what, (long long)st.st_size,
	      (long long)st.st_blocks, st.st_mode, (long long)was->st_size, (long long)was->st_blocks, was->st_mode);
}

/* Memory that is not all there. */

struct guard {
	size_t len, bad, skew;		/* of the buffer; where it cannot be used; where it begins in its first page */
	size_t off;			/* in the file */
};

static void guard_one(struct file *f, enum engine e, bool write, const struct guard *g, bool unmap)
{
	size_t room = (g->skew + g->len + PAGE - 1) & ~(PAGE - 1), good = g->bad - g->skew;
	unsigned char *base = map(room), *buf = base + g->skew, *behind = base + g->bad + PAGE;
	char what[100];
	struct stat was;
	size_t done;
	long ret;

	pattern_fill(base, room, g->bad + g->off + e, 0);
	if (unmap ? munmap(base + g->bad, PAGE) : mprotect(base + g->bad, PAGE, PROT_NONE))
		die("mprotect");
	if (fstat(f->fd, &was))
		die("fstat");
	ret = io(e, write, f->dfd, buf, g->len, g->off);
	snprintf(what, sizeof(what), "%s %s of %zu at %zu, bad from %zu: %s", engines[e], write ? "write" : "read",
		 g->len, g->off, good, result(ret));
	CHECK(ret == -EFAULT || (ret > 0 && (size_t)ret <= good && (size_t)ret % SECTOR == 0), "%s", what);
	done = ret < 0 ? 0 : (size_t)ret;
	if (write) {
		file_set(f, g->off, buf, done);
		if (ret < 0)
			stat_same(f, &was, what);
	} else {
		unsigned char *was_there = xalloc(room);

		CHECK(!memcmp(buf, f->want + g->off, done), "%s: other data", what);
		pattern_fill(was_there, room, g->bad + g->off + e, 0);
		CHECK(!memcmp(behind, was_there + g->bad + PAGE, (size_t)(base + room - behind)),
		      "%s: memory behind was changed", what);
		free(was_there);
	}
	file_check(f, "%s", what);
	munmap(base, room);
}

static void guard_io(bool write)
{
	static const struct guard small[] = {
		{ 8 * PAGE, 4 * PAGE, 0, 8 * PAGE },
		{ 7 * PAGE, 4 * PAGE, 512, 8 * PAGE + 512 },
		{ 8 * PAGE, 7 * PAGE, 0, 3 * 512 },
		{ 8 * PAGE, 0, 0, 8 * PAGE },
		{ PAGE, PAGE, PAGE - 512, PAGE },		/* a sector of it is there */
		{ 64 * PAGE, 33 * PAGE, 0, 100 * PAGE },
		{ 8 * PAGE, 4 * PAGE, 0, 40 * PAGE },		/* half of it behind the end */
		{ 8 * PAGE, 2 * PAGE, 0, 43 * PAGE },		/* all of it */
		{ 8 * PAGE, 0, 0, 43 * PAGE },
		{ 7 * PAGE, PAGE, 512, 42 * PAGE - 512 },	/* at the end */
	}, big[] = {
		{ 1100 * PAGE, 1060 * PAGE, 0, PAGE },
		{ 1100 * PAGE, 4 * PAGE, 0, PAGE },
		{ 1025 * PAGE, 1024 * PAGE, 0, 0 },
	};
	struct file f;

	/* The length is no multiple of a page. */
	file_make(&f, write ? "guard-write" : "guard-read", 42 * PAGE - 512, 1);
	for (enum engine e = SYNC; e <= URING; e++)
		for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
			if (!write && small[i].off + small[i].len > f.len)
				continue;
			guard_one(&f, e, write, &small[i], i % 2);
			if (f.len != 42 * PAGE - 512) {
				f.len = 42 * PAGE - 512;
				memset(f.want + f.len, 0, f.len);
				if (ftruncate(f.fd, (off_t)f.len))
					die("ftruncate");
			}
		}
	file_close(&f);
	file_make(&f, write ? "guard-write-big" : "guard-read-big", 1200 * PAGE, 1);
	for (enum engine e = SYNC; e <= (write ? URING : SYNC); e++)
		guard_one(&f, e, write, &big[e], e == SYNC);
	file_close(&f);
	if (!write)
		return;
	/* In a hole, and where blocks were reserved. */
	file_make(&f, "guard-hole", 0, 1);
	f.len = 200 * PAGE;
	if (ftruncate(f.fd, (off_t)f.len) || fallocate(f.fd, FALLOC_FL_KEEP_SIZE, 100 * PAGE, 150 * PAGE))
		die("fallocate");
	for (enum engine e = SYNC; e <= URING; e++)
		for (size_t i = 0; i < 6; i++) {
			struct guard g = small[i];

			g.off += (e * 8 + i) % 5 * 40 * PAGE;
			if (g.off + g.len <= f.len)
				guard_one(&f, e, write, &g, i % 2);
		}
}

static void guard_write(void)
{
	guard_io(true);
}

static void guard_read(void)
{
	guard_io(false);
}

/* A vector with a bad part, and, before or behind it, a part that is the range itself. */
static void guard_vector(void)
{
	size_t off = 16 * PAGE;
	struct file f;

	file_make(&f, "guard-vector", 64 * PAGE, 1);
	for (enum engine e = SYNC; e <= URING; e++)
		for (int own = 0; own < 3; own++) {
			unsigned char *good = map(4 * PAGE), *bad = map(4 * PAGE), *range;
			struct iovec iov[3] = { { good, 4 * PAGE }, { bad, 4 * PAGE }, { good, 4 * PAGE } };
			struct stat was;
			uint64_t tag;
			size_t done;
			long ret;

			pattern_fill(good, 4 * PAGE, e + 20, 0);
			mprotect(bad, 4 * PAGE, PROT_NONE);
			range = map_file(&f, off, 4 * PAGE, PROT_READ, MAP_SHARED);
			if (own)
				iov[own == 1 ? 0 : 2].iov_base = range;
			cool(&f);
			fstat(f.fd, &was);
			queue_submit(queue_of(e), true, f.dfd, iov, 3, off, 0);
			ret = queue_wait(queue_of(e), &tag);
			CHECK(ret == -EFAULT || (ret > 0 && ret <= (long)(4 * PAGE) && ret % (long)SECTOR == 0), "%s, %d: %s",
			      engines[e], own, result(ret));
			CHECK(ret < 0 || buffered || own != 1, "%s: overlap: %s", engines[e], result(ret));
			done = ret < 0 ? 0 : (size_t)ret;
			if (ret < 0)
				stat_same(&f, &was, "vector");
			if (own != 1)
				file_set(&f, off, good, done);
			file_check(&f, "%s, %d: %s", engines[e], own, result(ret));
			munmap(good, 4 * PAGE);
			munmap(bad, 4 * PAGE);
			munmap(range, 4 * PAGE);
		}
}

/* Reads into memory that must not be written. */
static void read_only(void)
{
	size_t len = 8 * PAGE;
	struct file f, g;
	int rfd;

	file_make(&f, "read-only", 64 * PAGE, 1);
	file_make(&g, "read-only-2", 64 * PAGE, 2);
	rfd = xopen(g.path, O_RDONLY);
	for (enum engine e = SYNC; e <= URING; e++)
		for (int kind = 0; kind < 8; kind++) {
			unsigned char *copy = xalloc(len), *good = map(len), *buf;
			int flags = kind % 2 ? MAP_PRIVATE : MAP_SHARED;
			struct iovec iov[2];
			uint64_t tag;
			long ret;

			switch (kind) {
			case 0:
			case 1:
				buf = map_file(&g, 8 * PAGE, len, PROT_READ, flags);
				break;
			case 2:
			case 3:
				buf = map_file(&f, 8 * PAGE, len, PROT_READ, flags);	/* what is read */
				break;
			case 4:
			case 5:
				buf = mmap(NULL, len, PROT_READ, flags, rfd, 8 * PAGE);
				break;
			case 6:
				buf = map(len);
				pattern_fill(buf, len, 3, 0);
				mprotect(buf, len, PROT_READ);
				break;
			default:
				buf = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			}
			if (buf == MAP_FAILED)
				die("mmap");
			memcpy(copy, buf, len);
			if (kind % 3 == 0) {
				cool(&f);
				cool(&g);
			}
			ret = io(e, false, f.dfd, buf, len, 8 * PAGE);
			CHECK(ret == -EFAULT, "%s, kind %d: %s", engines[e], kind, result(ret));
			CHECK(!memcmp(buf, copy, len), "%s, kind %d: the memory has changed", engines[e], kind);
			iov[0] = (struct iovec){ good, len };
			iov[1] = (struct iovec){ buf, len };
			queue_submit(queue_of(e), false, f.dfd, iov, 2, 0, 0);
			ret = queue_wait(queue_of(e), &tag);
			CHECK(ret == -EFAULT || (ret > 0 && ret <= (long)len), "%s, kind %d behind a good one: %s", engines[e],
			      kind, result(ret));
			CHECK(ret < 0 || !memcmp(good, f.want, (size_t)ret), "%s, kind %d: other data", engines[e], kind);
			CHECK(!memcmp(buf, copy, len), "%s, kind %d: the memory has changed", engines[e], kind);
			munmap(buf, len);
			munmap(good, len);
			free(copy);
		}
	file_check(&f, "what was read");
	file_check(&g, "what was mapped");
}

/* Reads into mappings of the same file and of another one. */
static void read_mapped(void)
{
	static const struct { size_t from, to, len; } shapes[] = {
		{ 0, 0, 16 * PAGE }, { 0, 32 * PAGE, 16 * PAGE }, { 8 * PAGE, 0, 16 * PAGE }, { 0, 8 * PAGE, 16 * PAGE },
		{ 512, 0, PAGE }, { 40 * PAGE, 0, 24 * PAGE - 512 },
	};
	struct file f, g;

	file_make(&f, "read-mapped", 64 * PAGE - 512, 1);
	file_make(&g, "read-mapped-2", 64 * PAGE - 512, 2);
	for (enum engine e = SYNC; e <= URING; e++)
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
			for (int kind = 0; kind < 6; kind++) {
				bool shared = kind % 2, warm = kind == 2 || kind == 3;
				struct file *t = kind < 4 ? &f : &g;
				size_t len = shapes[i].len, from = shapes[i].from, to = shapes[i].to;
				unsigned char *copy, *m;
				long ret;

				if ((e + i + kind) % 2)
					continue;	/* half of the combinations will do */
				copy = xalloc(len);
				m = map_file(t, to, len, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE);
				cool(&f);
				cool(&g);
				if (warm)
					memcpy(copy, m, len);
				memcpy(copy, f.want + from, len);
				ret = io(e, false, f.dfd, m, len, from);
				CHECK(ret == (long)len, "%s, shape %zu, kind %d: %s", engines[e], i, kind, result(ret));
				CHECK(!memcmp(m, copy, len), "%s, shape %zu, kind %d: other data", engines[e], i, kind);
				if (shared)
					file_set(t, to, copy, len);
				munmap(m, len);
				free(copy);
				if (kind > 3)
					file_check(&f, "%s, shape %zu", engines[e], i);
			}
	fsync(f.fd);
	fsync(g.fd);
	file_check(&f, "what was read");
	file_check(&g, "the other file");
}

/* Memory of all sorts, written from and read into. */

enum memory { ZERO_PRIVATE, ZERO_SHARED, MEMFD, SYSV, HUGE_PAGES, HUGE_FORKED, COWED, TMPFS, LOCKED, PROGRAM, STACK, MEMORIES };

static const char *const memories[] = { "/dev/zero, private", "/dev/zero, shared", "memfd", "SysV", "huge pages",
	"huge pages after fork", "copied on write", "tmpfs", "locked", "the program", "the stack" };

static unsigned char *huge(size_t len)
{
	uintptr_t p = (uintptr_t)map(len + 2 * MIB);
	unsigned char *buf = (unsigned char *)((p + 2 * MIB - 1) & ~(2 * MIB - 1));

	madvise(buf, len, MADV_HUGEPAGE);	/* user-mode Linux has none */
	return buf;
}

static void memory_sorts(void)
{
	size_t len = 64 * KIB;
	unsigned char stack[len + PAGE], *copy = xalloc(4 * MIB);
	struct file f, g;
	pid_t child = 0;

	file_make(&g, "memory-2", MIB, 2);
	for (enum memory k = 0; k < MEMORIES; k++) {
		file_make(&f, "memory", k == HUGE_PAGES || k == HUGE_FORKED ? 3 * MIB : 128 * KIB, 1);
		for (enum engine e = SYNC; e <= URING; e++)
			for (int skew = e == AIO; skew <= (e != SYNC); skew++) {
				bool big = k == HUGE_PAGES || k == HUGE_FORKED;
				size_t n = big ? 2 * MIB + 64 * KIB : len, s = skew ? 512 : 0, off = skew ? 3 * 512 : 0;
				bool readable = k != PROGRAM;
				unsigned char *buf;
				char path[300];
				long ret;
				int fd;

				if (k == PROGRAM)
					n = 2 * PAGE;
				switch (k) {
				case ZERO_PRIVATE:
				case ZERO_SHARED:
					fd = xopen("/dev/zero", O_RDWR);
					buf = mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE,
						   k == ZERO_SHARED ? MAP_SHARED : MAP_PRIVATE, fd, 0);
					close(fd);
					break;
				case MEMFD:
					fd = (int)syscall(__NR_memfd_create, "reports", 1);
					if (fd < 0 || ftruncate(fd, (off_t)(n + PAGE)))
						die("memfd");
					buf = mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
					close(fd);
					break;
				case SYSV:
					fd = shmget(IPC_PRIVATE, n + PAGE, 0600);
					buf = shmat(fd, NULL, 0);
					shmctl(fd, IPC_RMID, NULL);
					break;
				case HUGE_PAGES:
				case HUGE_FORKED:
					buf = huge(4 * MIB);
					break;
				case COWED:
					buf = map_file(&g, 0, n + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
					break;
				case TMPFS:
					snprintf(path, sizeof(path), "/dev/shm/reports-%d", getpid());
					fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC);
					unlink(path);
					if (ftruncate(fd, (off_t)(n + PAGE)))
						die("ftruncate");
					buf = mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
					close(fd);
					break;
				case LOCKED:
					buf = mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE,
						   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
					break;
				case PROGRAM:
					buf = (unsigned char *)((uintptr_t)memory_sorts & ~(PAGE - 1));
					break;
				default:
					buf = (unsigned char *)(((uintptr_t)stack + SECTOR - 1) & ~(SECTOR - 1));
				}
				if (buf == MAP_FAILED)
					die("mmap");
				buf += s;
				if (readable && (k > ZERO_SHARED || e == AIO))
					for (size_t i = 0; i < n; i += k == COWED ? 2 * PAGE : SECTOR)
						pattern_fill(buf + i, SECTOR, k * 10 + e, i);
				if (k == HUGE_FORKED) {
					child = xfork();
					if (!child) {
						pause();
						_exit(0);
					}
				}
				/* Looked at through the kernel: what was never touched stays so. */
				if (k > ZERO_SHARED || e == AIO)
					memcpy(copy, buf, n);
				else
					memset(copy, 0, n);
				ret = io(e, true, f.dfd, buf, n, off);
				CHECK(ret == (long)n, "%s: %s write: %s", memories[k], engines[e], result(ret));
				file_set(&f, off, copy, n);
				if (e == AIO)
					file_check(&f, "%s", memories[k]);
				if (readable) {
					ret = io(e, false, f.dfd, buf, n, off + 4 * KIB);
					CHECK(ret == (long)n, "%s: %s read: %s", memories[k], engines[e], result(ret));
					CHECK(!memcmp(buf, f.want + off + 4 * KIB, n), "%s: %s read other data", memories[k],
					      engines[e]);
				}
				if (k == HUGE_FORKED) {
					kill(child, SIGKILL);
					waitpid(child, NULL, 0);
				}
				if (k == SYSV)
					shmdt(buf - s);
				else if (big)
					munmap(buf - s, 4 * MIB);
				else if (k < PROGRAM)
					munmap(buf - s, n + PAGE);
			}
		file_check(&f, "%s", memories[k]);
		file_close(&f);
	}
	file_check(&g, "what was mapped privately");
}

/* userfaultfd: the memory comes late, or never. */

static int uffd_over(void *buf, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)buf, len }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		die("userfaultfd");
	return fd;
}

struct late {
	int uffd;
	unsigned char *buf, *bytes;
	size_t len;
	struct file *other;
	unsigned int asked;
};

static void *answer_late(void *arg)
{
	struct late *l = arg;
	struct uffd_msg msg;

	while (read(l->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		size_t at = (size_t)(msg.arg.pagefault.address & ~(PAGE - 1)) - (uintptr_t)l->buf;
		struct uffdio_copy copy = { .dst = (uintptr_t)l->buf + at, .src = (uintptr_t)l->bytes + at, .len = PAGE };
		ssize_t ret;

		/* Other files go on. */
		ret = pwrite(l->other->dfd, l->bytes, PAGE, (off_t)at);
		CHECK(ret == (ssize_t)PAGE, "another file: %s", result(ret < 0 ? -errno : ret));
		file_set(l->other, at, l->bytes, PAGE);
		msleep(15);
		if (ioctl(l->uffd, UFFDIO_COPY, &copy))
			die("UFFDIO_COPY");
		l->asked++;
	}
	return NULL;
}

static void late_io(bool write)
{
	size_t len = 8 * PAGE;
	struct file f, g;

	file_make(&f, write ? "late-write" : "late-read", 64 * PAGE, 1);
	file_make(&g, write ? "late-write-2" : "late-read-2", 64 * PAGE, 2);
	for (enum engine e = SYNC; e <= URING; e++)
		for (int extend = 0; extend <= (int)write; extend++) {
			size_t off = extend ? f.len : 16 * PAGE;
			struct late l = { .buf = map(len), .bytes = xalloc(len), .len = len, .other = &g };
			pthread_t t;
			long ret;

			pattern_fill(l.bytes, len, 30 + e, 0);
			memcpy(l.buf, l.bytes, PAGE);	/* the first page is there */
			l.uffd = uffd_over(l.buf, len);
			if (pthread_create(&t, NULL, answer_late, &l))
				die("pthread_create");
			ret = io(e, write, f.dfd, l.buf, len, off);
			CHECK(ret == (long)len, "%s, extending %d: %s", engines[e], extend, result(ret));
			CHECK(l.asked, "%s: no page was asked for", engines[e]);
			if (write)
				file_set(&f, off, l.bytes, len);
			else
				CHECK(!memcmp(l.buf, f.want + off, len), "%s: read other data", engines[e]);
			file_check(&f, "%s, extending %d", engines[e], extend);
			/* It waits in read(). */
			pthread_cancel(t);
			pthread_join(t, NULL);
			close(l.uffd);
			munmap(l.buf, len);
			free(l.bytes);
		}
	file_check(&g, "the other file");
}

static void late_write(void)
{
	late_io(true);
}

static void late_read(void)
{
	late_io(false);
}

static void never(void)
{
	size_t len = 8 * PAGE;
	struct file f;

	file_make(&f, "never", 64 * PAGE, 1);
	for (enum engine e = SYNC; e <= URING; e++)
		for (int write = 0; write < 2; write++) {
			pid_t pid = xfork();
			unsigned char *buf;
			struct stat st;
			long ret;

			if (!pid) {
				buf = map(len);
				buf[0] = 1;
				uffd_over(buf, len);
				ret = io(e, write, f.dfd, buf, len, write ? f.len : 0);
				wrong("%s: memory that is not there: %s", engines[e], result(ret));
			}
			msleep(20 * factor);
			kill(pid, SIGKILL);
			reap_killed(pid);
			/* An io_uring worker may take a moment to go. */
			buf = map(len);
			pattern_fill(buf, len, e, 0);
			ret = pwrite(f.dfd, buf, len, 0);
			CHECK(ret == (ssize_t)len, "afterwards: %s", result(ret < 0 ? -errno : ret));
			file_set(&f, 0, buf, len);
			munmap(buf, len);
			/* The page that was there may have been written. */
			fstat(f.fd, &st);
			if ((size_t)st.st_size == f.len + PAGE) {
				f.want[f.len] = 1;
				f.len += PAGE;
			}
			file_check(&f, "%s", engines[e]);
		}
}

/* Pipes. */

struct pipe {
	int r, w;
};

static struct pipe make_pipe(size_t size, int flags)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | flags) || (size && fcntl(fds[1], F_SETPIPE_SZ, (int)size) < 0))
		die("pipe");
	return (struct pipe){ fds[0], fds[1] };
}

static void close_pipe(struct pipe p)
{
	close(p.r);
	close(p.w);
}

static void read_exactly(int fd, unsigned char *buf, size_t len)
{
	while (len) {
		ssize_t n = read(fd, buf, len);

		CHECK(n > 0, "the pipe holds %zu bytes less than it should", len);
		buf += n;
		len -= (size_t)n;
	}
}

/* From O_DIRECT files into pipes that hold less, up to the end of the file, and no further. */
static void splice_from(void)
{
	static const size_t lens[] = { 10000, 256 * KIB, 64 * KIB + 512, 300 };
	unsigned char *buf = xalloc(MIB);
	struct file f;

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		file_make(&f, "splice-from", lens[i], 1);
		for (int size = 0; size < 3; size++) {
			struct pipe p = make_pipe(size == 1 ? PAGE : size == 2 ? 4 * PAGE : 0, 0);
			loff_t at = 0;

			for (;;) {
				loff_t was = at;
				ssize_t n = splice(f.dfd, &at, p.w, NULL, 2 * MIB, 0);

				CHECK(n >= 0, "size %zu, pipe %d, at %lld: -%s", f.len, size, (long long)was, errname(errno));
				CHECK(at == was + n && (size_t)at <= f.len, "size %zu: %zd bytes of %lld to %lld", f.len, n,
				      (long long)was, (long long)at);
				if (!n)
					break;
				read_exactly(p.r, buf, (size_t)n);
				CHECK(!memcmp(buf, f.want + was, (size_t)n), "size %zu: other data at %lld", f.len,
				      (long long)was);
			}
			CHECK((size_t)at == f.len, "size %zu, pipe %d: ends at %lld", f.len, size, (long long)at);
			close_pipe(p);
		}
		file_close(&f);
	}

	/* A pipe that is almost full. */
	file_make(&f, "splice-from", 64 * PAGE, 1);
	for (unsigned int used = 10; used <= 16; used++) {
		struct pipe p = make_pipe(16 * PAGE, 0);
		loff_t at = 0;
		ssize_t n;

		memset(buf, 0x77, PAGE);
		for (unsigned int i = 0; i < used; i++)
			if (write(p.w, buf, PAGE) != (ssize_t)PAGE)
				die("write to a pipe");
		n = splice(f.dfd, &at, p.w, NULL, 64 * PAGE, SPLICE_F_NONBLOCK);
		if (used == 16) {
			CHECK(n < 0 && errno == EAGAIN, "full pipe: %zd", n);
		} else {
			CHECK(n > 0 && (size_t)n <= (16 - used) * PAGE && n == at, "%u pages of room: %zd", 16 - used, n);
			read_exactly(p.r, buf, used * PAGE);
			read_exactly(p.r, buf, (size_t)n);
			CHECK(!memcmp(buf, f.want, (size_t)n), "%u pages of room: other data", 16 - used);
		}
		close_pipe(p);
	}

	/* A position that direct I/O cannot read from. */
	for (int i = 0; i < 2; i++) {
		struct pipe p = make_pipe(0, 0);
		loff_t at = i ? 100 : 64 * (loff_t)PAGE + 100;
		ssize_t n = splice(f.dfd, &at, p.w, NULL, PAGE, SPLICE_F_NONBLOCK);

		CHECK(i ? n < 0 && errno == EINVAL : n == 0, "at %lld: %s", (long long)at, result(n < 0 ? -errno : n));
		close_pipe(p);
	}
	file_check(&f, "afterwards");
}

/* From pipes into O_DIRECT files. */
static void splice_to(void)
{
	unsigned char *buf = xalloc(64 * KIB), *m;
	struct file f, g;
	struct pipe p, p2;
	loff_t at, off;
	ssize_t n;

	file_make(&f, "splice-to", 512 * KIB, 1);
	file_make(&g, "splice-to-2", 64 * KIB, 2);
	/* Pages of another file's cache, from and to odd places; behind the end; pages of the file itself. */
	for (int kind = 0; kind < 6; kind++) {
		static const struct { bool own; size_t from, to, len; } k[] = {
			{ false, 0, 64 * KIB, 64 * KIB }, { false, 512, 3 * SECTOR, 8 * KIB },
			{ false, 0, 512 * KIB, 64 * KIB },
			{ true, 0, 256 * KIB, 64 * KIB }, { true, 16 * KIB, 16 * KIB, 32 * KIB },
			{ true, 44 * KIB, 20 * KIB, 32 * KIB },
		};
		bool overlaps = k[kind].own && k[kind].to < k[kind].from + k[kind].len &&
			k[kind].from < k[kind].to + k[kind].len;
		struct file *from = k[kind].own ? &f : &g;
		size_t done = 0;

		p = make_pipe(0, 0);
		at = (loff_t)k[kind].from;
		off = (loff_t)k[kind].to;
		memcpy(buf, from->want + at, k[kind].len);
		while (done < k[kind].len) {
			ssize_t in = splice(from->fd, &at, p.w, NULL, k[kind].len - done, 0);

			CHECK(in > 0, "splice from the page cache: %s", result(in < 0 ? -errno : in));
			n = splice(p.r, NULL, f.dfd, &off, (size_t)in, 0);
			if (n < 0 && overlaps && !buffered) {
				CHECK(errno == EFAULT, "kind %d: -%s", kind, errname(errno));
				break;
			}
			CHECK(n == in, "kind %d: %s of %zd", kind, result(n < 0 ? -errno : n), in);
			done += (size_t)n;
		}
		CHECK(!overlaps || buffered || !done, "kind %d: %zu bytes written", kind, done);
		file_set(&f, k[kind].to, buf, done);
		file_check(&f, "kind %d", kind);
		close_pipe(p);
	}

	/* A user's pages: anonymous ones, and those of a mapping of the file, elsewhere and in the range. */
	for (int kind = 0; kind < 3; kind++) {
		struct iovec iov = { .iov_len = 32 * KIB };

		at = kind == 2 ? 128 * 1024 : 64 * 1024;
		m = kind ? map_file(&f, 128 * KIB, 32 * KIB, PROT_READ, MAP_SHARED) : map(32 * KIB);
		if (!kind)
			pattern_fill(m, 32 * KIB, 9, 0);
		memcpy(buf, m, 32 * KIB);
		iov.iov_base = m;
		p = make_pipe(0, 0);
		n = vmsplice(p.w, &iov, 1, 0);
		CHECK(n == 32 * (ssize_t)KIB, "vmsplice: %s", result(n < 0 ? -errno : n));
		off = at;
		n = splice(p.r, NULL, f.dfd, &off, 32 * KIB, 0);
		if (kind < 2 || buffered) {
			CHECK(n == 32 * (ssize_t)KIB, "vmspliced, kind %d: %s", kind, result(n < 0 ? -errno : n));
			file_set(&f, (size_t)at, buf, 32 * KIB);
		} else {
			CHECK(n < 0 && errno == EFAULT, "vmspliced, kind %d: %s", kind, result(n < 0 ? -errno : n));
		}
		munmap(m, 32 * KIB);
		file_check(&f, "vmspliced, kind %d", kind);
		close_pipe(p);
	}

	/* The same pages to two files. */
	p = make_pipe(0, 0);
	p2 = make_pipe(0, 0);
	pattern_fill(buf, 32 * KIB, 10, 0);
	if (write(p.w, buf, 32 * KIB) != 32 * (ssize_t)KIB)
		die("write to a pipe");
	n = tee(p.r, p2.w, 32 * KIB, 0);
	CHECK(n == 32 * (ssize_t)KIB, "tee: %s", result(n < 0 ? -errno : n));
	off = at = 0;
	n = splice(p.r, NULL, f.dfd, &off, 32 * KIB, 0);
	CHECK(n == 32 * (ssize_t)KIB, "first after tee: %s", result(n < 0 ? -errno : n));
	n = splice(p2.r, NULL, g.dfd, &at, 32 * KIB, 0);
	CHECK(n == 32 * (ssize_t)KIB, "second after tee: %s", result(n < 0 ? -errno : n));
	file_set(&f, 0, buf, 32 * KIB);
	file_set(&g, 0, buf, 32 * KIB);
	file_check(&f, "first after tee");
	file_check(&g, "second after tee");
	close_pipe(p);
	close_pipe(p2);

	/* Pieces that are no sectors: all, some, or EINVAL, and what the count says. */
	for (size_t piece = 64; piece <= 3 * SECTOR; piece *= 2) {
		for (int total = 1; total < 3; total++) {
			size_t len = total * 2 * KIB + (piece > SECTOR ? 100 : 0), done = 0;

			p = make_pipe(0, O_DIRECT);	/* one buffer for each write */
			pattern_fill(buf, len, piece + total, 0);
			for (size_t i = 0; i < len; i += piece) {
				size_t one = i + piece > len ? len - i : piece;

				if (write(p.w, buf + i, one) != (ssize_t)one)
					break;
				done += one;
				if (i / piece >= 14)
					break;
			}
			off = 64 * KIB;
			n = splice(p.r, NULL, f.dfd, &off, done, SPLICE_F_NONBLOCK);
			CHECK(n <= (ssize_t)done && (n > 0 || errno == EINVAL), "pieces of %zu: %s", piece,
			      result(n < 0 ? -errno : n));
			if (n > 0)
				file_set(&f, 64 * KIB, buf, (size_t)n);
			file_check(&f, "pieces of %zu", piece);
			close_pipe(p);
		}
	}
}

/* sendfile() and copy_file_range() between files that are open for direct I/O or not. */
static void copies(void)
{
	static const size_t lens[] = { 256 * KIB, 64 * KIB + 512, 10000 };
	struct file f, g;

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++)
		for (int how = 0; how < 8; how++) {
			bool send = how & 1, din = how & 2, dout = how & 4;
			size_t len = lens[i], done = 0;
			loff_t in = 0, out = 0;
			ssize_t n = 0;

			file_make(&f, "copy-from", len, 1);
			file_make(&g, "copy-to", 4 * KIB, 2);
			while (done < len) {
				if (send) {
					lseek(dout ? g.dfd : g.fd, out, SEEK_SET);
					n = sendfile(dout ? g.dfd : g.fd, din ? f.dfd : f.fd, &in, MIB);
					out += n > 0 ? n : 0;
				} else {
					n = copy_file_range(din ? f.dfd : f.fd, &in, dout ? g.dfd : g.fd, &out, len - done, 0);
				}
				if (n <= 0)
					break;
				done += (size_t)n;
			}
			CHECK(in == (loff_t)done && out == (loff_t)done && done <= len, "%zu, way %d: from %lld, to %lld, %zu", len,
			      how, (long long)in, (long long)out, done);
			/* A last part that is no sector cannot be written directly, nor, where one asks for just that, read. */
			CHECK(done == len || ((dout || (din && !send)) && len % SECTOR && n < 0 && errno == EINVAL), "%zu, way %d: %zu, then %s", len,
			      how, done, result(n < 0 ? -errno : n));
			file_set(&g, 0, f.want, done);
			file_check(&g, "%zu, way %d: %zu", len, how, done);
			file_check(&f, "source");
			file_close(&f);
			file_close(&g);
		}

	/* Within one file. */
	file_make(&f, "copy-from", 256 * KIB, 1);
	for (int how = 0; how < 4; how++) {
		loff_t in = 0, out = 128 * KIB + how * 16 * KIB;
		int ifd = how & 1 ? f.dfd : f.fd, ofd = how & 2 ? f.dfd : f.fd;
		size_t done = 0;
		ssize_t n;

		while (done < 64 * KIB) {
			n = copy_file_range(ifd, &in, ofd, &out, 64 * KIB - done, 0);
			CHECK(n > 0, "in one file, way %d: %s", how, result(n < 0 ? -errno : n));
			done += (size_t)n;
		}
		memmove(f.want + 128 * KIB + how * 16 * KIB, f.want, 64 * KIB);
		file_check(&f, "in one file, way %d", how);
		in = 0;
		out = 32 * KIB;
		n = copy_file_range(ifd, &in, ofd, &out, 64 * KIB, 0);
		CHECK(n < 0 && errno == EINVAL, "overlapping: %s", result(n < 0 ? -errno : n));
	}
	file_check(&f, "afterwards");
}

/* What else a write changes: set-id bits and times. */

enum change_by { BY_WRITE, BY_AIO, BY_URING, BY_NOWAIT, BY_APPEND, BY_EXTEND, BY_HOLE, BY_SPLICE, BY_OVERLAP, BY_DISJOINT,
	BY_FALLOC, BY_FALLOC_KEEP, BY_PUNCH, BY_ZERO, BY_TRUNCATE, CHANGERS };

static const char *const changers[] = { "write", "aio", "io_uring", "RWF_NOWAIT", "O_APPEND", "extending", "hole", "splice",
	"overlapping", "disjoint", "fallocate", "FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE", "FALLOC_FL_ZERO_RANGE",
	"ftruncate" };

/* The file is 64 KiB, with a hole from 32 KiB to 48. */
static long change_file(enum change_by how, const char *path)
{
	unsigned char *buf = map(8 * PAGE);
	struct iovec iov = { buf, PAGE };
	int fd = open(path, O_RDWR | O_DIRECT | (how == BY_APPEND ? O_APPEND : 0));
	struct stat st;
	struct pipe p;
	loff_t off;
	long ret;

	if (fd < 0 || fstat(fd, &st))
		die("open %s", path);
	memset(buf, 0x42, 8 * PAGE);
	switch (how) {
	case BY_WRITE:
	case BY_AIO:
	case BY_URING:
		ret = io(how == BY_AIO ? AIO : how == BY_URING ? URING : SYNC, true, fd, buf, PAGE, 0);
		break;
	case BY_NOWAIT:
		ret = pwritev2(fd, &iov, 1, 0, RWF_NOWAIT);
		break;
	case BY_APPEND:
		ret = write(fd, buf, PAGE);
		break;
	case BY_EXTEND:
		ret = pwrite(fd, buf, PAGE, st.st_size);
		break;
	case BY_HOLE:
		ret = pwrite(fd, buf, PAGE, 9 * PAGE);
		break;
	case BY_SPLICE:
		p = make_pipe(0, 0);
		off = 0;
		if (write(p.w, buf, PAGE) != (ssize_t)PAGE)
			die("write to a pipe");
		ret = splice(p.r, NULL, fd, &off, PAGE, 0);
		close_pipe(p);
		break;
	case BY_OVERLAP:
	case BY_DISJOINT:
		munmap(buf, 8 * PAGE);
		buf = mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
		ret = pwrite(fd, buf, 2 * PAGE, how == BY_OVERLAP ? PAGE : 4 * PAGE);
		break;
	case BY_FALLOC:
		ret = fallocate(fd, 0, 8 * PAGE, 10 * PAGE);
		break;
	case BY_FALLOC_KEEP:
		ret = fallocate(fd, FALLOC_FL_KEEP_SIZE, 8 * PAGE, 10 * PAGE);
		break;
	case BY_PUNCH:
		ret = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE);
		break;
	case BY_ZERO:
		ret = fallocate(fd, FALLOC_FL_ZERO_RANGE, PAGE, 2 * PAGE);
		break;
	default:
		ret = ftruncate(fd, 5 * PAGE);
	}
	if (ret == -1)
		ret = -errno;
	munmap(buf, 8 * PAGE);
	close(fd);
	return ret;
}

static void make_holey(struct file *f, const char *name)
{
	file_make(f, name, 16 * PAGE, 1);
	if (ftruncate(f->fd, 8 * PAGE) || ftruncate(f->fd, 16 * PAGE) ||
	    pwrite(f->fd, f->want + 12 * PAGE, 4 * PAGE, 12 * PAGE) != 4 * (ssize_t)PAGE)
		die("%s", name);
	memset(f->want + 8 * PAGE, 0, 4 * PAGE);
	cool(f);
}

static void set_id(void)
{
	struct file f;
	struct stat st;

	for (enum change_by how = 0; how < CHANGERS; how++)
		for (int root = 0; root < (how % 3 ? 1 : 2); root++) {
			pid_t pid;

			make_holey(&f, "set-id");
			/* The first write of root's lets the kernel note that there is nothing to remove. */
			if (fchown(f.fd, 2000, 2000) || pwrite(f.dfd, f.want, PAGE, 0) != (ssize_t)PAGE || fchmod(f.fd, 06777))
				die("chmod");
			pid = xfork();
			if (!pid) {
				long ret;

				if (!root && (setgid(1000) || setuid(1000)))
					die("setuid");
				ret = change_file(how, f.path);
				if (how == BY_NOWAIT && ret == -EAGAIN)
					_exit(0);
				if (how == BY_OVERLAP && !buffered) {
					CHECK(ret == -EFAULT, "%s: %s", changers[how], result(ret));
					_exit(0);
				}
				CHECK(ret >= 0, "%s: %s", changers[how], result(ret));
				if (fstat(f.fd, &st))
					die("fstat");
				CHECK((st.st_mode & 07777) == (root ? 06777 : 0777), "%s by %s: mode %o", changers[how],
				      root ? "root" : "a user", st.st_mode & 07777);
				_exit(0);
			}
			reap(pid);
			file_close(&f);
		}
}

static bool newer(struct timespec a, struct timespec b)
{
	return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/* Until a time stamp would be another one. */
static void wait_past(struct timespec then)
{
	struct timespec now;

	do {
		msleep(5);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (!newer(now, then));
}

static void times_change(void)
{
	static const struct timespec old[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
	struct stat was, st;
	struct file f;

	for (enum change_by how = 0; how < CHANGERS; how++) {
		long ret;

		if (how == BY_OVERLAP && !buffered)
			continue;
		make_holey(&f, "times");
		if (futimens(f.fd, old) || fstat(f.fd, &was))
			die("futimens");
		wait_past(was.st_ctim);
		ret = change_file(how, f.path);
		if (how == BY_NOWAIT && ret == -EAGAIN)
			continue;
		CHECK(ret >= 0, "%s: %s", changers[how], result(ret));
		if (fstat(f.fd, &st))
			die("fstat");
		CHECK(newer(st.st_mtim, was.st_mtim), "%s: mtime did not change", changers[how]);
		CHECK(newer(st.st_ctim, was.st_ctim), "%s: ctime did not change", changers[how]);
		CHECK(how == BY_OVERLAP || how == BY_DISJOINT || !newer(st.st_atim, was.st_atim), "%s: atime did change",
		      changers[how]);
		file_close(&f);
	}
}

/* Writes that are refused or that fail, and leave size, contents and times as they are. */
static void times_stay(void)
{
	static const char *const names[] = { "bad address", "bad address, aio", "bad address, io_uring", "bad address, extending",
		"bad address, hole", "unaligned position", "unaligned length", "overlap", "overlap, io_uring", "RWF_NOWAIT, extending",
		"RWF_NOWAIT, hole", "RLIMIT_FSIZE", "nothing", "negative position", "fallocate", "spliced piece" };
	struct rlimit limit = { 16 * PAGE, RLIM_INFINITY };
	unsigned char *buf = map(PAGE);
	char changed[1024] = "";
	struct stat was, st;
	struct file f;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &limit))
		die("setrlimit");
	for (int how = 0; how < 16; how++) {
		struct iovec iov = { buf, PAGE };
		unsigned char *bad, *own;
		struct pipe p;
		loff_t off;
		long ret;
		int want;

		make_holey(&f, "times-stay");
		/* Beyond the limit it would be EFBIG. */
		f.len = how == 3 || how == 9 ? 15 * PAGE : 16 * PAGE;
		if (ftruncate(f.fd, (off_t)f.len))
			die("ftruncate");
		fsync(f.fd);
		bad = map(PAGE);
		mprotect(bad, PAGE, PROT_NONE);
		own = map_file(&f, PAGE, PAGE, PROT_READ, MAP_SHARED);
		if (fstat(f.fd, &was))
			die("fstat");
		wait_past(was.st_ctim);
		switch (how) {
		case 0: case 1: case 2:
			ret = io((enum engine)how, true, f.dfd, bad, PAGE, 0), want = EFAULT;
			break;
		case 3:
			ret = pwrite(f.dfd, bad, PAGE, 15 * PAGE), want = EFAULT;
			break;
		case 4:
			ret = pwrite(f.dfd, bad, PAGE, 9 * PAGE), want = EFAULT;
			break;
		case 5:
			ret = pwrite(f.dfd, buf, PAGE, 100), want = EINVAL;
			break;
		case 6:
			ret = pwrite(f.dfd, buf, 100, 0), want = EINVAL;
			break;
		case 7: case 8:
			ret = buffered ? -EFAULT : io(how == 7 ? SYNC : URING, true, f.dfd, own, PAGE, PAGE), want = EFAULT;
			break;
		case 9: case 10:
			ret = pwritev2(f.dfd, &iov, 1, how == 9 ? 15 * PAGE : 9 * PAGE, RWF_NOWAIT), want = EAGAIN;
			break;
		case 11:
			ret = pwrite(f.dfd, buf, PAGE, 16 * PAGE), want = EFBIG;
			break;
		case 12:
			ret = pwrite(f.dfd, buf, 0, 0), want = 0;
			break;
		case 13:
			ret = pwrite(f.dfd, buf, PAGE, -(off_t)PAGE), want = EINVAL;
			break;
		case 14:
			ret = fallocate(f.fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE), want = EOPNOTSUPP;
			break;
		default:
			p = make_pipe(0, 0);
			off = 0;
			if (write(p.w, buf, 100) != 100)
				die("write to a pipe");
			ret = splice(p.r, NULL, f.dfd, &off, 100, 0), want = EINVAL;
			close_pipe(p);
		}
		if (ret == -1)
			ret = -errno;
		CHECK(ret == -want, "%s: %s", names[how], result(ret));
		if (fstat(f.fd, &st))
			die("fstat");
		if (newer(st.st_mtim, was.st_mtim) || newer(st.st_ctim, was.st_ctim)) {
			strcat(changed, changed[0] ? "; " : "");
			strcat(changed, names[how]);
		}
		stat_same(&f, &was, names[how]);
		file_check(&f, "%s", names[how]);
		munmap(bad, PAGE);
		munmap(own, PAGE);
		file_close(&f);
	}
	CHECK(!changed[0], "mtime or ctime did change: %s", changed);
}

/* io_uring as such. */

/* The next entry of the submission queue, filled in; ring_enter() submits. */
static struct io_uring_sqe *push(struct queue *q, int opcode, int fd, void *addr, size_t len, size_t off, uint64_t tag)
{
	unsigned int tail = *q->sq_tail, i = tail & *q->sq_mask;
	struct io_uring_sqe *sqe = &q->sqes[i];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)opcode;
	sqe->fd = fd;
	sqe->addr = (uintptr_t)addr;
	sqe->len = (uint32_t)len;
	sqe->off = off;
	sqe->user_data = tag;
	q->sq_array[i] = i;
	__atomic_store_n(q->sq_tail, tail + 1, __ATOMIC_RELEASE);
	q->inflight++;
	return sqe;
}

static void ring_enter(struct queue *q, unsigned int n)
{
	long ret = syscall(__NR_io_uring_enter, q->ring, n, 0, 0, NULL, 0);

	if (ret != (long)n)
		die("io_uring_enter: %ld of %u", ret, n);
}

/* The results of `n` requests with tags below `n`, each of which must come once. */
static void collect(struct queue *q, unsigned int n, long *res)
{
	bool seen[QUEUE_MAX] = { false };

	for (unsigned int i = 0; i < n; i++) {
		uint64_t tag;
		long ret = queue_wait(q, &tag);

		CHECK(tag < n && !seen[tag], "a second completion of request %llu", (unsigned long long)tag);
		seen[tag] = true;
		res[tag] = ret;
	}
}

/* Registered buffers and files; the descriptor is closed before they are used. */
static void uring_fixed(void)
{
	size_t len = 512 * KIB;
	unsigned char *buf = map(len), *own, *copy = xalloc(len);
	struct queue *q = queue_of(URING);
	struct file f;
	long res[16];
	int fd, err;

	file_make(&f, "uring-fixed", MIB, 1);
	fd = xopen(f.path, O_RDWR | O_DIRECT);
	if (syscall(__NR_io_uring_register, q->ring, IORING_REGISTER_FILES, &fd, 1))
		die("IORING_REGISTER_FILES");
	close(fd);
	err = queue_register(q, buf, len);
	if (err)
		die("IORING_REGISTER_BUFFERS: %s", errname(err));
	for (unsigned int round = 0; round < 6 * load; round++) {
		pattern_fill(buf, len, 60 + round, 0);
		for (unsigned int i = 0; i < 8; i++) {
			size_t skew = i % 2 ? 512 : 0, n = 32 * KIB - skew;

			push(q, IORING_OP_WRITE_FIXED, 0, buf + i * 64 * KIB + skew, n, (15 - i) * 64 * KIB + 2 * skew, i)->flags =
				IOSQE_FIXED_FILE | (round % 3 == 2 ? IOSQE_ASYNC : 0);
			file_set(&f, (15 - i) * 64 * KIB + 2 * skew, buf + i * 64 * KIB + skew, n);
		}
		ring_enter(q, 8);
		collect(q, 8, res);
		for (unsigned int i = 0; i < 8; i++)
			CHECK(res[i] == (long)(32 * KIB - (i % 2 ? 512 : 0)), "write %u: %s", i, result(res[i]));
		for (unsigned int i = 0; i < 8; i++)
			push(q, IORING_OP_READ_FIXED, 0, buf + i * 64 * KIB + 512, 48 * KIB, (8 + i) * 64 * KIB, i)->flags =
				IOSQE_FIXED_FILE;
		ring_enter(q, 8);
		collect(q, 8, res);
		for (unsigned int i = 0; i < 8; i++)
			CHECK(res[i] == (long)(48 * KIB) &&
			      !memcmp(buf + i * 64 * KIB + 512, f.want + (8 + i) * 64 * KIB, 48 * KIB), "read %u: %s", i,
			      result(res[i]));
	}
	if (syscall(__NR_io_uring_register, q->ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		die("IORING_UNREGISTER_BUFFERS");

	/* Pages of the file itself cannot be registered, or are recognised; private copies of them are anonymous. */
	for (int private = 0; private < 2; private++) {
		own = map_file(&f, 0, 64 * KIB, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED);
		err = queue_register(q, own, 64 * KIB);
		if (err) {
			CHECK(!private && (err == EOPNOTSUPP || err == EFAULT), "registering, private %d: %s", private, errname(err));
			munmap(own, 64 * KIB);
			continue;
		}
		memcpy(copy, own, 64 * KIB);
		push(q, IORING_OP_WRITE_FIXED, 0, own, 64 * KIB, 4 * KIB, 0)->flags = IOSQE_FIXED_FILE;
		ring_enter(q, 1);
		collect(q, 1, res);
		if (private || buffered) {
			CHECK(res[0] == (long)(64 * KIB), "own pages, private %d: %s", private, result(res[0]));
			file_set(&f, 4 * KIB, copy, 64 * KIB);
		} else {
			CHECK(res[0] == -EFAULT, "own pages, private %d: %s", private, result(res[0]));
		}
		syscall(__NR_io_uring_register, q->ring, IORING_UNREGISTER_BUFFERS, NULL, 0);
		munmap(own, 64 * KIB);
	}
	file_check(&f, "afterwards");
}

/* Chains of a write, an fsync and a read. */
static void uring_link(void)
{
	size_t len = 64 * KIB;
	unsigned char *buf = map(len), *back = map(len);
	struct queue *q = queue_of(URING);
	struct file f;
	long res[4];

	file_make(&f, "uring-link", 256 * KIB, 1);
	for (unsigned int round = 0; round < 16 * load; round++) {
		size_t off = round % 4 == 3 ? f.len : round % 3 * len, limit = 2 * 256 * KIB;
		bool hard = round % 2, async = round % 5 == 4, bad = round % 4 == 2, brief = round % 8 == 5;
		uint8_t flags = (hard ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK) | (async ? IOSQE_ASYNC : 0);
		long wrote;

		if (off + len > limit) {
			off = 0;
			if (ftruncate(f.fd, 256 * 1024))
				die("ftruncate");
			memset(f.want + 256 * KIB, 0, f.len - 256 * KIB);
			f.len = 256 * KIB;
		}
		pattern_fill(buf, len, 80 + round, 0);
		memset(back, 0, len);
		if (bad || brief)
			mprotect(buf + (bad ? 0 : len / 2), PAGE, PROT_NONE);
		push(q, IORING_OP_WRITE, f.dfd, buf, len, off, 0)->flags = flags;
		push(q, IORING_OP_FSYNC, f.dfd, NULL, 0, 0, 1)->flags = flags;
		q->sqes[(*q->sq_tail - 1) & *q->sq_mask].fsync_flags = round % 3 ? IORING_FSYNC_DATASYNC : 0;
		push(q, IORING_OP_READ, f.dfd, back, len, off, 2);
		ring_enter(q, 3);
		collect(q, 3, res);
		wrote = bad ? -EFAULT : brief && res[0] != -EFAULT ? (long)len / 2 : brief ? -EFAULT : (long)len;
		CHECK(res[0] == wrote, "round %u: write: %s", round, result(res[0]));
		mprotect(buf, len, PROT_READ | PROT_WRITE);
		if (wrote > 0)
			file_set(&f, off, buf, (size_t)wrote);
		/* A chain breaks at what fails or is short, unless it is hard. */
		if (wrote == (long)len || hard) {
			CHECK(res[1] == 0, "round %u: fsync: %s", round, result(res[1]));
			CHECK(res[2] == (long)(off + len > f.len ? f.len - off : len), "round %u: read: %s", round, result(res[2]));
			CHECK(!memcmp(back, f.want + off, (size_t)res[2]), "round %u: read other data", round);
		} else {
			CHECK(res[1] == -ECANCELED && res[2] == -ECANCELED, "round %u: fsync and read: %s, %s", round,
			      result(res[1]), result(res[2]));
		}
		file_check(&f, "round %u", round);
	}
}

/* Each 512 bytes of the file are what they were or what was written. */
static void old_or_new(struct file *f, const unsigned char *fresh, size_t off, size_t len, const char *what)
{
	unsigned char *have = xalloc(len);

	if (pread_all(f->dfd, have, len, off) != len)
		wrong("%s: the file is too short", what);
	for (size_t i = 0; i < len; i += SECTOR) {
		bool is_new = !memcmp(have + i, fresh + i, SECTOR);

		CHECK(is_new || !memcmp(have + i, f->want + off + i, SECTOR), "%s: sector at %zu is neither old nor new", what,
		      off + i);
		if (is_new)
			memcpy(f->want + off + i, fresh + i, SECTOR);
	}
	free(have);
}

/* Requests that are cancelled have done all or nothing, and end once. */
static void uring_cancel(void)
{
	unsigned int n = 12;
	unsigned char *buf = map(n * 64 * KIB), *have = xalloc(64 * KIB);
	unsigned int cancelled = 0;
	uint64_t seed = 5;
	struct file f;

	file_make(&f, "uring-cancel", n * 64 * KIB, 1);
	for (unsigned int round = 0; round < 10 * load; round++) {
		struct queue *q = queue_of(URING);
		bool async = round % 2;
		long res[40];

		pattern_fill(buf, n * 64 * KIB, 90 + round, 0);
		for (unsigned int i = 0; i < n; i++)
			push(q, IORING_OP_WRITE, f.dfd, buf + i * 64 * KIB, 64 * KIB, i * 64 * KIB, i)->flags =
				async ? IOSQE_ASYNC : 0;
		ring_enter(q, n);
		if (round % 4 > 1)
			sched_yield();
		for (unsigned int i = 0; i < n; i++)
			push(q, IORING_OP_ASYNC_CANCEL, -1, (void *)(uintptr_t)(rnd(&seed) % n), 0, 0, n + i);
		ring_enter(q, n);
		collect(q, 2 * n, res);
		for (unsigned int i = 0; i < n; i++) {
			size_t at = i * 64 * KIB;

			CHECK(res[i] == (long)(64 * KIB) || res[i] == -ECANCELED || res[i] == -EINTR, "write %u: %s", i,
			      result(res[i]));
			CHECK(res[n + i] == 0 || res[n + i] == -ENOENT || res[n + i] == -EALREADY, "cancel %u: %s", i,
			      result(res[n + i]));
			if (res[i] > 0)
				file_set(&f, at, buf + at, 64 * KIB);
			else
				cancelled++;
			if (pread_all(f.dfd, have, 64 * KIB, at) != 64 * KIB)
				die("short read");
			CHECK(!memcmp(have, f.want + at, 64 * KIB), "round %u: write %u: %s, and the file is otherwise", round, i,
			      result(res[i]));
		}
		file_check(&f, "round %u", round);
	}
	fprintf(stderr, "uring-cancel: %u cancelled\n", cancelled);

	/* The ring is closed with requests in flight: they go on, or were never begun. The end of the task waits for them. */
	for (unsigned int round = 0; round < 6 * load; round++) {
		static struct queue q;
		pid_t pid;

		pattern_fill(buf, n * 64 * KIB, 300 + round, 0);
		pid = xfork();
		if (!pid) {
			queue_init(&q, URING);
			for (unsigned int i = 0; i < n; i++)
				push(&q, IORING_OP_WRITE, f.dfd, buf + i * 64 * KIB, 64 * KIB, i * 64 * KIB, i)->flags =
					round % 2 ? IOSQE_ASYNC : 0;
			ring_enter(&q, n);
			close(q.ring);
			_exit(0);
		}
		reap(pid);
		old_or_new(&f, buf, 0, n * 64 * KIB, "ring closed");
		file_check(&f, "ring closed, round %u", round);
	}
}

/* Polled: either it works, or each request is refused and nothing was done. */
static void uring_iopoll(void)
{
	static struct queue q;
	unsigned char *buf = map(64 * KIB);
	struct file f;

	file_make(&f, "uring-iopoll", 256 * KIB, 1);
	queue_init_as(&q, URING, IORING_SETUP_IOPOLL);
	for (int i = 0; i < 8; i++) {
		bool write = i % 2;
		size_t off = (i == 7 ? 8 : i / 2) * 32 * KIB;	/* the last one extends */
		long res;

		pattern_fill(buf, 64 * KIB, 40 + i, 0);
		push(&q, write ? IORING_OP_WRITE : IORING_OP_READ, f.dfd, buf, 32 * KIB, off, 0)->flags =
			i >= 4 && i < 6 ? IOSQE_ASYNC : 0;
		ring_enter(&q, 1);
		collect(&q, 1, &res);
		CHECK(res == (long)(32 * KIB) || res == -EOPNOTSUPP, "%s %d: %s", write ? "write" : "read", i, result(res));
		if (write && res > 0)
			file_set(&f, off, buf, 32 * KIB);
		else if (res > 0)
			CHECK(!memcmp(buf, f.want + off, 32 * KIB), "read %d: other data", i);
		file_check(&f, "%s %d: %s", write ? "write" : "read", i, result(res));
	}
	close(q.ring);
}

/* Whoever leaves with requests in flight. */

#define PARTS 16
#define PART (64 * KIB)

static void submit_parts(enum engine e, bool write, int fd, unsigned char *buf, size_t off)
{
	for (size_t i = 0; i < PARTS; i++)
		submit(e, write, fd, buf + i * PART, PART, off + i * PART, i);
}

/* io_destroy() waits: afterwards all is done, and nothing is written to the buffers any more. */
static void aio_destroy(void)
{
	size_t len = PARTS * PART;
	unsigned char *buf = map(len), *copy = xalloc(len);
	struct file f;

	file_make(&f, "aio-destroy", len, 1);
	for (unsigned int round = 0; round < 6 * load; round++) {
		bool write = round % 2;
		struct queue *q = queue_of(AIO);

		pattern_fill(buf, len, 400 + round, 0);
		submit_parts(AIO, write, f.dfd, buf, 0);
		if (syscall(__NR_io_destroy, q->ctx))
			die("io_destroy");
		if (write) {
			file_set(&f, 0, buf, len);
		} else {
			memcpy(copy, buf, len);
			CHECK(!memcmp(copy, f.want, len), "round %u: read other data, or was not ready", round);
			msleep(2);
			CHECK(!memcmp(copy, buf, len), "round %u: the memory changed afterwards", round);
		}
		file_check(&f, "round %u", round);
		queue_init(q, AIO);
	}
}

/* What AIO has accepted is done when execve() or exit() is through; io_uring's may be cancelled before it begins. */
static void exec_exit(void)
{
	size_t len = PARTS * PART;
	unsigned char *buf = map(len);
	char what[60];
	struct file f;

	file_make(&f, "exec-exit", len, 1);
	for (unsigned int round = 0; round < 8 * load; round++) {
		enum engine e = round % 2 ? URING : AIO;
		bool exec = round % 4 > 1, reads = round % 8 > 5;
		pid_t pid;

		snprintf(what, sizeof(what), "%s, %s", engines[e], exec ? "exec" : "exit");
		pattern_fill(buf, len, 500 + round, 0);
		pid = xfork();
		if (!pid) {
			submit_parts(e, !reads, f.dfd, buf, 0);
			if (exec) {
				execl("/proc/self/exe", self, "-x", (char *)NULL);
				die("execl");
			}
			_exit(0);
		}
		reap(pid);
		if (e == URING && !reads)
			old_or_new(&f, buf, 0, len, what);
		else if (!reads)
			file_set(&f, 0, buf, len);
		file_check(&f, "%s", what);
	}
}

/* Asynchronous appends: none over another, none lost. */
static void append(void)
{
	unsigned int n = 24;
	unsigned char *buf = map(n * PAGE), *have = xalloc(4 * n * PAGE);
	struct file f;
	int afd;

	file_make(&f, "append", PAGE, 0);
	afd = xopen(f.path, O_WRONLY | O_APPEND | O_DIRECT);
	for (enum engine e = SYNC; e <= URING; e++) {
		size_t before = f.len;
		bool seen[2 * 24] = { false };
		pid_t pid;

		pid = xfork();
		/* Both processes. */
		for (unsigned int i = 0; i < n; i++)
			memset(buf + i * PAGE, (int)(1 + i + (pid ? 0 : n)), PAGE);
		for (unsigned int i = 0; i < n; i++)
			submit(e, true, afd, buf + i * PAGE, PAGE, 0, i);
		for (unsigned int i = 0; i < n; i++) {
			long ret = await(e);

			CHECK(ret == (long)PAGE, "%s: %s", engines[e], result(ret));
		}
		if (!pid)
			_exit(0);
		reap(pid);
		CHECK(pread_all(f.dfd, have, 4 * n * PAGE, before) == 2 * n * PAGE, "%s: wrong size", engines[e]);
		for (unsigned int i = 0; i < 2 * n; i++) {
			unsigned char *p = have + i * PAGE;

			CHECK(p[0] > 0 && p[0] <= 2 * n && !memcmp(p, p + 1, PAGE - 1) && !seen[p[0] - 1], "%s: page %u is lost",
			      engines[e], i);
			seen[p[0] - 1] = true;
		}
		file_set(&f, before, have, 2 * n * PAGE);
		file_check(&f, "%s", engines[e]);
		f.len = PAGE;
		if (ftruncate(f.fd, (off_t)f.len))
			die("ftruncate");
	}
}

/* The counts of reads at and behind the end of the file. */
static void end_of_file(void)
{
	unsigned char *buf = map(16 * PAGE);
	static const size_t sizes[] = { 0, 1, 511, 512, 4095, 4096, 4097, 10000, 65537 };
	struct file f;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		file_make(&f, "end-of-file", sizes[i], 1);
		for (enum engine e = SYNC; e <= URING; e++)
			for (size_t off = 0; off < sizes[i] + 3 * PAGE; off += sizes[i] < 8 * PAGE ? SECTOR : 5 * PAGE)
				for (size_t len = SECTOR; len <= 16 * PAGE; len *= 8) {
					size_t want = off >= f.len ? 0 : f.len - off < len ? f.len - off : len;
					long ret = io(e, false, f.dfd, buf, len, off);

					CHECK(ret == (long)want, "size %zu: %s read of %zu at %zu: %s", f.len, engines[e], len, off,
					      result(ret));
					CHECK(!memcmp(buf, f.want + off, want), "size %zu: read other data at %zu", f.len, off);
				}
		file_close(&f);
	}
}

/* Vectors of odd make: empty parts, many, the same memory again and again, parts that are not aligned. */
static void vectors(void)
{
	size_t room = 1024 * KIB;
	unsigned char *buf = map(room), *want = xalloc(room);
	static struct iovec iov[1024];
	struct file f;

	file_make(&f, "vectors", room, 1);
	for (int kind = 0; kind < 8; kind++)
		for (enum engine e = SYNC; e <= AIO; e++) {
			bool may_refuse = false;
			size_t len = 0, off = kind * 4 * KIB;
			struct stat was;
			uint64_t tag;
			int n = 0;
			long ret;

			pattern_fill(buf, room, 700 + kind, 0);
			for (int i = 0; i < (kind == 0 ? 1024 : 40); i++) {
				struct iovec *v = &iov[n++];

				v->iov_len = SECTOR;
				switch (kind) {
				case 0:		/* many, backwards, each in a page of its own */
					v->iov_base = buf + (255 - i % 256) * PAGE + i / 256 * SECTOR;
					break;
				case 1:		/* empty ones between, at the beginning and at the end */
					v->iov_base = i % 3 ? buf + i * SECTOR : NULL;
					v->iov_len = i % 3 ? SECTOR : 0;
					break;
				case 2:		/* the same memory */
					v->iov_base = buf;
					v->iov_len = PAGE;
					break;
				case 3:		/* across page boundaries */
					v->iov_base = buf + i * 2 * PAGE + PAGE - SECTOR;
					v->iov_len = 2 * SECTOR;
					break;
				case 4:		/* empty ones at addresses that are none; the kernel may look whether they are aligned */
					v->iov_base = i % 2 ? buf + i * SECTOR : (void *)8;
					v->iov_len = i % 2 ? SECTOR : 0;
					may_refuse = true;
					break;
				case 5:		/* lengths that are sectors only in sum */
					v->iov_base = buf + i * PAGE;
					v->iov_len = i % 2 ? 100 : SECTOR - 100;
					may_refuse = true;
					break;
				case 6:		/* odd addresses */
					v->iov_base = buf + i * PAGE + 4;
					may_refuse = true;
					break;
				default:	/* nothing at all */
					v->iov_base = i % 2 ? buf : NULL;
					v->iov_len = 0;
				}
				memcpy(want + len, v->iov_len ? v->iov_base : buf, v->iov_len);
				len += v->iov_len;
			}
			fstat(f.fd, &was);
			queue_submit(queue_of(e), true, f.dfd, iov, (unsigned int)n, off, 0);
			ret = queue_wait(queue_of(e), &tag);
			CHECK(ret == (long)len || (may_refuse && ret == -EINVAL), "kind %d, %s write: %s", kind, engines[e],
			      result(ret));
			if (ret > 0)
				file_set(&f, off, want, len);
			else
				stat_same(&f, &was, "nothing written");
			file_check(&f, "kind %d, %s: %s", kind, engines[e], result(ret));
			queue_submit(queue_of(e), false, f.dfd, iov, (unsigned int)n, off, 0);
			ret = queue_wait(queue_of(e), &tag);
			CHECK(ret == (long)len || (may_refuse && ret == -EINVAL), "kind %d, %s read: %s", kind, engines[e],
			      result(ret));
			for (int i = 0; ret > 0 && kind != 2 && i < n; off += iov[i++].iov_len)
				CHECK(!memcmp(iov[i].iov_base ? iov[i].iov_base : buf, f.want + off, iov[i].iov_len),
				      "kind %d, %s: part %d read other data", kind, engines[e], i);
		}
	file_check(&f, "afterwards");
}

/* Each flag of pwritev2() and preadv2() works or is refused, and what is refused has done nothing. */
static void rwf_flags(void)
{
	unsigned char *buf = map(8 * PAGE);
	struct iovec iov = { buf, 8 * PAGE };
	struct file f;

	file_make(&f, "rwf-flags", 64 * PAGE, 1);
	for (int bit = 0; bit < 10; bit++)
		for (int write = 0; write < 2; write++) {
			bool appends = write && (1 << bit) == RWF_APPEND;
			struct stat was;
			ssize_t ret;

			pattern_fill(buf, 8 * PAGE, 800 + bit, 0);
			fstat(f.fd, &was);
			ret = write ? pwritev2(f.dfd, &iov, 1, 8 * PAGE, 1 << bit) : preadv2(f.dfd, &iov, 1, 8 * PAGE, 1 << bit);
			if (ret < 0) {
				CHECK(errno == EOPNOTSUPP || errno == EINVAL || errno == EAGAIN, "flag %#x: -%s", 1 << bit,
				      errname(errno));
				stat_same(&f, &was, "refused");
			} else {
				CHECK(ret == 8 * (ssize_t)PAGE, "flag %#x: %zd", 1 << bit, ret);
				if (write)
					file_set(&f, appends ? f.len : 8 * PAGE, buf, 8 * PAGE);
				else
					CHECK(!memcmp(buf, f.want + 8 * PAGE, 8 * PAGE), "flag %#x: read other data", 1 << bit);
			}
			file_check(&f, "flag %#x", 1 << bit);
		}
}

/* Rings whose requests are made by a thread of the kernel's, or complete in the waiter; buffers that the kernel picks. */
static void uring_kinds(void)
{
	static const unsigned int setups[] = {
		IORING_SETUP_SQPOLL, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_COOP_TASKRUN,
	};
	size_t part = 32 * KIB;
	unsigned char *buf = map(16 * part), *own;
	static struct queue rings[3];
	struct file f;

	file_make(&f, "uring-kinds", MIB, 1);
	for (int kind = 0; kind < 3; kind++) {
		unsigned int enter = IORING_ENTER_GETEVENTS | (kind ? 0 : IORING_ENTER_SQ_WAKEUP);
		struct queue *q = &rings[kind];
		long res[20];

		queue_init_as(q, URING, setups[kind]);
		for (int round = 0; round < 6; round++) {
			bool write = round % 2 == 0;
			unsigned int n = 8;

			pattern_fill(buf, 16 * part, 900 + round + 10 * kind, 0);
			for (unsigned int i = 0; i < 8; i++)
				push(q, write ? IORING_OP_WRITE : IORING_OP_READ, f.dfd, buf + i * 2 * part, part, (15 - i) * part, i);
			/* Pages of the range, and other pages of the file. */
			own = map_file(&f, 0, 4 * part, PROT_READ, MAP_SHARED);
			if (write) {
				push(q, IORING_OP_WRITE, f.dfd, own, part, 0, n++);
				push(q, IORING_OP_WRITE, f.dfd, own + 2 * part, part, part, n++);
			}
			/* A queue that is polled may be empty already. */
			if (syscall(__NR_io_uring_enter, q->ring, n, 1, enter, NULL, 0) < 0)
				die("io_uring_enter");
			collect(q, n, res);
			for (unsigned int i = 0; i < 8; i++) {
				CHECK(res[i] == (long)part, "kind %d, %s: %s", kind, write ? "write" : "read", result(res[i]));
				if (write)
					file_set(&f, (15 - i) * part, buf + i * 2 * part, part);
				else
					CHECK(!memcmp(buf + i * 2 * part, f.want + (15 - i) * part, part), "kind %d: read other data", kind);
			}
			if (write) {
				CHECK(res[8] == (buffered ? (long)part : -EFAULT), "kind %d, overlap: %s", kind, result(res[8]));
				CHECK(res[9] == (long)part, "kind %d, disjoint: %s", kind, result(res[9]));
				file_set(&f, part, f.want + 2 * part, part);
			}
			munmap(own, 4 * part);
			file_check(&f, "kind %d, round %d", kind, round);
		}
		if (kind != 2)
			continue;
		/* The kernel picks one of four buffers for each read. */
		push(q, IORING_OP_PROVIDE_BUFFERS, 4, buf, part, 0, 0)->buf_group = 7;
		ring_enter(q, 1);
		collect(q, 1, res);
		CHECK(res[0] >= 0, "IORING_OP_PROVIDE_BUFFERS: %s", result(res[0]));
		memset(buf, 0, 4 * part);
		for (unsigned int i = 0; i < 4; i++) {
			struct io_uring_sqe *sqe = push(q, IORING_OP_READ, f.dfd, NULL, part, i * part, i);

			sqe->flags = IOSQE_BUFFER_SELECT;
			sqe->buf_group = 7;
		}
		ring_enter(q, 4);
		for (unsigned int i = 0; i < 4; i++) {
			unsigned int head = *q->cq_head, bid;
			struct io_uring_cqe *cqe;

			while (head == __atomic_load_n(q->cq_tail, __ATOMIC_ACQUIRE))
				syscall(__NR_io_uring_enter, q->ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
			see_memory();
			cqe = &q->cqes[head & *q->cq_mask];
			bid = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
			CHECK(cqe->res == (int)part && bid < 4 &&
			      !memcmp(buf + bid * part, f.want + cqe->user_data * part, part), "picked buffer: %s",
			      result(cqe->res));
			__atomic_store_n(q->cq_head, head + 1, __ATOMIC_RELEASE);
		}
	}
}

/* AIO with an eventfd, io_cancel(), fsync as a request. */
static void aio_events(void)
{
	unsigned int n = 16;
	unsigned char *buf = map(n * PART);
	int efd = (int)syscall(__NR_eventfd2, 0, O_NONBLOCK);
	struct queue *q = queue_of(AIO);
	struct iocb cbs[32], *list[32];
	struct io_event ev[32];
	struct file f;

	file_make(&f, "aio-events", n * PART, 1);
	for (int round = 0; round < 4; round++) {
		unsigned int total = 0, got = 0, all = n + 2;
		uint64_t count;

		memset(cbs, 0, sizeof(cbs));
		pattern_fill(buf, n * PART, 1000 + round, 0);
		for (unsigned int i = 0; i < all; i++) {
			cbs[i] = (struct iocb){ .aio_lio_opcode = i < n ? IOCB_CMD_PWRITE : i == n ? IOCB_CMD_FSYNC : IOCB_CMD_FDSYNC,
				.aio_fildes = (uint32_t)f.dfd, .aio_data = i, .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (uint32_t)efd };
			if (i < n) {
				cbs[i].aio_buf = (uintptr_t)buf + i * PART;
				cbs[i].aio_nbytes = PART;
				cbs[i].aio_offset = (int64_t)(i * PART);
				file_set(&f, i * PART, buf + i * PART, PART);
			}
			list[i] = &cbs[i];
		}
		CHECK(syscall(__NR_io_submit, q->ctx, (long)all, list) == (long)all, "io_submit: -%s", errname(errno));
		for (unsigned int i = 0; i < all; i += 3)
			CHECK(syscall(__NR_io_cancel, q->ctx, &cbs[i], ev) < 0 && (errno == EINVAL || errno == EINPROGRESS),
			      "io_cancel: %s", errname(errno));
		while (total < all) {
			struct pollfd p = { efd, POLLIN, 0 };

			if (poll(&p, 1, -1) == 1 && read(efd, &count, 8) == 8)
				total += (unsigned int)count;
		}
		while (got < all) {
			struct timespec none = { 0, 0 };
			long k = syscall(__NR_io_getevents, q->ctx, 0L, 32L, ev, &none);

			CHECK(k > 0, "the eventfd counts %u, io_getevents() has %u", total, got);
			for (long i = 0; i < k; i++)
				CHECK(ev[i].res == (ev[i].data < n ? (int64_t)PART : 0), "request %d: %s", (int)ev[i].data,
				      result((long)ev[i].res));
			got += (unsigned int)k;
		}
		CHECK(total == all && got == all, "%u requests, the eventfd counts %u, %u events", all, total, got);
		file_check(&f, "round %d", round);
	}
}

/* A frozen file system changes nothing, also with requests in flight, and goes on when it is thawed. */
static __attribute__((noreturn)) void write_versions(struct file *f)
{
	unsigned char *buf = map(4 * SLOT);
	unsigned int version = 0;

	for (;;) {
		enum engine e = version % 3;

		memset(buf, (int)(version++ % 256), 4 * SLOT);
		for (size_t i = 0; i < 4; i++)
			submit(e, true, f->dfd, buf + i * SLOT, SLOT, i * SLOT, i);
		for (int i = 0; i < 4; i++)
			CHECK(await(e) == (long)SLOT, "a write beside freezing was short");
	}
}

static void freeze(void)
{
	unsigned char *one = xalloc(4 * SLOT), *two = xalloc(4 * SLOT);
	unsigned int changes = 0;
	struct file f;
	pid_t pid;
	int dfd = xopen(dir, O_RDONLY);

	file_make(&f, "freeze", 4 * SLOT, 1);
	pid = xfork();
	if (!pid)
		write_versions(&f);
	for (unsigned int round = 0; round < 8 * load; round++) {
		msleep(5);
		if (ioctl(dfd, FIFREEZE, 0)) {
			CHECK(errno == EOPNOTSUPP, "FIFREEZE: -%s", errname(errno));
			kill(pid, SIGKILL);
			reap_killed(pid);
			return;
		}
		if (pread_all(f.dfd, one, 4 * SLOT, 0) != 4 * SLOT)
			die("short read");
		msleep(10);
		if (pread_all(f.dfd, two, 4 * SLOT, 0) != 4 * SLOT)
			die("short read");
		if (ioctl(dfd, FITHAW, 0))
			die("FITHAW");
		CHECK(!memcmp(one, two, 4 * SLOT), "round %u: the file changed while it was frozen", round);
		changes += round && memcmp(one, f.want, 4 * SLOT);
		memcpy(f.want, one, 4 * SLOT);
	}
	CHECK(changes, "nothing was written between");
	kill(pid, SIGKILL);
	reap_killed(pid);
}

/* O_DIRECT comes and goes under way. */
static void toggle(void)
{
	size_t len = 256 * KIB;
	unsigned char *buf = map(len);
	uint64_t seed = 11;
	struct file f;
	pid_t pid;
	int fd;

	file_make(&f, "toggle", len, 1);
	fd = xopen(f.path, O_RDWR | O_DIRECT);
	pid = xfork();
	if (!pid)
		for (;;) {
			/* The flags are those of the open file, which the child shares. */
			fcntl(fd, F_SETFL, O_DIRECT);
			sched_yield();
			fcntl(fd, F_SETFL, 0);
			sched_yield();
		}
	for (unsigned int round = 0; round < 120 * load; round++) {
		enum engine e = (enum engine)(rnd(&seed) % 3);
		size_t n = (1 + rnd(&seed) % 32) * SECTOR * (round % 2 ? 1 : 8), off = rnd(&seed) % ((len - n) / SECTOR + 1) * SECTOR;
		bool write = rnd(&seed) % 2;
		long ret;

		pattern_fill(buf, n, round, 0);
		ret = io(e, write, fd, buf, n, off);
		CHECK(ret == (long)n, "%s %s of %zu at %zu: %s", engines[e], write ? "write" : "read", n, off, result(ret));
		if (write)
			file_set(&f, off, buf, n);
		else
			CHECK(!memcmp(buf, f.want + off, n), "%s read of %zu at %zu gave other data", engines[e], n, off);
	}
	kill(pid, SIGKILL);
	reap_killed(pid);
	file_check(&f, "afterwards");
}

/* A task that is stopped and continued makes whole reads and writes, all the same. */
static void stop_cont(void)
{
	struct file f;
	pid_t pid;

	file_make(&f, "stop-cont", 256 * KIB, 1);
	pid = xfork();
	if (!pid) {
		unsigned char *buf;

		for (unsigned int round = 0; round < 20 * load; round++)
			for (enum engine e = SYNC; e <= URING; e++) {
				bool write = round % 2;
				long ret;

				buf = map(128 * KIB);	/* to be faulted in */
				if (write)
					memset(buf + round % 32 * PAGE, (int)round, PAGE);
				ret = io(e, write, f.dfd, buf, 128 * KIB, round % 32 * PAGE);
				CHECK(ret == 128 * (long)KIB, "%s %s: %s", engines[e], write ? "write" : "read", result(ret));
				if (write)
					file_set(&f, round % 32 * PAGE, buf, 128 * KIB);
				else
					CHECK(!memcmp(buf, f.want + round % 32 * PAGE, 128 * KIB), "%s read other data", engines[e]);
				munmap(buf, 128 * KIB);
			}
		file_check(&f, "afterwards");
		_exit(0);
	}
	for (;;) {
		int status;

		if (kill(pid, SIGSTOP) || kill(pid, SIGCONT))
			die("kill");
		msleep(1);
		if (waitpid(pid, &status, WNOHANG) == pid) {
			CHECK(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
			_exit(WEXITSTATUS(status));
		}
	}
}

/* The last reference to file and mount goes with a completion. */

static void mount_it(void)
{
	const char *type = getenv("FSTYP");

	if (mount(device, dir, type ? type : "toyfs", 0, options))
		die("mount %s", device);
}

static void unmount_it(void)
{
	uint64_t end = now_ns() + 10000000000ull * factor;

	/* Busy as long as something is in flight. */
	while (umount2(dir, 0)) {
		CHECK(errno == EBUSY, "umount: -%s", errname(errno));
		CHECK(now_ns() < end, "umount: busy for ever");
		sched_yield();
	}
}

static void wait_unused(void)
{
	uint64_t end = now_ns() + 10000000000ull * factor;
	int fd;

	while ((fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC)) < 0) {
		CHECK(errno == EBUSY, "open %s: -%s", device, errname(errno));
		CHECK(now_ns() < end, "the device is in use for ever");
		msleep(1);
	}
	close(fd);
}

static void last_reference(void)
{
	size_t len = PARTS * PART;
	unsigned char *buf = map(len);
	struct file f;

	for (unsigned int round = 0; round < 9 * load; round++) {
		int how = round % 3;	/* the task ends; it closes the file; it detaches the mount */
		bool extend = round / 3 % 3 == 1, unlinked = round / 3 % 3 == 2;
		enum engine e = (round + buffered) % 2 ? URING : AIO;
		char what[80];
		pid_t pid;

		snprintf(what, sizeof(what), "%s, %s%s", engines[e], how == 0 ? "exit" : how == 1 ? "close" : "detach",
			 extend ? ", extending" : unlinked ? ", unlinked" : "");
		mount_it();
		file_make(&f, "last", len, round);
		pattern_fill(buf, len, 600 + round, 0);
		close(f.fd);
		close(f.dfd);
		pid = xfork();
		if (!pid) {
			int fd = xopen(f.path, O_RDWR | O_DIRECT);

			if (unlinked)
				unlink(f.path);
			submit_parts(e, true, fd, buf, extend ? len : 0);
			if (how) {
				close(fd);
				if (how == 1)
					unmount_it();
				else if (umount2(dir, MNT_DETACH))
					die("MNT_DETACH");
				for (int i = 0; i < PARTS; i++) {
					long ret = await(e);

					CHECK(ret == (long)PART, "%s: %s", what, result(ret));
				}
			}
			_exit(0);
		}
		reap(pid);
		if (how == 0)
			unmount_it();
		wait_unused();
		mount_it();
		if (unlinked) {
			CHECK(access(f.path, F_OK) && errno == ENOENT, "%s: the name is still there", what);
		} else {
			file_open(&f);
			/* What was heard of is all there; so is what AIO had accepted. */
			if (how || e == AIO) {
				file_set(&f, extend ? len : 0, buf, len);
			} else if (!extend) {
				old_or_new(&f, buf, 0, len, what);
			} else {
				struct stat st;

				fstat(f.fd, &st);
				CHECK((size_t)st.st_size >= len && (size_t)st.st_size <= 2 * len, "%s: size %lld", what,
				      (long long)st.st_size);
				f.len = (size_t)st.st_size;
				old_or_new(&f, buf, len, f.len - len, what);
			}
			file_check(&f, "%s", what);
			close(f.fd);
			close(f.dfd);
		}
		free(f.want);
		unmount_it();
	}
}

struct test {
	const char *name;
	void (*run)(void);
	bool mounts;
};

static const struct test tests[] = {
	{ "fork-write", fork_write, false },
	{ "fork-read", fork_read, false },
	{ "fork-threads", fork_threads, false },
	{ "goes-write", goes_write, false },
	{ "goes-read", goes_read, false },
	{ "goes-uring", goes_uring, false },
	{ "alarm-write", alarm_write, false },
	{ "alarm-read", alarm_read, false },
	{ "kill-write", kill_write, false },
	{ "guard-write", guard_write, false },
	{ "guard-read", guard_read, false },
	{ "guard-vector", guard_vector, false },
	{ "read-only", read_only, false },
	{ "read-mapped", read_mapped, false },
	{ "memory-sorts", memory_sorts, false },
	{ "late-write", late_write, false },
	{ "late-read", late_read, false },
	{ "never", never, false },
	{ "splice-from", splice_from, false },
	{ "splice-to", splice_to, false },
	{ "copies", copies, false },
	{ "set-id", set_id, false },
	{ "times-change", times_change, false },
	{ "times-stay", times_stay, false },
	{ "uring-fixed", uring_fixed, false },
	{ "uring-link", uring_link, false },
	{ "uring-cancel", uring_cancel, false },
	{ "uring-iopoll", uring_iopoll, false },
	{ "aio-destroy", aio_destroy, false },
	{ "exec-exit", exec_exit, false },
	{ "append", append, false },
	{ "end-of-file", end_of_file, false },
	{ "vectors", vectors, false },
	{ "rwf-flags", rwf_flags, false },
	{ "uring-kinds", uring_kinds, false },
	{ "aio-events", aio_events, false },
	{ "freeze", freeze, false },
	{ "toggle", toggle, false },
	{ "stop-cont", stop_cont, false },
	{ "last-reference", last_reference, true },
};

#define TESTS (sizeof(tests) / sizeof(tests[0]))

/* Where the tasks of a case that hangs are waiting. */
static void show_stacks(pid_t group)
{
	struct dirent *d;
	DIR *proc = opendir("/proc");

	while (proc && (d = readdir(proc))) {
		char path[300], text[2048];
		pid_t pid = atoi(d->d_name);
		ssize_t n;
		int fd;

		if (pid <= 0 || getpgid(pid) != group)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stack", pid);
		fd = open(path, O_RDONLY);
		n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
		fprintf(stderr, "task %d:\n%.*s", pid, (int)(n > 0 ? n : 0), text);
		close(fd);
	}
	if (proc)
		closedir(proc);
}

static bool run(const struct test *t)
{
	uint64_t begin = now_ns(), end = begin + 20000000000ull * factor * load;
	int status;
	pid_t pid;

	running = t->name;
	pid = xfork();
	if (!pid) {
		setpgid(0, 0);
		t->run();
		fflush(stdout);
		_exit(0);
	}
	setpgid(pid, pid);
	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now_ns() > end) {
			show_stacks(pid);
			kill(-pid, SIGKILL);
			printf("%s: HANG\n", t->name);
			return false;
		}
		msleep(2);
	}
	kill(-pid, SIGKILL);
	fprintf(stderr, "%s: %u ms\n", t->name, (unsigned int)((now_ns() - begin) / 1000000));
	if (WIFSIGNALED(status))
		printf("%s: killed by signal %d\n", t->name, WTERMSIG(status));
	else if (WEXITSTATUS(status) > 1)
		printf("%s: no test was made\n", t->name);
	else if (!status)
		printf("%s: ok\n", t->name);
	fflush(stdout);
	return !status;
}

int main(int argc, char **argv)
{
	const char *tf = getenv("TIME_FACTOR"), *lf = getenv("LOAD_FACTOR");
	bool list = false, good = true;
	int opt;

	self = argv[0];
	if (tf && atoi(tf) > 0)
		factor = (unsigned int)atoi(tf);
	if (lf && atoi(lf) > 0)
		load = (unsigned int)atoi(lf);
	while ((opt = getopt(argc, argv, "blm:o:x")) != -1)
		switch (opt) {
		case 'b': buffered = true; break;
		case 'l': list = true; break;
		case 'm': device = optarg; break;
		case 'o': options = optarg; break;
		case 'x': return 0;	/* what a case executes */
		default: return 2;
		}
	if (!list && optind == argc) {
		errno = 0;
		die("usage: reports [-b] [-l] [-m DEVICE -o OPTIONS] DIRECTORY [CASE]...");
	}
	if (!list)
		dir = argv[optind++];
	for (size_t i = 0; i < TESTS; i++) {
		bool chosen = optind == argc;

		for (int j = optind; j < argc; j++)
			chosen |= !strcmp(argv[j], tests[i].name);
		if (list)
			puts(tests[i].name);
		else if (chosen && tests[i].mounts == !!device)
			good &= run(&tests[i]);
	}
	return !good;
}
