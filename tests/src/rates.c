// SPDX-License-Identifier: GPL-2.0
/*
 * How often can it be done? What `make bench` measures and fio has no job for.
 *
 *	rates [-t MILLISECONDS] [-n TASKS] faults|stores FILE
 *		page faults per second of TASKS processes, on 1 MiB of FILE that is in the page cache: loads, or stores
 *	rates [-t MILLISECONDS] extend FILE
 *		direct writes of a page per second, each at the end of FILE, which is made and taken away
 *	rates [-t MILLISECONDS] refused FILE PAGES
 *		two numbers: nanoseconds of a direct write from a mapping of what is written, and of the same write from a mapping of
 *		another part of FILE; in turn, medians. Where the first one is not refused that is no error.
 *	rates [-t MILLISECONDS] marked DIR COUNT
 *		COUNT tasks, each in a direct write to a file of its own whose buffer does not come (a userfaultfd that nobody
 *		answers). Three numbers meanwhile: page faults and direct writes per second of one other process on one other
 *		file, and bytes of slab memory for each of the tasks
 *	rates files DIR COUNT
 *		makes COUNT files
 *	rates inodes DIR COUNT
 *		bytes of slab memory for each of those when they are looked up and written directly; after they were made the file
 *		system is to be unmounted, since what stays in a cache otherwise is its own affair
 */
#include "util.h"
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define REGION ((size_t)1 << 20)

static struct shared {
	_Atomic uint64_t count;
	_Atomic unsigned int ready;
	atomic_bool go, stop;
} *sh;

static unsigned int ms = 500;

/* One fault each: a fault brings in what is around it, so the steps are wide, and what came is given back. */
static void fault(const char *path, bool store)
{
	int fd = xopen(path, O_RDWR);
	unsigned char *m = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	const size_t step = 16 * PAGE;
	volatile unsigned char sink;

	if (m == MAP_FAILED)
		die("mmap");
	for (size_t at = 0; at < REGION; at += PAGE)
		sink = m[at];
	sh->ready++;
	while (!sh->go)
		usleep(1000);
	while (!sh->stop) {
		if (madvise(m, REGION, MADV_DONTNEED))
			die("madvise");
		for (size_t at = 0; at < REGION; at += step) {
			if (store)
				*(volatile unsigned char *)(m + at) = 1;
			else
				sink = m[at];
		}
		sh->count += REGION / step;
	}
	(void)sink;
	_exit(0);
}

static void write_one(const char *path)
{
	int fd = xopen(path, O_RDWR | O_DIRECT);
	unsigned char *b = xalloc(PAGE);

	memset(b, 1, PAGE);
	sh->ready++;
	while (!sh->go)
		usleep(1000);
	for (size_t i = 0; !sh->stop; i++) {
		if (pwrite(fd, b, PAGE, (off_t)(i % (REGION / PAGE) * PAGE)) != (ssize_t)PAGE)
			die("direct write");
		sh->count++;
	}
	_exit(0);
}

enum what { FAULTS, STORES, WRITES };

/* What so many processes do per second. */
static uint64_t rate(enum what what, const char *path, unsigned int tasks)
{
	uint64_t t0, count;

	atomic_store(&sh->count, 0);
	sh->ready = 0;
	sh->go = sh->stop = false;
	for (unsigned int i = 0; i < tasks; i++) {
		if (xfork())
			continue;
		if (what == WRITES)
			write_one(path);
		fault(path, what == STORES);
	}
	while (sh->ready < tasks) {
		usleep(1000);
		if (waitpid(-1, NULL, WNOHANG) > 0)
			die("a process failed");
	}
	t0 = now_ns();
	sh->go = true;
	usleep(ms * 1000);
	count = sh->count * 1000000000ull / (now_ns() - t0);
	sh->stop = true;
	for (unsigned int i = 0; i < tasks; i++) {
		int status;

		if (wait(&status) < 0 || status)
			die("a process failed");
	}
	return count;
}

static void extend(const char *path)
{
	int fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT);
	unsigned char *b = xalloc(PAGE);
	uint64_t t0 = now_ns(), n = 0, t;

	memset(b, 1, PAGE);
	/* At most 128 MiB. */
	do {
		if (pwrite(fd, b, PAGE, (off_t)(n * PAGE)) != (ssize_t)PAGE)
			die("direct write");
		t = now_ns();
	} while (++n < 32768 && t - t0 < ms * 1000000ull);
	printf("%llu\n", (unsigned long long)(n * 1000000000ull / (t - t0)));
	close(fd);
	unlink(path);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The median, or where the clock is too coarse for that (a machine without a TSC to rely on), the mean. */
static uint64_t typical(uint64_t *took, unsigned int n)
{
	uint64_t sum = 0;

	qsort(took, n, sizeof(took[0]), by_value);
	for (unsigned int i = 0; i < n; i++)
		sum += took[i];
	return took[n / 2] ? took[n / 2] : sum / n;
}

static uint64_t timed_write(int fd, const void *b, size_t len, bool overlaps)
{
	uint64_t t0 = now_ns(), t;
	ssize_t n = pwrite(fd, b, len, 0);

	t = now_ns() - t0;
	if (n != (ssize_t)len && !(overlaps && n < 0))
		die("direct write");
	errno = 0;
	return t;
}

/* Writes the first pages of the file, from a mapping of them or of those behind. */
static void refused(const char *path, size_t len)
{
	enum { MOST = 10000 };
	static uint64_t took[2][MOST];
	int fd = xopen(path, O_RDWR | O_DIRECT);
	unsigned char *m = mmap(NULL, 2 * len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t end = now_ns() + ms * 1000000ull;
	volatile unsigned char sink;
	unsigned int n = 0;

	if (m == MAP_FAILED)
		die("mmap");
	do {
		for (int overlaps = 0; overlaps < 2; overlaps++) {
			unsigned char *b = overlaps ? m : m + len;

			/*
			 * Both find their pages mapped: what the last write threw out is there again. Of what it writes to,
			 * the one that is not refused finds nothing in the cache: where the other one is, that would still
			 * be there.
			 */
			if (!overlaps)
				timed_write(fd, b, len, false);
			for (size_t at = 0; at < len; at += PAGE)
				sink = b[at];
			took[overlaps][n] = timed_write(fd, b, len, overlaps);
		}
	} while (++n < MOST && (now_ns() < end || n < 5));
	(void)sink;
	printf("%llu ", (unsigned long long)typical(took[1], n));
	printf("%llu\n", (unsigned long long)typical(took[0], n));
}

static uint64_t slab_bytes(void)
{
	char line[256];
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kb = 0;

	if (!f)
		die("/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Slab: %llu", &kb) == 1)
			break;
	fclose(f);
	return kb << 10;
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		die("mkdir %s", path);
	errno = 0;
}

static void make_file(const char *path, size_t len)
{
	int fd = xopen(path, O_RDWR | O_CREAT);
	unsigned char *b = xalloc(len);

	memset(b, 1, len);
	pwrite_all(fd, b, len, 0);
	close(fd);
	free(b);
}

/* A hundred in a folder, for file systems whose folders have no index. */
static char *name_of(const char *dir, unsigned int i, bool make)
{
	static char path[4096];

	if (make && i % 100 == 0) {
		snprintf(path, sizeof(path), "%s/%u", dir, i / 100);
		make_dir(path);
	}
	snprintf(path, sizeof(path), "%s/%u/%u", dir, i / 100, i % 100);
	return path;
}

/* In a process of its own, that a task which is blocked in the parent does not share a table of files or memory. */
static void in_child(void (*f)(const char *), const char *arg)
{
	int status;
	pid_t pid = xfork();

	if (!pid) {
		f(arg);
		fflush(stdout);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		die("a process failed");
}

static unsigned char *buffers;
static int *fds;
static _Atomic unsigned int begun;

static void *write_marked(void *arg)
{
	size_t i = (size_t)arg;

	begun++;
	if (pwrite(fds[i], buffers + i * PAGE, PAGE, 0) != (ssize_t)PAGE)
		die("direct write %zu", i);
	return NULL;
}

static void show_rates(const char *path)
{
	uint64_t faults = rate(FAULTS, path, 1);

	printf("%llu %llu ", (unsigned long long)faults, (unsigned long long)rate(WRITES, path, 1));
}

static void marked(const char *dir, unsigned int count)
{
	const size_t stack = 16384;
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct rlimit lim = { count + 64, count + 64 };
	pthread_t *threads = xalloc(count * sizeof(*threads));
	unsigned char *stacks;
	pthread_attr_t attr;
	uint64_t before, after;
	char other[4096];
	int ufd;

	fds = xalloc(count * sizeof(*fds));
	make_dir(dir);
	if (setrlimit(RLIMIT_NOFILE, &lim))
		die("setrlimit");
	for (unsigned int i = 0; i < count; i++) {
		char *path = name_of(dir, i, true);

		make_file(path, PAGE);
		fds[i] = xopen(path, O_RDWR | O_DIRECT);
	}
	snprintf(other, sizeof(other), "%s/other", dir);
	make_file(other, REGION);
	sync();
	/* The pages of the buffers never come, until they all do. */
	buffers = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stacks = mmap(NULL, count * stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buffers == MAP_FAILED || stacks == MAP_FAILED)
		die("mmap");
	ufd = (int)syscall(__NR_userfaultfd, O_CLOEXEC);
	reg.range.start = (unsigned long)buffers;
	reg.range.len = count * PAGE;
	if (ufd < 0 || ioctl(ufd, UFFDIO_API, &api) || ioctl(ufd, UFFDIO_REGISTER, &reg))
		die("userfaultfd");
	before = slab_bytes();
	for (unsigned int i = 0; i < count; i++) {
		pthread_attr_init(&attr);
		pthread_attr_setstack(&attr, stacks + i * stack, stack);
		errno = pthread_create(&threads[i], &attr, write_marked, (void *)(size_t)i);
		if (errno)
			die("thread %u", i);
	}
	while (begun < count)
		usleep(1000);
	/* All are in the call, or about to be. */
	usleep(100000);
	after = slab_bytes();
	in_child(show_rates, other);
	printf("%lld\n", ((long long)after - (long long)before) / (long long)count);
	if (ioctl(ufd, UFFDIO_UNREGISTER, &reg.range))
		die("userfaultfd");
	close(ufd);
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void files(const char *dir, unsigned int count)
{
	make_dir(dir);
	for (unsigned int i = 0; i < count; i++)
		make_file(name_of(dir, i, true), PAGE);
}

static void inodes(const char *dir, unsigned int count)
{
	unsigned char *b = xalloc(PAGE);
	uint64_t before;
	int fd;

	fd = xopen("/proc/sys/vm/drop_caches", O_WRONLY);
	for (int i = 0; i < 3; i++)
		pwrite_all(fd, "3", 1, 0);
	close(fd);
	memset(b, 2, PAGE);
	before = slab_bytes();
	for (unsigned int i = 0; i < count; i++) {
		fd = xopen(name_of(dir, i, false), O_RDWR | O_DIRECT);
		if (pwrite(fd, b, PAGE, 0) != (ssize_t)PAGE)
			die("direct write");
		close(fd);
	}
	printf("%lld\n", ((long long)slab_bytes() - (long long)before) / (long long)count);
}

int main(int argc, char **argv)
{
	unsigned int tasks = 1;
	const char *what;
	int opt;

	while ((opt = getopt(argc, argv, "t:n:")) != -1) {
		switch (opt) {
		case 't': ms = parse_size(optarg); break;
		case 'n': tasks = parse_size(optarg); break;
		default: return 2;
		}
	}
	argv += optind;
	argc -= optind;
	what = argc ? argv[0] : "";
	errno = 0;
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	if (argc == 2 && !strcmp(what, "faults"))
		printf("%llu\n", (unsigned long long)rate(FAULTS, argv[1], tasks));
	else if (argc == 2 && !strcmp(what, "stores"))
		printf("%llu\n", (unsigned long long)rate(STORES, argv[1], tasks));
	else if (argc == 2 && !strcmp(what, "extend"))
		extend(argv[1]);
	else if (argc == 3 && !strcmp(what, "refused"))
		refused(argv[1], parse_size(argv[2]) * PAGE);
	else if (argc == 3 && !strcmp(what, "marked"))
		marked(argv[1], parse_size(argv[2]));
	else if (argc == 3 && !strcmp(what, "files"))
		files(argv[1], parse_size(argv[2]));
	else if (argc == 3 && !strcmp(what, "inodes"))
		inodes(argv[1], parse_size(argv[2]));
	else
		die("usage: rates [options] faults|stores|extend|refused|marked|files|inodes FILE [COUNT]");
	return 0;
}
