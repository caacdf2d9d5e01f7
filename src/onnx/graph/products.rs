//! Matrix products: with a matrix of weights a linear layer, of two values as attention computes them.

use tract_onnx::pb::NodeProto;

use super::{
    affine::beside,
    maker::Maker,
    operators::{float, int},
    shaped::permuted,
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Constant, Linear, Op};
use crate::onnx::operators::attribute;

impl Maker<'_> {
    /// A value whose last dimension is not the batch, so that a layer may work along it.
    pub(super) fn rows(&mut self, x: Data) -> Made<Data> {
        self.behind_batch(x, 1)
    }

    /// A value whose batch is before the last so many dimensions.
    fn behind_batch(&mut self, x: Data, last: usize) -> Made<Data> {
        let x = if x.is_before(last) { x } else { self.in_front(&x)? };
        if x.is_before(last) {
            return Ok(x);
        }
        Err("works along the batch".to_owned())
    }

    /// With a matrix of weights on either side, or of two values. A matrix from the left works along the dimension before the last.
    pub(super) fn mat_mul(&mut self, node: &NodeProto) -> Made<()> {
        let linear = |weight: &Tensor| Linear {
            weight: weight.constant(weight.dims.clone()),
            bias: None,
        };
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Data(x), Value::Held(weight)) if weight.dims.len() == 2 => {
                let x = self.rows(x)?;
                let weight = self.part(node, weight, "weight");
                self.last(node, linear(&weight), &[&x])
            }
            (Value::Held(weight), Value::Data(x)) if weight.dims.len() == 2 => {
                let x = self.behind_batch(x, 2)?;
                let weight = self.turn(&weight)?;
                let weight = self.part(node, weight, "weight");
                let columns = self.exchanged(node, "columns", &x)?;
                let product = self.step(node, "product", linear(&weight), &[&columns])?;
                let dims = x.shape.len();
                let mut axes: Vec<usize> = (0..dims).collect();
                axes.swap(dims - 2, dims - 1);
                self.last(node, Op::Permute { axes }, &[&product])
            }
            (Value::Data(a), Value::Data(b)) => {
                let [a, b] = self.matrices(a, b)?;
                self.last(node, Op::MatMul, &[&a, &b])
            }
            (Value::Data(x), Value::Held(weight)) => {
                let x = self.behind_batch(x, 2)?;
                let weight = self.matrices_of(&weight, &x)?;
                self.last(node, Op::MatMul, &[&x, &weight])
            }
            (Value::Held(weight), Value::Data(x)) => {
                let x = self.behind_batch(x, 2)?;
                let weight = self.matrices_of(&weight, &x)?;
                let product = self.push(node.name.clone(), Op::MatMul, &[&weight, &x])?;
                let place = x.place;
                self.give(node, 0, Data { place, ..product })
            }
            _ => Err("multiplies by what is no matrix of constants".to_owned()),
        }
    }

    /// A constant of several matrices beside a value.
    fn matrices_of(&mut self, weight: &Tensor, x: &Data) -> Made<Data> {
        if weight.dims.len() < 3 {
            return Err("multiplies by a row of constants".to_owned());
        }
        let shape = beside(weight, x)?;
        self.constant(&weight.name, weight.constant(shape))
    }

    /// Two values whose last two dimensions are matrices, with the batch at the same place before.
    pub(super) fn matrices(&mut self, a: Data, b: Data) -> Made<[Data; 2]> {
        let [a, b] = [self.behind_batch(a, 2)?, self.behind_batch(b, 2)?];
        self.alike(a, b)
    }

    /// Rows and columns exchanged.
    fn exchanged(&mut self, node: &NodeProto, part: &str, x: &Data) -> Made<Data> {
        let rank = x.rank();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        let (axes, place) = permuted(x, &order)?;
        let data = self.step(node, part, Op::Permute { axes }, &[x])?;
        Ok(Data { place, ..data })
    }

    /// `softmax(query * key + mask) * value`, for heads in a dimension of their own. PyTorch writes it with these three, and a mask of
    /// floats.
    pub(super) fn attention(&mut self, node: &NodeProto) -> Made<()> {
        let plain = [
            "is_causal",
            "qk_matmul_output_mode",
            "q_num_heads",
            "kv_num_heads",
        ];
        if plain.iter().any(|name| int(node, name, 0) != 0)
            || float(node, "softcap", 0.0) != 0.0
            || node.output.iter().skip(1).any(|name| !name.is_empty())
            || (4..node.input.len()).any(|n| Self::has(node, n))
        {
            return Err("is another attention than of queries, keys, values and a mask: it is causal, or keeps its past".to_owned());
        }
        let [query, key, value] = [
            self.anywhere(node, 0)?,
            self.anywhere(node, 1)?,
            self.anywhere(node, 2)?,
        ];
        if [&query, &key, &value].iter().any(|x| x.rank() != 4) {
            return Err("reads what are not [batch, heads, tokens, channels]".to_owned());
        }
        let [query, key] = self.matrices(query, key)?;
        let [query, value] = self.matrices(query, value)?;
        let (heads, width) = (query.shape.len() - 3, query.shape[query.shape.len() - 1]);
        if [&key, &value]
            .iter()
            .any(|x| x.shape[..=heads] != query.shape[..=heads])
        {
            return Err("has several heads for one head of keys".to_owned());
        }
        let scale = attribute(node, "scale").map_or_else(|| 1.0 / (width as f32).sqrt(), |scale| scale.f);
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(format!("is scaled by {scale}: expected a number above 0"));
        }
        // ONNX scales both before the product.
        let by = Affine {
            factor: Some(Constant::scalar(scale.sqrt())),
            ..Affine::default()
        };
        let query = self.step(node, "query", by.clone(), &[&query])?;
        let key = self.step(node, "key", by, &[&key])?;
        let turned = self.exchanged(node, "key.turned", &key)?;
        let mut scores = self.step(node, "scores", Op::MatMul, &[&query, &turned])?;
        if Self::has(node, 3) {
            let mask = self.held(node, 3)?;
            let plus = Some(mask.constant(beside(&mask, &scores)?));
            let mask = Affine {
                plus,
                ..Affine::default()
            };
            scores = self.step(node, "masked", mask, &[&scores])?;
        }
        let axis = scores.shape.len() - 1;
        let weights = self.step(node, "weights", Op::Softmax { axis, log: false }, &[&scores])?;
        self.last(node, Op::MatMul, &[&weights, &value])
    }
}
