// SPDX-License-Identifier: GPL-2.0

//! `fsck.toyfs`: checks a toyfs filesystem. This file is what the command line and the exit status are made of.

#![forbid(unsafe_code)]

mod check;

use check::{check, Disk, Failure};
use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};
use toyfs_format::BLOCK_SIZE;
use toyfs_tools::{arguments, mount_point, Device, Output, Program};

const USAGE: &str = "\
Usage: fsck.toyfs [options] DEVICE

Checks the toyfs filesystem on DEVICE, a block device or an image file, without changing it.

  -n          change nothing (there is no other way yet)
  -a, -p, -y  accepted, but repair is not supported: what is found stays
  -f          check even if the filesystem is marked clean (always done)
  -q          print nothing but errors
  -h, --help  print this help
  -V, --version  print the version

Exit status: 0 no errors, 4 errors found, 8 the check could not be made, 16 usage.
";

const EXIT_ERRORS: u8 = 4;
const EXIT_OPERATIONAL: u8 = 8;
const EXIT_USAGE: u8 = 16;

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

/// What the command line asked for.
#[derive(Default)]
struct Options {
    device: PathBuf,
    quiet: bool,
    repair: bool,
}

/// Parses the command line. `Ok(None)`: it was answered already.
fn parse_args(args: Vec<String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let places = toyfs_tools::parse(&PROGRAM, args, |letter, letters| {
        match letter {
            'n' | 'f' => {}
            'a' | 'p' | 'y' => options.repair = true,
            'q' => options.quiet = true,
            _ => return Err(format!("unknown option {}", letters.word())),
        }
        Ok(())
    })?;
    let Some(places) = places else {
        return Ok(None);
    };
    let mut places = places.into_iter();
    options.device = places.next().ok_or("no device given")?.into();
    match places.next() {
        Some(extra) => Err(format!("unexpected argument: {extra}")),
        None => Ok(Some(options)),
    }
}

/// Does it all and returns the exit status.
fn run(options: &Options) -> Result<u8, String> {
    let path: &Path = &options.device;
    let name = path.display();
    let file = OpenOptions::new()
        .read(true)
        .open(path)
        .map_err(|e| format!("{name}: {e}"))?;
    let disk = Device::new(file).map_err(|e| format!("{name}: {e}"))?;
    if let Some(place) = mount_point(path) {
        eprintln!("{name}: mounted on {place}: what is found may not be real");
    }
    let mut output = Output::default();
    let mut line = |message: &str| output.line(format_args!("{name}: {message}"));
    let status = match check(&disk, &mut line) {
        Ok(summary) => {
            if summary.dirty && !options.quiet {
                line("was not unmounted, or is mounted");
            }
            let numbers = format!(
                "{}/{} inodes, {}/{} blocks",
                summary.used_inodes, summary.inodes, summary.used_blocks, summary.blocks
            );
            match summary.errors {
                0 if options.quiet => 0,
                0 => {
                    line(&format!("clean, {numbers}"));
                    0
                }
                1 => {
                    line(&format!("1 error, {numbers}"));
                    EXIT_ERRORS
                }
                n => {
                    line(&format!("{n} errors, {numbers}"));
                    EXIT_ERRORS
                }
            }
        }
        Err(Failure::Damaged(why)) => {
            line(&why);
            line("1 error, nothing else could be checked");
            EXIT_ERRORS
        }
        Err(Failure::Unusable(why)) => return Err(format!("{name}: {why}")),
    };
    output.end()?;
    if status == EXIT_ERRORS && options.repair {
        eprintln!("fsck.toyfs: repair is not supported");
    }
    Ok(status)
}

fn main() -> ExitCode {
    match arguments().and_then(parse_args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(options)) => match run(&options) {
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
