//! One function for each reader of files from elsewhere: it takes the bytes of a file and panics where a promise is
//! broken. Nothing may make a reader panic; what it accepts can be mapped or run, or is refused with a sentence; and
//! what is printed of it holds no characters that a terminal would obey.
//!
//! The targets of `fuzz/` and the tests in `tests/fuzz.rs` call the same functions. A target is a function, here or,
//! where it needs Burn, in `train.rs`, with a line in [`TARGETS`], a test in `tests/fuzz.rs`, a file in
//! `fuzz/fuzz_targets` and a corpus.

use vwc_sdk::crossbar::{convolve, run};
use vwc_sdk::formats::layers::{csv_list, json_list};
use vwc_sdk::formats::{plan_from_json, plan_json};
use vwc_sdk::mapping::{
    Accounting, ConvLayer, MappingConfig, Method, Network, PimArray, Placement, Plan, WidthLimits, Widths,
    pareto::pareto_front,
};
use vwc_sdk::report::{Look, front_table, plan_csv, plan_table};

#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "train")]
pub mod train;

/// A reader's name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All of this build.
pub const TARGETS: &[Target] = &[
    ("layer_list_json", layer_list_json),
    ("layer_list_csv", layer_list_csv),
    ("saved_plan", saved_plan),
    #[cfg(feature = "packed")]
    ("packed_file", packed_file),
    #[cfg(feature = "onnx")]
    ("onnx", onnx::onnx),
    #[cfg(feature = "train")]
    ("pytorch_file", train::pytorch_file),
    #[cfg(feature = "train")]
    ("pytorch_raw_file", train::pytorch_raw_file),
    #[cfg(feature = "train")]
    ("safetensors_file", train::safetensors_file),
    #[cfg(feature = "train")]
    ("mat_file", train::mat_file),
    #[cfg(feature = "train")]
    ("cifar_files", train::cifar_files),
    #[cfg(feature = "train")]
    ("cifar_archive", train::cifar_archive),
    #[cfg(feature = "train")]
    ("picture", train::picture),
    #[cfg(feature = "train")]
    ("run_folder", train::run_folder),
    #[cfg(feature = "train")]
    ("saved_network", train::saved_network),
];

/// A layer list in JSON.
pub fn layer_list_json(bytes: &[u8]) {
    match json_list("list", bytes) {
        Ok(network) => mapped(&network),
        Err(why) => refused(&why),
    }
}

/// A layer list in CSV.
pub fn layer_list_csv(bytes: &[u8]) {
    match csv_list("list", bytes) {
        Ok(network) => mapped(&network),
        Err(why) => refused(&why),
    }
}

/// A mapping that `map --format json` saved.
pub fn saved_plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match plan_from_json(text) {
        Ok(plan) => planned(&plan),
        Err(why) => refused(&why.to_string()),
    }
}

/// A packed network. The bytes are its plan, a zero, and its numbers: the header is made to fit, so that the reader
/// does not stop at a length or a checksum.
#[cfg(feature = "packed")]
pub fn packed_file(bytes: &[u8]) {
    use vwc_sdk::packed::{Model, Session, probabilities};

    /// Pixels and products of a network that is run.
    const PIXELS: usize = 1 << 12;
    const PRODUCTS: usize = 1 << 22;

    let model = match Model::from_bytes(&sealed(bytes)) {
        Ok(model) => model,
        Err(why) => return refused(&why.to_string()),
    };
    printed(model.network());
    model.classes().iter().for_each(|class| printed(class));
    Model::from_bytes(&model.to_bytes()).expect("what is written can be read");
    match model.to_onnx() {
        Ok(bytes) => assert!(!bytes.is_empty()),
        Err(why) => refused(&why.to_string()),
    }
    assert!(!model.to_safetensors().is_empty());
    let [height, width] = model.input();
    if height * width <= PIXELS && model.multiplications().iter().sum::<usize>() <= PRODUCTS {
        let mut session = Session::new(&model);
        let shares = probabilities(session.logits(&vec![200; height * width * 3]));
        assert_eq!(shares.len(), model.classes().len());
    }
}

/// A file of this plan and these numbers, in the layout of `docs/packed-format.md`.
#[cfg(feature = "packed")]
fn sealed(bytes: &[u8]) -> Vec<u8> {
    const HEADER: usize = 32;
    const ALIGN: usize = 64;

    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (plan, numbers) = bytes.split_at(end);
    let mut file = b"VWCPACK\n\x03\0\0\0".to_vec();
    file.resize(HEADER, 0);
    file[24..32].copy_from_slice(&(plan.len() as u64).to_le_bytes());
    file.extend(plan);
    file.resize(file.len().next_multiple_of(ALIGN), 0);
    file.extend(numbers.iter().skip(1));
    let length = file.len() as u64;
    file[16..24].copy_from_slice(&length.to_le_bytes());
    let sum = crc32fast::hash(&file[16..]);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file
}

/// A refusal says something.
fn refused(why: &str) {
    assert!(!why.trim().is_empty(), "an error without a sentence");
}

/// What is printed has no characters that a terminal obeys or that end a line.
fn printed(text: &str) {
    let obeyed = |char: char| {
        (char.is_control() && char != '\n')
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(obeyed), "printed as it is: {text:?}");
}

/// Output positions, and channels, up to which every method is tried: their searches then take no time.
const SMALL: usize = 1 << 10;

fn is_small(layer: &ConvLayer, accounting: Accounting) -> bool {
    let [height, width] = layer.output(accounting);
    height.saturating_mul(width) <= SMALL && layer.in_channels.max(layer.out_channels) <= SMALL
}

/// A network from a file can be mapped by every method, or is refused; a small one computes its convolutions.
fn mapped(network: &Network) {
    let config = MappingConfig::new(PimArray::new(48, 40).expect("in range"));
    let small =
        network.layers.len() <= 8 && (network.layers.iter()).all(|layer| is_small(layer, config.accounting));
    let methods: &[Method] = if small {
        &Method::ALL
    } else {
        &[Method::Im2col, Method::VwSdk]
    };
    for &method in methods {
        match Plan::new(network, method, &config, Widths::of(method)) {
            Ok(plan) => planned(&plan),
            Err(why) => refused(&why.to_string()),
        }
    }
    let channels: usize = network.layers.iter().map(|layer| layer.out_channels).sum();
    if small && channels <= 256 {
        match pareto_front(network, &config, &WidthLimits::default()) {
            Ok(front) => printed(&front_table(&front, Look::Terminal)),
            Err(why) => refused(&why.to_string()),
        }
    }
    let published = config.with_accounting(Accounting::AsPublished);
    let _ = Plan::new(network, Method::Elements, &published, Widths::Keep);
}

/// A plan can be shown, saved and loaded again, and what is small in it computes its convolution.
fn planned(plan: &Plan) {
    for look in [Look::Terminal, Look::Markdown] {
        printed(&plan_table(plan, look));
    }
    printed(&plan_csv(plan));
    let text = plan_json(plan);
    printed(&text);
    assert_eq!(&plan_from_json(&text).expect("what is saved loads"), plan);
    let totals = plan.totals();
    assert!((0.0..=1.0).contains(&totals.utilisation) || plan.config.shares_cells());
    assert!(totals.cycles >= totals.lower_bound);
    for (layer, mapping) in plan.network.layers.iter().zip(&plan.mappings) {
        assert!(mapping.gap(mapping.lower_bound) >= 1.0);
        Placement::check(layer, mapping, &plan.config).expect("it was checked, or is ours");
        computed(layer, mapping, &plan.config);
    }
}

/// Runs a mapping of few cycles and arrays, and compares it with the convolution.
fn computed(layer: &ConvLayer, mapping: &vwc_sdk::mapping::Mapping, config: &MappingConfig) {
    /// Cells that are programmed or driven, and numbers of the layer.
    const WORK: u64 = 1 << 14;

    let counted = layer.counted(config.accounting);
    let numbers = [counted.in_channels, counted.input[0], counted.input[1]];
    let numbers = numbers
        .iter()
        .fold(1_usize, |product, &size| product.saturating_mul(size));
    let work = mapping
        .weights_driven
        .max(mapping.dac_conversions)
        .max(mapping.adc_conversions);
    let cells = mapping.cells_written.max(counted.params()).max(numbers as u64);
    if config.shares_cells() || work.max(cells) > WORK {
        return;
    }
    let weights: Vec<i64> = (0..counted.params() as i64).map(|n| n % 5 - 2).collect();
    let input: Vec<i64> = (0..numbers as i64).map(|n| n % 7).collect();
    let run = run(layer, mapping, config, &weights, &input).expect("an accepted mapping runs");
    assert_eq!(
        run.outputs,
        convolve(&counted, &weights, &input).expect("a checked layer")
    );
    assert_eq!(run.counts.cycles, mapping.cycles);
}
