//! Answers that go on, for as long as their caller may have them.

use std::pin::Pin;

use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use tonic::Status;

use crate::error::Error;
use crate::grpc::convert::to_status;

/// The answers of one call.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The same answers, ended by an error once `closed` completes.
pub fn until<T: Send + 'static>(
    answers: impl Stream<Item = Result<T, Status>> + Send + 'static,
    closed: impl Future<Output = Error> + Send + 'static,
) -> Answers<T> {
    let state = Some((answers.boxed(), Box::pin(closed)));
    Box::pin(unfold(state, async |state| {
        let (mut answers, closed) = state?;
        match select(closed, answers.next()).await {
            Either::Left((error, _)) => Some((Err(to_status(error)), None)),
            Either::Right((answer, closed)) => answer.map(|answer| (answer, Some((answers, closed)))),
        }
    }))
}
