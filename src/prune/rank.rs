//! Which channels of a group stay.

use std::fmt;
use std::str::FromStr;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::module::{ChannelGroup, ChannelSlice, Parameters};

/// What decides which channels of a group stay: those of the highest score.
///
/// Where several convolutions produce the channels of a group, as in a residual stage, their scores are added up, so
/// that a channel stays which matters to the stage as a whole. Scores are taken of the latent weights: quantised ones
/// all have the same magnitude at 1 bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ranking {
    /// The sum of a filter's magnitudes: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, section 3.1.
    /// What VWC-SDK prunes by.
    #[default]
    L1,
    /// A filter's Euclidean norm.
    L2,
    /// The magnitude of the channel's batch norm scale: Liu et al., "Learning Efficient Convolutional Networks through
    /// Network Slimming", ICCV 2017. Where several batch norms see the channel, with pre-activation those that read it,
    /// theirs are added up.
    BatchNormScale,
    /// The sum of a filter's Euclidean distances to the other filters of its convolution: those nearest to the geometric
    /// median can be replaced by the others (He et al., "Filter Pruning via Geometric Median", CVPR 2019).
    GeometricMedian,
    /// Random numbers of this seed: what every other ranking has to beat.
    Random(u64),
}

impl Ranking {
    /// Its name without a seed, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::BatchNormScale => "bn-scale",
            Self::GeometricMedian => "geometric-median",
            Self::Random(_) => "random",
        }
    }

    /// A score for each channel of `group`, whose network holds `parameters`.
    ///
    /// # Errors
    ///
    /// A group that names parameters which are not there, and [`Error::Ranking`] for batch norm scales where the group
    /// has no batch norm.
    pub fn scores(self, group: &ChannelGroup, parameters: &Parameters) -> Result<Vec<f64>, Error> {
        let mut sums = vec![0.0; group.channels];
        let mut add = |scores: Vec<f64>| {
            for (sum, score) in sums.iter_mut().zip(scores) {
                *sum += score;
            }
        };
        match self {
            Self::Random(seed) => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                // Groups differ, and each gets the same numbers whatever else is ranked.
                random.set_stream(group.name.bytes().fold(0, |hash: u64, byte| {
                    hash.wrapping_mul(31).wrapping_add(byte.into())
                }));
                add((0..group.channels).map(|_| random.random::<f64>()).collect());
            }
            Self::BatchNormScale => {
                let scales: Vec<&ChannelSlice> = (group.slices.iter())
                    .filter(|slice| slice.path.ends_with(".gamma"))
                    .collect();
                if scales.is_empty() {
                    return Err(Error::Ranking {
                        group: group.name.clone(),
                        ranking: self.name(),
                        reason: "no batch norm sees them; choose l1, l2, geometric-median or random".into(),
                    });
                }
                for slice in scales {
                    let scales = (0..group.channels).map(|channel| filter(slice, channel, parameters));
                    let scales = scales.collect::<Result<Vec<_>, _>>()?;
                    add(scales.iter().map(|scale| l1(scale)).collect());
                }
            }
            Self::L1 | Self::L2 | Self::GeometricMedian => {
                for slice in &group.ranked_by {
                    let filters = (0..group.channels).map(|channel| filter(slice, channel, parameters));
                    let filters = filters.collect::<Result<Vec<_>, _>>()?;
                    add(match self {
                        Self::L1 => filters.iter().map(|filter| l1(filter)).collect(),
                        Self::L2 => filters.iter().map(|filter| l2(filter)).collect(),
                        _ => distances(&filters),
                    });
                }
            }
        }
        Ok(sums)
    }
}

impl fmt::Display for Ranking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(seed) => write!(f, "random:{seed}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for Ranking {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = [
            Self::L1,
            Self::L2,
            Self::BatchNormScale,
            Self::GeometricMedian,
            Self::Random(0),
        ];
        let seeded = text.strip_prefix("random:").and_then(|seed| seed.parse().ok());
        seeded
            .map(Self::Random)
            .or_else(|| plain.into_iter().find(|ranking| ranking.name() == text))
            .ok_or_else(|| {
                "expected l1, l2, bn-scale, geometric-median, random, or random:SEED with a whole number"
                    .into()
            })
    }
}

/// The numbers of one channel.
fn filter(slice: &ChannelSlice, channel: usize, parameters: &Parameters) -> Result<Vec<f32>, Error> {
    let (values, shape) = (
        parameters.values(&slice.path)?,
        parameters.get(&slice.path)?.shape(),
    );
    let inner: usize = shape[slice.dim + 1..].iter().product();
    let blocks = values.chunks(shape[slice.dim] * inner);
    let indices = slice.indices(channel);
    let of_block = |block: &[f32]| -> Vec<f32> {
        let of = indices.iter().flat_map(|&index| &block[index * inner..][..inner]);
        of.copied().collect()
    };
    Ok(blocks.flat_map(of_block).collect())
}

// Summed in f64, so that the order does not hang on how a device adds up.

fn l1(filter: &[f32]) -> f64 {
    filter.iter().map(|&weight| f64::from(weight).abs()).sum()
}

fn l2(filter: &[f32]) -> f64 {
    filter
        .iter()
        .map(|&weight| f64::from(weight).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn distances(filters: &[Vec<f32>]) -> Vec<f64> {
    let mut sums = vec![0.0; filters.len()];
    for (i, a) in filters.iter().enumerate() {
        for (j, b) in filters.iter().enumerate().skip(i + 1) {
            let squares = a.iter().zip(b).map(|(&a, &b)| f64::from(a - b).powi(2));
            let distance = squares.sum::<f64>().sqrt();
            sums[i] += distance;
            sums[j] += distance;
        }
    }
    sums
}

/// The indices, ascending, of the `keep` largest of `scores`. Of equals, those that come first stay.
///
/// ```
/// # use vwc_sdk::prune::keep_largest;
/// assert_eq!(keep_largest(&[0.5, 2.0, 0.1, 1.0], 2), [1, 3]);
/// ```
///
/// # Panics
///
/// Where `keep` is more than there are.
pub fn keep_largest(scores: &[f64], keep: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept = order[..keep].to_vec();
    kept.sort_unstable();
    kept
}
