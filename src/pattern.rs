//! Patterns that choose weights or layers by their names, and the names that a pattern may have meant.

/// The most names that an error lists.
#[cfg(feature = "train")]
const MOST_NAMED: usize = 8;

/// The names that are most like a pattern, the likest first.
#[cfg(feature = "train")]
pub(crate) fn nearest<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let pattern = pattern.to_lowercase();
    let like = |name: &str| strsim::jaro_winkler(&pattern, &name.to_lowercase());
    let mut names: Vec<(f64, &str)> = names.map(|name| (like(name), name)).collect();
    names.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    names.truncate(MOST_NAMED);
    names.into_iter().map(|(_, name)| name).collect()
}

/// Whether `pattern` is `path` or its beginning up to a dot, `*` standing for anything.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => (path.strip_prefix(pattern)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        Some((before, after)) => path.strip_prefix(before).is_some_and(|rest| {
            let places = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            places.into_iter().any(|at| fits(after, &rest[at..]))
        }),
    }
}
