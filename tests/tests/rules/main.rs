//! The rules of style that a machine can check, over every source file and every manifest.
//!
//! `sources` has the rules about files, `tokens` those about what must not stand in them,
//! `arrows` those about what may import what. Each rule has a test of its own that shows it a
//! planted violation; the tests here show them the repository. A rule is never switched off for a
//! file: what it should not see is said in `sources`, with a reason.

mod arrows;
mod sources;
mod tokens;

use std::path::Path;
use std::process::Command;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    /// A file's path, or a crate's name.
    place: String,
    what: String,
}

fn violation(place: &str, what: impl Into<String>) -> Violation {
    Violation { place: place.to_owned(), what: what.into() }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn assert_none(violations: &[Violation]) {
    let lines: Vec<String> =
        violations.iter().map(|found| format!("{}: {}", found.place, found.what)).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn every_source_file_keeps_the_rules() -> anyhow::Result<()> {
    let files = sources::all(root())?;
    for known in ["crates/domain/src/lib.rs", "proto/src/lib.rs", "tests/tests/rules/main.rs"] {
        assert!(files.iter().any(|file| file.path == known), "{known} was not looked at");
    }
    assert_none(&files.iter().flat_map(sources::check).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn every_crate_imports_only_what_it_may() -> anyhow::Result<()> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates = arrows::crates(&serde_json::from_slice(&output.stdout)?)?;
    assert_none(&arrows::check(&crates));
    Ok(())
}
