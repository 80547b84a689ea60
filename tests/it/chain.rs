//! Verigate in front of Verigate: one instance whose vendor is another one's dialect, so that our adapter and our dialect
//! of the same vendor have to agree on every byte.

use crate::support::gateway::{CONFIG, Gateway, PHONE, check, wrong};
use verigate::proto::verification::v1::CheckOutcome;

/// A gateway that sends SMS through `vendor`, a table of which ADDRESS is the other one's http listener.
async fn in_front_of(behind: &Gateway, vendor: &str) -> Gateway {
    let (head, _) = CONFIG.split_once("[vendors.inbox]").unwrap();
    let vendor = vendor.replace("ADDRESS", &behind.addresses.http.to_string());
    let route = "[[routes]]\nchannel = \"sms\"\nvendors = [\"next\"]\n";
    Gateway::start_with(&format!("{head}\n[vendors.next]\n{vendor}\n{route}")).await
}

/// A code of the first one's own goes through both, and is checked by the first alone.
async fn passes_through(vendor: &str) {
    let behind = Gateway::start().await;
    let front = in_front_of(&behind, vendor).await;
    let mut client = front.verifications().await;
    let verification = front.begin(&mut client, PHONE).await;
    assert_eq!(verification.sends.len(), 1, "{verification:?}");
    let code = behind.code(PHONE).await;
    let answer = check(&mut client, &verification.id, &wrong(&code, 0)).await.unwrap();
    assert_eq!(answer.outcome(), CheckOutcome::WrongCode);
    let answer = check(&mut client, &verification.id, &code).await.unwrap();
    assert_eq!(answer.outcome(), CheckOutcome::Approved);
    assert_eq!(behind.inbox(PHONE).await.len(), 1);
}

#[tokio::test]
async fn esms() {
    passes_through(
        "kind = 'esms'\nuser = 'acme'\npass = 'acme-secret-of-some-length'\nbase_url = 'http://ADDRESS/esms'\n",
    )
    .await;
}

#[tokio::test]
async fn simpu() {
    passes_through(
        "kind = 'simpu'\napi_key = 'acme.acme-secret-of-some-length'\nsender_id = 'Front'\n\
         base_url = 'http://ADDRESS/simpu'\n",
    )
    .await;
}
