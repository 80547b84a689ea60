//! `verigate serve`: from a configuration to a server that answers until it is told to stop.

use std::future::Future;
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{debug, info, warn};
use verigate::clock::SystemClock;
use verigate::config::settings::Address;
use verigate::config::{DEV_KEY, Loaded};
use verigate::console;
use verigate::error::{Error, Kind, Reason};
use verigate::random::OsRandom;
use verigate::recipient::Phone;
use verigate::server::listen::Addresses;
use verigate::server::listen::cores::Cores;
use verigate::server::listen::tls::Reload;
use verigate::server::{Server, Surroundings};
use verigate::telemetry;

use crate::cli::exit::{Failure, INPUT_OUTPUT, INTERNAL, KEY_FILE, Outcome, UNAVAILABLE};
use crate::cli::supervisor::Supervisor;
use crate::cli::{configuration, output};

/// Run the gateway
///
/// Without a file it runs the dev profile: messages go to an inbox page and never leave this machine, the store lies in
/// ./verigate-data, and the API key is dev.dev-secret. Any file, even an empty one, turns that off.
///
/// SIGTERM and SIGINT make it finish the calls under way, within server.drain_deadline; a second one ends it at once.
/// SIGHUP makes it read the files of server.tls again at once. Logs go to standard error. Where NOTIFY_SOCKET is set, as
/// by systemd, it says there when it is ready, reloading, stopping and alive.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate serve\n  verigate serve --config /etc/verigate/verigate.toml\n  \
                        VERIGATE__SERVER__GRPC=127.0.0.1:6000 verigate serve")]
pub(crate) struct Arguments {
    /// The configuration file; without one, the dev profile
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Stop, as SIGTERM makes it stop, once standard input ends: for a program that starts us and may be killed
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let loaded = configuration::load(arguments.config.as_deref())?;
    telemetry::start_log(&loaded.config.log).map_err(|error| Failure::internal(&error))?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(&error))?;
    let served = runtime.block_on(serve(&loaded, arguments.until_stdin_ends));
    // A name lookup that hangs must not hold up the end: what matters is closed by now.
    runtime.shutdown_background();
    served
}

async fn serve(loaded: &Loaded, until_stdin_ends: bool) -> Outcome {
    // From here on a signal stops us in order, even while the store is being recovered.
    let signal = stop_signal().map_err(|error| Failure::internal(&error))?;
    let supervisor = Arc::new(Supervisor::from_environment());
    supervisor.tell_starting();
    let stop = async {
        tokio::select! {
            () = signal => {}
            () = stdin_end(until_stdin_ends) => info!("standard input ended"),
        }
        supervisor.tell_stopping();
    };
    warm_up();
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        metrics: telemetry::start_metrics().map_err(|error| Failure::internal(&error))?,
    };
    let cores = Cores::start(thread::available_parallelism().map_or(1, NonZero::get));
    let server = Server::build(loaded, surroundings).await.map_err(|error| cannot_start(&error))?;
    let server = server.on(cores.map_err(|error| Failure::internal(&error))?);
    let reload = server.reload();
    // Otherwise the signal ends us, as it should when a terminal is closed.
    if !reload.is_empty() || supervisor.is_there() {
        reload_on_hang_up(reload, Arc::clone(&supervisor)).map_err(|error| Failure::internal(&error))?;
    }
    let Addresses { grpc, http, admin } = server.addresses();
    info!(version = env!("CARGO_PKG_VERSION"), %grpc, %http, %admin, "listening");
    supervisor.tell_ready(server.addresses());
    tokio::spawn(Arc::clone(&supervisor).keep_alive());
    if loaded.dev_profile {
        output::print(&banner(loaded, server.addresses()))?;
    }
    server.run(stop).await.map_err(|error| Failure::internal(&error))?;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The configuration has passed its checks, so what is invalid now is the key file.
fn cannot_start(error: &Error) -> Failure {
    let code = match (error.kind(), error.reason()) {
        (Kind::Invalid, _) => KEY_FILE,
        (Kind::Unavailable, Reason::StoreUnavailable) => INPUT_OUTPUT,
        (Kind::Unavailable, _) => UNAVAILABLE,
        (Kind::Internal, _) => return Failure::internal(error),
        _ => INTERNAL,
    };
    Failure::new(code, error.message())
}

/// Completes at the first SIGTERM or SIGINT. The second ends the process, with the code that shells give for it.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let first = next_signal(&mut terminate, &mut interrupt).await;
        info!(signal = first.as_raw_value(), "asked to stop");
        drop(stop);
        let second = next_signal(&mut terminate, &mut interrupt).await;
        warn!(signal = second.as_raw_value(), "asked again, so calls under way are cut off");
        std::process::exit(128 + second.as_raw_value());
    });
    Ok(async move { drop(stopped.await) })
}

/// Has the certificates read again at each SIGHUP.
fn reload_on_hang_up(reload: Reload, supervisor: Arc<Supervisor>) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            supervisor.tell_reloading();
            reload.run().await;
            supervisor.tell_reloaded();
        }
    });
    Ok(())
}

/// Completes at the end of standard input; never, when that is not watched.
async fn stdin_end(watched: bool) {
    if !watched {
        return std::future::pending().await;
    }
    // One that cannot be read has ended, too.
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    drop(read.await);
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate(),
        _ = interrupt.recv() => SignalKind::interrupt(),
    }
}

/// The first number takes some ten milliseconds, for it makes the library read its rules. Better now than when somebody
/// waits.
fn warm_up() {
    if Phone::parse("+60123456789", None).is_err() {
        warn!("the phone number library refuses a good number");
    }
}

/// Each connection takes a file. The soft limit is low for the sake of programs that use `select`, which we do not.
fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => debug!(from = ?current, to = ?maximum, "raised the limit of open files"),
        Err(error) => debug!(%error, "the limit of open files stays as it is"),
    }
}

/// What the dev profile says to whoever started it. It goes to standard output, so that logs stay whole lines of one
/// format.
fn banner(loaded: &Loaded, addresses: &Addresses) -> String {
    let Addresses { grpc, http, admin } = addresses;
    let version = env!("CARGO_PKG_VERSION");
    let data = loaded.config.store.path.display();
    let command = console::first_send_command(&grpc.to_string(), DEV_KEY).replace('\n', "\n  ");
    let default = matches!(grpc, Address::Tcp(tcp) if tcp.port() == 50051 && tcp.ip().is_ipv4());
    let address = match grpc {
        _ if default => String::new(),
        Address::Tcp(tcp) => format!(" --address http://{tcp}"),
        Address::Unix(_) => format!(" --address {grpc}"),
    };
    let docs = match loaded.config.rest.docs {
        true => format!("docs   http://{http}/docs  (the calls as JSON over HTTP)\n  "),
        false => String::new(),
    };
    format!(
        "Verigate {version}, dev profile: for trying out. Nothing leaves this machine, and the key is published.\n\n  \
         gRPC   {grpc}\n  \
         HTTP   http://{http}\n  \
         {docs}\
         admin  http://{admin}\n  \
         inbox  http://{admin}/inbox  (what was sent, with the codes)\n  \
         store  {data}\n\n\
         Send a first code, either way:\n\n  \
         {command}\n\n  \
         verigate verify start +60123456789{address}\n\n\
         Your own configuration: verigate serve --config FILE\n\n"
    )
}
