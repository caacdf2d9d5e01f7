//! Integers that say shapes. Where the batch is open, one may be a multiple of its size.

/// What an operator could not be read for, as the rest of a sentence that begins with the node.
pub(super) type Made<T> = Result<T, String>;

/// The longest list of integers.
pub(super) const MAX_SIZES: usize = 64;

/// An integer that says a shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Size {
    /// So many times the size of the batch, once at least.
    Batch(i64),
    Whole(i64),
}

impl Size {
    /// The integer, or none where the batch is in it.
    pub fn known(self) -> Option<i64> {
        match self {
            Self::Batch(_) => None,
            Self::Whole(size) => Some(size),
        }
    }

    /// What an operator of ONNX computes of two integers, where that is the same rule for every batch.
    pub fn of(operator: &str, a: Self, b: Self) -> Made<Self> {
        use Size::{Batch, Whole};
        let found = match (operator, a, b) {
            (_, Whole(a), Whole(b)) => whole(operator, a, b).map(Whole),
            ("Mul", Batch(_), Whole(0)) | ("Mul", Whole(0), Batch(_)) => Some(Whole(0)),
            ("Mul", Batch(times), Whole(by @ 1..)) | ("Mul", Whole(by @ 1..), Batch(times)) => {
                times.checked_mul(by).map(Batch)
            }
            ("Div", Batch(times), Whole(by @ 1..)) if times % by == 0 => Some(Batch(times / by)),
            ("Div", Batch(a), Batch(b)) => Some(Whole(a / b)),
            ("Mod", Batch(times), Whole(by @ 1..)) if times % by == 0 => Some(Whole(0)),
            ("Add", size @ Batch(_), Whole(0)) | ("Add", Whole(0), size @ Batch(_)) => Some(size),
            ("Sub", size @ Batch(_), Whole(0)) => Some(size),
            ("Add", Batch(a), Batch(b)) => a.checked_add(b).map(Batch),
            ("Sub", Batch(a), Batch(b)) if a == b => Some(Whole(0)),
            ("Sub", Batch(a), Batch(b)) if a > b => Some(Batch(a - b)),
            ("Equal", Batch(a), Batch(b)) => Some(Whole((a == b).into())),
            // No batch is that large, or so small.
            ("Equal", Batch(times), Whole(size)) | ("Equal", Whole(size), Batch(times))
                if size <= 0 || size % times != 0 =>
            {
                Some(Whole(0))
            }
            // A batch is one picture at least.
            ("Max", size @ Batch(times), Whole(other)) | ("Max", Whole(other), size @ Batch(times))
                if other <= times =>
            {
                Some(size)
            }
            ("Min", Batch(times), Whole(other)) | ("Min", Whole(other), Batch(times)) if other <= times => {
                Some(Whole(other))
            }
            _ => return Err(with_batch()),
        };
        found.ok_or_else(|| "computes a size that is too large, or divides by zero".to_owned())
    }
}

fn with_batch() -> String {
    "computes with the size of the batch".to_owned()
}

/// What an operator computes of two whole numbers.
fn whole(operator: &str, a: i64, b: i64) -> Option<i64> {
    match operator {
        "Add" => a.checked_add(b),
        "Sub" => a.checked_sub(b),
        "Mul" => a.checked_mul(b),
        "Div" => a.checked_div(b),
        "Max" => Some(a.max(b)),
        "Min" => Some(a.min(b)),
        "Equal" => Some((a == b).into()),
        // With the sign of the divisor.
        "Mod" => {
            let rest = a.checked_rem(b)?;
            Some(if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            })
        }
        _ => None,
    }
}

/// Integers in a row, or one alone.
#[derive(Clone)]
pub(super) struct Sizes {
    pub row: bool,
    pub sizes: Vec<Size>,
}

impl Sizes {
    pub fn row(sizes: Vec<Size>) -> Self {
        Self { row: true, sizes }
    }

    /// The integers, none of which is the batch.
    pub fn whole(&self) -> Made<Vec<i64>> {
        let whole = self.sizes.iter().copied().map(Size::known);
        let whole = whole.collect::<Option<_>>();
        whole.ok_or_else(with_batch)
    }
}

#[cfg(test)]
mod tests {
    use super::Size::{self, Batch, Whole};

    #[test]
    fn multiples_of_the_batch_are_computed_where_every_batch_gives_the_same() {
        let of = |operator, a, b| Size::of(operator, a, b).ok();
        assert_eq!(of("Mul", Batch(2), Whole(9)), Some(Batch(18)));
        assert_eq!(of("Div", Batch(18), Whole(9)), Some(Batch(2)));
        assert_eq!(of("Div", Batch(18), Batch(2)), Some(Whole(9)));
        assert_eq!(of("Div", Batch(2), Whole(4)), None);
        assert_eq!(of("Mod", Batch(8), Whole(4)), Some(Whole(0)));
        assert_eq!(of("Mod", Batch(2), Whole(4)), None);
        assert_eq!(of("Equal", Batch(1), Whole(-1)), Some(Whole(0)));
        assert_eq!(of("Equal", Batch(4), Whole(6)), Some(Whole(0)));
        assert_eq!(of("Equal", Batch(1), Whole(6)), None);
        assert_eq!(of("Max", Whole(1), Batch(3)), Some(Batch(3)));
        assert_eq!(of("Max", Whole(4), Batch(3)), None);
        assert_eq!(of("Add", Batch(1), Whole(1)), None);
        assert_eq!(of("Mul", Batch(i64::MAX), Whole(2)), None);
    }

    #[test]
    fn remainders_have_the_sign_of_the_divisor() {
        let of = |a, b| Size::of("Mod", Whole(a), Whole(b)).ok();
        assert_eq!(of(7, 4), Some(Whole(3)));
        assert_eq!(of(-7, 4), Some(Whole(1)));
        assert_eq!(of(7, -4), Some(Whole(-1)));
        assert_eq!(of(8, -4), Some(Whole(0)));
        assert_eq!(of(1, 0), None);
        assert_eq!(of(i64::MIN, -1), None);
    }
}
