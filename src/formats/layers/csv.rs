//! Layer lists in CSV: a header, and a layer a line.
//!
//! The file is read line by line, as no field of a layer can hold the end of one. So an error has the line that an
//! editor shows, whatever comments and empty lines stand before it.

use csv::{ReaderBuilder, StringRecord, Trim};

use super::list::{Entry, List, Pair, one};
use crate::mapping::{Network, Padding};

/// The columns; the first five must be there.
const COLUMNS: [&str; 9] = [
    "name",
    "input",
    "kernel",
    "in_channels",
    "out_channels",
    "stride",
    "padding",
    "dilation",
    "groups",
];

/// The network, called `stem`.
pub(super) fn network(stem: &str, text: &str) -> Result<Network, String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut header = None;
    let mut list = List::default();
    for (index, line) in text.split('\n').enumerate() {
        let mut read = || {
            let Some(record) = record(line)? else {
                return Ok(());
            };
            match &header {
                None => header = Some(checked(record)?),
                Some(header) => list.push(entry(header, &record)?)?,
            }
            Ok(())
        };
        read().map_err(|what: String| format!("line {}: {what}", index + 1))?;
    }
    if header.is_none() {
        return Err(format!(
            "the header is missing: its first line must name columns, which are {}",
            COLUMNS.join(", ")
        ));
    }
    list.network(stem.to_owned())
}

/// The fields of a line; nothing of an empty one and of a comment.
fn record(line: &str) -> Result<Option<StringRecord>, String> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    if let Some(comment) = line.trim_start().strip_prefix('#') {
        return if comment.is_empty() || comment.starts_with(|c: char| c == '#' || c.is_whitespace()) {
            Ok(None)
        } else {
            Err(
                "it begins with `#`, and may be a comment or a layer: put a blank behind the `#` of a comment, or \
                 the name of a layer in quotation marks"
                    .to_owned(),
            )
        };
    }
    // One within a field is doubled.
    if line.matches('"').count() % 2 == 1 {
        return Err("a quotation mark is opened and not closed in this line".to_owned());
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .trim(Trim::All)
        .from_reader(line.as_bytes());
    let record = reader.records().next().transpose();
    record.map_err(|error| error.to_string())
}

/// The header, if every column is known, there once, and none is missing.
fn checked(header: StringRecord) -> Result<StringRecord, String> {
    for (index, column) in header.iter().enumerate() {
        if !COLUMNS.contains(&column) {
            return Err(format!(
                "there is no column `{column}`; use {}",
                COLUMNS.join(", ")
            ));
        }
        if header.iter().take(index).any(|earlier| earlier == column) {
            return Err(format!("the column `{column}` is there twice: leave one out"));
        }
    }
    match COLUMNS[..5]
        .iter()
        .find(|&&column| header.iter().all(|c| c != column))
    {
        Some(missing) => Err(format!("the column `{missing}` is missing")),
        None => Ok(header),
    }
}

fn entry(header: &StringRecord, record: &StringRecord) -> Result<Entry, String> {
    if record.len() != header.len() {
        return Err(format!(
            "it has {} fields, and the header has {}: give one for each column, empty where there is nothing to say",
            record.len(),
            header.len()
        ));
    }
    let field = |column: &str| {
        let index = header.iter().position(|name| name == column)?;
        record.get(index).filter(|text| !text.is_empty())
    };
    let number = |column: &str, text: &str| {
        text.trim()
            .parse::<usize>()
            .map_err(|_| format!("{column} `{text}` is not a whole number"))
    };
    let numbers = |column: &str, text: &str| {
        text.split('x')
            .map(|part| number(column, part))
            .collect::<Result<Vec<_>, _>>()
    };
    let required = |column: &str| field(column).ok_or_else(|| format!("{column} is empty"));
    let pair = |column: &str, text: &str| match numbers(column, text)?[..] {
        [both] => Ok(Pair::Both(both)),
        [height, width] => Ok(Pair::Each([height, width])),
        _ => Err(format!("{column} `{text}` must be one number, or height x width")),
    };
    let optional = |column: &str| field(column).map_or(Ok(one()), |text| pair(column, text));
    let padding = field("padding").map_or(
        Ok(Padding::default()),
        |text| match numbers("padding", text)?[..] {
            [all] => Ok(all.into()),
            [vertical, horizontal] => Ok([vertical, horizontal].into()),
            [top, bottom, left, right] => Ok([top, bottom, left, right].into()),
            _ => Err(format!(
                "padding `{text}` must be one number, vertical x horizontal, or top x bottom x left x right"
            )),
        },
    );
    Ok(Entry {
        name: required("name")?.to_owned(),
        input: pair("input", required("input")?)?,
        kernel: pair("kernel", required("kernel")?)?,
        stride: optional("stride")?,
        padding: padding?,
        dilation: optional("dilation")?,
        groups: field("groups").map_or(Ok(1), |text| number("groups", text))?,
        in_channels: number("in_channels", required("in_channels")?)?,
        out_channels: number("out_channels", required("out_channels")?)?,
        tie: None,
    })
}
