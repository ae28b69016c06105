// SPDX-License-Identifier: GPL-2.0
/*
 * What the two-state shared lock needs of the kernel and only C can say: macros, static inlines
 * and _RET_IP_.
 */
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/lockdep.h>
#include <linux/mmap_lock.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/timekeeping.h>
#include <linux/spinlock.h>
#include <trace/events/lock.h>

#include "helpers.h"

/* Slack that a waiter's timers may have, in ns. */
#define TWO_STATE_LOCK_SLACK	(10 * NSEC_PER_USEC)

void two_state_lock_inner_init(raw_spinlock_t *lock, struct lock_class_key *key)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(lock, "two_state_lock_inner", key, LD_WAIT_SPIN);
#else
	raw_spin_lock_init(lock);
#endif
}

unsigned long two_state_lock_inner_lock(raw_spinlock_t *lock)
{
	unsigned long flags;

	raw_spin_lock_irqsave(lock, flags);
	return flags;
}

void two_state_lock_inner_unlock(raw_spinlock_t *lock, unsigned long flags)
{
	raw_spin_unlock_irqrestore(lock, flags);
}

void two_state_lock_preempt_disable(void)
{
	preempt_disable();
}

void two_state_lock_preempt_enable(void)
{
	preempt_enable();
}

/* Whether a holder can be running while this task spins. */
bool two_state_lock_may_spin(void)
{
	return num_online_cpus() > 1;
}

/* A moment of spinning; false if it should end. */
bool two_state_lock_spin(u64 until)
{
	int i;

	/* Reading the clock is slow on some machines, so not every time. */
	for (i = 0; i < 8; i++)
		cpu_relax();
	return !need_resched() && ktime_get_ns() < until;
}

bool two_state_lock_killed(void)
{
	return signal_pending_state(TASK_KILLABLE, current);
}

void two_state_lock_prepare(bool killable)
{
	set_current_state(killable ? TASK_KILLABLE : TASK_UNINTERRUPTIBLE);
}

void two_state_lock_finish(void)
{
	__set_current_state(TASK_RUNNING);
}

/* Sleeps until woken (false) or until the given time (true). */
bool two_state_lock_sleep(u64 until)
{
	ktime_t expires;

	if (until >= KTIME_MAX) {
		schedule();
		return false;
	}
	expires = ns_to_ktime(until);
	return !schedule_hrtimeout_range(&expires, TWO_STATE_LOCK_SLACK, HRTIMER_MODE_ABS);
}

/* As a rwsem is seen: Add like a reader, Block like a writer. */
void two_state_lock_contention_begin(void *lock, bool block)
{
	trace_contention_begin(lock, block ? LCB_F_WRITE : LCB_F_READ);
}

void two_state_lock_contention_end(void *lock, int ret)
{
	trace_contention_end(lock, ret);
}

#ifdef CONFIG_DEBUG_LOCK_ALLOC
void two_state_lock_map_init(struct lockdep_map *map, const char *name, struct lock_class_key *key)
{
	lockdep_init_map_wait(map, name, key, 0, LD_WAIT_SLEEP);
}

void two_state_lock_map_acquire(struct lockdep_map *map, unsigned int subclass, bool try)
{
	lock_acquire(map, subclass, try, 0, 1, NULL, _RET_IP_);
}

void two_state_lock_map_release(struct lockdep_map *map)
{
	lock_release(map, _RET_IP_);
}

void two_state_lock_map_contended(struct lockdep_map *map)
{
	lock_contended(map, _RET_IP_);
}

void two_state_lock_map_acquired(struct lockdep_map *map)
{
	lock_acquired(map, _RET_IP_);
}

void two_state_lock_map_assert_held(struct lockdep_map *map)
{
	lockdep_assert(lock_is_held(map) != LOCK_STATE_NOT_HELD);
}

/* As a page fault of this task would, if it has memory to fault on. */
void two_state_lock_map_in_fault(struct lockdep_map *map)
{
	struct mm_struct *mm = current->mm;

	if (!mm)
		return;
	mmap_read_lock(mm);
	lock_acquire(map, 0, 0, 0, 1, NULL, _RET_IP_);
	lock_release(map, _RET_IP_);
	mmap_read_unlock(mm);
}
#endif
