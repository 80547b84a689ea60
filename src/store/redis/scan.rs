//! Scans: the index of a partition tells which keys there are, in order, and the records are read after it.
//!
//! Across all partitions each index gives its next few keys. As far as all that gave no end are known, these are the next
//! of all; what lies beyond is asked for again.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use redis::{Value, cmd, from_redis_value};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Partition;
use crate::store::redis::link::Errand;
use crate::store::redis::record::{self, Names};
use crate::store::redis::servers::{Call, Command, Script, Servers};
use crate::store::{Key, Order, Prefix, Record};

/// Records that are read by one call, so that one scan does not hold up a server for long.
const MOST_RECORDS: usize = 100;

/// Partitions that are asked at the same time.
const AT_ONCE: usize = 64;

/// Keys that each index gives at least, when all are asked.
const LEAST_KEYS: usize = 4;

/// What scans work with.
pub(crate) struct Scanner<'a> {
    pub(crate) servers: &'a Servers,
    pub(crate) names: &'a Names,
    pub(crate) tidy: &'a Script,
    pub(crate) now: Timestamp,
}

/// The part of an index that is still to be looked at: bounds as ZRANGEBYLEX takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    low: Vec<u8>,
    high: Vec<u8>,
    order: Order,
}

// === impl Range ===

impl Range {
    /// `None` where nothing can be left.
    pub(crate) fn new(prefix: &Prefix, after: Option<&[u8]>) -> Option<Self> {
        let beyond = match prefix.bytes.iter().rposition(|byte| *byte != u8::MAX) {
            Some(last) => {
                let mut beyond = prefix.bytes[..=last].to_vec();
                beyond[last] += 1;
                [b"(", beyond.as_slice()].concat()
            }
            None => b"+".to_vec(),
        };
        let range = Self { low: [b"[", &*prefix.bytes].concat(), high: beyond, order: prefix.order };
        let Some(after) = after else { return Some(range) };
        let exclusive = [b"(", after].concat();
        match prefix.order {
            _ if after.starts_with(&prefix.bytes) => Some(match prefix.order {
                Order::Ascending => Self { low: exclusive, ..range },
                Order::Descending => Self { high: exclusive, ..range },
            }),
            Order::Ascending if *after > *prefix.bytes => None,
            Order::Descending if *after < *prefix.bytes => None,
            _ => Some(range),
        }
    }
}

// === impl Scanner ===

impl Scanner<'_> {
    pub(crate) async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        let mut rows = Vec::new();
        let mut after = after.map(|after| after.bytes().to_vec());
        while rows.len() < limit {
            let Some(range) = Range::new(prefix, after.as_deref()) else { break };
            let wanted = limit - rows.len();
            let (keys, more) = match prefix.partition {
                Some(partition) => self.next_of_one(partition, &range, wanted).await?,
                None => self.next_of_all(&range, wanted).await?,
            };
            let Some(last) = keys.last().map(|key| key.bytes().to_vec()) else { break };
            rows.extend(self.read(keys).await?);
            if !more {
                break;
            }
            after = Some(last);
        }
        Ok(rows)
    }

    async fn next_of_one(&self, partition: Partition, range: &Range, wanted: usize) -> Result<(Vec<Key>, bool)> {
        let keys = self.keys(partition, range, wanted).await?;
        let more = keys.len() == wanted;
        Ok((keys, more))
    }

    /// The next keys of all partitions, in order, and whether there may be more.
    async fn next_of_all(&self, range: &Range, wanted: usize) -> Result<(Vec<Key>, bool)> {
        // Hashed keys lie about evenly; twice their share seldom needs a second round.
        let each = (wanted * 2).div_ceil(256).max(LEAST_KEYS);
        let found: Vec<Vec<Key>> = stream::iter(Partition::all())
            .map(|partition| self.keys(partition, range, each))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let is_before = |one: &Key, other: &Key| match range.order {
            Order::Ascending => one.bytes() < other.bytes(),
            Order::Descending => one.bytes() > other.bytes(),
        };
        // Nothing is known beyond the first of the last keys of those that may have more.
        let ends = found.iter().filter(|keys| keys.len() == each).filter_map(|keys| keys.last());
        let end = ends.reduce(|one, other| if is_before(one, other) { one } else { other }).cloned();
        let known = |key: &Key| end.as_ref().is_none_or(|end| !is_before(end, key));
        let mut keys: Vec<Key> = found.into_iter().flatten().filter(known).collect();
        match range.order {
            Order::Ascending => keys.sort_unstable_by(|one, other| one.bytes().cmp(other.bytes())),
            Order::Descending => keys.sort_unstable_by(|one, other| other.bytes().cmp(one.bytes())),
        }
        let more = end.is_some() || keys.len() > wanted;
        keys.truncate(wanted);
        Ok((keys, more))
    }

    /// The next keys of one partition.
    pub(crate) async fn keys(&self, partition: Partition, range: &Range, limit: usize) -> Result<Vec<Key>> {
        let mut command = match range.order {
            Order::Ascending => cmd("ZRANGEBYLEX"),
            Order::Descending => cmd("ZREVRANGEBYLEX"),
        };
        let (from, to) = match range.order {
            Order::Ascending => (&range.low, &range.high),
            Order::Descending => (&range.high, &range.low),
        };
        command.arg(self.names.index(partition)).arg(from).arg(to).arg("LIMIT").arg(0).arg(limit);
        let members: Vec<Vec<u8>> = from_redis_value(self.read_call(partition, command).await?).map_err(strange)?;
        members.into_iter().map(|member| record::indexed(partition, member)).collect()
    }

    /// The records of these keys that live, in the same order. Entries without a record are taken out of their index.
    async fn read(&self, keys: Vec<Key>) -> Result<Vec<(Key, Record)>> {
        let mut of_partition: Vec<(Partition, Vec<usize>)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match of_partition
                .iter_mut()
                .find(|(partition, places)| *partition == key.partition() && places.len() < MOST_RECORDS)
            {
                Some((_, places)) => places.push(at),
                None => of_partition.push((key.partition(), vec![at])),
            }
        }
        let mut reads = Vec::with_capacity(of_partition.len());
        for (partition, places) in &of_partition {
            reads.push(self.read_of_one(*partition, places.iter().map(|at| &keys[*at]).collect()));
        }
        let read: Vec<Vec<Option<Record>>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut found = vec![None; keys.len()];
        for ((_, places), records) in of_partition.into_iter().zip(read) {
            for (at, record) in places.into_iter().zip(records) {
                found[at] = record;
            }
        }
        Ok(keys.into_iter().zip(found).filter_map(|(key, record)| Some((key, record?))).collect())
    }

    /// The records of these keys of one partition; `None` for those that do not live.
    async fn read_of_one(&self, partition: Partition, keys: Vec<&Key>) -> Result<Vec<Option<Record>>> {
        let mut command = cmd("MGET");
        for key in &keys {
            command.arg(self.names.record(partition, key.bytes()));
        }
        let values: Vec<Option<Vec<u8>>> =
            from_redis_value(self.read_call(partition, command).await?).map_err(strange)?;
        let gone = |(key, value): (&&Key, &Option<Vec<u8>>)| value.is_none().then(|| key.bytes().to_vec());
        let gone: Vec<_> = keys.iter().zip(&values).filter_map(gone).collect();
        if !gone.is_empty() {
            self.tidy(partition, gone).await?;
        }
        values.into_iter().map(|value| value.map_or(Ok(None), |value| record::read(value, self.now))).collect()
    }

    /// Takes those of these entries out of the index of their partition that have no record; tells how many.
    pub(crate) async fn tidy(&self, partition: Partition, members: Vec<Vec<u8>>) -> Result<usize> {
        let index = self.names.index(partition).into_bytes();
        let records = members.iter().map(|member| self.names.record(partition, member));
        let keys = std::iter::once(index).chain(records).collect();
        let command = Command::Script { script: self.tidy, keys, arguments: members };
        let call = Call { partition, errand: Errand::Upkeep, command, then: None };
        from_redis_value(self.servers.call(&call).await?.0).map_err(strange)
    }

    async fn read_call(&self, partition: Partition, command: redis::Cmd) -> Result<Value> {
        let call = Call { partition, errand: Errand::Read, command: Command::Plain(command), then: None };
        Ok(self.servers.call(&call).await?.0)
    }
}

/// A server that answers with something else than what the command answers.
pub(crate) fn strange(error: redis::ParsingError) -> Error {
    Error::internal(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(prefix: &[u8], descending: bool, after: Option<&[u8]>) -> Option<(String, String)> {
        let prefix = Prefix::new(prefix, None);
        let prefix = if descending { prefix.descending() } else { prefix };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Range::new(&prefix, after).map(|range| (text(range.low), text(range.high)))
    }

    #[test]
    fn a_range_has_what_begins_with_the_prefix_and_comes_after() {
        let some = |low: &str, high: &str| Some((low.to_owned(), high.to_owned()));
        assert_eq!(range(b"ab", false, None), some("[ab", "(ac"));
        assert_eq!(range(b"", false, None), some("[", "+"));
        assert_eq!(Range::new(&Prefix::new([b'a', 0xff], None), None).unwrap().high, b"(b");
        assert_eq!(range(b"ab", false, Some(b"abc")), some("(abc", "(ac"));
        assert_eq!(range(b"ab", true, Some(b"abc")), some("[ab", "(abc"));
        assert_eq!(range(b"ab", false, Some(b"aa")), some("[ab", "(ac"), "all is still to come");
        assert_eq!(range(b"ab", true, Some(b"ad")), some("[ab", "(ac"));
        assert_eq!(range(b"ab", false, Some(b"ad")), None);
        assert_eq!(range(b"ab", true, Some(b"aa")), None);
    }
}
