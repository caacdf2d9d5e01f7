//! The shapes of the digits: lines and curves as a signwriter would draw them, several to a digit.
//!
//! A shape is one unit high, from y = 0 at the top to y = 1 at the bottom, and about 0.55 wide, around x = 0. Only
//! arithmetic is used on the way from there to straight pieces, so that they come out the same on every machine.

use Step::{Curve, Line, Move, Over, Up};

/// A place, x to the right and y downwards.
pub type Point = (f32, f32);

/// One movement of the pen.
#[derive(Clone, Copy)]
pub enum Step {
    /// Lift the pen and put it down here.
    Move(f32, f32),
    /// Straight to here.
    Line(f32, f32),
    /// A quarter of an ellipse to here, setting out horizontally.
    Over(f32, f32),
    /// A quarter of an ellipse to here, setting out vertically.
    Up(f32, f32),
    /// A Bezier curve past two control points to here.
    Curve(Point, Point, Point),
}

/// A way to draw a digit.
type Glyph = &'static [Step];

/// How far the control points of a quarter of a circle lie from its ends, in radii.
const QUARTER: f32 = 0.552_284_8;
/// Straight pieces per curve: at 32 pixels the corners cannot be seen.
const PIECES: usize = 7;

/// The shapes of `digit`, 0 to 9.
pub fn shapes(digit: u8) -> &'static [Glyph] {
    SHAPES[usize::from(digit)]
}

/// Draws `glyph` as connected straight pieces, one list of corners for each time the pen is put down. `place` moves
/// the points of the description to where they should be.
pub fn trace(glyph: &[Step], mut place: impl FnMut(Point) -> Point) -> Vec<Vec<Point>> {
    let mut lines: Vec<Vec<Point>> = Vec::new();
    // The pen before and after `place`.
    let (mut pen, mut placed) = ((0.0, 0.0), (0.0, 0.0));
    for &step in glyph {
        let (first, second, end) = match step {
            Move(x, y) | Line(x, y) => (pen, (x, y), (x, y)),
            Over(x, y) => (
                (pen.0 + QUARTER * (x - pen.0), pen.1),
                (x, y - QUARTER * (y - pen.1)),
                (x, y),
            ),
            Up(x, y) => (
                (pen.0, pen.1 + QUARTER * (y - pen.1)),
                (x - QUARTER * (x - pen.0), y),
                (x, y),
            ),
            Curve(first, second, end) => (first, second, end),
        };
        pen = end;
        match step {
            Move(..) => {
                placed = place(end);
                lines.push(vec![placed]);
                continue;
            }
            Line(..) => placed = place(end),
            _ => {
                let (a, b, c, d) = (placed, place(first), place(second), place(end));
                placed = d;
                let bezier = |i: usize| {
                    let t = i as f32 / PIECES as f32;
                    let s = 1.0 - t;
                    let mix = |a: f32, b: f32, c: f32, d: f32| {
                        s * s * s * a + 3.0 * s * s * t * b + 3.0 * s * t * t * c + t * t * t * d
                    };
                    (mix(a.0, b.0, c.0, d.0), mix(a.1, b.1, c.1, d.1))
                };
                let line = lines.last_mut().expect("a glyph begins with a move");
                line.extend((1..PIECES).map(bezier));
            }
        }
        lines.last_mut().expect("a glyph begins with a move").push(placed);
    }
    lines
}

const SHAPES: [&[Glyph]; 10] = [
    &[ZERO_OVAL, ZERO_STADIUM, ZERO_NARROW],
    &[ONE_BARE, ONE_FLAG, ONE_FOOT, ONE_BEAK, ONE_SERIF, ONE_BEAK],
    &[TWO_ROUND, TWO_STRAIGHT, TWO_WAVE],
    &[THREE_ROUND, THREE_FLAT, THREE_NOTCH],
    &[FOUR_CLOSED, FOUR_OPEN, FOUR_FOOT, FOUR_BLUNT, FOUR_SQUARE],
    &[FIVE_ROUND, FIVE_SQUARE, FIVE_FLAG],
    &[SIX_CURLED, SIX_STRAIGHT, SIX_LEANING],
    &[SEVEN_STRAIGHT, SEVEN_CURVED, SEVEN_BARRED, SEVEN_SERIF],
    &[EIGHT_RINGS, EIGHT_CROSSED, EIGHT_EVEN],
    &[NINE_CURLED, NINE_STRAIGHT, NINE_LEANING, NINE_UPRIGHT],
];

const ZERO_OVAL: Glyph = &[
    Move(0.0, 0.0),
    Over(0.28, 0.5),
    Up(0.0, 1.0),
    Over(-0.28, 0.5),
    Up(0.0, 0.0),
];
const ZERO_STADIUM: Glyph = &[
    Move(0.0, 0.0),
    Over(0.26, 0.27),
    Line(0.26, 0.73),
    Up(0.0, 1.0),
    Over(-0.26, 0.73),
    Line(-0.26, 0.27),
    Up(0.0, 0.0),
];
const ZERO_NARROW: Glyph = &[
    Move(0.0, 0.0),
    Over(0.21, 0.5),
    Up(0.0, 1.0),
    Over(-0.21, 0.5),
    Up(0.0, 0.0),
];

const ONE_BARE: Glyph = &[Move(0.0, 0.0), Line(0.0, 1.0)];
const ONE_FLAG: Glyph = &[Move(-0.17, 0.25), Line(0.06, 0.0), Line(0.06, 1.0)];
const ONE_FOOT: Glyph = &[
    Move(-0.17, 0.22),
    Line(0.03, 0.0),
    Line(0.03, 1.0),
    Move(-0.17, 1.0),
    Line(0.22, 1.0),
];
const ONE_BEAK: Glyph = &[Move(-0.15, 0.2), Over(0.06, 0.0), Line(0.06, 1.0)];
const ONE_SERIF: Glyph = &[
    Move(-0.13, 0.12),
    Line(0.02, 0.0),
    Line(0.02, 1.0),
    Move(-0.13, 1.0),
    Line(0.16, 1.0),
];

const TWO_ROUND: Glyph = &[
    Move(-0.26, 0.27),
    Up(0.0, 0.0),
    Over(0.26, 0.27),
    Curve((0.26, 0.55), (-0.18, 0.68), (-0.27, 1.0)),
    Line(0.28, 1.0),
];
const TWO_STRAIGHT: Glyph = &[
    Move(-0.25, 0.25),
    Up(0.0, 0.0),
    Over(0.25, 0.27),
    Curve((0.25, 0.42), (0.15, 0.52), (0.06, 0.62)),
    Line(-0.26, 1.0),
    Line(0.27, 1.0),
];
const TWO_WAVE: Glyph = &[
    Move(-0.24, 0.28),
    Up(0.0, 0.0),
    Over(0.25, 0.26),
    Curve((0.25, 0.6), (-0.2, 0.72), (-0.27, 0.99)),
    Curve((-0.08, 0.84), (0.1, 1.08), (0.28, 0.9)),
];

const THREE_ROUND: Glyph = &[
    Move(-0.26, 0.22),
    Up(0.0, 0.0),
    Over(0.24, 0.235),
    Up(0.0, 0.47),
    Line(-0.08, 0.47),
    Move(0.0, 0.47),
    Over(0.28, 0.735),
    Up(0.0, 1.0),
    Over(-0.28, 0.76),
];
const THREE_FLAT: Glyph = &[
    Move(-0.25, 0.0),
    Line(0.25, 0.0),
    Line(-0.01, 0.4),
    Over(0.28, 0.7),
    Up(0.0, 1.0),
    Over(-0.28, 0.8),
];
const THREE_NOTCH: Glyph = &[
    Move(-0.25, 0.15),
    Curve((-0.15, -0.05), (0.24, -0.06), (0.24, 0.22)),
    Curve((0.24, 0.4), (0.1, 0.46), (-0.06, 0.48)),
    Curve((0.14, 0.48), (0.28, 0.58), (0.28, 0.74)),
    Curve((0.28, 1.08), (-0.2, 1.08), (-0.28, 0.84)),
];

const FOUR_CLOSED: Glyph = &[Move(0.1, 1.0), Line(0.1, 0.0), Line(-0.28, 0.7), Line(0.3, 0.7)];
const FOUR_OPEN: Glyph = &[
    Move(-0.12, 0.0),
    Line(-0.27, 0.62),
    Line(0.28, 0.62),
    Move(0.13, 0.3),
    Line(0.13, 1.0),
];
const FOUR_FOOT: Glyph = &[
    Move(0.1, 1.0),
    Line(0.1, 0.0),
    Line(-0.28, 0.7),
    Line(0.3, 0.7),
    Move(-0.03, 1.0),
    Line(0.23, 1.0),
];
const FOUR_BLUNT: Glyph = &[
    Move(0.13, 1.0),
    Line(0.13, 0.0),
    Line(0.05, 0.0),
    Line(-0.27, 0.66),
    Line(-0.27, 0.74),
    Line(0.29, 0.74),
];
const FOUR_SQUARE: Glyph = &[
    Move(-0.22, 0.0),
    Line(-0.24, 0.56),
    Line(0.26, 0.56),
    Move(0.16, 0.05),
    Line(0.16, 1.0),
];

const FIVE_ROUND: Glyph = &[
    Move(0.24, 0.0),
    Line(-0.19, 0.0),
    Line(-0.24, 0.46),
    Curve((-0.1, 0.32), (0.28, 0.3), (0.28, 0.66)),
    Curve((0.28, 1.08), (-0.2, 1.1), (-0.28, 0.83)),
];
const FIVE_SQUARE: Glyph = &[
    Move(0.23, 0.0),
    Line(-0.22, 0.0),
    Line(-0.22, 0.42),
    Line(0.0, 0.42),
    Over(0.27, 0.71),
    Up(0.0, 1.0),
    Over(-0.27, 0.82),
];
const FIVE_FLAG: Glyph = &[
    Move(0.23, -0.02),
    Curve((0.1, 0.06), (-0.05, 0.05), (-0.18, 0.0)),
    Line(-0.2, 0.47),
    Curve((-0.05, 0.31), (0.28, 0.34), (0.28, 0.67)),
    Curve((0.28, 1.05), (-0.18, 1.1), (-0.26, 0.84)),
];

const SIX_CURLED: Glyph = &[
    Move(0.25, 0.2),
    Up(0.02, 0.0),
    Over(-0.28, 0.5),
    Line(-0.28, 0.68),
    Up(0.0, 1.0),
    Over(0.27, 0.69),
    Up(0.0, 0.39),
    Over(-0.27, 0.65),
];
const SIX_STRAIGHT: Glyph = &[
    Move(0.12, 0.0),
    Curve((-0.05, 0.2), (-0.28, 0.45), (-0.28, 0.7)),
    Up(0.0, 1.0),
    Over(0.28, 0.7),
    Up(0.0, 0.41),
    Over(-0.27, 0.66),
];
const SIX_LEANING: Glyph = &[
    Move(0.23, 0.06),
    Curve((-0.1, -0.06), (-0.28, 0.25), (-0.28, 0.68)),
    Up(0.0, 1.0),
    Over(0.27, 0.71),
    Up(0.01, 0.44),
    Over(-0.27, 0.68),
];

const SEVEN_STRAIGHT: Glyph = &[Move(-0.27, 0.0), Line(0.27, 0.0), Line(-0.08, 1.0)];
const SEVEN_CURVED: Glyph = &[
    Move(-0.27, 0.0),
    Line(0.27, 0.0),
    Curve((0.05, 0.3), (-0.08, 0.6), (-0.1, 1.0)),
];
const SEVEN_BARRED: Glyph = &[
    Move(-0.27, 0.0),
    Line(0.27, 0.0),
    Line(-0.08, 1.0),
    Move(-0.14, 0.5),
    Line(0.23, 0.5),
];
const SEVEN_SERIF: Glyph = &[
    Move(-0.27, 0.18),
    Line(-0.27, 0.0),
    Line(0.27, 0.0),
    Curve((0.1, 0.35), (-0.03, 0.6), (-0.05, 1.0)),
];

const EIGHT_RINGS: Glyph = &[
    Move(0.0, 0.0),
    Over(0.23, 0.23),
    Up(0.0, 0.46),
    Over(-0.23, 0.23),
    Up(0.0, 0.0),
    Move(0.0, 0.46),
    Over(0.28, 0.73),
    Up(0.0, 1.0),
    Over(-0.28, 0.73),
    Up(0.0, 0.46),
];
const EIGHT_CROSSED: Glyph = &[
    Move(0.0, 0.0),
    Curve((0.32, 0.0), (0.3, 0.36), (0.0, 0.47)),
    Curve((-0.38, 0.6), (-0.34, 1.0), (0.0, 1.0)),
    Curve((0.34, 1.0), (0.38, 0.6), (0.0, 0.47)),
    Curve((-0.3, 0.36), (-0.32, 0.0), (0.0, 0.0)),
];
const EIGHT_EVEN: Glyph = &[
    Move(0.0, 0.0),
    Over(0.25, 0.245),
    Up(0.0, 0.49),
    Over(-0.25, 0.245),
    Up(0.0, 0.0),
    Move(0.0, 0.49),
    Over(0.26, 0.745),
    Up(0.0, 1.0),
    Over(-0.26, 0.745),
    Up(0.0, 0.49),
];

const NINE_CURLED: Glyph = &[
    Move(-0.25, 0.8),
    Up(-0.02, 1.0),
    Over(0.28, 0.5),
    Line(0.28, 0.32),
    Up(0.0, 0.0),
    Over(-0.27, 0.31),
    Up(0.0, 0.61),
    Over(0.27, 0.35),
];
const NINE_STRAIGHT: Glyph = &[
    Move(-0.12, 1.0),
    Curve((0.05, 0.8), (0.28, 0.55), (0.28, 0.3)),
    Up(0.0, 0.0),
    Over(-0.28, 0.3),
    Up(0.0, 0.59),
    Over(0.27, 0.34),
];
const NINE_LEANING: Glyph = &[
    Move(-0.23, 0.94),
    Curve((0.1, 1.06), (0.28, 0.75), (0.28, 0.32)),
    Up(0.0, 0.0),
    Over(-0.27, 0.29),
    Up(-0.01, 0.56),
    Over(0.27, 0.32),
];
const NINE_UPRIGHT: Glyph = &[
    Move(0.27, 0.3),
    Up(0.0, 0.6),
    Over(-0.27, 0.3),
    Up(0.0, 0.0),
    Over(0.27, 0.3),
    Line(0.27, 1.0),
];
