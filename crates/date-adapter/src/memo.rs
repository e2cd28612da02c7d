//! The stamp of the line before, with its seconds and fraction left open.
//!
//! Logs repeat themselves: from one line to the next only the second and the fraction of the stamp change, and neither
//! zone nor order has to be worked out again. A memo holds the last stamp as words of eight bytes. A new stamp fits when its
//! other bytes, and the byte behind it, are the same and its open bytes are digits in range: a handful of instructions
//! per word. What was rendered is then used again, with the open digits copied over.
//!
//! ```text
//! stamp     01/12/2022T16:25:21_      rendered  2022/12/01T16:25:21
//! same      xxxxxxxxxxxxxxxxx  x      put       xxxxxxxxxxxxxxxxx
//! open                       59       copied                     21
//! ```

use crate::format::read::Stamp;
use crate::format::write::{Patch, Places};
use crate::zone::Dst;

/// Bytes that are compared at once; longer stamps are not remembered.
pub(crate) const WINDOW: usize = 48;
const WORDS: usize = WINDOW / 8;
/// Bytes of a result; longer ones are not remembered.
pub(crate) const ROOM: usize = 64;

/// The last stamp and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Memo {
    /// Bytes of the stamp; 0 when nothing is remembered.
    pub(crate) length: usize,
    /// Which input format read it.
    pub(crate) format: usize,
    pub(crate) dst: Option<Dst>,
    pub(crate) year_inferred: bool,
    /// Nothing but the stamp has to be counted.
    pub(crate) plain: bool,
    /// The result, and its bytes in use.
    image: [u8; ROOM],
    written: usize,
    /// The stamp's bytes, and which of them must be the same.
    value: [u64; WORDS],
    same: [u64; WORDS],
    /// Bytes that must be digits, and what is added to find those below the lowest and above the highest.
    open: [u64; WORDS],
    low: [u64; WORDS],
    high: [u64; WORDS],
    /// For a result as long as the stamp: bytes that stay, and bytes that are put in.
    in_place: bool,
    stay: [u64; WORDS],
    put: [u64; WORDS],
    /// Second and fraction.
    patches: [Patch; 2],
    /// A patch goes to another place than it comes from.
    moved: bool,
}

impl Default for Memo {
    fn default() -> Self {
        Memo {
            length: 0,
            format: 0,
            dst: None,
            year_inferred: false,
            plain: false,
            image: [0; ROOM],
            written: 0,
            value: [0; WORDS],
            same: [0; WORDS],
            open: [0; WORDS],
            low: [0; WORDS],
            high: [0; WORDS],
            in_place: false,
            stay: [u64::MAX; WORDS],
            put: [0; WORDS],
            patches: [Patch::default(); 2],
            moved: false,
        }
    }
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

impl Memo {
    /// Whether the stamp at the beginning of `window` is the remembered one but for its open digits.
    #[inline(always)]
    pub(crate) fn fits(&self, window: &[u8; WINDOW]) -> bool {
        // Written out: most stamps are shorter than three words, and a loop of unknown length costs more than the words.
        let mut wrong = self.differs(window, 0) | self.differs(window, 1) | self.differs(window, 2);
        if self.length >= 3 * 8 {
            wrong |= self.differs(window, 3) | self.differs(window, 4) | self.differs(window, 5);
        }
        self.length != 0 && wrong == 0
    }

    #[inline(always)]
    fn differs(&self, window: &[u8; WINDOW], index: usize) -> u64 {
        let word = word(window, index);
        let digits = word & self.open[index];
        // A byte above 127 would carry into its neighbour; `digits` itself then has a high bit and fails.
        let reaches_low = digits.wrapping_add(self.low[index]);
        let beyond_high = digits.wrapping_add(self.high[index]);
        let off = (!reaches_low | beyond_high | digits) & self.open[index] & HIGH_BITS;
        (word ^ self.value[index]) & self.same[index] | off
    }

    /// Whether the result has the stamp's length, so that [`Memo::rewrite`] may be used.
    #[inline(always)]
    pub(crate) fn in_place(&self) -> bool {
        self.in_place
    }

    /// Rewrites a stamp that fits where it stands.
    #[inline(always)]
    pub(crate) fn rewrite(&self, window: &mut [u8; WINDOW]) {
        if self.moved {
            return self.rewrite_moved(window);
        }
        self.put(window, 0);
        self.put(window, 1);
        self.put(window, 2);
        if self.length >= 3 * 8 {
            self.put(window, 3);
            self.put(window, 4);
            self.put(window, 5);
        }
    }

    #[inline(always)]
    fn put(&self, window: &mut [u8; WINDOW], index: usize) {
        put(window, index, word(window, index) & self.stay[index] | self.put[index]);
    }

    fn rewrite_moved(&self, window: &mut [u8; WINDOW]) {
        let before = *window;
        for index in 0..WORDS {
            self.put(window, index);
        }
        for patch in self.patches.iter().filter(|patch| patch.from != patch.to) {
            copy(&before, window, *patch);
        }
    }

    /// Writes the result for a stamp that fits to the beginning of `out`; returns its length. `out` holds at least
    /// [`ROOM`] bytes, of which those behind the result may change too.
    #[inline(always)]
    pub(crate) fn append(&self, window: &[u8; WINDOW], out: &mut [u8; ROOM]) -> usize {
        *out = self.image;
        for patch in &self.patches {
            copy(window, out, *patch);
        }
        self.written
    }

    /// Forgets the stamp.
    pub(crate) fn clear(&mut self) {
        self.length = 0;
    }

    /// Remembers that `text[at..end]`, read as `stamp`, became `rendered`.
    ///
    /// `open_second`: the same holds for every second of the minute. Nothing is remembered where the bytes behind the
    /// stamp could have been a part of it.
    #[expect(clippy::too_many_arguments, reason = "these are the facts about one stamp, gathered nowhere else")]
    pub(crate) fn learn(
        &mut self,
        text: &[u8],
        at: usize,
        end: usize,
        follow: Option<u8>,
        stamp: &Stamp,
        rendered: &[u8],
        places: Places,
        open_second: bool,
    ) {
        self.clear();
        let length = end - at;
        let Some(follow) = follow.filter(|byte| ends_a_stamp(*byte)) else { return };
        if length >= WINDOW || rendered.len() > ROOM {
            return;
        }
        let mut bytes = [0u8; WINDOW];
        bytes[..length].copy_from_slice(&text[at..end]);
        bytes[length] = follow;
        let mut same = [0u8; WINDOW];
        same[..=length].fill(0xff);
        let (mut open, mut low, mut high) = ([0u8; WINDOW], [0u8; WINDOW], [0u8; WINDOW]);
        let mut range = |place: usize, highest: u8| {
            same[place] = 0;
            open[place] = 0xff;
            low[place] = 0x80 - b'0';
            high[place] = 0x7f - highest;
        };
        self.patches = [Patch::default(); 2];
        if let (Some(second_at), true, false) = (stamp.second_at, open_second, places.counts_seconds) {
            let from = second_at - at;
            range(from, b'5');
            range(from + 1, b'9');
            self.patches[0] = places.second.map_or(Patch::default(), |to| Patch { from, to, length: 2 });
        }
        if let (Some(fraction_at), false) = (stamp.fraction_at, places.counts_fraction) {
            let digits = usize::from(stamp.fraction.digits);
            let from = fraction_at - at;
            (from..from + digits).for_each(|place| range(place, b'9'));
            self.patches[1] = places.fraction.map_or(Patch::default(), |(to, written)| Patch {
                from,
                to,
                length: digits.min(usize::from(written)),
            });
        }
        (self.value, self.same, self.open) = (words(&bytes), words(&same), words(&open));
        (self.low, self.high) = (words(&low), words(&high));
        self.image[..rendered.len()].copy_from_slice(rendered);
        self.written = rendered.len();
        self.length = length;
        self.plain = self.dst.is_none() && !self.year_inferred;
        self.moved = self.patches.iter().any(|patch| patch.from != patch.to);
        self.arrange();
    }

    /// Prepares rewriting in place.
    fn arrange(&mut self) {
        self.in_place = self.written == self.length;
        if !self.in_place {
            return;
        }
        let (mut stay, mut put) = ([0xffu8; WINDOW], [0u8; WINDOW]);
        stay[..self.length].fill(0);
        put[..self.length].copy_from_slice(&self.image[..self.length]);
        for patch in self.patches.iter().filter(|patch| patch.from == patch.to) {
            stay[patch.to..patch.to + patch.length].fill(0xff);
            put[patch.to..patch.to + patch.length].fill(0);
        }
        (self.stay, self.put) = (words(&stay), words(&put));
    }
}

/// The very stamp of the line before: in a busy log a thousand lines share their second, and comparing three words is enough.
#[derive(Debug)]
pub(crate) struct Same {
    value: [u64; SHORT],
    put: [u64; SHORT],
    /// The bytes of the stamp and the one behind it, and the stamp's alone.
    compared: [u64; SHORT],
    replaced: [u64; SHORT],
    /// Something is remembered.
    known: bool,
}

/// Words of a stamp that [`Same`] remembers.
const SHORT: usize = 3;

impl Same {
    /// Nothing is remembered yet; stamps are those of this memo.
    pub(crate) fn new(memo: &Memo) -> Self {
        let bytes = |count: usize| -> [u64; SHORT] {
            let mut mask = [0u8; WINDOW];
            mask[..count.min(WINDOW)].fill(0xff);
            std::array::from_fn(|index| word(&mask, index))
        };
        let (compared, replaced) = (bytes(memo.length + 1), bytes(memo.length));
        Same { value: [0; SHORT], put: [0; SHORT], compared, replaced, known: false }
    }

    /// Whether the stamp is the one before.
    #[inline(always)]
    pub(crate) fn is(&self, window: &[u8; WINDOW]) -> bool {
        let differs = |index: usize| word(window, index) & self.compared[index] ^ self.value[index];
        self.known && differs(0) | differs(1) | differs(2) == 0
    }

    /// Remembers what `window` holds; nothing where the stamp is too long.
    #[inline(always)]
    pub(crate) fn read(&mut self, memo: &Memo, window: &[u8; WINDOW]) {
        self.value = std::array::from_fn(|index| word(window, index) & self.compared[index]);
        self.known = memo.length < 8 * SHORT;
    }

    /// Remembers what it became.
    #[inline(always)]
    pub(crate) fn wrote(&mut self, window: &[u8; WINDOW]) {
        self.put = std::array::from_fn(|index| word(window, index) & self.replaced[index]);
    }

    /// Rewrites a stamp that is the one before.
    #[inline(always)]
    pub(crate) fn rewrite(&self, window: &mut [u8; WINDOW]) {
        let one = |window: &mut [u8; WINDOW], index: usize| {
            put(window, index, word(window, index) & !self.replaced[index] | self.put[index]);
        };
        one(window, 0);
        one(window, 1);
        one(window, 2);
    }
}

/// Bytes that no format can take for a part of the stamp before them.
fn ends_a_stamp(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b']' | b')' | b'}' | b'>' | b'"' | b'\'' | b'|' | b';' | b'=' | b'[')
}

#[inline(always)]
fn word(window: &[u8; WINDOW], index: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&window[index * 8..index * 8 + 8]);
    u64::from_le_bytes(bytes)
}

#[inline(always)]
fn put(window: &mut [u8; WINDOW], index: usize, word: u64) {
    window[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
}

fn words(bytes: &[u8; WINDOW]) -> [u64; WORDS] {
    std::array::from_fn(|index| word(bytes, index))
}

/// Not by memcpy, whose call costs more than the whole comparison.
#[inline(always)]
fn copy(from: &[u8; WINDOW], to: &mut [u8], patch: Patch) {
    if patch.length == 2
        && let Some(to) = to.get_mut(patch.to..).and_then(|to| to.first_chunk_mut::<2>())
        && let Some(from) = from.get(patch.from..).and_then(|from| from.first_chunk::<2>())
    {
        *to = *from;
        return;
    }
    for index in 0..patch.length {
        if let (Some(to), Some(from)) = (to.get_mut(patch.to + index), from.get(patch.from + index)) {
            *to = *from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> [u8; WINDOW] {
        let mut window = [b'#'; WINDOW];
        window[..text.len()].copy_from_slice(text.as_bytes());
        window
    }

    fn seeds_memo() -> Memo {
        let mut memo = Memo::default();
        let stamp = Stamp { second_at: Some(17), ..Stamp::default() };
        let places = Places { second: Some(17), ..Places::default() };
        let text = b"01/12/2022T16:25:21";
        memo.learn(text, 0, 19, Some(b' '), &stamp, b"2022/12/01T16:25:21", places, true);
        memo
    }

    #[test]
    fn another_second_fits_and_anything_else_does_not() {
        let memo = seeds_memo();
        for second in 0..100 {
            let fits = memo.fits(&window(&format!("01/12/2022T16:25:{second:02} message")));
            assert_eq!(fits, second < 60, "{second}");
        }
        for other in [
            "02/12/2022T16:25:21 ",
            "01/12/2022T16:26:21 ",
            "01/12/2022T16:25:21.",
            "01/12/2022T16:25:2x ",
            "01/12/2022T16:25:2\u{b9}",
        ] {
            assert!(!memo.fits(&window(other)), "{other}");
        }
        for byte in 0..=255 {
            let mut bytes = window("01/12/2022T16:25:21 ");
            bytes[18] = byte;
            assert_eq!(memo.fits(&bytes), byte.is_ascii_digit(), "{byte}");
        }
    }

    #[test]
    fn the_rest_of_the_window_stays() {
        let memo = seeds_memo();
        let mut bytes = window("01/12/2022T16:25:47 01/12/2022T16:25:47");
        assert!(memo.in_place());
        memo.rewrite(&mut bytes);
        assert_eq!(&bytes[..39], b"2022/12/01T16:25:47 01/12/2022T16:25:47");
    }

    #[test]
    fn digits_that_move_are_copied() {
        let mut memo = Memo::default();
        let stamp = Stamp { second_at: Some(0), ..Stamp::default() };
        let places = Places { second: Some(3), ..Places::default() };
        memo.learn(b"21:25", 0, 5, Some(b'\n'), &stamp, b"25:21", places, true);
        let mut bytes = window("47:25\n");
        memo.rewrite(&mut bytes);
        assert_eq!(&bytes[..6], b"25:47\n");
        let mut out = [0; ROOM];
        let written = memo.append(&window("48:25\n"), &mut out);
        assert_eq!(&out[..written], b"25:48");
    }

    #[test]
    fn the_very_same_stamp_is_rewritten_and_any_other_byte_makes_it_another() {
        let memo = seeds_memo();
        let mut same = Same::new(&memo);
        let before = window("01/12/2022T16:25:47 first");
        assert!(!same.is(&before), "nothing is known yet");
        let mut bytes = before;
        same.read(&memo, &bytes);
        memo.rewrite(&mut bytes);
        same.wrote(&bytes);
        let mut again = window("01/12/2022T16:25:47 01/12/2022");
        assert!(same.is(&again));
        same.rewrite(&mut again);
        assert_eq!(&again[..30], b"2022/12/01T16:25:47 01/12/2022");
        for place in 0..WINDOW {
            let mut other = before;
            other[place] ^= 1;
            assert_eq!(same.is(&other), place > 19, "{place}");
        }
    }
}
