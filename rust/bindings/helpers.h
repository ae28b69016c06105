/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions around macros and static inlines that the wrappers in rust/vfs/ need.
 * One line each, no logic: what has logic belongs in Rust.
 */
#ifndef VFS_HELPERS_H
#define VFS_HELPERS_H

#include <linux/bio.h>
#include <linux/fs.h>
#include <linux/iomap.h>
#include <linux/pagemap.h>
#include <linux/ratelimit_types.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

struct buffer_head;
struct file_lease;
struct fs_context;
struct iov_iter;
struct journal_s;
struct jbd2_journal_handle;
struct posix_acl;
struct file_kattr;
struct seq_file;

/* slab */
struct kmem_cache *vfs_inode_cache_create(const char *name, unsigned int size, unsigned int align,
					  void (*ctor)(void *));
void *vfs_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache);
unsigned int vfs_memalloc_nofs_save(void);
void vfs_memalloc_nofs_restore(unsigned int flags);

/* RCU, work queue, list */
void vfs_synchronize_rcu(void);
void vfs_synchronize_rcu_tasks(void);
struct workqueue_struct *vfs_alloc_workqueue(const char *fs, const char *id);
void vfs_init_work(struct work_struct *work, work_func_t fn);
bool vfs_queue_work(struct workqueue_struct *queue, struct work_struct *work);
void vfs_init_delayed_work(struct delayed_work *work, work_func_t fn);
void vfs_init_deferred_work(struct delayed_work *work, work_func_t fn);
bool vfs_queue_delayed_work(struct workqueue_struct *queue, struct delayed_work *work,
			    unsigned int ms);
void vfs_list_init(struct list_head *list);
void vfs_list_add(struct list_head *entry, struct list_head *list);
void vfs_list_del_init(struct list_head *entry);

/* fs_context, super_block */
void vfs_fc_error(struct fs_context *fc, const char *msg);
bool vfs_sb_rdonly(const struct super_block *sb);
void vfs_sb_start_intwrite(struct super_block *sb);
bool vfs_sb_start_intwrite_trylock(struct super_block *sb);
void vfs_sb_end_intwrite(struct super_block *sb);
void vfs_sb_start_pagefault(struct super_block *sb);
void vfs_sb_end_pagefault(struct super_block *sb);
u64 vfs_bdev_nr_bytes(struct block_device *bdev);
unsigned int vfs_bdev_max_discard_sectors(struct block_device *bdev);
unsigned int vfs_bdev_discard_granularity(struct block_device *bdev);
unsigned int vfs_bdev_logical_block_size(struct block_device *bdev);
unsigned int vfs_bdev_dma_alignment(struct block_device *bdev);
bool vfs_bdev_writes_through(struct block_device *bdev);
void vfs_flush_plug(void);
unsigned long vfs_jiffies(void);
bool vfs_bdev_read_only(struct block_device *bdev);
struct address_space *vfs_bdev_mapping(struct block_device *bdev);
u64 vfs_huge_encode_dev(dev_t dev);

/* buffer_head: metadata blocks of a page */
struct buffer_head *vfs_bdev_getblk(struct block_device *bdev, u64 block);
void vfs_bh_put(struct buffer_head *bh);
bool vfs_bh_uptodate(const struct buffer_head *bh);
bool vfs_bh_write_failed(const struct buffer_head *bh);
int vfs_bh_read(struct buffer_head *bh);
void vfs_bh_copy_out(const struct buffer_head *bh, size_t offset, void *to, size_t len);
void vfs_bh_copy_in(struct buffer_head *bh, size_t offset, const void *from, size_t len);
void vfs_bh_fill(struct buffer_head *bh, const void *from);
void vfs_bh_note_magic(struct buffer_head *bh);
void vfs_bh_add_committed(struct buffer_head *bh, u8 *bits);

/* jbd2 */
void vfs_journal_map_from_start(struct journal_s *journal);
void vfs_journal_use_barriers(struct journal_s *journal);
bool vfs_journal_has_no_more(const struct journal_s *journal, u32 incompat);
bool vfs_journal_is_empty(const struct journal_s *journal);
bool vfs_journal_is_aborted(struct journal_s *journal);
bool vfs_journal_is_committed(const struct journal_s *journal, u32 tid);
u32 vfs_journal_latest(struct journal_s *journal);
bool vfs_has_handle(void);
u32 vfs_handle_tid(const struct jbd2_journal_handle *handle);
void vfs_handle_sync(struct jbd2_journal_handle *handle);

/* inode */
void vfs_abandon_new_inode(struct inode *inode);
bool vfs_inode_is_sync(const struct inode *inode);
bool vfs_inode_is_dirsync(const struct inode *inode);
int vfs_inode_lock_killable(struct inode *inode);
bool vfs_inode_trylock(struct inode *inode);
void vfs_inode_unlock(struct inode *inode);
int vfs_inode_lock_shared_killable(struct inode *inode);
bool vfs_inode_trylock_shared(struct inode *inode);
void vfs_inode_unlock_shared(struct inode *inode);
bool vfs_inode_is_new(struct inode *inode);
bool vfs_inode_is_dirty(struct inode *inode, bool datasync);
void vfs_mark_inode_dirty(struct inode *inode);
loff_t vfs_i_size_read(const struct inode *inode);
void vfs_i_size_write(struct inode *inode, loff_t size);
void vfs_i_size_extend(struct inode *inode, loff_t size);
u32 vfs_i_uid_read(const struct inode *inode);
u32 vfs_i_gid_read(const struct inode *inode);
void vfs_i_uid_write(struct inode *inode, u32 uid);
void vfs_i_gid_write(struct inode *inode, u32 gid);
u32 vfs_i_nlink(const struct inode *inode);
void vfs_inode_set_atime(struct inode *inode, s64 sec, u32 nsec);
void vfs_inode_set_mtime(struct inode *inode, s64 sec, u32 nsec);
void vfs_inode_set_ctime(struct inode *inode, s64 sec, u32 nsec);
void vfs_inode_get_times(const struct inode *inode, struct timespec64 *atime,
			 struct timespec64 *mtime, struct timespec64 *ctime);
void vfs_inode_touch(struct inode *inode);
void vfs_inode_set_blocks(struct inode *inode, u64 sectors);
void vfs_inode_set_link(struct inode *inode, char *target, u32 len);
char *vfs_inode_link(const struct inode *inode, u32 *len);
void vfs_inode_set_special(struct inode *inode, u32 rdev);
u32 vfs_inode_rdev(const struct inode *inode);
u32 vfs_new_encode_dev(dev_t dev);

/* extended attributes, ACLs, attributes of files */
bool vfs_is_admin(void);
void vfs_inode_has_no_xattr(struct inode *inode);
void vfs_inode_has_no_acl(struct inode *inode);
bool vfs_fileattr_has_fsx(const struct file_kattr *fa);
int vfs_acl_chmod(struct mnt_idmap *idmap, struct dentry *dentry, umode_t mode);
int vfs_acl_create(struct inode *dir, umode_t *mode, struct posix_acl **for_dirs,
		   struct posix_acl **acl);
int vfs_acl_update_mode(struct mnt_idmap *idmap, struct inode *inode, umode_t *mode,
			struct posix_acl **acl);
struct posix_acl *vfs_acl_from_xattr(struct super_block *sb, const void *value, size_t size);
void *vfs_acl_to_xattr(struct super_block *sb, const struct posix_acl *acl, size_t *size);
void vfs_acl_set_cached(struct inode *inode, int type, struct posix_acl *acl);
void vfs_acl_release(struct posix_acl *acl);

/* dentry, directory */
struct inode *vfs_d_inode(const struct dentry *dentry);
const char *vfs_dentry_name(const struct dentry *dentry, u32 *len);
bool vfs_dir_emit(struct dir_context *ctx, const char *name, int len, u64 ino, unsigned int type);
struct dentry *vfs_file_dentry(const struct file *file);
int vfs_finish_open_simple(struct file *file, int error);
int vfs_generic_setlease(struct file *file, int arg, struct file_lease **lease, void **priv);
bool vfs_dir_emit_dots(struct file *file, struct dir_context *ctx);

/* address_space, folio */
struct folio *vfs_grab_folio(struct address_space *mapping, pgoff_t index);
void vfs_folio_lock(struct folio *folio);
bool vfs_folio_trylock(struct folio *folio);
void vfs_folio_map_acquire(bool found);
void vfs_folio_map_release(void);
void vfs_folio_put(struct folio *folio);
bool vfs_folio_test_uptodate(const struct folio *folio);
void vfs_folio_mark_uptodate(struct folio *folio);
void vfs_memcpy_from_folio(void *to, struct folio *folio, size_t offset, size_t len);
void vfs_memcpy_to_folio(struct folio *folio, size_t offset, const void *from, size_t len);
loff_t vfs_folio_pos(struct folio *folio);
struct inode *vfs_folio_inode(struct folio *folio);
void vfs_mapping_set_large_folios(struct address_space *mapping);
void vfs_folio_range(struct folio *folio, pgoff_t *first, pgoff_t *last);
struct folio *vfs_vmf_folio(const struct vm_fault *vmf);
bool vfs_mapping_folio_range(struct address_space *mapping, pgoff_t index, pgoff_t *first,
			     pgoff_t *last, long *pins);
void vfs_folio_dirty_pinned(struct folio *folio);
void vfs_zero_folio_from(struct address_space *mapping, loff_t pos);
void vfs_truncate_setsize_keeping(struct inode *inode, loff_t size, pgoff_t last);
u32 vfs_mapping_see_errors(struct address_space *mapping);
int vfs_mapping_check_errors(struct address_space *mapping, u32 since);
void vfs_filemap_invalidate_lock(struct address_space *mapping);
void vfs_filemap_invalidate_unlock(struct address_space *mapping);
void vfs_filemap_invalidate_lock_shared(struct address_space *mapping);
void vfs_filemap_invalidate_unlock_shared(struct address_space *mapping);

/*
 * The page cache that a page belongs to (NULL: none), where it is in it, and how many pages of its
 * folio follow each other from there.
 */
enum vfs_page_kind { VFS_PAGE_OTHER, VFS_PAGE_ANON, VFS_PAGE_DETACHED, VFS_PAGE_FILE };
enum vfs_page_kind vfs_page_owner(struct page *page, struct address_space **mapping,
				  pgoff_t *index, size_t *pages);
/* The folio of a page, and how many pages of it follow each other from there. */
struct folio *vfs_folio_of(struct page *page, size_t *pages);
bool vfs_folio_test_dirty(const struct folio *folio);

/* iov_iter */
bool vfs_user_backed_iter(const struct iov_iter *iter);
bool vfs_iov_iter_is_bvec(const struct iov_iter *iter);
unsigned int vfs_bvecs_of_iter(const struct iov_iter *iter, const struct bio_vec **bvecs,
			       size_t *offset);
void vfs_iov_iter_truncate(struct iov_iter *iter, u64 count);
void vfs_iov_iter_reexpand(struct iov_iter *iter, size_t count);

/* iomap */
int vfs_iomap_iter_next(const struct iomap_iter *iter, struct iomap *iomap, struct iomap *srcmap,
			iomap_iter_begin_fn begin, iomap_iter_end_fn end);
void vfs_iomap_bio_read_folio(struct folio *folio, const struct iomap_ops *ops);
void vfs_iomap_bio_readahead(struct readahead_control *rac, const struct iomap_ops *ops);

/* debugfs: a file whose operations belong to this module, so it stays while the file is open */
struct vfs_debugfs_file {
	int (*show)(struct seq_file *m, const struct vfs_debugfs_file *file);
};

struct dentry *vfs_debugfs_create_dir(const char *name, struct dentry *parent);
struct dentry *vfs_debugfs_create_file(const char *name, struct dentry *parent,
				       struct vfs_debugfs_file *file);
void vfs_debugfs_remove(struct dentry *dentry);

/* file, fault, task */
struct file *vfs_vmf_file(struct vm_fault *vmf);
bool vfs_vmf_is_shared(struct vm_fault *vmf);
bool vfs_fatal_signal_pending(void);
void vfs_cond_resched(void);
void vfs_panic(const char *message);
void vfs_ratelimit_init(struct ratelimit_state *state);
bool vfs_ratelimit(struct ratelimit_state *state, const char *who);
bool vfs_bio_in_atomic(void);
int vfs_blk_status_to_errno(const struct bio *bio);
struct iomap_ioend *vfs_ioend_of_bio(struct bio *bio);
ssize_t vfs_generic_write_sync(struct kiocb *iocb, ssize_t count);
void vfs_file_accessed(struct file *file);
u32 vfs_random_u32(void);
bool vfs_iocb_is_dsync(const struct kiocb *iocb);

#ifdef __BINDGEN__
/* Macros whose casts and shifts bindgen does not evaluate. */
static const unsigned int VFS_FMODE_CAN_ODIRECT = (unsigned int)FMODE_CAN_ODIRECT;
static const unsigned int VFS_FMODE_NOWAIT = (unsigned int)FMODE_NOWAIT;
static const unsigned int VFS_O_DSYNC = O_DSYNC;
static const int VFS_IOCB_DIRECT = IOCB_DIRECT;
static const int VFS_IOCB_APPEND = (int)IOCB_APPEND;
static const int VFS_IOCB_NOWAIT = (int)IOCB_NOWAIT;
static const int VFS_IOCB_DSYNC = (int)IOCB_DSYNC;
static const int VFS_IOCB_SYNC = (int)IOCB_SYNC;
static const int VFS_IOCB_HIPRI = (int)IOCB_HIPRI;
static const unsigned long VFS_SB_RDONLY = SB_RDONLY;
static const unsigned long VFS_SB_FORCE = SB_FORCE;
static const unsigned long VFS_SB_NOSEC = SB_NOSEC;
static const unsigned long VFS_SB_POSIXACL = SB_POSIXACL;
static const unsigned int VFS_S_NOSEC = S_NOSEC;
static const unsigned int VFS_S_SYNC = S_SYNC;
static const unsigned int VFS_S_DIRSYNC = S_DIRSYNC;
static const unsigned int VFS_S_IMMUTABLE = S_IMMUTABLE;
static const unsigned int VFS_S_APPEND = S_APPEND;
static const unsigned int VFS_S_NOATIME = S_NOATIME;
static const unsigned int VFS_IOC_GETFSLABEL = FS_IOC_GETFSLABEL;
static const unsigned int VFS_IOC_SETFSLABEL = FS_IOC_SETFSLABEL;
static const unsigned int VFS_IOC_TRIM = FITRIM;
/* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN, FS_IOC_SHUTDOWN */
static const unsigned int VFS_IOC_SHUTDOWN = _IOR('X', 125, __u32);
static const int VFS_AOP_TRUNCATED_PAGE = AOP_TRUNCATED_PAGE;
static const long long VFS_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;
static const unsigned int VFS_FOP_DIO_PARALLEL_WRITE = (unsigned int)FOP_DIO_PARALLEL_WRITE;
static const unsigned int VFS_BIO_COMPLETE_IN_TASK = BIO_COMPLETE_IN_TASK;
static const gfp_t VFS_GFP_NOFS = GFP_NOFS;
static const unsigned int VFS_IOMAP_IOEND_UNWRITTEN = IOMAP_IOEND_UNWRITTEN;
static const unsigned int VFS_IOMAP_DIO_UNWRITTEN = IOMAP_DIO_UNWRITTEN;
static const unsigned int VFS_IOMAP_F_DIRTY = IOMAP_F_DIRTY;
static const unsigned int VFS_IOMAP_F_NEW = IOMAP_F_NEW;
static const unsigned int VFS_IOMAP_WRITE = IOMAP_WRITE;
static const unsigned int VFS_IOMAP_ZERO = IOMAP_ZERO;
static const unsigned int VFS_IOMAP_REPORT = IOMAP_REPORT;
static const unsigned int VFS_IOMAP_FAULT = IOMAP_FAULT;
static const unsigned int VFS_IOMAP_DIRECT = IOMAP_DIRECT;
static const unsigned int VFS_IOMAP_NOWAIT = IOMAP_NOWAIT;
static const unsigned int VFS_FAULT_FLAG_WRITE = FAULT_FLAG_WRITE;
static const unsigned int VFS_FAULT_FLAG_RETRY_NOWAIT = FAULT_FLAG_RETRY_NOWAIT;
static const unsigned int VFS_FAULT_ERROR = (unsigned int)VM_FAULT_ERROR;
#endif

#endif /* VFS_HELPERS_H */
