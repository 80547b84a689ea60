//! One way to send a text on every surface, and to hear from that surface what became of it.

use serde_json::{Value, json};
use verigate::proto::messaging::v1::{GetMessageRequest, ListMessagesRequest, Message, MessageStatus};

use crate::attacks::surfaces::{Client, Surface, Tenant};
use crate::support::gateway::{phone, reason, text_to};
use crate::support::http::{Answer, get};
use crate::support::vendor_server::Recorded;

/// What a surface says became of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Sent,
    Delivered,
    Failed,
}

// === impl Surface ===

impl Surface {
    /// Whether it calls whoever wants to know what became of a text. Others are asked.
    pub(crate) fn reports(self) -> bool {
        matches!(self, Self::Esms | Self::Octopush | Self::Simpu)
    }

    /// What such a call says.
    pub(crate) fn read_report(self, report: &Recorded) -> Fate {
        let (query, body) = (report.target.clone(), report.json());
        let word = match self {
            Self::Esms => query.split(['?', '&']).find_map(|part| part.strip_prefix("s=")),
            Self::Octopush => body["status"].as_str(),
            Self::Simpu => body["status_desc"].as_str(),
            Self::Grpc | Self::Json | Self::Hasun => unreachable!("is asked"),
        };
        match word {
            Some("DELIVRD" | "DELIVERED") => Fate::Delivered,
            Some("UNDELIV" | "NOT_DELIVERED" | "FAILED") => Fate::Failed,
            _ => panic!("{self:?} reports {report:?}"),
        }
    }
}

// === impl Client ===

impl Client {
    /// Sends a text and returns the surface's name for it. `report`: whom to tell what became of it, on surfaces where a
    /// call says so. Errors: how the surface refuses.
    pub(crate) async fn send_text(&self, phone: &str, text: &str, report: &str) -> Result<String, String> {
        if self.surface == Surface::Grpc {
            let sent = self.messages.clone().send_message(text_to(phone, text)).await;
            return sent
                .map(|sent| sent.into_inner().message.unwrap().id)
                .map_err(|refused| format!("{} {}", reason(&refused), refused.message()));
        }
        let answer = self.call_with_text(phone, text, report).await;
        self.read_name(&answer).ok_or_else(|| answer.body.clone())
    }

    /// The call that sends it.
    pub(crate) async fn call_with_text(&self, phone: &str, text: &str, report: &str) -> Answer {
        let (path, body) = self.text_call(phone, text, report);
        self.post("POST", &path, None, &body).await
    }

    /// Where that call goes, and what it says.
    pub(crate) fn text_call(&self, phone: &str, text: &str, report: &str) -> (String, Value) {
        let digits = phone.trim_start_matches('+');
        let Tenant { id, secret, mask } = self.tenant;
        match self.surface {
            Surface::Grpc => unreachable!("speaks no JSON"),
            Surface::Json => ("/v1/messages".to_owned(), json!({"recipient": {"phone": phone}, "text": text})),
            Surface::Esms => {
                let mut body = json!({"user": id, "pass": secret, "to": digits, "msg": text});
                if !report.is_empty() {
                    (body["dlr"], body["dlr-url"]) = (json!(1), json!(report));
                }
                ("/esms/sms/send".to_owned(), body)
            }
            Surface::Hasun => {
                (format!("/hasun/{id}/sms/send"), json!({"mask_token": mask, "number": phone, "message": text}))
            }
            // Whom to tell is a setting of the account.
            Surface::Octopush => {
                ("/octopush/sms-campaign/send".to_owned(), json!({"recipients": [phone], "text": text}))
            }
            Surface::Simpu => {
                let mut body = json!({"recipients": digits, "sender_id": "Acme", "content": text});
                if !report.is_empty() {
                    body["callback"] = json!(report);
                }
                ("/simpu/sms/send".to_owned(), body)
            }
        }
    }

    /// The surface's name for a text that it took; nothing where it did not.
    fn read_name(&self, answer: &Answer) -> Option<String> {
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let name = match self.surface {
            Surface::Grpc => unreachable!("speaks no JSON"),
            Surface::Json => &body["message"]["id"],
            Surface::Esms if body["status"] != 0 => return None,
            Surface::Esms | Surface::Simpu => &body["id"],
            Surface::Hasun => &body["message_uuid"],
            Surface::Octopush => &body["sms_ticket"],
        };
        name.as_str().map(str::to_owned)
    }

    /// What a surface that is asked says of a text by its name for it.
    pub(crate) async fn ask_fate(&self, name: &str) -> Fate {
        let Tenant { id, mask, .. } = self.tenant;
        let status = match self.surface {
            Surface::Grpc => {
                let request = GetMessageRequest { id: name.to_owned() };
                let message = self.messages.clone().get_message(request).await.unwrap().into_inner().message.unwrap();
                return of_status(message.status());
            }
            Surface::Json => {
                let fields = self.fields(None);
                let fields: Vec<_> = fields.iter().map(String::as_str).collect();
                let answer = get(self.http, &format!("/v1/messages/{name}"), &fields).await;
                let body: Value = serde_json::from_str(&answer.body).unwrap();
                let status = body["message"]["status"].as_str().and_then(MessageStatus::from_str_name);
                return of_status(status.unwrap_or_else(|| panic!("{answer:?}")));
            }
            Surface::Hasun => {
                let body = json!({"mask_token": mask, "message_uuid": name});
                let answer = self.post("POST", &format!("/hasun/{id}/sms/status"), None, &body).await;
                serde_json::from_str::<Value>(&answer.body).unwrap()["status"].clone()
            }
            Surface::Esms | Surface::Octopush | Surface::Simpu => unreachable!("reports"),
        };
        match status.as_str() {
            Some("pending" | "sent") => Fate::Sent,
            Some("delivered") => Fate::Delivered,
            Some("failed") => Fate::Failed,
            _ => panic!("{:?} says {status}", self.surface),
        }
    }

    /// The newest text to a number, as gRPC tells it to the tenant.
    pub(crate) async fn newest_text(&self, phone: &str) -> Option<Message> {
        let recipient = Some(self::phone(phone));
        let request = ListMessagesRequest { recipient, ..ListMessagesRequest::default() };
        let page = self.messages.clone().list_messages(request).await.unwrap().into_inner();
        page.messages.into_iter().next()
    }
}

/// Of what may have arrived, that it was sent.
fn of_status(status: MessageStatus) -> Fate {
    match status {
        MessageStatus::Delivered => Fate::Delivered,
        MessageStatus::Queued | MessageStatus::Sending | MessageStatus::Sent | MessageStatus::Unknown => Fate::Sent,
        _ => Fate::Failed,
    }
}
