//! Where the development front may listen: on loopback, and nowhere else.
//!
//! It asks for no key, so whoever can reach it can write. An address that others can reach is
//! refused at start, by name; there is no flag to allow it.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::Error;

/// A listener of the development front.
pub(crate) async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { flag, address });
    }
    TcpListener::bind(address).await.map_err(|source| Error::Listen { flag, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_others_can_reach_is_refused_by_name() {
        for address in ["0.0.0.0:0", "[::]:0", "192.168.1.5:0", "[::ffff:10.0.0.1]:0"] {
            let error = listen("--http-listen", address.parse().expect("an address"))
                .await
                .expect_err("refused");
            assert!(matches!(error, Error::NotLoopback { .. }), "{error}");
            assert!(error.to_string().contains("--http-listen"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = listen("--http-listen", "127.0.0.1:0".parse().expect("an address"))
            .await
            .expect("a free port");
        let address = first.local_addr().expect("an address");
        let error = listen("--http-listen", address).await.expect_err("taken");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
