// SPDX-License-Identifier: GPL-2.0

//! The command line: letters in groups, of which the last may have a value, and words that are no options.
//!
//! Written by hand because Kbuild makes these programs with the compiler alone: without cargo there is no clap.

use super::output::Output;
use std::{env, vec};

/// Shown by `--version`.
const VERSION: &str = "2 (format version 2)";

/// What a program says of itself.
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What `--help` prints.
    pub usage: &'static str,
}

/// The letters of a word, and what may be the value of the last one.
pub struct Letters<'a> {
    word: &'a str,
    /// What of the word has not been looked at.
    rest: &'a str,
    words: &'a mut vec::IntoIter<String>,
}

impl Letters<'_> {
    /// The word that the letters are in.
    pub fn word(&self) -> &str {
        self.word
    }

    fn next(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next();
        self.rest = letters.as_str();
        letter
    }

    /// The value of `letter`, which is the one just seen: the rest of the word, or the next word.
    pub fn value(&mut self, letter: char) -> Result<String, String> {
        match std::mem::take(&mut self.rest) {
            "" => self
                .words
                .next()
                .ok_or(format!("option -{letter} needs a value")),
            rest => Ok(rest.to_string()),
        }
    }
}

/// The command line without the name of the program.
pub fn arguments() -> Result<Vec<String>, String> {
    env::args_os()
        .skip(1)
        .map(|arg| {
            arg.into_string()
                .map_err(|arg| format!("argument is not UTF-8: {}", arg.to_string_lossy()))
        })
        .collect()
}

/// Parses the command line: calls `option` for each letter but those that every program has, and returns the
/// words that are no options. `Ok(None)`: it was answered already.
pub fn parse(
    program: &Program,
    words: Vec<String>,
    mut option: impl FnMut(char, &mut Letters<'_>) -> Result<(), String>,
) -> Result<Option<Vec<String>>, String> {
    let help = || answer(format_args!("{}", program.usage));
    let version = || answer(format_args!("{} {VERSION}\n", program.name));
    let mut places = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--" => {
                places.extend(words);
                break;
            }
            "--help" => return help(),
            "--version" => return version(),
            "-" => places.push(word),
            _ if word.starts_with("--") => return Err(format!("unknown option {word}")),
            _ if !word.starts_with('-') => places.push(word),
            _ => {
                let mut letters = Letters {
                    word: &word,
                    rest: &word[1..],
                    words: &mut words,
                };
                while let Some(letter) = letters.next() {
                    match letter {
                        'h' => return help(),
                        'V' => return version(),
                        _ => option(letter, &mut letters)?,
                    }
                }
            }
        }
    }
    Ok(Some(places))
}

/// Prints what was asked for.
fn answer<T>(text: std::fmt::Arguments<'_>) -> Result<Option<T>, String> {
    let mut output = Output::default();
    output.print(text);
    output.end().map(|()| None)
}
