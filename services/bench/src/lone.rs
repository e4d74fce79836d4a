//! Samples that need a server of their own, started for them: time to the first answer, memory of idle connections.

use crate::clients::Making;
use crate::content::{self, Blob};
use crate::fixtures::{Fixtures, Trouble};
use crate::process;
use crate::sample::{Sample, mebibytes};
use crate::server::{Folder, Server, ask};
use crate::settings::{Kind, Settings, StartCommand, Target};
use std::net::TcpStream;

/// Time to the first answer of a fresh server, and of one that holds many manifests.
pub(crate) fn start(settings: &Settings, target: &Target) -> Result<Sample, Trouble> {
    let command = command(target)?;
    let folder = Folder::new(&settings.prefix)?;
    let first = Server::start(command, folder.path())?;
    let usage = process::usage(first.pid());
    let mut sample = Sample {
        value: first.first_answer().as_secs_f64() * 1e3,
        operations: 1,
        peak_mib: usage.map(|usage| mebibytes(usage.peak_kib)),
        ..Sample::default()
    };
    if target.kind != Kind::Registry {
        return Ok(sample);
    }
    let running = Target {
        address: first.address(),
        pid: None,
        start: None,
        ..target.clone()
    };
    let repository = settings.repository(&running, "stored");
    let fixtures = Fixtures::new(settings);
    fixtures.push_blobs(&running, &repository, vec![content::config(), Blob::small()])?;
    fixtures.push_manifests(&running, &repository, &Making::Tagged, 0..settings.scale.stored)?;
    drop(first);
    let second = Server::start(command, folder.path())?;
    let milliseconds = second.first_answer().as_secs_f64() * 1e3;
    sample.extra.insert("with manifests stored ms", milliseconds);
    Ok(sample)
}

/// Memory that idle connections add to a fresh server.
pub(crate) fn idle(settings: &Settings, target: &Target) -> Result<Sample, Trouble> {
    let command = command(target)?;
    let folder = Folder::new(&settings.prefix)?;
    let server = Server::start(command, folder.path())?;
    let pid = server.pid();
    let before = process::usage(pid).ok_or_else(no_memory)?;
    let mut connections = Vec::with_capacity(settings.scale.idle);
    for _ in 0..settings.scale.idle {
        let mut connection = TcpStream::connect(server.address())?;
        ask(&mut connection)?;
        connections.push(connection);
    }
    let after = process::usage(pid).ok_or_else(no_memory)?;
    for connection in &mut connections {
        ask(connection)?;
    }
    Ok(Sample {
        value: mebibytes(after.resident_kib) - mebibytes(before.resident_kib),
        operations: connections.len() as u64,
        peak_mib: Some(mebibytes(after.peak_kib)),
        ..Sample::default()
    })
}

fn command(target: &Target) -> Result<&StartCommand, Trouble> {
    let missing = || Trouble::Unsupported("no --start command".to_owned());
    target.start.as_ref().ok_or_else(missing)
}

fn no_memory() -> Trouble {
    Trouble::Unsupported("memory of a process is not known here".to_owned())
}
