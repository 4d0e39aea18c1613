//! How spans leave the process: by OTLP, in batches, from a bounded queue, and never at the cost of
//! what they tell of.
//!
//! A full queue drops what comes; an endpoint that is away, silent or slow is waited for some
//! seconds for each batch, by a thread of its own. What is lost is counted, and said once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::runtime::Handle;

use crate::losing::{Bounded, Losing, News, Waiting};
use crate::metrics::SpansDropped;
use crate::otlp::OtlpEndpoint;
use crate::rooted::Rooted;

/// Spans that wait to be sent, at most: some 8 MB, and half a second of full load.
const QUEUE_SPANS_MAX: usize = 8_192;
/// Spans of one batch: some 300 kB.
const BATCH_SPANS_MAX: usize = 512;
/// Longest that a span waits for others: what a kill -9 takes with it.
const BATCH_DELAY: Duration = Duration::from_millis(500);

/// The process's spans, on their way to `endpoint`; those that never arrive are counted in `dropped`.
/// Inside a Tokio runtime.
///
/// # Errors
/// When the environment tells the exporter something that it cannot do (`OTEL_EXPORTER_OTLP_*`).
pub(crate) fn provider(
    service: &'static str,
    endpoint: &OtlpEndpoint,
    ratio: f64,
    dropped: &SpansDropped,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(endpoint.channel())
        .with_timeout(endpoint.timeout)
        .build()?;
    let waiting = Waiting::default();
    let exporter = Patient {
        exporter: Arc::new(exporter),
        runtime: Handle::current(),
        endpoint: endpoint.clone(),
        waiting: waiting.clone(),
        dropped: dropped.clone(),
        losing: Mutex::default(),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_SPANS_MAX)
        .with_max_export_batch_size(BATCH_SPANS_MAX)
        .with_scheduled_delay(BATCH_DELAY)
        .build();
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let queue = Bounded::new(queue, QUEUE_SPANS_MAX, waiting, dropped.clone());
    let resource = Resource::builder()
        .with_service_name(format!("posthorn-{service}"))
        .with_attributes([
            KeyValue::new("service.namespace", "posthorn"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            // One for each start: a role that was started again is another process.
            KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
            KeyValue::new("process.pid", i64::from(std::process::id())),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(Rooted::new(queue))
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}

/// An exporter that waits for a bounded time, counts what is lost and says so once.
#[derive(Debug)]
struct Patient {
    exporter: Arc<opentelemetry_otlp::SpanExporter>,
    runtime: Handle,
    endpoint: OtlpEndpoint,
    waiting: Waiting,
    dropped: SpansDropped,
    losing: Mutex<Losing>,
}

impl Patient {
    /// Says what there is to be said after a batch.
    fn tell(&self, sent: &OTelSdkResult) {
        let mut losing = self.losing.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = &self.endpoint;
        match (losing.look(self.dropped.total(), Instant::now()), sent) {
            (Some(News::Begun), Err(error)) => tracing::warn!(
                %endpoint,
                %error,
                "traces cannot be sent; they are dropped until that endpoint answers"
            ),
            (Some(News::Begun), Ok(())) => tracing::warn!(
                %endpoint,
                "traces cannot be sent as fast as they are made; what finds no room is dropped"
            ),
            (Some(News::Over(dropped)), _) => {
                tracing::info!(%endpoint, dropped, "traces are sent again");
            }
            (None, _) => {}
        }
    }
}

impl SpanExporter for Patient {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.leave(spans);
        let (exporter, timeout) = (Arc::clone(&self.exporter), self.endpoint.timeout);
        // The client's own limit does not cover a connection that is never made; and this thread
        // has no timers.
        let sent = self.runtime.spawn(async move {
            match tokio::time::timeout(timeout, exporter.export(batch)).await {
                Ok(sent) => sent,
                Err(_) => Err(OTelSdkError::Timeout(timeout)),
            }
        });
        let sent = sent
            .await
            .unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        if sent.is_err() {
            self.dropped.not_taken(u64::try_from(spans).unwrap_or_default());
        }
        self.tell(&sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
        TraceService, TraceServiceServer,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest as Export, ExportTraceServiceResponse as Exported,
    };
    use opentelemetry_sdk::trace::SdkTracer;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};
    use tonic::{Request, Response, Status};

    use super::*;

    /// Memory is the whole process's: who looks at it is alone.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    fn memory_mib() -> u64 {
        let memory = std::fs::read_to_string("/proc/self/statm").expect("Linux");
        let pages = memory.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
        (pages.expect("a number") * 4096) >> 20
    }

    fn tracing_to(address: SocketAddr, timeout: Duration) -> (SdkTracerProvider, SpansDropped) {
        tracing_by(&format!("http://{address}"), timeout, ClientTlsConfig::new())
    }

    fn tracing_by(
        url: &str,
        timeout: Duration,
        tls: ClientTlsConfig,
    ) -> (SdkTracerProvider, SpansDropped) {
        let endpoint = OtlpEndpoint::new(url, timeout, tls).expect("a URL");
        let dropped = SpansDropped::default();
        (provider("test", &endpoint, 1.0, &dropped).expect("a provider"), dropped)
    }

    fn make(tracer: &SdkTracer, spans: usize, bytes: usize) {
        for _ in 0..spans {
            let mut span = tracer.start("span");
            span.set_attribute(KeyValue::new("text", "x".repeat(bytes)));
            span.end();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_endpoint_that_is_silent_costs_a_bounded_queue_and_no_time() {
        let _alone = ALONE.lock().await;
        // It takes connections, and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (provider, dropped) = tracing_to(address, Duration::from_secs(3));
        let tracer = provider.tracer("test");
        let (began, before) = (Instant::now(), memory_mib());
        make(&tracer, 300_000, 200);
        let took = began.elapsed();
        // All of them would be some 200 MiB, and waiting for each batch ten minutes.
        let grown = memory_mib().saturating_sub(before);
        assert!(grown < 60, "{grown} MiB");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert!(dropped.total() > 250_000, "{}", dropped.total());
        let began = Instant::now();
        let limit = Duration::from_secs(2);
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        let _ = ended.await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    /// A place whose connections nobody takes, and no more fit: whoever connects hears nothing.
    async fn black_hole() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a place");
        let listener = socket.listen(1).expect("listening");
        let address = listener.local_addr().expect("an address");
        let mut waiting = Vec::new();
        let briefly = Duration::from_millis(300);
        while let Ok(Ok(fits)) = tokio::time::timeout(briefly, TcpStream::connect(address)).await {
            waiting.push(fits);
        }
        (address, waiting, listener)
    }

    /// The ports from which somebody is asking for a connection to `address`.
    fn asking(address: SocketAddr) -> BTreeSet<String> {
        let (table, to) = (std::fs::read_to_string("/proc/self/net/tcp"), address.port());
        let to = format!(":{to:04X}");
        let asks = |line: &&str| {
            let mut fields = line.split_whitespace().skip(2);
            // 02: SYN-SENT.
            fields.next().is_some_and(|place| place.ends_with(&to)) && fields.next() == Some("02")
        };
        let from = |line: &str| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        table.expect("Linux").lines().filter(asks).map(from).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_black_hole_keeps_no_batch_and_is_asked_anew() {
        const BATCHES: usize = 12;
        let _alone = ALONE.lock().await;
        let (address, _waiting, _listener) = black_hole().await;
        let timeout = Duration::from_millis(400);
        let (provider, dropped) = tracing_to(address, timeout);
        let tracer = provider.tracer("test");
        let (mut asked, mut after_three) = (BTreeSet::new(), 0);
        for batch in 1..=BATCHES {
            // Some 10 MiB each; while it waits it is a message of as many. The last may not be gone yet.
            make(&tracer, BATCH_SPANS_MAX, 20_000);
            let given_up = u64::try_from(batch * BATCH_SPANS_MAX).expect("few");
            while dropped.total() < given_up {
                asked.append(&mut asking(address));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if batch == 3 {
                after_three = memory_mib();
            }
        }
        let grown = memory_mib().saturating_sub(after_three);
        assert!(grown < 60, "{grown} MiB by {} batches that were given up", BATCHES - 3);
        assert!(asked.len() > 3, "asked from {asked:?} alone");
        assert!(asking(address).len() <= 1, "one at a time");
        drop(tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(timeout)).await);
    }

    /// Takes each batch a while after it came, and counts its spans.
    #[derive(Clone, Default)]
    struct Slow(Arc<AtomicUsize>);

    #[tonic::async_trait]
    impl TraceService for Slow {
        async fn export(&self, batch: Request<Export>) -> Result<Response<Exported>, Status> {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let scopes =
                batch.into_inner().resource_spans.into_iter().flat_map(|of| of.scope_spans);
            self.0.fetch_add(scopes.map(|scope| scope.spans.len()).sum(), Ordering::Relaxed);
            Ok(Response::new(Exported::default()))
        }
    }

    impl Slow {
        /// Listens at the address that is given back.
        async fn serve(&self, mut server: Server) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let service = server.add_service(TraceServiceServer::new(self.clone()));
            tokio::spawn(service.serve_with_incoming(TcpIncoming::from(listener)));
            address
        }

        fn taken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    async fn ended(provider: SdkTracerProvider) {
        let limit = Duration::from_secs(20);
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
        let _ = ended.await.expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_slow_endpoint_does_not_get_is_counted_to_the_last_span() {
        const MADE: usize = 30_000;
        let slow = Slow::default();
        let address = slow.serve(Server::builder()).await;
        let (provider, dropped) = tracing_to(address, Duration::from_secs(3));
        make(&provider.tracer("test"), MADE, 20);
        ended(provider).await;
        let (taken, lost) = (slow.taken(), dropped.total());
        assert!(taken >= QUEUE_SPANS_MAX, "{taken}");
        assert!(lost > 0, "there was room for all of them");
        assert_eq!(u64::try_from(MADE - taken).ok(), Some(lost));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn by_https_spans_go_to_whom_is_trusted_and_to_nobody_else() {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(&certificate, key));
        let slow = Slow::default();
        let address = slow.serve(Server::builder().tls_config(tls).expect("TLS")).await;
        let url = format!("https://localhost:{}", address.port());
        for (trusted, taken) in [(Vec::new(), 0), (vec![Certificate::from_pem(certificate)], 7)] {
            let trust = ClientTlsConfig::new().ca_certificates(trusted);
            let (provider, dropped) = tracing_by(&url, Duration::from_secs(3), trust);
            make(&provider.tracer("test"), 7, 20);
            ended(provider).await;
            assert_eq!((slow.taken(), dropped.total()), (taken, 7 - taken as u64));
        }
    }
}
