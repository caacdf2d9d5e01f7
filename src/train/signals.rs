//! Ctrl-C while Burn's dashboard has the terminal, and a terminal that is closed under it.

use std::fs::File;
use std::io::{stderr, stdin};
use std::panic;
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::stdio::dup2_stderr;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Keeps Ctrl-C a signal for as long as it lives.
///
/// The dashboard puts the terminal into raw mode, in which Ctrl-C is a key like any other, and has no use for that key.
/// It does so on a thread of its own, at a time of its own, so the terminal is looked at again and again.
pub(super) struct KeepSignals {
    stop: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl KeepSignals {
    pub(super) fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let watcher = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(100)) {
                if let Ok(mut modes) = tcgetattr(stdin())
                    && !modes.local_modes.contains(LocalModes::ISIG)
                {
                    modes.local_modes |= LocalModes::ISIG;
                    let _ = tcsetattr(stdin(), OptionalActions::Now, &modes);
                }
            }
        });
        Self {
            stop: Some(stop),
            watcher: Some(watcher),
        }
    }
}

impl Drop for KeepSignals {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// What Burn calls the thread that draws its dashboard.
const DASHBOARD: &str = "train-renderer";

/// Has a training outlive the terminal that its dashboard is drawn on.
///
/// A dashboard whose terminal is closed panics, which ends its thread and no more. But while that unwinds, ratatui says on standard
/// error that the cursor cannot be shown, and where standard error is the same terminal, that is a second panic, which aborts the
/// program. So what is said there goes nowhere from the first panic on, its own message included: nobody could read it. Standard output
/// stays as it is: a result that cannot be printed is still an error.
pub(super) fn outlive_terminal() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let draws = thread::current().name() == Some(DASHBOARD);
            if draws
                && tcgetattr(stderr()).is_err()
                && let Ok(nowhere) = File::options().write(true).open("/dev/null")
                && dup2_stderr(nowhere).is_ok()
            {
                return;
            }
            before(panic);
        }));
    });
}
