//! The shape of what a node computes, from the shapes of what it reads.

use super::ir::{Affine, Constant, Conv, ConvTranspose, Linear, Op, Pool};

/// The most dimensions of a value, without the batch.
pub(crate) const MAX_DIMS: usize = 5;

/// The largest size along one dimension, and the most numbers of a value.
const MAX_SIZE: usize = 1 << 31;

type Shape = Vec<usize>;

/// The shape of the result of `op`, or why there is none.
pub(crate) fn shape(op: &Op, inputs: &[&[usize]]) -> Result<Shape, String> {
    let wanted = match op {
        Op::Input { .. } | Op::Constant(_) => 0,
        Op::Binary(_) | Op::MatMul => 2,
        Op::Concat { .. } => inputs.len().max(1),
        _ => 1,
    };
    if inputs.len() != wanted {
        return Err(format!("reads {} values: expected {wanted}", inputs.len()));
    }
    let first = inputs.first().copied().unwrap_or(&[]);
    let shape = match op {
        Op::Input { shape } => shape.clone(),
        Op::Constant(constant) => constant.shape.clone(),
        Op::Conv(conv) => conv_shape(conv, first)?,
        Op::ConvTranspose(conv) => conv_transpose_shape(conv, first)?,
        Op::Linear(linear) => linear_shape(linear, first)?,
        Op::Affine(affine) => affine_shape(affine, first)?,
        Op::Function(_) => first.to_vec(),
        Op::MaxPool(pool) => pool_shape(pool, first)?,
        Op::AvgPool { pool, .. } => {
            if pool.dilation != [1; 2] {
                return Err("has windows with gaps: expected a dilation of 1 for a mean".into());
            }
            pool_shape(pool, first)?
        }
        Op::AdaptiveAvgPool { output } => {
            let [channels, ..] = picture(first)?;
            vec![channels, output[0], output[1]]
        }
        Op::Reduce { axes, .. } => {
            let mut shape = first.to_vec();
            for &axis in axes {
                *dimension(&mut shape, axis)? = 1;
            }
            if axes.is_empty() {
                return Err("reduces nothing: expected a dimension".into());
            }
            shape
        }
        Op::Binary(_) => broadcast(inputs[0], inputs[1])?,
        Op::MatMul => mat_mul_shape(inputs[0], inputs[1])?,
        Op::Concat { axis } => concat_shape(*axis, inputs)?,
        &Op::Slice {
            axis,
            start,
            end,
            step,
        } => {
            let mut shape = first.to_vec();
            let size = dimension(&mut shape, axis)?;
            if start >= end || end > *size || step == 0 {
                return Err(format!(
                    "takes places {start} to {end} in steps of {step} of {size}: expected some that are there"
                ));
            }
            *size = (end - start).div_ceil(step);
            shape
        }
        Op::Reshape { shape } => {
            if numbers(shape) != numbers(first) {
                return Err(format!(
                    "makes {shape:?} of {first:?}: expected a shape of as many numbers"
                ));
            }
            shape.clone()
        }
        Op::Permute { axes } => {
            let mut sorted = axes.clone();
            sorted.sort_unstable();
            if !sorted.iter().copied().eq(0..first.len()) {
                return Err(format!(
                    "orders dimensions as {axes:?}: expected each of 0 to {} once",
                    first.len().saturating_sub(1)
                ));
            }
            axes.iter().map(|&axis| first[axis]).collect()
        }
        Op::Expand { shape } => {
            let fits = |(&from, &to): (&usize, &usize)| from == to || from == 1;
            if shape.len() != first.len() || !first.iter().zip(shape).all(fits) {
                return Err(format!(
                    "repeats {first:?} to {shape:?}: expected the same sizes where they are not 1"
                ));
            }
            shape.clone()
        }
        Op::Pad { sides, .. } => {
            if sides.len() != first.len() {
                return Err(format!(
                    "pads {} dimensions of {}: expected all",
                    sides.len(),
                    first.len()
                ));
            }
            let padded = first.iter().zip(sides).map(|(&size, &[before, behind])| {
                size.checked_add(before).and_then(|size| size.checked_add(behind))
            });
            padded.collect::<Option<_>>().ok_or("pads too much")?
        }
        Op::Upsample { factor } => {
            let [channels, height, width] = picture(first)?;
            let sizes = [height, width].into_iter().zip(*factor);
            let mut shape = vec![channels];
            for (size, factor) in sizes {
                shape.push(size.checked_mul(factor).ok_or("repeats too often")?);
            }
            shape
        }
        &Op::Softmax { axis, .. } => {
            let mut shape = first.to_vec();
            dimension(&mut shape, axis)?;
            shape
        }
    };
    fits(&shape)?;
    Ok(shape)
}

/// Whether a value may have this shape.
pub(super) fn fits(shape: &[usize]) -> Result<(), String> {
    if !(1..=MAX_DIMS).contains(&shape.len()) {
        return Err(format!(
            "results in {} dimensions, {shape:?}: expected 1 to {MAX_DIMS} beside the batch",
            shape.len()
        ));
    }
    match numbers(shape) {
        Some(0) => Err(format!(
            "results in nothing, {shape:?}: expected sizes of 1 and more"
        )),
        Some(count) if count <= MAX_SIZE => Ok(()),
        _ => Err(format!(
            "results in {shape:?}: expected {MAX_SIZE} numbers at most"
        )),
    }
}

/// How many numbers a shape holds, where that can be counted.
pub(super) fn numbers(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size))
}

fn dimension(shape: &mut [usize], axis: usize) -> Result<&mut usize, String> {
    let dims = shape.len();
    shape
        .get_mut(axis)
        .ok_or_else(|| format!("works along dimension {axis} of {dims}: expected one that is there"))
}

fn picture(shape: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(shape).map_err(|_| format!("reads {shape:?}: expected [channels, height, width]"))
}

/// The shape of two values number by number.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let sizes = a.iter().zip(b).map(|(&a, &b)| match (a, b) {
        (a, 1) => Some(a),
        (1, b) => Some(b),
        (a, b) => (a == b).then_some(a),
    });
    let same = sizes.collect::<Option<Shape>>().filter(|_| a.len() == b.len());
    same.ok_or_else(|| {
        format!("reads {a:?} and {b:?}: expected two values of one shape, or of size 1 where they differ")
    })
}

/// The shape of the product of two values as matrices.
fn mat_mul_shape(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let ([before_a @ .., rows, inner], [before_b @ .., read, columns]) = (a, b) else {
        return Err(format!(
            "multiplies {a:?} and {b:?}: expected two dimensions or more"
        ));
    };
    if inner != read || before_a.len() != before_b.len() {
        return Err(format!(
            "multiplies {a:?} and {b:?}: expected as many dimensions, and as many columns in the first as rows in the second"
        ));
    }
    let before = broadcast(before_a, before_b)?;
    Ok([&before[..], &[*rows, *columns]].concat())
}

fn affine_shape(affine: &Affine, x: &[usize]) -> Result<Shape, String> {
    if affine.parts().next().is_none() {
        return Err("has no constant: expected one at least".into());
    }
    for part in affine.parts() {
        // Constants are repeated over the value, never the value over constants.
        let one = numbers(&part.shape) == Some(1) && part.shape.len() <= x.len();
        if !one && broadcast(x, &part.shape).as_deref() != Ok(x) {
            return Err(format!(
                "has constants of {:?} for {x:?}: expected the same or size 1",
                part.shape
            ));
        }
    }
    Ok(x.to_vec())
}

fn shaped<const D: usize>(constant: &Constant, what: &str) -> Result<[usize; D], String> {
    <[usize; D]>::try_from(constant.shape.as_slice())
        .map_err(|_| format!("has {what} of {:?}: expected {D} dimensions", constant.shape))
}

fn bias(bias: Option<&Constant>, outputs: usize) -> Result<(), String> {
    match bias {
        Some(bias) if bias.shape != [outputs] => Err(format!(
            "has a bias of {:?}: expected [{outputs}], one number for each output",
            bias.shape
        )),
        _ => Ok(()),
    }
}

/// How many windows of `extent` cells fit `size` cells, a `stride` apart.
pub(crate) fn places(size: Option<usize>, extent: Option<usize>, stride: usize) -> Option<usize> {
    Some((size?.checked_sub(extent?)?).checked_div(stride)? + 1)
}

/// Cells that a kernel spans.
pub(crate) fn extent(kernel: usize, dilation: usize) -> Option<usize> {
    dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)
}

fn conv_shape(conv: &Conv, x: &[usize]) -> Result<Shape, String> {
    let [channels, height, width] = picture(x)?;
    let [outputs, inputs, kernel_h, kernel_w] = shaped(&conv.weight, "weights")?;
    grouped(conv.groups, [channels, outputs])?;
    if inputs.checked_mul(conv.groups) != Some(channels) {
        return Err(format!(
            "reads {channels} channels: expected {inputs} for each of {} groups",
            conv.groups
        ));
    }
    bias(conv.bias.as_ref(), outputs)?;
    let padding = conv.padding;
    let padded = |size: usize, [before, behind]: [usize; 2]| size.checked_add(before)?.checked_add(behind);
    let down = places(
        padded(height, [padding.top, padding.bottom]),
        extent(kernel_h, conv.dilation[0]),
        conv.stride[0],
    );
    let across = places(
        padded(width, [padding.left, padding.right]),
        extent(kernel_w, conv.dilation[1]),
        conv.stride[1],
    );
    match (down, across) {
        (Some(down), Some(across)) if conv.dilation.iter().all(|&dilation| dilation > 0) => {
            Ok(vec![outputs, down, across])
        }
        _ => Err(format!(
            "moves a kernel of {kernel_h}x{kernel_w}, stride {:?}, dilation {:?} over {height}x{width} cells: expected a \
             kernel that fits, and a stride and a dilation of 1 or more",
            conv.stride, conv.dilation
        )),
    }
}

fn grouped(groups: usize, channels: [usize; 2]) -> Result<(), String> {
    if groups == 0 || channels.iter().any(|channels| channels % groups != 0) {
        return Err(format!(
            "has {groups} groups for {} and {} channels: expected a number that divides both",
            channels[0], channels[1]
        ));
    }
    Ok(())
}

fn conv_transpose_shape(conv: &ConvTranspose, x: &[usize]) -> Result<Shape, String> {
    let [channels, height, width] = picture(x)?;
    let [inputs, outputs, kernel_h, kernel_w] = shaped(&conv.weight, "weights")?;
    let outputs = outputs.checked_mul(conv.groups).ok_or("has too many groups")?;
    grouped(conv.groups, [channels, outputs])?;
    if inputs != channels {
        return Err(format!("reads {channels} channels: expected {inputs}"));
    }
    bias(conv.bias.as_ref(), outputs)?;
    let size = |size: usize, kernel, axis: usize| {
        let reach = size.checked_sub(1)?.checked_mul(conv.stride[axis])?;
        let all = reach.checked_add(extent(kernel, conv.dilation[axis])?)?;
        let all = all.checked_add(conv.output_padding[axis])?;
        all.checked_sub(conv.padding[axis].checked_mul(2)?)
    };
    match (size(height, kernel_h, 0), size(width, kernel_w, 1)) {
        (Some(down), Some(across)) if conv.stride.iter().chain(&conv.dilation).all(|&step| step > 0) => {
            Ok(vec![outputs, down, across])
        }
        _ => Err(format!(
            "spreads {height}x{width} cells by a kernel of {kernel_h}x{kernel_w} and cuts {:?} off: expected something to be left",
            conv.padding
        )),
    }
}

fn linear_shape(linear: &Linear, x: &[usize]) -> Result<Shape, String> {
    let [inputs, outputs] = shaped(&linear.weight, "weights")?;
    let Some((_, rest)) = x.split_last().filter(|(last, _)| **last == inputs) else {
        return Err(format!(
            "reads {x:?}: expected {inputs} numbers along the last dimension"
        ));
    };
    bias(linear.bias.as_ref(), outputs)?;
    Ok([rest, &[outputs]].concat())
}

pub(crate) fn pool_shape(pool: &Pool, x: &[usize]) -> Result<Shape, String> {
    let [channels, height, width] = picture(x)?;
    let size = |size: usize, axis: usize| {
        let (stride, padding) = (pool.stride[axis], pool.padding[axis]);
        let padded = size.checked_add(padding.checked_mul(2)?)?;
        let extent = extent(pool.kernel[axis], pool.dilation[axis])?;
        // Each window has a place in the feature map.
        if stride == 0 || pool.dilation[axis] == 0 || padding.checked_mul(2)? > extent {
            return None;
        }
        if !pool.ceil {
            return places(Some(padded), Some(extent), stride);
        }
        let windows = padded.checked_add(stride - 1)?.checked_sub(extent)? / stride + 1;
        let last_is_inside = (windows - 1).checked_mul(stride)? < size.checked_add(padding)?;
        Some(if last_is_inside { windows } else { windows - 1 })
    };
    match (size(height, 0), size(width, 1)) {
        (Some(down), Some(across)) => Ok(vec![channels, down, across]),
        _ => Err(format!(
            "pools {height}x{width} cells in windows of {:?}, stride {:?}, padding {:?}, dilation {:?}: expected windows that fit",
            pool.kernel, pool.stride, pool.padding, pool.dilation
        )),
    }
}

fn concat_shape(axis: usize, inputs: &[&[usize]]) -> Result<Shape, String> {
    let mut shape = inputs
        .first()
        .ok_or("reads nothing: expected a value at least")?
        .to_vec();
    for input in &inputs[1..] {
        let mut other = input.to_vec();
        let size = *dimension(&mut other, axis)?;
        let mut first = shape.clone();
        *dimension(&mut first, axis)? = size;
        if other != first {
            return Err(format!(
                "puts {:?} and {input:?} side by side along dimension {axis}: expected the same sizes along the others",
                inputs[0]
            ));
        }
        shape[axis] = shape[axis]
            .checked_add(size)
            .ok_or("puts too much side by side")?;
    }
    dimension(&mut shape, axis)?;
    Ok(shape)
}
