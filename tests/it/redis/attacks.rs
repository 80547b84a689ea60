//! Attacks of the list, and what else leans on the store, by the tests that run them on the embedded one, with their
//! gateways on one server and on a Cluster of six.
//!
//! Here it is a handful; `tests/cluster` runs many more.

use std::process::Command;

use crate::support::test_store::VARIABLE;

/// Attacks 1, 2, 3, 6, 7, 9, 10 and 20.
const HANDFUL: &[&str] = &[
    "attacks::races::of_many_wrong_codes_at_once_only_as_many_as_allowed_are_judged",
    "attacks::races::of_many_right_codes_at_once_one_succeeds",
    "attacks::counters::a_resend_brings_no_fresh_guesses",
    "attacks::everywhere::guesses_over_all_surfaces_count_together",
    "attacks::counters::a_restart_forgets_no_failure",
    "attacks::counters::a_code_works_once",
    "attacks::tenants::another_tenants_id_is_as_unknown_as_any",
    "attacks::storms::of_starts_with_one_key_at_once_one_sends",
];

/// Runs this program once more, for these tests alone, on another store.
async fn run_on(store: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(HANDFUL).args(["--exact", "--test-threads", "2"]).env(VARIABLE, store);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let passed = format!("{} passed; 0 failed", HANDFUL.len());
    assert!(output.status.success() && told.contains(&passed), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn they_fail_on_one_server() {
    run_on("redis").await;
}

#[tokio::test]
async fn they_fail_on_a_cluster() {
    run_on("cluster").await;
}
