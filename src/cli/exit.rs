//! How a command fails: lines for people on standard error, and a code for scripts, from BSD's `sysexits.h` where it
//! has one.

use std::error::Error as StdError;
use std::io::Write;
use std::process::ExitCode;

use verigate::config::fault;

/// What a command comes to. Success has a code of its own: a check that does not approve is no failure.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Why a command could not do its work.
pub(crate) struct Failure {
    code: u8,
    message: String,
}

/// The gateway answered, and the answer is no.
pub(crate) const REFUSED: u8 = 1;
/// The command line is wrong; clap ends with the same.
pub(crate) const USAGE: u8 = 2;
/// `EX_USAGE`.
pub(crate) const CONFIGURATION: u8 = fault::EXIT_CODE;
/// `EX_DATAERR`.
pub(crate) const DATA: u8 = 65;
/// `EX_NOINPUT`.
pub(crate) const KEY_FILE: u8 = 66;
/// `EX_UNAVAILABLE`.
pub(crate) const UNAVAILABLE: u8 = 69;
/// `EX_SOFTWARE`.
pub(crate) const INTERNAL: u8 = 70;
/// `EX_CANTCREAT`.
pub(crate) const CANNOT_CREATE: u8 = 73;
/// `EX_IOERR`.
pub(crate) const INPUT_OUTPUT: u8 = 74;
/// `EX_NOPERM`.
pub(crate) const CREDENTIALS: u8 = 77;

// === impl Failure ===

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: format!("verigate: {}", message.into()) }
    }

    /// Faults that begin with their place, one a line, as compilers write them.
    pub(crate) fn configuration(faults: impl ToString) -> Self {
        Self { code: CONFIGURATION, message: faults.to_string() }
    }

    /// A fault inside. Whoever started us may know all of it.
    pub(crate) fn internal(error: &dyn StdError) -> Self {
        Self::new(INTERNAL, with_causes(error))
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Ends with `code` where it would end with `other`.
    pub(crate) fn instead_of(self, other: u8, code: u8) -> Self {
        if self.code == other { Self { code, ..self } } else { self }
    }

    /// Tells why, and gives the code to end with.
    pub(crate) fn report(self) -> ExitCode {
        tell(&self.message);
        ExitCode::from(self.code)
    }
}

/// Writes to standard error. Unlike `eprintln!` it does not mind when nobody reads that.
pub(crate) fn tell(lines: &str) {
    drop(writeln!(std::io::stderr(), "{lines}"));
}

/// The error and everything that caused it, on one line; a cause that repeats the end of what stands before is left out.
pub(crate) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
