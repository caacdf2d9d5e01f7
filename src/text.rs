//! Names that come from files, and what a terminal makes of them.

/// The longest name that anything is given, in bytes.
const LONGEST: usize = 256;

/// Whether `char` does something else than being shown. A terminal obeys control characters and those that turn the
/// direction of writing, some programs end a line at U+2028 and U+2029, and XML forbids U+FFFE and U+FFFF.
fn acts(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        )
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
    written_out(text, |char| char != '\n' && acts(char))
}

/// As [`shown`], on one line: the ends of lines are written out, too. For names in tables, CSV and pictures.
pub(crate) fn line(text: &str) -> String {
    written_out(text, acts)
}

fn written_out(text: &str, acts: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if acts(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// `value` as indented JSON, which a terminal can show. What JSON writers leave as it is and [`acts`] is escaped; that
/// is the same JSON, as such characters occur in strings alone.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("maps have text keys, and numbers are finite");
    let mut json = String::with_capacity(text.len());
    for char in text.chars() {
        if char != '\n' && acts(char) {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                json += &format!("\\u{unit:04x}");
            }
        } else {
            json.push(char);
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control character of each kind, and what turns writing, ends lines or is forbidden in XML.
    const HOSTILE: &str =
        "a\u{1b}[31m\u{9b}2J\u{7f}\0\u{85}\u{2028}\u{2029}\u{202e}\u{61c}\u{2066}\u{ffff}b\r\nc – é 好";

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        assert_eq!(
            shown("a\u{1b}[31m\nb\u{202e}c – é"),
            "a\\u{1b}[31m\nb\\u{202e}c – é"
        );
        assert!(!shown(HOSTILE).replace('\n', "").chars().any(acts));
        assert!(!line(HOSTILE).chars().any(acts));
        assert!(line(HOSTILE).ends_with("b\\r\\nc – é 好"));
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_would_act_on() {
        let json = json(&[HOSTILE]);
        assert!(!json.replace('\n', "").chars().any(acts), "{json}");
        let read: Vec<String> = serde_json::from_str(&json).unwrap();
        assert_eq!(read, [HOSTILE]);
    }
}
