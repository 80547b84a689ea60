//! The reference of the calls, made from the contract and its comments: services with their rpcs, messages with their
//! fields, enums with their values, each under a name that can be linked to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor};
use verigate::proto::FILE_DESCRIPTOR_SET;

use crate::docs::pages::check_generated;

const PAGE: &str = "docs/api.md";

const HEAD: &str = "<!-- Made from the comments in proto/: UPDATE_DOCS=1 cargo test --test it docs -->

# API reference

Every call of the contract in [`proto/`](../proto/verigate), by package. Each call that is about tenants needs the metadata
`authorization: Bearer ID.SECRET`. The same calls are served as JSON over HTTP under `/v1`; their paths, statuses and fields
are at `/docs` of the `http` listener where `rest.docs` is on. The reasons of errors are listed
[below](#errorreason).

";

/// What the enum of reasons begins its values with, and where it stands.
const REASONS: (&str, &str) = ("ERROR_REASON_", "verigate.error.v1.ErrorReason");

/// The contract with its comments, by file and by place in it.
struct Contract {
    pool: DescriptorPool,
    comments: BTreeMap<(String, Vec<i32>), String>,
    reasons: BTreeSet<String>,
}

#[test]
fn the_reference_of_the_calls_is_what_the_contract_says() {
    let contract = Contract::read();
    let packages: BTreeSet<_> = contract.pool.files().map(|file| file.package_name().to_owned()).collect();
    let mut page = HEAD.to_owned();
    for package in packages.iter().filter(|package| package.starts_with("verigate.")) {
        contract.write_package(&mut page, package);
    }
    check_generated(PAGE, &format!("{}\n", page.trim_end()));
    let commented = contract.comments.len();
    assert!(commented > 300, "{commented} comments");
}

// === impl Contract ===

impl Contract {
    fn read() -> Self {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let mut comments = BTreeMap::new();
        for file in pool.files() {
            let source = file.file_descriptor_proto().source_code_info.as_ref();
            for location in source.map(|source| source.location.as_slice()).unwrap_or_default() {
                if let Some(comment) = &location.leading_comments {
                    let lines: Vec<_> = comment.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
                    comments.insert((file.name().to_owned(), location.path.clone()), lines.join("\n"));
                }
            }
        }
        let reasons = pool.get_enum_by_name(REASONS.1).unwrap();
        let reasons = reasons.values().map(|value| value.name().trim_start_matches(REASONS.0).to_owned()).collect();
        Self { pool, comments, reasons }
    }

    fn comment(&self, file: &str, path: &[i32]) -> String {
        let found = self.comments.get(&(file.to_owned(), path.to_vec()));
        found.unwrap_or_else(|| panic!("{file} {path:?}: no comment")).trim().to_owned()
    }

    fn write_package(&self, page: &mut String, package: &str) {
        let _ = writeln!(page, "## {package}\n");
        let is_here = |name: &str| name == package;
        for service in self.pool.services().filter(|service| is_here(service.package_name())) {
            self.write_service(page, &service);
        }
        for message in self.pool.all_messages().filter(|message| is_here(message.package_name())) {
            if !message.is_map_entry() {
                self.write_message(page, &message);
            }
        }
        for list in self.pool.all_enums().filter(|list| is_here(list.package_name())) {
            self.write_enum(page, &list);
        }
    }

    fn write_service(&self, page: &mut String, service: &ServiceDescriptor) {
        let file = service.parent_file();
        let comment = self.comment(file.name(), service.path());
        let _ = writeln!(page, "### {}\n\n{}\n", service.name(), self.prose(&comment));
        for rpc in service.methods() {
            let stream = |is: bool| if is { "stream of " } else { "" };
            let (takes, gives) = (rpc.input(), rpc.output());
            let _ = writeln!(page, "#### {}.{}\n", service.name(), rpc.name());
            let _ = writeln!(
                page,
                "{}{} → {}{}\n",
                stream(rpc.is_client_streaming()),
                link(takes.full_name()),
                stream(rpc.is_server_streaming()),
                link(gives.full_name()),
            );
            let _ = writeln!(page, "{}\n", self.prose(&self.comment(file.name(), rpc.path())));
        }
    }

    fn write_message(&self, page: &mut String, message: &MessageDescriptor) {
        let file = message.parent_file();
        let comment = self.comment(file.name(), message.path());
        let _ = writeln!(page, "### {}\n\n{}\n", local(message.full_name()), self.prose(&comment));
        if message.fields().len() == 0 {
            return;
        }
        let _ = writeln!(page, "| field | type | |\n|---|---|---|");
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(|field| field.path().to_vec());
        for field in fields {
            let comment = self.cell(&self.comment(file.name(), field.path()));
            let one_of = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            let one_of = one_of.map(|oneof| format!(", one of `{}`", oneof.name())).unwrap_or_default();
            let _ = writeln!(page, "| `{}` | {}{one_of} | {comment} |", field.name(), type_of(&field));
        }
        page.push('\n');
    }

    fn write_enum(&self, page: &mut String, list: &EnumDescriptor) {
        let file = list.parent_file();
        let comment = self.comment(file.name(), list.path());
        let _ = writeln!(page, "### {}\n\n{}\n", local(list.full_name()), self.prose(&comment));
        let _ = writeln!(page, "| value | number | |\n|---|---|---|");
        for value in list.values() {
            let comment = self.cell(&self.comment(file.name(), value.path()));
            let name = value.name();
            let anchor = if list.full_name() == REASONS.1 { format!("<a id=\"{name}\"></a>") } else { String::new() };
            let _ = writeln!(page, "| {anchor}`{name}` | {} | {comment} |", value.number());
        }
        page.push('\n');
    }

    /// A comment as it stands, with the reasons of errors as links.
    fn prose(&self, comment: &str) -> String {
        let to_line = |line: &str| line.strip_prefix("* ").map_or_else(|| line.to_owned(), |item| format!("- {item}"));
        let text: Vec<_> = comment.lines().map(to_line).collect();
        let linked = text.join("\n");
        let linked = linked.split('`').enumerate().map(|(index, part)| match index % 2 {
            0 => self.with_links(part),
            _ => format!("`{part}`"),
        });
        linked.collect()
    }

    fn cell(&self, comment: &str) -> String {
        let paragraphs: Vec<_> = comment.split("\n\n").map(|text| text.lines().collect::<Vec<_>>().join(" ")).collect();
        self.prose(&paragraphs.join("<br>")).replace('|', "\\|")
    }

    /// Only what stands in brackets, where comments name reasons: `COUNTRY` alone may be anything.
    fn with_links(&self, text: &str) -> String {
        let mut result = String::new();
        for part in text.split_inclusive(['(', ')']) {
            let (inside, end) = part.strip_suffix(')').map_or((part, ""), |inside| (inside, ")"));
            let names: Vec<_> = inside.split(',').map(str::trim).collect();
            if end.is_empty() || !names.iter().all(|name| self.reasons.contains(*name)) {
                result += part;
                continue;
            }
            let links: Vec<_> = names.iter().map(|name| format!("[{name}](#{}{name})", REASONS.0)).collect();
            result += &links.join(", ");
            result += end;
        }
        result
    }
}

/// A name within its package.
fn local(name: &str) -> &str {
    let parts = name.match_indices('.').map(|(at, _)| at);
    let capital = |at: &usize| name[at + 1..].starts_with(|c: char| c.is_ascii_uppercase());
    parts.into_iter().find(capital).map_or(name, |at| &name[at + 1..])
}

fn link(name: &str) -> String {
    if !name.starts_with("verigate.") {
        return format!("`{name}`");
    }
    let local = local(name);
    format!("[{local}](#{})", local.to_lowercase().replace('.', ""))
}

fn type_of(field: &FieldDescriptor) -> String {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { unreachable!("a map has entries") };
        let of = |number| type_of(&entry.get_field(number).unwrap());
        return format!("map of {} to {}", of(1), of(2));
    }
    let one = match field.kind() {
        Kind::Message(message) => link(message.full_name()),
        Kind::Enum(list) => link(list.full_name()),
        kind => format!("`{kind:?}`").to_lowercase(),
    };
    let optional = field.supports_presence() && field.containing_oneof().is_some_and(|oneof| oneof.is_synthetic());
    match () {
        () if field.is_list() => format!("list of {one}"),
        () if optional => format!("{one}, optional"),
        () => one,
    }
}
