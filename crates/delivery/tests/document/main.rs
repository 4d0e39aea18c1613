//! The tables of docs/security.md, made by running each case against the client, and compared with
//! what the document says. `POSTHORN_REGENERATE=1 cargo test --workspace --test document` writes
//! them anew.
//!
//! Times and memory are held against their bounds in each run; what stands in italics is what one
//! run measured, and is not compared.

mod addresses;
mod answers_of_all_kinds;
#[path = "../delivery/authority.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod authority;
mod crowd;
mod field;
mod handshakes;
mod hostile;
mod http2;
mod memory;
mod own_headers;
#[path = "../delivery/receiver.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod receiver;
#[path = "../delivery/setup.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod setup;

use std::path::Path;

/// What stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = text.split_once(&begin).expect("the document has the table's place");
    let (_, after) = rest.split_once(&end).expect("the table's place has an end");
    format!("{before}{begin}\n{table}\n{end}{after}")
}

/// A line of a table without what was measured.
fn compared(line: &str) -> String {
    let is_measured = |cell: &str| cell.starts_with(" *") && cell.ends_with("* ");
    let cells = line.split('|').map(|cell| if is_measured(cell) { " *measured* " } else { cell });
    cells.collect::<Vec<_>>().join("|")
}

// One test, one case after the other, on one thread: its memory is what is measured.
#[test]
fn the_document_says_what_the_client_does() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    let text = std::fs::read_to_string(&document).expect("the document");
    let names = field::Field::new();
    let mut written = replaced(&text, "urls", &names.here(addresses::urls()));
    written = replaced(&written, "addresses", &names.here(addresses::addresses()));
    written = replaced(&written, "names", &names.here(addresses::names()));
    written = replaced(&written, "hostile", &hostile::receivers());
    written = replaced(&written, "headers", &own_headers::table());
    if std::env::var_os("POSTHORN_REGENERATE").is_some() {
        std::fs::write(&document, &written).expect("written");
        return;
    }
    for (now, said) in written.lines().zip(text.lines()) {
        let (now, said) = (compared(now), compared(said));
        assert_eq!(now, said, "docs/security.md is old: see the head of this test");
    }
    let lines = |text: &str| text.lines().count();
    assert_eq!(lines(&written), lines(&text), "docs/security.md is old: see this test's head");
}
