//! The command line: what can be asked for, and which module answers it.
//!
//! Answers go to standard output; logs, warnings and reasons go to standard error. A reader who leaves early is no
//! fault. Every way to fail has an exit code: see [`exit`].

mod backup;
mod bench;
mod client;
mod configuration;
mod doctor;
mod exit;
mod health;
mod keys;
mod man;
mod output;
mod receipt_urls;
mod restore;
mod send;
mod serve;
mod supervisor;
mod verify;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::cli::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  verigate serve                            try it: messages stay on this machine
  verigate serve --config verigate.toml     run it
  verigate check-config -c verigate.toml    see what the configuration comes to
  verigate doctor -c verigate.toml          see what would be in its way here
  verigate verify start +60123456789        send a code
  verigate verify check ID 123456           check what was typed

`verigate COMMAND --help` tells more of each command.";

const EXIT_CODES: &str = "\
Exit codes:
   0  done; for a check: approved
   1  refused: a wrong code, a limit, nothing of that id
   2  called wrongly
  64  the configuration is wrong; each line on standard error is one fault
  65  the backup cannot be used, or the key file does not fit it
  66  the store's key file cannot be used
  69  the gateway cannot be reached, or an address to listen on cannot be had
  70  a fault inside
  73  the file to make is there already, or cannot be made
  74  reading or writing failed, or the store cannot be opened or is in use
  77  the API key is not accepted";

/// Self-hosted verification and messaging gateway
///
/// Sends one-time codes and messages through the vendors that you configure, and keeps the codes, limits and counters
/// itself. Services call it over gRPC.
#[derive(Parser)]
#[command(name = "verigate", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    CheckConfig(configuration::Arguments),
    ReceiptUrls(receipt_urls::Arguments),
    /// Make API keys, by which callers are known
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make the key that seals the store
    #[command(subcommand)]
    StoreKey(StoreKeyCommand),
    Verify(verify::Arguments),
    Send(send::Arguments),
    Backup(backup::BackupArguments),
    Restore(restore::RestoreArguments),
    VerifyStore(restore::VerifyArguments),
    RewriteStore(backup::RewriteArguments),
    Bench(bench::Arguments),
    Doctor(doctor::Arguments),
    Health(health::Arguments),
    Completions(CompletionsArguments),
    Man(man::Arguments),
}

#[derive(Subcommand)]
enum KeyCommand {
    New(keys::KeyArguments),
}

#[derive(Subcommand)]
enum StoreKeyCommand {
    New(keys::StoreKeyArguments),
}

/// Print a completion script for a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example, for bash:\n  verigate completions bash > ~/.local/share/bash-completion/completions/verigate"
)]
struct CompletionsArguments {
    /// Which shell the script is for
    shell: Shell,
}

/// Does what the command line asks for.
pub(crate) fn run() -> ExitCode {
    let done = match CommandLine::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::CheckConfig(arguments) => configuration::run(&arguments),
        Command::ReceiptUrls(arguments) => receipt_urls::run(&arguments),
        Command::Key(KeyCommand::New(arguments)) => keys::new_key(&arguments),
        Command::StoreKey(StoreKeyCommand::New(arguments)) => keys::new_store_key(&arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Send(arguments) => send::run(arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => restore::restore(&arguments),
        Command::VerifyStore(arguments) => restore::verify(&arguments),
        Command::RewriteStore(arguments) => backup::rewrite(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Health(arguments) => health::run(&arguments),
        Command::Completions(arguments) => print_completions(arguments.shell),
        Command::Man(arguments) => man::run(CommandLine::command(), &arguments),
    };
    done.unwrap_or_else(|failure| failure.report())
}

fn print_completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "verigate", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
