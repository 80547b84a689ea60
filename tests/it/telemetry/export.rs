//! Export by OTLP: what arrives, what it is called with, and what a collector that is away costs.

use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use verigate::config;

use crate::support::collector::{Collector, value_of};
use crate::support::gateway::{CONFIG, Gateway, PHONE, eventually, start_now, text_to};
use crate::support::http::get;

const SECOND: Duration = Duration::from_secs(1);

async fn page(gateway: &Gateway) -> String {
    get(gateway.addresses.admin, "/metrics", &[&format!("Host: {}", gateway.addresses.admin)]).await.body
}

/// The value of a series on the page of this process, which other tests write on, too.
async fn value(gateway: &Gateway, series: &str) -> f64 {
    let page = page(gateway).await;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn metrics_arrive_as_the_page_has_them() {
    let collector = Collector::start().await;
    let headers = r#"headers = [{ name = "x-scope-orgid", secret = "acme-7" }]
service_name = "otp-gateway""#;
    let gateway = Gateway::start_with(&collector.beside(CONFIG, headers)).await;
    gateway.messages().await.send_message(text_to(PHONE, "Hello")).await.unwrap();
    let metrics = collector
        .passing(&gateway, 30 * SECOND, async || {
            Some(collector.metrics())
                .filter(|metrics| metrics.iter().any(|metric| metric.name == "verigate_call_seconds"))
        })
        .await;
    let find = |name: &str| metrics.iter().rfind(|metric| metric.name == name).unwrap();
    let Some(Data::Sum(calls)) = &find("verigate_calls_total").data else { panic!("a counter is a sum") };
    assert!(calls.is_monotonic && calls.aggregation_temporality == 2 && !calls.data_points.is_empty());
    let is_ours = |attributes: &_| {
        value_of(attributes, "method") == "messaging.v1.MessagingService/SendMessage"
            && value_of(attributes, "surface") == "grpc"
    };
    assert!(calls.data_points.iter().any(|point| is_ours(&point.attributes)));
    let Some(Data::Histogram(seconds)) = &find("verigate_call_seconds").data else { panic!("it has buckets") };
    for point in &seconds.data_points {
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    }
    let Some(Data::Gauge(_)) = &find("verigate_store_writable").data else { panic!("it goes up and down") };
    collector.look(|kept| {
        let headers = &kept.headers[0];
        assert_eq!(headers["content-type"], "application/x-protobuf");
        assert_eq!(headers["x-scope-orgid"], "acme-7");
        let resource = kept.metrics[0].resource_metrics[0].resource.clone().unwrap();
        assert_eq!(value_of(&resource.attributes, "service.name"), "otp-gateway");
        assert_eq!(value_of(&resource.attributes, "service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(value_of(&resource.attributes, "service.instance.id").len(), 36);
    });
}

#[tokio::test]
async fn what_is_turned_off_is_not_exported_and_a_stop_hands_over_the_rest() {
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(CONFIG, "metrics = false")).await;
    gateway.messages().await.send_message(text_to(PHONE, "Hello")).await.unwrap();
    assert_eq!(collector.spans().len(), 0, "time stands still");
    let _gateway = gateway.restart().await;
    assert!(collector.spans().iter().any(|span| span.name == "messaging.v1.MessagingService/SendMessage"));
    assert_eq!(collector.metrics().len(), 0);

    let gateway = Gateway::start_with(&collector.beside(CONFIG, "traces = false")).await;
    gateway.messages().await.send_message(text_to(PHONE, "Hello")).await.unwrap();
    let (spans, _gateway) = (collector.spans().len(), gateway.restart().await);
    assert!(collector.metrics().iter().any(|metric| metric.name == "verigate_calls_total"));
    assert_eq!(collector.spans().len(), spans);
}

#[tokio::test]
async fn spans_wait_for_a_collector_that_comes_back_and_not_for_one_that_refuses() {
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(CONFIG, "metrics = false")).await;
    let mut messages = gateway.messages().await;
    collector.answer(StatusCode::SERVICE_UNAVAILABLE);
    messages.send_message(text_to(PHONE, "Hello")).await.unwrap();
    collector
        .passing(&gateway, SECOND / 4, async || (collector.look(|kept| kept.headers.len()) >= 2).then_some(()))
        .await;
    assert!(collector.spans().is_empty());
    collector.answer(StatusCode::OK);
    collector.span(&gateway, |span| span.name == "messaging.v1.MessagingService/SendMessage").await;

    // What is wrong for good is not tried again.
    let dropped = value(&gateway, "verigate_otlp_dropped_total{signal=\"traces\"}").await;
    collector.answer(StatusCode::BAD_REQUEST);
    let tried = collector.look(|kept| kept.headers.len());
    messages.send_message(text_to(PHONE, "Hello")).await.unwrap();
    collector
        .passing(&gateway, SECOND, async || (collector.look(|kept| kept.headers.len()) > tried).then_some(()))
        .await;
    eventually(async || {
        (value(&gateway, "verigate_otlp_dropped_total{signal=\"traces\"}").await > dropped).then_some(())
    })
    .await;
    assert!(page(&gateway).await.contains("verigate_otlp_exports_total{signal=\"traces\",outcome=\"failed\"}"));
}

#[tokio::test]
async fn a_collector_that_is_away_is_in_nobodys_way() {
    let config = format!("{CONFIG}\n[otlp]\nendpoint = \"http://127.0.0.1:1\"\n");
    let gateway = Gateway::start_with(&config).await;
    let mut messages = gateway.messages().await;
    for at in 0..100 {
        messages.send_message(text_to(&format!("+601234567{at:02}"), "Hello")).await.unwrap();
        gateway.clock.advance(SECOND);
    }
    let dropped = "verigate_otlp_dropped_total{signal=\"metrics\"}";
    let before = value(&gateway, dropped).await;
    eventually(async || {
        gateway.clock.advance(SECOND);
        (value(&gateway, dropped).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("verigate.toml");
    for (keys, named) in [
        ("endpoint = \"localhost:4318\"", "otlp.endpoint"),
        ("endpoint = \"ftp://localhost\"", "otlp.endpoint"),
        ("endpoint = \"http://me:hunter2@localhost\"", "otlp.endpoint"),
        ("endpoint = \"http://localhost/?a=b\"", "otlp.endpoint"),
        ("ratio = 1.5", "otlp.ratio"),
        ("ratio = -0.1", "otlp.ratio"),
        ("service_name = \"\"", "otlp.service_name"),
        ("timeout = \"1ms\"", "otlp.timeout"),
        ("interval = \"2h\"", "otlp.interval"),
        ("headers = [{ name = \"a b\", secret = \"x\" }]", "otlp.headers[0].name"),
        ("headers = [{ name = \"a\", secret = \"x\\n\" }]", "otlp.headers[0].secret"),
        ("headers = [{ name = \"a\", value = \"x\" }]", "otlp.headers[0].value"),
    ] {
        std::fs::write(&file, format!("[otlp]\n{keys}\n")).unwrap();
        let error = config::load(Some(&file), std::iter::empty()).unwrap_err().to_string();
        assert!(error.contains(named), "{keys}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_header_may_lie_in_a_file() {
    let collector = Collector::start().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("token");
    std::fs::write(&file, "Bearer of-the-collector\n").unwrap();
    let headers = format!("headers = [{{ name = \"authorization\", secret_file = {file:?} }}]");
    let gateway = Gateway::start_with(&collector.beside(CONFIG, &headers)).await;
    let mut client = gateway.verifications().await;
    start_now(&mut client, crate::support::gateway::start(PHONE)).await.unwrap();
    collector.span(&gateway, |span| span.name == "vendor.send").await;
    let sent = collector.look(|kept| kept.headers[0]["authorization"].to_str().unwrap().to_owned());
    assert_eq!(sent, "Bearer of-the-collector");
}
