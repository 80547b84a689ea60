//! The commands of the book's guides, run as they stand there.
//!
//! Blocks marked `sh` run in order, in one shell for each page, beside a gateway on free ports; a `json` or `text` block
//! after one shows its output, as on the README. A page runs on its first block of settings, with messages kept in the
//! inbox; one without any runs on the dev profile.

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
