//! What is found out during an attempt, and the attempt that it becomes.
//!
//! It lives outside of the deadline, so that what was known when the deadline struck is kept.

use std::net::SocketAddr;
use std::time::Instant;

use domain::Outcome;
use tracing::Span;

use crate::answer::Answer;
use crate::attempt::{Attempt, Code, Detail, Split};
use crate::dial::micros;
use crate::excerpt::excerpt;
use crate::failure::Failure;
use crate::request::Request;
use crate::span;

/// An attempt that is under way.
pub(crate) struct Record {
    pub(crate) begun: Instant,
    pub(crate) split: Split,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) reused_connection: bool,
    pub(crate) answer: Option<Answer>,
    /// Of the request that was sent last; none when none was.
    pub(crate) post: Span,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            split: Split::default(),
            address: None,
            reused_connection: false,
            answer: None,
            post: Span::none(),
        }
    }
}

impl Record {
    /// The request goes over a connection that served before.
    pub(crate) fn reused(&mut self, address: SocketAddr) {
        self.reused_connection = true;
        self.address = Some(address);
    }

    /// The request is over.
    pub(crate) fn post_ended(&mut self) {
        self.post = Span::none();
    }

    /// The attempt ended without an answer.
    pub(crate) fn failed(mut self, failure: Failure) -> Attempt {
        span::failed(&self.post, failure.code);
        self.post_ended();
        let detail = self.detail(Some(failure.code), failure.sentence);
        self.attempt(failure.outcome, detail)
    }

    /// The attempt ended with an answer, which may not be whole.
    pub(crate) fn answered(mut self, request: &Request) -> Attempt {
        let Some(answer) = self.answer.take() else {
            return self.failed(Failure::invalid_response());
        };
        self.split.body_us = Some(micros(answer.head_at.elapsed()));
        let outcome = answer.outcome();
        let (code, sentence) = explain(outcome, answer.status.as_u16());
        let detail = Detail {
            http_version: Some(format!("{:?}", answer.version)),
            excerpt: excerpt_of(&answer, request),
            body_bytes: answer.body_bytes,
            body_truncated: !answer.is_whole,
            ..self.detail(code, sentence)
        };
        self.attempt(outcome, detail)
    }

    fn detail(&self, code: Option<Code>, sentence: String) -> Detail {
        Detail {
            code,
            sentence,
            address: self.address,
            reused_connection: self.reused_connection,
            http_version: None,
            split: self.split,
            excerpt: None,
            body_bytes: 0,
            body_truncated: false,
        }
    }

    fn attempt(self, outcome: Outcome, mut detail: Detail) -> Attempt {
        let duration = self.begun.elapsed();
        detail.split.total_us = micros(duration);
        Attempt { outcome, duration, detail }
    }
}

fn explain(outcome: Outcome, status: u16) -> (Option<Code>, String) {
    match (outcome, status) {
        (Outcome::Delivered { .. }, _) => (None, format!("Delivered: the answer was {status}.")),
        (Outcome::Gone, _) => {
            (Some(Code::Gone), "The endpoint says that it is gone (410).".to_owned())
        }
        (_, 300..=399) => (
            Some(Code::Redirect),
            format!("The answer was a redirect ({status}); redirects are never followed."),
        ),
        _ => (Some(Code::Status), format!("The answer was {status}; only 2xx is a success.")),
    }
}

fn excerpt_of(answer: &Answer, request: &Request) -> Option<String> {
    if answer.body_bytes == 0 {
        return None;
    }
    if !answer.is_text() {
        return Some(format!("[{} compressed bytes, not decoded]", answer.body_bytes));
    }
    let secrets: Vec<_> = request.secrets.iter().map(crate::secrets::Secret::reveal).collect();
    let headers = request.headers.map().values().filter_map(|value| value.to_str().ok());
    let credentials = secrets.iter().map(|secret| secret.as_str()).chain(headers);
    Some(excerpt(&answer.kept, credentials))
}
