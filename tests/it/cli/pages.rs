//! What is made of the command line's own words: completions and manual pages.

use std::fs;
use std::process::Command;

use crate::cli::program::Place;

/// What bash offers for the last of these words.
fn complete(place: &Place, words: &[&str]) -> String {
    let script = r#"
        source ./completions
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _verigate verigate "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}"
    "#;
    let mut bash = Command::new("bash");
    let output = bash.args(["-ec", script, "bash"]).args(words).current_dir(place.path(".")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_and_options() {
    let place = Place::new();
    let script = place.run(&["completions", "bash"]);
    place.write("completions", script.succeeded());
    assert_eq!(complete(&place, &["verigate", "doc"]), "doctor");
    assert_eq!(complete(&place, &["verigate", "store-key", "n"]), "new");
    assert_eq!(complete(&place, &["verigate", "health", "--serv"]), "--service --server-name");
    assert_eq!(complete(&place, &["verigate", "verify", "start", "--channel", "v"]), "voice");
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]);
        assert!(["doctor", "health"].iter().all(|command| script.succeeded().contains(command)), "{shell}");
    }
}

#[test]
fn every_command_has_a_page_of_the_manual() {
    let place = Place::new();
    let page = place.run(&["man"]);
    assert!(page.succeeded().contains(".TH verigate 1") && page.stdout.contains("Exit codes:"), "{page:?}");
    place.run(&["man", "--directory", "pages/man1"]).succeeded();
    let folder = place.path("pages/man1");
    let pages = ["verigate", "verigate-serve", "verigate-doctor", "verigate-key-new", "verigate-verify-check"];
    for name in pages {
        let page = fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")) && page.contains(".SH SYNOPSIS"), "{page}");
    }
    // No page is missing: of each command that a page names there is one.
    let named = fs::read_to_string(folder.join("verigate.1")).unwrap();
    for line in named.lines().filter(|line| line.starts_with("verigate\\-")) {
        let file = line.replace("\\-", "-").replace("(1)", ".1");
        assert!(folder.join(&file).exists(), "{file}");
    }
    place.write("file", "");
    assert_eq!(place.run(&["man", "--directory", "file"]).failed_with(73).len(), 1);
}
