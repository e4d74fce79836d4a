//! For tests: what things take in memory, beside what they are said to weigh.
//!
//! Weights are constants that somebody measured once. To measure again, after a change of what is kept or of the allocator:
//! `cargo test --release -p registry --lib measured -- --ignored --nocapture --test-threads 1`.

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the process's memory");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("resident pages") * 4096
}

/// Makes things, which say what they weigh, and insists that they take at most a quarter more than that, and not much less: a
/// table of a given size may be full or half empty.
///
/// They stay for ever: what comes next must not get their memory.
pub(super) fn is_as_measured<T>(what: &str, make: impl FnOnce() -> (T, usize)) {
    let before = resident();
    let (made, weight) = make();
    let taken = resident() - before;
    std::mem::forget(made);
    let ratio = taken as f64 / weight as f64;
    println!("{what}: {weight} bytes are {taken}, {ratio:.2} times as many");
    assert!((0.65..=1.25).contains(&ratio), "{what}: {ratio:.2}");
}
