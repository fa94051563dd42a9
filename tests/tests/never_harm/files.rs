//! What is executed is executed as it would be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use proxytrace_tests::cases;
use proxytrace_tests::toolchain::Toolchain;

use super::{can_trace, traced};

/// A program that goes over all the code that another has, adding one to a register for each
/// instruction, and fails if there were fewer: if any place in it is not as it is in the file.
fn in_place_of(program: &[u8]) -> Vec<u8> {
    let word = |at: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&program[at..at + size]);
        usize::try_from(u64::from_le_bytes(word)).expect("an offset")
    };
    // elf(5): e_phoff, e_phentsize, e_phnum; p_type, p_flags, p_offset, p_vaddr, p_filesz.
    let headers = (0..word(56, 2)).map(|number| word(32, 8) + number * word(54, 2));
    let mut code = headers.filter(|&at| word(at, 4) == 1 && word(at + 4, 4) & 1 != 0);
    let header = code.next().expect("a segment of code");
    let (offset, address, size) = (word(header + 8, 8), word(header + 16, 8), word(header + 32, 8));
    // The headers of the file are in front of it.
    let skipped = 0x1000;
    let (step, room) = (STEP.len(), size - skipped - ending(0).len());
    let count = room / step;
    let mut ours = STEP.repeat(count);
    ours.extend(ending(u32::try_from(count).expect("some millions")));
    let mut program = program.to_vec();
    program[offset + skipped..][..ours.len()].copy_from_slice(&ours);
    program[24..32].copy_from_slice(&((address + skipped) as u64).to_le_bytes()); // e_entry
    // It is no go command: it gets no probes of its own.
    let magic = b"\xff Go buildinf:";
    let place = program.windows(magic.len()).position(|bytes| bytes == magic);
    program[place.expect("the build info")] = 0;
    program
}

#[cfg(target_arch = "x86_64")]
const STEP: &[u8] = &[0x48, 0xff, 0xc0]; // inc rax

/// sub eax, count; setne al; movzx edi, al; mov eax, `SYS_exit`; syscall
#[cfg(target_arch = "x86_64")]
fn ending(count: u32) -> Vec<u8> {
    let rest = [0x0f, 0x95, 0xc0, 0x0f, 0xb6, 0xf8, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    [&[0x2d][..], &count.to_le_bytes(), &rest].concat()
}

#[cfg(target_arch = "aarch64")]
const STEP: &[u8] = &0x9100_0421_u32.to_le_bytes(); // add x1, x1, #1

/// movz w2, low; movk w2, high; cmp w1, w2; cset w0, ne; mov w8, `SYS_exit`; svc 0
#[cfg(target_arch = "aarch64")]
fn ending(count: u32) -> Vec<u8> {
    let (low, high) = (0x5280_0002 | (count & 0xffff) << 5, 0x72a0_0002 | (count >> 16) << 5);
    let words = [low, high, 0x6b02_003f, 0x1a9f_07e0, 0x5280_0ba8, 0xd400_0001];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// `cp` writes into the file that is there, in which the probes are.
#[test]
fn a_go_that_is_written_over_is_what_it_has_become() {
    if !can_trace() || !cases::can_start() {
        return;
    }
    let toolchain = Toolchain::newest().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (go, other) = (toolchain.goroot.join("bin/go"), directory.path().join("other"));
    fs::write(&other, in_place_of(&fs::read(&go).unwrap())).unwrap();
    for script in [
        // Met as it is executed.
        r#"cp "$0" ./go && ./go version >version && cp other go && ./go && cp "$0" go && ./go version"#,
        // Known before.
        "go version >version && cp other go && ./go",
    ] {
        let _ = fs::remove_file(directory.path().join("go"));
        fs::copy(&go, directory.path().join("go")).unwrap();
        let mut command = traced("sh");
        command.args(["-c", script]).arg(&go).current_dir(&directory);
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        command.env("PATH", path).env("GOTOOLCHAIN", "local").env("GOROOT", &toolchain.goroot);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        let version = fs::read_to_string(directory.path().join("version")).unwrap();
        assert!(version.contains(&toolchain.version), "{version}");
    }
}

fn script(directory: &Path, text: &str) -> std::path::PathBuf {
    let path = directory.join("script");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// As shells and `env` do it.
#[test]
fn a_script_that_does_not_say_for_whom_is_the_shells() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "test \"$1 $2\" = 'a b c' && exit 3\n");
    let run = |mut command: Command| command.args(["a", "b c"]).status().unwrap().code();
    let mut alone = Command::new("env");
    alone.arg(&script);
    assert_eq!(run(alone), Some(3));
    assert_eq!(run(traced(script.to_str().unwrap())), Some(3));
}

/// The kernel alone knows that it cannot be executed.
#[test]
fn what_cannot_be_executed_leaves_the_files_of_the_run_before() {
    if !can_trace() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "#!/nonexistent/interpreter\n");
    let outputs = ["json", "ndjson", "record"].map(|name| (name, directory.path().join(name)));
    let mut command = Command::new(cases::proxytrace());
    for (name, path) in &outputs {
        fs::write(path, "of yesterday").unwrap();
        command.arg(format!("--{name}")).arg(path);
    }
    let output = command.arg("--").arg(&script).output().unwrap();
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    for (name, path) in &outputs {
        assert_eq!(fs::read_to_string(path).unwrap(), "of yesterday", "{name}");
    }
}

/// Each process that is held at the gate takes a descriptor, and where there is none left, the kernel
/// denies the exec.
#[test]
fn execs_are_not_denied_where_files_are_few() {
    if !can_trace() {
        return;
    }
    // So many has it open.
    let output = traced("sh").args(["-c", "ls /proc/$PPID/fd"]).output().unwrap();
    let open = String::from_utf8(output.stdout).unwrap();
    // All of them wait there before we look.
    let crowd = r"
        kill -STOP $PPID
        i=0; while [ $i -lt 50 ]; do (/bin/true || echo denied) & i=$((i+1)); done
        i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done
        kill -CONT $PPID
        wait
        ulimit -n
    ";
    let limit = open.lines().count() + 3;
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limit}:")).arg(cases::proxytrace());
    let output = command.args(["--quiet", "--", "sh", "-c", crowd]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{limit}\n"), "{output:?}");
}
