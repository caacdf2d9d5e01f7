//! What the walk-through promises.

use burn::module::Module;
use burn::tensor::Device;
use embedding::training::accuracy;
use embedding::{Meter, MeterConfig, Samples, train};
use vwc_sdk::data::{PictureDataset, synthetic};
use vwc_sdk::models::{Cnn8Config, Network};
use vwc_sdk::packed::{Session, freeze};

fn narrow() -> MeterConfig {
    MeterConfig::new(Cnn8Config::new().with_widths([8, 8, 8, 12, 12, 12, 24]))
}

#[test]
fn a_network_of_the_crate_is_a_part_like_any_other() {
    let device = Device::default().autodiff();
    device.seed(1);
    let pictures = PictureDataset::new(synthetic::digits(192, 3).into());
    let samples = Samples::new(&pictures, &device);
    let config = narrow();
    let model = config.init(&device);
    let [_, before] = accuracy(&model, &samples);
    let model = train(model, &samples, 12, 3e-3, &device);
    let [_, after] = accuracy(&model, &samples);
    assert!(after > before.max(85.0), "{before} became {after}");

    // Saved and read as one module.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meter.bpk");
    model.clone().into_record().save(&path).unwrap();
    let record = burn::store::ModuleRecord::load(&path).unwrap();
    let read: Meter = config.init(&device).try_load_record(record).unwrap();
    assert_eq!(accuracy(&read, &samples), accuracy(&model, &samples));

    // Pruned, and trained on.
    let widths = [6, 6, 7, 9, 9, 10, 20];
    let others = model.num_params() - model.reader.num_params();
    let (pruned, smaller) = model.with_pruned_reader(&config, &widths).unwrap();
    assert_eq!(smaller.reader.widths, widths);
    assert_eq!(
        pruned.num_params() - pruned.reader.num_params(),
        others,
        "ours is untouched"
    );
    let pruned = train(pruned, &samples, 1, 1e-3, &device);

    // Packed: the same class for every picture.
    let reader = pruned.valid().reader;
    let packed = freeze(&reader, &samples.input).unwrap();
    let mut session = Session::new(&packed);
    let class = |logits: &[f32]| (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let found: Vec<usize> = session
        .logits(&samples.bytes)
        .chunks_exact(10)
        .map(class)
        .collect();
    let logits = reader
        .forward(samples.images.inner())
        .into_data()
        .try_into_vec::<f32>()
        .unwrap();
    let expected: Vec<usize> = logits.chunks_exact(10).map(class).collect();
    assert_eq!(found, expected);
}
