//! Rules about what may import what: crates of ours, and the one home of each technology.
//!
//! What `cargo metadata` says goes in, violations come out. A crate that is not on the map is a
//! violation: whoever adds one says here where it stands.

use serde::Deserialize;
use serde_json::Value;

use crate::{Violation, violation};

/// Our crates, without their prefix, and which of ours each may import.
const MAP: [(&str, &[&str]); 17] = [
    ("domain", &[]),
    ("proto", &[]),
    ("observability", &[]),
    ("stack", &[]),
    ("store", &["domain"]),
    ("delivery", &["domain"]),
    ("relay", &["domain", "store", "observability"]),
    ("data-service", &["domain", "store", "observability"]),
    ("ingress", &["domain", "proto", "store", "delivery", "observability"]),
    ("actors", &["domain", "store", "delivery", "data-service", "observability"]),
    // It simulates time and the shell around the pure core; it touches nothing.
    ("simulation", &["domain"]),
    ("simulator", &["observability"]),
    ("traces", &["observability"]),
    ("verify", &["delivery", "domain"]),
    ("bench", &["domain", "proto", "store"]),
    // The binary puts everything together.
    (
        "posthorn",
        &[
            "actors",
            "bench",
            "data-service",
            "delivery",
            "domain",
            "ingress",
            "observability",
            "relay",
            "simulation",
            "simulator",
            "stack",
            "store",
            "traces",
        ],
    ),
    // The tests stand outside: they may know everything but the two that count for themselves.
    (
        "tests",
        &[
            "actors",
            "data-service",
            "delivery",
            "domain",
            "ingress",
            "observability",
            "proto",
            "relay",
            "simulation",
            "stack",
            "store",
        ],
    ),
];

/// A technology, the crates whose code may use it, and those whose tests may as well.
const HOMES: [(&str, &[&str], &[&str]); 10] = [
    ("restate-sdk", &["actors"], &[]),
    ("rdkafka", &["relay"], &["tests"]),
    ("pgwire-replication", &["relay"], &[]),
    ("sqlx", &["store", "tests"], &[]),
    // Clients of our own parts; a merchant is reached by `delivery`'s hyper alone.
    ("reqwest", &["actors", "data-service", "ingress", "posthorn", "bench", "tests"], &[]),
    // Below HTTP's frameworks: the way to a merchant, what Restate talks to, and both ends of a test.
    // The api's own accept loop has the adapters alone.
    ("hyper", &["actors", "bench", "delivery", "simulator"], &[]),
    ("hyper-util", &["actors", "bench", "delivery", "ingress", "simulator"], &[]),
    ("tonic", &["proto", "ingress", "observability", "traces", "bench", "tests"], &[]),
    // `opentelemetry` stands for everything whose name begins so.
    // The other end of the wire has a crate of its own: `traces` takes what is sent.
    ("opentelemetry", &["observability", "traces"], &[]),
    ("tracing-opentelemetry", &["observability"], &[]),
];

/// What the pure core may stand on: parsers and definitions, nothing that acts. (`http` is the
/// second parser that a URL must pass.)
const PURE_DEPENDENCIES: [&str; 7] = ["http", "ipnet", "serde", "thiserror", "time", "url", "uuid"];
/// Features of those that would let it read a clock or draw a number.
const IMPURE_FEATURES: [(&str, &[&str]); 2] =
    [("uuid", &["v1", "v4", "v6", "v7", "rng"]), ("time", &["local-offset"])];

/// The prefix of our crates' names.
const PREFIX: &str = "posthorn-";

/// A crate and what it imports.
#[derive(Debug, Deserialize)]
pub(crate) struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or none.
    kind: Option<String>,
    #[serde(default)]
    features: Vec<String>,
    /// Where it is, when it is of this workspace.
    path: Option<String>,
}

/// The crates of a workspace, from `cargo metadata`.
pub(crate) fn crates(metadata: &Value) -> anyhow::Result<Vec<Crate>> {
    Ok(serde_json::from_value(metadata["packages"].clone())?)
}

/// Every rule, for all crates.
pub(crate) fn check(crates: &[Crate]) -> Vec<Violation> {
    let mut found: Vec<Violation> = crates
        .iter()
        .flat_map(|from| arrows(from).into_iter().chain(homes(from)).chain(purity(from)))
        .collect();
    for (name, _) in MAP {
        // Or the map would speak of something that is gone, and guard nothing.
        if !crates.iter().any(|known| short(&known.name) == name) {
            found.push(violation(name, "is on the map and not in the workspace"));
        }
    }
    found
}

fn short(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn arrows(from: &Crate) -> Vec<Violation> {
    let name = short(&from.name);
    let Some((_, allowed)) = MAP.iter().find(|(known, _)| *known == name) else {
        return vec![violation(name, "has no place on the map of crates")];
    };
    from.dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some())
        .map(|dependency| short(&dependency.name))
        .filter(|imported| !allowed.contains(imported))
        .map(|imported| violation(name, format!("may not import {imported}")))
        .collect()
}

fn homes(from: &Crate) -> Vec<Violation> {
    let name = short(&from.name);
    let mut found = Vec::new();
    for dependency in from.dependencies.iter().filter(|dependency| dependency.path.is_none()) {
        let home = HOMES.iter().find(|(technology, ..)| is_of(&dependency.name, technology));
        let Some((technology, homes, homes_in_tests)) = home else { continue };
        let is_for_tests = dependency.kind.as_deref() == Some("dev");
        let is_at_home = homes.contains(&name) || (is_for_tests && homes_in_tests.contains(&name));
        if !is_at_home {
            let what =
                format!("may not use {}: {technology} is at home elsewhere", dependency.name);
            found.push(violation(name, what));
        }
    }
    found
}

fn is_of(dependency: &str, technology: &str) -> bool {
    // tonic-build and its like generate code and speak to nobody.
    let is_exact = dependency == technology;
    is_exact || (technology == "opentelemetry" && dependency.starts_with("opentelemetry"))
}

fn purity(from: &Crate) -> Vec<Violation> {
    if short(&from.name) != "domain" {
        return Vec::new();
    }
    let mut found = Vec::new();
    // What it may import of ours, `arrows` says.
    let theirs = from.dependencies.iter().filter(|dependency| dependency.path.is_none());
    for dependency in theirs.filter(|dependency| dependency.kind.as_deref() != Some("dev")) {
        if !PURE_DEPENDENCIES.contains(&&*dependency.name) {
            found.push(violation("domain", format!("is pure; not with {}", dependency.name)));
        }
        let impure = IMPURE_FEATURES.iter().find(|(name, _)| *name == dependency.name);
        let features = impure.map_or(&[][..], |(_, features)| features);
        for feature in dependency.features.iter().filter(|f| features.contains(&&***f)) {
            let what = format!("is pure; not with {}'s {feature}", dependency.name);
            found.push(violation("domain", what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is complained about when `from` imports `dependency`, in an otherwise empty workspace.
    fn complaints(from: &str, dependency: Value) -> anyhow::Result<Vec<String>> {
        let packages: Vec<Value> = MAP
            .iter()
            .map(|(name, _)| {
                let is_it = *name == from;
                let dependencies = if is_it { vec![dependency.clone()] } else { Vec::new() };
                json!({ "name": format!("{PREFIX}{name}"), "dependencies": dependencies })
            })
            .collect();
        let crates = crates(&json!({ "packages": packages }))?;
        Ok(check(&crates)
            .into_iter()
            .map(|found| format!("{} {}", found.place, found.what))
            .collect())
    }

    fn ours(name: &str) -> Value {
        json!({ "name": format!("{PREFIX}{name}"), "kind": null, "path": "/x" })
    }

    fn theirs(name: &str, kind: Option<&str>) -> Value {
        json!({ "name": name, "kind": kind, "features": [], "path": null })
    }

    #[test]
    fn an_arrow_that_points_back_is_seen() -> anyhow::Result<()> {
        for (from, to) in [
            ("domain", "store"),
            ("proto", "domain"),
            ("store", "delivery"),
            ("relay", "actors"),
            ("ingress", "actors"),
            ("actors", "simulator"),
            ("delivery", "tests"),
            ("tests", "bench"),
            ("tests", "simulator"),
            ("stack", "bench"),
            ("posthorn", "tests"),
        ] {
            let expected = format!("{from} may not import {to}");
            assert_eq!(complaints(from, ours(to))?, [expected]);
        }
        for (from, to) in [
            ("store", "domain"),
            ("posthorn", "bench"),
            ("posthorn", "simulator"),
            ("actors", "store"),
        ] {
            assert_eq!(complaints(from, ours(to))?, [""; 0], "{from} {to}");
        }
        Ok(())
    }

    #[test]
    fn a_technology_outside_of_its_home_is_seen() -> anyhow::Result<()> {
        for (from, name, kind) in [
            ("ingress", "restate-sdk", None),
            ("ingress", "rdkafka", None),
            ("tests", "rdkafka", None),
            ("ingress", "rdkafka", Some("dev")),
            ("actors", "sqlx", None),
            ("actors", "sqlx", Some("dev")),
            ("actors", "tonic", None),
            ("relay", "hyper", None),
            ("ingress", "hyper", None),
            ("data-service", "hyper-util", Some("dev")),
            ("ingress", "opentelemetry", None),
            ("ingress", "opentelemetry_sdk", None),
            ("actors", "tracing-opentelemetry", None),
            ("store", "pgwire-replication", Some("build")),
        ] {
            let seen = complaints(from, theirs(name, kind))?;
            assert_eq!(seen.len(), 1, "{from} {name} {kind:?}");
            assert!(seen[0].starts_with(&format!("{from} may not use {name}")), "{seen:?}");
        }
        for (from, name, kind) in [
            ("relay", "rdkafka", None),
            ("tests", "rdkafka", Some("dev")),
            ("tests", "sqlx", None),
            ("bench", "tonic", None),
            ("delivery", "hyper", None),
            ("ingress", "hyper-util", None),
            ("proto", "tonic-prost-build", Some("dev")),
            ("observability", "opentelemetry-otlp", None),
        ] {
            assert_eq!(complaints(from, theirs(name, kind))?, [""; 0], "{from} {name}");
        }
        Ok(())
    }

    #[test]
    fn the_pure_core_stands_on_nothing_that_acts() -> anyhow::Result<()> {
        for name in ["tokio", "rand", "tracing", "serde_json"] {
            let seen = complaints("domain", theirs(name, None))?;
            assert_eq!(seen, [format!("domain is pure; not with {name}")]);
            assert_eq!(complaints("domain", theirs(name, Some("dev")))?, [""; 0]);
        }
        for (name, feature) in [("uuid", "v4"), ("uuid", "v7"), ("time", "local-offset")] {
            let with = json!({ "name": name, "kind": null, "features": [feature], "path": null });
            let expected = format!("domain is pure; not with {name}'s {feature}");
            assert_eq!(complaints("domain", with)?, [expected]);
        }
        Ok(())
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_and_a_place_without_a_crate_are_seen() -> anyhow::Result<()> {
        let packages = json!({ "packages": [{ "name": "posthorn-new", "dependencies": [] }] });
        let seen = check(&crates(&packages)?);
        assert!(seen.contains(&violation("new", "has no place on the map of crates")));
        assert!(seen.contains(&violation("store", "is on the map and not in the workspace")));
        Ok(())
    }
}
