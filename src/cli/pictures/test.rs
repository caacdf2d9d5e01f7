//! Test pictures of a trained network, drawn as flags ask for.

use burn::data::dataset::Dataset;
use clap::Args;

use super::{SourceArgs, not_found};
use crate::Error;
use crate::data::{DataKind, PictureDataset};
use crate::train::RunConfig;

/// Flags for test pictures of a trained network.
#[derive(Args, Clone, Debug, Default)]
pub struct TestPictureArgs {
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,

    /// Seed that the test pictures are drawn with, from each class its share
    #[arg(long, value_name = "SEED", default_value_t = 0, help_heading = "Data")]
    pub draw_seed: u64,
}

/// Classes that are listed with how many pictures each has. Of more classes only the range is.
const MOST_LISTED: usize = 20;

/// Test pictures of a trained network, and where they come from.
pub struct TestPictures {
    /// The data set in words.
    pub source: String,
    /// Those that were drawn, as the network reads them.
    pub drawn: PictureDataset,
    /// How many there are to draw from.
    pub total: usize,
}

impl TestPictures {
    /// How many they are, and how many of each class: `200 of 2000 test pictures of synthetic digits, drawn with seed 0 (20 of
    /// each of 10 classes)`.
    pub fn describe(&self, seed: u64) -> String {
        let Self { source, drawn, total } = self;
        let counts = drawn.class_counts();
        let [least, most] = [counts.iter().min(), counts.iter().max()].map(|n| n.copied().unwrap_or(0));
        let of_classes = if least == most {
            format!("{least} of each of {} classes", counts.len())
        } else if counts.len() <= MOST_LISTED {
            let each = drawn.class_names().iter().zip(&counts);
            let each: Vec<_> = each.map(|(class, count)| format!("{class}: {count}")).collect();
            each.join(", ")
        } else {
            format!("{least} to {most} of each of {} classes", counts.len())
        };
        let drawn_with = if drawn.len() < *total {
            format!(", drawn with seed {seed}")
        } else {
            String::new()
        };
        format!(
            "{} of {total} test pictures of {source}{drawn_with} ({of_classes})",
            drawn.len()
        )
    }
}

impl TestPictureArgs {
    /// `wanted` of the test pictures that the flags ask for, else of those that the network of `run` was trained with, else,
    /// for a network that was not trained here, of those that it was `published` on; all where there are no more. They are
    /// read as the network was trained.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, and classes that are not the network's.
    pub fn draw<C>(
        &self,
        published: Option<DataKind>,
        run: &RunConfig<C>,
        wanted: usize,
    ) -> Result<TestPictures, Error> {
        let source = self.source.source(published, run.source.as_ref(), false)?;
        if run.source.is_none() && !self.source.asked_for() && !source.is_present() {
            return Err(not_found(&source));
        }
        let (pictures, passed_over) = source.load_test(run.input.size)?;
        passed_over.iter().for_each(|files| say!("{files}"));
        let pictures = self.source.test_of(run, &source, pictures)?;
        let all = PictureDataset::new(pictures.into());
        Ok(TestPictures {
            source: source.to_string(),
            total: all.len(),
            drawn: all.sample(wanted, self.draw_seed),
        })
    }
}
