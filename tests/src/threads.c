// SPDX-License-Identifier: GPL-2.0
/*
 * Direct writes from a cold mapping of the same file, while others fault on it and change the address space.
 *
 *	threads [-t SECONDS] [-w WRITERS] [-r | -p] [-e] [-P] FILE
 *
 * One address space: WRITERS threads write(F) from mmap(F), disjoint, with the buffer evicted before; one thread loads
 * from a mapping of F, again and again from nothing; one maps and unmaps (an mmap_lock writer). -r the loads
 * come from another process, through process_vm_readv, -p through ptrace(2) and /proc/PID/mem. -e another process evicts F from the cache without pause.
 * -P private mappings. It is a hang if any of them stands still for 10 s (times TIME_FACTOR).
 */
#include "util.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define SLOT_PAGES 8u
#define SLOTS 32u
#define SLOT (SLOT_PAGES * PAGE)
#define FILESIZE (2 * SLOTS * SLOT)

enum { FAULTER, MAPPER, EVICTOR, WRITER };
static const char *const names[] = { "faulting reader", "mmap/munmap loop", "evictor", "direct writer" };

static struct shared {
	_Atomic uint64_t count[WRITER + 16];
	atomic_bool stop;
	_Atomic int failures;
	_Atomic pid_t victim;
} *sh;

static const char *path;
static bool private;
static unsigned char *reader_map;

static void *writer(void *arg)
{
	unsigned int me = (unsigned int)(intptr_t)arg;
	unsigned char *buf = xalloc(SLOT), *want = xalloc(SLOT);
	int fd = xopen(path, O_RDWR), dfd = xopen(path, O_RDWR | O_DIRECT);
	uint64_t state = me + 1;

	while (!sh->stop) {
		/* The first half is never written to: its pattern is what must arrive in the second. */
		size_t from = rnd(&state) % SLOTS * SLOT, to, at;
		unsigned char *m;
		ssize_t n;

		to = (SLOTS + (rnd(&state) % (SLOTS / 8) * 8 + me % 8)) * SLOT;
		m = mmap(NULL, SLOT, PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED, fd,
			 (off_t)from);
		if (m == MAP_FAILED)
			die("mmap");
		posix_fadvise(fd, (off_t)from, SLOT, POSIX_FADV_DONTNEED);
		n = pwrite(dfd, m, SLOT, (off_t)to);
		munmap(m, SLOT);
		if (n != (ssize_t)SLOT) {
			printf("direct write: %zd %s\n", n, n < 0 ? errname(errno) : "");
			sh->failures++;
			break;
		}
		pattern_fill(want, SLOT, 1, from);
		if (pread_all(rnd(&state) & 1 ? fd : dfd, buf, SLOT, to) != SLOT)
			die("short read");
		at = first_diff(buf, want, SLOT);
		if (at < SLOT) {
			printf("wrong data at byte %zu of %zu\n", at, SLOT);
			sh->failures++;
			break;
		}
		sh->count[WRITER + me]++;
	}
	close(fd);
	close(dfd);
	return NULL;
}

static void *faulter(void *arg)
{
	volatile unsigned char sink;
	int fd = xopen(path, O_RDWR);

	(void)arg;
	while (!sh->stop) {
		madvise(reader_map, FILESIZE, MADV_DONTNEED);
		posix_fadvise(fd, 0, FILESIZE, POSIX_FADV_DONTNEED);
		for (size_t i = 0; i < FILESIZE && !sh->stop; i += 3 * PAGE)
			sink = reader_map[i];
		sh->count[FAULTER]++;
	}
	(void)sink;
	close(fd);
	return NULL;
}

static void remote_faulter(pid_t pid)
{
	unsigned char *buf = xalloc(SLOT);
	int fd = xopen(path, O_RDWR);
	uint64_t state = 5;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!sh->stop) {
		size_t at = rnd(&state) % (2 * SLOTS) * SLOT;
		struct iovec local = { buf, SLOT }, remote = { reader_map + at, SLOT };

		posix_fadvise(fd, (off_t)at, SLOT, POSIX_FADV_DONTNEED);
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)SLOT) {
			if (sh->stop)
				break;
			printf("process_vm_readv: %s\n", errname(errno));
			fflush(stdout);
			sh->failures++;
			break;
		}
		sh->count[FAULTER]++;
	}
	_exit(0);
}

/* Looks through the eyes of a thread that does nothing else: it is stopped all the time. */
static void tracer(pid_t pid, const _Atomic pid_t *victim)
{
	int fd = xopen(path, O_RDWR), mem, status;
	char name[64];
	uint64_t state = 6, word, want;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!*victim)
		usleep(1000);
	snprintf(name, sizeof(name), "/proc/%d/mem", (int)pid);
	mem = xopen(name, O_RDONLY);
	if (ptrace(PTRACE_SEIZE, *victim, NULL, NULL) || ptrace(PTRACE_INTERRUPT, *victim, NULL, NULL) ||
	    waitpid(*victim, &status, __WALL) < 0 || !WIFSTOPPED(status)) {
		printf("ptrace: %s\n", errname(errno));
		fflush(stdout);
		sh->failures++;
		_exit(1);
	}
	while (!sh->stop) {
		/* Of the half that is never written to. */
		size_t at = (rnd(&state) % SLOTS * SLOT_PAGES + rnd(&state) % SLOT_PAGES) * PAGE;

		posix_fadvise(fd, (off_t)at, SLOT, POSIX_FADV_DONTNEED);
		errno = 0;
		if (sh->count[FAULTER] & 1) {
			if (pread(mem, &word, 8, (off_t)(uintptr_t)(reader_map + at)) != 8 && !errno)
				errno = EIO;
		} else {
			word = (uint64_t)ptrace(PTRACE_PEEKDATA, *victim, reader_map + at, NULL);
		}
		pattern_fill(&want, 8, 1, at);
		if (errno || word != want) {
			printf("%s: %s\n", sh->count[FAULTER] & 1 ? name : "PTRACE_PEEKDATA",
			       errno ? errname(errno) : "wrong data");
			fflush(stdout);
			sh->failures++;
			break;
		}
		sh->count[FAULTER]++;
	}
	ptrace(PTRACE_DETACH, *victim, NULL, NULL);
	_exit(0);
}

static void *victim(void *arg)
{
	(void)arg;
	sh->victim = (pid_t)syscall(__NR_gettid);
	while (!sh->stop)
		usleep(10000);
	return NULL;
}

static void evictor(void)
{
	int fd = xopen(path, O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!sh->stop) {
		posix_fadvise(fd, 0, FILESIZE, POSIX_FADV_DONTNEED);
		sh->count[EVICTOR]++;
	}
	_exit(0);
}

static void *mapper(void *arg)
{
	int fd = xopen(path, O_RDWR);
	uint64_t state = 7;

	(void)arg;
	while (!sh->stop) {
		size_t at = rnd(&state) % (2 * SLOTS) * SLOT;
		unsigned char *m = mmap(NULL, SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
		unsigned char *a = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (m == MAP_FAILED || a == MAP_FAILED)
			die("mmap");
		if (rnd(&state) & 1)
			*(volatile unsigned char *)m;
		a[0] = 1;
		mprotect(a, PAGE, PROT_READ);
		munmap(m, SLOT);
		munmap(a, 64 * PAGE);
		sh->count[MAPPER]++;
	}
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	bool remote = false, traced = false, evict = false;
	unsigned int seconds = 3, writers = 1, patience = 10, still[WRITER + 16] = {0};
	uint64_t seen[WRITER + 16] = {0}, deadline;
	const char *tf = getenv("TIME_FACTOR");
	pthread_t t[20];
	unsigned int nt = 0;
	pid_t kids[3];
	unsigned int nkids = 0;
	unsigned char *b;
	int opt, fd;

	while ((opt = getopt(argc, argv, "t:w:rpeP")) != -1) {
		switch (opt) {
		case 't': seconds = parse_size(optarg); break;
		case 'w': writers = parse_size(optarg); break;
		case 'r': remote = true; break;
		case 'p': traced = true; break;
		case 'e': evict = true; break;
		case 'P': private = true; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || writers > 8)
		die("usage: threads [options] FILE");
	if (tf && atoi(tf) > 0)
		patience *= (unsigned int)atoi(tf);
	path = argv[optind];
	setvbuf(stdout, NULL, _IOLBF, 0);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC);
	b = xalloc(FILESIZE);
	pattern_fill(b, FILESIZE, 1, 0);
	pwrite_all(fd, b, FILESIZE, 0);
	if (fsync(fd))
		die("fsync");
	reader_map = mmap(NULL, FILESIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (reader_map == MAP_FAILED)
		die("mmap");

	if (remote) {
		pid_t parent = getpid();

		kids[nkids] = fork();
		if (!kids[nkids++])
			remote_faulter(parent);
	}
	if (traced) {
		pid_t parent = getpid();

		kids[nkids] = fork();
		if (!kids[nkids++])
			tracer(parent, &sh->victim);
	}
	if (evict) {
		kids[nkids] = fork();
		if (!kids[nkids++])
			evictor();
	}
	errno = 0;
	for (unsigned int i = 0; i < writers && !errno; i++)
		errno = pthread_create(&t[nt++], NULL, writer, (void *)(intptr_t)i);
	if (!remote && !traced)
		errno = errno ? errno : pthread_create(&t[nt++], NULL, faulter, NULL);
	if (traced)
		errno = errno ? errno : pthread_create(&t[nt++], NULL, victim, NULL);
	errno = errno ? errno : pthread_create(&t[nt++], NULL, mapper, NULL);
	if (errno)
		die("pthread_create");

	deadline = now_ns() + seconds * 1000000000ull;
	for (;;) {
		unsigned int i;

		usleep(100000);
		if (sh->failures) {
			_exit(1);
		}
		for (i = 0; i < WRITER + writers; i++) {
			if (i == EVICTOR && !evict)
				continue;
			if (sh->count[i] != seen[i]) {
				seen[i] = sh->count[i];
				still[i] = 0;
			} else if (++still[i] > patience * 10) {
				printf("HANG: the %s stands still after %llu rounds\n",
				       names[i < WRITER ? i : WRITER], (unsigned long long)seen[i]);
				_exit(1);
			}
		}
		if (now_ns() < deadline)
			continue;
		/* Everybody has come round at least once: otherwise keep waiting for that, or for the hang. */
		for (i = 0; i < WRITER + writers; i++)
			if (!seen[i] && (i != EVICTOR || evict))
				break;
		if (i == WRITER + writers)
			break;
	}
	sh->stop = true;
	for (unsigned int i = 0; i < nt; i++)
		pthread_join(t[i], NULL);
	for (unsigned int i = 0; i < nkids; i++) {
		int status;

		if (waitpid(kids[i], &status, 0) != kids[i] || status)
			sh->failures++;
	}
	if (getenv("VERBOSE"))
		fprintf(stderr, "writer %llu faulter %llu mapper %llu evictor %llu\n",
			(unsigned long long)sh->count[WRITER], (unsigned long long)sh->count[FAULTER],
			(unsigned long long)sh->count[MAPPER], (unsigned long long)sh->count[EVICTOR]);
	if (sh->failures)
		return 1;
	printf("threads: ok\n");
	return 0;
}
