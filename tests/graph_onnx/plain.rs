//! What a graph computes, in loops over single numbers of 64 bits: the reference of these tests.

use vwc_sdk::graph::{Affine, Binary, Constant, Function, Graph, Op, Pool, Reduction};

/// A value of one picture.
#[derive(Clone)]
struct Value {
    shape: Vec<usize>,
    numbers: Vec<f64>,
}

/// All places of a shape, the last dimension side by side.
fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |places, &size| {
        let longer = |place: &Vec<usize>| {
            let place = place.clone();
            (0..size).map(move |n| [&place[..], &[n]].concat())
        };
        places.iter().flat_map(longer).collect()
    })
}

impl Value {
    fn of(constant: &Constant) -> Self {
        Self {
            shape: constant.shape().to_vec(),
            numbers: constant.values().iter().map(|&x| x.into()).collect(),
        }
    }

    /// A value of this shape whose numbers are computed of their places.
    fn new(shape: &[usize], number: impl FnMut(&[usize]) -> f64) -> Self {
        let mut number = number;
        Self {
            shape: shape.to_vec(),
            numbers: places(shape).iter().map(|place| number(place)).collect(),
        }
    }

    /// The number at a place, dimensions of size 1 repeated, and leading ones left out.
    fn at(&self, place: &[usize]) -> f64 {
        let place = &place[place.len() - self.shape.len()..];
        let sides = place.iter().zip(&self.shape);
        let index = sides.fold(0, |index, (&n, &size)| {
            index * size + if size == 1 { 0 } else { n }
        });
        self.numbers[index]
    }

    /// The number at a place of a feature map, or `None` outside.
    fn inside(&self, channel: usize, y: isize, x: isize) -> Option<f64> {
        let inside = |at: isize, size: usize| (0..size as isize).contains(&at);
        (inside(y, self.shape[1]) && inside(x, self.shape[2]))
            .then(|| self.at(&[channel, y as usize, x as usize]))
    }
}

/// The outputs for one picture.
fn picture(graph: &Graph, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut values: Vec<Value> = Vec::new();
    let mut inputs = inputs.iter();
    for node in graph.nodes() {
        let reads: Vec<Value> = node
            .inputs()
            .iter()
            .map(|id| values[id.index()].clone())
            .collect();
        let x = reads.first().cloned();
        let x = || x.clone().unwrap();
        let shape = node.shape();
        values.push(match node.op() {
            Op::Input { shape } => Value {
                shape: shape.clone(),
                numbers: inputs.next().unwrap().iter().map(|&x| x.into()).collect(),
            },
            Op::Constant(constant) => Value::of(constant),
            Op::Conv(conv) => {
                let (x, weight) = (x(), Value::of(&conv.weight));
                let [_, inner, height, width] = weight.shape[..] else {
                    panic!()
                };
                let group = shape[0] / conv.groups;
                Value::new(shape, |place| {
                    let mut sum = conv
                        .bias
                        .as_ref()
                        .map_or(0.0, |bias| bias.values()[place[0]].into());
                    for tap in places(&[inner, height, width]) {
                        let y = (place[1] * conv.stride[0] + tap[1] * conv.dilation[0]) as isize;
                        let z = (place[2] * conv.stride[1] + tap[2] * conv.dilation[1]) as isize;
                        let (y, z) = (y - conv.padding.top as isize, z - conv.padding.left as isize);
                        let channel = place[0] / group * inner + tap[0];
                        sum += x.inside(channel, y, z).unwrap_or(0.0)
                            * weight.at(&[place[0], tap[0], tap[1], tap[2]]);
                    }
                    sum
                })
            }
            Op::ConvTranspose(conv) => {
                let (x, weight) = (x(), Value::of(&conv.weight));
                let [_, outer, height, width] = weight.shape[..] else {
                    panic!()
                };
                let inner = x.shape[0] / conv.groups;
                let bias = |channel: usize| {
                    conv.bias
                        .as_ref()
                        .map_or(0.0, |bias| f64::from(bias.values()[channel]))
                };
                let mut y = Value::new(shape, |place| bias(place[0]));
                for from in places(&x.shape) {
                    for tap in places(&[outer, height, width]) {
                        let to = [0, 1].map(|axis| {
                            let at = from[axis + 1] * conv.stride[axis] + tap[axis + 1] * conv.dilation[axis];
                            at.checked_sub(conv.padding[axis])
                                .filter(|&at| at < shape[axis + 1])
                        });
                        let [Some(down), Some(across)] = to else { continue };
                        let channel = from[0] / inner * outer + tap[0];
                        y.numbers[(channel * shape[1] + down) * shape[2] + across] +=
                            x.at(&from) * weight.at(&[from[0], tap[0], tap[1], tap[2]]);
                    }
                }
                y
            }
            Op::Linear(linear) => {
                let (x, weight) = (x(), Value::of(&linear.weight));
                Value::new(shape, |place| {
                    let (&last, rest) = place.split_last().unwrap();
                    let bias = linear
                        .bias
                        .as_ref()
                        .map_or(0.0, |bias| bias.values()[last].into());
                    let products =
                        (0..weight.shape[0]).map(|n| x.at(&[rest, &[n]].concat()) * weight.at(&[n, last]));
                    bias + products.sum::<f64>()
                })
            }
            Op::Affine(affine) => {
                let x = x();
                let Affine {
                    minus,
                    divisor,
                    factor,
                    plus,
                    epsilon: _,
                } = affine;
                let part = |part: &Option<Constant>, place: &[usize], none: f64| {
                    part.as_ref().map_or(none, |part| Value::of(part).at(place))
                };
                Value::new(shape, |at| {
                    (x.at(at) - part(minus, at, 0.0)) / part(divisor, at, 1.0) * part(factor, at, 1.0)
                        + part(plus, at, 0.0)
                })
            }
            Op::Function(function) => {
                let x = x();
                Value::new(shape, |place| of_number(*function, x.at(place)))
            }
            Op::MaxPool(pool) => {
                let x = x();
                Value::new(shape, |place| {
                    let all = window(pool, place).into_iter();
                    all.filter_map(|[y, z]| x.inside(place[0], y, z))
                        .fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Op::AvgPool { pool, count_padding } => {
                let x = x();
                Value::new(shape, |place| {
                    let all = window(pool, place);
                    let padded =
                        |at: isize, axis: usize| at < (x.shape[axis + 1] + pool.padding[axis]) as isize;
                    let counted = all.iter().filter(|&&[y, z]| {
                        x.inside(place[0], y, z).is_some() || *count_padding && padded(y, 0) && padded(z, 1)
                    });
                    let numbers = all.iter().filter_map(|&[y, z]| x.inside(place[0], y, z));
                    numbers.sum::<f64>() / counted.count() as f64
                })
            }
            Op::AdaptiveAvgPool { output } => {
                let x = x();
                let range = |at: usize, axis: usize| {
                    let size = x.shape[axis + 1] as f64 / output[axis] as f64;
                    (at as f64 * size).floor() as usize..((at + 1) as f64 * size).ceil() as usize
                };
                Value::new(shape, |place| {
                    let (down, across) = (range(place[1], 0), range(place[2], 1));
                    let count = (down.len() * across.len()) as f64;
                    let all = down.flat_map(|y| across.clone().map(move |z| [y, z]));
                    all.map(|[y, z]| x.at(&[place[0], y, z])).sum::<f64>() / count
                })
            }
            Op::Reduce { kind, axes } => {
                let x = x();
                Value::new(shape, |place| {
                    let here = |from: &Vec<usize>| {
                        (0..from.len()).all(|axis| axes.contains(&axis) || from[axis] == place[axis])
                    };
                    let numbers: Vec<f64> = places(&x.shape)
                        .iter()
                        .filter(|from| here(from))
                        .map(|at| x.at(at))
                        .collect();
                    match kind {
                        Reduction::Mean => numbers.iter().sum::<f64>() / numbers.len() as f64,
                        Reduction::Sum => numbers.iter().sum(),
                        Reduction::Max => numbers.into_iter().fold(f64::NEG_INFINITY, f64::max),
                        _ => panic!("{kind:?}"),
                    }
                })
            }
            Op::Binary(op) => Value::new(shape, |place| {
                let [a, b] = [&reads[0], &reads[1]].map(|value| value.at(place));
                match op {
                    Binary::Add => a + b,
                    Binary::Sub => a - b,
                    Binary::Mul => a * b,
                    Binary::Div => a / b,
                    Binary::Max => a.max(b),
                    Binary::Min => a.min(b),
                    _ => panic!("{op:?}"),
                }
            }),
            Op::MatMul => Value::new(shape, |place| {
                let [a, b] = [&reads[0], &reads[1]];
                let [before @ .., row, column] = place else {
                    panic!("{place:?}")
                };
                let inner = a.shape[a.shape.len() - 1];
                let product = |n: usize| {
                    let a = a.at(&[before, &[*row, n]].concat());
                    a * b.at(&[before, &[n, *column]].concat())
                };
                (0..inner).map(product).sum()
            }),
            Op::Concat { axis } => Value::new(shape, |place| {
                let mut place = place.to_vec();
                for value in &reads {
                    if place[*axis] < value.shape[*axis] {
                        return value.at(&place);
                    }
                    place[*axis] -= value.shape[*axis];
                }
                unreachable!()
            }),
            &Op::Slice {
                axis, start, step, ..
            } => {
                let x = x();
                Value::new(shape, |place| {
                    let mut from = place.to_vec();
                    from[axis] = start + step * place[axis];
                    x.at(&from)
                })
            }
            Op::Reshape { shape } => Value {
                shape: shape.clone(),
                numbers: x().numbers,
            },
            Op::Permute { axes } => {
                let x = x();
                Value::new(shape, |place| {
                    let mut from = vec![0; place.len()];
                    axes.iter().zip(place).for_each(|(&axis, &at)| from[axis] = at);
                    x.at(&from)
                })
            }
            Op::Expand { .. } => {
                let x = x();
                Value::new(shape, |place| x.at(place))
            }
            Op::Pad { sides, value } => {
                let x = x();
                Value::new(shape, |place| {
                    let from = place.iter().zip(sides).zip(&x.shape);
                    let from: Option<Vec<usize>> = from
                        .map(|((at, side), &size)| at.checked_sub(side[0]).filter(|&at| at < size))
                        .collect();
                    from.map_or((*value).into(), |from| x.at(&from))
                })
            }
            Op::Upsample { factor } => {
                let x = x();
                Value::new(shape, |place| {
                    x.at(&[place[0], place[1] / factor[0], place[2] / factor[1]])
                })
            }
            &Op::Softmax { axis, log } => {
                let x = x();
                Value::new(shape, |place| {
                    let along = |at: usize| {
                        let mut from = place.to_vec();
                        from[axis] = at;
                        x.at(&from).exp()
                    };
                    let share = x.at(place).exp() / (0..shape[axis]).map(along).sum::<f64>();
                    if log { share.ln() } else { share }
                })
            }
            op => panic!("{op:?}"),
        });
    }
    graph
        .outputs()
        .iter()
        .map(|id| values[id.index()].numbers.clone())
        .collect()
}

/// Rows and columns of a window, those outside the feature map among them.
fn window(pool: &Pool, place: &[usize]) -> Vec<[isize; 2]> {
    let at = |axis: usize, tap: usize| {
        (place[axis + 1] * pool.stride[axis] + tap * pool.dilation[axis]) as isize
            - pool.padding[axis] as isize
    };
    places(&pool.kernel)
        .iter()
        .map(|tap| [at(0, tap[0]), at(1, tap[1])])
        .collect()
}

fn of_number(function: Function, x: f64) -> f64 {
    let hard = |alpha: f32, beta: f32| (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0);
    match function {
        Function::Relu => x.max(0.0),
        Function::LeakyRelu { slope } => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Function::Clamp { min, max } => x.clamp(min.into(), max.into()),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::HardSigmoid { alpha, beta } => hard(alpha, beta),
        Function::HardSwish { alpha, beta } => x * hard(alpha, beta),
        Function::Silu => x / (1.0 + (-x).exp()),
        Function::Tanh => x.tanh(),
        Function::Gelu => x * normal(x),
        Function::Erf => 2.0 * normal(x * 2f64.sqrt()) - 1.0,
        Function::Round => x.round_ties_even(),
        Function::Floor => x.floor(),
        Function::Sign if x == 0.0 => 0.0,
        Function::Sign => x.signum(),
        Function::Abs => x.abs(),
        Function::Neg => -x,
        Function::Exp => x.exp(),
        Function::Sqrt => x.sqrt(),
        Function::Recip => x.recip(),
        _ => panic!("{function:?}"),
    }
}

/// How likely a normally distributed number is below `x`: the density summed in small steps from far below.
fn normal(x: f64) -> f64 {
    const STEPS: usize = 4000;
    let step = (x + 10.0) / STEPS as f64;
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (0..STEPS)
        .map(|n| density(-10.0 + (n as f64 + 0.5) * step) * step)
        .sum()
}

/// The outputs for so many pictures.
pub fn outputs(graph: &Graph, inputs: &[Vec<f32>], pictures: usize) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); graph.outputs().len()];
    for n in 0..pictures {
        let one: Vec<Vec<f32>> = (inputs.iter())
            .map(|input| {
                input
                    .chunks_exact(input.len() / pictures)
                    .nth(n)
                    .unwrap()
                    .to_vec()
            })
            .collect();
        for (all, output) in all.iter_mut().zip(picture(graph, &one)) {
            all.extend(output);
        }
    }
    all
}
