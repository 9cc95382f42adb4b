//! A request's body, read whole: within its maximum and its time.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{Code, Problem};
use crate::limits::{BODY_BYTES_MAX, BODY_DRAIN_BYTES_MAX, BODY_WAIT_MAX};

/// Reads a body. One that is too large is read on for a while and thrown away: a sender whose connection is closed
/// while it still sends may never see the answer.
pub(super) async fn collect<B>(body: B) -> Result<Vec<u8>, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let late = format!("the body did not arrive within {} s", BODY_WAIT_MAX.as_secs());
    timeout(BODY_WAIT_MAX, read(body)).await.unwrap_or_else(|_| Err(Problem::new(Code::MalformedBody, late)))
}

async fn read<B>(mut body: B) -> Result<Vec<u8>, Problem>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut kept = Vec::new();
    let mut len = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
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
            if len <= BODY_BYTES_MAX {
                kept.extend_from_slice(&data);
            } else {
                kept = Vec::new();
            }
        }
    }
    if len <= BODY_BYTES_MAX {
        Ok(kept)
    } else {
        let detail = format!("the body is too large; {BODY_BYTES_MAX} bytes are allowed");
        Err(Problem::new(Code::BodyTooLarge, detail))
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
        let collected = collect(body).await;
        collected.map(|body| body.len()).map_err(|problem| problem.code().as_str())
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
        assert_eq!(code(Never).await, Err("malformed_body"));
    }
}
