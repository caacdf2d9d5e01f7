//! Inputs made of a corpus by seeded mutations: the same seed gives the same input everywhere.

use std::{fs, ops::Range, path::Path};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

/// What takes the place of numbers in text: the ends of the ranges of integers and floats, and what is none.
const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "-1",
    "2",
    "65536",
    "262144",
    "262145",
    "2147483648",
    "4294967296",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0.0",
    "1.5",
    "NaN",
    "1e999",
    "null",
    "[1, 1]",
];

/// What is put between other bytes: marks of the formats, and characters that something obeys.
const PIECES: [&str; 20] = [
    "\"",
    ",",
    "|",
    "\\",
    "[",
    "]",
    "{",
    "}",
    "#",
    "\n",
    "\r",
    "\0",
    "\t",
    "\u{1b}[2J",
    "\u{9b}2J",
    "\u{feff}",
    "\u{2028}",
    "\u{202e}",
    "\\u001b",
    "x",
];

/// The most bytes of an input.
const LONGEST: usize = 1 << 14;

/// The files of a target's corpus, in the order of their names.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    if target == "onnx" {
        // Files of whole networks, which the tests of the import have: most mutations of them are read.
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
        paths.extend(["resnet18.onnx", "unequal.onnx"].map(|name| fixtures.join(name)));
    }
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The input of this seed.
pub fn input(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = corpus[rng.random_range(0..corpus.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        mutate(&mut bytes, corpus, &mut rng);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=bytes.len());
    match rng.random_range(0..10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.random();
            }
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(range(bytes, rng))),
        4 => {
            let copy = bytes[range(bytes, rng)].to_vec();
            bytes.splice(at..at, copy);
        }
        5 => {
            let other = &corpus[rng.random_range(0..corpus.len())];
            let part = other[range(other, rng)].to_vec();
            bytes.splice(range(bytes, rng), part);
        }
        6 => drop(bytes.splice(at..at, PIECES[rng.random_range(0..PIECES.len())].bytes())),
        // Numbers are where files of these kinds go wrong.
        _ => {
            let numbers = numbers(bytes);
            if !numbers.is_empty() {
                let number = numbers[rng.random_range(0..numbers.len())].clone();
                let other = NUMBERS[rng.random_range(0..NUMBERS.len())];
                bytes.splice(number, other.bytes());
            }
        }
    }
}

/// A range of up to 64 bytes, or of any length at times.
fn range(bytes: &[u8], rng: &mut ChaCha8Rng) -> Range<usize> {
    let start = rng.random_range(0..=bytes.len());
    let most = bytes.len() - start;
    let most = if rng.random_range(0..4) == 0 {
        most
    } else {
        most.min(64)
    };
    start..start + rng.random_range(0..=most)
}

/// Where numbers stand in the text.
fn numbers(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut numbers: Vec<Range<usize>> = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        match numbers.last_mut() {
            _ if !byte.is_ascii_digit() => {}
            Some(number) if number.end == at => number.end += 1,
            _ => numbers.push(at..at + 1),
        }
    }
    numbers
}
