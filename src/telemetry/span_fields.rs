//! The fields of spans, written as one JSON object when a span begins.
//!
//! Each call has two spans whose fields are read only where a line is logged within them, so they are written straight
//! into the span's own string: what the JSON format would do by itself collects them in a map of values first.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};

/// Writes fields for the JSON format to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanFields;

/// One object on its way into a string.
struct Object<'a> {
    text: &'a mut String,
    /// What goes before the next field.
    next: char,
    outcome: fmt::Result,
}

/// Writes what lies between the quotes of a JSON string (RFC 8259, section 7).
struct Quoted<'a>(&'a mut String);

/// Bytes that the fields of one of our spans as a rule have room in.
const USUAL_BYTES: usize = 256;

impl<'a> FormatFields<'a> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'a>, fields: R) -> fmt::Result {
        // The string behind the writer would grow several times.
        let mut text = String::with_capacity(USUAL_BYTES);
        Object::write(&mut text, '{', fields)?;
        writer.write_str(&text)
    }

    /// A name that comes twice has the value that comes last: so its reader takes it.
    fn add_fields(&self, current: &'a mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let next = match current.fields.pop() {
            Some(_) if current.fields != "{" => ',',
            _ => {
                current.fields.clear();
                '{'
            }
        };
        Object::write(&mut current.fields, next, fields)
    }
}

// === impl Object ===

impl<'a> Object<'a> {
    fn write(text: &'a mut String, next: char, fields: impl RecordFields) -> fmt::Result {
        let mut object = Self { text, next, outcome: Ok(()) };
        fields.record(&mut object);
        object.outcome?;
        if object.next == '{' {
            object.text.push('{');
        }
        object.text.push('}');
        Ok(())
    }

    fn add(&mut self, field: &Field, value: impl FnOnce(&mut String) -> fmt::Result) {
        self.text.push(std::mem::replace(&mut self.next, ','));
        self.text.push('"');
        self.text.push_str(field.name());
        self.text.push_str("\":");
        self.outcome = self.outcome.and(value(self.text));
    }

    fn add_text(&mut self, field: &Field, value: impl FnOnce(&mut Quoted) -> fmt::Result) {
        self.add(field, |text| {
            text.push('"');
            value(&mut Quoted(text))?;
            text.push('"');
            Ok(())
        });
    }
}

impl Visit for Object<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, |quoted| quoted.write_str(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |text| write!(text, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |text| write!(text, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |text| write!(text, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add_text(field, |quoted| write!(quoted, "{value:?}"));
    }
}

// === impl Quoted ===

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\') || byte.is_ascii_control()) {
            let (plain, escaped) = rest.split_at(at);
            self.0.push_str(plain);
            let (special, after) = escaped.split_at(1);
            match special.as_bytes() {
                [special @ (b'"' | b'\\')] => write!(self.0, "\\{}", char::from(*special))?,
                special => write!(self.0, "\\u{:04x}", special.first().copied().unwrap_or_default())?,
            }
            rest = after;
        }
        self.0.push_str(rest);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::field::{Empty, display};

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Page(pub(in crate::telemetry) Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The span of a line that was logged in it.
    fn logged(log: impl FnOnce()) -> Value {
        let page = Page::default();
        let writer = page.clone();
        let subscriber =
            tracing_subscriber::fmt().json().fmt_fields(SpanFields).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let line: Value = serde_json::from_slice(&page.0.lock().unwrap()).unwrap();
        line["span"].clone()
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_was() {
        let nasty = "a \"b\" \\c\\ \n\r\t\u{0}\u{1b}[31m \u{7f} é 漢 \u{202e}";
        let span = logged(|| {
            let shown = display("it's \"shown\"");
            let span =
                tracing::error_span!("s", nasty, shown, seen = ?Some("x"), on = true, less = -3, more = u64::MAX);
            span.in_scope(|| tracing::info!("line"));
        });
        let wanted = json!({"name": "s", "nasty": nasty, "shown": "it's \"shown\"", "seen": "Some(\"x\")", "on": true,
            "less": -3, "more": u64::MAX});
        assert_eq!(span, wanted);
    }

    #[test]
    fn fields_that_come_later_join_those_that_are_there() {
        let span = logged(|| {
            let span = tracing::error_span!("s", first = 1, path = Empty, last = Empty);
            span.record("path", "/v1/\"x\"");
            span.record("last", 3);
            span.record("first", 2);
            span.in_scope(|| tracing::info!("line"));
        });
        assert_eq!(span, json!({"name": "s", "first": 2, "path": "/v1/\"x\"", "last": 3}));
        let span = logged(|| {
            let span = tracing::error_span!("s", path = Empty);
            span.record("path", "late");
            span.in_scope(|| tracing::info!("line"));
        });
        assert_eq!(span, json!({"name": "s", "path": "late"}));
        assert_eq!(logged(|| tracing::error_span!("s").in_scope(|| tracing::info!("line"))), json!({"name": "s"}));
    }
}
