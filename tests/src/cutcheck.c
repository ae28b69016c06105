// SPDX-License-Identifier: GPL-2.0
/*
 * Cuts the power in a recorded stream of writes, mounts what is left, and looks for what was
 * promised.
 *
 *	cutcheck [OPTION]... RECORD LOG BASE IMAGE DEVICE DIR
 *
 *	-t TYPE    the file system (toyfs)
 *	-a N       besides a cut at every write, with all before it in order: N variants of each
 *	           where the cache of the device was volatile
 *	-n N       N cuts at random, each a variant, instead
 *	-s SEED    determines what is random
 *	-c CUT     only this one: WRITE or WRITE.VARIANT
 *	-j N/M     only every Mth of them, from the Nth on: for several that run at once
 *	-T BYTES   what the device writes all of or nothing of (512)
 *	-p         changes of names come in the order in which they were made: the names are those
 *	           after one of the operations
 *	-d         fdatasync(2) and O_DSYNC promise nothing about names, and -o sync nothing about
 *	           ftruncate(2)
 *	-f N       fsck is asked before every Nth mount, too (4; 0: before none)
 *	-r         and must find nothing wrong then, as if it had replayed the journal
 *	-k         only make the image of the CUT
 *	-b OP      BASE is such an image, of a cut after that operation, and LOG what was written
 *	           when it was mounted
 *	-v N       tell so many violations (20)
 *
 * RECORD is what cutwork wrote, LOG the log of dm-log-writes, BASE what the device held when that
 * began. DEVICE is a loop device on the file IMAGE, which is made what the device would be after
 * the cut, and mounted on DIR.
 *
 * What a cut leaves: what was flushed, or written with FUA, before the cut. Of what was written
 * since the last flush, with variant 0, all; with others a part, each block of it by itself: not
 * at all, or in full, or torn, its first sectors new and the rest old. Where two writes of the
 * same place are there, the later one was last. The write at which it happens is in flight,
 * whatever it is.
 *
 * What must be there: what operations promised whose mark comes before the cut. What was done
 * later may be there: all that is looked at has a history, and must be what it was at the promise
 * or what it became since. So a sector that shows another file's data, or a version of its own
 * that was given up before the promise, is always wrong.
 */
#include "cuts.h"

#include <dirent.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#define BLOCK 4096u
#define FLUSH 1u
#define FUA 2u
#define DISCARD 4u
#define MARK 8u
#define BUF (4u << 20)

/* ---- Growing arrays ---- */

#define VEC(type) struct { type *v; size_t n, room; }
#define push(vec, ...)									\
	do {										\
		if ((vec)->n == (vec)->room) {						\
			(vec)->room = (vec)->room ? 2 * (vec)->room : 4;		\
			(vec)->v = realloc((vec)->v, (vec)->room * sizeof(*(vec)->v));	\
			if (!(vec)->v)							\
				die("out of memory");					\
		}									\
		(vec)->v[(vec)->n++] = (typeof(*(vec)->v)) { __VA_ARGS__ };		\
	} while (0)

typedef VEC(uint32_t) ops_t;

/* The last of these operations that is not behind `op`, or 0. */
static uint32_t last_of(const ops_t *ops, uint32_t op)
{
	uint32_t last = 0;

	for (size_t i = 0; i < ops->n && ops->v[i] <= op; i++)
		last = ops->v[i];
	return last;
}

/* ---- What can be wrong ---- */

static const char *const kinds[] = {
	"mount", "fsck", "fsck before", "names", "order",
	"size", "data", "foreign", "read", "space",
};

enum kind { MOUNT, FSCK, BEFORE, NAMES, ORDER, SIZE, DATA, FOREIGN, READ, SPACE, NKINDS };

/* ---- What the record says ---- */

/*
 * What a sector holds since operation `op`: the first `len` bytes that operation `stamp` wrote,
 * and zeroes.
 */
struct version {
	uint32_t op;
	uint32_t stamp;
	uint32_t len;
};

/* What the size is since operation `op`. While it was done, it was anything from `from` on. */
struct size {
	uint32_t op;
	uint64_t from;
	uint64_t size;
};

struct range {
	uint32_t op;
	uint64_t off;
	uint64_t len;
};

struct file {
	uint64_t ino;
	bool dir;
	uint64_t size;
	VEC(VEC(struct version)) sectors;
	VEC(struct size) sizes;
	ops_t promised;
	VEC(struct range) ranges;
};

/* The name leads to this file since that operation; 0: to none. */
struct leads {
	uint32_t op;
	uint32_t file;
};

struct name {
	char path[PATH_MAX_];
	uint32_t now;
	VEC(struct leads) history;
	ops_t promised;
};

/* What is done from operation `op` on. */
struct part {
	uint32_t op;
	char name[16];
	unsigned long counts[NKINDS];
};

static VEC(struct file) files;
static VEC(struct part) parts;
static VEC(struct name) names;
/* By operation: the names after it. */
static VEC(uint64_t) states;
static ops_t all_promised, names_promised;
static struct tree tree;
static uint32_t nops;
static bool less;

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint64_t name_hash(const char *path, uint64_t ino)
{
	uint64_t h = ino + 1;

	for (; *path; path++)
		h = mix(h * 257 + (unsigned char)*path);
	return mix(h);
}

static struct name *name_of(const char *path)
{
	for (size_t i = 0; i < names.n; i++)
		if (!strcmp(names.v[i].path, path))
			return &names.v[i];
	push(&names, .now = 0);
	snprintf(names.v[names.n - 1].path, PATH_MAX_, "%s", path);
	return &names.v[names.n - 1];
}

/* The names have changed with operation `op`. */
static void names_changed(uint32_t op)
{
	uint64_t hash = 0;
	uint32_t *now;
	char path[PATH_MAX_];

	for (size_t i = 0; i < tree.count; i++) {
		tree_path(&tree, &tree.entries[i], path);
		name_of(path);
		hash += name_hash(path, files.v[tree.entries[i].file].ino);
	}
	now = calloc(names.n + 1, sizeof(*now));
	if (!now)
		die("out of memory");
	for (size_t i = 0; i < tree.count; i++) {
		tree_path(&tree, &tree.entries[i], path);
		now[name_of(path) - names.v] = tree.entries[i].file;
	}
	for (size_t i = 0; i < names.n; i++) {
		struct name *n = &names.v[i];

		if (n->now == now[i])
			continue;
		n->now = now[i];
		push(&n->history, op, now[i]);
	}
	free(now);
	states.v[op] = hash;
}

/* Every name that leads to the file, and to what it is in. */
static void promise_names(uint32_t op, uint32_t id)
{
	for (size_t i = 0; i < names.n; i++) {
		struct name *n = &names.v[i];
		size_t len = strlen(n->path);
		bool promised = n->now == id;

		for (size_t k = 0; k < names.n && !promised; k++) {
			const char *path = names.v[k].path;

			promised = n->now && names.v[k].now == id &&
				   !strncmp(path, n->path, len) && path[len] == '/';
		}
		if (promised)
			push(&n->promised, op);
	}
}

/* What is in the directory, and what no longer is. */
static void promise_entries(uint32_t op, uint32_t id)
{
	char parent[PATH_MAX_];

	promise_names(op, id);
	for (size_t i = 0; i < names.n; i++) {
		struct name *n = &names.v[i];
		char *slash;

		memcpy(parent, n->path, PATH_MAX_);
		slash = strrchr(parent, '/');
		if (slash)
			*slash = 0;
		if (tree_find(&tree, slash ? parent : ".") == id)
			push(&n->promised, op);
	}
}

static void set_size(struct file *f, uint32_t op, uint64_t from, uint64_t size)
{
	push(&f->sizes, op, from, size);
	f->size = size;
}

/* A range of sectors holds what operation `stamp` wrote (0: zeroes); the last one up to `end`. */
static void set_sectors(struct file *f, uint32_t op, uint32_t stamp, uint64_t off, uint64_t end)
{
	for (uint64_t s = off / SECTOR; s * SECTOR < end; s++) {
		uint64_t rest = end - s * SECTOR;
		uint32_t len = rest < SECTOR ? (uint32_t)rest : SECTOR;

		while (f->sectors.n <= s)
			push(&f->sectors, .n = 0);
		push(&f->sectors.v[s], op, stamp, stamp ? len : 0);
	}
}

static void cut_off(struct file *f, uint32_t op, uint64_t size)
{
	for (uint64_t s = size / SECTOR; s < f->sectors.n; s++) {
		typeof(f->sectors.v) sector = &f->sectors.v[s];
		uint32_t rest = s == size / SECTOR ? size % SECTOR : 0;
		struct version last;

		if (!sector->n)
			continue;
		last = sector->v[sector->n - 1];
		if (last.len > rest)
			push(sector, op, rest ? last.stamp : 0, rest);
	}
}

static void read_record(const char *path)
{
	FILE *in = fopen(path, "r");
	char line[4 * PATH_MAX_], what[16], a[PATH_MAX_], b[PATH_MAX_];
	unsigned long long x, y;
	bool sync_mode = false, dirsync_mode = false;
	uint32_t id;

	if (!in)
		die("%s", path);
	for (id = 0; id <= ROOT_ID; id++)
		push(&files, .dir = true);
	push(&states, 0);
	while (fgets(line, sizeof(line), in)) {
		bool renamed = false, promise = sync_mode;
		struct file *f;
		uint32_t op;
		int at, more;
		char how;

		errno = 0;
		if (sscanf(line, "%u %15s%n", &op, what, &at) != 2)
			die("%s: what is '%s'", path, line);
		if (!strcmp(what, "mode")) {
			sscanf(line + at, "%511s %llu", a, &x);
			sync_mode = !strcmp(a, "sync");
			dirsync_mode = !strcmp(a, "dirsync");
			files.v[ROOT_ID].ino = x;
			continue;
		}
		if (!strcmp(what, "case")) {
			push(&parts, .op = op);
			sscanf(line + at, "%15s", parts.v[parts.n - 1].name);
			continue;
		}
		push(&states, states.v[states.n - 1]);
		nops = op;
		if (states.n != op + 1)
			die("%s: operation %u is missing", path, op - 1);
		id = 0;
		if (!strcmp(what, "create") || !strcmp(what, "mkdir")) {
			if (sscanf(line + at, "%u %llu %511s", &id, &x, a) != 3 || id != files.n)
				die("%s: %s", path, line);
			push(&files, .ino = x, .dir = *what == 'm');
			tree_set(&tree, a, id);
			renamed = true;
		} else if (!strcmp(what, "unlink")) {
			if (sscanf(line + at, "%511s", a) != 1)
				die("%s: %s", path, line);
			tree_remove(&tree, a);
			renamed = true;
		} else if (!strcmp(what, "rename") || !strcmp(what, "link")) {
			if (sscanf(line + at, "%511s %511s", a, b) != 2)
				die("%s: %s", path, line);
			if (*what == 'r')
				tree_rename(&tree, a, b);
			else
				tree_set(&tree, b, tree_find(&tree, a));
			renamed = true;
		} else if (!strcmp(what, "sync")) {
			push(&all_promised, op);
			push(&names_promised, op);
		} else {
			if (sscanf(line + at, "%u%n", &id, &more) != 1 || id >= files.n)
				die("%s: %s", path, line);
			at += more;
		}
		if (renamed) {
			names_changed(op);
			if (dirsync_mode || sync_mode)
				push(&names_promised, op);
			continue;
		}
		f = &files.v[id];
		if (!strcmp(what, "write")) {
			if (sscanf(line + at, "%llu %llu %c", &x, &y, &how) != 3)
				die("%s: %s", path, line);
			set_sectors(f, op, op, x, x + y);
			if (x + y > f->size)
				set_size(f, op, f->size, x + y);
			if (how == 'm')
				promise = false;
			if (strchr("BD", how)) {
				push(&f->ranges, op, x, y);
				if (!less)
					promise_names(op, id);
			}
		} else if (!strcmp(what, "truncate")) {
			if (sscanf(line + at, "%llu", &x) != 1)
				die("%s: %s", path, line);
			if (x < f->size)
				cut_off(f, op, x);
			set_size(f, op, x, x);
			if (less)
				promise = false;
		} else if (!strcmp(what, "zero")) {
			if (sscanf(line + at, "%llu %llu", &x, &y) != 2)
				die("%s: %s", path, line);
			set_sectors(f, op, 0, x, x + y);
		} else if (!strcmp(what, "allocate")) {
			if (sscanf(line + at, "%llu", &x) != 1)
				die("%s: %s", path, line);
			if (x != f->size)
				set_size(f, op, f->size, x);
		} else if (!strcmp(what, "fsync") || !strcmp(what, "fdatasync")) {
			promise = true;
			if (f->dir)
				promise_entries(op, id);
			else if (what[1] == 's' || !less)
				promise_names(op, id);
		}
		if (promise && id)
			push(&f->promised, op);
	}
	fclose(in);
	/* The unmount promises all. */
	push(&states, states.v[states.n - 1]);
	nops++;
	push(&all_promised, nops);
	push(&names_promised, nops);
}

/* ---- What the log says ---- */

struct write {
	uint64_t off, len;
	uint32_t flags;
	const unsigned char *data;
	/* The last operation that was over, and marked. */
	uint32_t op;
};

static VEC(struct write) writes;
static size_t image_size;
static uint64_t log_end;

/*
 * At 0: magic, version, entries (8 bytes each), size of a sector (4). From the next sector on:
 * place, length, both in sectors, flags, length of a mark (8 bytes each), and behind that in the
 * same sector the text of a mark; then, but for a discard, the data. What was flushed comes before
 * the flush, in the order in which it was completed.
 */
static void read_log(const char *path, uint32_t op)
{
	int fd = xopen(path, O_RDONLY);
	off_t size = lseek(fd, 0, SEEK_END);
	const unsigned char *log = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0);
	const uint64_t *head = (const void *)log;
	uint64_t unit, at;
	bool ended = false;

	if (log == MAP_FAILED)
		die("mmap %s", path);
	errno = 0;
	if (head[0] != 0x6a736677736872ull || head[1] != 1)
		die("%s is no log of dm-log-writes", path);
	unit = *(const uint32_t *)(head + 3);
	at = unit;
	for (uint64_t i = 0; i < head[2]; i++) {
		const uint64_t *e = (const void *)(log + at);
		uint32_t flags = (uint32_t)e[2];

		at += unit;
		if (flags & MARK) {
			const char *text = (const char *)(e + 4);
			char *end;
			unsigned long number = strtoul(text, &end, 10);

			if (end != text)
				op = (uint32_t)number;
			else if (!strncmp(text, "unmounted", 9))
				op = nops;
			else if (!strncmp(text, "dm-log-writes-end", 17))
				ended = true;
			continue;
		}
		if (e[0] * unit + e[1] * unit > image_size)
			die("%s: entry %llu is behind the end of the device", path,
			    (unsigned long long)i);
		push(&writes, e[0] * unit, e[1] * unit, flags, log + at, op);
		if (!(flags & DISCARD))
			at += e[1] * unit;
		if (at > (uint64_t)size)
			die("%s ends in entry %llu", path, (unsigned long long)i);
	}
	if (!ended)
		die("%s is not complete", path);
	log_end = at;
}

/* ---- What a cut leaves ---- */

static unsigned char *durable, *image;
static uint64_t tear = SECTOR;

static void apply_part(unsigned char *to, const struct write *w, uint64_t off, uint64_t len)
{
	if (w->flags & DISCARD)
		memset(to + w->off + off, 0, len);
	else
		memcpy(to + w->off + off, w->data + off, len);
}

/*
 * What of a write that nothing has made durable has come to the medium. The hash tells one outcome
 * from another.
 */
static void apply_some(const struct write *w, uint64_t *random, unsigned int chance, bool whole,
		       uint64_t *hash)
{
	bool there = rnd(random) % 8 < chance;

	for (uint64_t off = 0; off < w->len; off += BLOCK) {
		uint64_t len = w->len - off < BLOCK ? w->len - off : BLOCK;

		if (!whole)
			there = rnd(random) % 8 < chance;
		if (rnd(random) % 8 == 0 && len > tear)
			len = rnd(random) % (len / tear) * tear;
		else if (!there)
			len = 0;
		if (len)
			apply_part(image, w, off, len);
		*hash = mix(*hash * 31 + len);
	}
}

/*
 * Makes the image what is left after a cut at write `n`, in that variant; `from` is the first
 * write that is not durable. Returns what this outcome may be told by.
 */
static uint64_t cut(size_t from, size_t n, unsigned int variant, uint64_t seed)
{
	uint64_t random = mix(mix(seed + 1) + n * 1000003 + variant), hash = 1;
	unsigned int chance = "\4\0\6\2\7\4\10\1"[variant % 8];
	const struct write *w = &writes.v[n];
	bool whole = rnd(&random) % 2;
	bool flushed = false;

	for (size_t off = 0; off < image_size; off += BLOCK)
		if (memcmp(image + off, durable + off, BLOCK))
			memcpy(image + off, durable + off, BLOCK);
	/* A flush with data comes before the data. */
	if (variant && w->flags & FLUSH && w->len)
		flushed = rnd(&random) % 2;
	for (size_t i = from; i < n; i++) {
		if (!variant || flushed || writes.v[i].flags & FUA)
			apply_part(image, &writes.v[i], 0, writes.v[i].len);
		else
			apply_some(&writes.v[i], &random, chance, whole, &hash);
	}
	if (!variant)
		apply_part(image, w, 0, w->len);
	else if (!(w->flags & FLUSH) || flushed)
		apply_some(w, &random, chance, whole, &hash);
	return mix(hash + flushed);
}

/* ---- Whether it is all there ---- */

static const char *type = "toyfs", *device, *dir, *image_path;
static bool ordered, fsck_replays;
static unsigned long fsck_every = 4;
static unsigned int tell = 20;
static unsigned long violations;
static char where[64];
static uint64_t overhead;
static bool overhead_known;
static unsigned char *buf;

static unsigned long counts[NKINDS];
static struct part *now;

static __attribute__((format(printf, 2, 3))) void wrong(enum kind kind, const char *fmt, ...)
{
	va_list ap;

	violations++;
	counts[kind]++;
	if (now)
		now->counts[kind]++;
	if (violations > tell)
		return;
	printf("%s: %s: ", where, kinds[kind]);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* Exit status of fsck on the image, which is not mounted; -1: it did not exit. */
static int fsck(bool show)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	char *const toyfs[] = { "fsck.toyfs", "-n", (char *)image_path, NULL };
	char *const ext4[] = { "e2fsck", "-fn", (char *)image_path, NULL };
	char *const xfs[] = { "xfs_repair", "-n", (char *)image_path, NULL };
	char *const *argv = !strcmp(type, "toyfs") ? toyfs : !strcmp(type, "ext4") ? ext4 : xfs;
	int status;
	pid_t pid;

	fflush(stdout);
	posix_spawn_file_actions_init(&actions);
	if (!show)
		posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	if (errno || waitpid(pid, &status, 0) != pid)
		die("%s", argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct seen {
	char path[PATH_MAX_];
	uint64_t ino;
	uint64_t size;
	bool dir;
};

static VEC(struct seen) tree_seen;
static uint64_t blocks_seen;

static void look(int parent, const char *path)
{
	DIR *d = fdopendir(parent);
	struct dirent *e;

	if (!d)
		die("fdopendir");
	while (errno = 0, e = readdir(d)) {
		struct seen s;
		struct stat st;
		int fd;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
		    !strcmp(e->d_name, "lost+found"))
			continue;
		if (snprintf(s.path, PATH_MAX_, "%s%s%s", path, *path ? "/" : "", e->d_name) >=
		    PATH_MAX_) {
			wrong(NAMES, "%s... is too long", s.path);
			continue;
		}
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
			wrong(READ, "stat %s: %s", s.path, errname(errno));
			continue;
		}
		s.ino = st.st_ino;
		s.size = (uint64_t)st.st_size;
		s.dir = S_ISDIR(st.st_mode);
		for (size_t i = 0; i < tree_seen.n; i++)
			if (tree_seen.v[i].ino == s.ino)
				st.st_blocks = 0;
		blocks_seen += (uint64_t)st.st_blocks;
		push(&tree_seen, .ino = 0);
		tree_seen.v[tree_seen.n - 1] = s;
		if (!s.dir)
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			wrong(READ, "open %s: %s", s.path, errname(errno));
		else if (tree_seen.n < 10000)
			look(fd, s.path);
	}
	if (errno)
		wrong(READ, "readdir %s: %s", *path ? path : ".", errname(errno));
	closedir(d);
}

static void look_at_all(void)
{
	struct stat st;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	tree_seen.n = 0;
	blocks_seen = 0;
	if (fd < 0 || fstat(fd, &st)) {
		wrong(READ, "open .: %s", errname(errno));
		return;
	}
	blocks_seen = (uint64_t)st.st_blocks;
	look(fd, "");
}

/*
 * What is taken, beyond what belongs to files: bitmaps and the like, of which there must not be
 * more than at first.
 */
static uint64_t taken(void)
{
	struct statfs fs;

	if (statfs(dir, &fs))
		die("statfs");
	return (fs.f_blocks - fs.f_bfree) * ((uint64_t)fs.f_bsize / SECTOR) - blocks_seen;
}

static bool zeroes(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

static bool is_version(const unsigned char *data, size_t len, uint32_t id, uint64_t sector,
		       const struct version *v)
{
	static uint64_t want[SECTOR / 8];
	size_t stamped = v->len < len ? v->len : len;

	if (stamped) {
		stamp_fill(want, id, v->stamp, sector);
		if (memcmp(data, want, stamped))
			return false;
	}
	return zeroes(data + stamped, len - stamped);
}

/* What a sector that is wrong holds. */
static const char *describe(const unsigned char *data, size_t len)
{
	static char text[160];
	struct stamp s;

	if (zeroes(data, len))
		return "zeroes";
	memcpy(&s, data, sizeof(s));
	if (len < sizeof(s) || s.magic != STAMP_MAGIC)
		return "what nobody wrote there";
	snprintf(text, sizeof(text), "sector %llu of file %u as of operation %u",
		 (unsigned long long)s.sector, s.file, s.op);
	return text;
}

/* Whether the size may be this one, and does not leave out what a write with O_DSYNC promised. */
static bool is_size(const struct file *f, const struct size *s, uint64_t size, uint32_t op)
{
	if (size < s->from || size > s->size)
		return false;
	for (size_t i = 0; i < f->ranges.n && f->ranges.v[i].op <= op; i++)
		if (f->ranges.v[i].op >= s->op && size < f->ranges.v[i].off + f->ranges.v[i].len)
			return false;
	return true;
}

/*
 * Whether what was read may be file `id`, of which all that `op` and those before it promised must
 * be there, and what was begun later than `end` cannot be. Says why not, if `say`.
 */
static bool is_file(uint32_t id, const char *path, uint64_t size, size_t got, uint32_t op,
		    uint32_t end, bool say)
{
	struct file *f = &files.v[id];
	uint32_t whole = last_of(&f->promised, op), all = last_of(&all_promised, op);
	struct size floor = { .op = 0 };
	bool ok, foreign = false;
	uint64_t bad = 0;

	if (all > whole)
		whole = all;
	for (size_t i = 0; i < f->sizes.n && f->sizes.v[i].op <= whole; i++)
		floor = f->sizes.v[i];
	floor.from = floor.size;
	ok = is_size(f, &floor, size, op);
	for (size_t i = 0; i < f->sizes.n && f->sizes.v[i].op <= end; i++)
		if (f->sizes.v[i].op > whole && is_size(f, &f->sizes.v[i], size, op))
			ok = true;
	if (!ok) {
		if (say)
			wrong(SIZE, "%s (file %u) has %llu bytes; operation %u promised %llu",
			      path, id, (unsigned long long)size, whole,
			      (unsigned long long)floor.size);
		return false;
	}
	for (uint64_t s = 0; s * SECTOR < got; s++) {
		static const struct version never;
		const struct version *first = &never;
		size_t len = got - s * SECTOR < SECTOR ? got - s * SECTOR : SECTOR, n = 0, i = 0;
		const unsigned char *data = buf + s * SECTOR;
		const struct version *v = NULL;
		uint32_t promised = whole;

		if (s < f->sectors.n) {
			v = f->sectors.v[s].v;
			n = f->sectors.v[s].n;
		}
		for (size_t k = 0; k < f->ranges.n && f->ranges.v[k].op <= op; k++) {
			const struct range *r = &f->ranges.v[k];

			if (r->op > promised && s * SECTOR >= r->off &&
			    s * SECTOR < r->off + r->len)
				promised = r->op;
		}
		for (; i < n && v[i].op <= promised; i++)
			first = &v[i];
		ok = is_version(data, len, id, s, first);
		for (; i < n && v[i].op <= end && !ok; i++)
			ok = is_version(data, len, id, s, &v[i]);
		if (ok)
			continue;
		if (bad++ || !say)
			continue;
		foreign = !zeroes(data, len) && ((const struct stamp *)data)->file != id;
		wrong(foreign ? FOREIGN : DATA,
		      "sector %llu of %s (file %u) holds %s; promised by operation %u: %s%.0u",
		      (unsigned long long)s, path, id, describe(data, len), promised,
		      first->stamp ? "as of operation " : "zeroes", first->stamp);
	}
	if (bad > 1 && say && violations <= tell)
		printf("%s: and %llu more sectors of it\n", where,
		       (unsigned long long)bad - 1);
	return !bad;
}

static bool read_file(const struct seen *s, size_t *got)
{
	char path[PATH_MAX_ + 64];
	ssize_t n = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, s->path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		wrong(READ, "open %s: %s", s->path, errname(errno));
		return false;
	}
	for (*got = 0; *got < BUF; *got += (size_t)n) {
		n = pread(fd, buf + *got, BUF - *got, (off_t)*got);
		if (n <= 0)
			break;
	}
	close(fd);
	if (n < 0)
		wrong(READ, "read %s at %zu: %s", s->path, *got, errname(errno));
	return n >= 0;
}

static void check_files(uint32_t op, uint32_t end)
{
	uint32_t floor = last_of(&names_promised, op);
	bool *there = calloc(names.n + 1, 1);
	uint64_t hash = 0;

	if (!there)
		die("out of memory");
	for (size_t i = 0; i < tree_seen.n; i++) {
		const struct seen *s = &tree_seen.v[i];
		struct name *n = NULL;
		uint32_t since, could[64], ncould = 0, at = 0;
		size_t k, got = 0;

		hash += name_hash(s->path, s->ino);
		for (k = 0; k < names.n && !n; k++)
			if (!strcmp(names.v[k].path, s->path))
				n = &names.v[k];
		if (!n) {
			wrong(NAMES, "%s was never there", s->path);
			continue;
		}
		there[n - names.v] = true;
		since = last_of(&n->promised, op);
		if (floor > since)
			since = floor;
		for (k = 0; k < n->history.n && n->history.v[k].op <= since; k++)
			at = n->history.v[k].file;
		/* Which files it may lead to. */
		for (;; k++) {
			if (at && files.v[at].ino == s->ino && files.v[at].dir == s->dir &&
			    ncould < 64)
				could[ncould++] = at;
			if (k >= n->history.n || n->history.v[k].op > end)
				break;
			at = n->history.v[k].file;
		}
		if (!ncould) {
			wrong(NAMES, "%s leads to inode %llu, not after operation %u, nor since",
			      s->path, (unsigned long long)s->ino, since);
			continue;
		}
		if (s->dir || !read_file(s, &got))
			continue;
		for (k = 0; k < ncould; k++)
			if (is_file(could[k], s->path, s->size, got, op, end, false))
				break;
		if (k == ncould)
			is_file(could[ncould - 1], s->path, s->size, got, op, end, true);
	}
	for (size_t i = 0; i < names.n; i++) {
		struct name *n = &names.v[i];
		uint32_t since = last_of(&n->promised, op), at = 0;
		size_t k;
		bool may = false;

		if (there[i])
			continue;
		if (floor > since)
			since = floor;
		for (k = 0; k < n->history.n && n->history.v[k].op <= since; k++)
			at = n->history.v[k].file;
		for (may = !at; k < n->history.n && n->history.v[k].op <= end; k++)
			may = may || !n->history.v[k].file;
		if (!may)
			wrong(NAMES, "%s (file %u) is not there; operation %u promised it",
			      n->path, at, since);
	}
	free(there);
	if (ordered) {
		uint32_t k;

		for (k = floor; k <= end && states.v[k] != hash; k++)
			;
		if (k > end)
			wrong(ORDER, "the names are not those after any operation from %u to %u",
			      floor, end);
	}
}

static bool check_image(uint32_t op, bool ask)
{
	unsigned long before = violations;
	uint32_t end = op + 1 < nops ? op + 1 : nops;
	int status;

	if (ask) {
		status = fsck(false);
		if (status && (fsck_replays || status != 4)) {
			wrong(BEFORE, "exit status %d", status);
			if (violations <= tell)
				fsck(true);
		}
	}
	if (mount(device, dir, type, 0, "")) {
		wrong(MOUNT, "%s", errname(errno));
		return false;
	}
	look_at_all();
	if (!overhead_known) {
		overhead = taken();
		overhead_known = true;
	} else if (taken() != overhead) {
		wrong(SPACE, "%llu sectors are taken that belong to nobody, and were %llu",
		      (unsigned long long)taken(), (unsigned long long)overhead);
	}
	check_files(op, end);
	if (umount(dir))
		die("umount");
	status = fsck(false);
	if (status) {
		wrong(FSCK, "exit status %d after it was mounted", status);
		if (violations <= tell)
			fsck(true);
	}
	return violations == before;
}

static void print_counts(const char *what, const unsigned long *count)
{
	const char *between = ": ";

	printf("%s", what);
	for (int i = 0; i < NKINDS; i++) {
		if (!count[i])
			continue;
		printf("%s%s %lu", between, kinds[i], count[i]);
		between = ", ";
	}
	printf("%s\n", *between == ':' ? ": nothing" : "");
}

int main(int argc, char **argv)
{
	unsigned long random_cuts = 0, share = 0, shares = 1, chosen = 0, cuts = 0, bad = 0;
	uint64_t seed = 1, random, stream = 0;
	size_t discards = 0;
	bool keep = false;
	uint32_t first_op = 0;
	long only = -1;
	unsigned int only_variant = 0, variants = 0;
	size_t from = 0;
	unsigned int *at;
	int c, fd;

	while ((c = getopt(argc, argv, "t:a:n:s:c:j:T:f:b:pdrkv:")) != -1) {
		switch (c) {
		case 't': type = optarg; break;
		case 'a': variants = (unsigned int)strtoul(optarg, NULL, 0); break;
		case 'n': random_cuts = strtoul(optarg, NULL, 0); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'c':
			if (sscanf(optarg, "%ld.%u", &only, &only_variant) < 1)
				return 2;
			break;
		case 'j':
			if (sscanf(optarg, "%lu/%lu", &share, &shares) != 2 || !share ||
			    share > shares)
				return 2;
			share--;
			break;
		case 'T': tear = parse_size(optarg); break;
		case 'p': ordered = true; break;
		case 'd': less = true; break;
		case 'b': first_op = (uint32_t)strtoul(optarg, NULL, 0); break;
		case 'k': keep = true; break;
		case 'r': fsck_replays = true; break;
		case 'f': fsck_every = strtoul(optarg, NULL, 0); break;
		case 'v': tell = (unsigned int)strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	if (argc - optind != 6) {
		fprintf(stderr, "usage: cutcheck [OPTION]... RECORD LOG BASE IMAGE DEVICE DIR\n");
		return 2;
	}
	argv += optind;
	image_path = argv[3];
	device = argv[4];
	dir = argv[5];
	setvbuf(stdout, NULL, _IOLBF, 0);

	read_record(argv[0]);
	fd = xopen(image_path, O_RDWR);
	image_size = (size_t)lseek(fd, 0, SEEK_END);
	image = mmap(NULL, image_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (image == MAP_FAILED)
		die("mmap %s", image_path);
	durable = xalloc(image_size);
	buf = xalloc(BUF);
	fd = xopen(argv[2], O_RDONLY);
	if (pread_all(fd, durable, image_size, 0) != image_size)
		die("%s is short", argv[2]);
	close(fd);
	read_log(argv[1], first_op);
	if (!writes.n) {
		errno = 0;
		die("nothing was written");
	}

	/* Before anything happened: what is taken by nobody's files. */
	memcpy(image, durable, image_size);
	snprintf(where, sizeof(where), "before");
	check_image(first_op, false);
	if (violations) {
		errno = 0;
		die("it was not sound to begin with");
	}

	/* How many at random at each write. */
	at = calloc(writes.n, sizeof(*at));
	if (!at)
		die("out of memory");
	random = mix(seed) + 1;
	for (unsigned long i = 0; i < random_cuts; i++)
		at[rnd(&random) % writes.n]++;

	for (size_t n = 0; n < writes.n; n++) {
		const struct write *w = &writes.v[n];
		unsigned int first = random_cuts ? 1 : 0;
		unsigned int behind = 1 + (random_cuts ? at[n] : variants);
		uint64_t outcomes[64];
		unsigned int noutcomes = 0;

		if (only >= 0) {
			first = only_variant;
			behind = first + ((long)n == only);
		}
		for (unsigned int v = first; v < behind; v++) {
			uint64_t outcome = cut(from, n, v, seed);
			unsigned int k;

			/* None twice. */
			for (k = 0; v && k < noutcomes && outcomes[k] != outcome; k++)
				;
			if (v && k < noutcomes)
				continue;
			if (v && noutcomes < 64)
				outcomes[noutcomes++] = outcome;
			if (chosen++ % shares != share)
				continue;
			if (keep) {
				printf("%u\n", w->op);
				return 0;
			}
			snprintf(where, sizeof(where), "cut %zu.%u, after operation %u", n, v,
				 w->op);
			now = NULL;
			for (size_t i = 0; i < parts.n && parts.v[i].op <= w->op; i++)
				now = &parts.v[i];
			if (!check_image(w->op, fsck_every && (only >= 0 || !(cuts % fsck_every))))
				bad++;
			cuts++;
		}
		/* What a flush has made durable. */
		if (w->flags & FLUSH) {
			for (; from < n; from++)
				apply_part(durable, &writes.v[from], 0, writes.v[from].len);
			if (w->flags & FUA || !w->len) {
				apply_part(durable, w, 0, w->len);
				from = n + 1;
			}
		}
	}
	if (violations) {
		print_counts("violations", counts);
		for (size_t i = 0; i < parts.n; i++)
			print_counts(parts.v[i].name, parts.v[i].counts);
	}
	/*
	 * The same operations need not become the same writes; then a cut of the same number is
	 * another one.
	 */
	for (size_t n = 0; n < writes.n; n++) {
		discards += !!(writes.v[n].flags & DISCARD);
		stream = mix(stream * 31 + writes.v[n].off + (writes.v[n].len << 40) +
			     writes.v[n].flags);
	}
	printf("%lu cuts in %zu writes, %lu of them bad, %zu discards, stream %08x, log ends at %llu\n",
	       cuts, writes.n, bad, discards, (uint32_t)stream, (unsigned long long)log_end);
	return violations ? 1 : 0;
}
