//! The parsers of the guard against bytes that nobody would write.
//!
//! Every run tries the table and the corpus, and a thousand mutations of them. With
//! `POSTHORN_FUZZ_SECONDS=60 cargo test --workspace --test fuzz` it mutates for that long, and
//! writes inputs whose like it had not seen to `tests/corpus/urls.jsonl`, to be kept. A failure
//! prints the input; `POSTHORN_FUZZ_SEED` begins at the same place again.

#![allow(clippy::disallowed_methods, reason = "a test may draw its seed and watch its time")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use domain::guard::{AllowedNetworks, Host, UrlPolicy, check_url};

/// Mutations of a run that is not given a time.
const ROUNDS: u64 = 1_000;
/// More would be a heap rather than a corpus.
const CORPUS_LINES_MAX: usize = 400;
/// A little more than the longest URL, so that its bound is met from both sides.
const LENGTH_MAX: usize = UrlPolicy::LENGTH_MAX + 64;

/// What parsers are known to stumble over.
const PIECES: &[&str] = &[
    "https://",
    "http://",
    "//",
    "@",
    ":",
    "[",
    "]",
    "%",
    "#",
    "?",
    "\\",
    ".",
    "..",
    "-",
    "_",
    "0x7f",
    "0177",
    "127.0.0.1",
    "::1",
    "::ffff:",
    "2130706433",
    "xn--",
    "localhost",
    ".local",
    "\t",
    "\r\n",
    "\0",
    "\u{ff0e}",
    "\u{2460}",
    ":443",
    ":0",
    ":65536",
    "example.com",
    "64:ff9b::",
];

/// A generator that a seed starts again (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.roll() % count.max(1) as u64).expect("below a usize")
    }

    fn mutate(&mut self, input: &str) -> String {
        let mut chars: Vec<char> = input.chars().collect();
        for _ in 0..=self.below(3) {
            let at = self.below(chars.len() + 1);
            match self.below(5) {
                0 if at < chars.len() => drop(chars.remove(at)),
                1 => chars.insert(at, char::from(u8::try_from(self.below(128)).expect("ASCII"))),
                2 if at < chars.len() => {
                    chars[at] = char::from(b' ' + u8::try_from(self.below(95)).expect("ASCII"))
                }
                3 if at < chars.len() => {
                    let end = (at + 1 + self.below(8)).min(chars.len());
                    let copy = chars[at..end].to_vec();
                    chars.splice(at..at, copy);
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    chars.splice(at..at, piece.chars());
                }
            }
        }
        chars.truncate(LENGTH_MAX);
        chars.into_iter().collect()
    }
}

/// What must hold for every input; says what kind of input it was.
fn holds(input: &str) -> String {
    let networks = AllowedNetworks::public_only();
    if let Ok(address) = input.trim_matches(['[', ']']).parse::<IpAddr>() {
        let is_allowed = networks.check(address).is_ok();
        if let IpAddr::V4(v4) = address {
            assert_eq!(is_allowed, networks.check(v4.to_ipv6_mapped().into()).is_ok(), "{input:?}");
        }
        if let IpAddr::V6(v6) = address {
            let is_outside = !is_in_2000_3(v6) && v6.to_ipv4_mapped().is_none();
            assert!(!(is_outside && is_allowed), "{input:?} is outside of 2000::/3");
        }
    }
    if let Ok(network) = AllowedNetworks::parse_network(input) {
        let again = AllowedNetworks::parse_network(&network.to_string());
        assert_eq!(again.as_ref(), Ok(&network), "{input:?}");
    }
    let url = match check_url(input, &UrlPolicy::default(), &networks) {
        Err(refusal) => return refusal.code().to_owned(),
        Ok(url) => url,
    };
    let again = check_url(url.as_str(), &UrlPolicy::default(), &networks);
    assert_eq!(again.as_ref(), Ok(&url), "{input:?} is not its own canonical form");
    assert!(url.is_https() && [443, 8443].contains(&url.port()), "{input:?}");
    let uri: http::Uri = url.as_str().parse().expect("what is dialled can be parsed");
    let Host::Name(name) = url.host() else { panic!("{input:?} became an address") };
    assert_eq!(uri.host(), Some(name), "{input:?} is read in two ways");
    assert!(name.parse::<IpAddr>().is_err() && name.contains('.'), "{input:?} became {name}");
    assert!(!name.ends_with('.') && name.bytes().all(|byte| byte.is_ascii_graphic()));
    format!("accepted {} {}", url.port(), input.contains('?'))
}

fn is_in_2000_3(address: Ipv6Addr) -> bool {
    address.segments()[0] >> 13 == 1
}

fn corpus_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/urls.jsonl")
}

#[test]
fn no_input_breaks_the_guard_or_is_read_in_two_ways() {
    let seed: Option<u64> =
        std::env::var("POSTHORN_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed = seed.unwrap_or_else(|| now().subsec_nanos().into());
    println!("POSTHORN_FUZZ_SEED={seed}");
    let time = std::env::var("POSTHORN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let mut dice = Dice(seed | 1);

    let corpus = std::fs::read_to_string(corpus_file()).expect("the corpus");
    let mut kept: Vec<String> =
        corpus.lines().map(|line| serde_json::from_str(line).expect("a text")).collect();
    let table = include_str!("data/endpoint_urls.jsonl").lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        row["url"].as_str().expect("a URL").to_owned()
    });
    let mut pool: Vec<String> = kept.iter().cloned().chain(table).collect();
    let mut kinds: BTreeMap<(String, u32), u64> = BTreeMap::new();
    // Of one kind, inputs of different lengths are different: short ones are what people read.
    let kind_of = |input: &str| (holds(input), input.len().checked_ilog2().unwrap_or(0));
    for input in &pool {
        *kinds.entry(kind_of(input)).or_default() += 1;
    }
    let begun = Instant::now();
    let mut rounds = 0;
    loop {
        let at = dice.below(pool.len());
        let input = dice.mutate(&pool[at]);
        let count = kinds.entry(kind_of(&input)).or_default();
        *count += 1;
        if *count == 1 && kept.len() < CORPUS_LINES_MAX {
            pool.push(input.clone());
            kept.push(input);
        }
        rounds += 1;
        match time {
            Some(seconds) if begun.elapsed() < Duration::from_secs(seconds) => {}
            None if rounds < ROUNDS => {}
            _ => break,
        }
    }
    println!("{rounds} inputs of {} kinds", kinds.len());
    if time.is_some() {
        let line = |input: &String| serde_json::to_string(input).expect("JSON") + "\n";
        let lines: String = kept.iter().map(line).collect();
        std::fs::write(corpus_file(), lines).expect("the corpus is written");
    }
}
