//! What a person sees while a run goes on: on a terminal one line that is drawn again and again, elsewhere a line for
//! each thing that is done.

use std::io::Write;
use std::time::Duration;

use crate::bench::process::Stopwatch;

/// Writes progress. What cannot be written is not worth stopping for.
pub struct Progress<'a> {
    writer: &'a mut (dyn Write + Send),
    terminal: bool,
    drawn: Option<Stopwatch>,
}

const BETWEEN_DRAWS: Duration = Duration::from_millis(200);
/// Where nothing can be drawn again, a long task is still told to be alive.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

// === impl Progress ===

impl<'a> Progress<'a> {
    pub fn new(writer: &'a mut (dyn Write + Send), terminal: bool) -> Self {
        Self { writer, terminal, drawn: None }
    }

    /// How far something is.
    pub fn draw(&mut self, text: &str) {
        let pause = if self.terminal { BETWEEN_DRAWS } else { BETWEEN_LINES };
        // The first is due only after a pause, so that short things are not told twice.
        let drawn = *self.drawn.get_or_insert_with(Stopwatch::start);
        if drawn.elapsed() < pause {
            return;
        }
        self.drawn = Some(Stopwatch::start());
        if self.terminal {
            drop(write!(self.writer, "\r{text}\u{1b}[K"));
        } else {
            drop(writeln!(self.writer, "{text}"));
        }
        drop(self.writer.flush());
    }

    /// Takes away what was drawn.
    pub fn clear(&mut self) {
        if self.terminal && self.drawn.take().is_some() {
            drop(write!(self.writer, "\r\u{1b}[K"));
            drop(self.writer.flush());
        }
    }

    /// Something is done.
    pub fn done(&mut self, text: &str) {
        let (home, clear) = if self.terminal { ("\r", "\u{1b}[K") } else { ("", "") };
        drop(writeln!(self.writer, "{home}{text}{clear}"));
        drop(self.writer.flush());
        self.drawn = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_gets_control_characters() {
        for terminal in [false, true] {
            let mut written = Vec::new();
            let mut progress = Progress::new(&mut written, terminal);
            progress.draw("too soon to be told");
            progress.done("done");
            let text = String::from_utf8(written).unwrap();
            assert_eq!(text, if terminal { "\rdone\u{1b}[K\n" } else { "done\n" });
        }
    }
}
