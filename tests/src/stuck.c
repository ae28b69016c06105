// SPDX-License-Identifier: GPL-2.0
/*
 * stuck [-l SECONDS] READS FILE: asynchronous direct reads into a page that a FUSE server has written back meanwhile, and does
 * not let go; and what others do.
 *
 * All of the READS end while somebody has the lock of the page, so none can be completed. Meanwhile an extending direct write of
 * another file, submitted on each processor in turn, must be completed in time (-l, default 10), as must a read into other memory.
 * When the server has gone, so must the reads.
 *
 * Exit status 1, and lines that say why, if something is wrong.
 */
#include "fuse.h"
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define SECTORS 64u

static unsigned int limit = 10;
static char fuse_dir[64], fuse_page[80];
static struct shared {
	atomic_bool locked;
} *sh;

/* FUSE: a file system of one file. What is read from it are zeroes, and what is written to it is never done. */

static void request(int fd, const struct fuse_in_header *in)
{
	static const unsigned char zeroes[PAGE];

	switch (in->opcode) {
	case FUSE_READ:
		fuse_reply(fd, in->unique, 0, zeroes, PAGE);
		return;
	case FUSE_WRITE:
		sh->locked = true;
		return;
	default:
		fuse_answer(fd, in);
	}
}

static pid_t start_server(void)
{
	static union { struct fuse_in_header in; unsigned char bytes[1 << 16]; } r;
	int fd = fuse_mount("stuck", fuse_dir, sizeof(fuse_dir));
	pid_t pid;

	snprintf(fuse_page, sizeof(fuse_page), "%s/page", fuse_dir);
	pid = xfork();
	while (!pid)
		if (read(fd, &r, sizeof(r)) > 0)
			request(fd, &r.in);
		else if (errno == ENODEV)
			_exit(0);
	/* Closed here, the file system ends with its server. */
	close(fd);
	return pid;
}

static void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

static bool ended(pid_t pid, unsigned int seconds)
{
	uint64_t deadline = now_ns() + seconds * 1000000000ull;
	int status;

	while (now_ns() < deadline) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return !status;
		usleep(10000);
	}
	return false;
}

static aio_context_t context(unsigned int n)
{
	aio_context_t ctx = 0;

	if (syscall(__NR_io_setup, n, &ctx))
		die("io_setup");
	return ctx;
}

/* One request, to its end. */
static void one(int opcode, const char *path, uint64_t at)
{
	struct iocb cb = {
		.aio_lio_opcode = (uint16_t)opcode, .aio_fildes = (uint32_t)xopen(path, O_RDWR | O_CREAT | O_DIRECT),
		.aio_buf = (uintptr_t)xalloc(PAGE), .aio_nbytes = PAGE, .aio_offset = (int64_t)at,
	}, *p = &cb;
	aio_context_t ctx = context(1);
	struct io_event event;

	memset((void *)(uintptr_t)cb.aio_buf, 1, PAGE);
	if (syscall(__NR_io_submit, ctx, 1, &p) != 1 || syscall(__NR_io_getevents, ctx, 1, 1, &event, NULL) != 1)
		die("aio");
	if ((size_t)event.res != PAGE)
		die("a request returned %lld", (long long)event.res);
	_exit(0);
}

/* Reads into the page, until all are complete. */
static void read_many(const char *path, unsigned int n, unsigned char *page, atomic_bool *submitted)
{
	struct iocb *cb = calloc(n, sizeof(*cb)), **p = calloc(n, sizeof(struct iocb *));
	struct io_event *events = calloc(n, sizeof(*events));
	int fd = xopen(path, O_RDONLY | O_DIRECT);
	aio_context_t ctx = context(n);
	unsigned int done = 0;
	long ret;

	if (!cb || !p || !events)
		die("out of memory");
	for (unsigned int i = 0; i < n; i++) {
		p[i] = &cb[i];
		cb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		cb[i].aio_fildes = (uint32_t)fd;
		cb[i].aio_buf = (uintptr_t)page + i % 8 * 512;
		cb[i].aio_nbytes = 512;
		cb[i].aio_offset = i % SECTORS * 512;
	}
	while (done < n) {
		ret = syscall(__NR_io_submit, ctx, n - done, p + done);
		if (ret <= 0)
			die("io_submit after %u", done);
		done += (unsigned int)ret;
	}
	*submitted = true;
	for (done = 0; done < n; done += (unsigned int)ret) {
		ret = syscall(__NR_io_getevents, ctx, 1, n, events, NULL);
		if (ret <= 0)
			die("io_getevents");
		for (long i = 0; i < ret; i++)
			if (events[i].res != 512)
				die("a read returned %lld", (long long)events[i].res);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t server, reader, opener, other;
	atomic_bool *submitted;
	unsigned int reads;
	unsigned char *page;
	bool good = true;
	char path[4096];
	int opt, fd;

	while ((opt = getopt(argc, argv, "l:")) != -1) {
		if (opt != 'l')
			return 2;
		limit = (unsigned int)parse_size(optarg);
	}
	errno = 0;
	if (optind + 2 != argc)
		die("usage: stuck [-l SECONDS] READS FILE");
	reads = (unsigned int)parse_size(argv[optind]);
	sh = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	submitted = (atomic_bool *)(sh + 1);

	fd = xopen(argv[optind + 1], O_RDWR | O_CREAT | O_DIRECT);
	page = xalloc(SECTORS * 512);
	memset(page, 2, SECTORS * 512);
	pwrite_all(fd, page, SECTORS * 512, 0);
	for (int cpu = 0; cpu < 2; cpu++) {
		snprintf(path, sizeof(path), "%s.%d", argv[optind + 1], cpu);
		close(xopen(path, O_RDWR | O_CREAT));
	}

	server = start_server();
	/* Whoever has it mapped waits for the server when he ends. */
	reader = xfork();
	if (!reader) {
		fd = xopen(fuse_page, O_RDWR);
		page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (page == MAP_FAILED)
			die("mmap");
		page[0] = 1;
		/* They complete there. */
		run_on(0);
		read_many(argv[optind + 1], reads, page, submitted);
	}
	while (!*submitted)
		usleep(1000);
	/* To open it is to write it back, with the page locked. */
	opener = xfork();
	if (!opener)
		_exit(open(fuse_page, O_RDWR) < 0);
	for (unsigned int i = 0; !sh->locked && i < limit * 100; i++)
		usleep(10000);
	errno = 0;
	if (!sh->locked)
		die("the page has not been written back");
	/* The device is done with them. */
	sleep(3);
	if (waitpid(reader, NULL, WNOHANG))
		die("the reads are complete: nothing was tried");

	for (int cpu = 0; cpu < 2; cpu++) {
		snprintf(path, sizeof(path), "%s.%d", argv[optind + 1], cpu);
		other = xfork();
		if (!other) {
			run_on(cpu);
			one(IOCB_CMD_PWRITE, path, 0);
		}
		if (!ended(other, limit)) {
			printf("HANG: an extending write submitted on processor %d\n", cpu);
			good = false;
		}
		other = xfork();
		if (!other) {
			run_on(cpu);
			one(IOCB_CMD_PREAD, argv[optind + 1], 0);
		}
		if (!ended(other, limit)) {
			printf("HANG: a read submitted on processor %d\n", cpu);
			good = false;
		}
	}

	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	if (!ended(reader, limit)) {
		printf("HANG: the reads, with the page unlocked\n");
		good = false;
	}
	ended(opener, limit);
	umount2(fuse_dir, MNT_DETACH);
	rmdir(fuse_dir);
	if (good)
		printf("ok\n");
	return !good;
}
