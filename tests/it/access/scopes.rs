//! Every rpc with a key of each scope, over gRPC and as JSON.

use serde_json::json;
use tonic::Code;
use verigate::proto::verification::v1::StartVerificationRequest;
use verigate::rest::native::routes::{ROUTES, Route};

use crate::access::raw::{call, methods, path, request};
use crate::native_json::client::Caller;
use crate::support::gateway::{CONFIG, Gateway, PHONE, reason, start};

const SCOPES: [&str; 5] = ["verify", "send", "read", "admin", "return-code"];

/// A key for each scope alone, one for two of them, and one for all; of a tenant that may do everything.
pub(crate) fn config() -> String {
    let key = |scopes: &[&str]| {
        let id = scopes.join("+");
        format!("{{ id = \"{id}\", secret = \"{id}-secret-of-some-length\", scopes = {scopes:?} }}")
    };
    let keys: Vec<_> = SCOPES.iter().map(|scope| key(&[scope])).chain([key(&["verify", "return-code"])]).collect();
    let all = "{ id = \"acme\", secret = \"acme-secret-of-some-length\" }";
    CONFIG.replace(
        &format!("keys = [{all}]"),
        &format!("admin = true\nreturn_code = true\nkeys = [{all}, {}]", keys.join(", ")),
    )
}

pub(crate) fn key(id: &str) -> String {
    format!("{id}.{id}-secret-of-some-length")
}

/// The scopes of which a call needs one, as its service and name say.
fn wanted(rpc: &str) -> &'static [&'static str] {
    let (service, name) = rpc.rsplit_once('/').unwrap();
    match (service.rsplit_once('.').unwrap().1, name) {
        ("AdminService", _) => &["admin"],
        (_, "ListVerifications" | "ListMessages" | "QueryRows" | "WatchEvents") => &["read"],
        ("VerificationService", "GetVerification" | "WatchVerification") => &["verify", "read"],
        ("VerificationService", _) => &["verify"],
        ("MessagingService", "GetMessage" | "WatchMessage" | "PreviewMessage") => &["send", "read"],
        ("ContactsService", "GetTable" | "GetRow") => &["send", "read"],
        ("MessagingService" | "ContactsService", _) => &["send"],
        other => panic!("no rule for {other:?}"),
    }
}

#[tokio::test]
async fn a_key_does_what_its_scope_says_and_nothing_else() {
    let gateway = Gateway::start_with(&config()).await;
    let channel = gateway.channel().await;
    for method in methods() {
        let rpc = path(&method);
        let empty = request(&method, "{}");
        for scope in SCOPES {
            let answer = call(&channel, &key(scope), &method, &empty).await;
            let told = answer.as_ref().err().map(reason).unwrap_or_default();
            assert_eq!(told != "NOT_PERMITTED", wanted(&rpc).contains(&scope), "{rpc} with {scope}: {answer:?}");
            if let Err(refused) = answer.filter_refused() {
                assert_eq!(refused.code(), Code::PermissionDenied);
                let missing = wanted(&rpc).join(" or ");
                assert!(refused.message().contains(&format!("lacks the scope {missing};")), "{rpc}: {refused:?}");
            }
        }
        let answer = call(&channel, &key("acme"), &method, &empty).await;
        assert!(answer.filter_refused().is_ok(), "{rpc} with all scopes");
    }
}

trait FilterRefused {
    /// Only a refusal for want of a scope stays an error.
    fn filter_refused(self) -> Result<(), tonic::Status>;
}

impl FilterRefused for Result<Vec<u8>, tonic::Status> {
    fn filter_refused(self) -> Result<(), tonic::Status> {
        self.map(drop).or_else(|status| if reason(&status) == "NOT_PERMITTED" { Err(status) } else { Ok(()) })
    }
}

fn target(route: &Route) -> String {
    let segments = route.path.split('/').map(|segment| if segment.starts_with('{') { "x" } else { segment });
    let target = segments.collect::<Vec<_>>().join("/");
    // That watch would have no end.
    if route.rpc.ends_with("/WatchEvents") { format!("{target}?after=x") } else { target }
}

#[tokio::test]
async fn json_needs_the_same_scopes() {
    let gateway = Gateway::start_with(&config()).await;
    for route in ROUTES {
        for scope in SCOPES {
            let caller = Caller::with(&gateway, &key(scope));
            let reply = caller.send(route.verb.as_str(), &target(route), &[], "").await;
            let permitted = reply.status != 403;
            assert_eq!(permitted, wanted(route.rpc).contains(&scope), "{} with {scope}: {reply:?}", route.rpc);
            if !permitted {
                assert_eq!(reply.refused_with(403), "NOT_PERMITTED");
            }
        }
    }
}

#[tokio::test]
async fn asking_for_the_code_takes_a_scope_more_and_a_tenant_that_may() {
    let gateway = Gateway::start_with(&config()).await;
    let asking = || StartVerificationRequest { return_code: true, ..start(PHONE) };
    let refused = gateway.verifications_as(&key("verify")).await.start_verification(asking()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    assert!(refused.message().contains("return-code"), "{refused:?}");
    let refused = gateway.verifications_as(&key("return-code")).await.start_verification(asking()).await.unwrap_err();
    assert!(refused.message().contains("scope verify"), "{refused:?}");
    let body = json!({"recipient": {"phone": PHONE}, "return_code": true});
    let refused = Caller::with(&gateway, &key("verify")).post("/v1/verifications", &body).await;
    assert_eq!(refused.refused_with(403), "NOT_PERMITTED");
    let mut both = gateway.verifications_as(&key("verify+return-code")).await;
    assert_eq!(both.start_verification(asking()).await.unwrap().into_inner().code.len(), 6);

    let gateway = Gateway::start_with(&config().replace("admin = true\nreturn_code = true\n", "")).await;
    let mut both = gateway.verifications_as(&key("verify+return-code")).await;
    assert_eq!(reason(&both.start_verification(asking()).await.unwrap_err()), "NOT_PERMITTED");
    let vendors = verigate::proto::admin::v1::ListVendorsRequest {};
    let refused = gateway.admin_as(&key("admin")).await.list_vendors(vendors).await.unwrap_err();
    assert!(reason(&refused) == "NOT_PERMITTED" && refused.message().contains("admin = true"), "{refused:?}");
}
