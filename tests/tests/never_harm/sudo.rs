//! By sudo, the command is its caller's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

use proxytrace::event::Origin;
use proxytrace::model::Trace;
use proxytrace_tests::cases;
use proxytrace_tests::lab::Lab;
use proxytrace_tests::scenario::Scenario;
use proxytrace_tests::toolchain::Toolchain;

use super::can_trace;

/// An ordinary user who may call sudo, until this is dropped.
struct Person {
    name: String,
    home: PathBuf,
    sudoers: PathBuf,
}

impl Person {
    fn new() -> Self {
        let name = format!("ptlab{}", std::process::id());
        let home = PathBuf::from(format!("/home/{name}"));
        let sudoers = PathBuf::from(format!("/etc/sudoers.d/{name}"));
        let person = Self { name, home, sudoers };
        let mut useradd = Command::new("useradd");
        let status =
            useradd.args(["--create-home", "--user-group", &person.name]).status().unwrap();
        assert!(status.success(), "useradd: {status}");
        fs::write(&person.sudoers, format!("{} ALL=(root) NOPASSWD: ALL\n", person.name)).unwrap();
        person
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.sudoers);
        let _ = Command::new("userdel").args(["--remove", "--force", &self.name]).output();
    }
}

/// What the user does, whose shell has a GOPROXY and a PATH of its own. `/mnt` is the toolchain, and
/// `elevate` a sudo.
const BY_SUDO: &str = r#"
umask 027
cd ~/module
export GOPROXY=https://proxy.lab GOSUMDB=off GOFLAGS=-mod=mod GOTOOLCHAIN=local
export PATH=/mnt/bin:$PATH SSL_CERT_FILE=$HOME/ca.pem
sudo -n ~/proxytrace --json ~/trace.json --record ~/recording -- \
    sh -c 'go mod download && umask >~/umask && id >~/id && env >~/env'
sudo -n env A=b ~/proxytrace -- sh -c 'id -u && echo "$A"' >~/of-env
sudo -n GOPROXY=off ~/proxytrace -- sh -c 'id -u && echo "$GOPROXY"' >~/of-given
sudo -n timeout 600 ~/proxytrace -- sh -c 'id -u && echo "$GOPROXY"' >~/of-timeout
sudo -n sudo -n -u "$USER" sudo -n ~/proxytrace -- sh -c 'id -u && echo "no $GOPROXY"' >~/of-nested
~/elevate -n env A=b ~/proxytrace -- sh -c 'id -u && echo "$GOPROXY"' >~/of-other
sudo -n setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace \
    ~/proxytrace -- sh -c 'id -u && echo "$HOME"' >~/of-unseen
sudo -n sh -c '"$0" -- id -u; :' ~/proxytrace >~/of-shell
sudo -n sh -c 'exec "$0" -- id -u' ~/proxytrace >~/of-exec
sudo -n timeout 600 sh -c "$HOME/proxytrace -- id -u" >~/of-shell-in-time
sudo -n env A=b sh -c "$HOME/proxytrace -- id -u" >~/of-shell-in-env
printf '#!/bin/sh\nexec "$@"\n' >~/script
chmod 755 ~/script
sudo -n ~/script ~/proxytrace -- id -u >~/of-script
sudo -n env A=b ~/script ~/proxytrace -- id -u >~/of-script-in-env
PATH=$HOME/roots:$PATH sudo -n ~/proxytrace -- id -u >~/of-path
"#;

/// What the user does in a shell that is in a group besides, which no database has.
const IN_GROUP: &str = r"sudo -n ~/proxytrace --json ~/shared/trace.json -- id -G >~/groups; :";

#[test]
fn sudo_changes_nothing_for_the_command() {
    let there = |program: &str| {
        let found = Command::new(program).arg("--help").output().is_ok();
        if !found {
            cases::skip(&format!("no {program}"));
        }
        found
    };
    if !can_trace() || !["sudo", "useradd", "setpriv"].into_iter().all(there) {
        return;
    }
    if !cases::can_start() {
        return;
    }
    let person = Person::new();
    let (name, home) = (&person.name, &person.home);
    let toolchain = Toolchain::newest().unwrap();
    let scenario = Scenario::find("healthy-40").expect("it is in the table");
    let lab = Lab::start(scenario, &toolchain).unwrap();
    let mut command = lab.command("sh");
    command
        .args(["-euc", SETTING_OUT, BY_SUDO])
        .args([toolchain.goroot.as_os_str(), cases::proxytrace().as_os_str()])
        .args([home.as_os_str(), name.as_ref(), IN_GROUP.as_ref()]);
    let output = lab.output(command).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);

    let read = |file: &str| fs::read_to_string(home.join(file)).unwrap();
    assert_eq!(read("umask").trim().trim_start_matches('0'), "27");
    let plain = Command::new("id").arg(name).output().unwrap();
    assert_eq!(read("id").as_bytes(), plain.stdout);
    let environment = read("env");
    let variables: Vec<&str> = environment.lines().collect();
    for expected in [format!("HOME={}", home.display()), "GOPROXY=https://proxy.lab".to_owned()] {
        assert!(variables.contains(&&*expected), "no {expected} in {variables:?}");
    }
    assert!(!variables.iter().any(|variable| variable.starts_with("SUDO_")), "{variables:?}");

    let owner = fs::metadata(home).unwrap().uid();
    assert_ne!(owner, 0);
    // What sudo is given for the command is the command's.
    assert_eq!(read("of-env"), format!("{owner}\nb\n"));
    assert_eq!(read("of-given"), format!("{owner}\noff\n"));
    // What runs us may stay.
    assert_eq!(read("of-timeout"), format!("{owner}\nhttps://proxy.lab\n"));
    // The sudo that runs us has what the ones above it let through.
    assert_eq!(read("of-nested"), format!("{owner}\nno \n"));
    // A sudo by another name has the user's environment as well.
    assert_eq!(read("of-other"), format!("{owner}\nhttps://proxy.lab\n"));
    // One that may not be looked at is no shell of root's: the user has what a login has.
    assert_eq!(read("of-unseen"), format!("{owner}\n{}\n", home.display()));
    // A shell or a script of root's, which says who called sudo, too: there it would be root's
    // without us.
    for file in [
        "of-shell",
        "of-exec",
        "of-shell-in-time",
        "of-shell-in-env",
        "of-script",
        "of-script-in-env",
    ] {
        assert_eq!(read(file).trim(), "0", "{file}");
    }
    // Nor is the command one that only root could see.
    assert_eq!(read("of-path").trim(), owner.to_string());
    assert!(read("groups").split_whitespace().any(|group| group == "4242"), "{}", read("groups"));
    for file in [
        "shared/trace.json",
        "trace.json",
        "recording",
        "umask",
        "go/pkg/mod/mod.lab/m01@v1.0.0/lab.go",
    ] {
        assert_eq!(fs::metadata(home.join(file)).unwrap().uid(), owner, "{file}");
    }
    let trace: Trace = serde_json::from_str(&read("trace.json")).unwrap();
    let go = trace.processes.iter().find(|process| process.go_version.is_some()).unwrap();
    let proxy = &go.config["GOPROXY"];
    assert_eq!((proxy.value.as_str(), proxy.origin), ("https://proxy.lab", Origin::Environment));
    let capture = &trace.capture;
    let is_late = capture.attach.iter().any(|attach| attach.late);
    assert!(capture.complete && !is_late, "{capture:?}");
    let requests = trace.chains.iter().flat_map(|c| &c.attempts).flat_map(|a| &a.requests).count();
    assert_eq!(requests, lab.log().len());
    assert_eq!(requests, 120);
}

/// As root: gives the user what they need, and becomes them, with an environment as of a login.
/// Mounts are the lab's alone.
const SETTING_OUT: &str = r#"
script=$0 goroot=$1 proxytrace=$2 home=$3 user=$4 in_group=$5
mount --bind "$goroot" /mnt
cp -r . "$home/module"
cp ../ca.pem "$home"
install -m 755 "$proxytrace" "$home/proxytrace"
chown -R "$user:$user" "$home"
install -m 4755 "$(command -v sudo)" "$home/elevate"
install -d -m 700 "$home/roots"
install -m 755 /bin/false "$home/roots/id"
install -d -g 4242 -m 2770 "$home/shared"
become="setpriv --reuid=$user --regid=$user"
login="env -i HOME=$home USER=$user LOGNAME=$user PATH=/usr/local/bin:/usr/bin:/bin sh -ec"
$become --groups="$user,4242" $login "$in_group"
exec $become --init-groups $login "$script"
"#;
