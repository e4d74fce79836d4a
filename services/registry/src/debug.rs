//! The debug server: metrics and health on an address of its own, for operators only. It has no password.

use crate::{
    config,
    domain::{Registry, Usage},
    health::{self, Health},
    maintenance::Totals,
    metrics::{Gauges, Metrics},
};
use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, web};
use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How old the size of the storage may be: finding it out walks through every folder.
const USAGE_AGE: Duration = Duration::from_secs(60);

/// Where the numbers of `/metrics` come from. Cloning shares it.
#[derive(Clone)]
pub struct Page {
    metrics: Metrics,
    registry: Registry,
    totals: Totals,
    usage: Arc<Mutex<Option<(Instant, u64, u64)>>>,
}

impl Page {
    /// A page over these sources.
    pub fn new(metrics: Metrics, registry: Registry, totals: Totals) -> Page {
        Page {
            metrics,
            registry,
            totals,
            usage: Arc::default(),
        }
    }

    /// The text of the page. It blocks, as it may look at the storage.
    fn render(&self) -> String {
        let (storage_contents, storage_bytes) = self.usage();
        self.metrics.render(&Gauges {
            uploads: self.registry.uploads_under_way() as u64,
            storage_bytes,
            storage_contents,
            collected: self.totals.collected(),
            collected_bytes: self.totals.collected_bytes(),
            referrers_indexed: self.totals.indexed(),
        })
    }

    /// How many contents are stored, and their bytes; at most [`USAGE_AGE`] old.
    fn usage(&self) -> (u64, u64) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        match *usage {
            Some((when, contents, bytes)) if when.elapsed() < USAGE_AGE => (contents, bytes),
            _ => {
                let found = self.registry.usage().unwrap_or_else(|error| {
                    log::warn!("the storage's size cannot be found out: {error}");
                    Usage::default()
                });
                *usage = Some((Instant::now(), found.contents, found.bytes));
                (found.contents, found.bytes)
            }
        }
    }
}

/// Starts the server on these listeners.
///
/// # Errors
/// The system's.
pub fn serve(
    settings: &config::Debug,
    listeners: Vec<TcpListener>,
    page: Page,
    health: Health,
) -> io::Result<ServerHandle> {
    let (page, health) = (web::Data::new(page), web::Data::new(health));
    let metrics_path = settings
        .prometheus
        .enabled
        .then(|| settings.prometheus.path.clone());
    let application = move || {
        let app = App::new()
            .app_data(page.clone())
            .app_data(health.clone())
            .configure(health::configure);
        match &metrics_path {
            Some(path) => app.route(path, web::get().to(metrics)),
            None => app,
        }
    };
    let mut server = HttpServer::new(application).workers(1).disable_signals();
    for listener in listeners {
        server = server.listen(listener)?;
    }
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Ok(handle)
}

async fn metrics(page: web::Data<Page>) -> HttpResponse {
    match web::block(move || page.render()).await {
        Ok(text) => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4")
            .body(text),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}
