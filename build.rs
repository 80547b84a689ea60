//! Generates the Rust side of the contract in `proto/`: messages, clients, servers, and the descriptor set for
//! reflection. Needs no `protoc`.
//!
//! Messages that carry a secret or a recipient get a `Debug` without these, so that nobody who logs a request can give
//! one away. The option `debug_redact` would say the same in the contract itself, but the `protoc` of current Debian and
//! Ubuntu releases (3.21) does not know it and would refuse the files.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use protox::Compiler;
use protox::prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CONTRACT: &str = "proto";

/// Fields of these names never show in `Debug`, in whichever message they are.
const SECRET_FIELDS: [&str; 10] =
    ["code", "columns", "custom_code", "email", "phone", "secret", "secret_hash", "text", "value", "variables"];

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={CONTRACT}");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The debug form names file, line and column.
            let error = format!("{error:?}").replace('\n', " ");
            println!("cargo::error=cannot compile the contract in {CONTRACT}/: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<()> {
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = Compiler::new([CONTRACT])?;
    // The source of our own files only: the well-known ones come without.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(proto_files(Path::new(CONTRACT))?)?;
    fs::write(out_dir.join("descriptor_set.bin"), compiler.encode_file_descriptor_set())?;

    let mut debug_impls = BTreeMap::<String, String>::new();
    let mut redacted = Vec::new();
    for file in compiler.descriptor_pool().files() {
        let impls = debug_impls.entry(file.package_name().to_owned()).or_default();
        for message in file.messages().filter(|message| message.fields().any(|field| is_secret(&field))) {
            redacted.push(format!(".{}", message.full_name()));
            impls.push_str(&redacted_debug(&message));
        }
    }
    for (package, impls) in debug_impls {
        fs::write(out_dir.join(format!("{package}.debug.rs")), impls)?;
    }

    tonic_prost_build::configure()
        .codec_path("crate::proto::codec::SmallProst")
        .skip_debug(redacted)
        // Far larger than the error beside it.
        .boxed(".verigate.messaging.v1.SendMessagesResult.outcome.message")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Every `.proto` file under `folder`, in a stable order.
fn proto_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_secret(field: &FieldDescriptor) -> bool {
    SECRET_FIELDS.contains(&field.name())
}

/// A `Debug` that shows the fields of a message without its secrets and without its oneofs.
fn redacted_debug(message: &MessageDescriptor) -> String {
    let name = message.name();
    let mut fields = String::new();
    for field in message.fields().filter(|field| !is_secret(field) && field.containing_oneof().is_none()) {
        let field_name = field.name();
        let is_one_enum = matches!(field.kind(), Kind::Enum(_)) && !field.is_list();
        let call = if is_one_enum { "()" } else { "" };
        fields.push_str(&format!(".field(\"{field_name}\", &self.{field_name}{call})"));
    }
    let mut impls = debug_impl(name, &format!("f.debug_struct(\"{name}\"){fields}.finish_non_exhaustive()"));
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let oneof = upper_camel(oneof.name());
        impls.push_str(&debug_impl(
            &format!("{}::{oneof}", lower_snake(name)),
            &format!("f.debug_struct(\"{oneof}\").finish_non_exhaustive()"),
        ));
    }
    impls
}

fn debug_impl(path: &str, body: &str) -> String {
    format!(
        "impl ::core::fmt::Debug for {path} {{\n    \
             fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        {body}\n    }}\n}}\n"
    )
}

fn upper_camel(snake: &str) -> String {
    snake.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

fn lower_snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in camel.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
