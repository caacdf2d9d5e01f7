//! Pools, padding and enlarging.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{int, pads, pair, text},
    values::{Data, Made},
};
use crate::graph::{Op, Pool, Reduction, extent, places, pool_shape};
use crate::onnx::operators::attribute;

/// The dilations, strides and sides of a pool as the file says them.
struct Windows {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    ceil: bool,
    /// Above and left.
    before: [usize; 2],
    /// Below and right.
    behind: [usize; 2],
}

impl Windows {
    fn of(node: &NodeProto, x: &Data) -> Made<Self> {
        let kernel = pair(node, "kernel_shape", [0; 2])?;
        let [_, height, width] = x.shape[..] else {
            return Err(format!(
                "reads {:?} for each picture: expected [channels, height, width]",
                x.shape
            ));
        };
        let mut windows = Self {
            kernel,
            stride: pair(node, "strides", [1; 2])?,
            dilation: pair(node, "dilations", [1; 2])?,
            ceil: int(node, "ceil_mode", 0) != 0,
            before: [0; 2],
            behind: [0; 2],
        };
        let automatic = text(node, "auto_pad", "NOTSET");
        match automatic {
            "" | "NOTSET" => {
                let [top, left, bottom, right] = pads(node)?;
                (windows.before, windows.behind) = ([top, left], [bottom, right]);
            }
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                for (n, size) in [height, width].into_iter().enumerate() {
                    let extent = extent(kernel[n], windows.dilation[n]).unwrap_or(0);
                    let stride = windows.stride[n].max(1);
                    let reach = (size.div_ceil(stride) - 1) * stride;
                    let total = reach.saturating_add(extent).saturating_sub(size);
                    let before = if automatic == "SAME_UPPER" {
                        total / 2
                    } else {
                        total.div_ceil(2)
                    };
                    (windows.before[n], windows.behind[n]) = (before, total - before);
                }
            }
            _ => return Err("has an unknown `auto_pad`".to_owned()),
        }
        Ok(windows)
    }

    /// A pool with as much padding on both sides and the same windows, where there is one.
    fn pool(&self, x: &Data) -> Option<Pool> {
        let pool = |ceil| self.over(self.before, ceil);
        if self.before == self.behind {
            return Some(pool(self.ceil)).filter(|pool| pool_shape(pool, &x.shape).is_ok());
        }
        if self.ceil {
            return None;
        }
        let wanted = self.counts(x)?;
        let fits = |pool: &Pool| pool_shape(pool, &x.shape).is_ok_and(|shape| shape[1..] == wanted);
        [false, true].map(pool).into_iter().find(fits)
    }

    fn over(&self, padding: [usize; 2], ceil: bool) -> Pool {
        Pool {
            kernel: self.kernel,
            stride: self.stride,
            padding,
            dilation: self.dilation,
            ceil,
        }
    }

    /// How many windows there are down and across, rounded down.
    fn counts(&self, x: &Data) -> Option<[usize; 2]> {
        let count = |n: usize| {
            let size = x.shape[n + 1]
                .checked_add(self.before[n])?
                .checked_add(self.behind[n]);
            places(size, extent(self.kernel[n], self.dilation[n]), self.stride[n])
        };
        Some([count(0)?, count(1)?])
    }

    /// A pool with the same windows over a part of the feature map, and the height and width of that: the places behind the last
    /// window are cut off, and where that reaches over the end the windows are rounded up.
    fn cut(&self, x: &Data) -> Option<(Pool, [usize; 2])> {
        if self.before != [0; 2] || self.ceil {
            return None;
        }
        let wanted = self.counts(x)?;
        let kept = |n: usize| {
            let reach = (wanted[n] - 1).checked_mul(self.stride[n])?;
            let reach = reach.checked_add(extent(self.kernel[n], self.dilation[n])?)?;
            Some(reach.min(x.shape[n + 1]))
        };
        let kept = [kept(0)?, kept(1)?];
        let pool = self.over([0; 2], true);
        let shape = pool_shape(&pool, &[x.shape[0], kept[0], kept[1]]).ok()?;
        (shape[1..] == wanted).then_some((pool, kept))
    }

    /// The places outside as numbers, and the windows over all.
    fn padded(&self, value: f32) -> (Op, Pool) {
        let sides = [
            [0; 2],
            [self.before[0], self.behind[0]],
            [self.before[1], self.behind[1]],
        ];
        let sides = sides.to_vec();
        (Op::Pad { sides, value }, self.over([0; 2], self.ceil))
    }
}

impl Maker<'_> {
    pub(super) fn max_pool(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let windows = Windows::of(node, &x)?;
        if let Some(pool) = windows.pool(&x) {
            return self.last(node, Op::MaxPool(pool), &[&x]);
        }
        let (pad, pool) = windows.padded(f32::NEG_INFINITY);
        let padded = self.step(node, "pad", pad, &[&x])?;
        self.last(node, Op::MaxPool(pool), &[&padded])
    }

    pub(super) fn avg_pool(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let means = self.means(node, x)?;
        self.give(node, 0, means)
    }

    /// ONNX Runtime's pool of integers.
    pub(super) fn qlinear_avg_pool(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.read_codes(node, [0, 1, 2])?;
        let means = self.means(node, x)?;
        self.write_codes(node, &means, [3, 4])
    }

    /// A pool that has the name of the file's node.
    fn means(&mut self, node: &NodeProto, x: Data) -> Made<Data> {
        let name = node.name.clone();
        let windows = Windows::of(node, &x)?;
        let count_padding = int(node, "count_include_pad", 0) != 0;
        let even = windows.before == windows.behind;
        if let Some(pool) = windows.pool(&x).filter(|_| even || !count_padding) {
            return self.push(name, Op::AvgPool { pool, count_padding }, &[&x]);
        }
        if !count_padding {
            let cut = windows.cut(&x);
            let (pool, kept) = cut.ok_or("has a mean over windows that a graph does not have")?;
            let mut part = x;
            for (axis, end) in [1, 2].into_iter().zip(kept) {
                if end < part.shape[axis] {
                    let (start, step) = (0, 1);
                    let cut = Op::Slice {
                        axis,
                        start,
                        end,
                        step,
                    };
                    part = self.step(node, "part", cut, &[&part])?;
                }
            }
            return self.push(name, Op::AvgPool { pool, count_padding }, &[&part]);
        }
        let (pad, pool) = windows.padded(0.0);
        let padded = self.step(node, "pad", pad, &[&x])?;
        let count_padding = false;
        self.push(name, Op::AvgPool { pool, count_padding }, &[&padded])
    }

    pub(super) fn global_mean(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let op = if x.shape.len() == 3 {
            Op::AdaptiveAvgPool { output: [1; 2] }
        } else {
            all_places(Reduction::Mean, &x)
        };
        self.last(node, op, &[&x])
    }

    pub(super) fn global_max(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        self.last(node, all_places(Reduction::Max, &x), &[&x])
    }

    /// By whole factors, to the nearest place, in the ways of counting places with which that is a repetition of each.
    pub(super) fn resize(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let &[_, height, width] = &x.shape[..] else {
            return Err("enlarges what is no feature map".to_owned());
        };
        if text(node, "mode", "nearest") != "nearest" {
            return Err("computes numbers between those that are there".to_owned());
        }
        let first = self.opset < 11 || node.op_type == "Upsample";
        let places = text(node, "coordinate_transformation_mode", "half_pixel");
        let nearest = text(node, "nearest_mode", "round_prefer_floor");
        let repeats = match (places, nearest) {
            _ if first => true,
            ("asymmetric", "floor") => true,
            ("half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel", nearest) => {
                nearest.starts_with("round_prefer")
            }
            _ => false,
        };
        let policy = text(node, "keep_aspect_ratio_policy", "stretch");
        let partly = attribute(node, "axes").is_some() || policy != "stretch";
        if !repeats || partly {
            return Err("enlarges in a way that is no repetition".to_owned());
        }
        let [scales, sizes] = if first { [1, usize::MAX] } else { [2, 3] };
        let factor = if Self::has(node, scales) {
            let held = self.held(node, scales)?;
            let numbers = held.values.as_deref().unwrap_or_default();
            factor_of(numbers)
        } else if let Some(scales) = attribute(node, "scales") {
            factor_of(&scales.floats)
        } else {
            let sizes = self.sizes(node, sizes)?;
            match sizes.sizes.iter().map(|size| size.known()).collect::<Vec<_>>()[..] {
                [batch, Some(channels), Some(down), Some(across)]
                    if batch.is_none_or(|batch| usize::try_from(batch).ok() == self.batch)
                        && usize::try_from(channels) == Ok(x.shape[0]) =>
                {
                    let factor = |to: i64, from: usize| {
                        usize::try_from(to)
                            .ok()
                            .filter(|to| to.is_multiple_of(from))
                            .map(|to| to / from)
                    };
                    factor(down, height)
                        .zip(factor(across, width))
                        .map(|(down, across)| [down, across])
                }
                _ => None,
            }
        };
        let factor = factor.ok_or("enlarges by factors that are not whole, or not known")?;
        self.last(node, Op::Upsample { factor }, &[&x])
    }
}

fn all_places(kind: Reduction, x: &Data) -> Op {
    Op::Reduce {
        kind,
        axes: (1..x.shape.len()).collect(),
    }
}

/// Whole factors down and across, 1 for batch and channels.
fn factor_of(scales: &[f32]) -> Option<[usize; 2]> {
    let whole =
        |scale: f32| (scale.fract() == 0.0 && (1.0..=65536.0).contains(&scale)).then_some(scale as usize);
    match *scales {
        [1.0, 1.0, down, across] => Some([whole(down)?, whole(across)?]),
        _ => None,
    }
}
