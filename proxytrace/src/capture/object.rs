//! The eBPF object, made into maps, and into programs as they are wanted.
//!
//! `aya::EbpfLoader` begins by parsing all types of the kernel, which takes longer than everything
//! else here together; our programs are not relocated by types ([`btf`](super::btf) finds the few
//! offsets they need). So this uses the parts of aya below it.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, c_char};
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use aya::Pod;
use aya::maps::{Map, MapData};
use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type};
use aya_obj::{EbpfSectionKind, Object};

use super::bpf::{bpf, fd_number, freeze, map_fd, update};

/// Bytes of the verifier's log that are shown when it refuses.
const LOG_BYTES: usize = 1 << 20;
/// Bytes of a program's name in the kernel, the NUL included (`BPF_OBJ_NAME_LEN`).
const NAME_MAX: usize = 16;

/// The maps, and the programs that can be loaded.
pub(super) struct Loaded {
    object: Object,
    maps: HashMap<String, Map>,
    types: Option<OwnedFd>,
}

/// Values for the object's constants, and sizes for its maps, by their names.
pub(super) struct Settings<'a> {
    pub(super) constants: &'a [(&'a str, &'a [u8])],
    pub(super) entries: &'a [(&'a str, u32)],
}

/// The bytes of a value that the programs read as they are.
pub(super) fn bytes<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: what is `Pod` is valid as bytes, all of which are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

impl Loaded {
    /// Reads the object; there are no maps yet.
    pub(super) fn parse(object: &[u8]) -> anyhow::Result<Self> {
        let mut object = Object::parse(object)?;
        let types = load_types(&mut object)?;
        Ok(Self { object, maps: HashMap::new(), types })
    }

    /// Makes the maps.
    pub(super) fn make(&mut self, settings: &Settings<'_>) -> anyhow::Result<()> {
        let Self { object, maps, .. } = self;
        let constants = settings.constants.iter().map(|(name, value)| (*name, (*value, true)));
        object.patch_map_data(constants.collect())?;
        for (name, map) in &object.maps {
            let entries = settings.entries.iter().find(|(of, _)| of == name);
            let map = make(name, map.clone(), entries.map(|(_, entries)| *entries));
            maps.insert(name.clone(), map.with_context(|| format!("cannot make the map {name}"))?);
        }
        let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        let made: Vec<_> = (object.maps.iter())
            .map(|(name, map)| Ok((name.clone(), map_fd(&maps[name])?.as_raw_fd(), map.clone())))
            .collect::<anyhow::Result<_>>()?;
        object
            .relocate_maps(made.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &text)?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(aya::features());
        Ok(())
    }

    /// Writes all of a map that is a section of the object.
    pub(super) fn write(&self, name: &str, data: &[u8]) -> anyhow::Result<()> {
        let map = map_fd(self.map(name)?)?;
        Ok(update(map, 0, data)?)
    }

    pub(super) fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.maps.get(name).with_context(|| format!("no map {name}"))
    }

    pub(super) fn map_mut(&mut self, name: &str) -> anyhow::Result<&mut Map> {
        self.maps.get_mut(name).with_context(|| format!("no map {name}"))
    }

    pub(super) fn take_map(&mut self, name: &str) -> anyhow::Result<Map> {
        self.maps.remove(name).with_context(|| format!("no map {name}"))
    }

    /// Loads the program of this name. `attach`: how it will be attached, where that must be said.
    pub(super) fn program(
        &self,
        name: &str,
        kind: bpf_prog_type,
        attach: u32,
    ) -> anyhow::Result<OwnedFd> {
        let program = self.object.programs.get(name);
        let program = program.with_context(|| format!("no program {name}"))?;
        let function = &self.object.functions[&program.function_key()];
        let mut log = Vec::new();
        // Without a log first: writing one makes verification several times slower.
        loop {
            // SAFETY: an all-zero attribute is valid; unused parts must be zero.
            let mut attr: bpf_attr = unsafe { mem::zeroed() };
            // SAFETY: these are the parts of the union that BPF_PROG_LOAD reads.
            let part = unsafe { &mut attr.__bindgen_anon_3 };
            part.prog_type = kind as u32;
            part.expected_attach_type = attach;
            for (to, from) in part.prog_name[..NAME_MAX - 1].iter_mut().zip(name.bytes()) {
                *to = c_char::from_ne_bytes([from]);
            }
            part.insns = function.instructions.as_ptr() as u64;
            part.insn_cnt = u32::try_from(function.instructions.len())?;
            // Without types the kernel takes no callbacks of `bpf_loop`.
            let functions = function.func_info.func_info_bytes();
            if let Some(types) = &self.types {
                part.prog_btf_fd = fd_number(types);
                part.func_info = functions.as_ptr() as u64;
                part.func_info_cnt = u32::try_from(function.func_info.len())?;
                part.func_info_rec_size = u32::try_from(function.func_info_rec_size)?;
            }
            part.license = program.license.as_ptr() as u64;
            if !log.is_empty() {
                part.log_level = 1;
                part.log_buf = log.as_mut_ptr() as u64;
                part.log_size = u32::try_from(log.len())?;
            }
            match bpf(bpf_cmd::BPF_PROG_LOAD, &attr) {
                Ok(program) => return Ok(program),
                Err(_) if log.is_empty() => log.resize(LOG_BYTES, 0u8),
                Err(error) => {
                    let refused = format!("the kernel refused the program {name}");
                    return Err(error).context(end_of(&log)).context(refused);
                }
            }
        }
    }
}

/// The last lines of the verifier's log.
fn end_of(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let last: Vec<&str> = text.lines().rev().take(12).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    last.join("\n")
}

/// Loads the types of the object, if this kernel takes them.
fn load_types(object: &mut Object) -> anyhow::Result<Option<OwnedFd>> {
    let Some(features) = aya::features().btf() else { return Ok(None) };
    let Some(types) = object.fixup_and_sanitize_btf(features)? else { return Ok(None) };
    let types = types.to_bytes();
    // SAFETY: an all-zero attribute is valid; unused parts must be zero.
    let mut attr: bpf_attr = unsafe { mem::zeroed() };
    // SAFETY: these are the parts of the union that BPF_BTF_LOAD reads.
    let part = unsafe { &mut attr.__bindgen_anon_7 };
    part.btf = types.as_ptr() as u64;
    part.btf_size = u32::try_from(types.len())?;
    // Programs that need none are loaded all the same.
    Ok(bpf(bpf_cmd::BPF_BTF_LOAD, &attr).ok())
}

/// Makes a map; of constants, with what they are, for ever.
fn make(name: &str, mut map: aya_obj::Map, entries: Option<u32>) -> anyhow::Result<Map> {
    if let Some(entries) = entries {
        map.set_max_entries(entries);
    }
    let kind = bpf_map_type::try_from(map.map_type()).ok().context("a map of an unknown kind")?;
    if kind == bpf_map_type::BPF_MAP_TYPE_RINGBUF {
        map.set_value_size(0);
    }
    let constant = map.section_kind() == EbpfSectionKind::Rodata;
    let data = map.data().to_vec();
    let name = CString::new(name)?;
    let made = MapData::create(map, name.to_str()?, None)?;
    if !data.is_empty() {
        update(made.fd().as_fd(), 0, &data)?;
    }
    if constant {
        freeze(made.fd().as_fd())?;
    }
    Ok(match kind {
        bpf_map_type::BPF_MAP_TYPE_ARRAY => Map::Array(made),
        bpf_map_type::BPF_MAP_TYPE_HASH => Map::HashMap(made),
        bpf_map_type::BPF_MAP_TYPE_LRU_HASH => Map::LruHashMap(made),
        bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY => Map::PerCpuArray(made),
        bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY => Map::ProgramArray(made),
        bpf_map_type::BPF_MAP_TYPE_RINGBUF => Map::RingBuf(made),
        _ => anyhow::bail!("a map of a kind that no program here uses"),
    })
}
