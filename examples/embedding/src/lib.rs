//! A meter's camera: it reads a digit, and says whether the picture is dark. The reader is vwc-sdk's CNN-8; what tells dark from
//! light is a small network of our own around one of its quantised convolutions. Both are one Burn module, trained by a loop of
//! ours; then the reader is pruned to what an array computes fastest, fine-tuned, and packed for a device that has no Burn.

pub mod model;
pub mod training;

pub use model::{Meter, MeterConfig};
pub use training::{Samples, train};
