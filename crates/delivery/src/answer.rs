//! A receiver's answer: the head decides, the body is only looked at.
//!
//! The body is read up to its bound, so that a connection whose answer ends there can be used
//! again; what is beyond, what breaks or what never ends changes nothing about the outcome.
//! Nothing is decompressed, ever.

use std::time::{Duration, Instant, SystemTime};

use domain::{Outcome, Unwell};
use http::header::CONTENT_ENCODING;
use http::{Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::limits::{EXCERPT_BYTES_MAX, RESPONSE_BODY_READ_BYTES_MAX};
use crate::retry_after::retry_after;

/// Bytes of the body that are kept until the excerpt is made: some more than it may have, so that
/// a credential that lies across its end is seen whole.
const KEPT_BYTES_MAX: usize = EXCERPT_BYTES_MAX * 2;

/// The answer, as far as it is there.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    retry_after: Option<Duration>,
    /// Was it compressed, though nobody asked for it?
    is_encoded: bool,
    body: Incoming,
    pub(crate) head_at: Instant,
    pub(crate) kept: Vec<u8>,
    pub(crate) body_bytes: usize,
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn new(response: Response<Incoming>, now: SystemTime) -> Self {
        let (head, body) = response.into_parts();
        let is_encoded = head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
        Self {
            status: head.status,
            version: head.version,
            retry_after: retry_after(&head.headers, now),
            is_encoded,
            body,
            head_at: Instant::now(),
            kept: Vec::new(),
            body_bytes: 0,
            is_whole: false,
        }
    }

    /// Reads the body to its end or to the bound; true if that was its end.
    pub(crate) async fn read_body(&mut self) -> bool {
        while let Some(frame) = self.body.frame().await {
            let Ok(frame) = frame else { return false };
            let Ok(data) = frame.into_data() else { continue };
            let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len()).min(data.len());
            self.kept.extend_from_slice(&data[..room]);
            self.body_bytes += data.len();
            if self.body_bytes > RESPONSE_BODY_READ_BYTES_MAX {
                return false;
            }
        }
        self.is_whole = true;
        true
    }

    /// What the answer means.
    pub(crate) fn outcome(&self) -> Outcome {
        match Outcome::of_status(self.status.as_u16(), None) {
            Outcome::Unwell { cause: cause @ Unwell::Status(_), .. } => {
                Outcome::Unwell { cause, retry_after: self.retry_after }
            }
            outcome => outcome,
        }
    }

    /// The body can be shown as text unless it is compressed.
    pub(crate) fn is_text(&self) -> bool {
        !self.is_encoded
    }
}
