//! A page for people, split into its fenced blocks and what stands around them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A page of the repository.
pub(crate) struct Page {
    /// Its path from the root.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// A fenced block.
pub(crate) struct Block {
    pub(crate) language: &'static str,
    pub(crate) text: String,
    /// Where it begins: page and line.
    pub(crate) place: String,
}

pub(crate) const README: Page = Page { name: "README.md", text: include_str!("../../../README.md") };
pub(crate) const TOUR: Page = Page { name: "docs/grpcurl.md", text: include_str!("../../../docs/grpcurl.md") };

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

// === impl Page ===

impl Page {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::<Block>::new();
        let mut inside = false;
        for (index, line) in self.text.lines().enumerate() {
            let place = format!("{}:{}", self.name, index + 1);
            match line.strip_prefix("```") {
                Some(language) if !inside => {
                    assert!(!language.is_empty(), "{place}: a block must name its language");
                    blocks.push(Block { language, text: String::new(), place });
                }
                Some(_) => {}
                None if inside => blocks.last_mut().unwrap().text += &format!("{line}\n"),
                None => continue,
            }
            inside ^= line.starts_with("```");
        }
        assert!(!inside, "{}: the last block does not end", self.name);
        blocks
    }

    /// The blocks that a shell is to run, all in one.
    pub(crate) fn script(&self) -> String {
        self.blocks().into_iter().filter(|block| block.language == "sh").map(|block| block.text).collect()
    }

    /// The code spans outside the blocks.
    pub(crate) fn spans(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// The files that it names, by link or in a code span.
    pub(crate) fn files_named(&self) -> BTreeSet<PathBuf> {
        let is_file =
            |name: &String| ["src/", "tests/", "proto/", "docs/"].iter().any(|folder| name.starts_with(folder));
        let spans = self.spans().into_iter().filter(is_file).map(|name| root().join(name));
        let prose = self.prose();
        let links = prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
        let folder = root().join(self.name).parent().unwrap().to_owned();
        links.filter(|link| !link.contains("://")).map(|link| folder.join(link)).chain(spans).collect()
    }

    fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }
}
