//! Housekeeping beside the traffic: abandoned uploads and garbage, at intervals, with a line in the log for what was done.

use crate::{
    config::{Config, Gc, UploadPurging},
    domain::{Collect, Collected, Garbage, Indexed, Registry},
};
use actix_rt::task::JoinHandle;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// What housekeeping has done since the start. Cloning shares it.
#[derive(Clone, Default)]
pub struct Totals(Arc<Counts>);

#[derive(Default)]
struct Counts {
    collected: AtomicU64,
    collected_bytes: AtomicU64,
    indexed: AtomicU64,
}

impl Totals {
    /// Manifests and blobs that were removed as garbage.
    pub fn collected(&self) -> u64 {
        self.0.collected.load(Relaxed)
    }

    /// Their bytes.
    pub fn collected_bytes(&self) -> u64 {
        self.0.collected_bytes.load(Relaxed)
    }

    /// Referrers that were indexed when the storage was opened.
    pub fn indexed(&self) -> u64 {
        self.0.indexed.load(Relaxed)
    }

    fn add(&self, collected: &Collected) {
        self.0.collected.fetch_add(collected.contents as u64, Relaxed);
        self.0.collected_bytes.fetch_add(collected.bytes, Relaxed);
    }
}

/// Says in the log what was indexed when the storage was opened, if anything had to be.
pub fn tell_upgrade(indexed: Option<&Indexed>, totals: &Totals) {
    let Some(indexed) = indexed.filter(|indexed| **indexed != Indexed::default()) else {
        return;
    };
    let listed = indexed.by_field + indexed.by_digest_tag;
    totals.0.indexed.fetch_add(listed as u64, Relaxed);
    log::info!(
        manifests = indexed.manifests,
        by_field = indexed.by_field,
        digest_tags = indexed.digest_tags,
        by_digest_tag = indexed.by_digest_tag,
        stale = indexed.stale,
        damaged = indexed.damaged;
        "the storage was written without the referrers API: {} of {} manifests are now listed as referrers \
         ({} by refers or subject, {} by {} digest tags)",
        listed, indexed.manifests, indexed.by_field, indexed.by_digest_tag, indexed.digest_tags
    );
}

/// Starts what the configuration asks for. The tasks never end.
pub fn spawn(config: &Config, registry: &Registry, totals: &Totals) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if config.storage.maintenance.readonly.enabled {
        return tasks;
    }
    let UploadPurging {
        enabled,
        interval,
        dryrun,
        ..
    } = config.storage.maintenance.uploadpurging;
    if enabled && !dryrun {
        let registry = registry.clone();
        tasks.push(repeat(interval.get(), move || purge(&registry)));
    }
    let Gc {
        enabled,
        interval,
        dryrun,
        ..
    } = config.storage.maintenance.gc;
    if enabled {
        let (registry, totals) = (registry.clone(), totals.clone());
        tasks.push(repeat(interval.get(), move || {
            collect(&registry, dryrun, &totals)
        }));
    }
    tasks
}

/// Runs blocking work at intervals, the first time after one of them.
fn repeat(interval: Duration, work: impl Fn() + Send + Sync + 'static) -> JoinHandle<()> {
    let work = Arc::new(work);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let work = Arc::clone(&work);
            if let Err(error) = tokio::task::spawn_blocking(move || work()).await {
                log::error!("housekeeping failed: {error}");
            }
        }
    })
}

fn purge(registry: &Registry) {
    match registry.purge_uploads(SystemTime::now()) {
        Ok(0) => {}
        Ok(count) => log::info!("{count} abandoned uploads removed"),
        Err(error) => log::error!("abandoned uploads cannot be removed: {error}"),
    }
}

fn collect(registry: &Registry, dry_run: bool, totals: &Totals) {
    let how = Collect {
        dry_run,
        now: SystemTime::now(),
    };
    let collected = registry.collect_garbage(how, &mut |garbage| log::debug!("{}", line(garbage, dry_run)));
    match collected {
        Ok(collected) => {
            if !dry_run {
                totals.add(&collected);
            }
            log::info!("{}", summary(&collected, dry_run));
        }
        Err(error) => log::error!("garbage cannot be collected: {error}"),
    }
}

/// What happened to one piece of garbage, in words.
pub fn line(garbage: &Garbage, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    match garbage {
        Garbage::Manifest(name, digest) => format!("{verb} manifest {name}@{digest}"),
        Garbage::Blob(name, digest) => format!("{verb} blob {digest} of {name}"),
        Garbage::Content(digest, bytes) => format!("{verb} content {digest}, {bytes} bytes"),
    }
}

/// What a collection came to, in words.
pub fn summary(collected: &Collected, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    format!(
        "garbage collection {verb} {} manifests and {} blobs from repositories, {} contents with {} bytes, {} abandoned uploads",
        collected.manifests, collected.blobs, collected.contents, collected.bytes, collected.uploads
    )
}
