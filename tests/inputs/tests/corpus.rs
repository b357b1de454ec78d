//! Runs the readers on the kept inputs: `fuzz/corpus`, with one folder for each kind.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use lineside_inputs::{kinds, read};

fn fuzz() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// Number of panics in this process, including those that a worker catches.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn no_kept_input_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(panic);
    }));
    for kind in kinds() {
        let mut inputs = 0;
        for entry in fuzz().join("corpus").join(kind).read_dir().expect(kind) {
            let path = entry.unwrap().path();
            read(kind, &std::fs::read(&path).unwrap());
            assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{}", path.display());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus holds nothing for {kind}");
    }
}

#[test]
fn every_kind_has_a_fuzz_target_and_a_corpus_folder() {
    let kinds: BTreeSet<String> = kinds().map(str::to_owned).collect();
    for folder in ["targets", "corpus"] {
        let entries = fuzz().join(folder).read_dir().unwrap();
        let names = entries.map(|entry| {
            let path = entry.unwrap().path();
            path.file_stem().unwrap().to_str().unwrap().to_owned()
        });
        assert_eq!(names.collect::<BTreeSet<_>>(), kinds, "{folder}");
    }
}
