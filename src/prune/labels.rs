//! Which indices of which tensors are the same channel.
//!
//! Every index of every dimension of a parameter starts as a *label* of its own. An operation makes labels one where it
//! cannot do with a channel on one side alone: an addition those of its operands, a convolution those of its input and
//! of its weight's second dimension. What is left are the channels: labels that stand and fall together.

use std::collections::{HashMap, HashSet};

use burn_ir::{
    ActivationOperationIr, BaseOperationIr, BoolOperationIr, FloatOperationIr, IntOperationIr,
    ModuleOperationIr, NumericOperationIr, OperationIr, TensorId, TensorIr,
};

use crate::Error;
use crate::module::recorded::QUANTIZE_WEIGHT;
use crate::module::{Convolution, Trace, operation_name};

/// The labels along a dimension; none along one of which nothing can be cut, such as those of pictures.
type Along = Option<Vec<usize>>;

/// Labels of every tensor, and which of them are one.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    /// Which label each is the same as: a forest.
    same: Vec<usize>,
    /// Of a root: what fixes it, if anything does.
    fixed: HashMap<usize, &'static str>,
    tensors: HashMap<TensorId, Vec<Along>>,
    /// Tensors of one number all over, as many as are asked for: they go with any channels.
    uniform: HashSet<TensorId>,
    /// Dimensions that one number was repeated along, as often as was asked for: they go with any channels too.
    grown: HashSet<(TensorId, usize)>,
    /// Reshapes that split channels, by their results, and among how many dimensions: which is the channels' they do not say.
    splits: Vec<(TensorId, usize)>,
    /// Which of them is taken; the last where nothing is said.
    choices: HashMap<TensorId, usize>,
}

impl Labels {
    /// Follows the labels of the parameters through all that was recorded.
    ///
    /// A reshape that splits channels is read with the channels in the last dimension, as a norm of groups and the heads of an
    /// attention have them, unless `choices` says otherwise: a pixel shuffle has them in the first.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] names an operation that is not understood.
    pub fn follow(trace: &Trace, choices: HashMap<TensorId, usize>) -> Result<Self, Error> {
        let mut labels = Self {
            same: Vec::new(),
            fixed: HashMap::new(),
            tensors: HashMap::new(),
            uniform: HashSet::new(),
            grown: HashSet::new(),
            splits: Vec::new(),
            choices,
        };
        for parameter in &trace.parameters {
            if labels.tensors.contains_key(&parameter.id) {
                continue;
            }
            let along = parameter.shape.iter().map(|&size| Some(labels.fresh(size)));
            let along = along.collect();
            labels.tensors.insert(parameter.id, along);
        }
        for operation in &trace.operations {
            labels.operation(operation)?;
        }
        let output = labels.of_id(trace.outputs[0]).to_vec();
        for along in output.iter().flatten() {
            labels.fix(along, "the output");
        }
        Ok(labels)
    }

    /// The reshapes that may be read in several ways, by their results, and in how many.
    pub fn splits(&self) -> &[(TensorId, usize)] {
        &self.splits
    }

    /// How they are read, where it is not the last way.
    pub fn choices(&self) -> &HashMap<TensorId, usize> {
        &self.choices
    }

    /// Whether a dimension has the size that is asked for, of numbers that are all the same along it.
    pub fn any_size(&self, id: TensorId, d: usize) -> bool {
        self.uniform.contains(&id) || self.grown.contains(&(id, d))
    }

    /// The labels along each dimension of a tensor.
    pub fn of_id(&self, id: TensorId) -> &[Along] {
        self.tensors.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The one that stands for all that are the same.
    pub fn root(&self, mut label: usize) -> usize {
        while self.same[label] != label {
            label = self.same[label];
        }
        label
    }

    /// The roots along dimension `d` of a tensor; none where nothing can be cut.
    pub fn roots(&self, id: TensorId, d: usize) -> Option<Vec<usize>> {
        let along = self.of_id(id).get(d)?.as_ref()?;
        Some(along.iter().map(|&label| self.root(label)).collect())
    }

    /// What keeps a label from being cut.
    pub fn fixed_by(&self, label: usize) -> Option<&'static str> {
        self.fixed.get(&self.root(label)).copied()
    }

    fn fresh(&mut self, count: usize) -> Vec<usize> {
        let first = self.same.len();
        self.same.extend(first..first + count);
        (first..first + count).collect()
    }

    fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        // The earlier stands for both, so that channels are numbered as their first producer has them.
        let (keep, go) = (a.min(b), a.max(b));
        self.same[go] = keep;
        if let Some(reason) = self.fixed.remove(&go) {
            self.fixed.entry(keep).or_insert(reason);
        }
    }

    fn fix(&mut self, labels: &[usize], reason: &'static str) {
        for &label in labels {
            let root = self.root(label);
            self.fixed.entry(root).or_insert(reason);
        }
    }

    /// Makes two dimensions of the same size one.
    fn tie(&mut self, a: &Along, b: &Along, reason: &'static str) -> Along {
        match (a, b) {
            (Some(a), Some(b)) => {
                for (&a, &b) in a.iter().zip(b) {
                    self.unite(a, b);
                }
                Some(a.clone())
            }
            (Some(labels), None) | (None, Some(labels)) => {
                self.fix(labels, reason);
                Some(labels.clone())
            }
            (None, None) => None,
        }
    }

    /// The labels of an operand; none along any dimension of what no parameter has reached.
    fn of(&self, tensor: &TensorIr) -> Vec<Along> {
        let found = self.tensors.get(&tensor.id).cloned();
        found.unwrap_or_else(|| vec![None; tensor.shape.num_dims()])
    }

    fn set(&mut self, out: &TensorIr, along: Vec<Along>) {
        debug_assert_eq!(out.shape.num_dims(), along.len());
        self.tensors.insert(out.id, along);
    }

    /// Operands of the same shape, or of size 1 where one number serves all.
    fn elementwise(&mut self, operands: &[&TensorIr], out: &TensorIr) {
        let shape = sizes(out);
        let mut result: Vec<Along> = vec![None; shape.len()];
        let mut seen = vec![false; shape.len()];
        let mut grown = Vec::new();
        let operands: Vec<&TensorIr> = (operands.iter().copied())
            .filter(|operand| !self.uniform.contains(&operand.id))
            .collect();
        if operands.is_empty() {
            self.uniform.insert(out.id);
        }
        for operand in operands {
            let (along, sizes) = (self.of(operand), sizes(operand));
            let before = shape.len() - sizes.len();
            for (at, (along, size)) in along.iter().zip(sizes).enumerate() {
                let d = before + at;
                if size != shape[d] || size == 1 && along.is_none() {
                    continue;
                }
                if self.grown.contains(&(operand.id, at)) {
                    grown.push(d);
                    continue;
                }
                result[d] = if seen[d] {
                    self.tie(&result[d].clone(), along, "an operand that is no parameter")
                } else {
                    along.clone()
                };
                seen[d] = true;
            }
        }
        let grown = grown.into_iter().filter(|&d| !seen[d]);
        self.grown.extend(grown.map(|d| (out.id, d)));
        self.set(out, result);
    }

    /// The same labels but along `axis`, which one number is left of, or nothing that could be cut.
    fn reduced(&mut self, input: &TensorIr, out: &TensorIr, axes: &[usize]) {
        let mut along = self.of(input);
        for &axis in axes {
            along[axis] = None;
        }
        self.set(out, along);
    }

    /// As [`reduced`](Self::reduced), of what means something else when a channel is missing.
    fn ordered(&mut self, input: &TensorIr, out: &[&TensorIr], axis: usize, reason: &'static str) {
        if let Some(labels) = &self.of(input)[axis] {
            self.fix(labels, reason);
        }
        for out in out {
            let same_size = sizes(out)[axis] == sizes(input)[axis];
            if same_size {
                let along = self.of(input);
                self.set(out, along);
            } else {
                self.reduced(input, out, &[axis]);
            }
        }
    }

    /// Labels that stand where an operation has its places: it goes over them in their order.
    fn places(&mut self, along: &[Along]) {
        for labels in along.iter().skip(2).flatten() {
            self.fix(labels, "a convolution or pool along them");
        }
    }

    /// Pools and the like: pictures and channels stay, places do not.
    fn per_channel(&mut self, x: &TensorIr, outs: &[&TensorIr]) {
        let along = self.of(x);
        self.places(&along);
        for out in outs {
            let mut result = vec![None; along.len()];
            result[..2].clone_from_slice(&along[..2]);
            self.set(out, result);
        }
    }

    fn convolution(&mut self, conv: &Convolution<'_>) {
        let &Convolution {
            x,
            weight,
            bias,
            groups,
            out,
            transposed,
        } = conv;
        self.places(&self.of(x));
        let input = self.of(x)[1].clone();
        let weights = self.of(weight);
        let channels = sizes(x)[1];
        let each = channels / groups;
        let output = if transposed {
            let input = self.tie(&input, &weights[0], "the input");
            match input {
                // A group is one channel: it goes with all that it becomes.
                Some(input) if conv.depthwise() => {
                    let multiple = sizes(weight)[1];
                    Some(input.iter().flat_map(|&label| vec![label; multiple]).collect())
                }
                _ => {
                    if let (Some(input), true) = (&input, groups > 1) {
                        self.same_in_groups(input, groups);
                    }
                    weights[1].as_ref().map(|labels| labels.repeat(groups))
                }
            }
        } else {
            match (&input, &weights[1]) {
                (Some(input), Some(inputs)) if groups > 1 && each > 1 => {
                    self.same_in_groups(input, groups);
                    self.tie(&Some(input[..each].to_vec()), &Some(inputs.clone()), "the input");
                }
                (_, inputs) if groups == 1 => {
                    self.tie(&input, inputs, "the input");
                }
                (None, Some(inputs)) => self.fix(inputs, "the input"),
                _ => {}
            }
            match &weights[0] {
                Some(output) => Some(output.clone()),
                // Each channel comes out by the same numbers.
                None if conv.depthwise() && sizes(weight)[0] == channels && self.any_size(weight.id, 0) => {
                    input.clone()
                }
                None => {
                    if let Some(input) = &input {
                        self.fix(input, "a kernel that is no parameter");
                    }
                    None
                }
            }
        };
        if let Some(output) = &output
            && groups > 1
            && !transposed
        {
            if conv.depthwise() {
                let multiple = output.len() / groups;
                for (n, &label) in output.iter().enumerate() {
                    match &input {
                        Some(input) => self.unite(input[n / multiple], label),
                        None => self.fix(&[label], "the input"),
                    }
                }
            } else {
                self.same_in_groups(output, groups);
            }
        }
        let output = self.biased(output, bias);
        let mut result = vec![None; out.shape.num_dims()];
        (result[0], result[1]) = (self.of(x)[0].clone(), output);
        self.set(out, result);
    }

    /// The n-th channel of each group goes with the n-th of the others, so that groups stay as wide as each other.
    fn same_in_groups(&mut self, labels: &[usize], groups: usize) {
        let each = labels.len() / groups;
        for (n, &label) in labels.iter().enumerate() {
            self.unite(labels[n % each], label);
        }
    }

    fn biased(&mut self, output: Along, bias: Option<&TensorIr>) -> Along {
        match bias {
            Some(bias) => {
                let bias = self.of(bias)[0].clone();
                self.tie(&output, &bias, "a bias that is no parameter")
            }
            None => output,
        }
    }

    /// `[.., m, k] x [.., k, n]`.
    fn matmul(&mut self, lhs: &TensorIr, rhs: &TensorIr, out: &TensorIr) {
        let (a, b) = (self.of(lhs), self.of(rhs));
        let (rank_a, rank_b) = (a.len(), b.len());
        self.tie(&a[rank_a - 1], &b[rank_b - 2], "the input");
        let mut result = vec![None; out.shape.num_dims()];
        let rank = result.len();
        for back in 3..=rank {
            let (of_a, of_b) = (rank_a.checked_sub(back), rank_b.checked_sub(back));
            let of_a = of_a.map(|d| (sizes(lhs)[d], a[d].clone()));
            let of_b = of_b.map(|d| (sizes(rhs)[d], b[d].clone()));
            result[rank - back] = match (of_a, of_b) {
                (Some((1, _)), Some((_, along))) | (Some((_, along)), Some((1, _))) => along,
                (Some((_, a)), Some((_, b))) => self.tie(&a, &b, "the input"),
                (Some((_, along)), None) | (None, Some((_, along))) => along,
                (None, None) => None,
            };
        }
        if rank_a > 1 {
            result[rank - 2] = a[rank_a - 2].clone();
        }
        result[rank - 1] = b[rank_b - 1].clone();
        self.set(out, result);
    }

    fn reshape(&mut self, input: &TensorIr, out: &TensorIr) {
        let (from, to, along) = (sizes(input), sizes(out), self.of(input));
        let mut result: Vec<Along> = vec![None; to.len()];
        let (mut i, mut j) = (0, 0);
        while i < from.len() || j < to.len() {
            // The shortest runs of dimensions that hold equally many numbers.
            let (begin_i, begin_j) = (i, j);
            let (mut a, mut b) = (1, 1);
            let next = |sizes: &[usize], at: &mut usize, product: &mut usize| {
                *product *= sizes.get(*at).copied().unwrap_or(1);
                *at = (*at + 1).min(sizes.len());
            };
            next(&from, &mut i, &mut a);
            next(&to, &mut j, &mut b);
            while a != b {
                if a < b {
                    next(&from, &mut i, &mut a);
                } else {
                    next(&to, &mut j, &mut b);
                }
            }
            self.regroup(
                &from[begin_i..i],
                &along[begin_i..i],
                &to[begin_j..j],
                &mut result[begin_j..j],
                out.id,
            );
        }
        self.set(out, result);
    }

    /// Dimensions that become others, which hold the same numbers in the same order.
    fn regroup(
        &mut self,
        from: &[usize],
        along: &[Along],
        to: &[usize],
        result: &mut [Along],
        out: TensorId,
    ) {
        let labelled: Vec<usize> = (0..from.len())
            .filter(|&d| along[d].is_some() && from[d] > 1)
            .collect();
        let [d] = labelled[..] else {
            // Two that are merged cannot be cut one without the other.
            for d in labelled {
                let labels = along[d].clone().unwrap_or_default();
                self.fix(&labels, "a reshape that merges two dimensions of channels");
            }
            return;
        };
        let labels = along[d].clone().unwrap_or_default();
        let (outer, inner): (usize, usize) = (from[..d].iter().product(), from[d + 1..].iter().product());
        // The label of every number of the run.
        let count = outer * labels.len() * inner;
        let label = |n: usize| labels[n / inner % labels.len()];
        // Every index of a dimension of the result takes some labels in. It is the dimension for them where no label is
        // taken in by two indices; else labels have to become one.
        let mut strides = vec![1; to.len()];
        for d in (0..to.len().saturating_sub(1)).rev() {
            strides[d] = strides[d + 1] * to[d + 1];
        }
        let split = to.iter().filter(|&&size| size > 1).count() > 1;
        let fits = |d: usize| -> bool {
            to[d] > 1 && (0..count).all(|n| label(n) == label(n / strides[d] % to[d] * strides[d]))
        };
        if !split {
            if let Some(d) = (0..to.len()).find(|&d| to[d] > 1) {
                result[d] = Some((0..count).map(label).collect());
            }
        } else if let Some(d) = (0..to.len()).find(|&d| fits(d)) {
            result[d] = Some((0..to[d]).map(|n| label(n * strides[d])).collect());
        } else {
            let dims: Vec<usize> = (0..to.len()).filter(|&d| to[d] > 1).collect();
            let last = dims.len() - 1;
            self.splits.push((out, dims.len()));
            let d = dims[self.choices.get(&out).map_or(last, |&choice| choice.min(last))];
            let (size, stride) = (to[d], strides[d]);
            for n in 0..count {
                self.unite(label(n / stride % size * stride), label(n));
            }
            result[d] = Some((0..size).map(|n| label(n * stride)).collect());
        }
    }

    /// Part of a dimension. Of equal parts, the n-th channel of each goes with the n-th of the others: whoever cuts a tensor
    /// into so many parts cuts what is left into as many.
    fn slice(&mut self, input: &TensorIr, ranges: &[burn::tensor::Slice], out: &TensorIr) {
        let shape = sizes(input);
        let along = self.of(input);
        let mut result = Vec::with_capacity(along.len());
        for (d, along) in along.into_iter().enumerate() {
            let (size, left) = (shape[d], sizes(out)[d]);
            let Some(labels) = along.filter(|_| left > 0) else {
                result.push(None);
                continue;
            };
            let start = ranges.get(d).map_or(0, |slice| slice.to_range(size).start);
            let step = ranges.get(d).map_or(1, |slice| slice.step);
            if left == size && step.abs() == 1 {
                let turned = labels.iter().rev().copied();
                result.push(Some(if step == 1 { labels } else { turned.collect() }));
                continue;
            }
            if step == 1 && size.is_multiple_of(left) && start.is_multiple_of(left) {
                self.same_in_groups(&labels, size / left);
                result.push(Some(labels[start..start + left].to_vec()));
            } else {
                self.fix(&labels, "a slice at a fixed place");
                result.push(Some(labels[..left].to_vec()));
            }
        }
        self.set(out, result);
    }

    fn cat(&mut self, tensors: &[TensorIr], dim: usize, out: &TensorIr) {
        let all: Vec<Vec<Along>> = tensors.iter().map(|tensor| self.of(tensor)).collect();
        let mut result = all[0].clone();
        for along in &all[1..] {
            for d in (0..result.len()).filter(|&d| d != dim) {
                result[d] = self.tie(&result[d].clone(), &along[d], "an operand that is no parameter");
            }
        }
        if all.iter().any(|along| along[dim].is_some()) {
            let mut labels = Vec::new();
            for (tensor, along) in tensors.iter().zip(all) {
                labels.extend(along[dim].clone().unwrap_or_else(|| {
                    let fresh = self.fresh(sizes(tensor)[dim]);
                    let constant = self.uniform.contains(&tensor.id);
                    self.fix(
                        &fresh,
                        if constant {
                            "constants beside them"
                        } else {
                            "the input"
                        },
                    );
                    fresh
                }));
            }
            result[dim] = Some(labels);
        }
        self.set(out, result);
    }

    /// Refuses an operation that reads channels and is not understood.
    fn unknown(&self, operation: &OperationIr) -> Result<(), Error> {
        let reads = operation.inputs().any(|input| {
            let along = self.of(input);
            along.iter().flatten().any(|labels| labels.len() > 1)
        });
        if !reads {
            return Ok(());
        }
        Err(Error::Graph {
            reason: format!(
                "the operation {} is not understood: compute it outside of the `forward` that is followed",
                operation_name(operation)
            ),
        })
    }

    fn operation(&mut self, operation: &OperationIr) -> Result<(), Error> {
        use NumericOperationIr as N;
        match operation {
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
                self.base(op, operation)?;
            }
            OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => match op {
                N::Add(op)
                | N::Sub(op)
                | N::Div(op)
                | N::Rem(op)
                | N::Mul(op)
                | N::Powi(op)
                | N::Greater(op)
                | N::GreaterEqual(op)
                | N::Lower(op)
                | N::LowerEqual(op) => self.elementwise(&[&op.lhs, &op.rhs], &op.out),
                N::AddScalar(op)
                | N::SubScalar(op)
                | N::DivScalar(op)
                | N::RemScalar(op)
                | N::MulScalar(op)
                | N::PowiScalar(op)
                | N::GreaterElem(op)
                | N::GreaterEqualElem(op)
                | N::LowerElem(op)
                | N::LowerEqualElem(op)
                | N::ClampMin(op)
                | N::ClampMax(op) => self.elementwise(&[&op.lhs], &op.out),
                N::Abs(op) | N::Neg(op) | N::Sign(op) => self.elementwise(&[&op.input], &op.out),
                N::Clamp(op) => self.elementwise(&[&op.tensor], &op.out),
                N::MeanDim(op) | N::SumDim(op) => self.reduced(&op.input, &op.out, &[op.axis]),
                N::ProdDim(op) => self.ordered(&op.input, &[&op.out], op.axis, "a product over channels"),
                N::SumDims(op) => self.reduced(&op.input, &op.out, &op.axes),
                N::MaxDim(op) | N::MinDim(op) | N::MaxAbsDim(op) | N::ArgMax(op) | N::ArgMin(op) => {
                    self.ordered(&op.input, &[&op.out], op.axis, "a maximum over channels");
                }
                N::MaxDimWithIndices(op) | N::MinDimWithIndices(op) => {
                    let outs = [&op.out, &op.out_indices];
                    self.ordered(&op.tensor, &outs, op.dim, "a maximum over channels");
                }
                N::CumSum(op) | N::CumProd(op) | N::CumMin(op) | N::CumMax(op) => {
                    self.ordered(&op.input, &[&op.out], op.axis, "a cumulative sum over channels");
                }
                N::Prod(op) => {
                    for labels in self.of(&op.input).iter().flatten() {
                        self.fix(labels, "a product over channels");
                    }
                }
                N::Pad(op) => {
                    let mut along = self.of(&op.input);
                    for (along, &(before, after)) in along.iter_mut().zip(&op.padding) {
                        if before + after > 0
                            && let Some(labels) = along.take()
                        {
                            self.fix(&labels, "padding of channels");
                        }
                    }
                    self.set(&op.out, along);
                }
                N::Full(op) => {
                    self.uniform.insert(op.out.id);
                }
                // One number of all that is left, as a quantiser scales by, or numbers of nobody's.
                N::Mean(_) | N::Sum(_) | N::Max(_) | N::Min(_) | N::MaxAbs(_) | N::IntRandom(_) => {}
                _ => self.unknown(operation)?,
            },
            OperationIr::Float(_, op) => self.float(op, operation)?,
            OperationIr::Bool(op) => match op {
                BoolOperationIr::Not(op) => self.elementwise(&[&op.input], &op.out),
                BoolOperationIr::IntoFloat(op) | BoolOperationIr::IntoInt(op) => {
                    self.elementwise(&[&op.input], &op.out);
                }
                BoolOperationIr::And(op) | BoolOperationIr::Or(op) | BoolOperationIr::Xor(op) => {
                    self.elementwise(&[&op.lhs, &op.rhs], &op.out);
                }
            },
            OperationIr::Int(IntOperationIr::IntoFloat(op)) => self.elementwise(&[&op.input], &op.out),
            OperationIr::Module(op) => self.module(op, operation)?,
            OperationIr::Activation(op) => match op {
                ActivationOperationIr::Relu(op)
                | ActivationOperationIr::Gelu(op)
                | ActivationOperationIr::Sigmoid(op)
                | ActivationOperationIr::LogSigmoid(op) => self.elementwise(&[&op.input], &op.out),
                ActivationOperationIr::LeakyRelu(op) => self.elementwise(&[&op.lhs], &op.out),
                ActivationOperationIr::HardSigmoid(op) => self.elementwise(&[&op.tensor], &op.out),
                ActivationOperationIr::PRelu(op) => self.prelu(&op.lhs, &op.rhs, &op.out),
                ActivationOperationIr::Softmax(op)
                | ActivationOperationIr::LogSoftmax(op)
                | ActivationOperationIr::Softmin(op) => {
                    self.ordered(&op.input, &[&op.out], op.axis, "a softmax over channels");
                }
                _ => self.unknown(operation)?,
            },
            OperationIr::Init(_) | OperationIr::Drop(_) => {}
            OperationIr::Custom(op) if op.id == QUANTIZE_WEIGHT => {
                self.elementwise(&[&op.inputs[0]], &op.outputs[0]);
            }
            _ => self.unknown(operation)?,
        }
        Ok(())
    }

    fn base(&mut self, op: &BaseOperationIr, operation: &OperationIr) -> Result<(), Error> {
        use BaseOperationIr as B;
        let rearranges = matches!(
            op,
            B::Reshape(_)
                | B::SwapDims(_)
                | B::Permute(_)
                | B::Flip(_)
                | B::Slice(_)
                | B::Select(_)
                | B::RepeatDim(_)
        );
        if rearranges
            && operation
                .inputs()
                .next()
                .is_some_and(|input| self.uniform.contains(&input.id))
        {
            self.uniform.extend(operation.outputs().map(|out| out.id));
            return Ok(());
        }
        match op {
            B::Reshape(op) => self.reshape(&op.input, &op.out),
            B::SwapDims(op) => {
                let mut along = self.of(&op.input);
                along.swap(op.dim1, op.dim2);
                self.set(&op.out, along);
            }
            B::Permute(op) => {
                let along = self.of(&op.input);
                let turned = op.axes.iter().map(|&axis| along[axis].clone()).collect();
                self.set(&op.out, turned);
            }
            B::Flip(op) => {
                let mut along = self.of(&op.input);
                for &axis in &op.axes {
                    if let Some(labels) = &mut along[axis] {
                        labels.reverse();
                    }
                }
                self.set(&op.out, along);
            }
            B::Expand(op) => {
                self.elementwise(&[&op.input], &op.out);
                let (from, to) = (sizes(&op.input), sizes(&op.out));
                let before = to.len() - from.len();
                for d in 0..to.len() {
                    if to[d] > 1 && (d < before || from[d - before] == 1) {
                        self.grown.insert((op.out.id, d));
                    }
                }
            }
            B::Slice(op) => self.slice(&op.tensor, &op.ranges, &op.out),
            B::Select(op) => {
                let mut along = self.of(&op.tensor);
                if let Some(labels) = along[op.dim].take() {
                    self.fix(&labels, "a selection at fixed places");
                }
                self.set(&op.out, along);
            }
            B::Cat(op) => self.cat(&op.tensors, op.dim, &op.out),
            B::RepeatDim(op) => {
                let mut along = self.of(&op.tensor);
                if sizes(&op.tensor)[op.dim] == 1 {
                    along[op.dim] = None;
                    self.grown.insert((op.out.id, op.dim));
                }
                if let Some(labels) = &mut along[op.dim] {
                    *labels = labels.repeat(op.times);
                }
                self.set(&op.out, along);
            }
            B::MaskWhere(op) => self.elementwise(&[&op.tensor, &op.mask, &op.value], &op.out),
            B::MaskFill(op) => self.elementwise(&[&op.tensor, &op.mask], &op.out),
            B::Equal(op) | B::NotEqual(op) => self.elementwise(&[&op.lhs, &op.rhs], &op.out),
            B::EqualElem(op) | B::NotEqualElem(op) => self.elementwise(&[&op.lhs], &op.out),
            B::Cast(op) => self.elementwise(&[&op.input], &op.out),
            B::Empty(op) | B::Ones(op) | B::Zeros(op) => {
                self.uniform.insert(op.out.id);
            }
            B::All(_) | B::Any(_) => {}
            _ => self.unknown(operation)?,
        }
        Ok(())
    }

    fn float(&mut self, op: &FloatOperationIr, operation: &OperationIr) -> Result<(), Error> {
        use FloatOperationIr as F;
        match op {
            F::Exp(op)
            | F::Log(op)
            | F::Log1p(op)
            | F::Erf(op)
            | F::Sqrt(op)
            | F::Cos(op)
            | F::Cosh(op)
            | F::Sin(op)
            | F::Sinh(op)
            | F::Tan(op)
            | F::Tanh(op)
            | F::ArcCos(op)
            | F::ArcCosh(op)
            | F::ArcSin(op)
            | F::ArcSinh(op)
            | F::ArcTan(op)
            | F::ArcTanh(op)
            | F::Round(op)
            | F::Floor(op)
            | F::Ceil(op)
            | F::Trunc(op)
            | F::Recip(op)
            | F::IsNan(op)
            | F::IsInf(op) => self.elementwise(&[&op.input], &op.out),
            F::PowfScalar(op) => self.elementwise(&[&op.lhs], &op.out),
            F::IntoInt(op) => self.elementwise(&[&op.input], &op.out),
            F::ArcTan2(op) | F::Powf(op) | F::Hypot(op) => self.elementwise(&[&op.lhs, &op.rhs], &op.out),
            F::Matmul(op) => self.matmul(&op.lhs, &op.rhs, &op.out),
            F::Random(_) => {}
            _ => self.unknown(operation)?,
        }
        Ok(())
    }

    fn module(&mut self, op: &ModuleOperationIr, operation: &OperationIr) -> Result<(), Error> {
        use ModuleOperationIr as M;
        if let Some(conv) = Convolution::of(operation) {
            self.convolution(&conv);
            return Ok(());
        }
        match op {
            M::Linear(op) => {
                let (mut along, weight) = (self.of(&op.x), self.of(&op.weight));
                let last = along.len() - 1;
                self.tie(&along[last], &weight[0], "the input");
                along[last] = self.biased(weight[1].clone(), op.bias.as_ref());
                self.set(&op.out, along);
            }
            M::BatchNorm(op) => {
                let mut along = self.of(&op.x);
                for vector in [&op.gamma, &op.beta, &op.mean, &op.variance] {
                    let vector = self.of(vector)[0].clone();
                    along[1] = self.tie(&along[1].clone(), &vector, "the input");
                }
                self.set(&op.out, along);
            }
            M::LayerNorm(op) => {
                let mut along = self.of(&op.input);
                let last = along.len() - 1;
                for vector in std::iter::once(&op.gamma).chain(&op.beta) {
                    let vector = self.of(vector)[0].clone();
                    along[last] = self.tie(&along[last].clone(), &vector, "the input");
                }
                self.set(&op.out, along);
            }
            M::Embedding(op) => {
                let mut along = vec![None; op.out.shape.num_dims()];
                let (rows, last) = (self.of(&op.weights), along.len() - 1);
                if let Some(rows) = &rows[0] {
                    self.fix(rows, "the entries of an embedding");
                }
                along[last] = rows[1].clone();
                self.set(&op.out, along);
            }
            M::AvgPool1d(op) => self.per_channel(&op.x, &[&op.out]),
            M::AvgPool2d(op) => self.per_channel(&op.x, &[&op.out]),
            M::AdaptiveAvgPool1d(op) => self.per_channel(&op.x, &[&op.out]),
            M::AdaptiveAvgPool2d(op) => self.per_channel(&op.x, &[&op.out]),
            M::AdaptiveAvgPool3d(op) => self.per_channel(&op.x, &[&op.out]),
            M::MaxPool1d(op) => self.per_channel(&op.x, &[&op.out]),
            M::MaxPool2d(op) => self.per_channel(&op.x, &[&op.out]),
            M::MaxPool1dWithIndices(op) => self.per_channel(&op.x, &[&op.out, &op.out_indices]),
            M::MaxPool2dWithIndices(op) => self.per_channel(&op.x, &[&op.out, &op.out_indices]),
            M::Interpolate(op) => self.per_channel(&op.x, &[&op.out]),
            _ => self.unknown(operation)?,
        }
        Ok(())
    }

    /// A slope for every channel, the second dimension, or one for all.
    fn prelu(&mut self, x: &TensorIr, slope: &TensorIr, out: &TensorIr) {
        let (mut along, slopes) = (self.of(x), self.of(slope));
        if slopes.len() == along.len() {
            return self.elementwise(&[x, slope], out);
        }
        if slope.shape.num_elements() > 1 {
            along[1] = self.tie(&along[1].clone(), &slopes[0], "the input");
        }
        self.set(out, along);
    }
}

fn sizes(tensor: &TensorIr) -> Vec<usize> {
    tensor.shape.to_vec()
}
