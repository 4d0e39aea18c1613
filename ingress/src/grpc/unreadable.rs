//! Requests that the transport could not read are the caller's fault, and are answered so.
//!
//! The library answers INTERNAL to bytes that are not the message, and OUT_OF_RANGE to a message
//! that is too large. Ours never sends OUT_OF_RANGE, and each INTERNAL of ours carries details;
//! so what has one of these codes and no details is the library's, and becomes INVALID_ARGUMENT.

use http::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};

use crate::limits::REQUEST_BYTES_MAX;
use crate::refusal::Refusal;

const DETAILS: &str = "grpc-status-details-bin";

/// The answer as the caller shall get it.
pub(super) fn blamed_rightly(response: Response<Body>) -> Response<Body> {
    let response = match refusal_of(response.headers()) {
        Some(refusal) => Status::from(refusal).into_http(),
        None => response,
    };
    // Without a status in its headers an answer goes well: the status is in its trailers then.
    let status = response.headers().get(Status::GRPC_STATUS);
    let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    observability::spans::grpc_answered(code.into());
    response
}

fn refusal_of(headers: &HeaderMap) -> Option<Refusal> {
    if headers.contains_key(DETAILS) {
        return None;
    }
    match Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes()) {
        Code::OutOfRange => {
            Some(Refusal::invalid("message", format!("must be at most {REQUEST_BYTES_MAX} bytes")))
        }
        Code::Internal => {
            Some(Refusal::invalid("message", "must be the message that this method takes"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(status: Status) -> Code {
        let response = blamed_rightly(status.into_http());
        Status::from_header_map(response.headers()).expect("a status").code()
    }

    #[test]
    fn what_the_library_could_not_read_is_the_callers_fault() {
        assert_eq!(code_of(Status::internal("failed to decode")), Code::InvalidArgument);
        assert_eq!(code_of(Status::out_of_range("too large")), Code::InvalidArgument);
    }

    #[test]
    fn our_own_faults_stay_ours() {
        let fault = Refusal::internal(std::io::Error::other("broken"));
        assert_eq!(code_of(fault.into()), Code::Internal);
        assert_eq!(code_of(Refusal::Busy.into()), Code::Unavailable);
        assert_eq!(code_of(Status::unimplemented("")), Code::Unimplemented);
    }
}
