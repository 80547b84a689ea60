//! A vendor's code is known to the vendor and the person. What was typed, right or wrong, is in nothing that a run leaves
//! behind, and nothing that a vendor says comes through.

use std::time::Duration;

use tonic::Response;
use verigate::proto::verification::v1::{CheckOutcome, CheckVerificationRequest, CodePolicy, StartVerificationRequest};

use crate::attacks::canary::{Told, assert_clean, files};
use crate::support::code_maker::{CodeMaker, Kind, State};
use crate::support::gateway::{by_id, cancel, check, get_verification, resend, start, start_now};
use crate::support::http::get;
use crate::support::log::Log;
use crate::support::vendor_server::Fault;
use crate::vendor_codes::{house, wrong};

/// In the credentials of every vendor.
const MARK: &str = "canary-";

/// On one thread, whose log is taken down.
#[tokio::test]
async fn what_is_typed_and_what_a_vendor_says_is_in_nothing_that_a_run_leaves_behind() {
    let log = Log::start("trace");
    let mut told = Told::default();
    let mut secrets = Vec::new();
    let (mut pages, mut stored, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let mut client = gateway.verifications().await;
        let length = match kind {
            Kind::Octopush => 24,
            Kind::Simpu => 8,
            Kind::Esms | Kind::Hasun => 0,
        };
        let mut typed = Vec::new();
        for (number, fault) in
            [None, Some(Fault::Echo(200)), Some(Fault::Echo(404)), Some(Fault::Refuse)].into_iter().enumerate()
        {
            let phone = kind.phone(7_000 + number as u32);
            numbers.push(phone[3..].to_owned());
            let policy = Some(CodePolicy { length, ..CodePolicy::default() });
            let begun = start_now(&mut client, StartVerificationRequest { policy, ..start(&phone) }).await;
            let id = told.hear(begun).unwrap().id;
            let code = maker.code(&phone);
            let miss = wrong(&code, 7);
            maker.set_fault(fault).await;
            for candidate in [&miss, &code] {
                let keyed = CheckVerificationRequest { idempotency_key: "k".to_owned(), ..by_id(&id, candidate) };
                told.hear(client.check_verification(keyed).await.map(Response::into_inner));
                told.hear(check(&mut client, &id, candidate).await);
            }
            maker.set_fault(None).await;
            maker.set_all(State::Expired);
            told.hear(check(&mut client, &id, &code).await);
            gateway.clock.advance(Duration::from_secs(30));
            told.hear(resend(&mut client, &id).await);
            told.hear(Ok(get_verification(&mut client, &id).await));
            told.hear(cancel(&mut client, &id).await);
            typed.extend([miss, code]);
        }
        typed.extend(maker.made().into_iter().map(|made| made.code));
        let host = format!("Host: {}", gateway.addresses.admin);
        pages.extend(get(gateway.addresses.admin, "/metrics", &[&host]).await.body.into_bytes());
        drop(client);
        let gateway = gateway.restart().await;
        stored.extend(files(&gateway.data()));
        // What is shorter could be any number.
        let names = maker.made().into_iter().map(|made| made.name);
        secrets.extend(typed.into_iter().chain(names).filter(|secret| secret.len() >= 8));
    }
    secrets.push(MARK.to_owned());
    let log = log.bytes();
    let lines = String::from_utf8_lossy(&log);
    assert!(lines.contains("TRACE") && lines.contains("a vendor did not check a code"), "this is not the whole log");
    assert_clean("an answer", &told.answers, &secrets);
    secrets.extend(numbers);
    assert_clean("the metrics", &pages, &secrets);
    assert_clean("the log", &log, &secrets);
    assert_clean("the store", &stored, &secrets);
}

/// One vendor's page shows that it gives away its code to us. Nobody else gets it, not even whoever may ask for codes.
#[tokio::test]
async fn an_answer_holds_neither_the_code_nor_what_the_vendor_calls_it() {
    for kind in Kind::ALL {
        let maker = CodeMaker::start(kind).await;
        let gateway = house(&[&maker]).await;
        let (phone, mut client) = (kind.phone(1), gateway.verifications().await);
        let request = StartVerificationRequest { delivery_wait: crate::support::gateway::seconds(5), ..start(&phone) };
        let started = client.start_verification(request).await.unwrap().into_inner();
        assert_eq!(started.code, "");
        let id = started.verification.as_ref().unwrap().id.clone();
        let made = maker.made().remove(0);
        let missed = check(&mut client, &id, &wrong(&made.code, 0)).await.unwrap();
        assert_eq!(missed.outcome(), CheckOutcome::WrongCode);
        // Times are numbers, which may hold any six digits, so only texts are looked at.
        let texts = [started.verification.unwrap(), missed.verification.unwrap()].map(|seen| {
            let sends = seen.sends.iter().map(|send| format!("{} {}", send.vendor, send.vendor_reference));
            format!("{} {:?} {:?}", seen.scope, seen.metadata, sends.collect::<Vec<_>>())
        });
        for text in texts {
            assert!(!text.contains(&made.code) && !text.contains(&made.name), "{kind:?}: {text}");
        }
    }
}
