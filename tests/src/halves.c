// SPDX-License-Identifier: GPL-2.0
/*
 * Pages whose beginning is written directly while their end is written through the page cache.
 *
 *	halves [-t SECONDS] [-p PAGES] [-M] [-e ENGINE] FILE
 *
 * One process writes the first sector of pages directly, some at once, and reads each back through the cache when it is
 * done. Another writes the last eight bytes of the same pages, by write and through a mapping (not with -M), and reads
 * them back. Each is the only one to write where it does, so each must always find what it wrote last: a page that came
 * into the cache, or became dirty there, while a direct write was on its way would hide that write, and undo it later.
 */
#include "async.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define MAXPAGES 64u
#define END (PAGE - 8)

static struct shared {
	_Atomic uint64_t first[MAXPAGES], last[MAXPAGES], direct, cached;
	_Atomic int errors;
	atomic_bool stop;
} *sh;

static const char *path;
static unsigned int pages = 8;
static size_t sector;
static bool mapped = true;
static enum engine engine;

static void expect(const char *what, unsigned int page, uint64_t is, uint64_t want)
{
	if (is == want)
		return;
	if (sh->errors++ < 5) {
		printf("%s of page %u: %llu is there, %llu was written last\n", what, page, (unsigned long long)is,
		       (unsigned long long)want);
		fflush(stdout);
	}
	sh->stop = true;
}

static void write_first(void)
{
	int fd = xopen(path, O_RDWR | O_DIRECT), cfd = xopen(path, O_RDONLY);
	unsigned char *buf = xalloc(pages * sector);
	bool busy[MAXPAGES] = {0};
	uint64_t state = 1, is, tag;
	static struct queue q;
	int err;

	queue_init(&q, engine);
	if (engine == FIXED && (err = queue_register(&q, buf, pages * sector))) {
		errno = err;
		die("register");
	}
	while (!sh->stop || q.inflight) {
		unsigned int page = (unsigned int)(rnd(&state) % pages);
		uint64_t *src = (uint64_t *)(buf + page * sector);
		struct iovec iov = { src, sector };
		long ret;

		if (!sh->stop && !busy[page]) {
			sh->first[page]++;
			for (size_t i = 0; i < sector / 8; i++)
				src[i] = sh->first[page];
			busy[page] = true;
			queue_submit(&q, true, fd, &iov, 1, page * PAGE, page);
			if (engine != SYNC && rnd(&state) % 4)
				continue;
		}
		if (!q.inflight)
			continue;
		ret = queue_wait(&q, &tag);
		if (ret != (long)sector) {
			errno = ret < 0 ? (int)-ret : 0;
			die("direct write: %ld", ret);
		}
		pread_all(cfd, &is, 8, tag * PAGE);
		expect("the beginning", (unsigned int)tag, is, sh->first[tag]);
		busy[tag] = false;
		sh->direct++;
	}
	queue_exit(&q);
	_exit(0);
}

static void write_last(void)
{
	int fd = xopen(path, O_RDWR);
	uint64_t state = 2, is;
	unsigned char *m;

	m = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		die("mmap");
	while (!sh->stop) {
		unsigned int page = (unsigned int)(rnd(&state) % pages);
		uint64_t version = ++sh->last[page];

		if (mapped && rnd(&state) % 2)
			*(volatile uint64_t *)(m + page * PAGE + END) = version;
		else
			pwrite_all(fd, &version, 8, page * PAGE + END);
		pread_all(fd, &is, 8, page * PAGE + END);
		expect("the end", page, is, version);
		sh->cached++;
	}
	if (fsync(fd))
		die("fsync");
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned int seconds = 2;
	struct statx stx;
	uint64_t *b;
	int opt, fd, status, bad = 0;

	while ((opt = getopt(argc, argv, "t:p:Me:")) != -1) {
		switch (opt) {
		case 't': seconds = (unsigned int)parse_size(optarg); break;
		case 'p': pages = (unsigned int)parse_size(optarg); break;
		case 'M': mapped = false; break;
		case 'e': engine = engine_of(optarg); break;
		default: return 2;
		}
	}
	errno = 0;
	if (optind + 1 != argc || !pages || pages > MAXPAGES)
		die("usage: halves [-t seconds] [-p pages] [-M] [-e engine] file");
	path = argv[optind];
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	fd = xopen(path, O_RDWR | O_CREAT);
	b = xalloc(pages * PAGE);
	memset(b, 0, pages * PAGE);
	pwrite_all(fd, b, pages * PAGE, 0);
	if (fsync(fd))
		die("fsync");
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx))
		die("statx");
	errno = 0;
	sector = stx.stx_dio_offset_align;
	if (!(stx.stx_mask & STATX_DIOALIGN) || !sector || sector > PAGE / 2)
		die("the device has no sectors smaller than half a page");
	for (int i = 0; i < 2; i++) {
		if (xfork())
			continue;
		if (i)
			write_last();
		else
			write_first();
	}
	for (unsigned int i = 0; i < seconds * 10 && !sh->stop; i++)
		usleep(100000);
	sh->stop = true;
	while (wait(&status) > 0)
		bad |= status;
	if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die("fadvise");
	close(fd);
	fd = xopen(path, O_RDONLY | O_DIRECT);
	pread_all(fd, b, pages * PAGE, 0);
	for (unsigned int i = 0; i < pages; i++) {
		expect("the beginning, on the device,", i, b[i * PAGE / 8], sh->first[i]);
		expect("the end, on the device,", i, b[(i * PAGE + END) / 8], sh->last[i]);
	}
	fprintf(stderr, "%llu direct writes, %llu through the cache\n", (unsigned long long)sh->direct,
		(unsigned long long)sh->cached);
	if (bad || sh->errors || !sh->direct || !sh->cached)
		return 1;
	printf("halves: ok\n");
	return 0;
}
