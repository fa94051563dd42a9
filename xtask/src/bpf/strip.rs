//! Taking out of the object what nobody loads.
//!
//! The linker leaves DWARF beside the BTF that it makes of it: four fifths of the file, with tens of
//! thousands of relocations, all of which the loader would parse at each start. An own reader and
//! writer of ELF, since a machine that can compile for BPF need not have LLVM's tools.

use anyhow::{Context as _, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The object without DWARF, and without the relocations of that. What the kernel wants to know of
/// types, functions and lines is in `.BTF` and `.BTF.ext`, which stay.
pub fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the eBPF object is no ELF file")?;
    for section in &mut builder.sections {
        section.delete = is_debug(&section.name);
    }
    builder.delete_orphans();
    // LLVM puts the names of sections among those of symbols; this writer wants them apart.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    builder.set_section_sizes();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("the eBPF object cannot be written")?;
    Ok(stripped)
}

fn is_debug(section: &[u8]) -> bool {
    let of = section.strip_prefix(b".rel").unwrap_or(section);
    of.starts_with(b".debug_")
}

#[cfg(test)]
mod tests {
    use super::is_debug;

    #[test]
    fn types_stay_and_dwarf_goes() {
        for name in [".debug_info", ".debug_str", ".rel.debug_info", ".rel.debug_line"] {
            assert!(is_debug(name.as_bytes()), "{name}");
        }
        for name in [".BTF", ".BTF.ext", ".rel.BTF", ".rel.BTF.ext", ".text", "maps", ".reluprobe"]
        {
            assert!(!is_debug(name.as_bytes()), "{name}");
        }
    }
}
