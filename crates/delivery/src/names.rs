//! From a host's name to its addresses.
//!
//! Two real ways: the system's name servers, asked by our own resolver (the operating system's
//! blocks a thread for as long as a hostile server likes), and a fixed table for tests and closed
//! networks. Nobody resolves a name twice for one connection: what is returned here is judged and
//! then dialled, so a server that answers differently the next time gains nothing.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::system_conf::read_system_conf;

use crate::limits::{ADDRESSES_MAX, DNS_CONTROL_TIMEOUT, DNS_TIMEOUT};

/// Who is asked for a name's addresses.
#[derive(Clone)]
pub enum Names {
    /// The system's name servers.
    System(Box<NameServers>),
    /// A fixed table.
    Table(NameTable),
}

/// Why a name has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No such name, or none with an address.
    #[error("no such name, or no address behind it")]
    NotFound,
    /// The name servers failed at this name; others they answer.
    #[error("the name servers failed")]
    Failed,
    /// No answer in time for this name; others they answer.
    #[error("the name servers did not answer in time")]
    TimedOut,
    /// The name servers answer nothing at all, or there is none: no name's fault.
    #[error("the name servers are away")]
    Away,
}

impl Names {
    /// The system's name servers. Without any (no `resolv.conf`), every name finds them away, which
    /// still leaves addresses and `localhost` where the operator allows them.
    pub fn system() -> Self {
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::warn!(%error, "no name servers are configured: no name will resolve");
            (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
        });
        Self::asking(&config, &options)
    }

    fn asking(config: &ResolverConfig, options: &ResolverOpts) -> Self {
        match NameServers::new(config, options) {
            Ok(servers) => Self::System(Box::new(servers)),
            Err(error) => {
                tracing::warn!(%error, "the resolver cannot be made: no name will resolve");
                Self::Table(NameTable::default())
            }
        }
    }

    /// The addresses of `name`, at most [`ADDRESSES_MAX`], within [`DNS_TIMEOUT`] and half of
    /// `timeout`; half of the rest is for finding out whose fault it is that there are none.
    pub(crate) async fn resolve(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<Vec<IpAddr>, NameError> {
        let asked = tokio::time::timeout(DNS_TIMEOUT.min(timeout / 2), self.ask(name)).await;
        match asked.unwrap_or(Err(NameError::TimedOut)) {
            Ok(addresses) if addresses.is_empty() => Err(NameError::NotFound),
            Err(NameError::Failed | NameError::TimedOut) if !self.are_there(timeout / 4).await => {
                Err(NameError::Away)
            }
            answer => answer,
        }
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        match self {
            Self::System(servers) => servers.ask(name).await,
            Self::Table(table) => table.ask(name).await,
        }
    }

    /// Do they answer what has nothing to do with any merchant?
    async fn are_there(&self, timeout: Duration) -> bool {
        match self {
            Self::System(servers) => {
                let asked = tokio::time::timeout(DNS_CONTROL_TIMEOUT.min(timeout), servers.know());
                asked.await.unwrap_or(false)
            }
            Self::Table(_) => true,
        }
    }
}

/// The system's name servers, as they are asked.
#[derive(Clone)]
pub struct NameServers {
    resolver: TokioResolver,
    /// The same ones without a memory, for the control question.
    forgetful: TokioResolver,
}

impl NameServers {
    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Result<Self, NetError> {
        let build = |options| {
            let provider = TokioRuntimeProvider::default();
            TokioResolver::builder_with_config(config.clone(), provider)
                .with_options(options)
                .build()
        };
        let options = limited(options.clone());
        let mut without_memory = options.clone();
        without_memory.cache_size = 0;
        without_memory.timeout = DNS_CONTROL_TIMEOUT / 2;
        Ok(Self { resolver: build(options)?, forgetful: build(without_memory)? })
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        // The dot at the end keeps the search list of `resolv.conf` out of it.
        let answer =
            self.resolver.lookup_ip(format!("{name}.")).await.map_err(|error| match error {
                NetError::Timeout => NameError::TimedOut,
                error if is_answered(&error) => NameError::NotFound,
                _ => NameError::Failed,
            })?;
        Ok(answer.iter().take(ADDRESSES_MAX).collect())
    }

    /// Do they know the root, whose servers every working name server knows?
    async fn know(&self) -> bool {
        match self.forgetful.lookup(".", RecordType::NS).await {
            Ok(_) => true,
            Err(error) => is_answered(&error),
        }
    }
}

/// Is it the answer that there is nothing?
fn is_answered(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

/// Every option of the resolver that matters here, with its reason.
fn limited(mut options: ResolverOpts) -> ResolverOpts {
    // One question is asked twice within the whole time, so one lost packet is survived.
    options.timeout = Duration::from_millis(1_400);
    options.attempts = 2;
    // Both families, so that a name with one good and one bad answer is seen for what it is.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // A merchant that moves is followed within a minute, whatever time to live it gave.
    options.positive_max_ttl = Some(Duration::from_secs(60));
    // A name that was just made is found soon; one that is missing is not asked for on every try.
    options.negative_max_ttl = Some(Duration::from_secs(5));
    // Answers kept: some kilobytes each at worst.
    options.cache_size = 4_096;
    // An answer that is forged must guess the case of every letter as well.
    options.case_randomization = true;
    // Truncated and failed answers are asked for again by TCP.
    options.try_tcp_on_error = true;
    // As many questions as there are attempts, not the resolver's 32 per connection.
    options.max_active_requests = 1_024;
    options
}

/// What a [`NameTable`] answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These addresses.
    Addresses(Vec<IpAddr>),
    /// As a name server would fail.
    Failure(NameError),
    /// Nothing, ever.
    Silence,
}

/// Fixed names. A name with several answers gives them in turn and repeats the last one.
#[derive(Clone, Default)]
pub struct NameTable {
    names: Arc<Mutex<HashMap<String, VecDeque<Answer>>>>,
    questions: Arc<AtomicUsize>,
}

impl NameTable {
    /// Adds an answer for `name`, after those it has.
    pub fn add(&self, name: &str, answer: Answer) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default().push_back(answer);
    }

    /// How often any name was asked for.
    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        match self.next(name) {
            Some(Answer::Addresses(mut addresses)) => {
                addresses.truncate(ADDRESSES_MAX);
                Ok(addresses)
            }
            Some(Answer::Failure(error)) => Err(error),
            Some(Answer::Silence) => std::future::pending().await,
            None => Err(NameError::NotFound),
        }
    }

    fn next(&self, name: &str) -> Option<Answer> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = names.get_mut(name)?;
        if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NS};
    use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;

    /// Of an attempt: long enough for every bound of this file.
    const TIMEOUT: Duration = Duration::from_secs(15);

    fn asking_of(servers: Vec<NameServerConfig>) -> Names {
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Names::asking(&config, &ResolverOpts::default())
    }

    /// The system's way, asking a name server of the test's own.
    fn asking(server: SocketAddr) -> Names {
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let servers = vec![NameServerConfig::new(server.ip(), true, vec![udp])];
        asking_of(servers)
    }

    /// A name server that knows a few names.
    async fn name_server() -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let questions = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&questions);
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                counter.fetch_add(1, Ordering::SeqCst);
                let question = Message::from_vec(&packet[..length]).expect("a question");
                if let Some(answer) = answer(&question) {
                    let answer = answer.to_vec().expect("an answer");
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        (address, questions)
    }

    fn answer(question: &Message) -> Option<Message> {
        let query = question.queries.first().expect("a query").clone();
        let name = query.name().clone();
        let mut answer = question.clone().into_response();
        let mut add = |data| answer.answers.push(Record::from_rdata(name.clone(), 0, data));
        let text = name.to_lowercase().to_ascii();
        match (text.as_str(), query.query_type()) {
            ("silent.example.", _) => return None,
            (".", RecordType::NS) => add(RData::NS(NS(name.clone()))),
            ("broken.example.", _) => answer.metadata.response_code = ResponseCode::ServFail,
            ("both.example.", RecordType::A) => add(RData::A(A(Ipv4Addr::new(93, 184, 216, 34)))),
            ("both.example." | "six.example.", RecordType::AAAA) => {
                add(RData::AAAA(AAAA("2606:4700::1".parse().expect("an address"))));
            }
            ("many.example.", RecordType::A) => {
                (0..40).for_each(|n| add(RData::A(A(Ipv4Addr::new(93, 184, 216, n)))));
            }
            ("loop.example.", _) => {
                add(RData::CNAME(CNAME(Name::from_ascii("loop.example.").expect("a name"))));
            }
            ("six.example.", _) | ("both.example.", _) | ("many.example.", _) => {}
            _ => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        Some(answer)
    }

    #[tokio::test]
    async fn both_families_are_seen_and_a_name_with_one_of_them_is_enough() {
        let (server, _) = name_server().await;
        let names = asking(server);
        let both = names.resolve("both.example", TIMEOUT).await.expect("addresses");
        assert_eq!(both.len(), 2);
        assert!(both.iter().any(IpAddr::is_ipv4) && both.iter().any(IpAddr::is_ipv6));
        let six = names.resolve("six.example", TIMEOUT).await.expect("an address");
        assert_eq!(six, ["2606:4700::1".parse::<IpAddr>().expect("an address")]);
    }

    #[tokio::test]
    async fn of_many_addresses_sixteen_count() {
        let (server, _) = name_server().await;
        let many = asking(server).resolve("many.example", TIMEOUT).await.expect("addresses");
        assert_eq!(many.len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn failures_are_told_apart_and_a_missing_name_is_not_searched_for_elsewhere() {
        let (server, questions) = name_server().await;
        let names = asking(server);
        assert_eq!(names.resolve("missing.example", TIMEOUT).await, Err(NameError::NotFound));
        assert_eq!(questions.load(Ordering::SeqCst), 2, "one question for each family");
        assert_eq!(names.resolve("broken.example", TIMEOUT).await, Err(NameError::Failed));
        assert!(names.resolve("loop.example", TIMEOUT).await.is_err());
    }

    #[tokio::test]
    async fn a_silent_name_server_costs_its_bound() {
        let (server, _) = name_server().await;
        let begun = std::time::Instant::now();
        let result = asking(server).resolve("silent.example", TIMEOUT).await;
        assert_eq!(result, Err(NameError::TimedOut));
        assert!(begun.elapsed() <= DNS_TIMEOUT + Duration::from_secs(1));
    }

    /// Answers nothing, or with a failure, whatever it is asked.
    async fn broken_server(code: Option<ResponseCode>) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let question = Message::from_vec(&packet[..length]).expect("a question");
                let mut answer = question.into_response();
                if let Some(code) = code {
                    answer.metadata.response_code = code;
                    let answer = answer.to_vec().expect("an answer");
                    socket.send_to(&answer, from).await.expect("sent");
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn name_servers_that_answer_nobody_are_not_the_names_fault() {
        let nobody = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let closed = nobody.local_addr().expect("an address");
        drop(nobody);
        for (what, names) in [
            ("silent", asking(broken_server(None).await)),
            ("failing", asking(broken_server(Some(ResponseCode::ServFail)).await)),
            ("refusing", asking(broken_server(Some(ResponseCode::Refused)).await)),
            ("closed", asking(closed)),
            ("none", asking_of(Vec::new())),
        ] {
            let resolved = names.resolve("both.example", TIMEOUT).await;
            assert_eq!(resolved, Err(NameError::Away), "{what}");
        }
    }

    #[tokio::test]
    async fn a_name_server_that_went_away_is_seen_at_once_also_by_a_short_attempt() {
        let (server, _) = name_server().await;
        let away = broken_server(None).await;
        for (server, expected) in [(server, NameError::TimedOut), (away, NameError::Away)] {
            let timeout = Duration::from_secs(1);
            let begun = std::time::Instant::now();
            let resolved = asking(server).resolve("silent.example", timeout).await;
            assert_eq!(resolved, Err(expected));
            assert!(begun.elapsed() < timeout, "the attempt ends before its own deadline");
        }
    }
}
