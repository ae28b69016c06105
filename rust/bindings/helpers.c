// SPDX-License-Identifier: GPL-2.0
/*
 * C functions around macros and static inlines; see helpers.h.
 */

#include <linux/blkdev.h>
#include <linux/buffer_head.h>
#include <linux/debugfs.h>
#include <linux/fileattr.h>
#include <linux/filelock.h>
#include <linux/fs_context.h>
#include <linux/jbd2.h>
#include <linux/kdev_t.h>
#include <linux/mm.h>
#include <linux/panic.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/random.h>
#include <linux/ratelimit.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/uio.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>

#include "helpers.h"

struct kmem_cache *vfs_inode_cache_create(const char *name, unsigned int size, unsigned int align,
					  void (*ctor)(void *))
{
	return kmem_cache_create(name, size, align, SLAB_RECLAIM_ACCOUNT | SLAB_ACCOUNT, ctor);
}

void *vfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache)
{
	return alloc_inode_sb(sb, cache, GFP_KERNEL);
}

unsigned int vfs_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void vfs_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

struct workqueue_struct *vfs_alloc_workqueue(const char *fs, const char *id)
{
	return alloc_workqueue("%s-io/%s", WQ_MEM_RECLAIM | WQ_PERCPU, 0, fs, id);
}

void vfs_synchronize_rcu(void)
{
	synchronize_rcu();
}

void vfs_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}

void vfs_init_work(struct work_struct *work, work_func_t fn)
{
	INIT_WORK(work, fn);
}

bool vfs_queue_work(struct workqueue_struct *queue, struct work_struct *work)
{
	return queue_work(queue, work);
}

void vfs_init_delayed_work(struct delayed_work *work, work_func_t fn)
{
	INIT_DELAYED_WORK(work, fn);
}

/* Other work, for lockdep, than the above. */
void vfs_init_deferred_work(struct delayed_work *work, work_func_t fn)
{
	INIT_DELAYED_WORK(work, fn);
}

bool vfs_queue_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
			    unsigned int ms)
{
	return queue_delayed_work(queue, work, msecs_to_jiffies(ms));
}

void vfs_list_init(struct list_head *list)
{
	INIT_LIST_HEAD(list);
}

void vfs_list_add(struct list_head *entry, struct list_head *list)
{
	list_add(entry, list);
}

void vfs_list_del_init(struct list_head *entry)
{
	list_del_init(entry);
}

void vfs_fc_error(struct fs_context *fc, const char *msg)
{
	errorf(fc, "%s", msg);
}

bool vfs_sb_rdonly(const struct super_block *sb)
{
	return sb_rdonly(sb);
}

void vfs_sb_start_intwrite(struct super_block *sb)
{
	sb_start_intwrite(sb);
}

bool vfs_sb_start_intwrite_trylock(struct super_block *sb)
{
	return sb_start_intwrite_trylock(sb);
}

void vfs_sb_end_intwrite(struct super_block *sb)
{
	sb_end_intwrite(sb);
}

void vfs_sb_start_pagefault(struct super_block *sb)
{
	sb_start_pagefault(sb);
}

void vfs_sb_end_pagefault(struct super_block *sb)
{
	sb_end_pagefault(sb);
}

u64 vfs_bdev_nr_bytes(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev);
}

unsigned int vfs_bdev_max_discard_sectors(struct block_device *bdev)
{
	return bdev_max_discard_sectors(bdev);
}

unsigned int vfs_bdev_discard_granularity(struct block_device *bdev)
{
	return bdev_discard_granularity(bdev);
}

unsigned int vfs_bdev_logical_block_size(struct block_device *bdev)
{
	return bdev_logical_block_size(bdev);
}

unsigned int vfs_bdev_dma_alignment(struct block_device *bdev)
{
	return bdev_dma_alignment(bdev);
}

bool vfs_bdev_writes_through(struct block_device *bdev)
{
	return !bdev_write_cache(bdev) || bdev_fua(bdev);
}

/*
 * blk_flush_plug() is not for modules. Ending the plug flushes it; what remains is an empty one,
 * for its owner to go on with.
 */
void vfs_flush_plug(void)
{
	struct blk_plug *plug = current->plug;

	if (plug) {
		blk_finish_plug(plug);
		current->plug = plug;
	}
}

unsigned long vfs_jiffies(void)
{
	return jiffies;
}

bool vfs_bdev_read_only(struct block_device *bdev)
{
	return bdev_read_only(bdev);
}

struct address_space *vfs_bdev_mapping(struct block_device *bdev)
{
	return bdev->bd_mapping;
}

u64 vfs_huge_encode_dev(dev_t dev)
{
	return huge_encode_dev(dev);
}

struct buffer_head *vfs_bdev_getblk(struct block_device *bdev, u64 block)
{
	return __getblk(bdev, block, PAGE_SIZE);
}

void vfs_bh_put(struct buffer_head *bh)
{
	brelse(bh);
}

bool vfs_bh_uptodate(const struct buffer_head *bh)
{
	return buffer_uptodate(bh);
}

bool vfs_bh_write_failed(const struct buffer_head *bh)
{
	return buffer_write_io_error(bh);
}

int vfs_bh_read(struct buffer_head *bh)
{
	return bh_read(bh, 0);
}

void vfs_bh_copy_out(const struct buffer_head *bh, size_t offset, void *to, size_t len)
{
	memcpy(to, bh->b_data + offset, len);
}

void vfs_bh_copy_in(struct buffer_head *bh, size_t offset, const void *from, size_t len)
{
	memcpy(bh->b_data + offset, from, len);
}

/* The whole block, which need not be read for that. */
void vfs_bh_fill(struct buffer_head *bh, const void *from)
{
	lock_buffer(bh);
	memcpy(bh->b_data, from, bh->b_size);
	set_buffer_uptodate(bh);
	unlock_buffer(bh);
}

/*
 * jbd2 writes a block that begins with its magic number with a 0 in its place, and puts that into
 * the copies that it keeps as well. Whether the block has begun so, since it has such copies.
 */
#define BH_VfsMagic BH_JBDPrivateStart
BUFFER_FNS(VfsMagic, vfs_magic)

static const __be32 vfs_magic = cpu_to_be32(JBD2_MAGIC_NUMBER);

void vfs_bh_note_magic(struct buffer_head *bh)
{
	if (!memcmp(bh->b_data, &vfs_magic, sizeof(vfs_magic)))
		set_buffer_vfs_magic(bh);
}

static void vfs_add_bits(u8 *bits, const void *from, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		bits[i] |= ((const u8 *)from)[i];
}

static void vfs_bh_add_copy(const struct buffer_head *bh, u8 *bits, const char *copy)
{
	if (!copy)
		return;
	vfs_add_bits(bits, copy, bh->b_size);
	if (buffer_vfs_magic(bh) && !memchr_inv(copy, 0, sizeof(vfs_magic)))
		vfs_add_bits(bits, &vfs_magic, sizeof(vfs_magic));
}

/*
 * Sets in the copy of a bitmap block what is set in the block as it was last committed, and,
 * if a commit is under way, as it will be then: what that transaction has allocated and the
 * next one freed is not to be had before the latter is committed.
 */
void vfs_bh_add_committed(struct buffer_head *bh, u8 *bits)
{
	struct journal_head *jh = jbd2_journal_grab_journal_head(bh);

	if (!jh)
		return;
	spin_lock(&jh->b_state_lock);
	vfs_bh_add_copy(bh, bits, jh->b_committed_data);
	vfs_bh_add_copy(bh, bits, jh->b_frozen_data);
	spin_unlock(&jh->b_state_lock);
	jbd2_journal_put_journal_head(jh);
}

static int journal_bmap(journal_t *journal, sector_t *block)
{
	*block += journal->j_blk_offset;
	return 0;
}

/* A journal without an inode has its blocks counted from the beginning of the device otherwise. */
void vfs_journal_map_from_start(journal_t *journal)
{
	journal->j_bmap = journal_bmap;
}

void vfs_journal_use_barriers(journal_t *journal)
{
	write_lock(&journal->j_state_lock);
	journal->j_flags |= JBD2_BARRIER;
	write_unlock(&journal->j_state_lock);
}

/* Whether a journal has no features but these. */
bool vfs_journal_has_no_more(const journal_t *journal, u32 incompat)
{
	const journal_superblock_t *sb = journal->j_superblock;

	return !sb->s_feature_compat && !sb->s_feature_ro_compat &&
	       !(sb->s_feature_incompat & ~cpu_to_be32(incompat));
}

bool vfs_journal_is_empty(const journal_t *journal)
{
	return !journal->j_superblock->s_start;
}

bool vfs_journal_is_aborted(journal_t *journal)
{
	return is_journal_aborted(journal);
}

bool vfs_journal_is_committed(const journal_t *journal, u32 tid)
{
	return tid_geq(READ_ONCE(journal->j_commit_sequence), tid);
}

u32 vfs_journal_latest(journal_t *journal)
{
	return jbd2_get_latest_transaction(journal);
}

bool vfs_has_handle(void)
{
	return current->journal_info;
}

u32 vfs_handle_tid(const handle_t *handle)
{
	return handle->h_transaction->t_tid;
}

void vfs_handle_sync(handle_t *handle)
{
	handle->h_sync = 1;
}

/* An inode of iget_locked() that could not be filled in: nobody may find it any more. */
void vfs_abandon_new_inode(struct inode *inode)
{
	remove_inode_hash(inode);
	discard_new_inode(inode);
}

bool vfs_inode_is_sync(const struct inode *inode)
{
	return IS_SYNC(inode);
}

bool vfs_inode_is_dirsync(const struct inode *inode)
{
	return IS_DIRSYNC(inode);
}

bool vfs_is_admin(void)
{
	return capable(CAP_SYS_ADMIN);
}

void vfs_inode_has_no_xattr(struct inode *inode)
{
	inode_has_no_xattr(inode);
}

void vfs_inode_has_no_acl(struct inode *inode)
{
	cache_no_acl(inode);
}

bool vfs_fileattr_has_fsx(const struct file_kattr *fa)
{
	return fileattr_has_fsx(fa);
}

int vfs_acl_chmod(struct mnt_idmap *idmap, struct dentry *dentry, umode_t mode)
{
	return posix_acl_chmod(idmap, dentry, mode);
}

int vfs_acl_create(struct inode *dir, umode_t *mode, struct posix_acl **for_dirs,
		   struct posix_acl **acl)
{
	return posix_acl_create(dir, mode, for_dirs, acl);
}

#ifdef CONFIG_FS_POSIX_ACL
int vfs_acl_update_mode(struct mnt_idmap *idmap, struct inode *inode, umode_t *mode,
			struct posix_acl **acl)
{
	return posix_acl_update_mode(idmap, inode, mode, acl);
}

struct posix_acl *vfs_acl_from_xattr(struct super_block *sb, const void *value, size_t size)
{
	return posix_acl_from_xattr(sb->s_user_ns, value, size);
}

void *vfs_acl_to_xattr(struct super_block *sb, const struct posix_acl *acl, size_t *size)
{
	return posix_acl_to_xattr(sb->s_user_ns, acl, size, GFP_NOFS);
}

void vfs_acl_set_cached(struct inode *inode, int type, struct posix_acl *acl)
{
	set_cached_acl(inode, type, acl);
}

void vfs_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}
#endif

int vfs_inode_lock_killable(struct inode *inode)
{
	return inode_lock_killable(inode);
}

bool vfs_inode_trylock(struct inode *inode)
{
	return inode_trylock(inode);
}

void vfs_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

int vfs_inode_lock_shared_killable(struct inode *inode)
{
	return inode_lock_shared_killable(inode);
}

bool vfs_inode_trylock_shared(struct inode *inode)
{
	return inode_trylock_shared(inode);
}

void vfs_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

bool vfs_inode_is_new(struct inode *inode)
{
	return inode_state_read_once(inode) & I_NEW;
}

bool vfs_inode_is_dirty(struct inode *inode, bool datasync)
{
	unsigned long state = inode_state_read_once(inode);

	/*
	 * Who writes it back has made it clean before, and has I_SYNC set until it
	 * is written. What that was is looked at next.
	 */
	smp_rmb();
	return state & (I_SYNC | (datasync ? I_DIRTY_DATASYNC : I_DIRTY_INODE));
}

void vfs_mark_inode_dirty(struct inode *inode)
{
	mark_inode_dirty(inode);
}

loff_t vfs_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void vfs_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

void vfs_i_size_extend(struct inode *inode, loff_t size)
{
	spin_lock(&inode->i_lock);
	if (size > i_size_read(inode))
		i_size_write(inode, size);
	spin_unlock(&inode->i_lock);
}

u32 vfs_i_uid_read(const struct inode *inode)
{
	return i_uid_read(inode);
}

u32 vfs_i_gid_read(const struct inode *inode)
{
	return i_gid_read(inode);
}

void vfs_i_uid_write(struct inode *inode, u32 uid)
{
	i_uid_write(inode, uid);
}

void vfs_i_gid_write(struct inode *inode, u32 gid)
{
	i_gid_write(inode, gid);
}

u32 vfs_i_nlink(const struct inode *inode)
{
	return inode->i_nlink;
}

void vfs_inode_set_atime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_atime(inode, sec, nsec);
}

void vfs_inode_set_mtime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

void vfs_inode_set_ctime(struct inode *inode, s64 sec, u32 nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

void vfs_inode_get_times(const struct inode *inode, struct timespec64 *atime,
			 struct timespec64 *mtime, struct timespec64 *ctime)
{
	*atime = inode_get_atime(inode);
	*mtime = inode_get_mtime(inode);
	*ctime = inode_get_ctime(inode);
}

void vfs_inode_touch(struct inode *inode)
{
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
}

void vfs_inode_set_link(struct inode *inode, char *target, u32 len)
{
	inode_set_cached_link(inode, target, len);
}

char *vfs_inode_link(const struct inode *inode, u32 *len)
{
	*len = inode->i_linklen;
	return inode->i_link;
}

void vfs_inode_set_special(struct inode *inode, u32 rdev)
{
	init_special_inode(inode, inode->i_mode, new_decode_dev(rdev));
}

u32 vfs_inode_rdev(const struct inode *inode)
{
	return new_encode_dev(inode->i_rdev);
}

u32 vfs_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

struct dentry *vfs_file_dentry(const struct file *file)
{
	return file_dentry(file);
}

int vfs_finish_open_simple(struct file *file, int error)
{
	return finish_open_simple(file, error);
}

int vfs_generic_setlease(struct file *file, int arg, struct file_lease **lease, void **priv)
{
	return generic_setlease(file, arg, lease, priv);
}

void vfs_inode_set_blocks(struct inode *inode, u64 sectors)
{
	spin_lock(&inode->i_lock);
	inode->i_blocks = sectors;
	inode->i_bytes = 0;
	spin_unlock(&inode->i_lock);
}

struct inode *vfs_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}

const char *vfs_dentry_name(const struct dentry *dentry, u32 *len)
{
	*len = dentry->d_name.len;
	return (const char *)dentry->d_name.name;
}

bool vfs_dir_emit(struct dir_context *ctx, const char *name, int len, u64 ino, unsigned int type)
{
	return dir_emit(ctx, name, len, ino, type);
}

bool vfs_dir_emit_dots(struct file *file, struct dir_context *ctx)
{
	return dir_emit_dots(file, ctx);
}

/* The locked folio at @index, created when it is not cached; its contents are not read. */
struct folio *vfs_grab_folio(struct address_space *mapping, pgoff_t index)
{
	return __filemap_get_folio(mapping, index, FGP_LOCK | FGP_ACCESSED | FGP_CREAT,
				   mapping_gfp_mask(mapping) | __GFP_NOFAIL);
}

void vfs_folio_lock(struct folio *folio)
{
	folio_lock(folio);
}

bool vfs_folio_trylock(struct folio *folio)
{
	return folio_trylock(folio);
}

#ifdef CONFIG_LOCKDEP
/* Stands for the locks of all folios. */
static struct lockdep_map vfs_folio_map = STATIC_LOCKDEP_MAP_INIT("folio_lock", &vfs_folio_map);

void vfs_folio_map_acquire(bool found)
{
	lock_acquire_exclusive(&vfs_folio_map, 0, found, NULL, _RET_IP_);
}

void vfs_folio_map_release(void)
{
	lock_release(&vfs_folio_map, _RET_IP_);
}
#endif

bool vfs_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

void vfs_folio_put(struct folio *folio)
{
	folio_put(folio);
}

void vfs_folio_mark_uptodate(struct folio *folio)
{
	folio_mark_uptodate(folio);
}

void vfs_memcpy_from_folio(void *to, struct folio *folio, size_t offset, size_t len)
{
	memcpy_from_folio(to, folio, offset, len);
}

void vfs_memcpy_to_folio(struct folio *folio, size_t offset, const void *from, size_t len)
{
	memcpy_to_folio(folio, offset, from, len);
}

loff_t vfs_folio_pos(struct folio *folio)
{
	return folio_pos(folio);
}

struct inode *vfs_folio_inode(struct folio *folio)
{
	return folio->mapping->host;
}

void vfs_mapping_set_large_folios(struct address_space *mapping)
{
	mapping_set_large_folios(mapping);
}

/* The pages of @folio, which is in a page cache, or has been. */
void vfs_folio_range(struct folio *folio, pgoff_t *first, pgoff_t *last)
{
	*first = folio->index;
	*last = folio->index + folio_nr_pages(folio) - 1;
}

struct folio *vfs_vmf_folio(const struct vm_fault *vmf)
{
	return page_folio(vmf->page);
}

/*
 * The pages of the folio that has page @index, if it is in the cache, and how many times
 * somebody has pinned one of them, which is exact for large folios.
 */
bool vfs_mapping_folio_range(struct address_space *mapping, pgoff_t index, pgoff_t *first,
			     pgoff_t *last, long *pins)
{
	struct folio *folio;

	if (mapping_empty(mapping))
		return false;
	folio = filemap_get_folio(mapping, index);
	if (IS_ERR(folio))
		return false;
	vfs_folio_range(folio, first, last);
	if (folio_has_pincount(folio))
		*pins = atomic_read(&folio->_pincount);
	else
		*pins = folio_ref_count(folio) / GUP_PIN_COUNTING_BIAS;
	folio_put(folio);
	return true;
}

/*
 * Marks all of @folio dirty, which is locked, and about to become so in part, if somebody has
 * pinned pages of it. For he does that when he has stored to them, but only if the folio is
 * not dirty by then.
 */
void vfs_folio_dirty_pinned(struct folio *folio)
{
	if (folio_test_large(folio) && folio_test_uptodate(folio) && folio_maybe_dma_pinned(folio))
		folio_mark_dirty(folio);
}

/*
 * Zeroes what the folio with byte @pos has from there on, if it is in the cache. It does not
 * become dirty.
 */
void vfs_zero_folio_from(struct address_space *mapping, loff_t pos)
{
	struct folio *folio;

	if (mapping_empty(mapping))
		return;
	folio = filemap_lock_folio(mapping, pos >> PAGE_SHIFT);
	if (IS_ERR(folio))
		return;
	folio_wait_writeback(folio);
	folio_zero_segment(folio, offset_in_folio(folio, pos), folio_size(folio));
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * As truncate_setsize(), but the folio whose last page is @last, and which has pages before
 * @size, too, stays in the cache as a whole, with zeroes behind the end.
 */
void vfs_truncate_setsize_keeping(struct inode *inode, loff_t size, pgoff_t last)
{
	struct address_space *mapping = inode->i_mapping;
	loff_t hole = round_up(size, PAGE_SIZE);

	i_size_write(inode, size);
	unmap_mapping_range(mapping, hole, 0, 1);
	truncate_inode_pages(mapping, (loff_t)(last + 1) << PAGE_SHIFT);
	/* Who has looked at the size before, and maps a page of it, has it locked. */
	vfs_zero_folio_from(mapping, size);
	unmap_mapping_range(mapping, hole, 0, 1);
}

u32 vfs_mapping_see_errors(struct address_space *mapping)
{
	errseq_t seen = 0;

	errseq_check_and_advance(&mapping->wb_err, &seen);
	return seen;
}

int vfs_mapping_check_errors(struct address_space *mapping, u32 since)
{
	return errseq_check(&mapping->wb_err, since);
}

void vfs_filemap_invalidate_lock(struct address_space *mapping)
{
	filemap_invalidate_lock(mapping);
}

void vfs_filemap_invalidate_unlock(struct address_space *mapping)
{
	filemap_invalidate_unlock(mapping);
}

void vfs_filemap_invalidate_lock_shared(struct address_space *mapping)
{
	filemap_invalidate_lock_shared(mapping);
}

void vfs_filemap_invalidate_unlock_shared(struct address_space *mapping)
{
	filemap_invalidate_unlock_shared(mapping);
}

struct folio *vfs_folio_of(struct page *page, size_t *pages)
{
	struct folio *folio = page_folio(page);

	*pages = folio_nr_pages(folio) - folio_page_idx(folio, page);
	return folio;
}

bool vfs_folio_test_dirty(const struct folio *folio)
{
	return folio_test_dirty(folio);
}

enum vfs_page_kind vfs_page_owner(struct page *page, struct address_space **mapping,
				  pgoff_t *index, size_t *pages)
{
	struct folio *folio = page_folio(page);

	*pages = folio_nr_pages(folio) - folio_page_idx(folio, page);

	*mapping = NULL;
	*index = 0;
	/* What never is in the page cache of a file on a block device. */
	if (folio_test_slab(folio) || folio_test_reserved(folio) || folio_test_hugetlb(folio) ||
	    is_zero_folio(folio))
		return VFS_PAGE_OTHER;
	if (folio_test_anon(folio))
		return VFS_PAGE_ANON;
	*mapping = READ_ONCE(folio->mapping);
	*index = folio->index + folio_page_idx(folio, page);
	/*
	 * Nothing tells a page that has left a page cache from one of a driver's: it may not even
	 * have come to the LRU yet.
	 */
	return *mapping ? VFS_PAGE_FILE : VFS_PAGE_DETACHED;
}

bool vfs_user_backed_iter(const struct iov_iter *iter)
{
	return user_backed_iter(iter);
}

bool vfs_iov_iter_is_bvec(const struct iov_iter *iter)
{
	return iov_iter_is_bvec(iter);
}

unsigned int vfs_bvecs_of_iter(const struct iov_iter *iter, const struct bio_vec **bvecs,
			       size_t *offset)
{
	*bvecs = iter->bvec;
	*offset = iter->iov_offset;
	return iter->nr_segs;
}

void vfs_iov_iter_truncate(struct iov_iter *iter, u64 count)
{
	iov_iter_truncate(iter, count);
}

void vfs_iov_iter_reexpand(struct iov_iter *iter, size_t count)
{
	iov_iter_reexpand(iter, count);
}

int vfs_iomap_iter_next(const struct iomap_iter *iter, struct iomap *iomap, struct iomap *srcmap,
			iomap_iter_begin_fn begin, iomap_iter_end_fn end)
{
	return iomap_iter_next(iter, iomap, srcmap, begin, end);
}

void vfs_iomap_bio_read_folio(struct folio *folio, const struct iomap_ops *ops)
{
	iomap_bio_read_folio(folio, ops);
}

void vfs_iomap_bio_readahead(struct readahead_control *rac, const struct iomap_ops *ops)
{
	iomap_bio_readahead(rac, ops);
}

static int vfs_debugfs_show(struct seq_file *m, void *v)
{
	const struct vfs_debugfs_file *file = m->private;

	return file->show(m, file);
}
DEFINE_SHOW_ATTRIBUTE(vfs_debugfs);

struct dentry *vfs_debugfs_create_dir(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

struct dentry *vfs_debugfs_create_file(const char *name, struct dentry *parent,
				       struct vfs_debugfs_file *file)
{
	return debugfs_create_file(name, 0444, parent, file, &vfs_debugfs_fops);
}

void vfs_debugfs_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

struct file *vfs_vmf_file(struct vm_fault *vmf)
{
	return vmf->vma->vm_file;
}

bool vfs_vmf_is_shared(struct vm_fault *vmf)
{
	return vmf->vma->vm_flags & VM_SHARED;
}

bool vfs_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void vfs_cond_resched(void)
{
	cond_resched();
}

void vfs_panic(const char *message)
{
	panic("%s\n", message);
}

void vfs_ratelimit_init(struct ratelimit_state *state)
{
	ratelimit_state_init(state, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);
}

bool vfs_ratelimit(struct ratelimit_state *state, const char *who)
{
	return ___ratelimit(state, who);
}

bool vfs_bio_in_atomic(void)
{
	return bio_in_atomic();
}

int vfs_blk_status_to_errno(const struct bio *bio)
{
	return blk_status_to_errno(bio->bi_status);
}

struct iomap_ioend *vfs_ioend_of_bio(struct bio *bio)
{
	return iomap_ioend_from_bio(bio);
}

ssize_t vfs_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

void vfs_file_accessed(struct file *file)
{
	file_accessed(file);
}

u32 vfs_random_u32(void)
{
	return get_random_u32();
}

bool vfs_iocb_is_dsync(const struct kiocb *iocb)
{
	return iocb_is_dsync(iocb);
}
