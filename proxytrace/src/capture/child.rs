//! The traced command: started so that it cannot tell, ended as it would have.
//!
//! It is forked before anything else is set up, while this process has a single thread, and waits
//! until its probes are in place. If this process dies before that, it goes on all the same.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, execve, fork, pipe2};

use super::caller::Invoker;

/// Whether SIGPIPE was ignored when this process began. Rust's runtime ignores it before `main`,
/// and the command must have it as it would have been.
static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn remember() {
        // SAFETY: `action` is written by the call, which changes nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut action);
            SIGPIPE_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
        }
    }
    remember
};

/// Who reads a script that says nothing of that.
const SHELL: &CStr = c"/bin/sh";

/// The command, waiting or running.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    ready: File,
    go: File,
    failure: File,
}

impl Child {
    /// Forks the command, which then waits for [`Child::start`].
    pub(super) fn fork(
        program: &Path,
        argv: &[OsString],
        invoker: &Invoker,
        signals: &SigSet,
    ) -> anyhow::Result<Self> {
        let program = CString::new(program.as_os_str().as_bytes())?;
        let argv =
            argv.iter().map(|a| CString::new(a.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let environment = invoker
            .environment
            .iter()
            .map(|(name, value)| {
                CString::new(
                    [name.as_bytes(), OsStr::new("=").as_bytes(), value.as_bytes()].concat(),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;

        let flags = nix::fcntl::OFlag::O_CLOEXEC;
        let (ready_read, ready_write) = pipe2(flags)?;
        let (go_read, go_write) = pipe2(flags)?;
        let (failure_read, failure_write) = pipe2(flags)?;
        // SAFETY: this process has one thread here, so the child may do what it likes.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                drop((ready_write, go_read, failure_write));
                // Where we were started with SIGCHLD ignored, the kernel would reap the command and
                // keep its exit code from us. The command, already forked, has it as it was.
                // SAFETY: the default disposition, no handler.
                unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
                Ok(Self {
                    pid: child,
                    ready: ready_read.into(),
                    go: go_write.into(),
                    failure: failure_read.into(),
                })
            }
            ForkResult::Child => {
                drop((ready_read, go_write, failure_read));
                let own_mounts = unshare(CloneFlags::CLONE_NEWNS).is_ok();
                let _ = File::from(ready_write).write_all(&[u8::from(own_mounts)]);
                // One byte, or the end of a tracer that died: in both cases, go.
                let _ = File::from(go_read).read(&mut [0]);
                let error = become_command(&program, &argv, &environment, invoker, signals);
                let _ = File::from(failure_write).write_all(&error.to_ne_bytes());
                // SAFETY: nothing of this process's may run any more, destructors included.
                unsafe { libc::_exit(127) }
            }
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has got a mount namespace of its own, so that its execs can be watched apart. To
    /// be asked once, and as late as can be: to make one takes a while.
    pub(super) fn has_own_mounts(&self) -> bool {
        let mut answer = [0];
        (&self.ready).read_exact(&mut answer).is_ok() && answer[0] == 1
    }

    /// Lets the command run. An error is that of `execve`.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.go.write_all(&[1])
    }

    /// Why the command could not be executed, once it has been started; none if it was.
    /// To be called when `execve` has happened: the pipe is closed by it.
    pub(super) fn failure(&mut self) -> Option<io::Error> {
        let mut number = [0; 4];
        self.failure.read_exact(&mut number).ok()?;
        Some(io::Error::from_raw_os_error(i32::from_ne_bytes(number)))
    }

    /// Ends a command that was never started.
    pub(super) fn abandon(self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }

    /// What has become of it since the last time; none if nothing.
    pub(super) fn poll(&self) -> io::Result<Option<Change>> {
        wait(self.pid, libc::WNOHANG | libc::WUNTRACED)
    }

    /// How it ends.
    pub(super) fn end(&self) -> io::Result<Option<Change>> {
        wait(self.pid, 0)
    }

    /// Sends it a signal that was sent to us alone.
    pub(super) fn forward(&self, signal: i32) {
        // SAFETY: a system call on our own child, which has not been waited for.
        unsafe { libc::kill(self.pid.as_raw(), signal) };
    }
}

/// What has become of the command. Signals are numbers: those for real time have no names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It has ended, with this exit code.
    Exited(i32),
    /// It was ended by this signal.
    Killed(i32),
    /// It was stopped by this signal.
    Stopped(i32),
}

/// waitpid(2). That of nix fails, after it has reaped, where it has no name for the signal.
fn wait(pid: Pid, flags: i32) -> io::Result<Option<Change>> {
    let mut status = 0;
    // SAFETY: `status` is written by the call.
    match unsafe { libc::waitpid(pid.as_raw(), &raw mut status, flags) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(if libc::WIFEXITED(status) {
            Change::Exited(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Change::Killed(libc::WTERMSIG(status))
        } else {
            Change::Stopped(libc::WSTOPSIG(status))
        })),
    }
}

/// In the child: becomes the command. Returns the errno if that fails.
fn become_command(
    program: &CString,
    argv: &[CString],
    environment: &[CString],
    invoker: &Invoker,
    signals: &SigSet,
) -> i32 {
    let prepare = || -> nix::Result<()> {
        if let Some(mask) = invoker.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        if let Some(user) = &invoker.credentials {
            user.assume()?;
        }
        if !SIGPIPE_IGNORED.load(Ordering::Relaxed) {
            // SAFETY: the default disposition, no handler.
            unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(signals), None)
    };
    if let Err(error) = prepare() {
        return error as i32;
    }
    let Err(error) = execve(program, argv, environment);
    if error != Errno::ENOEXEC {
        return error as i32;
    }
    // A script that does not say by whom it is read: the shell's, as for execvp.
    let script = [SHELL, program];
    let argv: Vec<&CStr> =
        script.into_iter().chain(argv.iter().skip(1).map(CString::as_c_str)).collect();
    let Err(error) = execve(SHELL, &argv, environment);
    error as i32
}
