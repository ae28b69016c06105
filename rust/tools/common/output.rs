// SPDX-License-Identifier: GPL-2.0

//! Standard output.

use std::{
    fmt,
    io::{self, StdoutLock, Write},
};

/// Standard output, line by line. What cannot be written does not stop the program, whose exit status
/// others wait for; in particular, a reader who goes after the first line (`| head -1`) is no error.
pub struct Output {
    stdout: StdoutLock<'static>,
    result: io::Result<()>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            stdout: io::stdout().lock(),
            result: Ok(()),
        }
    }
}

impl Output {
    /// Prints `text`, and nothing any more once that has failed.
    pub fn print(&mut self, text: fmt::Arguments<'_>) {
        if self.result.is_ok() {
            self.result = self.stdout.write_fmt(text);
        }
    }

    /// Prints a line.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        self.print(format_args!("{text}\n"));
    }

    /// Shows what was printed, though the line has not ended.
    pub fn flush(&mut self) {
        if self.result.is_ok() {
            self.result = self.stdout.flush();
        }
    }

    /// Why not everything could be written, if that is worth a word.
    pub fn end(mut self) -> Result<(), String> {
        match self.result.and_then(|()| self.stdout.flush()) {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {e}")),
            _ => Ok(()),
        }
    }
}
