//! What a role's `/metrics` says, for whoever compares it with what happened.

use anyhow::Context;

use crate::Api;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Scraped(String);

impl Scraped {
    /// Asks the role whose metrics are on `port`.
    ///
    /// # Errors
    /// When there is no answer, or no text.
    pub async fn of(port: u16) -> anyhow::Result<Self> {
        let answer = Api::new(&format!("http://127.0.0.1:{port}"))?.get("/metrics").await?;
        Ok(Self(answer.as_str().context("not a text")?.to_owned()))
    }

    /// The value of one series, named with its labels as they are told.
    ///
    /// # Errors
    /// When there is no such series.
    pub fn value(&self, series: &str) -> anyhow::Result<f64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.and_then(|line| line.split(' ').next());
        Ok(value.with_context(|| format!("there is no series {series}"))?.parse()?)
    }

    /// Is there a series whose name, with its first labels, begins with `stem`?
    pub fn has(&self, stem: &str) -> bool {
        self.0.lines().any(|line| line.starts_with(stem))
    }

    /// The sum of all series whose name, with their first labels, begins with `stem`.
    ///
    /// # Errors
    /// When a value is no number.
    pub fn sum(&self, stem: &str) -> anyhow::Result<f64> {
        let lines = self.0.lines().filter(|line| line.starts_with(stem));
        let values = lines.map(|line| {
            let (_, value) = line.rsplit_once("} ").context("no labels")?;
            Ok(value.split(' ').next().unwrap_or_default().parse::<f64>()?)
        });
        values.sum()
    }
}
