//! Receives webhooks and believes none whose signature does not fit.
//!
//! cargo add standardwebhooks axum http && cargo add tokio --features rt-multi-thread
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use standardwebhooks::Webhook;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("WEBHOOK_SECRET")?;
    let receive = move |headers: HeaderMap, body: Bytes| async move {
        // The bytes as they came: parsed and written again, they would be others.
        let is_signed =
            Webhook::new(&secret).is_ok_and(|webhook| webhook.verify(&body, &headers).is_ok());
        if !is_signed {
            return StatusCode::BAD_REQUEST;
        }
        // The same id twice is the same event: remember it for some days, act once.
        println!("received {:?}", headers["webhook-id"]);
        StatusCode::NO_CONTENT
    };
    let port: u16 = std::env::var("PORT").unwrap_or_else(|_| "8000".to_owned()).parse()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/", post(receive))).await?;
    Ok(())
}
