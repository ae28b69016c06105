/* SPDX-License-Identifier: GPL-2.0 */
/* What the test programs share: failing loudly, sizes, time, patterns, whole-buffer I/O. */
#ifndef TOYFS_TESTS_UTIL_H
#define TOYFS_TESTS_UTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

#define UNUSED __attribute__((unused))

/* Exit status 2: the test could not be made, as against 1: the file system got it wrong. */
static UNUSED __attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (err)
		fprintf(stderr, ": %s", strerror(err));
	fputc('\n', stderr);
	exit(2);
}

static UNUSED const char *errname(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "unknown errno";
}

/* A child that is killed when its parent ends: 0 in the child. */
static UNUSED pid_t xfork(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* A number with an optional suffix: k, m, g, or p for pages. */
static UNUSED uint64_t parse_size(const char *s)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(s, &end, 0);
	if (end == s || errno) {
		errno = 0;
		die("not a size: '%s'", s);
	}
	switch (*end) {
	case 'k': v <<= 10; end++; break;
	case 'm': v <<= 20; end++; break;
	case 'g': v <<= 30; end++; break;
	case 'p': v *= PAGE; end++; break;
	}
	if (*end) {
		errno = 0;
		die("not a size: '%s'", s);
	}
	return v;
}

static UNUSED uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* xorshift64*: good enough to spread operations, and the same everywhere for the same seed. */
static UNUSED uint64_t rnd(uint64_t *state)
{
	uint64_t x = *state ? *state : 88172645463325252ull;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 2685821657736338717ull;
}

/* The word a patterned file has at byte `pos` (a multiple of 8): no two positions or seeds agree. */
static UNUSED uint64_t pattern_word(uint64_t seed, uint64_t pos)
{
	uint64_t x = (pos >> 3) + seed * 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static UNUSED void pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t pos)
{
	unsigned char *p = buf;

	while (len) {
		uint64_t w = pattern_word(seed, pos & ~7ull);
		size_t skip = pos & 7;
		size_t n = 8 - skip < len ? 8 - skip : len;

		memcpy(p, (unsigned char *)&w + skip, n);
		p += n;
		pos += n;
		len -= n;
	}
}

static UNUSED void *xalloc(size_t len)
{
	void *p = NULL;

	if (!len)
		len = 1;
	errno = posix_memalign(&p, PAGE, (len + PAGE - 1) & ~(PAGE - 1));
	if (errno)
		die("out of memory (%zu bytes)", len);
	return p;
}

static UNUSED int xopen(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("open %s", path);
	return fd;
}

/* Until `len` bytes or the end of the file; the count read. */
static UNUSED size_t pread_all(int fd, void *buf, size_t len, uint64_t pos)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(pos + done));

		if (n < 0)
			die("pread at %llu", (unsigned long long)(pos + done));
		if (!n)
			break;
		done += (size_t)n;
		if (n & 511)
			break;	/* the end of the file, and an offset O_DIRECT would refuse */
	}
	return done;
}

static UNUSED void pwrite_all(int fd, const void *buf, size_t len, uint64_t pos)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(pos + done));

		if (n <= 0)
			die("pwrite at %llu", (unsigned long long)(pos + done));
		done += (size_t)n;
	}
}

/* The first byte in which two buffers differ, or `len`. */
static UNUSED size_t first_diff(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;
	size_t i;

	if (!memcmp(a, b, len))
		return len;
	for (i = 0; i < len && x[i] == y[i]; i++)
		;
	return i;
}

#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif
struct cachestat_range_ { uint64_t off, len; };
struct cachestat_ { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

/*
 * Page-cache state of a range; false where the kernel has no such call. The test kernels of scripts/vm have it: there
 * a check that needs it must not be left out.
 */
static UNUSED bool cachestat_of(int fd, uint64_t off, uint64_t len, struct cachestat_ *cs)
{
	struct cachestat_range_ r = { off, len };

	memset(cs, 0, sizeof(*cs));
	if (!syscall(__NR_cachestat, fd, &r, cs, 0))
		return true;
	if (errno != ENOSYS || getenv("TOYFS_ARCH"))
		die("cachestat");
	return false;
}

#endif
