/// For codes 1 to `levels`, the smallest sum from `-largest` to `largest` that reaches them, and `largest + 1` where
/// none does.
///
/// `code` is what the network computes of a sum, on floats, and does not fall where the sum rises. A bisection finds
/// the very integer where its result steps up, however its roundings fall.
pub(super) fn thresholds(levels: u32, largest: i32, code: impl Fn(i32) -> u32) -> impl Iterator<Item = i32> {
    (1..=levels).map(move |level| {
        let (mut low, mut high) = (i64::from(-largest), i64::from(largest) + 1);
        while low < high {
            let middle = (low + high).div_euclid(2);
            if code(middle as i32) >= level {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low as i32
    })
}
