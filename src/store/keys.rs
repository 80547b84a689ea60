//! The map of the keyspace: every key that the house writes is built here, and read back only here.
//!
//! A key begins with the byte of its space. Recipients appear only as a keyed hash, so a stolen store shows no number;
//! tenants as a tag of eight keyed bytes, so that one tenant's id is simply not there for another.

pub mod events;
pub mod nodes;

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Partition, TenantName};
use crate::random::Random;
use crate::recipient::Recipient;
use crate::store::space::{
    ACCOUNT, API_KEY, CODE_PLACE, CONTACT_PUSH, CONTACT_ROW, CONTACT_TABLE, DUE, GUARD, IDEMPOTENCY, MESSAGE,
    MESSAGE_BATCH, MESSAGE_OF_RECIPIENT, META, RECIPIENT, VENDOR_NAME, VERIFICATION,
};
use crate::store::{Batch, Commit, Condition, Key, Prefix, Store};

const INDEX_KEY_BYTES: usize = 32;

/// Builds keys. Holds the secret that hides recipients; the store keeps that secret among its own sealed records, so it
/// outlives every rotation of the sealing keys.
#[derive(Clone)]
pub struct Keys {
    hasher: Hmac<Sha256>,
}

/// Makes the tokens by which vendors are known at our receipt listener, one for each.
#[derive(Clone)]
pub struct ReceiptTokens {
    hasher: Hmac<Sha256>,
}

/// A tenant as it appears in keys and references.
#[derive(Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct TenantTag(#[cbor(with = "minicbor::bytes")] [u8; 8]);

/// A recipient as it appears in keys: where its records lie, and under what name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecipientTag {
    partition: Partition,
    hash: [u8; 16],
}

/// An idempotency key of a tenant, as it appears in keys and records, where it lies, and what it was first used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct RequestTag(#[cbor(with = "minicbor::bytes")] [u8; 16]);

/// What a request asked for, condensed: two that differ anywhere differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Fingerprint(#[cbor(with = "minicbor::bytes")] [u8; 16]);

/// Which store it is, wherever its records lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct StoreId(#[cbor(with = "minicbor::bytes")] [u8; 16]);

/// Names one send: the record that holds it and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SendRef {
    pub holder: Holder,
    pub tenant: TenantTag,
    pub id: Id,
    pub number: u8,
}

/// Names one attempt of a send. Printed, it is the reference that vendors get and give back in receipts, so that their
/// word on one attempt is not taken for one on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptRef {
    pub send: SendRef,
    /// From 1.
    pub attempt: u8,
}

/// The kind of record that holds a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    Message,
    Verification,
}

// === impl Keys ===

impl Keys {
    /// Reads the index secret from the store, or makes it on the very first start. Safe with several nodes starting at
    /// once. `store` must be the sealed one.
    pub async fn open(store: &dyn Store, random: &dyn Random) -> Result<Self> {
        let key = index_secret();
        let partition = key.partition();
        loop {
            if let Some(record) = store.get(&key).await? {
                return Self::new(&record.value);
            }
            let mut secret = [0; INDEX_KEY_BYTES];
            random.fill(&mut secret);
            let batch =
                Batch::new(partition).require_that(&key, Condition::Absent).put(key.clone(), secret.to_vec(), None);
            // Whoever wins the race, the next round reads the winner's.
            let (Commit::Committed(_) | Commit::Conflict) = store.commit(batch).await?;
        }
    }

    /// Whether the store has been opened before, with a key of this ring. `store` must be the sealed one.
    ///
    /// Errors: `Internal` when it was with another key; those of the store.
    pub async fn are_there(store: &dyn Store) -> Result<bool> {
        Ok(store.get(&index_secret()).await?.is_some())
    }

    fn new(secret: &[u8]) -> Result<Self> {
        if secret.len() != INDEX_KEY_BYTES {
            return Err(Error::internal("the store's index secret has the wrong length"));
        }
        let hasher = Hmac::new_from_slice(secret).map_err(Error::internal)?;
        Ok(Self { hasher })
    }

    pub fn tenant(&self, tenant: &TenantName) -> TenantTag {
        let hash = self.hash(&["tenant", tenant.as_str()]);
        TenantTag(first(&hash))
    }

    pub fn recipient(&self, tenant: &TenantName, recipient: &Recipient) -> RecipientTag {
        let hash = self.hash(&["recipient", tenant.as_str(), recipient.as_str()]);
        RecipientTag { partition: Partition::new(hash[16]), hash: first(&hash) }
    }

    /// Where what we know of a recipient lies: counters, cool-down, pending verifications.
    pub fn recipient_state(&self, tenant: TenantTag, recipient: RecipientTag) -> Key {
        Key::of(recipient.partition, &[&[RECIPIENT], &tenant.0, &recipient.hash])
    }

    pub fn verification(&self, tenant: TenantTag, id: Id) -> Key {
        record(VERIFICATION, tenant, id)
    }

    /// All verifications of a tenant, in the order in which they were started.
    pub fn verifications(&self, tenant: TenantTag) -> Prefix {
        records(VERIFICATION, tenant)
    }

    pub fn message(&self, tenant: TenantTag, id: Id) -> Key {
        record(MESSAGE, tenant, id)
    }

    /// All messages of a tenant, in the order in which they were accepted.
    pub fn messages(&self, tenant: TenantTag) -> Prefix {
        records(MESSAGE, tenant)
    }

    /// Where it is noted which messages were asked for at once.
    pub fn message_batch(&self, tenant: TenantTag, id: Id) -> Key {
        record(MESSAGE_BATCH, tenant, id)
    }

    /// The mark that a message went to a recipient. It has no value.
    pub fn message_of(&self, tenant: TenantTag, recipient: RecipientTag, id: Id) -> Key {
        Key::of(recipient.partition, &[&[MESSAGE_OF_RECIPIENT], &tenant.0, &recipient.hash, id.as_bytes()])
    }

    /// The marks of all messages of a recipient, in the order in which they were accepted.
    pub fn messages_of(&self, tenant: TenantTag, recipient: RecipientTag) -> Prefix {
        let bytes = [&[MESSAGE_OF_RECIPIENT][..], &tenant.0, &recipient.hash].concat();
        Prefix::new(bytes, Some(recipient.partition))
    }

    /// Where a tenant's table of contacts lies, and all that belongs to it: one commit may change several of these.
    pub fn contacts(&self, tenant: TenantTag) -> Partition {
        Partition::new(tenant.0[0])
    }

    pub fn contact_table(&self, tenant: TenantTag) -> Key {
        Key::of(self.contacts(tenant), &[&[CONTACT_TABLE], &tenant.0])
    }

    pub fn contact_row(&self, tenant: TenantTag, id: Id) -> Key {
        Key::of(self.contacts(tenant), &[&[CONTACT_ROW], &tenant.0, id.as_bytes()])
    }

    /// All rows of a tenant's table, in the order in which they were created.
    pub fn contact_rows(&self, tenant: TenantTag) -> Prefix {
        Prefix::new([&[CONTACT_ROW][..], &tenant.0].concat(), Some(self.contacts(tenant)))
    }

    /// The mark that a vendor's contact list is to be given a row. It lies beside the row and has no value.
    pub fn contact_push(&self, vendor: &str, tenant: TenantTag, id: Id) -> Key {
        Key::of(self.contacts(tenant), &[&*self.contact_pushes(vendor).bytes, &tenant.0, id.as_bytes()])
    }

    /// The marks of all rows that a vendor's contact list is to be given.
    pub fn contact_pushes(&self, vendor: &str) -> Prefix {
        let vendor: [u8; 8] = first(&self.hash(&["contact push", vendor]));
        Prefix::new([&[CONTACT_PUSH][..], &vendor].concat(), None)
    }

    /// Reads a key made by [`Keys::contact_push`].
    pub fn parse_contact_push(&self, key: &Key) -> Result<(TenantTag, Id)> {
        let malformed = || Error::internal("a mark of a contact has a malformed key");
        let [CONTACT_PUSH, rest @ ..] = key.bytes() else { return Err(malformed()) };
        let (_, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (tenant, id) = rest.split_first_chunk().ok_or_else(malformed)?;
        Ok((TenantTag(*tenant), Id::from_bytes(id.try_into().map_err(|_| malformed())?)))
    }

    /// Where the record of this id lies, or would lie, among those with a prefix of ours.
    pub fn with_id(&self, prefix: &Prefix, id: Id) -> Key {
        Key::of(id.partition(), &[&*prefix.bytes, id.as_bytes()])
    }

    /// The id at the end of the key of a message, a verification, or a message of a recipient.
    pub fn parse_id(&self, key: &Key) -> Result<Id> {
        match (key.bytes(), key.bytes().split_last_chunk()) {
            ([VERIFICATION | MESSAGE | MESSAGE_OF_RECIPIENT, ..], Some((_, id))) => Ok(Id::from_bytes(*id)),
            _ => Err(Error::internal("a record has a malformed key")),
        }
    }

    /// The tag of an idempotency key, which is a tenant's own and good for one kind of call.
    pub fn request(&self, tenant: &TenantName, call: &str, idempotency_key: &str) -> RequestTag {
        let hash = self.hash(&["request", tenant.as_str(), call, idempotency_key]);
        RequestTag(first(&hash))
    }

    /// Where it is noted whose code a vendor keeps in a place of its own, whichever tenant that is.
    pub fn code_place(&self, name: &str) -> Key {
        let hash = self.hash(&["code place", name]);
        let place: [u8; 16] = first(&hash);
        Key::of(Partition::new(hash[16]), &[&[CODE_PLACE], &place])
    }

    /// Where tenants and API keys lie that are kept in the store: one commit may change several of them.
    pub fn accounts_partition(&self) -> Partition {
        Partition::new(0)
    }

    pub fn account(&self, tenant: &TenantName) -> Key {
        let hash: [u8; 16] = first(&self.hash(&["account", tenant.as_str()]));
        Key::of(self.accounts_partition(), &[&[ACCOUNT], &hash])
    }

    pub fn all_accounts(&self) -> Prefix {
        Prefix::new([ACCOUNT], Some(self.accounts_partition()))
    }

    pub fn api_key(&self, id: &str) -> Key {
        let hash: [u8; 16] = first(&self.hash(&["api key", id]));
        Key::of(self.accounts_partition(), &[&[API_KEY], &hash])
    }

    pub fn all_api_keys(&self) -> Prefix {
        Prefix::new([API_KEY], Some(self.accounts_partition()))
    }

    /// Where it is noted how well a vendor does.
    pub fn conversion(&self, vendor: &str) -> Key {
        let hash = self.hash(&["conversion", vendor]);
        Key::of(Partition::new(0), &[&[META], b"measured", &first::<16>(&hash)])
    }

    /// Where it is noted of all vendors.
    pub fn conversions(&self) -> Prefix {
        Prefix::new([&[META][..], b"measured"].concat(), Some(Partition::new(0)))
    }

    /// Where it is noted when the files of the store were last written anew.
    pub fn renewed(&self) -> Key {
        Key::of(Partition::new(0), &[&[META], b"renewed"])
    }

    /// What the names are hashed with under which the guard counts.
    pub fn guard_secret(&self) -> [u8; 16] {
        first(&self.hash(&["guard"]))
    }

    /// Where the guard keeps a page of what it counts.
    pub fn guard_page(&self, kind: u8, number: u16) -> Key {
        let [high, low] = number.to_be_bytes();
        Key::new(Partition::new(low), vec![GUARD, kind, high, low])
    }

    /// All pages of a kind.
    pub fn guard_pages(&self, kind: u8) -> Prefix {
        Prefix::new(vec![GUARD, kind], None)
    }

    /// Where the nodes that share a store count themselves.
    pub fn guard_nodes(&self) -> Key {
        Key::new(guards_partition(), vec![GUARD, b'#'])
    }

    /// Where it is noted how far a node has told the others what its guard has counted.
    pub fn guard_head(&self, node: u64) -> Key {
        Key::of(guards_partition(), &[&[GUARD, b'n'], &node.to_be_bytes()])
    }

    pub fn guard_heads(&self) -> Prefix {
        Prefix::new(vec![GUARD, b'n'], Some(guards_partition()))
    }

    /// Where a part of it lies: by node, turn and part.
    pub fn guard_told(&self, node: u64, turn: u64, part: u16) -> Key {
        Key::of(guards_partition(), &[&[GUARD, b't'], &node.to_be_bytes(), &turn.to_be_bytes(), &part.to_be_bytes()])
    }

    pub fn all_guard_told(&self) -> Prefix {
        Prefix::new(vec![GUARD, b't'], Some(guards_partition()))
    }

    pub fn guard_told_by(&self, node: u64) -> Prefix {
        Prefix::new([&[GUARD, b't'][..], &node.to_be_bytes()].concat(), Some(guards_partition()))
    }

    /// Where it is noted what was taken out of an account on a day.
    pub fn budget(&self, account: u64, day: u64) -> Key {
        let [partition, ..] = account.to_be_bytes();
        Key::of(Partition::new(partition), &[&[GUARD, b'$'], &account.to_be_bytes(), &day.to_be_bytes()])
    }

    /// Where it is noted what an idempotency key was used for.
    pub fn idempotency(&self, tenant: TenantTag, request: RequestTag) -> Key {
        Key::of(Partition::new(request.0[0]), &[&[IDEMPOTENCY], &tenant.0, &request.0])
    }

    /// Condenses what a request asks for. Keyed, so it tells nobody a code or a number.
    pub fn fingerprint<P: AsRef<[u8]>>(&self, parts: &[P]) -> Fingerprint {
        Fingerprint(first(&self.hash(parts)))
    }

    /// The mark that `send` wants attention at `at`. It lies beside its holder's record and has no value.
    pub fn due(&self, at: Timestamp, send: &SendRef) -> Key {
        let partition = send.id.partition();
        Key::of(partition, &[&[DUE, partition.index()], &at.as_millis().to_be_bytes(), &send.to_bytes()])
    }

    /// A place before all due marks of a partition at `at` and later, and after all earlier ones: to scan from.
    pub fn due_from(&self, partition: Partition, at: Timestamp) -> Key {
        Key::of(partition, &[&[DUE, partition.index()], &at.as_millis().to_be_bytes()])
    }

    /// All due marks of a partition, soonest first.
    pub fn due_prefix(&self, partition: Partition) -> Prefix {
        Prefix::new([DUE, partition.index()], Some(partition))
    }

    /// Reads a key made by [`Keys::due`].
    pub fn parse_due(&self, key: &Key) -> Result<(Timestamp, SendRef)> {
        let malformed = || Error::internal("a due mark has a malformed key");
        let [DUE, _, rest @ ..] = key.bytes() else { return Err(malformed()) };
        let (at, send) = rest.split_first_chunk().ok_or_else(malformed)?;
        let send = SendRef::from_bytes(send).ok_or_else(malformed)?;
        Ok((Timestamp::from_millis(u64::from_be_bytes(*at)), send))
    }

    /// Where it is noted which attempt a vendor calls by a name of its own.
    pub fn vendor_name(&self, vendor: &str, vendor_reference: &str) -> Key {
        let hash = self.hash(&["vendor name", vendor, vendor_reference]);
        Key::of(Partition::new(hash[16]), &[&[VENDOR_NAME], &first::<16>(&hash)])
    }

    /// Notes of idempotency keys of a tenant, in no order that means anything.
    pub fn idempotency_notes(&self, tenant: TenantTag) -> Prefix {
        Prefix::new([&[IDEMPOTENCY][..], &tenant.0].concat(), None)
    }

    /// The same for as long as the store's secret is, in every copy of it.
    pub fn store_id(&self) -> StoreId {
        StoreId(first(&self.hash(&["store id"])))
    }

    /// Tokens that need no configuration: they stay the same for as long as the store does.
    pub fn receipt_tokens(&self) -> ReceiptTokens {
        ReceiptTokens { hasher: self.hasher.clone() }
    }

    fn hash<P: AsRef<[u8]>>(&self, parts: &[P]) -> [u8; 32] {
        hash(&self.hasher, parts)
    }
}

fn hash<P: AsRef<[u8]>>(hasher: &Hmac<Sha256>, parts: &[P]) -> [u8; 32] {
    let mut hasher = hasher.clone();
    for part in parts.iter().map(AsRef::as_ref) {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into_bytes().into()
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

fn record(space: u8, tenant: TenantTag, id: Id) -> Key {
    Key::of(id.partition(), &[&[space], &tenant.0, id.as_bytes()])
}

fn records(space: u8, tenant: TenantTag) -> Prefix {
    Prefix::new([&[space][..], &tenant.0].concat(), None)
}

/// What guards tell each other is read by all of them at once, so it lies in one place.
fn guards_partition() -> Partition {
    Partition::new(GUARD)
}

/// Where the secret lies that hides recipients.
fn index_secret() -> Key {
    Key::of(Partition::new(0), &[&[META], b"index"])
}

fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|i| hash[i])
}

// === impl StoreId ===

/// 32 hexadecimal digits.
impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl ReceiptTokens ===

impl ReceiptTokens {
    /// Tokens that outlive the store, and that several nodes share.
    pub fn from_secret(secret: &SecretString) -> Result<Self> {
        let hasher = Hmac::new_from_slice(secret.expose_secret().as_bytes()).map_err(Error::internal)?;
        Ok(Self { hasher })
    }

    /// 32 characters of base64url, 192 bits.
    pub fn of(&self, vendor: &str) -> SecretString {
        let token: [u8; 24] = first(&hash(&self.hasher, &["receipt token", vendor]));
        URL_SAFE_NO_PAD.encode(token).into()
    }
}

impl fmt::Debug for ReceiptTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptTokens")
    }
}

// === impl TenantTag ===

impl fmt::Debug for TenantTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

// === impl RecipientTag ===

impl RecipientTag {
    pub fn partition(&self) -> Partition {
        self.partition
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

// === impl SendRef ===

impl SendRef {
    /// In place of a send's number: the record as a whole.
    pub const RECORD: u8 = u8::MAX;

    const BYTES: usize = 1 + 8 + 16 + 1;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let holder = match self.holder {
            Holder::Message => MESSAGE,
            Holder::Verification => VERIFICATION,
        };
        let mut bytes = [0; Self::BYTES];
        bytes[0] = holder;
        bytes[1..9].copy_from_slice(&self.tenant.0);
        bytes[9..25].copy_from_slice(self.id.as_bytes());
        bytes[25] = self.number;
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&holder, rest) = bytes.split_first()?;
        let holder = match holder {
            MESSAGE => Holder::Message,
            VERIFICATION => Holder::Verification,
            _ => return None,
        };
        let (tenant, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let [number] = *rest else { return None };
        Some(Self { holder, tenant: TenantTag(*tenant), id: Id::from_bytes(*id), number })
    }
}

impl fmt::Debug for SendRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.holder, self.id, self.number)
    }
}

// === impl AttemptRef ===

/// 36 characters of base64url.
impl fmt::Display for AttemptRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [self.attempt; SendRef::BYTES + 1];
        bytes[..SendRef::BYTES].copy_from_slice(&self.send.to_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for AttemptRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = |text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (&attempt, send) = bytes.split_last()?;
            Some(Self { send: SendRef::from_bytes(send)?, attempt })
        };
        read(text).ok_or_else(|| Error::invalid("reference", "is not a reference of ours"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    fn keys() -> Keys {
        Keys::new(&[7; INDEX_KEY_BYTES]).unwrap()
    }

    fn send(keys: &Keys, holder: Holder) -> SendRef {
        let tenant = keys.tenant(&"dev".parse().unwrap());
        let id = Id::new(Timestamp::from_millis(5), Partition::new(200), &OsRandom);
        SendRef { holder, tenant, id, number: 3 }
    }

    #[test]
    fn due_marks_sort_by_time_and_read_back() {
        let keys = keys();
        for holder in [Holder::Message, Holder::Verification] {
            let send = send(&keys, holder);
            let (early, late) =
                (keys.due(Timestamp::from_millis(255), &send), keys.due(Timestamp::from_millis(256), &send));
            assert!(early < late);
            assert!(early.bytes().starts_with(&keys.due_prefix(Partition::new(200)).bytes));
            assert_eq!(keys.parse_due(&late).unwrap(), (Timestamp::from_millis(256), send));
            let from = keys.due_from(Partition::new(200), Timestamp::from_millis(256));
            assert!(early < from && from < late);
        }
    }

    #[test]
    fn references_read_back_and_nothing_else_does() {
        let attempt = AttemptRef { send: send(&keys(), Holder::Verification), attempt: 2 };
        let text = attempt.to_string();
        assert_eq!((text.len(), text.parse::<AttemptRef>().unwrap()), (36, attempt));
        for bad in ["", "AAAA", &text[1..], &text[..35], &format!("{text}A"), "ä"] {
            assert!(bad.parse::<AttemptRef>().is_err(), "{bad}");
        }
        let other = AttemptRef { attempt: 3, ..attempt };
        assert_ne!(text, other.to_string());
    }

    #[test]
    fn every_vendor_has_a_token_and_names_of_its_own() {
        let keys = keys();
        let token = |tokens: &ReceiptTokens, vendor| tokens.of(vendor).expose_secret().to_owned();
        let (own, configured) = (keys.receipt_tokens(), ReceiptTokens::from_secret(&"x".repeat(32).into()).unwrap());
        let tokens = [token(&own, "a"), token(&own, "b"), token(&configured, "a"), token(&configured, "b")];
        assert!(tokens.iter().all(|token| token.len() == 32 && !token.contains(['/', '+', '='])), "{tokens:?}");
        assert_eq!(std::collections::BTreeSet::from(tokens.clone()).len(), 4);
        assert_eq!(token(&keys.receipt_tokens(), "a"), tokens[0]);
        assert_eq!(format!("{own:?}"), "ReceiptTokens");

        let key = keys.vendor_name("a", "their-name");
        assert_eq!(key, keys.vendor_name("a", "their-name"));
        assert_ne!(key, keys.vendor_name("b", "their-name"));
        assert!(!key.bytes().windows(5).any(|window| window == b"their"));
    }

    #[test]
    fn tenants_and_recipients_do_not_share_keys() {
        let keys = keys();
        let recipient = Recipient::Phone(crate::recipient::Phone::parse("+60123456789", None).unwrap());
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_ne!(keys.tenant(&a), keys.tenant(&b));
        assert_ne!(keys.recipient(&a, &recipient).hash, keys.recipient(&b, &recipient).hash);
        let key = keys.recipient_state(keys.tenant(&a), keys.recipient(&a, &recipient));
        assert!(!key.bytes().windows(4).any(|w| w == b"6012"));
    }
}
