//! eSMS Malaysia (`api.esms.com.my`): plain SMS, codes that it makes and checks, delivery reports and the balance, all in
//! JSON.
//!
//! One recipient a call, no idempotency key, no validity period, no way to end a code. It does not send a sender name,
//! which this vendor has given up. Which of GSM-7 and Unicode a text needs (`type` 0 or 8) is left to the vendor, as its
//! page allows: it knows its operators' tables, and a wrong claim by us would garble the text. A plain text may have
//! several parts; only one with a code of the vendor's must fit into one.
//!
//! It keeps one live code for each app-id and phone number, and names none: the next start ends the one before, and a
//! check says only "right" or "wrong". Whoever calls has to know whose the place is. Tenants must not share one, so codes
//! are offered only to those that the configuration gives an app-id.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock::{Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::id::TenantName;
use crate::recipient::{Phone, Recipient};
use crate::vendor::esms::wire::{Answer, BalanceRequest, GenerateRequest, Msg, SendRequest, VerifyRequest, Wording};
use crate::vendor::http::{self, Client, HttpDoor, Timeouts};
use crate::vendor::{
    Accepted, Account, Balance, Capabilities, Channel, CodeFor, CodeHandle, CodeLimits, CodePlace, CodeRequest,
    CodeVerdict, Codes, Door, Failure, Outgoing, ReceiptCall, ReceiptReader, Rejection, Reported, Vendor,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Longest lifetime of a code (its status 14 beyond).
const MAX_LIFETIME: Duration = Duration::from_secs(9 * 60);

/// What a check says of a wrong code; perhaps also of one that is used, expired or was never made.
const WRONG_CODE: i64 = 16;

/// An account at eSMS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https`, or `http` to this machine. Default `https://api.esms.com.my`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The account's API key.
    pub user: SecretString,
    /// The account's API secret.
    pub pass: SecretString,
    /// An app-id of the account for each tenant that may have codes made by the vendor, no two alike. Default none.
    #[serde(default)]
    pub app_ids: BTreeMap<TenantName, u32>,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The adapter.
pub struct EsmsVendor {
    name: String,
    capabilities: Capabilities,
    code_limits: CodeLimits,
    client: Client,
    door: HttpDoor,
    send_url: Url,
    generate_url: Url,
    verify_url: Url,
    balance_url: Url,
    user: SecretString,
    pass: SecretString,
    account: String,
    app_ids: BTreeMap<TenantName, u32>,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<EsmsVendor> {
        for (field, secret) in [("user", &self.user), ("pass", &self.pass)] {
            if secret.expose_secret().trim().is_empty() {
                return Err(Error::invalid(field, "must not be empty"));
            }
        }
        let distinct: BTreeSet<_> = self.app_ids.values().collect();
        if distinct.contains(&0) || distinct.len() < self.app_ids.len() {
            let description =
                "must be numbers from 1, another for each tenant: who shares one can use the other's codes";
            return Err(Error::invalid("app_ids", description));
        }
        let base_url = http::parse_base_url(&self.base_url)?;
        let join = |path: &str| base_url.join(path).map_err(|error| Error::internal(error.to_string()));
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        let client = Client::new(name, timeouts)?;
        Ok(EsmsVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: false, receipts: true },
            code_limits: code_limits(),
            door: HttpDoor::new(&client, &base_url),
            client,
            send_url: join("sms/send")?,
            generate_url: join("sms/otp/generate")?,
            verify_url: join("sms/otp/verify")?,
            balance_url: join("sms/balance")?,
            account: http::account_name(&base_url, &self.user),
            user: self.user,
            pass: self.pass,
            app_ids: self.app_ids,
        })
    }
}

fn default_base_url() -> String {
    "https://api.esms.com.my".to_owned()
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

fn code_limits() -> CodeLimits {
    CodeLimits {
        channels: vec![Channel::Sms],
        lengths: wire::CODE_LENGTH..=wire::CODE_LENGTH,
        lifetimes: MINUTE..=MAX_LIFETIME,
        lifetime_step: MINUTE,
        letters: false,
        template: true,
        cancel: false,
    }
}

// === impl EsmsVendor ===

#[async_trait]
impl Vendor for EsmsVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let phone = to_phone(outgoing.channel, &outgoing.recipient)?;
        let text = outgoing.text.expose_secret();
        let receipt_url = outgoing.receipt_url.as_ref().map(ExposeSecret::expose_secret);
        let request = SendRequest {
            user: self.user.expose_secret(),
            pass: self.pass.expose_secret(),
            to: phone.digits(),
            msg: Msg::new(phone, text),
            dlr: receipt_url.map(|_| 1),
            dlr_url: receipt_url,
        };
        let answer = self.call(&self.send_url, &request, text).await?;
        self.accept(&answer)?;
        Ok(Accepted { vendor_reference: answer.id(), receipt: None })
    }

    fn codes(&self) -> Option<&dyn Codes> {
        (!self.app_ids.is_empty()).then_some(self)
    }

    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        Some(self)
    }

    fn door(&self) -> Option<&dyn Door> {
        Some(&self.door)
    }

    fn account(&self) -> Option<&dyn Account> {
        Some(self)
    }
}

#[async_trait]
impl Codes for EsmsVendor {
    fn limits(&self) -> &CodeLimits {
        &self.code_limits
    }

    fn serves(&self, tenant: &TenantName) -> bool {
        self.app_ids.contains_key(tenant)
    }

    fn takes(&self, request: &CodeRequest) -> bool {
        let phone = to_phone(request.channel, &request.recipient).ok();
        self.code_limits.allow(request) && phone.is_some_and(|phone| Wording::new(request, phone).is_some())
    }

    /// A recipient's codes from one tenant share a place at the vendor, whatever they are for: the last one counts. The
    /// handle keeps the app-id.
    fn place(&self, whom: &CodeFor<'_>) -> Option<CodePlace> {
        let phone = to_phone(whom.channel, whom.recipient).ok()?;
        let app_id = self.app_ids.get(whom.tenant)?;
        let handle = CodeHandle {
            vendor_reference: Some(app_id.to_string()),
            channel: whom.channel,
            recipient: whom.recipient.clone(),
        };
        Some(CodePlace { name: format!("{}/{app_id}/{}", self.account, phone.digits()), handle })
    }

    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure> {
        let phone = to_phone(request.channel, &request.recipient)?;
        let Some(app_id) = self.app_ids.get(&request.tenant).copied() else {
            tracing::warn!(vendor = %self.name, tenant = %request.tenant, "tenant has no app-id at this vendor");
            return Err(Failure::Rejected(Rejection::Unauthorized));
        };
        let refused = Failure::Rejected(Rejection::InvalidContent);
        if !self.code_limits.allow(request) {
            return Err(refused);
        }
        let body = GenerateRequest {
            api_key: self.user.expose_secret(),
            api_secret: self.pass.expose_secret(),
            phone: phone.digits(),
            wording: Wording::new(request, phone).ok_or(refused)?,
            duration: request.lifetime.as_secs() / MINUTE.as_secs(),
            app_id,
        };
        let answer = self.call(&self.generate_url, &body, "").await?;
        self.accept(&answer).map(|()| CodeHandle {
            // The answer's id names the request, not the code.
            vendor_reference: Some(app_id.to_string()),
            channel: request.channel,
            recipient: request.recipient.clone(),
        })
    }

    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure> {
        let phone = to_phone(handle.channel, &handle.recipient)?;
        let Some(app_id) = handle.vendor_reference.as_deref().and_then(|app_id| app_id.parse().ok()) else {
            return Ok(CodeVerdict::Unknown);
        };
        let candidate = candidate.expose_secret();
        // Nothing reaches the vendor that it could read as the number that a code is not.
        if candidate.len() != wire::CODE_LENGTH as usize || !candidate.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(CodeVerdict::Wrong { checks_left: None });
        }
        let request = VerifyRequest {
            api_key: self.user.expose_secret(),
            api_secret: self.pass.expose_secret(),
            phone: phone.digits(),
            code: candidate,
            app_id,
        };
        let answer = self.post(&self.verify_url, &request, candidate).await?;
        let answer = self.read(&answer).map_err(http::check_failure)?;
        if answer.status == WRONG_CODE {
            return Ok(CodeVerdict::Wrong { checks_left: None });
        }
        self.accept(&answer).map(|()| CodeVerdict::Right)
    }

    async fn cancel(&self, _: &CodeHandle) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Account for EsmsVendor {
    async fn balance(&self) -> Result<Balance, Failure> {
        let request = BalanceRequest { user: self.user.expose_secret(), pass: self.pass.expose_secret() };
        let answer = self.call(&self.balance_url, &request, "").await?;
        self.accept(&answer)?;
        answer.balance().ok_or_else(|| self.makes_no_sense())
    }
}

impl ReceiptReader for EsmsVendor {
    fn is_signed(&self) -> bool {
        false
    }

    fn names_ours(&self) -> bool {
        true
    }

    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        wire::parse_report(call, now)
    }
}

impl EsmsVendor {
    async fn call(&self, url: &Url, request: &impl Serialize, secret: &str) -> Result<Answer, Failure> {
        let answer = self.post(url, request, secret).await?;
        self.read(&answer)
    }

    async fn post(&self, url: &Url, request: &impl Serialize, secret: &str) -> Result<http::Answer, Failure> {
        let secrets = [self.user.expose_secret(), self.pass.expose_secret(), secret];
        let body = wire::to_bytes(request, &secrets).map_err(|_| Failure::Unavailable)?;
        self.client.exchange(Method::POST, url.clone(), HeaderMap::new(), Some(body)).await
    }

    fn read(&self, answer: &http::Answer) -> Result<Answer, Failure> {
        if let Err(failure) = answer.by_status.clone() {
            // The vendor documents none of these: its own refusals come with 200.
            tracing::warn!(vendor = %self.name, status = %answer.status, "vendor answered with an unexpected HTTP status");
            return Err(failure);
        }
        Answer::parse(answer.body.as_str()).ok_or_else(|| self.makes_no_sense())
    }

    fn accept(&self, answer: &Answer) -> Result<(), Failure> {
        if answer.status == 0 {
            return Ok(());
        }
        tracing::warn!(vendor = %self.name, status = answer.status, "vendor refused a call");
        Err(wire::parse_status(answer.status))
    }

    fn makes_no_sense(&self) -> Failure {
        tracing::warn!(vendor = %self.name, "vendor's answer makes no sense");
        Failure::Unknown
    }
}

fn to_phone(channel: Channel, recipient: &Recipient) -> Result<&Phone, Failure> {
    match (channel, recipient) {
        (Channel::Sms, Recipient::Phone(phone)) => Ok(phone),
        _ => Err(Failure::Rejected(Rejection::InvalidRecipient)),
    }
}

impl fmt::Debug for EsmsVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EsmsVendor")
            .field("name", &self.name)
            .field("send_url", &self.send_url.as_str())
            .finish_non_exhaustive()
    }
}
