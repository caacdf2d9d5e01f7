//! GELU written as its formula with `Erf`: `x / 2 * (1 + erf(x / sqrt(2)))`, its factors in any order.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use crate::onnx::operators::is_standard;

/// The formulas of a file.
#[derive(Default)]
pub(super) struct Gelus {
    /// For the value that a formula results in, the one that it reads.
    pub results: HashMap<String, String>,
    /// The values in between, which nothing else reads.
    pub between: HashSet<String>,
}

/// Who computes and who reads which value.
struct Uses<'a> {
    producers: HashMap<&'a str, &'a NodeProto>,
    readers: HashMap<&'a str, Vec<&'a NodeProto>>,
}

impl<'a> Uses<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let mut uses = Self {
            producers: HashMap::new(),
            readers: HashMap::new(),
        };
        for node in &graph.node {
            for output in &node.output {
                uses.producers.insert(output, node);
            }
            for input in &node.input {
                uses.readers.entry(input).or_default().push(node);
            }
        }
        uses
    }

    /// The one node that reads a value.
    fn reader(&self, value: &str) -> Option<&'a NodeProto> {
        match self.readers.get(value)?[..] {
            [reader] => Some(reader),
            _ => None,
        }
    }
}

impl Gelus {
    /// The formulas of a file. `is_number`: whether a value is a constant of this number alone.
    pub(super) fn of(graph: &GraphProto, is_number: &mut dyn FnMut(&str, f32) -> bool) -> Self {
        let mut gelus = Self::default();
        if !graph.node.iter().any(|node| node.op_type == "Erf") {
            return gelus;
        }
        let outputs: HashSet<&str> = graph.output.iter().map(|output| &*output.name).collect();
        let mut formula = Formula {
            uses: Uses::of(graph),
            is_number,
        };
        for erf in graph
            .node
            .iter()
            .filter(|node| node.op_type == "Erf" && is_standard(node))
        {
            if let Some((x, between, result)) = formula.gelu(erf)
                && !between.iter().any(|value| outputs.contains(&**value))
            {
                gelus.results.insert(result, x);
                gelus.between.extend(between);
            }
        }
        gelus
    }
}

/// What a formula is told by.
struct Formula<'a> {
    uses: Uses<'a>,
    is_number: &'a mut dyn FnMut(&str, f32) -> bool,
}

impl Formula<'_> {
    /// What a formula reads, what is between, and what it results in.
    fn gelu(&mut self, erf: &NodeProto) -> Option<(String, Vec<String>, String)> {
        let scaled = *self.uses.producers.get(&**erf.input.first()?)?;
        let x = match &*scaled.op_type {
            "Div" => self.beside(scaled, std::f32::consts::SQRT_2, false)?,
            "Mul" => self.beside(scaled, std::f32::consts::FRAC_1_SQRT_2, true)?,
            _ => return None,
        };
        let add = self.uses.reader(erf.output.first()?)?;
        let sum = add.output.first()?.clone();
        if add.op_type != "Add" || self.beside(add, 1.0, true)? != erf.output[0] {
            return None;
        }
        let mut between = vec![scaled.output.first()?.clone(), erf.output[0].clone(), sum.clone()];
        if self.uses.reader(&between[0])?.output != erf.output {
            return None;
        }
        // Two products are left: with x, and with a half. Either may come first, and the half may be taken of x or of the sum.
        let product = self.uses.reader(&sum)?;
        if product.op_type != "Mul" || product.input.len() != 2 {
            return None;
        }
        let other = product.input.iter().find(|input| **input != sum)?.clone();
        let result = product.output.first()?.clone();
        if let Some(&half) = self.uses.producers.get(&*other)
            && half.op_type == "Mul"
            && self.beside(half, 0.5, true).as_ref() == Some(&x)
            && self.uses.reader(&other).is_some()
        {
            between.push(other);
            return Some((x, between, result));
        }
        between.push(result.clone());
        let next = self.uses.reader(&result)?;
        let last = next.output.first()?.clone();
        let halved = other == x && (self.is_half(next) == Some(result.clone()));
        let times_x = (self.is_number)(&other, 0.5)
            && next.op_type == "Mul"
            && next.input.len() == 2
            && next.input.contains(&x)
            && next.input.contains(&result);
        (halved || times_x).then_some((x, between, last))
    }

    /// What a node takes the half of.
    fn is_half(&mut self, node: &NodeProto) -> Option<String> {
        match &*node.op_type {
            "Mul" => self.beside(node, 0.5, true),
            "Div" => self.beside(node, 2.0, false),
            _ => None,
        }
    }

    /// The value that a node of two reads beside this number, which comes second unless `either`.
    fn beside(&mut self, node: &NodeProto, number: f32, either: bool) -> Option<String> {
        let [a, b] = &node.input[..] else { return None };
        if (self.is_number)(b, number) {
            return Some(a.clone());
        }
        (either && (self.is_number)(a, number)).then(|| b.clone())
    }
}
