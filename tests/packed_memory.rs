//! A packed network allocates nothing once it has seen a picture.

#![cfg(all(feature = "train", feature = "packed"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use vwc_sdk::data::PictureSpec;
use vwc_sdk::models::{Cnn8Config, NetworkConfig, ResNet20Config, Vgg13Config};
use vwc_sdk::packed::{Machine, Session, freeze};

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
    let input = PictureSpec::numbered(C::INPUT, config.classes());
    let model = freeze(&network, &input).unwrap();
    let [height, width] = C::INPUT;
    let picture = height * width * 3;
    let pictures: Vec<u8> = (0..3 * picture).map(|n| (n * 7 % 251) as u8).collect();
    for machine in Machine::available() {
        let mut session = Session::new(&model).with_machine(machine);
        session.logits(&pictures);
        let before = ALLOCATIONS.load(Ordering::SeqCst);
        for _ in 0..2 {
            session.logits(&pictures);
            session.logits(&pictures[..picture]);
        }
        let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
        assert_eq!(made, 0, "{} on {machine}", C::NAME);
    }
    // With threads what is handed over goes through rayon's queue, which grows by blocks of many.
    let mut session = Session::new(&model).with_threads(2);
    session.logits(&pictures);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    for _ in 0..200 {
        session.logits(&pictures[..picture]);
    }
    let made = ALLOCATIONS.load(Ordering::SeqCst) - before;
    assert!(made <= 20, "{} on two threads: {made}", C::NAME);
}

// One test: another on a thread of its own would be counted too.
#[test]
fn a_warm_session_allocates_nothing() {
    check(&Cnn8Config::new());
    check(&ResNet20Config::new().with_widths([16, 30, 64]));
    check(
        &Vgg13Config::new()
            .with_widths([8, 8, 16, 16, 32, 32, 64, 64, 64, 64])
            .with_hidden([64, 64]),
    );
}
