//! Quantisation in ONNX's own operators: `QuantizeLinear` and `DequantizeLinear`, and layers that compute with integers.
//!
//! A constant becomes the floats that its integers stand for. A value of the network is divided by the scale, clamped, rounded, and
//! moved by the zero point where that is not zero: those are its integers, as floats. Dequantised, it is moved back and multiplied.
//! A layer in integers is the layer in floats between the two. Its sums are exact there as here, but for the rounding of floats.

use tract_onnx::pb::NodeProto;

use super::{
    integers::{Grid, Integers, ends},
    maker::Maker,
    operators::int,
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Constant, Conv, Function, Linear, Op};
use crate::onnx::convolution;

/// What stands behind the names of constants that were quantised.
const QUANTISED: &str = "_quantized";

/// The most numbers that are computed of integers.
const MAX_DEQUANTISED: usize = 1 << 28;

/// The number of `UINT8` among ONNX's types, that of what is quantised where nothing else is said.
const UINT8: i32 = 2;

impl Maker<'_> {
    /// Constant integers, of which short lists may say a shape elsewhere.
    pub(super) fn integers(&mut self, node: &NodeProto, n: usize) -> Made<Integers> {
        match self.value(node, n)? {
            Value::Integers(integers) => Ok(integers),
            Value::Sizes(sizes) => {
                let whole = sizes.whole()?;
                let values = whole.iter().map(|&whole| i32::try_from(whole).ok());
                let values: Option<Vec<i32>> = values.collect();
                let values = values.ok_or("reads integers of more than 32 bits")?;
                Ok(Integers {
                    name: node.input[n].clone(),
                    dims: if sizes.row { vec![values.len()] } else { Vec::new() },
                    kind: 6,
                    values: Some(values.into()),
                })
            }
            _ => Err(format!("reads what are no constant integers as input {n}")),
        }
    }

    /// The grid of which a node has the scale and the zero point as these inputs.
    fn grid(&mut self, node: &NodeProto, [scale, zero]: [usize; 2]) -> Made<Grid> {
        let zero = if Self::has(node, zero) {
            Some(self.integers(node, zero)?)
        } else {
            None
        };
        let block = usize::try_from(int(node, "block_size", 0)).map_err(|_| "has a negative `block_size`")?;
        let scale = self.held(node, scale)?;
        if let Some(scale) = scale
            .values
            .as_ref()
            .and_then(|scales| scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)))
        {
            return Err(format!("has a scale of {scale}: expected numbers above zero"));
        }
        Ok(Grid {
            scale,
            zero,
            axis: int(node, "axis", 1),
            block,
        })
    }

    pub(super) fn quantize_linear(&mut self, node: &NodeProto) -> Made<()> {
        let grid = self.grid(node, [1, 2])?;
        let stated = i32::try_from(int(node, "output_dtype", 0)).unwrap_or(0);
        let kind = match &grid.zero {
            Some(zero) => zero.kind,
            None if stated != 0 => stated,
            None => UINT8,
        };
        match self.value(node, 0)? {
            Value::Held(tensor) => {
                let integers = grid.rounded(&tensor, kind)?;
                self.dequantised(integers.values.as_ref().map_or(0, |values| values.len()))?;
                self.give(node, 0, Value::Integers(integers))
            }
            Value::Data(x) => {
                let codes = self.codes(node, &x, &grid, kind, true)?;
                self.give(node, 0, codes)
            }
            _ => Err("rounds integers".to_owned()),
        }
    }

    pub(super) fn dequantize_linear(&mut self, node: &NodeProto) -> Made<()> {
        let grid = self.grid(node, [1, 2])?;
        if let Value::Data(x) = self.value(node, 0)? {
            let (grid, name) = (self.affine(&grid, &x)?, node.name.clone());
            let floats = self.push(name, grid.into(), &[&x])?;
            return self.give(node, 0, floats);
        }
        let integers = self.integers(node, 0)?;
        let floats = self.floats(&grid, &integers)?;
        self.give(node, 0, Value::Held(floats))
    }

    /// A constant of floats from one of integers, under the name that it had before it was quantised.
    fn floats(&mut self, grid: &Grid, integers: &Integers) -> Made<Tensor> {
        self.dequantised(integers.values.as_ref().map_or(0, |values| values.len()))?;
        let stem = integers
            .name
            .strip_suffix(QUANTISED)
            .filter(|stem| !self.is_constant(stem));
        grid.floats(integers, stem.unwrap_or(&integers.name).to_owned())
    }

    /// Counts floats that are made of integers, and integers that are made of floats.
    pub(super) fn dequantised(&mut self, numbers: usize) -> Made<()> {
        self.dequantised = self.dequantised.saturating_add(numbers);
        if self.dequantised > MAX_DEQUANTISED {
            return Err(format!("makes more than {MAX_DEQUANTISED} floats of integers"));
        }
        Ok(())
    }

    /// The integers that a value is rounded to, as floats. `last`: whether the node of the file computes nothing else.
    fn codes(&mut self, node: &NodeProto, x: &Data, grid: &Grid, kind: i32, last: bool) -> Made<Data> {
        let [low, high] = ends(kind)?.map(|end| end as f32);
        let zero = grid.zero()?;
        let divisor = Some(self.beside_channels(grid, x)?);
        let scaled = Affine {
            divisor,
            ..Affine::default()
        };
        let clamp = Function::Clamp {
            min: low - zero,
            max: high - zero,
        };
        let scaled = self.step(node, "scaled", scaled, &[x])?;
        let clamped = self.step(node, "clamped", clamp, &[&scaled])?;
        let shift = Affine {
            plus: Some(Constant::scalar(zero)),
            ..Affine::default()
        };
        let (moved, name) = (zero != 0.0, node.name.clone());
        match (moved, last) {
            (false, true) => self.push(name, Function::Round.into(), &[&clamped]),
            (false, false) => self.step(node, "codes", Function::Round, &[&clamped]),
            (true, last) => {
                let rounded = self.step(node, "rounded", Function::Round, &[&clamped])?;
                if last {
                    self.push(name, shift.into(), &[&rounded])
                } else {
                    self.step(node, "codes", shift, &[&rounded])
                }
            }
        }
    }

    /// What makes floats of the integers of a value.
    fn affine(&self, grid: &Grid, x: &Data) -> Made<Affine> {
        let zero = grid.zero()?;
        Ok(Affine {
            minus: (zero != 0.0).then(|| Constant::scalar(zero)),
            factor: Some(self.beside_channels(grid, x)?),
            ..Affine::default()
        })
    }

    /// The scales beside a value of the network.
    fn beside_channels(&self, grid: &Grid, x: &Data) -> Made<Constant> {
        let scale = &grid.scale;
        if scale.len() == 1 {
            return Ok(scale.constant(Vec::new()));
        }
        let axis = super::operators::axis(grid.axis, x.shape.len())?;
        if grid.block != 0 || scale.dims != [x.shape[axis]] {
            return Err(format!(
                "has scales of {:?} beside {:?} for each picture: expected one, or one for each channel",
                scale.dims, x.shape
            ));
        }
        let mut shape = vec![1; x.shape.len()];
        shape[axis] = x.shape[axis];
        Ok(scale.constant(shape))
    }

    /// An input of integers, as floats. `places`: those of the value, its scale and its zero point.
    pub(super) fn read_codes(&mut self, node: &NodeProto, places: [usize; 3]) -> Made<Data> {
        let x = self.data(node, places[0])?;
        let grid = self.grid(node, [places[1], places[2]])?;
        let affine = self.affine(&grid, &x)?;
        let part = format!("input.{}", places[0]);
        self.step(node, &part, affine, &[&x])
    }

    /// Rounds what a node of the file computes to integers, which are its result.
    pub(super) fn write_codes(&mut self, node: &NodeProto, x: &Data, places: [usize; 2]) -> Made<()> {
        let grid = self.grid(node, places)?;
        let kind = grid.zero.as_ref().map_or(UINT8, |zero| zero.kind);
        let codes = self.codes(node, x, &grid, kind, false)?;
        self.give(node, 0, codes)
    }

    /// A weight of integers with its scale and zero point, and the scale of the input that it is multiplied by.
    fn weight_codes(&mut self, node: &NodeProto, places: [usize; 3], axis: i64) -> Made<Tensor> {
        let integers = self.integers(node, places[0])?;
        let mut grid = self.grid(node, [places[1], places[2]])?;
        (grid.axis, grid.block) = (axis, 0);
        self.floats(&grid, &integers)
    }

    /// A bias of integers, whose scale is that of the input times that of the weight.
    fn bias_codes(&mut self, node: &NodeProto, n: usize, scales: [usize; 2]) -> Made<Option<Tensor>> {
        if !Self::has(node, n) {
            return Ok(None);
        }
        if let Value::Held(_) = self.value(node, n)? {
            return Err("has a bias of floats beside weights of integers".to_owned());
        }
        let bias = self.integers(node, n)?;
        let (input, weight) = (self.held(node, scales[0])?, self.held(node, scales[1])?);
        let input = input.values.as_deref().and_then(|values| values.first().copied());
        let scale = weight.map(|scale| scale * input.unwrap_or(1.0));
        let grid = Grid {
            scale,
            zero: None,
            axis: 0,
            block: 0,
        };
        let bias = self.floats(&grid, &bias)?;
        Ok(Some(self.part(node, bias, "bias")))
    }

    pub(super) fn qlinear_conv(&mut self, node: &NodeProto) -> Made<()> {
        let weight = self.weight_codes(node, [3, 4, 5], 0)?;
        let bias = self.bias_codes(node, 8, [1, 4])?;
        let x = self.read_codes(node, [0, 1, 2])?;
        let sums = self.conv_of(node, weight, bias, &x)?;
        self.write_codes(node, &sums, [6, 7])
    }

    /// A convolution of floats that has the name of the file's node.
    fn conv_of(&mut self, node: &NodeProto, weight: Tensor, bias: Option<Tensor>, x: &Data) -> Made<Data> {
        let layer = convolution(node, self.shapes)
            .map_err(|error| format!("is no convolution of a graph: {error}"))?;
        let weight = self.part(node, weight, "weight");
        let conv = Conv {
            bias: bias.map(|bias| bias.constant(bias.dims.clone())),
            stride: layer.stride,
            padding: layer.padding,
            dilation: layer.dilation,
            groups: layer.groups,
            ..Conv::new(weight.constant(weight.dims.clone()))
        };
        self.push(node.name.clone(), conv.into(), &[x])
    }

    /// The integers that are left when zero points are taken off.
    fn without_zero(&mut self, node: &NodeProto, [of, zero]: [usize; 2], axis: i64) -> Made<Tensor> {
        let integers = self.integers(node, of)?;
        let zero = if Self::has(node, zero) {
            Some(self.integers(node, zero)?)
        } else {
            None
        };
        let dims = zero.as_ref().map_or_else(Vec::new, |zero| zero.dims.clone());
        let ones: Vec<f32> = vec![1.0; dims.iter().product()];
        let grid = Grid {
            scale: Tensor {
                name: String::new(),
                dims,
                values: Some(ones.into()),
                turned: false,
            },
            zero,
            axis,
            block: 0,
        };
        self.floats(&grid, &integers)
    }

    /// What a node reads first, without the zero point of it.
    fn data_without_zero(&mut self, node: &NodeProto, zero: usize) -> Made<Data> {
        let x = self.data(node, 0)?;
        let zero = if Self::has(node, zero) {
            self.integers(node, zero)?.values
        } else {
            None
        };
        match zero.as_deref() {
            None | Some([0]) => Ok(x),
            Some(&[zero]) => {
                let minus = Some(Constant::scalar(zero as f32));
                let affine = Affine {
                    minus,
                    ..Affine::default()
                };
                self.step(node, "input", affine, &[&x])
            }
            Some(_) => Err("has several zero points for what is no constant".to_owned()),
        }
    }

    pub(super) fn conv_integer(&mut self, node: &NodeProto) -> Made<()> {
        let weight = self.without_zero(node, [1, 3], 0)?;
        let x = self.data_without_zero(node, 2)?;
        let sums = self.conv_of(node, weight, None, &x)?;
        self.give(node, 0, sums)
    }

    pub(super) fn mat_mul_integer(&mut self, node: &NodeProto) -> Made<()> {
        let weight = self.without_zero(node, [1, 3], 1)?;
        let x = self.data_without_zero(node, 2)?;
        let sums = self.product(node, weight, None, &x)?;
        self.give(node, 0, sums)
    }

    /// A linear layer of floats that has the name of the file's node.
    fn product(&mut self, node: &NodeProto, weight: Tensor, bias: Option<Tensor>, x: &Data) -> Made<Data> {
        let &[_, outputs] = &*weight.dims else {
            return Err("multiplies by what is no matrix of constants".to_owned());
        };
        let weight = self.part(node, weight, "weight");
        let bias = match bias {
            Some(bias) if bias.len() != outputs => {
                return Err(format!("adds {:?}: expected {outputs} numbers", bias.dims));
            }
            bias => bias.map(|bias| bias.constant([outputs])),
        };
        let linear = Linear {
            weight: weight.constant(weight.dims.clone()),
            bias,
        };
        self.push(node.name.clone(), linear.into(), &[x])
    }

    pub(super) fn qlinear_mat_mul(&mut self, node: &NodeProto) -> Made<()> {
        let weight = self.weight_codes(node, [3, 4, 5], 1)?;
        let x = self.read_codes(node, [0, 1, 2])?;
        let sums = self.product(node, weight, None, &x)?;
        self.write_codes(node, &sums, [6, 7])
    }

    /// ONNX Runtime's `Gemm` in integers, whose result may be floats.
    pub(super) fn qgemm(&mut self, node: &NodeProto) -> Made<()> {
        if int(node, "transA", 0) != 0 || super::operators::float(node, "alpha", 1.0) != 1.0 {
            return Err("works along the batch, or multiplies by a number".to_owned());
        }
        let turned = int(node, "transB", 0) != 0;
        let mut weight = self.weight_codes(node, [3, 4, 5], if turned { 0 } else { 1 })?;
        if turned {
            weight = self.turn(&weight)?;
        }
        let bias = self.bias_codes(node, 6, [1, 4])?;
        let x = self.read_codes(node, [0, 1, 2])?;
        let sums = self.product(node, weight, bias, &x)?;
        if Self::has(node, 7) {
            self.write_codes(node, &sums, [7, 8])
        } else {
            self.give(node, 0, sums)
        }
    }

    /// Two values of integers number by number, either of which may be a constant.
    pub(super) fn qlinear_binary(&mut self, node: &NodeProto, op: crate::graph::Binary) -> Made<()> {
        let mut reads = Vec::new();
        for first in [0, 3] {
            let places = [first, first + 1, first + 2];
            if let Value::Data(_) = self.value(node, first)? {
                reads.push(self.read_codes(node, places)?);
                continue;
            }
            let weight = self.weight_codes(node, places, 0)?;
            let dims = reads
                .first()
                .map_or(weight.dims.len(), |read: &Data| read.shape.len());
            let behind = weight
                .dims
                .iter()
                .copied()
                .skip(weight.dims.len().saturating_sub(dims));
            let mut shape: Vec<usize> = behind.collect();
            while shape.len() < dims {
                shape.insert(0, 1);
            }
            if shape.iter().product::<usize>() != weight.len() {
                return Err("works along the batch".to_owned());
            }
            reads.push(self.constant(&weight.name, weight.constant(shape))?);
        }
        let [a, b] = &reads[..] else {
            return Err("reads no two values".to_owned());
        };
        let sum = self.push(node.name.clone(), op.into(), &[a, b])?;
        self.write_codes(node, &sum, [6, 7])
    }

    /// An operator of floats between integers.
    pub(super) fn qlinear(&mut self, node: &NodeProto, op: impl Into<Op>) -> Made<()> {
        let x = self.read_codes(node, [0, 1, 2])?;
        let result = self.push(node.name.clone(), op.into(), &[&x])?;
        self.write_codes(node, &result, [3, 4])
    }

    /// Scale and zero point of the result, then each value with its own.
    pub(super) fn qlinear_concat(&mut self, node: &NodeProto) -> Made<()> {
        let mut reads = Vec::new();
        for n in (2..node.input.len()).step_by(3) {
            reads.push(self.read_codes(node, [n, n + 1, n + 2])?);
        }
        let first = reads.first().ok_or("puts nothing side by side")?;
        let axis = super::operators::axis(int(node, "axis", 1), first.shape.len())?;
        let reads: Vec<&Data> = reads.iter().collect();
        let all = self.push(node.name.clone(), Op::Concat { axis }, &reads)?;
        self.write_codes(node, &all, [0, 1])
    }
}
