//! What is behind an overlay, as the host has it.
//!
//! Each container has an overlay of its own, which shows the files of its image under a device of its
//! own, and must not be kept busy. The layers of the image are in directories of the host, and stay:
//! probes there are hit by whoever executes the file, in whatever container of the image.
//!
//! What a container has written itself, in the layer on top, is left where it is: before Linux 6.5 who
//! watches a file there is not told when it is written to through the overlay, and its probes would stand
//! in contents that nobody has proven.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use crate::capture::executables::Identity;
use crate::capture::mounts::{self, Mount};
use crate::capture::regular;

/// Whether an overlay shows this file.
pub(super) fn shows(file: &File) -> bool {
    fstatfs(file).is_ok_and(|it| it.filesystem_type() == OVERLAYFS_SUPER_MAGIC)
}

/// The file behind one that an overlay shows to a process at `path`: in a layer of the image, which is
/// below one of `roots`. `mountinfo` is what that process sees.
pub(super) fn behind(
    identity: &Identity,
    path: &Path,
    mountinfo: impl Read,
    roots: &[&Path],
) -> Option<File> {
    let (layers, inside) = layers(mountinfo, path)?;
    layers.iter().find_map(|layer| {
        roots.iter().find_map(|root| {
            let file = regular::open_below(&root.join(layer.strip_prefix("/").ok()?), &inside)?;
            Identity::of(&file).ok()?.is_shown_as(identity).then_some(file)
        })
    })
}

/// The layers of the overlay that this path is in, but for the one that is written to, the topmost
/// first; and the path in them.
fn layers(mountinfo: impl Read, path: &Path) -> Option<(Vec<PathBuf>, PathBuf)> {
    let line = mounts::around(mountinfo, path)?;
    let mount = Mount::parse(&line)?;
    if mount.kind != "overlay" {
        return None;
    }
    let inside = mount.root().join(path.strip_prefix(mount.point()).ok()?);
    let (mut upper, mut lower) = (None, Vec::new());
    for (name, value) in mount.settings() {
        match name {
            "upperdir" => upper = Some(PathBuf::from(value)),
            "lowerdir" => lower.extend(split(value.as_bytes())),
            // One each (Linux 6.8).
            "lowerdir+" => lower.push(PathBuf::from(value)),
            _ => {}
        }
    }
    // Where there are many, engines name them from the directory that all are in: `ID/fs` of
    // containerd, `l/ID` of docker, beside the upper one, which is `ID/fs` or `ID/diff` there.
    let beside = upper.as_deref().and_then(|upper| upper.parent()?.parent());
    let layers = lower.into_iter().filter_map(|layer| match beside {
        _ if layer.is_absolute() => Some(layer),
        Some(beside) if beside.is_absolute() => Some(beside.join(layer)),
        _ => None,
    });
    Some((layers.collect(), inside))
}

/// The directories of a `lowerdir`: between colons, of which a backslash makes letters.
fn split(value: &[u8]) -> Vec<PathBuf> {
    let (mut all, mut bytes) = (vec![Vec::new()], value.iter());
    while let Some(&byte) = bytes.next() {
        let last = all.last_mut().expect("it begins with one");
        match byte {
            b'\\' => last.extend(bytes.next()),
            b':' => all.push(Vec::new()),
            _ => last.push(byte),
        }
    }
    let paths = all.into_iter().filter(|path| !path.is_empty());
    paths.map(|path| OsString::from_vec(path).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mountinfo: &str, path: &str) -> Option<(Vec<String>, String)> {
        let (layers, inside) = layers(mountinfo.as_bytes(), Path::new(path))?;
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        Some((layers.iter().map(|layer| text(layer)).collect(), text(&inside)))
    }

    /// As engines make them.
    #[test]
    fn layers_are_found() {
        let docker = "646 591 0:57 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/docker/\
                      overlay2/l/AB:/var/lib/docker/overlay2/l/CD,upperdir=/var/lib/docker/overlay2\
                      /ef01/diff,workdir=/var/lib/docker/overlay2/ef01/work,xino=off\n\
                      647 646 0:60 / /proc rw - proc proc rw";
        let layers = ["l/AB", "l/CD"].map(|it| format!("/var/lib/docker/overlay2/{it}"));
        let go = "/usr/local/go/bin/go";
        assert_eq!(found(docker, go), Some((layers.to_vec(), go.to_owned())));
        assert_eq!(found(docker, "/proc/self/exe"), None);
        // So many that they are named from where they are.
        let containerd = "1 0 0:57 / / rw - overlay overlay rw,lowerdir=58/fs:57/fs,upperdir=/run/c/\
                          snapshots/63/fs,workdir=/run/c/snapshots/63/work";
        let layers = ["58/fs", "57/fs"].map(|it| format!("/run/c/snapshots/{it}"));
        assert_eq!(found(containerd, go), Some((layers.to_vec(), go.to_owned())));
        // Read only, of which a directory is shown in another place.
        let bound =
            r"9 0 0:57 /usr /opt/a\040b rw - overlay o ro,lowerdir=/x\134:y:/z,lowerdir+=/w";
        let layers = ["/x:y", "/z", "/w"].map(str::to_owned);
        let inside = "/usr/bin/go".to_owned();
        assert_eq!(found(bound, "/opt/a b/bin/go"), Some((layers.to_vec(), inside)));
        assert_eq!(found(bound, "/opt/a"), None);
        for garbage in ["", "garbage", "1 0 0:57 / / rw - overlay", "1 0 0:57 / / rw - ext4 a rw"] {
            assert_eq!(found(garbage, go).filter(|(layers, _)| !layers.is_empty()), None);
        }
    }

    #[test]
    fn the_later_mount_at_a_place_is_seen() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:57 / / rw - overlay o rw,lowerdir=/a";
        assert_eq!(found(mounts, "/go"), Some((vec!["/a".to_owned()], "/go".to_owned())));
    }
}
