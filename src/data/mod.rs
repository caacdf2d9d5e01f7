//! Pictures: where they come from, and how they reach a network.
//!
//! A [`DataSource`] says which pictures, and a [`PictureSpec`] how a network reads them. [`Pictures`] hold a split as bytes. [`svhn`] and [`cifar10`] read them from the official files, which [`download`]
//! fetches, and [`folder`] from pictures in folders; [`synthetic`] draws them where there are no files. From there on
//! everything is Burn's: a [`PictureDataset`] is a `Dataset`, [`Resize`] a `Mapper` over it, [`PictureBatcher`] a
//! `Batcher`, and [`PictureLoader`] a `DataLoader` whose epochs can be repeated. It varies the training pictures as
//! [`Augment`] says.

pub mod cifar10;
pub mod download;
pub mod folder;
pub mod svhn;
pub mod synthetic;

mod archive;
mod augment;
mod batcher;
mod dataset;
mod error;
mod item;
mod loader;
mod mat;
mod normalization;
mod pictures;
mod resize;
mod source;
mod spec;

pub use augment::Augment;
pub use batcher::{PictureBatch, PictureBatcher};
pub use dataset::{PictureDataset, Splits};
pub use error::DataError;
pub use item::PictureItem;
pub use loader::PictureLoader;
pub use normalization::Normalization;
pub use pictures::{ClassMatch, Pictures, contact_sheet};
pub use resize::Resize;
pub(crate) use source::published_classes;
pub use source::{DataKind, DataSource, Loaded};
pub use spec::{ChannelOrder, PictureSpec};
pub(crate) use spec::{check_names, numbers};
