//! A packed network allocates nothing once it has seen a picture.

#![cfg(all(feature = "train", feature = "packed"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use vwc_sdk::data::PictureSpec;
use vwc_sdk::graph::{Affine, Binary, Constant, Conv, Function, Graph, NodeSpec, Op, Pool, Reduction};
use vwc_sdk::models::{Cnn8Config, NetworkConfig, ResNet20Config, Vgg13Config};
use vwc_sdk::packed::{Machine, Model, Session, freeze};

/// The system's allocator, with a count of what it was asked for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn check<C: NetworkConfig>(config: &C) {
    let network = config.init(&Device::default());
    let input = PictureSpec::numbered(config.input(), config.classes());
    check_model(&freeze(&network, &input).unwrap(), C::NAME);
}

fn check_model(model: &Model, name: &str) {
    let [height, width] = model.input();
    let picture = height * width * 3;
    let pictures: Vec<u8> = (0..3 * picture).map(|n| (n * 7 % 251) as u8).collect();
    for machine in Machine::available() {
        let mut session = Session::new(model).with_machine(machine);
        session.logits(&pictures);
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..2 {
            session.logits(&pictures);
            session.logits(&pictures[..picture]);
        }
        let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
        assert_eq!(made, 0, "{} on {machine}", name);
    }
    // With threads what is handed over goes through rayon's queue, which grows by blocks of many.
    let mut session = Session::new(model).with_threads(2);
    session.logits(&pictures);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    for _ in 0..200 {
        session.logits(&pictures[..picture]);
    }
    let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
    assert!(made <= 20, "{} on two threads: {made}", name);
}

/// A network of general steps: a depthwise convolution of codes with a sign, gates, and maps side by side.
fn general() -> Model {
    let scalar = |number: f32| Some(Constant::scalar(number));
    let by = |factor: f32| Affine {
        factor: scalar(factor),
        ..Affine::default()
    };
    let depthwise = Conv {
        groups: 3,
        padding: 1.into(),
        ..Conv::new(Constant::new(
            [3, 1, 3, 3],
            (0..27).map(|n| (n - 13) as f32).collect::<Vec<f32>>(),
        ))
    };
    let axes = vec![2, 1];
    let kind = Reduction::Mean;
    let nodes = vec![
        NodeSpec::input("picture", [3, 16, 16]),
        NodeSpec::new("scaled", by(8.0), ["picture"]),
        NodeSpec::new("clamped", Function::Clamp { min: -8.0, max: 7.0 }, ["scaled"]),
        NodeSpec::new("codes", Function::Round, ["clamped"]),
        NodeSpec::new("depthwise", depthwise, ["codes"]),
        NodeSpec::new("mean", Op::Reduce { kind, axes }, ["depthwise"]),
        NodeSpec::new("gate", Function::Sigmoid, ["mean"]),
        NodeSpec::new("gated", Binary::Mul, ["depthwise", "gate"]),
        NodeSpec::new("both", Op::Concat { axis: 0 }, ["gated", "codes"]),
        NodeSpec::new("pool", Op::MaxPool(Pool::square(4)), ["both"]),
        NodeSpec::new("flat", Op::Reshape { shape: vec![96] }, ["pool"]),
    ];
    let graph = Graph::new(nodes, ["flat"]).unwrap();
    Model::of(&graph, "general", &PictureSpec::numbered([16, 16], 96)).unwrap()
}

// One test: another on a thread of its own would be counted too.
#[test]
fn a_warm_session_allocates_nothing() {
    check(&Cnn8Config::new());
    check_model(&general(), "general steps");
    check(&ResNet20Config::new().with_widths([16, 30, 64]));
    check(
        &Vgg13Config::new()
            .with_widths([8, 8, 16, 16, 32, 32, 64, 64, 64, 64])
            .with_hidden([64, 64]),
    );
}
