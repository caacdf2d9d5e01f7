//! What is said to a person, on standard error.

use std::fmt;
use std::io::{self, Write};

use crate::text;

/// Says a line as `eprintln!` prints it, except that a standard error which is gone or full stops nothing: a training of a day
/// must not end because nobody reads any more. What a terminal would act on is written out.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::talk::line(format_args!($($part)*))
    };
}

pub(crate) fn line(line: fmt::Arguments<'_>) {
    let line = text::shown(&line.to_string()) + "\n";
    // In one piece, so that lines of several threads stay whole.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}
