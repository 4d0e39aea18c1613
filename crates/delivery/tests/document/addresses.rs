//! Every URL, address and answer of a name server: what becomes of an attempt, and how many
//! connections were begun.

use std::fmt::Write as _;
use std::net::IpAddr;

use domain::guard::{AllowedNetworks, UrlPolicy, check_url};
use domain::{Outcome, Unwell};
use posthorn_delivery::{Answer, Attempt, Client, ClientConfig, NameError, NameTable, Names};
use serde_json::Value;

use crate::receiver::{OK, Receiver, answer_all, script};
use crate::setup::{config, request};

const URLS: &str = include_str!("../../../domain/tests/data/endpoint_urls.jsonl");
const ADDRESSES: &str = include_str!("../../../domain/tests/data/addresses.jsonl");

/// Cells longer than this are cut: a case of 2049 bytes is no table's.
const CELL_CHARS_MAX: usize = 60;

const HOST: &str = "merchant.example";

fn rows(jsonl: &str) -> impl Iterator<Item = Value> {
    jsonl.lines().map(|line| serde_json::from_str(line).expect("a row"))
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().expect("a text")
}

/// As code, on one line, without what would end a cell.
fn cell(text: &str) -> String {
    let mut shown: String =
        text.chars().take(CELL_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CELL_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{}`", shown.replace('|', "\\|").replace("\\\"", "\"").replace("\\'", "'"))
}

/// A client for which only the public internet is good, and which knows these names.
fn strict(names: NameTable) -> Client {
    Client::new(ClientConfig::new(Names::Table(names))).expect("a client")
}

/// Connections that an attempt began, by its own record.
fn begun(attempt: &Attempt) -> usize {
    usize::from(attempt.detail.split.connect_us.is_some() || attempt.detail.address.is_some())
}

pub(crate) async fn urls() -> String {
    let mut table = String::from("| URL | verdict | reason | connections |\n|---|---|---|---|\n");
    for row in rows(URLS) {
        let url = text(&row, "url");
        let judged = check_url(url, &UrlPolicy::default(), &AllowedNetworks::public_only());
        // Nothing has a name here, so even an accepted URL goes no further than its name.
        let attempt = strict(NameTable::default()).attempt(&request(url)).await;
        let (verdict, reason) = match &judged {
            Ok(_) => ("accepted", String::new()),
            Err(refusal) => ("refused", refusal.code().to_owned()),
        };
        let is_blocked = matches!(attempt.outcome, Outcome::Fault { .. });
        assert_eq!(is_blocked, judged.is_err(), "{url}: {:?}", attempt.outcome);
        writeln!(table, "| {} | {verdict} | {reason} | {} |", cell(url), begun(&attempt))
            .expect("a text");
    }
    table
}

pub(crate) async fn addresses() -> String {
    let mut table =
        String::from("| address | verdict | what it is | connections |\n|---|---|---|---|\n");
    for row in rows(ADDRESSES) {
        let address: IpAddr = text(&row, "address").parse().expect("an address");
        let refusal = AllowedNetworks::public_only().check(address).err();
        let (verdict, what, connections) = match refusal {
            // Whether it could be reached is not for a test to find out.
            None => ("allowed", "public".to_owned(), "-".to_owned()),
            Some(refusal) => {
                let names = NameTable::default();
                names.add(HOST, Answer::Addresses(vec![address]));
                let attempt = strict(names).attempt(&request(&format!("https://{HOST}/"))).await;
                assert!(matches!(attempt.outcome, Outcome::Fault { .. }), "{address}");
                let what = refusal.to_string();
                let what = what.split_once(": ").map_or(what.as_str(), |(_, what)| what);
                ("refused", what.to_owned(), begun(&attempt).to_string())
            }
        };
        writeln!(table, "| `{address}` | {verdict} | {what} | {connections} |").expect("a text");
    }
    table
}

pub(crate) async fn names() -> String {
    let receiver = Receiver::start(script(|talk| answer_all(talk, OK))).await;
    let mut table = String::from(
        "| what the name server says | outcome | code | connections |\n|---|---|---|---|\n",
    );
    let lists: &[&[&str]] = &[
        &["127.0.0.1"],
        &["169.254.169.254"],
        &["0.0.0.0"],
        &["10.0.0.1"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::a9fe:a9fe"],
        &["93.184.216.34", "127.0.0.1"],
        &["10.0.0.1", "93.184.216.34"],
        &["93.184.216.34", "::1"],
    ];
    let mut cases: Vec<(String, Answer)> = lists
        .iter()
        .map(|list| {
            let addresses = list.iter().map(|text| text.parse().expect("an address")).collect();
            (list.join(", "), Answer::Addresses(addresses))
        })
        .collect();
    cases.push(("no such name".to_owned(), Answer::Failure(NameError::NotFound)));
    cases.push(("a failure".to_owned(), Answer::Failure(NameError::Failed)));
    cases.push(("no address".to_owned(), Answer::Addresses(Vec::new())));
    cases.push(("nothing about this name".to_owned(), Answer::Silence));
    cases.push(("nothing at all".to_owned(), Answer::Failure(NameError::Away)));
    for (what, answer) in cases {
        let names = NameTable::default();
        names.add(HOST, answer);
        let port = receiver.address.port();
        let config = config(names, &[port]);
        let config = ClientConfig { networks: AllowedNetworks::public_only(), ..config };
        let client = Client::new(config).expect("a client");
        let attempt = client.attempt(&request(&format!("http://{HOST}:{port}/"))).await;
        let code = attempt.detail.code.map_or("", |code| code.as_str());
        writeln!(
            table,
            "| {what} | {} | {code} | {} |",
            outcome(&attempt.outcome),
            begun(&attempt) + receiver.connections()
        )
        .expect("a text");
    }
    table
}

/// An outcome as the document names it.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered { status } => format!("delivered {status}"),
        Outcome::Refused { status } => format!("refused {status}"),
        Outcome::Gone => "gone".to_owned(),
        Outcome::Unwell { cause: Unwell::Status(status), retry_after: Some(wait) } => {
            format!("unwell {status}, asks for {} s", wait.as_secs())
        }
        Outcome::Unwell { cause: Unwell::Status(status), .. } => format!("unwell {status}"),
        Outcome::Unwell { cause, .. } => format!("unwell, {}", cause.code()),
        Outcome::Fault { fault } => format!("ours, {}", fault.code()),
    }
}
