//! Quantisation in ONNX's own operators, `QuantizeLinear` and `DequantizeLinear`.
//!
//! A constant becomes the floats that its integers stand for. A value of the network is divided by the scale, clamped, rounded, and
//! moved by the zero point where that is not zero: those are its integers, as floats. Dequantised, it is moved back and multiplied.

use tract_onnx::pb::NodeProto;

use super::{
    grid::{Grid, ends},
    integers::Integers,
    maker::Maker,
    operators::int,
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Constant, Function};

/// What stands behind the names of constants that were quantised.
const QUANTISED: &str = "_quantized";

/// The most integers of constants and numbers that are computed of them.
const MAX_DEQUANTISED: usize = 1 << 29;

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
    pub(super) fn grid(&mut self, node: &NodeProto, [scale, zero]: [usize; 2]) -> Made<Grid> {
        let zero = if Self::has(node, zero) {
            Some(self.integers(node, zero)?)
        } else {
            None
        };
        let block = usize::try_from(int(node, "block_size", 0)).map_err(|_| "has a negative `block_size`")?;
        let scale = self.scale(node, scale)?;
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
                let x = self.for_grid(x, &grid)?;
                let codes = self.codes(node, &x, &grid, kind, true)?;
                self.give(node, 0, codes)
            }
            _ => Err("rounds integers".to_owned()),
        }
    }

    pub(super) fn dequantize_linear(&mut self, node: &NodeProto) -> Made<()> {
        let grid = self.grid(node, [1, 2])?;
        if let Value::Data(x) = self.value(node, 0)? {
            let x = self.for_grid(x, &grid)?;
            let (grid, name) = (self.affine(&grid, &x)?, node.name.clone());
            let floats = self.push(name, grid.into(), &[&x])?;
            return self.give(node, 0, floats);
        }
        let integers = self.integers(node, 0)?;
        let floats = self.floats(&grid, &integers)?;
        self.give(node, 0, Value::Held(floats))
    }

    /// A value beside scales. One scale for each channel is counted with the batch first.
    fn for_grid(&mut self, x: Data, grid: &Grid) -> Made<Data> {
        if grid.scale.len() == 1 {
            Ok(x)
        } else {
            self.plain(x)
        }
    }

    /// A constant of floats from one of integers, under the name that it had before it was quantised.
    pub(super) fn floats(&mut self, grid: &Grid, integers: &Integers) -> Made<Tensor> {
        self.dequantised(integers.values.as_ref().map_or(0, |values| values.len()))?;
        let stem = integers
            .name
            .strip_suffix(QUANTISED)
            .filter(|stem| !self.is_constant(stem));
        grid.floats(integers, stem.unwrap_or(&integers.name).to_owned())
    }

    /// Counts integers of constants, and what is computed of them.
    pub(super) fn dequantised(&mut self, numbers: usize) -> Made<()> {
        self.dequantised = self.dequantised.saturating_add(numbers);
        if self.dequantised > MAX_DEQUANTISED {
            return Err(format!("makes more than {MAX_DEQUANTISED} numbers of integers"));
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
        let axis = x.axis(grid.axis)?;
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

    /// An input of integers whose first dimension is the batch alone, as floats. `places`: those of the value, its scale and its zero
    /// point.
    pub(super) fn read_codes(&mut self, node: &NodeProto, places: [usize; 3]) -> Made<Data> {
        let x = self.read_codes_anywhere(node, places)?;
        self.plain(x)
    }

    /// The same wherever the batch is.
    pub(super) fn read_codes_anywhere(&mut self, node: &NodeProto, places: [usize; 3]) -> Made<Data> {
        let x = self.anywhere(node, places[0])?;
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
}
