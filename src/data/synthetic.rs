//! Street-number digits drawn by the program itself: a stand-in for SVHN that needs no download.
//!
//! The pictures have what makes the real ones hard: digits of many shapes, widths and slants, light on dark and dark on
//! light, often with little contrast; the neighbours of the digit in the house number reaching into the picture; plates
//! and their borders, shadows, blur and noise. A network that learns them works, and results on them say nothing about
//! results on the real ones.
//!
//! Every picture has a random stream of its own, numbered by its place, so longer sets begin with the shorter ones. Only
//! additions, multiplications, divisions and square roots are used, which IEEE 754 fixes to the last bit: the same seed
//! gives the same bytes on every machine.

mod glyphs;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::pictures::Pictures;
use glyphs::Point;

/// Rows and columns of a picture.
const SIDE: usize = 32;
const AREA: usize = SIDE * SIDE;
const CLASSES: u8 = 10;

/// `count` pictures of 32x32 RGB pixels with the digits 0 to 9, each about equally often, the same for the same `seed`.
///
/// `digits(n, seed)` begins with the pictures of `digits(k, seed)` for every smaller `k`. Use different seeds for
/// training and test.
pub fn digits(count: usize, seed: u64) -> Pictures {
    let mut pixels = Vec::with_capacity(count * AREA * 3);
    let mut labels = Vec::with_capacity(count);
    for index in 0..count {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        dice.0.set_stream(index as u64);
        let digit = dice.below(CLASSES.into()) as u8;
        labels.push(digit);
        let picture = Scene::new(&mut dice, digit).photograph(&mut dice);
        pixels.extend(picture.as_flattened());
    }
    Pictures::new(SIDE, SIDE, CLASSES.into(), pixels, labels).expect("the sizes agree")
}

/// Random numbers.
struct Dice(ChaCha8Rng);

impl Dice {
    /// From 0 up to 1.
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Between the two, more often near `low`.
    fn near(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit() * self.unit()
    }

    fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize]
    }

    /// About normal, with mean 0 and standard deviation 1: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let (a, b) = (self.0.next_u32(), self.0.next_u32());
        let sum = (a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16);
        (sum as f32 / 65536.0 - 2.0) * 1.732
    }
}

/// Red, green and blue from 0 to 1.
type Colour = [f32; 3];

/// How tints move red, green and blue: greys, warm and cold ones, as most walls and plates are, then blue, brown, gold,
/// red and green.
const TINTS: [Colour; 12] = [
    [0.0, 0.0, 0.0],
    [0.04, 0.0, -0.04],
    [0.12, 0.0, -0.12],
    [-0.04, 0.0, 0.06],
    [-0.12, 0.0, 0.14],
    [-0.08, 0.05, 0.03],
    [-0.45, -0.15, 0.6],
    [-0.3, -0.05, 0.35],
    [0.3, 0.0, -0.3],
    [0.3, 0.12, -0.45],
    [0.4, -0.2, -0.2],
    [-0.15, 0.15, 0.0],
];

/// A colour of the given brightness.
fn colour(dice: &mut Dice, brightness: f32) -> Colour {
    let tint = dice.pick(&TINTS);
    let strength = dice.near(0.05, 0.5);
    tint.map(|t| brightness + strength * t)
}

/// A brightness between 0 and 1 that differs from `other` by `contrast`, on the side where there is room.
fn apart(dice: &mut Dice, other: f32, contrast: f32) -> f32 {
    let (darker, brighter) = (other - contrast, other + contrast);
    let down = if darker < 0.0 {
        false
    } else if brighter > 1.0 {
        true
    } else {
        dice.chance(0.5)
    };
    if down { darker } else { brighter.min(1.0) }
}

/// How the digits of one house number are painted.
struct Pen {
    /// Height of a digit between the middles of its strokes, in pixels.
    height: f32,
    /// Factor on the width.
    aspect: f32,
    /// Half of the width of an upright stroke, in pixels.
    half: f32,
    /// By how much of its width a level stroke is thinner.
    thinning: f32,
    /// Square ends instead of round ones.
    square: bool,
    /// How far the top leans to the right, in heights.
    slant: f32,
    /// Sine of the angle by which the number is turned; the cosine is near 1.
    turn: f32,
    /// How much uprights are bent, in heights.
    bend: f32,
    /// How far the points of a shape stray, in heights.
    wobble: f32,
}

impl Pen {
    fn new(dice: &mut Dice) -> Self {
        let outer = dice.between(19.0, 28.0);
        let half = outer * dice.between(0.035, 0.1);
        Self {
            height: outer - 2.0 * half,
            aspect: dice.between(0.7, 1.2),
            half,
            thinning: if dice.chance(0.4) {
                dice.between(0.2, 0.6)
            } else {
                0.0
            },
            square: dice.chance(0.5),
            slant: if dice.chance(0.25) {
                dice.between(0.05, 0.3)
            } else {
                dice.between(-0.06, 0.06)
            },
            turn: 0.07 * dice.normal().clamp(-2.5, 2.5),
            bend: dice.between(-0.06, 0.06),
            wobble: dice.near(0.0, 0.05),
        }
    }

    /// One of the shapes of `digit`, upright, in pixels around its middle.
    fn shape(&self, dice: &mut Dice, digit: u8) -> Vec<Vec<Point>> {
        let glyph = dice.pick(glyphs::shapes(digit));
        let mut lines = glyphs::trace(glyph, |(x, y)| {
            let y = y - 0.5 + self.wobble * dice.normal();
            let x = x + self.wobble * dice.normal() + self.bend * (4.0 * y * y - 0.5);
            (self.height * (self.aspect * x - self.slant * y), self.height * y)
        });
        let (left, right) = extent(&lines);
        let middle = (left + right) / 2.0;
        lines.iter_mut().flatten().for_each(|p| p.0 -= middle);
        lines
    }
}

/// The leftmost and the rightmost x.
fn extent(lines: &[Vec<Point>]) -> (f32, f32) {
    lines
        .iter()
        .flatten()
        .fold((f32::MAX, f32::MIN), |(l, r), p| (l.min(p.0), r.max(p.0)))
}

/// How far every pixel is from the edge of what is painted, in pixels; negative inside.
struct Field([f32; AREA]);

impl Field {
    /// Farther out than any outline reaches.
    const FAR: f32 = 4.0;

    fn empty() -> Self {
        Self([Self::FAR; AREA])
    }

    /// Adds a stroke.
    fn stroke(&mut self, pen: &Pen, a: Point, b: Point) {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length = (dx * dx + dy * dy).sqrt().max(1e-3);
        let (ux, uy) = (dx / length, dy / length);
        let half = pen.half * (1.0 - pen.thinning * ux * ux);
        let reach = half + Self::FAR;
        let span = |a: f32, b: f32| {
            let low = (a.min(b) - reach).max(0.0) as usize;
            let high = ((a.max(b) + reach).max(-1.0) + 1.0) as usize;
            low..high.min(SIDE)
        };
        for row in span(a.1, b.1) {
            let y = row as f32 + 0.5 - a.1;
            for column in span(a.0, b.0) {
                let x = column as f32 + 0.5 - a.0;
                let along = x * ux + y * uy;
                let beside = (x * uy - y * ux).abs();
                let beyond = (along - length).max(-along).max(0.0);
                let distance = if pen.square {
                    beside.max(beyond)
                } else {
                    (beside * beside + beyond * beyond).sqrt()
                };
                let pixel = &mut self.0[row * SIDE + column];
                *pixel = pixel.min(distance - half);
            }
        }
    }

    /// How much of a pixel is covered if everything is painted `wider` pixels wider and moved by `shift` pixels.
    fn cover(&self, row: usize, column: usize, wider: f32, shift: (i32, i32)) -> f32 {
        let inside = |at: usize, by: i32| (at as i32 - by).clamp(0, SIDE as i32 - 1) as usize;
        let distance = self.0[inside(row, shift.1) * SIDE + inside(column, shift.0)];
        (0.5 + wider - distance).clamp(0.0, 1.0)
    }
}

/// A digit and its neighbours in the house number, laid out.
struct Number {
    pen: Pen,
    /// Where the middle of the digit is, in pixels.
    middle: Point,
    /// How far the number reaches to the left and to the right of it, in pixels.
    reach: [f32; 2],
    field: Field,
}

impl Number {
    fn new(dice: &mut Dice, digit: u8) -> Self {
        let pen = Pen::new(dice);
        let centre = SIDE as f32 / 2.0;
        let (x, y) = (centre + 0.9 * dice.normal(), centre + 0.9 * dice.normal());

        let shape = pen.shape(dice, digit);
        let mut reach = [extent(&shape).1; 2];
        let mut shapes = vec![(shape, 0.0)];
        let gap = pen.half * 2.0 + pen.height * dice.between(0.02, 0.28);
        for (side, reach) in [-1.0, 1.0].into_iter().zip(&mut reach) {
            for another in [0.65, 0.5] {
                // What lies outside the picture need not be drawn.
                if *reach > centre || !dice.chance(another) {
                    break;
                }
                let neighbour = dice.below(CLASSES.into()) as u8;
                let shape = pen.shape(dice, neighbour);
                let width = extent(&shape).1;
                shapes.push((shape, side * (*reach + gap + width)));
                *reach += gap + 2.0 * width;
            }
        }

        let mut field = Field::empty();
        for (shape, offset) in &shapes {
            let place = |p: Point| {
                let along = p.0 + offset;
                (x + along - pen.turn * p.1, y + p.1 + pen.turn * along)
            };
            for pair in shape.iter().flat_map(|line| line.windows(2)) {
                field.stroke(&pen, place(pair[0]), place(pair[1]));
            }
        }
        Self {
            pen,
            middle: (x, y),
            reach,
            field,
        }
    }
}

/// A picture before it is made of bytes.
struct Scene {
    pixels: Box<[Colour; AREA]>,
}

impl Scene {
    /// Paints `digit`, what stands beside it and what is behind it.
    fn new(dice: &mut Dice, digit: u8) -> Self {
        let number = Number::new(dice, digit);
        let field = &number.field;
        let ground_light = dice.between(0.1, 0.95);
        let contrast = 0.2 + dice.near(0.0, 0.75);
        let ink_light = apart(dice, ground_light, contrast);
        let ground = colour(dice, ground_light);
        let ink = colour(dice, ink_light);

        let mut scene = Self::wall(dice, ground);
        if dice.chance(0.35) {
            scene.plate(dice, &number, ink);
        }
        // A shadow, or the thickness of raised digits.
        if dice.chance(0.25) {
            let darkness = dice.between(0.3, 0.8);
            let shift = (dice.below(5) as i32 - 2, dice.below(3) as i32);
            let wider = dice.between(-0.3, 0.5);
            let dark = ground.map(|c| 0.4 * c - 0.05);
            scene.paint(|row, column| (dark, darkness * field.cover(row, column, wider, shift)));
        }
        // An outline.
        if dice.chance(0.12) {
            let light = dice.between(0.0, 1.0);
            let rim = colour(dice, light);
            let wider = dice.between(0.6, 1.4);
            let strength = dice.between(0.4, 1.0);
            scene.paint(|row, column| (rim, strength * field.cover(row, column, wider, (0, 0))));
        }
        // Worn paint and glare: the ink is not the same all over.
        let fade = dice.near(0.0, 0.5);
        let (fade_x, fade_y) = (dice.between(-1.0, 1.0), dice.between(-1.0, 1.0));
        scene.paint(|row, column| {
            let across = fade_x * (column as f32 / 31.0 - 0.5) + fade_y * (row as f32 / 31.0 - 0.5);
            let strength = 1.0 - fade * (0.5 + across).clamp(0.0, 1.0);
            (ink, strength * field.cover(row, column, 0.0, (0, 0)))
        });
        scene
    }

    /// Turns the ground into a plate behind the number: paints what is around it, and sometimes a border on it.
    fn plate(&mut self, dice: &mut Dice, number: &Number, ink: Colour) {
        let Number {
            pen,
            middle,
            reach: [left, right],
            ..
        } = number;
        let half_height = pen.height / 2.0 + pen.half;
        let mut margin = || dice.near(1.0, 9.0);
        let (left, right) = (left + pen.half + margin(), right + pen.half + margin());
        let (above, below) = (half_height + margin(), half_height + margin());
        let light = dice.between(0.05, 0.95);
        let wall = colour(dice, light);
        let border = dice.chance(0.35).then(|| dice.between(1.5, 2.5));
        self.paint(|row, column| {
            let (x, y) = (column as f32 + 0.5 - middle.0, row as f32 + 0.5 - middle.1);
            // Along the number and across it.
            let (u, v) = (x + pen.turn * y, y - pen.turn * x);
            let inside = (u + left).min(right - u).min(v + above).min(below - v);
            let outside = (0.5 - inside).clamp(0.0, 1.0);
            match border {
                Some(at) if outside == 0.0 => (ink, (1.0 - (inside - at).abs()).max(0.0)),
                _ => (wall, outside),
            }
        });
    }

    /// Empty ground, with blotches, joints and edges.
    fn wall(dice: &mut Dice, ground: Colour) -> Self {
        /// Blotches have the size of a cell of this many pixels.
        const CELL: usize = 8;
        const KNOTS: usize = SIDE / CELL + 1;
        let roughness = dice.near(0.0, 0.1);
        let mut knots = [[0.0; KNOTS]; KNOTS];
        knots
            .as_flattened_mut()
            .iter_mut()
            .for_each(|k| *k = roughness * dice.normal());
        let mut scene = Self {
            pixels: Box::new([ground; AREA]),
        };
        for (at, pixel) in scene.pixels.iter_mut().enumerate() {
            let (row, column) = (at / SIDE, at % SIDE);
            let (i, j) = (row / CELL, column / CELL);
            let v = (row % CELL) as f32 / CELL as f32;
            let u = (column % CELL) as f32 / CELL as f32;
            let top = knots[i][j] * (1.0 - u) + knots[i][j + 1] * u;
            let bottom = knots[i + 1][j] * (1.0 - u) + knots[i + 1][j + 1] * u;
            let light = top * (1.0 - v) + bottom * v;
            pixel.iter_mut().for_each(|c| *c += light);
        }
        // Joints between bricks or boards.
        if dice.chance(0.1) {
            let (start, step) = (dice.between(0.0, 10.0), dice.between(8.0, 20.0));
            let lighter = dice.between(-0.2, 0.2);
            let joint = ground.map(|c| c + lighter);
            let upright = dice.chance(0.3);
            scene.paint(|row, column| {
                let at = if upright { column } else { row } as f32;
                let lines = (at - start) / step;
                let off = (lines - lines.floor()) * step;
                (joint, (1.3 - off.min(step - off)).clamp(0.0, 1.0))
            });
        }
        // The edge of a door, a post or the sky to one side.
        if dice.chance(0.2) {
            let light = dice.between(0.0, 1.0);
            let other = colour(dice, light);
            let (width, lean) = (dice.between(1.0, 7.0), dice.between(-0.15, 0.15));
            let side = dice.below(4);
            scene.paint(|row, column| {
                let (x, y) = (column as f32, row as f32);
                let (depth, along) = match side {
                    0 => (x, y),
                    1 => (31.0 - x, y),
                    2 => (y, x),
                    _ => (31.0 - y, x),
                };
                (other, (width + lean * along - depth).clamp(0.0, 1.0))
            });
        }
        scene
    }

    /// Paints every pixel with a colour, as thickly as told: 0 not at all, 1 covering what is there.
    fn paint(&mut self, brush: impl Fn(usize, usize) -> (Colour, f32)) {
        for (at, pixel) in self.pixels.iter_mut().enumerate() {
            let (colour, cover) = brush(at / SIDE, at % SIDE);
            for (old, new) in pixel.iter_mut().zip(colour) {
                *old += cover * (new - *old);
            }
        }
    }

    /// Takes the picture with a poor camera.
    fn photograph(mut self, dice: &mut Dice) -> [[u8; 3]; AREA] {
        // Uneven light.
        let (gx, gy) = (dice.near(0.0, 0.5), dice.near(0.0, 0.5));
        let (gx, gy) = (gx * dice.pick(&[-1.0, 1.0]), gy * dice.pick(&[-1.0, 1.0]));
        let (gain, lift) = (dice.between(0.75, 1.1), dice.near(0.0, 0.12));
        for (at, pixel) in self.pixels.iter_mut().enumerate() {
            let across = gx * ((at % SIDE) as f32 / 31.0 - 0.5);
            let down = gy * ((at / SIDE) as f32 / 31.0 - 0.5);
            let light = gain * (1.0 + across + down);
            for c in pixel.iter_mut() {
                *c = lift + (1.0 - lift) * light * c.clamp(0.0, 1.0);
            }
        }

        let grain = dice.near(0.005, 0.06);
        for c in self.pixels.as_flattened_mut() {
            *c += grain * dice.normal();
        }
        // Variances, in square pixels; motion makes one the larger.
        let focus = dice.near(0.3, 3.5);
        let motion = dice.near(0.0, 1.5);
        let sideways = dice.chance(0.6);
        let (vx, vy) = if sideways {
            (focus + motion, focus)
        } else {
            (focus, focus + motion)
        };
        self.blur(vx, vy);
        // A camera that sharpens leaves bright and dark seams.
        if dice.chance(0.3) {
            let strength = dice.between(0.3, 1.2);
            let sharp = self.pixels.clone();
            self.blur(1.5, 1.5);
            for (blurred, sharp) in self
                .pixels
                .as_flattened_mut()
                .iter_mut()
                .zip(sharp.as_flattened())
            {
                *blurred = sharp + strength * (sharp - *blurred);
            }
        }
        let grain = dice.near(0.0, 0.02);
        self.pixels.map(|pixel| {
            // Compression leaves little colour in the noise: all three channels share it.
            let noise = grain * dice.normal();
            pixel.map(|c| (255.0 * (c + noise) + 0.5) as u8)
        })
    }

    /// Blurs by about a Gaussian with the variances `vx` and `vy`.
    fn blur(&mut self, vx: f32, vy: f32) {
        // Neighbours in a row lie one pixel apart in memory, neighbours in a column a row apart.
        for (variance, step, next_line) in [(vx, 1, SIDE), (vy, SIDE, 1)] {
            // A pass with the weights w, 1 - 2w, w has the variance 2w; beyond w = 1/4 it would ring.
            let passes = (variance / 0.5).ceil();
            let weight = variance / (2.0 * passes);
            for _ in 0..passes as usize {
                for line in 0..SIDE {
                    let start = line * next_line;
                    let mut before = self.pixels[start];
                    for i in 0..SIDE {
                        let at = start + i * step;
                        let here = self.pixels[at];
                        let after = self.pixels[if i + 1 < SIDE { at + step } else { at }];
                        for c in 0..3 {
                            self.pixels[at][c] += weight * (before[c] + after[c] - 2.0 * here[c]);
                        }
                        before = here;
                    }
                }
            }
        }
    }
}
