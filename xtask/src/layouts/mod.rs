//! `cargo xtask layouts`: where Go's structures and calls have what proxytrace reads, in each
//! version, from the compiler's own description.

mod dwarf;
mod table;
mod wanted;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::process::status;
use xtask::{go, workspace};

use dwarf::Dwarf;
use table::{Column, Release, Table};
use wanted::{FUNCTIONS, SELF, TYPES};

/// The table.
const FILE: &str = "proxytrace/src/gobinary/offsets.rs";

/// Measures releases, those of the table if none is named, and writes the table or compares it. Only
/// a check of named releases leaves arm64 out.
pub(crate) fn layouts(check: bool, releases: &[String]) -> Result<()> {
    let path = workspace().join(FILE);
    let written = fs::read_to_string(&path).with_context(|| format!("cannot read {FILE}"))?;
    let mut table = Table::parse(&written).with_context(|| format!("cannot read {FILE}"))?;
    let all = releases.is_empty();
    let releases: Vec<Release> = if all {
        table.0.values().map(|(release, _)| release.clone()).collect()
    } else {
        releases.iter().cloned().map(Release).collect()
    };
    for release in releases {
        let column = measure(&release, "amd64").with_context(|| format!("go {}", release.0))?;
        if !check || all {
            // What is read is where it is on both machines, and the table one. To check that in every
            // run of the tests would be to wait for another build.
            let other = measure(&release, "arm64").with_context(|| format!("go {}", release.0))?;
            let differs = column.iter().find(|(name, place)| other.get(*name) != Some(place));
            ensure!(differs.is_none(), "go {} for arm64 has not this: {differs:?}", release.0);
        }
        table.0.insert(release.minor()?, (release, column));
    }
    let rendered = table.render(&names())?;
    if !check {
        return fs::write(&path, rendered).with_context(|| format!("cannot write {FILE}"));
    }
    if rendered != written {
        let stale = rendered.lines().find(|line| !written.lines().any(|other| other == *line));
        let line = stale.unwrap_or("rows are gone").trim();
        bail!("{FILE} is stale, run `cargo xtask layouts`: {line}");
    }
    status("Checked", FILE);
    Ok(())
}

/// The rows of the table, in order.
fn names() -> Vec<String> {
    let fields = |&(name, fields): &(&'static str, &'static [&'static str])| {
        fields.iter().map(move |field| field_name(name, field))
    };
    let parameters = |&(name, wanted): &(&'static str, &'static [&'static str])| {
        wanted.iter().map(move |wanted| parameter_name(name, wanted))
    };
    TYPES.iter().flat_map(fields).chain(FUNCTIONS.iter().flat_map(parameters)).collect()
}

fn field_name(structure: &str, field: &str) -> String {
    if field == SELF { structure.to_owned() } else { format!("{structure}.{field}") }
}

fn parameter_name(function: &str, wanted: &str) -> String {
    if wanted.starts_with("->") {
        format!("{function}{wanted}")
    } else {
        format!("{function}({wanted})")
    }
}

fn measure(release: &Release, arch: &str) -> Result<Column> {
    let file = fs::read(go_with_dwarf(release, arch)?)?;
    let dwarf = Dwarf::parse(&file)?;
    let mut column = Column::new();
    for (structure, fields) in TYPES {
        for field in *fields {
            let name = field_name(structure, field);
            let found = if *field == SELF {
                dwarf.shape_of(structure).map(|shape| shape.map(|shape| (0, shape)))
            } else {
                dwarf.field(structure, field)
            };
            if let Some(found) = found.with_context(|| name.clone())? {
                column.insert(name, found);
            }
        }
    }
    for (function, parameters) in FUNCTIONS {
        for parameter in *parameters {
            let name = parameter_name(function, parameter);
            if let Some(found) =
                dwarf.parameter(function, parameter).with_context(|| name.clone())?
            {
                column.insert(name, found);
            }
        }
    }
    Ok(column)
}

/// The go command for a machine with DWARF, built by a release from its own sources, and kept in the
/// cache.
fn go_with_dwarf(release: &Release, arch: &str) -> Result<PathBuf> {
    let goroot = go::install(&release.0)?;
    let cache = go::root_dir()?.with_file_name("dwarf");
    let name = if arch == "amd64" { release.0.clone() } else { format!("{}-{arch}", release.0) };
    let path = cache.join(name);
    if !path.is_file() {
        status("Building", format_args!("cmd/go of go {} for {arch} with DWARF", release.0));
        fs::create_dir_all(&cache)?;
        let partial = tempfile::tempdir_in(&cache)?;
        let flags = ["-ldflags=-compressdwarf=false"];
        go::build_command(&goroot, arch, &flags, &partial.path().join("go"))?;
        fs::rename(partial.path().join("go"), &path)?;
    }
    Ok(path)
}
