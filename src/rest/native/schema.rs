//! From messages of the contract to JSON Schema (2020-12), as OpenAPI 3.1 has it.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use serde_json::{Map, Value, json};

use crate::rest::native::comments::Comments;
use crate::rest::native::scalars::is_well_known;

/// Where named schemas are.
const COMPONENTS: &str = "#/components/schemas/";

/// Schemas, made as they are asked for.
pub(crate) struct Schemas<'a> {
    comments: &'a Comments,
    /// Full names of the messages that callers send. They are read strictly; the others may get more fields in time.
    sent: BTreeSet<String>,
    /// Names that messages of two packages share.
    shared: BTreeSet<String>,
    made: BTreeMap<String, Value>,
}

// === impl Schemas ===

impl<'a> Schemas<'a> {
    /// `requests`: what callers send.
    pub(crate) fn new(
        contract: &DescriptorPool,
        comments: &'a Comments,
        requests: impl Iterator<Item = MessageDescriptor>,
    ) -> Self {
        let mut sent = BTreeSet::new();
        requests.for_each(|request| reach(&request, &mut sent));
        let mut seen = BTreeSet::new();
        let messages = contract.all_messages().map(|message| short(message.package_name(), message.full_name()));
        let enums = contract.all_enums().map(|names| short(names.package_name(), names.full_name()));
        let shared = messages.chain(enums).filter(|name| !seen.insert(name.clone())).collect();
        Self { comments, sent, shared, made: BTreeMap::new() }
    }

    /// All that were asked for, and those that they need.
    pub(crate) fn into_components(self) -> BTreeMap<String, Value> {
        self.made
    }

    /// Refers to the schema of a message.
    pub(crate) fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = self.name(message.package_name(), message.full_name());
        if !self.made.contains_key(&name) {
            // Holds its place, for it may need itself.
            self.made.insert(name.clone(), Value::Null);
            let schema = self.object(message, &[]);
            self.made.insert(name.clone(), schema);
        }
        json!({ "$ref": format!("{COMPONENTS}{name}") })
    }

    /// The schema of a message without these fields, and without those that cannot be there beside them.
    pub(crate) fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Value {
        let sent = self.sent.contains(message.full_name());
        let is_left_out = |field: &FieldDescriptor| {
            let oneof =
                choice(field).map(|oneof| oneof.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>());
            without.contains(&field.name())
                || oneof.is_some_and(|names| names.iter().any(|name| without.contains(&name.as_str())))
        };
        let fields: Vec<_> = message.fields().filter(|field| !is_left_out(field)).collect();
        let mut properties = Map::new();
        for field in &fields {
            properties.insert(field.name().to_owned(), self.field(field));
        }
        let mut schema = Map::new();
        schema.insert("type".to_owned(), json!("object"));
        let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
        let choices: Vec<_> = oneofs.filter(|oneof| !oneof.fields().any(|field| is_left_out(&field))).collect();
        schema.insert("description".to_owned(), json!(self.describe(message, &choices)));
        schema.insert("properties".to_owned(), Value::Object(properties));
        let required: Vec<_> =
            fields.iter().filter(|field| self.is_required(field, sent)).map(FieldDescriptor::name).collect();
        if !required.is_empty() {
            schema.insert("required".to_owned(), json!(required));
        }
        if sent {
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        self.choose(&choices, &mut schema);
        Value::Object(schema)
    }

    /// What the comments say of a message and of the choices in it.
    fn describe(&self, message: &MessageDescriptor, choices: &[OneofDescriptor]) -> String {
        let each = choices.iter().map(|oneof| {
            let names: Vec<_> = oneof.fields().map(|field| format!("`{}`", field.name())).collect();
            format!("{}: {}", names.join(", "), self.comments.of(oneof))
        });
        std::iter::once(self.comments.of(message)).chain(each).collect::<Vec<_>>().join("\n\n")
    }

    /// The schema of one field, with what it is for.
    pub(crate) fn field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                json!({ "type": "object", "additionalProperties": self.kind(&entry.map_entry_value_field().kind()) })
            }
            kind if field.is_list() => json!({ "type": "array", "items": self.kind(&kind) }),
            kind => self.kind(&kind),
        };
        schema["description"] = json!(self.comments.of(field));
        schema
    }

    /// Whether it is always there: of what is sent, the comments say so; of what is answered, all that has a default value.
    fn is_required(&self, field: &FieldDescriptor, sent: bool) -> bool {
        if sent { self.is_demanded(field) } else { !field.supports_presence() }
    }

    pub(crate) fn is_demanded(&self, field: &FieldDescriptor) -> bool {
        self.comments.raw(field).ends_with("Required.")
    }

    fn choose(&self, choices: &[OneofDescriptor], schema: &mut Map<String, Value>) {
        let alternatives = choices.iter().map(|oneof| {
            let each: Vec<_> = oneof.fields().map(|field| json!({ "required": [field.name()] })).collect();
            let none =
                (!self.comments.raw(oneof).contains("xactly one")).then(|| json!({ "not": { "anyOf": each.clone() } }));
            json!(each.into_iter().chain(none).collect::<Vec<_>>())
        });
        let alternatives: Vec<_> = alternatives.collect();
        match alternatives.as_slice() {
            [] => {}
            [one] => drop(schema.insert("oneOf".to_owned(), one.clone())),
            several => {
                let several: Vec<_> = several.iter().map(|one| json!({ "oneOf": one })).collect();
                schema.insert("allOf".to_owned(), json!(several));
            }
        }
    }

    /// The schema of one value.
    pub(crate) fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::String => json!({ "type": "string" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({ "type": "integer", "format": "int32" }),
            Kind::Uint32 | Kind::Fixed32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            // JSON's numbers have too few digits for these.
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({ "type": "string", "pattern": "^-?[0-9]{1,19}$" }),
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "pattern": "^[0-9]{1,20}$" }),
            Kind::Double | Kind::Float => json!({ "type": "number" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Enum(names) => self.names(names),
            Kind::Message(message) => well_known(message).unwrap_or_else(|| self.message(message)),
        }
    }

    fn names(&mut self, names: &EnumDescriptor) -> Value {
        let name = self.name(names.package_name(), names.full_name());
        if !self.made.contains_key(&name) {
            let values: Vec<_> = names.values().map(|value| value.name().to_owned()).collect();
            let each = names.values().map(|value| format!("- `{}`: {}", value.name(), self.comments.of(&value)));
            let description = format!("{}\n\n{}", self.comments.of(names), each.collect::<Vec<_>>().join("\n"));
            self.made.insert(name.clone(), json!({ "type": "string", "enum": values, "description": description }));
        }
        json!({ "$ref": format!("{COMPONENTS}{name}") })
    }

    /// The name without the package, unless that would be taken for another.
    fn name(&self, package: &str, full_name: &str) -> String {
        let short = short(package, full_name);
        if self.shared.contains(&short) { full_name.to_owned() } else { short }
    }
}

/// The oneof that a field is one of, if that has others.
pub(crate) fn choice(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
}

fn short(package: &str, full_name: &str) -> String {
    full_name.strip_prefix(package).unwrap_or(full_name).trim_start_matches('.').to_owned()
}

/// The full names of a message and of all that can lie in it.
fn reach(message: &MessageDescriptor, reached: &mut BTreeSet<String>) {
    if is_well_known(message) || !reached.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        if let Kind::Message(inner) = field.kind() {
            reach(&inner, reached);
        }
    }
}

fn well_known(message: &MessageDescriptor) -> Option<Value> {
    if !is_well_known(message) {
        return None;
    }
    let schema = match message.name() {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({ "type": "string", "pattern": "^-?[0-9]{1,12}([.][0-9]{1,9})?s$", "examples": ["90s"] }),
        "FieldMask" => json!({ "type": "string" }),
        "Struct" | "Any" | "Empty" => json!({ "type": "object" }),
        "ListValue" => json!({ "type": "array" }),
        "BoolValue" => json!({ "type": "boolean" }),
        "StringValue" | "BytesValue" | "Int64Value" | "UInt64Value" => json!({ "type": "string" }),
        "Int32Value" | "UInt32Value" => json!({ "type": "integer" }),
        "FloatValue" | "DoubleValue" => json!({ "type": "number" }),
        _ => json!({}),
    };
    Some(schema)
}
