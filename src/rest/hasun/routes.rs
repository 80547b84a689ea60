//! Which call is meant. Of the vendor's paths only `verification/otp/sms` is known, and that the organisation stands in
//! each: the rest is what such a service would have, and where two readings are as good, both lead here.

use http::Method;

/// What can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Status,
    Start,
    Check,
    Send,
    MessageStatus,
}

/// A call to an endpoint, and the organisation that it is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) organisation: String,
    pub(super) endpoint: Endpoint,
}

const ENDPOINTS: [(Method, &str, Endpoint); 10] = [
    (Method::GET, "status", Endpoint::Status),
    (Method::POST, "verification/otp/sms/send", Endpoint::Start),
    (Method::POST, "verification/otp/sms", Endpoint::Start),
    (Method::POST, "verification/otp/sms/validate", Endpoint::Check),
    (Method::POST, "verification/otp/sms/verify", Endpoint::Check),
    (Method::PUT, "verification/otp/sms/verify", Endpoint::Check),
    (Method::POST, "sms/send", Endpoint::Send),
    (Method::POST, "sms/status", Endpoint::MessageStatus),
    (Method::GET, "sms/status", Endpoint::MessageStatus),
    (Method::HEAD, "status", Endpoint::Status),
];

/// What base URLs may end with.
const VERSION: &str = "v1";

// === impl Route ===

impl Route {
    /// `segments`: of the path, decoded.
    pub(super) fn find(method: &Method, segments: Vec<String>) -> Option<Self> {
        let is_versioned = segments.first().is_some_and(|first| first == VERSION);
        let at = |start: usize| {
            let organisation = segments.get(start)?;
            let path = segments[start + 1..].join("/");
            let endpoint = ENDPOINTS.iter().find(|(wanted, place, _)| wanted == method && *place == path)?.2;
            Some(Self { organisation: organisation.clone(), endpoint })
        };
        // An organisation may have the name of a version.
        at(0).or_else(|| at(1).filter(|_| is_versioned))
    }
}

/// Whether a path is one of those that check codes, whose answers have a shape of their own.
pub(super) fn is_check(path: &str) -> bool {
    let checks = ENDPOINTS.iter().filter(|(_, _, endpoint)| *endpoint == Endpoint::Check);
    checks.into_iter().any(|(_, place, _)| path.strip_suffix(place).is_some_and(|before| before.ends_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(method: Method, path: &str) -> Option<(String, Endpoint)> {
        let segments = path.split('/').map(str::to_owned).collect();
        Route::find(&method, segments).map(|route| (route.organisation, route.endpoint))
    }

    #[test]
    fn a_version_may_stand_before_the_organisation() {
        let found = |organisation: &str, endpoint| Some((organisation.to_owned(), endpoint));
        assert_eq!(find(Method::GET, "org/status"), found("org", Endpoint::Status));
        assert_eq!(find(Method::GET, "v1/org/status"), found("org", Endpoint::Status));
        assert_eq!(find(Method::GET, "v1/status"), found("v1", Endpoint::Status));
        assert_eq!(find(Method::POST, "v1/sms/send"), found("v1", Endpoint::Send));
        for path in ["", "status", "v2/org/status", "v1/v1/org/status", "org/status/x", "org"] {
            assert_eq!(find(Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn checks_are_known_by_their_path() {
        for path in ["org/verification/otp/sms/validate", "v1/org/verification/otp/sms/verify"] {
            assert!(is_check(path), "{path}");
        }
        for path in
            ["org/verification/otp/sms/send", "verification/otp/sms/validate", "org/xverification/otp/sms/verify"]
        {
            assert!(!is_check(path), "{path}");
        }
    }
}
