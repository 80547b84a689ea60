//! One way to start and to check a verification on every surface, so that an attack is written once and run on each.
//!
//! What a surface makes of an attack is read in its own words and told in these few: right, wrong, over, refused. What
//! really happened is asked over gRPC, whatever the surface that was attacked.

pub(crate) mod letters;

use std::net::SocketAddr;

use serde_json::{Value, json};
use tonic::transport::Channel;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, ListVerificationsRequest, StartVerificationRequest, Verification,
};

use crate::support::gateway::{
    CONFIG, Credentials, Gateway, Messages, Verifications, by_id, phone, reason, start, start_now,
};
use crate::support::http::{Answer, call};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Surface {
    Grpc,
    Json,
    Esms,
    Hasun,
    Octopush,
    Simpu,
}

/// A tenant of [`house`], and its credentials as each surface takes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenant {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    /// By which one surface knows who its texts are from.
    pub(crate) mask: &'static str,
}

pub(crate) const ACME: Tenant = Tenant { id: "acme", secret: "acme-secret-of-some-length", mask: "ACMEMASK" };
pub(crate) const OTHER: Tenant = Tenant { id: "other", secret: "other-secret-of-some-length", mask: "OTHRMASK" };

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// Not judged any more: used, exhausted, locked or not known.
    Over,
    /// Not judged: there is something wrong with the call. How the surface says so.
    Refused(String),
}

/// A tenant's client of a surface.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) surface: Surface,
    tenant: Tenant,
    http: SocketAddr,
    grpc: Verifications,
    messages: Messages,
}

/// A started verification, as its surface names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) phone: String,
    /// Nothing where only the number names it.
    pub(crate) name: String,
}

/// A gateway whose two tenants may use every surface.
pub(crate) async fn house() -> Gateway {
    Gateway::start_with(&open_house()).await
}

/// The configuration of [`house`].
pub(crate) fn open_house() -> String {
    let config = CONFIG
        .replace("brand = \"Acme\"\n", "brand = \"Acme\"\nreturn_code = true\n")
        .replace("name = \"other\"\n", "name = \"other\"\nreturn_code = true\n")
        // A thousand wrong codes of a tenant are many elsewhere.
        .replace("[guard]\n", "[guard]\ntenant_failures = { mode = \"off\" }\n");
    let masks = "[rest.hasun.masks]\nacme = { ACMEMASK = \"ACME\" }\nother = { OTHRMASK = \"OTHER\" }\n";
    format!("{config}\n{masks}")
}

/// Numbers of a country that every surface serves, none of which the inbox has orders for.
pub(crate) fn number(turn: usize) -> String {
    format!("+9477{:07}", 1_000_100 + turn / 900 * 1000 + turn % 900)
}

// === impl Surface ===

impl Surface {
    pub(crate) const ALL: [Self; 6] = [Self::Grpc, Self::Json, Self::Esms, Self::Hasun, Self::Octopush, Self::Simpu];

    /// The scope that a start over the surface has, where it has one of its own.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Self::Esms => "7",
            Self::Hasun => ACME.mask,
            Self::Grpc | Self::Json | Self::Octopush | Self::Simpu => "",
        }
    }

    /// How the surface names a verification that was started over another one.
    pub(crate) fn name_of(self, id: &str) -> String {
        match self {
            Self::Grpc | Self::Json => id.to_owned(),
            Self::Esms | Self::Hasun => String::new(),
            Self::Octopush => format!("otp_{}", id.replace('-', "")),
            Self::Simpu => id.replace('-', ""),
        }
    }
}

// === impl Client ===

impl Client {
    pub(crate) async fn new(gateway: &Gateway, surface: Surface, tenant: Tenant) -> Self {
        Self::on(gateway.channel().await, gateway.addresses.http, surface, tenant)
    }

    /// Of a server that listens there, whether it runs in this process or not.
    pub(crate) fn on(grpc: Channel, http: SocketAddr, surface: Surface, tenant: Tenant) -> Self {
        let key = Credentials::new(&format!("{}.{}", tenant.id, tenant.secret));
        let messages = MessagingServiceClient::with_interceptor(grpc.clone(), key.clone());
        Self { surface, tenant, http, grpc: VerificationServiceClient::with_interceptor(grpc, key), messages }
    }

    /// The same tenant over gRPC.
    pub(crate) fn verifications(&self) -> Verifications {
        self.grpc.clone()
    }

    /// Where surfaces over HTTP are.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The same tenant at another surface.
    pub(crate) fn at(&self, surface: Surface) -> Self {
        Self { surface, ..self.clone() }
    }

    /// Starts a verification of a code of six digits with five checks. Errors: how the surface refuses.
    pub(crate) async fn start(&self, phone: &str, key: Option<&str>) -> Result<Begun, String> {
        if self.surface == Surface::Grpc {
            let idempotency_key = key.unwrap_or_default().to_owned();
            let request = StartVerificationRequest { idempotency_key, ..start(phone) };
            let started = start_now(&mut self.grpc.clone(), request).await;
            let begun = |name: String| Begun { phone: phone.to_owned(), name };
            return started.map(|started| begun(started.id)).map_err(|refused| reason(&refused));
        }
        self.read_begun(phone, &self.send_start(phone, key).await)
    }

    /// What the surface says of a start. Errors: how it refuses.
    pub(crate) fn read_begun(&self, phone: &str, answer: &Answer) -> Result<Begun, String> {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let named = match self.surface {
            Surface::Esms if body["status"] == 0 => Some(&body["id"]),
            Surface::Json if answer.status == 200 => Some(&body["verification"]["id"]),
            Surface::Octopush if answer.status == 201 => Some(&body["otp_request_token"]),
            Surface::Simpu if answer.status == 200 => Some(&body["id"]),
            Surface::Hasun if answer.status == 200 => Some(&body["otp_code"]),
            _ => None,
        };
        let named = named.ok_or_else(|| answer.body.clone())?;
        let name = named.as_str().map_or_else(|| named.to_string(), str::to_owned);
        Ok(Begun { phone: phone.to_owned(), name })
    }

    /// The call that starts, with the number written as it is given.
    pub(crate) async fn send_start(&self, phone: &str, key: Option<&str>) -> Answer {
        let (path, body) = self.begin_call(phone);
        self.post("POST", &path, key, &body).await
    }

    /// Where that call goes, and what it says.
    pub(crate) fn begin_call(&self, phone: &str) -> (String, Value) {
        let digits = phone.strip_prefix('+').unwrap_or(phone);
        let Tenant { id, secret, mask } = self.tenant;
        match self.surface {
            Surface::Grpc => unreachable!("speaks no JSON"),
            Surface::Json => {
                let body = json!({"recipient": {"phone": phone}, "delivery_wait": "5s"});
                ("/v1/verifications".to_owned(), body)
            }
            Surface::Esms => {
                let body = json!({
                    "api-key": id, "api-secret": secret, "phone": digits, "brand-name": "Acme",
                    "app-id": Surface::Esms.scope(),
                });
                ("/esms/sms/otp/generate".to_owned(), body)
            }
            Surface::Hasun => {
                let number = digits.strip_prefix("94").map_or_else(|| phone.to_owned(), |rest| format!("0{rest}"));
                let path = format!("/hasun/{id}/verification/otp/sms/send");
                (path, json!({"mask_token": mask, "number": number}))
            }
            Surface::Octopush => {
                let body = json!({"phone_number": phone, "max_wrong_attempts": 5});
                ("/octopush/service/otp/generate".to_owned(), body)
            }
            Surface::Simpu => ("/simpu/otp/request_token".to_owned(), json!({"recipient": digits, "length": 6})),
        }
    }

    /// Checks a candidate.
    pub(crate) async fn check(&self, begun: &Begun, candidate: &str) -> Verdict {
        self.check_with(begun, &json!(candidate), None).await
    }

    /// Checks whatever is written in a candidate's place. Where candidates are numbers, one of digits is written as one.
    pub(crate) async fn check_with(&self, begun: &Begun, candidate: &Value, key: Option<&str>) -> Verdict {
        if self.surface == Surface::Grpc {
            let code = candidate.as_str().map_or_else(|| candidate.to_string(), str::to_owned);
            let idempotency_key = key.unwrap_or_default().to_owned();
            let request = CheckVerificationRequest { idempotency_key, ..by_id(&begun.name, &code) };
            return match self.grpc.clone().check_verification(request).await {
                Ok(answer) => of_outcome(answer.into_inner().outcome()),
                Err(refused) => Verdict::Refused(reason(&refused)),
            };
        }
        let (method, path, body) = self.check_call(begun, candidate);
        self.read(&self.post(method, &path, key, &body).await)
    }

    /// The call that checks.
    pub(crate) fn check_call(&self, begun: &Begun, candidate: &Value) -> (&'static str, String, Value) {
        let Begun { phone, name } = begun;
        let digits = phone.trim_start_matches('+');
        let Tenant { id, secret, mask } = self.tenant;
        match self.surface {
            Surface::Grpc => unreachable!("speaks no JSON"),
            Surface::Json => ("POST", format!("/v1/verifications/{name}/check"), json!({"code": candidate})),
            Surface::Esms => {
                let body = json!({
                    "api-key": id, "api-secret": secret, "phone": digits, "code": candidate,
                    "app-id": Surface::Esms.scope(),
                });
                ("POST", "/esms/sms/otp/verify".to_owned(), body)
            }
            Surface::Hasun => {
                let path = format!("/hasun/{id}/verification/otp/sms/validate");
                ("POST", path, json!({"mask_token": mask, "number": format!("0{}", &digits[2..]), "otp": candidate}))
            }
            Surface::Octopush => {
                let body = json!({"otp_request_token": name, "code": candidate});
                ("PUT", "/octopush/service/otp/validate".to_owned(), body)
            }
            Surface::Simpu => ("POST", "/simpu/otp/verify".to_owned(), json!({"token": candidate, "id": name})),
        }
    }

    /// What the surface says of a check.
    pub(crate) fn read(&self, answer: &Answer) -> Verdict {
        let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        // Each answer has a name of its own.
        for name in ["request_id", "id"] {
            body.as_object_mut().and_then(|fields| fields.remove(name));
        }
        let refused = || Verdict::Refused(format!("{} {body}", answer.status));
        match self.surface {
            Surface::Grpc => unreachable!("speaks no JSON"),
            Surface::Json => match body["outcome"].as_str().and_then(CheckOutcome::from_str_name) {
                Some(outcome) => of_outcome(outcome),
                None => refused(),
            },
            Surface::Esms => match body["status"].as_i64() {
                Some(0) => Verdict::Right,
                Some(16) => Verdict::Wrong,
                _ => refused(),
            },
            Surface::Hasun => match body["reason"].as_str() {
                Some("verified") => Verdict::Right,
                Some("invalid") => Verdict::Wrong,
                Some("max_attempts" | "already_used" | "not_found" | "expired") => Verdict::Over,
                _ => refused(),
            },
            Surface::Octopush => match (answer.status, body["code"].as_i64()) {
                (200, Some(0)) => Verdict::Right,
                (400, Some(199)) if body["remaining_number_of_attempts"] != 0 => Verdict::Wrong,
                (400, Some(196 | 198 | 199)) => Verdict::Over,
                _ => refused(),
            },
            Surface::Simpu => match (answer.status, body["message"].as_str()) {
                (200, _) => Verdict::Right,
                (404, Some("Invalid token")) => Verdict::Wrong,
                (404, Some(_)) => Verdict::Over,
                _ => refused(),
            },
        }
    }

    /// The newest verification of a number, as gRPC tells it to the tenant.
    pub(crate) async fn newest(&self, phone: &str) -> Option<Verification> {
        let recipient = Some(self::phone(phone));
        let request = ListVerificationsRequest { recipient, ..ListVerificationsRequest::default() };
        let page = self.grpc.clone().list_verifications(request).await.unwrap().into_inner();
        page.verifications.into_iter().next()
    }

    pub(crate) async fn post(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let fields = self.fields(key);
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        call(self.http, method, path, &fields, body.to_string()).await
    }

    /// The lines of the head.
    pub(crate) fn fields(&self, key: Option<&str>) -> Vec<String> {
        let Tenant { id, secret, .. } = self.tenant;
        let mut fields = vec![format!("Host: {}", self.http), "Content-Type: application/json".to_owned()];
        fields.extend(match self.surface {
            Surface::Grpc | Surface::Esms => vec![],
            Surface::Json => vec![format!("Authorization: Bearer {id}.{secret}")],
            Surface::Hasun => vec![format!("Authorization: Bearer {secret}")],
            Surface::Octopush => vec![format!("api-login: {id}"), format!("api-key: {secret}")],
            Surface::Simpu => vec![format!("Authorization: {id}.{secret}")],
        });
        fields.extend(key.map(|key| format!("Idempotency-Key: {key}")));
        fields
    }
}

fn of_outcome(outcome: CheckOutcome) -> Verdict {
    match outcome {
        CheckOutcome::Approved => Verdict::Right,
        CheckOutcome::WrongCode => Verdict::Wrong,
        _ => Verdict::Over,
    }
}
