//! Many producers attach to one image of a registry without the referrers API, at the same time.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeSet;
use testkit::{Image, Registry, Tool};

#[test]
fn thirty_two_producers_at_once_are_all_listed() {
    const PRODUCERS: usize = 32;
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("intermediate");
    let pushed: BTreeSet<String> = std::thread::scope(|scope| {
        let (tool, name) = (&tool, &name);
        let racing: Vec<_> = (0..PRODUCERS)
            .map(|n| {
                scope.spawn(move || {
                    let content = format!("attachment {n}\n");
                    let line = ["--quiet", "artifact", "put", "--refers", name];
                    let ran = tool.run_with_input(&line, content.as_bytes()).expect(0);
                    ran.text().trim().to_owned()
                })
            })
            .collect();
        racing
            .into_iter()
            .map(|thread| thread.join().expect("a producer"))
            .collect()
    });
    assert_eq!(pushed.len(), PRODUCERS);
    let listed: Vec<String> = image
        .digest_tag(&registry)
        .expect("a digest tag")
        .iter()
        .map(|entry| entry["digest"].as_str().expect("a digest").to_owned())
        .collect();
    assert_eq!(listed.len(), PRODUCERS, "no entry twice");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), pushed);
}
