//! Quorate's programs as child processes, with what they write.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use crate::queue_support::until;

/// How much of a failed program's log is shown.
const SHOWN_LINES_MAX: usize = 60;

/// A program that runs. It is killed when it is dropped.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: [JoinHandle<()>; 2],
}

/// `quorate`, with nothing from the environment.
pub(crate) fn quorate() -> Command {
    clean(PathBuf::from(env!("CARGO_BIN_EXE_quorate")))
}

/// `quorate-worker`, which the checks build beside it.
pub(crate) fn quorate_worker() -> Command {
    built("quorate-worker")
}

/// A program of another package, which the checks build.
pub(crate) fn built(name: &str) -> Command {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_quorate")).with_file_name(name);
    assert!(path.exists(), "{} is missing: build it with `cargo build --workspace --bins`", path.display());
    clean(path)
}

fn clean(path: PathBuf) -> Command {
    let mut command = Command::new(path);
    command.env_clear().stdin(Stdio::null());
    if let Ok(folder) = std::env::var("TMPDIR") {
        command.env("TMPDIR", folder);
    }
    command
}

impl Program {
    pub(crate) fn start(name: &'static str, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let readers = [keep(child.stdout.take().unwrap(), &lines), keep(child.stderr.take().unwrap(), &lines)];
        Self { name, child, lines, readers }
    }

    /// What the first line that fits says. Fails when the program ends before.
    pub(crate) async fn said<T>(&mut self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let mut look = || {
            // Looked at first: it has ended when all is here that it wrote.
            let ended = self.ended();
            let found = self.lines.lock().unwrap().iter().find_map(|line| read(line));
            assert!(
                found.is_some() || ended.is_none(),
                "{what}: the program ended with {ended:?}: {}",
                tail(&self.lines)
            );
            found
        };
        until(what, || std::future::ready(look())).await
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(part))
    }

    /// In how many lines.
    pub(crate) fn times_said(&self, part: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).count()
    }

    /// Whether it has ended, and how: after that [`Self::has_said`] knows of all that it wrote.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap().filter(|_| self.readers.iter().all(JoinHandle::is_finished))
    }

    /// SIGKILL: nothing is finished, nothing is said.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal, such as TERM.
    pub(crate) fn signal(&self, signal: &str) {
        let arguments = ["-s", signal, &self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.end().await
    }

    /// How it ended, when it has.
    pub(crate) async fn end(mut self) -> ExitStatus {
        let name = self.name;
        until(&format!("the end of {name}"), || std::future::ready(self.ended())).await
    }
}

impl Drop for Program {
    #[expect(clippy::print_stderr, reason = "a failed test shows what its programs said")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the last lines of {}\n{}", self.name, tail(&self.lines));
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keep(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    })
}

fn tail(lines: &Mutex<Vec<String>>) -> String {
    let lines = lines.lock().unwrap();
    lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..].join("\n")
}

/// Runs a program to its end.
pub(crate) fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// What a program that succeeds prints.
pub(crate) fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    assert!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}
