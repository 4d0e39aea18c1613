//! Which version made a data folder: written down beside it, and looked at before anything starts.
//!
//! An older version must never open what a newer one wrote; a newer one may open what is older.

use std::path::PathBuf;

use crate::StackError;

/// A data folder of a part, and the note of who made it.
pub(crate) struct DataVersion {
    /// The part's name, as people write it.
    pub(crate) product: &'static str,
    /// The version that runs now.
    pub(crate) ours: String,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// What is lost, and what is not, when the folder is moved away.
    pub(crate) consequence: &'static str,
}

impl DataVersion {
    /// May this version open the folder?
    ///
    /// # Errors
    /// When a newer version made it, or nobody knows who did.
    pub(crate) fn check(&self) -> Result<(), StackError> {
        if !self.data.exists() {
            return Ok(());
        }
        let made_by = std::fs::read_to_string(self.note()).unwrap_or_default();
        let made_by = made_by.trim();
        match (major_and_minor(made_by), major_and_minor(&self.ours)) {
            (Some(theirs), Some(ours)) if theirs <= ours => Ok(()),
            _ => Err(StackError::ForeignData {
                path: self.data.clone(),
                found: match made_by {
                    "" => "somebody else than `posthorn up`".to_owned(),
                    version => format!("{} {version}", self.product),
                },
                expected: format!("{} {}", self.product, self.ours),
                hint: format!(
                    "run the version that made it, or move that folder away: {}",
                    self.consequence
                ),
            }),
        }
    }

    /// Notes that this version uses the folder from now on.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub(crate) fn write(&self) -> Result<(), StackError> {
        let note = self.note();
        std::fs::write(&note, &self.ours).map_err(StackError::file("cannot write", &note))
    }

    fn note(&self) -> PathBuf {
        self.data.with_file_name("version")
    }
}

/// What a data folder depends on.
fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dir: &std::path::Path, ours: &str) -> DataVersion {
        let data = dir.join("data");
        DataVersion { product: "Kafka", ours: ours.to_owned(), data, consequence: "nothing" }
    }

    #[test]
    fn a_newer_version_may_open_what_an_older_one_made_and_not_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        of(dir.path(), "4.3.1").check().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        of(dir.path(), "4.3.1").write().unwrap();
        of(dir.path(), "4.3.0").check().unwrap();
        of(dir.path(), "4.10.0").check().unwrap();
        let refused = of(dir.path(), "4.2.0").check().unwrap_err().to_string();
        assert!(refused.contains("made by Kafka 4.3.1, but this is Kafka 4.2.0"), "{refused}");
    }

    #[test]
    fn a_folder_that_nobody_made_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        assert!(of(dir.path(), "4.3.1").check().is_err());
    }
}
