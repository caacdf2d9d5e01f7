//! The network that another one learns from, as the flags name it.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;

use crate::Error;
use crate::cli::kind::{NetworkKind, with_network};
use crate::cli::options::{positive, share};
use crate::data::PictureSpec;
use crate::models::NetworkConfig as _;
use crate::module::Parameters;
use crate::train::{DistillationConfig, Loss, RunDir};

/// Flags for a teacher.
#[derive(Args, Clone, Debug)]
pub struct TeacherFlags {
    /// Learn from this trained network, too, such as the same in more bits: a folder of a run, runs/x/original. It says of each picture
    /// how likely every class is, and not only which it is of
    #[arg(long, value_name = "DIR", help_heading = "Recipe")]
    pub teacher: Option<PathBuf>,

    /// With --teacher, what its logits are divided by: the higher, the more the classes count that a picture is not of
    #[arg(long, value_name = "T", default_value_t = 4.0, requires = "teacher", value_parser = positive, allow_negative_numbers = true, help_heading = "Recipe")]
    pub temperature: f64,

    /// With --teacher, its part of the loss, from 0 to 1
    #[arg(long, alias = "teacher_share", value_name = "PART", default_value_t = 0.9, requires = "teacher", value_parser = share, allow_negative_numbers = true, help_heading = "Recipe")]
    pub teacher_share: f64,
}

impl TeacherFlags {
    /// The loss of a network that learns from the teacher, if there is one, and reads `input`.
    ///
    /// # Errors
    ///
    /// A folder without a trained network, and a teacher that reads pictures in another way or has other classes.
    pub(super) fn loss(&self, input: &PictureSpec, device: &Device) -> Result<Loss, Error> {
        let Some(dir) = &self.teacher else {
            return Ok(Loss::default());
        };
        let run = RunDir::new(dir);
        let refuse = |error: Error| Error::Recipe(format!("--teacher {}: {error}", dir.display()));
        with_network!(NetworkKind::of_run(dir).map_err(refuse)?, C => {
            let (network, kept) = run.load::<C>(device).map_err(refuse)?;
            if kept.input != *input {
                return Err(Error::Recipe(format!(
                    "--teacher {}: it reads other pictures ({}) than the network that learns from it ({}): expected the same size, \
                     normalisation and classes",
                    dir.display(),
                    in_words(&kept.input),
                    in_words(input)
                )));
            }
            let name = format!(
                "{} ({}; CRC-32 {:08x})",
                kept.structure.name(),
                kept.structure.precision(),
                Parameters::of(&network).checksum()
            );
            say!("the teacher is {name}, in {}", dir.display());
            DistillationConfig::new(name)
                .with_temperature(self.temperature)
                .with_share(self.teacher_share)
                .init(network)
        })
    }
}

fn in_words(input: &PictureSpec) -> String {
    let [height, width] = input.size;
    format!(
        "{height}x{width}, {}, channels {}, classes {}",
        input.normalization,
        input.channels,
        input.classes.join(", ")
    )
}
