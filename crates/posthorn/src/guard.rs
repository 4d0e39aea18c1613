//! `posthorn guard check`: what the strict policy says of URLs and addresses, one line each.
//!
//! Nothing is resolved and nothing is connected to. The verdict is the output, not the exit
//! status; a character that would break the line is shown escaped.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use domain::guard::{AllowedNetworks, UrlPolicy, check_url};
use serde::Serialize;

use crate::say::say;

#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    #[command(subcommand)]
    command: GuardCommand,
}

#[derive(Debug, Subcommand)]
enum GuardCommand {
    /// What the strict policy says of URLs and addresses: https only, ports 443 and 8443, the
    /// public internet.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// URLs that a merchant might register, or IP addresses that a host might have.
    #[arg(required = true, value_name = "URL|ADDRESS")]
    inputs: Vec<String>,
    /// For programs: one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What the policy says of one input.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Verdict<'a> {
    input: &'a str,
    /// `accept` or `reject`.
    verdict: &'static str,
    /// The stable code of the rule that rejected it.
    reason: Option<&'static str>,
    /// How the product would spell what it accepted.
    canonical: Option<String>,
}

pub(crate) fn guard(args: &GuardArgs) -> anyhow::Result<ExitCode> {
    let GuardCommand::Check(check) = &args.command;
    for input in &check.inputs {
        let verdict = judge(input);
        if check.json {
            say!("{}", serde_json::to_string(&verdict)?);
        } else {
            say!("{}", line(&verdict));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn judge(input: &str) -> Verdict<'_> {
    let networks = AllowedNetworks::public_only();
    let judged = match input.parse::<IpAddr>() {
        Ok(address) => networks
            .check(address)
            .map(|()| address.to_canonical().to_string())
            // The same code that a URL with this address gets.
            .map_err(|_| "blocked_ip"),
        Err(_) => check_url(input, &UrlPolicy::default(), &networks)
            .map(|url| url.to_string())
            .map_err(|refusal| refusal.code()),
    };
    match judged {
        Ok(canonical) => {
            Verdict { input, verdict: "accept", reason: None, canonical: Some(canonical) }
        }
        Err(reason) => Verdict { input, verdict: "reject", reason: Some(reason), canonical: None },
    }
}

fn line(verdict: &Verdict<'_>) -> String {
    let detail = verdict.canonical.as_deref().or(verdict.reason).unwrap_or_default();
    let mut input = String::new();
    for character in verdict.input.chars() {
        // Those that `escape_debug` shows by their number end a line, hide or turn it round; the rest
        // is shown as it came.
        let escaped: String = character.escape_debug().collect();
        match escaped.as_str() {
            "\\\"" | "\\'" | "\\\\" => input.push(character),
            _ => input.push_str(&escaped),
        }
    }
    format!("{}  {detail}  {input}", verdict.verdict)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_verdict_has_its_reason_or_its_canonical_form() {
        let json = |input| serde_json::to_value(judge(input)).expect("rendered");
        for (input, canonical) in [
            ("HTTPS://Example.com", "https://example.com/"),
            ("8.8.8.8", "8.8.8.8"),
            ("2606:4700::1111", "2606:4700::1111"),
            ("::ffff:8.8.8.8", "8.8.8.8"),
        ] {
            let verdict = json(input);
            assert_eq!(verdict["verdict"], "accept", "{input}");
            assert_eq!(verdict["canonical"], canonical);
            assert_eq!(
                (&verdict["input"], &verdict["reason"]),
                (&Value::from(input), &Value::Null)
            );
        }
        for (input, reason) in [
            ("127.0.0.1", "blocked_ip"),
            ("64:ff9b::7f00:1", "blocked_ip"),
            ("https://127.1/", "blocked_ip"),
            ("http://example.com/", "scheme"),
            ("127.1", "unparsable"),
            ("", "unparsable"),
        ] {
            let verdict = json(input);
            assert_eq!(verdict["verdict"], "reject", "{input}");
            assert_eq!(verdict["reason"], reason, "{input}");
            assert_eq!(verdict["canonical"], Value::Null);
        }
    }

    #[test]
    fn an_input_with_a_line_break_stays_on_one_line() {
        let verdict = judge("https://example.com\r\n.evil/");
        assert_eq!(line(&verdict), "reject  bad_char  https://example.com\\r\\n.evil/");
        assert!(!serde_json::to_string(&verdict).expect("rendered").contains('\n'));
    }

    #[test]
    fn what_breaks_no_line_is_shown_as_it_came() {
        for input in [r"https://ex'ample.com/", "https://ex\"ample.com/", r"https:\\example.com\"] {
            assert!(line(&judge(input)).ends_with(&format!("  {input}")), "{input}");
        }
        assert!(line(&judge("https://a\u{202e}b/")).ends_with("https://a\\u{202e}b/"));
        assert!(line(&judge("https://a\u{1b}[2J/")).ends_with("https://a\\u{1b}[2J/"));
    }
}
