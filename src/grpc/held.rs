//! A body that keeps something until all of it has been sent, or nobody wants it any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// `body`, with `held` dropped when it is.
    #[derive(Debug, Default)]
    pub struct Held<B, H> {
        #[pin]
        body: B,
        held: Option<H>,
    }
}

// === impl Held ===

impl<B, H> Held<B, H> {
    pub fn new(body: B, held: Option<H>) -> Self {
        Self { body, held }
    }
}

impl<B: Body, H> Body for Held<B, H> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
