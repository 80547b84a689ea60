//! What is under `deploy/`, as far as it can be tried without a container engine, a cluster and systemd as process 1: other
//! people's judges read every file, and the program runs with every command line and every configuration in them.
//!
//! What the judges are, `tests/it/deploy/requirements.txt` and `tests/run` say.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::CONFIG;
use crate::cli::program::Place;

/// Folders that containers have, each of which is a folder of the test's own here.
const MOUNTS: [&str; 5] = ["/var/lib/verigate", "/etc/verigate", "/run/secrets/verigate", "/keys", "/run/verigate"];

const PROGRAM: &str = "/usr/local/bin/verigate";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

/// Runs a program of ours or of the judges, and gives what it printed. `input` may be empty.
fn run(program: &str, arguments: &[&str], folder: &Path, input: &str) -> String {
    use std::io::Write;
    let cache = root().join("tests/.cache");
    let path = [cache.join("deploy/bin").display(), cache.join("bin").display()].map(|path| path.to_string()).join(":");
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("env");
    command.arg(program).args(arguments).current_dir(folder).env("PATH", path);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}; `tests/run setup` installs what it needs\n{out}\n{err}");
    out.into_owned()
}

/// All documents of a text in YAML.
fn parse_yaml(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
    serde_json::from_str(&run("python", &["-c", script], root(), text)).unwrap()
}

/// A configuration with the folders of containers moved into `place`, its key file made.
fn settle(place: &Place, config: &str) {
    let moved = MOUNTS.iter().fold(config.to_owned(), |text, mount| {
        let here = place.path(&mount[1..].replace('/', "-"));
        fs::create_dir_all(&here).unwrap();
        text.replace(mount, here.to_str().unwrap())
    });
    let key = moved.lines().find_map(|line| line.strip_prefix("key_file = \"")).unwrap().trim_end_matches('"');
    place.run(&["store-key", "new", key]).succeeded();
    place.write("verigate.toml", &moved);
}

/// The arguments after the program's name in a command of a file.
fn arguments(command: &Value) -> Vec<String> {
    let words: Vec<_> = command.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    let [program, arguments @ ..] = &words[words.iter().take(1).filter(|word| *word == "CMD").count()..] else {
        panic!("{command} is empty")
    };
    assert_eq!(program, PROGRAM, "{command}");
    arguments.to_vec()
}

// === container image ===

/// The instructions of the Dockerfile, each on one line.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

#[test]
fn the_dockerfile_pleases_its_judge_and_builds_what_is_here() {
    run("hadolint", &["--failure-threshold", "info", "deploy/Dockerfile"], root(), "");
    let instructions = instructions();
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let version = instructions.iter().find_map(|(_, rest)| rest.strip_prefix("RUST=")).unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}\"")), "another version than {toolchain}");

    // The layer of dependencies: its files and its stand-ins are a package that Cargo takes.
    let place = Place::new();
    let ignored = read("Dockerfile.dockerignore");
    let stage = instructions.iter().skip_while(|(_, rest)| !rest.ends_with("AS build")).skip(1);
    let mut builds = 0;
    for (name, rest) in stage.take_while(|(name, _)| name != "FROM") {
        if name == "COPY" {
            let words: Vec<_> = rest.split_whitespace().collect();
            let (target, sources) = words.split_last().unwrap();
            for source in sources {
                assert!(
                    ignored.lines().any(|line| line == format!("!{source}")),
                    "{source} does not reach the builder"
                );
                let target = if *target == "./" { "." } else { target };
                if target.ends_with('/') {
                    fs::create_dir_all(place.path(target)).unwrap();
                }
                run("cp", &["-r", root().join(source).to_str().unwrap(), target], &place.path("."), "");
            }
        }
        if name == "RUN" && rest.starts_with("mkdir -p src") {
            run("bash", &["-ec", rest], &place.path("."), "");
            let read = run("cargo", &["metadata", "--locked", "--offline", "--no-deps"], &place.path("."), "");
            assert!(read.contains("\"name\":\"verigate\""), "{read}");
        }
        builds += rest.matches("cargo build --locked --profile dist").count();
    }
    assert_eq!(builds, 2, "what is shipped is built with the profile for it, after its dependencies");
}

#[test]
fn a_build_can_be_trained() {
    let scripts = ["deploy/build", "deploy/train"];
    run("shellcheck", &["deploy/build", "deploy/train", "tests/run", ".ci/run"], root(), "");
    let trained = run("deploy/train", &[env!("CARGO_BIN_EXE_verigate"), "0.1"], root(), "");
    assert_eq!(trained, "trained: inbox\ntrained: vendor\ntrained: redis\n");
    for script in scripts {
        let wrong = Command::new(root().join(script)).args(["--wrong", "1", "2"]).output().unwrap();
        let told = String::from_utf8(wrong.stderr).unwrap();
        assert!(wrong.status.code() == Some(2) && told.contains(&format!("{script} ")), "{script}: {told}");
    }
}

#[test]
fn the_commands_of_the_image_run() {
    let instructions = instructions();
    let last = |name: &str| &instructions.iter().rev().find(|(other, _)| other == name).unwrap().1;
    let user: u32 = last("USER").split(':').next().unwrap().parse().unwrap();
    assert_ne!(user, 0);
    let entry: Value = serde_json::from_str(last("ENTRYPOINT")).unwrap();
    assert_eq!(arguments(&entry).len(), 0);
    let command: Vec<String> = serde_json::from_str(last("CMD")).unwrap();
    let health = last("HEALTHCHECK").split_once("CMD ").unwrap().1;
    let health = arguments(&serde_json::from_str(health).unwrap());

    let place = Place::new();
    settle(&place, &read("compose/verigate.toml"));
    let file = place.path("verigate.toml").display().to_string();
    let command: Vec<_> = command.iter().map(|word| word.replace("/etc/verigate/verigate.toml", &file)).collect();
    let [serve, arguments @ ..] = &command[..] else { panic!("{command:?}") };
    assert_eq!(serve, "serve");
    let served = place.serve(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let health: Vec<_> = health.iter().map(String::as_str).collect();
    assert_eq!(place.run_with(&health, &[("VERIGATE_ADDRESS", &served.grpc)]).succeeded(), "serving\n");
}

// === compose ===

#[test]
fn the_compose_file_is_one_and_its_server_starts() {
    run("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml"], root(), "");
    let [compose] = &parse_yaml(&read("compose.yaml"))[..] else { panic!("one document") };
    let server = &compose["services"]["verigate"];
    assert_eq!(arguments(&server["healthcheck"]["test"]), ["health"]);
    let build = &server["build"];
    let folder = root().join("deploy").join(build["context"].as_str().unwrap());
    assert!(folder.join(build["dockerfile"].as_str().unwrap()).is_file());
    for service in compose["services"].as_object().unwrap().values() {
        for mount in service["volumes"].as_array().unwrap().iter().map(|mount| mount.as_str().unwrap()) {
            let source = mount.split(':').next().unwrap();
            let named = compose["volumes"].as_object().unwrap().contains_key(source);
            assert!(named || root().join("deploy").join(source).is_file(), "{mount}");
        }
    }
    let [scrape] = &parse_yaml(&read("compose/prometheus.yml"))[..] else { panic!("one document") };
    assert_eq!(scrape["scrape_configs"][0]["static_configs"][0]["targets"][0], "verigate:9090");
}

// === systemd ===

#[test]
fn the_unit_is_sound_and_hardened_and_the_program_starts_as_it_says() {
    let place = Place::new();
    let unit = read("systemd/verigate.service");
    place.write("verigate.service", &unit.replace(PROGRAM, env!("CARGO_BIN_EXE_verigate")));
    let file = place.path("verigate.service").display().to_string();
    run("systemd-analyze", &["verify", "--man=no", &file], root(), "");
    // In tenths: what is left is that it speaks to the network.
    run("systemd-analyze", &["security", "--offline=yes", "--threshold=15", &file], root(), "");

    let value = |name: &str| unit.lines().filter_map(move |line| line.strip_prefix(name)).collect::<Vec<_>>();
    assert_eq!(value("Type="), ["notify"]);
    let socket = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let here = |text: &str| {
        text.replace("%d", place.path(".").to_str().unwrap()).replace("%S", place.path(".").to_str().unwrap())
    };
    let environment: Vec<_> = value("Environment=").into_iter().map(here).collect();
    let notify = format!("NOTIFY_SOCKET={}", place.path("notify").display());
    let variables = environment.iter().chain([&notify]).map(|text| text.split_once('=').unwrap());
    place.run(&["store-key", "new", "store.key"]).succeeded();
    fs::create_dir(place.path("verigate")).unwrap();
    place.write("verigate.toml", CONFIG);
    let command = value("ExecStart=")[0].replace("/etc/verigate/", "");
    let [program, "serve", arguments @ ..] = &command.split(' ').collect::<Vec<_>>()[..] else { panic!("{command}") };
    assert_eq!(*program, PROGRAM);
    let served = place.serve(arguments, &variables.collect::<Vec<_>>());
    let mut word = [0; 1024];
    let ready = std::iter::repeat_with(|| socket.recv(&mut word).map(|length| word[..length].to_vec()).unwrap());
    assert!({ ready }.any(|word| word.starts_with(b"READY=1")));
    served.program.signal(Signal::TERM);
    assert_eq!(served.program.end().code, 0);
    assert!(place.path("verigate/store").is_dir());
}

// === Kubernetes ===

/// What kustomize makes of a folder, with a key file beside it.
fn manifests(place: &Place, name: &str) -> Vec<Value> {
    let folder = place.path(name);
    run(
        "cp",
        &["-r", root().join("deploy/kubernetes").join(name).to_str().unwrap(), folder.to_str().unwrap()],
        root(),
        "",
    );
    place.run(&["store-key", "new", &format!("{name}/store.key")]).succeeded();
    let built = run("kustomize", &["build", "."], &folder, "");
    place.write("built.yaml", &built);
    run("kubernetes-validate", &["--strict", "--quiet", "built.yaml"], &place.path("."), "");
    parse_yaml(&built)
}

fn of_kind<'m>(manifests: &'m [Value], kind: &str) -> &'m Value {
    manifests.iter().find(|manifest| manifest["kind"] == kind).unwrap()
}

/// Follows the restricted profile of Kubernetes' Pod Security Standards.
fn assert_restricted(pod: &Value, container: &Value) {
    let (pod, own) = (&pod["securityContext"], &container["securityContext"]);
    assert_eq!((&pod["runAsNonRoot"], &pod["seccompProfile"]["type"]), (&true.into(), &"RuntimeDefault".into()));
    assert_eq!((&own["allowPrivilegeEscalation"], &own["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
    assert_eq!(own["capabilities"]["drop"], serde_json::json!(["ALL"]));
}

/// Starts what a container starts, with the configuration that it is given.
fn serve(place: &Place, container: &Value, config: &str, variables: &[(&str, &str)]) -> crate::cli::program::Served {
    settle(place, config);
    assert_eq!(container["args"], serde_json::json!(["serve", "--config", "/etc/verigate/verigate.toml"]));
    let mounts: Vec<_> =
        container["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["mountPath"]).collect();
    for path in config.lines().filter_map(|line| line.split_once("= \"/")).map(|(_, path)| format!("/{path}")) {
        assert!(mounts.iter().any(|mount| path.starts_with(mount.as_str().unwrap())), "{path} is in no volume");
    }
    place.serve(&["--config", "verigate.toml"], variables)
}

#[test]
fn the_service_of_kubernetes_is_sound_and_its_server_starts() {
    let place = Place::new();
    let manifests = manifests(&place, "server");
    let set = of_kind(&manifests, "StatefulSet");
    assert_eq!(set["spec"]["replicas"], 1, "a store is for one process");
    let pod = &set["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_restricted(pod, container);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["grpc"]["port"], 50051, "{probe}");
    }
    for kind in ["Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Secret"] {
        assert_eq!(of_kind(&manifests, kind)["metadata"]["namespace"], "verigate", "{kind}");
    }
    let config = of_kind(&manifests, "ConfigMap")["data"]["verigate.toml"].as_str().unwrap();
    assert!(config.contains("grpc = \"0.0.0.0:50051\""));
    serve(&place, container, config, &[]);
}

#[test]
fn the_sidecar_of_kubernetes_is_sound_and_answers_its_probes() {
    let place = Place::new();
    let manifests = manifests(&place, "sidecar");
    let pod = &of_kind(&manifests, "StatefulSet")["spec"]["template"]["spec"];
    let sidecar = &pod["initContainers"][0];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_restricted(pod, sidecar);
    assert_restricted(pod, &pod["containers"][0]);

    let config = of_kind(&manifests, "ConfigMap")["data"]["verigate.toml"].as_str().unwrap();
    let caller = pod["containers"][0]["securityContext"]["runAsUser"].to_string();
    assert!(config.contains(&format!("users = [\"{caller}\",")), "who calls is let in");
    // Ours is another user, who calls all the same: the probes of the pod run as the sidecar's own.
    let own = pod["initContainers"][0]["securityContext"]["runAsUser"].to_string();
    assert!(config.contains(&format!("\"{own}\"")), "and so are the probes");
    let ours = rustix::process::geteuid().as_raw().to_string();
    let socket = place.path("run-verigate/grpc.sock").display().to_string();
    let address = format!("unix:{socket}");
    assert!(config.contains("grpc = \"unix:/run/verigate/grpc.sock\""));
    let _served = serve(&place, sidecar, &config.replace(&own, &ours), &[("VERIGATE__SERVER__GRPC", &address)]);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let command = arguments(&sidecar[probe]["exec"]["command"]);
        let here = |word: &String| word.replace("/run/verigate/grpc.sock", &socket);
        let command: Vec<_> = command.iter().map(here).collect();
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        assert_eq!(place.run(&command).succeeded(), "serving\n", "{probe}");
    }
}
