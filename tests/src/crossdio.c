// SPDX-License-Identifier: GPL-2.0
/*
 * A ring of tasks, each writing to its own file, directly, from a mapping of its neighbour's.
 *
 *	crossdio [-n TASKS] [-r ROUNDS] [-p PAGES] [-P] [-T] [-S] [-e ENGINE] DIRECTORY
 *
 * Two tasks are the classic crossing: write(F) from mmap(G) against write(G) from mmap(F). In every file one region
 * is only a source, one only a target, so that the data can be checked after each round (read, mapped and direct
 * in turn); a third region is both at once, for which only count and end matter. The sources are evicted before
 * every other round. -P private mappings, -T threads of one process instead of processes, -S every task
 * writes from its own file (disjoint), -e aio or uring keeps four times eight writes in flight.
 *
 * It is a hang if a process finishes no round for 20 s (times TIME_FACTOR).
 */
#include "async.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static unsigned int tasks = 2, pages = 4;
static uint64_t rounds = 1000;
static bool private, self;
static enum engine engine;
static const char *dir;

#define SLOTS 8u
static size_t region(unsigned int n) { return n * SLOTS * (pages + 1) * PAGE; }
static size_t slot(uint64_t n) { return n % SLOTS * (pages + 1) * PAGE; }

static unsigned int patience = 20;

static void stuck(int sig)
{
	static const char msg[] = "HANG: no round was finished\n";

	(void)sig;
	if (write(1, msg, sizeof(msg) - 1) < 0)
		_exit(3);
	_exit(1);
}

static void file_name(char *name, size_t len, unsigned int task)
{
	snprintf(name, len, "%s/ring%u", dir, task);
}

static int fail(unsigned int task, uint64_t round, const char *what, long have, long want)
{
	printf("task %u, round %llu: %s: %ld (%s), want %ld\n", task, (unsigned long long)round, what, have,
	       have < 0 ? errname(errno) : "no error", want);
	fflush(stdout);
	return 1;
}

static int ring(unsigned int task)
{
	unsigned int neighbour = self ? task : (task + 1) % tasks;
	size_t len = pages * PAGE, at;
	unsigned char *src, *both, *stamp = xalloc(PAGE), *buf = xalloc(len + PAGE), *want = xalloc(len + PAGE);
	unsigned char *own;
	char name[4096];
	static __thread struct queue q;
	int fd, dfd, sfd;

	file_name(name, sizeof(name), task);
	fd = xopen(name, O_RDWR);
	dfd = xopen(name, O_RDWR | O_DIRECT);
	own = mmap(NULL, region(3), PROT_READ, MAP_SHARED, fd, 0);
	file_name(name, sizeof(name), neighbour);
	sfd = xopen(name, O_RDWR);
	src = mmap(NULL, region(1), PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, sfd, 0);
	both = mmap(NULL, region(1), PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, sfd,
		    (off_t)region(2));
	if (src == MAP_FAILED || both == MAP_FAILED || own == MAP_FAILED)
		die("mmap");

	queue_init(&q, engine);
	for (uint64_t r = 0; r < rounds; r++) {
		struct iovec iov[2] = { { src + slot(r), len }, { stamp, PAGE } };
		size_t to = region(1) + slot(r);
		uint64_t tag;
		ssize_t n;

		alarm(patience);
		if (r & 1) {
			posix_fadvise(sfd, 0, (off_t)region(1), POSIX_FADV_DONTNEED);
			if (private)
				madvise(src, region(1), MADV_DONTNEED);
		}
		pattern_fill(stamp, PAGE, r + 1, task);
		queue_submit(&q, true, dfd, iov, 2, to, 0);
		/* More of them at the same time, each from and to a slot of its own. */
		for (unsigned int i = 1; engine != SYNC && i < SLOTS * 4; i++) {
			unsigned int s = (unsigned int)(r + i) % SLOTS;
			struct iovec one = { src + slot(s), len };

			if (s != r % SLOTS)
				queue_submit(&q, true, dfd, &one, 1, region(1) + slot(s), i);
		}
		while (q.inflight) {
			long expect = (long)len, res = queue_wait(&q, &tag);

			if (!tag)
				expect += (long)PAGE;
			if (res != expect) {
				errno = res < 0 ? (int)-res : 0;
				return fail(task, r, "write", res, expect);
			}
		}

		pattern_fill(want, len, neighbour + 1, slot(r));
		memcpy(want + len, stamp, PAGE);
		switch (r % 3) {
		case 0:
			n = pread(dfd, buf, len + PAGE, (off_t)to);
			break;
		case 1:
			n = pread(fd, buf, len + PAGE, (off_t)to);
			break;
		case 2:
			memcpy(buf, own + to, len + PAGE);
			n = (ssize_t)(len + PAGE);
			break;
		}
		if (n != (ssize_t)(len + PAGE))
			return fail(task, r, "read", n, (long)(len + PAGE));
		at = first_diff(buf, want, len + PAGE);
		if (at < len + PAGE) {
			printf("task %u, round %llu: wrong data at byte %zu of %zu, seen by %s\n", task,
			       (unsigned long long)r, at, len + PAGE,
			       r % 3 == 0 ? "direct read" : r % 3 == 1 ? "read" : "mmap");
			fflush(stdout);
			return 1;
		}

		/* The region that is written from while it is written to; off by one page, if it is the own file. */
		if (r & 2)
			posix_fadvise(sfd, (off_t)region(2), (off_t)region(1), POSIX_FADV_DONTNEED);
		{
			struct iovec one = { both + slot(r + self), len };

			queue_submit(&q, true, dfd, &one, 1, region(2) + slot(r), 0);
			n = queue_wait(&q, &tag);
			if (n != (ssize_t)len) {
				errno = n < 0 ? (int)-n : 0;
				return fail(task, r, "write to a source", n, (long)len);
			}
		}
	}
	queue_exit(&q);
	close(fd);
	close(dfd);
	close(sfd);
	return 0;
}

static void *ring_thread(void *task)
{
	return (void *)(intptr_t)ring((unsigned int)(intptr_t)task);
}

int main(int argc, char **argv)
{
	const char *tf = getenv("TIME_FACTOR");
	bool threads = false;
	int opt, bad = 0;

	while ((opt = getopt(argc, argv, "n:r:p:PTSe:")) != -1) {
		switch (opt) {
		case 'n': tasks = parse_size(optarg); break;
		case 'r': rounds = parse_size(optarg); break;
		case 'p': pages = parse_size(optarg); break;
		case 'P': private = true; break;
		case 'T': threads = true; break;
		case 'e': engine = engine_of(optarg); break;
		case 'S': self = true; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || tasks < 1 || tasks > 64)
		die("usage: crossdio [options] DIRECTORY");
	dir = argv[optind];
	if (tf && atoi(tf) > 0)
		patience *= (unsigned int)atoi(tf);
	signal(SIGALRM, stuck);
	for (unsigned int i = 0; i < tasks; i++) {
		unsigned char *b = xalloc(region(3));
		char name[4096];
		int fd;

		pattern_fill(b, region(3), i + 1, 0);
		file_name(name, sizeof(name), i);
		fd = xopen(name, O_RDWR | O_CREAT | O_TRUNC);
		pwrite_all(fd, b, region(3), 0);
		if (fsync(fd))
			die("fsync");
		close(fd);
		free(b);
	}
	if (threads) {
		pthread_t t[64];

		for (unsigned int i = 0; i < tasks; i++)
			if ((errno = pthread_create(&t[i], NULL, ring_thread, (void *)(intptr_t)i)))
				die("pthread_create");
		for (unsigned int i = 0; i < tasks; i++) {
			void *ret;

			pthread_join(t[i], &ret);
			bad |= (int)(intptr_t)ret;
		}
	} else {
		for (unsigned int i = 0; i < tasks; i++) {
			pid_t pid = fork();

			if (pid < 0)
				die("fork");
			if (!pid)
				_exit(ring(i));
		}
		for (unsigned int i = 0; i < tasks; i++) {
			int status;

			if (wait(&status) < 0)
				die("wait");
			bad |= status != 0;
		}
	}
	if (!bad)
		printf("crossdio: ok\n");
	return bad ? 1 : 0;
}
