//! Rules about what must not stand in a file: unfinished work, tests that do not run, and, in the
//! pure core, anything that reads a clock, draws a number, awaits or touches the world.
//!
//! Files are looked at as tokens, so a word in a comment or in a text is not seen, and one inside
//! a macro's arguments is.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::{Violation, violation};

/// Macros that stand for something that is not there.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// The pure core. Its tests may read files.
const PURE: &str = "crates/domain/src/";
/// Words with which purity ends.
const IMPURE: [&str; 16] = [
    "async",
    "await",
    "SystemTime",
    "Instant",
    "now_utc",
    "now_local",
    "now_v7",
    "new_v4",
    "tokio",
    "println",
    "eprintln",
    "print",
    "eprint",
    "thread",
    "File",
    "env",
];

/// What must not stand in this file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Violation> {
    // What is no Rust has been complained about.
    let Ok(tokens) = TokenStream::from_str(text) else { return Vec::new() };
    let mut found = Vec::new();
    everywhere(path, tokens.clone(), &mut found);
    // A file of tests inside of `src` is named so by its module.
    if path.starts_with(PURE) && !path.ends_with("/tests.rs") {
        purity(path, tokens, &mut found);
    }
    found
}

fn everywhere(path: &str, tokens: TokenStream, found: &mut Vec<Violation>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let line = token.span().start().line;
        let next = tokens.get(index + 1);
        match token {
            TokenTree::Ident(word) if is_punct(next, '!') && is_group(tokens.get(index + 2)) => {
                if let Some(name) = UNFINISHED.iter().find(|name| word == *name) {
                    found.push(violation(path, format!("line {line}: `{name}!`")));
                }
            }
            TokenTree::Punct(_)
                if is_punct(Some(token), '#')
                    && attribute(next).is_some_and(|attribute| has_word(attribute, "ignore")) =>
            {
                found.push(violation(path, format!("line {line}: a test that does not run")));
            }
            TokenTree::Group(group) => everywhere(path, group.stream(), found),
            _ => {}
        }
    }
}

fn purity(path: &str, tokens: TokenStream, found: &mut Vec<Violation>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(_) if is_punct(Some(&token), '#') => {
                let is_for_tests = attribute(tokens.peek()).is_some_and(|attribute| {
                    has_word(attribute.clone(), "cfg") && has_word(attribute, "test")
                });
                if is_for_tests {
                    // Up to the end of the item that it stands before.
                    tokens.next();
                    tokens.by_ref().find(is_end_of_item);
                }
            }
            TokenTree::Ident(word) => {
                if let Some(name) = IMPURE.iter().find(|name| word == *name) {
                    let line = word.span().start().line;
                    found.push(violation(path, format!("line {line}: `{name}` in the pure core")));
                }
            }
            TokenTree::Group(group) => purity(path, group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is_punct(token: Option<&TokenTree>, character: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_group(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(_)))
}

fn is_end_of_item(token: &TokenTree) -> bool {
    is_punct(Some(token), ';')
        || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// What stands between the brackets that follow a `#`. A file's own attributes (`#!`) forbid and
/// allow lints; none of them is looked for.
fn attribute(next: Option<&TokenTree>) -> Option<TokenStream> {
    match next {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some(group.stream())
        }
        _ => None,
    }
}

fn has_word(tokens: TokenStream, word: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Group(group) => has_word(group.stream(), word),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(path, text).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn unfinished_work_is_seen_in_code_and_in_macros_but_not_in_texts() {
        for name in UNFINISHED {
            let text = format!("fn a() {{\n    {name}!();\n}}");
            assert_eq!(complaints("a.rs", &text), [format!("line 2: `{name}!`")]);
            let text = format!("fn a() {{ assert!(b({name}!(1))); }}");
            assert_eq!(complaints("a.rs", &text).len(), 1);
        }
        let text = r#"fn a() { let todo = "todo!()"; /* dbg!() */ b(todo != 1) }"#;
        assert_eq!(complaints("a.rs", text), [""; 0]);
    }

    #[test]
    fn a_test_that_does_not_run_is_seen_however_it_is_written() {
        for attribute in ["ignore", "ignore = \"slow\"", "cfg_attr(not(feature = \"a\"), ignore)"] {
            let text = format!("mod a {{ #[test]\n#[{attribute}]\nfn b() {{}} }}");
            assert_eq!(complaints("a.rs", &text), ["line 2: a test that does not run"]);
        }
        assert_eq!(complaints("a.rs", "#[test]\nfn ignore() { let ignore = [ignore]; }"), [""; 0]);
    }

    #[test]
    fn the_pure_core_names_nothing_impure_outside_of_its_tests() {
        for text in [
            "fn a() { let b = time::OffsetDateTime::now_utc(); }",
            "async fn a() {}",
            "use std::time::Instant;",
            "fn a() -> String { std::env::var(\"A\") }",
            "fn a() { b(Uuid::new_v4()) }",
            "#[cfg(test)]\nmod tests { fn a() {} }\nfn b() { std::thread::yield_now() }",
        ] {
            assert_eq!(complaints("crates/domain/src/a.rs", text).len(), 1, "{text}");
            assert_eq!(complaints("crates/store/src/a.rs", text), [""; 0], "{text}");
        }
        for text in [
            "#[cfg(test)]\nmod tests { fn a() { std::fs::File::open(\"a\"); } }",
            "#[cfg(test)]\nuse std::time::Instant;\nfn a() {}",
            "/// Never reads `Instant`.\nfn a(now: OffsetDateTime) {}",
        ] {
            assert_eq!(complaints("crates/domain/src/a.rs", text), [""; 0], "{text}");
        }
    }
}
