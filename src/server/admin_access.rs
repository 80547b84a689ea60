//! Who may see what is on the admin listener: HTTP Basic, which browsers and scrapers speak alike, or the password alone
//! as a bearer token.
//!
//! Knows the hash of the password only, and compares it in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use secrecy::zeroize::Zeroizing;
use subtle::ConstantTimeEq;

use crate::auth::secret::SecretHash;
use crate::config::transport::AdminAccess;
use crate::console::operator::Operator;

/// The credentials that are asked for.
#[derive(Debug)]
pub(crate) struct Admission {
    user: String,
    hash: SecretHash,
}

// === impl Admission ===

impl Admission {
    /// `None` where none are asked for.
    pub(crate) fn new(config: &AdminAccess) -> Option<Self> {
        Some(Self { user: config.user.clone(), hash: config.hash()? })
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else { return false };
        let rest = rest.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.hash.is_of(rest).into();
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Some(pair) = STANDARD.decode(rest).ok().map(Zeroizing::new) else { return false };
        let Some((user, password)) = std::str::from_utf8(&pair).ok().and_then(|pair| pair.split_once(':')) else {
            return false;
        };
        // Both are looked at, whichever is wrong.
        let known = user.as_bytes().ct_eq(self.user.as_bytes());
        bool::from(self.hash.is_of(password) & known)
    }
}

/// Lets those pass who have the credentials. For `from_fn_with_state`.
pub(crate) async fn guard(State(admission): State<Arc<Admission>>, mut request: Request, next: Next) -> Response {
    if admission.admits(request.headers()) {
        request.extensions_mut().insert(Operator::new(&admission.user));
        return next.run(request).await;
    }
    metrics::counter!("verigate_admin_refused_total").increment(1);
    let wanted = [
        (header::WWW_AUTHENTICATE, "Basic realm=\"Verigate\", charset=\"UTF-8\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::UNAUTHORIZED, wanted, "the user and the password of server.admin_access are needed\n").into_response()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn admits(values: &[&str]) -> bool {
        let admission = Admission { user: "ops".to_owned(), hash: SecretHash::of("pass:word é") };
        let values = values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
        admission.admits(&values.collect())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn the_user_and_the_password_open_and_nothing_else() {
        assert!(admits(&[&basic("ops:pass:word é")]));
        assert!(admits(&[&basic("ops:pass:word é").replace("Basic ", "bAsIc  ")]));
        for wrong in ["ops:pass:word", "ops:", "ops", ":pass:word é", "Ops:pass:word é", "opsx:pass:word é", ""] {
            assert!(!admits(&[&basic(wrong)]), "{wrong}");
        }
        let good = basic("ops:pass:word é");
        for wrong in ["", "Basic", "Basic ", "Basic !", "ops:pass:word é", &good[6..], &good.replace("Basic", "Digest")]
        {
            let wrong = wrong.replace('é', "e");
            assert!(!admits(&[&wrong]), "{wrong}");
        }
        assert!(!admits(&[]) && !admits(&[&good, &good]));
    }

    #[test]
    fn the_password_opens_alone() {
        let admission = Admission { user: "ops".to_owned(), hash: SecretHash::of("token") };
        let admits = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            admission.admits(&[(header::AUTHORIZATION, value)].into_iter().collect())
        };
        assert!(admits("Bearer token") && admits("bearer token"));
        for wrong in ["Bearer", "Bearer ", "Bearer Token", "Bearer ops:token", "Bearer ops.token", "Token token"] {
            assert!(!admits(wrong), "{wrong}");
        }
    }
}
