/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What cutwork and cutcheck agree on: how data is stamped, what a line of the record means, and
 * what a tree of names looks like after it.
 *
 * Each sector of file data is stamped with the file that it was written to, the operation that
 * wrote it, and its place. A sector is what a device writes all of or nothing of, so each can be
 * told from any other version of itself and from those of other files.
 */
#ifndef TOYFS_TESTS_CUTS_H
#define TOYFS_TESTS_CUTS_H

#include "util.h"

#define SECTOR 512
#define STAMP_MAGIC 0x7374616d70656421ull
#define NAME_MAX_ 64
#define PATH_MAX_ 512
#define ROOT_ID 1u

struct stamp {
	uint64_t magic;
	uint32_t file;
	uint32_t op;
	uint64_t sector;
};

/* The sector `sector` of file `file`, as operation `op` wrote it. */
static UNUSED void stamp_fill(void *sector_of, uint32_t file, uint32_t op, uint64_t sector)
{
	struct stamp *s = sector_of;
	uint64_t *word = sector_of;
	uint64_t w = (uint64_t)file << 40 ^ (uint64_t)op << 16 ^ sector;

	*s = (struct stamp) { STAMP_MAGIC, file, op, sector };
	for (size_t i = sizeof(*s) / 8; i < SECTOR / 8; i++) {
		w = w * 6364136223846793005ull + 1442695040888963407ull;
		word[i] = w;
	}
}

/* A tree: which file each name of each directory leads to. */
struct entry {
	uint32_t dir;
	uint32_t file;
	char name[NAME_MAX_];
};

struct tree {
	struct entry *entries;
	size_t count;
	size_t room;
};

static UNUSED struct entry *tree_entry(struct tree *t, uint32_t dir, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->entries[i].dir == dir && !strcmp(t->entries[i].name, name))
			return &t->entries[i];
	return NULL;
}

/*
 * The directory that `path`, relative to the root, is in; its last name is left in `name`. 0:
 * there is none.
 */
static UNUSED uint32_t tree_parent(struct tree *t, const char *path, char name[NAME_MAX_])
{
	uint32_t dir = ROOT_ID;
	const char *slash;

	while ((slash = strchr(path, '/'))) {
		struct entry *e;

		snprintf(name, NAME_MAX_, "%.*s", (int)(slash - path), path);
		e = tree_entry(t, dir, name);
		if (!e)
			return 0;
		dir = e->file;
		path = slash + 1;
	}
	snprintf(name, NAME_MAX_, "%s", path);
	return dir;
}

/* What `path` leads to, or 0. */
static UNUSED uint32_t tree_find(struct tree *t, const char *path)
{
	char name[NAME_MAX_];
	uint32_t dir;
	struct entry *e;

	if (!strcmp(path, "."))
		return ROOT_ID;
	dir = tree_parent(t, path, name);
	e = dir ? tree_entry(t, dir, name) : NULL;
	return e ? e->file : 0;
}

static UNUSED void tree_set(struct tree *t, const char *path, uint32_t file)
{
	char name[NAME_MAX_];
	uint32_t dir = tree_parent(t, path, name);
	struct entry *e;

	if (!dir) {
		errno = 0;
		die("no directory for '%s'", path);
	}
	e = tree_entry(t, dir, name);
	if (!e) {
		if (t->count == t->room) {
			t->room = t->room ? 2 * t->room : 64;
			t->entries = realloc(t->entries, t->room * sizeof(*e));
			if (!t->entries)
				die("out of memory");
		}
		e = &t->entries[t->count++];
		e->dir = dir;
		memcpy(e->name, name, NAME_MAX_);
	}
	e->file = file;
}

static UNUSED void tree_remove(struct tree *t, const char *path)
{
	char name[NAME_MAX_];
	uint32_t dir = tree_parent(t, path, name);
	struct entry *e = dir ? tree_entry(t, dir, name) : NULL;

	if (!e) {
		errno = 0;
		die("no '%s' to remove", path);
	}
	*e = t->entries[--t->count];
}

static UNUSED void tree_rename(struct tree *t, const char *from, const char *to)
{
	uint32_t file = tree_find(t, from);

	tree_remove(t, from);
	tree_set(t, to, file);
}

/* Where entry `e` is: its path from the root. */
static UNUSED void tree_path(struct tree *t, const struct entry *e, char path[PATH_MAX_])
{
	char rest[PATH_MAX_];

	snprintf(path, PATH_MAX_, "%s", e->name);
	while (e->dir != ROOT_ID) {
		size_t i;

		for (i = 0; i < t->count && t->entries[i].file != e->dir; i++)
			;
		if (i == t->count) {
			errno = 0;
			die("directory %u has no name", e->dir);
		}
		e = &t->entries[i];
		memcpy(rest, path, PATH_MAX_);
		if (snprintf(path, PATH_MAX_, "%s/%s", e->name, rest) >= PATH_MAX_) {
			errno = 0;
			die("a path is too long");
		}
	}
}

#endif
