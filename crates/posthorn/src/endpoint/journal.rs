//! The journal of an endpoint: told as a story, and folded again to check what is kept.
//!
//! Read only: `rebuild` says what differs and repairs nothing.

use std::process::ExitCode;

use anyhow::Context;
use domain::EndpointId;
use domain::endpoint::{EndpointState, Entry, evolve, history as story};
use store::{JournalEntry, Store};

use super::JournalArgs;
use crate::say::say;

/// One statement at a time.
const CONNECTIONS: u32 = 1;
/// Events read in one go.
const PAGE: i64 = 1_000;

pub(super) async fn history(args: &JournalArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-endpoint", CONNECTIONS)?;
    standing(&store, args.id).await?;
    let journal = whole_journal(&store, args.id, i64::MAX).await?;
    let entries =
        journal.iter().map(|entry| Entry { event: &entry.event, actor: entry.actor.as_deref() });
    let lines = story(entries);
    if lines.is_empty() {
        say!("Nothing ever happened to {}.", args.id);
    }
    for line in lines {
        say!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rebuild(args: &JournalArgs) -> anyhow::Result<ExitCode> {
    let store = Store::new(&args.database_url, "posthorn-endpoint", CONNECTIONS)?;
    // Up to the version that is kept: what happens meanwhile is in neither.
    let kept = standing(&store, args.id).await?;
    let journal = whole_journal(&store, args.id, kept.version).await?;
    let folded =
        journal.iter().fold(EndpointState::default(), |state, entry| evolve(state, &entry.event));
    let is_whole = journal.iter().zip(1..).all(|(entry, version)| entry.version == version)
        && i64::try_from(journal.len())? == kept.version;
    if is_whole && folded == kept.state {
        say!("{} is what its journal says: {} events.", args.id, journal.len());
        return Ok(ExitCode::SUCCESS);
    }
    if !is_whole {
        say!("The journal has {} events, {} were expected.", journal.len(), kept.version);
    }
    say!("kept:   {}", serde_json::to_string(&kept.state)?);
    say!("folded: {}", serde_json::to_string(&folded)?);
    Ok(ExitCode::FAILURE)
}

async fn standing(store: &Store, id: EndpointId) -> anyhow::Result<store::Standing> {
    store.standing(id).await?.with_context(|| format!("there is no endpoint {id}"))
}

async fn whole_journal(
    store: &Store,
    id: EndpointId,
    up_to: i64,
) -> anyhow::Result<Vec<JournalEntry>> {
    let mut journal = Vec::new();
    let mut after = 0;
    loop {
        let page = store.journal(id, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(journal) };
        after = last.version;
        journal.extend(page.into_iter().filter(|entry| entry.version <= up_to));
        if after >= up_to {
            return Ok(journal);
        }
    }
}
