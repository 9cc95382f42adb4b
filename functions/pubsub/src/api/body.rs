//! A request's body, read whole: within its maximum and its time.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Code, Problem};
use crate::limits::{BODIES_BYTES_MAX, BODY_BYTES_MAX, BODY_DRAIN_BYTES_MAX, BODY_UNCOUNTED_BYTES, BODY_WAIT_MAX};

/// The bodies that are being read.
pub(super) struct Bodies {
    /// The bytes that larger bodies may still take.
    room: Arc<Semaphore>,
}

/// What a body counts for until it is dropped: nothing if it is small.
pub(super) struct BodyPermit(Option<OwnedSemaphorePermit>);

impl Default for Bodies {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(BODIES_BYTES_MAX)) }
    }
}

impl Bodies {
    /// Reads a body. One that is too large is read a while longer and thrown away: if the connection were closed while
    /// the client still sends, the client might never see the answer.
    pub(super) async fn collect<B>(&self, body: B) -> Result<(Vec<u8>, BodyPermit), Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let late = format!("the body did not arrive within {} s", BODY_WAIT_MAX.as_secs());
        timeout(BODY_WAIT_MAX, self.read(body)).await.unwrap_or_else(|_| Err(Problem::new(Code::SlowBody, late)))
    }

    async fn read<B>(&self, mut body: B) -> Result<(Vec<u8>, BodyPermit), Problem>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut kept = Vec::new();
        let mut counted = BodyPermit(None);
        let declared = body.size_hint();
        let mut len = usize::try_from(declared.lower()).unwrap_or(usize::MAX);
        if len <= BODY_DRAIN_BYTES_MAX {
            len = 0;
            while len <= BODY_DRAIN_BYTES_MAX
                && let Some(frame) = body.frame().await
            {
                let broken = |_| Problem::new(Code::MalformedBody, "the body broke off");
                let Ok(data) = frame.map_err(broken)?.into_data() else {
                    continue;
                };
                len += data.len();
                if len > BODY_BYTES_MAX {
                    (kept, counted) = (Vec::new(), BodyPermit(None));
                    continue;
                }
                if len > BODY_UNCOUNTED_BYTES && counted.0.is_none() {
                    let whole = declared.upper().and_then(|upper| usize::try_from(upper).ok());
                    let whole = whole.unwrap_or(BODY_BYTES_MAX).clamp(len, BODY_BYTES_MAX);
                    counted = self.count(whole)?;
                    kept.reserve_exact(whole - kept.len());
                }
                kept.extend_from_slice(&data);
            }
        }
        if len <= BODY_BYTES_MAX {
            Ok((kept, counted))
        } else {
            let detail = format!("the body is too large; {BODY_BYTES_MAX} bytes are allowed");
            Err(Problem::new(Code::BodyTooLarge, detail))
        }
    }

    fn count(&self, bytes: usize) -> Result<BodyPermit, Problem> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        let full = |_| Problem::new(Code::Overloaded, "too many large bodies are under way; nothing was published");
        room.map(|permit| BodyPermit(Some(permit))).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    struct Never;
    impl Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    async fn code(body: impl Body<Data = Bytes> + Unpin) -> Result<usize, &'static str> {
        let collected = Bodies::default().collect(body).await;
        collected.map(|(body, _)| body.len()).map_err(|problem| problem.code().as_str())
    }

    #[tokio::test]
    async fn a_body_has_at_most_its_maximum() {
        let full = Full::from(vec![0; BODY_BYTES_MAX]);
        assert_eq!(code(full).await, Ok(BODY_BYTES_MAX));
        for len in [BODY_BYTES_MAX + 1, BODY_DRAIN_BYTES_MAX + 1] {
            assert_eq!(code(Full::from(vec![0; len])).await, Err("body_too_large"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        assert_eq!(code(Never).await, Err("slow_body"));
    }

    #[tokio::test]
    async fn large_bodies_under_way_have_a_maximum_in_all_and_small_ones_are_taken_all_the_same() {
        let bodies = Bodies::default();
        let full = || Full::<Bytes>::from(vec![0; BODY_BYTES_MAX]);
        let mut under_way = Vec::new();
        for _ in 0..BODIES_BYTES_MAX / BODY_BYTES_MAX {
            under_way.push(bodies.collect(full()).await.map(|(_, counted)| counted).unwrap());
        }
        let refused = bodies.collect(full()).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code().as_str(), "overloaded");
        assert!(bodies.collect(Full::from(vec![0; BODY_UNCOUNTED_BYTES])).await.is_ok());
        under_way.pop();
        assert!(bodies.collect(full()).await.is_ok());
    }
}
