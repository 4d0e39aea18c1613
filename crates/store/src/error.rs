//! Why the store could not do what it was told.

/// An error of the store; the source is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, or refused the statement.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migrating the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds what no writer of ours writes.
    #[error("{table} holds what this version cannot read: {what}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// What is odd about it, without the value.
        what: String,
    },
}

impl StoreError {
    /// The name of the constraint that refused a row, if one did.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.constraint(),
            _ => None,
        }
    }
}
