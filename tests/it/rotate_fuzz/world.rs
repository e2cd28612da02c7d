//! One log and everything that is true of it: which bytes were written, in which file, and which of them still exist.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::plan::{Kind, Random, Rotation, Setup};

/// A tailer lets go of an old file after five quiet seconds; what a writer adds to it later need not be seen.
const QUIET: Duration = Duration::from_secs(4);
/// Writers that still hold an old file, as workers that have not reopened yet.
const OLD_WRITERS: usize = 2;

/// One line as it is to come out, without its newline.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    pub(super) generation: usize,
    /// How much of `bytes` was written; the newline comes last.
    pub(super) written: usize,
    /// When the newline was written; `None`: the line is unfinished.
    pub(super) finished: Option<u64>,
    /// Its bytes ceased to exist before the tailer can be held to have read them: it may be missing.
    pub(super) excused: bool,
}

/// The life of one file's content: from its first byte to the truncation or the end of the file.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) lines: Vec<usize>,
    /// When its first byte was written.
    pub(super) first: Option<u64>,
    /// So many of its lines stand in a copy of the file as well.
    copied: usize,
    /// Its end was a truncation: a writer in the middle of a line may go on in the same file.
    pub(super) truncated: bool,
    /// A name leads to the file itself.
    linked: bool,
    /// The life of the tailer that had this file open when its last name went away.
    held: Option<usize>,
    last_write: Instant,
    /// A tailer may have let go of it.
    left: bool,
}

#[derive(Debug)]
struct Writer {
    generation: usize,
    file: File,
    half: Option<usize>,
}

/// A file that rotation made: either the old file itself or a copy of it.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    generation: usize,
    copy: bool,
    gzip: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) path: PathBuf,
    old_folder: PathBuf,
    letter: char,
    setup: Setup,
    random: Random,
    clock: u64,
    rotations: usize,
    pub(super) lines: Vec<Line>,
    pub(super) generations: Vec<Generation>,
    writer: Option<Writer>,
    old_writers: VecDeque<Writer>,
    rotated: VecDeque<Rotated>,
    pub(super) banners: usize,
    /// The running life of the tailer, as far as files can be held open by it.
    pub(super) life: Option<usize>,
}

impl World {
    /// A log that may exist already, with rotated files from an earlier time.
    pub(super) fn new(folder: &Path, index: usize, seed: u64, setup: &Setup) -> Self {
        let letter = char::from(b'a' + u8::try_from(index).unwrap());
        let old_folder = if setup.old_folder { folder.join("old") } else { folder.to_owned() };
        fs::create_dir_all(&old_folder).unwrap();
        let mut world = Self {
            path: folder.join(format!("{letter}.log")),
            old_folder,
            letter,
            setup: setup.clone(),
            random: Random::new(seed ^ (0xbeef << index)),
            clock: 0,
            rotations: 0,
            lines: Vec::new(),
            generations: Vec::new(),
            writer: None,
            old_writers: VecDeque::new(),
            rotated: VecDeque::new(),
            banners: 0,
            life: None,
        };
        for number in 0..setup.history {
            let path = world.make_room();
            fs::write(&path, format!("history {number} of {letter}\n").repeat(5)).unwrap();
            let generation = world.new_generation();
            world.rotated.push_front(Rotated { path, generation, copy: true, gzip: false });
        }
        if setup.exists {
            let lines = world.random.within(1, 30);
            world.write(lines, Duration::ZERO);
        }
        world
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn new_generation(&mut self) -> usize {
        let last_write = Instant::now();
        self.generations.push(Generation {
            lines: vec![],
            first: None,
            copied: 0,
            truncated: false,
            linked: true,
            held: None,
            last_write,
            left: false,
        });
        self.generations.len() - 1
    }

    /// The writer of the live file; opens it, and makes it, when there is none.
    fn writer(&mut self) -> &mut Writer {
        if self.writer.is_none() {
            let exists = self.path.exists();
            let generation =
                if exists && !self.generations.is_empty() { self.generations.len() - 1 } else { self.new_generation() };
            if self.setup.symlink && !exists {
                self.point_link_to_a_new_file();
            }
            let append = self.setup.append;
            let file =
                OpenOptions::new().create(true).append(append).write(true).truncate(false).open(&self.path).unwrap();
            let mut writer = Writer { generation, file, half: None };
            if self.setup.banner && self.generations[generation].first.is_none() {
                self.banners += 1;
                self.generations[generation].first = Some(self.tick());
                writer.file.write_all(&banner()).unwrap();
            }
            self.writer = Some(writer);
        }
        self.writer.as_mut().unwrap()
    }

    fn point_link_to_a_new_file(&mut self) {
        self.rotations += 1;
        let target = format!("{}.log.{:05}", self.letter, self.rotations);
        File::create(self.path.with_file_name(&target)).unwrap();
        let fresh = self.path.with_extension("link");
        symlink(&target, &fresh).unwrap();
        rename(&fresh, &self.path);
    }

    /// A line that was not written yet.
    fn new_line(&mut self, generation: usize) -> usize {
        let id = self.lines.len();
        let bytes = content(self.letter, id, &mut self.random);
        self.push_line(generation, bytes)
    }

    fn push_line(&mut self, generation: usize, bytes: Vec<u8>) -> usize {
        let id = self.lines.len();
        self.generations[generation].lines.push(id);
        self.lines.push(Line { bytes, generation, written: 0, finished: None, excused: false });
        id
    }

    /// Whether nobody can be held to read what is written to `generation` now.
    fn is_out_of_sight(&self, generation: usize) -> bool {
        let is_live = generation + 1 == self.generations.len();
        let Generation { linked, held, last_write, left, .. } = &self.generations[generation];
        let gone = !linked && (held.is_none() || *held != self.life);
        gone || *left || (!is_live && last_write.elapsed() > QUIET)
    }

    /// Writes the next part of line `id`, with its newline when `whole`.
    fn put(&mut self, writer: &mut Writer, id: usize, until: usize, whole: bool) {
        let line = &self.lines[id];
        let mut bytes = line.bytes[line.written..until].to_vec();
        if whole {
            bytes.push(b'\n');
        }
        let now = self.tick();
        let excused = self.is_out_of_sight(writer.generation);
        self.generations[writer.generation].left |= excused;
        self.generations[writer.generation].first.get_or_insert(now);
        writer.file.write_all(&bytes).unwrap();
        self.generations[writer.generation].last_write = Instant::now();
        let finished = whole.then(|| self.tick());
        let line = &mut self.lines[id];
        line.excused |= excused;
        line.written = until;
        line.finished = finished;
    }

    fn write_line(&mut self, writer: &mut Writer) {
        let id = writer.half.take().unwrap_or_else(|| self.new_line(writer.generation));
        let end = self.lines[id].bytes.len();
        self.put(writer, id, end, true);
    }

    fn write_half(&mut self, writer: &mut Writer) {
        if writer.half.is_some() {
            return;
        }
        let id = self.new_line(writer.generation);
        let end = self.lines[id].bytes.len();
        let part = self.random.within(1, end);
        self.put(writer, id, part, false);
        writer.half = Some(id);
    }

    /// Lets `action` have the writer and the rest of the world at once.
    fn with_writer(&mut self, action: impl FnOnce(&mut Self, &mut Writer)) {
        self.writer();
        let mut writer = self.writer.take().unwrap();
        action(self, &mut writer);
        self.writer = Some(writer);
    }

    pub(super) fn write(&mut self, lines: usize, pause: Duration) {
        self.with_writer(|world, writer| {
            for _ in 0..lines {
                world.write_line(writer);
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            }
        });
    }

    /// As a buffered writer does it: the pieces end in the middle of lines.
    pub(super) fn burst(&mut self, lines: usize) {
        self.with_writer(|world, writer| {
            world.write_line(writer);
            let ids: Vec<usize> = (0..lines).map(|_| world.new_line(writer.generation)).collect();
            let joined: Vec<u8> = ids.iter().flat_map(|id| [&world.lines[*id].bytes[..], b"\n"].concat()).collect();
            for piece in joined.chunks(world.random.within(4000, 65_536)) {
                writer.file.write_all(piece).unwrap();
            }
            world.generations[writer.generation].last_write = Instant::now();
            for id in ids {
                world.lines[id].written = world.lines[id].bytes.len();
                world.lines[id].finished = Some(world.tick());
            }
        });
    }

    pub(super) fn half(&mut self) {
        self.with_writer(Self::write_half);
    }

    /// Lines by the writer that has held an old file the longest; nothing when there is none.
    pub(super) fn late(&mut self, lines: usize) {
        if let Some(mut writer) = self.old_writers.pop_front() {
            (0..lines).for_each(|_| self.write_line(&mut writer));
            self.old_writers.push_front(writer);
        }
    }

    /// The running tailer has shown a line of each generation in `open`, so it has these files open.
    pub(super) fn rotate(&mut self, rotation: Rotation, open: &BTreeSet<usize>) {
        self.writer();
        match rotation.kind {
            Kind::Create | Kind::NoCreate => self.rename_rotation(rotation),
            Kind::CopyTruncate => self.copy_truncate(rotation),
            Kind::RenameCopy => self.rename_copy(rotation, open),
            Kind::Delete => self.delete_and_recreate(rotation, open),
            Kind::Truncate => self.truncate(),
            Kind::Rewrite => self.rewrite(),
            Kind::SymlinkSwap => self.swap_symlink(rotation),
        }
        let renamed = matches!(rotation.kind, Kind::Create | Kind::NoCreate | Kind::CopyTruncate | Kind::SymlinkSwap);
        if rotation.compress && renamed {
            self.compress(open);
        }
    }

    fn before_rename(&mut self, rotation: Rotation) {
        if rotation.half {
            self.half();
        }
    }

    /// Late lines, then the writer opens the file that has the name now.
    fn reopen_after(&mut self, rotation: Rotation) {
        self.with_writer(|world, writer| {
            for index in 0..rotation.late {
                // The first late line would finish the half one: sometimes that stays open until much later.
                if index > 0 || writer.half.is_none() || rotation.delay_ms == 0 {
                    world.write_line(writer);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(rotation.delay_ms));
        self.old_writers.extend(self.writer.take());
        while self.old_writers.len() > OLD_WRITERS {
            self.old_writers.pop_front();
        }
        self.writer();
    }

    fn rename_rotation(&mut self, rotation: Rotation) {
        self.before_rename(rotation);
        let generation = self.writer().generation;
        let path = self.make_room();
        rename(&self.path, &path);
        self.rotated.push_front(Rotated { path, generation, copy: false, gzip: false });
        if rotation.kind == Kind::Create {
            File::create(&self.path).unwrap();
            self.new_generation();
        }
        self.reopen_after(rotation);
    }

    fn copy_truncate(&mut self, rotation: Rotation) {
        self.before_rename(rotation);
        let generation = self.writer().generation;
        let path = self.make_room();
        fs::copy(&self.path, &path).unwrap();
        self.generations[generation].copied = self.finished_lines(generation);
        if rotation.delay_ms > 0 {
            File::open(&path).unwrap().sync_all().unwrap();
            std::thread::sleep(Duration::from_millis(rotation.delay_ms));
        }
        self.rotated.push_front(Rotated { path, generation, copy: true, gzip: false });
        self.with_writer(|world, writer| (0..rotation.late).for_each(|_| world.write_line(writer)));
        self.truncate();
    }

    /// What no copy holds may be lost from here on.
    fn truncate(&mut self) {
        let generation = self.writer().generation;
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
        self.begin_again(generation);
    }

    /// The file stays, its content starts again.
    fn begin_again(&mut self, generation: usize) {
        self.generations[generation].linked = false;
        self.generations[generation].truncated = true;
        self.excuse(generation);
        let next = self.new_generation();
        let append = self.setup.append;
        let writer = self.writer();
        writer.generation = next;
        writer.half = None;
        // A file that begins with a hole has no banner: its writer never learned of the truncation.
        if self.setup.banner && append {
            self.banners += 1;
            self.generations[next].first = Some(self.tick());
            self.writer().file.write_all(&banner()).unwrap();
        }
    }

    /// Only small files: one write(2) within a page is seen whole or not at all.
    fn rewrite(&mut self) {
        let size = usize::try_from(fs::metadata(&self.path).unwrap().len()).unwrap();
        let writer = self.writer();
        if !(40..4096).contains(&size) || writer.half.is_some() || !self.setup.append || self.setup.banner {
            return;
        }
        let generation = self.writer().generation;
        self.begin_again(generation);
        let next = self.writer().generation;
        let id = self.lines.len();
        let mut bytes = format!("{}{id:08} rewritten", self.letter).into_bytes();
        bytes.resize(size - 1, b'r');
        self.push_line(next, bytes);
        let whole = [&self.lines[id].bytes[..], b"\n"].concat();
        let now = self.tick();
        self.generations[next].first = Some(now);
        OpenOptions::new().write(true).open(&self.path).unwrap().write_all_at(&whole, 0).unwrap();
        self.lines[id].written = size - 1;
        self.lines[id].finished = Some(self.tick());
    }

    fn rename_copy(&mut self, rotation: Rotation, open: &BTreeSet<usize>) {
        self.before_rename(rotation);
        let generation = self.writer().generation;
        let path = self.make_room();
        let temporary = self.path.with_extension("log.tmp");
        rename(&self.path, &temporary);
        self.reopen_after(rotation);
        fs::copy(&temporary, &path).unwrap();
        self.generations[generation].copied = self.finished_lines(generation);
        self.unlink(&temporary, generation, open);
        self.rotated.push_front(Rotated { path, generation, copy: true, gzip: false });
    }

    fn delete_and_recreate(&mut self, rotation: Rotation, open: &BTreeSet<usize>) {
        let generation = self.writer().generation;
        let path = self.path.clone();
        self.unlink(&path, generation, open);
        self.reopen_after(rotation);
    }

    fn swap_symlink(&mut self, rotation: Rotation) {
        self.before_rename(rotation);
        let generation = self.writer().generation;
        let path = fs::canonicalize(&self.path).unwrap();
        self.rotated.push_front(Rotated { path, generation, copy: false, gzip: false });
        self.point_link_to_a_new_file();
        self.new_generation();
        self.reopen_after(rotation);
    }

    pub(super) fn compress(&mut self, open: &BTreeSet<usize>) {
        let Some(index) = self.rotated.iter().position(|rotated| !rotated.gzip) else { return };
        let Rotated { path, generation, copy, .. } = &self.rotated[index];
        let (path, generation, copy) = (path.clone(), *generation, *copy);
        let target = PathBuf::from(format!("{}.gz", path.display()));
        let mut gzip = Command::new("gzip");
        gzip.arg("-c").stdin(File::open(&path).unwrap()).stdout(File::create(&target).unwrap());
        let status = gzip.status().unwrap();
        assert!(status.success(), "gzip {}", path.display());
        // gzip and logrotate both keep it.
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        if copy {
            fs::remove_file(&path).unwrap();
        } else {
            self.generations[generation].copied = self.finished_lines(generation);
            self.unlink(&path, generation, open);
        }
        self.rotated[index] = Rotated { path: target, generation, copy: true, gzip: true };
    }

    pub(super) fn prune(&mut self, open: &BTreeSet<usize>) {
        let Some(Rotated { path, generation, copy, .. }) = self.rotated.pop_back() else { return };
        self.generations[generation].copied = 0;
        if copy {
            fs::remove_file(path).unwrap();
            self.excuse(generation);
        } else {
            self.unlink(&path, generation, open);
        }
    }

    /// Takes the last name of a generation's file. A tailer that has it open can still read it.
    fn unlink(&mut self, path: &Path, generation: usize, open: &BTreeSet<usize>) {
        let held = self.life.filter(|_| open.contains(&generation));
        fs::remove_file(path).unwrap();
        self.generations[generation].linked = false;
        self.generations[generation].held = held;
        if held.is_none() {
            self.excuse(generation);
        }
    }

    /// What exists nowhere but in the file itself may be missing from now on.
    fn excuse(&mut self, generation: usize) {
        let Generation { lines, copied, .. } = &self.generations[generation];
        for id in &lines[*copied..] {
            self.lines[*id].excused = true;
        }
    }

    /// A life of the tailer ended. Killed, it takes with it what it held open; otherwise it has drained that first.
    pub(super) fn life_ended(&mut self, killed: bool) {
        for generation in 0..self.generations.len() {
            if self.generations[generation].held.take().is_some() && killed {
                self.excuse(generation);
            }
        }
        self.life = None;
    }

    fn finished_lines(&self, generation: usize) -> usize {
        let lines = &self.generations[generation].lines;
        lines.iter().take_while(|id| self.lines[**id].finished.is_some()).count()
    }

    /// The name for the next rotated file; a chain of numbers moves up first.
    fn make_room(&mut self) -> PathBuf {
        self.rotations += 1;
        let name = self.path.file_name().unwrap().to_str().unwrap().to_owned();
        if self.setup.dated {
            return self.old_folder.join(format!("{name}-20261121-{:06}", self.rotations));
        }
        for index in (0..self.rotated.len()).rev() {
            let extension = if self.rotated[index].gzip { ".gz" } else { "" };
            let moved = self.old_folder.join(format!("{name}.{}{extension}", index + 2));
            rename(&self.rotated[index].path, &moved);
            self.rotated[index].path = moved;
        }
        self.old_folder.join(format!("{name}.1"))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the rotation under test")]
fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// What every new file of a plan with banners starts with: more than a fingerprint of 1024 bytes.
pub(super) fn banner() -> Vec<u8> {
    (0..20).map(|number| format!("#banner {number:02} {}\n", "=".repeat(54))).collect::<String>().into_bytes()
}

/// Lines of all lengths and with all bytes but the newline. Line `id` can be recognised by its first ten bytes.
fn content(letter: char, id: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = format!("{letter}{id:08} ").into_bytes();
    let length = match random.below(1000) {
        0..600 => random.within(0, 40),
        600..975 => random.within(40, 300),
        975..995 => random.within(4000, 20_000),
        _ => random.within(60_000, 150_000),
    };
    let dirty = random.once_in(10);
    while bytes.len() < 10 + length {
        let word = random.next().to_le_bytes();
        bytes.extend(word.map(|byte| if dirty && byte != b'\n' { byte } else { b'0' + byte % 75 }));
    }
    bytes.truncate(10 + length);
    bytes
}
