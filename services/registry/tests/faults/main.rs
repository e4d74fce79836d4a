//! Faults of the storage, at every operation in turn: the answer is a clean 5xx, nothing is half-visible, and the same request
//! succeeds once the fault has ended.
//!
//! One sequence of requests is run well, and its storage operations are counted. Then it is run once for each of them, with
//! that operation failing, alone or with all that follow until the request was answered.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod lab;
mod sequence;
#[path = "../support/mod.rs"]
mod support;

use lab::{BROKEN_OFF, Lab, State, Store};
use oci::Digest;
use registry::{domain::Verify, storage::Uploads};
use sequence::{Named, steps};
use std::{path::PathBuf, time::Duration};
use support::{Request, current, faulty::Fault};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;

/// What is to be read before the first step and after each.
fn good_run(store: Store) -> Vec<State> {
    let mut lab = Lab::new(store);
    let mut states = vec![State::new()];
    for (name, step) in steps() {
        assert_eq!(step(&mut lab), Ok(()), "{name}");
        let state = lab.state();
        lab.is_consistent(&state);
        states.push(state);
    }
    states
}

/// How many operations of the storage each step takes.
fn operations(store: Store) -> Vec<usize> {
    let mut lab = Lab::new(store);
    let count = |(name, step): Named| {
        lab.faults.set(Fault::None);
        assert_eq!(step(&mut lab), Ok(()), "{name}");
        lab.faults.count()
    };
    steps().into_iter().map(count).collect()
}

/// Where in the sequence the fault is.
#[derive(Clone, Copy, Debug)]
struct At {
    step: usize,
    fault: Fault,
}

fn error_of(fault: Fault) -> i32 {
    match fault {
        Fault::Once(_, error) | Fault::From(_, error) => error,
        Fault::None | Fault::Slow(_) | Fault::SlowOnce(..) | Fault::Held(_) => 0,
    }
}

/// Each thing is as it was before the step or as it is after it.
fn is_one_or_the_other(state: &State, before: &State, after: &State, may_fail: bool) {
    for (path, found) in state {
        let fits = before.get(path) == Some(found) || after.get(path) == Some(found);
        assert!(
            fits || (may_fail && found.0 >= 500),
            "{path}: {found:?}, before {:?}, after {:?}",
            before.get(path),
            after.get(path)
        );
    }
}

/// Runs the sequence with one fault in it, and compares all that can be read with the good run.
fn run_with(store: Store, at: At, good: &[State]) {
    let mut lab = Lab::new(store);
    for (number, (name, step)) in steps().into_iter().enumerate() {
        if number != at.step {
            assert_eq!(step(&mut lab), Ok(()), "{name}");
            continue;
        }
        let (before, after) = (&good[number], &good[number + 1]);
        lab.faults.set(at.fault);
        let ended = step(&mut lab);
        let failed = lab.faults.failed().unwrap_or("nothing");
        println!("{name}: {failed} failed with {}: {ended:?}", error_of(at.fault));
        if matches!(at.fault, Fault::From(..)) {
            is_one_or_the_other(&lab.state(), before, after, true);
        }
        lab.faults.set(Fault::None);
        let state = lab.state();
        lab.is_consistent(&state);
        match ended {
            Ok(()) => is_one_or_the_other(&state, after, after, false),
            Err(status) => {
                let cannot_be_read = ["read a content", "read an upload's content"].contains(&failed);
                let is_full = error_of(at.fault) == ENOSPC && !cannot_be_read;
                let expected = if is_full { 507 } else { 500 };
                assert!(
                    status == expected || status == BROKEN_OFF,
                    "{status}, not {expected}"
                );
                is_one_or_the_other(&state, before, after, false);
                lab.again = true;
                assert_eq!(step(&mut lab), Ok(()), "{name} again");
                lab.again = false;
                is_one_or_the_other(&lab.state(), after, after, false);
            }
        }
        if matches!(at.fault, Fault::From(..)) || matches!(store, Store::Disk) {
            // What follows was seen with single faults in memory.
            assert_eq!(lab.collect(), Ok(()));
            return nothing_is_left(&lab);
        }
    }
    let end = lab.state();
    is_one_or_the_other(&end, &good[good.len() - 1], &good[good.len() - 1], false);
    lab.is_consistent(&end);
    nothing_is_left(&lab);
}

/// After a collection, all that is stored fits together and nothing in the storage is half-done.
fn nothing_is_left(lab: &Lab) {
    let verified = lab
        .server()
        .registry
        .verify(Verify::default(), &mut |damage| panic!("{damage}"))
        .unwrap();
    assert_eq!(verified.unfinished, 0);
    assert_eq!(lab.storage.uploads().unwrap(), [], "uploads go with the garbage");
    assert_eq!(lab.half_written(), Vec::<PathBuf>::new());
}

/// Walks through every operation of the sequence.
fn walk(store: Store, fault: fn(usize, i32) -> Fault, errors: &[i32]) {
    let good = good_run(store);
    let mut number = 0;
    for (step, count) in operations(store).into_iter().enumerate() {
        for operation in 0..count {
            let error = errors[number % errors.len()];
            number += 1;
            let at = At {
                step,
                fault: fault(operation, error),
            };
            run_with(store, at, &good);
        }
    }
    assert!(number > 150, "only {number} operations");
}

#[test]
fn any_one_operation_may_fail_in_memory() {
    walk(Store::Memory, Fault::Once, &[ENOSPC, EIO, EMFILE]);
}

#[test]
fn any_one_operation_may_fail_on_disk() {
    walk(Store::Disk, Fault::Once, &[EIO, EMFILE, ENOSPC]);
}

#[test]
fn every_operation_may_fail_from_any_one_on_in_memory() {
    walk(Store::Memory, Fault::From, &[EMFILE, ENOSPC, EIO]);
}

#[test]
fn every_operation_may_fail_from_any_one_on_on_disk() {
    walk(Store::Disk, Fault::From, &[ENOSPC, EMFILE, EIO]);
}

/// A chunk or the end of a session failed: the session says how far it is, and the rest can be sent again.
fn resume(store: Store, at: At) -> bool {
    let mut lab = Lab::new(store);
    lab.open(current()).unwrap();
    let content = [b"begun, ".as_slice(), b"continued, ", b"ended"];
    let whole = content.concat();
    let session = lab.begin().unwrap();
    let chunk = |from: usize, body: &[u8]| {
        let range = format!("{from}-{}", from + body.len() - 1);
        lab.send(
            &[202],
            Request::new("PATCH", &session)
                .header("Content-Range", range)
                .body(body),
        )
    };
    let set = |step| {
        lab.faults
            .set(if at.step == step { at.fault } else { Fault::None })
    };
    let mut failed = false;
    chunk(0, content[0]).unwrap();
    set(0);
    if chunk(content[0].len(), content[1]).is_err() {
        failed = true;
        lab.faults.set(Fault::None);
        let status = lab.send(&[204], Request::new("GET", &session)).unwrap();
        let received: usize = status.header("range").unwrap()[2..].parse::<usize>().unwrap() + 1;
        let middle = content[0].len() + content[1].len();
        assert!((content[0].len()..=middle).contains(&received), "{received}");
        if received < middle {
            chunk(received, &whole[received..middle]).unwrap();
        }
    }
    set(1);
    if lab.finish(&session, &whole, content[2]).is_err() {
        failed = true;
        let what = lab.faults.failed().unwrap();
        lab.faults.set(Fault::None);
        let path = format!("{session}?digest={}", Digest::sha256(&whole));
        let again = lab.server().send(Request::new("PUT", &path).body(content[2]));
        let is_placed = ["sync a finished upload", "apply a change", "sync changes"].contains(&what);
        let expected = if is_placed { 404 } else { 201 };
        assert_eq!(again.status, expected, "{what}: {}", again.text());
        if is_placed {
            lab.chunk_blob(&whole).unwrap();
        }
    }
    lab.faults.set(Fault::None);
    let path = format!("/v2/a/blobs/{}", Digest::sha256(&whole));
    assert_eq!(lab.server().get(&path).body, whole);
    failed
}

#[test]
fn a_session_goes_on_after_a_failure() {
    for store in [Store::Memory, Store::Disk] {
        for step in [0, 1] {
            for fault in [Fault::Once, Fault::From] {
                let failing = |operation: &usize| {
                    let fault = fault(*operation, ENOSPC);
                    resume(store, At { step, fault })
                };
                let failures = (0..12).filter(failing).count();
                assert!((2..12).contains(&failures), "{failures} operations failed");
            }
        }
    }
}

#[test]
fn a_slow_disk_changes_nothing() {
    let good = good_run(Store::Memory);
    let mut lab = Lab::new(Store::Memory);
    for (number, (name, step)) in steps().into_iter().enumerate() {
        lab.faults.set(Fault::Slow(Duration::from_millis(2)));
        assert_eq!(step(&mut lab), Ok(()), "{name}");
        lab.faults.set(Fault::None);
        is_one_or_the_other(&lab.state(), &good[number + 1], &good[number + 1], false);
    }
}

#[test]
fn while_the_disk_hangs_in_one_push_others_are_answered() {
    let mut lab = Lab::new(Store::Disk);
    lab.open(current()).unwrap();
    for content in [b"{}".as_slice(), b"first layer"] {
        lab.post_blob(content).unwrap();
    }
    let (_, body) = sequence::first();
    lab.put_manifest("v", &body, oci::media_type::OCI_MANIFEST, None)
        .unwrap();
    let push = |number: usize| lab.put_blob(format!("blob {number}").as_bytes());
    lab.faults.set(Fault::None);
    push(0).unwrap();
    let operations = lab.faults.count();
    assert!(operations > 0);
    for operation in 0..operations {
        lab.faults.set(Fault::Held(operation));
        std::thread::scope(|scope| {
            let hanging = scope.spawn(|| push(operation + 1));
            while lab.faults.count() <= operation {
                std::thread::yield_now();
            }
            // Each would wait for ever, if it waited for the push that hangs.
            assert_eq!(lab.get("/v2/"), Ok(()));
            assert_eq!(lab.get("/v2/a/manifests/v"), Ok(()));
            let other = format!("other {operation}");
            lab.server().push_blob("b", other.as_bytes());
            assert!(!hanging.is_finished());
            lab.faults.set(Fault::None);
            assert_eq!(hanging.join().unwrap(), Ok(()), "operation {operation}");
        });
    }
}
