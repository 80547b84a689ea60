//! The source of a template: which part of the template language it may use, and what can be told of it without running
//! it.
//!
//! Only `{{ name }}`, `{% if … %}` with names, whole numbers, comparisons, `and`, `or` and `not`, then `{% elif … %}`,
//! `{% else %}`, `{% endif %}`, and `{# comments #}`. That is enough for a line of text, and what is left out is left out
//! for a reason: without loops, assignments, filters, calls and arithmetic every template ends after one pass over its
//! source, none can fail on a branch that nobody tried, and the code is written and never copied.
//!
//! Knows no engine; that tags are balanced and conditions well formed is for the engine to say first.

use std::collections::BTreeSet;

use crate::messaging::variables::{OURS, is_name};

/// What a template does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Every variable that it uses.
    pub variables: BTreeSet<String>,
    /// It writes the code whatever its conditions come to.
    pub always_writes_code: bool,
    /// Nothing of its own may follow a value that the caller gave.
    pub may_end_with_callers_value: bool,
}

/// What is wrong with a source, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Counts from 1.
    pub line: usize,
    pub message: String,
}

/// What has been found on the way to a place in the source.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    writes_code: bool,
    ends_with_value: bool,
}

/// An `if` that is open.
struct Fork {
    before: Way,
    /// What its finished branches have in common.
    after: Option<Way>,
    has_else: bool,
}

struct Reader<'t> {
    text: &'t str,
    /// Where the rest begins.
    at: usize,
    source: Source,
    way: Way,
    forks: Vec<Fork>,
}

// === impl Source ===

impl Source {
    /// Reads a source that the engine has accepted.
    pub fn read(text: &str) -> Result<Self, Flaw> {
        let mut reader = Reader { text, at: 0, source: Self::default(), way: Way::default(), forks: Vec::new() };
        while reader.at < text.len() {
            reader.step()?;
        }
        let Reader { source, way, .. } = reader;
        Ok(Self { always_writes_code: way.writes_code, may_end_with_callers_value: way.ends_with_value, ..source })
    }

    /// The variables that callers give.
    pub fn callers_variables(&self) -> BTreeSet<String> {
        self.variables.iter().filter(|name| !OURS.contains(&name.as_str())).cloned().collect()
    }
}

// === impl Reader ===

impl<'t> Reader<'t> {
    /// Reads the words up to the next tag, or a tag.
    fn step(&mut self) -> Result<(), Flaw> {
        let rest = &self.text[self.at..];
        let taken = match rest.get(..2) {
            Some("{{") => self.tag(rest, "}}", Self::write)?,
            Some("{%") => self.tag(rest, "%}", Self::branch)?,
            Some("{#") => self.tag(rest, "#}", |_, _| Ok(()))?,
            _ => {
                let end = ["{{", "{%", "{#"].iter().filter_map(|tag| rest.find(tag)).min().unwrap_or(rest.len());
                if !rest[..end].trim().is_empty() {
                    self.way.ends_with_value = false;
                }
                end
            }
        };
        self.at += taken;
        Ok(())
    }

    /// Reads a tag that begins `rest`. A tag ends at the first mark that closes it: nothing that it may hold contains
    /// one.
    fn tag(
        &mut self,
        rest: &'t str,
        close: &str,
        read: impl FnOnce(&mut Self, &'t str) -> Result<(), String>,
    ) -> Result<usize, Flaw> {
        let end = rest.find(close).ok_or_else(|| self.flaw(format!("a tag is not closed by {close}")))?;
        // One mark on either side tells the engine what to do with the blanks around the tag.
        let inside = rest.get(2..end).unwrap_or_default();
        let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
        let inside = inside.strip_suffix(['-', '+']).unwrap_or(inside).trim();
        read(self, inside).map_err(|message| self.flaw(message))?;
        Ok(end + close.len())
    }

    fn write(&mut self, inside: &str) -> Result<(), String> {
        if !is_name(inside) {
            return Err("{{ }} must hold the name of a variable and nothing else: a-z, 0-9 and _".to_owned());
        }
        match inside {
            "code" => self.way = Way { writes_code: true, ends_with_value: false },
            "minutes" | "scope" => self.way.ends_with_value = false,
            // May be empty, and then what stands before it is last.
            "brand" => {}
            _ => self.way.ends_with_value = true,
        }
        self.source.variables.insert(inside.to_owned());
        Ok(())
    }

    fn branch(&mut self, inside: &str) -> Result<(), String> {
        let (word, condition) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
        match word {
            "if" => {
                self.condition(condition)?;
                self.forks.push(Fork { before: self.way, after: None, has_else: false });
            }
            "elif" => {
                self.condition(condition)?;
                self.end_branch(false)?;
            }
            "else" => self.end_branch(true)?,
            "endif" => {
                self.end_branch(false)?;
                if let Some(fork) = self.forks.pop() {
                    let skipped = if fork.has_else { fork.after } else { Some(fork.before) };
                    self.way = [fork.after, skipped].into_iter().flatten().reduce(Way::joined).unwrap_or_default();
                }
            }
            _ => return Err("a tag must be one of if, elif, else and endif".to_owned()),
        }
        Ok(())
    }

    fn end_branch(&mut self, is_else: bool) -> Result<(), String> {
        let fork = self.forks.last_mut().ok_or("there is no if to which this belongs")?;
        fork.after = Some(fork.after.map_or(self.way, |after| after.joined(self.way)));
        fork.has_else |= is_else;
        self.way = fork.before;
        Ok(())
    }

    fn condition(&mut self, condition: &str) -> Result<(), String> {
        let is_mark = |c: char| matches!(c, '<' | '>' | '=' | '!');
        for word in condition.split(|c: char| c.is_whitespace() || is_mark(c)).filter(|word| !word.is_empty()) {
            if matches!(word, "and" | "or" | "not") || (word.len() <= 9 && word.bytes().all(|b| b.is_ascii_digit())) {
                continue;
            }
            if word == "code" {
                return Err("the code can be written, but not compared".to_owned());
            }
            if !is_name(word) {
                let held = "names of variables, whole numbers, comparisons, and, or and not";
                return Err(format!("a condition can hold only {held}"));
            }
            self.source.variables.insert(word.to_owned());
        }
        Ok(())
    }

    fn flaw(&self, message: String) -> Flaw {
        Flaw { line: line_of(self.text, self.at), message }
    }
}

// === impl Way ===

impl Way {
    /// What is sure, and what may be, when either way was taken.
    fn joined(self, other: Self) -> Self {
        Self {
            writes_code: self.writes_code && other.writes_code,
            ends_with_value: self.ends_with_value || other.ends_with_value,
        }
    }
}

/// The line, counting from 1, of the byte at `at`.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// The byte of the first `@` that phones might take for a mark of theirs, whatever the values around it are. In a text
/// with a code that is every one that does not follow a letter or digit; in others the one before a tag.
pub fn misread_at(text: &str, with_code: bool) -> Option<usize> {
    text.match_indices('@').map(|(at, _)| at).find(|at| {
        let follows_word = text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric());
        if with_code { !follows_word } else { text[at + 1..].starts_with('{') }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Vec<String> {
        Source::read(text).unwrap().variables.into_iter().collect()
    }

    #[test]
    fn variables_are_found_wherever_they_are_used() {
        assert_eq!(variables("plain"), [""; 0]);
        assert_eq!(variables("{{ code }}{{-brand-}}{{order}}"), ["brand", "code", "order"]);
        let text = "{% if a and not b %}x{% elif minutes != 1 or c>=2 %}{{ d }}{% else %}{# {{ e }} #}{% endif %}";
        assert_eq!(variables(text), ["a", "b", "c", "d", "minutes"]);
        let ours = Source::read("{{ code }}{{ minutes }}{{ scope }}{{ brand }}{{ b }}{{ a }}").unwrap();
        assert_eq!(ours.callers_variables().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn whether_the_code_is_always_written_is_known() {
        for (text, expected) in [
            ("{{ code }}", true),
            ("code", false),
            ("{# {{ code }} #}", false),
            ("{% if a %}{{ code }}{% endif %}", false),
            ("{% if a %}{{ code }}{% else %}{{ code }}{% endif %}", true),
            ("{% if a %}{{ code }}{% elif b %}{{ code }}{% endif %}", false),
            ("{% if a %}{{ code }}{% elif b %}x{% else %}{{ code }}{% endif %}", false),
            ("{% if a %}{% if b %}{{ code }}{% else %}{{ code }}{% endif %}{% else %}{{ code }}{% endif %}", true),
            ("{% if a %}{% if b %}{{ code }}{% endif %}{% else %}{{ code }}{% endif %}", false),
            ("{{ code }}{% if a %}{% endif %}", true),
        ] {
            assert_eq!(Source::read(text).unwrap().always_writes_code, expected, "{text}");
        }
    }

    #[test]
    fn whether_a_value_may_come_last_is_known() {
        for (text, expected) in [
            ("{{ a }}", true),
            ("{{ a }} ", true),
            ("{{ a }}.", false),
            ("{{ a }}{{ brand }}", true),
            ("{{ a }}{{ code }}", false),
            ("{{ code }} {% if a %}{{ a }}{% else %}x{% endif %}", true),
            ("{{ code }} {% if a %}x{% else %}{{ a }}{% endif %}", true),
            ("{{ a }}{% if a %}x{% endif %}", true),
            ("{{ a }}{% if a %}x{% else %}y{% endif %}", false),
            ("{{ a }}{# x #}", true),
        ] {
            assert_eq!(Source::read(text).unwrap().may_end_with_callers_value, expected, "{text}");
        }
    }

    #[test]
    fn everything_else_of_the_language_is_refused_with_its_line() {
        for bad in [
            "{{ code|upper }}",
            "{{ code ~ code }}",
            "{{ a * 1000000 }}",
            "{{ a.b }}",
            "{{ a['b'] }}",
            "{{ f() }}",
            "{{ '}}' }}",
            "{{ 1 }}",
            "{{ }}",
            "{{ true }}",
            "{{ A }}",
            "{{ -a }}",
            "{{--a}}",
            "{% for a in b %}{% endfor %}",
            "{% set a = code %}",
            "{% raw %}{{ a }}{% endraw %}",
            "{% with a = 1 %}{% endwith %}",
            "{% if f(a) %}{% endif %}",
            "{% if a is defined %}{% endif %}",
            "{% if a == 'x' %}{% endif %}",
            "{% if a in b %}{% endif %}",
            "{% if a|length %}{% endif %}",
            "{% if a - 1 %}{% endif %}",
            "{% if code == 1 %}{% endif %}",
            "{% if 12345678901234567890 %}{% endif %}",
            "{% endif %}",
            "{{ a",
        ] {
            let flaw = Source::read(&format!("one\ntwo {bad}")).unwrap_err();
            assert_eq!(flaw.line, 2, "{bad}: {flaw:?}");
        }
    }

    #[test]
    fn an_at_sign_that_could_begin_a_mark_is_found() {
        for good in ["Mail help@acme.example", "", "# 1"] {
            assert_eq!(misread_at(good, true), None, "{good}");
        }
        for bad in ["@acme", "by @acme", "({{ a }}@acme.example)", "a\n@acme", "@{{ a }}", "%@"] {
            assert!(misread_at(bad, true).is_some(), "{bad}");
        }
        assert_eq!(misread_at("Follow @acme", false), None);
        assert_eq!(misread_at("Follow @{{ a }}", false), Some(7));
        assert_eq!(misread_at("Follow @{% if a %}x{% endif %}", false), Some(7));
    }
}
