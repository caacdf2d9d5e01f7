//! Functions of one number, by the names that a packed file calls them.

use crate::graph::Function;

/// A function's name, and the numbers that belong to it.
#[cfg_attr(not(feature = "train"), allow(dead_code))]
pub(in crate::packed) fn named(function: Function) -> (&'static str, Vec<f32>) {
    match function {
        Function::Relu => ("relu", vec![]),
        Function::LeakyRelu { slope } => ("leaky-relu", vec![slope]),
        Function::Clamp { min, max } => ("clamp", vec![min, max]),
        Function::Sigmoid => ("sigmoid", vec![]),
        Function::HardSigmoid { alpha, beta } => ("hard-sigmoid", vec![alpha, beta]),
        Function::HardSwish { alpha, beta } => ("hard-swish", vec![alpha, beta]),
        Function::Silu => ("silu", vec![]),
        Function::Tanh => ("tanh", vec![]),
        Function::Gelu => ("gelu", vec![]),
        Function::Erf => ("erf", vec![]),
        Function::Round => ("round", vec![]),
        Function::Floor => ("floor", vec![]),
        Function::Sign => ("sign", vec![]),
        Function::Abs => ("abs", vec![]),
        Function::Neg => ("neg", vec![]),
        Function::Exp => ("exp", vec![]),
        Function::Sqrt => ("sqrt", vec![]),
        Function::Recip => ("recip", vec![]),
    }
}

/// The function of a name and its numbers. `None` where there is none, or where the numbers are no ends of an interval.
pub(in crate::packed) fn function(name: &str, numbers: &[f32]) -> Option<Function> {
    Some(match (name, numbers) {
        ("relu", []) => Function::Relu,
        ("leaky-relu", &[slope]) => Function::LeakyRelu { slope },
        ("clamp", &[min, max]) if min <= max => Function::Clamp { min, max },
        ("sigmoid", []) => Function::Sigmoid,
        ("hard-sigmoid", &[alpha, beta]) => Function::HardSigmoid { alpha, beta },
        ("hard-swish", &[alpha, beta]) => Function::HardSwish { alpha, beta },
        ("silu", []) => Function::Silu,
        ("tanh", []) => Function::Tanh,
        ("gelu", []) => Function::Gelu,
        ("erf", []) => Function::Erf,
        ("round", []) => Function::Round,
        ("floor", []) => Function::Floor,
        ("sign", []) => Function::Sign,
        ("abs", []) => Function::Abs,
        ("neg", []) => Function::Neg,
        ("exp", []) => Function::Exp,
        ("sqrt", []) => Function::Sqrt,
        ("recip", []) => Function::Recip,
        _ => return None,
    })
}

/// What a function makes of a number, in the operations of the `flex` device. Of exponentials, what the standard library and `libm`
/// give.
#[inline(always)]
pub(super) fn value(function: Function, x: f32) -> f32 {
    let hard_sigmoid = |alpha: f32, beta: f32| (alpha * x + beta).clamp(0.0, 1.0);
    match function {
        Function::Sigmoid => sigmoid(x),
        Function::HardSigmoid { alpha, beta } => hard_sigmoid(alpha, beta),
        Function::HardSwish { alpha, beta } => x * hard_sigmoid(alpha, beta),
        Function::Silu => x * sigmoid(x),
        Function::Tanh => x.tanh(),
        Function::Gelu => 0.5 * x * (1.0 + libm::erff(x / std::f32::consts::SQRT_2)),
        Function::Erf => libm::erff(x),
        Function::Exp => x.exp(),
        Function::Sqrt => x.sqrt(),
        Function::Recip => 1.0 / x,
        other => other.of(x).unwrap_or(f32::NAN),
    }
}

fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let power = x.exp();
        power / (1.0 + power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_its_function_back() {
        let ends = |name: &str| match name {
            "leaky-relu" => vec![0.1],
            "clamp" => vec![-1.0, f32::INFINITY],
            "hard-sigmoid" | "hard-swish" => vec![0.2, 0.5],
            _ => vec![],
        };
        let names = [
            "relu",
            "leaky-relu",
            "clamp",
            "sigmoid",
            "hard-sigmoid",
            "hard-swish",
            "silu",
            "tanh",
            "gelu",
            "erf",
            "round",
            "floor",
            "sign",
            "abs",
            "neg",
            "exp",
            "sqrt",
            "recip",
        ];
        for name in names {
            let numbers = ends(name);
            let found = function(name, &numbers).unwrap();
            assert_eq!(named(found), (name, numbers));
            assert!(!value(found, 0.3).is_nan(), "{name}");
        }
        assert!(function("clamp", &[1.0, 0.0]).is_none());
        assert!(function("clamp", &[f32::NAN, 0.0]).is_none());
        assert!(function("relu", &[1.0]).is_none() && function("relu6", &[]).is_none());
    }
}
