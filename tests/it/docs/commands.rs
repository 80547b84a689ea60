//! The commands of the book's guides, run as they stand there.
//!
//! Blocks marked `sh` run in order, in one shell for each page, beside a gateway on free ports; a `json` or `text` block
//! after one shows its output, as on the README. A page runs on its first block of settings, with messages kept in the
//! inbox; one without any runs on the dev profile.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::program::Place;
use crate::docs::pages::{Block, Page, of_the_book, root};
use crate::docs::settings::{settle, whole};
use crate::readme;
use crate::readme::compare::compare;
use crate::readme::gateway::Gateway;
use crate::readme::shell::Shell;

/// What starts the gateway, which is running already.
const SERVE: [&str; 2] = ["cargo run --release -- serve", "verigate serve --config verigate.toml"];

#[test]
fn the_tutorial_does_what_it_shows() {
    follow("docs/tutorial.md", None);
}

#[test]
fn clients_of_esms_are_answered_as_their_guide_shows() {
    follow_with_settings("docs/migration/esms.md");
}

#[test]
fn clients_of_hasun_are_answered_as_their_guide_shows() {
    follow_with_settings("docs/migration/hasun.md");
}

#[test]
fn clients_of_octopush_are_answered_as_their_guide_shows() {
    follow_with_settings("docs/migration/octopush.md");
}

#[test]
fn clients_of_simpu_are_answered_as_their_guide_shows() {
    follow_with_settings("docs/migration/simpu.md");
}

/// Also those in blocks that do not run: a command with each of its options.
#[test]
fn every_command_that_a_page_names_is_there() {
    let place = Place::new();
    let mut named = BTreeSet::new();
    for page in of_the_book() {
        let blocks = page.blocks();
        let lines = blocks.iter().flat_map(|block| block.text.lines().map(str::trim));
        let spans = page.spans().into_iter().map(|(_, span)| span);
        let calls = lines.chain(spans).filter_map(|text| Some(text.split_once("verigate ")?).filter(is_call));
        named.extend(calls.map(|(_, call)| call.to_owned()));
    }
    assert!(named.len() > 10, "{named:?}");
    for call in named {
        let words: Vec<_> = call.split([' ', '=']).collect();
        let group = usize::from(["key", "store-key"].contains(&words[0]));
        let mut arguments = words[..=group].to_vec();
        if !words[0].starts_with('-') {
            arguments.push("--help");
        }
        let help = place.run(&arguments);
        assert!(help.code == 0, "verigate {call}: {help:?}");
        let options = words.iter().filter(|word| word.starts_with("--") && !arguments.contains(word));
        options.for_each(|option| assert!(help.stdout.contains(*option), "verigate {call}: no {option}"));
    }
}

/// Whether it calls the program: at the start, or with a key before it.
fn is_call((before, call): &(&str, &str)) -> bool {
    let is_word = call.starts_with(|c: char| c.is_ascii_lowercase() || c == '-');
    is_word && (before.is_empty() || before.ends_with("ID.SECRET "))
}

fn follow_with_settings(name: &str) {
    let settings = page(name).blocks().into_iter().find(|block| block.language == "toml,part").unwrap();
    follow(name, Some(&settings));
}

fn follow(name: &str, settings: Option<&Block>) {
    let place = Place::new();
    if let Some(settings) = settings {
        settle(&place, &whole(settings));
    }
    let gateway = Gateway::start_with(settings.map(|_| place.path("verigate.toml")).as_deref());
    let mut shell = Shell::start(gateway.place.path());
    let program = Path::new(env!("CARGO_BIN_EXE_verigate")).parent().unwrap();
    shell.run(&format!("PATH={}:$PATH", program.display()));
    let blocks = page(name).blocks();
    let mut ran = 0;
    for (at, block) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        if SERVE.contains(&block.text.trim()) {
            continue;
        }
        let (printed, status) = shell.run(&gateway.to_command(&block.text));
        let printed = gateway.to_shown(&printed);
        assert_eq!(status, 0, "{name}:{}\n{}{printed}", block.line, block.text);
        if let Some(shown) = blocks.get(at + 1).filter(|next| ["json", "text"].contains(&next.language.as_str())) {
            let place = format!("{name}:{}", shown.line);
            let language = if shown.language == "json" { "json" } else { "text" };
            let shown = readme::page::Block { language, text: shown.text.clone(), place };
            compare(&shown, false, &printed)
                .unwrap_or_else(|why| panic!("{}: {why}\n{}{printed}", shown.place, block.text));
        }
        ran += 1;
    }
    assert!(ran > 1, "{name} has {ran} commands");
    shell.end();
    gateway.stop();
}

fn page(name: &str) -> Page {
    assert!(root().join(name).exists(), "{name}");
    of_the_book().into_iter().find(|page| page.path == Path::new(name)).unwrap()
}
