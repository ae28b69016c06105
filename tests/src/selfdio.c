// SPDX-License-Identifier: GPL-2.0
/*
 * One direct read or write with a buffer of any shape, described on the command line, and a check of
 * everything that it should and should not have changed.
 *
 *	selfdio [-c] [-t] [-q] [-d] [-a] [-b] [-n] [-l MAXUSEC] [-L SECONDS] [-e ENGINE] read|write FILE OFFSET SEGMENT...
 *
 * SEGMENT is one iovec, comma-separated:
 *	anon,len=N		anonymous memory
 *	map,off=N,len=N		mapping of FILE, or of another file with file=PATH
 * and for a mapping further:
 *	private			MAP_PRIVATE (default MAP_SHARED)
 *	ro			not writable
 *	cold			not in the page cache (default)
 *	cached			in the page cache, not in the page table
 *	warm			loaded from: in the page table
 *	dirty			stored to (the same bytes, so that the file stays as it is)
 *	cow			stored to, other bytes (with private: anonymous memory from then on)
 *	populate		MAP_POPULATE
 *	random			MADV_RANDOM: no readahead
 *	skew=N			the buffer begins N bytes into the first page
 *	unmap			the range is unmapped again: an invalid address
 *
 * -c checks the file (and a read's buffer) afterwards, -q keeps quiet about what is right, -t prints the
 * time taken, -l complains of more than that, -d opens with O_DSYNC, -a with O_APPEND (OFFSET is to
 * be where the file ends), -b without O_DIRECT, -n asks for
 * no waiting (RWF_NOWAIT, of system calls only),
 * -L is the end by SIGALRM after so many seconds.
 * -e makes the operation by aio, uring, or uring with a registered buffer (fixed) instead of a system call (sync).
 *
 * Exit status: 0 the operation returned and the check found nothing; 1 the check failed; 2 no test made.
 */
#include "async.h"

enum state { COLD, CACHED, WARM, DIRTY, COW, POPULATE };

struct seg {
	bool map, private, ro, random, unmap;
	enum state state;
	const char *path;
	int fd;				/* of the mapped file */
	uint64_t off;
	size_t len, skew, maplen;
	unsigned char *base, *addr;	/* of the mapping; of the buffer */
	unsigned char *bytes;		/* what the buffer holds before the operation */
};

static struct seg segs[256];
static struct iovec iov[256];
static int nsegs;
static const char *target;
static uint64_t target_ino, target_dev;

static void parse_seg(char *arg)
{
	struct seg *s = &segs[nsegs++];
	char *tok, *save = NULL;

	if (nsegs > 255)
		die("too many segments");
	for (tok = strtok_r(arg, ",", &save); tok; tok = strtok_r(NULL, ",", &save)) {
		if (!strcmp(tok, "anon"))
			s->map = false;
		else if (!strcmp(tok, "map"))
			s->map = true;
		else if (!strncmp(tok, "file=", 5))
			s->path = tok + 5;
		else if (!strncmp(tok, "off=", 4))
			s->off = parse_size(tok + 4);
		else if (!strncmp(tok, "len=", 4))
			s->len = parse_size(tok + 4);
		else if (!strncmp(tok, "skew=", 5))
			s->skew = parse_size(tok + 5);
		else if (!strcmp(tok, "private"))
			s->private = true;
		else if (!strcmp(tok, "shared"))
			s->private = false;
		else if (!strcmp(tok, "ro"))
			s->ro = true;
		else if (!strcmp(tok, "random"))
			s->random = true;
		else if (!strcmp(tok, "unmap"))
			s->unmap = true;
		else if (!strcmp(tok, "cold"))
			s->state = COLD;
		else if (!strcmp(tok, "cached"))
			s->state = CACHED;
		else if (!strcmp(tok, "warm"))
			s->state = WARM;
		else if (!strcmp(tok, "dirty"))
			s->state = DIRTY;
		else if (!strcmp(tok, "cow"))
			s->state = COW;
		else if (!strcmp(tok, "populate"))
			s->state = POPULATE;
		else
			die("unknown word '%s' in a segment", tok);
	}
	if (!s->path)
		s->path = target;
}

struct image {
	unsigned char *data;
	size_t size;
};

/* The whole file as a direct read sees it; leaves nothing in the page cache. */
static struct image snapshot(const char *path)
{
	struct image im;
	struct stat st;
	int fd = xopen(path, O_RDONLY | O_DIRECT);

	if (fstat(fd, &st))
		die("fstat %s", path);
	im.size = (size_t)st.st_size;
	im.data = xalloc(im.size + PAGE);
	memset(im.data, 0, im.size);
	if (pread_all(fd, im.data, (im.size + PAGE - 1) & ~(PAGE - 1), 0) < im.size)
		die("%s: short direct read", path);
	close(fd);
	return im;
}

static void chill(const char *path)
{
	struct cachestat_ cs;
	int fd = xopen(path, O_RDONLY);

	if (fsync(fd))
		die("fsync %s", path);
	for (int i = 0; i < 50; i++) {
		errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		if (errno)
			die("fadvise %s", path);
		if (!cachestat_of(fd, 0, 0, &cs) || !cs.cached)
			break;
		usleep(2000);
	}
	close(fd);
}

static bool same_file(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die("stat %s", path);
	return (uint64_t)st.st_ino == target_ino && (uint64_t)st.st_dev == target_dev;
}

static void touch(struct seg *s)
{
	size_t done = 0;
	static volatile unsigned char sink;

	switch (s->state) {
	case COLD:
	case POPULATE:
		return;
	case CACHED:
		done = pread_all(s->fd, s->bytes, s->len, s->off + s->skew);
		if (done != s->len)
			die("%s: short read", s->path);
		return;
	case WARM:
		for (size_t i = 0; i < s->maplen; i += PAGE)
			sink = s->base[i];
		sink = s->addr[s->len - 1];
		return;
	case DIRTY:
		for (size_t i = 0; i < s->maplen; i += PAGE)
			((volatile unsigned char *)s->base)[i] = s->base[i];
		return;
	case COW:
		for (size_t i = 0; i < s->len; i++)
			s->addr[i] ^= 0x5a;
		return;
	}
	(void)sink;
}

static int failures;
static bool quiet;

static void complain(const char *what, const char *via, size_t at, const unsigned char *have,
		     const unsigned char *want)
{
	failures++;
	printf("%s: WRONG (%s), first at byte %zu: have", what, via, at);
	for (int i = 0; i < 8; i++)
		printf(" %02x", have[i]);
	printf(", want");
	for (int i = 0; i < 8; i++)
		printf(" %02x", want[i]);
	printf("\n");
}

/* Compare the file with `want`, seen in each of the three ways. */
static void check_file(const struct image *want, const char *what)
{
	int before = failures;
	struct stat st;
	struct image got;
	unsigned char *buf, *m;
	size_t at;
	int fd = xopen(target, O_RDONLY);

	if (fstat(fd, &st))
		die("fstat");
	if ((size_t)st.st_size != want->size) {
		failures++;
		printf("%s: WRONG size %llu, want %zu\n", what, (unsigned long long)st.st_size,
		       want->size);
		close(fd);
		return;
	}
	buf = xalloc(want->size + 8);
	memset(buf, 0, want->size + 8);
	if (pread_all(fd, buf, want->size, 0) != want->size)
		die("short read");
	at = first_diff(buf, want->data, want->size);
	if (at < want->size)
		complain(what, "read", at, buf + at, want->data + at);

	m = mmap(NULL, want->size, PROT_READ, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED)
		die("mmap");
	memcpy(buf, m, want->size);
	munmap(m, want->size);
	at = first_diff(buf, want->data, want->size);
	if (at < want->size)
		complain(what, "mmap", at, buf + at, want->data + at);

	got = snapshot(target);
	at = first_diff(got.data, want->data, want->size);
	if (at < want->size)
		complain(what, "direct read", at, got.data + at, want->data + at);
	if (failures == before && !quiet)
		printf("%s: ok\n", what);
	free(buf);
	free(got.data);
	close(fd);
}

int main(int argc, char **argv)
{
	bool check = false, timed = false, is_write;
	uint64_t limit_us = 0, off, t0, t1;
	struct cachestat_ before = {0}, after = {0};
	bool have_cs;
	struct image im = {0}, want;
	struct stat st;
	size_t total = 0, done;
	ssize_t ret;
	int opt, fd, err, oflags = 0;
	enum engine engine = SYNC;
	bool nowait = false, buffered = false;
	static struct queue q;
	uint64_t tag;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt(argc, argv, "+ctqdabnl:e:L:")) != -1) {
		switch (opt) {
		case 'c': check = true; break;
		case 't': timed = true; break;
		case 'q': quiet = true; break;	/* of what follows the result, only what is wrong */
		case 'd': oflags |= O_DSYNC; break;
		case 'b': buffered = true; break;
		case 'a': oflags |= O_APPEND; break;
		case 'n': nowait = true; break;
		case 'e': engine = engine_of(optarg); break;
		case 'L': alarm((unsigned int)parse_size(optarg)); break;
		case 'l': limit_us = parse_size(optarg); break;
		default:
			return 2;
		}
	}
	errno = 0;
	if (argc - optind < 4)
		die("usage: selfdio [-c] [-t] [-q] [-d] [-l MAXUSEC] [-L SECONDS] [-e ENGINE] read|write FILE OFFSET SEGMENT...");
	is_write = !strcmp(argv[optind], "write");
	if (!is_write && strcmp(argv[optind], "read"))
		die("'%s' is neither read nor write", argv[optind]);
	target = argv[optind + 1];
	off = parse_size(argv[optind + 2]);
	for (int i = optind + 3; i < argc; i++)
		parse_seg(argv[i]);
	if (stat(target, &st))
		die("stat %s", target);
	target_ino = st.st_ino;
	target_dev = st.st_dev;

	fd = xopen(target, O_RDWR | (buffered ? 0 : O_DIRECT) | oflags);
	if (check)
		im = snapshot(target);

	/* Everything cold first, and mapped without readahead, so that warming a page warms no other. */
	for (int i = 0; i < nsegs; i++) {
		struct seg *s = &segs[i];
		struct image src;

		if (!s->len)
			die("a segment without length");
		s->bytes = xalloc(s->len);
		s->maplen = (s->skew + s->len + PAGE - 1) & ~(PAGE - 1);
		if (!s->map) {
			s->base = mmap(NULL, s->maplen, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (s->base == MAP_FAILED)
				die("mmap");
			s->addr = s->base + s->skew;
			pattern_fill(s->addr, s->len, 77, (uint64_t)i << 32);
			memcpy(s->bytes, s->addr, s->len);
		} else {
			s->fd = xopen(s->path, s->ro ? O_RDONLY : O_RDWR);
			chill(s->path);
			src = snapshot(s->path);
			if (s->off + s->skew + s->len > src.size)
				die("%s: segment beyond the end of the file", s->path);
			memcpy(s->bytes, src.data + s->off + s->skew, s->len);
			free(src.data);
		}
		iov[i].iov_len = s->len;
		total += s->len;
	}
	for (int i = 0; i < nsegs; i++) {
		struct seg *s = &segs[i];

		if (s->map && s->state != POPULATE) {
			s->base = mmap(NULL, s->maplen, PROT_READ | (s->ro ? 0 : PROT_WRITE),
				       s->private ? MAP_PRIVATE : MAP_SHARED, s->fd, (off_t)s->off);
			if (s->base == MAP_FAILED)
				die("mmap %s", s->path);
			if (madvise(s->base, s->maplen, MADV_RANDOM))
				die("madvise");
			posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
			s->addr = s->base + s->skew;
			touch(s);
		}
	}
	for (int i = 0; i < nsegs; i++) {
		struct seg *s = &segs[i];

		if (s->map && s->state == POPULATE) {
			/* Populating a writable private mapping copies its pages: not what is wanted. */
			bool late = s->private && !s->ro;

			s->base = mmap(NULL, s->maplen, PROT_READ | (s->ro || late ? 0 : PROT_WRITE),
				       (s->private ? MAP_PRIVATE : MAP_SHARED) | MAP_POPULATE,
				       s->fd, (off_t)s->off);
			if (s->base == MAP_FAILED ||
			    (late && mprotect(s->base, s->maplen, PROT_READ | PROT_WRITE)))
				die("mmap %s", s->path);
			s->addr = s->base + s->skew;
		}
	}
	for (int i = 0; i < nsegs; i++) {
		struct seg *s = &segs[i];
		struct cachestat_ cs;

		if (s->map && s->state == COW)
			for (size_t k = 0; k < s->len; k++)
				s->bytes[k] ^= 0x5a;
		if (s->map && s->state == COLD &&
		    cachestat_of(s->fd, s->off, s->maplen, &cs) && cs.cached) {
			errno = 0;
			die("%s: %llu pages of a cold segment are cached", s->path,
			    (unsigned long long)cs.cached);
		}
		if (s->map && !s->random) {
			madvise(s->base, s->maplen, MADV_NORMAL);
			posix_fadvise(s->fd, 0, 0, POSIX_FADV_NORMAL);
		}
		if (s->unmap)
			munmap(s->base, s->maplen);
		iov[i].iov_base = s->addr;
	}
	/* A shared store (cow without private) changes the file before the operation begins. */
	for (int i = 0; i < nsegs; i++)
		if (check && segs[i].map && segs[i].state == COW && !segs[i].private &&
		    same_file(segs[i].path))
			memcpy(im.data + segs[i].off + segs[i].skew, segs[i].bytes, segs[i].len);

	queue_init(&q, engine);
	q.flags = nowait ? RWF_NOWAIT : 0;
	if (engine == FIXED && (err = queue_register(&q, iov[0].iov_base, iov[0].iov_len))) {
		printf("register: %s\n", errname(err));
		return 0;
	}
	have_cs = cachestat_of(fd, 0, 0, &before);
	t0 = now_ns();
	queue_submit(&q, is_write, fd, iov, (unsigned int)nsegs, off, 0);
	ret = queue_wait(&q, &tag);
	err = ret < 0 ? (int)-ret : 0;
	if (ret < 0)
		ret = -1;
	t1 = now_ns();
	if (have_cs)
		cachestat_of(fd, 0, 0, &after);

	printf("%s: %zd", is_write ? "write" : "read", ret);
	if (ret < 0)
		printf(" %s", errname(err));
	if (timed)
		printf(" %llu us", (unsigned long long)(t1 - t0) / 1000);
	printf("\n");
	if (limit_us && (t1 - t0) / 1000 > limit_us) {
		failures++;
		printf("TOO SLOW: %llu us, limit %llu us\n", (unsigned long long)(t1 - t0) / 1000,
		       (unsigned long long)limit_us);
	}
	if (!check)
		return failures ? 1 : 0;

	if (ret < 0 && have_cs && after.dirty > before.dirty) {
		failures++;
		printf("dirty pages: %llu added by a failed operation\n",
		       (unsigned long long)(after.dirty - before.dirty));
	}
	/* The fault on a page that is to be overwritten is refused, not served by reading the page for nothing. */
	for (int i = 0; i < nsegs && ret < 0 && is_write && err == EFAULT; i++) {
		struct seg *s = &segs[i];
		struct cachestat_ cs;

		if (s->map && s->state == COLD && !s->unmap && same_file(s->path) && s->off >= off / PAGE * PAGE &&
		    s->off + s->maplen <= (off + total + PAGE - 1) / PAGE * PAGE &&
		    cachestat_of(s->fd, s->off, s->maplen, &cs) && cs.cached) {
			failures++;
			printf("%llu pages of a cold buffer were read for nothing\n",
			       (unsigned long long)cs.cached);
		}
	}
	done = ret > 0 ? (size_t)ret : 0;

	/* What the file must hold now. */
	want.size = im.size;
	if (is_write && done && off + done > want.size)
		want.size = off + done;
	want.data = xalloc(want.size + 8);
	memset(want.data, 0, want.size + 8);
	memcpy(want.data, im.data, im.size);
	for (int i = 0, pos = 0; i < nsegs && (size_t)pos < done; i++) {
		struct seg *s = &segs[i];
		size_t n = done - (size_t)pos < s->len ? done - (size_t)pos : s->len;

		if (is_write)
			memcpy(want.data + off + pos, s->bytes, n);
		else if (s->map && !s->private && same_file(s->path))
			memcpy(want.data + s->off + s->skew, im.data + off + pos, n);
		pos += (int)s->len;
	}
	/* And a read's buffer: the file's bytes as far as it came, the old ones after. */
	if (!is_write) {
		int bad = failures;
		size_t pos = 0;

		for (int i = 0; i < nsegs; i++) {
			struct seg *s = &segs[i];
			size_t n = pos >= done ? 0 : done - pos < s->len ? done - pos : s->len;
			size_t at = first_diff(s->addr, im.data + off + pos, n);
			char name[32];

			snprintf(name, sizeof(name), "buffer %d", i);
			if (at < n)
				complain(name, "read part", at, s->addr + at,
					 im.data + off + pos + at);
			else if (ret >= 0 && n < s->len &&
				 (at = first_diff(s->addr + n, s->bytes + n, s->len - n)) < s->len - n)
				complain(name, "beyond what was read", n + at, s->addr + n + at,
					 s->bytes + n + at);
			pos += s->len;
		}
		if (failures == bad && !quiet)
			printf("buffer: ok\n");
	}
	check_file(&want, ret < 0 ? "file unchanged" : "file content");
	return failures ? 1 : 0;
}
