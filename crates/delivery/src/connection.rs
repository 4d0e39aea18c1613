//! One connection to one merchant, carrying one request at a time.
//!
//! It is made of parts that its owner holds alone: dropping it ends every task and closes the
//! socket at once, so a late answer has nobody left to be mistaken for another's. It never opens
//! itself again and never repeats a request.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::AbortHandle;

use crate::alert::Alert;
use crate::dial::Dialled;
use crate::failure::Failure;
use crate::limits::{
    RESPONSE_BODY_READ_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEADER_LINES_MAX,
};
use crate::meter::Meter;

/// A connection that can carry a request.
pub(crate) struct Connection {
    sender: Sender,
    pub(crate) address: SocketAddr,
    pub(crate) meter: Meter,
    alert: Alert,
    _tasks: OwnedTasks,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Why there is no answer.
pub(crate) enum SendError {
    /// The connection was closed before anything of the request was sent: another may carry it.
    Unsent,
    /// The request may have arrived, in whole or in part.
    Sent(Failure),
}

impl Connection {
    /// Speaks HTTP on a connection that was just made.
    pub(crate) async fn open(dialled: Dialled) -> Result<Self, Failure> {
        // From here on the tasks end with their owner, also when this future is given up.
        let owned = OwnedTasks::default();
        let tasks = &owned.0;
        let io = TokioIo::new(dialled.stream);
        let sender = if dialled.is_http2 {
            let (sender, connection) = http2_options(tasks)
                .handshake(io)
                .await
                .map_err(|error| Failure::exchange(&error))?;
            tasks.spawn(async {
                // Its errors come out where the request waits.
                let _ = connection.await;
            });
            Sender::Http2(sender)
        } else {
            let (sender, connection) =
                http1_options().handshake(io).await.map_err(|error| Failure::exchange(&error))?;
            tasks.spawn(async {
                let _ = connection.await;
            });
            Sender::Http1(sender)
        };
        let Dialled { address, meter, alert, .. } = dialled;
        Ok(Self { sender, address, meter, alert, _tasks: owned })
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Is it closed? (It may still be closed by the time that a request is written.)
    pub(crate) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Waits until the answer before is out of the way; false if the connection is closed.
    pub(crate) async fn is_ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// What the server said by TLS when it ended the connection, if it did.
    pub(crate) fn refused_by_tls(&self) -> Option<Failure> {
        self.alert.get().map(Failure::alert)
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendError> {
        let result = match &mut self.sender {
            Sender::Http1(sender) => sender.try_send_request(request).await,
            Sender::Http2(sender) => sender.try_send_request(request).await,
        };
        let response = result.map_err(|mut error| {
            if error.take_message().is_some() {
                SendError::Unsent
            } else if self.meter.is_used_up() {
                SendError::Sent(Failure::too_large())
            } else {
                let refused = self.refused_by_tls();
                SendError::Sent(refused.unwrap_or_else(|| Failure::exchange(error.error())))
            }
        })?;
        // An answer that switches protocols was not asked for; HTTP/2 has no bound on lines.
        if response.status().is_informational() {
            return Err(SendError::Sent(Failure::invalid_response()));
        }
        if response.headers().len() > RESPONSE_HEADER_LINES_MAX {
            return Err(SendError::Sent(Failure::too_large()));
        }
        Ok(response)
    }
}

/// Every option of HTTP/1.1 that matters here, with its reason.
fn http1_options() -> http1::Builder {
    let mut options = http1::Builder::new();
    options
        // The head's bounds: lines and bytes. The second also bounds what is buffered unread.
        .max_headers(RESPONSE_HEADER_LINES_MAX)
        .max_header_size(RESPONSE_HEAD_BYTES_MAX)
        .max_buf_size(RESPONSE_HEAD_BYTES_MAX)
        // Two parties that read one head differently are how requests are smuggled.
        .http09_responses(false)
        .allow_spaces_after_header_name_in_responses(false)
        .allow_obsolete_multiline_headers_in_responses(false)
        .ignore_invalid_headers_in_responses(false);
    options
}

/// Every option of HTTP/2 that matters here, with its reason.
fn http2_options(tasks: &Tasks) -> http2::Builder<Tasks> {
    let window = u32::try_from(RESPONSE_BODY_READ_BYTES_MAX).unwrap_or(u32::MAX);
    let head = u32::try_from(RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX);
    let mut options = http2::Builder::new(tasks.clone());
    options
        .timer(TokioTimer::new())
        // The receiver may send as much as we read, and no more.
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .adaptive_window(false)
        .max_header_list_size(head)
        // The smallest that the protocol allows: what is buffered of one frame.
        .max_frame_size(16 * 1024)
        // No table of headers to be kept for the receiver.
        .header_table_size(0)
        // One request at a time needs few streams remembered and little buffered.
        .max_concurrent_reset_streams(4)
        .max_local_error_reset_streams(Some(4))
        .max_pending_accept_reset_streams(Some(4))
        .max_send_buf_size(64 * 1024)
        // An idle connection lives for seconds: nothing to keep alive.
        .keep_alive_interval(None);
    options
}

/// The tasks of one connection, ended with it.
#[derive(Default)]
struct OwnedTasks(Tasks);

/// Where a connection's tasks are started; its HTTP/2 half holds one as well.
#[derive(Clone, Default)]
struct Tasks(Arc<Handles>);

#[derive(Default)]
struct Handles(Mutex<Vec<AbortHandle>>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        let mut handles = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        handles.retain(|handle| !handle.is_finished());
        handles.push(handle);
    }

    fn abort_all(&self) {
        let mut handles = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in handles.drain(..) {
            handle.abort();
        }
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.spawn(async {
            task.await;
        });
    }
}

impl Drop for OwnedTasks {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::attempt::Code;
    use crate::limits::RECEIVED_BYTES_MAX;
    use crate::watched::Watched;

    #[tokio::test]
    async fn what_a_fresh_connection_received_before_its_request_counts() {
        let (ours, mut theirs) = tokio::io::duplex(2 * RECEIVED_BYTES_MAX);
        let meter = Meter::full();
        let mut stream = Watched { inner: ours, watch: meter.clone() };
        // A handshake that left almost nothing.
        theirs.write_all(&vec![b'x'; RECEIVED_BYTES_MAX - 10]).await.expect("written");
        stream.read_exact(&mut vec![0; RECEIVED_BYTES_MAX - 10]).await.expect("read");
        let dialled = Dialled {
            stream: Box::new(stream),
            meter,
            alert: Alert::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            is_http2: false,
        };
        let mut connection = Connection::open(dialled).await.expect("a connection");
        let receiver = tokio::spawn(async move {
            theirs.read_u8().await.expect("a request");
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            theirs.write_all(answer).await.expect("written");
            theirs
        });
        let sent = connection.send(Request::new(Full::default())).await;
        let failure = match sent {
            Err(SendError::Sent(failure)) => failure,
            Err(SendError::Unsent) => panic!("it was not sent"),
            Ok(response) => panic!("received {response:?}"),
        };
        assert_eq!(failure.code, Code::ResponseTooLarge);
        drop(receiver);
    }

    #[tokio::test]
    async fn by_http2_a_receiver_is_told_how_little_it_may_send() {
        const PREFACE_BYTES: usize = 24;
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const WINDOW_UPDATE: u8 = 8;
        let (ours, mut theirs) = tokio::io::duplex(RECEIVED_BYTES_MAX);
        let dialled = Dialled {
            stream: Box::new(ours),
            meter: Meter::full(),
            alert: Alert::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            is_http2: true,
        };
        let _connection = Connection::open(dialled).await.expect("a connection");
        theirs.read_exact(&mut [0; PREFACE_BYTES]).await.expect("the preface");
        // Whatever it has to say comes before its answer to a ping.
        let hello =
            [&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0][..], &[0, 0, 8, PING, 0, 0, 0, 0, 0], &[7; 8]];
        theirs.write_all(&hello.concat()).await.expect("written");
        let (mut settings, mut window) = (std::collections::BTreeMap::new(), 65_535);
        loop {
            let mut head = [0; 9];
            theirs.read_exact(&mut head).await.expect("a frame's head");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("short")];
            theirs.read_exact(&mut payload).await.expect("a frame");
            let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |n, b| (n << 8) | u32::from(*b));
            match head[3] {
                SETTINGS => settings
                    .extend(payload.chunks(6).map(|one| (number(&one[..2]), number(&one[2..])))),
                WINDOW_UPDATE => window += number(&payload),
                PING => break,
                other => panic!("a frame of kind {other}"),
            }
        }
        // A table of headers, pushes, a stream's window, a frame, a list of headers.
        let told = [(1, 0), (2, 0), (4, 65_536), (5, 16_384), (6, 32_768)];
        assert_eq!(settings.into_iter().collect::<Vec<_>>(), told);
        assert!(window <= 65_536, "of the whole connection: {window}");
    }
}
