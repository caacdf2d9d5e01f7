//! Trains, prunes, fine-tunes, packs, and reads pictures without Burn. Two minutes on two cores.

use burn::module::Module;
use burn::tensor::Device;
use embedding::training::accuracy;
use embedding::{Meter, MeterConfig, Samples, train};
use vwc_sdk::Error;
use vwc_sdk::data::{PictureDataset, synthetic};
use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, WidthLimits};
use vwc_sdk::models::Cnn8Config;
use vwc_sdk::packed::{Session, freeze};
use vwc_sdk::prune::groups_of;
use vwc_sdk::quant::Bits;

fn main() -> Result<(), Error> {
    let device = Device::default().autodiff();
    device.seed(0);
    let samples = |count, seed| {
        Samples::new(
            &PictureDataset::new(synthetic::digits(count, seed).into()),
            &device,
        )
    };
    let (training, test) = (samples(2000, 1), samples(400, 2));
    let report = |what: &str, model: &Meter| {
        let [digits, shades] = accuracy(model, &test);
        println!("{what}: {digits:.1} % of the digits, {shades:.1} % of light and dark");
    };

    let config = MeterConfig::new(Cnn8Config::new().with_activation_bits(Bits::TWO));
    let model = train(config.init(&device), &training, 10, 1e-3, &device);
    report("trained", &model);

    // Channel counts that fill the tiles of an array of 256 rows and 512 columns.
    let mapping = MappingConfig::new(PimArray::new(256, 512)?).with_accounting(Accounting::AsPublished);
    let widths = groups_of(&model.reader)?.next_widths(&mapping, &WidthLimits::default())?;
    let widths = widths.widths.expect("some channels are to spare");
    let before = model.num_params();
    let (model, _) = model.with_pruned_reader(&config, &widths)?;
    println!(
        "pruned to {widths:?}: {} parameters of {before}",
        model.num_params()
    );
    let model = train(model, &training, 4, 3e-4, &device);
    report("fine-tuned", &model);

    // The reader alone, as bits; from here on, no Burn.
    let packed = freeze(&model.valid().reader, &test.input)?;
    let (bits, floats) = (packed.to_bytes().len(), packed.float_size());
    let mut session = Session::new(&packed);
    let logits = session.logits(&test.bytes);
    let first: Vec<&str> = (logits.chunks_exact(10).take(8))
        .map(|logits| {
            let class = (0..10)
                .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                .expect("ten classes");
            packed.classes()[class].as_str()
        })
        .collect();
    println!(
        "packed: {bits} bytes, {floats} as floats; it reads {}",
        first.join(" ")
    );
    Ok(())
}
