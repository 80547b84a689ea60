//! Real servers of Redis for a test: alone, with a replica and Sentinels, or as a Cluster, on free ports and in temporary
//! folders.
//!
//! A server ends with the process that started it, however that ends: a shell beside it waits for our end of a pipe.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use verigate::config;
use verigate::store::redis::settings::Config;

/// Starts the program behind it, tells its process id, and kills it and its folder when nobody holds our input any more.
const KEEPER: &str = r#"folder=$1; shift; "$@" >"$folder/out" 2>&1 & echo $!; read -r _; kill -9 $! 2>/dev/null; wait; rm -rf "$folder"; rmdir "${folder%/*}" 2>/dev/null"#;

/// `tests/run setup` installs it.
const REDIS: &str = "redis-server";

/// The settings that durability "strict" asks for.
pub(crate) const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

/// A server that runs until it is dropped.
pub(crate) struct RedisServer {
    pub(crate) port: u16,
    pub(crate) folder: PathBuf,
    program: PathBuf,
    settings: Vec<String>,
    keeper: Child,
    pid: Pid,
}

/// Six servers, three of which hold slots and have a replica each.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<RedisServer>,
    /// Holds theirs.
    pub(crate) folder: PathBuf,
}

/// A server with two replicas, and three Sentinels who watch them.
pub(crate) struct Watched {
    pub(crate) master: RedisServer,
    /// Kept for as long as they are needed.
    _replicas: Vec<RedisServer>,
    pub(crate) sentinels: Vec<RedisServer>,
}

/// What Sentinels call the server.
pub(crate) const MASTER: &str = "verigate";

// === impl RedisServer ===

impl RedisServer {
    /// With settings as they are written on a command line, and those that no test does without.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_in(&tempfile::tempdir().unwrap().keep(), Path::new(REDIS), settings)
    }

    /// The same, as Valkey.
    pub(crate) fn start_valkey(settings: &[&str]) -> Self {
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/bin/valkey-server");
        let program = if ours.exists() { ours } else { PathBuf::from("valkey-server") };
        Self::start_in(&tempfile::tempdir().unwrap().keep(), &program, settings)
    }

    fn start_in(above: &Path, program: &Path, settings: &[&str]) -> Self {
        let port = free_port();
        let folder = above.join(port.to_string());
        fs::create_dir(&folder).unwrap();
        let own = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir", folder.to_str().unwrap()];
        let fixed = ["--save", "", "--maxmemory-policy", "noeviction", "--appendfilename", "log.aof"];
        let settings = own.iter().chain(&fixed).chain(settings).map(|setting| (*setting).to_owned()).collect();
        Self::run(port, folder, program, settings)
    }

    fn run(port: u16, folder: PathBuf, program: &Path, settings: Vec<String>) -> Self {
        let (keeper, pid) = spawn(&folder, program, &settings);
        let server = Self { port, folder, program: program.to_owned(), settings, keeper, pid };
        server.wait_until("it answers", |server| server.cli(&["PING"]).trim() == "PONG");
        server
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }

    pub(crate) fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        // The number of a process that is being buried still answers to signals, but its port does not.
        self.wait_until("it is dead", |server| std::net::TcpStream::connect(("127.0.0.1", server.port)).is_err());
    }

    /// Stops answering, without closing anything.
    pub(crate) fn pause(&self) {
        kill_process(self.pid, Signal::STOP).unwrap();
    }

    pub(crate) fn resume(&self) {
        kill_process(self.pid, Signal::CONT).unwrap();
    }

    /// Starts again after [`RedisServer::kill`], with the same settings in the same folder.
    pub(crate) fn revive(&mut self) {
        let (keeper, pid) = spawn(&self.folder, &self.program, &self.settings);
        // The old keeper takes the folder with it when it ends, so it stays until the end.
        std::mem::forget(std::mem::replace(&mut self.keeper, keeper));
        self.pid = pid;
        self.wait_until("it answers again", |server| server.cli(&["PING"]).trim() == "PONG");
    }

    /// Asks until it is so.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        wait_until(&format!("{} port {}", what, self.port), || is_so(self));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // One that is paused could not be waited for.
        let _ = kill_process(self.pid, Signal::CONT);
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

fn spawn(folder: &Path, program: &Path, settings: &[String]) -> (Child, Pid) {
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "sh"]).arg(folder).arg(program).args(settings);
    let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (keeper, Pid::from_raw(line.trim().parse().unwrap()).unwrap())
}

/// A port that nobody has now. None of those that the kernel gives to connections on their way out (from 32768 on, as a
/// rule): one of these may be somebody's before the server has it. Processes begin far from each other.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(613);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + begin.wrapping_add(turn) % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) fn cli(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments).output();
    let output = output.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Asks until it is so. What is waited for is done by other processes; the bound turns a wait without end into a failure.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    while !is_so() {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
        assert!(now - started < 60, "waited in vain until {what}");
        // Each question is a process of its own, which those that are waited for have to share the machine with.
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

// === impl Cluster ===

impl Cluster {
    /// `timeout`: after which the others give up a server that is silent.
    pub(crate) fn start(timeout: Duration) -> Self {
        let timeout = timeout.as_millis().to_string();
        let folder = tempfile::tempdir().unwrap().keep();
        let servers: Vec<_> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", &timeout];
                RedisServer::start_in(&folder, Path::new(REDIS), &[&cluster, DURABLE].concat())
            })
            .collect();
        let addresses: Vec<_> = servers.iter().map(RedisServer::address).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        let created = create.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers, folder };
        for server in &cluster.servers {
            server.wait_until("its Cluster is whole", |server| {
                server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
                    && server.cli(&["CLUSTER", "NODES"]).matches("slave ").count() == 3
                    && (server.cli(&["ROLE"]).starts_with("master") || server.cli(&["ROLE"]).contains("connected"))
            });
        }
        cluster
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(RedisServer::address).collect()
    }

    /// One that holds slots.
    pub(crate) fn master(&self) -> &RedisServer {
        self.servers.iter().find(|server| server.cli(&["ROLE"]).starts_with("master")).unwrap()
    }

    /// The server that holds a slot, as the others say.
    pub(crate) fn owner(&self, slot: u16) -> &RedisServer {
        let asked = self.servers.iter().map(|server| server.cli(&["CLUSTER", "NODES"]));
        let nodes = asked.into_iter().find(|nodes| nodes.contains("myself")).unwrap();
        let holds = |line: &&str| {
            line.contains("master")
                && !line.contains("fail")
                && line.split(' ').skip(8).any(|range| {
                    let (first, last) = range.split_once('-').unwrap_or((range, range));
                    let (first, last) = (first.parse().unwrap_or(u16::MAX), last.parse().unwrap_or(0));
                    (first..=last).contains(&slot)
                })
        };
        let line = nodes.lines().find(holds).unwrap();
        let port = line.split(' ').nth(1).unwrap().split('@').next().unwrap().rsplit(':').next().unwrap();
        self.servers.iter().find(|server| server.port.to_string() == port).unwrap()
    }
}

// === impl Watched ===

impl Watched {
    /// `timeout`: after which the Sentinels give up a server that is silent.
    pub(crate) fn start(timeout: Duration) -> Self {
        let master = RedisServer::start(DURABLE);
        let port = master.port.to_string();
        let follow = || {
            let replica = RedisServer::start(&[DURABLE, &["--replicaof", "127.0.0.1", &port]].concat());
            replica.wait_until("it follows", |replica| replica.cli(&["ROLE"]).contains("connected"));
            replica
        };
        let replicas = vec![follow(), follow()];
        let sentinels = (0..3).map(|_| start_sentinel(master.port, timeout)).collect::<Vec<_>>();
        for sentinel in &sentinels {
            sentinel.wait_until("it knows the others", |sentinel| {
                let told = sentinel.cli(&["SENTINEL", "MASTER", MASTER]);
                let fields: Vec<_> = told.lines().collect();
                let field = |name: &str| fields.iter().position(|line| *line == name).map(|at| fields[at + 1]);
                field("num-other-sentinels") == Some("2") && field("num-slaves") == Some("2")
            });
        }
        Self { master, _replicas: replicas, sentinels }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisServer::address).collect()
    }
}

fn start_sentinel(master: u16, timeout: Duration) -> RedisServer {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap().keep().join("sentinel");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("sentinel.conf");
    let millis = timeout.as_millis();
    let settings = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER} {millis}\nsentinel failover-timeout {MASTER} 10000\n",
        folder.display()
    );
    fs::write(&file, settings).unwrap();
    let file = file.to_str().unwrap().to_owned();
    RedisServer::run(port, folder, Path::new(REDIS), vec![file, "--sentinel".to_owned()])
}

// === shared ones ===

/// One server for all tests that leave it as it is; each has a prefix of its own.
pub(crate) fn shared_server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(|| RedisServer::start(DURABLE))
}

/// One Cluster for all tests that leave it as it is.
pub(crate) fn shared_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start(Duration::from_secs(15)))
}

/// A prefix that no other test of this process has.
pub(crate) fn fresh_prefix() -> String {
    static NEXT: Mutex<u32> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap();
    *next += 1;
    format!("t{}", *next)
}

// === settings ===

/// Settings of a store, from the defaults and what `text` says otherwise, as under `[store.redis]`.
pub(crate) fn redis_settings(text: &str) -> Config {
    let defaults: toml::Table = toml::from_str(verigate::config::DEFAULTS).unwrap();
    let mut settings = defaults["store"]["redis"].as_table().unwrap().clone();
    settings.extend(toml::from_str::<toml::Table>(text).unwrap());
    let whole = toml::Table::from_iter([(
        "store".to_owned(),
        toml::Value::Table([("redis".to_owned(), toml::Value::Table(settings))].into_iter().collect()),
    )]);
    let place = tempfile::tempdir().unwrap();
    let (key, file) = (place.path().join("key"), place.path().join("verigate.toml"));
    fs::write(&key, "").unwrap();
    let rest = "[[tenants]]\nname = \"acme\"\nkeys = [{ id = \"acme\", secret = \"acme-secret-of-some-length\" }]\n";
    let key = format!("[store]\nkey_file = {:?}\n", key.display().to_string());
    let whole = toml::to_string(&whole).unwrap();
    fs::write(&file, format!("{key}{whole}{rest}")).unwrap();
    config::load(Some(&file), std::iter::empty()).unwrap().config.store.redis
}

/// The settings that lead to one server.
pub(crate) fn single(server: &RedisServer) -> String {
    format!("mode = \"single\"\naddresses = [{:?}]", server.address())
}

/// The settings that lead to a Cluster.
pub(crate) fn cluster(cluster: &Cluster) -> String {
    // Under a test run of many threads on few cores replicas are late at times.
    format!(
        "mode = \"cluster\"\naddresses = {:?}\nreplicas = 1\nreplica_timeout = \"8s\"\ntimeout = \"10s\"",
        cluster.addresses()
    )
}
