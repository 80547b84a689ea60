//! Every metric of ours: its name, what it counts, in which unit, and under which labels. `docs/metrics.md` shows the same
//! list, and a test compares the page with it.
//!
//! Labels take values from this house alone (rpcs, reasons, states, configured names, countries), never what a caller
//! writes, so a page stays short whoever calls.

use metrics::Unit;

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Option<Unit>,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// All of them, in the order in which a call meets them.
pub const ENTRIES: &[Entry] = &[
    gauge("verigate_build_info", None, &["version"], "Always 1; the label says which version runs."),
    gauge("verigate_nodes", None, &[], "Nodes that work on the same store, as far as this one knows."),
    gauge("verigate_node_info", None, &["node"], "1 for the name by which the other nodes of a store know this one."),
    gauge("verigate_connections", None, &["listener"], "Open connections."),
    counter("verigate_connections_refused_total", &["listener", "why"], "Connections that were closed at once."),
    counter("verigate_admin_refused_total", &[], "Calls of the admin listener without its password."),
    counter("verigate_calls_total", &["surface", "method", "outcome"], "Calls on gRPC and HTTP that have ended."),
    histogram("verigate_call_seconds", SECONDS, &["surface", "method"], "Time from a call to the head of its answer."),
    counter("verigate_calls_shed_total", &["priority"], "Calls turned away because too many were under way."),
    counter("verigate_refusals_total", &["reason"], "Errors that callers were told of, by their reason."),
    counter("verigate_guard_total", &["rule", "verdict"], "What the rules of the guard said about sends."),
    counter(
        "verigate_verifications_started_total",
        &["tenant", "channel", "country"],
        "Verifications that were started.",
    ),
    counter(
        "verigate_sends_total",
        &["record", "stage", "tenant", "channel", "country", "vendor"],
        "Sends of codes and messages that have come to a stage, once for each stage.",
    ),
    counter(
        "verigate_verifications_approved_total",
        &["tenant", "channel", "country", "vendor"],
        "Verifications that were approved, by the vendor that carried the code.",
    ),
    counter("verigate_checks_total", &["outcome"], "Checks of codes, without those that were answered as before."),
    counter("verigate_feedback_total", &["vendor", "result"], "What vendors said when told whether a code arrived."),
    counter("verigate_vendor_calls_total", &["vendor", "channel", "outcome"], "Sends that were handed to vendors."),
    histogram("verigate_vendor_call_seconds", SECONDS, &["vendor", "channel"], "Time that vendors took for sends."),
    counter("verigate_vendor_code_checks_total", &["outcome"], "Codes that vendors were asked to check."),
    gauge("verigate_vendor_breaker", None, &["vendor", "state"], "1 for the state that a vendor's breaker is in."),
    counter("verigate_vendor_breaker_openings_total", &["vendor"], "How often a vendor's breaker opened."),
    counter("verigate_status_asks_total", &["outcome"], "Messages that vendors were asked about."),
    counter("verigate_receipt_calls_total", &["vendor", "result"], "Calls of vendors that report on messages."),
    counter("verigate_receipts_given_up_total", &["vendor"], "Receipts for messages that never became known."),
    counter("verigate_callbacks_total", &["outcome"], "Callbacks that have ended."),
    counter("verigate_callback_calls_total", &["outcome"], "Calls that were made for callbacks."),
    histogram("verigate_callback_call_seconds", SECONDS, &[], "Time that receivers of callbacks took."),
    counter("verigate_events_total", &["type"], "Events that were numbered into feeds."),
    counter("verigate_event_deliveries_total", &["outcome"], "Calls that were made to event endpoints."),
    histogram("verigate_event_delivery_seconds", SECONDS, &[], "Time that event endpoints took."),
    gauge("verigate_event_backlog", None, &[], "Deliveries of events that wait for another try."),
    gauge("verigate_event_endpoints_disabled", None, &[], "Event endpoints that are disabled."),
    counter("verigate_event_endpoints_disabled_total", &["why"], "Event endpoints that were disabled by themselves."),
    counter("verigate_contact_pushes_total", &["vendor", "outcome"], "Contacts that were handed to vendors."),
    gauge("verigate_queue_sends", None, &[], "Sends that wait in line for room at their vendors."),
    gauge("verigate_queue_age_seconds", SECONDS, &[], "How long the send that was due first has waited since."),
    histogram("verigate_commit_seconds", SECONDS, &[], "Time to make a group of commits durable."),
    histogram("verigate_commit_group_size", None, &[], "Commits made durable together."),
    counter("verigate_commit_conflicts_total", &["use_case"], "Commits that lost a race and were repeated."),
    gauge("verigate_store_writable", None, &[], "1 while the store takes writes, 0 once it has stopped."),
    gauge(
        "verigate_api_key_expiry_timestamp_seconds",
        SECONDS,
        &[],
        "When the API key ends that ends next, in Unix time; 0 when none does.",
    ),
    counter("verigate_otlp_exports_total", &["signal", "outcome"], "Requests to the collector of OTLP."),
    counter("verigate_otlp_dropped_total", &["signal"], "What could not be exported by OTLP and was let go."),
];

const SECONDS: Option<Unit> = Some(Unit::Seconds);

/// Tells the recorder what each of them is.
pub fn describe() {
    for Entry { name, kind, unit, help, .. } in ENTRIES {
        let unit = unit.unwrap_or(Unit::Count);
        match kind {
            Counter => metrics::describe_counter!(*name, unit, *help),
            Gauge => metrics::describe_gauge!(*name, unit, *help),
            Histogram => metrics::describe_histogram!(*name, unit, *help),
        }
    }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind: Counter, unit: None, labels, help }
}

const fn gauge(name: &'static str, unit: Option<Unit>, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, kind: Gauge, unit, labels, help }
}

const fn histogram(
    name: &'static str,
    unit: Option<Unit>,
    labels: &'static [&'static str],
    help: &'static str,
) -> Entry {
    Entry { name, kind: Histogram, unit, labels, help }
}
