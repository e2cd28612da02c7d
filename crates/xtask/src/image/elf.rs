//! What a shipped binary must be, read from its ELF headers.
//!
//! Static position-independent, no interpreter, no shared library, no executable stack, no segment that is writable and
//! executable, relocations read-only and bound before `main`, symbols stripped.

use anyhow::{Context, bail};
use object::elf;
use object::read::elf::{Dyn, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection};

use super::Arch;

/// Names every property that `binary` lacks.
///
/// # Errors
/// When it is no 64-bit ELF file or lacks a property; the message lists all that are missing.
pub fn check(binary: &[u8], arch: Arch) -> anyhow::Result<()> {
    let missing = missing(binary, arch)?;
    if !missing.is_empty() {
        bail!("the binary {}", missing.join(", "));
    }
    Ok(())
}

fn missing(binary: &[u8], arch: Arch) -> anyhow::Result<Vec<&'static str>> {
    let file = ElfFile64::<Endianness>::parse(binary).context("not a 64-bit ELF file")?;
    let (header, endian) = (file.elf_header(), file.endian());
    let kinds = || file.elf_program_headers().iter().map(|segment| (segment.p_type(endian), segment.p_flags(endian).0));
    let has = |kind| kinds().any(|(found, _)| found == kind);
    let write_and_execute = elf::PF_W.0 | elf::PF_X.0;
    let table = file.elf_program_headers().iter().find_map(|segment| segment.dynamic(endian, binary).transpose());
    let table = table.transpose().context("unreadable dynamic table")?.unwrap_or_default();
    let value = |tag| table.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.d_val(endian));
    let flag = |tag, bit: u64| value(tag).is_some_and(|bits| bits & bit != 0);
    let machine = match arch {
        Arch::Amd64 => elf::EM_X86_64,
        Arch::Arm64 => elf::EM_AARCH64,
    };
    let checks = [
        (header.e_machine(endian) == machine, "is for another architecture"),
        (header.e_type(endian) == elf::ET_DYN && flag(elf::DT_FLAGS_1, elf::DF_1_PIE.0), "is not position-independent"),
        (!has(elf::PT_INTERP), "wants an interpreter"),
        (value(elf::DT_NEEDED).is_none(), "wants a shared library"),
        (
            kinds().any(|(kind, flags)| kind == elf::PT_GNU_STACK && flags & elf::PF_X.0 == 0),
            "does not refuse an executable stack",
        ),
        (
            !kinds().any(|(kind, flags)| kind == elf::PT_LOAD && flags & write_and_execute == write_and_execute),
            "has a segment that is writable and executable",
        ),
        (has(elf::PT_GNU_RELRO), "leaves its relocations writable"),
        (flag(elf::DT_FLAGS_1, elf::DF_1_NOW.0) || flag(elf::DT_FLAGS, elf::DF_BIND_NOW.0), "binds symbols lazily"),
        (!file.sections().any(|section| section.name() == Ok(".symtab")), "is not stripped"),
    ];
    Ok(checks.into_iter().filter(|(fine, _)| !fine).map(|(_, lack)| lack).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_test_program_is_refused_with_all_its_reasons() {
        let dynamic = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let other = if cfg!(target_arch = "x86_64") { Arch::Arm64 } else { Arch::Amd64 };
        let error = check(&dynamic, other).unwrap_err().to_string();
        for reason in ["another architecture", "wants an interpreter", "wants a shared library", "is not stripped"] {
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(check(b"#!/bin/sh\n", Arch::Amd64).unwrap_err().to_string().contains("not a 64-bit ELF file"));
    }
}
