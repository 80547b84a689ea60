//! Time, passed in: a timestamp in milliseconds, the clock that tells it, and how a span of it is written.
//!
//! Nothing else in the house may ask the operating system for the time, so a test moves time by hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Milliseconds since the Unix epoch, UTC. Never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// How far the clocks of nodes may be apart, and one clock be set back, with nobody taking note of it.
pub const TOLERANCE: Duration = Duration::from_secs(60);

/// Tells the time and waits for it.
pub trait Clock: Send + Sync + fmt::Debug {
    fn now(&self) -> Timestamp;

    /// Nanoseconds since the Unix epoch, for measuring what takes less than a millisecond. Nothing is decided by it.
    fn nanos(&self) -> u64 {
        self.now().as_millis().saturating_mul(1_000_000)
    }

    /// Completes once `now()` has reached `at`; at once when it already has. Should the clock be set back meanwhile, it
    /// completes when as much time has gone by as `at` was away, so that nobody who waits for a moment waits for a day.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that moves only when told to: for tests and simulations.
#[derive(Debug, Clone)]
pub struct ManualClock {
    reading: Arc<watch::Sender<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    now: Timestamp,
    /// Time that has gone by, whatever the clock was set to.
    gone: Duration,
}

// === impl Timestamp ===

impl Timestamp {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates instead of overflowing.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-22T05:16:00.125Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339, with whatever offset, from 1970 on: `2027-01-31T00:00:00Z`.
impl FromStr for Timestamp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "must be a time such as \"2027-01-31T00:00:00Z\"";
        let time: jiff::Timestamp = text.parse().map_err(|_| wanted)?;
        u64::try_from(time.as_millisecond()).map(Self).map_err(|_| wanted)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Timestamp {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u64(self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Timestamp {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.u64().map(Self)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a duration as configuration writes it: `"2s"`, `"1m30s"`, `"250ms"`. Never negative. For `deserialize_with`.
pub fn deserialize_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
    let wanted = "a duration such as \"2s\", \"250ms\" or \"1m30s\"";
    jiff::fmt::friendly::SpanParser::new()
        .parse_unsigned_duration(text.as_bytes())
        .map_err(|_| serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &wanted))
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis(elapsed))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn nanos(&self) -> u64 {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = *self;
        Box::pin(async move {
            // The wall clock may be set forward while we sleep on the monotonic one, so look again, at least each minute.
            let mut longest = at.since(clock.now());
            loop {
                let left = at.since(clock.now()).min(longest);
                if left.is_zero() {
                    return;
                }
                let turn = left.min(Duration::from_secs(60));
                tokio::time::sleep(turn).await;
                longest -= turn;
            }
        })
    }
}

// === impl ManualClock ===

impl ManualClock {
    pub fn new(now: Timestamp) -> Self {
        Self { reading: Arc::new(watch::Sender::new(Reading { now, gone: Duration::ZERO })) }
    }

    /// Moves time forward and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Duration) {
        self.reading.send_modify(|reading| *reading = Reading { now: reading.now + by, gone: reading.gone + by });
    }

    /// Sets the time, forward or back, as an operator or NTP might.
    pub fn set(&self, now: Timestamp) {
        self.reading.send_modify(|reading| reading.now = now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.reading.borrow().now
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut reading = self.reading.subscribe();
        Box::pin(async move {
            let began = *reading.borrow();
            let longest = began.gone + at.since(began.now);
            // The sender lives as long as the clock; a sleeper that outlives it never wakes.
            if reading.wait_for(|reading| reading.now >= at || reading.gone >= longest).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_rfc3339() {
        assert_eq!(Timestamp::from_millis(1_795_324_560_125).to_string(), "2026-11-22T05:16:00.125Z");
        assert_eq!(Timestamp::default().to_string(), "1970-01-01T00:00:00.000Z");
        assert!(Timestamp::from_millis(u64::MAX).to_string().ends_with("ms"));
    }

    #[test]
    fn timestamps_are_read_as_people_write_them() {
        let at = Timestamp::from_millis(1_795_324_560_125);
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!("2026-11-22T13:16:00.125+08:00".parse(), Ok(at));
        for bad in ["", "2027-01-31", "2027-02-30T00:00:00Z", "1969-12-31T23:59:59Z", "2027-01-31T00:00:00", "soon"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = |text: &str| deserialize_duration(serde_json::Value::from(text));
        assert_eq!(read("2s").unwrap(), Duration::from_secs(2));
        assert_eq!(read("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(read("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "2", "-2s", "2s ago", "soon"] {
            assert!(read(bad).unwrap_err().to_string().contains("such as \"2s\""), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_only_when_their_time_has_come() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let early = tokio::spawn(clock.sleep_until(Timestamp::from_millis(2_000)));
        let late = tokio::spawn(clock.sleep_until(Timestamp::from_millis(2_001)));
        clock.advance(Duration::from_secs(1));
        early.await.unwrap();
        assert!(!late.is_finished());
        clock.advance(Duration::from_millis(1));
        late.await.unwrap();
    }

    #[tokio::test]
    async fn who_sleeps_while_the_clock_is_set_back_sleeps_no_longer_for_it() {
        let clock = ManualClock::new(Timestamp::from_millis(100_000));
        let sleeping = tokio::spawn(clock.sleep_until(Timestamp::from_millis(105_000)));
        tokio::task::yield_now().await;
        clock.set(Timestamp::from_millis(10_000));
        clock.advance(Duration::from_millis(4_999));
        tokio::task::yield_now().await;
        assert!(!sleeping.is_finished());
        clock.advance(Duration::from_millis(1));
        sleeping.await.unwrap();
    }
}
