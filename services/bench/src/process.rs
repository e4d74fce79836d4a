//! What a server process costs, read from `/proc`: CPU time, memory, descriptors. Linux only; elsewhere all is unknown.
//!
//! A server may be several processes (nginx has workers), so a process is read together with its descendants.

use std::fs;

/// Clock ticks in a second of `/proc/<pid>/stat`: `USER_HZ`, 100 on every Linux that Rust's std runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time and memory of a process and its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since its start, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory now, in KiB.
    pub resident_kib: u64,
    /// The most resident memory since its start or the last [`reset_peak`], in KiB.
    pub peak_kib: u64,
}

/// Reads a process and its descendants; `None` if it is not there.
pub fn usage(pid: u32) -> Option<Usage> {
    let mut total = read(pid)?;
    for child in descendants(pid) {
        if let Some(usage) = read(child) {
            total.cpu_seconds += usage.cpu_seconds;
            total.resident_kib += usage.resident_kib;
            total.peak_kib += usage.peak_kib;
        }
    }
    Some(total)
}

/// Starts the count of peak memory anew. Does nothing where that is not allowed; the peak is then the one since start.
pub fn reset_peak(pid: u32) {
    for pid in [pid].into_iter().chain(descendants(pid)) {
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}

/// CPU time of the calling thread so far, in seconds; zero where it is not known.
pub fn thread_cpu_seconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

fn read(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu_seconds: cpu_ticks(&stat)? / TICKS_PER_SECOND,
        resident_kib: kib(&status, "VmRSS:").unwrap_or(0),
        peak_kib: kib(&status, "VmHWM:").unwrap_or(0),
    })
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children
                .split_ascii_whitespace()
                .filter_map(|c| c.parse::<u32>().ok());
            for child in children {
                found.push(child);
                open.push(child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "42 (a ) b) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some(200.0));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn memory_is_read_in_kib() {
        let status = "Name:\tx\nVmHWM:\t    5124 kB\nVmRSS:\t     900 kB\n";
        assert_eq!(kib(status, "VmHWM:"), Some(5124));
        assert_eq!(kib(status, "VmRSS:"), Some(900));
        assert_eq!(kib(status, "VmSwap:"), None);
    }
}
