//! A program, run as its users run it.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Has `command` start as a person starts it, with no signal ignored: whoever runs the tests may ignore some, as a shell does for
/// its jobs in the background.
#[cfg(unix)]
pub fn hear_signals(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    let heard = || {
        for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
            // SAFETY: the call is safe between fork and exec, and no handler is set.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: see above; nothing else is done there.
    unsafe { command.pre_exec(heard) };
}

/// `nobody`, wherever there are users by that name.
#[cfg(unix)]
const NOBODY: u32 = 65534;

/// A folder of its own for each test, which is also the working directory: no data sets there.
pub struct Place {
    dir: TempDir,
    program: PathBuf,
    /// What stands in front of the arguments of every run.
    first: &'static str,
    /// Who runs the program, where that is not who runs the tests.
    user: Option<u32>,
}

impl Place {
    /// A place to run `program` in.
    pub fn of(program: PathBuf) -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            program,
            first: "",
            user: None,
        }
    }

    /// The same place, where every run begins with these arguments.
    pub fn beginning_with(self, first: &'static str) -> Self {
        Self { first, ..self }
    }

    /// A place to run `program` in as somebody to whom permission can be denied, as it cannot to root.
    #[cfg(unix)]
    pub fn of_nobody(program: &Path) -> Self {
        use std::os::unix::fs::{PermissionsExt, chown};

        let mut place = Self::of(program.into());
        // SAFETY: the call reads a number.
        if unsafe { libc::geteuid() } == 0 {
            place.user = Some(NOBODY);
            // Where it was built may be closed to others: root's home is.
            place.program = place.path("program");
            if std::fs::hard_link(program, &place.program).is_err() {
                std::fs::copy(program, &place.program).unwrap();
            }
            std::fs::set_permissions(place.dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
            chown(place.dir(), place.user, place.user).unwrap();
        }
        place
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.dir())
            .args(self.first.split_whitespace())
            .args(args.split_whitespace())
            .stdin(Stdio::null());
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;

            hear_signals(&mut command);
            if let Some(user) = self.user {
                command.uid(user).gid(user);
            }
        }
        command
    }

    /// A line for the shell, run by whoever runs the program.
    #[cfg(unix)]
    pub fn shell(&self, line: &str) -> Output {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }

    pub fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    #[track_caller]
    pub fn data(&self, args: &str) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{args}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The error of a run that must end with `code` and print no data.
    #[track_caller]
    pub fn refused(&self, args: &str, code: i32) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args}\n{stderr}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{args}");
        assert!(!stderr.contains("panicked"), "{args}\n{stderr}");
        let errors: Vec<_> = stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{args}\n{stderr}");
        errors[0].to_owned()
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

/// Waits until `file` is there.
pub fn wait_for(file: &Path) {
    for _ in 0..6000 {
        if file.is_file() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{} does not appear", file.display());
}
