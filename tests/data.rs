//! Pictures: reading them from MATLAB files, downloading the files, and drawing stand-ins.
#![cfg(feature = "train")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use flate2::{Compression, write::ZlibEncoder};
use md5::{Digest, Md5};
use proptest::prelude::*;
use tempfile::TempDir;

use vwc_sdk::data::download::fetch;
use vwc_sdk::data::svhn::{self, Split};
use vwc_sdk::data::synthetic::digits;
use vwc_sdk::data::{DataError, Pictures, contact_sheet};

// --- Writing MATLAB files ---------------------------------------------------------------------------------------------

const UINT8: u32 = 2;
const DOUBLE: u32 = 9;
const CLASS_CELL: u32 = 1;
const CLASS_CHAR: u32 = 4;
const CLASS_DOUBLE: u32 = 6;
const CLASS_UINT8: u32 = 9;
const COMPLEX: u32 = 0x800;

/// How to write a file.
#[derive(Clone, Copy, Debug)]
struct Format {
    big_endian: bool,
    compressed: bool,
}

const PLAIN: Format = Format {
    big_endian: false,
    compressed: false,
};
const FORMATS: [Format; 4] = [
    PLAIN,
    Format {
        big_endian: true,
        ..PLAIN
    },
    Format {
        compressed: true,
        ..PLAIN
    },
    Format {
        big_endian: true,
        compressed: true,
    },
];

impl Format {
    fn word(self, n: u32) -> [u8; 4] {
        if self.big_endian {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    }

    fn double(self, n: f64) -> [u8; 8] {
        if self.big_endian {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        }
    }

    /// Up to four bytes go into the tag, as MATLAB does it.
    fn element(self, kind: u32, data: &[u8]) -> Vec<u8> {
        let length = data.len() as u32;
        let mut out = if (1..=4).contains(&length) {
            self.word(length << 16 | kind).to_vec()
        } else {
            [self.word(kind), self.word(length)].concat()
        };
        out.extend(data);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    /// An array, `data` in the file's byte order.
    fn array(self, name: &str, class: u32, dims: &[i32], kind: u32, data: &[u8]) -> Vec<u8> {
        let flags = [self.word(class), self.word(0)].concat();
        let dims: Vec<u8> = dims.iter().flat_map(|&d| self.word(d as u32)).collect();
        let parts = [
            self.element(6, &flags),
            self.element(5, &dims),
            self.element(1, name.as_bytes()),
            self.element(kind, data),
        ]
        .concat();
        self.wrap(&parts)
    }

    fn wrap(self, parts: &[u8]) -> Vec<u8> {
        let matrix = [&self.word(14), &self.word(parts.len() as u32), parts].concat();
        if !self.compressed {
            return matrix;
        }
        let stream = deflate(&matrix);
        [&self.word(15), &self.word(stream.len() as u32), &stream[..]].concat()
    }

    fn bytes(self, name: &str, dims: &[i32], data: &[u8]) -> Vec<u8> {
        self.array(name, CLASS_UINT8, dims, UINT8, data)
    }

    fn doubles(self, name: &str, dims: &[i32], data: &[f64]) -> Vec<u8> {
        let data: Vec<u8> = data.iter().flat_map(|&n| self.double(n)).collect();
        self.array(name, CLASS_DOUBLE, dims, DOUBLE, &data)
    }

    fn file(self, elements: &[Vec<u8>]) -> Vec<u8> {
        let mut header = b"MATLAB 5.0 MAT-file, by hand".to_vec();
        header.resize(124, b' ');
        header.extend(if self.big_endian {
            b"\x01\x00MI"
        } else {
            b"\x00\x01IM"
        });
        [header, elements.concat()].concat()
    }
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A file in a directory that goes away with it.
struct Saved {
    path: PathBuf,
    _dir: TempDir,
}

fn save(contents: &[u8]) -> Saved {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("digits.mat");
    fs::write(&path, contents).unwrap();
    Saved { path, _dir: dir }
}

/// The message for a file that must be refused; it must name the file and end in advice.
fn refusal(contents: &[u8]) -> String {
    let saved = save(contents);
    let message = svhn::load(&saved.path).unwrap_err().to_string();
    assert!(message.contains(saved.path.to_str().unwrap()), "{message}");
    assert!(
        ["ownload", "Save it again", "Check"]
            .iter()
            .any(|advice| message.contains(advice)),
        "{message}"
    );
    message
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
}

const SIZE: usize = 32 * 32 * 3;

/// `n` pictures, column-major, with every byte telling where it was.
fn columns(n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for picture in 0..n {
        for channel in 0..3 {
            for column in 0..32 {
                for row in 0..32 {
                    out.push(pixel(picture, row, column, channel));
                }
            }
        }
    }
    out
}

fn pixel(picture: usize, row: usize, column: usize, channel: usize) -> u8 {
    (picture * 101 + row * 7 + column * 13 + channel * 59) as u8
}

/// A sound file of as many pictures as labels.
fn svhn_file(format: Format, labels: &[u8]) -> Vec<u8> {
    let n = labels.len();
    format.file(&[
        format.bytes("X", &[32, 32, 3, n as i32], &columns(n)),
        format.bytes("y", &[n as i32, 1], labels),
    ])
}

// --- Reading MATLAB files ---------------------------------------------------------------------------------------------

/// The labels 10 and 7 in every type of number there is, as they lie in a little-endian file.
#[test]
fn mat_reads_every_type_of_number() {
    fn stored<const N: usize>(numbers: [[u8; N]; 2]) -> Vec<Vec<u8>> {
        numbers.map(|n| n.to_vec()).to_vec()
    }
    let kinds = [
        (1, stored([10i8, 7].map(i8::to_le_bytes))),
        (UINT8, stored([10u8, 7].map(u8::to_le_bytes))),
        (3, stored([10i16, 7].map(i16::to_le_bytes))),
        (4, stored([10u16, 7].map(u16::to_le_bytes))),
        (5, stored([10i32, 7].map(i32::to_le_bytes))),
        (6, stored([10u32, 7].map(u32::to_le_bytes))),
        (7, stored([10f32, 7.0].map(f32::to_le_bytes))),
        (DOUBLE, stored([10f64, 7.0].map(f64::to_le_bytes))),
        (12, stored([10i64, 7].map(i64::to_le_bytes))),
        (13, stored([10u64, 7].map(u64::to_le_bytes))),
    ];
    for f in FORMATS {
        for (kind, numbers) in kinds.clone() {
            let data: Vec<u8> = numbers
                .into_iter()
                .flat_map(|mut n| {
                    if f.big_endian {
                        n.reverse();
                    }
                    n
                })
                .collect();
            let saved = save(&f.file(&[
                f.array("y", CLASS_DOUBLE, &[1, 2], kind, &data),
                f.bytes("X", &[32, 32, 3, 2], &columns(2)),
            ]));
            let pictures = svhn::load(&saved.path).unwrap();
            assert_eq!(pictures.labels(), [0, 7], "type {kind}, {f:?}");
        }
    }
}

#[test]
fn mat_skips_what_nobody_asked_for() {
    for f in FORMATS {
        let saved = save(&f.file(&[
            f.array("cells", CLASS_CELL, &[1, 1], UINT8, &[]),
            f.element(1, b"no array at all"),
            f.element(1, b"tiny"),
            f.wrap(&[]),
            f.bytes("Xx", &[1, 1], &[1]),
            f.bytes("X", &[32, 32, 3, 1], &columns(1)),
            f.doubles("x", &[1, 1], &[1.5]),
            f.bytes("y", &[1, 1], &[4]),
            b"garbage that is never looked at".to_vec(),
        ]));
        assert_eq!(svhn::load(&saved.path).unwrap().labels(), [4], "{f:?}");
    }
}

#[test]
fn svhn_turns_pixels_and_labels() {
    for format in FORMATS {
        let saved = save(&svhn_file(format, &[1, 10, 9]));
        let pictures = svhn::load(&saved.path).unwrap();
        assert_eq!((pictures.len(), pictures.height(), pictures.width()), (3, 32, 32));
        assert_eq!(pictures.labels(), [1, 0, 9], "10 stands for 0");
        assert_eq!(pictures.class_counts(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        for n in 0..3 {
            for (at, &byte) in pictures.picture(n).iter().enumerate() {
                let (row, column, channel) = (at / 96, at / 3 % 32, at % 3);
                assert_eq!(byte, pixel(n, row, column, channel), "{format:?}");
            }
        }
    }
}

#[test]
fn svhn_takes_labels_as_doubles_and_a_single_picture() {
    let f = PLAIN;
    // MATLAB drops the last dimension of a single picture.
    let saved = save(&f.file(&[
        f.doubles("y", &[1, 1], &[10.0]),
        f.bytes("X", &[32, 32, 3], &columns(1)),
    ]));
    assert_eq!(svhn::load(&saved.path).unwrap().labels(), [0]);
}

#[test]
fn svhn_refuses_labels_out_of_range() {
    let f = PLAIN;
    for (bad, shown) in [
        (0.0, "is 0"),
        (11.0, "is 11"),
        (2.5, "is 2.5"),
        (f64::NAN, "is NaN"),
        (-1.0, "is -1"),
    ] {
        let message = refusal(&f.file(&[
            f.bytes("X", &[32, 32, 3, 2], &columns(2)),
            f.doubles("y", &[2, 1], &[1.0, bad]),
        ]));
        assert_says(&message, &["label 1 ", shown, "from 1 to 10"]);
    }
}

#[test]
fn svhn_refuses_wrong_dimensions() {
    let f = PLAIN;
    let y = || f.bytes("y", &[1, 1], &[1]);
    for dims in [&[3, 32, 32, 1][..], &[SIZE as i32, 1], &[32, 32, 3, 1, 1]] {
        let message = refusal(&f.file(&[f.bytes("X", dims, &columns(1)), y()]));
        let shown: Vec<_> = dims.iter().map(i32::to_string).collect();
        assert_says(&message, &["`X`", &shown.join("x"), "32x32x3xN"]);
    }
    let message = refusal(&f.file(&[
        f.bytes("X", &[32, 32, 3, 1], &columns(1)),
        f.bytes("y", &[2, 2], &[1; 4]),
    ]));
    assert_says(&message, &["`y` is 2x2", "Nx1"]);
}

#[test]
fn svhn_refuses_a_missing_array() {
    let f = PLAIN;
    let x = f.bytes("X", &[32, 32, 3, 1], &columns(1));
    let y = f.bytes("y", &[1, 1], &[1]);
    assert_says(&refusal(&f.file(&[x])), &["no array `y`"]);
    assert_says(&refusal(&f.file(&[y])), &["no array `X`"]);
    assert_says(&refusal(&f.file(&[])), &["no array `X`"]);
}

#[test]
fn svhn_refuses_pictures_without_labels_and_no_pictures() {
    let f = PLAIN;
    let message = refusal(&f.file(&[
        f.bytes("X", &[32, 32, 3, 2], &columns(2)),
        f.bytes("y", &[3, 1], &[1, 2, 3]),
    ]));
    assert_says(&message, &["2 pictures and 3 labels"]);
    let message = refusal(&f.file(&[f.bytes("X", &[32, 32, 3, 0], &[]), f.bytes("y", &[0, 1], &[])]));
    assert_says(&message, &["no pictures"]);
}

#[test]
fn svhn_refuses_other_kinds_of_values() {
    let f = PLAIN;
    let with_x = |x: Vec<u8>| refusal(&f.file(&[x, f.bytes("y", &[1, 1], &[1])]));
    let dims = [32, 32, 3, 1];
    let doubles: Vec<f64> = columns(1).into_iter().map(f64::from).collect();
    assert_says(
        &with_x(f.doubles("X", &dims, &doubles)),
        &["`X`", "wider numbers", "unsigned bytes"],
    );
    for (class, shown) in [
        (CLASS_CELL, "a cell array"),
        (CLASS_CHAR, "text"),
        (CLASS_DOUBLE | COMPLEX, "complex"),
    ] {
        let message = with_x(f.array("X", class, &dims, UINT8, &columns(1)));
        assert_says(&message, &["`X`", shown]);
    }
}

#[test]
fn mat_refuses_other_files() {
    assert_says(&refusal(b""), &["ends early", "holds 0 bytes", "128"]);
    let page = b"<html>not found</html>".repeat(20);
    assert_says(&refusal(&page), &["not a MATLAB 5 file"]);
    let mut hdf5 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec();
    hdf5.resize(124, b' ');
    hdf5.extend(b"\x00\x02IM");
    for file in [hdf5, b"\x89HDF\r\n\x1a\n".repeat(100)] {
        assert_says(&refusal(&file), &["7.3 (HDF5)", "-v7"]);
    }
    let message = svhn::load(Path::new("/nowhere/digits.mat"))
        .unwrap_err()
        .to_string();
    assert_says(&message, &["cannot open /nowhere/digits.mat"]);
}

#[test]
fn mat_refuses_lengths_that_contradict_each_other() {
    let f = PLAIN;
    let with_x = |x| refusal(&f.file(&[x, f.bytes("y", &[1, 1], &[1])]));
    assert_says(
        &with_x(f.bytes("X", &[32, 32, 3, 2], &columns(1))),
        &["damaged", "3072 bytes", "6144 values"],
    );
    assert_says(&with_x(f.bytes("X", &[-1, 1], &[])), &["damaged", "negative"]);
    assert_says(
        &with_x(f.bytes("X", &[i32::MAX; 32], &columns(1))),
        &["damaged", "its dimensions ask for"],
    );
    assert_says(
        &with_x(f.bytes("X", &[1; 33], &[1])),
        &["damaged", "dimensions", "132 bytes"],
    );
    assert_says(&with_x(f.bytes("X", &[], &[])), &["damaged", "no dimensions"]);
    assert_says(
        &with_x(f.array("X", 15, &[1, 1], 42, &[1])),
        &["damaged", "type 42"],
    );
}

#[test]
fn mat_refuses_more_than_its_limit_before_allocating() {
    let f = PLAIN;
    // Signed bytes become eight times as large in memory. The garbage behind the stream makes the claim believable.
    let count = (1u32 << 31) / 8 + 1;
    let mut parts = [
        f.element(6, &[f.word(CLASS_DOUBLE), f.word(0)].concat()),
        f.element(5, &[f.word(count), f.word(1)].concat()),
        f.element(1, b"X"),
    ]
    .concat();
    parts.extend([f.word(1), f.word(count)].concat());
    let matrix = [&f.word(14), &f.word(count + 100), &parts[..]].concat();
    let mut stream = deflate(&matrix);
    stream.resize(count as usize / 1000, 0);
    let element = [&f.word(15), &f.word(stream.len() as u32), &stream[..]].concat();
    let message = refusal(&f.file(&[element]));
    assert_says(&message, &["`X`", "2147483656", "at most 2147483648"]);
}

#[test]
fn mat_refuses_inflate_bombs() {
    let f = FORMATS[2];
    // The tag claims four gigabytes, from a few bytes.
    let claim = [PLAIN.word(14), PLAIN.word(u32::MAX)].concat();
    let stream = deflate(&claim);
    let element = [&f.word(15), &f.word(stream.len() as u32), &stream[..]].concat();
    assert_says(
        &refusal(&f.file(&[element])),
        &["damaged", "claims 4294967295 bytes"],
    );

    // The array is honest, and the stream goes on behind it.
    let mut matrix = PLAIN.bytes("X", &[32, 32, 3, 1], &columns(1));
    matrix.resize(1 << 20, 0);
    let stream = deflate(&matrix);
    let element = [&f.word(15), &f.word(stream.len() as u32), &stream[..]].concat();
    assert_says(
        &refusal(&f.file(&[element])),
        &["damaged", "goes on after its values"],
    );
}

#[test]
fn mat_notices_a_wrong_checksum_in_a_compressed_array() {
    let f = FORMATS[2];
    let mut x = f.bytes("X", &[32, 32, 3, 1], &columns(1));
    *x.last_mut().unwrap() ^= 1;
    let message = refusal(&f.file(&[x, f.bytes("y", &[1, 1], &[1])]));
    assert_says(&message, &["damaged", "cannot be inflated"]);
}

#[test]
fn mat_refuses_every_truncation() {
    for f in FORMATS {
        let whole = f.file(&[
            f.bytes("X", &[32, 32, 3, 1], &[7; SIZE]),
            f.doubles("skipped", &[1, 1], &[1.5]),
            f.bytes("y", &[1, 1], &[8]),
        ]);
        let saved = save(&whole);
        svhn::load(&saved.path).unwrap();
        let file = fs::File::options().write(true).open(&saved.path).unwrap();
        let mut missing = 0;
        // Shrinking the file is slow on some disks, so one in ten has to do for the thousands of pixels.
        let pixels = 250..whole.len().saturating_sub(250);
        for length in (0..whole.len()).rev() {
            if pixels.contains(&length) && length % 10 != 0 {
                continue;
            }
            file.set_len(length as u64).unwrap();
            match svhn::load(&saved.path).unwrap_err() {
                DataError::Truncated { found, .. } => assert_eq!(found, length as u64),
                DataError::MissingArray { .. } => missing += 1,
                other => panic!("cut after {length} bytes of {f:?}: {other}"),
            }
        }
        assert_eq!(
            missing, 3,
            "only between elements nothing shows that another should follow"
        );
    }
}

proptest! {
    #[test]
    fn mat_survives_damage(
        format in 0..4usize,
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = svhn_file(FORMATS[format], &[3, 10]);
        // Most bytes are pixels, which may be anything: half of the hits go to the headers.
        for (n, (at, byte)) in hits.into_iter().enumerate() {
            let end = if n % 2 == 0 { file.len() } else { 220 };
            let at = at.index(end);
            file[at] = byte;
        }
        if let Ok(pictures) = svhn::load(&save(&file).path) {
            prop_assert_eq!(pictures.pixels().len(), pictures.len() * SIZE);
        }
    }
}

#[test]
fn svhn_is_present_with_both_files() {
    let dir = TempDir::new().unwrap();
    assert!(!svhn::present(dir.path()));
    fs::write(Split::Train.path(dir.path()), "").unwrap();
    assert!(!svhn::present(dir.path()));
    fs::write(dir.path().join("test_32x32.mat"), "").unwrap();
    assert!(svhn::present(dir.path()));
    for split in Split::ALL {
        assert!(split.url().ends_with(split.file_name()));
        assert_eq!(split.md5().len(), 32);
    }
}

// --- Pictures ---------------------------------------------------------------------------------------------------------

#[test]
fn pictures_refuse_parts_that_do_not_fit() {
    let refused = |height, pixels: usize, labels: &[u8]| {
        Pictures::new(height, 2, 10, vec![0; pixels], labels.to_vec())
            .unwrap_err()
            .to_string()
    };
    assert_says(&refused(2, 23, &[0, 1]), &["2x2x2x3", "not 23"]);
    assert_says(&refused(0, 0, &[]), &["0x2"]);
    assert_says(&refused(2, 12, &[10]), &["label 0", "is 10", "10 classes"]);
    assert_says(&refused(usize::MAX, 12, &[1]), &["not 12"]);
}

#[test]
fn pictures_are_appended_in_order() {
    let one = |value, label| Pictures::new(1, 2, 3, vec![value; 6], vec![label]).unwrap();
    let mut pictures = one(7, 2);
    pictures.append(one(9, 1)).unwrap();
    assert_eq!(pictures.labels(), [2, 1]);
    assert_eq!(
        (pictures.picture(0), pictures.picture(1)),
        (&[7; 6][..], &[9; 6][..])
    );
    assert_eq!(pictures.class_counts(), [0, 1, 1]);
    assert_eq!(format!("{pictures:?}"), "Pictures(2 of 1x2, 3 classes)");

    let other = Pictures::new(2, 1, 3, vec![0; 6], vec![0]).unwrap();
    let message = pictures.append(other).unwrap_err().to_string();
    assert_says(&message, &["1 of 2x1", "2 of 1x2"]);
    assert_eq!(pictures.len(), 2);
}

#[test]
fn contact_sheet_puts_pictures_in_rows() {
    let pixels = (1..=3).flat_map(|n| [n * 10; 12]).collect();
    let pictures = Pictures::new(2, 2, 1, pixels, vec![0; 3]).unwrap();
    let sheet = contact_sheet(&pictures, 2, 2, 3);
    assert_eq!(sheet.dimensions(), (15, 15));
    let corners = [(0, 0), (14, 0), (0, 14), (14, 14), (7, 7)];
    let shown = corners.map(|(x, y)| sheet.get_pixel(x, y).0[0]);
    assert_eq!(
        shown,
        [10, 20, 30, 96, 96],
        "three pictures, an empty tile, a gap"
    );
}

// --- Downloading ------------------------------------------------------------------------------------------------------

/// Answers one connection after the other with the given bytes, then hangs up; gives back the requests.
fn serve(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/digits.mat", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let serve_one = |answer: Vec<u8>| {
            let (mut stream, _) = listener.accept().unwrap();
            let request: Vec<String> = BufReader::new(&stream)
                .lines()
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            stream.write_all(&answer).unwrap();
            request.join("\n").to_lowercase()
        };
        answers.into_iter().map(serve_one).collect()
    });
    (url, server)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The whole of `body`, announced; only the first `sent` bytes of it come.
fn whole(body: &[u8], sent: usize) -> Vec<u8> {
    answer(
        "200 OK",
        &format!("Content-Length: {}", body.len()),
        &body[..sent],
    )
}

/// The rest of `body` from `start` on.
fn rest(body: &[u8], start: usize) -> Vec<u8> {
    let (length, last, total) = (body.len() - start, body.len() - 1, body.len());
    let headers = format!("Content-Length: {length}\r\nContent-Range: bytes {start}-{last}/{total}");
    answer("206 Partial Content", &headers, &body[start..])
}

fn md5(data: &[u8]) -> String {
    Md5::digest(data).iter().map(|b| format!("{b:02x}")).collect()
}

/// A file larger than any buffer on the way.
fn payload() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect()
}

struct Target {
    dir: TempDir,
    dest: PathBuf,
    part: PathBuf,
}

fn target() -> Target {
    let dir = TempDir::new().unwrap();
    let dest = dir.path().join("new").join("digits.mat");
    let part = dir.path().join("new").join("digits.mat.part");
    Target { dir, dest, part }
}

#[test]
fn download_fetches_once() {
    let (body, t) = (payload(), target());
    let (url, server) = serve(vec![whole(&body, body.len())]);
    fetch(&url, &t.dest, &md5(&body).to_uppercase(), true).unwrap();
    assert_eq!(fs::read(&t.dest).unwrap(), body);
    assert!(!t.part.exists());
    let requests = server.join().unwrap();
    assert!(!requests[0].contains("range:"), "{requests:?}");
    // The server is gone, so that a second request would fail.
    fetch(&url, &t.dest, &md5(&body), false).unwrap();
    assert_eq!(fs::read_dir(t.dir.path().join("new")).unwrap().count(), 1);
}

#[test]
fn download_goes_on_after_a_broken_connection() {
    let (body, t) = (payload(), target());
    let (url, server) = serve(vec![whole(&body, 200_000), rest(&body, 200_000)]);
    let message = fetch(&url, &t.dest, &md5(&body), false).unwrap_err().to_string();
    assert_says(&message, &[&url, "run this again", "goes on where it stopped"]);
    assert!(!t.dest.exists());
    assert_eq!(fs::metadata(&t.part).unwrap().len(), 200_000);

    fetch(&url, &t.dest, &md5(&body), false).unwrap();
    assert_eq!(fs::read(&t.dest).unwrap(), body);
    let requests = server.join().unwrap();
    assert!(requests[1].contains("range: bytes=200000-"), "{requests:?}");
}

#[test]
fn download_starts_over_where_it_cannot_go_on() {
    let body = payload();
    let other_range = rest(&body, 7);
    let no_range = answer("416 Range Not Satisfiable", "Content-Range: bytes */5", b"");
    for answers in [
        vec![whole(&body, body.len())],
        vec![other_range, whole(&body, body.len())],
        vec![no_range, whole(&body, body.len())],
    ] {
        let (requests, t) = (answers.len(), target());
        fs::create_dir_all(t.part.parent().unwrap()).unwrap();
        fs::write(&t.part, "something else").unwrap();
        let (url, server) = serve(answers);
        fetch(&url, &t.dest, &md5(&body), false).unwrap();
        assert_eq!(fs::read(&t.dest).unwrap(), body);
        let seen = server.join().unwrap();
        assert!(seen[0].contains("range: bytes=14-"), "{seen:?}");
        assert_eq!(seen.len(), requests);
        assert!(requests == 1 || !seen[1].contains("range:"), "{seen:?}");
    }
}

#[test]
fn download_that_had_arrived_is_only_renamed() {
    let (body, t) = (payload(), target());
    fs::create_dir_all(t.part.parent().unwrap()).unwrap();
    fs::write(&t.part, &body).unwrap();
    let header = format!("Content-Range: bytes */{}", body.len());
    let (url, server) = serve(vec![answer("416 Range Not Satisfiable", &header, b"")]);
    fetch(&url, &t.dest, &md5(&body), false).unwrap();
    assert_eq!(fs::read(&t.dest).unwrap(), body);
    server.join().unwrap();
}

#[test]
fn download_refuses_a_wrong_checksum() {
    let (body, t) = (payload(), target());
    fs::create_dir_all(t.part.parent().unwrap()).unwrap();
    fs::write(&t.dest, "what was there before").unwrap();
    let (url, server) = serve(vec![whole(b"an error page", 13)]);
    let message = fetch(&url, &t.dest, &md5(&body), false).unwrap_err().to_string();
    assert_says(
        &message,
        &[
            &url,
            &md5(&body),
            &md5(b"an error page"),
            t.dest.to_str().unwrap(),
            "from the start",
        ],
    );
    assert!(!t.part.exists());
    assert_eq!(fs::read(&t.dest).unwrap(), b"what was there before");
    server.join().unwrap();
}

#[test]
fn download_reports_a_missing_file_and_a_missing_server() {
    let t = target();
    let (url, server) = serve(vec![answer("404 Not Found", "Content-Length: 4", b"gone")]);
    let message = fetch(&url, &t.dest, "0", false).unwrap_err().to_string();
    assert_says(&message, &[&url, "status 404", t.dest.to_str().unwrap()]);
    server.join().unwrap();

    let message = fetch(&url, &t.dest, "0", false).unwrap_err().to_string();
    assert_says(&message, &[&url, "Check the network"]);
    assert!(!t.dest.exists() && !t.part.exists());
}

#[test]
fn download_leaves_a_file_alone_that_another_process_writes() {
    let t = target();
    fs::create_dir_all(t.part.parent().unwrap()).unwrap();
    let part = fs::File::create(&t.part).unwrap();
    part.lock().unwrap();
    let message = fetch("http://127.0.0.1:1/x", &t.dest, "0", false)
        .unwrap_err()
        .to_string();
    assert_says(&message, &[t.part.to_str().unwrap(), "another process"]);
}

// --- Drawing digits ---------------------------------------------------------------------------------------------------

#[test]
fn digits_are_the_same_for_the_same_seed() {
    let pictures = digits(200, 7);
    assert_eq!(pictures, digits(200, 7));
    assert_ne!(pictures, digits(200, 8));
    // Pinned, because recorded results depend on the very bytes. Change it only together with the drawing.
    let all = [pictures.pixels(), pictures.labels()].concat();
    assert_eq!(md5(&all), "2aa666b2d9ae1a8611259de4f666e9c6");
}

#[test]
fn digits_of_a_longer_set_begin_with_those_of_a_shorter_one() {
    let (long, short) = (digits(50, 3), digits(20, 3));
    assert_eq!(long.pixels()[..20 * SIZE], *short.pixels());
    assert_eq!(long.labels()[..20], *short.labels());
    assert!(digits(0, 3).is_empty());
}

#[test]
fn digits_come_in_all_classes_about_equally_often() {
    let pictures = digits(1000, 1);
    assert_eq!((pictures.height(), pictures.width()), (32, 32));
    let counts = pictures.class_counts();
    assert_eq!(counts.len(), 10);
    assert!(counts.iter().all(|n| (65..=140).contains(n)), "{counts:?}");
}

/// Light on dark as often as dark on light: no fixed template may fit.
#[test]
fn digits_are_not_told_apart_by_their_average() {
    let (train, test) = (digits(800, 1), digits(300, 2));
    let mut means = vec![vec![0.0; SIZE]; 10];
    let counts = train.class_counts();
    for n in 0..train.len() {
        let class = usize::from(train.label(n));
        for (mean, &byte) in means[class].iter_mut().zip(train.picture(n)) {
            *mean += f64::from(byte) / counts[class] as f64;
        }
    }
    let nearest = |picture: &[u8]| {
        let distance = |mean: &[f64]| -> f64 {
            let pairs = mean.iter().zip(picture);
            pairs.map(|(m, &b)| (m - f64::from(b)).powi(2)).sum()
        };
        (0..10).min_by(|&a, &b| distance(&means[a]).total_cmp(&distance(&means[b])))
    };
    let right = (0..test.len()).filter(|&n| nearest(test.picture(n)) == Some(test.label(n).into()));
    assert!(right.count() < 90, "three in ten is too easy");
}
