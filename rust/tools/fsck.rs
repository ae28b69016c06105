// SPDX-License-Identifier: GPL-2.0

//! `fsck.toyfs`: checks and repairs a toyfs filesystem. This file is what the command line and the exit status are made of.

#![forbid(unsafe_code)]

mod check;
mod course;
mod overlay;
mod repair;

use check::{Disk, Failure};
use course::{run, Verdict, Wish};
use overlay::Storage;
use repair::{Dialogue, Mode};
use std::{
    fs::OpenOptions,
    io::{self, IsTerminal},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};
use toyfs_format::{State, BLOCK_SIZE};
use toyfs_tools::{arguments, mount_point, Device, Output, Program};

const USAGE: &str = "\
Usage: fsck.toyfs [options] DEVICE

Checks the toyfs filesystem on DEVICE, a block device or an image file, and repairs it. Without -n, -p
and -y it asks before each repair, or, if standard input is no terminal, changes nothing.

  -n          change nothing: the journal is replayed in memory only
  -p, -a      repair what can be without a loss; look no further if the filesystem is marked clean
  -y          repair everything
  -f          check even if the filesystem is marked clean
  -q          print nothing but errors
  -h, --help  print this help
  -V, --version  print the version

Exit status: 0 no errors, 1 errors were corrected, 4 errors are left, 8 the check could not be made, 16 usage.
";

const EXIT_CORRECTED: u8 = 1;
const EXIT_ERRORS: u8 = 4;
const EXIT_OPERATIONAL: u8 = 8;
const EXIT_USAGE: u8 = 16;

/// Open a block device exclusively: fails if it is mounted or otherwise claimed.
const O_EXCL: i32 = 0o200;

const PROGRAM: Program = Program {
    name: "fsck.toyfs",
    usage: USAGE,
};

impl Disk for Device {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = block.checked_mul(BLOCK_SIZE as u64);
        Device::read(self, at.ok_or(io::ErrorKind::InvalidInput)?, buf)
    }
}

impl Storage for Device {
    fn write(&self, block: u64, data: &[u8]) -> io::Result<()> {
        Device::write(self, block, data)
    }

    fn sync(&self) -> io::Result<()> {
        Device::sync(self)
    }
}

/// What the command line asked for.
#[derive(Default)]
struct Options {
    device: PathBuf,
    wish: Wish,
}

/// Parses the command line. `Ok(None)`: it was answered already.
fn parse_args(args: Vec<String>) -> Result<Option<Options>, String> {
    let mut wish = Wish::default();
    let mut mode = None;
    let places = toyfs_tools::parse(&PROGRAM, args, |letter, letters| {
        let wanted = match letter {
            'n' => Mode::Nothing,
            'a' | 'p' => Mode::Safe,
            'y' => Mode::All,
            'f' => {
                wish.force = true;
                return Ok(());
            }
            'q' => {
                wish.quiet = true;
                return Ok(());
            }
            _ => return Err(format!("unknown option {}", letters.word())),
        };
        match mode.replace(wanted) {
            Some(before) if before != wanted => Err("only one of -n, -p and -y is possible".into()),
            _ => Ok(()),
        }
    })?;
    let Some(places) = places else {
        return Ok(None);
    };
    wish.mode = match mode {
        Some(mode) => mode,
        None if io::stdin().is_terminal() => Mode::Ask,
        None => Mode::Nothing,
    };
    let mut places = places.into_iter();
    let device = places.next().ok_or("no device given")?.into();
    match places.next() {
        Some(extra) => Err(format!("unexpected argument: {extra}")),
        None => Ok(Some(Options { device, wish })),
    }
}

/// Opens the device. What is mounted is not repaired.
fn open(path: &Path, mode: Mode) -> Result<Device, String> {
    let name = path.display();
    let writing = mode != Mode::Nothing;
    match mount_point(path) {
        Some(place) if writing => return Err(format!("{name}: is mounted on {place}")),
        Some(place) => {
            eprintln!("{name}: mounted on {place}: what is found may not be real");
        }
        None => {}
    }
    let exclusive = writing
        && path
            .metadata()
            .is_ok_and(|m| m.file_type().is_block_device());
    OpenOptions::new()
        .read(true)
        .write(writing)
        .custom_flags(if exclusive { O_EXCL } else { 0 })
        .open(path)
        .and_then(Device::new)
        .map_err(|e| match e.kind() {
            io::ErrorKind::ResourceBusy => format!("{name}: is in use"),
            _ => format!("{name}: {e}"),
        })
}

/// What is printed, with the name of the device before it, and what is asked.
struct Talk {
    name: String,
    output: Output,
}

impl Dialogue for Talk {
    fn say(&mut self, line: &str) {
        self.output.line(format_args!("{}: {line}", self.name));
    }

    fn ask(&mut self, question: &str) -> bool {
        self.output
            .print(format_args!("{}: {question} (y/n)? ", self.name));
        self.output.flush();
        let mut answer = String::new();
        // The end of the input is no consent.
        io::stdin().read_line(&mut answer).is_ok()
            && matches!(answer.trim(), "y" | "Y" | "yes" | "j")
    }
}

/// The exit status.
fn exit_status(verdict: &Verdict) -> u8 {
    let Verdict::Checked {
        summary,
        first,
        repaired,
    } = verdict
    else {
        return 0;
    };
    let left = if summary.errors > 0 { EXIT_ERRORS } else { 0 };
    // That the journal was replayed, and orphans were dealt with, is no correction: nothing was wrong.
    let corrected = *repaired && first.errors > summary.errors;
    left | if corrected { EXIT_CORRECTED } else { 0 }
}

/// The last line, and the exit status.
fn conclude(verdict: &Verdict, quiet: bool, talk: &mut Talk) -> u8 {
    let status = exit_status(verdict);
    let (summary, first) = match verdict {
        Verdict::Skipped => {
            if !quiet {
                talk.say("clean");
            }
            return status;
        }
        Verdict::Checked { summary, first, .. } => (summary, first),
    };
    let numbers = format!(
        "{}/{} inodes, {}/{} blocks",
        summary.used_inodes, summary.inodes, summary.used_blocks, summary.blocks
    );
    if !quiet {
        match first.state {
            State::Clean => {}
            State::Dirty => talk.say("was not unmounted, or is mounted"),
            State::Errors => talk.say("was marked as having errors"),
        }
        if first.orphans > 0 {
            talk.say(&format!("orphans: {}", first.orphans));
        }
    }
    match summary.errors {
        0 if status == EXIT_CORRECTED => talk.say(&format!("repaired, {numbers}")),
        0 if quiet => {}
        0 => talk.say(&format!("clean, {numbers}")),
        1 => talk.say(&format!("1 error, {numbers}")),
        n => talk.say(&format!("{n} errors, {numbers}")),
    }
    status
}

/// Does it all and returns the exit status.
fn fsck(options: &Options) -> Result<u8, String> {
    let Options { device, wish } = options;
    let disk = open(device, wish.mode)?;
    let mut talk = Talk {
        name: device.display().to_string(),
        output: Output::default(),
    };
    let status = match run(&disk, *wish, &mut talk) {
        Ok(verdict) => conclude(&verdict, wish.quiet, &mut talk),
        Err(Failure::Damaged(why)) => {
            talk.say(&why);
            talk.say("1 error, nothing else could be checked");
            EXIT_ERRORS
        }
        Err(Failure::Unusable(why)) => return Err(format!("{}: {why}", talk.name)),
    };
    talk.output.end()?;
    Ok(status)
}

fn main() -> ExitCode {
    match arguments().and_then(parse_args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(options)) => match fsck(&options) {
            Ok(status) => ExitCode::from(status),
            Err(e) => {
                eprintln!("fsck.toyfs: {e}");
                ExitCode::from(EXIT_OPERATIONAL)
            }
        },
        Err(e) => {
            eprintln!("fsck.toyfs: {e}\nTry 'fsck.toyfs --help'.");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
