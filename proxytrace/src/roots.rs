//! The authorities that go trusts: `crypto/x509/root_unix.go:loadSystemRoots`, `root_linux.go`.
//!
//! Of the files the first that can be read counts, of the directories all. A variable replaces the
//! files or the directories alone: with `SSL_CERT_FILE` set go still reads the directories.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

const DIRECTORIES: &[&str] = &["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// What is trusted, with these values of `SSL_CERT_FILE` and `SSL_CERT_DIR`, empty if not set.
pub(crate) fn load(file: &str, directories: &str) -> RootCertStore {
    let mut seen = BTreeSet::new();
    let mut store = RootCertStore::empty();
    for pem in files(file, directories) {
        for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
            // Directories have most of the certificates of the file again, under several names.
            if seen.insert(certificate.to_vec()) {
                // What is no authority in the eyes of the library is passed over, as go does.
                let _ = store.add(certificate);
            }
        }
    }
    store
}

/// The contents of the files that are read for it, one after the other.
pub(crate) fn files(file: &str, directories: &str) -> impl Iterator<Item = Vec<u8>> {
    let files: Vec<PathBuf> = match file {
        "" => FILES.iter().map(PathBuf::from).collect(),
        file => vec![file.into()],
    };
    let directories: Vec<PathBuf> = match directories {
        "" => DIRECTORIES.iter().map(PathBuf::from).collect(),
        list => list.split(':').map(PathBuf::from).collect(),
    };
    let first = files.into_iter().find_map(|file| fs::read(file).ok());
    let others = directories.into_iter().flat_map(|directory| in_directory(&directory));
    first.into_iter().chain(others.filter_map(|file| fs::read(file).ok()))
}

/// The files of a directory; links within it are other names of the same.
fn in_directory(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let inside = |path: &Path| {
        fs::read_link(path).is_ok_and(|target| !target.to_string_lossy().contains('/'))
    };
    entries.flatten().map(|entry| entry.path()).filter(|path| !inside(path)).collect()
}
