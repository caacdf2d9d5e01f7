//! A loop of our own: two losses, Burn's Adam, no `Learner`.

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::{Dataset, transform::Mapper};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData};
use vwc_sdk::data::{PictureBatcher, PictureDataset, PictureSpec, Resize};
use vwc_sdk::models::{Cnn8Config, NetworkConfig};

use crate::Meter;

/// Pictures with what is to be told of each.
#[derive(Clone, Debug)]
pub struct Samples {
    /// What the pictures become for the reader: packed inference has to know.
    pub input: PictureSpec,
    /// The pictures' bytes as the reader takes them, `[picture, 40, 40, 3]`: packed inference starts from these.
    pub bytes: Vec<u8>,
    /// `[picture, 3, 40, 40]`.
    pub images: Tensor<4>,
    /// The digits.
    pub digits: Tensor<1, Int>,
    /// 1 where the picture is dark.
    pub shades: Tensor<1, Int>,
}

impl Samples {
    /// All pictures of `pictures`, resized and on `device`.
    pub fn new(pictures: &PictureDataset, device: &Device) -> Self {
        let resize = Resize::new(Cnn8Config::new().input());
        let items = pictures
            .iter()
            .map(|item| resize.map(&item.expect("a picture in memory")));
        let items: Vec<_> = items.collect();
        let dark = items.iter().map(|item| {
            let sum: u64 = item.pixels.iter().map(|&byte| u64::from(byte)).sum();
            i64::from(sum < 128 * item.pixels.len() as u64)
        });
        let dark: Vec<i64> = dark.collect();
        let bytes = items
            .iter()
            .flat_map(|item| item.pixels.iter().copied())
            .collect();
        let input = pictures.spec(Cnn8Config::new().input());
        let batch = PictureBatcher::new(input.normalization).batch(items, device);
        Self {
            input,
            bytes,
            images: batch.images,
            digits: batch.targets,
            shades: Tensor::from_data(TensorData::from(&dark[..]), device),
        }
    }
}

/// Trains for `epochs` epochs of batches of 32, in order, at the learning rate `rate`. `device` is one with automatic
/// differentiation.
pub fn train(mut model: Meter, samples: &Samples, epochs: usize, rate: f64, device: &Device) -> Meter {
    const BATCH: usize = 32;
    let loss = CrossEntropyLossConfig::new().init(device);
    let mut adam = AdamConfig::new().init();
    let [count, ..] = samples.images.dims();
    for _ in 0..epochs {
        for start in (0..count).step_by(BATCH) {
            let batch = start..count.min(start + BATCH);
            let [digits, shades] = model.forward(samples.images.clone().slice(batch.clone()));
            let digits = loss.forward(digits, samples.digits.clone().slice(batch.clone()));
            let shades = loss.forward(shades, samples.shades.clone().slice(batch));
            let gradients = GradientsParams::from_grads((digits + shades).backward(), &model);
            model = adam.step(rate, model, gradients);
        }
    }
    model
}

/// Right answers, in per cent: of the digits, and of light and dark.
pub fn accuracy(model: &Meter, samples: &Samples) -> [f64; 2] {
    let [digits, shades] = model.valid().forward(samples.images.clone().inner());
    let [count, ..] = samples.images.dims();
    let share = |logits: Tensor<2>, targets: &Tensor<1, Int>| {
        let right = logits.argmax(1).flatten::<1>(0, 1).equal(targets.clone().inner());
        100.0 * right.int().sum().into_scalar::<i64>() as f64 / count as f64
    };
    [share(digits, &samples.digits), share(shades, &samples.shades)]
}
