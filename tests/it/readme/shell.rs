//! The shell that runs the commands of a page.

use std::io::{BufRead, BufReader, Write, pipe};
use std::path::Path;
use std::process::{Child, ChildStdin, Command};

use crate::readme::page::root;

/// A shell that keeps its variables from block to block.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::io::PipeReader>,
}

/// Ends the output of a block; what follows is the exit code of its last command that failed, or 0.
const END: &str = "--- end of block";

// === impl Shell ===

impl Shell {
    pub(crate) fn start(place: &Path) -> Self {
        let tools = std::env::var("PATH").unwrap();
        let tools = format!("{}:{tools}", root().join("tests/.cache/bin").display());
        let (output, input) = pipe().unwrap();
        // One that hangs is ended.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120", "bash"]).current_dir(place).env("PATH", tools);
        command.stdin(std::process::Stdio::piped()).stdout(input.try_clone().unwrap()).stderr(input);
        let mut child = command.spawn().unwrap();
        drop(command);
        let input = child.stdin.take().unwrap();
        let mut shell = Self { child, input, output: BufReader::new(output) };
        for tool in ["grpcurl", "curl"] {
            let (_, status) = shell.run(&format!("command -v {tool}"));
            assert_eq!(status, 0, "the commands need {tool}; install it, or run `tests/run setup`, which does");
        }
        shell
    }

    /// What a block prints on both outputs together, and the exit code of its last command that failed, or 0.
    pub(crate) fn run(&mut self, script: &str) -> (String, i32) {
        writeln!(self.input, "failed=0; trap 'failed=$?' ERR\n{script}\nprintf '\\n{END} %s\\n' \"$failed\"").unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the shell ended, or was ended because it hung, in:\n{script}\n{printed}");
            if let Some(status) = line.strip_prefix(END) {
                return (printed.trim_end().to_owned(), status.trim().parse().unwrap());
            }
            printed += &line;
        }
    }

    pub(crate) fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}
