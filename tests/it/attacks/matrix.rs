//! Every attack of the list that the project holds itself to, the tests that run it, and whether it runs on every surface:
//! gRPC, JSON and each dialect. What a surface cannot express stands below with why. `file::test` is below `tests/it/`; a
//! fixture is named by its path there.

use std::path::Path;

use crate::attacks::surfaces::Surface;

struct Attack {
    number: u32,
    about: &'static str,
    by: &'static [&'static str],
    /// `None` for one that is made on surfaces, and runs on all that can express it. Else where it is made.
    beside: Option<&'static str>,
}

const fn attack(number: u32, about: &'static str, by: &'static [&'static str]) -> Attack {
    Attack { number, about, by, beside: None }
}

/// One that no surface takes part in.
const fn beside(place: &'static str, attack: Attack) -> Attack {
    Attack { beside: Some(place), ..attack }
}

const ATTACKS: [Attack; 29] = [
    attack(
        1,
        "many wrong checks at once",
        &[
            "attacks/storms.rs::of_wrong_codes_at_once_as_many_as_allowed_are_judged",
            "attacks/races.rs::of_many_wrong_codes_at_once_only_as_many_as_allowed_are_judged",
            "vendor_codes/attacks.rs::of_many_wrong_codes_at_once_the_vendor_judges_as_many_as_allowed",
        ],
    ),
    attack(
        2,
        "many right checks at once",
        &[
            "attacks/storms.rs::of_right_codes_at_once_one_is_taken",
            "attacks/races.rs::of_many_right_codes_at_once_one_succeeds",
            "native_json/attacks.rs::of_right_codes_at_once_one_succeeds",
            "vendor_codes/attacks.rs::of_many_right_codes_at_once_one_succeeds_and_the_vendor_is_asked_once",
        ],
    ),
    attack(
        3,
        "wrong ones, a resend, wrong ones",
        &[
            "attacks/counters.rs::a_resend_brings_no_fresh_guesses",
            "attacks/everywhere.rs::starting_again_brings_no_fresh_guesses",
            "vendor_codes/attacks.rs::neither_a_resend_nor_a_cancel_nor_another_scope_brings_fresh_guesses",
            "attacks/anew.rs::neither_sending_again_nor_calling_off_brings_fresh_guesses",
        ],
    ),
    attack(
        4,
        "all checks, a cancel, a new start",
        &[
            "attacks/counters.rs::a_cancel_frees_neither_the_window_nor_the_cool_down",
            "attacks/everywhere.rs::starting_again_brings_no_fresh_guesses",
            "attacks/anew.rs::neither_sending_again_nor_calling_off_brings_fresh_guesses",
        ],
    ),
    attack(
        5,
        "all checks in one scope, a start in another",
        &[
            "attacks/counters.rs::another_scope_has_the_same_recipient",
            "attacks/races.rs::scopes_attacked_at_once_share_the_allowance_of_their_recipient",
            "attacks/everywhere.rs::starting_again_brings_no_fresh_guesses",
            "attacks/anew.rs::another_purpose_brings_no_fresh_guesses",
        ],
    ),
    attack(
        6,
        "guesses over several surfaces",
        &[
            "attacks/everywhere.rs::guesses_over_all_surfaces_count_together",
            "native_json/attacks.rs::guesses_count_together_on_every_surface",
        ],
    ),
    attack(
        7,
        "all checks, a kill, a restart",
        &[
            "kill.rs::nothing_acknowledged_is_lost_when_killed",
            "attacks/counters.rs::a_restart_forgets_no_failure",
            "vendor_codes/interruptions.rs::a_program_that_is_killed_while_a_vendor_judges_has_counted_the_check",
            "attacks/killed.rs::a_kill_gives_no_guesses_back",
        ],
    ),
    attack(
        8,
        "headers that name another address",
        &[
            "transport/access.rs::a_proxy_that_is_trusted_says_who_calls_and_nobody_else_does",
            "attacks/addresses.rs::over_grpc",
            "attacks/addresses.rs::over_json",
            "attacks/addresses.rs::over_the_dialects",
            "attacks/pumping.rs::no_header_makes_a_caller_somebody_else_on_any_surface",
        ],
    ),
    attack(
        9,
        "the right code twice",
        &[
            "attacks/everywhere.rs::a_code_works_once_and_again_under_its_key",
            "attacks/repeats.rs::the_check_that_approved_is_approved_again_and_no_other",
        ],
    ),
    attack(
        10,
        "another tenant's id with the right code",
        &[
            "attacks/everywhere.rs::tenants_know_nothing_of_each_other",
            "attacks/tenants.rs::another_tenants_id_is_as_unknown_as_any",
            "native_json/attacks.rs::another_tenants_id_is_as_unknown_as_any",
        ],
    ),
    attack(
        11,
        "two tenants' codes for one recipient, swapped",
        &[
            "attacks/everywhere.rs::tenants_know_nothing_of_each_other",
            "attacks/tenants.rs::codes_of_two_tenants_for_one_recipient_cannot_be_swapped",
        ],
    ),
    attack(
        12,
        "what resembles the code",
        &[
            "attacks/everywhere.rs::only_its_own_characters_are_the_code",
            "attacks/inputs.rs::only_the_exact_characters_are_the_code",
            "attacks/inputs.rs::what_cannot_be_a_code_is_refused_and_not_counted",
            "native_json/attacks.rs::a_code_is_exactly_its_characters",
            "dialects/octopush/otp_code_exact.json",
            "dialects/hasun/check_no_integer.json",
        ],
    ),
    attack(
        13,
        "many codes in one body, pipelined checks",
        &[
            "attacks/everywhere.rs::only_its_own_characters_are_the_code",
            "attacks/everywhere.rs::pipelined_guesses_are_each_counted",
            "native_json/attacks.rs::many_guesses_in_one_body_are_no_call",
            "attacks/inputs.rs::other_types_on_the_wire_are_no_codes",
        ],
    ),
    attack(
        14,
        "canaries in all that a run leaves behind",
        &[
            "attacks/canary.rs::secrets_are_in_nothing_that_a_run_leaves_behind",
            "attacks/everywhere.rs::codes_are_told_to_nobody_on_any_surface",
            "access/secrecy.rs::secrets_of_keys_are_in_nothing_that_a_run_leaves_behind",
        ],
    ),
    attack(
        15,
        "the answer to a wrong code",
        &[
            "attacks/everywhere.rs::codes_are_told_to_nobody_on_any_surface",
            "attacks/inputs.rs::the_answer_to_a_wrong_code_holds_nothing_of_the_right_one",
        ],
    ),
    beside(
        "codes are drawn beneath all surfaces",
        attack(
            16,
            "ten million codes",
            &["../../src/verification/code.rs::ten_million_codes_are_uniform_at_every_position"],
        ),
    ),
    attack(
        17,
        "one number in many spellings",
        &[
            "attacks/everywhere.rs::a_number_is_one_recipient_or_none",
            "attacks/inputs.rs::a_number_written_otherwise_is_the_same_recipient",
            "attacks/inputs.rs::what_is_no_number_is_refused_by_the_name_of_its_field",
        ],
    ),
    attack(
        18,
        "a block of numbers in sequence",
        &[
            "guard/limits.rs::a_block_of_ten_thousand_numbers_trips_within_fifty_sends",
            "attacks/pumping.rs::a_block_of_numbers_trips_on_every_surface",
        ],
    ),
    attack(
        19,
        "one number through many tenants",
        &[
            "guard/limits.rs::one_number_through_twenty_tenants_is_sent_to_so_often_and_no_more",
            "attacks/pumping.rs::one_number_through_many_tenants_trips_on_every_surface",
        ],
    ),
    attack(
        20,
        "one idempotency key",
        &[
            "attacks/storms.rs::of_starts_with_one_key_at_once_one_sends",
            "idempotency.rs::fifty_starts_at_once_send_one_code",
            "idempotency.rs::a_key_is_for_one_start_in_all_that_it_asks",
            "idempotency.rs::keys_belong_to_one_tenant_and_one_kind_of_call_for_a_day",
            "idempotency.rs::a_kill_makes_nothing_twice",
            "attacks/killed.rs::a_kill_gives_no_guesses_back",
        ],
    ),
    attack(
        21,
        "hostile texts",
        &[
            "attacks/texts.rs::hostile_values_in_the_text_of_a_code_are_refused",
            "attacks/texts.rs::harmless_values_stand_in_the_text_as_they_are_and_the_last_line_stays_ours",
            "attacks/texts.rs::hostile_values_in_messages_are_refused_and_harmless_ones_stand_as_they_are",
            "dialects/esms/generate_control_characters.json",
            "dialects/octopush/otp_text_with_control_characters.json",
            "dialects/simpu/sms_template_wrong.json",
            "attacks/values.rs::hostile_values_are_refused_or_made_harmless_in_every_place",
            "attacks/values.rs::harmless_values_stand_as_they_are_in_every_place",
        ],
    ),
    attack(
        22,
        "receipts that lie",
        &[
            "attacks/receipts.rs::a_stranger_sees_a_page_that_is_not_there_and_changes_nothing",
            "attacks/receipts.rs::a_signature_stands_for_the_token",
            "attacks/receipts.rs::repeated_and_contradicting_receipts_change_nothing",
            "attacks/receipts.rs::a_receipt_may_come_before_the_answer_to_its_send",
            "attacks/receipts.rs::of_receipts_that_nobody_asks_for_only_the_newest_are_kept",
            "attacks/receipts.rs::a_vendor_cannot_speak_of_what_went_to_another",
            "attacks/reported.rs::callers_hear_what_the_vendor_said_that_had_their_text_and_nothing_else",
        ],
    ),
    attack(
        23,
        "callbacks to our own networks",
        &[
            "webhook.rs::nobody_is_called_on_our_own_networks_in_whatever_spelling",
            "webhook.rs::redirects_are_answers_and_not_followed",
            "callbacks.rs::a_name_that_leads_inside_is_found_out_when_it_is_called",
            "attacks/inside.rs::nobody_is_told_on_our_own_networks_through_any_surface",
        ],
    ),
    beside(
        "receivers are called by one client, for all surfaces",
        attack(
            24,
            "receivers of callbacks that drip or flood",
            &[
                "webhook.rs::heads_that_drip_or_never_end_are_cut",
                "webhook.rs::bodies_are_not_heard_to_their_end",
                "webhook.rs::a_receiver_that_never_reads_is_given_up",
                "webhook.rs::slow_receivers_take_no_room_from_others",
            ],
        ),
    ),
    attack(
        25,
        "vendors whose answers lie",
        &[
            "attacks/vendors.rs::a_vendor_that_lies_is_not_believed_and_not_repeated",
            "attacks/liars.rs::callers_hear_nothing_of_what_a_vendor_says_that_lies",
        ],
    ),
    beside(
        "connections lie beneath all surfaces, and both listeners keep them in one way",
        attack(
            26,
            "HTTP/2 misused",
            &[
                "attacks/frames.rs::the_limits_are_told_before_anything_else",
                "attacks/frames.rs::rapid_resets_end_the_connection",
                "attacks/frames.rs::headers_without_end_end_the_connection",
            ],
        ),
    ),
    attack(
        27,
        "sizes",
        &[
            "attacks/sizes.rs::long_messages_are_refused",
            "attacks/sizes.rs::nothing_is_unpacked",
            "native_json/bodies.rs::deep_nesting_is_refused_without_growth",
            "attacks/sizes.rs::nothing_is_followed_without_end",
        ],
    ),
    attack(
        28,
        "the console in another page",
        &[
            "console.rs::a_form_from_another_site_or_without_its_token_changes_nothing",
            "console/markup.rs::markup_from_any_surface_is_text_on_every_page",
            "console.rs::nothing_is_changed_by_looking",
            "console.rs::every_page_is_locked_down_and_for_known_hosts_only",
            "console_inbox.rs::every_answer_is_locked_down",
            "console_inbox.rs::foreign_host_names_are_refused",
            "console_inbox.rs::a_browser_shows_messages_as_they_arrive_and_markup_in_them_as_text",
        ],
    ),
    beside(
        "a configuration is read before there is any surface",
        attack(
            29,
            "a configuration that is unsafe",
            &[
                "config.rs::a_key_has_exactly_one_secret_and_never_an_empty_one",
                "config.rs::the_published_secret_never_meets_the_public",
                "transport/settings.rs::the_dev_profile_meets_the_public_on_no_listener",
                "transport/settings.rs::files_that_are_no_good_are_told_with_their_key",
            ],
        ),
    ),
];

/// What a surface cannot express, and why.
const LEFT_OUT: [(u32, Surface, &str); 6] = [
    (5, Surface::Octopush, "a code is for no purpose: all of a number's have one scope"),
    (5, Surface::Simpu, "a code is for no purpose: all of a number's have one scope"),
    (12, Surface::Hasun, "a code is a whole number there: `012345` is never made, and `12345` is the same number"),
    (13, Surface::Grpc, "one message holds one code; calls on one connection are attack 1"),
    (23, Surface::Hasun, "no call names a URL: clients ask what became of a text"),
    (23, Surface::Octopush, "no call names a URL: it is a setting, which is refused when the configuration is read"),
];

/// Why an attack is not run on a surface; `None` where it is.
pub(crate) fn left_out(attack: u32, surface: Surface) -> Option<&'static str> {
    LEFT_OUT.iter().find(|(number, one, _)| *number == attack && *one == surface).map(|(.., why)| *why)
}

#[test]
fn every_attack_has_tests_and_every_test_is_there() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let numbers: Vec<_> = ATTACKS.iter().map(|attack| attack.number).collect();
    assert_eq!(numbers, (1..=29).collect::<Vec<_>>());
    let mut missing = Vec::new();
    for attack in &ATTACKS {
        assert!(!attack.by.is_empty(), "nobody runs attack {}, {}", attack.number, attack.about);
        for by in attack.by {
            let (file, name) = by.split_once("::").unwrap_or((by, ""));
            let text = std::fs::read_to_string(tests.join(file)).unwrap_or_default();
            let there = if name.is_empty() { !text.is_empty() } else { text.contains(&format!("fn {name}(")) };
            if !there {
                missing.push(format!("{} ({}): {by}", attack.number, attack.about));
            }
        }
    }
    assert!(missing.is_empty(), "not there:\n{}", missing.join("\n"));
}

/// An attack that is made on surfaces has a test that goes through all which can express it. In its source stands
/// `surfaces([1, 2])`, with the number of the attack.
#[test]
fn every_attack_on_surfaces_runs_on_all_of_them() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for attack in ATTACKS.iter().filter(|attack| attack.beside.is_none()) {
        let goes_through = attack.by.iter().any(|by| {
            let file = by.split_once("::").map_or(*by, |(file, _)| file);
            let source = std::fs::read_to_string(tests.join(file)).unwrap_or_default();
            let lists =
                source.split("surfaces([").skip(1).filter_map(|rest| rest.split_once("])")).map(|(list, _)| list);
            lists.flat_map(|list| list.split(", ")).any(|number| number.parse() == Ok(attack.number))
        });
        assert!(goes_through, "attack {}, {}, does not run on every surface", attack.number, attack.about);
    }
}

#[test]
fn what_is_left_out_is_of_the_list_and_told() {
    for (number, surface, why) in LEFT_OUT {
        assert!(ATTACKS.iter().any(|attack| attack.number == number), "{number}");
        println!("attack {number} is not run on {surface:?}: {why}");
    }
    for (attack, place) in ATTACKS.iter().filter_map(|attack| Some((attack, attack.beside?))) {
        println!("attack {} is not run on surfaces: {place}", attack.number);
    }
}
