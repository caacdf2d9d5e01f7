//! What follows a convolution: batch norm, 2x2 max-pool, activation, in one pass each way over feature maps that lie
//! channels last.

use std::ops::Range;

use macerator::Simd;
use rayon::prelude::*;

use super::shape::even_parts;

/// The function at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `clamp(x, 0, 6)`.
    Relu6,
    /// `clamp(x, 0, 1)`.
    Clamp,
    /// `round(clamp(x, 0, 1) * levels) / levels`.
    Quantize(u32),
}

/// What is done to the feature maps.
#[derive(Clone, Copy, Debug)]
pub struct NormShape {
    /// Pictures.
    pub batch: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Whether the largest of each 2x2 square is taken; a last odd row or column is left out.
    pub pool: bool,
    /// The function at the end.
    pub act: Act,
}

/// Per channel: `(x - mean) * scale + shift`.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Mean over the batch.
    pub mean: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)`.
    pub inverse: Vec<f32>,
    /// `gamma * inverse`.
    pub scale: Vec<f32>,
    /// `beta`.
    pub shift: Vec<f32>,
}

/// Gradients of [`backward`].
#[derive(Debug)]
pub struct NormGradients {
    /// Of gamma, per channel.
    pub gamma: Vec<f32>,
    /// Of beta, per channel.
    pub beta: Vec<f32>,
}

impl NormShape {
    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        self.size.map(|side| if self.pool { side / 2 } else { side })
    }

    fn input_len(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }

    fn output_len(&self) -> usize {
        let [height, width] = self.output();
        height * width * self.channels
    }

    fn blocks(&self) -> Vec<Range<usize>> {
        even_parts(self.batch, self.batch.div_ceil(32)).collect()
    }
}

/// Mean and (biased) variance of each channel of `x`, `[batch, height, width, channels]`.
///
/// Each picture's are taken in two passes and then put together in `f64`, in an order that the shape alone decides.
pub fn statistics(shape: &NormShape, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let positions = (shape.size[0] * shape.size[1]) as f64;
    let blocks: Vec<Moments> = shape
        .blocks()
        .into_par_iter()
        .map(|pictures| {
            let mut moments = Moments::new(shape.channels);
            let (mut sums, mut squares) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
            for picture in x[pictures.start * shape.input_len()..pictures.end * shape.input_len()]
                .chunks_exact(shape.input_len())
            {
                picture_moments(picture, &mut sums, &mut squares);
                moments.add(
                    positions,
                    sums.iter()
                        .zip(&squares)
                        .map(|(&s, &m)| (f64::from(s), f64::from(m))),
                );
            }
            moments
        })
        .collect();
    let mut all = Moments::new(shape.channels);
    for block in blocks {
        all.add(block.count, block.of.into_iter());
    }
    let channel = |(_, squares): &(f64, f64)| (squares / all.count) as f32;
    (
        all.of.iter().map(|(mean, _)| *mean as f32).collect(),
        all.of.iter().map(channel).collect(),
    )
}

/// Mean and sum of squared distances from it, per channel.
struct Moments {
    count: f64,
    of: Vec<(f64, f64)>,
}

impl Moments {
    fn new(channels: usize) -> Self {
        Self {
            count: 0.0,
            of: vec![(0.0, 0.0); channels],
        }
    }

    /// Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    fn add(&mut self, count: f64, of: impl Iterator<Item = (f64, f64)>) {
        let total = self.count + count;
        for (mine, (mean, squares)) in self.of.iter_mut().zip(of) {
            let delta = mean - mine.0;
            mine.0 += delta * count / total;
            mine.1 += squares + delta * delta * self.count * count / total;
        }
        self.count = total;
    }
}

/// Leaves the means in `means` and the sums of squared distances from them in `squares`.
#[macerator::with_simd]
fn picture_moments<S: Simd>(picture: &[f32], means: &mut [f32], squares: &mut [f32]) {
    let channels = means.len();
    let share = 1.0 / (picture.len() / channels) as f32;
    let together = channels / TOGETHER * TOGETHER;
    for first in (0..together).step_by(TOGETHER) {
        let sums = sums_of(picture, channels, first, |_, x| x);
        let means: &mut [f32; TOGETHER] = (&mut means[first..first + TOGETHER]).try_into().expect("as many");
        *means = sums.map(|sum| sum * share);
        let found = sums_of(picture, channels, first, |n, x| (x - means[n]) * (x - means[n]));
        squares[first..first + TOGETHER].copy_from_slice(&found);
    }
    for channel in together..channels {
        let numbers = || picture[channel..].iter().step_by(channels);
        let mean = numbers().sum::<f32>() * share;
        means[channel] = mean;
        squares[channel] = numbers().map(|x| (x - mean) * (x - mean)).sum();
    }
}

/// Channels whose sums stay in registers.
const TOGETHER: usize = 16;

/// For each of the channels from `first` on the sum of what `of` makes of its numbers, and of its place among these channels.
#[inline(always)]
fn sums_of(
    picture: &[f32],
    channels: usize,
    first: usize,
    of: impl Fn(usize, f32) -> f32,
) -> [f32; TOGETHER] {
    let mut sums = [0.0; TOGETHER];
    for position in picture.chunks_exact(channels) {
        let x = &position[first..first + TOGETHER];
        for (n, sum) in sums.iter_mut().enumerate() {
            *sum += of(n, x[n]);
        }
    }
    sums
}

/// `act(pool(affine(x)))`, `[batch, height_out, width_out, channels]`.
pub fn forward(shape: &NormShape, x: &[f32], affine: Option<&Affine>, out: &mut [f32]) {
    let unchanged = Affine::unchanged(shape.channels);
    let affine = affine.unwrap_or(&unchanged);
    out.par_chunks_exact_mut(shape.output_len())
        .zip(x.par_chunks_exact(shape.input_len()))
        .for_each(|(out, x)| picture_forward(shape, x, affine, out));
}

impl Affine {
    /// What batch norm does with this mean and variance.
    pub fn new(mean: Vec<f32>, variance: &[f32], gamma: &[f32], beta: &[f32], epsilon: f64) -> Self {
        let inverse: Vec<f32> = variance
            .iter()
            .map(|&variance| (f64::from(variance) + epsilon).sqrt().recip() as f32)
            .collect();
        Self {
            scale: inverse
                .iter()
                .zip(gamma)
                .map(|(inverse, gamma)| inverse * gamma)
                .collect(),
            shift: beta.to_vec(),
            mean,
            inverse,
        }
    }

    fn unchanged(channels: usize) -> Self {
        Self {
            mean: vec![0.0; channels],
            inverse: vec![1.0; channels],
            scale: vec![1.0; channels],
            shift: vec![0.0; channels],
        }
    }

    /// Mean, scale and shift of every channel.
    #[inline(always)]
    fn channels(&self) -> impl Iterator<Item = [f32; 3]> {
        (self.mean.iter().zip(&self.scale).zip(&self.shift))
            .map(|((&mean, &scale), &shift)| [mean, scale, shift])
    }
}

#[inline(always)]
fn apply(x: f32, [mean, scale, shift]: [f32; 3]) -> f32 {
    (x - mean) * scale + shift
}

/// The four inputs, as rows of channels, of each pooled position.
#[inline(always)]
fn squares(size: [usize; 2], channels: usize, x: &[f32]) -> impl Iterator<Item = [&[f32]; 4]> {
    let pitch = size[1] * channels;
    let [height, width] = size.map(|side| side / 2);
    (0..height).flat_map(move |row| {
        let rows = &x[2 * row * pitch..][..2 * pitch];
        (0..width).map(move |column| {
            let at = 2 * column * channels;
            [at, at + channels, at + pitch, at + pitch + channels].map(|at| &rows[at..][..channels])
        })
    })
}

/// The activation and whether a gradient passes it, by value before it. What is no number stays none.
pub(super) trait Function: Copy {
    fn value(self, x: f32) -> f32;
    fn passes(self, x: f32) -> bool;
}

macro_rules! function {
    ($name:ident($($field:ty)?), $x:ident, $self:ident, $value:expr, $passes:expr) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name $((pub(super) $field))?;
        impl Function for $name {
            #[inline(always)]
            fn value($self, $x: f32) -> f32 { $value }
            #[inline(always)]
            fn passes($self, $x: f32) -> bool { $passes }
        }
    };
}
function!(Identity(), x, self, x, {
    let _ = x;
    true
});
function!(Relu(), x, self, if x <= 0.0 { 0.0 } else { x }, x > 0.0);
function!(Relu6(), x, self, x.clamp(0.0, 6.0), (0.0..=6.0).contains(&x));
function!(Clamp(), x, self, x.clamp(0.0, 1.0), (0.0..=1.0).contains(&x));
function!(
    OneBit(),
    x,
    self,
    x.clamp(0.0, 1.0).round_ties_even(),
    (0.0..=1.0).contains(&x)
);
function!(
    Quantize(f32),
    x,
    self,
    (x.clamp(0.0, 1.0) * self.0).round_ties_even() / self.0,
    (0.0..=1.0).contains(&x)
);

/// Calls `$f` with the function that an [`Act`] names as its last argument.
macro_rules! with_function {
    ($act:expr, $f:ident($($arg:expr),*)) => {
        match $act {
            Act::Identity => $f($($arg),*, $crate::kernels::norm::Identity),
            Act::Relu => $f($($arg),*, $crate::kernels::norm::Relu),
            Act::Relu6 => $f($($arg),*, $crate::kernels::norm::Relu6),
            Act::Clamp => $f($($arg),*, $crate::kernels::norm::Clamp),
            Act::Quantize(1) => $f($($arg),*, $crate::kernels::norm::OneBit),
            Act::Quantize(levels) => $f($($arg),*, $crate::kernels::norm::Quantize(levels as f32)),
        }
    };
}
pub(super) use with_function;

#[macerator::with_simd]
fn picture_forward<S: Simd>(shape: &NormShape, x: &[f32], affine: &Affine, out: &mut [f32]) {
    with_function!(shape.act, forward_with(shape, x, affine, out));
}

#[inline(always)]
fn forward_with(shape: &NormShape, x: &[f32], affine: &Affine, out: &mut [f32], act: impl Function) {
    let out = out.chunks_exact_mut(shape.channels);
    if !shape.pool {
        for (out, x) in out.zip(x.chunks_exact(shape.channels)) {
            for ((out, &x), affine) in out.iter_mut().zip(x).zip(affine.channels()) {
                *out = act.value(apply(x, affine));
            }
        }
        return;
    }
    for (out, [a, b, c, d]) in out.zip(squares(shape.size, shape.channels, x)) {
        let square = a.iter().zip(b).zip(c.iter().zip(d));
        for ((out, ((&a, &b), (&c, &d))), affine) in out.iter_mut().zip(square).zip(affine.channels()) {
            let [a, b, c, d] = [a, b, c, d].map(|x| apply(x, affine));
            *out = act.value(larger(larger(a, b), larger(c, d)));
        }
    }
}

/// The larger, `a` of equals: written so that it is one instruction.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The gradient of `x` from that of the output, and with an affine those of gamma and beta, where mean and variance
/// are the batch's own.
///
/// Where several of a square are largest, the first, row by row, gets the gradient.
pub fn backward(
    shape: &NormShape,
    x: &[f32],
    affine: Option<&Affine>,
    dy: &[f32],
    dx: &mut [f32],
) -> Option<NormGradients> {
    let unchanged = Affine::unchanged(shape.channels);
    let Some(affine) = affine else {
        gradient(shape, x, &unchanged, dy, None, dx);
        return None;
    };
    let zeros = || vec![0f64; 2 * shape.channels];
    let sums: Vec<Vec<f64>> = shape
        .blocks()
        .into_par_iter()
        .map(|pictures| {
            let mut sums = zeros();
            let mut scratch = vec![0f32; 2 * shape.channels];
            for n in pictures {
                let x = &x[n * shape.input_len()..][..shape.input_len()];
                let dy = &dy[n * shape.output_len()..][..shape.output_len()];
                scratch.fill(0.0);
                picture_sums(shape, x, affine, dy, &mut scratch);
                for (sum, part) in sums.iter_mut().zip(&scratch) {
                    *sum += f64::from(*part);
                }
            }
            sums
        })
        .collect();
    let total = sums.iter().fold(zeros(), |mut total, sums| {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
        total
    });
    let (beta, centred) = total.split_at(shape.channels);
    let gamma: Vec<f64> = (centred.iter().zip(&affine.inverse))
        .map(|(sum, &inverse)| sum * f64::from(inverse))
        .collect();
    // dx = scale * (g - mean(g) - xhat * mean(g * xhat)), as `scale * g + offset + (x - mean) * slope`.
    let count = (shape.batch * shape.size[0] * shape.size[1]) as f64;
    let per_channel =
        |f: &dyn Fn(usize) -> f64| (0..shape.channels).map(|c| f(c) as f32).collect::<Vec<f32>>();
    let offset = per_channel(&|c| -f64::from(affine.scale[c]) * beta[c] / count);
    let slope =
        per_channel(&|c| -f64::from(affine.scale[c]) * f64::from(affine.inverse[c]) * gamma[c] / count);
    gradient(shape, x, affine, dy, Some((&offset, &slope)), dx);
    Some(NormGradients {
        gamma: gamma.iter().map(|&v| v as f32).collect(),
        beta: beta.iter().map(|&v| v as f32).collect(),
    })
}

fn gradient(
    shape: &NormShape,
    x: &[f32],
    affine: &Affine,
    dy: &[f32],
    through_statistics: Option<(&[f32], &[f32])>,
    dx: &mut [f32],
) {
    dx.par_chunks_exact_mut(shape.input_len())
        .zip(x.par_chunks_exact(shape.input_len()))
        .zip(dy.par_chunks_exact(shape.output_len()))
        .for_each(|((dx, x), dy)| picture_gradient(shape, x, affine, dy, through_statistics, dx));
}

/// Adds, per channel, the gradients behind activation and pool to the first half of `sums`, and their products with
/// `x - mean` to the second.
#[macerator::with_simd]
fn picture_sums<S: Simd>(shape: &NormShape, x: &[f32], affine: &Affine, dy: &[f32], sums: &mut [f32]) {
    with_function!(shape.act, sums_with(shape, x, affine, dy, sums));
}

#[inline(always)]
fn sums_with(
    shape: &NormShape,
    x: &[f32],
    affine: &Affine,
    dy: &[f32],
    sums: &mut [f32],
    act: impl Function,
) {
    let (sum_g, sum_gx) = sums.split_at_mut(shape.channels);
    let dy = dy.chunks_exact(shape.channels);
    if !shape.pool {
        let together = shape.channels / TOGETHER * TOGETHER;
        let positions = || dy.clone().zip(x.chunks_exact(shape.channels));
        for first in (0..together).step_by(TOGETHER) {
            let range = first..first + TOGETHER;
            let [mean, scale, shift] =
                [&affine.mean, &affine.scale, &affine.shift].map(|of| &of[range.clone()]);
            let (mut of_g, mut of_gx) = ([0.0; TOGETHER], [0.0; TOGETHER]);
            for (dy, x) in positions() {
                let (dy, x) = (&dy[range.clone()], &x[range.clone()]);
                for n in 0..TOGETHER {
                    let passes = act.passes(apply(x[n], [mean[n], scale[n], shift[n]]));
                    let g = if passes { dy[n] } else { 0.0 };
                    of_g[n] += g;
                    of_gx[n] += g * (x[n] - mean[n]);
                }
            }
            for n in 0..TOGETHER {
                sum_g[first + n] += of_g[n];
                sum_gx[first + n] += of_gx[n];
            }
        }
        if together == shape.channels {
            return;
        }
        for (dy, x) in positions() {
            let sums = sum_g.iter_mut().zip(sum_gx.iter_mut());
            let of_channel = sums.zip(dy).zip(x).zip(affine.channels()).skip(together);
            for ((((sum_g, sum_gx), &dy), &x), affine) in of_channel {
                let g = if act.passes(apply(x, affine)) { dy } else { 0.0 };
                *sum_g += g;
                *sum_gx += g * (x - affine[0]);
            }
        }
        return;
    }
    for (dy, [a, b, c, d]) in dy.zip(squares(shape.size, shape.channels, x)) {
        let sums = sum_g.iter_mut().zip(sum_gx.iter_mut());
        let square = a.iter().zip(b).zip(c.iter().zip(d));
        for ((((sum_g, sum_gx), &dy), ((&a, &b), (&c, &d))), affine) in
            sums.zip(dy).zip(square).zip(affine.channels())
        {
            let [va, vb, vc, vd] = [a, b, c, d].map(|x| apply(x, affine));
            let (x_top, v_top) = if vb > va { (b, vb) } else { (a, va) };
            let (x_low, v_low) = if vd > vc { (d, vd) } else { (c, vc) };
            let (x, v) = if v_low > v_top {
                (x_low, v_low)
            } else {
                (x_top, v_top)
            };
            let g = if act.passes(v) { dy } else { 0.0 };
            *sum_g += g;
            *sum_gx += g * (x - affine[0]);
        }
    }
}

#[macerator::with_simd]
fn picture_gradient<'a, S: Simd>(
    shape: &NormShape,
    x: &[f32],
    affine: &Affine,
    dy: &[f32],
    through_statistics: Option<(&'a [f32], &'a [f32])>,
    dx: &mut [f32],
) {
    with_function!(
        shape.act,
        gradient_with(shape, x, affine, dy, through_statistics, dx)
    );
}

#[inline(always)]
fn gradient_with(
    shape: &NormShape,
    x: &[f32],
    affine: &Affine,
    dy: &[f32],
    through_statistics: Option<(&[f32], &[f32])>,
    dx: &mut [f32],
    act: impl Function,
) {
    let channels = shape.channels;
    let passed = |x: f32, dy: f32, affine: [f32; 3]| match act.passes(apply(x, affine)) {
        true => dy * affine[1],
        false => 0.0,
    };
    if !shape.pool {
        let rows = dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels));
        let rows = rows.zip(dy.chunks_exact(channels));
        match through_statistics {
            None => {
                for ((dx, x), dy) in rows {
                    for (((dx, &x), &dy), affine) in dx.iter_mut().zip(x).zip(dy).zip(affine.channels()) {
                        *dx = passed(x, dy, affine);
                    }
                }
            }
            Some((offset, slope)) => {
                for ((dx, x), dy) in rows {
                    let through = affine.channels().zip(offset).zip(slope);
                    for (((dx, &x), &dy), ((affine, &offset), &slope)) in
                        dx.iter_mut().zip(x).zip(dy).zip(through)
                    {
                        *dx = offset + (x - affine[0]) * slope + passed(x, dy, affine);
                    }
                }
            }
        }
        return;
    }
    match through_statistics {
        None => dx.fill(0.0),
        Some((offset, slope)) => {
            for (dx, x) in dx.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                let through = offset.iter().zip(slope).zip(&affine.mean);
                for ((dx, &x), ((&offset, &slope), &mean)) in dx.iter_mut().zip(x).zip(through) {
                    *dx = offset + (x - mean) * slope;
                }
            }
        }
    }
    let pitch = shape.size[1] * channels;
    let [height, width] = shape.output();
    for row in 0..height {
        let x = &x[2 * row * pitch..][..2 * pitch];
        let (dx_top, dx_low) = dx[2 * row * pitch..][..2 * pitch].split_at_mut(pitch);
        for column in 0..width {
            let at = 2 * column * channels;
            let dy = &dy[(row * width + column) * channels..][..channels];
            let [a, b, c, d] =
                [at, at + channels, at + pitch, at + pitch + channels].map(|at| &x[at..][..channels]);
            let (dx_a, dx_b) = dx_top[at..][..2 * channels].split_at_mut(channels);
            let (dx_c, dx_d) = dx_low[at..][..2 * channels].split_at_mut(channels);
            let square = a.iter().zip(b).zip(c.iter().zip(d));
            let to = dx_a.iter_mut().zip(dx_b).zip(dx_c.iter_mut().zip(dx_d));
            for (((&dy, ((&a, &b), (&c, &d))), ((dx_a, dx_b), (dx_c, dx_d))), affine) in
                dy.iter().zip(square).zip(to).zip(affine.channels())
            {
                let [va, vb, vc, vd] = [a, b, c, d].map(|x| apply(x, affine));
                let (top, low) = (larger(va, vb), larger(vc, vd));
                let g = if act.passes(larger(top, low)) {
                    dy * affine[1]
                } else {
                    0.0
                };
                let (in_low, in_b, in_d) = (low > top, vb > va, vd > vc);
                *dx_a += if !in_low & !in_b { g } else { 0.0 };
                *dx_b += if !in_low & in_b { g } else { 0.0 };
                *dx_c += if in_low & !in_d { g } else { 0.0 };
                *dx_d += if in_low & in_d { g } else { 0.0 };
            }
        }
    }
}

/// Set in a code where a gradient passes the activation; the two bits below say which of the square was largest.
const PASSES: u8 = 4;

/// Whether a gradient passes where [`pool_codes`] left `code`.
pub(super) fn passes(code: u8) -> bool {
    code & PASSES != 0
}

/// Pool and activation of one picture, and what its gradient needs to know.
#[macerator::with_simd]
pub(super) fn pool_codes<S: Simd>(
    size: [usize; 2],
    channels: usize,
    act: Act,
    x: &[f32],
    out: &mut [f32],
    codes: &mut [u8],
) {
    with_function!(act, pool_codes_with(size, channels, x, out, codes));
}

#[inline(always)]
fn pool_codes_with(
    size: [usize; 2],
    channels: usize,
    x: &[f32],
    out: &mut [f32],
    codes: &mut [u8],
    act: impl Function,
) {
    let out = out
        .chunks_exact_mut(channels)
        .zip(codes.chunks_exact_mut(channels));
    for ((out, codes), [a, b, c, d]) in out.zip(squares(size, channels, x)) {
        let square = a.iter().zip(b).zip(c.iter().zip(d));
        for ((out, code), ((&a, &b), (&c, &d))) in out.iter_mut().zip(codes).zip(square) {
            let (top, low) = (larger(a, b), larger(c, d));
            let x = larger(top, low);
            *out = act.value(x);
            let which = if low > top {
                2 + u8::from(d > c)
            } else {
                u8::from(b > a)
            };
            *code = which | if act.passes(x) { PASSES } else { 0 };
        }
    }
}

/// The gradient in front of pool and activation of one picture from that behind them.
#[macerator::with_simd]
pub(super) fn unpool<S: Simd>(size: [usize; 2], channels: usize, dy: &[f32], codes: &[u8], dx: &mut [f32]) {
    let pitch = size[1] * channels;
    let [height, width] = size.map(|side| side / 2);
    if size[0] % 2 + size[1] % 2 > 0 {
        dx.fill(0.0);
    }
    for row in 0..height {
        let (top, low) = dx[2 * row * pitch..][..2 * pitch].split_at_mut(pitch);
        for column in 0..width {
            let (from, at) = ((row * width + column) * channels, 2 * column * channels);
            let (a, b) = top[at..][..2 * channels].split_at_mut(channels);
            let (c, d) = low[at..][..2 * channels].split_at_mut(channels);
            let to = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
            let from = dy[from..][..channels].iter().zip(&codes[from..][..channels]);
            for (((a, b), (c, d)), (&dy, &code)) in to.zip(from) {
                *a = if code == PASSES { dy } else { 0.0 };
                *b = if code == PASSES + 1 { dy } else { 0.0 };
                *c = if code == PASSES + 2 { dy } else { 0.0 };
                *d = if code == PASSES + 3 { dy } else { 0.0 };
            }
        }
    }
}
