//! Which trace a piece of work belongs to, and how callers and we tell each other: W3C Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context-1/>).
//!
//! Knows the format and nothing of spans. What cannot be read is as if it were not there, as the standard has it.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};

/// Where a trace and the caller's place in it stand.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What other tracers have to say about a trace.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Most characters of a `tracestate` that are kept: what everybody must be able to pass on (§3.3.1.5).
const MAX_STATE: usize = 512;

/// Characters of a `traceparent` as version 00 has it.
const LENGTH: usize = 55;

const SAMPLED: u8 = 0x01;

/// A trace, and a span in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// The 32 digits of a trace, for logs.
#[derive(Clone, Copy)]
pub struct TraceId(u128);

// === impl TraceContext ===

impl TraceContext {
    /// `None` for an id that is all zeros, which means nothing.
    pub fn new(trace: u128, span: u64, sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled })
    }

    /// What the headers of a call say; `None` when they say nothing, more than one thing, or nothing that makes sense.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let (first, second) = (given.next()?, given.next());
        if second.is_some() { None } else { Self::parse(first.as_bytes()) }
    }

    /// `version-trace-span-flags` in small hexadecimal digits. A later version may have more behind that.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = [(0, 2), (3, 35), (36, 52), (53, 55)].map(|(from, to)| &known[from..to]);
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let version = hexadecimal(version)?;
        let whole = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        if !dashes || !whole {
            return None;
        }
        let flags = u8::try_from(hexadecimal(flags)?).ok()?;
        Self::new(hexadecimal(trace)?, u64::try_from(hexadecimal(span)?).ok()?, flags & SAMPLED != 0)
    }

    /// The same trace, at another span of it.
    pub fn at(self, span: u64) -> Option<Self> {
        Self::new(self.trace, span, self.sampled)
    }

    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace)
    }

    pub fn trace_bytes(self) -> [u8; 16] {
        self.trace.to_be_bytes()
    }

    pub fn span_bytes(self) -> [u8; 8] {
        self.span.to_be_bytes()
    }

    /// Whether whoever began the trace wants it recorded.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }

    /// A `traceparent`.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// As in `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 27 bytes.
impl<C> Encode<C> for TraceContext {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(&self.trace_bytes());
        bytes[16..24].copy_from_slice(&self.span_bytes());
        bytes[24] = u8::from(self.sampled);
        e.bytes(&bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for TraceContext {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::message("a trace context is 25 bytes whose ids are not zero");
        let bytes: [u8; 25] = d.bytes()?.try_into().map_err(|_| wrong())?;
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&bytes[..16]);
        span.copy_from_slice(&bytes[16..24]);
        let context = Self::new(u128::from_be_bytes(trace), u64::from_be_bytes(span), bytes[24] & SAMPLED != 0);
        context.ok_or_else(wrong)
    }
}

// === impl TraceId ===

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What other tracers say of a call's trace, in the order in which it came; `None` when they say nothing, nothing that
/// can be passed on, or too much.
pub fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut state = String::new();
    for part in headers.get_all(TRACESTATE) {
        let part = part.to_str().ok()?.trim();
        if !part.is_empty() {
            state.push_str(if state.is_empty() { "" } else { "," });
            state.push_str(part);
        }
        if state.len() > MAX_STATE {
            return None;
        }
    }
    Some(state).filter(|state| !state.is_empty())
}

fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_the_standard_shows_is_read_and_written() {
        let context = TraceContext::of_headers(&headers(&TRACEPARENT, &[GIVEN])).unwrap();
        assert_eq!(context.to_header(), GIVEN);
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled());
        assert_eq!(minicbor::decode::<TraceContext>(&minicbor::to_vec(context).unwrap()).unwrap(), context);
        assert_eq!(minicbor::to_vec(context).unwrap().len(), 27);
    }

    #[test]
    fn what_makes_no_sense_is_as_if_it_were_not_there() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(TraceContext::of_headers(&headers(&TRACEPARENT, &[GIVEN, GIVEN])), None);
        assert_eq!(TraceContext::of_headers(&HeaderMap::new()), None);
        assert!(minicbor::decode::<TraceContext>(&minicbor::to_vec(vec![0_u8; 25]).unwrap()).is_err());
    }

    #[test]
    fn later_versions_are_read_as_far_as_we_know_them() {
        for later in [GIVEN.replacen("00", "01", 1), GIVEN.replacen("00", "cc", 1) + "-what-the-future-brings"] {
            assert_eq!(TraceContext::parse(later.as_bytes()).unwrap().to_string(), GIVEN);
        }
        // Flags that we do not know are not passed on.
        let unsampled = TraceContext::parse(&[&GIVEN.as_bytes()[..53], b"fe"].concat()).unwrap();
        assert!(!unsampled.is_sampled() && unsampled.to_string().ends_with("-00"));
    }

    #[test]
    fn the_state_of_a_trace_is_kept_in_order_and_within_bounds() {
        assert_eq!(tracestate(&headers(&TRACESTATE, &["a=1,b=2", "", " c=3 "])).as_deref(), Some("a=1,b=2,c=3"));
        assert_eq!(tracestate(&HeaderMap::new()), None);
        assert_eq!(tracestate(&headers(&TRACESTATE, &[&"x".repeat(513)])), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_read_is_written_the_same(text in "[0-9a-f-]{50,60}|00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]") {
            if let Some(context) = TraceContext::parse(text.as_bytes()) {
                prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
            }
        }
    }
}
