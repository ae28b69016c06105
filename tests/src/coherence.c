// SPDX-License-Identifier: GPL-2.0
/*
 * Does anybody ever see what a direct write that has returned had replaced?
 *
 *	coherence [-t SECONDS] [-w WRITERS] [-r READERS-OF-EACH-KIND] [-b BLOCKS] [-M] [-s] [-a] [-e ENGINE] FILE
 *
 * Every word of a block holds the block's version. A block belongs to one writer, which publishes the version it is
 * about to write (begun), writes it directly, and publishes that it is on the device (done). A reader takes `done`,
 * loads the block (by read, through a mapping, or directly), takes `begun`: every word has to lie between the two. One
 * process evicts and reads ahead at random. -M leaves the mapped readers out, -s the writers' buffers are in the
 * same file (disjoint). Exit status 1 and a line for each of the first stale blocks, if there are any.
 */
#include "async.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MAXBLOCKS 1024u
#define RUN 4u			/* blocks that one write covers at most */

enum kind { READ, MAP, DIRECT, KINDS };
static const char *const kind_names[] = { "read", "mmap", "direct read" };

static struct shared {
	_Atomic uint64_t begun[MAXBLOCKS], done[MAXBLOCKS];
	_Atomic uint64_t writes, reads[KINDS], stale[KINDS], advised;
	_Atomic int errors;
	atomic_bool stop;
} *sh;

static const char *path;
static unsigned int blocks = 64, writers = 2;
static bool self, ahead;
static enum engine engine;

static void error(const char *what, long ret)
{
	printf("%s: %ld %s\n", what, ret, ret < 0 ? errname(errno) : "");
	fflush(stdout);
	sh->errors++;
	sh->stop = true;
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
	}
	if (ahead) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
		if (m)
			madvise((void *)m, blocks * PAGE, MADV_SEQUENTIAL);
	}
	for (unsigned int turn = 0; !sh->stop; turn++) {
		unsigned int b = ahead ? turn % blocks : (unsigned int)(rnd(&state) % blocks);
		uint64_t done, begun, bad = 0;
		unsigned int at = 0;
		ssize_t ret;

		if (ahead && !b) {
			if (m)
				madvise((void *)m, blocks * PAGE, MADV_DONTNEED);
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		done = atomic_load(&sh->done[b]);
		if (kind == MAP) {
			for (unsigned int i = 0; i < PAGE / 8; i++)
				buf[i] = m[b * (PAGE / 8) + i];
		} else {
			ret = pread(fd, buf, PAGE, (off_t)(b * PAGE));
			if (ret != (ssize_t)PAGE) {
				error("read", ret);
				break;
			}
		}
		begun = atomic_load(&sh->begun[b]);
		for (unsigned int i = 0; i < PAGE / 8; i++) {
			if (buf[i] < done || buf[i] > begun) {
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
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		return true;
	}
	nkids++;
	return false;
}

int main(int argc, char **argv)
{
	unsigned int seconds = 3, readers = 1;
	bool mapped = true;
	int opt, fd, bad = 0;
	uint64_t *b;

	while ((opt = getopt(argc, argv, "t:w:r:b:Msae:")) != -1) {
		switch (opt) {
		case 't': seconds = parse_size(optarg); break;
		case 'w': writers = parse_size(optarg); break;
		case 'r': readers = parse_size(optarg); break;
		case 'b': blocks = parse_size(optarg); break;
		case 'M': mapped = false; break;
		case 'e': engine = engine_of(optarg); break;
		case 'a': ahead = true; break;
		case 's': self = true; break;
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
	b = xalloc(2 * blocks * PAGE);
	for (size_t i = 0; i < 2 * blocks * PAGE / 8; i++)
		b[i] = 1;
	for (unsigned int i = 0; i < blocks; i++)
		sh->begun[i] = sh->done[i] = 1;
	pwrite_all(fd, b, 2 * blocks * PAGE, 0);
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
	for (unsigned int i = 0; i < seconds * 10 && !sh->stop; i++)
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
	fprintf(stderr, "\n");
	if (!sh->writes) {
		printf("nobody came to write\n");
		bad = 1;
	}
	if (bad || sh->errors)
		return 1;
	printf("coherence: ok\n");
	return 0;
}
