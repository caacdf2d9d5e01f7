//! Constants number by number: dimensions of size 1 are repeated.

use super::size::Made;

/// The shape of two constants number by number.
pub(super) fn beside(a: &[usize], b: &[usize]) -> Made<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], n: usize| (n + dims.len()).checked_sub(rank).map_or(1, |n| dims[n]);
    let sizes = (0..rank).map(|n| match (at(a, n), at(b, n)) {
        (size, 1) | (1, size) => Some(size),
        (a, b) => (a == b).then_some(a),
    });
    let sizes = sizes.collect::<Option<_>>();
    sizes.ok_or_else(|| format!("computes with constants of {a:?} and {b:?}"))
}

/// For each number of a shape its place in a constant that is repeated to it.
pub(super) fn places(from: &[usize], to: &[usize]) -> impl Fn(usize) -> usize + use<> {
    let ahead = to.len() - from.len();
    let mut steps = Vec::new();
    let mut apart = 1;
    for (n, &size) in to.iter().enumerate().rev() {
        let own = n.checked_sub(ahead).map_or(1, |n| from[n]);
        steps.push((size, if own == 1 { 0 } else { apart }));
        apart *= own;
    }
    move |n| {
        let mut rest = n;
        let mut place = 0;
        for &(size, apart) in &steps {
            place += rest % size * apart;
            rest /= size;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_repeated_along_dimensions_of_size_one() {
        assert_eq!(beside(&[3, 1], &[2]).unwrap(), [3, 2]);
        assert_eq!(beside(&[], &[4]).unwrap(), [4]);
        assert!(beside(&[3], &[2]).is_err());
        let at = places(&[3, 1], &[2, 3, 2]);
        let found: Vec<usize> = (0..12).map(at).collect();
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    }
}
