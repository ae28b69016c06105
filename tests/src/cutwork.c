// SPDX-License-Identifier: GPL-2.0
/*
 * Changes a file system, and writes down what it was promised.
 *
 *	cutwork [-d NAME] [-m MODE] [-s SEED] [-n OPS] RECORD DIR [CASE...]
 *
 * DIR is where the file system is mounted, on the dm-log-writes target NAME. After each operation
 * there is a line in RECORD, which belongs on another file system, and a mark with the number of
 * the line in the target's log: what was promised by then must be there after a cut behind the
 * mark. cutcheck reads both. MODE says what the mount promises by itself: sync, or dirsync.
 *
 * Without CASE: OPS random operations that SEED determines. Otherwise these (all: every one in
 * turn); their names are those of the functions below.
 */
#include "cuts.h"

#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <linux/falloc.h>

#define FILES_MAX 4096
#define SIZE_MAX_ (512u << 10)

struct file {
	uint64_t size;
	int fd;
	bool dir;
	unsigned int names;
};

static struct file files[FILES_MAX];
static uint32_t nfiles = ROOT_ID + 1;
static struct tree tree;
static FILE *record;
static uint32_t op;
static const char *target, *option = "none";
static int control = -1;
static uint64_t state;
static unsigned char *buf;

/* What `dmsetup message NAME 0 mark TEXT` does. */
static void mark(const char *text)
{
	struct {
		struct dm_ioctl head;
		struct dm_target_msg msg;
		char text[64];
	} m;

	if (!target)
		return;
	memset(&m, 0, sizeof(m));
	m.head.version[0] = DM_VERSION_MAJOR;
	m.head.data_size = sizeof(m);
	m.head.data_start = offsetof(typeof(m), msg);
	snprintf(m.head.name, sizeof(m.head.name), "%s", target);
	/* Behind the sector number, which has no padding after it. */
	snprintf((char *)&m.msg + offsetof(struct dm_target_msg, message), sizeof(m.text),
		 "mark %s", text);
	if (ioctl(control, DM_TARGET_MSG, &m))
		die("mark %s", text);
}

/* The operation whose line this is has succeeded. */
static __attribute__((format(printf, 1, 2))) void done(const char *fmt, ...)
{
	char text[16];
	va_list ap;

	op++;
	fprintf(record, "%u ", op);
	va_start(ap, fmt);
	vfprintf(record, fmt, ap);
	va_end(ap);
	fputc('\n', record);
	snprintf(text, sizeof(text), "%u", op);
	mark(text);
}

static uint32_t new_file(const char *path, int fd, bool dir)
{
	uint32_t id = nfiles++;
	struct stat st;

	if (id == FILES_MAX) {
		errno = 0;
		die("too many files");
	}
	if (fstat(fd, &st))
		die("stat %s", path);
	files[id] = (struct file) { .fd = fd, .dir = dir, .names = 1 };
	tree_set(&tree, path, id);
	done("%s %u %llu %s", dir ? "mkdir" : "create", id, (unsigned long long)st.st_ino, path);
	return id;
}

static uint32_t do_create(const char *path)
{
	return new_file(path, xopen(path, O_RDWR | O_CREAT | O_EXCL), false);
}

static uint32_t do_mkdir(const char *path)
{
	if (mkdir(path, 0755))
		die("mkdir %s", path);
	return new_file(path, xopen(path, O_RDONLY | O_DIRECTORY), true);
}

/* The file has lost a name. What is kept open without one is an orphan. */
static void lost(uint32_t id, bool keep)
{
	if (--files[id].names || keep)
		return;
	close(files[id].fd);
	files[id].fd = -1;
}

static void do_unlink(const char *path, bool keep)
{
	uint32_t id = tree_find(&tree, path);

	if (files[id].dir ? rmdir(path) : unlink(path))
		die("unlink %s", path);
	tree_remove(&tree, path);
	/* Before what may go with the last descriptor. */
	done("unlink %s", path);
	lost(id, keep);
}

static void do_close(uint32_t id)
{
	close(files[id].fd);
	files[id].fd = -1;
}

static void do_rename(const char *from, const char *to, bool keep)
{
	uint32_t old = tree_find(&tree, to);

	if (rename(from, to))
		die("rename %s %s", from, to);
	tree_rename(&tree, from, to);
	done("rename %s %s", from, to);
	if (old)
		lost(old, keep);
}

static void do_link(const char *from, const char *to)
{
	uint32_t id = tree_find(&tree, from);

	if (link(from, to))
		die("link %s %s", from, to);
	files[id].names++;
	tree_set(&tree, to, id);
	done("link %s %s", from, to);
}

/*
 * Writes a range of whole sectors, of which only the last may end within one, and only at the end
 * of the file. `how`: b through the cache, d directly, m by a mapping; B and D with O_DSYNC.
 */
static void do_write(uint32_t id, uint64_t off, uint64_t len, char how)
{
	struct file *f = &files[id];
	int flags = O_RDWR, fd = f->fd;
	char path[64];

	if (strchr("dD", how))
		flags |= O_DIRECT;
	if (strchr("BD", how))
		flags |= O_DSYNC;

	for (uint64_t at = 0; at < len; at += SECTOR)
		stamp_fill(buf + at, id, op + 1, (off + at) / SECTOR);
	if (how == 'm') {
		unsigned char *map = mmap(NULL, off % PAGE + len, PROT_READ | PROT_WRITE,
					  MAP_SHARED, fd, (off_t)(off - off % PAGE));

		if (map == MAP_FAILED)
			die("mmap");
		memcpy(map + off % PAGE, buf, len);
		munmap(map, off % PAGE + len);
	} else {
		if (flags != O_RDWR) {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			fd = xopen(path, flags);
		}
		pwrite_all(fd, buf, len, off);
		if (fd != f->fd)
			close(fd);
	}
	if (off + len > f->size)
		f->size = off + len;
	done("write %u %llu %llu %c", id, (unsigned long long)off, (unsigned long long)len, how);
}

static void do_truncate(uint32_t id, uint64_t size)
{
	if (ftruncate(files[id].fd, (off_t)size))
		die("ftruncate");
	files[id].size = size;
	done("truncate %u %llu", id, (unsigned long long)size);
}

/* Zeroes for a range of whole sectors: punched, or zeroed in place. */
static void do_zero(uint32_t id, uint64_t off, uint64_t len, bool zero)
{
	int mode = FALLOC_FL_KEEP_SIZE | (zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);

	if (fallocate(files[id].fd, mode, (off_t)off, (off_t)len))
		die("fallocate %x", mode);
	done("zero %u %llu %llu", id, (unsigned long long)off, (unsigned long long)len);
}

static void do_allocate(uint32_t id, uint64_t off, uint64_t len, bool keep)
{
	struct file *f = &files[id];

	if (fallocate(f->fd, keep ? FALLOC_FL_KEEP_SIZE : 0, (off_t)off, (off_t)len))
		die("fallocate");
	if (!keep && off + len > f->size)
		f->size = off + len;
	done("allocate %u %llu", id, (unsigned long long)f->size);
}

static void do_fsync(uint32_t id)
{
	if (fsync(files[id].fd))
		die("fsync");
	done("fsync %u", id);
}

static void do_fdatasync(uint32_t id)
{
	if (fdatasync(files[id].fd))
		die("fdatasync");
	done("fdatasync %u", id);
}

static void do_sync(void)
{
	sync();
	done("sync");
}

/* Nothing is promised, but data is on its way. */
static void do_start(uint32_t id)
{
	if (sync_file_range(files[id].fd, 0, 0,
			    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
		die("sync_file_range");
	done("start %u", id);
}

static uint32_t made(const char *path, uint64_t size, char how)
{
	uint32_t id = do_create(path);

	do_write(id, 0, size, how);
	return id;
}

/* ---- The cases ---- */

static uint32_t here;

/* A file in a directory that nobody synced. */
static void c_newdir(void)
{
	do_mkdir("newdir/d");
	do_mkdir("newdir/d/e");
	do_fsync(made("newdir/d/e/f", 3 * PAGE + 100, 'b'));
	do_fsync(made("newdir/d/g", 8 * PAGE, 'd'));
	do_fdatasync(made("newdir/h", 2 * PAGE, 'b'));
}

/* What a file gives up is another's at once. */
static void c_given(void)
{
	uint32_t a = made("given/a", 16 * PAGE, 'b');
	uint32_t b, c, d;

	do_fsync(a);
	do_truncate(a, 2 * PAGE);
	b = made("given/b", 14 * PAGE, 'd');
	do_fsync(b);
	do_write(a, 2 * PAGE, 4 * PAGE, 'b');
	do_fsync(a);
	do_zero(a, PAGE, 4 * PAGE, false);
	c = made("given/c", 8 * PAGE, 'b');
	do_fsync(c);
	do_unlink("given/b", false);
	d = made("given/d", 16 * PAGE, 'D');
	do_write(c, 8 * PAGE, 8 * PAGE, 'd');
	do_fdatasync(c);
	do_write(d, PAGE, PAGE, 'd');
	/* The inode, too. */
	do_unlink("given/c", false);
	do_fsync(made("given/e", 4 * PAGE, 'b'));
}

/* A new version takes the place of one that was synced. */
static void c_over(void)
{
	for (int i = 0; i < 3; i++) {
		uint32_t new;

		if (!i)
			do_fsync(made("over/a", 4 * PAGE, 'b'));
		new = made("over/new", (2 + (unsigned int)i) * PAGE, i == 1 ? 'd' : 'b');
		do_fsync(new);
		do_rename("over/new", "over/a", false);
		if (i == 1)
			do_fsync(here);
	}
	do_mkdir("over/to");
	do_rename("over/a", "over/to/a", false);
	do_fsync(here);
	do_fsync(made("over/b", PAGE, 'b'));
	do_rename("over/b", "over/to/a", false);
	do_rename("over/to", "over/there", false);
	do_fsync(tree_find(&tree, "over/there/a"));
}

/* A file without a name, but open. */
static void c_orphan(void)
{
	uint32_t a = made("orphan/a", 32 * PAGE, 'b');
	uint32_t b, c;

	do_fsync(a);
	do_unlink("orphan/a", true);
	do_fsync(here);
	do_write(a, 32 * PAGE, 8 * PAGE, 'd');
	b = made("orphan/b", 16 * PAGE, 'd');
	c = made("orphan/c", 16 * PAGE, 'b');
	do_fsync(b);
	do_fsync(c);
	do_rename("orphan/b", "orphan/c", true);
	do_sync();
	do_fsync(c);
	do_close(a);
	do_fsync(made("orphan/d", 8 * PAGE, 'b'));
	do_close(c);
	do_sync();
}

/* Hard links. */
static void c_links(void)
{
	uint32_t a = made("links/a", 2 * PAGE, 'b');

	do_fsync(a);
	do_mkdir("links/d");
	do_link("links/a", "links/d/b");
	do_fsync(a);
	do_unlink("links/a", false);
	do_fsync(a);
	do_link("links/d/b", "links/c");
	do_fdatasync(a);
	do_link("links/d/b", "links/e");
	do_write(a, 0, PAGE, 'D');
}

/*
 * Direct writes of O_DSYNC, which need no more than FUA where the blocks are there; and through
 * the cache.
 */
static void c_dsync(void)
{
	uint32_t a = made("dsync/a", 8 * PAGE, 'b');
	uint32_t b;

	do_fsync(a);
	for (unsigned int i = 0; i < 4; i++)
		do_write(a, i * PAGE, 2 * PAGE, 'D');
	do_write(a, 8 * PAGE, 2 * PAGE, 'D');
	do_write(a, 12 * PAGE, 2 * PAGE, 'D');
	do_write(a, SECTOR, 3 * SECTOR, 'D');
	do_write(a, 3 * PAGE, PAGE, 'B');
	do_write(a, 14 * PAGE, PAGE + 10, 'B');
	b = do_create("dsync/b");
	do_write(b, 0, PAGE, 'D');
	do_write(b, PAGE, 700, 'B');
	do_allocate(b, 2 * PAGE, 8 * PAGE, false);
	do_write(b, 4 * PAGE, PAGE, 'D');
	do_write(b, 6 * PAGE, PAGE, 'd');
	do_write(b, 4 * PAGE, PAGE, 'D');
	do_fdatasync(b);
}

/* What extends a file. */
static void c_extend(void)
{
	uint32_t a = do_create("extend/a");
	uint32_t b = do_create("extend/b");

	for (unsigned int i = 0; i < 4; i++) {
		do_write(a, 4 * i * PAGE, 4 * PAGE, 'd');
		if (i & 1)
			do_fdatasync(a);
		else
			do_fsync(a);
		do_write(b, 5 * i * PAGE, 3 * PAGE + 300, 'b');
		do_fdatasync(b);
	}
	do_truncate(a, 30 * PAGE);
	do_fdatasync(a);
	do_truncate(a, 5 * PAGE + 1000);
	do_truncate(a, 9 * PAGE);
	do_fsync(a);
	do_write(a, 4 * PAGE, 2 * PAGE, 'm');
	do_fdatasync(a);
	do_allocate(b, 30 * PAGE, 4 * PAGE, true);
	do_write(b, 30 * PAGE, PAGE, 'd');
	do_fsync(b);
	do_zero(b, 0, 3 * PAGE, true);
	do_fsync(b);
}

/* Names, more than one block of a directory has. */
static void c_names(void)
{
	char path[NAME_MAX_ + 16];

	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "names/%050d", i);
		do_create(path);
		if (i % 30 == 29)
			do_fsync(here);
	}
	do_fsync(made("names/f", PAGE, 'b'));
	for (int i = 0; i < 100; i += 2) {
		snprintf(path, sizeof(path), "names/%050d", i);
		do_unlink(path, false);
	}
	do_fsync(here);
	do_mkdir("names/d");
	do_rename("names/f", "names/d/f", false);
	do_fsync(tree_find(&tree, "names/d/f"));
	do_unlink("names/d/f", false);
	do_unlink("names/d", false);
	do_fsync(here);
}

/*
 * For the mount option discard: what is freed for good while it is given to others, and what is not
 * yet. It takes seconds until the device is told; not in what is run as all.
 */
static void c_discards(void)
{
	char path[NAME_MAX_ + 16];

	do_fsync(made("discards/kept", 8 * PAGE, 'd'));
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "discards/%d", i);
		do_fsync(made(path, 32 * PAGE, i ? 'b' : 'd'));
		do_unlink(path, false);
		do_fsync(here);
		snprintf(path, sizeof(path), "discards/again%d", i);
		do_fsync(made(path, 12 * PAGE, 'd'));
		sleep(3);
		do_unlink(path, false);
		sleep(3);
		do_fsync(here);
	}
}

/* Nothing is promised; not in what is run as all. */
static void c_nothing(void)
{
	do_start(made("nothing/a", 4 * PAGE, 'b'));
	do_start(made("nothing/b", 4 * PAGE, 'd'));
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{ "newdir", c_newdir }, { "given", c_given }, { "over", c_over },
	{ "orphan", c_orphan }, { "links", c_links }, { "dsync", c_dsync },
	{ "extend", c_extend }, { "names", c_names },
	{ "discards", c_discards }, { "nothing", c_nothing },
};

static void run_case(const char *name)
{
	bool all = !strcmp(name, "all"), found = false;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (all ? cases[i].run == c_nothing || cases[i].run == c_discards :
			  strcmp(name, cases[i].name))
			continue;
		found = true;
		fprintf(record, "%u case %s\n", op, cases[i].name);
		here = do_mkdir(cases[i].name);
		cases[i].run();
	}
	if (!found) {
		errno = 0;
		die("no such case: %s", name);
	}
}

/* ---- At random ---- */

static uint32_t below(uint32_t n)
{
	return (uint32_t)(rnd(&state) % n);
}

/* A name that there is, of a directory or a file; NULL if there is none. */
static struct entry *some(bool dir)
{
	size_t skip = tree.count ? below((uint32_t)tree.count) : 0;

	for (size_t i = 0; i < tree.count; i++) {
		struct entry *e = &tree.entries[(i + skip) % tree.count];

		if (files[e->file].dir == dir)
			return e;
	}
	return NULL;
}

/* A place for a name, where there may be one already. No more than three directories deep. */
static void place(char path[PATH_MAX_])
{
	struct entry *e = below(4) ? some(true) : NULL;
	unsigned int depth = 0;

	path[0] = 0;
	if (e) {
		tree_path(&tree, e, path);
		for (char *p = path; *p; p++)
			depth += *p == '/';
		if (depth < 2)
			strcat(path, "/");
		else
			path[0] = 0;
	}
	/* Few, so that they meet again. */
	snprintf(path + strlen(path), PATH_MAX_ - strlen(path), "%s%u",
		 below(8) ? "n" : "aLongerNameThanTheOthersHaveIt", below(12));
}

static bool dir_empty(uint32_t dir)
{
	for (size_t i = 0; i < tree.count; i++)
		if (tree.entries[i].dir == dir)
			return false;
	return true;
}

static void range_of(uint32_t id, uint64_t limit, uint64_t *off, uint64_t *len)
{
	uint64_t unit = below(3) ? PAGE : SECTOR;

	(void)id;
	*off = limit < unit ? 0 : below((uint32_t)(limit / unit)) * unit;
	*len = (1 + below(below(4) ? 6 : 40)) * unit;
}

static void random_write(uint32_t id)
{
	struct file *f = &files[id];
	char how = "bbbbddddmBD"[below(11)];
	uint64_t off, len, end = (f->size + SECTOR - 1) / SECTOR * SECTOR;

	/* No mount promises a store, and what is done to the file next would count for it. */
	if (how == 'm' && !strcmp(option, "sync"))
		how = 'b';
	range_of(id, end, &off, &len);
	if (how != 'm' && below(3) == 0)
		off = below(4) ? end : end + below(16) * SECTOR;
	if (off + len > SIZE_MAX_)
		off = 0;
	if (how == 'm') {
		if (off + len > f->size / SECTOR * SECTOR)
			len = f->size / SECTOR * SECTOR - off;
		if (f->size / SECTOR * SECTOR <= off)
			return;
	} else if (strchr("bB", how) && off + len > f->size && below(2)) {
		uint64_t least = f->size > off ? f->size - off : 1;

		/* Not less than there was in the last sector. */
		if (len > least && len - below(SECTOR) >= least)
			len -= below(SECTOR) % (len - least + 1);
		if (off + len < f->size)
			len = f->size - off;
	} else if (off + len < f->size && (off + len) % SECTOR) {
		len += SECTOR - len % SECTOR;
	}
	if (len)
		do_write(id, off, len, how);
}

static void random_op(void)
{
	char path[PATH_MAX_], to[PATH_MAX_];
	struct entry *e = some(false);
	uint32_t what = below(100), id, old;
	uint64_t off, len;

	if (!e || what < 9) {
		place(path);
		if (!tree_find(&tree, path) && tree.count < 60) {
			id = do_create(path);
			if (below(3))
				random_write(id);
		}
		return;
	}
	tree_path(&tree, e, path);
	id = e->file;
	if (what < 42) {
		random_write(id);
	} else if (what < 47) {
		do_truncate(id, below(2) ? below((uint32_t)files[id].size + 1) : below(64) * PAGE);
	} else if (what < 51) {
		range_of(id, files[id].size, &off, &len);
		do_zero(id, off, len, below(3) == 0);
	} else if (what < 54) {
		range_of(id, files[id].size + 8 * PAGE, &off, &len);
		do_allocate(id, off, len, below(2));
	} else if (what < 60) {
		do_unlink(path, below(4) == 0);
	} else if (what < 67) {
		place(to);
		old = tree_find(&tree, to);
		if (!strcmp(path, to) || old == id || (old && files[old].dir))
			return;
		do_rename(path, to, below(4) == 0);
	} else if (what < 71) {
		place(to);
		if (!tree_find(&tree, to))
			do_link(path, to);
	} else if (what < 75) {
		place(path);
		if (!tree_find(&tree, path))
			do_mkdir(path);
	} else if (what < 77) {
		e = some(true);
		if (e && dir_empty(e->file)) {
			tree_path(&tree, e, path);
			do_unlink(path, false);
		}
	} else if (what < 78) {
		e = some(true);
		place(to);
		if (!e || tree_find(&tree, to))
			return;
		tree_path(&tree, e, path);
		/* Not into itself. */
		if (!strncmp(path, to, strlen(path)))
			return;
		do_rename(path, to, false);
	} else if (what < 81) {
		do_start(id);
	} else if (what < 91) {
		do_fsync(id);
	} else if (what < 95) {
		do_fdatasync(id);
	} else if (what < 98) {
		e = some(true);
		if (e)
			do_fsync(e->file);
	} else if (below(3) == 0) {
		do_sync();
	}
}

int main(int argc, char **argv)
{
	unsigned long ops = 200;
	struct stat st;
	char text[64];
	int c;

	state = 1;
	while ((c = getopt(argc, argv, "d:m:s:n:")) != -1) {
		switch (c) {
		case 'd': target = optarg; break;
		case 'm': option = optarg; break;
		case 's': state = strtoull(optarg, NULL, 0) * 0x9e3779b97f4a7c15ull + 1; break;
		case 'n': ops = strtoul(optarg, NULL, 0); break;
		default: return 2;
		}
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: cutwork [-d NAME] [-m MODE] [-s SEED] [-n OPS] RECORD DIR"
			" [CASE...]\n");
		return 2;
	}
	record = fopen(argv[optind], "w");
	if (!record)
		die("%s", argv[optind]);
	if (target) {
		control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
		if (control < 0)
			die("/dev/mapper/control");
	}
	if (chdir(argv[optind + 1]) || stat(".", &st))
		die("%s", argv[optind + 1]);
	buf = xalloc(2 * SIZE_MAX_);
	files[ROOT_ID] = (struct file) { .dir = true, .names = 1 };
	files[ROOT_ID].fd = xopen(".", O_RDONLY | O_DIRECTORY);
	fprintf(record, "0 mode %s %llu\n", option, (unsigned long long)st.st_ino);
	mark("0");
	if (argc - optind > 2) {
		for (int i = optind + 2; i < argc; i++)
			run_case(argv[i]);
	} else {
		while (op < ops)
			random_op();
	}
	snprintf(text, sizeof(text), "%u operations", op);
	puts(text);
	if (fclose(record))
		die("%s", argv[optind]);
	return 0;
}
