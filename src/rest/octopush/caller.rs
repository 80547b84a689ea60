//! Who calls, and what its headers say.

use http::StatusCode;

use crate::auth::caller::Caller;
use crate::messaging::request::check_idempotency_key;
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::octopush::refusal::Refusal;

/// The account behind the two headers. Both are needed.
pub(super) fn authenticate(desk: &Desk, call: &Call) -> Result<Caller, Refusal> {
    let missing = |code, message| Refusal::new(StatusCode::UNAUTHORIZED, code, message);
    let given = |name| call.header(name).filter(|value| !value.is_empty());
    let login = given("api-login").ok_or_else(|| missing(108, "The header api-login is missing."))?;
    let key = given("api-key").ok_or_else(|| missing(109, "The header api-key is missing."))?;
    desk.caller(login, key).map_err(|trouble| Refusal::of(&trouble))
}

/// The key under which a repeated call is harmless. It is a header of ours and no parameter of the vendor's: one that
/// cannot be kept is refused, for the call that it was to make harmless would be done twice.
pub(super) fn idempotency_key(call: &Call) -> Result<Option<String>, Refusal> {
    let Some(value) = call.headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| check_idempotency_key(key).is_none());
    let wanted = "The header Idempotency-Key must be 1 to 128 visible ASCII characters.";
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Refusal::bad(125, wanted))
}
