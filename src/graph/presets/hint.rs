//! What a name that no network has was meant to be.

/// Of `known` names those a few letters away from `name`, or all where none is that near.
pub(super) fn nearest(name: &str, known: &[&str]) -> String {
    /// Edits beyond which a name is no longer taken for a slip of the keyboard.
    const NEAR: usize = 3;

    let lower = name.to_lowercase();
    let distances: Vec<_> = known
        .iter()
        .map(|known| (strsim::levenshtein(&lower, known), known))
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
