//! What a name that no network has was meant to be.

/// Of `known` names those a few letters away from `name`, or all where none is that near.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    /// Edits beyond which a name is no longer taken for a slip of the keyboard.
    const NEAR: usize = 3;

    let lower = name.to_lowercase();
    let distances: Vec<_> = known
        .iter()
        .map(|known| (edit_distance(&lower, known), known))
        .collect();
    let nearest = distances.iter().map(|(distance, _)| *distance).min();
    match nearest.filter(|&distance| distance <= NEAR) {
        Some(nearest) => {
            let names: Vec<_> = distances
                .iter()
                .filter(|(distance, _)| *distance == nearest)
                .map(|(_, known)| format!("`{known}`"))
                .collect();
            format!("did you mean {}?", names.join(" or "))
        }
        None => format!("use one of {}", known.join(", ")),
    }
}

/// Letters to insert, remove or replace to turn `from` into `to` (Levenshtein's distance), kept one
/// row of the table at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
