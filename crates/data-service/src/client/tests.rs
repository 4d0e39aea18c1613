//! The client against servers that answer well, badly, too much, or not at all.
//!
//! Every server is a real one on a loopback port of its own.

use axum::Router;
use axum::extract::Path;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;

async fn client_of(routes: Router) -> anyhow::Result<Client> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, routes).into_future());
    Ok(Client::new(&base_url)?)
}

async fn client_of_answer<T>(answer: T) -> anyhow::Result<Client>
where
    T: IntoResponse + Clone + Send + Sync + 'static,
{
    client_of(Router::new().route("/payload/{id}", get(move || async move { answer }))).await
}

#[tokio::test]
async fn the_payload_is_the_servers_bytes_and_the_id_reaches_it_whatever_it_holds()
-> anyhow::Result<()> {
    let echo = |Path(id): Path<String>| async move { format!(r#"{{"id":"{id}"}}"#) };
    let client = client_of(Router::new().route("/payload/{id}", get(echo))).await?;
    for id in ["pay_1", "a b/c?d#e%2f", "..", "ü"] {
        let payload = client.payload(id).await;
        if id == ".." {
            // A path that climbs is folded away by the URL standard; it must not reach another.
            assert!(payload.is_err());
            continue;
        }
        assert_eq!(payload?.as_bytes(), &format!(r#"{{"id":"{id}"}}"#));
    }
    Ok(())
}

#[tokio::test]
async fn missing_refused_and_garbage_are_told_apart() -> anyhow::Result<()> {
    let no_such = (StatusCode::NOT_FOUND, axum::Json(serde_json::json!({ "error": "no payment" })));
    let missing = client_of(Router::new().route("/payload/{id}", get(|| async { no_such })))
        .await?
        .payload("x")
        .await;
    assert!(matches!(missing, Err(PayloadError::Missing)), "{missing:?}");
    let elsewhere = client_of(Router::new()).await?.payload("x").await;
    assert!(
        matches!(elsewhere, Err(PayloadError::Refused(StatusCode::NOT_FOUND))),
        "{elsewhere:?}"
    );
    let unreadable = (StatusCode::UNPROCESSABLE_ENTITY, axum::Json(serde_json::json!({})));
    let unreadable = client_of_answer(unreadable).await?.payload("x").await;
    assert!(matches!(unreadable, Err(PayloadError::ObjectUnreadable)), "{unreadable:?}");
    let elsewhere = client_of_answer(StatusCode::UNPROCESSABLE_ENTITY).await?.payload("x").await;
    assert!(matches!(elsewhere, Err(PayloadError::Refused(_))), "{elsewhere:?}");
    let away = client_of_answer(StatusCode::SERVICE_UNAVAILABLE).await?.payload("x").await;
    assert!(matches!(away, Err(PayloadError::Refused(status)) if status == 503), "{away:?}");
    for garbage in ["", "<html>", "[1]", r#"{"a":"#] {
        let answer = client_of_answer(garbage).await?.payload("x").await;
        assert!(matches!(answer, Err(PayloadError::Unreadable)), "{garbage}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_payload_over_the_bound_is_refused_whether_or_not_its_length_is_declared()
-> anyhow::Result<()> {
    let object = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    let fits = client_of_answer(object(Payload::BYTES_MAX)).await?.payload("x").await?;
    assert_eq!(fits.as_bytes().len(), Payload::BYTES_MAX);
    let declared = client_of_answer(object(Payload::BYTES_MAX + 1)).await?.payload("x").await;
    assert!(matches!(declared, Err(PayloadError::TooLarge)), "{declared:?}");
    // Two GiB without a length: read only up to the bound.
    let endless = || async {
        let chunk = Bytes::from(vec![b' '; 64 * 1024]);
        let chunks = (0..32_768).map(move |_| Ok::<_, std::io::Error>(chunk.clone()));
        axum::body::Body::from_stream(Iterated(chunks))
    };
    let client = client_of(Router::new().route("/payload/{id}", get(endless))).await?;
    let undeclared = client.payload("x").await;
    assert!(matches!(undeclared, Err(PayloadError::TooLarge)), "{undeclared:?}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_or_redirects_or_hangs_is_unavailable_within_the_limit()
-> anyhow::Result<()> {
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let down = Client::new(&format!("http://{closed}"))?.payload("x").await;
    assert!(matches!(down, Err(PayloadError::Unavailable(_))), "{down:?}");

    let moved = (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]);
    let redirected = client_of_answer(moved).await?.payload("x").await;
    assert!(matches!(redirected, Err(PayloadError::Refused(StatusCode::FOUND))), "{redirected:?}");

    let hang = || async { std::future::pending::<&str>().await };
    let client = client_of(Router::new().route("/payload/{id}", get(hang))).await?;
    let begun = std::time::Instant::now();
    let hung = client.payload("x").await;
    assert!(matches!(hung, Err(PayloadError::Unavailable(_))), "{hung:?}");
    assert!(begun.elapsed() < TOTAL_TIMEOUT + Duration::from_secs(2));
    Ok(())
}

#[test]
fn a_url_that_is_not_plain_http_is_refused_at_start() {
    for bad in ["", "127.0.0.1:3002", "https://example.com", "http://", "http://h/?a=b"] {
        assert!(Client::new(bad).is_err(), "{bad}");
    }
}

/// A stream that yields what an iterator has.
struct Iterated<I>(I);

impl<I: Iterator + Unpin> tokio_stream::Stream for Iterated<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
