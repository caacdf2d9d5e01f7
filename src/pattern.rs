//! Patterns that choose weights or layers by their names.

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
