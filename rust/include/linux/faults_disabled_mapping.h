/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks a task as being inside direct I/O on a mapping, so that the fault handler can refuse what
 * could not be served without deadlock or livelock, for modules in C.
 *
 * The implementation is rust/marker/, whose documentation has what holds for both languages;
 * Documentation/taking-the-marker.rst shows how it is used. faults_disabled_mapping.ko exports the
 * functions.
 *
 * All of it is for process context.
 */
#ifndef _LINUX_FAULTS_DISABLED_MAPPING_H
#define _LINUX_FAULTS_DISABLED_MAPPING_H

#include <linux/types.h>

struct address_space;

/**
 * struct faults_disabled_mapping - a marker, on the stack of the task that sets it
 *
 * All of it is private. Between faults_disabled_begin() and faults_disabled_end() it must stay
 * where it is.
 */
struct faults_disabled_mapping {
	/* private: */
	u64	opaque[12];
};

/**
 * enum faults_disabled_verdict - what the fault handler is to do; from the mildest to the strictest
 * @FAULTS_SERVE: serve the fault: the task has no marker on this mapping
 * @FAULTS_DISJOINT: serve the fault: the task is inside direct I/O on this mapping, but elsewhere
 * in it
 * @FAULTS_REFUSE: refuse the fault: the page lies in the range of the task's direct I/O
 * @FAULTS_BUG: refuse the fault and warn: the task keeps others from adding to this mapping and
 * must not fault on it
 */
enum faults_disabled_verdict {
	FAULTS_SERVE,
	FAULTS_DISJOINT,
	FAULTS_REFUSE,
	FAULTS_BUG,
};

/**
 * faults_disabled_begin() - set a marker for the current task
 * @marker: where it is to be, on the stack of the caller
 * @mapping: the mapping; compared, never followed
 * @first: the first page of the direct I/O
 * @last: its last page
 *
 * Markers nest. May sleep.
 *
 * Return: 0, or -ENOMEM; then nothing is set, and faults_disabled_end() must not be called.
 */
int __must_check faults_disabled_begin(struct faults_disabled_mapping *marker,
				       const struct address_space *mapping, pgoff_t first,
				       pgoff_t last);

/**
 * faults_disabled_end() - remove a marker
 * @marker: the one of the current task that was set last
 *
 * If @marker is another one it warns, and @marker stays set: it must be removed when it is the
 * last one, before its memory goes. A marker that outlives its memory is followed by the next
 * fault of the task.
 */
void faults_disabled_end(struct faults_disabled_mapping *marker);

/**
 * faults_disabled_check() - what to do with a fault of the current task
 * @mapping: the mapping on which it faults
 * @index: the page
 *
 * To be called by the fault handler before it takes any lock that direct I/O holds. Takes no lock
 * and never sleeps.
 *
 * Return: the strictest answer of all markers of the task.
 */
enum faults_disabled_verdict faults_disabled_check(const struct address_space *mapping,
						   pgoff_t index);

/**
 * faults_disabled_refused() - whether a fault inside the range was refused
 * @marker: the marker
 *
 * Pages that are resident are pinned without a fault: a false does not prove that there is no
 * overlap.
 *
 * Return: how many were.
 */
unsigned int faults_disabled_refused(const struct faults_disabled_mapping *marker);

/**
 * faults_disabled_set_blocking() - whether the task keeps others out of the page cache from
 * here on
 * @marker: the marker
 * @blocking: while it is true every fault of the task on the mapping gets FAULTS_BUG
 */
void faults_disabled_set_blocking(struct faults_disabled_mapping *marker, bool blocking);

#endif
