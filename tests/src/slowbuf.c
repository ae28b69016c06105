// SPDX-License-Identifier: GPL-2.0
/*
 * A direct write whose buffer has a page that somebody else must bring, and others who use the file meanwhile.
 *
 *	slowbuf [-e sync|aio|uring] [-l SECONDS] [-a] KIND SHAPE END FILE
 *
 * KIND is what the last page of the buffer is (the others are there):
 *
 *	there	memory; the writer itself waits, and begins when the others are through. This must hold on every file system
 *	uffd	memory that a userfaultfd has to fill
 *	fuse	mapped from a file of a FUSE server, which is part of this program
 *	loop	mapped from a loop device on FILE that does direct I/O. Nobody keeps it waiting: the write has to end by itself,
 *		beside one who reads, loads, allocates and syncs without pause. The others come when it has
 *
 * SHAPE is what is written: short (two pages within the file), same (as short; for loop, the very page that is written), extend (at the
 * end of the file), append (the same, with O_APPEND), alloc (to a hole), long (4 MiB and a page).
 *
 * When the page has been asked for, a process each reads, loads, stores, writes through the cache and directly, within the
 * file and behind its end, in the range and elsewhere, looks for holes, allocates and punches, truncates, syncs, opens, and
 * at last removes the file. None may take longer than SECONDS (-l, default 20). One that does is named as HANG, and those
 * after it are left out (but for -a).
 *
 * END is what comes then: answer (the page is brought, and the write must return its length), or kill (the writer is killed and must
 * be gone; what came before the page may have been written). In the end the file must have what all of them have written.
 */
#include "util.h"
#include "async.h"
#include "fuse.h"
#include <linux/loop.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define FILE_PAGES 1280u	/* more than a part of a direct write has */
#define MAX_PAGES 1340u
#define HOLE 40u		/* of 8 pages */
#define SOURCE 1000u		/* the page of the file that the loop device shows in the buffer */
#define MINE 1100u		/* from here on the others have a page each */
#define BEHIND 1300u		/* an extending write of somebody else's */

enum seeds { FILE_SEED = 1, OTHERS_SEED, BUFFER_SEED };

static struct shared {
	atomic_bool asked, answer;
	atomic_long result;
} *sh;

static const char *kind, *shape, *path;
static enum engine engine;
static unsigned int limit = 20;
static size_t off, len, size;		/* of the write; of the file */
static char fuse_dir[4096], loop_path[64];
static unsigned char *want;		/* the file */
static bool failed;

static bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

/* Did `pid` end, in time? */
static bool ended(pid_t pid, int *status, unsigned int seconds)
{
	uint64_t deadline = now_ns() + seconds * 1000000000ull;

	while (!waitpid(pid, status, WNOHANG)) {
		if (now_ns() >= deadline)
			return false;
		usleep(2000);
	}
	return true;
}

static __attribute__((format(printf, 1, 2))) void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	failed = true;
}

static unsigned char *map(int fd, size_t n)
{
	unsigned char *m = mmap(NULL, n, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

	if (m == MAP_FAILED)
		die("mmap");
	return m;
}

/* What the last page of the buffer has when it comes. */
static void last_page(unsigned char *page)
{
	pattern_fill(page, PAGE, BUFFER_SEED, len - PAGE);
}

/* userfaultfd: a thread of the writer's own would answer. */

static int uffd;
static unsigned char *slow_page;

static void *serve_uffd(void *unused)
{
	unsigned char *page = xalloc(PAGE);
	struct uffdio_copy copy = { .dst = (uintptr_t)slow_page, .src = (uintptr_t)page, .len = PAGE };
	struct uffd_msg msg;

	(void)unused;
	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		die("read of a userfaultfd");
	sh->asked = true;
	while (!sh->answer)
		usleep(2000);
	last_page(page);
	if (ioctl(uffd, UFFDIO_COPY, &copy))
		die("UFFDIO_COPY");
	return NULL;
}

static void slow_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { (uintptr_t)slow_page, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	pthread_t thread;

	uffd = (int)syscall(__NR_userfaultfd, O_CLOEXEC);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		die("userfaultfd");
	if (pthread_create(&thread, NULL, serve_uffd, NULL))
		die("pthread_create");
}

/* FUSE: a file system of one file, whose first read is answered late. */

static uint64_t late_read;

static void fuse_request(int fd, const struct fuse_in_header *in)
{
	if (in->opcode != FUSE_READ) {
		fuse_answer(fd, in);
		return;
	}
	late_read = in->unique;
	sh->asked = true;
}

static void serve_fuse(int fd)
{
	static union { struct fuse_in_header in; unsigned char bytes[1 << 16]; } request;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned char *page = xalloc(PAGE);

	for (;;) {
		if (poll(&p, 1, 2) == 1) {
			if (read(fd, &request, sizeof(request)) > 0)
				fuse_request(fd, &request.in);
			else if (errno == ENODEV)
				_exit(0);	/* unmounted */
		}
		if (late_read && sh->answer) {
			last_page(page);
			fuse_reply(fd, late_read, 0, page, PAGE);
			late_read = 0;
		}
	}
}

static pid_t start_fuse(void)
{
	int fd = fuse_mount("slowbuf", fuse_dir, sizeof(fuse_dir));
	pid_t pid;

	pid = xfork();
	if (!pid)
		serve_fuse(fd);
	/* Closed here, the file system ends with its server. */
	close(fd);
	return pid;
}

static void stop_fuse(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (umount2(fuse_dir, MNT_DETACH) || rmdir(fuse_dir))
		die("umount of %s", fuse_dir);
}

static void map_slow(const char *from, size_t at)
{
	int fd = xopen(from, O_RDWR);

	if (mmap(slow_page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)at) == MAP_FAILED)
		die("mmap of %s", from);
}

/* A loop device on the file, reading past the page cache. */

static int start_loop(void)
{
	struct loop_config config = { .block_size = PAGE, .info.lo_flags = LO_FLAGS_DIRECT_IO };
	int control = xopen("/dev/loop-control", O_RDWR), file = xopen(path, O_RDWR), fd, n;
	struct loop_info64 info;

	n = ioctl(control, LOOP_CTL_GET_FREE);
	if (n < 0)
		die("LOOP_CTL_GET_FREE");
	snprintf(loop_path, sizeof(loop_path), "/dev/loop%d", n);
	fd = xopen(loop_path, O_RDWR);
	config.fd = (uint32_t)file;
	if (ioctl(fd, LOOP_CONFIGURE, &config) || ioctl(fd, LOOP_GET_STATUS64, &info))
		die("%s", loop_path);
	errno = 0;
	if (!(info.lo_flags & LO_FLAGS_DIRECT_IO))
		die("%s does no direct I/O", loop_path);
	close(control);
	close(file);
	return fd;
}

static void stop_loop(int fd)
{
	if (ioctl(fd, LOOP_CLR_FD))
		die("LOOP_CLR_FD");
	close(fd);
}

/* The write. */

static void writer(void)
{
	int fd = xopen(path, O_RDWR | O_DIRECT | (is(shape, "append") ? O_APPEND : 0));
	unsigned char *buf = map(-1, len);
	struct iovec iov = { buf, len };
	static struct queue q;
	uint64_t tag;

	slow_page = buf + len - PAGE;
	pattern_fill(buf, len - PAGE, BUFFER_SEED, 0);
	if (is(kind, "uffd")) {
		slow_uffd();
	} else if (is(kind, "fuse")) {
		char name[4096 + 8];

		snprintf(name, sizeof(name), "%s/page", fuse_dir);
		map_slow(name, 0);
	} else if (is(kind, "there")) {
		last_page(slow_page);
		sh->asked = true;
		while (!sh->answer)
			usleep(2000);
	} else {
		map_slow(loop_path, is(shape, "same") ? off + len - PAGE : SOURCE * PAGE);
	}
	queue_init(&q, engine);
	queue_submit(&q, true, fd, &iov, 1, is(shape, "append") ? 0 : off, 0);
	sh->result = queue_wait(&q, &tag);
	_exit(0);
}

/* The others. Each does its part, and says in `want` what the file has then; that is done twice, in the process and in main's. */

static int fd, dfd;

/* Is there something to read in the range? */
static bool inside(void)
{
	return off < FILE_PAGES * PAGE;
}

/* What the first page of the range has, which several write again. */
static unsigned char *old_page(void)
{
	return inside() ? want + off : NULL;
}

static unsigned char *set(size_t page)
{
	pattern_fill(want + page * PAGE, PAGE, OTHERS_SEED, page * PAGE);
	if (size < (page + 1) * PAGE)
		size = (page + 1) * PAGE;
	return want + page * PAGE;
}

static void expect(bool good, const char *what)
{
	if (!good)
		die("%s", what);
}

static void check_page(const unsigned char *got, size_t at)
{
	errno = 0;
	expect(!memcmp(got, want + at, PAGE), "reads other data than was written");
}

static void do_read(bool real)
{
	static unsigned char buf[PAGE];

	if (!real)
		return;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	expect(pread(fd, buf, PAGE, MINE * PAGE) == (ssize_t)PAGE, "read");
	check_page(buf, MINE * PAGE);
	if (!inside())
		return;
	expect(pread(fd, buf, PAGE, (off_t)off) == (ssize_t)PAGE, "read of the range");
	check_page(buf, off);
}

static void do_dread(bool real)
{
	unsigned char *buf;

	if (!real)
		return;
	buf = xalloc(PAGE);
	expect(pread(dfd, buf, PAGE, MINE * PAGE) == (ssize_t)PAGE, "direct read");
	check_page(buf, MINE * PAGE);
}

static void do_load(bool real)
{
	unsigned char *m;

	if (!real)
		return;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	m = map(fd, FILE_PAGES * PAGE);
	check_page(m + MINE * PAGE, MINE * PAGE);
	if (inside())
		check_page(m + off, off);
}

static void do_store(bool real)
{
	unsigned char *page = set(MINE + 1), *m;

	if (!real)
		return;
	m = map(fd, FILE_PAGES * PAGE);
	memcpy(m + (MINE + 1) * PAGE, page, PAGE);
	if (inside())
		memcpy(m + off, old_page(), PAGE);
}

static void do_write(bool real)
{
	unsigned char *page = set(MINE + 2);

	if (!real)
		return;
	pwrite_all(fd, page, PAGE, (MINE + 2) * PAGE);
	if (inside())
		pwrite_all(fd, old_page(), PAGE, off);
}

static void write_directly(const unsigned char *page, size_t at)
{
	unsigned char *buf = xalloc(PAGE);

	memcpy(buf, page, PAGE);
	pwrite_all(dfd, buf, PAGE, at);
	free(buf);
}

static void do_dwrite(bool real)
{
	unsigned char *page = set(MINE + 3);

	if (!real)
		return;
	write_directly(page, (MINE + 3) * PAGE);
	if (inside())
		write_directly(old_page(), off);
}

static void do_extend(bool real)
{
	unsigned char *page = set(BEHIND);

	if (real)
		write_directly(page, BEHIND * PAGE);
}

static void do_append(bool real)
{
	unsigned char *page = set(BEHIND + 1);
	int afd;

	if (!real)
		return;
	afd = xopen(path, O_WRONLY | O_APPEND);
	expect(write(afd, page, PAGE) == (ssize_t)PAGE, "append");
}

static void do_seek(bool real)
{
	if (real)
		expect(lseek(fd, (HOLE - 1) * PAGE, SEEK_HOLE) >= 0, "SEEK_HOLE");
}

static void do_punch(bool real)
{
	memset(want + (MINE + 4) * PAGE, 0, PAGE);
	if (real)
		expect(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (MINE + 4) * PAGE, PAGE), "punch");
}

static void do_fallocate(bool real)
{
	if (real)
		expect(!fallocate(fd, FALLOC_FL_KEEP_SIZE, (HOLE + 4) * PAGE, PAGE), "fallocate");
}

static void do_truncate(bool real)
{
	if (real)
		expect(!ftruncate(fd, (off_t)(size + 4 * PAGE)) && !ftruncate(fd, (off_t)size), "ftruncate");
}

static void do_fsync(bool real)
{
	if (real)
		expect(!fsync(fd), "fsync");
}

static void do_stat(bool real)
{
	struct stat st;

	if (real)
		expect(!stat(path, &st) && (size_t)st.st_size == size, "stat");
}

static void do_chmod(bool real)
{
	if (real)
		expect(!fchmod(fd, 0600), "fchmod");
}

static void do_open(bool real)
{
	if (real)
		close(xopen(path, O_RDWR));
}

static void do_unlink(bool real)
{
	if (real)
		expect(!unlink(path), "unlink");
}

static const struct other {
	const char *name;
	void (*work)(bool real);
} others[] = {
	{ "stat", do_stat }, { "open", do_open }, { "read", do_read }, { "direct read", do_dread }, { "load", do_load },
	{ "store", do_store }, { "write", do_write }, { "direct write", do_dwrite }, { "extending direct write", do_extend },
	{ "append", do_append }, { "seek", do_seek }, { "punch", do_punch }, { "fallocate", do_fallocate },
	{ "truncate", do_truncate }, { "chmod", do_chmod }, { "fsync", do_fsync }, { "unlink", do_unlink },
};

#define OTHERS (sizeof(others) / sizeof(others[0]))

static void use_file(bool all)
{
	pid_t stuck[OTHERS];
	unsigned int n = 0;
	int status;

	for (unsigned int i = 0; i < OTHERS; i++) {
		pid_t pid = xfork();

		if (!pid) {
			others[i].work(true);
			_exit(0);
		}
		if (!ended(pid, &status, limit)) {
			complain("HANG: %s", others[i].name);
			stuck[n++] = pid;
			if (!all)
				break;
		} else if (status) {
			complain("%s: status %x", others[i].name, (unsigned int)status);
		} else {
			others[i].work(false);
		}
	}
	/* They may still do it: then the rest cannot be compared. */
	while (n)
		kill(stuck[--n], SIGKILL);
}

/* What others may do while the write goes on, whose outcome does not depend on it. */
static pid_t hammer(void)
{
	static const struct other *const some[] = { &others[2], &others[3], &others[4] };
	pid_t pid = xfork();

	if (pid)
		return pid;
	off = FILE_PAGES * PAGE;
	while (!sh->answer) {
		for (unsigned int i = 0; i < 3; i++)
			some[i]->work(true);
		do_chmod(true);
		do_fallocate(true);
		do_fsync(true);
	}
	_exit(0);
}

/* The file. */

static void make_file(void)
{
	int f = xopen(path, O_RDWR | O_CREAT | O_TRUNC);

	want = map(-1, MAX_PAGES * PAGE);
	pattern_fill(want, FILE_PAGES * PAGE, FILE_SEED, 0);
	pwrite_all(f, want, HOLE * PAGE, 0);
	memset(want + HOLE * PAGE, 0, 8 * PAGE);
	pwrite_all(f, want + (HOLE + 8) * PAGE, (FILE_PAGES - HOLE - 8) * PAGE, (HOLE + 8) * PAGE);
	size = FILE_PAGES * PAGE;
	if (fsync(f))
		die("fsync");
	posix_fadvise(f, 0, 0, POSIX_FADV_DONTNEED);
	close(f);
}

static void choose_shape(void)
{
	len = 2 * PAGE;
	if (is(shape, "short") || is(shape, "same")) {
		off = 8 * PAGE;
	} else if (is(shape, "extend") || is(shape, "append")) {
		off = FILE_PAGES * PAGE;
	} else if (is(shape, "alloc")) {
		off = HOLE * PAGE;
	} else if (is(shape, "long")) {
		off = 0;
		len = (4 << 20) + PAGE;
	} else {
		errno = 0;
		die("no shape '%s'", shape);
	}
}

/* Compares the file with `want`. What a writer that was killed would have written before its last page may be there. */
static void check_file(int f, const char *how, bool killed)
{
	unsigned char *got = xalloc(MAX_PAGES * PAGE), *page = xalloc(PAGE);
	size_t n = pread_all(f, got, MAX_PAGES * PAGE, 0), at;

	if (killed && n > size && n <= off + len - PAGE)
		size = n;
	if (n != size) {
		complain("%s: %zu bytes, not %zu", how, n, size);
		return;
	}
	for (at = 0; at < size; at += 512) {
		if (!memcmp(got + at, want + at, 512))
			continue;
		if (killed && at >= off && at < off + len - PAGE) {
			pattern_fill(page, 512, BUFFER_SEED, at - off);
			if (!memcmp(got + at, page, 512))
				continue;
		}
		complain("%s: other data at %zu (of page %zu)", how, at, at / PAGE);
		return;
	}
}

int main(int argc, char **argv)
{
	bool all = false, answer;
	pid_t pid, server = 0, other = 0;
	uint64_t deadline;
	int opt, status, loop = -1;

	while ((opt = getopt(argc, argv, "e:l:a")) != -1) {
		switch (opt) {
		case 'e': engine = engine_of(optarg); break;
		case 'l': limit = (unsigned int)parse_size(optarg); break;
		case 'a': all = true; break;
		default: return 2;
		}
	}
	errno = 0;
	if (optind + 4 != argc)
		die("usage: slowbuf [options] KIND SHAPE END FILE");
	kind = argv[optind];
	shape = argv[optind + 1];
	answer = is(argv[optind + 2], "answer");
	path = argv[optind + 3];
	if ((!answer && !is(argv[optind + 2], "kill")) ||
	    (!is(kind, "there") && !is(kind, "uffd") && !is(kind, "fuse") && !is(kind, "loop")))
		die("no such KIND or END");
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	choose_shape();
	make_file();
	fd = xopen(path, O_RDWR);
	dfd = xopen(path, O_RDWR | O_DIRECT);
	if (is(kind, "fuse"))
		server = start_fuse();
	if (is(kind, "loop")) {
		loop = start_loop();
		sh->asked = true;
		other = hammer();
	}

	pid = xfork();
	if (!pid)
		writer();
	deadline = now_ns() + limit * 1000000000ull;
	while (!sh->asked && now_ns() < deadline && !waitpid(pid, &status, WNOHANG))
		usleep(2000);
	if (!sh->asked) {
		complain("nobody asked for the page; %s, %ld", now_ns() < deadline ? "the writer has ended" : "HANG",
			 (long)sh->result);
		kill(pid, SIGKILL);
		if (server)
			stop_fuse(server);
		return 1;
	}
	if (loop < 0)
		use_file(all);

	if (!answer)
		kill(pid, SIGKILL);
	else if (loop < 0)
		sh->answer = true;
	if (!ended(pid, &status, limit)) {
		complain("HANG: the writer, %s", answer ? "answered" : "killed");
		kill(pid, SIGKILL);
		if (!ended(pid, &status, limit))
			complain("HANG: the writer, killed");
		answer = false;
	} else if (answer && (status || sh->result != (long)len)) {
		complain("the writer: status %x, it returned %ld of %zu", (unsigned int)status, (long)sh->result, len);
	}
	sh->answer = true;
	if (other && (!ended(other, &status, limit) || status))
		complain("HANG or failure of the others");
	if (is(shape, "append"))
		off = size;
	if (answer) {
		pattern_fill(want + off, len, BUFFER_SEED, 0);
		if (is(kind, "loop"))
			pattern_fill(want + off + len - PAGE, PAGE, FILE_SEED,
				     is(shape, "same") ? off + len - PAGE : SOURCE * PAGE);
		if (size < off + len)
			size = off + len;
	}
	if (loop >= 0 && !failed)
		use_file(all);
	if (server)
		stop_fuse(server);
	if (!failed) {
		check_file(fd, "read", !answer);
		check_file(dfd, "direct read", !answer);
	}
	/* Those that were stuck can end now. */
	while (waitpid(-1, &status, 0) >= 0)
		;
	if (loop >= 0)
		stop_loop(loop);
	unlink(path);
	if (!failed)
		printf("ok\n");
	return failed;
}
