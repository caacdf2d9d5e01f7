//! The fuzz targets on the stable toolchain: each reads its corpus and some thousand mutations of it, the same in every
//! run, within a gibibyte of memory.
//!
//! `cargo test` checks arithmetic for overflow in a build for debugging, and `.ci/run` runs these tests once more with these checks
//! in an optimised build. `fuzz/campaign.sh` runs a million inputs a target so.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, time::Instant};

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/targets.rs"]
mod targets;

use targets::TARGETS;

/// Mutations of each target.
const MUTATIONS: u64 = 5000;
/// Of a target that writes files and makes networks.
#[cfg(feature = "train")]
const FEWER: u64 = 2000;

/// The system's allocator, out of memory where a file makes a reader take more than [`MEMORY`].
struct Limited;

/// Bytes that all threads together may have: a picture may take half of them.
const MEMORY: usize = 1 << 30;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// What `give` gives out, unless that is too much.
fn within_memory(layout: Layout, give: impl FnOnce() -> *mut u8) -> *mut u8 {
    if TAKEN.fetch_add(layout.size(), Ordering::Relaxed) + layout.size() > MEMORY {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        return std::ptr::null_mut();
    }
    give()
}

// SAFETY: what is given out comes from the system's allocator.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        within_memory(layout, || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        within_memory(layout, || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static LIMITED: Limited = Limited;

/// Feeds a target the mutations of these seeds. Where one fails, its seed and its bytes are named.
fn feed(name: &str, seeds: std::ops::Range<u64>) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    let corpus = mutate::corpus(name);
    for seed in seeds {
        let input = mutate::input(&corpus, seed);
        let result = panic::catch_unwind(|| target(&input));
        assert!(
            result.is_ok(),
            "{name}, seed {seed}: put these bytes into fuzz/corpus/{name}: {:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[test]
fn every_file_of_the_corpus_is_read_or_refused() {
    for (name, target) in TARGETS {
        mutate::corpus(name).iter().for_each(|bytes| target(bytes));
    }
}

#[test]
fn mutated_layer_lists_in_json() {
    feed("layer_list_json", 0..MUTATIONS);
}

#[test]
fn mutated_layer_lists_in_csv() {
    feed("layer_list_csv", 0..MUTATIONS);
}

#[test]
fn mutated_saved_plans() {
    feed("saved_plan", 0..MUTATIONS);
}

#[cfg(feature = "packed")]
#[test]
fn mutated_packed_files() {
    feed("packed_file", 0..MUTATIONS);
}

#[cfg(feature = "onnx")]
#[test]
fn mutated_onnx_files() {
    feed("onnx", 0..MUTATIONS);
}

#[cfg(feature = "train")]
#[test]
fn mutated_files_of_pytorch() {
    feed("pytorch_file", 0..FEWER);
    feed("pytorch_raw_file", 0..FEWER);
}

#[cfg(feature = "train")]
#[test]
fn mutated_safetensors() {
    feed("safetensors_file", 0..FEWER);
}

#[cfg(feature = "train")]
#[test]
fn mutated_data_sets() {
    feed("mat_file", 0..FEWER);
    feed("cifar_files", 0..FEWER);
    feed("cifar_archive", 0..FEWER);
}

#[cfg(feature = "train")]
#[test]
fn mutated_pictures() {
    feed("picture", 0..FEWER);
}

#[cfg(feature = "train")]
#[test]
fn mutated_runs() {
    feed("run_folder", 0..FEWER / 2);
    feed("saved_network", 0..FEWER / 2);
}

/// For `fuzz/campaign.sh`: the target, the first seed and the number of seeds come from the environment.
#[test]
#[ignore = "part of fuzz/campaign.sh"]
fn campaign() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let number = |name: &str| variable(name).parse::<u64>().expect("a number");
    let (target, first) = (variable("FUZZ_TARGET"), number("FUZZ_FIRST"));
    let start = Instant::now();
    feed(&target, first..first + number("FUZZ_COUNT"));
    println!("campaign seconds {:.3}", start.elapsed().as_secs_f64());
}

/// For `fuzz/campaign.sh`: the names of the targets of this build.
#[test]
#[ignore = "part of fuzz/campaign.sh"]
fn list() {
    for (name, _) in TARGETS {
        println!("target {name}");
    }
}
