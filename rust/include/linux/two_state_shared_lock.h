/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A lock with two states, both shared, that exclude each other, for modules in C.
 *
 * Any number of tasks may hold the lock in TWO_STATE_ADD, or any number in TWO_STATE_BLOCK, never
 * both. A waiter enters after the grace period and the longest hold of one phase of each state at
 * the latest. The implementation is rust/lock/, whose documentation has what holds for both
 * languages; Documentation/taking-the-lock.rst shows how it is used. two_state_shared_lock.ko
 * exports the functions.
 *
 * The functions are Rust's: call them directly. kCFI lets no pointer to them pass.
 *
 * A task must not take the lock while it holds it, in whichever state; lockdep reports it, as it
 * does for a mutex.
 */
#ifndef _LINUX_TWO_STATE_SHARED_LOCK_H
#define _LINUX_TWO_STATE_SHARED_LOCK_H

#include <linux/lockdep.h>
#include <linux/spinlock.h>
#include <linux/types.h>

/**
 * enum two_state - the states of the lock
 * @TWO_STATE_ADD: adds to a cache, or whatever the first group of a user does
 * @TWO_STATE_BLOCK: keeps others from adding
 */
enum two_state {
	TWO_STATE_ADD,
	TWO_STATE_BLOCK,
};

/**
 * struct two_state_shared_lock - the lock
 *
 * All of it is private. Initialise it with two_state_lock_init() or DEFINE_TWO_STATE_SHARED_LOCK(),
 * do not move it afterwards, and call two_state_lock_destroy() before its memory goes. Without
 * debugging it is 32 bytes, and no larger than a rwsem.
 */
struct two_state_shared_lock {
	/* private: rust/lock/core.rs mirrors these */
	atomic64_t		word;
	const void		*queue[2];
	raw_spinlock_t		inner;
	u32			futile_spins;
#ifdef CONFIG_DEBUG_LOCK_ALLOC
	struct lockdep_map	dep_map;
#endif
};

#ifdef CONFIG_DEBUG_LOCK_ALLOC
#define __TWO_STATE_DEP_MAP_INIT(lockname)		\
	.dep_map = {					\
		.name = #lockname,			\
		.wait_type_inner = LD_WAIT_SLEEP,	\
	},
#else
#define __TWO_STATE_DEP_MAP_INIT(lockname)
#endif

#define __TWO_STATE_SHARED_LOCK_INITIALIZER(lockname)			\
	{								\
		.word = ATOMIC64_INIT(0),				\
		.inner = __RAW_SPIN_LOCK_UNLOCKED(lockname.inner),	\
		__TWO_STATE_DEP_MAP_INIT(lockname)			\
	}

/**
 * DEFINE_TWO_STATE_SHARED_LOCK() - a lock in static storage, of a lockdep class of its own
 * @lockname: its name
 */
#define DEFINE_TWO_STATE_SHARED_LOCK(lockname)		\
	struct two_state_shared_lock lockname =		\
		__TWO_STATE_SHARED_LOCK_INITIALIZER(lockname)

void __two_state_lock_init(struct two_state_shared_lock *lock, const char *name,
			   struct lock_class_key *key);

/**
 * two_state_lock_init() - initialise a lock
 * @lock: the lock
 *
 * Locks that are initialised in the same place are of one lockdep class.
 */
#define two_state_lock_init(lock)				\
do {								\
	static struct lock_class_key __key;			\
								\
	__two_state_lock_init(lock, #lock, &__key);		\
} while (0)

/**
 * two_state_lock_destroy() - the memory of a lock will be freed
 * @lock: the lock
 *
 * Warns if somebody holds the lock, or waits for it.
 */
void two_state_lock_destroy(struct two_state_shared_lock *lock);

/**
 * two_state_lock() - take the lock
 * @lock: the lock
 * @state: the state to take it in
 *
 * Sleeps until it can, whatever happens.
 */
void two_state_lock(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_lock_nested() - take the lock, with another of its class held
 * @lock: the lock
 * @state: the state to take it in
 * @subclass: what this one is to lockdep, less than 8
 */
void two_state_lock_nested(struct two_state_shared_lock *lock, enum two_state state,
			   unsigned int subclass);

/**
 * two_state_lock_killable() - take the lock, or be killed
 * @lock: the lock
 * @state: the state to take it in
 *
 * Return: 0, or -EINTR if a fatal signal came before the lock did.
 */
int __must_check two_state_lock_killable(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_lock_killable_nested() - the same, with another lock of its class held
 * @lock: the lock
 * @state: the state to take it in
 * @subclass: what this one is to lockdep, less than 8
 *
 * Return: 0, or -EINTR if a fatal signal came before the lock did.
 */
int __must_check two_state_lock_killable_nested(struct two_state_shared_lock *lock,
						enum two_state state, unsigned int subclass);

/**
 * two_state_lock_timeout() - take the lock, be killed, or give up
 * @lock: the lock
 * @state: the state to take it in
 * @ns: how long to wait, in nanoseconds; 0 takes what is to be had at once
 *
 * Return: 0, -EINTR if a fatal signal came before the lock did, -ETIMEDOUT if the time was over.
 */
int __must_check two_state_lock_timeout(struct two_state_shared_lock *lock, enum two_state state,
					u64 ns);

/**
 * two_state_trylock() - take the lock if that needs no waiting
 * @lock: the lock
 * @state: the state to take it in
 *
 * Legal in every context but NMI. Lockdep learns no order from it: see two_state_might_lock().
 *
 * Return: whether it is held now.
 */
bool __must_check two_state_trylock(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_might_lock() - tell lockdep that the lock may be waited for here
 * @lock: the lock
 *
 * For those who begin with two_state_trylock() and wait if that fails.
 */
void two_state_might_lock(struct two_state_shared_lock *lock);

/**
 * two_state_taken_in_faults() - tell lockdep that page faults take locks of this class
 * @lock: a lock of the class
 *
 * From then on it reports every access to user memory under one of them, whether or not it faults.
 * Once is enough. The task must hold nothing, and have user memory: a kernel thread teaches lockdep
 * nothing.
 */
void two_state_taken_in_faults(struct two_state_shared_lock *lock);

/**
 * two_state_unlock() - give the lock back
 * @lock: the lock
 * @state: the state in which the task holds it
 *
 * Does not sleep; legal in every context but NMI, and not with locks of the scheduler held. If
 * nobody holds @state it warns, and changes nothing. If only somebody else does, his hold ends.
 */
void two_state_unlock(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_lock_hand_off() - the task does not hold the lock any more, somebody else does
 * @lock: the lock
 * @state: the state in which it is held
 *
 * For a hold that is released by what completes a request. For lockdep nobody holds the lock until
 * two_state_lock_take_over(). What submits the request is better called before: then lockdep knows
 * that it is called with the lock held. The hold may be gone by then, so @lock must live on by
 * other means.
 */
void two_state_lock_hand_off(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_lock_take_over() - this task, or interrupt, holds what was handed off
 * @lock: the lock
 * @state: the state in which it is held
 *
 * To be called before anything else is taken, so that lockdep sees what is taken with the lock
 * held; followed by
 * two_state_unlock(). To be called even if the one who hands off has not come to say so yet.
 */
void two_state_lock_take_over(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_assert_held() - warn if the task does not hold the lock
 * @lock: the lock
 * @state: the state in which it should
 *
 * Without lockdep it warns only if nobody does.
 */
void two_state_assert_held(struct two_state_shared_lock *lock, enum two_state state);

/**
 * two_state_is_contended() - whether somebody waits for the lock
 * @lock: the lock
 *
 * Return: a hint, which may be wrong by the time it is used.
 */
bool two_state_is_contended(struct two_state_shared_lock *lock);

#endif
