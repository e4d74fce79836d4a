//! The workloads, as a table. Names are stable: results of different runs are compared by them.

use crate::settings::Kind;
use crate::wire::Method;

/// What a workload's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Operations a second; more is better.
    PerSecond,
    /// 10^6 bytes a second; more is better.
    MegabytesPerSecond,
    /// Median of the operations' times in milliseconds; less is better.
    Milliseconds,
    /// 2^20 bytes of memory; less is better.
    Mebibytes,
}

impl Unit {
    /// As it is written behind a number.
    pub const fn symbol(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Milliseconds => "ms",
            Unit::Mebibytes => "MiB",
        }
    }
}

/// How many connections a workload uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As many as the command line says (32 by default).
    Given,
    /// This many.
    Exactly(usize),
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A manifest by tag, in a repository of one tag.
    OneTag,
    /// Manifests by tag, in a repository of many tags, all in turn.
    SomeTags,
    /// A manifest by digest.
    Digest,
    /// A blob of 4 KiB.
    SmallBlob,
    /// A blob of 256 MiB.
    LargeBlob,
}

/// What a workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The same read again and again.
    Read(Method, Content, Connections),
    /// Pushes large blobs, one client; in chunks or in one PUT.
    PushLarge {
        /// PATCH requests and an empty PUT.
        in_chunks: bool,
    },
    /// Pushes images of one small layer, 8 clients.
    PushSmall {
        /// All into one repository, else each client into its own.
        one_repository: bool,
    },
    /// Mounts small blobs into new repositories.
    Mount,
    /// Lists all tags of a repository of many.
    ListTags {
        /// Page by page; a page is one operation.
        in_pages: bool,
    },
    /// Pushes one more tag into a repository of many.
    PushTag,
    /// Attaches one more referrer to a subject of many.
    Attach,
    /// Lists the referrers of a subject.
    ListReferrers {
        /// Of one of ten types.
        by_type: bool,
    },
    /// Reads a manifest while one client pushes large blobs.
    Mixed,
    /// Memory that idle connections take.
    Idle,
    /// Time from the start of the process to its first answer.
    Start,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Stable name, for `--workload` and JSON.
    pub name: &'static str,
    /// What a reader of a report sees.
    pub title: &'static str,
    /// What the value counts.
    pub unit: Unit,
    /// Targets that can take part.
    pub kinds: &'static [Kind],
    /// What is done.
    pub act: Act,
}

const READS: &[Kind] = &[Kind::Registry, Kind::Files];
const WRITES: &[Kind] = &[Kind::Registry, Kind::Sink];
const REGISTRIES: &[Kind] = &[Kind::Registry];
const ANY: &[Kind] = &[Kind::Registry, Kind::Files, Kind::Sink];

const fn row(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    kinds: &'static [Kind],
    act: Act,
) -> Workload {
    Workload {
        name,
        title,
        unit,
        kinds,
        act,
    }
}

const fn read(name: &'static str, title: &'static str, method: Method, content: Content) -> Workload {
    let act = Act::Read(method, content, Connections::Given);
    row(name, title, Unit::PerSecond, READS, act)
}

const fn download(name: &'static str, title: &'static str, connections: usize) -> Workload {
    let act = Act::Read(Method::Get, Content::LargeBlob, Connections::Exactly(connections));
    row(name, title, Unit::MegabytesPerSecond, READS, act)
}

/// Every workload, in the order of the report.
#[rustfmt::skip]
pub const WORKLOADS: &[Workload] = &[
    read("manifest-by-tag", "GET manifest by tag", Method::Get, Content::OneTag),
    read("manifest-by-tag-1000", "GET manifest by tag, of 1,000 tags", Method::Get, Content::SomeTags),
    read("manifest-by-digest", "GET manifest by digest", Method::Get, Content::Digest),
    read("head-by-tag", "HEAD manifest by tag", Method::Head, Content::OneTag),
    read("head-blob", "HEAD blob", Method::Head, Content::SmallBlob),
    read("blob-4k", "GET blob of 4 KiB", Method::Get, Content::SmallBlob),
    download("blob-256m-1c", "GET blob of 256 MiB, 1 connection", 1),
    download("blob-256m-4c", "GET blob of 256 MiB, 4 connections", 4),
    row("push-256m", "push blob of 256 MiB, one PUT", Unit::MegabytesPerSecond, WRITES, Act::PushLarge { in_chunks: false }),
    row("push-256m-chunks", "push blob of 256 MiB, chunks of 8 MiB", Unit::MegabytesPerSecond, WRITES, Act::PushLarge { in_chunks: true }),
    row("push-small-own-repos", "push small images, 8 clients, own repositories", Unit::PerSecond, WRITES, Act::PushSmall { one_repository: false }),
    row("push-small-one-repo", "push small images, 8 clients, one repository", Unit::PerSecond, WRITES, Act::PushSmall { one_repository: true }),
    row("mount", "mount a blob", Unit::PerSecond, WRITES, Act::Mount),
    row("tags-list-whole", "list 10,000 tags, whole", Unit::Milliseconds, REGISTRIES, Act::ListTags { in_pages: false }),
    row("tags-list-pages", "list 10,000 tags, a page of 100", Unit::Milliseconds, REGISTRIES, Act::ListTags { in_pages: true }),
    row("push-tag-at-10000", "push one more tag at 10,000", Unit::Milliseconds, REGISTRIES, Act::PushTag),
    row("referrers-attach-at-7500", "attach one more referrer at 7,500", Unit::Milliseconds, REGISTRIES, Act::Attach),
    row("referrers-list", "list 7,500 referrers, whole", Unit::Milliseconds, REGISTRIES, Act::ListReferrers { by_type: false }),
    row("referrers-by-type", "list 7,500 referrers, one of ten types", Unit::Milliseconds, REGISTRIES, Act::ListReferrers { by_type: true }),
    row("mixed", "GET manifest while one client pushes 256 MiB blobs", Unit::PerSecond, REGISTRIES, Act::Mixed),
    row("idle-1000", "memory of 1,000 idle connections", Unit::Mebibytes, ANY, Act::Idle),
    row("start", "start to first answer", Unit::Milliseconds, ANY, Act::Start),
];

/// A workload by its name.
pub fn find(name: &str) -> Option<&'static Workload> {
    WORKLOADS.iter().find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_workload_is_found_by_its_own_name() {
        let names: HashSet<_> = WORKLOADS.iter().map(|w| w.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
        for workload in WORKLOADS {
            assert_eq!(find(workload.name).map(|w| w.act), Some(workload.act));
            assert!(!workload.kinds.is_empty());
        }
        assert!(find("manifest").is_none());
    }
}
