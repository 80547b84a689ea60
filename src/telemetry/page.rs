//! Reads the page of metrics, as our own recorder writes it, and no others.

use std::borrow::Cow;

/// A line of the page that tells a number.
#[derive(Debug, PartialEq)]
pub struct Sample<'a> {
    /// That of its metric, and for histograms `_bucket`, `_sum` or `_count` behind it.
    pub name: &'a str,
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    pub value: f64,
}

/// All of them, in order.
pub fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter_map(Sample::parse)
}

// === impl Sample ===

impl<'a> Sample<'a> {
    /// Empty where there is no such label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)
    }

    /// `None` for what is no sample: comments and blank lines.
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = line.rsplit_once(' ')?;
        let (name, mut rest) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels = Vec::new();
        while let Some((label, value)) = rest.trim_start_matches(',').split_once("=\"") {
            let end = end_of_value(value)?;
            labels.push((label, unescape(&value[..end])));
            rest = &value[end + 1..];
        }
        Some(Self { name, labels, value: value.parse().ok()? })
    }
}

/// Where the quotation mark is that ends it.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends.then_some(at)
    })
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    text.replace("\\\\", "\0").replace("\\\"", "\"").replace("\\n", "\n").replace('\0', "\\").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_whatever_stands_in_their_labels() {
        let line = r#"verigate_vendor_breaker{vendor="a, \"b\"={}\\",state="open"} 0.5"#;
        let page = format!("# TYPE verigate_vendor_breaker gauge\n\n{line}\nplain 5\nx{{a=\"1}} 5\nx\n");
        let found: Vec<_> = samples(&page).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].name, found[0].value), ("verigate_vendor_breaker", 0.5));
        assert_eq!((found[0].label("vendor"), found[0].label("state")), ("a, \"b\"={}\\", "open"));
        assert_eq!((found[1].label("vendor"), found[1].value), ("", 5.0));
    }
}
