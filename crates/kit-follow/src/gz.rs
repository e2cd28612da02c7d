//! Compressed generations: read as a stream, known by their decompressed content.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::identity::{MARKER_BYTES, Print, Trace, read_at};

/// A gzip file that is being decompressed, all members one after the other.
pub(crate) struct Gz {
    decoder: MultiGzDecoder<BufReader<Placed>>,
}

/// A file with a position of its own: descriptors that were cloned share one.
struct Placed {
    file: File,
    offset: u64,
}

impl Read for Placed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl std::fmt::Debug for Gz {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Gz")
    }
}

/// Whether the file begins as gzip does; the name alone proves nothing.
pub(crate) fn is_gzip(file: &File) -> io::Result<bool> {
    let mut magic = [0; 2];
    Ok(read_at(file, &mut magic, 0)? == 2 && magic == [0x1F, 0x8B])
}

impl Gz {
    /// Starts at the beginning of the content.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let file = Placed { file: file.try_clone()?, offset: 0 };
        Ok(Self { decoder: MultiGzDecoder::new(BufReader::with_capacity(16 * 1024, file)) })
    }

    /// Passes over content that was handed over before. False when there is less than that.
    pub(crate) fn skip(&mut self, bytes: u64) -> io::Result<bool> {
        Ok(io::copy(&mut self.by_ref().take(bytes), &mut io::sink())? == bytes)
    }
}

impl Read for Gz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer)
    }
}

/// Whether the content is what a trace has seen. Decompresses up to the trace's offset, and only where the head agrees.
pub(crate) fn fits(file: &File, trace: &Trace) -> io::Result<bool> {
    if trace.head.bytes == 0 {
        return Ok(false);
    }
    let mut content = Gz::open(file)?;
    let mut head = vec![0; trace.head.bytes as usize];
    if content.read_exact(&mut head).is_err() || Print::of(&head) != trace.head {
        return Ok(false);
    }
    if trace.offset == 0 {
        return Ok(true);
    }
    let mut content = Gz::open(file)?;
    let marker = u64::from(trace.marker.bytes);
    let mut found = [0; MARKER_BYTES];
    let found = &mut found[..trace.marker.bytes as usize];
    Ok(content.skip(trace.offset - marker).unwrap_or(false)
        && content.read_exact(found).is_ok()
        && Print::of(found) == trace.marker)
}

/// Whether the content begins with what a print has seen, and ends before `offset`.
pub(crate) fn begins_with(file: &File, start: Print, offset: u64) -> io::Result<bool> {
    let mut found = vec![0; start.bytes as usize];
    let begins = Gz::open(file)?.read_exact(&mut found).is_ok() && Print::of(&found) == start;
    Ok(begins && !is_longer(file, offset)?)
}

/// Whether there is content after `offset`.
pub(crate) fn is_longer(file: &File, offset: u64) -> io::Result<bool> {
    let mut content = Gz::open(file)?;
    Ok(content.skip(offset).unwrap_or(false) && content.read(&mut [0; 1]).is_ok_and(|read| read > 0))
}

/// Whether the whole content is what `plain` begins with, judged by the bytes before the content's end. Decompresses
/// everything, so the head has to agree first. Content that is cut off or damaged is compared as far as it goes.
pub(crate) fn begins(file: &File, plain: &File, head: usize) -> io::Result<bool> {
    let mut first = vec![0; head];
    let mut content = Gz::open(file)?;
    let mut filled = 0;
    while filled < head {
        match content.read(&mut first[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    let mut expected = vec![0; filled];
    if filled == 0 || read_at(plain, &mut expected, 0)? < filled || expected != first[..filled] {
        return Ok(false);
    }
    let (mut length, mut tail, mut buffer) = (filled as u64, first[..filled].to_vec(), vec![0; 16 * 1024]);
    while let Ok(read @ 1..) = content.read(&mut buffer) {
        length += read as u64;
        tail.extend_from_slice(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(MARKER_BYTES));
    }
    tail.drain(..tail.len().saturating_sub(MARKER_BYTES));
    Ok(crate::identity::print_before(plain, length, tail.len())? == Print::of(&tail))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use crate::identity::Facts;

    use super::*;

    #[test]
    fn a_second_look_at_a_file_does_not_move_the_first() {
        // More than what is read ahead.
        let content: Vec<u8> =
            (0..200_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let file = compressed(&[&content]);
        let mut first = Gz::open(&file).unwrap();
        let mut found = vec![0; 1000];
        first.read_exact(&mut found).unwrap();
        assert!(Gz::open(&file).unwrap().skip(500_000).unwrap());
        first.read_to_end(&mut found).unwrap();
        assert!(found == content);
    }

    fn compressed(parts: &[&[u8]]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        for part in parts {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(part).unwrap();
            file.write_all(&encoder.finish().unwrap()).unwrap();
        }
        file
    }

    #[test]
    fn all_members_are_one_content() {
        let file = compressed(&[b"one\n", b"two\n"]);
        let mut content = String::new();
        Gz::open(&file).unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "one\ntwo\n");
    }

    #[test]
    fn a_compressed_copy_is_known_by_its_content() {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(b"one\ntwo\nthree\n").unwrap();
        let trace = Trace::take(&plain, Default::default(), 8, 1024).unwrap();
        assert!(fits(&compressed(&[b"one\ntwo\nthree\n"]), &trace).unwrap());
        assert!(!fits(&compressed(&[b"one\nTWO\nthree\n"]), &trace).unwrap());
        assert!(!fits(&compressed(&[b"one\n"]), &trace).unwrap());
    }

    #[test]
    fn what_is_cut_off_or_damaged_fits_nothing_and_is_no_error() {
        let mut plain = tempfile::tempfile().unwrap();
        let text: Vec<u8> =
            (0..20_000).flat_map(|line| format!("{line} {}\n", line * 7919 % 10_007).into_bytes()).collect();
        plain.write_all(&text).unwrap();
        let trace = Trace::take(&plain, Default::default(), text.len() as u64, 1024).unwrap();
        for damage in [false, true] {
            let file = compressed(&[&text]);
            assert!(fits(&file, &trace).unwrap());
            let middle = Facts::of(&file).unwrap().size / 2;
            if damage {
                std::os::unix::fs::FileExt::write_all_at(&file, &[0; 64], middle).unwrap();
            } else {
                file.set_len(middle).unwrap();
            }
            assert!(!fits(&file, &trace).unwrap());
            assert!(!is_longer(&file, text.len() as u64).unwrap());
            assert!(begins_with(&file, Print::of(&text[..64]), text.len() as u64).unwrap());
            assert!(!begins_with(&file, Print::of(b"other"), text.len() as u64).unwrap());
        }
    }

    #[test]
    fn a_name_alone_does_not_make_gzip() {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(b"not compressed").unwrap();
        assert!(!is_gzip(&plain).unwrap());
        assert!(is_gzip(&compressed(&[b"x"])).unwrap());
    }
}
