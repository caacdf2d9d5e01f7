//! Zero padding, with its own size on each side.

use serde::{Deserialize, Serialize};

/// Zero padding around an input, in cells. Written as `[top, bottom, left, right]`; read from that, from
/// `[above and below, left and right]`, or from one number for all four sides.
///
/// ```
/// use vwc_sdk::mapping::Padding;
///
/// assert_eq!(Padding::from(1), Padding::from([1, 1, 1, 1]));
/// assert_eq!(Padding::from([2, 0]), Padding { top: 2, bottom: 2, left: 0, right: 0 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(into = "[usize; 4]", from = "Form")]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the left.
    pub left: usize,
    /// Columns to the right.
    pub right: usize,
}

/// The forms padding is read from.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected padding as a whole number from 0 up, as [above and below, left and right], or as \
                 [top, bottom, left, right]"
)]
enum Form {
    Sides([usize; 4]),
    Axes([usize; 2]),
    All(usize),
}

impl From<Form> for Padding {
    fn from(form: Form) -> Self {
        match form {
            Form::Sides(sides) => sides.into(),
            Form::Axes(axes) => axes.into(),
            Form::All(all) => all.into(),
        }
    }
}

impl From<usize> for Padding {
    fn from(all: usize) -> Self {
        [all; 4].into()
    }
}

impl From<[usize; 2]> for Padding {
    fn from([vertical, horizontal]: [usize; 2]) -> Self {
        [vertical, vertical, horizontal, horizontal].into()
    }
}

impl From<[usize; 4]> for Padding {
    fn from([top, bottom, left, right]: [usize; 4]) -> Self {
        Self {
            top,
            bottom,
            left,
            right,
        }
    }
}

impl From<Padding> for [usize; 4] {
    fn from(padding: Padding) -> Self {
        [padding.top, padding.bottom, padding.left, padding.right]
    }
}
