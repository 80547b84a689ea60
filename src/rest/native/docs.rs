//! The description of our calls for people: one page, made of the same description that programs get, readable without
//! scripts on any screen.

use maud::{Markup, html};
use serde_json::Value;

use crate::page;
use crate::rest::native::openapi::Operation;

/// Where the description for programs is.
pub(crate) const DOCUMENT: &str = "/openapi.json";

pub(crate) const PAGE: &str = "/docs";

pub(crate) const STYLE: &str = "/docs/style.css";

/// `document`: what programs get; `operations`: its calls, in order.
pub(crate) fn page(document: &Value, operations: &[Operation<'_>]) -> Markup {
    let schemas = document["components"]["schemas"].as_object();
    let body = html! {
        body {
            header {
                h1 { "Verigate " small { (text(&document["info"]["version"])) } }
                p { "JSON over HTTP. For programs: " a href=(DOCUMENT) { "OpenAPI 3.1" } }
            }
            main {
                section.introduction { (prose(text(&document["info"]["description"]))) }
                (contents(operations))
                @for tag in items(&document["tags"]) {
                    section {
                        h2 { (text(&tag["name"])) }
                        (prose(text(&tag["description"])))
                        @for operation in operations.iter().filter(|operation| operation.described["tags"][0] == tag["name"]) {
                            (call(operation))
                        }
                    }
                }
                section {
                    h2 { "Types" }
                    @for (name, schema) in schemas.into_iter().flatten() {
                        (named_type(name, schema))
                    }
                }
            }
        }
    };
    page::document("Calls", html! { link rel="stylesheet" href=(STYLE); }, body)
}

fn contents(operations: &[Operation<'_>]) -> Markup {
    html! {
        nav aria-label="Calls" {
            ul {
                @for Operation { call, described } in operations {
                    li {
                        a href={ "#" (text(&described["operationId"])) } {
                            span.verb { (call.route.verb.as_str()) } " " (call.route.path)
                        }
                    }
                }
            }
        }
    }
}

fn call(operation: &Operation<'_>) -> Markup {
    let Operation { call, described } = operation;
    let body = &described["requestBody"]["content"]["application/json"];
    let answer = &described["responses"]["200"];
    let schema = answer["content"]["application/json"]["schema"].clone();
    html! {
        article id=(text(&described["operationId"])) {
            h3 { span.verb { (call.route.verb.as_str()) } " " code { (call.route.path) } }
            (prose(text(&described["description"])))
            @if !body.is_null() {
                h4 { "Body" }
                p { "A " (kind(&body["schema"])) "." }
                @if body["schema"]["$ref"].is_null() { (properties(&body["schema"])) }
                @if let Some(example) = call.route.example { pre tabindex="0" { code { (example) } } }
            }
            (parameters(&described["parameters"]))
            h4 { "Answer" }
            @if schema.is_null() {
                (prose(text(&answer["description"])))
                @for event in items(&answer["content"]["text/event-stream"]["schema"]["oneOf"]) {
                    @let properties = &event["properties"];
                    p { "Event " code { (text(&properties["event"]["const"])) } ": a " (kind(&properties["data"]["contentSchema"])) "." }
                }
            } @else {
                p { "A " (kind(&schema)) "." }
            }
            p.quiet {
                "Errors: "
                @for (at, (status, response)) in described["responses"].as_object().into_iter().flatten().skip(1).enumerate() {
                    @if at > 0 { ", " } (status) " " (text(&response["description"]))
                }
                ", each a " a href="#Problem" { "Problem" } "."
            }
        }
    }
}

fn parameters(parameters: &Value) -> Markup {
    let place = |parameter: &Value| match text(&parameter["in"]) {
        "path" => "in the path",
        "header" => "header",
        _ => "in the query",
    };
    html! {
        h4 { "Parameters" }
        dl {
            @for parameter in items(parameters) {
                dt { code { (text(&parameter["name"])) } " " span.quiet { (kind(&parameter["schema"])) ", " (place(parameter)) } }
                dd { (prose(text(&parameter["description"]))) }
            }
        }
    }
}

fn named_type(name: &str, schema: &Value) -> Markup {
    html! {
        article id=(name) {
            h3 { code { (name) } }
            (prose(text(&schema["description"])))
            (properties(schema))
        }
    }
}

fn properties(schema: &Value) -> Markup {
    let required = |name: &str| items(&schema["required"]).iter().any(|required| required == name);
    html! {
        dl {
            @for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                dt {
                    code { (name) } " "
                    span.quiet { (kind(property)) @if required(name) && schema["additionalProperties"] == false { ", required" } }
                }
                dd { (prose(text(&property["description"]))) }
            }
        }
    }
}

/// A type in words, with links to those that have names.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return html! { a href={ "#" (name) } { (name) } };
    }
    match (text(&schema["type"]), text(&schema["format"])) {
        ("array", _) => html! { "list of " (kind(&schema["items"])) },
        ("object", _) if schema["additionalProperties"].is_object() => {
            html! { "map to " (kind(&schema["additionalProperties"])) }
        }
        ("object", _) => html! { "JSON object" },
        (_, "date-time") => html! { "time" },
        ("string", _) if schema["examples"].is_array() => html! { "duration" },
        ("", _) => html! { "any JSON" },
        (name, _) => html! { (name) },
    }
}

/// Paragraphs, lists and code, which is all that the comments have of markup.
fn prose(text: &str) -> Markup {
    html! {
        @for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
            @if paragraph.starts_with("- ") {
                ul { @for item in paragraph.lines() { li { (phrase(item.trim_start_matches("- "))) } } }
            } @else {
                p { (phrase(paragraph)) }
            }
        }
    }
}

fn phrase(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
