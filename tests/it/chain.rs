//! Verigate in front of Verigate: one instance whose vendor is another one's dialect, so that our adapter and our dialect
//! of the same vendor have to agree on every byte.

use verigate::proto::verification::v1::CheckOutcome;

use crate::support::gateway::{CONFIG, Gateway, PHONE, check, wrong};

/// A vendor's number, for the one vendor that reaches no other country.
const SRI_LANKAN: &str = "+94771234567";

const ESMS: &str = "kind = 'esms'\nuser = 'acme'\npass = 'acme-secret-of-some-length'\napp_ids = { acme = 1 }\n\
                    base_url = 'http://ADDRESS/esms'";
const HASUN: &str = "kind = 'hasun'\ntoken = 'acme-secret-of-some-length'\norganisation_token = 'acme'\n\
                     mask_token = 'FD43GDET'\nbase_url = 'http://ADDRESS/hasun'";
const OCTOPUSH: &str = "kind = 'octopush'\napi_login = 'acme'\napi_key = 'acme-secret-of-some-length'\n\
                        base_url = 'http://ADDRESS/octopush'";
const SIMPU: &str = "kind = 'simpu'\napi_key = 'acme.acme-secret-of-some-length'\nsender_id = 'Acme'\n\
                     base_url = 'http://ADDRESS/simpu'";

/// The one that a vendor's clients meet. It may give codes back, for one of the dialects has to.
async fn behind() -> Gateway {
    let config = CONFIG.replacen("brand = \"Acme\"", "brand = \"Acme\"\nreturn_code = true", 1);
    Gateway::start_with(&format!("{config}\n[rest.hasun.masks.acme]\nFD43GDET = 'ACME'\n")).await
}

/// A gateway that sends SMS through `vendor`, a table of which ADDRESS is the other one's http listener.
async fn in_front_of(behind: &Gateway, vendor: &str, codes: &str) -> Gateway {
    let (head, _) = CONFIG.split_once("[vendors.inbox]").unwrap();
    // The other tenant has no place at a vendor that asks for one.
    let vendor = vendor.replace("ADDRESS", &behind.addresses.http.to_string());
    let route =
        format!("[[routes]]\nchannel = \"sms\"\nvendors = [\"next\"]\ncodes = \"{codes}\"\ntenants = [\"acme\"]\n");
    Gateway::start_with(&format!("{head}\n[vendors.next]\n{vendor}\n{route}")).await
}

/// A code goes through both, be it of the first one's own or made by the second, and is checked by the first.
async fn passes_through(vendor: &str, phone: &str) {
    for codes in ["own", "vendor"] {
        let behind = behind().await;
        let front = in_front_of(&behind, vendor, codes).await;
        let mut client = front.verifications().await;
        let verification = front.begin(&mut client, phone).await;
        let code = behind.code(phone).await;
        let answer = check(&mut client, &verification.id, &wrong(&code, 0)).await.unwrap();
        assert_eq!(answer.outcome(), CheckOutcome::WrongCode, "{codes}");
        let answer = check(&mut client, &verification.id, &code).await.unwrap();
        assert_eq!(answer.outcome(), CheckOutcome::Approved, "{codes}");
        let answer = check(&mut client, &verification.id, &code).await.unwrap();
        assert_eq!(answer.outcome(), CheckOutcome::AlreadyApproved, "{codes}");
        assert_eq!(behind.inbox(phone).await.len(), 1, "{codes}");
    }
}

#[tokio::test]
async fn esms() {
    passes_through(ESMS, PHONE).await;
}

#[tokio::test]
async fn hasun() {
    passes_through(HASUN, SRI_LANKAN).await;
}

#[tokio::test]
async fn octopush() {
    passes_through(OCTOPUSH, PHONE).await;
}

#[tokio::test]
async fn simpu() {
    passes_through(SIMPU, PHONE).await;
}
