//! Whether the registry is alive and ready: what `/livez` and `/readyz` answer.

use crate::config::{Config, StorageHealth};
use actix_web::{HttpResponse, web};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

/// What is known of the registry's health. Cloning shares it.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    settings: StorageHealth,
    /// Where a file is written to see whether that works; none in memory.
    folder: Option<PathBuf>,
    /// Failures in a row.
    failures: AtomicU32,
    draining: AtomicBool,
}

impl Health {
    /// A healthy registry.
    pub fn new(config: &Config, folder: Option<&Path>) -> Health {
        Health(Arc::new(Inner {
            settings: config.health.storagedriver.clone(),
            folder: folder.map(Path::to_owned),
            failures: AtomicU32::new(0),
            draining: AtomicBool::new(false),
        }))
    }

    /// From now on, no new requests are wanted.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    /// Why requests should go elsewhere; `None` if they are welcome.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.0.draining.load(Relaxed) {
            Some("stopping")
        } else if self.0.failures.load(Relaxed) >= self.0.settings.threshold.max(1) {
            Some("the storage cannot be written")
        } else {
            None
        }
    }

    /// Looks at the storage again and again. Never ends.
    pub async fn watch(self) {
        let (Some(folder), true) = (self.0.folder.clone(), self.0.settings.enabled) else {
            return;
        };
        let mut ticks = tokio::time::interval(self.0.settings.interval.get());
        loop {
            ticks.tick().await;
            let folder = folder.clone();
            let probed = tokio::task::spawn_blocking(move || probe(&folder)).await;
            self.note(probed.unwrap_or_else(|error| Err(io::Error::other(error))));
        }
    }

    fn note(&self, probed: io::Result<()>) {
        match probed {
            Ok(()) => {
                if self.0.failures.swap(0, Relaxed) > 0 {
                    log::info!("the storage can be written again");
                }
            }
            Err(error) => {
                let before = self.0.failures.fetch_add(1, Relaxed);
                // Once for each time that it begins to fail, not every ten seconds.
                if before == 0 {
                    log::error!("the storage cannot be written: {error}");
                }
            }
        }
    }
}

/// Writes a small file and removes it.
fn probe(folder: &Path) -> io::Result<()> {
    let file = folder.join("health-probe");
    fs::write(&file, b"probe")?;
    fs::remove_file(file)
}

/// Adds `/livez` and `/readyz` to an application that holds a `web::Data<Health>`.
pub fn configure(config: &mut web::ServiceConfig) {
    let methods =
        || web::route().guard(actix_web::guard::Any(actix_web::guard::Get()).or(actix_web::guard::Head()));
    config
        .service(web::resource("/livez").route(methods().to(live)))
        .service(web::resource("/readyz").route(methods().to(ready)));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("alive\n")
}

async fn ready(health: web::Data<Health>) -> HttpResponse {
    match health.trouble() {
        None => HttpResponse::Ok().content_type("text/plain").body("ready\n"),
        Some(trouble) => HttpResponse::ServiceUnavailable()
            .content_type("text/plain")
            .body(format!("{trouble}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_unready_after_so_many_failures_in_a_row() {
        let health = Health::new(&Config::default(), None);
        let fail = || health.note(Err(io::ErrorKind::StorageFull.into()));
        fail();
        fail();
        assert_eq!(health.trouble(), None);
        fail();
        assert_eq!(health.trouble(), Some("the storage cannot be written"));
        health.note(Ok(()));
        assert_eq!(health.trouble(), None);
        health.drain();
        assert_eq!(health.trouble(), Some("stopping"));
    }

    #[test]
    fn the_probe_leaves_nothing_behind_and_sees_a_missing_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        probe(folder.path()).expect("a folder that can be written");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(probe(&folder.path().join("missing")).is_err());
    }
}
