// SPDX-License-Identifier: GPL-2.0
/*
 * Write a position-dependent pattern to a file, or check for it.
 *
 *	pattern [-d|-m] [-s] write|check FILE OFFSET LENGTH SEED [PATTERN-OFFSET]
 *
 * -d direct I/O, -m through a shared mapping, -s fsync. The pattern at byte OFFSET is that of
 * PATTERN-OFFSET (default: OFFSET), so that copied ranges can be checked; seed 0 means zeroes.
 */
#include "util.h"

#define CHUNK ((size_t)1 << 20)

int main(int argc, char **argv)
{
	bool direct = false, mapped = false, sync = false, writing;
	uint64_t off, len, seed, pos, shift;
	unsigned char *buf, *want, *m = NULL;
	struct stat st;
	int opt, fd;

	while ((opt = getopt(argc, argv, "dms")) != -1) {
		switch (opt) {
		case 'd': direct = true; break;
		case 'm': mapped = true; break;
		case 's': sync = true; break;
		default: return 2;
		}
	}
	if (argc - optind < 5)
		die("usage: pattern [-d|-m] [-s] write|check FILE OFFSET LENGTH SEED [PATTERN-OFFSET]");
	writing = !strcmp(argv[optind], "write");
	off = parse_size(argv[optind + 2]);
	len = parse_size(argv[optind + 3]);
	seed = parse_size(argv[optind + 4]);
	shift = argc - optind > 5 ? parse_size(argv[optind + 5]) - off : 0;

	fd = xopen(argv[optind + 1], (writing ? O_RDWR | O_CREAT : O_RDONLY) | (direct ? O_DIRECT : 0));
	if (fstat(fd, &st))
		die("fstat");
	if (mapped) {
		if (writing && (uint64_t)st.st_size < off + len && ftruncate(fd, (off_t)(off + len)))
			die("ftruncate");
		m = mmap(NULL, off + len, writing ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
		if (m == MAP_FAILED)
			die("mmap");
	}
	if (!writing && (uint64_t)st.st_size < off + len) {
		printf("%s: %llu bytes, want at least %llu\n", argv[optind + 1],
		       (unsigned long long)st.st_size, (unsigned long long)(off + len));
		return 1;
	}
	buf = xalloc(CHUNK);
	want = xalloc(CHUNK);
	for (pos = off; pos < off + len; pos += CHUNK) {
		size_t n = off + len - pos < CHUNK ? off + len - pos : CHUNK, at, got;

		if (seed)
			pattern_fill(want, n, seed, pos + shift);
		else
			memset(want, 0, n);
		if (writing) {
			if (m)
				memcpy(m + pos, want, n);
			else
				pwrite_all(fd, want, n, pos);
			continue;
		}
		if (m) {
			memcpy(buf, m + pos, n);
		} else {
			got = pread_all(fd, buf, direct ? (n + 511) & ~(size_t)511 : n, pos);
			if (got < n) {
				printf("%s: read of %zu at %llu returned %zu\n", argv[optind + 1], n,
				       (unsigned long long)pos, got);
				return 1;
			}
		}
		at = first_diff(buf, want, n);
		if (at < n) {
			printf("%s: wrong at byte %llu (%s): have", argv[optind + 1],
			       (unsigned long long)(pos + at),
			       m ? "mmap" : direct ? "direct read" : "read");
			for (size_t i = at; i < at + 8 && i < n; i++)
				printf(" %02x", buf[i]);
			printf(", want");
			for (size_t i = at; i < at + 8 && i < n; i++)
				printf(" %02x", want[i]);
			printf("\n");
			return 1;
		}
	}
	if (m && writing && sync && msync(m, off + len, MS_SYNC))
		die("msync");
	if (sync && fsync(fd))
		die("fsync");
	return 0;
}
