//! What Ctrl-C, and the other signals that end a program, do to a training.

use std::sync::OnceLock;

use crate::train::Interrupter;

/// An interrupter that the first Ctrl-C, hang-up or request to end stops after the step at hand. The second ends the program at
/// once. A signal that the program was started to ignore, as `nohup` and shells without job control start it, stays ignored.
pub(super) fn interrupter() -> Interrupter {
    static INTERRUPTER: OnceLock<Interrupter> = OnceLock::new();
    INTERRUPTER
        .get_or_init(|| {
            let interrupter = Interrupter::new();
            let handle = interrupter.clone();
            let handler = move || {
                if handle.should_stop() {
                    std::process::exit(1);
                }
                say!("stopping; once more ends at once");
                handle.stop(Some("Ctrl-C"));
            };
            let ignored = ignored();
            if let Err(error) = ctrlc::set_handler(handler) {
                say!("Ctrl-C will end the program at once: {error}");
            }
            ignore(&ignored);
            interrupter
        })
        .clone()
}

/// The signals among those that `ctrlc` handles which the program was started to ignore.
#[cfg(unix)]
fn ignored() -> Vec<i32> {
    let handled = [libc::SIGINT, libc::SIGHUP, libc::SIGTERM];
    let is_ignored = |&signal: &i32| {
        // SAFETY: a disposition of zeros is a valid one, and the call only writes to it.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
        }
    };
    handled.into_iter().filter(is_ignored).collect()
}

#[cfg(unix)]
fn ignore(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: no handler is called any more, so nothing is asked of one.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
}

#[cfg(not(unix))]
fn ignored() -> Vec<i32> {
    Vec::new()
}

#[cfg(not(unix))]
fn ignore(_: &[i32]) {}
