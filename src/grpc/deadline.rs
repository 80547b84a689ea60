//! Ends calls at the deadline that their callers set, with the error that the contract promises. Whoever sets none, or a
//! far one, is answered within a time of ours; only a stream that has begun may take longer.
//!
//! tonic has a timer of its own, which cannot be turned off, but it answers CANCELLED, and it looks no more once a stream
//! has begun. So this one goes off a moment before it, and goes on through the stream. What a call has begun outside
//! itself goes on, as when its caller hangs up.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::error::{Error, Kind, Reason};
use crate::status;

/// Header of a call: digits and a unit, as the gRPC protocol over HTTP/2 has it under `Timeout`.
const TIMEOUT: &str = "grpc-timeout";

/// What people are told. Plain ASCII, and sent as it is: it tends to arrive in the very moment in which the client gives
/// up by itself, and grpcio then forgets to decode what tonic would have encoded, and finds fault with the details.
const PASSED: &str = "the deadline of the call has passed; the change may or may not have been made";

/// How much before the deadline we answer at most, so that the answer is there in time and tonic's is not.
const MARGIN: Duration = Duration::from_millis(10);

/// Gives calls their deadlines.
#[derive(Debug, Clone)]
pub struct Deadlines {
    clock: Arc<dyn Clock>,
    longest: Duration,
}

/// A service whose calls end in time.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    inner: S,
    deadlines: Deadlines,
}

/// An answer under way, until its deadline.
struct Ending {
    /// None once the deadline has passed.
    answer: Option<Body>,
    deadline: Sleep,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

// === impl Deadlines ===

impl Deadlines {
    /// `longest`: how long an answer may take to begin, whatever its caller asks for.
    pub fn new(clock: Arc<dyn Clock>, longest: Duration) -> Self {
        Self { clock, longest }
    }

    fn after(&self, limit: Duration) -> Sleep {
        self.clock.sleep_until(self.clock.now() + limit)
    }
}

impl<S> Layer<S> for Deadlines {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, deadlines: self.clone() }
    }
}

// === impl Timed ===

impl<S, B> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Error: Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let limit = request.headers().get(TIMEOUT).and_then(parse_timeout);
        let deadline = limit.map(|limit| self.deadlines.after(limit - MARGIN.min(limit / 10)));
        let deadlines = self.deadlines.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = pin!(answer);
            // Most calls are answered without waiting, and need no timer.
            let at_once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await;
            if let Poll::Ready(answer) = at_once {
                return answer.map(|answer| until(answer, deadline));
            }
            let ours = limit.is_none_or(|limit| limit > deadlines.longest);
            let begun = match deadline {
                Some(deadline) if !ours => match select(answer, deadline).await {
                    Either::Left((answer, deadline)) => Some((answer, Some(deadline))),
                    Either::Right(_) => None,
                },
                deadline => match select(answer, deadlines.after(deadlines.longest)).await {
                    Either::Left((answer, _)) => Some((answer, deadline)),
                    Either::Right(_) => None,
                },
            };
            match begun {
                Some((answer, deadline)) => answer.map(|answer| until(answer, deadline)),
                None => Ok(too_late()),
            }
        })
    }
}

/// An answer that has begun, and ends at the deadline that its caller set, if any.
fn until(answer: Response<Body>, deadline: Option<Sleep>) -> Response<Body> {
    let Some(deadline) = deadline else { return answer };
    answer.map(|answer| Body::new(Ending { answer: Some(answer), deadline }))
}

fn too_late() -> Response<Body> {
    let mut answer = passed().into_http();
    say_plainly(answer.headers_mut());
    answer
}

/// None for what is no timeout: such a call has no deadline.
fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn passed() -> Status {
    status::to_status(&Error::new(Kind::Deadline, Reason::DeadlineExceeded, PASSED))
}

/// Undoes the encoding of blanks, which the protocol does not ask for.
fn say_plainly(headers: &mut HeaderMap) {
    headers.insert(Status::GRPC_MESSAGE, HeaderValue::from_static(PASSED));
}

// === impl Ending ===

impl http_body::Body for Ending {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(answer).poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        self.answer = None;
        let mut trailers = HeaderMap::new();
        let added = passed().add_header(&mut trailers);
        say_plainly(&mut trailers);
        Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Not that of the answer, which may be cut short.
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let parse = |text: &'static str| parse_timeout(&HeaderValue::from_static(text));
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse("15m"), Some(Duration::from_millis(15)));
        assert_eq!(parse("0u"), Some(Duration::ZERO));
        assert_eq!(parse("7n"), Some(Duration::from_nanos(7)));
        for none in ["", "S", "5", "5s", "-5S", "+5S", "1.5S", "123456789S", "5 S", "5SS"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
