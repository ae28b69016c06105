// SPDX-License-Identifier: GPL-2.0
/*
 * readinto late DIR ROUNDS | load DIR SECONDS: asynchronous direct reads into a mapping of another file, which is written back
 * while they are under way.
 *
 * late: when such a read has been reaped, a direct read of the file must see what was read into it, and a direct write of another
 *	sector of a page must leave it alone. The read has the lowest I/O priority, so that the writeback overtakes it, and every
 *	processor is busy, so that what its completion leaves to somebody else comes late.
 * load: many of them, small ones, until the time is over. They must not come to a standstill.
 *
 * Exit status 1, and lines that say why, if something is wrong.
 */
#include "util.h"
#include "async.h"
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>

#define PAGES ((size_t)64)
#define LEN (PAGES * PAGE)
#define READERS 4
#define DEPTH 8

static int file, direct, source;
static unsigned char *map;

static void open_files(const char *dir)
{
	unsigned char *zeroes = xalloc(4 * LEN);
	char path[4096];

	memset(zeroes, 0, 4 * LEN);
	snprintf(path, sizeof(path), "%s/file", dir);
	file = xopen(path, O_RDWR | O_CREAT);
	direct = xopen(path, O_RDWR | O_DIRECT);
	pwrite_all(file, zeroes, 4 * LEN, 0);
	snprintf(path, sizeof(path), "%s/source", dir);
	source = xopen(path, O_RDWR | O_CREAT | O_DIRECT);
	pwrite_all(source, zeroes, 4 * LEN, 0);
	if (fsync(file) || fsync(source))
		die("fsync");
	map = mmap(NULL, 4 * LEN, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		die("mmap");
}

static void submit(aio_context_t ctx, struct iocb *cb)
{
	if (syscall(__NR_io_submit, ctx, 1, &cb) != 1)
		die("io_submit");
}

/* One read of all pages, behind a few others that keep the device busy. */
static void read_late(aio_context_t ctx, void *page)
{
	struct io_event events[4];
	struct iocb cb[4];

	memset(cb, 0, sizeof(cb));
	for (int i = 0; i < 4; i++) {
		cb[i].aio_lio_opcode = IOCB_CMD_PREAD;
		cb[i].aio_fildes = (uint32_t)source;
		cb[i].aio_buf = (uintptr_t)(i < 3 ? page : map);
		cb[i].aio_nbytes = i < 3 ? PAGE : LEN;
	}
	cb[3].aio_flags = IOCB_FLAG_IOPRIO;
	cb[3].aio_reqprio = 3 << 13;	/* IOPRIO_CLASS_IDLE */
	for (int i = 0; i < 4; i++)
		submit(ctx, &cb[i]);
	if (sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE))
		die("sync_file_range");
	if (syscall(__NR_io_getevents, ctx, 4, 4, events, NULL) != 4)
		die("io_getevents");
	for (int i = 0; i < 4; i++)
		if (events[i].res != PAGE && events[i].res != (long long)LEN)
			die("a read returned %lld", (long long)events[i].res);
}

static int late(unsigned int rounds)
{
	unsigned char *buf = xalloc(LEN), *page = xalloc(PAGE);
	size_t last = LEN - PAGE;
	unsigned int stale = 0, lost = 0;
	aio_context_t ctx = 0;

	for (long i = sysconf(_SC_NPROCESSORS_ONLN); i >= 0; i--)
		if (!xfork())
			for (;;)
				;
	if (syscall(__NR_io_setup, 16, &ctx))
		die("io_setup");
	for (unsigned int r = 0; r < rounds; r++) {
		/* Who has slept is let run before others. */
		usleep(30000);

		unsigned char value = (unsigned char)('a' + r % 26);

		memset(buf, value, LEN);
		pwrite_all(source, buf, LEN, 0);
		memset(map, '-', LEN);
		read_late(ctx, page);
		if (r % 2) {
			memset(page, 'W', 512);
			pwrite_all(direct, page, 512, last);
			if (pread_all(file, page, PAGE, last) != PAGE)
				die("short read");
			lost += page[0] != 'W' || page[1024] != value;
		} else {
			if (pread_all(direct, page, PAGE, last) != PAGE)
				die("short read");
			stale += page[0] != value;
		}
	}
	if (stale)
		printf("after %u of %u reads the file had something older\n", stale, (rounds + 1) / 2);
	if (lost)
		printf("%u of %u times a direct write beside took away what was read\n", lost, rounds / 2);
	return stale || lost;
}

static _Atomic unsigned long reads, syncs;

static void *reader(void *arg)
{
	uint64_t state = (uintptr_t)arg, tag;
	struct queue *q = xalloc(sizeof(*q));
	struct iovec iov[DEPTH];

	queue_init(q, AIO);
	for (;;) {
		for (unsigned int i = 0; i < DEPTH; i++) {
			iov[i] = (struct iovec){ map + rnd(&state) % (2 * PAGES) * 2 * PAGE, PAGE };
			queue_submit(q, false, source, &iov[i], 1, rnd(&state) % (4 * PAGES) * PAGE, i);
		}
		while (q->inflight) {
			long ret = queue_wait(q, &tag);

			if (ret != (long)PAGE)
				die("a read returned %ld", ret);
			reads++;
		}
	}
	return NULL;
}

static void *syncer(void *arg)
{
	for (;; syncs++)
		if (arg ? fdatasync(file) : sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE))
			die("sync");
	return NULL;
}

static int load(unsigned int seconds)
{
	unsigned long before[2] = { 0, 0 };
	unsigned int still = 0;
	pthread_t thread;

	for (uintptr_t i = 0; i < READERS + 2; i++) {
		errno = i < READERS ? pthread_create(&thread, NULL, reader, (void *)(i + 1)) :
				      pthread_create(&thread, NULL, syncer, (void *)(i - READERS));
		if (errno)
			die("pthread_create");
	}
	for (unsigned int i = 0; i < seconds || still; i++) {
		sleep(1);
		still = reads == before[0] || syncs == before[1] ? still + 1 : 0;
		before[0] = reads;
		before[1] = syncs;
		if (still >= 20) {
			printf("nothing has moved for %u s\n", still);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool is_late = argc == 4 && !strcmp(argv[1], "late");
	int ret;

	if (!is_late && (argc != 4 || strcmp(argv[1], "load"))) {
		fprintf(stderr, "usage: readinto late DIR ROUNDS | load DIR SECONDS\n");
		return 2;
	}
	open_files(argv[2]);
	ret = (is_late ? late : load)((unsigned int)parse_size(argv[3]));
	fflush(stdout);
	/* Not by returning: threads are at work. */
	_exit(ret);
}
