/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TWO_STATE_LOCK_TORTURE_H
#define TWO_STATE_LOCK_TORTURE_H

#include <linux/types.h>

struct task_struct;
struct lock_torture_other;

/* Mirrored by rust/lock_torture.rs. */
enum {
	LOCK_TORTURE_RWSEM = 1,
	LOCK_TORTURE_PERCPU = 2,
	LOCK_TORTURE_UNFAIR = 3,
};

const char *lock_torture_mode(void);
struct task_struct *lock_torture_spawn(int (*body)(void *), void *data, int cpu);
void lock_torture_join(struct task_struct *task);
void lock_torture_park(void);
void lock_torture_allow_kill(void);
void lock_torture_kill(struct task_struct *task);
void lock_torture_unkill(void);
void lock_torture_resched(void);
unsigned int lock_torture_cpus(void);
void lock_torture_spin(u64 ns);
bool lock_torture_in_hardirq(void);
void lock_torture_hardirq(void (*fn)(void *data), void *data);
void lock_torture_mutex(bool lock);
void lock_torture_mmap(bool lock);
bool lock_torture_open(void);
void lock_torture_close(void);
void lock_torture_inode(bool lock);
void lock_torture_inode_shared(bool lock);
void lock_torture_invalidate(bool lock);
void lock_torture_invalidate_shared(bool lock);
int lock_torture_copy(void);
int lock_torture_pin(void);
void lock_torture_reclaim(bool lock);
void lock_torture_alloc(void);
struct lock_torture_other *lock_torture_other_new(void);
void lock_torture_other_free(struct lock_torture_other *other);
bool lock_torture_other_lock(struct lock_torture_other *other, int kind, bool block, u64 timeout);
void lock_torture_other_unlock(struct lock_torture_other *other, int kind, bool block);
size_t lock_torture_other_size(int kind);
u64 lock_torture_other_loop(struct lock_torture_other *other, int kind, bool block, u64 hold,
			    unsigned int n);

#endif
