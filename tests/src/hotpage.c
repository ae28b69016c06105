// SPDX-License-Identifier: GPL-2.0
/*
 * One page, or one block at the end of a file, that is written directly without pause, and those who want that very page.
 *
 *	hotpage [-e sync|aio|uring] [-d DEPTH] [-l LENGTH] [-t SECONDS] [-b BOUND] [-h SECONDS] [-c] [-m] [-2] KIND[,KIND...] FILE
 *
 * DEPTH writes (default 16) of the page are under way all the time: of one task each (sync), or all of one task. With a
 * LENGTH of less than a page the file ends there, and the writes do. Beside them each KIND is a task that, over and over,
 * has one access to the page and one to the page before it, which nobody writes directly:
 *
 *	read	read(2)
 *	drop	the page is dropped from the cache, then read(2)
 *	load	the page is dropped from the mapping and from the cache, then loaded through the mapping
 *	remap	the file is mapped anew, then loaded
 *	store	the page is dropped from the mapping, the other one cleaned as well, then stored to
 *	three	read(2) of the page and the two behind it, or of the other page and the two before it
 *
 * With -2 every other write is of the next page but one, so that such a read has two of these with one in between that stays in
 * the cache.
 *
 * What an access costs is counted in direct writes that were completed while it was pending (which is what "a few phases"
 * means, whatever the machine does), in sleeps of the task, and in time. stderr has the distributions, a line for each
 * KIND and page.
 *
 * Nine accesses in ten have to be over before BOUND writes are (default 8 times DEPTH) and with at most 16 sleeps, the worst before
 * 16 times BOUND and with at most 64 sleeps, unless those to the other page take more than an eighth of it: what the scheduler does
 * to a task is done to both. An access, or a write, that takes 20 s (-h) is a hang.
 *
 * What is seen must be right: nothing that a write had replaced which was complete when the access began, and a store is
 * there unless a direct write was under way when it began, or began later. -c only counts what is wrong, for file systems
 * that do not promise it. -m is for user-mode Linux with several CPUs, where a page may have been taken away from the file, and a
 * store still goes there: then that a store is there is not looked for.
 */
#include "util.h"
#include "async.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAGES 64u
#define NEAR 32u	/* the page that is the yardstick */
#define HOT 33u		/* the page that is written */
#define BEHIND 2u	/* so far behind is the second page that is written, with -2 */
#define KINDS 6u
#define SAMPLES 200000u
#define LEAST 20u	/* accesses, unless they take longer than a hang */
#define SLEEPS 16u	/* of an access, nine times in ten */
#define STORED (1ull << 63)
#define STORE_WORD 5u
#define WORDS (PAGE / 8)

static const char *const kinds[KINDS] = { "read", "drop", "load", "remap", "store", "three" };

struct access {
	uint32_t writes, sleeps, us;
};

/*
 * Each direct write has a number, which all its words show. Writes that are under way together may end up in any order, so
 * what a write replaces for certain are those that were complete when it was submitted: all below the oldest that was under
 * way then.
 */
static struct shared {
	atomic_bool stop_access, stop_writes;
	uint64_t enough;
	_Atomic uint64_t next, completed;
	_Atomic uint64_t slot[QUEUE_MAX];	/* the numbers under way; may be too low for a moment */
	_Atomic uint64_t floor;			/* of the writes, those below have been replaced */
	_Atomic uint64_t begun, stored;		/* stores */
	_Atomic uint64_t store_floor;		/* stores up to this one have been replaced by a write */
	_Atomic uint64_t over_floor;		/* writes below this one have been replaced by a store */
	_Atomic uint64_t wrong, failed, seen_stores;
	struct task {
		_Atomic uint64_t since;
		atomic_bool hot;
		unsigned int n[2];
		struct access a[2][SAMPLES];
	} task[KINDS];
} *sh;

static const char *path;
static enum engine engine = AIO;
static unsigned int depth = 16, seconds = 3, hang = 20, bound;
static size_t len = PAGE;
static bool only_count, stores_get_lost, two;

static void raise_to(_Atomic uint64_t *what, uint64_t to)
{
	uint64_t old = *what;

	while (old < to && !atomic_compare_exchange_weak(what, &old, to))
		;
}

/* No write below this number is under way, or will be. */
static uint64_t oldest(void)
{
	uint64_t low = sh->next + 1, n;

	for (unsigned int i = 0; i < depth; i++) {
		n = sh->slot[i];
		if (n && n < low)
			low = n;
	}
	return low;
}

static __attribute__((format(printf, 1, 2))) void wrong(const char *fmt, ...)
{
	va_list ap;

	if (sh->wrong++ >= 5)
		return;
	va_start(ap, fmt);
	flockfile(stdout);
	if (only_count)
		printf("# ");
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
	funlockfile(stdout);
	va_end(ap);
}

/* Where an invalidation fails, iomap says so with an error of the file, as if data had been lost. */
static void sync_failed(const char *what)
{
	if (!only_count || errno != EIO)
		die("%s", what);
	sh->failed++;
}

/* The direct writes. */

static struct write {
	uint64_t *buf;
	uint64_t replaces, stores;
} writes[QUEUE_MAX];

/* Is it one of the second page? */
static bool is_behind(uint64_t i)
{
	return two && i & 1;
}

static void begin_write(struct queue *q, int fd, unsigned int i)
{
	struct write *w = &writes[i];
	struct iovec iov;
	uint64_t n;

	sh->slot[i] = sh->next;
	n = ++sh->next;
	sh->slot[i] = n;
	w->replaces = oldest();
	w->stores = sh->stored;
	for (unsigned int k = 0; k < len / 8; k++)
		w->buf[k] = n;
	iov = (struct iovec){ w->buf, len };
	/* AIO copies the segments while it is submitted, and so does queue_submit() for a ring. */
	queue_submit(q, true, fd, &iov, 1, (HOT + (is_behind(i) ? BEHIND : 0)) * PAGE, i);
}

static unsigned int end_write(struct queue *q)
{
	uint64_t i;
	long res = queue_wait(q, &i);

	if (res != (long)len) {
		errno = res < 0 ? (int)-res : 0;
		die("a direct write returned %ld", res);
	}
	if (!is_behind(i)) {
		raise_to(&sh->floor, writes[i].replaces);
		raise_to(&sh->store_floor, writes[i].stores);
	}
	sh->slot[i] = 0;
	sh->completed++;
	return (unsigned int)i;
}

/* Writes with the slots from `first` to `last`. */
static void write_forever(unsigned int first, unsigned int last)
{
	int fd = xopen(path, O_RDWR | O_DIRECT);
	static struct queue q;

	queue_init(&q, engine);
	for (unsigned int i = first; i <= last; i++) {
		writes[i].buf = xalloc(PAGE);
		begin_write(&q, fd, i);
	}
	while (!sh->stop_writes)
		begin_write(&q, fd, end_write(&q));
	while (q.inflight)
		end_write(&q);
	queue_exit(&q);
	_exit(0);
}

/* Those who want the page. */

struct known {
	uint64_t floor, store_floor, over_floor, stored;
};

static struct known known_now(void)
{
	return (struct known){ sh->floor, sh->store_floor, sh->over_floor, sh->stored };
}

/* May word `k` of the page be `v`, for who knew that when he began? */
static void check_word(const char *kind, const struct known *was, unsigned int k, uint64_t v)
{
	if (k == STORE_WORD && v & STORED) {
		v &= ~STORED;
		sh->seen_stores++;
		if (v > sh->begun)
			wrong("%s: store %llu before it was made", kind, (unsigned long long)v);
		else if (v <= was->store_floor)
			wrong("%s: store %llu, but a later write was complete", kind, (unsigned long long)v);
		else if (v < was->stored && !stores_get_lost)
			wrong("%s: store %llu, but %llu was done", kind, (unsigned long long)v,
			      (unsigned long long)was->stored);
	} else if (v > sh->next) {
		wrong("%s: word %u is %llx", kind, k, (unsigned long long)v);
	} else if (v < was->floor) {
		wrong("%s: word %u is of write %llu, all before %llu had been replaced", kind, k, (unsigned long long)v,
		      (unsigned long long)was->floor);
	} else if (k == STORE_WORD && v < was->over_floor && !stores_get_lost) {
		wrong("%s: a store is lost: write %llu was complete before it", kind, (unsigned long long)v);
	}
}

static unsigned char *map_file(int fd)
{
	unsigned char *m = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (m == MAP_FAILED)
		die("mmap");
	madvise(m, PAGES * PAGE, MADV_RANDOM);
	return m;
}

static long sleeps(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_nvcsw;
}

/* One access of this kind; its cost is noted. */
static void access_page(const char *kind, struct task *t, int fd, unsigned char **map, uint64_t *buf, bool hot)
{
	bool three = *kind == 't', reads = three || *kind == 'd' || !strcmp(kind, "read");
	size_t at = (hot ? HOT : three ? NEAR - BEHIND : NEAR) * PAGE, n = three ? (BEHIND + 1) * PAGE : hot ? len : PAGE;
	volatile uint64_t *words = (volatile uint64_t *)(*map + at);
	static uint64_t seed = 1, mine;
	unsigned int k = (unsigned int)(rnd(&seed) % (n / 8));
	uint64_t t0, done, low = oldest(), seq = 0;
	struct known was;
	struct access *a;
	long slept;
	ssize_t got = 0;

	if (*kind == 'l' || *kind == 's')
		madvise(*map + at, PAGE, MADV_DONTNEED);
	if (*kind == 'd' || *kind == 'l' || (*kind == 'r' && !hot))
		posix_fadvise(fd, (off_t)at, PAGE, POSIX_FADV_DONTNEED);
	if (three && !hot) {
		posix_fadvise(fd, (off_t)at, PAGE, POSIX_FADV_DONTNEED);
		posix_fadvise(fd, (off_t)(at + BEHIND * PAGE), PAGE, POSIX_FADV_DONTNEED);
	}
	if (*kind == 's' && !hot &&
	    sync_file_range(fd, (off_t)at, PAGE, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
		sync_failed("sync_file_range");
	if (!strcmp(kind, "remap")) {
		munmap(*map, PAGES * PAGE);
		*map = map_file(fd);
		words = (volatile uint64_t *)(*map + at);
	}
	t->hot = hot;
	slept = sleeps();
	t0 = now_ns();
	t->since = t0;
	done = sh->completed;
	was = known_now();
	if (*kind == 's') {
		seq = hot ? ++sh->begun : ++mine;
		words[STORE_WORD] = seq | STORED;
	} else if (reads) {
		got = pread(fd, buf, n, (off_t)at);
	} else {
		buf[0] = words[k];
	}
	done = sh->completed - done;
	t0 = now_ns() - t0;
	slept = sleeps() - slept;
	t->since = 0;
	if (t->n[hot] < SAMPLES) {
		a = &t->a[hot][t->n[hot]++];
		a->writes = (uint32_t)done;
		a->sleeps = (uint32_t)slept;
		a->us = (uint32_t)(t0 / 1000);
	}
	if (*kind == 's') {
		if (hot) {
			raise_to(&sh->over_floor, low);
			raise_to(&sh->stored, seq);
		}
		return;
	}
	if (reads) {
		if (got != (ssize_t)n)
			die("read returned %zd of %zu", got, n);
		if (!hot)
			return;
		for (k = 0; k < (three ? PAGE : n) / 8; k++)
			check_word(kind, &was, k, buf[k]);
	} else if (hot) {
		check_word(kind, &was, k, buf[0]);
	}
}

static void access_forever(unsigned int which)
{
	int fd = xopen(path, O_RDWR);
	struct task *t = &sh->task[which];
	unsigned char *map = map_file(fd);
	uint64_t *buf = xalloc((BEHIND + 1) * PAGE);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	while (!sh->stop_access || (t->n[1] < LEAST && now_ns() < sh->enough)) {
		access_page(kinds[which], t, fd, &map, buf, true);
		access_page(kinds[which], t, fd, &map, buf, false);
	}
	_exit(0);
}

/* The verdict. */

static int by_writes(const void *a, const void *b)
{
	const struct access *x = a, *y = b;

	return x->writes < y->writes ? -1 : x->writes > y->writes;
}

static int by_sleeps(const void *a, const void *b)
{
	const struct access *x = a, *y = b;

	return x->sleeps < y->sleeps ? -1 : x->sleeps > y->sleeps;
}

static int by_time(const void *a, const void *b)
{
	const struct access *x = a, *y = b;

	return x->us < y->us ? -1 : x->us > y->us;
}

struct spread {
	struct access most, worst;	/* most: nine of ten have less */
};

/* Shows the accesses to one page, and returns their spread. */
static struct spread show(const char *kind, struct task *t, bool hot)
{
	struct access *a = t->a[hot];
	unsigned int n = t->n[hot];
	struct spread s;

	fprintf(stderr, "%-6s %-5s %7u accesses", kind, hot ? "hot" : "other", n);
	qsort(a, n, sizeof(*a), by_time);
	fprintf(stderr, "; ms: median %.3f, 90%% %.3f, worst %.3f", a[n / 2].us / 1e3, a[n * 9ull / 10].us / 1e3,
		a[n - 1].us / 1e3);
	s.most.us = a[n * 9ull / 10].us;
	s.worst.us = a[n - 1].us;
	qsort(a, n, sizeof(*a), by_sleeps);
	s.most.sleeps = a[n * 9ull / 10].sleeps;
	s.worst.sleeps = a[n - 1].sleeps;
	fprintf(stderr, "; sleeps: %u, %u, %u", a[n / 2].sleeps, s.most.sleeps, s.worst.sleeps);
	qsort(a, n, sizeof(*a), by_writes);
	s.most.writes = a[n * 9ull / 10].writes;
	s.worst.writes = a[n - 1].writes;
	fprintf(stderr, "; writes: %u, %u, %u\n", a[n / 2].writes, s.most.writes, s.worst.writes);
	return s;
}

/* Is `hot` more than `limit`, and more than eight times what the other page takes? */
static bool over(const char *kind, const char *which, const char *unit, uint64_t hot, uint64_t near, uint64_t limit)
{
	if (hot <= limit || hot <= 8 * near)
		return false;
	printf("%s: %s takes %llu %s, not %llu (of the other page: %llu)\n", kind, which, (unsigned long long)hot, unit,
	       (unsigned long long)limit, (unsigned long long)near);
	return true;
}

static bool judge(unsigned int i)
{
	struct spread near = show(kinds[i], &sh->task[i], false), hot = show(kinds[i], &sh->task[i], true);

	return !(over(kinds[i], "one in ten", "writes", hot.most.writes, near.most.writes, bound) |
		 over(kinds[i], "the worst", "writes", hot.worst.writes, near.worst.writes, 16ull * bound) |
		 over(kinds[i], "one in ten", "sleeps", hot.most.sleeps, near.most.sleeps, SLEEPS) |
		 over(kinds[i], "the worst", "sleeps", hot.worst.sleeps, near.worst.sleeps, 4 * SLEEPS));
}

/* Nothing is under way: all ways to look at the page must agree, and a store must get to the device. */
static void check_end(void)
{
	int fd = xopen(path, O_RDWR), dfd = xopen(path, O_RDWR | O_DIRECT);
	unsigned char *map = map_file(fd);
	volatile uint64_t *words = (volatile uint64_t *)(map + HOT * PAGE);
	uint64_t *cached = xalloc(PAGE), *direct = xalloc(PAGE), *old = xalloc(PAGE);
	struct known was = known_now();

	if (pread_all(fd, cached, len, HOT * PAGE) != len)
		die("short read");
	for (unsigned int k = 0; k < len / 8; k++)
		check_word("at the end", &was, k, cached[k]);
	for (unsigned int k = 0; k < len / 8; k++)
		old[k] = words[k];
	if (first_diff(old, cached, len) != len)
		wrong("read and the mapping differ at %zu", first_diff(old, cached, len));
	if (pread_all(dfd, direct, len, HOT * PAGE) != len)
		die("short direct read");
	if (first_diff(direct, cached, len) != len)
		wrong("cache and device differ at %zu", first_diff(direct, cached, len));
	words[STORE_WORD] = ~0ull;
	if (fsync(fd))
		sync_failed("fsync");
	if (pread_all(dfd, direct, len, HOT * PAGE) != len)
		die("short direct read");
	if (direct[STORE_WORD] != ~0ull)
		wrong("the last store is not on the device");
	if (len < PAGE && lseek(fd, 0, SEEK_END) != (off_t)(HOT * PAGE + len))
		wrong("the size has changed");
}

static void make_file(void)
{
	size_t size = len < PAGE ? HOT * PAGE + len : PAGES * PAGE;
	uint64_t *b = xalloc(PAGES * PAGE);
	int fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC);

	for (unsigned int i = 0; i < PAGES * WORDS; i++)
		b[i] = 1;
	pwrite_all(fd, b, size, 0);
	if (fsync(fd))
		die("fsync");
	close(fd);
	free(b);
	sh->next = sh->floor = 1;
}

static pid_t children[QUEUE_MAX + KINDS];
static unsigned int nchildren;

static void __attribute__((noreturn)) give_up(const char *why, const char *what)
{
	printf("HANG: %s%s not over within %u s\n", why, what, hang);
	fflush(stdout);
	for (unsigned int i = 0; i < nchildren; i++)
		kill(children[i], SIGKILL);
	_exit(1);
}

static pid_t child(void)
{
	pid_t pid = xfork();

	if (pid)
		children[nchildren++] = pid;
	return pid;
}

/* Waits for `n` children to end, or for `until`; what takes too long is a hang. */
static unsigned int watch(unsigned int n, uint64_t deadline)
{
	uint64_t completed = sh->completed, moved = now_ns();
	int status;
	pid_t pid;

	while (n && now_ns() < deadline) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid > 0) {
			n--;
			if (status) {
				printf("a task ended with status %x\n", (unsigned int)status);
				exit(2);
			}
			continue;
		}
		usleep(20000);
		if (sh->completed != completed) {
			completed = sh->completed;
			moved = now_ns();
		} else if (now_ns() - moved > hang * 1000000000ull) {
			give_up("a direct write", "");
		}
		for (unsigned int i = 0; i < KINDS; i++) {
			uint64_t since = sh->task[i].since;

			if (since && now_ns() - since > hang * 1000000000ull && since == sh->task[i].since)
				give_up(kinds[i], sh->task[i].hot ? " of the page" : " of the other page");
		}
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned int nwriters, ntasks = 0;
	bool good = true, chosen[KINDS] = { false };
	uint64_t began, took, until;
	char *list, *word;
	int opt;

	while ((opt = getopt(argc, argv, "e:d:l:t:b:h:cm2")) != -1) {
		switch (opt) {
		case 'e': engine = engine_of(optarg); break;
		case 'd': depth = (unsigned int)parse_size(optarg); break;
		case 'l': len = parse_size(optarg); break;
		case 't': seconds = (unsigned int)parse_size(optarg); break;
		case 'b': bound = (unsigned int)parse_size(optarg); break;
		case 'h': hang = (unsigned int)parse_size(optarg); break;
		case 'c': only_count = true; break;
		case 'm': stores_get_lost = true; break;
		case '2': two = true; break;
		default: return 2;
		}
	}
	errno = 0;
	if (optind + 2 != argc || !depth || depth > QUEUE_MAX || !len || len > PAGE || len % 512)
		die("usage: hotpage [options] KIND[,KIND...] FILE");
	if (!bound)
		bound = 8 * depth;
	path = argv[optind + 1];
	list = argv[optind];
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	for (word = strtok(list, ","); word; word = strtok(NULL, ",")) {
		unsigned int i;

		for (i = 0; i < KINDS && strcmp(kinds[i], word); i++)
			;
		if (i == KINDS) {
			errno = 0;
			die("no kind '%s'", word);
		}
		chosen[i] = true;
	}
	make_file();
	nwriters = engine == SYNC ? depth : 1;
	for (unsigned int i = 0; i < nwriters; i++)
		if (!child()) {
			if (engine == SYNC)
				write_forever(i, i);
			write_forever(0, depth - 1);
		}
	while (sh->completed < 2 * depth)
		watch(1, now_ns() + 1000000);
	began = now_ns();
	took = sh->completed;
	until = began + seconds * 1000000000ull;
	sh->enough = until + hang * 1000000000ull;
	for (unsigned int i = 0; i < KINDS; i++) {
		if (!chosen[i])
			continue;
		ntasks++;
		if (!child())
			access_forever(i);
	}
	watch(ntasks + 1, until);
	sh->stop_access = true;
	while (ntasks)
		ntasks = watch(ntasks, UINT64_MAX);
	took = sh->completed - took;
	fprintf(stderr, "%llu writes/s", (unsigned long long)(took * 1000000000ull / (now_ns() - began)));
	sh->stop_writes = true;
	while (nwriters)
		nwriters = watch(nwriters, UINT64_MAX);
	check_end();
	fprintf(stderr, ", %llu stores done, stores seen %llu times, %llu wrong, %llu errors of the file\n",
		(unsigned long long)sh->stored, (unsigned long long)sh->seen_stores, (unsigned long long)sh->wrong,
		(unsigned long long)sh->failed);
	for (unsigned int i = 0; i < KINDS; i++)
		if (chosen[i])
			good &= judge(i);
	if (sh->wrong) {
		printf(only_count ? "# %llu times wrong\n" : "%llu times wrong\n", (unsigned long long)sh->wrong);
		good &= only_count;
	}
	if (good)
		printf("ok\n");
	return !good;
}
