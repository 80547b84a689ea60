//! The pages for people: where they lie, and what stands on them outside of blocks.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold pages of ours, beside the root itself.
const FOLDERS: [&str; 3] = ["docs", "deploy", "examples"];

/// What is not ours in these.
const NOT_OURS: [&str; 5] = ["node_modules", "target", ".venv", "gen", "installed"];

/// A page, and where it lies from the root of the repository.
pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    pub(crate) line: usize,
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page, in order.
pub(crate) fn all() -> Vec<Page> {
    let mut pages: Vec<_> = files(root(), false).into_iter().map(Page::read).collect();
    for folder in FOLDERS {
        pages.extend(files(&root().join(folder), true).into_iter().map(Page::read));
    }
    assert!(pages.len() > 15, "the walk found few pages");
    pages
}

/// Those of the book, but for its summary.
pub(crate) fn of_the_book() -> Vec<Page> {
    let is_page = |page: &Page| page.path.starts_with("docs") && !page.path.ends_with("SUMMARY.md");
    all().into_iter().filter(is_page).collect()
}

fn files(folder: &Path, deep: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && deep && !NOT_OURS.contains(&name) {
            found.extend(files(&path, deep));
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found.sort();
    found
}

// === impl Page ===

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        Self { path: path.strip_prefix(root()).unwrap().to_owned(), text }
    }

    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::<Block>::new();
        let mut inside = false;
        for (index, line) in self.text.lines().enumerate() {
            if let Some(language) = line.strip_prefix("```") {
                if !inside {
                    assert!(!language.is_empty(), "{}:{}: a block names its language", self.path.display(), index + 1);
                    blocks.push(Block { language: language.to_owned(), text: String::new(), line: index + 1 });
                }
                inside = !inside;
            } else if inside {
                blocks.last_mut().unwrap().text += &format!("{line}\n");
            }
        }
        assert!(!inside, "{}: its last block does not end", self.path.display());
        blocks
    }

    /// Its lines, numbered, without those of blocks.
    pub(crate) fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut lines = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            if line.starts_with("```") {
                inside = !inside;
            } else if !inside {
                lines.push((index + 1, line));
            }
        }
        lines
    }

    /// The code spans of its prose, with their lines. None goes over the end of a line.
    pub(crate) fn spans(&self) -> Vec<(usize, &str)> {
        let of_line = |(number, line)| split(line).filter(|(code, _)| *code).map(move |(_, text)| (number, text));
        self.prose().into_iter().flat_map(of_line).collect()
    }
}

/// A line in parts: whether it is code, and what it says.
pub(crate) fn split(line: &str) -> impl Iterator<Item = (bool, &str)> {
    line.split('`').enumerate().map(|(index, part)| (index % 2 == 1, part))
}

/// Compares a page that is generated with the one in the repository, or writes it when asked to.
pub(crate) fn check_generated(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, wanted).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == wanted {
        return;
    }
    let differs = |(found, wanted): &(&str, &str)| found != wanted;
    let at = found.lines().zip(wanted.lines()).position(|pair| differs(&pair)).unwrap_or_default();
    panic!("{path}:{}: not what it is made from; write it anew: UPDATE_DOCS=1 cargo test --test it docs", at + 1);
}
