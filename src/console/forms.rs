//! What guards the buttons of the console: nothing changes but by a form that one of our own pages showed to the same
//! person.
//!
//! Another site can make a browser send a form here, with the person's password and all. It cannot make the browser lie
//! about where the form comes from (`Origin`, `Sec-Fetch-Site`), nor read the token that our pages carry; a form must pass
//! both. Does not know what any form is for.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::{Markup, html};
use ring::hmac;

use crate::console::operator::Operator;
use crate::console::shell::{Nav, refusal, trouble};
use crate::error::{Error, Result};
use crate::random::Random;

/// Longest form, in bytes.
const LONGEST: usize = 16 * 1024;

/// What the middleware knows.
#[derive(Debug)]
pub(crate) struct Gate {
    key: hmac::Key,
    nav: Nav,
}

/// A person who is looking at a page.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) operator: Operator,
    pub(crate) nav: Nav,
    token: Arc<str>,
}

/// The fields of a form that was let in.
#[derive(Clone)]
pub(crate) struct Form(Vec<(String, String)>);

// === impl Gate ===

impl Gate {
    /// Tokens hold as long as the process lives.
    pub(crate) fn new(random: &dyn Random, nav: Nav) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), nav }
    }

    fn visit(&self, operator: Operator) -> Visit {
        let tag = hmac::sign(&self.key, operator.as_str().as_bytes());
        Visit { token: URL_SAFE_NO_PAD.encode(tag).into(), nav: self.nav, operator }
    }

    /// In constant time.
    fn knows(&self, operator: &Operator, token: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.key, operator.as_str().as_bytes(), &tag).is_ok()
    }
}

/// Lets pages pass, and forms that come from them. For `from_fn_with_state`.
pub(crate) async fn admit(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let visit = gate.visit(request.extensions().get::<Operator>().cloned().unwrap_or_default());
    request.extensions_mut().insert(visit.clone());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        request = match read(&gate, &visit, request).await {
            Ok(request) => request,
            Err((status, why)) => return (status, refusal(visit.nav, why)).into_response(),
        };
    }
    let mut response = next.run(request).await;
    // The handlers know no visit when they fail, so the page of an error is made here.
    match response.extensions_mut().remove::<Arc<Error>>() {
        Some(error) => (response.status(), trouble(visit.nav, &error)).into_response(),
        None => response,
    }
}

async fn read(gate: &Gate, visit: &Visit, request: Request) -> Result<Request, (StatusCode, &'static str)> {
    if !is_from_us(request.uri(), request.headers()) {
        return Err((StatusCode::FORBIDDEN, "This form was sent by another site, or by a program that does not say."));
    }
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, LONGEST).await.map_err(|_| (StatusCode::PAYLOAD_TOO_LARGE, "This form is too long."))?;
    let form = Form(form_urlencoded::parse(&bytes).into_owned().collect());
    if !gate.knows(&visit.operator, form.text("token").unwrap_or_default()) {
        return Err((StatusCode::FORBIDDEN, "This form is from before the last restart, or from no page of ours."));
    }
    parts.extensions.insert(form);
    Ok(Request::from_parts(parts, Body::empty()))
}

/// Whether the browser says that the form stands on a page of this very listener. One that says nothing is no browser of
/// today.
fn is_from_us(target: &Uri, headers: &HeaderMap) -> bool {
    let all =
        |name: header::HeaderName| headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default());
    // By HTTP/2 the listener is named in the target, and there need be no `Host`.
    let named = target.authority().map(Authority::as_str);
    let host = named.or_else(|| headers.get(header::HOST)?.to_str().ok()).unwrap_or_default();
    let is_ours = |origin: &str| {
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        place.is_some_and(|place| place.eq_ignore_ascii_case(host))
    };
    let mut origins = all(header::ORIGIN).map(is_ours);
    let mut sites = all(header::HeaderName::from_static("sec-fetch-site")).map(|site| site == "same-origin");
    let says = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    says && origins.all(|ours| ours) && sites.all(|ours| ours)
}

// === impl Visit ===

impl Visit {
    /// To stand in every form.
    pub(crate) fn token(&self) -> Markup {
        html! { input type="hidden" name="token" value=(self.token); }
    }
}

// === impl Form ===

impl Form {
    /// A field that was filled in, without blanks around it.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Errors: `Invalid`, field `name`.
    pub(crate) fn required(&self, name: &str) -> Result<&str> {
        self.text(name).ok_or_else(|| Error::invalid(name, "must be filled in"))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::random::OsRandom;

    fn from_us(fields: &[(&'static str, &'static str)]) -> bool {
        let host = [("host", "127.0.0.1:9090")];
        let fields = host.iter().chain(fields);
        let fields = fields.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        is_from_us(&Uri::from_static("/try"), &fields.collect())
    }

    #[test]
    fn only_what_says_that_it_is_from_here_is_from_here() {
        let (ours, same) = (("origin", "http://127.0.0.1:9090"), ("sec-fetch-site", "same-origin"));
        assert!(from_us(&[ours]) && from_us(&[same]) && from_us(&[ours, same]));
        assert!(from_us(&[("origin", "https://127.0.0.1:9090")]), "behind a proxy that adds TLS");
        for wrong in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://127.0.0.1:9091")],
            &[("origin", "http://127.0.0.1:9090.evil.example")],
            &[("origin", "http://evil.example"), same],
            &[ours, ("origin", "http://evil.example")],
            &[ours, ("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!from_us(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_for_one_person_of_one_process() {
        let (gate, other) = (Gate::new(&OsRandom, Nav::default()), Gate::new(&OsRandom, Nav::default()));
        let (ann, bob) = (Operator::new("ann"), Operator::new("bob"));
        let token = gate.visit(ann.clone()).token;
        assert!(gate.knows(&ann, &token));
        assert!(!gate.knows(&bob, &token) && !other.knows(&ann, &token));
        assert!(!gate.knows(&ann, "") && !gate.knows(&ann, &token[1..]) && !gate.knows(&ann, "!"));
    }
}
