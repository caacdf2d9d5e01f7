//! A graph as lines that a person can read: one for each node.

use std::fmt;

use super::codes::{Codes, WeightCodes};
use super::ir::{
    Affine, Binary, Constant, Conv, ConvTranspose, Function, Linear, NodeId, Op, Pool, Reduction,
};
use super::{Graph, Node};
use crate::text;

/// One line for each node: its name, what it computes, which nodes it reads, the shape of its result, and of codes their bits.
/// Columns are aligned. A node that is an output is marked with `*`.
///
/// ```
/// use vwc_sdk::graph::{Affine, Constant, Function, Graph, NodeSpec};
///
/// let thirds = Affine { factor: Some(Constant::scalar(3.0)), ..Affine::default() };
/// let graph = Graph::new(
///     [
///         NodeSpec::input("x", [4, 6, 6]),
///         NodeSpec::new("clamp", Function::Clamp { min: 0.0, max: 1.0 }, ["x"]),
///         NodeSpec::new("thirds", thirds, ["clamp"]),
///         NodeSpec::new("round", Function::Round, ["thirds"]),
///     ],
///     ["round"],
/// )?;
/// let lines = "\
/// node    operation     reads   result  codes
/// x       input                 4x6x6
/// clamp   clamp 0 to 1  x       4x6x6
/// thirds  x * 3         clamp   4x6x6
/// round*  round         thirds  4x6x6   u2: 0 to 3, unit 1
/// ";
/// assert_eq!(graph.to_string(), lines);
/// # Ok::<(), vwc_sdk::graph::GraphError>(())
/// ```
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes = self.codes();
        let mut rows = vec![["node", "operation", "reads", "result", "codes"].map(str::to_owned)];
        for (id, node) in self.iter() {
            let mark = if self.outputs.contains(&id) { "*" } else { "" };
            let reads: Vec<String> = node
                .inputs
                .iter()
                .map(|&input| text::line(&self.node(input).name))
                .collect();
            rows.push([
                text::line(&node.name) + mark,
                operation(node),
                reads.join(", "),
                by(&node.shape),
                codes[id.0].as_ref().map(Codes::to_string).unwrap_or_default(),
            ]);
        }
        let mut widths = [0; 5];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `u2: 0 to 3, unit 0.333`, or with `s` for signed ones.
impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} to {}, unit {}",
            self.kind(),
            self.low(),
            self.high(),
            short(self.unit())
        )?;
        if self.through_zero() {
            return Ok(());
        }
        write!(f, ", from {}", short(self.offset()))
    }
}

impl Graph {
    /// What a node computes, in a few words: `conv 3x3, 16 -> 32, stride 2, padding 1, W2`.
    #[must_use]
    pub fn describe(&self, id: NodeId) -> String {
        operation(self.node(id))
    }
}

fn operation(node: &Node) -> String {
    match &node.op {
        Op::Input { .. } => "input".into(),
        Op::Constant(_) => "constant".into(),
        Op::Conv(conv) => conv_text(conv) + &weights(node),
        Op::ConvTranspose(conv) => conv_transpose_text(conv) + &weights(node),
        Op::Linear(linear) => linear_text(linear) + &weights(node),
        Op::Affine(affine) => affine_text(affine, &node.name),
        Op::Function(function) => function_text(*function),
        Op::MaxPool(pool) => format!("max pool {}", pool_text(pool)),
        Op::AvgPool { pool, count_padding } => {
            let counted = match pool.padding {
                [0, 0] => "",
                _ if *count_padding => ", counted",
                _ => ", not counted",
            };
            format!("mean pool {}{counted}", pool_text(pool))
        }
        Op::AdaptiveAvgPool { output } => format!("mean pool to {}", by(output)),
        Op::Reduce { kind, axes } => {
            let kind = match kind {
                Reduction::Mean => "mean",
                Reduction::Sum => "sum",
                Reduction::Max => "largest",
            };
            format!("{kind} along {}", listed(axes))
        }
        Op::Binary(op) => match op {
            Binary::Add => "add",
            Binary::Sub => "subtract",
            Binary::Mul => "multiply",
            Binary::Div => "divide",
            Binary::Max => "the larger",
            Binary::Min => "the smaller",
        }
        .into(),
        Op::MatMul => "matrix product".into(),
        Op::Concat { axis } => format!("concatenate along {axis}"),
        Op::Slice {
            axis,
            start,
            end,
            step,
        } => {
            let step = if *step == 1 {
                String::new()
            } else {
                format!(" in steps of {step}")
            };
            format!("slice {start}..{end}{step} along {axis}")
        }
        Op::Reshape { shape } => format!("reshape to {}", by(shape)),
        Op::Permute { axes } => format!("permute {}", listed(axes)),
        Op::Expand { shape } => format!("repeat to {}", by(shape)),
        Op::Pad { sides, value } => {
            let sides = sides.iter().enumerate().filter(|(_, sides)| **sides != [0, 0]);
            let sides: Vec<String> = sides
                .map(|(axis, [before, behind])| format!("{before} and {behind} along {axis}"))
                .collect();
            format!("pad {} with {value}", sides.join(", "))
        }
        Op::Upsample { factor } => format!("repeat places {}", by(factor)),
        Op::Softmax { axis, log } => {
            let log = if *log { "log-" } else { "" };
            format!("{log}softmax along {axis}")
        }
    }
}

fn conv_text(conv: &Conv) -> String {
    let [outputs, inputs, height, width] = conv.weight.shape[..] else {
        return "conv".into();
    };
    let inputs = inputs * conv.groups;
    let mut words = format!("conv {height}x{width}, {inputs} -> {outputs}");
    words += &equal("stride", conv.stride, 1);
    let padding = conv.padding;
    words += &if padding.top == padding.bottom && padding.left == padding.right {
        equal("padding", [padding.top, padding.left], 0)
    } else {
        format!(
            ", padding {}/{}/{}/{}",
            padding.top, padding.bottom, padding.left, padding.right
        )
    };
    words += &equal("dilation", conv.dilation, 1);
    words += &groups(conv.groups, inputs);
    words + bias(conv.bias.as_ref())
}

fn conv_transpose_text(conv: &ConvTranspose) -> String {
    let [inputs, outputs, height, width] = conv.weight.shape[..] else {
        return "transposed conv".into();
    };
    let mut words = format!(
        "transposed conv {height}x{width}, {inputs} -> {}",
        outputs * conv.groups
    );
    words += &equal("stride", conv.stride, 1);
    words += &equal("padding", conv.padding, 0);
    words += &equal("output padding", conv.output_padding, 0);
    words += &equal("dilation", conv.dilation, 1);
    words += &groups(conv.groups, inputs);
    words + bias(conv.bias.as_ref())
}

fn linear_text(linear: &Linear) -> String {
    let [inputs, outputs] = linear.weight.shape[..] else {
        return "linear".into();
    };
    format!("linear, {inputs} -> {outputs}") + bias(linear.bias.as_ref())
}

fn groups(groups: usize, inputs: usize) -> String {
    match groups {
        1 => String::new(),
        _ if groups == inputs => ", depthwise".into(),
        _ => format!(", {groups} groups"),
    }
}

fn bias(bias: Option<&Constant>) -> &'static str {
    if bias.is_some() { ", bias" } else { "" }
}

/// The bits of weights that are codes.
fn weights(node: &Node) -> String {
    match node.weight_codes().filter(WeightCodes::are_told) {
        Some(codes) => format!(", W{}", codes.bits()),
        None => String::new(),
    }
}

/// One number of both directions, or both; nothing where both are `usual`.
fn equal(what: &str, [down, across]: [usize; 2], usual: usize) -> String {
    match (down == across, down == usual) {
        (true, true) => String::new(),
        (true, false) => format!(", {what} {down}"),
        _ => format!(", {what} {down}/{across}"),
    }
}

fn pool_text(pool: &Pool) -> String {
    let [height, width] = pool.kernel;
    let mut words = format!("{height}x{width}");
    if pool.stride != pool.kernel {
        words += &equal("stride", pool.stride, 0);
    }
    words += &equal("padding", pool.padding, 0);
    words += &equal("dilation", pool.dilation, 1);
    words + if pool.ceil { ", rounded up" } else { "" }
}

/// `(x - mean) / std * gamma + beta`, with numbers where one stands for all, and otherwise names.
fn affine_text(affine: &Affine, node: &str) -> String {
    // Without the path of the layer, which the node has in front.
    let own = |name: &str| {
        let inner = name.strip_prefix(node).and_then(|name| name.strip_prefix('.'));
        inner.unwrap_or(name).to_owned()
    };
    let shown = |constant: &Constant| match (constant.as_scalar(), constant.name()) {
        (Some(value), _) => short(f64::from(value)),
        (None, Some(name)) => text::line(&own(name)),
        (None, None) => "constants".into(),
    };
    let mut words = "x".to_owned();
    if let Some(minus) = &affine.minus {
        words += &format!(" - {}", shown(minus));
        if affine.divisor.is_some() || affine.factor.is_some() {
            words = format!("({words})");
        }
    }
    for (sign, part) in [("/", &affine.divisor), ("*", &affine.factor), ("+", &affine.plus)] {
        if let Some(part) = part {
            words += &format!(" {sign} {}", shown(part));
        }
    }
    words
}

fn function_text(function: Function) -> String {
    match function {
        Function::Relu => "relu".into(),
        Function::LeakyRelu { slope } => format!("leaky relu {}", short(f64::from(slope))),
        Function::Clamp { min, max } => match (min.is_finite(), max.is_finite()) {
            (true, false) => format!("at least {}", short(f64::from(min))),
            (false, true) => format!("at most {}", short(f64::from(max))),
            _ => format!("clamp {} to {}", short(f64::from(min)), short(f64::from(max))),
        },
        Function::Sigmoid => "sigmoid".into(),
        Function::HardSigmoid { .. } => "hard sigmoid".into(),
        Function::HardSwish { .. } => "hard swish".into(),
        Function::Silu => "silu".into(),
        Function::Tanh => "tanh".into(),
        Function::Gelu => "gelu".into(),
        Function::Erf => "erf".into(),
        Function::Round => "round".into(),
        Function::Floor => "round down".into(),
        Function::Sign => "sign".into(),
        Function::Abs => "magnitude".into(),
        Function::Neg => "-x".into(),
        Function::Exp => "exp".into(),
        Function::Sqrt => "square root".into(),
        Function::Recip => "1 / x".into(),
    }
}

/// `16x32x32`.
pub(crate) fn by(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    sizes.join("x")
}

fn listed(axes: &[usize]) -> String {
    let axes: Vec<String> = axes.iter().map(usize::to_string).collect();
    axes.join(", ")
}

/// A number with four digits at most.
fn short(number: f64) -> String {
    if number == 0.0 || (1e-3..1e5).contains(&number.abs()) {
        let digits = (3 - number.abs().max(1e-3).log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{number:.digits$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        };
    }
    format!("{number:.3e}")
}
