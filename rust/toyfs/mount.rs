// SPDX-License-Identifier: GPL-2.0

//! Mounting, and what belongs to a mount as a whole.

use super::{
    bitmap::Allocator,
    block::BlockIo,
    data::free_beyond_end,
    discard::Freed,
    errors::{Credits, Health},
    inode::InodeData,
    options::{Options, SelfDio},
    stats::Stats,
    wanted::Wanted,
    Inode, InodeRef, LockedSuper, SuperBlock, ToyFs,
};
use crate::vfs::{
    fatal_signal_pending, AtomicTid, BlockDevice, ErrorCursor, File, FoundJournal, FsStatics,
    Journal, NofsScope, PendingSuper, Show, StatFs, SuperGeometry, SuperOps, Tid, Types,
};
use core::{convert::Infallible, fmt};
use kernel::{
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::CStr,
    sync::{
        atomic::{Atomic, Relaxed},
        Mutex,
    },
};
use toyfs_format::{self as format, dir, SuperError, Superblock, SUPER_OFFSET, SUPER_SIZE};

// A block is a page: the cache, the device and the format count in the same units.
const _: () = assert!(
    format::BLOCK_SIZE == kernel::page::PAGE_SIZE,
    "toyfs needs a kernel with pages of 4 KiB"
);

/// For the registration of the type.
pub(crate) static STATICS: FsStatics<ToyFs> = FsStatics::new();

/// What toyfs keeps about a mount.
#[pin_data]
pub(crate) struct Super {
    /// The super block as it was read, when the journal had been replayed.
    pub(super) format: Superblock,
    /// Whether the super block on disk is the file system's own, or can be replaced.
    replaceable: bool,
    /// Checksum seed of this file system's metadata.
    pub(super) seed: u32,
    /// [`SelfDio`]; a remount may change it.
    selfdio: Atomic<u32>,
    /// Whether the device is told of what is freed; a remount may change it.
    pub(super) discard: Atomic<bool>,
    /// Free blocks and inodes.
    #[pin]
    pub(super) allocator: Mutex<Allocator>,
    /// What the device has not been told of.
    #[pin]
    pub(super) freed: Mutex<Freed>,
    /// Whether it is to be told of nothing for the moment.
    pub(super) discards_wait: Atomic<bool>,
    /// Whether there was an error.
    #[pin]
    pub(super) health: Health,
    /// Pages that somebody loses to direct writes.
    #[pin]
    pub(super) wanted: Wanted,
    /// What changes of metadata go through; not with `norecovery`.
    pub(super) journal: Option<Journal>,
    /// The last transaction in which a directory has got another name.
    pub(super) moved: AtomicTid,
    /// The label, as it is in the super block.
    #[pin]
    pub(super) label: Mutex<[u8; format::LABEL_LEN]>,
    /// Counters, and their file in debugfs.
    stats: File<Stats>,
}

impl Super {
    /// What the super block says while the file system is mounted for writing.
    fn state_in_use(&self) -> format::State {
        match self.format.state {
            format::State::Errors => format::State::Errors,
            _ => format::State::Dirty,
        }
    }

    /// What it says afterwards. Only fsck.toyfs makes a file system that has had an error a clean one.
    fn state_unused(&self) -> format::State {
        match self.format.state {
            format::State::Errors => format::State::Errors,
            _ => format::State::Clean,
        }
    }

    /// What to do about overlapping direct writes.
    pub(super) fn selfdio(&self) -> SelfDio {
        SelfDio::from_raw(self.selfdio.load(Relaxed))
    }

    /// Whether the device is to be told of what is freed.
    pub(super) fn discards(&self) -> bool {
        self.discard.load(Relaxed)
    }

    /// The counters.
    pub(super) fn stats(&self) -> &Stats {
        &self.stats
    }
}

impl Show for Stats {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Stats::show(self, f)
    }
}

/// A device that is being mounted.
struct Mounting<'a> {
    device: &'a BlockDevice,
    id: &'a CStr,
    since: ErrorCursor,
}

impl BlockIo for Mounting<'_> {
    fn read(&self, block: u64, offset: usize, buf: &mut [u8]) -> Result {
        BlockDevice::read(self.device, block, offset, buf, &self.since)
    }

    fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        let id = self.id;
        // Ends the mount, so there are not many.
        pr_err!("{id}: {what}\n");
        EUCLEAN
    }

    fn may_go_on(&self) -> Result {
        if fatal_signal_pending() {
            return Err(EINTR);
        }
        Ok(())
    }
}

/// Writes into the super block whether the file system is in use. On disk when it returns.
fn set_state(sb: &SuperBlock, state: format::State) -> Result {
    let io = sb.change(Credits::ONE)?;
    let mut raw = [0; SUPER_SIZE];
    io.read(0, SUPER_OFFSET, &mut raw)?;
    if Superblock::parse_torn(&raw).is_err() {
        // Mounted by the copy.
        io.read(sb.data().format.backup, SUPER_OFFSET, &mut raw)?;
    }
    Superblock::set_state(&mut raw, state);
    io.write(0, SUPER_OFFSET, &raw)?;
    io.finish(true)
}

/// Before the first change.
fn set_used(sb: &SuperBlock) -> Result {
    let journal = sb.journal()?;
    let had_error = journal.had_error();
    if had_error {
        journal.acknowledge_error();
    }
    set_state(sb, sb.data().state_in_use())?;
    if had_error {
        journal.clear_error();
    }
    free_orphans(sb)
}

/// Writes everything to its place, and then that the file system is no longer in use.
fn set_unused(sb: &LockedSuper) -> Result {
    sb.interrupt_discards();
    set_state(sb, sb.data().state_unused())?;
    sb.journal()?
        .quiesce()
        .inspect_err(|e| sb.fail(format_args!("the journal could not be emptied: {e:?}")))?;
    sb.discard_all_freed();
    Ok(())
}

/// Frees what was left to be freed when the machine stopped.
fn free_orphans(sb: &SuperBlock) -> Result {
    let io = &sb.reader();
    let mut count = 0;
    let mut next = 0;
    loop {
        let orphan = sb.data().allocator.lock().next_orphan(io, next)?;
        let Some(ino) = orphan else {
            break;
        };
        let inode = InodeData::get_orphan(sb, ino)?;
        if inode.nlink() > 0 {
            free_beyond_end(&*inode.lock()?)?;
        }
        // Without links it ends here.
        drop(inode);
        next = ino + 1;
        count += 1;
    }
    if count > 0 {
        let id = sb.id();
        pr_info!("{id}: freed what {count} deleted or truncated files had left\n");
    }
    Ok(())
}

/// Finds the journal, and writes what is in it to its places. Returns whether there was something.
fn load_journal(sb: &PendingSuper<'_, ToyFs>, format: &Superblock) -> Result<(Journal, bool)> {
    let id = sb.id();
    let unusable = |e| {
        pr_err!("{id}: the journal cannot be used: {e:?} (see fsck.toyfs)\n");
        if e == EIO || e == ENOMEM {
            e
        } else {
            EUCLEAN
        }
    };
    let region = &format.journal;
    let journal = FoundJournal::open(sb, region.start, region.len).map_err(unusable)?;
    let replay = !journal.is_empty();
    if replay && sb.device().is_read_only() {
        pr_err!("{id}: the journal has to be replayed, and nothing can be written to the device (try -o ro,norecovery)\n");
        return Err(EROFS);
    }
    let journal = journal.load().map_err(unusable)?;
    if replay {
        pr_info!("{id}: was not unmounted cleanly; the journal was replayed\n");
    }
    Ok((journal, replay))
}

/// Reads and checks the super block, or if it is damaged its copy. Says whether the file system can be
/// mounted for writing as far as that goes.
fn read_super(io: &Mounting<'_>) -> Result<(Superblock, bool)> {
    let id = io.id;
    let blocks = io.device.size() >> format::BLOCK_LOG2;
    let mut raw = [0; SUPER_SIZE];
    let read = io.read(0, SUPER_OFFSET, &mut raw);
    let error = match (read, Superblock::parse_torn(&raw)) {
        (Ok(()), Ok((sb, torn))) => {
            if torn {
                pr_warn!("{id}: the super block was torn when its state changed\n");
            }
            if sb.total_blocks > blocks {
                let has = sb.total_blocks;
                pr_err!("{id}: file system of {has} blocks on a device of {blocks}\n");
                return Err(EUCLEAN);
            }
            return Ok((sb, true));
        }
        (Ok(()), Err(SuperError::Unsupported(why))) => {
            pr_err!("{id}: cannot mount this version of toyfs: {why}\n");
            return Err(EINVAL);
        }
        (Ok(()), Err(SuperError::Foreign)) => {
            pr_err!("{id}: no toyfs here (make one with mkfs.toyfs)\n");
            EINVAL
        }
        (Ok(()), Err(SuperError::Corrupt(why))) => {
            pr_err!("{id}: corrupt super block: {why} (see fsck.toyfs)\n");
            EUCLEAN
        }
        (Err(e), _) => {
            pr_err!("{id}: the super block cannot be read: {e:?}\n");
            e
        }
    };
    let last = blocks.checked_sub(1).ok_or(error)?;
    let mut copy = [0; SUPER_SIZE];
    io.read(last, SUPER_OFFSET, &mut copy).map_err(|_| error)?;
    let sb = Superblock::parse_copy(&copy, last).ok_or(error)?;
    pr_warn!("{id}: going by the copy of the super block in block {last}\n");
    // What has its superblock elsewhere may have nothing in this place, and leave the last block alone: LUKS, for one.
    let mut before = [0; SUPER_OFFSET];
    let foreign = raw == [0; SUPER_SIZE]
        && (io.read(0, 0, &mut before).is_err() || before != [0; SUPER_OFFSET]);
    Ok((sb, read.is_ok() && sb.may_replace(&raw) && !foreign))
}

/// Refuses what may only be mounted read-only.
fn check_writable(sb: &Superblock, replaceable: bool, id: &CStr) -> Result {
    let why = match sb.writable() {
        Ok(()) if replaceable => return Ok(()),
        Ok(()) => "something else is in place of the super block",
        Err(SuperError::Unsupported(why) | SuperError::Corrupt(why)) => why,
        Err(SuperError::Foreign) => "foreign",
    };
    pr_err!("{id}: can only be mounted read-only: {why}\n");
    Err(EROFS)
}

/// Prints what the user should know about the options.
fn warn_about(options: &Options, device: &BlockDevice, id: &CStr) {
    if options.selfdio == SelfDio::Retry {
        pr_warn!("{id}: selfdio=retry: direct writes from their own range spin until killed\n");
    }
    if options.discard && device.discard_granularity().is_none() {
        pr_warn!("{id}: discard: this device does not\n");
    }
}

impl Types for ToyFs {
    type Super = Super;
    type Inode = InodeData;
}

impl SuperOps for ToyFs {
    const NAME: &'static CStr = c"toyfs";
    const INODE_CACHE: &'static CStr = c"toyfs_inode";

    type Options = Options;

    fn new_inode_data() -> impl PinInit<InodeData, Infallible> {
        InodeData::new()
    }

    fn fill_super(sb: &PendingSuper<'_, Self>, options: &Options) -> Result<Pin<KBox<Super>>> {
        sb.set_page_blocks().inspect_err(|e| {
            let id = sb.id();
            pr_err!("{id}: the device cannot have blocks of a page: {e:?}\n");
        })?;
        let io = Mounting {
            device: sb.device(),
            id: sb.id(),
            since: sb.device().error_cursor(),
        };
        let (mut format, mut replaceable) = read_super(&io)?;
        let journal = if options.norecovery {
            if !sb.is_read_only() {
                let id = sb.id();
                pr_err!("{id}: norecovery is for mounts that are read-only (-o ro,norecovery)\n");
                return Err(EINVAL);
            }
            None
        } else {
            let (journal, replayed) = load_journal(sb, &format)?;
            if replayed {
                (format, replaceable) = read_super(&io)?;
            }
            Some(journal)
        };
        if !sb.is_read_only() {
            check_writable(&format, replaceable, sb.id())?;
        }
        if journal.as_ref().is_some_and(Journal::had_error) {
            format.state = format::State::Errors;
        }
        if matches!(format.state, format::State::Errors) {
            let id = sb.id();
            pr_warn!("{id}: has had an error; run fsck.toyfs\n");
        }
        let allocator = Allocator::load(&io, &format)?;
        sb.set_geometry(&SuperGeometry {
            magic: format::STATFS_MAGIC,
            max_bytes: format::MAX_FILE_SIZE,
            max_links: format::MAX_LINKS,
            uuid: format.uuid,
        });
        let latest = journal.as_ref().map_or(Tid::NONE, Journal::latest);
        let debugfs = sb.debugfs().ok_or(ENODEV)?.subdir(sb.id());
        let seed = format.seed();
        let this = KBox::try_pin_init(
            try_pin_init!(Super {
                seed,
                replaceable,
                health <- Health::new(
                    io.since,
                    options.on_error,
                    latest,
                ),
                format,
                selfdio: Atomic::new(options.selfdio as u32),
                discard: Atomic::new(options.discard),
                allocator <- new_mutex!(allocator, "toyfs_allocator"),
                freed <- new_mutex!(Freed::new(), "toyfs_freed"),
                discards_wait: Atomic::new(false),
                wanted <- Wanted::new(),
                moved: AtomicTid::new(latest),
                label <- new_mutex!(format.label, "toyfs_label"),
                journal,
                stats: debugfs.file(c"stats", Stats::new())?,
            }),
            GFP_KERNEL,
        )?;
        warn_about(options, sb.device(), sb.id());
        Ok(this)
    }

    fn root(sb: &SuperBlock) -> Result<InodeRef<'_>> {
        let root = InodeData::get(sb, sb.data().format.root_ino)?;
        if !root.is_dir() {
            let id = sb.id();
            pr_err!("{id}: the root is no directory (see fsck.toyfs)\n");
            return Err(EUCLEAN);
        }
        // The last thing that can fail for a reason on disk was the root.
        if !sb.is_read_only() {
            set_used(sb)?;
        }
        Ok(root)
    }

    fn current_options(sb: &SuperBlock) -> Options {
        Options {
            selfdio: sb.data().selfdio(),
            on_error: sb.data().health.on_error(),
            norecovery: sb.journal().is_err(),
            discard: sb.data().discards(),
        }
    }

    fn reconfigure(sb: &LockedSuper, options: &Options, read_only: bool, forced: bool) -> Result {
        if !read_only && sb.has_failed() {
            let id = sb.id();
            pr_err!(
                "{id}: not mounted for writing after an error; unmount it and run fsck.toyfs\n"
            );
            return Err(EROFS);
        }
        if read_only != sb.is_read_only() {
            if !read_only {
                if sb.journal().is_err() {
                    let id = sb.id();
                    pr_err!("{id}: mounted with norecovery: unmount it first\n");
                    return Err(EROFS);
                }
                check_writable(&sb.data().format, sb.data().replaceable, sb.id())?;
                set_used(sb)?;
            } else if !sb.has_failed() {
                // The VFS has stopped all writers, and left the rest to us; unless it was forced: then
                // something may be under way, and the file system stays marked.
                sb.sync_all()?;
                if !forced {
                    set_unused(sb)?;
                }
            }
        }
        if *options != Self::current_options(sb) {
            warn_about(options, sb.device(), sb.id());
        }
        sb.data().selfdio.store(options.selfdio as u32, Relaxed);
        sb.set_discards(options.discard);
        sb.data().health.set_on_error(options.on_error);
        Ok(())
    }

    fn deferred(sb: &SuperBlock) -> bool {
        sb.discard_freed()
    }

    fn put_super(sb: &LockedSuper) {
        if sb.is_read_only() || sb.is_shut_down() {
            return;
        }
        if let Err(e) = set_unused(sb) {
            let id = sb.id();
            pr_err!("{id}: could not be unmounted cleanly: {e:?}\n");
        }
    }

    fn check_writable(sb: &SuperBlock) -> Result {
        if sb.is_read_only() {
            return Err(EROFS);
        }
        sb.check_changeable()
    }

    fn check_readable(sb: &SuperBlock) -> Result {
        sb.check_up()
    }

    fn sync_fs(sb: &LockedSuper, wait: bool) -> Result {
        sb.check_lost()?;
        if !wait {
            if let Ok(journal) = sb.journal() {
                journal.start_commit();
            }
            return Ok(());
        }
        // The VFS has written the inodes before it waited for their data, whose completion may have changed them: once more.
        sb.sync_inodes();
        sb.commit_all()
    }

    fn freeze(sb: &LockedSuper) -> Result {
        if sb.is_read_only() {
            return Ok(());
        }
        sb.commit_all()?;
        // So that a copy of the device needs no replay.
        sb.journal()?.quiesce()
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

    fn show_options(sb: &SuperBlock, out: &SeqFile) {
        let data = sb.data();
        let (selfdio, on_error) = (data.selfdio().option(), data.health.on_error().option());
        seq_print!(out, "{selfdio}{on_error}");
        if data.discards() {
            seq_print!(out, ",discard");
        }
        if sb.journal().is_err() {
            seq_print!(out, ",norecovery");
        }
        if sb.is_shut_down() {
            seq_print!(out, ",shutdown");
        } else if sb.has_failed() {
            seq_print!(out, ",emergency_ro");
        }
    }

    fn write_inode(inode: &Inode) -> Result {
        InodeData::write_back(inode)
    }

    fn evict_inode(inode: &Inode) {
        InodeData::evict(inode);
    }
}
