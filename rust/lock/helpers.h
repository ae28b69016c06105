/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TWO_STATE_LOCK_HELPERS_H
#define TWO_STATE_LOCK_HELPERS_H

#include <linux/lockdep_types.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

/* Mirrored by rust/lock/ffi.rs. */
void two_state_lock_inner_init(raw_spinlock_t *lock, struct lock_class_key *key);
unsigned long two_state_lock_inner_lock(raw_spinlock_t *lock);
void two_state_lock_inner_unlock(raw_spinlock_t *lock, unsigned long flags);
void two_state_lock_preempt_disable(void);
void two_state_lock_preempt_enable(void);
bool two_state_lock_may_spin(void);
bool two_state_lock_spin(u64 until);
bool two_state_lock_killed(void);
void two_state_lock_prepare(bool killable);
void two_state_lock_finish(void);
bool two_state_lock_sleep(u64 until);
void two_state_lock_contention_begin(void *lock, bool block);
void two_state_lock_contention_end(void *lock, int ret);
void two_state_lock_map_init(struct lockdep_map *map, const char *name, struct lock_class_key *key);
void two_state_lock_map_acquire(struct lockdep_map *map, unsigned int subclass, bool try);
void two_state_lock_map_release(struct lockdep_map *map);
void two_state_lock_map_contended(struct lockdep_map *map);
void two_state_lock_map_acquired(struct lockdep_map *map);
void two_state_lock_map_assert_held(struct lockdep_map *map);
void two_state_lock_map_in_fault(struct lockdep_map *map);

#endif
