//! The committed code is what the `.proto` files generate.
//!
//! After a change of a `.proto` file: `POSTHORN_REGENERATE=1 cargo test --workspace --test
//! generated` writes the code anew. The compiler is pure Rust (protox); no protoc is looked for.

use std::path::{Path, PathBuf};
use std::{env, fs};

use protox::Compiler;
use protox::prost::Message;

const FILES: [&str; 2] = ["posthorn.v1.rs", "descriptors.bin"];

fn generate(into: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources: Vec<PathBuf> = fs::read_dir(root.join("posthorn/v1"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    sources.sort();
    let mut compiler = Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&sources)?;
    tonic_prost_build::configure().out_dir(into).compile_fds(compiler.file_descriptor_set())?;

    let mut compiler = Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(false).open_files(&sources)?;
    fs::write(into.join("descriptors.bin"), compiler.file_descriptor_set().encode_to_vec())?;
    Ok(())
}

#[test]
fn the_committed_code_is_what_the_proto_files_generate() -> Result<(), Box<dyn std::error::Error>> {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = tempfile::tempdir()?;
    generate(fresh.path())?;
    for file in FILES {
        let generated = fs::read(fresh.path().join(file))?;
        if env::var_os("POSTHORN_REGENERATE").is_some() {
            fs::write(committed.join(file), &generated)?;
        }
        assert!(
            fs::read(committed.join(file)).is_ok_and(|committed| committed == generated),
            "{file} is not what the .proto files say; run \
             POSTHORN_REGENERATE=1 cargo test --workspace --test generated"
        );
    }
    Ok(())
}
