//! OTLP's trace service: a batch of spans comes in, and is on the shelf when it is answered.
//!
//! A span without ids is no span and is counted as rejected; nothing else is refused.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceService;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Request, Response, Status};

use crate::{Shared, locked};

/// Takes spans.
#[derive(Debug)]
pub(crate) struct Receiver(pub(crate) Shared);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut rejected_spans = 0;
        let mut shelf = locked(&self.0);
        for batch in request.into_inner().resource_spans {
            let process = shelf.process(batch.resource.unwrap_or_default());
            for spans in batch.scope_spans {
                let scope = spans.scope.map(|scope| scope.name).unwrap_or_default();
                for span in spans.spans {
                    if !shelf.put(&process, &scope, &span) {
                        rejected_spans += 1;
                    }
                }
            }
        }
        let partial_success = (rejected_spans > 0).then(|| ExportTracePartialSuccess {
            rejected_spans,
            error_message: "a span needs a trace id of 16 bytes and a span id of 8".to_owned(),
        });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}
