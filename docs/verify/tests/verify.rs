//! Every receiver of docs/verify.md, run as a merchant would run it, against webhooks that the
//! product's client really sends. Each is verified by that language's Standard Webhooks library,
//! or, for ed25519, by a library of cryptography that is not ours.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use delivery::secrets::Secret;
use delivery::sign::signature;
use domain::Outcome;
use posthorn_verify::{Program, deliver, folder, install, keep_one, resend};

const TMP: &str = env!("CARGO_TARGET_TMPDIR");

const ACCEPTED: u16 = 204;
const REFUSED: u16 = 400;

/// What a receiver must accept and what it must refuse, whatever it is written in.
async fn accepts_what_we_sign_and_nothing_else(
    receiver: &Program,
    secret: &Secret,
    others: &[Secret],
) -> anyhow::Result<()> {
    let url = receiver.url.as_str();
    let outcome = deliver(url, std::slice::from_ref(secret)).await?;
    ensure!(outcome == Outcome::Delivered { status: ACCEPTED }, "signed: {outcome:?}");
    // A rotation: two secrets sign, whichever the merchant has.
    for other in others {
        let outcome = deliver(url, &[other.clone(), secret.clone()]).await?;
        ensure!(outcome == Outcome::Delivered { status: ACCEPTED }, "rotated: {outcome:?}");
    }
    let outcome = deliver(url, others).await?;
    ensure!(outcome == Outcome::Refused { status: REFUSED }, "another's secret: {outcome:?}");

    let kept = keep_one(std::slice::from_ref(secret)).await?;
    ensure!(resend(url, &kept).await? == ACCEPTED, "the same again");
    let body_changed = {
        let mut changed = kept.clone();
        changed.body[20] ^= 1;
        changed
    };
    let now: i64 =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().try_into()?;
    let signed_at = |at: i64| {
        let id = kept.header("webhook-id");
        let signed = signature(std::slice::from_ref(secret), id, at, &kept.body);
        kept.with_header("webhook-timestamp", Some(&at.to_string()))
            .with_header("webhook-signature", signed.as_deref())
    };
    ensure!(resend(url, &signed_at(now - 60)).await? == ACCEPTED, "a minute old");
    let other_time = (kept.header("webhook-timestamp").parse::<i64>()? - 1).to_string();
    let cases = [
        ("another body", body_changed),
        ("another id", kept.with_header("webhook-id", Some("evt_other"))),
        ("another time", kept.with_header("webhook-timestamp", Some(&other_time))),
        ("no time", kept.with_header("webhook-timestamp", None)),
        ("no signature", kept.with_header("webhook-signature", None)),
        ("half a signature", kept.with_header("webhook-signature", Some("v1,"))),
        ("no token at all", kept.with_header("webhook-signature", Some("nonsense"))),
        ("too old", signed_at(now - 400)),
        ("of the future", signed_at(now + 400)),
    ];
    for (what, case) in cases {
        let status = resend(url, &case).await?;
        ensure!(status == REFUSED, "{what}: {status}");
    }
    // And it still serves.
    ensure!(deliver(url, std::slice::from_ref(secret)).await?.status() == Some(ACCEPTED));
    Ok(())
}

async fn check_v1(folder: &Path, argv: &[&str]) -> anyhow::Result<()> {
    let secret = Secret::generate()?;
    let receiver = Program::start(folder, argv, ("WEBHOOK_SECRET", &secret.reveal())).await?;
    let others = [Secret::generate()?, Secret::generate_asymmetric()?];
    accepts_what_we_sign_and_nothing_else(&receiver, &secret, &others).await
}

async fn check_v1a(folder: &Path, argv: &[&str]) -> anyhow::Result<()> {
    let secret = Secret::generate_asymmetric()?;
    let public_key = secret.public_key().unwrap_or_default();
    let receiver = Program::start(folder, argv, ("WEBHOOK_PUBLIC_KEY", &public_key)).await?;
    let others = [Secret::generate_asymmetric()?, Secret::generate()?];
    accepts_what_we_sign_and_nothing_else(&receiver, &secret, &others).await
}

#[tokio::test(flavor = "multi_thread")]
async fn python_verifies_by_its_library_and_ed25519_by_cryptography() -> anyhow::Result<()> {
    let files = ["requirements.txt", "receive.py", "receive_ed25519.py"];
    let folder = folder(TMP, "python", &files)?;
    install(&folder, &["python3", "-m", "venv", "."])?;
    install(&folder, &["bin/pip", "install", "--no-deps", "-q", "-r", "requirements.txt"])?;
    check_v1(&folder, &["bin/python", "receive.py"]).await?;
    check_v1a(&folder, &["bin/python", "receive_ed25519.py"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_verifies_by_its_library_and_ed25519_by_its_own_crypto() -> anyhow::Result<()> {
    let files =
        [".npmrc", "package.json", "package-lock.json", "receive.mjs", "receive_ed25519.mjs"];
    let folder = folder(TMP, "node", &files)?;
    install(&folder, &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
    check_v1(&folder, &["node", "receive.mjs"]).await?;
    check_v1a(&folder, &["node", "receive_ed25519.mjs"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn go_verifies_by_its_library() -> anyhow::Result<()> {
    let folder = folder(TMP, "go", &["go.mod", "go.sum", "receive.go"])?;
    install(&folder, &["go", "build", "-o", "receive", "."])?;
    check_v1(&folder, &["./receive"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn java_verifies_by_its_library() -> anyhow::Result<()> {
    let folder = folder(TMP, "java", &["pom.xml", "Receive.java"])?;
    let copy = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"];
    install(&folder, &copy)?;
    install(&folder, &["javac", "-cp", "lib/*", "-d", ".", "Receive.java"])?;
    check_v1(&folder, &["java", "-cp", ".:lib/*", "Receive"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_verifies_by_its_library() -> anyhow::Result<()> {
    let folder = folder(TMP, "rust", &["Cargo.toml", "Cargo.lock", "receive.rs"])?;
    // Where the workspace's own build may be told to lie elsewhere, this one stays here.
    install(&folder, &["cargo", "build", "-q", "--locked", "--target-dir", "target"])?;
    check_v1(&folder, &["target/debug/receive"]).await
}

#[test]
fn the_instruction_of_the_rust_program_adds_what_its_manifest_has() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rust");
    let program = std::fs::read_to_string(folder.join("receive.rs"))?;
    let line = program.lines().find_map(|line| line.strip_prefix("//! cargo add "));
    let mut told: Vec<String> = line
        .context("no instruction")?
        .split(" && cargo add ")
        .flat_map(|added| {
            let (crates, features) = added.split_once(" --features ").unwrap_or((added, ""));
            crates.split(' ').map(move |name| format!("{name} {features}"))
        })
        .collect();
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))?;
    let (_, dependencies) = manifest.split_once("[dependencies]\n").context("no dependencies")?;
    let mut has: Vec<String> = dependencies
        .lines()
        .map_while(|line| line.split_once(" = "))
        .map(|(name, value)| {
            let features = value.split_once("features = [\"").map_or("", |(_, list)| list);
            format!("{name} {}", features.trim_end_matches("\"] }").replace("\", \"", ","))
        })
        .collect();
    told.sort();
    has.sort();
    ensure!(told == has, "the program says {told:?}, its manifest {has:?}");
    Ok(())
}

#[test]
fn the_document_shows_the_programs_that_are_tested() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = folder.with_extension("md");
    let text = std::fs::read_to_string(&document)?;
    let mut written = String::new();
    let mut lines = text.lines();
    let mut shown = 0;
    while let Some(line) = lines.next() {
        written.push_str(line);
        written.push('\n');
        let Some(file) = line.strip_prefix("<!-- verify/").and_then(|l| l.strip_suffix(" -->"))
        else {
            continue;
        };
        shown += 1;
        let program = std::fs::read_to_string(folder.join(file))?;
        let fence = lines.next().unwrap_or_default();
        ensure!(fence.starts_with("```"), "{file} is not followed by a block");
        for _ in lines.by_ref().take_while(|line| *line != "```") {}
        written.push_str(&format!("{fence}\n{program}```\n"));
    }
    ensure!(shown == 7, "{shown} programs are shown");
    if std::env::var_os("POSTHORN_REGENERATE").is_some() {
        std::fs::write(&document, &written)?;
        return Ok(());
    }
    ensure!(written == text, "docs/verify.md is old: run this test with POSTHORN_REGENERATE=1");
    Ok(())
}

#[test]
fn every_test_that_the_checklist_names_exists() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = std::fs::read_to_string(root.join("docs/standard-webhooks.md"))?;
    let rows: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
        .collect();
    ensure!(rows.len() == 34, "{} lines", rows.len());
    let mut code = String::new();
    for folder in ["crates", "ingress", "tests", "docs/verify"] {
        read_rust(&root.join(folder), &mut code)?;
    }
    for name in list.split('`').skip(1).step_by(2) {
        // Tests are sentences; a field or a file has fewer words or other characters.
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.chars().all(is_word) && name.matches('_').count() > 2 {
            ensure!(code.contains(&format!("fn {name}(")), "there is no test {name}");
        }
    }
    Ok(())
}

fn read_rust(folder: &Path, code: &mut String) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_rust(&path, code)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
