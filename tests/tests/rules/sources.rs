//! Rules about files: their length, their first line, their name, the length of their functions.
//!
//! A file's path and text go in, violations come out. Generated code is not looked at: it is
//! written by no one, and a test compares it with what it is generated from.

use std::fs;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::Visit;

use crate::{Violation, tokens, violation};

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 400;
/// Longest function, in lines, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing about what is inside, as files or folders of modules.
const EMPTY_NAMES: [&str; 12] = [
    "utils", "util", "common", "core", "types", "helpers", "helper", "manager", "managers", "base",
    "misc", "shared",
];
/// Folders that hold nothing of ours: build products, state, what npm installs.
const FOREIGN_FOLDERS: [&str; 2] = ["target", "node_modules"];
/// Where generated code stands.
const GENERATED: &str = "/src/generated/";

/// A source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
}

/// Every source file of the repository that somebody wrote.
pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<Source>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !FOREIGN_FOLDERS.contains(&&*name) {
                collect(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            if !relative.contains(GENERATED) {
                files.push(Source { path: relative, text: fs::read_to_string(&path)? });
            }
        }
    }
    Ok(())
}

/// Every rule, for one file.
pub(crate) fn check(file: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut complain = |what: String| found.push(violation(&file.path, what));
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        complain(format!("has {lines} lines; {FILE_LINES_MAX} are the limit"));
    }
    if !file.text.starts_with("//!") {
        complain("does not open with `//!`: what enters, what leaves, what never happens".into());
    }
    for part in file.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            complain(format!("`{part}` says nothing about what is inside"));
        }
    }
    match syn::parse_file(&file.text) {
        Ok(parsed) => {
            let mut functions = Functions::default();
            functions.visit_file(&parsed);
            for (name, line, lines) in functions.too_long {
                complain(format!(
                    "line {line}: `{name}` has {lines} lines; {FUNCTION_LINES_MAX} are the limit"
                ));
            }
        }
        Err(error) => complain(format!("cannot be parsed: {error}")),
    }
    found.extend(tokens::check(&file.path, &file.text));
    found
}

#[derive(Debug, Default)]
struct Functions {
    too_long: Vec<(String, usize, usize)>,
}

impl Functions {
    fn measure(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.span().start().line;
        let lines = block.span().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            self.too_long.push((signature.ident.to_string(), first, lines));
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.measure(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let file = Source { path: path.to_owned(), text: text.to_owned() };
        check(&file).into_iter().map(|found| found.what).collect()
    }

    fn of_length(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_over_the_limit_is_seen_and_one_at_the_limit_passes() {
        let text = |lines: usize| format!("//! A.\n{}", "// x\n".repeat(lines - 1));
        assert_eq!(complaints("a.rs", &text(FILE_LINES_MAX)), [""; 0]);
        let seen = complaints("a.rs", &text(FILE_LINES_MAX + 1));
        assert_eq!(seen, ["has 401 lines; 400 are the limit"]);
    }

    #[test]
    fn a_long_function_is_seen_wherever_it_stands_and_its_comments_do_not_count() {
        let fits = of_length(FUNCTION_LINES_MAX);
        assert_eq!(complaints("a.rs", &format!("//! A.\n/// Doc.\n#[test]\n{fits}")), [""; 0]);
        let long = of_length(FUNCTION_LINES_MAX + 1);
        for (before, after) in [
            ("", ""),
            ("struct A; impl A {", "}"),
            ("trait A {", "}"),
            ("mod a {", "}"),
            ("fn outer() {", "}"),
        ] {
            let seen = complaints("a.rs", &format!("//! A.\n{before}\n{long}{after}\n"));
            let of_long: Vec<&String> =
                seen.iter().filter(|s| s.contains("`long` has 71")).collect();
            assert_eq!(of_long.len(), 1, "{before}: {seen:?}");
        }
    }

    #[test]
    fn a_file_without_a_header_is_seen() {
        for text in ["", "use a::b;\n", "// A.\n", "\n//! A.\n", "/// A.\nfn a() {}\n"] {
            assert!(complaints("a.rs", text)[0].starts_with("does not open"), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_says_nothing_is_seen_as_a_file_and_as_a_folder() {
        for path in ["a/src/utils.rs", "a/src/core/mod.rs", "crates/common/src/lib.rs", "types.rs"]
        {
            assert_eq!(complaints(path, "//! A.\n").len(), 1, "{path}");
        }
        for path in ["a/src/utilities_of_x.rs", "a/src/score.rs", "a/src/database.rs"] {
            assert_eq!(complaints(path, "//! A.\n"), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_file_that_is_no_rust_is_seen() {
        assert!(complaints("a.rs", "//! A.\nfn (").iter().any(|what| what.contains("parsed")));
    }

    #[test]
    fn what_is_generated_built_or_hidden_is_not_looked_at() -> anyhow::Result<()> {
        let root = tempfile::tempdir()?;
        for path in ["a/src/lib.rs", "a/src/generated/x.rs", "target/x.rs", ".x/x.rs", "a/x.txt"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, "")?;
        }
        let paths: Vec<String> = all(root.path())?.into_iter().map(|file| file.path).collect();
        assert_eq!(paths, ["a/src/lib.rs"]);
        Ok(())
    }
}
