// SPDX-License-Identifier: GPL-2.0
/*
 * Is what a direct write has put into new blocks seen at once, by those who read the same bytes while it was under way?
 *
 *	fresh [-e sync|aio|uring] [-s STEP] [-n STEPS] [-r ROUNDS] holes|unwritten|behind|append FILE
 *
 * A file is written directly from front to back, STEP bytes (default 1p) at a time. Two tasks read where the writer is, through
 * the page cache, all the time: they see zeroes, or that the file ends there, and the cache keeps that. When a write has
 * returned, what it wrote is compared with what read(2) and a mapping give.
 *
 *	holes		the file is long, and without blocks
 *	unwritten	it is long, and has unwritten blocks
 *	behind		it is empty, and has unwritten blocks behind its end
 *	append		it is empty
 */
#include "util.h"
#include "async.h"
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>

static const char *path;
static size_t step = PAGE;
static unsigned int steps = 64, rounds = 4;
static bool append;
static _Atomic uint64_t at, reads;
static atomic_bool stop;

static void *reader(void *arg)
{
	unsigned char *b = xalloc(PAGE + step), *m;
	int fd = xopen(path, O_RDWR);
	size_t size = steps * step;

	m = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		die("mmap");
	while (!stop) {
		off_t pos = (off_t)at;

		if (pread(fd, b, step, pos) < 0)
			die("read");
		/* Behind the end of the file it would be a signal. */
		if (arg && !append)
			*(volatile unsigned char *)b = m[pos];
		reads++;
	}
	munmap(m, size);
	close(fd);
	free(b);
	return NULL;
}

static void wrong(unsigned int round, unsigned int i, const char *how)
{
	printf("round %u, step %u: old bytes by %s\n", round, i, how);
	exit(1);
}

static void prepare(int mode)
{
	int fd = xopen(path, O_RDWR | O_CREAT);
	off_t size = (off_t)(steps * step);

	if (ftruncate(fd, 0))
		die("ftruncate");
	if (mode != 'a' && mode != 'h' && fallocate(fd, mode == 'b' ? FALLOC_FL_KEEP_SIZE : 0, 0, size))
		die("fallocate");
	if (mode == 'h' && ftruncate(fd, size))
		die("ftruncate");
	close(fd);
}

static void run(struct queue *q, unsigned int round)
{
	int fd = xopen(path, O_RDWR | O_CREAT | O_DIRECT), buffered = xopen(path, O_RDWR);
	unsigned char *b = xalloc(step), *c = xalloc(step), *m;
	size_t size = steps * step;

	m = mmap(NULL, size, PROT_READ, MAP_SHARED, buffered, 0);
	if (m == MAP_FAILED)
		die("mmap");
	for (unsigned int i = 0; i < steps; i++) {
		off_t pos = (off_t)(i * step);
		uint64_t before = reads, tag;
		long res;

		at = (uint64_t)pos;
		/* Somebody is to have looked. */
		for (unsigned int spin = 0; reads == before && spin < 1000; spin++)
			usleep(10);
		memset(b, (int)(round * 31 + i) | 1, step);
		queue_submit(q, true, fd, &(struct iovec){ b, step }, 1, pos, 0);
		queue_flush(q);
		res = queue_wait(q, &tag);
		if (res != (long)step) {
			printf("round %u, step %u: wrote %ld\n", round, i, res);
			exit(1);
		}
		if (pread(buffered, c, step, pos) != (ssize_t)step || memcmp(b, c, step))
			wrong(round, i, "read(2)");
		if (memcmp(b, m + pos, step))
			wrong(round, i, "load");
		if (pread(fd, c, step, pos) != (ssize_t)step || memcmp(b, c, step))
			wrong(round, i, "direct read");
	}
	munmap(m, size);
	close(fd);
	close(buffered);
	free(b);
	free(c);
}

int main(int argc, char **argv)
{
	enum engine engine = SYNC;
	static struct queue q;
	pthread_t readers[2];
	int opt;

	while ((opt = getopt(argc, argv, "e:s:n:r:")) != -1) {
		switch (opt) {
		case 'e': engine = engine_of(optarg); break;
		case 's': step = parse_size(optarg); break;
		case 'n': steps = (unsigned int)parse_size(optarg); break;
		case 'r': rounds = (unsigned int)parse_size(optarg); break;
		default: return 2;
		}
	}
	if (optind + 2 != argc || !strchr("huba", argv[optind][0]))
		die("usage: fresh [options] holes|unwritten|behind|append FILE");
	append = argv[optind][0] == 'a' || argv[optind][0] == 'b';
	path = argv[optind + 1];
	queue_init(&q, engine);
	for (unsigned int round = 0; round < rounds; round++) {
		prepare(argv[optind][0]);
		stop = false;
		at = 0;
		for (size_t i = 0; i < 2; i++)
			if (pthread_create(&readers[i], NULL, reader, append ? NULL : (void *)i))
				die("pthread_create");
		run(&q, round);
		stop = true;
		for (int i = 0; i < 2; i++)
			pthread_join(readers[i], NULL);
	}
	printf("fresh: ok\n");
	return 0;
}
