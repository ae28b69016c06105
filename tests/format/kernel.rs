// SPDX-License-Identifier: GPL-2.0

//! As much of the `kernel` crate as the pure parts of toyfs use, so that they can be tested on the
//! host. Allocations fail on demand, and a vector never has more room than was asked for.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
};

/// A kernel error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub i32);

pub type Result<T = (), E = Error> = core::result::Result<T, E>;

#[derive(Debug)]
pub struct AllocError;

impl From<AllocError> for Error {
    fn from(_: AllocError) -> Self {
        Error(12)
    }
}

impl From<core::num::TryFromIntError> for Error {
    fn from(_: core::num::TryFromIntError) -> Self {
        Error(22)
    }
}

/// The vector is full, or the index out of bounds: in these tests always a defect.
#[derive(Debug)]
pub struct NoRoom;

impl From<NoRoom> for Error {
    fn from(_: NoRoom) -> Self {
        panic!("insertion into a vector without room for it");
    }
}

#[derive(Clone, Copy)]
pub struct Flags;

thread_local! {
    static COUNTDOWN: Cell<Option<u32>> = const { Cell::new(None) };
    static MESSAGES: Cell<u32> = const { Cell::new(0) };
}

/// Makes the allocation after the next `n` fail, or none.
pub fn fail_alloc_after(n: Option<u32>) {
    COUNTDOWN.set(n);
}

/// Number of messages since the last call.
pub fn messages() -> u32 {
    MESSAGES.replace(0)
}

pub fn log(message: std::fmt::Arguments<'_>) {
    MESSAGES.set(MESSAGES.get() + 1);
    if std::env::var_os("VERBOSE").is_some() {
        eprint!("{message}");
    }
}

fn allocate() -> Result<(), AllocError> {
    match COUNTDOWN.get() {
        Some(0) => Err(AllocError),
        Some(n) => {
            COUNTDOWN.set(Some(n - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// A vector with fallible allocation.
#[derive(Debug)]
pub struct KVVec<T> {
    items: Vec<T>,
    room: usize,
}

impl<T> KVVec<T> {
    pub const fn new() -> Self {
        Self {
            items: Vec::new(),
            room: 0,
        }
    }

    pub fn with_capacity(n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.reserve(n, flags)?;
        Ok(v)
    }

    pub fn reserve(&mut self, n: usize, _flags: Flags) -> Result<(), AllocError> {
        if self.room - self.items.len() < n {
            allocate()?;
            self.room = self.items.len() + n;
        }
        Ok(())
    }

    pub fn push(&mut self, item: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.items.push(item);
        Ok(())
    }

    pub fn push_within_capacity(&mut self, item: T) -> Result<(), NoRoom> {
        self.insert_within_capacity(self.items.len(), item)
    }

    pub fn insert_within_capacity(&mut self, at: usize, item: T) -> Result<(), NoRoom> {
        if at > self.items.len() || self.items.len() >= self.room {
            return Err(NoRoom);
        }
        self.items.insert(at, item);
        Ok(())
    }

    pub fn remove(&mut self, at: usize) -> Result<T, NoRoom> {
        if at >= self.items.len() {
            return Err(NoRoom);
        }
        Ok(self.items.remove(at))
    }

    pub fn pop(&mut self) -> Option<T> {
        self.items.pop()
    }

    pub fn truncate(&mut self, n: usize) {
        self.items.truncate(n);
    }
}

impl<T: Clone> KVVec<T> {
    pub fn resize(&mut self, n: usize, item: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n.saturating_sub(self.items.len()), flags)?;
        self.items.resize(n, item);
        Ok(())
    }

    pub fn from_elem(item: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut v = Self::new();
        v.resize(n, item, flags)?;
        Ok(v)
    }
}

impl<T> Deref for KVVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for KVVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

impl<'a, T> IntoIterator for &'a KVVec<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

/// A box with fallible allocation.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        allocate()?;
        Ok(Self(Box::new(value)))
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// For one thread, as these tests are.
pub mod sync {
    use std::cell::OnceCell;

    pub struct SetOnce<T>(OnceCell<T>);

    impl<T> SetOnce<T> {
        pub const fn new() -> Self {
            Self(OnceCell::new())
        }

        pub fn as_ref(&self) -> Option<&T> {
            self.0.get()
        }

        pub fn populate(&self, value: T) -> bool {
            self.0.set(value).is_ok()
        }
    }

    pub mod atomic {
        use std::cell::Cell;

        pub struct Acquire;
        pub struct Relaxed;
        pub struct Release;

        pub struct Atomic<T>(Cell<T>);

        impl<T: Copy> Atomic<T> {
            pub const fn new(value: T) -> Self {
                Self(Cell::new(value))
            }

            pub fn load<O>(&self, _: O) -> T {
                self.0.get()
            }

            pub fn store<O>(&self, value: T, _: O) {
                self.0.set(value)
            }
        }
    }

    pub mod barrier {
        pub struct Read;
        pub struct Write;

        pub fn smp_mb<O>(_: O) {}
    }
}

pub mod processor {
    pub fn cpu_relax() {}
}

#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::log(format_args!($($arg)*)) };
}

pub mod prelude {
    pub use crate::{pr_err, Error, Flags, KBox, KVVec, Result};

    pub const GFP_KERNEL: Flags = Flags;
    pub const EIO: Error = Error(5);
    pub const ENOMEM: Error = Error(12);
    pub const EINVAL: Error = Error(22);
    pub const EFBIG: Error = Error(27);
    pub const ENOSPC: Error = Error(28);
    pub const EROFS: Error = Error(30);
    pub const EUCLEAN: Error = Error(117);
}
