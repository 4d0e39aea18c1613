//! The commands that need no stack, run as an operator runs them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = b"{\"type\":\"a\",\"data\":{\"n\":\"Zo\xc3\xab\"}}";

fn run(arguments: &[&str], secret: Option<&str>, body: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthorn"));
    command.args(arguments).env_remove("POSTHORN_WEBHOOK_SECRET");
    if let Some(secret) = secret {
        command.env("POSTHORN_WEBHOOK_SECRET", secret);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // A command that refuses its options does not read what comes.
    let _ = child.stdin.take().expect("standard input").write_all(body);
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn every_row_of_both_tables_gets_its_line() {
    let urls = include_str!("../../domain/tests/data/endpoint_urls.jsonl");
    let addresses = include_str!("../../domain/tests/data/addresses.jsonl");
    let rows: Vec<Value> = urls
        .lines()
        .chain(addresses.lines())
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect();
    let input =
        |row: &Value| row["url"].as_str().or(row["address"].as_str()).expect("an input").to_owned();
    let inputs: Vec<String> = rows.iter().map(input).collect();
    let mut arguments = vec!["guard", "check", "--json", "--"];
    arguments.extend(inputs.iter().map(String::as_str));
    let output = run(&arguments, None, b"");
    assert!(output.status.success());
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is an object"))
        .collect();
    assert_eq!(lines.len(), rows.len());
    for (row, line) in rows.iter().zip(&lines) {
        assert_eq!(line["input"], input(row).as_str());
        let is_accepted = matches!(row["expect"].as_str(), Some("accept" | "allow"));
        assert_eq!(line["verdict"], if is_accepted { "accept" } else { "reject" }, "{row}");
        if row.get("url").is_some() {
            assert_eq!(line["reason"], row["reason"], "{row}");
            assert_eq!(line["canonical"], row["canonical"], "{row}");
        }
    }
}

#[test]
fn a_body_that_was_signed_by_hand_is_accepted_by_another_library_and_by_ours() {
    let output = run(&["webhook", "sign", "--id", "evt_1"], Some(SECRET), BODY);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let mut headers = http::HeaderMap::new();
    for line in printed.lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        headers.insert(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value.parse().expect("a value"),
        );
    }
    let library = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    library.verify(BODY, &headers).expect("the library accepts it");

    let header = |name: &str| headers[name].to_str().expect("text").to_owned();
    let (timestamp, signature) = (header("webhook-timestamp"), header("webhook-signature"));
    let verify = |id: &str, body: &[u8]| {
        let arguments =
            ["webhook", "verify", "--id", id, "--timestamp", &timestamp, "--signature", &signature];
        run(&arguments, Some(SECRET), body)
    };
    let good = verify("evt_1", BODY);
    assert_eq!((good.status.code(), &*text(&good.stdout)), (Some(0), "accepted: signed by v1\n"));
    for bad in [verify("evt_2", BODY), verify("evt_1", &BODY[1..])] {
        assert_eq!(bad.status.code(), Some(1));
        assert!(text(&bad.stdout).starts_with("rejected: no_matching_signature"));
    }
}

#[test]
fn a_secret_comes_from_a_file_or_the_environment_and_is_never_said_back() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{SECRET}\n")).expect("written");
    let path = file.path().to_str().expect("text");
    let sign = ["webhook", "sign", "--id", "e", "--timestamp", "1"];
    let by_file = run(&[&sign[..], &["--secret-file", path]].concat(), None, BODY);
    let by_variable = run(&sign, Some(SECRET), BODY);
    assert!(by_file.status.success());
    assert_eq!(by_file.stdout, by_variable.stdout);
    for secret in [None, Some(""), Some("whsec_c2hvcnQ="), Some("hunter2hunter2")] {
        let refused = run(&sign, secret, BODY);
        assert_eq!(refused.status.code(), Some(1), "{secret:?}");
        let said = text(&refused.stderr);
        assert!(said.contains("secret") && !said.contains("hunter2"), "{said}");
        assert!(!said.contains("c2hvcnQ"), "{said}");
    }
    let with_a_dot = run(&["webhook", "sign", "--id", "a.b"], Some(SECRET), BODY);
    assert_eq!(with_a_dot.status.code(), Some(1));
}

#[test]
fn a_command_whose_reader_has_seen_enough_ends_quietly() {
    for arguments in [
        &["guard", "check", "https://example.com/"][..],
        &["guard", "check", "--json", "10.0.0.1"],
        &["webhook", "sign", "--id", "evt_1"],
        &["webhook", "verify", "--id", "e", "--timestamp", "1", "--signature", "v1,x"],
        &["secrets", "new-key", "k1"],
        &["simulate", "--seed", "1", "--endpoints", "1", "--days", "1"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = Command::new(env!("CARGO_BIN_EXE_posthorn"))
            .args(arguments)
            .env("POSTHORN_WEBHOOK_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = child.wait_with_output().expect("it ends");
        let said = (output.status.code(), text(&output.stderr));
        assert_eq!(said, (Some(128 + 13), String::new()), "{arguments:?}");
    }
}

/// A worker that finds nobody, of a process that may open at most `hard` files and begins with `soft`.
fn worker(soft: u32, hard: u32) -> Command {
    let mut command = Command::new("sh");
    let limited = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_posthorn"), "worker"]);
    command.args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
    command.args(["--database-url", "postgres://nobody@127.0.0.1:1/nothing"]);
    let key = format!("k1:{}=", "A".repeat(43));
    command.env("POSTHORN_SECRET_KEYS", key).env("POSTHORN_CONCURRENT_ATTEMPTS", "64");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_worker_takes_the_descriptors_that_it_may_have() {
    let mut child = worker(100, 2_000).spawn().expect("it starts");
    let limits = format!("/proc/{}/limits", child.id());
    let raised = |line: &str| line.split_whitespace().nth(3) == Some("2000");
    let begun = Instant::now();
    let mut is_raised = false;
    while !is_raised && begun.elapsed() < Duration::from_secs(20) {
        let limits = std::fs::read_to_string(&limits).unwrap_or_default();
        is_raised = limits.lines().any(|l| l.starts_with("Max open files") && raised(l));
        std::thread::yield_now();
    }
    child.kill().expect("it ran");
    let output = child.wait_with_output().expect("it ends");
    assert!(is_raised, "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_worker_that_may_not_have_the_descriptors_that_it_needs_does_not_start() {
    let output = worker(100, 500).output().expect("it ends");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("may need 1104 file descriptors at once and may open 500"), "{said}");
    assert!(said.contains("POSTHORN_CONCURRENT_ATTEMPTS"), "{said}");
}
