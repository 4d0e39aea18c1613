//! The HTTP request of one attempt, signed.
//!
//! Our headers are set after the merchant's own, so none of those can take their place. The
//! signature is made here, at the last moment, over the bytes that are sent.

use bytes::Bytes;
use domain::guard::CanonicalUrl;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};
use http_body_util::Full;

use crate::request::Request;
use crate::sign::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};

/// Who we say we are.
pub const AGENT: &str = concat!("Posthorn/", env!("CARGO_PKG_VERSION"));

/// The request, or `None` if something in it cannot be a header (no secret, for example).
pub(crate) fn message(
    url: &CanonicalUrl,
    request: &Request,
    body: Bytes,
    now_s: i64,
    is_http2: bool,
) -> Option<http::Request<Full<Bytes>>> {
    let id = request.event_id.to_string();
    let mut signature =
        HeaderValue::try_from(signature(&request.secrets, &id, now_s, &body)?).ok()?;
    // Useless to who does not have the body, but no reason to print it.
    signature.set_sensitive(true);
    // HTTP/2 has the host in the URL, HTTP/1.1 in a header.
    let uri: Uri = if is_http2 { url.as_str() } else { url.path_and_query() }.parse().ok()?;
    let mut message = http::Request::new(Full::new(body));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = uri;
    *message.version_mut() = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    let headers = message.headers_mut();
    // Some gateways refuse a request without it.
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.extend(request.headers.map().clone());
    if !is_http2 {
        headers.insert(HOST, HeaderValue::from_str(url.authority()).ok()?);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ID_HEADER, HeaderValue::try_from(id).ok()?);
    headers.insert(TIMESTAMP_HEADER, HeaderValue::from(now_s));
    headers.insert(SIGNATURE_HEADER, signature);
    if let Some(traceparent) = &request.traceparent
        && let Ok(value) = HeaderValue::from_str(traceparent)
    {
        headers.insert("traceparent", value);
    }
    Some(message)
}
