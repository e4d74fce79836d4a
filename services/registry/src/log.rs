//! What a log line looks like: text for people or one JSON object for machines, both to standard error.
//!
//! Fields are the `log` crate's key-value pairs. Nothing that a client keeps secret is ever made a field; values are quoted
//! where they could pass for something else.

use crate::config::{Log, LogFormatter, LogLevel};
use ::log::{
    LevelFilter, Record,
    kv::{Key, Value, VisitSource},
};
use env_logger::{Builder, Target, fmt::Formatter};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// The target of the lines that tell of requests.
pub const ACCESS: &str = "access";

/// Starts logging for the whole process. `RUST_LOG` has the last word on levels. A second call changes nothing.
pub fn start(settings: &Log) {
    let mut builder = Builder::new();
    builder.filter_level(level(settings.level));
    // Their lines are about connections, of which the access log tells what matters.
    for noisy in ["actix_server", "actix_http", "rustls"] {
        builder.filter_module(noisy, level(settings.level).min(LevelFilter::Warn));
    }
    builder.parse_env("RUST_LOG");
    let formatter = settings.formatter;
    let fields: Vec<(String, String)> = settings.fields.clone().into_iter().collect();
    builder.format(move |out, record| write_line(out, formatter, &fields, record));
    builder.target(Target::Pipe(Box::new(Pipe)));
    // Fails only if somebody has started it before.
    if builder.try_init().is_ok() {
        let writer = std::thread::Builder::new().name("log".to_owned());
        LINES
            .has_writer
            .store(writer.spawn(write_always).is_ok(), Relaxed);
    }
}

/// Writes what waits. To be called before the process ends.
pub fn flush() {
    LINES.write();
}

/// How long a line may wait to be written together with others: a system call for each would cost more than the request.
const LINGER: Duration = Duration::from_millis(50);
/// So many bytes are written without waiting; beyond twice as many, whoever logs writes them itself.
const MANY_BYTES: usize = 64 * 1024;

/// The lines that wait.
static LINES: Lines = Lines {
    waiting: Mutex::new(Vec::new()),
    arrived: Condvar::new(),
    writing: Mutex::new(()),
    has_writer: AtomicBool::new(false),
};

struct Lines {
    waiting: Mutex<Vec<u8>>,
    arrived: Condvar,
    /// Held while lines are written, so that they stay in order.
    writing: Mutex<()>,
    has_writer: AtomicBool,
}

impl Lines {
    fn waiting(&self) -> MutexGuard<'_, Vec<u8>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what waits, if anything does.
    fn write(&self) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *self.waiting());
        // Nobody is left to tell if standard error is closed.
        let _ = io::stderr().write_all(&lines);
    }
}

/// Writes the lines that wait, again and again.
fn write_always() {
    loop {
        let mut waiting = LINES.waiting();
        while waiting.is_empty() {
            waiting = LINES
                .arrived
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.len() < MANY_BYTES {
            drop(waiting);
            std::thread::sleep(LINGER);
        } else {
            drop(waiting);
        }
        LINES.write();
    }
}

/// Takes lines from the threads that log.
struct Pipe;

impl io::Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = LINES.waiting();
        let was_empty = waiting.is_empty();
        waiting.extend_from_slice(line);
        let too_many = waiting.len() > 2 * MANY_BYTES;
        drop(waiting);
        if too_many || !LINES.has_writer.load(Relaxed) {
            LINES.write();
        } else if was_empty {
            LINES.arrived.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}

fn write_line(
    out: &mut Formatter,
    formatter: LogFormatter,
    fields: &[(String, String)],
    record: &Record<'_>,
) -> io::Result<()> {
    let time = out.timestamp_millis().to_string();
    let line = match formatter {
        LogFormatter::Text => text(&time, fields, record),
        LogFormatter::Json => json(&time, fields, record),
    };
    out.write_all(line.as_bytes())
}

/// `2026-11-24T00:00:00.000Z INFO  message key=value …`
fn text(time: &str, fields: &[(String, String)], record: &Record<'_>) -> String {
    let mut line = String::with_capacity(LINE_BYTES);
    let _ = write!(line, "{time} {:5} ", record.level());
    let start = line.len();
    let _ = write!(line, "{}", record.args());
    escape_controls(&mut line, start);
    each_field(fields, record, |key, value| {
        let _ = write!(line, " {key}=");
        let start = line.len();
        let _ = write!(line, "{value}");
        if !is_plain(&line[start..]) {
            let quoted = format!("{:?}", &line[start..]);
            line.truncate(start);
            line.push_str(&quoted);
        }
    });
    line.push('\n');
    line
}

/// `{"time":…,"level":…,"message":…,"key":value,…}`
fn json(time: &str, fields: &[(String, String)], record: &Record<'_>) -> String {
    let mut line = String::with_capacity(LINE_BYTES);
    let level = record.level().as_str().to_ascii_lowercase();
    let message = serde_json::Value::from(record.args().to_string());
    let _ = write!(
        line,
        "{{\"time\":\"{time}\",\"level\":\"{level}\",\"message\":{message}"
    );
    each_field(fields, record, |key, value| {
        let _ = write!(line, ",{}:", serde_json::Value::from(key));
        let is_number = value.to_u64().is_some() || value.to_f64().is_some_and(f64::is_finite);
        let _ = if is_number {
            write!(line, "{value}")
        } else {
            write!(line, "{}", serde_json::Value::from(value.to_string()))
        };
    });
    line.push_str("}\n");
    line
}

/// What a line of the access log needs at most, nearly always.
const LINE_BYTES: usize = 384;

/// Visits the fields of the configuration, then those of the line.
fn each_field(fields: &[(String, String)], record: &Record<'_>, visit: impl FnMut(&str, &Value<'_>)) {
    struct Visitor<F>(F);
    impl<'kvs, F: FnMut(&str, &Value<'_>)> VisitSource<'kvs> for Visitor<F> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), ::log::kv::Error> {
            (self.0)(key.as_str(), &value);
            Ok(())
        }
    }
    let mut visitor = Visitor(visit);
    for (key, value) in fields {
        (visitor.0)(key, &Value::from(value.as_str()));
    }
    let _ = record.key_values().visit(&mut visitor);
}

/// Whether a value can stand without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'=')
}

/// Escapes line breaks and other control characters: what a client sent must not look like a line of ours.
fn escape_controls(line: &mut String, start: usize) {
    if line[start..].contains(char::is_control) {
        let message = line.split_off(start);
        for c in message.chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn line(
        formatter: fn(&str, &[(String, String)], &Record<'_>) -> String,
        message: &str,
        path: &str,
    ) -> String {
        let pairs: &[(&str, Value<'_>)] = &[("path", Value::from(path)), ("status", Value::from(200_u64))];
        let fields = [("service".to_owned(), "registry".to_owned())];
        formatter(
            "T",
            &fields,
            &Record::builder()
                .level(Level::Warn)
                .args(format_args!("{message}"))
                .key_values(&pairs)
                .build(),
        )
    }

    #[test]
    fn a_line_of_text_ends_with_its_fields() {
        assert_eq!(
            line(text, "hello", "/v2/"),
            "T WARN  hello service=registry path=/v2/ status=200\n"
        );
        assert_eq!(
            line(text, "a\nb", "x y=\"z\"\n"),
            "T WARN  a\\nb service=registry path=\"x y=\\\"z\\\"\\n\" status=200\n"
        );
    }

    #[test]
    fn a_line_of_json_is_one_object() {
        let line = line(json, "a\n\"b\"", "/v2/\u{1}");
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(
            (&value["message"], &value["path"]),
            (&"a\n\"b\"".into(), &"/v2/\u{1}".into())
        );
        assert_eq!(
            (&value["status"], &value["level"], &value["service"]),
            (&200.into(), &"warn".into(), &"registry".into())
        );
    }
}
