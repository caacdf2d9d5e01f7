//! Every mapping proven by running it: on a simulated array, programmed with the mapping's cells, the output
//! equals a direct convolution and the counts equal the predictions.

use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
};

use proptest::{prelude::*, test_runner::RngSeed};
use vwc_sdk::crossbar::{Counts, CrossbarError, Device, Programmed, Run, convolve, run, run_on};
use vwc_sdk::graph::presets::network;
use vwc_sdk::mapping::{
    Accounting, ConvLayer, Cut, Mapping, MappingConfig, MappingError, Method, PimArray, Placement, Search,
    map_layer,
};

/// Integers that look random, the same on every machine.
fn integers(count: usize, seed: u64, range: RangeInclusive<i64>) -> Vec<i64> {
    let span = (range.end() - range.start() + 1) as u64;
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            range.start() + ((state >> 33) % span) as i64
        })
        .collect()
}

/// Weights and input for the layer as counted.
fn numbers(
    layer: &ConvLayer,
    accounting: Accounting,
    seed: u64,
    range: RangeInclusive<i64>,
) -> [Vec<i64>; 2] {
    let counted = layer.counted(accounting);
    let pixels = counted.in_channels * counted.input[0] * counted.input[1];
    [
        integers(counted.params() as usize, seed, range.clone()),
        integers(pixels, seed + 1, range),
    ]
}

/// Runs the mapping and compares the output with the convolution, and every count with its prediction.
fn prove(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    seed: u64,
) -> Result<(), TestCaseError> {
    let [weights, input] = numbers(layer, config.accounting, seed, -9..=9);
    let found = run(layer, mapping, config, &weights, &input).unwrap();
    let expected = convolve(&layer.counted(config.accounting), &weights, &input).unwrap();
    prop_assert_eq!(found.outputs, expected);
    let slices = u64::from(config.weight_bits.div_ceil(config.array.cell_bits));
    let predicted = Counts {
        cycles: mapping.cycles,
        arrays: mapping.arrays,
        weights_written: mapping.cells_written / slices,
        weights_driven: mapping.weights_driven,
        rows_driven: mapping.dac_conversions,
        cols_read: mapping.adc_conversions / slices,
        clipped: 0,
    };
    prop_assert_eq!(found.counts, predicted);
    Ok(())
}

/// Layers with every kind of geometry, small enough to run.
fn layers() -> impl Strategy<Value = ConvLayer> {
    (
        [1..16_usize, 1..16],
        [1..6_usize, 1..6],
        [1..5_usize, 1..5],
        [1..4_usize, 1..4],
        [0..4_usize, 0..4, 0..4, 0..4],
        (1..6_usize, 1..16_usize, 1..16_usize),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(input, kernel, stride, dilation, padding, (groups, ic, oc), [dilated, grouped])| {
                let groups = if grouped { groups } else { 1 };
                ConvLayer {
                    input,
                    kernel,
                    stride,
                    dilation: if dilated { dilation } else { [1, 1] },
                    padding: padding.into(),
                    groups,
                    ..ConvLayer::square("random", 1, 1, ic * groups, oc * groups)
                }
            },
        )
        .prop_filter("the kernel fits", |layer| {
            layer.validate(Accounting::ExactGeometry).is_ok()
        })
}

fn configs() -> impl Strategy<Value = MappingConfig> {
    (1..300_usize, 1..200_usize, 1..4_u32, 1..5_u32, any::<[bool; 2]>()).prop_map(
        |(rows, cols, cell_bits, weight_bits, [published, register])| {
            // One weight at least has to fit.
            let array = PimArray::new(rows, cols.max(weight_bits as usize)).unwrap();
            MappingConfig::new(array.with_cell_bits(cell_bits))
                .with_weight_bits(weight_bits)
                .with_accounting(if published {
                    Accounting::AsPublished
                } else {
                    Accounting::ExactGeometry
                })
                .with_search(if register {
                    Search::Published
                } else {
                    Search::Exact
                })
        },
    )
}

/// Fixed, so that a run is the same everywhere and leaves no files behind.
fn deterministic(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x5DC),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(deterministic(10_000))]

    #[test]
    fn every_method_computes_the_convolution_in_the_cycles_it_predicts(
        layer in layers(), config in configs(), method in prop::sample::select(&Method::ALL[..]), seed: u32,
    ) {
        match map_layer(&layer, method, &config) {
            // As published, weights may be counted that share cells; that is refused.
            Ok(mapping) if config.shares_cells() => {
                let [weights, input] = numbers(&layer, config.accounting, seed.into(), -1..=1);
                let error = run(&layer, &mapping, &config, &weights, &input).unwrap_err();
                prop_assert_eq!(error, CrossbarError::SharedCells { config });
            }
            Ok(mapping) => prove(&layer, &mapping, &config, seed.into())?,
            // The published accounting leaves out the padding, without which the kernel may not fit.
            Err(error) => prop_assert!(
                matches!(error, MappingError::KernelTooLarge { .. })
                    && config.accounting == Accounting::AsPublished,
                "{}", error
            ),
        }
    }
}

/// The array of a pair of bits on which so many weights fit side by side, and not one more.
fn array_for(weights: usize, rows: usize, weight_bits: u32, cell_bits: u32) -> PimArray {
    // Cell by cell: each weight takes cells until they hold its bits.
    let cells = (1..).find(|cells| cells * cell_bits >= weight_bits).unwrap() as usize;
    let array = PimArray::new(rows, weights * cells + cells - 1).unwrap();
    array.with_cell_bits(cell_bits)
}

proptest! {
    #![proptest_config(deterministic(100))]

    /// Every pair of bits: each bit of each weight gets a place in a cell that exists, no two weights share a
    /// cell, and the array so programmed computes the convolution.
    #[test]
    fn weights_of_any_bits_have_cells_of_their_own(
        layer in layers(),
        (rows, weights) in (1..200_usize, 1..60_usize),
        method in prop::sample::select(&Method::ALL[..]),
        pulse_bits in 1..=INPUT_BITS,
        seed: u32,
    ) {
        for (weight_bits, cell_bits) in (1..=8).flat_map(|weight| (1..=8).map(move |cell| (weight, cell))) {
            let array = array_for(weights, rows, weight_bits, cell_bits);
            let config = MappingConfig::new(array).with_weight_bits(weight_bits);
            prop_assert_eq!(config.effective_cols(), weights);
            let mapping = map_layer(&layer, method, &config).unwrap();
            let placement = Placement::new(&layer, &mapping, &config).unwrap();
            let wide = weight_bits.div_ceil(cell_bits) as usize;
            for array in placement.pieces().flat_map(|piece| piece.arrays()) {
                let mut owner = HashMap::new();
                for cell in array.cells() {
                    for bit in 0..weight_bits {
                        let col = cell.col * wide + (bit / cell_bits) as usize;
                        prop_assert!(cell.row < rows && col < config.array.cols);
                        prop_assert_eq!(*owner.entry((cell.row, col)).or_insert(cell), cell);
                    }
                }
            }

            let largest = (1 << weight_bits) - 1;
            let weights = integers(layer.params() as usize, seed.into(), -largest..=largest);
            let [height, width] = layer.input;
            let input = integers(layer.in_channels * height * width, 1, 0..=(1 << INPUT_BITS) - 1);
            let exact = convolve(&layer, &weights, &input).unwrap();
            prop_assert_eq!(&run(&layer, &mapping, &config, &weights, &input).unwrap().outputs, &exact);
            let device = Device { pulse_bits, ..Device::ideal(INPUT_BITS) };
            let found = run_on(&layer, &mapping, &config, &weights, &input, &device).unwrap();
            let exact: Vec<f64> = exact.into_iter().map(|sum| sum as f64).collect();
            prop_assert_eq!(found.outputs, exact);
            prop_assert!(mapping.utilisation(&config) <= 1.0);
        }
    }
}

proptest! {
    #![proptest_config(deterministic(1000))]

    /// No row is wasted on a gap that dilation or a wide stride leaves, and no input enters twice.
    #[test]
    fn every_row_of_whole_channels_is_needed(layer in layers(), config in configs()) {
        let config = config.with_accounting(Accounting::ExactGeometry);
        let mapping = map_layer(&layer, Method::VwSdk, &config).unwrap();
        let placement = Placement::new(&layer, &mapping, &config).unwrap();
        for piece in placement.pieces().filter(|piece| piece.piece().cut == Cut::Channels) {
            for array in piece.arrays() {
                let inputs: HashSet<_> = array.inputs().collect();
                prop_assert_eq!(inputs.len(), array.rows());
                let used: HashSet<_> = array.cells().map(|cell| cell.row).collect();
                prop_assert_eq!(used.len(), array.rows());
            }
        }
    }
}

#[test]
fn all_of_cnn8_and_a_narrow_resnet20_run_in_the_cycles_of_the_tables() {
    let cases = [
        (network("cnn8"), PimArray::new(256, 512).unwrap(), 1),
        (network("resnet20-8"), PimArray::new(128, 64).unwrap(), 2),
    ];
    for (network, array, bits) in cases {
        for accounting in [Accounting::AsPublished, Accounting::ExactGeometry] {
            let config = MappingConfig::new(array)
                .with_weight_bits(bits)
                .with_accounting(accounting);
            for (n, layer) in network.as_ref().unwrap().layers.iter().enumerate() {
                for method in [Method::VwSdk, Method::Strips, Method::ChannelTiles] {
                    let mapping = map_layer(layer, method, &config).unwrap();
                    prove(layer, &mapping, &config, n as u64).unwrap();
                }
            }
        }
    }
}

/// A layer of four output channels on a small array, with weights and inputs that fit the bits given.
fn scene(config: &MappingConfig, input_bits: u32) -> (ConvLayer, Mapping, [Vec<i64>; 2]) {
    let layer = ConvLayer::square("conv", 7, 3, 5, 4).with_padding([1, 0, 2, 1]);
    let mapping = map_layer(&layer, Method::VwSdk, config).unwrap();
    let largest = |bits: u32| (1_i64 << bits) - 1;
    let [mut weights, mut input] = numbers(&layer, config.accounting, 7, -255..=255);
    let fit = |values: &mut [i64], limit: i64| values.iter_mut().for_each(|value| *value %= limit + 1);
    fit(&mut weights, largest(config.weight_bits));
    fit(&mut input, largest(input_bits));
    (layer, mapping, [weights, input])
}

const INPUT_BITS: u32 = 5;

fn config(cell_bits: u32, weight_bits: u32) -> MappingConfig {
    let array = PimArray::new(60, 48).unwrap().with_cell_bits(cell_bits);
    MappingConfig::new(array).with_weight_bits(weight_bits)
}

/// Output of the layer on `device` and of the direct convolution.
fn on(device: &Device, config: &MappingConfig) -> (Run<f64>, Vec<f64>) {
    let (layer, mapping, [weights, input]) = scene(config, INPUT_BITS);
    let found = run_on(&layer, &mapping, config, &weights, &input, device).unwrap();
    let exact = convolve(&layer, &weights, &input).unwrap();
    (found, exact.into_iter().map(|value| value as f64).collect())
}

fn error(found: &[f64], exact: &[f64]) -> f64 {
    let squares = |pair: (&f64, &f64)| (pair.0 - pair.1).powi(2);
    (found.iter().zip(exact).map(squares).sum::<f64>() / exact.len() as f64).sqrt()
}

#[test]
fn an_ideal_device_is_exact_however_weights_and_inputs_are_cut() {
    for (cell_bits, weight_bits) in [
        (1, 1),
        (1, 4),
        (2, 4),
        (4, 4),
        (3, 6),
        (2, 1),
        (2, 3),
        (3, 8),
        (16, 5),
    ] {
        for pulse_bits in 1..=INPUT_BITS {
            let device = Device {
                pulse_bits,
                ..Device::ideal(INPUT_BITS)
            };
            let (found, exact) = on(&device, &config(cell_bits, weight_bits));
            assert_eq!(found.outputs, exact, "{cell_bits} {weight_bits} {pulse_bits}");
            assert_eq!(found.counts.clipped, 0);
        }
    }
}

#[test]
fn variation_and_stuck_cells_leave_no_weight_out_that_does_not_fill_its_cells() {
    // Three bits on cells of two: the highest bit has a cell of its own, with room for one more.
    let config = config(2, 3);
    let stuck = |stuck_off, stuck_on| {
        let device = Device {
            stuck_off,
            stuck_on,
            ..Device::ideal(INPUT_BITS)
        };
        on(&device, &config)
    };
    assert!(stuck(1.0, 0.0).0.outputs.iter().all(|&output| output == 0.0));
    assert!(stuck(0.0, 1.0).0.outputs.iter().all(|&output| output == 0.0));
    let vary = |variation| {
        let device = Device {
            variation,
            ..Device::ideal(INPUT_BITS)
        };
        let (found, exact) = on(&device, &config);
        error(&found.outputs, &exact)
    };
    let (small, large) = (vary(0.01), vary(0.1));
    assert!(
        0.0 < small && (large / small - 10.0).abs() < 0.1,
        "{small} {large}"
    );
}

#[test]
fn a_wide_converter_is_exact_and_a_narrow_one_clips() {
    let config = config(2, 4);
    let converter = |adc_bits| {
        let device = Device {
            adc_bits,
            pulse_bits: 1,
            ..Device::ideal(INPUT_BITS)
        };
        on(&device, &config)
    };
    // A column of at most 60 cells of 3 steps each, under pulses of 1: 180 steps need 9 bits with the sign.
    let (wide, exact) = converter(9);
    assert_eq!((wide.outputs, wide.counts.clipped), (exact, 0));
    let mut last = (0.0, 0);
    for bits in [5, 4, 3, 2] {
        let (narrow, exact) = converter(bits);
        let this = (error(&narrow.outputs, &exact), narrow.counts.clipped);
        assert!(this > last, "{bits} bits: {this:?} after {last:?}");
        last = this;
    }
}

#[test]
fn a_converter_of_two_bits_says_minus_one_nought_or_one() {
    // One weight of 3 under inputs of either sign: 3 steps, clipped to 1, thrice of which stays 1.
    let layer = ConvLayer {
        input: [1, 3],
        ..ConvLayer::square("conv", 1, 1, 1, 1)
    };
    let config = MappingConfig::new(PimArray::new(1, 1).unwrap().with_cell_bits(2)).with_weight_bits(2);
    let mapping = map_layer(&layer, Method::Im2col, &config).unwrap();
    let device = Device {
        adc_bits: 2,
        ..Device::ideal(1)
    };
    let found = run_on(&layer, &mapping, &config, &[3], &[1, 0, -1], &device).unwrap();
    assert_eq!(found.outputs, [1.0, 0.0, -1.0]);
    assert_eq!(found.counts.clipped, 2);
}

#[test]
fn variation_grows_with_its_deviation_and_repeats_with_its_seed() {
    let vary = |variation, seed| {
        let device = Device {
            variation,
            seed,
            ..Device::ideal(INPUT_BITS)
        };
        on(&device, &config(2, 4))
    };
    let (first, exact) = vary(0.1, 1);
    assert_eq!(first, vary(0.1, 1).0);
    assert_ne!(first.outputs, vary(0.1, 2).0.outputs);
    let [small, large] = [0.01, 0.1].map(|variation| error(&vary(variation, 1).0.outputs, &exact));
    assert!(0.0 < small && small < large, "{small} {large}");
    // The same draws, so the error is in proportion until a conductance would turn negative.
    assert!((large / small - 10.0).abs() < 0.1, "{small} {large}");
}

#[test]
fn stuck_cells_lose_or_add_their_part() {
    let stuck = |stuck_off, stuck_on| {
        let device = Device {
            stuck_off,
            stuck_on,
            ..Device::ideal(INPUT_BITS)
        };
        on(&device, &config(2, 4))
    };
    let (dead, exact) = stuck(1.0, 0.0);
    assert!(dead.outputs.iter().all(|&output| output == 0.0));
    // Both cells of every pair conduct fully, and cancel.
    let (full, _) = stuck(0.0, 1.0);
    assert!(full.outputs.iter().all(|&output| output == 0.0));
    let [few, many] = [0.01, 0.1].map(|part| error(&stuck(part, part).0.outputs, &exact));
    assert!(0.0 < few && few < many, "{few} {many}");
}

#[test]
fn devices_out_of_range_are_refused() {
    let good = Device::ideal(INPUT_BITS);
    let bad = [
        (
            Device {
                input_bits: 0,
                ..good.clone()
            },
            config(2, 4),
            "input bits is 0",
        ),
        (
            Device {
                pulse_bits: 6,
                ..good.clone()
            },
            config(2, 4),
            "pulse bits is 6",
        ),
        (
            Device {
                adc_bits: 1,
                ..good.clone()
            },
            config(2, 4),
            "ADC bits is 1",
        ),
        (
            Device {
                variation: f64::NAN,
                ..good.clone()
            },
            config(2, 4),
            "variation is NaN",
        ),
        (
            Device {
                variation: 1e308,
                ..good.clone()
            },
            config(2, 4),
            ": it must be 0 to 10",
        ),
        (
            Device {
                stuck_on: 0.6,
                stuck_off: 0.6,
                ..good.clone()
            },
            config(2, 4),
            "stuck-on part is 0.6",
        ),
        (
            good.clone(),
            config(17, 17),
            "weight bits is 17: it must be 1 to 16",
        ),
        (good.clone(), config(17, 2), "cell bits is 17: it must be 1 to 16"),
        (
            Device {
                input_bits: 2,
                pulse_bits: 2,
                ..good
            },
            config(2, 4),
            "does not fit 2 bits",
        ),
    ];
    for (device, config, says) in bad {
        let (layer, mapping, [weights, input]) = scene(&config, INPUT_BITS);
        let error = run_on(&layer, &mapping, &config, &weights, &input, &device).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn what_a_device_computes_is_always_a_number() {
    let device = Device {
        variation: Device::MAX_VARIATION,
        stuck_off: 0.5,
        stuck_on: 0.5,
        adc_bits: 32,
        ..Device::ideal(INPUT_BITS)
    };
    let (found, _) = on(&device, &config(2, 4));
    assert!(found.outputs.iter().all(|output| output.is_finite()));
}

#[test]
fn an_array_beyond_memory_is_refused() {
    let layer = ConvLayer::square("conv", 1, 1, 1 << 14, 1 << 13);
    let array = PimArray::new(1 << 14, 1 << 13).unwrap();
    let config = MappingConfig::new(array);
    let mapping = map_layer(&layer, Method::Im2col, &config).unwrap();
    let weights = vec![1; 1 << 27];
    let input = vec![1; 1 << 14];
    let error = run(&layer, &mapping, &config, &weights, &input).unwrap_err();
    assert!(matches!(error, CrossbarError::ArrayTooLarge { .. }), "{error}");
}

#[test]
fn numbers_of_the_wrong_shape_or_size_are_refused() {
    let config = config(1, 1);
    let (layer, mapping, [weights, input]) = scene(&config, INPUT_BITS);
    let error = run(&layer, &mapping, &config, &weights[1..], &input).unwrap_err();
    assert!(
        matches!(error, CrossbarError::Length { what: "weights", .. }),
        "{error}"
    );
    let huge = vec![i64::MAX; input.len()];
    let error = run(&layer, &mapping, &config, &weights, &huge).unwrap_err();
    assert_eq!(error, CrossbarError::TooLarge);
}

/// Mappings that a file could hold, each broken in one place.
#[test]
fn mappings_that_are_not_of_the_layer_are_refused() {
    type Change<'a> = &'a dyn Fn(&mut Mapping);
    let config = config(1, 1);
    let (layer, mapping, _) = scene(&config, INPUT_BITS);
    let refuse = |change: Change<'_>| {
        let mut broken = mapping.clone();
        change(&mut broken);
        Placement::new(&layer, &broken, &config).unwrap_err().to_string()
    };
    assert!(Placement::new(&layer, &mapping, &config).is_ok());
    let cases: [(Change<'_>, &str); 9] = [
        (&|m| m.pieces.clear(), "has 0 pieces"),
        (&|m| m.pieces = vec![m.pieces[0].clone(); 5000], "has 5000 pieces"),
        (
            &|m| m.pieces.push(m.pieces[0].clone()),
            "piece 1 of its mapping overlaps",
        ),
        (&|m| m.pieces[0].outputs.height -= 1, "left out"),
        (&|m| m.pieces[0].outputs.left = usize::MAX, "reaches beyond"),
        (&|m| m.pieces[0].in_channels.start = 5, "is empty"),
        (&|m| m.pieces[0].w = 0, "window that is empty"),
        (&|m| m.pieces[0].w = usize::MAX, "larger than the output"),
        (&|m| m.cycles -= 1, "was not made for this layer"),
    ];
    for (change, says) in cases {
        let error = refuse(change);
        assert!(error.contains(says), "{error}");
    }
    let other = MappingConfig::new(PimArray::new(61, 48).unwrap());
    assert!(Placement::new(&network("cnn8").unwrap().layers[0], &mapping, &other).is_err());
}

#[test]
fn an_array_cannot_be_programmed_with_weights_that_share_cells() {
    let layer = ConvLayer::square("conv", 8, 1, 16, 512);
    let array = PimArray::new(256, 256).unwrap().with_cell_bits(2);
    let config = MappingConfig::new(array).with_accounting(Accounting::AsPublished);
    let mapping = map_layer(&layer, Method::Im2col, &config).unwrap();
    assert_eq!((mapping.cycles, mapping.arrays), (64, 1));
    let [weights, input] = numbers(&layer, config.accounting, 1, 0..=1);
    let device = Device::ideal(1);
    let errors = [
        run(&layer, &mapping, &config, &weights, &input).unwrap_err(),
        run_on(&layer, &mapping, &config, &weights, &input, &device).unwrap_err(),
        Programmed::new(&layer, &mapping, &config, &weights, &device)
            .err()
            .unwrap(),
    ];
    for error in errors {
        assert_eq!(
            error.to_string(),
            "a row of array 256x256 has room for 256 1-bit weights in 2-bit cells, and accounting as-published \
             counts 512, which share cells: no array can be programmed so; use exact-geometry, or cell bits that \
             divide the weight bits"
        );
    }
    // Where cell bits divide the weight bits both formulas are one, and the mapping runs.
    let whole = config.with_weight_bits(4);
    let mapping = map_layer(&layer, Method::Im2col, &whole).unwrap();
    prove(&layer, &mapping, &whole, 1).unwrap();
}

/// Where no window hangs over an edge each output reads the weights of its kernel once, so that what cells are read with is a convolution of the squares of pulses:
/// with ones for their number, and with the digits of weights for what they hold.
#[test]
fn cells_are_read_with_the_squares_of_pulses() {
    for (cell_bits, weight_bits, pulse_bits) in [(1, 1, 1), (1, 3, 2), (2, 3, 4), (4, 4, 3), (3, 8, 1)] {
        let config = config(cell_bits, weight_bits);
        let (layer, mapping, [weights, input]) = scene(&config, 4);
        let device = Device {
            pulse_bits,
            ..Device::ideal(4)
        };
        let found = run_on(&layer, &mapping, &config, &weights, &input, &device)
            .unwrap()
            .work;
        let digits = |numbers: &[i64], bits: u32, place: u32| -> Vec<i64> {
            let digit = |number: &i64| (number.unsigned_abs() >> (bits * place)) as i64 & ((1 << bits) - 1);
            numbers.iter().map(digit).collect()
        };
        let sum = |weights: &[i64], input: &[i64]| -> f64 {
            let outputs = convolve(&layer, weights, input).unwrap();
            outputs.iter().map(|&output| output as f64).sum()
        };
        let (mut inputs, mut levels) = (0.0, 0.0);
        for pulse in 0..4u32.div_ceil(pulse_bits) {
            let squares: Vec<i64> = digits(&input, pulse_bits, pulse)
                .iter()
                .map(|digit| digit * digit)
                .collect();
            for slice in 0..weight_bits.div_ceil(cell_bits) {
                inputs += sum(&vec![1; weights.len()], &squares);
                levels += sum(&digits(&weights, cell_bits, slice), &squares);
            }
        }
        let full = |bits: u32| ((1 << bits) - 1) as f64;
        let pulse = full(pulse_bits) * full(pulse_bits);
        assert!(
            (found.inputs - inputs / pulse).abs() < 1e-9 * inputs,
            "{found:?} {inputs}"
        );
        assert!(
            (found.levels - levels / pulse / full(cell_bits)).abs() < 1e-9 * levels,
            "{found:?} {levels}"
        );
        assert!(found.levels > 0.0 && found.levels <= found.inputs);
    }
}
