//! The names that a pickle looks up, read from its instructions without following any of them: what a file of PyTorch's
//! wants to be called is known before its values are looked at. Instructions as Python's `pickletools` lists them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// No `state_dict` has this many bytes of instructions; its numbers lie elsewhere.
const LONGEST: u64 = 64 << 20;

/// How a file of PyTorch's format of before 1.6 begins, as a number of its first pickle; five follow one another there.
const OLD_FORMAT: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// A name that is put together while the pickle is read stands for itself.
const MADE_UP: &str = "a name that is made up as it goes";

/// Every Python name that the pickles of `path`, a file that `torch.save` wrote, look up: `torch._utils._rebuild_tensor_v2`.
///
/// # Errors
///
/// Why the file has no pickles, or has some that cannot be read.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut names = Vec::new();
    let Ok(mut archive) = zip::ZipArchive::new(&file) else {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| failed(&error))?;
        if bytes.starts_with(b"PK") {
            return Err("its archive is cut short or damaged, copy it again".into());
        }
        let old = bytes
            .windows(OLD_FORMAT.len())
            .take(16)
            .any(|window| window == OLD_FORMAT);
        let mut rest = &bytes[..];
        for _ in 0..if old { 5 } else { 1 } {
            rest = walk(rest, &mut names)?;
        }
        return Ok(names);
    };
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| failed(&error))?;
        if !entry.name().is_ok_and(|name| name.ends_with(".pkl")) {
            continue;
        }
        let mut bytes = Vec::new();
        let read = entry.take(LONGEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(&error))?;
        if bytes.len() as u64 > LONGEST {
            return Err(format!("its pickle is longer than {LONGEST} bytes"));
        }
        walk(&bytes, &mut names)?;
    }
    Ok(names)
}

/// Adds the names that one pickle looks up, and returns what lies behind it.
fn walk<'a>(mut bytes: &'a [u8], names: &mut Vec<String>) -> Result<&'a [u8], String> {
    // What was pushed last and before that, where it is text: names are looked up by two texts.
    let mut pushed: [Option<String>; 2] = [None, None];
    let mut memo: HashMap<u64, Option<String>> = HashMap::new();
    loop {
        let (&code, rest) = bytes.split_first().ok_or("its pickle is cut short")?;
        bytes = rest;
        let text = match code {
            b'.' => return Ok(bytes),
            b'c' | b'i' => {
                let (module, name) = (line(&mut bytes)?, line(&mut bytes)?);
                names.push(format!("{module}.{name}"));
                None
            }
            // Names by two texts.
            0x93 => {
                names.push(match &pushed {
                    [Some(module), Some(name)] => format!("{module}.{name}"),
                    _ => MADE_UP.into(),
                });
                None
            }
            // Names by numbers that a program registered.
            0x82..=0x84 => {
                take(&mut bytes, 1 << (code - 0x82))?;
                names.push(MADE_UP.into());
                None
            }
            // Texts.
            b'V' => Some(line(&mut bytes)?),
            b'S' => Some(line(&mut bytes)?.trim_matches(['\'', '"']).to_owned()),
            b'U' | 0x8c => Some(utf8(sized(&mut bytes, 1)?)),
            b'T' | b'X' => Some(utf8(sized(&mut bytes, 4)?)),
            0x8d => Some(utf8(sized(&mut bytes, 8)?)),
            // What was pushed last is kept under a number, and pushed again by it.
            b'q' | b'r' | b'p' | 0x94 => {
                let key = match code {
                    b'q' => number(take(&mut bytes, 1)?),
                    b'r' => number(take(&mut bytes, 4)?),
                    b'p' => key(&line(&mut bytes)?)?,
                    _ => memo.len() as u64,
                };
                memo.insert(key, pushed[1].clone());
                continue;
            }
            b'h' | b'j' | b'g' => {
                let key = match code {
                    b'h' => number(take(&mut bytes, 1)?),
                    b'j' => number(take(&mut bytes, 4)?),
                    _ => key(&line(&mut bytes)?)?,
                };
                memo.get(&key).cloned().flatten()
            }
            // The protocol, and frames of a stream: they push nothing.
            0x80 | 0x95 => {
                take(&mut bytes, if code == 0x80 { 1 } else { 8 })?;
                continue;
            }
            // Everything else by how far it reaches. What is taken from the stack is not followed: no text is known to be
            // on top of it afterwards.
            b'I' | b'L' | b'F' | b'P' => line(&mut bytes).map(|_| None)?,
            b'K' => take(&mut bytes, 1).map(|_| None)?,
            b'M' => take(&mut bytes, 2).map(|_| None)?,
            b'J' => take(&mut bytes, 4).map(|_| None)?,
            b'G' => take(&mut bytes, 8).map(|_| None)?,
            b'C' | 0x8a => sized(&mut bytes, 1).map(|_| None)?,
            b'B' | 0x8b => sized(&mut bytes, 4).map(|_| None)?,
            0x8e | 0x96 => sized(&mut bytes, 8).map(|_| None)?,
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'b'
            | b'd'
            | b'l'
            | b't'
            | b's'
            | b'a'
            | b'o'
            | b')'
            | b']'
            | b'}'
            | b'e'
            | b'u'
            | b'Q'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92
            | 0x97
            | 0x98 => {
                pushed = [None, None];
                continue;
            }
            _ => {
                return Err(format!(
                    "its pickle has an instruction 0x{code:02x}, which there is not"
                ));
            }
        };
        pushed = [pushed[1].take(), text];
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or("its pickle is cut short")?;
    *bytes = rest;
    Ok(taken)
}

/// Bytes behind their count, a number of `width` bytes.
fn sized<'a>(bytes: &mut &'a [u8], width: usize) -> Result<&'a [u8], String> {
    let count = usize::try_from(number(take(bytes, width)?)).map_err(|_| "its pickle is cut short")?;
    take(bytes, count)
}

fn line(bytes: &mut &[u8]) -> Result<String, String> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let line = take(bytes, end.ok_or("its pickle is cut short")?)?;
    take(bytes, 1)?;
    Ok(utf8(line))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn key(line: &str) -> Result<u64, String> {
    line.trim()
        .parse()
        .map_err(|_| format!("its pickle keeps something under {line:?}"))
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{MADE_UP, walk};

    fn names(pickle: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        walk(pickle, &mut names).unwrap();
        names
    }

    #[test]
    fn names_are_found_however_they_are_looked_up() {
        assert_eq!(names(b"\x80\x02cposix\nsystem\n0N."), ["posix.system"]);
        assert_eq!(names(b"(S'ls'\niposix\nsystem\n."), ["posix.system"]);
        assert_eq!(
            names(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x940N."),
            ["posix.system"]
        );
        // Texts that were kept before.
        assert_eq!(
            names(b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x940h\x01h\x00\x930N."),
            ["posix.system"]
        );
        assert_eq!(names(b"\x80\x02\x82\x010N."), [MADE_UP]);
        assert_eq!(names(b"\x80\x04\x8c\x05posix\x8c\x03abc\x85\x930N."), [MADE_UP]);
        // What merely looks like one, within a text.
        assert!(names(b"\x80\x02X\x0e\x00\x00\x00cposix\nsystem\n.").is_empty());
    }

    #[test]
    fn what_is_no_pickle_is_said_to_be_none() {
        for bytes in [
            &b""[..],
            b"\x80",
            b"X\xff\xff\xff\xffab",
            b"cposix",
            b"\xff.",
            b"pn\n.",
        ] {
            assert!(walk(bytes, &mut Vec::new()).is_err(), "{bytes:?}");
        }
    }
}
