//! The build's id: a digest of the code that Restate replays.
//!
//! A step whose result changed its form, or a handler that does other things in another order,
//! wedges what is still running under the same deployment URL. So the URL carries this id.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Where that code is: the handlers, and the rule of when a wake ends.
const SOURCES: [&str; 2] = ["src", "../crates/domain/src"];

fn main() {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        collect(Path::new(source), &mut files);
    }
    files.sort();
    // Its keys are fixed: the same sources give the same id.
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(&file).expect("a source that was listed can be read").hash(&mut hasher);
    }
    println!("cargo::rustc-env=POSTHORN_BUILD_ID={:012x}", hasher.finish() & 0xffff_ffff_ffff);
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("the sources' directory can be listed");
    for entry in entries {
        let path = entry.expect("the sources' directory can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
