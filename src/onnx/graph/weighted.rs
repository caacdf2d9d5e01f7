//! Operators with weights: convolutions and linear layers.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{float, int, pads, pair, text, whole},
    values::{Data, Made, Tensor},
};
use crate::graph::{Affine, Constant, Conv, ConvTranspose, Linear};
use crate::onnx::{convolution, operators::attribute};

impl Maker<'_> {
    /// With the settings that the mapper reads.
    pub(super) fn conv(&mut self, node: &NodeProto) -> Made<()> {
        let layer = convolution(node, self.shapes)
            .map_err(|error| format!("is no convolution of a graph: {error}"))?;
        let x = self.data(node, 0)?;
        let weight = self.held(node, 1)?;
        let weight = self.part(node, weight, "weight");
        let conv = Conv {
            bias: self.bias(node, 2)?,
            stride: layer.stride,
            padding: layer.padding,
            dilation: layer.dilation,
            groups: layer.groups,
            ..Conv::new(weight.constant(weight.dims.clone()))
        };
        self.last(node, conv, &[&x])
    }

    pub(super) fn conv_transpose(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let weight = self.held(node, 1)?;
        if attribute(node, "output_shape").is_some()
            || !matches!(text(node, "auto_pad", "NOTSET"), "" | "NOTSET")
        {
            return Err("leaves its padding open".to_owned());
        }
        let [top, left, bottom, right] = pads(node)?;
        if [top, left] != [bottom, right] {
            return Err("cuts more off one side than off the other".to_owned());
        }
        let groups = whole(&[int(node, "group", 1)])?[0];
        let weight = self.part(node, weight, "weight");
        let kernel = weight.dims.get(2..).unwrap_or_default();
        if attribute(node, "kernel_shape").is_some_and(|stated| whole(&stated.ints).as_deref() != Ok(kernel))
        {
            return Err("states another kernel than its weight has".to_owned());
        }
        let conv = ConvTranspose {
            bias: self.bias(node, 2)?,
            weight: weight.constant(weight.dims.clone()),
            stride: pair(node, "strides", [1; 2])?,
            padding: [top, left],
            output_padding: pair(node, "output_padding", [0; 2])?,
            dilation: pair(node, "dilations", [1; 2])?,
            groups,
        };
        self.last(node, conv, &[&x])
    }

    /// The bias of a convolution. Exporters make one of zeros where the layer has none.
    fn bias(&mut self, node: &NodeProto, n: usize) -> Made<Option<Constant>> {
        if !Self::has(node, n) {
            return Ok(None);
        }
        let bias = self.held(node, n)?;
        let zeros = bias
            .values
            .as_ref()
            .is_some_and(|values| values.iter().all(|&number| number == 0.0));
        if zeros && bias.parameter.is_none() {
            return Ok(None);
        }
        let bias = self.part(node, bias, "bias");
        Ok(Some(bias.constant(bias.dims.clone())))
    }

    /// `alpha * x * weight + beta * bias`. Factors other than one, and a bias of another form, are an operation of their own.
    pub(super) fn gemm(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let x = self.rows(x)?;
        let weight = self.held(node, 1)?;
        if int(node, "transA", 0) != 0 {
            return Err("works along the batch".to_owned());
        }
        let weight = if int(node, "transB", 0) == 0 {
            weight
        } else {
            self.turn(&weight)?
        };
        let weight = self.part(node, weight, "weight");
        let &[_, outputs] = &*weight.dims else {
            return Err(format!(
                "has a weight of {} dimensions: expected 2",
                weight.dims.len()
            ));
        };
        if x.rank() != 2 {
            return Err(format!("reads {:?} for each picture: expected a row", x.shape));
        }
        let (alpha, beta) = (float(node, "alpha", 1.0), float(node, "beta", 1.0));
        let bias = if Self::has(node, 2) {
            let bias = self.held(node, 2)?;
            Some(self.part(node, bias, "bias"))
        } else {
            None
        };
        let mut linear = Linear {
            weight: weight.constant(weight.dims.clone()),
            bias: None,
        };
        let Some(mut bias) = bias else {
            return self.scaled(node, linear, alpha, None, &x);
        };
        match &*bias.dims {
            [] => {}
            [size] | [1, size] if *size == outputs || *size == 1 => {}
            dims => return Err(format!("adds {dims:?}: expected {outputs} numbers, or one")),
        }
        if beta != 1.0 {
            self.count(bias.len())?;
            bias = Tensor {
                parameter: None,
                ..bias.map(|x| beta * x)
            };
        }
        if bias.len() == outputs && alpha == 1.0 {
            linear.bias = Some(bias.constant([outputs]));
            return self.last(node, linear, &[&x]);
        }
        let plus = bias.constant([bias.len()]);
        self.scaled(node, linear, alpha, Some(plus), &x)
    }

    fn scaled(
        &mut self,
        node: &NodeProto,
        linear: Linear,
        alpha: f32,
        plus: Option<Constant>,
        x: &Data,
    ) -> Made<()> {
        let factor = (alpha != 1.0).then(|| Constant::scalar(alpha));
        if factor.is_none() && plus.is_none() {
            return self.last(node, linear, &[x]);
        }
        let product = self.step(node, "product", linear, &[x])?;
        let affine = Affine {
            factor,
            plus,
            ..Affine::default()
        };
        self.last(node, affine, &[&product])
    }
}
