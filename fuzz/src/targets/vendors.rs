//! Every kind of vendor that speaks HTTP, set up as its users do, and described ones of each format of receipts.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use verigate::vendor::{Vendor, declarative, esms, hasun, octopush, simpu};

/// What operators copy descriptions from.
const DESCRIBED: &str = include_str!("../../../docs/vendors-by-configuration.toml");

/// What vendors know us by, and nobody else is to see.
pub(crate) const SECRET: &str = "vendor-secret-7f3a";

/// All of them. `url`: where they are called.
pub(crate) fn all(url: &str) -> Vec<Arc<dyn Vendor>> {
    let esms = json!({"base_url": url, "user": "acme", "pass": SECRET, "app_ids": {"acme": 7}});
    let hasun = json!({"base_url": url, "token": SECRET, "organisation_token": "org", "mask_token": "MASK"});
    let octopush = json!({"base_url": url, "api_login": "acme", "api_key": SECRET});
    let simpu = json!({"base_url": url, "api_key": SECRET, "sender_id": "Acme", "channels": ["sms", "whatsapp"]});
    let mut vendors: Vec<Arc<dyn Vendor>> = vec![
        Arc::new(read::<esms::Config>(esms).build("esms").unwrap()),
        Arc::new(read::<hasun::Config>(hasun).build("hasun").unwrap()),
        Arc::new(read::<octopush::Config>(octopush).build("octopush").unwrap()),
        Arc::new(read::<simpu::Config>(simpu).build("simpu").unwrap()),
    ];
    for description in [described("twilio", url), described("infobip", url), unsigned(url), asked(url)] {
        vendors.push(Arc::new(read::<declarative::Config>(description).build("described").unwrap()));
    }
    vendors
}

fn described(name: &str, url: &str) -> Value {
    let file: Value = toml::from_str(DESCRIBED).unwrap();
    let mut vendor = file["vendors"][name].clone();
    let members = vendor.as_object_mut().unwrap();
    members.remove("kind");
    members.remove("secret_file");
    members.insert("secret".to_owned(), json!(SECRET));
    members["url"] = json!(url);
    if let Some(feedback) = members.get_mut("feedback") {
        feedback["url"] = json!(format!("{url}feedback/{{id}}"));
    }
    vendor
}

/// A form without a signature.
fn unsigned(url: &str) -> Value {
    let mut vendor = described("twilio", url);
    vendor["receipt"].as_object_mut().unwrap().remove("signature");
    vendor
}

/// Reports in the query, under the vendor's name for the message.
fn asked(url: &str) -> Value {
    let mut vendor = described("twilio", url);
    vendor["receipt"] = json!({
        "format": "query", "id": "MessageSid", "status": ["MessageStatus"], "at": "At", "delivered": ["delivered"],
        "expired": ["expired"],
    });
    vendor
}

fn read<T: DeserializeOwned>(config: Value) -> T {
    serde_json::from_value(config).unwrap()
}
