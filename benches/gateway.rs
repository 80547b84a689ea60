//! `verigate bench` with the store alone measured beside it, which the command cannot reach.
//!
//! `cargo bench --bench gateway -- [OPTIONS]` takes the options of the command. The server that is measured is this same
//! program, started again as `serve --config FILE`.

use std::error::Error;
use std::io::{IsTerminal, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tempfile::TempDir;
use verigate::bench::{self, Options, Output, Surroundings};
use verigate::clock::{Clock, SystemClock};
use verigate::random::{OsRandom, Random};
use verigate::server::Server;
use verigate::store::Store;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config, SledStore};
use verigate::{config, server, telemetry};

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Leave out the store alone
    #[arg(long)]
    no_store: bool,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Parser)]
struct Serve {
    #[arg(long)]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "serve") {
        return serve(&Serve::parse_from(std::env::args_os().skip(1)).config).await;
    }
    let Arguments { options, no_store, .. } = Arguments::parse();
    let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let place = tempfile::tempdir_in(directory)?;
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        program: std::env::current_exe()?,
        store: if no_store { None } else { Some(open_store(&place)?) },
    };
    let output = Output { report: &mut stdout(), progress: &mut stderr(), terminal: stderr().is_terminal() };
    bench::run(&options, surroundings, output, async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

async fn serve(file: &std::path::Path) -> Result<()> {
    let loaded = config::load(Some(file), config::environment())?;
    telemetry::start_log(&loaded.config.log)?;
    let surroundings = server::Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        metrics: telemetry::start_metrics()?,
    };
    let server = Server::build(&loaded, surroundings).await?;
    println!("{:?}", server.addresses());
    server.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}

fn open_store(place: &TempDir) -> Result<Arc<dyn Store>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(OsRandom);
    let ring = KeyRing::load_or_create(&place.path().join("key"), &*random)?;
    let sled = SledStore::open(&Config { path: place.path().join("data"), ..Config::default() }, clock)?;
    Ok(Arc::new(SealedStore::new(Arc::new(sled), ring, random)))
}
