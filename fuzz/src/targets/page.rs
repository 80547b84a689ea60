//! What leads from a page to the next, and the ids in it.

use verigate::clock::Timestamp;
use verigate::id::{Id, TenantName};
use verigate::messaging::conversion_list::ConversionToken;
use verigate::messaging::page::PageToken;
use verigate::store::keys::Fingerprint;

pub(crate) fn run(data: &[u8]) {
    if let Some((id, list)) =
        data.split_first_chunk::<16>().and_then(|(id, rest)| Some((id, rest.first_chunk::<16>()?)))
    {
        made(Id::from_bytes(*id), Fingerprint::from_bytes(*list));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<PageToken>() {
        assert_eq!(token.to_string(), text, "two spellings of one token");
    }
    if let Ok(token) = text.parse::<ConversionToken>() {
        assert_eq!(token.to_string().parse::<ConversionToken>().unwrap(), token);
    }
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase(), "two spellings of one id");
        assert_eq!(Id::from_bytes(*id.as_bytes()), id);
        let _any: (Timestamp, _) = (id.created_at(), id.partition());
    }
    if let Ok(name) = text.parse::<TenantName>() {
        assert_eq!(name.as_str(), text);
    }
}

/// A token leads on in its own list and is refused in any other.
fn made(last: Id, list: Fingerprint) {
    let token: PageToken = PageToken::after(last, list).to_string().parse().unwrap();
    assert_eq!(token.last_of(list).unwrap(), last);
    for at in [0, 7, 15] {
        let mut other = *list.as_bytes();
        other[at] ^= 1;
        assert!(token.last_of(Fingerprint::from_bytes(other)).is_err(), "a token of another list");
    }
}
