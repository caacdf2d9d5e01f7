use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{ChannelOrder, Normalization, PictureItem};

/// Pictures and classes on a device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PictureBatch {
    /// Normalised pictures, `[batch, 3, height, width]`.
    pub images: Tensor<4>,
    /// Classes, `[batch]`.
    pub targets: Tensor<1, Int>,
    /// Which part of the whole batch this is: 1, but where several devices share it out.
    pub share: f64,
}

/// Normalises bytes and stacks them into a [`PictureBatch`].
#[derive(Clone, Debug)]
pub struct PictureBatcher {
    /// What each byte becomes, per channel: three multiplications a pixel would only repeat 768 results.
    values: [[f32; 256]; 3],
    /// For each channel of the network, the place of its colour in a pixel.
    places: [usize; 3],
}

impl PictureBatcher {
    /// Batches of pictures with this normalisation.
    pub fn new(normalization: Normalization) -> Self {
        let Normalization { mean, std } = normalization;
        let mut values = [[0.0; 256]; 3];
        for (channel, values) in values.iter_mut().enumerate() {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - mean[channel]) / std[channel];
            }
        }
        Self {
            values,
            places: ChannelOrder::Rgb.places(),
        }
    }

    /// The same batches with the channels in this order.
    #[must_use]
    pub fn with_channels(self, order: ChannelOrder) -> Self {
        Self {
            places: order.places(),
            ..self
        }
    }
}

impl Batcher<PictureItem, PictureBatch> for PictureBatcher {
    /// # Panics
    ///
    /// Where `items` is empty, or its pictures differ in size.
    fn batch(&self, items: Vec<PictureItem>, device: &Device) -> PictureBatch {
        let [height, width] = items[0].size;
        // The channels stay last in memory, as the bytes lie and the kernels of `flex` want them.
        let mut images = vec![0.0; items.len() * height * width * 3];
        for (item, image) in items.iter().zip(images.chunks_exact_mut(height * width * 3)) {
            assert_eq!(item.size, [height, width], "pictures of one size");
            for (pixel, to) in item.pixels.chunks_exact(3).zip(image.chunks_exact_mut(3)) {
                for (to, place) in to.iter_mut().zip(self.places) {
                    *to = self.values[place][usize::from(pixel[place])];
                }
            }
        }
        let targets: Vec<i64> = items.iter().map(|item| item.label.into()).collect();
        let images = TensorData::new(images, [items.len(), height, width, 3]);
        PictureBatch {
            images: Tensor::<4>::from_data(images, device).permute([0, 3, 1, 2]),
            targets: Tensor::from_data(TensorData::new(targets, [items.len()]), device),
            share: 1.0,
        }
    }
}
