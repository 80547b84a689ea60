//! Turns calls away before they begin when too many are under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::grpc::held::Held;
use crate::shedding::{Place, Priority, Room};
use crate::status::to_status;

/// Gives calls their place in the room.
#[derive(Debug, Clone)]
pub struct Shedding {
    room: Arc<Room>,
}

/// A service that begins no more calls than there is room for.
#[derive(Debug, Clone)]
pub struct Shed<S> {
    inner: S,
    room: Arc<Room>,
}

pin_project! {
    /// An answer that keeps its place until it has been sent.
    #[project = SheddingStep]
    pub enum Placed<F> {
        Refused { answer: Option<Response<Body>> },
        Begun { #[pin] answer: F, place: Option<Place> },
    }
}

// === impl Shedding ===

impl Shedding {
    pub fn new(room: Arc<Room>) -> Self {
        Self { room }
    }
}

impl<S> Layer<S> for Shedding {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, room: Arc::clone(&self.room) }
    }
}

// === impl Shed ===

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Held<Body, Place>>;
    type Error = S::Error;
    type Future = Placed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.room.enter(Priority::of(request.uri().path())) {
            Ok(place) => Placed::Begun { answer: self.inner.call(request), place: Some(place) },
            Err(error) => Placed::Refused { answer: Some(to_status(&error).into_http()) },
        }
    }
}

// === impl Placed ===

impl<F, E> Future for Placed<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Held<Body, Place>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, place) = match self.project() {
            SheddingStep::Refused { answer } => (answer.take().unwrap_or_default(), None),
            SheddingStep::Begun { answer, place } => (ready!(answer.poll(context))?, place.take()),
        };
        Poll::Ready(Ok(answer.map(|body| Held::new(body, place))))
    }
}
