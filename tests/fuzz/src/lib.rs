//! What reads hostile bytes: each as a function of any bytes that must not panic, nor break what it
//! promises.
#![forbid(unsafe_code)]

mod executables;
mod golog;
mod goproxy;
mod records;
mod redaction;
mod replay;
mod wire;

/// A function of any bytes; it panics where something is broken.
pub type Target = fn(&[u8]);

/// Names the target to the fuzzer.
pub const TARGET_VAR: &str = "PROXYTRACE_FUZZ_TARGET";

/// The targets, by the name that their corpora have as well.
pub const TARGETS: [(&str, Target); 7] = [
    ("executable", executables::any),
    ("goproxy", goproxy::any),
    ("log", golog::any),
    ("records", records::any),
    ("redaction", redaction::any),
    ("replay", replay::any),
    ("wire", wire::any),
];

/// Nothing that the network said reaches a terminal as anything but text.
fn assert_printable(text: &str) {
    let control = text.chars().find(|char| char.is_control() && *char != '\n');
    assert_eq!(control, None, "in {text:?}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The seeds, and every input that ever broke something.
    #[test]
    fn the_corpora_are_harmless() {
        for (name, target) in TARGETS {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let mut count = 0;
            for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{name}: {error}")) {
                let path = entry.expect("readable").path();
                println!("{}", path.display());
                target(&fs::read(path).expect("readable"));
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }
}
