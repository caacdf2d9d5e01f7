//! Turns a panic into an error message: Burn's devices report failures by panicking, and tract's operators panic on files that
//! contradict themselves. The one place of the crate that catches panics.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread's panics are caught, and so not printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last of them happened.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A message of several lines, as Burn and drivers have them, in one, without the banner that Burn puts above.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("==="));
    lines.collect::<Vec<_>>().join(" ")
}

/// What `work` returns, or the message of its panic.
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                PLACE.with_borrow_mut(|last| *last = place);
            } else {
                before(info);
            }
        }));
    });
    let outer = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(outer);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        match text {
            Some(text) => one_line(text),
            None => format!("a panic at {}", PLACE.with_borrow(Clone::clone)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::attempt;

    #[test]
    fn a_panic_is_its_message_on_one_line() {
        assert_eq!(attempt(|| 3), Ok(3));
        let failed: Result<(), _> = attempt(|| panic!("=== Error ===\nfirst\n\n  second {}", 2));
        assert_eq!(failed, Err("first second 2".to_owned()));
        let failed: Result<(), _> = attempt(|| panic::panic_any(3));
        assert!(failed.unwrap_err().contains("panics.rs"));
    }
}
