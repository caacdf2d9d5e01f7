//! What the first step of an activation quantiser is measured by.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::best_step;
use super::range::Range;
use super::steps::SMALLEST;

/// How the first step of an activation quantiser follows from numbers that it is to read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Observer {
    /// The step that rounds them with the least mean squared error: few large numbers are cut off where that makes the others finer.
    /// All numbers count alike.
    #[default]
    LeastError,
    /// The step with which nothing of a batch is cut off. Of several batches the steps are averaged: each batch moves the average by a
    /// tenth towards its own.
    MinMax,
    /// As [`MinMax`](Self::MinMax), but that so many per cent of a batch are not cut off, above 0 and up to 100.
    Percentile(f64),
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastError => f.write_str("least-error"),
            Self::MinMax => f.write_str("min-max"),
            Self::Percentile(share) => write!(f, "percentile:{share}"),
        }
    }
}

impl FromStr for Observer {
    type Err = ObserverError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let percentile = |share: &str| {
            let share = share.parse().ok();
            let share = share.filter(|&share| share > 0.0 && share <= 100.0);
            share.map(Self::Percentile).ok_or(ObserverError::Percentile)
        };
        match text.split_once(':') {
            None if text == "least-error" => Ok(Self::LeastError),
            None if text == "min-max" => Ok(Self::MinMax),
            Some(("percentile", share)) => percentile(share),
            _ => Err(ObserverError::Name),
        }
    }
}

/// Why a step cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ObserverError {
    /// There are no numbers.
    #[error("there is nothing to measure steps on: give at least one picture")]
    Nothing,
    /// All numbers are zero, or, where codes have no sign, below.
    #[error(
        "all that it reads of these pictures is zero or cannot be told from it: give other pictures, or leave it in full precision (32 bits)"
    )]
    Zeros,
    /// One of the numbers is none.
    #[error("it reads NaN or infinity: see whether the network computes numbers for these pictures")]
    NotFinite,
    /// A percentile that is none.
    #[error("a percentile is above 0 and at most 100")]
    Percentile,
    /// A name that is none.
    #[error("expected least-error, min-max, or percentile:PERCENT, such as percentile:99.99")]
    Name,
}

/// How far a batch moves the average.
const MOVED: f32 = 0.1;

/// Refuses no numbers, and those that are none.
fn check(batches: &[Vec<f32>]) -> Result<(), ObserverError> {
    if batches.iter().all(Vec::is_empty) {
        return Err(ObserverError::Nothing);
    }
    if batches.iter().flatten().any(|x| !x.is_finite()) {
        return Err(ObserverError::NotFinite);
    }
    Ok(())
}

impl Observer {
    /// The codes, `levels` steps in all, whose share below zero is that of the numbers' range.
    pub(super) fn range(self, batches: &[Vec<f32>], levels: u32) -> Result<Range, ObserverError> {
        check(batches)?;
        let kept = match self {
            Self::Percentile(share) => share,
            _ => 100.0,
        };
        let ends = batches.iter().filter(|batch| !batch.is_empty()).map(|batch| {
            let mut sorted = batch.clone();
            sorted.sort_by(f32::total_cmp);
            let cut = ((100.0 - kept) / 200.0 * sorted.len() as f64) as usize;
            let cut = cut.min((sorted.len() - 1) / 2);
            [sorted[cut].min(0.0), sorted[sorted.len() - 1 - cut].max(0.0)]
        });
        let toward = |average: f32, end: f32| average + MOVED * (end - average);
        let average = ends.reduce(|[low, high], ends| [toward(low, ends[0]), toward(high, ends[1])]);
        let [low, high] = average.ok_or(ObserverError::Nothing)?;
        let all = high - low;
        if all < SMALLEST {
            return Err(ObserverError::Zeros);
        }
        Ok(Range::from((low / all * levels as f32).round(), levels))
    }

    /// The step for codes in this range, of numbers in batches.
    pub(super) fn step(self, batches: &[Vec<f32>], codes: Range) -> Result<f32, ObserverError> {
        check(batches)?;
        let step = match self {
            Self::LeastError => best_step(&batches.concat(), codes),
            Self::MinMax => averaged(batches, codes, 100.0),
            Self::Percentile(share) if share > 0.0 && share <= 100.0 => averaged(batches, codes, share),
            Self::Percentile(_) => return Err(ObserverError::Percentile),
        };
        step.filter(|&step| step >= SMALLEST).ok_or(ObserverError::Zeros)
    }
}

/// The moving average of the steps with which so many per cent of each batch are not cut off.
fn averaged(batches: &[Vec<f32>], codes: Range, percent: f64) -> Option<f32> {
    let steps = batches.iter().filter(|batch| !batch.is_empty()).map(|batch| {
        let mut reaches: Vec<f32> = batch.iter().map(|&x| codes.reach(x).max(0.0)).collect();
        reaches.sort_by(f32::total_cmp);
        let place = (percent / 100.0 * reaches.len() as f64).ceil() as usize;
        reaches[place.clamp(1, reaches.len()) - 1]
    });
    steps.reduce(|average, step| average + MOVED * (step - average))
}

#[cfg(test)]
mod tests {
    use super::super::Bits;
    use super::*;

    fn codes(bits: u8, signed: bool) -> Range {
        let levels = Bits::new(bits).unwrap().levels().unwrap();
        match signed {
            true => Range::signed(levels, false),
            false => Range::unsigned(levels),
        }
    }

    #[test]
    fn ranges_are_those_of_the_batches() {
        let batch: Vec<f32> = (0..1000).map(|n| n as f32 / 1000.0).collect();
        let outlier = vec![batch.clone(), [&batch[..], &[30.0]].concat()];
        // 15 steps of four bits: to 0.999, and then a tenth of the way to 30.
        let step = Observer::MinMax.step(&outlier, codes(4, false)).unwrap();
        assert!(
            (step - (0.999 + 0.1 * (30.0 - 0.999)) / 15.0).abs() < 1e-6,
            "{step}"
        );
        // All but a hundredth: 0.989, and with the outlier the 991st of 1001.
        let step = Observer::Percentile(99.0)
            .step(&outlier, codes(4, false))
            .unwrap();
        assert!(
            (step - (0.989 + 0.1 * (0.990 - 0.989)) / 15.0).abs() < 1e-6,
            "{step}"
        );
        // With a sign the lower end reaches further by a code.
        let signed = vec![vec![-0.8, 0.6]];
        let step = Observer::MinMax.step(&signed, codes(3, true)).unwrap();
        assert!((step - 0.2).abs() < 1e-6, "{step}");
        // What is below zero has no code without a sign.
        let step = Observer::MinMax.step(&signed, codes(3, false)).unwrap();
        assert!((step - 0.6 / 7.0).abs() < 1e-6, "{step}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for observer in [Observer::LeastError, Observer::MinMax, Observer::Percentile(99.5)] {
            assert_eq!(observer.to_string().parse(), Ok(observer));
        }
        for (name, error) in [
            ("percentile", ObserverError::Name),
            ("mse", ObserverError::Name),
            ("min-max:3", ObserverError::Name),
            ("percentile:0", ObserverError::Percentile),
            ("percentile:NaN", ObserverError::Percentile),
            ("percentile:x", ObserverError::Percentile),
        ] {
            assert_eq!(name.parse::<Observer>(), Err(error), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let codes = codes(4, false);
        for observer in [Observer::LeastError, Observer::MinMax, Observer::Percentile(99.9)] {
            for (batches, error) in [
                (vec![], ObserverError::Nothing),
                (vec![vec![]], ObserverError::Nothing),
                (vec![vec![0.0; 9]], ObserverError::Zeros),
                (vec![vec![-1.0, 0.0]], ObserverError::Zeros),
                (vec![vec![1.0], vec![f32::NAN]], ObserverError::NotFinite),
                (vec![vec![1.0, f32::INFINITY]], ObserverError::NotFinite),
            ] {
                assert_eq!(
                    observer.step(&batches, codes),
                    Err(error),
                    "{observer:?} of {batches:?}"
                );
            }
        }
        for share in [0.0, 100.1, f64::NAN] {
            let step = Observer::Percentile(share).step(&[vec![1.0]], codes);
            assert_eq!(step, Err(ObserverError::Percentile));
        }
    }
}
