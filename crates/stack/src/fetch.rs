//! Fetching a part: what its manifest in `compose/` pins, into a folder named by the manifest's hash.
//!
//! A folder that is there is whole (it is renamed into place at the end), so a second start needs no
//! network, and stacks that share a parts folder share one download. Nothing is fetched that a
//! committed manifest does not name by version; lock files and Maven check what comes.

use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Launch, Progress, StackError};

/// What is fetched, by which command.
pub(crate) struct Fetch<'a> {
    /// The part.
    pub(crate) name: &'static str,
    /// The manifest's files: name and content.
    pub(crate) manifest: &'a [(&'static str, &'static str)],
    /// The program that fetches, on PATH, and its arguments; then further ones, in this order.
    pub(crate) commands: &'a [&'a [&'a str]],
    /// How to get that program.
    pub(crate) hint: &'static str,
    /// Its output.
    pub(crate) log: PathBuf,
}

impl Fetch<'_> {
    /// Where this version lies in `parts`, or will.
    pub(crate) fn place(&self, parts: &Path) -> PathBuf {
        let mut hash = Sha256::new();
        for (name, content) in self.manifest {
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(content.as_bytes());
            hash.update([0]);
        }
        let hash: String =
            hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        parts.join(format!("{}-{hash}", self.name))
    }

    /// Can it be had: is it there, or the programs that fetch it?
    ///
    /// # Errors
    /// The program that is missing.
    pub(crate) fn check(&self, parts: &Path) -> Result<(), StackError> {
        if self.place(parts).is_dir() {
            return Ok(());
        }
        let programs = self.commands.iter().filter_map(|argv| argv.first());
        match programs.into_iter().find(|program| on_path(program).is_none()) {
            None => Ok(()),
            Some(program) => {
                let what = format!("{program} (to fetch {})", self.name);
                Err(StackError::Missing { what, hint: self.hint.to_owned() })
            }
        }
    }

    /// Fetches it unless it is there, and says where it lies.
    ///
    /// # Errors
    /// When a command fails, or the folder cannot be written.
    pub(crate) async fn fetch(
        &self,
        parts: &Path,
        progress: &Progress,
    ) -> Result<PathBuf, StackError> {
        let place = self.place(parts);
        if place.is_dir() {
            return Ok(place);
        }
        let waits = format!("fetching {}", self.name);
        progress.line(self.name, &format!("fetching (log: {})", self.log.display()));
        progress.wait(&waits);
        let fetched = self.fetch_alone(parts, &place).await;
        let took = progress.done(&waits).as_secs_f64();
        fetched?;
        progress.line(self.name, &format!("fetched in {took:.1} s"));
        Ok(place)
    }

    async fn fetch_alone(&self, parts: &Path, place: &Path) -> Result<(), StackError> {
        let _lock = self.lock(parts).await?;
        if place.is_dir() {
            return Ok(());
        }
        let partial = parts.join(format!("{}.partial", self.name));
        if partial.exists() {
            std::fs::remove_dir_all(&partial)
                .map_err(StackError::file("cannot remove", &partial))?;
        }
        std::fs::create_dir_all(&partial)
            .map_err(StackError::file("cannot make the folder", &partial))?;
        for (name, content) in self.manifest {
            let file = partial.join(name);
            std::fs::write(&file, content).map_err(StackError::file("cannot write", &file))?;
        }
        for argv in self.commands {
            let what = format!("fetching {}: {}", self.name, argv.join(" "));
            Launch::new(argv.iter(), &partial, &self.log).run(&what).await?;
        }
        std::fs::rename(&partial, place).map_err(StackError::file("cannot rename to", place))
    }

    /// One at a time, of all stacks that share the folder.
    async fn lock(&self, parts: &Path) -> Result<File, StackError> {
        let path = parts.join(format!("{}.lock", self.name));
        let taken = path.clone();
        let lock = tokio::task::spawn_blocking(move || {
            let file = File::create(&taken)?;
            file.lock()?;
            Ok(file)
        });
        lock.await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
            .map_err(StackError::file("cannot lock", path))
    }
}

/// The file that `program` is, on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
