//! `Einsum` of two values that is a product of matrices once dimensions were put in order.

use tract_onnx::pb::NodeProto;

use super::{
    data::{Data, Part, of_parts},
    maker::Maker,
    operators::text,
    shaped::permuted,
    values::Made,
};
use crate::graph::Op;

/// Two lists of labels and that of the result.
struct Equation {
    reads: [Vec<char>; 2],
    result: Vec<char>,
}

impl Equation {
    /// `None` of one with other than two values, labels that are twice in one, dots, or no result.
    fn of(text: &str) -> Option<Self> {
        let labels = |list: &str| {
            let labels: Vec<char> = list.chars().filter(|label| !label.is_whitespace()).collect();
            let once = |n: usize| labels[n].is_alphabetic() && !labels[..n].contains(&labels[n]);
            (0..labels.len()).all(once).then_some(labels)
        };
        let (reads, result) = text.split_once("->")?;
        let (first, second) = reads.split_once(',')?;
        let equation = Self {
            reads: [labels(first)?, labels(second)?],
            result: labels(result)?,
        };
        let known = |label: &char| equation.reads.iter().any(|list| list.contains(label));
        equation.result.iter().all(known).then_some(equation)
    }

    /// The labels that both values have and the result, those of each value alone with the result, and those that are summed over.
    fn sorted(&self) -> Option<[Vec<char>; 4]> {
        let [a, b] = &self.reads;
        let of = |list: &[char], other: bool, kept: bool, others: &[char]| -> Vec<char> {
            let fits = |label: &&char| others.contains(label) == other && self.result.contains(label) == kept;
            list.iter().filter(fits).copied().collect()
        };
        // A sum over one value alone is no product.
        if !of(a, false, false, b).is_empty() || !of(b, false, false, a).is_empty() {
            return None;
        }
        let order = |labels: Vec<char>| {
            self.result
                .iter()
                .copied()
                .filter(|label| labels.contains(label))
                .collect::<Vec<_>>()
        };
        Some([
            order(of(a, true, true, b)),
            order(of(a, false, true, b)),
            order(of(b, false, true, a)),
            of(a, true, false, b),
        ])
    }
}

impl Maker<'_> {
    pub(super) fn einsum(&mut self, node: &NodeProto) -> Made<()> {
        let refuse =
            || "is no product of matrices of two values, or one with labels that are not read".to_owned();
        if node.input.len() != 2 {
            return Err(refuse());
        }
        let equation = Equation::of(text(node, "equation", "")).ok_or_else(refuse)?;
        let [both, rows, columns, inner] = equation.sorted().ok_or_else(refuse)?;
        let [a, b] = [self.anywhere(node, 0)?, self.anywhere(node, 1)?];
        if [a.rank(), b.rank()] != [equation.reads[0].len(), equation.reads[1].len()] {
            return Err("has other labels than its values have dimensions".to_owned());
        }
        if [&rows, &columns, &inner].iter().any(|list| list.is_empty()) {
            return Err(refuse());
        }
        let a = self.matrices_by_labels(node, "first", &a, &equation.reads[0], [&both, &rows, &inner])?;
        let b = self.matrices_by_labels(node, "second", &b, &equation.reads[1], [&both, &inner, &columns])?;
        let [a_parts, b_parts] = [&a.0, &b.0];
        let [a, b] = self.alike(a.1, b.1)?;
        let product = self.step(node, "product", Op::MatMul, &[&a, &b])?;
        // The sums in the order of their labels, each with a dimension of its own again.
        let kept = both.len() + rows.len();
        let parts = [&a_parts[..kept], &b_parts[both.len() + inner.len()..]].concat();
        let product = self.with_parts(&product, &parts)?;
        let labels = [&both[..], &rows, &columns].concat();
        let order: Vec<usize> = (equation.result.iter())
            .filter_map(|label| labels.iter().position(|other| other == label))
            .collect();
        let result = self.ordered(node, &product, &order)?;
        self.give(node, 0, result)
    }

    /// A value with its dimensions in the order of three lists of labels, and those of the last two in one each.
    fn matrices_by_labels(
        &mut self,
        node: &NodeProto,
        name: &str,
        x: &Data,
        labels: &[char],
        lists: [&Vec<char>; 3],
    ) -> Made<(Vec<Part>, Data)> {
        let order: Vec<usize> = lists
            .iter()
            .flat_map(|list| list.iter())
            .filter_map(|label| labels.iter().position(|other| other == label))
            .collect();
        let (axes, place) = permuted(x, &order)?;
        let ordered = self.step(node, name, Op::Permute { axes }, &[x])?;
        let ordered = Data { place, ..ordered };
        let parts = ordered.parts();
        let [before, first, second] = lists.map(Vec::len);
        let together = |parts: &[Part]| {
            let mut sizes = parts.iter().map(|part| match part {
                Part::Own(size) => Some(*size),
                Part::Batch(_) => None,
            });
            let all = sizes.try_fold(1usize, |all, size| all.checked_mul(size?));
            all.map(Part::Own)
                .ok_or_else(|| "works along the batch".to_owned())
        };
        let rows = together(&parts[before..before + first])?;
        let columns = together(&parts[before + first..before + first + second])?;
        let matrices = [&parts[..before], &[rows, columns]].concat();
        if !matrices.iter().any(|part| matches!(part, Part::Batch(_))) || of_parts(&matrices).0.is_empty() {
            return Err("works along the batch".to_owned());
        }
        let matrices = self.with_parts(&ordered, &matrices)?;
        Ok((parts, matrices))
    }
}

#[cfg(test)]
mod tests {
    use super::Equation;

    #[test]
    fn labels_are_sorted_by_where_they_are() {
        let found = |text: &str| {
            let sorted = Equation::of(text)?.sorted()?;
            Some(sorted.map(|labels| labels.into_iter().collect::<String>()))
        };
        let wanted = |lists: [&str; 4]| Some(lists.map(str::to_owned));
        assert_eq!(
            found("B G H I D, B G H J D -> B G H I J"),
            wanted(["BGH", "I", "J", "D"])
        );
        assert_eq!(found("bhij,bhjd->bihd"), wanted(["bh", "i", "d", "j"]));
        // Twice in one value, summed over one alone, dots, no result, one or three values, a label from nowhere.
        for text in [
            "bii,bij->bj",
            "bik,bj->bij",
            "...ij,...jk->...ik",
            "ij,jk",
            "ij->ji",
            "ij,jk,kl->il",
            "ij,jk->iz",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
