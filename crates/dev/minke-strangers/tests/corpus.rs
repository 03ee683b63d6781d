//! The seeds of the fuzzers, and what chance makes of them, on the ordinary toolchain. What a fuzzer once found is among the seeds.

use std::path::{Path, PathBuf};

use minke_strangers::{ALL, Check};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus")
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = corpus().join(target);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("a seed").path());
    let mut seeds: Vec<_> =
        paths.map(|path| (path.clone(), std::fs::read(path).expect("the seed's bytes"))).collect();
    seeds.sort();
    seeds
}

#[test]
fn every_check_has_seeds_a_target_and_no_others_have() {
    let names = |directory: &Path| {
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> =
            entries.map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect();
        names.sort();
        names
    };
    let known: Vec<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), known);
    assert_eq!(names(&corpus().join("../targets")), known);
    for (name, _) in ALL {
        let seeds = seeds(name);
        assert!((2..=40).contains(&seeds.len()), "{name} has {} seeds", seeds.len());
        let large = seeds.iter().find(|(_, bytes)| bytes.len() > 16 << 10);
        assert!(large.is_none(), "{:?} is larger than a seed", large.map(|(path, _)| path));
    }
}

#[test]
fn seeds_are_taken_whole_cut_and_changed() {
    for (name, check) in ALL {
        for (path, seed) in seeds(name) {
            let steps = if matches!(*name, "archive" | "tar") { 4 } else { 48 };
            let done = std::panic::catch_unwind(|| take_changed(*check, &seed, steps));
            assert!(done.is_ok(), "{name} does not hold for changes of {}", path.display());
        }
    }
}

/// Checks a seed, its beginnings, and what it is with other bytes here and there.
fn take_changed(check: Check, seed: &[u8], steps: usize) {
    check(seed);
    let steps = steps.min(seed.len());
    for step in 0..steps {
        let at = step * seed.len() / steps;
        check(&seed[..at]);
        for other in [0, b'9', 0xff] {
            let mut changed = seed.to_vec();
            changed[at] = other;
            check(&changed);
        }
    }
}
