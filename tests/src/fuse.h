/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A FUSE server for the tests: a file system of one file, a page long. What is said of it is the same for all; who includes this
 * answers what reads and writes of the file ask for.
 */
#ifndef FUSE_H
#define FUSE_H

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include "util.h"

static void fuse_reply(int fd, uint64_t unique, int error, const void *data, size_t n)
{
	struct fuse_out_header head = { .len = (uint32_t)(sizeof(head) + n), .error = error, .unique = unique };
	struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)data, n } };

	/* Who is gone needs no answer. */
	if (writev(fd, iov, n ? 2 : 1) < 0 && errno != ENOENT)
		die("answer of the FUSE server");
}

/* Answers what is not about the contents of the file. */
static void fuse_answer(int fd, const struct fuse_in_header *in)
{
	bool root = in->nodeid == FUSE_ROOT_ID && in->opcode != FUSE_LOOKUP;
	struct fuse_attr attr = {
		.ino = root ? 1 : 2, .size = root ? 0 : PAGE, .mode = root ? S_IFDIR | 0755 : S_IFREG | 0644, .nlink = 1,
		.blksize = PAGE,
	};
	/* Pages are read ahead: who reads one itself cannot be killed any more once the server has the request. */
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = PAGE, .max_readahead = 8 * PAGE,
		.flags = FUSE_ASYNC_READ,
	};
	struct fuse_entry_out entry = { .nodeid = 2, .entry_valid = 60, .attr_valid = 60, .attr = attr };
	struct fuse_attr_out attr_out = { .attr_valid = 60, .attr = attr };
	struct fuse_open_out open_out = { .open_flags = FOPEN_NOFLUSH };

	switch (in->opcode) {
	case FUSE_INIT:
		fuse_reply(fd, in->unique, 0, &init, sizeof(init));
		return;
	case FUSE_LOOKUP:
		fuse_reply(fd, in->unique, 0, &entry, sizeof(entry));
		return;
	case FUSE_GETATTR:
		fuse_reply(fd, in->unique, 0, &attr_out, sizeof(attr_out));
		return;
	case FUSE_OPEN:
		fuse_reply(fd, in->unique, 0, &open_out, sizeof(open_out));
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	default:
		fuse_reply(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

/* Mounts it at a new directory of /tmp, which `name` is for, and whose path is put into `dir`. Returns the connection. */
static int fuse_mount(const char *name, char *dir, size_t size)
{
	int fd = xopen("/dev/fuse", O_RDWR);
	char options[128];

	snprintf(dir, size, "/tmp/%s.%d", name, (int)getpid());
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mkdir(dir, 0755) || mount(name, dir, "fuse", MS_NOSUID | MS_NODEV, options))
		die("mount of FUSE at %s", dir);
	return fd;
}

#endif
