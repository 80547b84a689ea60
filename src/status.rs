//! What an error becomes on a wire: the one table from kind to gRPC code and HTTP status, and the gRPC status itself.
//!
//! Knows errors, not requests. The cause of an error is for the log and never part of a status.

use std::collections::HashMap;

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};

use crate::error::{Error, Kind};
use crate::telemetry::trace;

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "verigate";

/// The trailer that says after how many milliseconds a client whose retry policy allows it tries again, in place of its
/// own backoff (gRPC proposal A6, "Pushback").
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The gRPC code of a kind and the HTTP status that goes with it.
pub fn of(kind: Kind) -> (Code, StatusCode) {
    let code = match kind {
        Kind::Invalid => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Exists => Code::AlreadyExists,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Conflict => Code::Aborted,
        Kind::Limited => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Deadline => Code::DeadlineExceeded,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Internal => Code::Internal,
    };
    (code, http_of(code))
}

/// The HTTP status of a gRPC code, paired as in `google/rpc/code.proto`.
pub fn http_of(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted | Code::AlreadyExists => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // Nobody reads it: it says that the caller has left.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Internal | Code::Unknown | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status with its details: `ErrorInfo` always, `BadRequest` for fields, `QuotaFailure` for limits, `RetryInfo`
/// where waiting helps, and [`PUSHBACK`] where a client may wait by itself; and counted, for somebody will
/// be told of it. A quota's subject is the reason: whose quota it is, the caller knows, and a status holds no recipient.
pub fn to_status(error: &Error) -> Status {
    trace::refused(error);
    let reason = error.reason().as_str();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, to_metadata(error));
    if !error.violations().is_empty() {
        let fields = error.violations().iter().map(|v| FieldViolation::new(&v.field, &v.description));
        details.set_bad_request(fields.collect::<Vec<_>>());
    }
    if error.kind() == Kind::Limited {
        details.set_quota_failure([QuotaViolation::new(reason, error.message())]);
    }
    if error.retry_after().is_some() {
        details.set_retry_info(error.retry_after());
    }
    let mut status = Status::with_error_details(of(error.kind()).0, error.message(), details);
    // Some clients try again whatever the code is when they are told this, and a limit is for people to wait for.
    if let Some(wait) = error.retry_after().filter(|_| error.kind() == Kind::Unavailable) {
        // It is read as a 32-bit integer.
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        status.metadata_mut().insert(PUSHBACK, millis.into());
    }
    status
}

fn to_metadata(error: &Error) -> HashMap<String, String> {
    error.details().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Reason, Violation};

    /// The pairs that `google/rpc/code.proto` names.
    const CONVENTION: [(Code, u16); 16] = [
        (Code::Cancelled, 499),
        (Code::Unknown, 500),
        (Code::InvalidArgument, 400),
        (Code::DeadlineExceeded, 504),
        (Code::NotFound, 404),
        (Code::AlreadyExists, 409),
        (Code::PermissionDenied, 403),
        (Code::Unauthenticated, 401),
        (Code::ResourceExhausted, 429),
        (Code::FailedPrecondition, 400),
        (Code::Aborted, 409),
        (Code::OutOfRange, 400),
        (Code::Unimplemented, 501),
        (Code::Internal, 500),
        (Code::Unavailable, 503),
        (Code::DataLoss, 500),
    ];

    fn row(kind: Kind, code: Code) {
        let (actual, http) = of(kind);
        assert_eq!(actual, code, "{kind:?}");
        assert!(CONVENTION.contains(&(code, http.as_u16())), "{kind:?}: {code:?} does not go with {http}");
    }

    #[test]
    fn every_code_has_the_http_status_of_the_convention() {
        for (code, http) in CONVENTION {
            assert_eq!(http_of(code).as_u16(), http, "{code:?}");
        }
        assert_eq!(http_of(Code::Ok), StatusCode::OK);
    }

    #[test]
    fn an_invalid_request_is_invalid_argument() {
        row(Kind::Invalid, Code::InvalidArgument);
    }

    #[test]
    fn missing_or_wrong_credentials_are_unauthenticated() {
        row(Kind::Unauthenticated, Code::Unauthenticated);
    }

    #[test]
    fn a_forbidden_call_is_permission_denied() {
        row(Kind::Forbidden, Code::PermissionDenied);
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        row(Kind::NotFound, Code::NotFound);
    }

    #[test]
    fn what_is_there_already_is_already_exists() {
        row(Kind::Exists, Code::AlreadyExists);
    }

    #[test]
    fn the_wrong_state_is_failed_precondition() {
        row(Kind::Precondition, Code::FailedPrecondition);
    }

    #[test]
    fn a_lost_race_is_aborted() {
        row(Kind::Conflict, Code::Aborted);
    }

    #[test]
    fn a_reached_limit_is_resource_exhausted() {
        row(Kind::Limited, Code::ResourceExhausted);
    }

    #[test]
    fn what_is_away_is_unavailable() {
        row(Kind::Unavailable, Code::Unavailable);
    }

    #[test]
    fn a_passed_deadline_is_deadline_exceeded() {
        row(Kind::Deadline, Code::DeadlineExceeded);
    }

    #[test]
    fn what_this_build_does_not_serve_is_unimplemented() {
        row(Kind::Unimplemented, Code::Unimplemented);
    }

    #[test]
    fn our_fault_is_internal() {
        row(Kind::Internal, Code::Internal);
    }

    #[test]
    fn a_status_names_every_field_that_is_wrong() {
        let violation = |field: &str| Violation { field: field.into(), description: "must be there".into() };
        let status = to_status(&Error::invalid_fields(vec![violation("scope"), violation("recipient.phone")]));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_FIELD", "verigate"));
        let fields = &details.bad_request().unwrap().field_violations;
        let fields: Vec<_> = fields.iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(fields, [("scope", "must be there"), ("recipient.phone", "must be there")]);
        assert!(details.retry_info().is_none());
        assert!(details.quota_failure().is_none());
    }

    #[test]
    fn clients_are_told_how_long_to_wait_by_themselves_when_we_are_unavailable() {
        let error = Error::new(Kind::Unavailable, Reason::Overloaded, "too many calls are under way");
        assert!(to_status(&error).metadata().get(PUSHBACK).is_none());
        let status = to_status(&error.with_retry_after(Duration::from_millis(1_250)));
        assert_eq!(status.metadata().get(PUSHBACK).unwrap(), "1250");
    }

    #[test]
    fn a_limit_says_which_quota_and_when_to_come_back() {
        let error = Error::new(Kind::Limited, Reason::CoolDown, "wait before the next send");
        let status = to_status(&error.with_retry_after(Duration::from_secs(30)));
        assert!(status.metadata().get(PUSHBACK).is_none(), "it is for people to wait");
        let details = status.get_error_details();
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(30)));
        let quota = &details.quota_failure().unwrap().violations[0];
        assert_eq!((quota.subject.as_str(), quota.description.as_str()), ("COOL_DOWN", "wait before the next send"));
        assert!(details.bad_request().is_none());
    }

    #[test]
    fn a_cause_stays_at_home() {
        let error = Error::internal("disk /dev/canary is on fire");
        let status = to_status(&error);
        assert_eq!(status.message(), "internal error");
        let details = String::from_utf8_lossy(status.details()).into_owned();
        assert!(!format!("{status:?}{status}{details}").contains("canary"));
        assert!(details.contains("INTERNAL"));
        assert!(std::error::Error::source(&status).is_none());
    }
}
