//! Housekeeping beside the traffic: abandoned uploads and garbage, at intervals, with a line in the log for what was done.

use crate::{
    config::{Config, Gc, UploadPurging},
    domain::{Abandoned, Collect, Collected, Garbage, Indexed, Purged, Registry},
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
        enabled: purging,
        interval,
        dryrun: only_told,
        ..
    } = config.storage.maintenance.uploadpurging;
    if purging {
        let registry = registry.clone();
        tasks.push(repeat(interval.get(), move || purge(&registry, only_told)));
    }
    let Gc {
        enabled,
        interval,
        dryrun,
        ..
    } = config.storage.maintenance.gc;
    if enabled {
        let (registry, totals) = (registry.clone(), totals.clone());
        // Uploads of which purging only tells must not go with the garbage.
        let uploads = purging && (dryrun || !only_told);
        tasks.push(repeat(interval.get(), move || {
            collect(&registry, dryrun, uploads, &totals)
        }));
    }
    tasks
}

/// Begins to remove what processes that were killed left half written, and to keep room back for taking things away: once, beside
/// the first requests, because all folders are looked through. `held` is kept until that is over.
pub fn tidy(registry: &Registry, held: impl Send + 'static) -> JoinHandle<()> {
    let registry = registry.clone();
    actix_rt::task::spawn_blocking(move || {
        match registry.remove_leftovers() {
            Ok(0) => {}
            Ok(files) => {
                log::info!(files = files; "removed {files} files that an earlier process left half written")
            }
            Err(error) => log::error!("what an earlier process left half written cannot be removed: {error}"),
        }
        keep_room_back(&registry);
        drop(registry);
        drop(held);
    })
}

fn keep_room_back(registry: &Registry) {
    if let Err(error) = registry.lay_reserves() {
        log::warn!("no room is kept back for collecting garbage or for deletes: {error}");
    }
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

fn purge(registry: &Registry, dry_run: bool) {
    let how = Collect {
        dry_run,
        uploads: true,
        now: SystemTime::now(),
    };
    let purged = registry.purge_uploads(how, &mut |upload| log::info!("{}", upload_line(upload, how)));
    match purged {
        Ok(Purged { uploads: 0, .. }) => {}
        Ok(Purged { uploads, bytes }) => log::info!(
            uploads = uploads,
            bytes = bytes;
            "upload purging {} {uploads} abandoned uploads with {bytes} bytes",
            verb(dry_run)
        ),
        Err(error) => log::error!("abandoned uploads cannot be purged: {error}"),
    }
    if !dry_run {
        keep_room_back(registry);
    }
}

fn collect(registry: &Registry, dry_run: bool, uploads: bool, totals: &Totals) {
    let how = Collect {
        dry_run,
        uploads,
        now: SystemTime::now(),
    };
    let collected = registry.collect_garbage(how, &mut |garbage| log::debug!("{}", line(garbage, how)));
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

fn verb(dry_run: bool) -> &'static str {
    if dry_run { "would remove" } else { "removed" }
}

/// What happened to one piece of garbage, in words.
pub fn line(garbage: &Garbage, how: Collect) -> String {
    let verb = verb(how.dry_run);
    match garbage {
        Garbage::Manifest(name, digest) => format!("{verb} manifest {name}@{digest}"),
        Garbage::Blob(name, digest) => format!("{verb} blob {digest} of {name}"),
        Garbage::Content(digest, bytes) => format!("{verb} content {digest}, {bytes} bytes"),
        Garbage::Upload(upload) => upload_line(upload, how),
    }
}

/// What happened to one upload, in words. Of its id only the beginning is told: whoever has all of it can go on with it.
fn upload_line(upload: &Abandoned, how: Collect) -> String {
    let id: String = upload.id.chars().take(8).collect();
    let age = how.now.duration_since(upload.touched).unwrap_or_default();
    format!(
        "{} upload {id}… of {}, {} bytes, untouched for {} hours",
        verb(how.dry_run),
        upload.name,
        upload.bytes,
        age.as_secs() / 3600
    )
}

/// What a collection came to, in words.
pub fn summary(collected: &Collected, dry_run: bool) -> String {
    format!(
        "garbage collection {} {} manifests and {} blobs from repositories, {} contents with {} bytes, \
         {} abandoned uploads with {} bytes",
        verb(dry_run),
        collected.manifests,
        collected.blobs,
        collected.contents,
        collected.bytes,
        collected.uploads.uploads,
        collected.uploads.bytes
    )
}
