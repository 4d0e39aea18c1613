//! The policy of an endpoint, taken apart field by field like the object that it stands in.

use domain::endpoint::PolicySettings;

use super::fields::Fields;
use crate::refusal::Refusal;

/// Takes `policy` out of `fields`; what is wrong inside is named `policy.…`.
pub(super) fn take(fields: &mut Fields) -> Result<Option<PolicySettings>, Refusal> {
    let Some(inner) = fields.object("policy")? else { return Ok(None) };
    parse(inner).map(Some).map_err(|refusal| match refusal {
        Refusal::Invalid { field, allowed } => Refusal::invalid(format!("policy.{field}"), allowed),
        other => other,
    })
}

fn parse(mut fields: Fields) -> Result<PolicySettings, Refusal> {
    let settings = PolicySettings {
        parallelism: fields.count("parallelism")?,
        schedule_s: fields.counts("schedule_s")?,
        backoff_initial_ms: fields.count("backoff_initial_ms")?,
        backoff_max_ms: fields.count("backoff_max_ms")?,
        throttled_wait_min_ms: fields.count("throttled_wait_min_ms")?,
        breaker_opens_after: fields.count("breaker_opens_after")?,
        breaker_opens_at_percent: fields.count("breaker_opens_at_percent")?,
        disables_after_s: fields.count("disables_after_s")?,
        probes_every_s: fields.count("probes_every_s")?,
        expires_after_s: fields.count("expires_after_s")?,
        attempt_timeout_ms: fields.count("attempt_timeout_ms")?,
    };
    fields.end(&[
        "parallelism",
        "schedule_s",
        "backoff_initial_ms",
        "backoff_max_ms",
        "throttled_wait_min_ms",
        "breaker_opens_after",
        "breaker_opens_at_percent",
        "disables_after_s",
        "probes_every_s",
        "expires_after_s",
        "attempt_timeout_ms",
    ])?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let mut fields = Fields::parse(text.as_bytes()).expect("an object");
        let refusal = take(&mut fields).expect_err("refused");
        refusal.field().expect("a field").to_owned()
    }

    #[test]
    fn what_is_wrong_inside_is_named_from_the_outside() {
        assert_eq!(refused(r#"{"policy":[]}"#), "policy");
        assert_eq!(refused(r#"{"policy":{"retries":3}}"#), "policy.retries");
        assert_eq!(refused(r#"{"policy":{"parallelism":-1}}"#), "policy.parallelism");
        assert_eq!(refused(r#"{"policy":{"schedule_s":[1,"2"]}}"#), "policy.schedule_s");
    }
}
