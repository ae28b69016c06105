// SPDX-License-Identifier: GPL-2.0
/*
 * How a module in C takes the two-state shared lock and the marker: a cache of numbers in front of
 * an array that plays the device, a fault that fills the cache, and a direct write that shuts the
 * cache out.
 *
 * Loading it runs the whole for a moment, and fails if something came out wrong. example_rust.rs is
 * the same in Rust.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/completion.h>
#include <linux/faults_disabled_mapping.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/two_state_shared_lock.h>
#include <linux/workqueue.h>

#define PAGES	64
#define ROUNDS	2000

static char *mode = "run";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "run, or the mistake that lockdep has to report: recursion, order");

struct cache {
	/* Only its address is used, as the name of this cache. */
	struct address_space mapping;
	/* Add: fills a page. Block: the device changes, and nobody fills. */
	struct two_state_shared_lock lock;
	u64 device[PAGES];
	/* 0: not in the cache. */
	u64 cached[PAGES];
};

static struct cache file, other;
static atomic_t wrong, refused, reads, writes;
static DECLARE_COMPLETION(finished);

/* What ->fault and the read path do: bring a page in. */
static int fill(struct cache *cache, unsigned long page, u64 *value)
{
	int err;

	/* First of all: this task may be inside of direct_write() on this cache. */
	switch (faults_disabled_check(&cache->mapping, page)) {
	case FAULTS_BUG:
		WARN_ON_ONCE(1);
		fallthrough;
	case FAULTS_REFUSE:
		return -EFAULT;
	case FAULTS_SERVE:
	case FAULTS_DISJOINT:
		break;
	}
	err = two_state_lock_killable(&cache->lock, TWO_STATE_ADD);
	if (err)
		return err;
	if (!READ_ONCE(cache->cached[page]))
		WRITE_ONCE(cache->cached[page], READ_ONCE(cache->device[page]));
	*value = READ_ONCE(cache->cached[page]);
	/* Nobody changes the device while somebody holds Add. */
	if (*value != READ_ONCE(cache->device[page]))
		atomic_inc(&wrong);
	two_state_unlock(&cache->lock, TWO_STATE_ADD);
	atomic_inc(&reads);
	return 0;
}

/* With Block held. */
static void change(struct cache *cache, unsigned long page, u64 value)
{
	two_state_assert_held(&cache->lock, TWO_STATE_BLOCK);
	WRITE_ONCE(cache->cached[page], 0);
	WRITE_ONCE(cache->device[page], value);
	/* Nobody fills while somebody holds Block. */
	if (READ_ONCE(cache->cached[page]))
		atomic_inc(&wrong);
	atomic_inc(&writes);
}

/* Writes to @page of @cache what page @buffer of @from, the user's memory, holds. */
static int direct_write(struct cache *cache, unsigned long page, struct cache *from,
			unsigned long buffer)
{
	struct faults_disabled_mapping marker;
	u64 value;
	int err;

	err = faults_disabled_begin(&marker, &cache->mapping, page, page);
	if (err)
		return err;
	/* The buffer is brought in with nothing held: it may fault, on this cache, too. */
	err = fill(from, buffer, &value);
	if (err)
		goto out;
	err = two_state_lock_killable(&cache->lock, TWO_STATE_BLOCK);
	if (err)
		goto out;
	/* Whoever faults from here on would wait for itself. */
	faults_disabled_set_blocking(&marker, true);
	change(cache, page, value + 1);
	faults_disabled_set_blocking(&marker, false);
	two_state_unlock(&cache->lock, TWO_STATE_BLOCK);
out:
	if (faults_disabled_refused(&marker))
		atomic_inc(&refused);
	faults_disabled_end(&marker);
	return err;
}

struct request {
	struct work_struct work;
	struct cache *cache;
	unsigned long page;
};

/* The completion of an asynchronous write: it holds what the submitter has handed off. */
static void complete_write(struct work_struct *work)
{
	struct request *request = container_of(work, struct request, work);

	two_state_lock_take_over(&request->cache->lock, TWO_STATE_BLOCK);
	change(request->cache, request->page, 1);
	two_state_unlock(&request->cache->lock, TWO_STATE_BLOCK);
}

static int direct_write_async(struct cache *cache, unsigned long page)
{
	struct request request = { .cache = cache, .page = page };
	int err;

	INIT_WORK_ONSTACK(&request.work, complete_write);
	err = two_state_lock_killable(&cache->lock, TWO_STATE_BLOCK);
	if (!err) {
		/* Submitted with it held, for lockdep; it may be gone before the hand-off. */
		schedule_work(&request.work);
		two_state_lock_hand_off(&cache->lock, TWO_STATE_BLOCK);
		flush_work(&request.work);
	}
	destroy_work_on_stack(&request.work);
	return err;
}

static int reader(void *unused)
{
	u64 value;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		if (fill(&file, i % PAGES, &value))
			atomic_inc(&wrong);
		cond_resched();
	}
	complete(&finished);
	return 0;
}

static int writer(void *first)
{
	unsigned long page = (unsigned long)first;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		/* From another cache, from another page of this one, from itself. */
		if (direct_write(&file, page, &other, page) ||
		    direct_write(&file, page, &file, (page + 1) % PAGES) ||
		    direct_write(&file, page, &file, page) != -EFAULT)
			atomic_inc(&wrong);
		if (i % 64 == 0 && direct_write_async(&file, page))
			atomic_inc(&wrong);
		cond_resched();
	}
	complete(&finished);
	return 0;
}

static int run(void)
{
	struct task_struct *task[4];
	int i, n, err = 0;

	for (n = 0; n < ARRAY_SIZE(task); n++) {
		/* A page of its own for each writer: writes to one page have no order. */
		task[n] = kthread_create(n % 2 ? writer : reader, (void *)(unsigned long)n,
					 "example/%d", n);
		if (IS_ERR(task[n])) {
			err = PTR_ERR(task[n]);
			break;
		}
		get_task_struct(task[n]);
		wake_up_process(task[n]);
	}
	for (i = 0; i < n; i++)
		wait_for_completion(&finished);
	for (i = 0; i < n; i++) {
		kthread_stop(task[i]);
		put_task_struct(task[i]);
	}
	return err;
}

static DEFINE_TWO_STATE_SHARED_LOCK(in_static_storage);

/* What lockdep has to report. */
static void misuse(void)
{
	if (!strcmp(mode, "recursion")) {
		two_state_lock(&file.lock, TWO_STATE_ADD);
		two_state_lock(&file.lock, TWO_STATE_ADD);
		two_state_unlock(&file.lock, TWO_STATE_ADD);
		two_state_unlock(&file.lock, TWO_STATE_ADD);
	} else {
		two_state_lock(&file.lock, TWO_STATE_ADD);
		two_state_lock(&in_static_storage, TWO_STATE_ADD);
		two_state_unlock(&in_static_storage, TWO_STATE_ADD);
		two_state_unlock(&file.lock, TWO_STATE_ADD);
		two_state_lock(&in_static_storage, TWO_STATE_BLOCK);
		two_state_lock(&file.lock, TWO_STATE_BLOCK);
		two_state_unlock(&file.lock, TWO_STATE_BLOCK);
		two_state_unlock(&in_static_storage, TWO_STATE_BLOCK);
	}
}

/* What the others do not use. */
static void once(void)
{
	struct two_state_shared_lock *lock = &in_static_storage;

	if (two_state_is_contended(lock) || !two_state_trylock(lock, TWO_STATE_ADD))
		atomic_inc(&wrong);
	two_state_assert_held(lock, TWO_STATE_ADD);
	if (two_state_trylock(lock, TWO_STATE_BLOCK))
		atomic_inc(&wrong);
	two_state_unlock(lock, TWO_STATE_ADD);

	two_state_might_lock(lock);
	two_state_lock_nested(lock, TWO_STATE_BLOCK, 1);
	two_state_unlock(lock, TWO_STATE_BLOCK);
	if (two_state_lock_killable_nested(lock, TWO_STATE_ADD, 1))
		atomic_inc(&wrong);
	/* Nobody's, for lockdep: otherwise what follows would be reported. */
	two_state_lock_hand_off(lock, TWO_STATE_ADD);
	if (two_state_lock_timeout(lock, TWO_STATE_BLOCK, NSEC_PER_MSEC) != -ETIMEDOUT)
		atomic_inc(&wrong);
	two_state_lock_take_over(lock, TWO_STATE_ADD);
	two_state_unlock(lock, TWO_STATE_ADD);
}

static int __init example_init(void)
{
	int i, err = 0;

	for (i = 0; i < PAGES; i++)
		file.device[i] = i + 1;
	memcpy(other.device, file.device, sizeof(other.device));
	two_state_lock_init(&file.lock);
	two_state_lock_init(&other.lock);
	if (strcmp(mode, "run")) {
		misuse();
	} else {
		two_state_taken_in_faults(&file.lock);
		once();
		err = run();
	}
	two_state_lock_destroy(&file.lock);
	two_state_lock_destroy(&other.lock);
	pr_info("%d fills, %d writes, %d refused, %d wrong\n", atomic_read(&reads),
		atomic_read(&writes), atomic_read(&refused), atomic_read(&wrong));
	return err ?: atomic_read(&wrong) ? -EINVAL : 0;
}
module_init(example_init);

static void __exit example_exit(void)
{
}
module_exit(example_exit);

MODULE_DESCRIPTION("How the two-state shared lock and the marker are used in C");
MODULE_LICENSE("GPL");
