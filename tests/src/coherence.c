// SPDX-License-Identifier: GPL-2.0
/*
 * Does anybody ever see what a direct write that has returned had replaced?
 *
 *	coherence [-t SECONDS] [-w WRITERS] [-r READERS-OF-EACH-KIND] [-b BLOCKS] [-M] [-s] [-a] [-z] [-e ENGINE] FILE
 *
 * Every word of a block holds the block's version. A block belongs to one writer, which publishes the version it is
 * about to write (begun), writes it directly, and publishes that it is on the device (done). A reader takes `done`,
 * loads the block (by read, through a mapping, or directly), takes `begun`: every word has to lie between the two. One
 * process evicts and reads ahead at random. -M leaves the mapped readers out, -s the writers' buffers are in the
 * same file (disjoint). -a the readers run through the file, which was dropped from the cache before, with all
 * read-ahead there is; those with a mapping must have met page faults, and pages that came in before anybody touched them.
 * -z the writers punch and zero their blocks as well, by fallocate, and whoever has the last ones truncates the file in
 * them: zeroes are a version like any other. Exit status 1 and a line for each of the first stale blocks, if there are any.
 */
#include "async.h"
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define MAXBLOCKS 1024u
#define RUN 4u			/* blocks that one write covers at most */

enum kind { READ, MAP, DIRECT, KINDS };
static const char *const kind_names[] = { "read", "mmap", "direct read" };

static struct shared {
	_Atomic uint64_t begun[MAXBLOCKS], done[MAXBLOCKS];
	/* The last version of a block that was, or may have been, zeroes. */
	_Atomic uint64_t zeroes[MAXBLOCKS];
	_Atomic uint64_t writes, reads[KINDS], stale[KINDS], advised, punched, truncated, zeroes_seen, faults, ahead;
	_Atomic int errors;
	atomic_bool stop;
} *sh;

static const char *path;
static unsigned int blocks = 64, writers = 2;
static bool self, ahead, zero, mapped = true;
static enum engine engine;

static void error(const char *what, long ret)
{
	printf("%s: %ld %s\n", what, ret, ret < 0 ? errname(errno) : "");
	fflush(stdout);
	sh->errors++;
	sh->stop = true;
}

/*
 * Makes a run of blocks zeroes, as `version` of them: in one of three ways by fallocate, or, if `last`, by cutting the file
 * in their middle, between two words, and making it long again.
 */
static void erase(int fd, unsigned int first, uint64_t version, bool last, uint64_t *state)
{
	off_t at = (off_t)(first * PAGE), len = RUN * PAGE, cut = (off_t)(rnd(state) % RUN * PAGE + rnd(state) % PAGE / 8 * 8);
	static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE };
	unsigned int from = last ? (unsigned int)(cut / (off_t)PAGE) : 0;

	for (unsigned int i = from; i < RUN; i++) {
		atomic_store(&sh->zeroes[first + i], version);
		atomic_store(&sh->begun[first + i], version);
	}
	if (last) {
		if (ftruncate(fd, at + cut) || ftruncate(fd, at + len))
			error("truncate", -errno);
		sh->truncated++;
	} else {
		if (fallocate(fd, modes[rnd(state) % 3], at, len))
			error("fallocate", -errno);
		sh->punched++;
	}
	/* Of a block that was cut only the end is new: it stays at the version before, too. */
	for (unsigned int i = last && cut % (off_t)PAGE ? from + 1 : from; i < RUN; i++)
		atomic_store(&sh->done[first + i], version);
}

/* Runs of RUN blocks are dealt to the writers in turn; at most one write to a run is in flight. */
static void writer(unsigned int me)
{
	int fd = xopen(path, O_RDWR | O_DIRECT), mfd = xopen(path, O_RDWR);
	uint64_t state = me + 100, version = 1;
	unsigned int own = blocks / RUN / writers, depth = engine == SYNC ? 1 : own < 32 ? own : 32;
	struct { bool busy; unsigned int first, n; uint64_t version; } flight[MAXBLOCKS / RUN] = {0};
	size_t area_len = own * RUN * PAGE;
	/* With -s the buffers are behind the blocks, a piece for each run. */
	off_t area = (off_t)((blocks + me * own * RUN) * PAGE);
	static struct queue q;
	uint64_t *buf, tag;
	int err;

	if (self)
		buf = mmap(NULL, area_len, PROT_READ | PROT_WRITE, MAP_SHARED, mfd, area);
	else
		buf = mmap(NULL, area_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED)
		die("mmap");
	queue_init(&q, engine);
	if (engine == FIXED && (err = queue_register(&q, buf, area_len))) {
		errno = err;
		die("register");
	}
	while (!sh->stop || q.inflight) {
		unsigned int mine = (unsigned int)(rnd(&state) % own), run = mine * writers + me;
		unsigned int first = run * RUN + (unsigned int)(rnd(&state) % RUN);
		unsigned int n = 1 + (unsigned int)(rnd(&state) % (run * RUN + RUN - first));
		uint64_t *src = buf + mine * RUN * (PAGE / 8);
		struct iovec iov = { src, n * PAGE };
		long ret;

		if (!sh->stop && !flight[mine].busy && q.inflight < depth) {
			version++;
			if (zero && rnd(&state) % 8 == 0) {
				bool last = !self && run * RUN + RUN == blocks;

				erase(fd, run * RUN, version, last && rnd(&state) % 2, &state);
				version++;
			}
			for (unsigned int i = 0; i < n * PAGE / 8; i++)
				src[i] = version;
			if (self && rnd(&state) % 2) {
				msync(src, RUN * PAGE, MS_SYNC);
				posix_fadvise(mfd, area + (off_t)(mine * RUN * PAGE), RUN * PAGE,
					      POSIX_FADV_DONTNEED);
			}
			for (unsigned int i = 0; i < n; i++)
				atomic_store(&sh->begun[first + i], version);
			flight[mine].busy = true;
			flight[mine].first = first;
			flight[mine].n = n;
			flight[mine].version = version;
			queue_submit(&q, true, fd, &iov, 1, first * PAGE, mine);
			if (q.inflight < depth && rnd(&state) % 8)
				continue;
		}
		if (!q.inflight)
			continue;
		ret = queue_wait(&q, &tag);
		mine = (unsigned int)tag;
		if (ret != (long)(flight[mine].n * PAGE)) {
			errno = ret < 0 ? (int)-ret : 0;
			error("direct write", ret);
			break;
		}
		for (unsigned int i = 0; i < flight[mine].n; i++)
			atomic_store(&sh->done[flight[mine].first + i], flight[mine].version);
		flight[mine].busy = false;
		sh->writes++;
	}
	queue_exit(&q);
	_exit(0);
}

static sigjmp_buf beyond;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(beyond, 1);
}

/* A block through the mapping, zeroes where the file has been cut off. */
static void load(uint64_t *buf, const volatile uint64_t *m)
{
	memset(buf, 0, PAGE);
	if (sigsetjmp(beyond, 1))
		return;
	for (unsigned int i = 0; i < PAGE / 8; i++)
		buf[i] = m[i];
}

static void reader(enum kind kind, unsigned int me)
{
	int fd = xopen(path, kind == DIRECT ? O_RDONLY | O_DIRECT : O_RDONLY);
	uint64_t state = 1000 + 10 * me + kind;
	uint64_t *buf = xalloc(PAGE);
	const volatile uint64_t *m = NULL;

	if (kind == MAP) {
		m = mmap(NULL, blocks * PAGE, PROT_READ, MAP_SHARED, fd, 0);
		if (m == MAP_FAILED)
			die("mmap");
		if (zero)
			signal(SIGBUS, on_sigbus);
	}
	if (ahead) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		if (m)
			madvise((void *)m, blocks * PAGE, MADV_SEQUENTIAL);
	}
	for (unsigned int turn = 0; !sh->stop; turn++) {
		unsigned int b = ahead ? turn % blocks : (unsigned int)(rnd(&state) % blocks);
		uint64_t done, begun, zeroes, bad = 0;
		unsigned int at = 0;
		ssize_t ret;

		if (ahead && !b) {
			if (m)
				madvise((void *)m, blocks * PAGE, MADV_DONTNEED);
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		done = atomic_load(&sh->done[b]);
		if (kind == MAP) {
			struct cachestat_ cs;
			struct rusage ru;
			long faults = 0;

			/*
			 * User-mode Linux takes pages away from a process on another CPU when that next enters the
			 * kernel: it does so now, before it looks.
			 */
			syscall(__NR_getppid);
			/* A page that this task faults in, and that others come along with. */
			if (ahead) {
				getrusage(RUSAGE_SELF, &ru);
				faults = ru.ru_majflt;
			}
			load(buf, m + b * (PAGE / 8));
			if (ahead) {
				getrusage(RUSAGE_SELF, &ru);
				if (ru.ru_majflt > faults) {
					sh->faults++;
					if (b + 1 < blocks && cachestat_of(fd, (b + 1) * PAGE, PAGE, &cs) && cs.cached)
						sh->ahead++;
				}
			}
		} else {
			ret = pread(fd, buf, PAGE, (off_t)(b * PAGE));
			if (zero && ret >= 0 && ret < (ssize_t)PAGE) {
				memset((char *)buf + ret, 0, PAGE - (size_t)ret);
			} else if (ret != (ssize_t)PAGE) {
				error("read", ret);
				break;
			}
		}
		zeroes = atomic_load(&sh->zeroes[b]);
		begun = atomic_load(&sh->begun[b]);
		if (zero && !buf[PAGE / 8 - 1])
			sh->zeroes_seen++;
		for (unsigned int i = 0; i < PAGE / 8; i++) {
			if (buf[i] ? buf[i] < done || buf[i] > begun : !zeroes || zeroes < done) {
				if (!bad++)
					at = i;
			}
		}
		sh->reads[kind]++;
		if (bad && sh->stale[kind]++ < 3) {
			printf("STALE %s: block %u, %llu of 512 words, the first, at %u, has version %llu, done before %llu, begun after %llu\n",
			       kind_names[kind], b, (unsigned long long)bad, at, (unsigned long long)buf[at],
			       (unsigned long long)done, (unsigned long long)begun);
			fflush(stdout);
		}
	}
	_exit(0);
}

static void adviser(void)
{
	int fd = xopen(path, O_RDONLY);
	uint64_t state = 4711;

	while (!sh->stop) {
		off_t at = (off_t)(rnd(&state) % blocks * PAGE);
		off_t len = (off_t)((1 + rnd(&state) % 32) * PAGE);

		switch (rnd(&state) % 4) {
		case 0: posix_fadvise(fd, at, len, POSIX_FADV_DONTNEED); break;
		case 1: posix_fadvise(fd, at, len, POSIX_FADV_WILLNEED); break;
		case 2: readahead(fd, at, (size_t)len); break;
		case 3: posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); break;
		}
		sh->advised++;
		usleep(100);
	}
	_exit(0);
}

static unsigned int nkids;

static bool spawn(void)
{
	if (!xfork())
		return true;
	nkids++;
	return false;
}

/* Whether what -a and -z are for has happened. */
static bool faulted(void)
{
	return !ahead || !mapped || (sh->faults >= 10 && sh->ahead);
}

static bool erased(void)
{
	return !zero || (sh->punched >= 5 && sh->zeroes_seen && (self || sh->truncated));
}

static bool met(void)
{
	return faulted() && erased();
}

int main(int argc, char **argv)
{
	unsigned int seconds = 3, readers = 1;
	int opt, fd, bad = 0;
	uint64_t *b;
	size_t len;

	while ((opt = getopt(argc, argv, "t:w:r:b:Msaze:")) != -1) {
		switch (opt) {
		case 't': seconds = parse_size(optarg); break;
		case 'w': writers = parse_size(optarg); break;
		case 'r': readers = parse_size(optarg); break;
		case 'b': blocks = parse_size(optarg); break;
		case 'M': mapped = false; break;
		case 'e': engine = engine_of(optarg); break;
		case 'a': ahead = true; break;
		case 's': self = true; break;
		case 'z': zero = true; break;
		default: return 2;
		}
	}
	if (optind + 1 != argc || !writers || blocks > MAXBLOCKS || blocks % RUN || blocks / RUN % writers)
		die("usage: coherence [options] FILE");
	path = argv[optind];
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	fd = xopen(path, O_RDWR | O_CREAT | O_TRUNC);
	/* With -s the second half holds the buffers. */
	len = (self ? 2 : 1) * blocks * PAGE;
	b = xalloc(len);
	for (size_t i = 0; i < len / 8; i++)
		b[i] = 1;
	for (unsigned int i = 0; i < blocks; i++)
		sh->begun[i] = sh->done[i] = 1;
	pwrite_all(fd, b, len, 0);
	if (fsync(fd))
		die("fsync");
	close(fd);

	for (unsigned int i = 0; i < writers; i++)
		if (spawn())
			writer(i);
	for (unsigned int i = 0; i < readers; i++)
		for (int k = 0; k < KINDS; k++)
			if ((k != MAP || mapped) && spawn())
				reader((enum kind)k, i);
	if (spawn())
		adviser();
	/* Longer, if what has to happen has not yet. */
	for (unsigned int i = 0; (i < seconds * 10 || (i < seconds * 60 && !met())) && !sh->stop; i++)
		usleep(100000);
	sh->stop = true;
	while (nkids--) {
		int status;

		if (wait(&status) < 0 || status)
			bad = 1;
	}
	fprintf(stderr, "%llu direct writes, %llu evictions and read-aheads;", (unsigned long long)sh->writes,
		(unsigned long long)sh->advised);
	for (int k = 0; k < KINDS; k++) {
		fprintf(stderr, " %s: %llu, %llu stale;", kind_names[k], (unsigned long long)sh->reads[k],
			(unsigned long long)sh->stale[k]);
		if (sh->stale[k]) {
			printf("%s: %llu of %llu stale\n", kind_names[k], (unsigned long long)sh->stale[k],
			       (unsigned long long)sh->reads[k]);
			bad = 1;
		}
		if (!sh->reads[k] && (k != MAP || mapped)) {
			printf("%s: nobody came to read\n", kind_names[k]);
			bad = 1;
		}
	}
	fprintf(stderr, " %llu faults, %llu with the next page; %llu punched, %llu truncated, %llu seen as zeroes\n",
		(unsigned long long)sh->faults, (unsigned long long)sh->ahead, (unsigned long long)sh->punched,
		(unsigned long long)sh->truncated, (unsigned long long)sh->zeroes_seen);
	if (!faulted()) {
		printf("%llu page faults, and %llu times the next page came with one\n",
		       (unsigned long long)sh->faults, (unsigned long long)sh->ahead);
		bad = 1;
	}
	if (!erased()) {
		printf("punched %llu times, truncated %llu times, zeroes seen %llu times\n",
		       (unsigned long long)sh->punched, (unsigned long long)sh->truncated,
		       (unsigned long long)sh->zeroes_seen);
		bad = 1;
	}
	if (!sh->writes) {
		printf("nobody came to write\n");
		bad = 1;
	}
	if (bad || sh->errors)
		return 1;
	printf("coherence: ok\n");
	return 0;
}
