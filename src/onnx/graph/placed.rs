//! Where the batch goes when the dimensions of a value are cut and joined anew.
//!
//! Numbers stay in a row. Those of the dimensions before the batch are a prefix of the new dimensions, up to the one that the batch is
//! in, and those behind it are the rest. Sizes that are multiples of the batch say which one that is. Where all are numbers several may
//! be possible with a batch of 1 alone: then each is right, because a graph computes one picture.

use super::data::{Data, Part};
use super::size::{Made, Size};

/// The size of the batch in a file, where it is a number.
#[derive(Clone, Copy)]
pub(super) struct Pictures {
    pub count: usize,
    /// Whether the file leaves it open, and one picture stands for any number of them.
    pub open: bool,
}

/// The dimensions that a value gets in the file. `zero`: whether 0 is a size, not one that stays.
pub(super) fn reshaped(x: &Data, wanted: &[Size], zero: bool, batch: Pictures) -> Made<Vec<Part>> {
    let parts = x.parts();
    let refuse = || {
        let sizes = |list: &[Size]| {
            list.iter()
                .map(|&size| described(size))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let from: Vec<Size> = parts.iter().map(|part| part.size()).collect();
        format!("makes [{}] of [{}]", sizes(wanted), sizes(&from))
    };
    let stays = |(n, size): (usize, &Size)| match size {
        Size::Whole(0) if !zero => parts.get(n).map(|part| part.size()),
        size => Some(*size),
    };
    let sizes: Option<Vec<Size>> = wanted.iter().enumerate().map(stays).collect();
    let sizes = sizes.ok_or_else(refuse)?;
    let (before, behind) = x.shape.split_at(x.place.before);
    let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    let around = count(before).zip(count(behind)).ok_or_else(refuse)?;
    let known: Vec<usize> = (0..sizes.len()).filter(|&n| sizes[n].known().is_none()).collect();
    let candidates = match known[..] {
        [] => 0..sizes.len(),
        [n] => n..n + 1,
        _ => return Err("has the batch in several dimensions".to_owned()),
    };
    let found = candidates.filter_map(|n| Some((n, with_batch_at(n, &sizes, around, batch)?)));
    let best = found.min_by_key(|(n, parts)| {
        let joined = match parts[*n] {
            Part::Batch(joined) => joined.map(|size| size.is_some()),
            Part::Own(_) => [false; 2],
        };
        // Alone, and where it was, if possible. What follows works along the last dimension, mostly.
        let alone = joined == [false; 2];
        let last = n + 1 == parts.len();
        (
            !alone,
            *n != x.batch_axis() || !alone,
            last,
            joined[0],
            sizes[*n] != Size::Whole(-1),
        )
    });
    best.map(|(_, parts)| parts).ok_or_else(refuse)
}

/// The dimensions with the batch in number `n`, with so many numbers before and behind it, where that is possible.
fn with_batch_at(n: usize, sizes: &[Size], around: (usize, usize), batch: Pictures) -> Option<Vec<Part>> {
    let (before, behind) = around;
    let open = Size::Whole(-1);
    // The others are numbers, one of which may be left open where that of the batch is not.
    let mut own = Vec::new();
    for &size in sizes {
        own.push(match size {
            size if size == open => 1,
            Size::Whole(size) => usize::try_from(size).ok().filter(|&size| size > 0)?,
            Size::Batch(times) => usize::try_from(times).ok()?,
        });
    }
    let others = own.iter().enumerate().filter(|&(other, _)| other != n);
    let mut others = others.map(|(_, &size)| size);
    let count = others.try_fold(1usize, |all, size| all.checked_mul(size))?;
    let all = before.checked_mul(behind)?;
    let mut unknown = sizes.iter().enumerate().filter(|&(_, &size)| size == open);
    let (first, second) = (unknown.next().map(|(place, _)| place), unknown.next());
    if second.is_some() {
        return None;
    }
    own[n] = match sizes[n] {
        Size::Batch(_) => own[n],
        size if size == open => all.checked_div(count)?,
        // Of an open batch such a size is that of one picture alone, as some exporters write it.
        _ if batch.open && own[n] != 1 => return None,
        _ if own[n].is_multiple_of(batch.count) => own[n] / batch.count,
        _ => return None,
    };
    if let Some(place) = first.filter(|&place| place != n) {
        own[place] = all.checked_div(count.checked_mul(own[n])?)?;
    }
    let product = |sizes: &[usize]| sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    let (ahead, rest) = (product(&own[..n])?, product(&own[n + 1..])?);
    let quotient = |of: usize, by: usize| (by > 0 && of.is_multiple_of(by)).then(|| of / by);
    let joined = [quotient(before, ahead)?, quotient(behind, rest)?];
    if joined[0].checked_mul(joined[1])? != own[n] {
        return None;
    }
    let mut parts: Vec<Part> = own.into_iter().map(Part::Own).collect();
    parts[n] = Part::Batch(joined.map(|size| Some(size).filter(|&size| size > 1)));
    Some(parts)
}

fn described(size: Size) -> String {
    match size {
        Size::Batch(1) => "batch".to_owned(),
        Size::Batch(times) => format!("{times} * batch"),
        Size::Whole(size) => size.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Part::{Batch, Own};
    use super::Size::Whole;
    use super::*;
    use crate::onnx::graph::data::of_parts;

    /// `batch`: its size in the file, 0 where it is open.
    fn after(parts: &[Part], wanted: &[Size], batch: usize) -> Result<Vec<Part>, String> {
        let (shape, place) = of_parts(parts);
        let node = "x".to_owned();
        let (count, open) = (batch.max(1), batch == 0);
        reshaped(
            &Data { node, shape, place },
            wanted,
            false,
            Pictures { count, open },
        )
    }

    fn whole(sizes: &[i64]) -> Vec<Size> {
        sizes.iter().copied().map(Whole).collect()
    }

    #[test]
    fn windows_go_into_the_batch_and_out_of_it() {
        let map = [Part::BATCH, Own(2), Own(3), Own(7), Own(5)];
        let windows = [Batch([None, Some(6)]), Own(7), Own(5)];
        assert_eq!(after(&map, &whole(&[-1, 7, 5]), 0).unwrap(), windows);
        assert_eq!(
            after(&map, &[Size::Batch(6), Whole(-1), Whole(5)], 1).unwrap(),
            windows
        );
        assert_eq!(after(&map, &whole(&[12, 7, 5]), 2).unwrap(), windows);
        assert_eq!(after(&windows, &whole(&[-1, 2, 3, 7, 5]), 0).unwrap(), map);
        assert_eq!(after(&windows, &whole(&[0, 7, 5, 1]), 1).unwrap()[..3], windows);
        // One window: the batch is alone.
        let one = [Part::BATCH, Own(1), Own(1), Own(7), Own(5)];
        assert_eq!(
            after(&one, &whole(&[-1, 7, 5]), 1).unwrap(),
            [Part::BATCH, Own(7), Own(5)]
        );
    }

    #[test]
    fn heads_go_into_a_batch_behind_tokens() {
        let tokens = [Own(17), Part::BATCH, Own(32)];
        let heads = [Own(17), Batch([None, Some(4)]), Own(8)];
        for (wanted, batch) in [
            (whole(&[17, 8, 8]), 2),
            (whole(&[17, 4, 8]), 1),
            (whole(&[17, -1, 8]), 1),
            (vec![Whole(17), Size::Batch(4), Whole(8)], 1),
        ] {
            assert_eq!(after(&tokens, &wanted, batch).unwrap(), heads);
        }
        let rows = [Batch([Some(17), None]), Own(32)];
        assert_eq!(after(&tokens, &whole(&[34, 32]), 2).unwrap(), rows);
        assert_eq!(after(&tokens, &whole(&[17, 32]), 1).unwrap(), rows);
        assert_eq!(
            after(&rows, &[Whole(17), Size::Batch(1), Whole(32)], 1).unwrap(),
            tokens
        );
        assert_eq!(after(&rows, &whole(&[17, 2, 32]), 2).unwrap(), tokens);
    }

    #[test]
    fn pictures_are_not_mixed() {
        let map = [Part::BATCH, Own(6), Own(4)];
        // Half a picture, parts of two pictures, another number of numbers.
        assert!(after(&map, &[Size::Batch(2), Whole(5), Whole(4)], 1).is_err());
        assert!(after(&map, &[Whole(6), Size::Batch(1), Whole(4)], 1).is_err());
        assert!(after(&map, &whole(&[3, 16]), 2).is_err());
        assert!(after(&map, &[Size::Batch(1), Size::Batch(24)], 1).is_err());
        assert!(after(&map, &whole(&[-1, -1]), 1).is_err());
        assert!(after(&map, &whole(&[2, 0, 0, 0]), 2).is_err());
        assert!(after(&map, &[Size::Batch(24)], 1).is_ok());
        // Of an open batch, each size but one is for all pictures.
        assert!(after(&map, &whole(&[6, -1]), 0).is_err());
        assert!(after(&map, &whole(&[6, -1]), 1).is_ok());
        assert_eq!(after(&map, &whole(&[1, -1]), 0).unwrap(), [Part::BATCH, Own(24)]);
        assert_eq!(
            after(&map, &whole(&[7, -1]), 1).unwrap_err(),
            "makes [7, -1] of [batch, 6, 4]"
        );
    }
}
