//! Why the store could not do what it was told.

/// An error of the store; the source is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, or refused the statement.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the database: {0}")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// The database has a schema that this version did not make.
    #[error(
        "the database's schema is another version's ({0}): run the version that made it, or start \
         with an empty database (for `make up`: make clean)"
    )]
    ForeignSchema(#[source] sqlx::migrate::MigrateError),
    /// A row holds what no writer of ours writes.
    #[error("{table} holds what this version cannot read: {what}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// What is odd about it, without the value.
        what: String,
    },
    /// A newer build of this product wrote it, in a form of its own.
    #[error(
        "{what} is of form {found}, and this build reads forms up to {known}: a newer build wrote \
         it. Run that build, or a newer one; what waits goes on waiting and nothing is lost"
    )]
    NewerForm {
        /// What it is.
        what: &'static str,
        /// The version of its form.
        found: i32,
        /// The newest that this build reads.
        known: i32,
    },
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as E;
        match error {
            E::VersionMissing(_) | E::VersionMismatch(_) | E::VersionTooNew(..) | E::Dirty(_) => {
                Self::ForeignSchema(error)
            }
            other => Self::Migrate(other),
        }
    }
}

impl StoreError {
    /// The name of the constraint that refused a row, if one did.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }

    /// Is it of one row, which holds what cannot be read, so that others can still be had?
    pub fn is_of_the_row(&self) -> bool {
        matches!(
            self,
            Self::Unreadable { .. }
                | Self::NewerForm { .. }
                | Self::Database(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        )
    }

    /// Is the database away, or too busy, so that the same may succeed a little later?
    ///
    /// Whether a write took effect is not known then: the connection may have broken after it.
    pub fn is_away(&self) -> bool {
        let Self::Database(error) = self else { return false };
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Classes of SQLSTATE: connection (08), serialization and deadlock (40), resources
            // (53), intervention such as a timeout or a shutdown (57), system (58).
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            }),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_of_another_version_is_told_with_what_to_do() {
        let told = StoreError::from(sqlx::migrate::MigrateError::VersionMismatch(3)).to_string();
        assert!(told.contains("another version's") && told.contains("make clean"), "{told}");
    }

    #[test]
    fn a_broken_connection_may_pass_and_a_row_that_cannot_be_read_does_not() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(StoreError::from(sqlx::Error::Io(broken)).is_away());
        assert!(StoreError::from(sqlx::Error::PoolTimedOut).is_away());
        assert!(!StoreError::from(sqlx::Error::RowNotFound).is_away());
        let what = "status".to_owned();
        let unreadable = StoreError::Unreadable { table: "payments", what };
        assert!(!unreadable.is_away() && unreadable.is_of_the_row());
        let odd = sqlx::Error::ColumnDecode { index: "0".to_owned(), source: "odd".into() };
        assert!(StoreError::from(odd).is_of_the_row());
        assert!(!StoreError::from(sqlx::Error::PoolTimedOut).is_of_the_row());
    }
}
