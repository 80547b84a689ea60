//! Links: each leads to a file of the repository or to a heading of a page, and the summary to every page of the book.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::docs::pages::{self, Page, root};

#[test]
fn every_link_leads_somewhere() {
    let pages = pages::all();
    let anchors: BTreeMap<_, _> = pages.iter().map(|page| (page.path.clone(), anchors(page))).collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in &pages {
        for (line, link) in links(page).into_iter().filter(|(_, link)| !is_elsewhere(link)) {
            seen += 1;
            if let Err(why) = follow(page, &link, &anchors) {
                wrong.push(format!("{}:{line}: {link}: {why}", page.path.display()));
            }
        }
    }
    assert!(seen > 100, "{seen} links");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_file_that_prose_names_is_there() {
    let folders = ["src/", "tests/", "proto/", "docs/", "deploy/", "examples/"];
    let mut seen = 0;
    for page in pages::all() {
        let named = page.spans().into_iter().filter(|(_, span)| folders.iter().any(|at| span.starts_with(at)));
        for (line, file) in named.filter(|(_, span)| !span.contains(' ')) {
            seen += 1;
            assert!(root().join(file).exists(), "{}:{line}: {file}", page.path.display());
        }
    }
    assert!(seen > 30, "{seen} files");
}

#[test]
fn the_summary_lists_every_page_once() {
    let pages = pages::all();
    let summary = pages.iter().find(|page| page.path == Path::new("docs/SUMMARY.md")).unwrap();
    let listed: Vec<_> = links(summary).into_iter().map(|(_, link)| Path::new("docs").join(link)).collect();
    let unique: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), unique.len(), "a page is listed twice");
    let there: BTreeSet<_> = pages::of_the_book().into_iter().map(|page| page.path).collect();
    assert_eq!(unique, there, "docs/SUMMARY.md lists what is under docs/");
}

#[test]
fn headings_have_the_names_that_links_use() {
    let page = |text: &str| Page { path: "x.md".into(), text: text.to_owned() };
    let found = anchors(&page("# A b, c\n## `store.path`\n## Same\n### Same\n<a id=\"own\"></a>\n```sh\n# no\n```\n"));
    let wanted = ["a-b-c", "storepath", "same", "same-1", "own"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(wanted));
    let found = links(&page("[a](b.md#c) `[no](no)` ![d](e.png)\n[f]: g.md\n[h](<i j>)\n"));
    assert_eq!(found, [(1, "b.md#c"), (1, "e.png"), (2, "g.md"), (3, "i j")].map(|(at, link)| (at, link.to_owned())));
}

fn is_elsewhere(link: &str) -> bool {
    link.contains("://") || link.starts_with("mailto:")
}

fn follow(page: &Page, link: &str, anchors: &BTreeMap<PathBuf, BTreeSet<String>>) -> Result<(), String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let target = if file.is_empty() { page.path.clone() } else { normal(&page.path.with_file_name(file))? };
    if !root().join(&target).exists() {
        return Err("there is no such file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    // Of source, a link may name a line.
    let Some(known) = anchors.get(&target) else { return Err("only pages have headings".to_owned()) };
    if known.contains(anchor) { Ok(()) } else { Err("there is no such heading".to_owned()) }
}

/// Without `..`.
fn normal(path: &Path) -> Result<PathBuf, String> {
    let mut result = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !result.pop() => return Err("leads out of the repository".to_owned()),
            Component::ParentDir | Component::CurDir => {}
            part => result.push(part),
        }
    }
    Ok(result)
}

/// What a page links to, in text, as an image, or in a definition.
fn links(page: &Page) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in page.prose() {
        let text = pages::split(line).filter(|(code, _)| !code).map(|(_, text)| text).collect::<Vec<_>>().join("``");
        for rest in text.split("](").skip(1) {
            let link = rest.strip_prefix('<').and_then(|rest| rest.split('>').next());
            let link = link.unwrap_or_else(|| rest.split([')', ' ']).next().unwrap());
            found.push((number, link.to_owned()));
        }
        if let Some((_, link)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, link.trim().to_owned()));
        }
    }
    found
}

/// The names of its headings, as GitHub and mdBook make them, and those that it gives itself.
pub(crate) fn anchors(page: &Page) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in page.prose() {
        if let Some(heading) = line.strip_prefix('#') {
            let slug = slug(heading.trim_start_matches('#').trim());
            let again = (1..).map(|number| format!("{slug}-{number}"));
            let name = std::iter::once(slug.clone()).chain(again).find(|name| !found.contains(name)).unwrap();
            found.insert(name);
        }
        for rest in line.split("<a id=\"").skip(1) {
            found.insert(rest.split('"').next().unwrap().to_owned());
        }
    }
    found
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
