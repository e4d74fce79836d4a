//! The judge: holds what was seen against what a scenario file expects.
//!
//! It reads outcomes and recordings, asks the registry about its state itself, and compares. It derives no expectation and
//! knows no generation. Whatever is missing is an error or a finding that fails: nothing passes because it could not be read.

use crate::ask::{Ask, AskError};
use crate::compare::{self, Comparison, Seen};
use crate::evidence::{Body, Evidence, EvidenceError, Exchange, last_words};
use crate::verdict::{Finding, Verdict};
use oci::{Digest, ImageReference};
use scenario::expect::{ExchangeExpectation, Expectation, PrintedExpectation, ReadExpectation, Times};
use scenario::file::ANYBODY;
use scenario::pattern::REFERRERS_API;
use scenario::variables::{DIGEST_TAG, SUBJECT};
use scenario::{Actor, Content, RequestPattern, Scenario, Step, Unknown, Variables};
use std::path::Path;

/// The sentence that the steps' exit codes stand under.
const STEPS_END: &str = "Every step ends as it should";
/// The sentence that remembered digests stand under, where one is not there.
const REMEMBERED: &str = "The steps tell the digests that are to be remembered";

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// The actors' outcomes cannot be used.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The registry cannot be asked about its state.
    #[error("the judge cannot read the registry's state: {0}")]
    Registry(#[from] AskError),
    /// The image is no reference.
    #[error(transparent)]
    Image(#[from] oci::ReferenceError),
}

/// A case: a scenario, and where to read what was seen.
pub struct Case<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The digest of its file.
    pub file: Digest,
    /// Where the actors left their outcomes.
    pub results: &'a Path,
    /// Asks the scenario's registry.
    pub registry: &'a dyn Ask,
}

/// Judges one scenario.
///
/// # Errors
/// [`JudgeError`] if something is missing that a verdict needs.
pub async fn judge(case: &Case<'_>) -> Result<(Verdict, Evidence), JudgeError> {
    let image = case.scenario.reference()?;
    let evidence = Evidence::read(case.scenario, case.file, &image, case.results)?;
    let source = evidence
        .outcomes
        .first()
        .map_or("", |outcome| outcome.source.as_str());
    let mut bench = Bench {
        image,
        variables: case.scenario.variables(source)?,
        evidence: &evidence,
        registry: case.registry,
        findings: Vec::new(),
        reads: Vec::new(),
        that: STEPS_END.to_owned(),
    };
    case.scenario.steps.iter().for_each(|step| bench.judge_exit(step));
    bench.that = REMEMBERED.to_owned();
    case.scenario.steps.iter().for_each(|step| bench.remember(step));
    for expectation in &case.scenario.expect {
        bench.judge_expectation(expectation).await?;
    }
    let verdict = Verdict {
        findings: bench.findings,
        reads: bench.reads,
    };
    Ok((verdict, evidence))
}

/// The judge at work on one case.
struct Bench<'a> {
    image: ImageReference,
    variables: Variables,
    evidence: &'a Evidence,
    registry: &'a dyn Ask,
    findings: Vec<Finding>,
    reads: Vec<Exchange>,
    /// The sentence that is being judged.
    that: String,
}

impl Bench<'_> {
    fn find(&mut self, subject: &str, comparison: Comparison, exchange: Option<&Exchange>) {
        self.findings.push(Finding {
            that: self.that.clone(),
            what: format!("{subject}: {}", comparison.what),
            expected: comparison.expected,
            seen: comparison.seen,
            holds: comparison.holds,
            exchange: exchange.cloned(),
        });
    }

    /// What cannot be compared fails.
    fn find_failure(&mut self, subject: &str, what: &str, expected: &str, seen: &str) {
        let comparison = Comparison {
            what: what.to_owned(),
            expected: expected.to_owned(),
            seen: seen.to_owned(),
            holds: false,
        };
        self.find(subject, comparison, None);
    }

    fn find_unknown(&mut self, subject: &str, unknown: &Unknown) {
        self.find_failure(
            subject,
            "variable",
            &format!("a value of ${{{}}}", unknown.name),
            "no step told one",
        );
    }

    fn find_all(
        &mut self,
        subject: &str,
        compared: Result<Vec<Comparison>, Unknown>,
        exchange: Option<&Exchange>,
    ) {
        match compared {
            Ok(comparisons) => comparisons
                .into_iter()
                .for_each(|one| self.find(subject, one, exchange)),
            Err(unknown) => self.find_unknown(subject, &unknown),
        }
    }

    fn judge_exit(&mut self, step: &Step) {
        let expected = scenario::Exit::Code(i32::from(step.exits));
        let (holds, seen) = match self.evidence.step(&step.step) {
            None => (false, "it was never played".to_owned()),
            Some(played) if played.exit == expected => (true, played.exit.to_string()),
            Some(played) => (false, format!("{}{}", played.exit, last_words(&played.stderr))),
        };
        let comparison = Comparison {
            what: step.run.trim().to_owned(),
            expected: expected.to_string(),
            seen,
            holds,
        };
        self.find(&step.step, comparison, None);
    }

    fn remember(&mut self, step: &Step) {
        for (name, remembered) in &step.remember {
            let evidence = self.evidence;
            let of_step = evidence
                .exchanges
                .iter()
                .rev()
                .filter(|exchange| exchange.step == step.step);
            let told = of_step
                .filter(|exchange| is_meant(exchange, &remembered.request))
                .find_map(|exchange| match &remembered.pointer {
                    Some(pointer) => told_text(exchange, pointer),
                    None => told_digest(exchange),
                });
            match told {
                Some(value) => self.set(name, value),
                None => self.find_failure(
                    &step.step,
                    &format!("${{{name}}}"),
                    &format!("an answer to {} that tells it", remembered.request),
                    "none",
                ),
            }
        }
    }

    fn set(&mut self, name: &str, value: String) {
        if name == SUBJECT
            && let Ok(subject) = Digest::parse(&value)
        {
            self.variables
                .set(DIGEST_TAG, oci::digest_tag::of(&subject).as_str());
        }
        self.variables.set(name, value);
    }

    async fn judge_expectation(&mut self, expectation: &Expectation) -> Result<(), JudgeError> {
        self.that.clone_from(&expectation.that);
        expectation
            .printed
            .iter()
            .for_each(|printed| self.judge_printed(printed));
        expectation
            .exchanges
            .iter()
            .for_each(|exchange| self.judge_exchanges(exchange));
        for read in &expectation.registry {
            self.judge_read(read).await?;
        }
        Ok(())
    }

    fn judge_printed(&mut self, expected: &PrintedExpectation) {
        let played = self.evidence.step(&expected.by);
        let streams = [
            (
                "standard output",
                &expected.stdout,
                played.map(|step| &step.stdout),
            ),
            (
                "standard error",
                &expected.stderr,
                played.map(|step| &step.stderr),
            ),
        ];
        for (name, content, seen) in streams {
            let Some(content) = content else { continue };
            let subject = format!("{}, {name}", expected.by);
            let body = Body {
                text: seen.cloned(),
                ..Body::default()
            };
            let compared = compare::content(
                content,
                &Seen {
                    body: &body,
                    path: "",
                },
                &self.variables,
            );
            self.find_all(&subject, compared, None);
        }
    }

    fn judge_exchanges(&mut self, expected: &ExchangeExpectation) {
        let subject = format!("{} by {}", expected.request, expected.by);
        let request = match fill(&expected.request, &self.variables) {
            Ok(request) => request,
            Err(unknown) => return self.find_unknown(&subject, &unknown),
        };
        let evidence = self.evidence;
        let meant: Vec<&Exchange> = evidence
            .exchanges
            .iter()
            .filter(|exchange| is_by(exchange, &expected.by) && is_meant(exchange, &request))
            .collect();
        let times = match expected.times {
            Times::Some => "once or more".to_owned(),
            exactly @ Times::Exactly(_) => exactly.to_string(),
        };
        let comparison = Comparison {
            what: "how often".to_owned(),
            expected: times,
            seen: count(&meant),
            holds: expected.times.holds(meant.len()),
        };
        self.find(&subject, comparison, meant.first().copied());
        for exchange in meant {
            self.judge_exchange(&subject, expected, exchange);
        }
    }

    fn judge_exchange(&mut self, subject: &str, expected: &ExchangeExpectation, exchange: &Exchange) {
        if let Some(status) = expected.answered {
            let comparison = Comparison::of("status", status.to_string(), exchange.status.to_string());
            self.find(subject, comparison, Some(exchange));
        }
        let bodies = [
            ("sent", &expected.sent, &exchange.sent),
            ("received", &expected.received, &exchange.received),
        ];
        for (name, content, body) in bodies {
            if let Some(content) = content {
                self.judge_body(&format!("{subject}, {name}"), content, body, exchange);
            }
        }
    }

    fn judge_body(&mut self, subject: &str, content: &Content, body: &Body, exchange: &Exchange) {
        let path = exchange.path.as_deref().unwrap_or_default();
        let compared = compare::content(content, &Seen { body, path }, &self.variables);
        self.find_all(subject, compared, Some(exchange));
    }

    async fn judge_read(&mut self, expected: &ReadExpectation) -> Result<(), JudgeError> {
        let subject = format!("{} by the judge", expected.read);
        let paths = match self.paths_to_read(&expected.read) {
            Ok(paths) => paths,
            Err(unknown) => {
                self.find_unknown(&subject, &unknown);
                return Ok(());
            }
        };
        for path in paths {
            let exchange = self.read(&expected.read.method, &path).await?;
            let status = Comparison::of(
                "status",
                expected.answered.to_string(),
                exchange.status.to_string(),
            );
            self.find(&subject, status, Some(&exchange));
            if let Some(digest) = &expected.digest {
                let compared = self
                    .variables
                    .fill(digest)
                    .map(|digest| digests(&digest, &exchange));
                self.find_all(&subject, compared, Some(&exchange));
            }
            if let Some(content) = &expected.received {
                self.judge_body(&subject, content, &exchange.received.clone(), &exchange);
            }
        }
        Ok(())
    }

    /// The paths below the repository, with their queries.
    fn paths_to_read(&self, read: &RequestPattern) -> Result<Vec<String>, Unknown> {
        if read.path != REFERRERS_API {
            return Ok(vec![self.variables.fill(&read.path)?]);
        }
        let subject = self.variables.fill(&format!("${{{SUBJECT}}}"))?;
        let query = oci::routes::query_value(&subject);
        Ok(vec![
            format!("_oci/artifacts/referrers?digest={query}"),
            format!("referrers/{subject}"),
        ])
    }

    async fn read(&mut self, method: &str, path: &str) -> Result<Exchange, AskError> {
        let target = format!("/v2/{}/{path}", self.image.repository);
        let answer = self.registry.ask(&self.image.registry, method, &target).await?;
        let text = String::from_utf8(answer.body).ok();
        let exchange = Exchange {
            actor: None,
            step: "judge".to_owned(),
            place: self.reads.len() + 1,
            registry: self.image.registry.clone(),
            method: method.to_owned(),
            url: answer.url,
            path: path.split('?').next().map(str::to_owned),
            sent: Body::default(),
            status: answer.status,
            digest: answer.digest,
            received: Body {
                media_type: answer.media_type,
                size: answer.size,
                text,
            },
            time_ms: answer.time.as_secs_f64() * 1000.0,
        };
        self.reads.push(exchange.clone());
        Ok(exchange)
    }
}

/// The header's digest, and that of the body where there is one.
fn digests(expected: &str, exchange: &Exchange) -> Vec<Comparison> {
    let told = exchange.digest.as_deref().unwrap_or("(none)");
    let mut found = vec![Comparison::of("Docker-Content-Digest", expected, told)];
    let body = exchange
        .received
        .text
        .as_deref()
        .filter(|_| exchange.method != "HEAD");
    if let (Some(text), Ok(digest)) = (body, Digest::parse(expected)) {
        let computed = Digest::of(digest.algorithm(), text.as_bytes()).to_string();
        found.push(Comparison::of("digest of the bytes", expected, computed));
    }
    found
}

fn fill(pattern: &RequestPattern, variables: &Variables) -> Result<RequestPattern, Unknown> {
    Ok(RequestPattern {
        method: pattern.method.clone(),
        path: variables.fill(&pattern.path)?,
    })
}

fn is_meant(exchange: &Exchange, request: &RequestPattern) -> bool {
    exchange
        .path
        .as_deref()
        .is_some_and(|path| request.matches(&exchange.method, path))
}

fn is_by(exchange: &Exchange, by: &str) -> bool {
    by == ANYBODY || exchange.step == by || exchange.actor.map(Actor::name) == Some(by)
}

/// The digest that a successful answer names, in its header or by the bytes.
fn told_digest(exchange: &Exchange) -> Option<String> {
    let body = match exchange.method.as_str() {
        "PUT" => &exchange.sent,
        _ => &exchange.received,
    };
    let computed = || {
        body.text
            .as_deref()
            .map(|text| Digest::sha256(text.as_bytes()).to_string())
    };
    let succeeded = (200..300).contains(&exchange.status);
    succeeded
        .then(|| exchange.digest.clone().or_else(computed))
        .flatten()
}

/// The text at a JSON pointer of an answer.
fn told_text(exchange: &Exchange, pointer: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(exchange.received.text.as_deref()?).ok()?;
    answer.pointer(pointer)?.as_str().map(str::to_owned)
}

fn count(exchanges: &[&Exchange]) -> String {
    match exchanges {
        [] => "never".to_owned(),
        [one] => format!("once ({})", one.status),
        several => {
            let statuses: Vec<String> = several
                .iter()
                .map(|exchange| exchange.status.to_string())
                .collect();
            format!("{} times ({})", several.len(), statuses.join(", "))
        }
    }
}
