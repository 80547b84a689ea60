//! What is wrong with a set of values, gathered field by field, so that all of it is told at once.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::{Result, Violation};

/// What was found so far.
#[derive(Default)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// Notes what is wrong with a field and what would be right.
    pub fn add(&mut self, field: &str, description: String) {
        self.0.push(Violation { field: field.to_owned(), description });
    }

    /// Takes the violations of what lies at `path`.
    pub fn nest(&mut self, path: &str, inner: Vec<Violation>) {
        self.0.extend(inner.into_iter().map(|inner| Violation { field: format!("{path}.{}", inner.field), ..inner }));
    }

    /// The value, or `None` with what is wrong noted. An error that is about no field is passed on.
    pub fn note<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.violations().is_empty() => Err(error),
            Err(error) => {
                self.0.extend_from_slice(error.violations());
                Ok(None)
            }
        }
    }

    /// Notes a value out of its range.
    pub fn range<T: PartialOrd + Written>(&mut self, field: &str, value: &T, range: RangeInclusive<T>) {
        if !range.contains(value) {
            let (least, most) = (range.start().written(), range.end().written());
            self.add(field, format!("must be {least} to {most}, but is {}", value.written()));
        }
    }
}

/// As configuration writes it.
pub trait Written {
    /// The value as a person would write it.
    fn written(&self) -> String;
}

impl Written for u32 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Written for u64 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Written for Duration {
    fn written(&self) -> String {
        let printer = jiff::fmt::friendly::SpanPrinter::new().spacing(jiff::fmt::friendly::Spacing::None);
        printer.unsigned_duration_to_string(self)
    }
}
