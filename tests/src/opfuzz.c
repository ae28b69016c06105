// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on one file against a model of it in memory.
 *
 *	opfuzz [-n OPS] [-s SEED] [-m MAXSIZE] [-S error|buffered|none] [-t SECONDS] [-F] [-j] FILE
 *
 * Reads and writes of all three kinds (buffered, mapped, direct), truncation, fsync, eviction, reopening, and direct
 * writes whose buffer is the file itself, disjoint and (unless -S none) overlapping; -S says what an
 * overlapping one must do. -F adds fallocate and hole punching, -j stores junk between the end of the file and the
 * end of its page, which must never become visible. Everything read is compared, the whole file at intervals.
 */
#include "util.h"

static const char *path;
static unsigned char *model, *buf, *tmpbuf;
static size_t size, maxsize = 1 << 20;
static uint64_t state, align = 512, opno;
static int fd, dfd;
static char history[32][120];

static __attribute__((format(printf, 1, 2))) void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(history[opno % 32], sizeof(history[0]), fmt, ap);
	va_end(ap);
}

static __attribute__((noreturn, format(printf, 1, 2))) void failed(const char *fmt, ...)
{
	va_list ap;

	printf("operation %llu: ", (unsigned long long)opno);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nthe last operations, the newest last:\n");
	for (uint64_t i = opno < 31 ? 0 : opno - 31; i <= opno; i++)
		printf("  %llu %s\n", (unsigned long long)i, history[i % 32]);
	exit(1);
}

static void reopen(void)
{
	if (fd > 0) {
		close(fd);
		close(dfd);
	}
	fd = xopen(path, O_RDWR | O_CREAT);
	dfd = xopen(path, O_RDWR | O_DIRECT);
}

static void compare(const void *got, size_t off, size_t len, const char *via)
{
	size_t at = first_diff(got, model + off, len);
	const unsigned char *g = got;

	if (at < len)
		failed("%s of %zu at %zu: byte %zu is %02x, want %02x (size %zu)", via, len, off,
		       off + at, g[at], model[off + at], size);
}

/* A range that begins inside [0, limit). */
static void range(size_t limit, size_t *off, size_t *len, size_t unit)
{
	size_t max = rnd(&state) % 4 ? 16 * PAGE : maxsize / 4;

	*off = rnd(&state) % (limit ? limit : 1) / unit * unit;
	*len = (rnd(&state) % max + unit) / unit * unit;
	if (*off + *len > maxsize)
		*len = maxsize - *off;
}

static void grow(size_t end)
{
	if (end > size) {
		/* What lay beyond the end reads as zeroes: the model keeps it so. */
		size = end;
	}
}

static void verify_all(void)
{
	struct stat st;

	note("verify");
	if (fstat(fd, &st) || (size_t)st.st_size != size)
		failed("size is %lld, want %zu", (long long)st.st_size, size);
	memset(buf, 0xee, size);
	if (pread_all(fd, buf, size, 0) != size)
		failed("short read of the whole file");
	compare(buf, 0, size, "read");
	memset(buf, 0xee, size);
	if (pread_all(dfd, buf, (size + PAGE - 1) & ~(PAGE - 1), 0) < size)
		failed("short direct read of the whole file");
	compare(buf, 0, size, "direct read");
}

static void check_count(ssize_t n, size_t want, const char *what)
{
	if (n < 0)
		failed("%s: %s, want %zu", what, errname(errno), want);
	if ((size_t)n != want)
		failed("%s: %zd, want %zu", what, n, want);
}

static unsigned char *map(size_t off, size_t len, size_t *delta)
{
	unsigned char *m;

	*delta = off % PAGE;
	m = mmap(NULL, len + *delta, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(off - *delta));
	if (m == MAP_FAILED)
		failed("mmap: %s", errname(errno));
	return m;
}

int main(int argc, char **argv)
{
	uint64_t ops = 1000, seed = 1, deadline = 0;
	bool falloc = false, junk = false;
	const char *overlap = "none";
	size_t off, len, off2, delta;
	unsigned char *m;
	struct statx stx;
	ssize_t n;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:m:S:t:Fj")) != -1) {
		switch (opt) {
		case 'n': ops = parse_size(optarg); break;
		case 's': seed = parse_size(optarg); break;
		case 'm': maxsize = parse_size(optarg); break;
		case 'S': overlap = optarg; break;
		case 't': deadline = now_ns() + parse_size(optarg) * 1000000000u; break;
		case 'F': falloc = true; break;
		case 'j': junk = true; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc)
		die("usage: opfuzz [options] FILE");
	path = argv[optind];
	state = seed * 0x9e3779b97f4a7c15ull;
	model = xalloc(maxsize + PAGE);
	buf = xalloc(maxsize + PAGE);
	tmpbuf = xalloc(maxsize + PAGE);
	memset(model, 0, maxsize + PAGE);
	setvbuf(stdout, NULL, _IOLBF, 0);
	unlink(path);
	reopen();
#ifdef STATX_DIOALIGN
	if (!statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) && (stx.stx_mask & STATX_DIOALIGN) &&
	    stx.stx_dio_offset_align)
		align = stx.stx_dio_offset_align;
#endif
	(void)stx;

	for (opno = 0; opno < ops && (!deadline || now_ns() < deadline); opno++) {
		switch (rnd(&state) % (falloc ? 16 : 14)) {
		case 0:
			range(size, &off, &len, 1);
			note("read %zu at %zu, size %zu", len, off, size);
			n = pread(fd, buf, len, (off_t)off);
			if (off + len > size)
				len = off > size ? 0 : size - off;
			check_count(n, len, "read");
			compare(buf, off, len, "read");
			break;
		case 1:
		case 2:
			range(rnd(&state) % 3 ? size : maxsize, &off, &len, 1);
			note("write %zu at %zu, size %zu", len, off, size);
			pattern_fill(buf, len, opno + 1, 0);
			check_count(pwrite(fd, buf, len, (off_t)off), len, "write");
			memcpy(model + off, buf, len);
			grow(off + len);
			break;
		case 3:
			range(size, &off, &len, 1);
			if (off + len > size)
				len = size - off;
			note("mapped read %zu at %zu, size %zu", len, off, size);
			if (!len)
				break;
			m = map(off, len, &delta);
			memcpy(buf, m + delta, len);
			munmap(m, len + delta);
			compare(buf, off, len, "mapped read");
			break;
		case 4:
		case 5:
			range(size, &off, &len, 1);
			if (off + len > size)
				len = size - off;
			note("mapped write %zu at %zu, size %zu", len, off, size);
			if (!len)
				break;
			m = map(off, len, &delta);
			pattern_fill(m + delta, len, opno + 1, 0);
			pattern_fill(model + off, len, opno + 1, 0);
			if (junk && off + len == size && size % PAGE)
				memset(m + delta + len, 0xbd, PAGE - size % PAGE);
			if (rnd(&state) % 2 && msync(m, len + delta, MS_SYNC))
				failed("msync: %s", errname(errno));
			munmap(m, len + delta);
			break;
		case 6:
			len = rnd(&state) % (rnd(&state) % 4 ? size + 1 : maxsize);
			note("truncate to %zu, size %zu", len, size);
			if (ftruncate(fd, (off_t)len))
				failed("truncate: %s", errname(errno));
			if (len < size)
				memset(model + len, 0, size - len);
			size = len;
			break;
		case 7:
			range(size, &off, &len, align);
			note("direct read %zu at %zu, size %zu", len, off, size);
			n = pread(dfd, buf, len, (off_t)off);
			if (off + len > size)
				len = off > size ? 0 : size - off;
			check_count(n, len, "direct read");
			compare(buf, off, len, "direct read");
			break;
		case 8:
		case 9:
			range(rnd(&state) % 3 ? size : maxsize - PAGE, &off, &len, align);
			note("direct write %zu at %zu, size %zu", len, off, size);
			pattern_fill(buf, len, opno + 1, 0);
			check_count(pwrite(dfd, buf, len, (off_t)off), len, "direct write");
			memcpy(model + off, buf, len);
			grow(off + len);
			break;
		case 10:
			switch (rnd(&state) % 3) {
			case 0:
				note("fsync");
				if (fsync(fd))
					failed("fsync: %s", errname(errno));
				break;
			case 1:
				note("fsync, evict");
				if (fsync(fd) || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
					failed("fsync: %s", errname(errno));
				break;
			case 2:
				note("reopen");
				reopen();
				break;
			}
			break;
		case 11:
		case 12:	/* a direct write from the file itself, nothing in common */
			off = rnd(&state) % (size / PAGE / 2 + 1) * PAGE;
			len = (rnd(&state) % 16 + 1) * PAGE;
			off2 = off + len + rnd(&state) % 4 * PAGE;
			if (off2 + len > size)
				break;
			if (rnd(&state) % 2) {
				size_t x = off;

				off = off2;
				off2 = x;
			}
			note("direct write %zu at %zu from the file at %zu, size %zu", len, off, off2, size);
			m = map(off2, len, &delta);
			check_count(pwrite(dfd, m, len, (off_t)off), len, "disjoint direct write");
			munmap(m, len);
			memcpy(model + off, model + off2, len);
			break;
		case 13:	/* and one that overlaps, forward, so that a copy page by page is a move */
			if (!strcmp(overlap, "none"))
				break;
			off = rnd(&state) % (size / PAGE + 1) * PAGE;
			len = (rnd(&state) % 16 + 1) * PAGE;
			off2 = off + rnd(&state) % (len / PAGE) * PAGE;
			if (off2 + len > size)
				break;
			note("direct write %zu at %zu from the file at %zu (overlap), size %zu", len, off,
			     off2, size);
			m = map(off2, len, &delta);
			n = pwrite(dfd, m, len, (off_t)off);
			if (!strcmp(overlap, "error")) {
				if (n != -1 || errno != EFAULT)
					failed("overlapping direct write: %zd %s, want EFAULT", n,
					       n < 0 ? errname(errno) : "");
			} else {
				check_count(n, len, "overlapping direct write");
				memmove(model + off, model + off2, len);
			}
			munmap(m, len);
			break;
		case 14:
			range(size, &off, &len, 1);
			note("punch %zu at %zu, size %zu", len, off, size);
			if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
				failed("punch: %s", errname(errno));
			if (off < size)
				memset(model + off, 0, off + len < size ? len : size - off);
			break;
		case 15:
			range(maxsize - PAGE, &off, &len, 1);
			note("fallocate %zu at %zu, size %zu", len, off, size);
			if (fallocate(fd, 0, (off_t)off, (off_t)len))
				failed("fallocate: %s", errname(errno));
			grow(off + len);
			break;
		}
		if (opno % 100 == 99)
			verify_all();
	}
	verify_all();
	printf("opfuzz: ok\n");
	return 0;
}
