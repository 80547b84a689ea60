//! The page stays short whoever calls, and whatever they write.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::support::gateway::{by_id, start, text_to};
use crate::support::http::call;
use crate::support::load::Dice;
use crate::support::process::KEY;
use crate::telemetry::site::{Page, Site};

/// Calls of strangers and of somebody who may call.
const CALLS: u64 = 10_000;

/// Series that may come on top of those of usual traffic: a few outcomes and reasons, one tenant's countries, and the
/// histograms of methods that had not been called. With a label that follows what callers write, there were thousands.
const MOST_MORE: usize = 1_500;

fn series(page: &Page) -> BTreeSet<String> {
    let lines = page.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn word(dice: &mut Dice) -> String {
    format!("canary{:x}", dice.below(u32::MAX))
}

#[tokio::test]
async fn ten_thousand_random_calls_add_few_series() {
    let site = Site::start().await;
    site.traffic().await;
    let before = series(&site.page().await);
    join_all((0..10).map(|seed| one_caller(&site, seed))).await;
    let after = series(&site.page().await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(!after.iter().any(|series| series.contains("canary")), "{new:?}");
    assert!(new.len() < MOST_MORE, "{} new series: {new:#?}", new.len());
}

async fn one_caller(site: &Site, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut client = site.verifications(KEY).await;
    let mut messages = site.messages(KEY).await;
    let channel = site.channel().await;
    for turn in 0..CALLS / 10 {
        let phone = format!("+{}{:09}", 1 + dice.below(999), dice.below(1_000_000_000));
        match turn % 5 {
            0 => {
                let request = StartVerificationRequest { scope: word(&mut dice), ..start(&phone) };
                let mut request = tonic::Request::new(request);
                for name in ["x-request-id", "tracestate", "traceparent", "user-agent"] {
                    request.metadata_mut().insert(name, word(&mut dice).parse::<MetadataValue<_>>().unwrap());
                }
                drop(client.start_verification(request).await);
            }
            1 => drop(messages.send_message(text_to(&phone, &word(&mut dice))).await),
            2 => {
                // No such method, of no such service.
                let mut grpc = tonic::client::Grpc::new(channel.clone());
                grpc.ready().await.unwrap();
                let path: PathAndQuery = format!("/verigate.{}/{}", word(&mut dice), word(&mut dice)).parse().unwrap();
                let codec = tonic_prost::ProstCodec::<StartVerificationRequest, StartVerificationRequest>::default();
                drop(grpc.unary(tonic::Request::new(start(&phone)), path, codec).await);
            }
            3 => {
                let mut stranger = site.verifications(&format!("{}.{}", word(&mut dice), word(&mut dice))).await;
                drop(stranger.check_verification(by_id(&word(&mut dice), "0")).await);
            }
            _ => {
                let verbs = ["GET", "POST", "CANARY"];
                let places = ["", "v1/", "v1/messages/", "esms/", "receipts/", "simpu/", "hasun/", "octopush/"];
                let verb = verbs[dice.below(verbs.len() as u32) as usize];
                let target = format!("/{}{}?{}", places[dice.below(8) as usize], word(&mut dice), word(&mut dice));
                let fields = [format!("Host: {}", word(&mut dice)), format!("api-key: {}", word(&mut dice))];
                let fields: Vec<_> = fields.iter().map(String::as_str).collect();
                call(site.process.http, verb, &target, &fields, word(&mut dice)).await;
            }
        }
    }
}
