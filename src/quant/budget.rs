//! Which choice each layer gets under a budget: the exact answer to a knapsack with one item of each kind.

/// What it costs to quantise a layer in one of the ways that there are for it, and what is lost by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Costs, in whatever they are counted in: bits of weights, cycles.
    pub cost: u64,
    /// What is lost, such as accuracy; losses of layers are added up.
    pub loss: f64,
}

/// A sum of choices that no other sum beats in both, and the choices that it is of.
#[derive(Clone, Copy)]
struct Sum {
    cost: u64,
    loss: f64,
    /// The last layer's choice, and the place of the sum without it among those of the layers before.
    choice: usize,
    before: usize,
}

/// For each layer the place of its choice, so that the costs add up to at most `budget` and the losses to as little as possible; of
/// equal losses, those of the least cost. `None` where no choices cost so little, and where a layer has none.
///
/// The result is exact: of all sums of the first layers those are kept that no other sum beats in cost and loss, layer by layer
/// (Nemhauser, Ullmann, "Discrete Dynamic Programming and Capital Allocation", Management Science 15, 1969). Choices with a loss that
/// is no number are left out.
///
/// ```
/// use vwc_sdk::quant::{Choice, choices_within};
///
/// // Two layers at 2, 4 and 8 bits: a large one that bears few, and a small one that does not.
/// let layer = |weights: u64, losses: [f64; 3]| -> Vec<Choice> {
///     let bits = [2, 4, 8].into_iter().zip(losses);
///     bits.map(|(bits, loss)| Choice { cost: weights * bits, loss }).collect()
/// };
/// let layers = [layer(1000, [0.1, 0.02, 0.0]), layer(100, [2.0, 0.5, 0.0])];
/// // Three bits a weight.
/// assert_eq!(choices_within(&layers, 3300), Some(vec![0, 2]));
/// assert_eq!(choices_within(&layers, 2199), None);
/// ```
#[must_use]
pub fn choices_within(layers: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let nothing = Sum {
        cost: 0,
        loss: 0.0,
        choice: 0,
        before: 0,
    };
    let mut fronts: Vec<Vec<Sum>> = vec![vec![nothing]];
    for choices in layers {
        let sums = fronts.last().expect("one is there").iter().enumerate();
        let mut longer: Vec<Sum> = sums
            .flat_map(|(before, sum)| {
                let choices = choices.iter().enumerate();
                choices.filter_map(move |(choice, own)| {
                    let cost = sum.cost.checked_add(own.cost)?;
                    let loss = sum.loss + own.loss;
                    (cost <= budget && loss.is_finite()).then_some(Sum {
                        cost,
                        loss,
                        choice,
                        before,
                    })
                })
            })
            .collect();
        longer.sort_by(|a, b| a.cost.cmp(&b.cost).then(a.loss.total_cmp(&b.loss)));
        let mut least = f64::INFINITY;
        longer.retain(|sum| {
            let better = sum.loss < least;
            least = least.min(sum.loss);
            better
        });
        fronts.push(longer);
    }
    // The costliest sum that nothing beats loses least.
    let mut place = fronts.last()?.len().checked_sub(1)?;
    let mut chosen: Vec<usize> = fronts
        .iter()
        .skip(1)
        .rev()
        .map(|front| {
            let sum = front[place];
            place = sum.before;
            sum.choice
        })
        .collect();
    chosen.reverse();
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Cost and loss of some choices.
    fn sum(layers: &[Vec<Choice>], chosen: &[usize]) -> (u64, f64) {
        let own = layers
            .iter()
            .zip(chosen)
            .map(|(choices, &chosen)| choices[chosen]);
        own.fold((0, 0.0), |(cost, loss), own| (cost + own.cost, loss + own.loss))
    }

    /// Every way to choose.
    fn all(layers: &[Vec<Choice>]) -> Vec<Vec<usize>> {
        layers.iter().fold(vec![vec![]], |ways, choices| {
            let longer = ways.iter().flat_map(|way| {
                let choices = 0..choices.len();
                choices.map(|choice| way.iter().copied().chain([choice]).collect())
            });
            longer.collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Losses are multiples of a quarter, so that sums are exact.
        #[test]
        fn nothing_that_is_within_the_budget_loses_less(
            layers in vec(vec((0_u64..20, -4_i32..20), 1..5), 0..6),
            budget in 0_u64..90,
        ) {
            let layers: Vec<Vec<Choice>> = layers
                .into_iter()
                .map(|layer| {
                    let own = layer.into_iter();
                    own.map(|(cost, loss)| Choice { cost, loss: f64::from(loss) / 4.0 }).collect()
                })
                .collect();
            let within = all(&layers).into_iter().map(|way| sum(&layers, &way)).filter(|(cost, _)| *cost <= budget);
            let best = within.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            let found = choices_within(&layers, budget).map(|chosen| sum(&layers, &chosen));
            prop_assert_eq!(found, best);
        }
    }

    #[test]
    fn what_is_no_number_is_not_chosen() {
        let of = |cost, loss| Choice { cost, loss };
        let layers = [vec![of(1, f64::NAN), of(2, f64::INFINITY), of(3, 1.0)]];
        assert_eq!(choices_within(&layers, 9), Some(vec![2]));
        assert_eq!(choices_within(&layers, 2), None);
        assert_eq!(choices_within(&[vec![]], 9), None);
        assert_eq!(choices_within(&[], 0), Some(vec![]));
        assert_eq!(
            choices_within(&[vec![of(u64::MAX, 0.0)], vec![of(1, 0.0)]], u64::MAX),
            None
        );
    }
}
