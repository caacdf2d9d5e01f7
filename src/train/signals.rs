//! Ctrl-C while Burn's dashboard has the terminal.

use std::io::stdin;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
