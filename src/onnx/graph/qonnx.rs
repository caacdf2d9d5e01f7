//! Quantisation as QONNX, Brevitas and FINN write it: one operator that rounds floats to floats.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{int, text},
    repeated::{beside, places},
    unknown,
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Constant, Function};

/// How integers of so many bits are rounded to.
struct Rounding {
    low: f32,
    high: f32,
    function: Function,
}

impl Maker<'_> {
    pub(super) fn qonnx(&mut self, node: &NodeProto) -> Made<()> {
        match &*node.op_type {
            "Quant" | "IntQuant" => self.quant(node),
            "BipolarQuant" => self.bipolar(node),
            _ => Err(unknown(node)),
        }
    }

    /// `(round(clamp(x / scale + zero)) - zero) * scale`.
    fn quant(&mut self, node: &NodeProto) -> Made<()> {
        let scale = self.scale(node, 1)?;
        let zero = self.number(node, 2)?;
        let bits = self.number(node, 3)?;
        if !(bits.fract() == 0.0 && (1.0..=16.0).contains(&bits)) {
            return Err(format!(
                "rounds to {bits} bits: expected a whole number from 1 to 16"
            ));
        }
        let (signed, narrow) = (int(node, "signed", 1) != 0, int(node, "narrow", 0) != 0);
        let count = bits.exp2();
        let narrow = if narrow { 1.0 } else { 0.0 };
        let (low, high) = if signed {
            (narrow - count / 2.0, count / 2.0 - 1.0)
        } else {
            (0.0, count - 1.0 - narrow)
        };
        if low >= high {
            return Err("rounds to one number alone".to_owned());
        }
        let function = match text(node, "rounding_mode", "ROUND") {
            "ROUND" | "HALF_EVEN" => Function::Round,
            "FLOOR" => Function::Floor,
            mode => return Err(format!("rounds by `{mode}`: expected ROUND or FLOOR")),
        };
        let rounding = Rounding { low, high, function };
        match self.value(node, 0)? {
            Value::Held(tensor) => {
                let place = place_of_scale(&tensor, &scale)?;
                self.count_rounded(&tensor)?;
                let values = tensor
                    .values
                    .as_ref()
                    .zip(scale.values.as_ref())
                    .map(|(values, scales)| {
                        let round = |(n, &x): (usize, &f32)| {
                            let scale = scales[place(n)];
                            let code = (x / scale + zero).clamp(rounding.low, rounding.high);
                            (rounding.function.of(code).unwrap_or(code) - zero) * scale
                        };
                        values.iter().enumerate().map(round).collect()
                    });
                self.give(node, 0, Value::Held(Tensor { values, ..tensor }))
            }
            Value::Data(x) => self.quant_data(node, &x, &scale, zero, &rounding),
            _ => Err("rounds integers".to_owned()),
        }
    }

    fn quant_data(
        &mut self,
        node: &NodeProto,
        x: &Data,
        scale: &Tensor,
        zero: f32,
        rounding: &Rounding,
    ) -> Made<()> {
        let scale = scale.constant(scale_shape(scale, x)?);
        let moved = (zero != 0.0).then(|| Constant::scalar(zero));
        let scaled = Affine {
            divisor: Some(scale.clone()),
            plus: moved.clone(),
            ..Affine::default()
        };
        let clamp = Function::Clamp {
            min: rounding.low,
            max: rounding.high,
        };
        let floats = Affine {
            minus: moved,
            factor: Some(scale),
            ..Affine::default()
        };
        let scaled = self.step(node, "scaled", scaled, &[x])?;
        let clamped = self.step(node, "clamped", clamp, &[&scaled])?;
        let codes = self.step(node, "codes", rounding.function, &[&clamped])?;
        self.last(node, floats, &[&codes])
    }

    /// `scale` from zero on, and `-scale` below.
    fn bipolar(&mut self, node: &NodeProto) -> Made<()> {
        let scale = self.scale(node, 1)?;
        match self.value(node, 0)? {
            Value::Held(tensor) => {
                let place = place_of_scale(&tensor, &scale)?;
                self.count_rounded(&tensor)?;
                let values = tensor
                    .values
                    .as_ref()
                    .zip(scale.values.as_ref())
                    .map(|(values, scales)| {
                        let sign = |(n, &x): (usize, &f32)| {
                            if x >= 0.0 {
                                scales[place(n)]
                            } else {
                                -scales[place(n)]
                            }
                        };
                        values.iter().enumerate().map(sign).collect()
                    });
                self.give(node, 0, Value::Held(Tensor { values, ..tensor }))
            }
            Value::Data(x) => {
                // -1 below zero and 0 from there on. A sign would be 0 at zero.
                let clamp = Function::Clamp { min: -1.0, max: 0.0 };
                let clamped = self.step(node, "clamped", clamp, &[&x])?;
                let below = self.step(node, "below", Function::Floor, &[&clamped])?;
                let sign = Affine {
                    factor: Some(Constant::scalar(2.0)),
                    plus: Some(Constant::scalar(1.0)),
                    ..Affine::default()
                };
                let signs = self.step(node, "codes", sign, &[&below])?;
                let factor = Some(scale.constant(scale_shape(&scale, &x)?));
                let floats = Affine {
                    factor,
                    ..Affine::default()
                };
                self.last(node, floats, &[&signs])
            }
            _ => Err("rounds integers".to_owned()),
        }
    }

    fn count_rounded(&mut self, tensor: &Tensor) -> Made<()> {
        self.dequantised(tensor.values.as_ref().map_or(0, |values| values.len()))
    }
}

/// For each number of a constant the place of its scale, whose dimensions are the same or 1.
fn place_of_scale(of: &Tensor, scale: &Tensor) -> Made<impl Fn(usize) -> usize + use<>> {
    match beside(&of.dims, &scale.dims) {
        Ok(dims) if dims == of.dims => Ok(places(&scale.dims, &of.dims)),
        _ => Err(format!("has scales of {:?} for {:?}", scale.dims, of.dims)),
    }
}

/// The shape of scales beside a value, without the batch.
fn scale_shape(scale: &Tensor, x: &Data) -> Made<Vec<usize>> {
    if scale.len() == 1 {
        return Ok(Vec::new());
    }
    super::affine::beside(scale, x)
}
