//! Layers that compute with integers: each is the layer in floats, between integers that become floats and floats that become integers.
//! Sums of integers are exact, and those of floats nearly so.

use tract_onnx::pb::NodeProto;

use super::{
    affine::beside,
    grid::Grid,
    maker::Maker,
    operators::{float, int},
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Binary, Constant, Conv, Linear, Op};
use crate::onnx::convolution;

impl Maker<'_> {
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
                parameter: None,
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

    /// With a matrix of weights, or of two values as attention computes them.
    pub(super) fn qlinear_mat_mul(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.read_codes_anywhere(node, [0, 1, 2])?;
        let result = if let Value::Data(_) = self.value(node, 3)? {
            let other = self.read_codes_anywhere(node, [3, 4, 5])?;
            let [a, b] = self.matrices(x, other)?;
            self.push(node.name.clone(), Op::MatMul, &[&a, &b])?
        } else {
            let weight = self.weight_codes(node, [3, 4, 5], 1)?;
            let x = self.rows(x)?;
            self.product(node, weight, None, &x)?
        };
        self.write_codes(node, &result, [6, 7])
    }

    /// ONNX Runtime's `Gemm` in integers, whose result may be floats.
    pub(super) fn qgemm(&mut self, node: &NodeProto) -> Made<()> {
        if int(node, "transA", 0) != 0 || float(node, "alpha", 1.0) != 1.0 {
            return Err("works along the batch, or multiplies by a number".to_owned());
        }
        let turned = int(node, "transB", 0) != 0;
        let mut weight = self.weight_codes(node, [3, 4, 5], if turned { 0 } else { 1 })?;
        if turned {
            weight = self.turn(&weight)?;
        }
        let bias = self.bias_codes(node, 6, [1, 4])?;
        let x = self.read_codes_anywhere(node, [0, 1, 2])?;
        let x = self.rows(x)?;
        let sums = self.product(node, weight, bias, &x)?;
        if Self::has(node, 7) {
            self.write_codes(node, &sums, [7, 8])
        } else {
            self.give(node, 0, sums)
        }
    }

    /// Two values of integers number by number, either of which may be a constant.
    pub(super) fn qlinear_binary(&mut self, node: &NodeProto, op: Binary) -> Made<()> {
        let is_value = |value: Value| matches!(value, Value::Data(_));
        let (first, second) = ([0, 1, 2], [3, 4, 5]);
        let [a, b] = match [self.value(node, 0)?, self.value(node, 3)?].map(is_value) {
            [true, true] => {
                let a = self.read_codes_anywhere(node, first)?;
                let b = self.read_codes_anywhere(node, second)?;
                self.side_by_side(a, b)?
            }
            [true, false] => {
                let x = self.read_codes_anywhere(node, first)?;
                let constant = self.codes_beside(node, second, &x)?;
                [x, constant]
            }
            [false, true] => {
                let x = self.read_codes_anywhere(node, second)?;
                [self.codes_beside(node, first, &x)?, x]
            }
            [false, false] => return Err("computes with constants alone".to_owned()),
        };
        let result = self.push(node.name.clone(), op.into(), &[&a, &b])?;
        self.write_codes(node, &result, [6, 7])
    }

    /// A constant of integers beside a value, as a node.
    fn codes_beside(&mut self, node: &NodeProto, places: [usize; 3], x: &Data) -> Made<Data> {
        let constant = self.weight_codes(node, places, 0)?;
        let shape = beside(&constant, x)?;
        let data = self.constant(&constant.name, constant.constant(shape))?;
        Ok(Data {
            place: x.place,
            ..data
        })
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
        let axis = first.axis(int(node, "axis", 1))?;
        let reads: Vec<&Data> = reads.iter().collect();
        let all = self.push(node.name.clone(), Op::Concat { axis }, &reads)?;
        self.write_codes(node, &all, [0, 1])
    }
}
