//! The compose file: what Docker Compose's own loader makes of it, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{folder, yaml};

const FRONT: &str = "${POSTHORN_FRONT_ADDRESS:-127.0.0.1}";

/// The services, by name.
pub(crate) fn services() -> anyhow::Result<serde_json::Map<String, Value>> {
    let file = yaml("docker-compose.yaml")?;
    Ok(file["services"].as_object().context("no services")?.clone())
}

fn is_ours(service: &Value) -> bool {
    service["image"].as_str().is_some_and(|image| image.starts_with("posthorn:"))
}

/// The words of a list.
pub(crate) fn words(value: &Value) -> Vec<String> {
    let word = |word: &Value| word.as_str().map(str::to_owned);
    value.as_array().into_iter().flatten().filter_map(word).collect()
}

#[test]
fn docker_composes_own_loader_accepts_it_in_both_profiles() -> anyhow::Result<()> {
    // A copy, in which the secrets are drawn as a newcomer draws them; twice, which changes nothing.
    let temporary = tempfile::tempdir()?;
    let copy = temporary.path().join("compose");
    ensure!(Command::new("cp").arg("-r").args([folder(), copy.clone()]).status()?.success());
    let drawn = || -> anyhow::Result<String> {
        ensure!(Command::new(copy.join("draw-secrets")).status()?.success(), "draw-secrets");
        Ok(std::fs::read_to_string(copy.join("secrets/database_url"))?)
    };
    let (secrets, open) = (copy.join("secrets"), Permissions::from_mode(0o755));
    std::fs::set_permissions(&secrets, open)?;
    let url = drawn()?;
    let mode = |path: &Path| Ok::<_, std::io::Error>(path.metadata()?.permissions().mode() & 0o777);
    ensure!(mode(&secrets)? == 0o700, "others get into the folder of the secrets");
    ensure!(mode(&secrets.join("secret_keys"))? == 0o644, "a container's user reads no secret");
    the_packaged_docker_compose_accepts(&copy)?;
    ensure!(url.starts_with("postgres://posthorn:") && url == drawn()?, "drawn twice");
    let loader = temporary.path().join("loader");
    let build = Command::new("go")
        .args(["build", "-o"])
        .arg(&loader)
        .arg(".")
        .current_dir(folder().join("check"))
        .output();
    if !build.as_ref().is_ok_and(|build| build.status.success()) {
        eprintln!("SKIPPED: Docker Compose's loader needs Go 1.23 and its modules: {build:?}");
        return Ok(());
    }
    for (profile, has, has_not) in [("sequin", "sequin", "relay"), ("relay", "relay", "sequin")] {
        let file = copy.join("docker-compose.yaml");
        let loaded = Command::new(&loader).arg(file).arg(profile).output()?;
        ensure!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        let project: Value = serde_json::from_slice(&loaded.stdout)?;
        ensure!(project["services"][has].is_object(), "no {has} in the profile {profile}");
        ensure!(project["services"][has_not].is_null(), "{has_not} in the profile {profile}");
    }
    Ok(())
}

/// Debian's `docker-compose`, which is older than the loader and knows less: some have it alone.
fn the_packaged_docker_compose_accepts(folder: &Path) -> anyhow::Result<()> {
    let packaged = || Command::new("docker-compose");
    if packaged().arg("--version").output().is_err() {
        eprintln!("SKIPPED: no docker-compose is installed");
        return Ok(());
    }
    for profile in ["sequin", "relay"] {
        let asked = packaged()
            .args(["config", "--quiet"])
            .env("COMPOSE_PROFILES", profile)
            .current_dir(folder)
            .output()?;
        ensure!(asked.status.success(), "{profile}: {}", String::from_utf8_lossy(&asked.stderr));
    }
    Ok(())
}

#[test]
fn every_image_is_pinned_and_every_port_is_on_loopback_unless_it_is_a_fronts() -> anyhow::Result<()>
{
    for (name, service) in services()? {
        let image = service["image"].as_str().with_context(|| format!("{name}: no image"))?;
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
        let is_pinned = tag.chars().any(|c| c.is_ascii_digit()) && tag.contains('.');
        ensure!(is_pinned, "{name}: {image} is not pinned by its version");
        for port in words(&service["ports"]) {
            let on_front = name == "front" && port.starts_with(FRONT);
            ensure!(on_front || port.starts_with("127.0.0.1:"), "{name} publishes {port}");
        }
    }
    Ok(())
}

#[test]
fn what_is_ours_is_read_only_unprivileged_and_knows_its_health() -> anyhow::Result<()> {
    for (name, service) in services()?.iter().filter(|(_, service)| is_ours(service)) {
        ensure!(service["read_only"] == true, "{name} may write");
        ensure!(service["cap_drop"] == serde_json::json!(["ALL"]), "{name} has capabilities");
        ensure!(service["user"] == "65532:65532", "{name}: {}", service["user"]);
        // A job ends, and the image's own check is a role's; a role is asked.
        let is_role = service["restart"] == "unless-stopped";
        ensure!(is_role == service["healthcheck"]["test"].is_array(), "{name}: its health");
        ensure!(is_role != (service["healthcheck"]["disable"] == true), "{name}: its health");
        let password = service.to_string();
        ensure!(!password.contains("postgres://"), "{name} has a password in its environment");
    }
    Ok(())
}

#[test]
fn exactly_one_producer_stands_and_restate_subscribes_its_topic() -> anyhow::Result<()> {
    let services = services()?;
    let profile = |name: &str| words(&services[name]["profiles"]);
    ensure!(profile("sequin") == ["sequin"] && profile("relay") == ["relay"]);
    for (job, profile_of, topic) in [
        ("register-sequin", "sequin", "webhook-events"),
        ("register-relay", "relay", "webhook-wakes"),
    ] {
        ensure!(profile(job) == [profile_of], "{job}");
        ensure!(words(&services[job]["command"]) == ["register", "--topic", topic], "{job}");
    }
    let default = crate::text(".env")?;
    let default = default.lines().find_map(|line| line.strip_prefix("COMPOSE_PROFILES="));
    ensure!(matches!(default, Some("sequin" | "relay")), "{default:?}");
    Ok(())
}

#[test]
fn a_network_that_is_shared_belongs_to_what_does_nothing_else() -> anyhow::Result<()> {
    // When its owner dies, a network is gone for all who share it, and they are not told.
    let services = services()?;
    let mut shared_by = 0;
    for (name, service) in &services {
        let Some(mode) = service["network_mode"].as_str() else {
            ensure!(!service["networks"].is_null(), "{name} is in no network");
            continue;
        };
        ensure!(service["networks"].is_null(), "{name}: a network and another's");
        let owner = mode.strip_prefix("service:").with_context(|| format!("{name}: {mode}"))?;
        let image = services[owner]["image"].as_str().unwrap_or_default();
        ensure!(image.starts_with("registry.k8s.io/pause:"), "{name} shares {owner}'s network");
        shared_by += 1;
    }
    ensure!(shared_by == 4, "the api, both that forward to it, and the demo merchant's job");
    // Prometheus asks the api by this name.
    let aliases = words(&services["front"]["networks"]["inside"]["aliases"]);
    ensure!(aliases == ["api"], "{aliases:?}");
    Ok(())
}

#[test]
fn all_that_stays_is_asked_how_it_is() -> anyhow::Result<()> {
    for (name, service) in services()? {
        // What owns the network has no program but itself.
        let stays = service["restart"] == "unless-stopped" && name != "front";
        let asked = service["healthcheck"]["test"].is_array();
        ensure!(!stays || asked, "{name}: nobody asks how it is");
    }
    Ok(())
}

#[test]
fn something_that_stays_waits_for_every_job() -> anyhow::Result<()> {
    // `up --wait` takes the end of a job that nobody waits for as a failure.
    for profile in ["sequin", "relay"] {
        let services: Vec<_> = services()?
            .into_iter()
            .filter(|(_, service)| {
                let profiles = words(&service["profiles"]);
                profiles.is_empty() || profiles.contains(&profile.to_owned())
            })
            .collect();
        let stays = |service: &Value| service["restart"] == "unless-stopped";
        let waits = |service: &Value, job: &str| {
            service["depends_on"][job]["condition"] == "service_completed_successfully"
        };
        for (job, _) in services.iter().filter(|(_, service)| !stays(service)) {
            let waited_for = services.iter().any(|(_, other)| stays(other) && waits(other, job));
            ensure!(waited_for, "{profile}: nobody that stays waits for {job}");
        }
    }
    Ok(())
}

#[test]
fn what_a_service_waits_for_mounts_and_is_told_is_there() -> anyhow::Result<()> {
    let file = yaml("docker-compose.yaml")?;
    let services = services()?;
    for (name, service) in &services {
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = services.get(other).with_context(|| format!("{name} waits for {other}"))?;
            let needs_health = how["condition"] == "service_healthy";
            ensure!(
                !needs_health || other["healthcheck"]["test"].is_array(),
                "{name}: nobody asks it"
            );
        }
        for secret in words(&service["secrets"]) {
            ensure!(file["secrets"][&secret].is_object(), "{name}: no secret {secret}");
        }
        let environment = service["environment"].as_object().into_iter().flatten();
        for path in environment.filter_map(|(_, it)| it.as_str()?.strip_prefix("/run/secrets/")) {
            // What all are told, not all read: a job that needs no key is given none.
            ensure!(file["secrets"][path].is_object(), "{name}: no secret {path}");
        }
        for volume in words(&service["volumes"]) {
            let (source, _) = volume.split_once(':').context("a volume and its place")?;
            let is_there = match source.strip_prefix('.') {
                // The alerts and dashboards are made beside this folder.
                Some(path) if path.starts_with("./observability") => true,
                Some(path) => folder().join(format!(".{path}")).exists(),
                None => file["volumes"].get(source).is_some(),
            };
            ensure!(is_there, "{name} mounts {source}, which is not there");
        }
    }
    Ok(())
}

#[test]
fn every_command_line_of_ours_is_one_that_the_binary_knows() -> anyhow::Result<()> {
    let binary = posthorn_tests::binary()?;
    let mut tried = BTreeSet::new();
    for (name, service) in services()?.iter().filter(|(_, service)| is_ours(service)) {
        let command = words(&service["command"]);
        let health = words(&service["healthcheck"]["test"]);
        for line in [command, health.into_iter().skip(2).collect()] {
            if line.is_empty() || !tried.insert(line.clone()) {
                continue;
            }
            // Options are read before help is given: an unknown one is refused.
            let asked = Command::new(&binary).args(&line).arg("--help").output()?;
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            ensure!(asked.status.success(), "{name}: {line:?}: {said}");
        }
    }
    ensure!(tried.len() >= 10, "{tried:?}");
    Ok(())
}

/// The options of a command that are variables too: variable → option, and whether it has a value.
fn options(command: &[String]) -> anyhow::Result<BTreeMap<String, (String, bool)>> {
    let binary = posthorn_tests::binary()?;
    let asked = Command::new(binary).env_clear().args(command).arg("--help").output()?;
    let help = String::from_utf8(asked.stdout)?;
    let (mut options, mut option) = (BTreeMap::new(), None);
    for line in help.lines().map(str::trim) {
        let word = line.split([' ', ',']).find(|word| word.starts_with("--"));
        if let Some(word) = word.filter(|_| line.starts_with('-')) {
            option = Some((word.to_owned(), line.contains('<')));
        }
        let variable = line.split_once("[env: ").map(|(_, rest)| rest.split(['=', ']']).next());
        if let (Some(Some(variable)), Some(option)) = (variable, &option) {
            options.insert(variable.to_owned(), option.clone());
        }
    }
    Ok(options)
}

#[test]
fn every_variable_of_ours_is_an_option_with_a_value_that_it_takes() -> anyhow::Result<()> {
    let shared = yaml("docker-compose.yaml")?["x-environment"].clone();
    let shared = shared.as_object().context("no x-environment")?;
    let mut tried = BTreeSet::new();
    for (name, service) in services()?.iter().filter(|(_, service)| is_ours(service)) {
        let command = words(&service["command"]);
        let options = options(&command)?;
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let of_file = variable.strip_suffix("_FILE").and_then(|of_it| options.get(of_it));
            let option = options.get(variable).or(of_file);
            let Some((option, has_value)) = option else {
                // What all are told is some command's; what one is told is its own.
                ensure!(shared.contains_key(variable), "{name}: {command:?} knows no {variable}");
                continue;
            };
            tried.insert(variable.clone());
            if variable.ends_with("_FILE") || !has_value {
                continue;
            }
            let value = value.as_str().with_context(|| format!("{variable} is no text"))?;
            let mut asked = Command::new(posthorn_tests::binary()?);
            // Options are read before help is given: a bad value is refused.
            let asked =
                asked.env_clear().args(&command).args([option, value, "--help"]).output()?;
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            ensure!(asked.status.success(), "{name}: {option} {value}: {said}");
        }
    }
    let unknown: Vec<_> = shared.keys().filter(|variable| !tried.contains(*variable)).collect();
    ensure!(unknown.is_empty(), "no command knows {unknown:?}");
    Ok(())
}
