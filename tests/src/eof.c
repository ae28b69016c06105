// SPDX-License-Identifier: GPL-2.0
/*
 * The block at the end of a file, written in every way at once: direct overwrites that are left in flight, direct
 * and buffered writes that make the file longer, truncation up and down, stores through a mapping.
 *
 * Each operation of a round writes bytes of its own value. Afterwards a byte has the value of a write that was
 * acknowledged and covers it, else its old one, else zero; what a truncation may have cut off may be zero.
 *
 * eof [-e uring|aio] -b ROUNDS FILE        an overwrite and an extension in one batch, behind which a plug is kept
 * eof [-e uring|aio] [-M] [-s SEED] -t SECONDS FILE
 */
#include "async.h"
#include <pthread.h>

#define SECTOR ((size_t)512)
#define BLOCK ((size_t)4096)
#define MAX_SIZE (16 * BLOCK)
#define NZERO 24
#define ZERO_LEN ((size_t)1 << 20)

enum { OVERWRITES = 6, EXTEND = OVERWRITES, APPEND, STORE, NOPS };

struct op {
	bool wanted, done;	/* done: acknowledged */
	uint64_t pos, len;
	unsigned char value;
	unsigned int delay;
};

static struct {
	uint64_t size;		/* of the file before */
	unsigned char old;	/* all its bytes */
	struct op op[NOPS];
	uint64_t trunc[2];	/* 0: none */
	unsigned int ntrunc, trunc_delay;
} round_;

static const char *path;
static int dfd, zfd;
static struct queue queue;
static pthread_barrier_t start, end;
static volatile bool stop;
static unsigned char *bufs[NOPS], *zeroes, *seen;

static void spin(unsigned int us)
{
	uint64_t until = now_ns() + us * 1000ull;

	while (now_ns() < until)
		;
}

/* A file of `size` bytes, on the device. */
static void make(uint64_t size, unsigned char value)
{
	static unsigned char *buf;

	if (!buf)
		buf = xalloc(MAX_SIZE);
	memset(buf, value, size);
	if (ftruncate(dfd, 0))
		die("truncate");
	if (size % SECTOR) {
		int fd = xopen(path, O_RDWR);

		pwrite_all(fd, buf, size, 0);
		if (fsync(fd))
			die("fsync");
		close(fd);
	} else {
		pwrite_all(dfd, buf, size, 0);
	}
}

static void submit(struct queue *q, int fd, bool write, void *buf, size_t len, uint64_t pos, uint64_t tag)
{
	static struct iovec iov[QUEUE_MAX];
	static unsigned int next;
	struct iovec *v = &iov[next++ % QUEUE_MAX];

	v->iov_base = buf;
	v->iov_len = len;
	queue_submit(q, write, fd, v, 1, pos, tag);
}

static void *appender(void *arg)
{
	int fd = xopen(path, O_RDWR | O_APPEND);

	(void)arg;
	for (;;) {
		struct op *op = &round_.op[APPEND];

		pthread_barrier_wait(&start);
		if (stop)
			return NULL;
		if (op->wanted) {
			ssize_t n;

			spin(op->delay);
			n = write(fd, bufs[APPEND], op->len);
			if (n != (ssize_t)op->len)
				die("append: %zd", n);
			op->pos = (uint64_t)lseek(fd, 0, SEEK_CUR) - op->len;
			op->done = true;
		}
		pthread_barrier_wait(&end);
	}
}

static void *truncater(void *arg)
{
	(void)arg;
	for (;;) {
		pthread_barrier_wait(&start);
		if (stop)
			return NULL;
		spin(round_.trunc_delay);
		for (unsigned int i = 0; i < round_.ntrunc; i++)
			if (truncate(path, (off_t)round_.trunc[i]))
				die("truncate");
		pthread_barrier_wait(&end);
	}
}

static void *storer(void *arg)
{
	int fd = xopen(path, O_RDWR);
	unsigned char *map = mmap(NULL, MAX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)arg;
	if (map == MAP_FAILED)
		die("mmap");
	for (;;) {
		struct op *op = &round_.op[STORE];

		pthread_barrier_wait(&start);
		if (stop)
			return NULL;
		if (op->wanted) {
			spin(op->delay);
			memset(map + op->pos, op->value, op->len);
			op->done = true;
		}
		pthread_barrier_wait(&end);
	}
}

/* Whether byte `p` of the file may be `b`. */
static bool allowed(uint64_t p, unsigned char b)
{
	bool written = false, cut = false;

	for (int i = 0; i < NOPS; i++) {
		struct op *op = &round_.op[i];

		if (!op->done || p < op->pos || p >= op->pos + op->len)
			continue;
		if (b == op->value)
			return true;
		written = true;
	}
	for (unsigned int i = 0; i < round_.ntrunc; i++)
		cut |= round_.trunc[i] <= p;
	if (cut)
		return b == 0;
	return !written && b == (p < round_.size ? round_.old : 0);
}

static void check_as(const char *how, const unsigned char *data, uint64_t size)
{
	for (uint64_t p = 0; p < size; p++) {
		if (allowed(p, data[p]))
			continue;
		printf("%s: byte %llu of %llu is %#x\n", how, (unsigned long long)p, (unsigned long long)size, data[p]);
		fprintf(stderr, "was %llu bytes of %#x;", (unsigned long long)round_.size, round_.old);
		for (int i = 0; i < NOPS; i++)
			if (round_.op[i].wanted)
				fprintf(stderr, " %d: %llu+%llu %#x%s;", i, (unsigned long long)round_.op[i].pos,
					(unsigned long long)round_.op[i].len, round_.op[i].value,
					round_.op[i].done ? "" : " failed");
		for (unsigned int i = 0; i < round_.ntrunc; i++)
			fprintf(stderr, " truncate %llu;", (unsigned long long)round_.trunc[i]);
		fprintf(stderr, "\n");
		exit(1);
	}
}

static void check(void)
{
	static int fd = -1;
	struct stat st;
	uint64_t size, least = round_.ntrunc ? 0 : round_.size;

	if (fd < 0)
		fd = xopen(path, O_RDWR);
	if (fstat(fd, &st))
		die("fstat");
	size = (uint64_t)st.st_size;
	for (int i = 0; i < NOPS; i++)
		if (round_.op[i].done && !round_.ntrunc && round_.op[i].pos + round_.op[i].len > least)
			least = round_.op[i].pos + round_.op[i].len;
	if (size < least || size > MAX_SIZE) {
		printf("the file has %llu bytes, not %llu\n", (unsigned long long)size, (unsigned long long)least);
		exit(1);
	}
	if (pread_all(dfd, seen, MAX_SIZE, 0) != size)
		die("direct read");
	check_as("direct read", seen, size);
	if (pread_all(fd, seen, MAX_SIZE, 0) != size)
		die("read");
	check_as("read", seen, size);
	/* What the blocks hold behind the end must not come to light. */
	if (size + BLOCK <= MAX_SIZE) {
		if (ftruncate(fd, (off_t)(size + BLOCK)))
			die("truncate");
		if (pread_all(fd, seen, MAX_SIZE, 0) != size + BLOCK)
			die("read");
		for (uint64_t p = size; p < size + BLOCK; p++)
			if (seen[p]) {
				printf("byte %llu behind the end %llu is %#x\n", (unsigned long long)p,
				       (unsigned long long)size, seen[p]);
				exit(1);
			}
	}
}

/* Submits the direct writes and, on io_uring, what keeps their plug for a while. */
static void direct(bool plug)
{
	unsigned int n = 0;

	queue.hold = queue.engine == URING;
	for (int i = 0; i <= EXTEND; i++) {
		struct op *op = &round_.op[i];

		if (!op->wanted)
			continue;
		submit(&queue, dfd, true, bufs[i], op->len, op->pos, (uint64_t)i);
		n++;
	}
	for (int i = 0; plug && queue.hold && i < NZERO; i++, n++)
		submit(&queue, zfd, false, zeroes, ZERO_LEN, 0, NOPS);
	queue_flush(&queue);
	while (n--) {
		uint64_t tag;
		long res = queue_wait(&queue, &tag);

		if (tag < NOPS && res != (long)round_.op[tag].len)
			die("direct write of %llu at %llu: %ld", (unsigned long long)round_.op[tag].len,
			    (unsigned long long)round_.op[tag].pos, res);
		if (tag < NOPS)
			round_.op[tag].done = true;
	}
}

static void want(int i, uint64_t pos, uint64_t len, unsigned char value, unsigned int delay)
{
	round_.op[i] = (struct op){ .wanted = true, .pos = pos, .len = len, .value = value, .delay = delay };
	memset(bufs[i], value, len);
}

static void batches(unsigned int rounds)
{
	for (unsigned int r = 0; r < rounds; r++) {
		memset(&round_, 0, sizeof(round_));
		round_.size = 3584;
		round_.old = 0xee;
		make(round_.size, round_.old);
		want(0, 3072, SECTOR, 1, 0);
		want(EXTEND, 3584, SECTOR, 2, 0);
		direct(true);
		check();
	}
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return rnd(seed) % n;
}

static void one_round(uint64_t *seed, unsigned int n, bool stores)
{
	unsigned char side = n & 1 ? 0x80 : 0;
	uint64_t size, sectors, tail;

	memset(&round_, 0, sizeof(round_));
	size = SECTOR + below(seed, 3 * BLOCK);
	if (below(seed, 4))
		size &= ~(SECTOR - 1);
	round_.size = size;
	round_.old = 0x6e | side;
	make(size, round_.old);
	if (!below(seed, 4) && fallocate(dfd, 1 /* FALLOC_FL_KEEP_SIZE */, 0, 4 * BLOCK))
		die("fallocate");
	/* Overwrites of single sectors, most of them in the last block; the last sector more often than others. */
	sectors = size / SECTOR;
	tail = sectors > 8 ? sectors - 8 : 0;
	for (int i = 0; i < OVERWRITES; i++) {
		uint64_t s = below(seed, 3) ? tail + below(seed, sectors - tail) : below(seed, sectors);
		bool free = true;

		if (!i && below(seed, 2))
			s = sectors - 1;
		for (int j = 0; j < i; j++)
			free &= !round_.op[j].wanted || round_.op[j].pos != s * SECTOR;
		if (free)
			want(i, s * SECTOR, SECTOR, (unsigned char)(1 + i) | side, 0);
	}
	if (below(seed, 4)) {
		uint64_t at = (size + SECTOR - 1) / SECTOR * SECTOR;

		if (!below(seed, 3))
			at += SECTOR * below(seed, 12);
		want(EXTEND, at, SECTOR * (1 + below(seed, 4)), 0x20 | side, 0);
	}
	if (below(seed, 2))
		want(APPEND, 0, 1 + below(seed, 1500), 0x30 | side, (unsigned int)below(seed, 300));
	if (stores && below(seed, 2)) {
		/* To bytes that no direct write covers. */
		uint64_t s = tail + below(seed, sectors - tail);
		bool free = true;

		for (int i = 0; i < OVERWRITES; i++)
			free &= !round_.op[i].wanted || round_.op[i].pos != s * SECTOR;
		if (free)
			want(STORE, s * SECTOR + below(seed, 300), 200, 0x40 | side, (unsigned int)below(seed, 300));
	}
	round_.trunc_delay = (unsigned int)below(seed, 300);
	switch (below(seed, 4)) {
	case 0:	/* up, over everything */
		round_.trunc[round_.ntrunc++] = 9 * BLOCK + below(seed, BLOCK);
		break;
	case 1:	/* down, within the last block, and perhaps up again; the mapped byte stays in the file's last page */
		round_.trunc[round_.ntrunc++] = (size - 1) / BLOCK * BLOCK + 1 + below(seed, BLOCK - 1);
		if (below(seed, 2))
			round_.trunc[round_.ntrunc++] = 9 * BLOCK + below(seed, BLOCK);
		/* A store to a page that is cut off is a signal. */
		if (round_.op[STORE].wanted && round_.op[STORE].pos / BLOCK != (size - 1) / BLOCK &&
		    round_.op[STORE].pos + 200 > round_.trunc[0])
			round_.op[STORE].wanted = false;
		break;
	}
	pthread_barrier_wait(&start);
	direct(below(seed, 2));
	pthread_barrier_wait(&end);
	check();
}

int main(int argc, char **argv)
{
	enum engine engine = URING;
	unsigned int rounds = 0, seconds = 0, n = 0;
	uint64_t seed = 1, until;
	bool stores = true;
	pthread_t t[3];
	int c;

	while ((c = getopt(argc, argv, "e:b:t:s:M")) != -1) {
		switch (c) {
		case 'e': engine = engine_of(optarg); break;
		case 'b': rounds = (unsigned int)parse_size(optarg); break;
		case 't': seconds = (unsigned int)parse_size(optarg); break;
		case 's': seed = parse_size(optarg); break;
		case 'M': stores = false; break;
		default: return 2;
		}
	}
	if (optind != argc - 1)
		return 2;
	path = argv[optind];
	dfd = xopen(path, O_RDWR | O_CREAT | O_DIRECT);
	zfd = xopen("/dev/zero", O_RDONLY);
	queue_init(&queue, engine);
	for (int i = 0; i < NOPS; i++)
		bufs[i] = xalloc(BLOCK);
	zeroes = xalloc(ZERO_LEN);
	seen = xalloc(MAX_SIZE);
	if (rounds) {
		batches(rounds);
		printf("nothing lost\n");
		return 0;
	}
	pthread_barrier_init(&start, NULL, 4);
	pthread_barrier_init(&end, NULL, 4);
	if (pthread_create(&t[0], NULL, appender, NULL) || pthread_create(&t[1], NULL, truncater, NULL) ||
	    pthread_create(&t[2], NULL, storer, NULL))
		die("pthread_create");
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	for (until = now_ns() + seconds * 1000000000ull; now_ns() < until; n++)
		one_round(&seed, n, stores);
	stop = true;
	pthread_barrier_wait(&start);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	fprintf(stderr, "%u rounds\n", n);
	printf("nothing lost\n");
	return 0;
}
