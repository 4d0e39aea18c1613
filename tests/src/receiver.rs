//! A merchant of the test's own: keeps every request whole, answers as the script says.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::until;

/// What the receiver does with one request.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Answers with this status, and wants to be left alone for so many seconds.
    RetryAfter(u16, u32),
    /// Answers 200, after so long.
    Late(Duration),
    /// Answers 500, and in the body with the request's `authorization`, spelt as PHP's JSON does.
    Echo,
    /// Never answers.
    Hang,
}

/// A request, whole.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its headers, names in lower case.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// What it was answered; none: nothing.
    pub answered: Option<u16>,
    /// When it came.
    pub at: Instant,
}

impl Request {
    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The id of the payment it is about.
    pub fn payment(&self) -> String {
        self.json()["data"]["id"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a receiver does with a payment of this amount; none: as its script says.
type Rule = Box<dyn Fn(i64) -> Option<Answer> + Send>;

#[derive(Default)]
struct Book {
    rule: Option<Rule>,
    script: VecDeque<Answer>,
    requests: Vec<Request>,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule: _, script, requests } = self;
        f.debug_struct("Book").field("script", script).field("requests", requests).finish()
    }
}

/// A running receiver; it ends with the test's runtime.
#[derive(Debug, Clone)]
pub struct Receiver {
    url: String,
    book: Arc<Mutex<Book>>,
}

impl Receiver {
    /// One that answers 200.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/webhooks", listener.local_addr()?);
        let book = Arc::new(Mutex::new(Book::default()));
        let routes = Router::new().fallback(receive).with_state(Arc::clone(&book));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { url, book })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it does with the next requests; after that it answers 200.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.book).script = answers.into_iter().collect();
    }

    /// What it does with a payment, by its amount; before what its script says.
    pub fn rule(&self, rule: impl Fn(i64) -> Option<Answer> + Send + 'static) {
        lock(&self.book).rule = Some(Box::new(rule));
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.book).requests.clone()
    }

    /// The requests that were answered 2xx.
    pub fn accepted(&self) -> Vec<Request> {
        let is_accepted = |request: &Request| request.answered.is_some_and(|s| s / 100 == 2);
        self.requests().into_iter().filter(is_accepted).collect()
    }

    /// Waits until `count` requests have been accepted; all of them.
    ///
    /// # Errors
    /// When they do not come in time.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> anyhow::Result<Vec<Request>> {
        until(&format!("{count} webhooks"), limit, async || {
            let accepted = self.accepted();
            ensure!(accepted.len() >= count, "{} arrived", accepted.len());
            Ok(accepted)
        })
        .await
        .context("at the test's own receiver")
    }
}

async fn receive(
    State(book): State<Arc<Mutex<Book>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let echo = headers.get("authorization").and_then(|value| value.to_str().ok());
    let echo = echo.unwrap_or_default().replace('/', r"\/");
    let answer = {
        let mut book = lock(&book);
        let amount = || {
            let body: Value = serde_json::from_slice(&body).ok()?;
            body["data"]["amount"].as_i64()
        };
        let ruled = book.rule.as_ref().and_then(|rule| rule(amount()?));
        let scripted = || book.script.pop_front().unwrap_or(Answer::Status(200));
        let answer = ruled.unwrap_or_else(scripted);
        let answered = match answer {
            Answer::Status(status) | Answer::RetryAfter(status, _) => Some(status),
            Answer::Late(_) => Some(200),
            Answer::Echo => Some(500),
            Answer::Hang => None,
        };
        book.requests.push(Request { headers, body, answered, at: Instant::now() });
        answer
    };
    let status = |status| StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::RetryAfter(code, seconds) => {
            (status(code), [("retry-after", seconds.to_string())]).into_response()
        }
        Answer::Echo => (StatusCode::INTERNAL_SERVER_ERROR, echo).into_response(),
        Answer::Late(after) => {
            tokio::time::sleep(after).await;
            StatusCode::OK.into_response()
        }
        Answer::Hang => std::future::pending().await,
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
