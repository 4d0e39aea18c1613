//! The tables of docs/security.md, made by running each case against the client, and compared with
//! what the document says. `POSTHORN_REGENERATE=1 cargo test --workspace --test document` writes
//! them anew.
//!
//! Times are told as the bound that ended the attempt, not in milliseconds, so that two runs agree.

mod addresses;
#[path = "../delivery/authority.rs"]
#[allow(dead_code, reason = "the other test uses all of it")]
mod authority;
mod handshakes;
mod hostile;
mod memory;
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

// One test, one case after the other: the memory of the process is what is measured.
#[tokio::test]
async fn the_document_says_what_the_client_does() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    let text = std::fs::read_to_string(&document).expect("the document");
    let mut written = replaced(&text, "urls", &addresses::urls().await);
    written = replaced(&written, "addresses", &addresses::addresses().await);
    written = replaced(&written, "names", &addresses::names().await);
    written = replaced(&written, "hostile", &hostile::receivers().await);
    if std::env::var_os("POSTHORN_REGENERATE").is_some() {
        std::fs::write(&document, &written).expect("written");
        return;
    }
    for (now, said) in written.lines().zip(text.lines()) {
        assert_eq!(now, said, "docs/security.md is old: see the head of this test");
    }
    assert_eq!(written.len(), text.len(), "docs/security.md is old: see the head of this test");
}
