//! From a URL that passed the guard to a connection with an address that passed it.
//!
//! This is the one choke point: resolve once, judge every answer, dial exactly those addresses,
//! and judge again the address that is really connected to. A host that is an address goes the
//! same way. Nothing between the judgement and the connection can change where it goes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use domain::guard::{AllowedNetworks, CanonicalUrl, Host};
use domain::{Fault, Unwell};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::Instrument as _;

use crate::alert::Alert;
use crate::attempt::{Code, Split};
use crate::failure::Failure;
use crate::heads::Heads;
use crate::limits::{DIALLED_MAX, NEXT_ADDRESS_DELAY};
use crate::meter::Meter;
use crate::names::{NameError, Names};
use crate::proxy::{self, EgressProxy};
use crate::span;
use crate::tls::{HTTP2, explain};
use crate::watched::Watched;

/// A connection's bytes, whatever carries them.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections to merchants.
pub(crate) struct Dialer {
    pub(crate) names: Names,
    pub(crate) networks: AllowedNetworks,
    /// Then it is what is connected to, and it resolves the merchants' names.
    pub(crate) proxy: Option<EgressProxy>,
    pub(crate) tls: TlsConnector,
    /// For TCP and TLS together.
    pub(crate) connect_timeout: Duration,
}

/// A connection that was just made.
pub(crate) struct Dialled {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) meter: Meter,
    pub(crate) alert: Alert,
    pub(crate) address: SocketAddr,
    pub(crate) is_http2: bool,
}

impl Dialer {
    /// Connects to the host of `url` for an attempt that may take `timeout`; `split` gets the times
    /// also when it fails, and `address` the one that answered.
    pub(crate) async fn dial(
        &self,
        url: &CanonicalUrl,
        timeout: Duration,
        split: &mut Split,
        address: &mut Option<SocketAddr>,
    ) -> Result<Dialled, Failure> {
        let guard = span::guard(url);
        let addresses = match (&self.proxy, url.host()) {
            // The proxy resolves names; an address that stands in the URL is judged all the same.
            (Some(_), Host::Name(_)) => Ok(Vec::new()),
            _ => self.addresses(url, timeout, split).instrument(guard.clone()).await,
        };
        let addresses = addresses.inspect_err(|failure| span::failed(&guard, failure.code))?;
        drop(guard);
        let connecting = span::connect(url);
        let connect = self.connect(url, &addresses, split, address).instrument(connecting.clone());
        let dialled =
            tokio::time::timeout(self.connect_timeout, connect).await.unwrap_or_else(|_| {
                Err(self.before_the_proxy(*address).unwrap_or_else(Failure::connect_timeout))
            });
        span::connected(&connecting, *address, dialled.as_ref().err());
        dialled
    }

    /// What ran out of time, when it had come to `address`, is the proxy's fault as long as there is
    /// none: then the proxy itself did not answer. What comes after that may be the merchant's.
    pub(crate) fn before_the_proxy(&self, address: Option<SocketAddr>) -> Option<Failure> {
        (self.proxy.is_some() && address.is_none()).then(proxy::unreachable)
    }

    /// May a connection to `address` be used? The proxy is the operator's, wherever it is.
    pub(crate) fn may_be_connected_to(&self, address: IpAddr) -> bool {
        self.proxy.is_some() || self.networks.check(address).is_ok()
    }

    /// The addresses of the host, all of them judged.
    async fn addresses(
        &self,
        url: &CanonicalUrl,
        timeout: Duration,
        split: &mut Split,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let mut addresses = match url.host() {
            Host::Address(address) => vec![address],
            Host::Localhost => {
                // By definition both; only those that the operator allows are meant.
                let both = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
                both.into_iter()
                    .filter(|address| self.networks.is_allowed_by_operator(*address))
                    .collect()
            }
            Host::Name(name) => {
                let begun = Instant::now();
                let answer = self.names.resolve(name, timeout).await;
                split.dns_us = Some(micros(begun.elapsed()));
                answer.map_err(no_address)?
            }
        };
        self.judge(&addresses)?;
        // IPv4 first: the addresses that we call from, and that merchants allow, are IPv4.
        addresses.sort_by_key(|address| address.to_canonical().is_ipv6());
        addresses.truncate(DIALLED_MAX);
        let port = url.port();
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    /// One bad address among good ones is never a merchant's: all or nothing.
    fn judge(&self, addresses: &[IpAddr]) -> Result<(), Failure> {
        let refusals: Vec<_> =
            addresses.iter().filter_map(|address| self.networks.check(*address).err()).collect();
        let Some(refusal) = refusals.first() else { return Ok(()) };
        let (code, sentence) = if refusals.len() == addresses.len() {
            (Code::AddressRefused, format!("The host may not be reached: {refusal}."))
        } else {
            (
                Code::MixedAddresses,
                format!("One of the host's addresses may not be reached: {refusal}."),
            )
        };
        Err(Failure::fault(Fault::Blocked, code, sentence))
    }

    async fn connect(
        &self,
        url: &CanonicalUrl,
        addresses: &[SocketAddr],
        split: &mut Split,
        address: &mut Option<SocketAddr>,
    ) -> Result<Dialled, Failure> {
        let begun = Instant::now();
        let tcp = match &self.proxy {
            Some(proxy) => proxy.connect().await,
            None => connect_any(addresses).await,
        };
        split.connect_us = Some(micros(begun.elapsed()));
        let mut tcp = tcp?;
        // A small request must not wait for the answer to a packet before it.
        tcp.set_nodelay(true).map_err(|_| Failure::connect_failed())?;
        let peer = tcp.peer_addr().map_err(|_| Failure::connect_failed())?;
        *address = Some(peer);
        // What was dialled was judged; this catches a network that sends us somewhere else.
        match &self.proxy {
            Some(proxy) => {
                proxy.tunnel(&mut tcp, url).await?;
                split.connect_us = Some(micros(begun.elapsed()));
            }
            None => self.judge(&[peer.ip()])?,
        }
        let meter = Meter::full();
        let tcp = Watched { inner: tcp, watch: meter.clone() };
        if !url.is_https() {
            let (stream, alert) = (Box::new(tcp), Alert::default());
            return Ok(Dialled { stream, meter, alert, address: peer, is_http2: false });
        }
        let name = server_name(url)?;
        let begun = Instant::now();
        let tls = self.tls.connect(name, tcp).await;
        split.tls_us = Some(micros(begun.elapsed()));
        let tls = tls.map_err(|error| {
            let (code, sentence) = explain(&error);
            Failure::unwell(Unwell::Tls, code, sentence)
        })?;
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(HTTP2);
        let alert = Alert::default();
        let tls = Watched { inner: tls, watch: alert.clone() };
        let stream: Box<dyn Stream> = if is_http2 {
            Box::new(Watched { inner: tls, watch: Heads::of(meter.clone()) })
        } else {
            Box::new(tls)
        };
        Ok(Dialled { stream, meter, alert, address: peer, is_http2 })
    }
}

fn server_name(url: &CanonicalUrl) -> Result<ServerName<'static>, Failure> {
    match url.host() {
        Host::Address(address) => Ok(ServerName::IpAddress(address.into())),
        Host::Localhost => ServerName::try_from("localhost"),
        Host::Name(name) => ServerName::try_from(name.to_owned()),
    }
    .map_err(|_| {
        Failure::unwell(
            Unwell::Tls,
            Code::TlsCertificateName,
            "The host's name cannot be in a certificate.",
        )
    })
}

fn no_address(error: NameError) -> Failure {
    let (code, sentence) = match error {
        NameError::NotFound => {
            (Code::DnsNotFound, "The host name does not exist or has no address.")
        }
        NameError::Failed => (Code::DnsFailed, "The host name could not be resolved."),
        NameError::TimedOut => (Code::DnsTimeout, "The host name could not be resolved in time."),
        NameError::Away => {
            let sentence = "Our own name servers do not answer; no request was made.";
            return Failure::fault(Fault::NamesUnavailable, Code::NamesUnavailable, sentence);
        }
    };
    Failure::unwell(Unwell::Dns, code, sentence)
}

/// Dials the addresses one after the other, each with a head start over the next; the first that
/// answers wins and the others are given up.
async fn connect_any(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut waiting = addresses.iter();
    let mut dialling = FuturesUnordered::new();
    let mut failed: Option<Failure> = None;
    loop {
        if let Some(&address) = waiting.next() {
            dialling.push(async move {
                let connected = TcpStream::connect(address).await;
                connected.map_err(|error| Failure::connect(&error, address.ip()))
            });
        } else if dialling.is_empty() {
            return Err(failed.unwrap_or_else(|| no_address(NameError::NotFound)));
        }
        let head_start = async {
            if waiting.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(NEXT_ADDRESS_DELAY).await;
        };
        tokio::select! {
            Some(result) = dialling.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(failure) => {
                    failed = Some(match failed.take() {
                        Some(before) => before.or(failure),
                        None => failure,
                    });
                }
            },
            () = head_start => {}
        }
    }
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use domain::guard::{UrlPolicy, check_url};
    use tokio::net::TcpListener;

    use super::*;
    use crate::limits::CONNECT_TIMEOUT;
    use crate::names::NameTable;
    use crate::tls;

    #[tokio::test]
    async fn an_address_is_judged_again_once_it_is_connected_to() {
        let networks = AllowedNetworks::public_only();
        let policy = UrlPolicy { allow_http: true, ..UrlPolicy::default() };
        let url = check_url("http://merchant.example:8443/", &policy, &networks);
        let url = url.expect("a good URL");
        let dialer = Dialer {
            names: Names::Table(NameTable::default()),
            networks,
            proxy: None,
            tls: tls::connector(&[]).expect("a connector"),
            connect_timeout: CONNECT_TIMEOUT,
        };
        // As if the network had led a good address here: nothing before this could have seen it.
        let here = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = here.local_addr().expect("an address");
        let (mut split, mut peer) = (Split::default(), None);
        let dialled = dialer.connect(&url, &[address], &mut split, &mut peer).await;
        let failure = dialled.err().expect("refused");
        assert_eq!((failure.code, peer), (Code::AddressRefused, Some(address)));
        // Nothing was said to it.
        let (tcp, _) = here.accept().await.expect("a connection");
        tcp.readable().await.expect("its end");
        assert_eq!(tcp.try_read(&mut [0; 16]).expect("its end"), 0);
    }
}
