//! Shows transfers on standard error: bars on a terminal, one plain line for each blob elsewhere.

use client::progress::{BlobOutcome, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use oci::{Descriptor, Digest};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

/// Digits of a digest that tell blobs apart for a person.
const SHORT_HEX_CHARS: usize = 12;

/// Chooses how to show transfers. Logs and bars do not share a terminal, so with logging there are lines.
pub fn observer(quiet: bool, logging: bool) -> Rc<dyn Progress> {
    if quiet {
        Rc::new(client::progress::Quiet)
    } else if std::io::stderr().is_terminal() && !logging {
        Rc::new(Bars::default())
    } else {
        Rc::new(Lines { logging })
    }
}

/// A size for a person: bytes up to 1 KiB, then binary units with one decimal.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match unit {
        "B" => format!("{bytes} B"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// A number of things, by the word for one of them.
pub fn count(number: impl TryInto<u64>, one: &str) -> String {
    let many = match one.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{one}s"),
    };
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

/// The beginning of a digest, enough for a person.
pub fn short(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}:{}", digest.algorithm(), &hex[..SHORT_HEX_CHARS])
}

fn done_line(blob: &Descriptor, outcome: BlobOutcome) -> String {
    let how = match outcome {
        BlobOutcome::Copied => "transferred",
        BlobOutcome::Mounted => "mounted",
        BlobOutcome::Present => "already there",
    };
    format!("blob {} {how}, {}", short(&blob.digest), size(blob.size))
}

fn pausing_line(why: &str, pause: Duration) -> String {
    format!("{why}; trying again in {} s", pause.as_secs_f64().round())
}

/// One line when a blob is complete, or when nothing happens for a while.
struct Lines {
    /// The log tells of pauses.
    logging: bool,
}

/// A closed standard error leaves nobody to tell.
fn to_stderr(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

impl Progress for Lines {
    fn blob_done(&self, descriptor: &Descriptor, outcome: BlobOutcome) {
        to_stderr(&done_line(descriptor, outcome));
    }

    fn pausing(&self, why: &str, pause: Duration) {
        if !self.logging {
            to_stderr(&pausing_line(why, pause));
        }
    }
}

/// One bar for each blob under way.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    moving: RefCell<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn style() -> ProgressStyle {
        const TEMPLATE: &str = "{prefix} [{bar:30}] {bytes:>10}/{total_bytes:<10} {bytes_per_sec}";
        // The template is checked by a test; without it the default style would do.
        ProgressStyle::with_template(TEMPLATE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    }
}

impl Progress for Bars {
    fn blob_started(&self, descriptor: &Descriptor) {
        let bar = self.all.add(ProgressBar::new(descriptor.size));
        bar.set_style(Bars::style());
        bar.set_prefix(short(&descriptor.digest));
        if let Some(old) = self.moving.borrow_mut().insert(descriptor.digest, bar) {
            old.finish_and_clear();
        }
    }

    fn blob_moved(&self, digest: &Digest, position: u64) {
        if let Some(bar) = self.moving.borrow().get(digest) {
            bar.set_position(position);
        }
    }

    fn blob_done(&self, descriptor: &Descriptor, outcome: BlobOutcome) {
        if let Some(bar) = self.moving.borrow_mut().remove(&descriptor.digest) {
            bar.finish_and_clear();
        }
        self.all.suspend(|| to_stderr(&done_line(descriptor, outcome)));
    }

    fn pausing(&self, why: &str, pause: Duration) {
        self.all.suspend(|| to_stderr(&pausing_line(why, pause)));
    }
}

impl Drop for Bars {
    /// An error message must not stand among half-drawn bars.
    fn drop(&mut self) {
        for bar in self.moving.borrow().values() {
            bar.finish_and_clear();
        }
        let _ = self.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 30, "10.0 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(count(0_u64, "blob"), "0 blobs");
        assert_eq!(count(1_usize, "entry"), "1 entry");
        assert_eq!(count(2_u64, "entry"), "2 entries");
    }

    #[test]
    fn a_bar_follows_its_blob_and_a_second_start_replaces_it() {
        let bars = Bars::default();
        let blob = Descriptor::of("text/plain", b"hello world\n");
        bars.blob_started(&blob);
        bars.blob_moved(&blob.digest, 6);
        assert_eq!(bars.moving.borrow()[&blob.digest].position(), 6);
        bars.blob_started(&blob);
        assert_eq!(bars.moving.borrow()[&blob.digest].position(), 0);
        bars.blob_done(&blob, BlobOutcome::Copied);
        assert!(bars.moving.borrow().is_empty());
    }
}
