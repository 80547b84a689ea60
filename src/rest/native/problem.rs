//! What is told of a call that failed: a problem (RFC 9457) with the reason of the contract.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::status::http_of;

pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// As it is on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    r#type: &'static str,
    title: &'static str,
    #[serde(serialize_with = "serialize_status")]
    status: StatusCode,
    detail: String,
    /// As in `verigate.error.v1.ErrorReason`, without its prefix.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Field>,
    /// Whole seconds, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The rule of the guard that was broken, and how many more it lets pass now.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// A field that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Field {
    field: String,
    description: String,
}

// === impl Problem ===

impl Problem {
    /// One about HTTP alone, which no reason of the contract names.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            reason: String::new(),
            violations: Vec::new(),
            retry_after: None,
            rule: None,
            left: None,
            request_id: None,
        }
    }

    /// `exactly`: the HTTP status where it tells more than the code does.
    pub(crate) fn of(status: &Status, exactly: Option<StatusCode>) -> Self {
        let details = status.get_error_details();
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let violation = |violation: tonic_types::FieldViolation| Field {
            field: violation.field,
            description: violation.description,
        };
        let fact = |name| details.error_info()?.metadata.get(name).cloned();
        // What tonic itself has to say, about frames and the like, is none of the caller's concern.
        let detail = match details.error_info() {
            None if matches!(status.code(), Code::Internal | Code::Unknown) => "internal error",
            _ => status.message(),
        };
        Self {
            rule: fact("rule"),
            left: fact("left").and_then(|left| left.parse().ok()),
            reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
            violations: fields.into_iter().map(violation).collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay).map(whole_seconds),
            ..Self::new(exactly.unwrap_or_else(|| http_of(status.code())), detail)
        }
    }

    pub(crate) fn named(self, request_id: Option<String>) -> Self {
        Self { request_id, ..self }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn to_response(&self) -> Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.into_response()
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn serialize_status<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind, Reason};
    use crate::status::to_status;

    fn problem(error: &Error) -> String {
        Problem::of(&to_status(error), None).named(Some("r1".to_owned())).to_json()
    }

    #[test]
    fn a_limit_tells_when_to_come_back_in_whole_seconds_rounded_up() {
        let error = Error::new(Kind::Limited, Reason::CoolDown, "wait before the next send");
        for (wait, seconds) in [(30_000, 30), (29_001, 30), (1, 1), (0, 0)] {
            let error = to_status(
                &Error::new(Kind::Limited, Reason::CoolDown, "wait").with_retry_after(Duration::from_millis(wait)),
            );
            assert_eq!(Problem::of(&error, None).retry_after, Some(seconds), "{wait}");
        }
        assert_eq!(
            problem(&error.with_retry_after(Duration::from_secs(30))),
            r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"wait before the next send","reason":"COOL_DOWN","retry_after":30,"request_id":"r1"}"#
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_eq!(
            problem(&Error::invalid("recipient.phone", "must be there")),
            r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"recipient.phone: must be there","reason":"INVALID_FIELD","violations":[{"field":"recipient.phone","description":"must be there"}],"request_id":"r1"}"#
        );
    }

    #[test]
    fn what_went_wrong_inside_stays_inside() {
        assert_eq!(
            problem(&Error::internal("disk /dev/canary is on fire")),
            r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error","reason":"INTERNAL","request_id":"r1"}"#
        );
        let foreign = Problem::of(&Status::unknown("canary: h2 protocol error"), None);
        assert!(!foreign.to_json().contains("canary") && foreign.status == StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn who_has_no_credentials_is_told_which_kind_is_wanted() {
        let error = Error::new(Kind::Unauthenticated, Reason::CredentialsMissing, "no credentials");
        let response = Problem::of(&to_status(&error), None).to_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], MEDIA_TYPE);
    }
}
