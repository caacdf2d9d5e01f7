//! The published recipes: the data, the array and the training of each network of this crate, and a recipe for the digits that
//! the program draws itself.

use super::Recipe;
use crate::data::DataKind;
use crate::mapping::Accounting;
use crate::models::{Cnn8Config, GraphNetConfig, NetworkConfig, ResNet20Config, Vgg13Config};

/// What a training starts from where no flag says it.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Epochs of training.
    pub epochs: usize,
    /// Epochs of fine-tuning a round.
    pub prune_epochs: usize,
    /// Pictures per step.
    pub batch_size: usize,
    /// Parts of the epochs after which the learning rate falls in training.
    pub milestones: [f64; 3],
    /// The same in fine-tuning.
    pub prune_milestones: [f64; 3],
}

impl Defaults {
    /// A training of `epochs` epochs.
    pub fn training(&self, epochs: usize) -> Recipe {
        Recipe::with_milestones_at(epochs, self.milestones)
    }

    /// A fine-tuning of `epochs` epochs.
    pub fn fine_tuning(&self, epochs: usize) -> Recipe {
        Recipe::with_milestones_at(epochs, self.prune_milestones)
    }
}

/// A network, and how it was published.
pub trait Published: NetworkConfig {
    /// What it was published on, or nothing where that is for the user to say.
    const DATA: Option<DataKind>;
    /// The array it was published on, rows and columns.
    const ARRAY: [usize; 2];
    /// How its feature maps are counted unless a flag says otherwise: as the published tables do where there are any.
    const ACCOUNTING: Accounting;
    /// Patterns for the convolutions that the published tables do not count.
    const NOT_COUNTED: &[&str] = &[];
    /// Folder that its runs are kept in.
    const DIRECTORY: &'static str;
    /// The published recipe.
    const PUBLISHED: Defaults;
    /// Minutes on two cores, for the digits that the program draws itself.
    const EMBEDDED: Defaults;
}

impl Published for Cnn8Config {
    const DATA: Option<DataKind> = Some(DataKind::Svhn);
    const ARRAY: [usize; 2] = [256, 512];
    const ACCOUNTING: Accounting = Accounting::AsPublished;
    const DIRECTORY: &'static str = "runs/svhn_cnn8";
    const PUBLISHED: Defaults = Defaults {
        epochs: 100,
        prune_epochs: 40,
        batch_size: 512,
        milestones: [0.5, 0.75, 0.9],
        prune_milestones: [0.25, 0.5, 0.75],
    };
    const EMBEDDED: Defaults = Defaults {
        epochs: 12,
        prune_epochs: 5,
        batch_size: 32,
        ..Self::PUBLISHED
    };
}

impl Published for ResNet20Config {
    const DATA: Option<DataKind> = Some(DataKind::Cifar10);
    const ARRAY: [usize; 2] = [512, 256];
    const ACCOUNTING: Accounting = Accounting::AsPublished;
    const NOT_COUNTED: &[&str] = &["*.shortcut"];
    const DIRECTORY: &'static str = "runs/cifar10_resnet20";
    const PUBLISHED: Defaults = Defaults {
        epochs: 200,
        prune_epochs: 80,
        batch_size: 512,
        milestones: [0.375, 0.625, 0.875],
        prune_milestones: [0.375, 0.625, 0.875],
    };
    const EMBEDDED: Defaults = Defaults {
        epochs: 8,
        prune_epochs: 4,
        batch_size: 32,
        ..Self::PUBLISHED
    };
}

impl Published for Vgg13Config {
    const DATA: Option<DataKind> = Some(DataKind::Cifar10);
    const ARRAY: [usize; 2] = [512, 256];
    const ACCOUNTING: Accounting = Accounting::ExactGeometry;
    const DIRECTORY: &'static str = "runs/cifar10_vgg13";
    const PUBLISHED: Defaults = Defaults {
        epochs: 400,
        batch_size: 128,
        ..ResNet20Config::PUBLISHED
    };
    const EMBEDDED: Defaults = ResNet20Config::EMBEDDED;
}

/// A network of somebody else's: its data are asked for, and the recipe is one that suits most.
impl Published for GraphNetConfig {
    const DATA: Option<DataKind> = None;
    const ARRAY: [usize; 2] = [256, 256];
    const ACCOUNTING: Accounting = Accounting::ExactGeometry;
    const DIRECTORY: &'static str = "runs";
    const PUBLISHED: Defaults = Defaults {
        epochs: 30,
        prune_epochs: 10,
        batch_size: 128,
        milestones: [0.5, 0.75, 0.9],
        prune_milestones: [0.5, 0.75, 0.9],
    };
    const EMBEDDED: Defaults = Defaults {
        epochs: 8,
        prune_epochs: 4,
        batch_size: 32,
        ..Self::PUBLISHED
    };
}
