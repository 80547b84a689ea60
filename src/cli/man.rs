//! `verigate man`: the manual as pages for man(1), made of the same text as `--help`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command};
use clap_mangen::{Man, generate_to};

use crate::cli::exit::{CANNOT_CREATE, Failure, Outcome};
use crate::cli::output;

/// Print the manual page, or write all of them
///
/// Without a folder it prints the page of the program. With one it writes a page for each command there, verigate.1,
/// verigate-serve.1 and so on, over those that are there.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate man | man -l -\n  verigate man --directory /usr/local/share/man/man1")]
pub(crate) struct Arguments {
    /// The folder to write the pages to; made when it is not there
    #[arg(short, long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

/// `program`: the whole command line.
pub(crate) fn run(program: Command, arguments: &Arguments) -> Outcome {
    match &arguments.directory {
        None => {
            let mut page = Vec::new();
            Man::new(program).manual("Verigate").render(&mut page).map_err(|error| Failure::internal(&error))?;
            output::print(&String::from_utf8_lossy(&page))?;
        }
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| generate_to(program, folder))
            .map_err(|error| Failure::new(CANNOT_CREATE, format!("cannot write to {}: {error}", folder.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}
