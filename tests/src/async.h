/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One face for read and write by system call, Linux AIO and io_uring, on the bare kernel interfaces.
 * A synchronous queue does the work at submission and keeps the result until it is asked for.
 */
#ifndef TOYFS_TESTS_ASYNC_H
#define TOYFS_TESTS_ASYNC_H

#include "util.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <sys/uio.h>

#define QUEUE_MAX 64

enum engine { SYNC, AIO, URING, FIXED };

struct queue {
	enum engine engine;
	int flags;		/* RWF_*, for system calls */
	unsigned int inflight;
	/* Results that are there and not yet asked for. */
	struct { uint64_t tag; long res; } ready[QUEUE_MAX];
	unsigned int nready;
	aio_context_t ctx;
	struct iocb iocb[QUEUE_MAX];
	unsigned int next;
	int ring;
	bool hold;		/* io_uring: requests wait for queue_flush() */
	unsigned int held;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	struct iovec iov[QUEUE_MAX][16];	/* io_uring may look at them after the submission */
};

static UNUSED enum engine engine_of(const char *name)
{
	static const char *const names[] = { "sync", "aio", "uring", "fixed" };

	for (int i = 0; i < 4; i++)
		if (!strcmp(name, names[i]))
			return (enum engine)i;
	errno = 0;
	die("no engine '%s'", name);
}

/* `setup`: IORING_SETUP_*, for io_uring. */
static UNUSED void queue_init_as(struct queue *q, enum engine engine, unsigned int setup)
{
	struct io_uring_params p;
	unsigned char *sq, *cq;

	memset(q, 0, sizeof(*q));
	q->engine = engine;
	if (engine == AIO && syscall(__NR_io_setup, QUEUE_MAX, &q->ctx))
		die("io_setup");
	if (engine != URING && engine != FIXED)
		return;
	memset(&p, 0, sizeof(p));
	p.flags = setup;
	q->ring = (int)syscall(__NR_io_uring_setup, QUEUE_MAX, &p);
	if (q->ring < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		  q->ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, q->ring, IORING_OFF_CQ_RING);
	q->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, q->ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || q->sqes == MAP_FAILED)
		die("mmap of a ring");
	q->sq_tail = (unsigned int *)(sq + p.sq_off.tail);
	q->sq_mask = (unsigned int *)(sq + p.sq_off.ring_mask);
	q->sq_array = (unsigned int *)(sq + p.sq_off.array);
	q->cq_head = (unsigned int *)(cq + p.cq_off.head);
	q->cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	q->cq_mask = (unsigned int *)(cq + p.cq_off.ring_mask);
	q->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static UNUSED void queue_init(struct queue *q, enum engine engine)
{
	queue_init_as(q, engine, 0);
}

/* For FIXED: the one buffer that all I/O lies in. 0 or an errno. */
static UNUSED int queue_register(struct queue *q, void *base, size_t len)
{
	struct iovec iov = { base, len };

	return syscall(__NR_io_uring_register, q->ring, IORING_REGISTER_BUFFERS, &iov, 1) ? errno : 0;
}

/* Submits, all at once, what was held back. */
static UNUSED void queue_flush(struct queue *q)
{
	if (q->held && syscall(__NR_io_uring_enter, q->ring, q->held, 0, 0, NULL, 0) != (long)q->held)
		die("io_uring_enter");
	q->held = 0;
}

static UNUSED void queue_submit(struct queue *q, bool write, int fd, const struct iovec *iov, unsigned int n,
				uint64_t off, uint64_t tag)
{
	unsigned int i = q->next++ % QUEUE_MAX, tail;
	struct io_uring_sqe *sqe;
	struct iocb *iocb;
	ssize_t ret;

	q->inflight++;
	switch (q->engine) {
	case SYNC:
		ret = write ? pwritev2(fd, iov, (int)n, (off_t)off, q->flags) :
			preadv2(fd, iov, (int)n, (off_t)off, q->flags);
		q->ready[q->nready].tag = tag;
		q->ready[q->nready++].res = ret < 0 ? -errno : ret;
		return;
	case AIO:
		iocb = &q->iocb[i];
		memset(iocb, 0, sizeof(*iocb));
		iocb->aio_data = tag;
		iocb->aio_lio_opcode = write ? IOCB_CMD_PWRITEV : IOCB_CMD_PREADV;
		iocb->aio_fildes = (uint32_t)fd;
		iocb->aio_buf = (uintptr_t)iov;
		iocb->aio_nbytes = n;
		iocb->aio_offset = (int64_t)off;
		if (syscall(__NR_io_submit, q->ctx, 1, &iocb) != 1) {
			/* The file system's refusal comes back here, or as an event. */
			q->ready[q->nready].tag = tag;
			q->ready[q->nready++].res = -errno;
		}
		return;
	case URING:
	case FIXED:
		if (n > 16)
			die("too many segments for a ring");
		memcpy(q->iov[i], iov, n * sizeof(*iov));
		tail = *q->sq_tail;
		sqe = &q->sqes[tail & *q->sq_mask];
		memset(sqe, 0, sizeof(*sqe));
		sqe->fd = fd;
		sqe->off = off;
		sqe->user_data = tag;
		if (q->engine == FIXED) {
			sqe->opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
			sqe->addr = (uintptr_t)iov->iov_base;
			sqe->len = (uint32_t)iov->iov_len;
		} else {
			sqe->opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
			sqe->addr = (uintptr_t)q->iov[i];
			sqe->len = n;
		}
		q->sq_array[tail & *q->sq_mask] = tail & *q->sq_mask;
		__atomic_store_n(q->sq_tail, tail + 1, __ATOMIC_RELEASE);
		q->held++;
		if (!q->hold)
			queue_flush(q);
		return;
	}
}

/* The next result: a count, or a negative errno. */
/*
 * The result was seen without a system call. User-mode Linux brings what a task sees of its memory up to date when it returns
 * from one: a page that a worker, on another processor, has had to copy for it would still be the old one.
 */
static UNUSED void see_memory(void)
{
	syscall(__NR_getppid);
}

static UNUSED long queue_wait(struct queue *q, uint64_t *tag)
{
	struct io_event ev;
	unsigned int head;
	long res;

	q->inflight--;
	if (q->nready) {
		q->nready--;
		*tag = q->ready[q->nready].tag;
		return q->ready[q->nready].res;
	}
	if (q->engine == AIO) {
		while (syscall(__NR_io_getevents, q->ctx, 1, 1, &ev, NULL) != 1)
			if (errno != EINTR)
				die("io_getevents");
		*tag = ev.data;
		return (long)ev.res;
	}
	head = *q->cq_head;
	while (head == __atomic_load_n(q->cq_tail, __ATOMIC_ACQUIRE))
		if (syscall(__NR_io_uring_enter, q->ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 &&
		    errno != EINTR)
			die("io_uring_enter");
	*tag = q->cqes[head & *q->cq_mask].user_data;
	res = q->cqes[head & *q->cq_mask].res;
	__atomic_store_n(q->cq_head, head + 1, __ATOMIC_RELEASE);
	see_memory();
	return res;
}

static UNUSED void queue_exit(struct queue *q)
{
	if (q->engine == AIO)
		syscall(__NR_io_destroy, q->ctx);
	if (q->ring)
		close(q->ring);
}

#endif
