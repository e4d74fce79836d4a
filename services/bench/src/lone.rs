//! Samples that need a server of their own, started for them: time to the first answer, memory of idle connections.

use crate::clients::Making;
use crate::content::{self, Blob};
use crate::fixtures::{Fixtures, Trouble};
use crate::process;
use crate::sample::{Sample, mebibytes};
use crate::server::{Folder, Server, ask};
use crate::settings::{Kind, Settings, StartCommand, Target};
use std::collections::{BTreeMap, btree_map::Entry};
use std::net::TcpStream;

/// Stores of many manifests, by the target whose server wrote them: filled once, started on in each round.
pub(crate) type Stores = BTreeMap<String, Folder>;

/// Time to the first answer of a fresh server, and of one that holds many manifests.
pub(crate) fn start(settings: &Settings, target: &Target, stores: &mut Stores) -> Result<Sample, Trouble> {
    let command = command(target)?;
    let empty = Folder::new(&settings.prefix)?;
    let first = Server::start(command, empty.path())?;
    let usage = process::usage(first.pid());
    let mut sample = Sample {
        value: milliseconds_to_answer(&first),
        operations: 1,
        peak_mib: usage.map(|usage| mebibytes(usage.peak_kib)),
        ..Sample::default()
    };
    drop(first);
    if target.kind != Kind::Registry {
        return Ok(sample);
    }
    let stored = match stores.entry(target.name.clone()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => place.insert(fill(settings, target, command)?),
    };
    let second = Server::start(command, stored.path())?;
    sample
        .extra
        .insert("with manifests stored ms", milliseconds_to_answer(&second));
    Ok(sample)
}

fn milliseconds_to_answer(server: &Server) -> f64 {
    server.first_answer().as_secs_f64() * 1e3
}

/// A store with as many manifests as the settings say, written by a server of the target's kind that has ended since.
fn fill(settings: &Settings, target: &Target, command: &StartCommand) -> Result<Folder, Trouble> {
    let folder = Folder::new(&settings.prefix)?;
    let server = Server::start(command, folder.path())?;
    let running = Target {
        address: server.address(),
        pid: None,
        start: None,
        ..target.clone()
    };
    let repository = settings.repository(&running, "stored");
    let fixtures = Fixtures::new(settings);
    fixtures.push_blobs(&running, &repository, vec![content::config(), Blob::small()])?;
    fixtures.push_manifests(&running, &repository, &Making::Tagged, 0..settings.scale.stored)?;
    Ok(folder)
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
