//! Files of bits, `--layer-bits FILE.csv`: layers with bits of their own, one a line.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim, WriterBuilder};

use crate::quant::Bits;
use crate::{Error, files};

/// The head that a file of bits may have.
const HEAD: [&str; 3] = ["layer", "weights", "activations"];

/// The longest file of bits, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What a line says.
#[derive(Debug, PartialEq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The path of a layer, or a pattern of some.
    pub layer: String,
    /// Bits of weights, and of what the layer reads.
    pub bits: [Bits; 2],
}

/// An error about a file of bits.
pub fn refused(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Recipe(format!("--layer-bits {}: {what}", path.display()))
}

/// The lines of a file of bits.
///
/// # Errors
///
/// A file that cannot be read, the first of its lines that is none, and a layer that stands in two lines.
pub fn read(path: &Path) -> Result<Vec<Line>, Error> {
    let refuse = |what: String| refused(path, what);
    let bytes =
        files::read_up_to(path, MAX_BYTES).map_err(|error| refuse(format!("cannot read it: {error}")))?;
    let bytes = bytes.ok_or_else(|| refuse(format!("it is longer than {MAX_BYTES} bytes")))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is no text in UTF-8".into()))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut lines: Vec<Line> = Vec::new();
    for (number, text) in (1..)
        .zip(text.lines())
        .filter(|(_, text)| !text.trim().is_empty())
    {
        let refuse = |what: String| refused(path, format!("line {number}: {what}"));
        let record = record(text).map_err(|error| refuse(error.to_string()))?;
        if number == 1 && record == *HEAD.as_slice() {
            continue;
        }
        let line = line(number, &record).map_err(refuse)?;
        if let Some(same) = lines.iter().find(|other| other.layer == line.layer) {
            return Err(refuse(format!(
                "`{}` stands in line {}, too: leave one of them out",
                line.layer, same.number
            )));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(refuse(
            "it names no layer: expected lines of a layer, bits of its weights and of what it reads, as `layer1.*,8,8`".into(),
        ));
    }
    Ok(lines)
}

/// Fields of one line.
fn record(line: &str) -> Result<StringRecord, csv::Error> {
    let mut record = StringRecord::new();
    let mut reader = ReaderBuilder::new();
    let reader = reader.has_headers(false).trim(Trim::All);
    reader.from_reader(line.as_bytes()).read_record(&mut record)?;
    Ok(record)
}

fn line(number: usize, record: &StringRecord) -> Result<Line, String> {
    let fields: Vec<&str> = record.iter().collect();
    let [layer, weights, activations] = fields[..] else {
        return Err(format!(
            "expected a layer, bits of its weights and of what it reads, as `layer1.*,8,8`, found {} fields",
            fields.len()
        ));
    };
    let bits = |text: &str| text.parse::<Bits>().map_err(|error| error.to_string());
    Ok(Line {
        number,
        layer: layer.to_owned(),
        bits: [bits(weights)?, bits(activations)?],
    })
}

/// The file with such lines, that [`read`] reads.
pub fn written<'a>(lines: impl Iterator<Item = (&'a str, [u8; 2])>) -> Vec<u8> {
    let mut csv = WriterBuilder::new().from_writer(Vec::new());
    csv.write_record(HEAD).expect("memory takes it");
    for (layer, [weights, activations]) in lines {
        csv.write_record([layer, &weights.to_string(), &activations.to_string()])
            .expect("memory takes it");
    }
    csv.into_inner().expect("memory takes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_bits_are_read_or_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bits.csv");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        let line = |number, layer: &str, bits: [u8; 2]| Line {
            number,
            layer: layer.into(),
            bits: bits.map(|bits| Bits::new(bits).unwrap()),
        };
        assert_eq!(
            of("layer,weights,activations\nlayer1.*, 8,4\n\n \nfc,32,32\n").unwrap(),
            [line(2, "layer1.*", [8, 4]), line(5, "fc", [32, 32])]
        );
        assert_eq!(of("\"a,b\",\"8\",4\r\n").unwrap(), [line(1, "a,b", [8, 4])]);
        for (text, says) in [
            ("\u{feff}", "it names no layer"),
            (" \n\n", "it names no layer"),
            ("layer,weights,activations\n", "it names no layer"),
            ("a,8,8\n\nb,9,8\n", "line 3: '9' is not a bit width"),
            (
                "a,8\n",
                "line 1: expected a layer, bits of its weights and of what it reads, as `layer1.*,8,8`, found 2 fields",
            ),
            ("a,8,8\nb,9,8\n", "line 2: '9' is not a bit width"),
            ("a,8,x\n", "line 1: 'x' is not a bit width"),
            ("a,w4,a4\n", "line 1: 'w4' is not a bit width"),
            ("a,8,8\nb,8,8\na,4,4\n", "line 3: `a` stands in line 1, too"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(says) && error.contains("bits.csv"), "{error}");
        }
        let missing = read(&folder.path().join("none.csv")).unwrap_err().to_string();
        assert!(
            missing.contains("--layer-bits") && missing.contains("none.csv"),
            "{missing}"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bits.csv");
        let bytes = written([("a,\"b", [8, 4]), ("c", [2, 32])].into_iter());
        std::fs::write(&path, bytes).unwrap();
        let lines = read(&path).unwrap();
        let lines: Vec<_> = lines
            .iter()
            .map(|line| (line.layer.as_str(), line.bits.map(Bits::get)))
            .collect();
        assert_eq!(lines, [("a,\"b", [8, 4]), ("c", [2, 32])]);
    }
}
