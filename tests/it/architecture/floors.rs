//! Who may know whom: the table of floors, and the rules for a folder's own files.

use std::collections::{BTreeMap, BTreeSet};

use crate::architecture::Finding;
use crate::architecture::source::{Path, Source};

/// A module of the crate and who may import it.
struct Module {
    name: &'static str,
    floor: u8,
    /// The floors that may import it.
    known_to: &'static [u8],
    folder: Folder,
}

/// What the `mod.rs` of a folder is. A module in one file is an assembler without children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// Holds what its children need; knows none of them.
    Port {
        /// Children that are part of the port for their siblings.
        shared: &'static [&'static str],
        /// Children that are part of the port for everyone. The others are concrete: only `server` builds them.
        open: &'static [&'static str],
    },
    /// Built from its children, none of which knows it.
    Assembler,
}

const ALL: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
const RULES: &[u8] = &[5, 6, 8];
const SURFACES: &[u8] = &[7, 8];

/// The house, from the ground up. Modules that do not exist yet have their place already.
const HOUSE: &[Module] = &[
    assembler("error", 1, ALL),
    assembler("clock", 1, ALL),
    assembler("random", 1, ALL),
    assembler("id", 1, ALL),
    assembler("status", 2, SURFACES),
    assembler("network", 2, ALL),
    assembler("recipient", 2, ALL),
    assembler("number_type", 2, ALL),
    assembler("page", 2, SURFACES),
    assembler("page_token", 2, ALL),
    assembler("segment", 2, ALL),
    assembler("shedding", 2, SURFACES),
    assembler("tenant", 2, ALL),
    assembler("http_client", 2, ALL),
    assembler("violations", 2, ALL),
    assembler("proto", 2, &[2, 7, 8]),
    assembler("telemetry", 2, ALL),
    Module {
        folder: Folder::Port { shared: &["space"], open: &["entries", "keys", "record"] },
        ..assembler("store", 3, &[4, 5, 6, 8])
    },
    Module { folder: Folder::Port { shared: &["http"], open: &[] }, ..assembler("vendor", 4, &[5, 6, 7, 8]) },
    assembler("guard", 4, &[5, 6, 7, 8]),
    assembler("event", 4, RULES),
    assembler("auth", 4, SURFACES),
    assembler("keeping", 4, SURFACES),
    assembler("nodes", 4, RULES),
    assembler("messaging", 5, &[6, 7, 8]),
    assembler("webhook", 5, &[6, 7, 8]),
    assembler("verification", 6, SURFACES),
    assembler("contacts", 6, SURFACES),
    assembler("feed", 6, SURFACES),
    assembler("config", 7, &[8]),
    assembler("grpc", 7, &[8]),
    assembler("rest", 7, &[8]),
    assembler("receipts", 7, &[8]),
    assembler("console", 7, &[8]),
    assembler("server", 8, &[]),
    assembler("bench", 8, &[]),
    assembler("cli", 9, &[]),
];

/// All that the program, `main` and `cli`, knows of the house.
const PROGRAM_KNOWS: &[&str] = &[
    "server",
    "config",
    "console",
    "telemetry",
    "auth",
    "bench",
    "keeping",
    "clock",
    "random",
    // As a client: the contract, and the words that its arguments are read as.
    "proto",
    "error",
    "id",
    "recipient",
];

/// Words that know no other.
const GROUND: &[&str] = &["error", "clock"];

/// Concrete parts of a port that someone beside `server` may name, and why.
const CONCRETE_KNOWN_TO: &[(&str, [&str; 2], &str)] =
    &[("console", ["vendor", "inbox"], "the inbox page shows what that vendor holds")];

const fn assembler(name: &'static str, floor: u8, known_to: &'static [u8]) -> Module {
    Module { name, floor, known_to, folder: Folder::Assembler }
}

/// Every import that the table forbids, and every circle.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let sources: Vec<_> = sources.iter().filter(|source| source.is_under(&["src"])).collect();
    let modules: BTreeMap<_, _> = sources.iter().map(|source| (source.module(), *source)).collect();
    let mut findings = Vec::new();
    let mut imports = BTreeMap::new();
    for source in &sources {
        if !matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs") && module(source.module()[0]).is_none() {
            let rule = format!("`{}` has no place in the table of floors", source.module()[0]);
            findings.push(Finding::new(source, 1, rule));
        }
        let mut known = BTreeMap::new();
        for path in source.paths() {
            let Some(target) = Target::of(&path, source, &modules) else { continue };
            if let Some(rule) = objection(source, &target) {
                findings.push(Finding::new(source, path.line, format!("{}: {rule}", path.segments.join("::"))));
            } else if let Some(file) = target.file.filter(|file| file.path != source.path) {
                known.entry(file.path.as_str()).or_insert(path.line);
            }
        }
        imports.insert(source.path.as_str(), (*source, known));
    }
    findings.extend(circles(&imports));
    findings
}

/// A path of ours, split into what the rules look at.
struct Target<'a> {
    /// The module on a floor, such as `vendor`.
    module: String,
    /// The file of its folder that is named, such as `esms`.
    child: Option<String>,
    /// What is named in that file; `None` when the path ends at a module.
    item: Option<String>,
    file: Option<&'a Source>,
}

// === impl Target ===

impl<'a> Target<'a> {
    /// `None` for paths that lead out of the crate.
    fn of(path: &Path, source: &Source, modules: &BTreeMap<Vec<&str>, &'a Source>) -> Option<Self> {
        let mut segments: Vec<_> = path.segments.iter().map(String::as_str).collect();
        let own = source.module();
        // In the file of a module a child may be named without `crate`.
        if modules.contains_key(&[own.as_slice(), &segments[..1]].concat()) && !own.is_empty() {
            segments = [&["crate"], own.as_slice(), &segments].concat();
        }
        let ours = segments[0] == "crate" || (segments[0] == "verigate" && is_program(source));
        if !ours || segments.len() < 2 {
            return None;
        }
        let inner = &segments[1..];
        let depth = (1..=inner.len()).rev().find(|depth| modules.contains_key(&inner[..*depth])).unwrap_or(1);
        let child = if depth > 1 { Some(inner[1].to_owned()) } else { None };
        let item = inner.get(depth).map(|item| (*item).to_owned());
        Some(Self { module: inner[0].to_owned(), child, item, file: modules.get(&inner[..depth]).copied() })
    }

    fn is_config(&self) -> bool {
        self.item.as_ref().is_some_and(|item| item.ends_with("Config"))
    }
}

/// Part of the program, which sees the rest of the house as the crate `verigate`.
fn is_program(source: &Source) -> bool {
    source.is_under(&["src/main.rs", "src/cli"])
}

fn module(name: &str) -> Option<&'static Module> {
    HOUSE.iter().find(|module| module.name == name)
}

/// Why this file may not name this target.
fn objection(source: &Source, target: &Target<'_>) -> Option<String> {
    let Some(to) = module(&target.module) else {
        return Some(format!("`{}` has no place in the table of floors", target.module));
    };
    let own = source.module();
    if is_program(source) && to.name != "cli" {
        let known = PROGRAM_KNOWS.contains(&to.name);
        return (!known).then(|| format!("the program knows only {}", PROGRAM_KNOWS.join(", ")));
    }
    if source.path == "src/main.rs" {
        return None;
    }
    let from = own.first().and_then(|name| module(name))?;
    if from.name == to.name {
        return objection_in_folder(to.folder, own.get(1).copied(), target.child.as_deref());
    }
    // Configuration is composed of what each module calls its own, on whatever floor below or beside.
    // A bare `use` of a module names nothing in it yet; what follows it is looked at by itself.
    let composes = from.name == "config" && to.floor <= from.floor && (target.item.is_none() || target.is_config());
    if composes { None } else { objection_between(from, to).or_else(|| objection_to_concrete(from, to, target)) }
}

fn objection_between(from: &Module, to: &Module) -> Option<String> {
    if GROUND.contains(&from.name) {
        return Some(format!("`{}` imports nothing of ours", from.name));
    }
    if from.floor <= 2 && to.floor <= 2 {
        return None; // Words may build on words; the check for circles keeps them in order.
    }
    if to.floor >= from.floor {
        return Some(format!("`{}` (floor {}) imports from lower floors only", from.name, from.floor));
    }
    let known = to.known_to.contains(&from.floor);
    (!known).then(|| format!("`{}` is not for floor {}, but for {:?}", to.name, from.floor, to.known_to))
}

fn objection_to_concrete(from: &Module, to: &Module, target: &Target<'_>) -> Option<String> {
    let Folder::Port { open, .. } = to.folder else { return None };
    let child = target.child.as_deref().filter(|child| !open.contains(child))?;
    let excepted = CONCRETE_KNOWN_TO.iter().any(|(who, whom, _)| *who == from.name && *whom == [to.name, child]);
    (from.name != "server" && !excepted)
        .then(|| format!("`{child}` is concrete: `server` builds it, `config` names its Config"))
}

fn objection_in_folder(folder: Folder, from: Option<&str>, to: Option<&str>) -> Option<String> {
    match (folder, from, to) {
        (_, Some(from), Some(to)) if from == to => None,
        (Folder::Port { .. }, None, Some(_)) => Some("a port imports none of its children".to_owned()),
        (Folder::Port { shared, .. }, Some(_), Some(to)) if !shared.contains(&to) => {
            Some("the children of a port import only its `mod.rs`".to_owned())
        }
        (Folder::Assembler, Some(_), None) => Some("no child imports the `mod.rs` that assembles it".to_owned()),
        _ => None,
    }
}

/// One finding for each circle of imports, at the first file of it in order of names.
fn circles(imports: &BTreeMap<&str, (&Source, BTreeMap<&str, usize>)>) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for (start, (source, known)) in imports {
        for (next, line) in known {
            let Some(mut circle) = way(imports, next, start) else { continue };
            let members: BTreeSet<_> = circle.iter().copied().collect();
            if told.insert(members) {
                circle.insert(0, start);
                findings.push(Finding::new(source, *line, format!("imports go in a circle: {}", circle.join(" → "))));
            }
        }
    }
    findings
}

/// The files on a shortest way along imports, both ends included.
fn way<'a>(
    imports: &BTreeMap<&'a str, (&Source, BTreeMap<&'a str, usize>)>,
    from: &'a str,
    to: &str,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![from]];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return Some(way.clone());
        }
        let mut longer = Vec::new();
        for way in &ways {
            let here = way[way.len() - 1];
            for next in imports.get(here).into_iter().flat_map(|(_, known)| known.keys()) {
                if seen.insert(next) {
                    longer.push([way.as_slice(), &[next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}
