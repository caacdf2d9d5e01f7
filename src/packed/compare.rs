//! A packed network beside the trained one that it was made of, on pictures.

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::{Dataset, transform::Mapper};
use burn::tensor::Device;

use super::{Model, Session};
use crate::Error;
use crate::data::{PictureBatcher, PictureDataset, PictureSpec, Resize};
use crate::models::{Network, NetworkConfig as _};

/// Pictures at a time.
const BATCH: usize = 256;

/// How many pictures are of the same class for both networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Pictures.
    pub total: usize,
    /// Those that the packed network classifies rightly.
    pub right: usize,
    /// Those that are of another class for it than for the trained one.
    pub different: usize,
    /// The first of them: its number, its class by the packed network and by the trained one.
    pub first: Option<[usize; 3]>,
}

/// Compares the classes that the packed `model` gives to `pictures` with those of the trained `network`, which reads them as `input`
/// says, on `device`.
///
/// # Errors
///
/// A picture that cannot be read, and a model of other pictures or classes.
pub fn compare<N: Network>(
    network: &N,
    model: &Model,
    pictures: &PictureDataset,
    input: &PictureSpec,
    device: &Device,
) -> Result<Comparison, Error> {
    let PictureSpec {
        normalization,
        channels,
        ..
    } = *input;
    let (size, classes) = (network.config().input(), network.structure().classes());
    if model.input() != size || model.classes().len() != classes {
        return Err(Error::Recipe(format!(
            "the packed network {} reads pictures of {:?} and tells {} classes apart, {} reads {size:?} and tells {classes} apart: \
             compare it with the network that it was made of",
            model.network(),
            model.input(),
            model.classes().len(),
            network.config().name()
        )));
    }
    let resize = Resize::new(size);
    let batcher = PictureBatcher::new(normalization).with_channels(channels);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut session = Session::new(model).with_threads(threads);
    let total = pictures.len();
    let (mut right, mut different, mut first) = (0, 0, None);
    for begin in (0..total).step_by(BATCH) {
        let items = (begin..total.min(begin + BATCH)).map(|n| pictures.get(n).map(|item| resize.map(&item)));
        let items: Vec<_> = items
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Recipe(format!("a picture cannot be read: {error}")))?;
        let bytes: Vec<u8> = items
            .iter()
            .flat_map(|item| item.pixels.iter().copied())
            .collect();
        let labels: Vec<usize> = items.iter().map(|item| usize::from(item.label)).collect();
        let logits = network.forward(batcher.batch(items, device).images).into_data();
        let logits = logits.try_into_vec::<f32>().expect("logits are 32-bit floats");
        let of_pictures = |logits: &[f32]| -> Vec<usize> {
            let classes = logits.chunks_exact(logits.len() / labels.len());
            classes.map(likeliest).collect()
        };
        let (trained, packed) = (of_pictures(&logits), of_pictures(session.logits(&bytes)));
        for (n, ((trained, packed), label)) in trained.into_iter().zip(packed).zip(&labels).enumerate() {
            right += usize::from(packed == *label);
            if trained != packed {
                different += 1;
                first.get_or_insert([begin + n, packed, trained]);
            }
        }
    }
    Ok(Comparison {
        total,
        right,
        different,
        first,
    })
}

/// The class of the largest logit.
fn likeliest(logits: &[f32]) -> usize {
    let classes = 0..logits.len();
    classes
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .unwrap_or(0)
}
