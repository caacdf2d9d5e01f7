//! Names that come from files, and what a terminal makes of them.

/// The longest name that anything is given, in bytes.
const LONGEST: usize = 256;

/// Whether a terminal acts on `char` instead of showing it: control characters, and those that turn the direction of writing.
fn acts(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Why `name` cannot stand in a table, if it cannot.
pub(crate) fn unfit(name: &str) -> Option<String> {
    if name.len() > LONGEST {
        return Some(format!("is {} bytes long, more than {LONGEST}", name.len()));
    }
    (name.chars().any(acts)).then(|| "holds control characters".into())
}

/// `text` with what a terminal would act on written out, but for the ends of lines.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char != '\n' && acts(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(
            super::shown("a\u{1b}[31m\nb\u{202e}c – é"),
            "a\\u{1b}[31m\nb\\u{202e}c – é"
        );
    }
}
