//! What is kept of an answer's body: a beginning that is safe to store and to print.
//!
//! The receiver wrote it, so it may hold anything: bytes that PostgreSQL refuses, escapes that
//! take over a terminal, letters that reverse a line, our own credentials sent back. All of that
//! is replaced here, once; nobody downstream has to think of it.

use crate::limits::EXCERPT_BYTES_MAX;

/// Stands for what was replaced.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Stands for a credential of ours that came back.
const REDACTED: &str = "[redacted]";

/// Shorter values are no credentials, and would turn up by chance.
const CREDENTIAL_BYTES_MIN: usize = 8;

/// The beginning of `body` as text, without any of `credentials` and of their parts.
pub(crate) fn excerpt<'a>(body: &[u8], credentials: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from_utf8_lossy(body).into_owned();
    // Replaced before it is cut, so that half a credential does not stay at the end.
    let spellings = credentials.flat_map(spellings);
    for credential in spellings.filter(|text| text.len() >= CREDENTIAL_BYTES_MIN) {
        if text.contains(credential) {
            text = text.replace(credential, REDACTED);
        }
    }
    let mut safe = String::with_capacity(text.len().min(EXCERPT_BYTES_MAX));
    for character in text.chars().map(|c| if is_safe(c) { c } else { REPLACEMENT }) {
        if safe.len() + character.len_utf8() > EXCERPT_BYTES_MAX {
            break;
        }
        safe.push(character);
    }
    safe
}

/// A credential as a whole, and what of it is one by itself: a secret's base64 without its prefix,
/// the parts of a header's value that blanks divide (`Bearer …`).
fn spellings(credential: &str) -> impl Iterator<Item = &str> {
    let key = ["whsec_", "whsk_"].into_iter().find_map(|prefix| credential.strip_prefix(prefix));
    std::iter::once(credential).chain(key).chain(credential.split_ascii_whitespace())
}

fn is_safe(character: char) -> bool {
    match character {
        '\n' | '\t' => true,
        // Direction marks and overrides, invisible joiners, line separators of Unicode.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => false,
        '\u{061c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => false,
        _ => !character.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(body: &[u8]) -> String {
        excerpt(body, std::iter::empty())
    }

    #[test]
    fn text_stays_and_what_could_do_harm_is_replaced() {
        assert_eq!(
            plain("{\"ok\": \"Zo\u{eb} \u{20b9}\"}\n".as_bytes()),
            "{\"ok\": \"Zo\u{eb} \u{20b9}\"}\n"
        );
        assert_eq!(plain(b"a\0b"), "a\u{fffd}b");
        assert_eq!(plain(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(plain(b"\x1b[2Ja\r\nb"), "\u{fffd}[2Ja\u{fffd}\nb");
        assert_eq!(plain("a\u{202e}b\u{2066}c\u{85}".as_bytes()), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(plain(b"<script>alert(1)</script>"), "<script>alert(1)</script>");
    }

    #[test]
    fn credentials_of_ours_that_come_back_are_redacted_also_at_the_very_end() {
        let secret = "Bearer hunter2hunter2";
        let body = format!("{}{secret}", "x".repeat(EXCERPT_BYTES_MAX - 10));
        let safe = excerpt(body.as_bytes(), [secret, "x"].into_iter());
        assert!(safe.ends_with("x[redacted]"), "{}", &safe[EXCERPT_BYTES_MAX - 20..]);
    }

    #[test]
    fn parts_of_credentials_are_redacted_by_themselves() {
        let credentials =
            ["whsec_C2FVsBQIhrscChlQ", "whsk_6Xb6dS1nPOb3", "Bearer hunter2hunter2 v1"];
        for (body, safe) in [
            ("key=C2FVsBQIhrscChlQ;", "key=[redacted];"),
            ("whsec_C2FVsBQIhrscChlQ", "[redacted]"),
            ("6Xb6dS1nPOb3", "[redacted]"),
            ("{\"token\":\"hunter2hunter2\"}", "{\"token\":\"[redacted]\"}"),
            ("Bearer hunter2hunter2 v1", "[redacted]"),
            ("no Bearer, no v1", "no Bearer, no v1"),
        ] {
            assert_eq!(excerpt(body.as_bytes(), credentials.into_iter()), safe);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_bounded_text_that_prints(body in prop::collection::vec(any::<u8>(), 0..9000)) {
            let safe = plain(&body);
            prop_assert!(safe.len() <= EXCERPT_BYTES_MAX);
            prop_assert!(safe.chars().all(is_safe));
        }
    }
}
