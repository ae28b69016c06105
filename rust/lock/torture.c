// SPDX-License-Identifier: GPL-2.0
/*
 * What lock_torture.ko needs of the kernel and only C can say, and the locks that the two-state
 * shared lock is compared with. Test only.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/percpu-rwsem.h>
#include <linux/rwsem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "helpers.c"
#include "torture.h"

static char *mode = "torture";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "What to do: torture, starve, bench, or the name of a lockdep case");

const char *lock_torture_mode(void)
{
	return mode;
}

/* --- Threads --- */

/* Starts a thread, on one CPU if cpu >= 0. Returns NULL on failure. */
struct task_struct *lock_torture_spawn(int (*body)(void *), void *data, int cpu)
{
	struct task_struct *task = kthread_create(body, data, "lock_torture");

	if (IS_ERR(task))
		return NULL;
	if (cpu >= 0)
		kthread_bind(task, cpu);
	get_task_struct(task);
	wake_up_process(task);
	return task;
}

/* Waits until the thread has come to lock_torture_park(), and ends it. */
void lock_torture_join(struct task_struct *task)
{
	kthread_stop(task);
	put_task_struct(task);
}

/* A thread waits here to be joined. */
void lock_torture_park(void)
{
	flush_signals(current);
	for (;;) {
		set_current_state(TASK_INTERRUPTIBLE);
		if (kthread_should_stop())
			break;
		schedule();
		flush_signals(current);
	}
	__set_current_state(TASK_RUNNING);
}

void lock_torture_allow_kill(void)
{
	allow_signal(SIGKILL);
}

void lock_torture_kill(struct task_struct *task)
{
	send_sig(SIGKILL, task, 1);
}

void lock_torture_unkill(void)
{
	flush_signals(current);
}

/*
 * Not cond_resched(), which does nothing in a preemptible kernel: user-mode Linux, when it says
 * that it is one, preempts at preempt_enable() only, so a loop without one would have its CPU for
 * ever.
 */
void lock_torture_resched(void)
{
	if (need_resched())
		schedule();
}

unsigned int lock_torture_cpus(void)
{
	return num_online_cpus();
}

void lock_torture_spin(u64 ns)
{
	u64 end;

	if (!ns)
		return;
	end = ktime_get_ns() + ns;
	while (ktime_get_ns() < end)
		cpu_relax();
}

bool lock_torture_in_hardirq(void)
{
	return in_hardirq();
}

/* --- Something that runs in hard-irq context --- */

struct lock_torture_irq {
	struct hrtimer timer;
	void (*fn)(void *data);
	void *data;
	struct completion done;
};

static enum hrtimer_restart lock_torture_irq_fn(struct hrtimer *timer)
{
	struct lock_torture_irq *irq = container_of(timer, struct lock_torture_irq, timer);

	irq->fn(irq->data);
	complete(&irq->done);
	return HRTIMER_NORESTART;
}

/* Calls fn(data) in hard-irq context and waits for its end. */
void lock_torture_hardirq(void (*fn)(void *data), void *data)
{
	struct lock_torture_irq irq = { .fn = fn, .data = data };

	init_completion(&irq.done);
	hrtimer_setup_on_stack(&irq.timer, lock_torture_irq_fn, CLOCK_MONOTONIC,
			       HRTIMER_MODE_REL_HARD);
	hrtimer_start(&irq.timer, ns_to_ktime(1000), HRTIMER_MODE_REL_HARD);
	wait_for_completion(&irq.done);
	hrtimer_cancel(&irq.timer);
	destroy_hrtimer_on_stack(&irq.timer);
}

/* --- What lockdep compares the lock with --- */

static DEFINE_MUTEX(lock_torture_mtx);

void lock_torture_mutex(bool lock)
{
	if (lock)
		mutex_lock(&lock_torture_mtx);
	else
		mutex_unlock(&lock_torture_mtx);
}

void lock_torture_mmap(bool lock)
{
	if (lock)
		mmap_read_lock(current->mm);
	else
		mmap_read_unlock(current->mm);
}

/* A file of nobody's, for the locks of an inode and of its page cache. */
static struct file *lock_torture_file;

bool lock_torture_open(void)
{
	struct file *file = shmem_kernel_file_setup("lock_torture", PAGE_SIZE, EMPTY_VMA_FLAGS);

	if (IS_ERR(file))
		return false;
	lock_torture_file = file;
	return true;
}

void lock_torture_close(void)
{
	fput(lock_torture_file);
}

void lock_torture_inode(bool lock)
{
	if (lock)
		inode_lock(file_inode(lock_torture_file));
	else
		inode_unlock(file_inode(lock_torture_file));
}

void lock_torture_inode_shared(bool lock)
{
	if (lock)
		inode_lock_shared(file_inode(lock_torture_file));
	else
		inode_unlock_shared(file_inode(lock_torture_file));
}

void lock_torture_invalidate(bool lock)
{
	if (lock)
		filemap_invalidate_lock(lock_torture_file->f_mapping);
	else
		filemap_invalidate_unlock(lock_torture_file->f_mapping);
}

void lock_torture_invalidate_shared(bool lock)
{
	if (lock)
		filemap_invalidate_lock_shared(lock_torture_file->f_mapping);
	else
		filemap_invalidate_unlock_shared(lock_torture_file->f_mapping);
}

/* Reads a byte of the memory of the current task; it is there. */
int lock_torture_copy(void)
{
	char byte;

	return copy_from_user(&byte, (void __user *)current->mm->arg_start, 1) ? -EFAULT : 0;
}

/* Pins the page of that byte, and lets it go. */
int lock_torture_pin(void)
{
	struct page *page;

	if (pin_user_pages_fast(current->mm->arg_start, 1, 0, &page) != 1)
		return -EFAULT;
	unpin_user_page(page);
	return 0;
}

/* As reclaim (lock, unlock), or as an allocation that may enter it. */
void lock_torture_reclaim(bool lock)
{
	if (lock)
		fs_reclaim_acquire(GFP_KERNEL);
	else
		fs_reclaim_release(GFP_KERNEL);
}

void lock_torture_alloc(void)
{
	might_alloc(GFP_KERNEL);
}

/* --- Other locks, behind one face --- */

/*
 * The unfair prototype: one signed counter, one wait queue. Whoever finds the counter on its side
 * of zero enters.
 */
struct unfair_lock {
	atomic_long_t count;
	wait_queue_head_t wait;
};

static bool unfair_trylock(struct unfair_lock *lock, int by)
{
	long v = atomic_long_read(&lock->count);

	do {
		if (by > 0 ? v < 0 : v > 0)
			return false;
	} while (!atomic_long_try_cmpxchg_acquire(&lock->count, &v, v + by));
	return true;
}

static void unfair_unlock(struct unfair_lock *lock, int by)
{
	if (!atomic_long_sub_return_release(by, &lock->count))
		wake_up_all(&lock->wait);
}

struct lock_torture_other {
	struct rw_semaphore rwsem;
	struct percpu_rw_semaphore percpu;
	struct unfair_lock unfair;
};

struct lock_torture_other *lock_torture_other_new(void)
{
	struct lock_torture_other *other = kzalloc(sizeof(*other), GFP_KERNEL);

	if (!other)
		return NULL;
	init_rwsem(&other->rwsem);
	init_waitqueue_head(&other->unfair.wait);
	if (percpu_init_rwsem(&other->percpu)) {
		kfree(other);
		return NULL;
	}
	return other;
}

void lock_torture_other_free(struct lock_torture_other *other)
{
	percpu_free_rwsem(&other->percpu);
	kfree(other);
}

/* Takes the lock; gives up after `timeout` ns (unfair only), then returns false. */
bool lock_torture_other_lock(struct lock_torture_other *other, int kind, bool block, u64 timeout)
{
	switch (kind) {
	case LOCK_TORTURE_RWSEM:
		if (block)
			down_write(&other->rwsem);
		else
			down_read(&other->rwsem);
		return true;
	case LOCK_TORTURE_PERCPU:
		if (block)
			percpu_down_write(&other->percpu);
		else
			percpu_down_read(&other->percpu);
		return true;
	default:
		if (unfair_trylock(&other->unfair, block ? -1 : 1))
			return true;
		return wait_event_timeout(other->unfair.wait,
					  unfair_trylock(&other->unfair, block ? -1 : 1),
					  min_t(u64, nsecs_to_jiffies(timeout),
						MAX_SCHEDULE_TIMEOUT)) > 0;
	}
}

void lock_torture_other_unlock(struct lock_torture_other *other, int kind, bool block)
{
	switch (kind) {
	case LOCK_TORTURE_RWSEM:
		if (block)
			up_write(&other->rwsem);
		else
			up_read(&other->rwsem);
		break;
	case LOCK_TORTURE_PERCPU:
		if (block)
			percpu_up_write(&other->percpu);
		else
			percpu_up_read(&other->percpu);
		break;
	default:
		unfair_unlock(&other->unfair, block ? -1 : 1);
	}
}

size_t lock_torture_other_size(int kind)
{
	switch (kind) {
	case LOCK_TORTURE_RWSEM:
		return sizeof(struct rw_semaphore);
	case LOCK_TORTURE_PERCPU:
		return sizeof(struct percpu_rw_semaphore);
	default:
		return sizeof(struct unfair_lock);
	}
}

/* The loops that are timed: nothing but the lock, as a C caller would write it. */
u64 lock_torture_other_loop(struct lock_torture_other *other, int kind, bool block, u64 hold,
			    unsigned int n)
{
	u64 begin = ktime_get_ns();
	unsigned int i;

	switch (kind * 2 + block) {
	case LOCK_TORTURE_RWSEM * 2:
		for (i = 0; i < n; i++) {
			down_read(&other->rwsem);
			lock_torture_spin(hold);
			up_read(&other->rwsem);
		}
		break;
	case LOCK_TORTURE_RWSEM * 2 + 1:
		for (i = 0; i < n; i++) {
			down_write(&other->rwsem);
			lock_torture_spin(hold);
			up_write(&other->rwsem);
		}
		break;
	default:
		for (i = 0; i < n; i++) {
			lock_torture_other_lock(other, kind, block, U64_MAX);
			lock_torture_spin(hold);
			lock_torture_other_unlock(other, kind, block);
		}
	}
	return ktime_get_ns() - begin;
}
