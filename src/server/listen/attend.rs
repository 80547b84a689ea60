//! The calls of one connection: where they come from, how many are under way, and how long their bodies may take.
//!
//! Lies between the HTTP library and the services of a listener, and adds no allocation to a call whose body is there.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::rt::Sleep;
use hyper::{Request, Response};
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tower::util::Oneshot;
use tower::{Service, ServiceExt};
use tracing::error;

use crate::auth::caller::{Peer, Vouched};
use crate::error::{Error, Kind, Reason};
use crate::server::listen::client_address::Proxies;
use crate::server::listen::patience::after;
use crate::status::to_status;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Most bytes of a body that are read though nobody wants them, and for how long they are waited for.
const MOST_READ_OUT: usize = 64 * 1024;
const READ_OUT_TIME: Duration = Duration::from_secs(1);

/// The rpcs whose requests are streams, which have no end that could be waited for.
const STREAMS: &str = "/grpc.reflection.";

/// Hands the requests of one connection to the services.
#[derive(Debug)]
pub(crate) struct Attendant<S> {
    pub(crate) service: S,
    pub(crate) origin: Origin,
    pub(crate) activity: Arc<Activity>,
    /// How long the body of a request may take to come in.
    pub(crate) read: Duration,
}

/// Where a connection comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Address(IpAddr),
    /// Speaks for others.
    Proxy(IpAddr, Arc<Proxies>),
    /// From this machine, without an address, and perhaps from somebody whom we know.
    Local(Option<Vouched>),
}

/// What goes on, on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    under_way: AtomicUsize,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
struct UnderWay(Arc<Activity>);

/// The body of a request, which must be here in time. What nobody wanted to read of it is read all the same, when it is
/// dropped: HTTP/2 counts what arrives on a stream that we have left as an error of the peer's, and closes the
/// connections of those who make many, with the calls of everybody else on them.
pub(crate) struct Timely {
    /// There until it is dropped.
    body: Option<Incoming>,
    limit: Option<Duration>,
    /// Set when the body has to be waited for.
    timer: Option<Pin<Box<dyn Sleep>>>,
}

pin_project! {
    /// An answer that is being made.
    pub(crate) struct Attending<F> {
        #[pin]
        answer: F,
        call: Option<UnderWay>,
    }
}

pin_project! {
    /// The body of an answer.
    pub(crate) struct Attended<B> {
        #[pin]
        body: B,
        call: Option<UnderWay>,
    }
}

// === impl Attendant ===

impl<S, B> hyper::service::Service<Request<Incoming>> for Attendant<S>
where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<Attended<B>>;
    type Error = Infallible;
    type Future = Attending<Oneshot<S, Request<Timely>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let call = Some(UnderWay::begin(&self.activity));
        let limit = (!request.uri().path().starts_with(STREAMS)).then_some(self.read);
        let mut request = request.map(|body| Timely { body: Some(body), limit, timer: None });
        let peer = match &self.origin {
            Origin::Address(address) => Some(Peer(address.to_canonical())),
            Origin::Proxy(address, proxies) => Some(Peer(proxies.client(*address, request.headers()))),
            Origin::Local(vouched) => {
                if let Some(vouched) = vouched {
                    request.extensions_mut().insert(vouched.clone());
                }
                None
            }
        };
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        Attending { answer: self.service.clone().oneshot(request), call }
    }
}

// === impl Activity ===

impl Activity {
    /// How many calls there were.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }
}

// === impl UnderWay ===

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Timely ===

impl Body for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(limit) = this.limit else { return Poll::Pending };
        ready!(this.timer.get_or_insert_with(|| after(limit)).as_mut().poll(context));
        let message = "the message of the call took too long to come in";
        let late = to_status(&Error::new(Kind::Deadline, Reason::DeadlineExceeded, message));
        Poll::Ready(Some(Err(Box::new(late))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Incoming::size_hint)
    }
}

impl Drop for Timely {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            drop(runtime.spawn(read_out(rest)));
        }
    }
}

/// Reads what is left of a small body that will be here soon; a larger or later one is left to itself.
async fn read_out(mut body: Incoming) {
    let mut left = MOST_READ_OUT;
    let reading = async {
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = after(READ_OUT_TIME) => {}
    }
}

// === impl Attending ===

impl<F, B> Future for Attending<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<Attended<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context))?;
        let call = this.call.take();
        Poll::Ready(Ok(answer.map(|body| Attended { body, call })))
    }
}

// === impl Attended ===

impl<B> Body for Attended<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let body = self.project().body;
        // A stream that panics ends alone; see `server::barrier` for the calls themselves.
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(context))) {
            Ok(frame) => frame.map(|frame| frame.map(|frame| frame.map_err(Into::into))),
            Err(_) => {
                error!("an answer panicked on its way, and was cut off");
                Poll::Ready(Some(Err("the answer was cut off".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
