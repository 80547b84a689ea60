//! Where events lie on their way: the news of commits, the feeds of tenants, their endpoints, and what each is told.
//!
//! News lie beside the record that they are of; all the rest of a tenant lies in one partition, so that a feed can grow and
//! an endpoint move on in one commit. None of it names a recipient.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Partition};
use crate::store::keys::{Keys, SendRef, TenantTag};
use crate::store::space::{DELIVERY, DELIVERY_DUE, ENDPOINT, FEED, FEED_HEAD, NEWS, READ_TO};
use crate::store::{Key, Prefix};

/// Whether a key was made by [`Keys::news`].
pub fn is_news(key: &Key) -> bool {
    key.bytes().first() == Some(&NEWS)
}

impl Keys {
    /// News of a record, [`SendRef::RECORD`], from this place in its history on, by the time of their commit.
    pub fn news(&self, at: Timestamp, record: &SendRef, place: u16) -> Key {
        let partition = record.id.partition();
        let mut bytes = vec![NEWS, partition.index()];
        bytes.extend(at.as_millis().to_be_bytes());
        bytes.extend(record.to_bytes());
        bytes.extend(place.to_be_bytes());
        Key::new(partition, bytes)
    }

    /// All news of a partition, oldest first.
    pub fn news_of(&self, partition: Partition) -> Prefix {
        Prefix::new([NEWS, partition.index()], Some(partition))
    }

    /// Reads a key made by [`Keys::news`]: of which record, and from which place on.
    pub fn parse_news(&self, key: &Key) -> Result<(SendRef, u16)> {
        let malformed = || Error::internal("news have a malformed key");
        let [NEWS, _, rest @ ..] = key.bytes() else { return Err(malformed()) };
        let (_, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (record, place) = rest.split_last_chunk::<2>().ok_or_else(malformed)?;
        Ok((SendRef::from_bytes(record).ok_or_else(malformed)?, u16::from_be_bytes(*place)))
    }

    /// Where the feed of a tenant lies, and all that belongs to it.
    pub fn feed_partition(&self, tenant: TenantTag) -> Partition {
        Partition::new(tenant.0[0])
    }

    /// Where it is noted how far a tenant's feed has come.
    pub fn feed_head(&self, tenant: TenantTag) -> Key {
        self.of_feed(tenant, &[FEED_HEAD], &[])
    }

    /// Those of all tenants.
    pub fn feed_heads(&self) -> Prefix {
        Prefix::new([FEED_HEAD], None)
    }

    /// Reads the tenant of a key made by [`Keys::feed_head`] or [`Keys::endpoint`].
    pub fn parse_feed_tenant(&self, key: &Key) -> Result<TenantTag> {
        match key.bytes() {
            [FEED_HEAD | ENDPOINT, rest @ ..] => rest.first_chunk().map(|tag| TenantTag(*tag)),
            _ => None,
        }
        .ok_or_else(|| Error::internal("a feed has a malformed key"))
    }

    /// An entry of a tenant's feed.
    pub fn feed_entry(&self, tenant: TenantTag, number: u64) -> Key {
        self.of_feed(tenant, &[FEED], &number.to_be_bytes())
    }

    /// All entries of a tenant's feed, in order.
    pub fn feed(&self, tenant: TenantTag) -> Prefix {
        self.all_of_feed(tenant, FEED)
    }

    /// The number at the end of a key made by [`Keys::feed_entry`] or [`Keys::delivery_due`].
    pub fn parse_number(&self, key: &Key) -> Result<u64> {
        let number = key.bytes().last_chunk().map(|number| u64::from_be_bytes(*number));
        number.ok_or_else(|| Error::internal("an entry of a feed has a malformed key"))
    }

    pub fn endpoint(&self, tenant: TenantTag, id: Id) -> Key {
        self.of_feed(tenant, &[ENDPOINT], id.as_bytes())
    }

    /// Those of all tenants.
    pub fn endpoints(&self) -> Prefix {
        Prefix::new([ENDPOINT], None)
    }

    /// Where it is noted how far an endpoint has read the feed.
    pub fn read_to(&self, tenant: TenantTag, endpoint: Id) -> Key {
        self.of_feed(tenant, &[READ_TO], endpoint.as_bytes())
    }

    /// What became of an event at an endpoint.
    pub fn delivery(&self, tenant: TenantTag, number: u64, endpoint: Id) -> Key {
        self.of_feed(tenant, &[DELIVERY], &[&number.to_be_bytes()[..], endpoint.as_bytes()].concat())
    }

    /// All deliveries of a tenant, in the order of its feed.
    pub fn deliveries(&self, tenant: TenantTag) -> Prefix {
        self.all_of_feed(tenant, DELIVERY)
    }

    /// Reads a key made by [`Keys::delivery`].
    pub fn parse_delivery(&self, key: &Key) -> Result<(u64, Id)> {
        let malformed = || Error::internal("a delivery has a malformed key");
        let (rest, endpoint) = key.bytes().split_last_chunk::<16>().ok_or_else(malformed)?;
        let number = rest.last_chunk().ok_or_else(malformed)?;
        Ok((u64::from_be_bytes(*number), Id::from_bytes(*endpoint)))
    }

    /// The mark that an endpoint is to be told of an event at `at`. It has no value.
    pub fn delivery_due(&self, tenant: TenantTag, endpoint: Id, at: Timestamp, number: u64) -> Key {
        let rest = [&endpoint.as_bytes()[..], &at.as_millis().to_be_bytes(), &number.to_be_bytes()].concat();
        self.of_feed(tenant, &[DELIVERY_DUE], &rest)
    }

    /// All marks of an endpoint, soonest first.
    pub fn deliveries_due(&self, tenant: TenantTag, endpoint: Id) -> Prefix {
        let bytes = [&[DELIVERY_DUE][..], &tenant.0, endpoint.as_bytes()].concat();
        Prefix::new(bytes, Some(self.feed_partition(tenant)))
    }

    /// Reads the time of a key made by [`Keys::delivery_due`].
    pub fn parse_due_time(&self, key: &Key) -> Result<Timestamp> {
        let at = key.bytes().last_chunk::<16>().and_then(|rest| rest.first_chunk::<8>());
        let at = at.ok_or_else(|| Error::internal("a mark of a delivery has a malformed key"))?;
        Ok(Timestamp::from_millis(u64::from_be_bytes(*at)))
    }

    fn of_feed(&self, tenant: TenantTag, space: &[u8], rest: &[u8]) -> Key {
        Key::of(self.feed_partition(tenant), &[space, &tenant.0, rest])
    }

    fn all_of_feed(&self, tenant: TenantTag, space: u8) -> Prefix {
        Prefix::new([&[space][..], &tenant.0].concat(), Some(self.feed_partition(tenant)))
    }
}
