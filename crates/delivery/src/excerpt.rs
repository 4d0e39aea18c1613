//! What is kept of an answer's body: a beginning that is safe to store and to print.
//!
//! The receiver wrote it, so it may hold anything: bytes that PostgreSQL refuses, escapes that
//! take over a terminal, letters that reverse a line, our own credentials sent back. All of that
//! is replaced here, once; nobody downstream has to think of it.

use std::ops::Range;

use crate::limits::{CUSTOM_HEADER_VALUE_BYTES_MAX, EXCERPT_BYTES_MAX};

/// Stands for what was replaced.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Stands for a credential of ours that came back.
const REDACTED: &str = "[redacted]";

/// Shorter values are no credentials, and would turn up by chance.
const CREDENTIAL_BYTES_MIN: usize = 8;

/// How often escapes are undone in search of a credential: of JSON within JSON, say, within a URL.
const UNDONE_MAX: usize = 3;

/// What is looked at in search of credentials: what is kept, and the longest of them that begins
/// there, each of its characters spelt by six, such as `\u002f` or `&#x2f;`.
const LOOKED_AT_BYTES_MAX: usize = EXCERPT_BYTES_MAX + 6 * CUSTOM_HEADER_VALUE_BYTES_MAX;

/// The longest of HTML's spellings of a character that counts, such as `&#x0002f;`.
const ENTITY_BYTES_MAX: usize = 10;

/// The beginning of `body` as text, without any of `credentials` and of their parts.
pub(crate) fn excerpt<'a>(body: &[u8], credentials: impl Iterator<Item = &'a str>) -> String {
    let parts = credentials.flat_map(parts).filter(|text| text.len() >= CREDENTIAL_BYTES_MIN);
    // Replaced before it is cut, so that half a credential does not stay at the end.
    let mut text = String::from_utf8_lossy(body).into_owned();
    // What is beyond costs memory while it is looked at.
    text.truncate(text.floor_char_boundary(LOOKED_AT_BYTES_MAX));
    let text = redacted(&text, &parts.collect::<Vec<_>>());
    let mut safe = String::with_capacity(text.len().min(EXCERPT_BYTES_MAX));
    for character in text.chars().map(|c| if is_safe(c) { c } else { REPLACEMENT }) {
        if safe.len() + character.len_utf8() > EXCERPT_BYTES_MAX {
            break;
        }
        safe.push(character);
    }
    safe
}

/// The beginning of `text`, at most [`EXCERPT_BYTES_MAX`] of it, without `credentials`, however they are spelt: whoever sends our headers back does so in
/// JSON, in a URL or in HTML.
fn redacted(text: &str, credentials: &[&str]) -> String {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut read = Read { text: text.to_owned(), from: (0..=text.len()).collect() };
    for _ in 0..=UNDONE_MAX {
        for credential in credentials {
            let ends = read.text.match_indices(credential).map(|(at, it)| (at, at + it.len()));
            found.extend(ends.map(|(begin, end)| read.from[begin]..read.from[end]));
        }
        read = read.undone();
    }
    found.sort_by_key(|range| range.start);
    let (mut written, mut at) = (String::new(), 0);
    let end = text.floor_char_boundary(EXCERPT_BYTES_MAX);
    for range in found.into_iter().filter(|range| range.start < end) {
        if range.start >= at {
            written.push_str(&text[at..range.start]);
            written.push_str(REDACTED);
        }
        at = at.max(range.end);
    }
    written + text.get(at..end).unwrap_or_default()
}

/// A text as it reads once its escapes are undone.
struct Read {
    text: String,
    /// Where each of its bytes, and its end, stands in the text as it came.
    from: Vec<usize>,
}

impl Read {
    fn undone(&self) -> Self {
        let mut next = Self {
            text: String::with_capacity(self.text.len()),
            from: Vec::with_capacity(self.from.len()),
        };
        let mut at = 0;
        while let Some(character) = self.text[at..].chars().next() {
            let (character, length) =
                escape(&self.text[at..]).unwrap_or((character, character.len_utf8()));
            next.text.push(character);
            next.from.resize(next.text.len(), self.from[at]);
            at += length;
        }
        next.from.push(self.from[at]);
        next
    }
}

/// The escape that `text` begins with, if it does: what it stands for, and its length. `\/`,
/// `\u002f`; `%2f`; `&#47;`, `&#x2f;`, `&amp;`. Credentials are ASCII, so others do not matter.
fn escape(text: &str) -> Option<(char, usize)> {
    if let Some(rest) = text.strip_prefix('\\') {
        if let Some(digits) = rest.strip_prefix('u') {
            return Some((ascii(digits.get(..4)?, 16)?, 6));
        }
        let escaped = rest.chars().next().filter(|c| matches!(c, '/' | '\\' | '"' | '\''))?;
        return Some((escaped, 2));
    }
    if let Some(digits) = text.strip_prefix('%') {
        return Some((ascii(digits.get(..2)?, 16)?, 3));
    }
    let end = text.bytes().take(ENTITY_BYTES_MAX).position(|byte| byte == b';')?;
    let entity = text.get(..end)?.strip_prefix('&')?;
    let character = match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = entity.strip_prefix('#')?;
            match number.strip_prefix(['x', 'X']) {
                Some(digits) => ascii(digits, 16)?,
                None => ascii(number, 10)?,
            }
        }
    };
    Some((character, entity.len() + 2))
}

fn ascii(digits: &str, radix: u32) -> Option<char> {
    u8::from_str_radix(digits, radix).ok().filter(u8::is_ascii).map(char::from)
}

/// A credential as a whole, and what of it is one by itself: a secret's base64 without its prefix,
/// the parts of a header's value that blanks divide (`Bearer …`).
fn parts(credential: &str) -> impl Iterator<Item = &str> {
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

    #[test]
    fn credentials_that_come_back_in_another_spelling_are_redacted_too() {
        let credential = "Bearer top/secret+token%1/12345==";
        for spelt in [
            // PHP's JSON, once and within a text of JSON.
            r"Bearer top\/secret+token%1\/12345==",
            r"Bearer top\\\/secret+token%1\\\/12345==",
            r"Bearer top\u002fsecret\u002Btoken%1\u002F12345\u003d\u003D",
            "Bearer%20top%2Fsecret%2Btoken%251%2f12345%3D%3d",
            "Bearer%2520top%252Fsecret%252Btoken%25251%252f12345%253D%253d",
            "%42earer top/secret+token%1/12345%3d=",
            "Bearer top&#x2F;secret&#43;token&#37;1&#47;12345&#x3d;=",
        ] {
            let body = format!("{{\"authorization\":\"{spelt}\"}}");
            let safe = excerpt(body.as_bytes(), [credential].into_iter());
            assert_eq!(safe, "{\"authorization\":\"[redacted]\"}", "{spelt}");
        }
        let others = r"Bearer top\secret%2Etoken 50% &#1; \u00e9 %zz &#x;";
        assert_eq!(excerpt(others.as_bytes(), [credential].into_iter()), others);
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
