//! The comments of the contract, in the words of people who know no gRPC: its codes become HTTP statuses.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor,
    MethodDescriptor, OneofDescriptor, ServiceDescriptor,
};
use tonic::Code;

use crate::status::http_of;

/// The codes by the names that the comments use. Other codes never leave us.
const CODES: [(&str, Code); 12] = [
    ("ABORTED", Code::Aborted),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("INTERNAL", Code::Internal),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("NOT_FOUND", Code::NotFound),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("UNAUTHENTICATED", Code::Unauthenticated),
    ("UNAVAILABLE", Code::Unavailable),
    ("UNIMPLEMENTED", Code::Unimplemented),
];

/// What gRPC calls by other names than HTTP does.
const WORDS: [(&str, &str); 3] = [
    ("the metadata `authorization", "the header `authorization"),
    ("`google.rpc.RetryInfo`", "`retry_after`"),
    ("`google.rpc.BadRequest`", "`violations`"),
];

/// By file and by place in it.
pub(crate) struct Comments {
    by_place: BTreeMap<(String, Vec<i32>), String>,
    packages: Vec<String>,
}

/// Whatever a comment can be about.
pub(crate) trait Commented {
    fn place(&self) -> (FileDescriptor, &[i32]);
}

macro_rules! commented {
    ($($kind:ty),+) => {
        $(impl Commented for $kind {
            fn place(&self) -> (FileDescriptor, &[i32]) {
                (self.parent_file(), self.path())
            }
        })+
    };
}

commented!(EnumDescriptor, MessageDescriptor, ServiceDescriptor);

macro_rules! commented_within {
    ($($kind:ty: $parent:ident),+) => {
        $(impl Commented for $kind {
            fn place(&self) -> (FileDescriptor, &[i32]) {
                (self.$parent().parent_file(), self.path())
            }
        })+
    };
}

commented_within!(
    EnumValueDescriptor: parent_enum,
    FieldDescriptor: parent_message,
    MethodDescriptor: parent_service,
    OneofDescriptor: parent_message
);

// === impl Comments ===

impl Comments {
    pub(crate) fn new(contract: &DescriptorPool) -> Self {
        let mut by_place = BTreeMap::new();
        let mut packages = BTreeSet::new();
        for file in contract.files() {
            packages.insert(format!("{}.", file.package_name()));
            let source = file.file_descriptor_proto().source_code_info.as_ref();
            for location in source.map(|source| source.location.as_slice()).unwrap_or_default() {
                if let Some(comment) = &location.leading_comments {
                    by_place.insert((file.name().to_owned(), location.path.clone()), paragraphs(comment));
                }
            }
        }
        Self { by_place, packages: packages.into_iter().filter(|package| package.starts_with("verigate.")).collect() }
    }

    /// As it stands in the contract, a line for each paragraph and an empty one between them.
    pub(crate) fn raw(&self, thing: &impl Commented) -> &str {
        let (file, path) = thing.place();
        self.by_place.get(&(file.name().to_owned(), path.to_vec())).map(String::as_str).unwrap_or_default()
    }

    /// In the words of HTTP.
    pub(crate) fn of(&self, thing: &impl Commented) -> String {
        let mut text = self.raw(thing).to_owned();
        for package in &self.packages {
            text = text.replace(package, "");
        }
        for (word, other) in WORDS {
            text = text.replace(word, other);
        }
        let mut is_reason = false;
        let to_http = |word: &str| {
            let code = code(word).filter(|_| !is_reason);
            // In brackets stands the reason, whose name may be that of a code.
            is_reason = word.ends_with('(');
            code.map_or_else(|| word.to_owned(), |code| http_of(code).as_u16().to_string())
        };
        words(&text).map(to_http).collect()
    }
}

/// The HTTP statuses of the codes that a comment names.
pub(crate) fn statuses(comment: &str) -> BTreeSet<u16> {
    words(comment).filter_map(code).map(|code| http_of(code).as_u16()).collect()
}

/// A paragraph is one line, so that whoever shows it can break it where they like.
fn paragraphs(comment: &str) -> String {
    let lines: Vec<_> = comment.lines().map(str::trim).collect();
    let joined = lines.split(|line| line.is_empty()).map(|lines| lines.join(" ").replace(" * ", "\n- "));
    let joined =
        joined.map(|paragraph| paragraph.strip_prefix("* ").map_or(paragraph.clone(), |item| format!("- {item}")));
    joined.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n")
}

fn code(word: &str) -> Option<Code> {
    CODES.iter().find(|(name, _)| *name == word).map(|(_, code)| *code)
}

/// Words and what is between them, in turn, with nothing left out.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut rest = text;
    std::iter::from_fn(move || {
        let inside = rest.chars().next().map(is_part)?;
        let end = rest.find(|letter| is_part(letter) != inside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    fn contract() -> DescriptorPool {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn codes_become_statuses_and_reasons_stay() {
        let service = contract().get_service_by_name("verigate.verification.v1.VerificationService").unwrap();
        let comments = Comments::new(&contract());
        let resend = service.methods().find(|method| method.name() == "ResendVerification").unwrap();
        let text = comments.of(&resend);
        assert!(text.contains("404 (VERIFICATION_NOT_FOUND); 400 (VERIFICATION_NOT_PENDING)"), "{text}");
        assert!(text.contains("429 (COOL_DOWN)"), "{text}");
        assert_eq!(statuses(comments.raw(&resend)), BTreeSet::from([400, 404, 429]));
        let admin = contract().get_service_by_name("verigate.admin.v1.AdminService").unwrap();
        let create = admin.methods().find(|method| method.name() == "CreateTenant").unwrap();
        assert!(comments.of(&create).contains("409 (ALREADY_EXISTS)"), "{}", comments.of(&create));
        let text = comments.of(&service);
        assert!(
            text.contains("the header `authorization: Bearer ID.SECRET`") && text.contains("`ErrorReason`"),
            "{text}"
        );
    }

    #[test]
    fn paragraphs_are_lines() {
        assert_eq!(paragraphs(" One\n two.\n\n\n Three.\n"), "One two.\n\nThree.");
        assert_eq!(paragraphs(" * One\n   two.\n * Three.\n"), "- One two.\n- Three.");
        let taken: Vec<_> = words("a (B_C), d").collect();
        assert_eq!(taken, ["a", " (", "B_C", "), ", "d"]);
    }
}
