//! `uprobe_multi`: one link for all probes of one executable (Linux 6.6 and later).
//!
//! aya 0.14 has perf links alone, each of which waits for RCU when it is closed: 110 ms a probe on
//! new kernels, so that every run would end seconds late. Delete this module when aya ≥ 0.15 can be
//! used (it asks for Rust 1.98), and attach through `aya::programs::UProbe`.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use aya::maps::Map;
use aya_obj::Function;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd, bpf_prog_type};

use super::bpf::{bpf, fd_number, map_fd};

/// Bytes of the verifier's log that are shown when it refuses.
const LOG_BYTES: usize = 1 << 20;

/// A probe program that takes many addresses at once.
pub(crate) struct Program(OwnedFd);

/// The probes of one executable; closing it takes them out.
pub(crate) struct Link(#[expect(dead_code, reason = "held for its Drop")] OwnedFd);

impl Program {
    /// Loads the uprobe program `name` of `object` once more, for attaching to many addresses,
    /// using the maps that aya has made for it.
    pub(crate) fn load(object: &[u8], name: &str, maps: &[(&str, &Map)]) -> anyhow::Result<Self> {
        let mut object = aya_obj::Object::parse(object)?;
        let features = aya::features().btf().context("this kernel takes no BTF of programs")?;
        let types = object.fixup_and_sanitize_btf(features)?.context("the object has no BTF")?;
        let types = load_types(&types.to_bytes())?;
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let known: Vec<_> = object
            .maps
            .iter()
            .map(|(name, map)| {
                let (_, made) = maps
                    .iter()
                    .find(|(made, _)| made == name)
                    .with_context(|| format!("map {name} was not made"))?;
                Ok((name.clone(), map_fd(made)?.as_raw_fd(), map.clone()))
            })
            .collect::<anyhow::Result<_>>()?;
        object
            .relocate_maps(known.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &text)?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(aya::features());
        let program = object.programs.get(name).with_context(|| format!("no program {name}"))?;
        let function = &object.functions[&program.function_key()];
        let program = Self(load(function, &program.license, &types)?);
        program.try_attach()?;
        Ok(program)
    }

    /// Whether the kernel knows this way to attach. One that does not may load the program all the
    /// same (Linux 5.17 to 6.5 look at the attach type of no such program); one that does says of a
    /// directory that it is no file.
    fn try_attach(&self) -> anyhow::Result<()> {
        let refused = self.attach(Path::new("/"), &[(0, 0)]).err();
        let errno = refused.and_then(|refused| refused.raw_os_error());
        anyhow::ensure!(errno == Some(libc::EBADF), "this kernel does not know `uprobe_multi`");
        Ok(())
    }

    /// Puts probes at `sites` (offset in the file, cookie) of the executable at `path`.
    pub(crate) fn attach(&self, path: &Path, sites: &[(u64, u64)]) -> io::Result<Link> {
        use std::os::unix::ffi::OsStrExt as _;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = sites.iter().copied().unzip();
        // SAFETY: an all-zero attribute is valid; unused parts must be zero.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: these are the parts of the union that BPF_LINK_CREATE reads.
        unsafe {
            attr.link_create.__bindgen_anon_1.prog_fd = fd_number(&self.0);
            attr.link_create.attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
            let multi = &mut attr.link_create.__bindgen_anon_3.uprobe_multi;
            multi.path = path.as_ptr() as u64;
            multi.offsets = offsets.as_ptr() as u64;
            multi.cookies = cookies.as_ptr() as u64;
            multi.cnt = u32::try_from(sites.len()).map_err(io::Error::other)?;
        }
        bpf(bpf_cmd::BPF_LINK_CREATE, &attr).map(Link)
    }
}

/// Loads the types of the object: without them the kernel takes no callbacks of `bpf_loop`.
fn load_types(types: &[u8]) -> anyhow::Result<OwnedFd> {
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: these are the parts of the union that BPF_BTF_LOAD reads.
    let part = unsafe { &mut attr.__bindgen_anon_7 };
    part.btf = types.as_ptr() as u64;
    part.btf_size = u32::try_from(types.len())?;
    bpf(bpf_cmd::BPF_BTF_LOAD, &attr).context("the kernel refused the types of the programs")
}

fn load(function: &Function, license: &CString, types: &OwnedFd) -> anyhow::Result<OwnedFd> {
    let mut log = Vec::new();
    // Without a log first: writing one makes verification several times slower.
    loop {
        // SAFETY: an all-zero attribute is valid; unused parts must be zero.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        // SAFETY: these are the parts of the union that BPF_PROG_LOAD reads.
        let part = unsafe { &mut attr.__bindgen_anon_3 };
        part.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32;
        part.expected_attach_type = bpf_attach_type::BPF_TRACE_UPROBE_MULTI as u32;
        part.insns = function.instructions.as_ptr() as u64;
        part.insn_cnt = u32::try_from(function.instructions.len())?;
        part.prog_btf_fd = fd_number(types);
        let functions = function.func_info.func_info_bytes();
        part.func_info = functions.as_ptr() as u64;
        part.func_info_cnt = u32::try_from(function.func_info.len())?;
        part.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
        part.license = license.as_ptr() as u64;
        if !log.is_empty() {
            part.log_level = 1;
            part.log_buf = log.as_mut_ptr() as u64;
            part.log_size = u32::try_from(log.len())?;
        }
        match bpf(bpf_cmd::BPF_PROG_LOAD, &attr) {
            Ok(program) => return Ok(program),
            Err(_) if log.is_empty() => log.resize(LOG_BYTES, 0u8),
            Err(error) => {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                let text = String::from_utf8_lossy(&log[..end]);
                let last: Vec<&str> = text.lines().rev().take(12).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                return Err(error).context(last.join("\n")).context("the kernel refused a program");
            }
        }
    }
}
