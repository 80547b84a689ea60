//! A row of the table together with what the contract says about its rpc.

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use crate::error::{Error, Result};
use crate::rest::native::routes::Route;

/// The package of everything that can be called.
const ROOT: &str = "verigate";

/// The field that the header `Idempotency-Key` fills.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency_key";

/// A call that can be answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) route: Route,
    /// Where the rpc is found: `/package.Service/Method`.
    pub(crate) rpc: PathAndQuery,
    pub(crate) method: MethodDescriptor,
    pub(crate) input: MessageDescriptor,
    pub(crate) output: MessageDescriptor,
    /// The fields that the path names, as dotted paths, in order.
    pub(crate) in_path: Vec<&'static str>,
    pub(crate) takes_idempotency_key: bool,
}

// === impl Call ===

impl Call {
    /// Errors: `Internal` for a row that the contract does not bear out.
    pub(crate) fn new(pool: &DescriptorPool, route: &Route) -> Result<Self> {
        let wrong = |what: &str| Error::internal(format!("{} {}: {what}", route.verb.as_str(), route.path));
        let (service, name) = route.rpc.split_once('/').ok_or_else(|| wrong("names no rpc"))?;
        let service = pool.get_service_by_name(&format!("{ROOT}.{service}")).ok_or_else(|| wrong("no such service"))?;
        let method = service.methods().find(|method| method.name() == name).ok_or_else(|| wrong("no such rpc"))?;
        if method.is_client_streaming() {
            return Err(wrong("a stream of requests has no place in one body"));
        }
        let in_path = names_in(route.path);
        for name in &in_path {
            let field = field_at(&method.input(), name).ok_or_else(|| wrong("a name in the path is no field"))?;
            if field.is_list() || field.is_map() || field.kind() != Kind::String {
                return Err(wrong("a field in the path is no string"));
            }
        }
        let key = method.input().get_field_by_name(IDEMPOTENCY_KEY);
        Ok(Self {
            route: *route,
            rpc: format!("/{ROOT}.{}", route.rpc).parse().map_err(Error::internal)?,
            input: method.input(),
            output: method.output(),
            in_path,
            takes_idempotency_key: key.is_some_and(|field| field.kind() == Kind::String),
            method,
        })
    }

    /// The field of the request at a dotted path.
    pub(crate) fn field(&self, path: &str) -> Option<FieldDescriptor> {
        field_at(&self.input, path)
    }

    /// Whether it is answered by a stream of events.
    pub(crate) fn is_watch(&self) -> bool {
        self.method.is_server_streaming()
    }
}

/// What stands in braces.
fn names_in(path: &'static str) -> Vec<&'static str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect()
}

/// The field at a dotted path.
fn field_at(message: &MessageDescriptor, path: &str) -> Option<FieldDescriptor> {
    match path.split_once('.') {
        None => message.get_field_by_name(path),
        Some((first, rest)) => field_at(message.get_field_by_name(first)?.kind().as_message()?, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;
    use crate::rest::native::routes::{ROUTES, Verb};

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap()
    }

    fn refused(path: &'static str, rpc: &'static str) -> String {
        let error = Call::new(&pool(), &Route::new(Verb::Post, path, rpc)).unwrap_err();
        format!("{error:?}")
    }

    #[test]
    fn the_contract_bears_out_every_row() {
        for route in ROUTES {
            Call::new(&pool(), route).unwrap();
        }
    }

    #[test]
    fn every_rpc_of_ours_has_a_row() {
        let contract = pool();
        let services = contract.services().filter(|service| service.full_name().starts_with("verigate."));
        let rpcs = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        let names: Vec<_> = rpcs.map(|rpc| format!("{}/{}", rpc.parent_service().full_name(), rpc.name())).collect();
        assert!(names.len() >= 16, "{names:?}");
        let missing: Vec<_> =
            names.iter().filter(|name| !ROUTES.iter().any(|route| **name == format!("{ROOT}.{}", route.rpc))).collect();
        assert!(missing.is_empty(), "add a row to `routes.rs` for {missing:?}");
    }

    #[test]
    fn no_two_rows_are_for_the_same_call() {
        for (at, route) in ROUTES.iter().enumerate() {
            let twin = ROUTES[..at].iter().find(|other| (other.verb, other.path) == (route.verb, route.path));
            assert!(twin.is_none(), "{} {}", route.verb.as_str(), route.path);
        }
    }

    #[test]
    fn a_row_that_the_contract_does_not_know_is_refused() {
        let wrong = refused("/v1/x", "verification.v1.VerificationService/StopVerification");
        assert!(wrong.ends_with("POST /v1/x: no such rpc"), "{wrong}");
        let wrong = refused("/v1/x", "verification.v1.CheckService/StartVerification");
        assert!(wrong.ends_with("no such service"), "{wrong}");
        let wrong = refused("/v1/x/{ident}", "verification.v1.VerificationService/GetVerification");
        assert!(wrong.ends_with("a name in the path is no field"), "{wrong}");
        let wrong = refused("/v1/x/{recipient.fax}", "verification.v1.VerificationService/StartVerification");
        assert!(wrong.ends_with("a name in the path is no field"), "{wrong}");
        let wrong = refused("/v1/x/{policy}", "verification.v1.VerificationService/StartVerification");
        assert!(wrong.ends_with("a field in the path is no string"), "{wrong}");
    }

    #[test]
    fn fields_of_a_path_may_lie_in_another_message() {
        let rpc = "verification.v1.VerificationService/StartVerification";
        let call = Call::new(&pool(), &Route::new(Verb::Post, "/v1/x/{recipient.phone}/{scope}", rpc)).unwrap();
        assert_eq!(call.in_path, ["recipient.phone", "scope"]);
        assert!(call.takes_idempotency_key && !call.is_watch());
    }
}
