//! Cost models against the numbers that their authors publish, and what is refused of a model's file.

use vwc_sdk::cost::{Component, Cost, CostConfig, CostError, CostModel, Counts};
use vwc_sdk::crossbar::{Device, run_on};
use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, map_layer};

fn named(name: &str) -> CostModel {
    CostModel::named(name).unwrap()
}

/// A tenth of a unit in the last of so many decimal places.
#[track_caller]
fn assert_decimals(found: f64, expected: &str) {
    let places = expected.split_once('.').map_or(0, |(_, places)| places.len());
    assert_eq!(format!("{found:.places$}"), expected);
}

/// Accelergy's regression (hwcomponents-adc), 4 to 10 bits.
#[test]
fn converters_of_accelergy_are_those_of_its_regression() {
    let of = |node: u32, rate: u32, bits: u32| {
        let text = format!(
            "base = \"accelergy\"\n[components.adc]\n\
             node = {{ value = {node}, unit = \"1\", source = \"test\" }}\n\
             rate = {{ value = {rate}, unit = \"MS/s\", source = \"test\" }}\n"
        );
        let model = CostModel::from_toml("mine.toml", &text).unwrap();
        model.adc(bits, 128).unwrap().unwrap()
    };
    for (node, rate, energies) in [
        (
            32,
            100,
            [
                "0.9237", "0.9363", "1.0651", "1.3122", "1.7137", "2.3401", "3.3097",
            ],
        ),
        (
            32,
            1000,
            [
                "0.9237", "0.9363", "1.0651", "1.3122", "1.7137", "4.6971", "13.9455",
            ],
        ),
        (
            22,
            100,
            [
                "0.4567", "0.4629", "0.5266", "0.6487", "0.8472", "1.1569", "1.6363",
            ],
        ),
        (
            65,
            100,
            [
                "3.5007", "3.5481", "4.0364", "4.9728", "6.4945", "8.8682", "12.5427",
            ],
        ),
    ] {
        for (bits, energy) in (4..).zip(energies) {
            assert_decimals(of(node, rate, bits).energy, energy);
        }
    }
    for (bits, area) in (4..).zip(["3274", "3287", "3417", "3637", "3939", "4324", "4796"]) {
        assert_decimals(of(32, 100, bits).area.unwrap(), area);
    }
    assert_decimals(of(32, 100, 8).time.unwrap(), "10.0");
}

#[test]
fn converters_are_those_of_their_tools() {
    let zigzag = |bits, rows| named("zigzag-28").adc(bits, rows).unwrap().unwrap();
    assert_decimals(zigzag(4, 256).energy, "0.3242");
    assert_decimals(zigzag(4, 256).area.unwrap(), "183.0");
    assert_decimals(zigzag(8, 256).energy, "0.7011");
    assert_decimals(zigzag(8, 256).area.unwrap(), "2084.7");
    assert_decimals(zigzag(8, 256).time.unwrap(), "18.49");
    assert_decimals(zigzag(8, 512).time.unwrap(), "31.87");
    let of = |name: &str, bits| named(name).adc(bits, 128).unwrap().unwrap();
    assert_decimals(of("neurosim-22", 8).energy * 1e3, "143.1");
    assert_decimals(of("neurosim-32", 8).energy * 1e3, "234.5");
    assert_decimals(of("isaac-32", 8).energy, "1.667");
    assert_decimals(of("mnsim", 8).energy, "15.6");
    // Of two of 8 bits, the one that takes less.
    assert_decimals(of("mnsim", 8).area.unwrap(), "1200");
    assert!(of("mnsim", 9).energy > of("mnsim", 8).energy);
}

#[test]
fn too_many_bits_are_refused() {
    for (name, bits, most) in [("isaac-32", 9, 8), ("mnsim", 11, 10)] {
        let error = named(name).adc(bits, 128).unwrap_err();
        assert_eq!(
            error,
            CostError::Bits {
                model: name.to_owned(),
                bits,
                most
            }
        );
        assert!(
            error.to_string().contains(&format!("--adc-bits {most} or fewer")),
            "{error}"
        );
    }
    assert_eq!(named("convmapsim").adc(30, 128).unwrap(), None);
}

/// The two rows of its database: 1800 reads and 2 writes, 450 and 2.
#[test]
fn sums_are_those_of_convmapsim() {
    let model = named("convmapsim");
    let config = MappingConfig::new(PimArray::new(512, 512).unwrap());
    for (reads, energy, time) in [(1800, 54030.0, 9032.0), (450, 13530.0, 2282.0)] {
        let mut counts = Counts::default();
        (counts.reads, counts.arrays) = (reads, 2);
        let cost = Cost::of(&counts, &config, &CostConfig::new(1), &model).unwrap();
        assert_eq!(cost.total_energy() + cost.write_energy, energy);
        assert_eq!(cost.latency.unwrap() + cost.write_time.unwrap(), time);
        assert!(cost.area.is_empty());
    }
    assert!(model.missing().any(|component| component == Component::Adc));
}

/// The sums of its table 6: an IMA, twelve of them, a tile, 168 of these, and the chip.
#[test]
fn the_chip_of_isaac_is_that_of_its_table() {
    let model = named("isaac-32");
    let [ima, tile, chip] = model.inventory() else {
        panic!("{:?}", model.inventory());
    };
    let mm2 = |area: f64| area / 1e6;
    assert_decimals(ima.power, "24.08");
    assert_decimals(mm2(ima.area), "0.01312");
    assert_decimals(12.0 * ima.power, "288.96");
    assert_decimals(12.0 * mm2(ima.area), "0.15744");
    assert_decimals(tile.power, "329.81");
    assert_decimals(mm2(tile.area), "0.3723");
    assert_decimals(168.0 * tile.power / 1e3, "55.41");
    assert_decimals(168.0 * mm2(tile.area), "62.54");
    assert_decimals(chip.power / 1e3, "65.8");
    assert_decimals(mm2(chip.area), "85.4");
}

/// Sums of a column of 1-bit inputs and cells: 128 rows 8 bits, 256 rows 9, 512 rows 10.
#[test]
fn converters_that_lose_nothing_tell_all_sums_apart() {
    for (rows, pulse, cell, bits) in [
        (128, 1, 1, 8),
        (256, 1, 1, 9),
        (512, 1, 1, 10),
        (127, 1, 1, 7),
        (128, 2, 2, 11),
    ] {
        let config = MappingConfig::new(PimArray::new(rows, 64).unwrap().with_cell_bits(cell));
        let cost = CostConfig::new(8).with_pulse_bits(pulse);
        assert_eq!(cost.converter_bits(&config), bits, "{rows} rows");
        assert_eq!(cost.with_adc_bits(Some(5)).converter_bits(&config), 5);
    }
}

/// Counts of one layer, and each component's share, by hand.
#[test]
fn a_layer_takes_its_counts_times_the_constants() {
    let layer = ConvLayer::square("conv4", 9, 3, 32, 64);
    let config = MappingConfig::new(PimArray::new(256, 512).unwrap());
    let mapping = map_layer(&layer, Method::VwSdk, &config).unwrap();
    let cost = CostConfig::new(4).with_pulse_bits(2);
    let counts = Counts::of(&layer, &mapping, &config, &cost);
    assert_eq!(counts.reads, 2 * mapping.cycles);
    assert_eq!(counts.parallel_reads, 2 * mapping.parallel_cycles());
    assert_eq!(counts.adc_conversions, 2 * mapping.adc_conversions);
    assert_eq!(counts.input_bits, 4 * mapping.input_traffic);
    assert_eq!(counts.output_bits, 4 * 7 * 7 * 64);
    let taken = Cost::of(&counts, &config, &cost.with_adc_bits(Some(8)), &named("isaac-32")).unwrap();
    let part = |component| taken.energy[&component];
    assert!((part(Component::Adc) / (counts.adc_conversions as f64 * 16.0 / 9.6) - 1.0).abs() < 1e-9);
    assert!((part(Component::Cell) / (counts.cells as f64 * 30.0 / 16384.0) - 1.0).abs() < 1e-9);
    // 128 columns share a converter, whose turns take longer than a read.
    assert_decimals(taken.latency.unwrap() / counts.reads as f64, "106.67");
    let arrays = mapping.arrays as f64;
    assert_eq!(taken.area[&Component::Adc], arrays * 4.0 * 1200.0);
}

/// 128 conversions of ISAAC at 1.2 GS/s, 106.67 ns, take one period up to 9 MHz and two from 10 on.
#[test]
fn reads_take_whole_periods_of_a_clock() {
    let mapping = MappingConfig::new(PimArray::new(128, 128).unwrap());
    let layer = ConvLayer::square("conv", 8, 3, 3, 4);
    let mapped = map_layer(&layer, Method::VwSdk, &mapping).unwrap();
    let latency = |clock| {
        let cost = CostConfig::new(8).with_clock(clock);
        let counts = Counts::of(&layer, &mapped, &mapping, &cost);
        let found = Cost::of(&counts, &mapping, &cost, &named("isaac-32")).unwrap();
        found.latency.unwrap() / counts.reads as f64
    };
    let unclocked = latency(None);
    assert_decimals(unclocked, "106.67");
    for (clock, read) in [(1, 1000.0), (9, 1000.0 / 9.0), (10, 200.0), (15, 2000.0 / 15.0)] {
        let found = latency(Some(clock));
        assert!((found - read).abs() < 1e-9, "{clock} MHz: {found}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_named() {
    let refused = |text: &str| CostModel::from_toml("mine.toml", text).unwrap_err().to_string();
    let dac = |constant: &str| refused(&format!("[components.dac]\nenergy = {constant}\n"));
    for (found, says) in [
        (
            dac("{ value = 1, unit = \"ns\", source = \"s\" }"),
            "mine.toml: dac.energy is 1 ns: expected an energy in `fJ` or `pJ`",
        ),
        (
            dac("{ value = -1, unit = \"pJ\", source = \"s\" }"),
            "dac.energy is -1 pJ: expected zero or more",
        ),
        (
            dac("{ value = nan, unit = \"pJ\", source = \"s\" }"),
            "expected a number",
        ),
        (
            dac("{ value = 1, unit = \"pJ\", source = \"\" }"),
            "expected a `source`",
        ),
        (dac("{ value = 1, unit = \"pJ\" }"), "missing field `source`"),
        (dac("{ value = 1, unit = \"kWh\", source = \"s\" }"), "kWh"),
        (dac("3"), "mine.toml"),
        (
            refused("[components.adc]\nenergy = { value = 1, unit = \"pJ\", source = \"s\" }\n"),
            "mine.toml: adc.bits is missing: expected a number",
        ),
        (
            refused("[components.adc]\nform = \"magic\"\n"),
            "there is no form `magic`: expected accelergy",
        ),
        (refused("[components.laser]\n"), "laser"),
        (
            refused("base = \"isaac\"\n"),
            "there is no cost model `isaac`: expected isaac-32, zigzag-28",
        ),
        (refused("colour = 3\n"), "colour"),
        (refused("[components\n"), "mine.toml"),
        (
            refused(
                "base = \"isaac-32\"\n[components.adc]\nspeed = { value = 1, unit = \"GS/s\", source = \"s\" }\n",
            ),
            "mine.toml: adc.speed: no formula of this component has such a constant",
        ),
        (
            refused("[components.cell]\narea = { value = 280, unit = \"F2\", source = \"s\" }\n"),
            "mine.toml: cell.area.node is missing",
        ),
    ] {
        assert!(found.contains(says), "{found}");
    }
    let text =
        "base = \"isaac-32\"\n[components.dac]\nenergy = { value = 1, unit = \"fJ\", source = \"mine\" }\n";
    let model = CostModel::from_toml("mine.toml", text).unwrap();
    assert_eq!(model.title(), named("isaac-32").title());
    assert_eq!(model.adc(8, 128).unwrap(), named("isaac-32").adc(8, 128).unwrap());
}

/// `t V^2 / R` of a pair of cells, one of which holds something.
#[test]
fn cells_take_what_they_conduct() {
    let layer = ConvLayer::square("conv", 1, 1, 1, 1);
    let energy = |name: &str, weight: i64, input: i64| {
        let config = MappingConfig::new(PimArray::new(1, 2).unwrap().with_cell_bits(2)).with_weight_bits(2);
        let mapping = map_layer(&layer, Method::Im2col, &config).unwrap();
        let run = run_on(&layer, &mapping, &config, &[weight], &[input], &Device::ideal(2)).unwrap();
        named(name).cell_read().unwrap().energy(&run.work)
    };
    // 0.5 V for 2 ns, 6 and 900 kOhm; 0.2 V for 1 ns, 1.333 and 20 kOhm.
    let close =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    close(energy("neurosim-22", -3, 3), 0.5 * (1.0 / 6.0 + 1.0 / 900.0));
    close(energy("isaac-32", 3, 3), 0.04 * (1.0 / 1.333 + 1.0 / 20.0));
    // A third of the conductance between the two, and a third of the voltage.
    let third = 1.0 / 900.0 + (1.0 / 6.0 - 1.0 / 900.0) / 3.0;
    close(energy("neurosim-45", 1, 3), 0.5 * (third + 1.0 / 900.0));
    close(energy("neurosim-65", 3, 1), 0.5 / 9.0 * (1.0 / 6.0 + 1.0 / 900.0));
    assert_eq!(energy("neurosim-32", 3, 0), 0.0);
    assert!(named("zigzag-28").cell_read().is_none());

    let text = |resistance: &str| {
        format!(
            "base = \"isaac-32\"\n[read]\non_resistance = {{ value = {resistance}, unit = \"kOhm\", source = \"mine\" }}\n"
        )
    };
    assert!(CostModel::from_toml("mine", &text("2")).is_ok());
    let error = CostModel::from_toml("mine", &text("0")).unwrap_err().to_string();
    assert_eq!(
        error,
        "mine: read.on_resistance is 0: expected a resistance above 0"
    );
    let lonely = text("2").replace("isaac-32", "mnsim");
    let error = CostModel::from_toml("mine", &lonely).unwrap_err().to_string();
    assert!(
        error.starts_with("mine: read.off_resistance is missing"),
        "{error}"
    );
}
