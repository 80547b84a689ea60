//! A call as a description has it: method, URL, headers and body as templates, and the same filled in for one message.
//!
//! It knows neither what is called nor what an answer means.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::vendor::declarative::template::{Placeholder, Template, Tree, Values, keep, percent_encode};
use crate::vendor::http;

/// Headers that the call itself needs as they are.
const OWN_HEADERS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "content-type"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    #[default]
    Post,
    Put,
}

/// What a call is described by, in the words of the configuration.
pub(crate) struct Described {
    /// What the names of its keys begin with.
    pub(crate) prefix: &'static str,
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, SecretString>,
    pub(crate) json: Option<Value>,
    pub(crate) form: Option<BTreeMap<String, String>>,
}

/// A call, to be filled in. Has no `Debug`, for it may hold secrets.
pub(crate) struct Request {
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Body,
}

/// A call, filled in.
pub(crate) struct Filled {
    pub(crate) method: reqwest::Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

enum Body {
    None,
    Json(Tree),
    Form(Vec<(String, Template)>),
}

// === impl Described ===

impl Described {
    /// `known`: what may stand in its places. `username` and `secret`: whether the vendor has them.
    ///
    /// Errors: `Invalid`, naming the field.
    pub(crate) fn parse(self, known: &[Placeholder], username: bool, secret: bool) -> Result<Request> {
        let url = self.parse_url(known)?;
        let headers = self.parse_headers(known)?;
        if username && headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            let field = self.field("headers.authorization");
            return Err(Error::invalid(field, "must not be given together with username"));
        }
        let method = self.method;
        let request = Request { method, url, headers, body: self.parse_body(known)? };
        let placeholders = request.placeholders();
        let missing = |field, wanted: &str| Err(Error::invalid(field, wanted));
        if placeholders.contains(&Placeholder::Secret) && !secret {
            return missing("secret", "is missing, and {secret} stands for it");
        }
        if placeholders.contains(&Placeholder::Username) && !username {
            return missing("username", "is missing, and {username} stands for it");
        }
        Ok(request)
    }

    fn field(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn parse_url(&self, known: &[Placeholder]) -> Result<Template> {
        let (field, text) = (self.field("url"), self.url.as_str());
        let authority = text.find("://").map_or(0, |at| at + 3);
        let path = text[authority..].find(['/', '?', '#']).map_or(text.len(), |at| authority + at);
        if text[..path].contains(['{', '}']) {
            return Err(Error::invalid(field, "must hold placeholders only in its path and query"));
        }
        let query = text[path..].find('?').map_or(text.len(), |at| path + at);
        if !Template::parse(&field, &text[path..query], known)?.placeholders().all(Placeholder::fits_a_path) {
            return Err(Error::invalid(field, "must hold {text} and {sender} only in its query"));
        }
        let url = Template::parse(&field, text, known)?;
        http::parse_url(&field, &url.sample("1"))?;
        Ok(url)
    }

    fn parse_headers(&self, known: &[Placeholder]) -> Result<Vec<(HeaderName, Template)>> {
        let mut parsed = Vec::new();
        for (name, value) in &self.headers {
            let field = self.field(&format!("headers.{name}"));
            let header = HeaderName::from_bytes(name.as_bytes());
            let header = header.map_err(|_| Error::invalid(&field, "must have the name of a header"))?;
            if OWN_HEADERS.contains(&header.as_str()) {
                return Err(Error::invalid(&field, "is set by the call itself"));
            }
            let template = Template::parse(&field, value.expose_secret(), known)?;
            if HeaderValue::from_str(&template.sample("1")).is_err() {
                return Err(Error::invalid(&field, "must be visible ASCII characters on one line"));
            }
            parsed.push((header, template));
        }
        Ok(parsed)
    }

    fn parse_body(self, known: &[Placeholder]) -> Result<Body> {
        let field = self.field(if self.json.is_some() { "json" } else { "form" });
        if self.method == Method::Get && (self.json.is_some() || self.form.is_some()) {
            return Err(Error::invalid(field, "must not be given with GET, which has no body"));
        }
        match (self.json, self.form) {
            (Some(_), Some(_)) => Err(Error::invalid(field, "must not be given together with form")),
            (Some(json), None) => Tree::parse(&field, json, known).map(Body::Json),
            (None, Some(form)) => {
                let parse = |(name, text): (String, String)| {
                    Ok((Template::parse(&format!("{field}.{name}"), &text, known)?, name))
                };
                let fields = form.into_iter().map(parse).map(|parsed| parsed.map(|(template, name)| (name, template)));
                fields.collect::<Result<_>>().map(Body::Form)
            }
            (None, None) => Ok(Body::None),
        }
    }
}

// === impl Request ===

impl Request {
    pub(crate) fn placeholders(&self) -> Vec<Placeholder> {
        let headers = self.headers.iter().flat_map(|(_, value)| value.placeholders());
        self.url.placeholders().chain(headers).chain(self.body.placeholders()).collect()
    }

    /// Its URL with something in each place: of the same origin as all that it is filled to.
    pub(crate) fn sample_url(&self) -> Result<Url> {
        Url::parse(&self.url.sample("1")).map_err(Error::internal)
    }

    /// `None` when a value does not fit its place: a line break in a header.
    pub(crate) fn fill(&self, values: &Values<'_>) -> Option<Filled> {
        let method = match self.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let url = Url::parse(&self.url.fill(values, percent_encode)?).ok()?;
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let Some(value) = template.fill(values, keep) else { continue };
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        if let (Some(username), Some(secret)) = (values.username, values.secret) {
            let pair = STANDARD.encode(format!("{username}:{}", secret.expose_secret()));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (kind, body) = match &self.body {
            Body::None => return Some(Filled { method, url, headers, body: Vec::new() }),
            Body::Json(tree) => (http::JSON, serde_json::to_vec(&tree.fill(values)?).ok()?),
            Body::Form(fields) => ("application/x-www-form-urlencoded", fill_form(fields, values).into_bytes()),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Some(Filled { method, url, headers, body })
    }
}

/// Without the fields that there is nothing for.
fn fill_form(fields: &[(String, Template)], values: &Values<'_>) -> String {
    let mut body = String::new();
    for (name, template) in fields {
        let Some(value) = template.fill(values, keep) else { continue };
        if !body.is_empty() {
            body.push('&');
        }
        percent_encode(name, &mut body);
        body.push('=');
        percent_encode(&value, &mut body);
    }
    body
}

// === impl Body ===

impl Body {
    fn placeholders(&self) -> Vec<Placeholder> {
        match self {
            Self::None => Vec::new(),
            Self::Json(tree) => tree.placeholders(),
            Self::Form(fields) => fields.iter().flat_map(|(_, template)| template.placeholders()).collect(),
        }
    }
}
