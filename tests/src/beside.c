// SPDX-License-Identifier: GPL-2.0
/*
 * beside FILE DEVICE ROUNDS: what is done to a page of FILE, beside pages of the same folio that somebody uses.
 *
 * others:	it is written directly, while a direct read from DEVICE, which does one request at a time, and slowly, is under
 *		way into the page beside it, by a mapping. What was read must be in the file afterwards, and so must what was
 *		written.
 * punched, cut, copied: as others, but the page is punched out of the file, the file ends in it for a while, or it is
 *		written through the cache.
 * own:		the page beside it is the buffer.
 *
 * Where the kernel has large folios, those of FILE must be such. Exit status 1, and lines that say why, if something is wrong.
 */
#include "util.h"
#include "async.h"

#define FOLIO ((size_t)2 << 20)

static int file, direct;
static unsigned char *map;

/* Whether the page of the mapping at @offset is one of a large folio. */
static bool is_large(size_t offset)
{
	uint64_t entry, flags;
	int pagemap = xopen("/proc/self/pagemap", O_RDONLY);
	int kpageflags = xopen("/proc/kpageflags", O_RDONLY);

	(void)*(volatile unsigned char *)(map + offset);
	if (pread(pagemap, &entry, 8, (off_t)((uintptr_t)(map + offset) / PAGE * 8)) != 8 ||
	    pread(kpageflags, &flags, 8, (off_t)((entry & ((1ULL << 55) - 1)) * 8)) != 8)
		die("/proc/kpageflags");
	close(pagemap);
	close(kpageflags);
	/* KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL */
	return flags & (3ULL << 15);
}

/* New contents in new folios, written in one go, so that they are as large as they can be; and clean. */
static void fill(unsigned char *buf, unsigned char value)
{
	memset(buf, value, FOLIO);
	if (ftruncate(file, 0))
		die("ftruncate");
	pwrite_all(file, buf, FOLIO, 0);
	if (fsync(file))
		die("fsync");
}

/*
 * What the page at @offset is, to everybody. A direct read of a block device is complete a moment before the pages that it has
 * read into are dirty again, so who reads the file directly may have to wait for that. (One of toyfs is not: readinto.)
 */
static bool is(size_t offset, unsigned char value, const char *what)
{
	unsigned char *page = xalloc(PAGE), *want = xalloc(PAGE);
	bool good = true;

	memset(want, value, PAGE);
	for (int i = 0; i < 3; i++) {
		int fd = i == 1 ? file : direct;

		if (i == 0)
			memcpy(page, map + offset, PAGE);
		for (int wait = 0; i > 0; wait++) {
			if (pread_all(fd, page, PAGE, offset) != PAGE)
				die("short read");
			if (fd == file || wait == 100 || !memcmp(page, want, PAGE))
				break;
			usleep(20000);
		}
		if (memcmp(page, want, PAGE)) {
			printf("%s: a %s finds %c in page %zu\n", what,
			       i == 0 ? "load" : i == 1 ? "read" : "direct read", page[0], offset / PAGE);
			good = false;
		}
	}
	free(page);
	free(want);
	return good;
}

/* What is done to a page. */
enum change { WRITE, PUNCH, CUT, COPY };

static bool others(int device, size_t read_at, size_t write_at, enum change change)
{
	static const char *const names[] = { "others", "punched", "cut", "copied" };
	const char *name = names[change];
	unsigned char *page = xalloc(2 * PAGE), *before = xalloc(PAGE);
	size_t len = change == CUT ? 2 * PAGE : PAGE, end = write_at + (read_at / PAGE % 4 ? 100 : 0);
	struct iovec iov[2] = { { before, PAGE }, { map + read_at, len } };
	struct queue *q = xalloc(sizeof(*q));
	uint64_t tag;
	bool good;

	memset(page, 'R', len);
	pwrite_all(device, page, len, 0);
	queue_init(q, AIO);
	/* Nothing is transferred before the first one is through. */
	for (int i = 0; i < 2; i++)
		queue_submit(q, false, device, &iov[i], 1, 0, (uint64_t)i);
	memset(page, 'W', PAGE);
	if (change == PUNCH) {
		if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)write_at, PAGE))
			die("fallocate");
	} else if (change == CUT) {
		if (ftruncate(file, (off_t)end))
			die("ftruncate");
	} else if (change == COPY) {
		/* Of a folio that is clean, this page alone becomes dirty. */
		if (fsync(file))
			die("fsync");
		pwrite_all(file, page, PAGE, write_at);
	} else {
		pwrite_all(direct, page, PAGE, write_at);
	}
	for (int i = 0; i < 2; i++)
		if (queue_wait(q, &tag) != (ssize_t)(tag ? len : PAGE))
			die("a read failed");
	if (change == CUT && ftruncate(file, FOLIO))
		die("ftruncate");
	good = is(read_at, 'R', name);
	if (change == WRITE || change == COPY)
		good &= is(write_at, 'W', name);
	else if (change == PUNCH)
		good &= is(write_at, 0, name);
	/* Nor is anything behind the end when that moves on. */
	for (size_t at = end; change == CUT && at < write_at + PAGE && good; at++)
		if (map[at]) {
			printf("%s: %c is behind the end\n", name, map[at]);
			good = false;
		}
	/* What was written back is what was read. */
	if (fsync(file))
		die("fsync");
	printf("%s", good ? "" : "before fsync\n");
	good &= is(read_at, 'R', name);
	free(before);
	free(page);
	free(q);
	return good;
}

static bool own(size_t from, size_t to)
{
	memset(map + from, 'O', PAGE);
	if (pwrite(direct, map + from, PAGE, (off_t)to) != PAGE)
		die("pwrite");
	return is(from, 'O', "own") & is(to, 'O', "own");
}

int main(int argc, char **argv)
{
	bool good = true, wanted = !access("/sys/kernel/mm/transparent_hugepage", F_OK);
	unsigned char *buf = xalloc(FOLIO);
	unsigned int large = 0, rounds;
	uint64_t state = 132;
	int device;

	if (argc != 4) {
		fprintf(stderr, "usage: beside FILE DEVICE ROUNDS\n");
		return 2;
	}
	file = xopen(argv[1], O_RDWR | O_CREAT);
	direct = xopen(argv[1], O_RDWR | O_DIRECT);
	device = xopen(argv[2], O_RDWR | O_DIRECT);
	rounds = (unsigned int)parse_size(argv[3]);
	if (ftruncate(file, FOLIO))
		die("ftruncate");
	map = mmap(NULL, FOLIO, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (map == MAP_FAILED)
		die("mmap");
	for (unsigned int r = 0; r < rounds && good; r++) {
		size_t a = rnd(&state) % (FOLIO / PAGE) * PAGE, b, end = FOLIO;
		unsigned int kind = r % 5;

		if (kind == CUT)
			a &= ~PAGE;
		b = a ^ PAGE;

		fill(buf, '.');
		large += is_large(a);
		if (kind == CUT)
			end = b;
		good = kind == 4 ? own(a, b) : others(device, a, b, kind);
		/* Nothing else has changed. */
		for (size_t at = 0; at < end && good; at += PAGE)
			if (at != a && at != b && map[at] != '.') {
				printf("page %zu has become %c\n", at / PAGE, map[at]);
				good = false;
			}
	}
	if (wanted && large < rounds / 2) {
		printf("no large folios: %u of %u\n", large, rounds);
		good = false;
	}
	return !good;
}
