//! Tables as LaTeX, for a paper.

/// A table under a header row, as `tabular` with the rules of the package booktabs: the first column to the left, the others to the right. Cells are
/// [`escaped`].
pub(super) fn tabular(
    header: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
    totals: Option<Vec<String>>,
) -> String {
    let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
    let columns = "r".repeat(header.len().saturating_sub(1));
    let mut text = format!("\\begin{{tabular}}{{l{columns}}}\n    \\toprule\n");
    text += &line(header);
    text += "    \\midrule\n";
    text.extend(rows.map(line));
    if let Some(totals) = totals {
        text += "    \\midrule\n";
        text += &line(totals);
    }
    text + "    \\bottomrule\n\\end{tabular}"
}

/// `text` with every character that LaTeX would act on written out.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped += r"\textbackslash{}",
            '~' => escaped += r"\textasciitilde{}",
            '^' => escaped += r"\textasciicircum{}",
            '<' => escaped += r"\textless{}",
            '>' => escaped += r"\textgreater{}",
            '|' => escaped += r"\textbar{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
