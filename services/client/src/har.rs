//! The recorder: every exchange as an entry of a HAR 1.2 file, credentials taken out.
//!
//! Text bodies are kept up to [`MAX_RECORDED_BODY_BYTES`]; of blobs the size alone. Each entry's `comment` names the
//! registry as it was written; an exchange without an answer has status 0 and an `_error`.

use crate::{Error, Result, redact};
use serde::Serialize;
use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// How much of a text body an entry keeps, in bytes: 64 KiB.
pub const MAX_RECORDED_BODY_BYTES: usize = 64 * 1024;

/// Collects the exchanges of a process. Cloning shares the collection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// What is known of an exchange before its answer.
pub(crate) struct Begun<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub registry: &'a str,
    pub headers: Vec<(String, String)>,
    pub body: Recorded<'a>,
}

/// A body as it is to be kept.
pub(crate) enum Recorded<'a> {
    /// There is none.
    Nothing,
    /// Text, if it is UTF-8.
    Text(&'a str, &'a [u8]),
    /// Its size alone: blobs and secrets. -1: unknown.
    Size(i64),
}

/// An entry that was begun; the answer is added to it.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    shared: Rc<RefCell<Shared>>,
    index: usize,
}

impl Recorder {
    pub(crate) fn new(path: PathBuf) -> Recorder {
        let recorder = Recorder::default();
        recorder.shared.borrow_mut().path = path;
        recorder
    }

    /// Adds an entry, its answer still open.
    pub(crate) fn begin(&self, begun: Begun<'_>) -> Recording {
        let url = redact::url(begun.url);
        let entry = Entry {
            started_date_time: iso8601(SystemTime::now()),
            time: 0.0,
            request: Request {
                method: begun.method.to_owned(),
                query_string: query_pairs(&url),
                url,
                http_version: "HTTP/1.1",
                cookies: [],
                headers: named(begun.headers),
                body_size: begun.body.size(),
                post_data: begun.body.post_data(),
                headers_size: -1,
            },
            response: Response::none(),
            cache: Cache {},
            timings: Timings::default(),
            comment: begun.registry.to_owned(),
            error: None,
        };
        let mut shared = self.shared.borrow_mut();
        shared.entries.push(entry);
        Recording {
            shared: Rc::clone(&self.shared),
            index: shared.entries.len() - 1,
        }
    }

    /// Writes the file whole.
    pub(crate) fn write(&self) -> Result<()> {
        let shared = self.shared.borrow();
        let document = Document {
            log: Log {
                version: "1.2",
                creator: Creator {
                    name: "referrers-lab",
                    version: env!("CARGO_PKG_VERSION"),
                },
                pages: [],
                entries: &shared.entries,
            },
        };
        write_document(&shared.path, &document)
    }
}

fn write_document(path: &Path, document: &Document<'_>) -> Result<()> {
    let text = serde_json::to_vec_pretty(document).map_err(|e| Error::Io {
        doing: "write",
        path: path.to_owned(),
        source: e.into(),
    })?;
    crate::files::write_atomically(path, &text)
}

impl Recording {
    /// Adds the head of the answer.
    pub(crate) fn answered(&self, status: u16, reason: &str, headers: Vec<(String, String)>, wait: Duration) {
        self.edit(|entry| {
            let redirect = headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("location"));
            entry.response.redirect_url = redirect.map(|(_, v)| redact::url(v)).unwrap_or_default();
            entry.response.status = status;
            entry.response.status_text = reason.to_owned();
            entry.response.headers = named(headers);
            entry.timings.wait = millis(wait);
            entry.time = entry.timings.wait;
        });
    }

    /// Adds the body of the answer, or what is known of it, and how long it took to arrive.
    pub(crate) fn body(&self, body: Recorded<'_>, receive: Duration) {
        self.edit(|entry| {
            entry.timings.receive = millis(receive);
            entry.time = entry.timings.wait + entry.timings.receive;
            entry.response.body_size = body.size();
            entry.response.content = body.content();
        });
    }

    /// Says why there is no answer, or no whole one.
    ///
    /// `after` counts from the request's beginning, or, if its head came, from that of its body.
    pub(crate) fn failed(&self, why: &str, after: Duration) {
        self.edit(|entry| {
            entry.error = Some(why.to_owned());
            match entry.response.status {
                0 => entry.timings.wait = millis(after),
                _ => entry.timings.receive = millis(after),
            }
            entry.time = entry.timings.wait + entry.timings.receive;
        });
    }

    fn edit(&self, edit: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.shared.borrow_mut().entries.get_mut(self.index) {
            edit(entry);
        }
    }
}

impl Recorded<'_> {
    fn text(&self) -> Option<(&str, &str)> {
        match self {
            Recorded::Text(mime, bytes) => {
                let kept = &bytes[..bytes.len().min(MAX_RECORDED_BODY_BYTES)];
                // A cut may fall into the middle of a character.
                let text = match std::str::from_utf8(kept) {
                    Ok(text) => text,
                    Err(e) if kept.len() < bytes.len() && e.error_len().is_none() => {
                        std::str::from_utf8(&kept[..e.valid_up_to()]).ok()?
                    }
                    Err(_) => return None,
                };
                Some((mime, text))
            }
            Recorded::Nothing | Recorded::Size(_) => None,
        }
    }

    fn size(&self) -> i64 {
        match self {
            Recorded::Nothing => 0,
            Recorded::Text(_, bytes) => i64::try_from(bytes.len()).unwrap_or(-1),
            Recorded::Size(size) => *size,
        }
    }

    fn post_data(&self) -> Option<PostData> {
        let (mime, text) = self.text()?;
        Some(PostData {
            mime_type: mime.to_owned(),
            params: [],
            text: text.to_owned(),
        })
    }

    fn content(&self) -> Content {
        let (mime, text) = match (self, self.text()) {
            (_, Some((mime, text))) => (mime, Some(text.to_owned())),
            (Recorded::Text(mime, _), None) => (*mime, None),
            (Recorded::Nothing | Recorded::Size(_), None) => ("", None),
        };
        Content {
            size: self.size().max(0),
            mime_type: mime.to_owned(),
            text,
        }
    }
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    log: Log<'a>,
}

#[derive(Debug, Serialize)]
struct Log<'a> {
    version: &'static str,
    creator: Creator,
    /// There are none; the format does not ask for the list, but Firefox's developer tools open no file without it.
    pages: [(); 0],
    entries: &'a [Entry],
}

#[derive(Debug, Serialize)]
struct Creator {
    name: &'static str,
    version: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    started_date_time: String,
    time: f64,
    request: Request,
    response: Response,
    cache: Cache,
    timings: Timings,
    comment: String,
    #[serde(rename = "_error", skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    method: String,
    url: String,
    http_version: &'static str,
    cookies: [Pair; 0],
    headers: Vec<Pair>,
    query_string: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post_data: Option<PostData>,
    headers_size: i64,
    body_size: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostData {
    mime_type: String,
    params: [Pair; 0],
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    status: u16,
    status_text: String,
    http_version: &'static str,
    cookies: [Pair; 0],
    headers: Vec<Pair>,
    content: Content,
    #[serde(rename = "redirectURL")]
    redirect_url: String,
    headers_size: i64,
    body_size: i64,
}

impl Response {
    fn none() -> Response {
        Response {
            status: 0,
            status_text: String::new(),
            http_version: "HTTP/1.1",
            cookies: [],
            headers: Vec::new(),
            content: Content::default(),
            redirect_url: String::new(),
            headers_size: -1,
            body_size: -1,
        }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    size: i64,
    mime_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Cache {}

/// Milliseconds.
#[derive(Debug, Default, Serialize)]
struct Timings {
    send: f64,
    wait: f64,
    receive: f64,
}

#[derive(Debug, Serialize)]
struct Pair {
    name: String,
    value: String,
}

fn named(headers: Vec<(String, String)>) -> Vec<Pair> {
    headers
        .into_iter()
        .map(|(name, value)| Pair {
            value: redact::header(&name, &value),
            name,
        })
        .collect()
}

fn query_pairs(url: &str) -> Vec<Pair> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    oci::routes::query_pairs(query)
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| Pair { name, value })
        .collect()
}

fn millis(duration: Duration) -> f64 {
    // Microseconds are enough for a person, and short in JSON.
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

/// `2026-11-24T00:16:10.123Z`
fn iso8601(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// Year, month and day of a day since 1970-01-01, by counting eras of 400 years that begin on a 1st of March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_479_370, "2026-11-24T00:16:10.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso8601(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_cut_body_ends_at_a_whole_character() {
        let body = "é".repeat(MAX_RECORDED_BODY_BYTES);
        let odd = format!("x{body}");
        let recorded = Recorded::Text("text/plain", odd.as_bytes());
        let text = recorded.content().text.expect("text");
        assert!(text.len() == MAX_RECORDED_BODY_BYTES - 1 && text.ends_with('é'));
        assert_eq!(Recorded::Text("x/y", b"\xff\xfe").content().text, None);
    }
}
