//! An example that runs in a process of its own.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::{env, fs};

use crate::hub_server::wait_for;

/// Where cargo has put an example. It is not older than the files from which cargo made it.
pub(crate) fn path(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    let current = || {
        let built = fs::metadata(&path)?.modified()?;
        // "TARGET: SOURCE SOURCE ..."
        let sources = fs::read_to_string(path.with_extension("d"))?.replace("\\ ", "\0");
        for source in sources.split_whitespace().skip(1) {
            if fs::metadata(source.replace('\0', " "))?.modified()? > built {
                return Ok(false);
            }
        }
        io::Result::Ok(true)
    };
    assert!(
        current().is_ok_and(|current| current),
        "{} is missing or older than its sources: cargo build --examples --all-features",
        path.display()
    );
    path
}

/// The address in a line such as `listening: open http://127.0.0.1:8080/`.
pub(crate) fn address(line: &str) -> SocketAddr {
    line.split('/').nth(2).unwrap().parse().unwrap()
}

/// Runs a program to its end, without input.
pub(crate) fn output(name: &str, args: &[&str]) -> Output {
    Command::new(path(name)).args(args).stdin(Stdio::null()).output().unwrap()
}

/// A server that has said where it listens. It is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    /// What it has said before.
    pub(crate) said: Vec<String>,
    out: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(name: &str, args: &[&str]) -> Self {
        Self::run(Command::new(path(name)).args(args))
    }

    /// With so few descriptors.
    pub(crate) fn start_with_descriptors(name: &str, descriptors: usize, args: &[&str]) -> Self {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        Self::run(Command::new("sh").args(["-c", &script]).arg(path(name)).args(args))
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::with_capacity(1, child.stdout.take().unwrap());
        let mut program = Self { child, said: Vec::new(), out: Some(out) };
        let listens = |line: &String| line.starts_with("listening");
        let listeners = command.get_args().filter(|arg| *arg == "--listen").count();
        while program.said.iter().filter(|line| listens(line)).count() < listeners {
            let line = program.line();
            assert_ne!(line, "", "it ends before it listens: {:?}", program.said);
            program.said.push(line);
        }
        program
    }

    /// The address that it has printed last.
    pub(crate) fn address(&self) -> SocketAddr {
        address(self.said.last().unwrap())
    }

    /// The address that it has printed first.
    pub(crate) fn first_address(&self) -> SocketAddr {
        address(self.said.iter().find(|line| line.starts_with("listening")).unwrap())
    }

    /// Whether it has no descriptor left of so many.
    pub(crate) fn is_out_of(&self, descriptors: usize) -> bool {
        let open = Path::new("/proc").join(self.child.id().to_string()).join("fd");
        (0..descriptors).all(|number| fs::symlink_metadata(open.join(number.to_string())).is_ok())
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Nobody reads what it prints any more.
    pub(crate) fn close_output(&mut self) {
        self.out = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("sh")
                .args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the end of the program", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
