//! The front desk, `lab registries`: waits until both registries are healthy, says where each listens and which generation it
//! shows, and stays with a page and a JSON status.
//!
//! A registry's generation is told by what it answers to the referrers API, never by its port or name.

use crate::ask::{Answer, Ask, AskError, ClientAsk};
use crate::cli::DeskCommand;
use crate::report::html::{STYLE, escape};
use crate::welcome;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ContentType};
use actix_web::{App, HttpResponse, HttpServer, web};
use client::Settings;
use futures_util::future::join_all;
use generations::RegistryGeneration;
use scenario::command::Signals;
use serde::Serialize;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// How long a registry may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long between two looks whether the registries are healthy.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A repository that nobody pushes to: the referrers API answers for it all the same.
const NOBODYS: &str = "referrers-lab/nobodys";
/// A digest that nothing has.
const NOTHINGS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Why the front desk is closed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The client configuration cannot be used.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// It cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// HOST:PORT.
        address: String,
        /// Why.
        source: io::Error,
    },
}

/// What the desk knows about a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Its name in references.
    pub registry: String,
    /// Where it is reached from here.
    pub address: String,
    /// Whether it answers `GET /v2/` with 200.
    pub healthy: bool,
    /// What it shows; absent where it is not healthy or answers neither way.
    pub generation: Option<RegistryGeneration>,
    /// That generation's icon.
    pub icon: Option<&'static str>,
    /// Its repositories, where it tells them.
    pub repositories: Vec<String>,
    /// Why something of this is missing.
    pub problem: Option<String>,
}

/// Opens the desk; ends at once on Ctrl-C and SIGTERM.
pub async fn run(command: &DeskCommand) -> ExitCode {
    let ended = async {
        let mut signals = Signals::listen().map_err(|source| DeskError::Listen {
            address: command.address.clone(),
            source,
        })?;
        tokio::select! {
            ended = open(command) => ended,
            () = signals.next() => Ok(()),
        }
    };
    match ended.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn open(command: &DeskCommand) -> Result<(), DeskError> {
    let settings = Settings::load()?;
    let names = command.registry.clone();
    let listen = |source| DeskError::Listen {
        address: command.address.clone(),
        source,
    };
    let (served, made) = (settings.clone(), names.clone());
    let server = HttpServer::new(move || {
        // A client stays on one thread, so each worker makes its own.
        let desk = ClientAsk::new(served.clone()).map(|ask| {
            Rc::new(Desk {
                ask,
                settings: served.clone(),
                names: made.clone(),
            })
        });
        App::new()
            .app_data(web::Data::new(Shared(desk.ok())))
            .route("/", web::get().to(page))
            .route("/status.json", web::get().to(status))
            .route(
                "/livez",
                web::get().to(|| async { HttpResponse::Ok().body("ok\n") }),
            )
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(0)
    .bind(&command.address)
    .map_err(listen)?
    .run();
    let desk = Desk {
        ask: ClientAsk::new(settings.clone())?,
        settings,
        names,
    };
    let announce = async {
        let statuses = desk.wait_until_healthy().await;
        if let Some(image) = &command.image {
            match welcome::lay(&desk.settings, image, &statuses).await {
                Ok(0) => {}
                Ok(_) => println!("{image} is at scenario-N/alpine-base:latest of each scenario's registry"),
                Err(error) => eprintln!("lab: {image} could not be put into the registries: {error}"),
            }
        }
        print!("{}", announcement(&statuses, &command.address));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server => served.map_err(listen),
        () = announce => Ok(()),
    }
}

/// Lets a worker's desk be handed to its handlers; absent where no client could be made.
struct Shared(Option<Rc<Desk>>);

/// Asks the registries.
struct Desk {
    ask: ClientAsk,
    settings: Settings,
    names: Vec<String>,
}

impl Desk {
    async fn statuses(&self) -> Vec<Status> {
        join_all(self.names.iter().map(|name| self.status(name))).await
    }

    async fn wait_until_healthy(&self) -> Vec<Status> {
        let mut told = false;
        loop {
            let statuses = self.statuses().await;
            if statuses.iter().all(|status| status.healthy) {
                return statuses;
            }
            if !told {
                let missing: Vec<&str> = statuses
                    .iter()
                    .filter(|status| !status.healthy)
                    .map(|status| status.registry.as_str())
                    .collect();
                println!("waiting for {}", missing.join(", "));
                told = true;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn status(&self, name: &str) -> Status {
        let hostname = self
            .settings
            .registries
            .get(name)
            .and_then(|set| set.hostname.clone());
        let mut status = Status {
            registry: name.to_owned(),
            address: hostname.unwrap_or_else(|| name.to_owned()),
            healthy: false,
            generation: None,
            icon: None,
            repositories: Vec::new(),
            problem: None,
        };
        if let Err(problem) = self.look(name, &mut status).await {
            status.problem = Some(problem);
        }
        status
    }

    async fn look(&self, name: &str, status: &mut Status) -> Result<(), String> {
        let base = self.get(name, "/v2/").await?;
        if base.status != 200 {
            return Err(format!("GET /v2/ was answered with {}", base.status));
        }
        status.healthy = true;
        let referrers = self
            .get(name, &format!("/v2/{NOBODYS}/referrers/{NOTHINGS}"))
            .await?;
        let serves = match referrers.status {
            200 => true,
            404 => false,
            other => {
                return Err(format!(
                    "the referrers API was answered with {other}, neither 200 nor 404"
                ));
            }
        };
        let generation = RegistryGeneration::from_answer(serves);
        status.generation = Some(generation);
        status.icon = Some(generation.icon());
        let catalog = self.get(name, "/v2/_catalog?n=1000").await?;
        let list: Option<serde_json::Value> = serde_json::from_slice(&catalog.body).ok();
        let names = list
            .as_ref()
            .and_then(|list| list.get("repositories"))
            .and_then(|names| names.as_array());
        status.repositories = names
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        Ok(())
    }

    async fn get(&self, name: &str, path: &str) -> Result<Answer, String> {
        match tokio::time::timeout(PATIENCE, self.ask.ask(name, "GET", path)).await {
            Ok(answer) => answer.map_err(|error: AskError| error.to_string()),
            Err(_) => Err(format!("GET {path}: no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// What is said once both are healthy.
fn announcement(statuses: &[Status], address: &str) -> String {
    let mut text = String::new();
    for status in statuses {
        _ = writeln!(text, "{} {}", status.registry, shows(status));
    }
    _ = writeln!(
        text,
        "The front desk is at http://{}/ (status: /status.json)",
        for_a_browser(address)
    );
    text
}

/// Where to reach what listens there: `0.0.0.0` and `[::]` mean every address of this machine, and are none to go to.
fn for_a_browser(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(any)) if any.ip().is_unspecified() => format!("127.0.0.1:{}", any.port()),
        Ok(SocketAddr::V6(any)) if any.ip().is_unspecified() => format!("[::1]:{}", any.port()),
        Ok(_) | Err(_) => address.to_owned(),
    }
}

fn shows(status: &Status) -> String {
    match (status.generation, &status.problem) {
        (Some(generation), _) => format!("is a {generation} registry {}", generation.icon()),
        (None, Some(problem)) => format!("does not show its generation: {problem}"),
        (None, None) => "does not show its generation".to_owned(),
    }
}

async fn status(shared: web::Data<Shared>) -> HttpResponse {
    let statuses = shared.statuses().await;
    let healthy = !statuses.is_empty() && statuses.iter().all(|status| status.healthy);
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(serde_json::json!({"healthy": healthy, "registries": statuses}))
}

async fn page(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ))
        .content_type(ContentType::html())
        .body(render(&shared.statuses().await))
}

impl Shared {
    async fn statuses(&self) -> Vec<Status> {
        match &self.0 {
            Some(desk) => desk.statuses().await,
            None => Vec::new(),
        }
    }
}

fn render(statuses: &[Status]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Referrers Lab: registries</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>Referrers Lab</h1>\n\
         <p>The registries of this lab. Each one's generation is told by what it answers.</p>\n</header>\n<main>\n"
    );
    for status in statuses {
        let (class, health) = match status.healthy {
            true => ("good", "✓ healthy"),
            false => ("bad", "✗ not healthy"),
        };
        _ = write!(
            page,
            "<h2><code>{}</code></h2>\n<p><span class=\"{class}\">{health}</span>. It {}.</p>\n",
            escape(&status.registry),
            escape(&shows(status)),
        );
        if let Some(problem) = &status.problem {
            _ = writeln!(page, "<p class=\"bad\">{}</p>", escape(problem));
        }
        match status.repositories.is_empty() {
            true => page.push_str("<p class=\"soft\">No repositories yet.</p>\n"),
            false => {
                page.push_str("<ul>\n");
                for name in &status.repositories {
                    _ = writeln!(
                        page,
                        "<li><code>{}/{}</code></li>",
                        escape(&status.registry),
                        escape(name)
                    );
                }
                page.push_str("</ul>\n");
            }
        }
    }
    page.push_str("<p class=\"soft\">For programs: <a href=\"/status.json\">status.json</a>.</p>\n</main>\n</body>\n</html>\n");
    page
}

/// `lab healthcheck`: 0 if the desk answers.
pub async fn healthcheck(address: &str) -> ExitCode {
    let settings = Settings::default();
    let asked = async {
        let ask = ClientAsk::new(settings).map_err(|error| error.to_string())?;
        let limited = tokio::time::timeout(PATIENCE, ask.ask(address, "GET", "/livez")).await;
        limited
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|error| error.to_string())
    };
    match asked.await {
        Ok(answer) if answer.status == 200 => ExitCode::SUCCESS,
        Ok(answer) => {
            eprintln!("lab: the front desk answered with {}", answer.status);
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("lab: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_told_is_one_to_go_to() {
        for (listens, told) in [
            ("0.0.0.0:5003", "127.0.0.1:5003"),
            ("[::]:5003", "[::1]:5003"),
            ("127.0.0.1:5003", "127.0.0.1:5003"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("localhost:5003", "localhost:5003"),
        ] {
            assert_eq!(for_a_browser(listens), told);
        }
    }
}
