// SPDX-License-Identifier: GPL-2.0

//! Mounting, and what belongs to a mount as a whole.

use super::{
    bitmap::Allocator,
    block::BlockIo,
    dir,
    format::{self, SuperError, Superblock, SUPER_OFFSET, SUPER_SIZE},
    inode::InodeData,
    options::{Options, SelfDio},
    stats::Stats,
    Inode, SuperBlock, ToyFs,
};
use crate::vfs::{
    BlockDevice, ErrorCursor, FileSystem, FsStatics, NofsScope, PendingSuper, SeqWriter, StatFs,
    SuperGeometry,
};
use core::convert::Infallible;
use kernel::{
    debugfs::File,
    new_mutex,
    prelude::*,
    str::CStr,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Mutex,
    },
};

static STATICS: FsStatics = FsStatics::new();

/// What toyfs keeps about a mount.
#[pin_data]
pub(crate) struct Super {
    /// The super block as it was read. Its state is what an unmount puts back: a file system that was
    /// not unmounted cleanly once has not become clean by being mounted again.
    pub(super) format: Superblock,
    /// Checksum seed of this file system's metadata.
    pub(super) seed: u32,
    /// [`SelfDio`]; a remount may change it.
    selfdio: Atomic<u32>,
    /// Free blocks and inodes.
    #[pin]
    pub(super) allocator: Mutex<Allocator>,
    /// Errors of metadata writes before this point are none of this mount's.
    errors_since: ErrorCursor,
    /// Counters, and their file in debugfs.
    #[pin]
    stats: File<Stats>,
}

impl Super {
    /// What to do about overlapping direct writes.
    pub(super) fn selfdio(&self) -> SelfDio {
        SelfDio::from_raw(self.selfdio.load(Relaxed))
    }

    /// The first error of a metadata write since the file system was mounted. From then on nothing can
    /// be called durable.
    pub(super) fn check_errors(&self, device: &BlockDevice) -> Result {
        device.check_errors(&self.errors_since)
    }

    /// The counters.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl BlockIo for BlockDevice {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        BlockDevice::read(self, block, offset, buf)
    }

    fn write(&self, block: u64, offset: usize, data: &[u8]) -> Result {
        BlockDevice::write(self, block, offset, data)
    }
}

/// Writes into the super block whether the file system is in use.
fn set_state(device: &BlockDevice, state: format::State) -> Result {
    let mut raw = [0; SUPER_SIZE];
    BlockDevice::read(device, 0, SUPER_OFFSET, &mut raw)?;
    Superblock::set_state(&mut raw, state);
    BlockDevice::write(device, 0, SUPER_OFFSET, &raw)
}

/// The same, on disk when it returns.
fn set_state_durably(device: &BlockDevice, state: format::State) -> Result {
    set_state(device, state)?;
    device.sync()?;
    device.flush()
}

/// Reads and checks the super block.
fn read_super(device: &BlockDevice, id: &CStr) -> Result<Superblock> {
    let mut raw = [0; SUPER_SIZE];
    BlockDevice::read(device, 0, SUPER_OFFSET, &mut raw)?;
    let sb = Superblock::parse(&raw).map_err(|e| match e {
        SuperError::Foreign => {
            pr_err!("{id}: no toyfs here (make one with mkfs.toyfs)\n");
            EINVAL
        }
        SuperError::Unsupported(why) => {
            pr_err!("{id}: cannot mount this version of toyfs: {why}\n");
            EINVAL
        }
        SuperError::Corrupt(why) => {
            pr_err!("{id}: corrupt super block: {why} (see fsck.toyfs)\n");
            EUCLEAN
        }
    })?;
    let blocks = device.size() >> format::BLOCK_LOG2;
    if sb.total_blocks > blocks {
        let has = sb.total_blocks;
        pr_err!("{id}: file system of {has} blocks on a device of {blocks}\n");
        return Err(EUCLEAN);
    }
    Ok(sb)
}

/// Refuses what may only be mounted read-only.
fn check_writable(sb: &Superblock, id: &CStr) -> Result {
    sb.writable().map_err(|e| {
        let why = match e {
            SuperError::Unsupported(why) | SuperError::Corrupt(why) => why,
            SuperError::Foreign => "foreign",
        };
        pr_err!("{id}: can only be mounted read-only: {why}\n");
        EROFS
    })
}

/// Prints what the user should know about the strategy.
fn warn_about(selfdio: SelfDio, id: &CStr) {
    if selfdio == SelfDio::Retry {
        pr_warn!("{id}: selfdio=retry: direct writes from their own range spin until killed\n");
    }
}

impl FileSystem for ToyFs {
    const NAME: &'static CStr = c"toyfs";
    const INODE_CACHE: &'static CStr = c"toyfs_inode";

    type Options = Options;
    type Super = Super;
    type Inode = InodeData;

    fn statics() -> &'static FsStatics {
        &STATICS
    }

    fn new_inode_data() -> impl PinInit<InodeData, Infallible> {
        InodeData::new()
    }

    fn fill_super(sb: &PendingSuper<'_, Self>, options: &Options) -> Result<Pin<KBox<Super>>> {
        sb.device().use_single_pages()?;
        sb.set_page_blocks().inspect_err(|_| {
            let id = sb.id();
            pr_err!("{id}: the device cannot have blocks of a page\n");
        })?;
        let format = read_super(sb.device(), sb.id())?;
        if !sb.is_read_only() {
            check_writable(&format, sb.id())?;
        }
        if matches!(format.state, format::State::Dirty) {
            let id = sb.id();
            pr_warn!("{id}: was not unmounted cleanly; run fsck.toyfs -n\n");
        }
        let allocator = Allocator::load(sb.device(), &format)?;
        sb.set_geometry(&SuperGeometry {
            magic: format::STATFS_MAGIC,
            max_bytes: format::MAX_FILE_SIZE,
            uuid: format.uuid,
        });
        let debugfs = STATICS.debugfs().ok_or(ENODEV)?.subdir(sb.id());
        let seed = format.seed();
        let this = KBox::try_pin_init(
            try_pin_init!(Super {
                seed,
                errors_since: sb.device().error_cursor(),
                format,
                selfdio: Atomic::new(options.selfdio as u32),
                allocator <- new_mutex!(allocator, "toyfs_allocator"),
                stats <- debugfs.read_callback_file(
                    c"stats",
                    Stats::new(),
                    &|stats: &Stats, f: &mut kernel::fmt::Formatter<'_>| stats.show(f),
                ),
            }),
            GFP_KERNEL,
        )?;
        warn_about(options.selfdio, sb.id());
        Ok(this)
    }

    fn root(sb: &SuperBlock) -> Result<ARef<Inode>> {
        let root = InodeData::get(sb, sb.data().format.root_ino)?;
        if !root.is_dir() {
            let id = sb.id();
            pr_err!("{id}: the root is no directory (see fsck.toyfs)\n");
            return Err(EUCLEAN);
        }
        // The last thing that can fail for a reason on disk was the root.
        if !sb.is_read_only() {
            set_state_durably(sb.device(), format::State::Dirty)?;
        }
        Ok(root)
    }

    fn current_options(sb: &SuperBlock) -> Options {
        Options {
            selfdio: sb.data().selfdio(),
        }
    }

    fn reconfigure(sb: &SuperBlock, options: &Options, read_only: bool) -> Result {
        if read_only != sb.is_read_only() {
            if read_only {
                // The VFS has stopped all writers, and left the rest to us.
                sb.sync_all()?;
                set_state_durably(sb.device(), sb.data().format.state)?;
            } else {
                check_writable(&sb.data().format, sb.id())?;
                set_state_durably(sb.device(), format::State::Dirty)?;
            }
        }
        if options.selfdio != sb.data().selfdio() {
            warn_about(options.selfdio, sb.id());
        }
        sb.data().selfdio.store(options.selfdio as u32, Relaxed);
        Ok(())
    }

    fn put_super(sb: &SuperBlock) {
        if sb.is_read_only() {
            return;
        }
        // What must be on disk before the mark that says so.
        let synced = sb.device().sync().and_then(|()| sb.device().flush());
        if let Err(e) = synced.and_then(|()| set_state_durably(sb.device(), sb.data().format.state))
        {
            let id = sb.id();
            pr_err!("{id}: could not be unmounted cleanly: {e:?}\n");
        }
    }

    fn sync_fs(sb: &SuperBlock, wait: bool) -> Result {
        if !wait {
            return Ok(());
        }
        // The VFS has written the inodes before it waited for their data, whose completion made
        // unwritten blocks ordinary ones: once more.
        sb.sync_inodes();
        sb.device().sync()?;
        sb.device().flush()
    }

    fn statfs(sb: &SuperBlock) -> StatFs {
        let _nofs = NofsScope::enter();
        let data = sb.data();
        let allocator = data.allocator.lock();
        StatFs {
            magic: format::STATFS_MAGIC,
            blocks: data.format.data.len,
            free: allocator.free_block_count(),
            available: allocator.available_block_count(),
            files: data.format.inode_count,
            files_free: allocator.free_inode_count(),
            name_len: dir::NAME_MAX as u32,
        }
    }

    fn show_options(sb: &SuperBlock, out: &SeqWriter) {
        out.puts(sb.data().selfdio().option());
    }

    fn write_inode(inode: &Inode) -> Result {
        InodeData::store(inode)
    }

    fn evict_inode(inode: &Inode) {
        InodeData::evict(inode);
    }
}
