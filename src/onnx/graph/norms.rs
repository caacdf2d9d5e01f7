//! Norms: batch norm in evaluation is one node of a graph, layer norm is several.

use tract_onnx::pb::NodeProto;

use super::{
    affine::beside,
    maker::Maker,
    operators::{float, int},
    values::{Made, Tensor},
};
use crate::graph::{Affine, Binary, Constant, Function, Op, Reduction};
use crate::onnx::paths::LEAVES;

impl Maker<'_> {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, in this order.
    pub(super) fn batch_norm(&mut self, node: &NodeProto) -> Made<()> {
        if int(node, "training_mode", 0) != 0
            || self.trains(node)
            || node.output.iter().skip(1).any(|name| !name.is_empty())
        {
            return Err(
                "is a batch norm in training: export the model in evaluation, as PyTorch has it after `model.eval()`".to_owned(),
            );
        }
        if int(node, "spatial", 1) == 0 {
            return Err("is a batch norm of each number by itself: expected one of channels".to_owned());
        }
        let x = self.data(node, 0)?;
        let shape = [&x.shape[..1], &vec![1; x.shape.len() - 1]].concat();
        let mut parts = Vec::new();
        for (n, leaf) in (1..).zip(LEAVES) {
            let part = self.held(node, n)?;
            if part.dims != x.shape[..1] {
                return Err(format!(
                    "has {:?} as input {n}: expected {:?}, one for each channel",
                    part.dims,
                    &x.shape[..1]
                ));
            }
            parts.push(self.part(node, part, leaf));
        }
        let [scale, bias, mean, variance] = &parts[..] else {
            return Err("has no four constants".to_owned());
        };
        self.count(variance.len())?;
        let epsilon = f64::from(float(node, "epsilon", 1e-5));
        let below = variance
            .values
            .iter()
            .flat_map(|values| values.iter())
            .find(|value| f64::from(**value) + epsilon < 0.0);
        if let Some(below) = below {
            return Err(format!("has a variance of {below}: expected none below zero"));
        }
        let deviation = variance.map(|variance| (f64::from(variance) + epsilon).sqrt() as f32);
        let part = |part: &Tensor| Some(part.constant(shape.clone()));
        let affine = Affine {
            minus: part(mean),
            divisor: part(&deviation),
            factor: part(scale),
            plus: part(bias),
            // Without one it is no batch norm that Burn trains.
            epsilon: (epsilon > 0.0).then_some(epsilon as f32),
        };
        self.last(node, affine, &[&x])
    }
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, mean and variance along the last dimensions.
    pub(super) fn layer_norm(&mut self, node: &NodeProto) -> Made<()> {
        if node.output.iter().skip(1).any(|name| !name.is_empty()) {
            return Err("gives its mean or deviation away".to_owned());
        }
        let x = self.anywhere(node, 0)?;
        let named = int(node, "axis", -1);
        let axes: Vec<usize> = (x.axis(named)?..x.shape.len()).collect();
        if x.batch_axis() > x.file_axis(named)? {
            return Err("works along the batch".to_owned());
        }
        let mean = |axes: &[usize]| Op::Reduce {
            kind: Reduction::Mean,
            axes: axes.to_vec(),
        };
        let center = self.step(node, "mean", mean(&axes), &[&x])?;
        let centered = self.step(node, "centered", Binary::Sub, &[&x, &center])?;
        let square = self.step(node, "square", Binary::Mul, &[&centered, &centered])?;
        let variance = self.step(node, "variance", mean(&axes), &[&square])?;
        let epsilon = Some(Constant::scalar(float(node, "epsilon", 1e-5)));
        let above = Affine {
            plus: epsilon,
            ..Affine::default()
        };
        let above = self.step(node, "above", above, &[&variance])?;
        let root = self.step(node, "deviation", Function::Sqrt, &[&above])?;
        let scale = self.held(node, 1)?;
        let scale = self.part(node, scale, "weight");
        let bias = if Self::has(node, 2) {
            let bias = self.held(node, 2)?;
            Some(self.part(node, bias, "bias"))
        } else {
            None
        };
        let norm = self.step(node, "normal", Binary::Div, &[&centered, &root])?;
        let part = |part: &Tensor| Ok::<_, String>(part.constant(beside(part, &x)?));
        let affine = Affine {
            factor: Some(part(&scale)?),
            plus: bias.as_ref().map(part).transpose()?,
            ..Affine::default()
        };
        self.last(node, affine, &[&norm])
    }
}
