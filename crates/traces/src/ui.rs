//! Jaeger's user interface: its built files, compressed, as they are sent.
//!
//! Every path that is no file is the one page: its own routes are in the browser. See `ui/README.md`
//! for where the files come from.

use axum::Router;
use axum::http::{HeaderName, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

const PAGE: &str = include_str!("../ui/index.html");

struct Asset {
    path: &'static str,
    kind: &'static str,
    is_compressed: bool,
    content: &'static [u8],
}

const ASSETS: [Asset; 4] = [
    Asset {
        path: "/static/index-Ba4Pmzjs.js",
        kind: "text/javascript",
        is_compressed: true,
        content: include_bytes!("../ui/static/index-Ba4Pmzjs.js.gz"),
    },
    Asset {
        path: "/static/index-BCPS3alI.css",
        kind: "text/css",
        is_compressed: true,
        content: include_bytes!("../ui/static/index-BCPS3alI.css.gz"),
    },
    Asset {
        path: "/static/jaeger-logo-CNZsoUdk.svg",
        kind: "image/svg+xml",
        is_compressed: true,
        content: include_bytes!("../ui/static/jaeger-logo-CNZsoUdk.svg.gz"),
    },
    Asset {
        path: "/static/favicon-BxcVf0am.ico",
        kind: "image/x-icon",
        is_compressed: false,
        content: include_bytes!("../ui/static/favicon-BxcVf0am.ico"),
    },
];

/// The routes; they answer everything that nobody else does.
pub(crate) fn routes() -> Router {
    Router::new().route("/", get(|| async { Redirect::to("/search") })).fallback(get(file))
}

async fn file(uri: Uri) -> Response {
    match ASSETS.iter().find(|asset| asset.path == uri.path()) {
        Some(asset) => {
            // The name of a file changes with its content.
            let cached = (header::CACHE_CONTROL, "max-age=31536000, immutable");
            let encoding: Option<[(HeaderName, &str); 1]> =
                asset.is_compressed.then_some([(header::CONTENT_ENCODING, "gzip")]);
            let kind = [(header::CONTENT_TYPE, asset.kind), cached];
            match encoding {
                Some(encoding) => (kind, encoding, asset.content).into_response(),
                None => (kind, asset.content).into_response(),
            }
        }
        None if uri.path().starts_with("/static/") => {
            (axum::http::StatusCode::NOT_FOUND, "no such file\n").into_response()
        }
        None => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_that_is_not_here() {
        let mut from = 0;
        let mut seen = 0;
        while let Some(at) = PAGE[from..].find("./static/") {
            let rest = &PAGE[from + at + 1..];
            let path = &rest[..rest.find('"').expect("an end")];
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{path}");
            from += at + 1;
            seen += 1;
        }
        assert_eq!(seen, 3, "the bundle, its style, the icon");
    }
}
