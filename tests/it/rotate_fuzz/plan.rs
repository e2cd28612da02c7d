//! A plan: what happens to the logs and to the tailer, all of it derived from one number.

use std::fmt;

/// A small random generator (splitmix64): the same plan from the same seed on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// A number in `from..=to`.
    pub(super) fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// True once in `count` times.
    pub(super) fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What stays the same during one plan.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// Polling instead of inotify.
    pub(super) poll: bool,
    /// The logs lie on tmpfs instead of a disk.
    pub(super) memory: bool,
    /// The tailer has a state file, so it may be killed and started again.
    pub(super) state: bool,
    /// Started as `-q -n+1 -F FILE...` instead of plain `FILE...`.
    pub(super) gnu_arguments: bool,
    /// Writers use `O_APPEND`; without it they leave holes after a truncation.
    pub(super) append: bool,
    /// Every new file starts with the same 1.3 kB, so that heads of files cannot be told apart.
    pub(super) banner: bool,
    /// Rotated files are named by date instead of by a chain of numbers.
    pub(super) dated: bool,
    /// Rotated files go to a folder of their own.
    pub(super) old_folder: bool,
    /// The log exists with content before the tailer starts.
    pub(super) exists: bool,
    /// Rotated files from before the first start, never to be printed.
    pub(super) history: usize,
    pub(super) files: usize,
    /// The log's name is a symbolic link to the file that is written.
    pub(super) symlink: bool,
    /// `/metrics` is asked at the end, when the tailer has such a thing.
    pub(super) metrics: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// logrotate `create`: rename, the new file is there at once, the writer follows later.
    Create,
    /// logrotate `nocreate`: rename, the writer makes the new file.
    NoCreate,
    /// Copy, (fsync), truncate; lines written in between exist nowhere afterwards.
    CopyTruncate,
    /// Rename to `.tmp`, the writer reopens, copy to the final name, unlink.
    RenameCopy,
    /// Unlink, the writer makes a new file.
    Delete,
    /// Truncate without a copy.
    Truncate,
    /// Other bytes of the same length over the old ones.
    Rewrite,
    /// The link is pointed to a new file by rename.
    SymlinkSwap,
}

/// One rotation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    pub(super) kind: Kind,
    /// Lines written to the old file after the rename, or between copy and truncation.
    pub(super) late: usize,
    /// The line that is being written when the rotation happens is finished afterwards.
    pub(super) half: bool,
    pub(super) compress: bool,
    /// How long fsync of the copy, or the writer's reopening, takes.
    pub(super) delay_ms: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Lines, one write(2) each.
    Write {
        file: usize,
        lines: usize,
        pause_us: u64,
    },
    /// Many lines in writes of up to 64 KiB, which end where they end.
    Burst {
        file: usize,
        lines: usize,
    },
    /// The first part of a line.
    Half {
        file: usize,
    },
    /// Lines by a writer that still holds an older file.
    Late {
        file: usize,
        lines: usize,
    },
    Rotate {
        file: usize,
        rotation: Rotation,
    },
    /// gzip of the newest rotated file that is none yet.
    Compress {
        file: usize,
    },
    /// The oldest rotated file is deleted.
    Prune {
        file: usize,
    },
    /// SIGSTOP and SIGCONT.
    Freeze,
    Thaw,
    /// Nobody reads stdout, somebody does again.
    Block,
    Unblock,
    /// SIGKILL; SIGTERM and its end. `Start` ends the pause.
    Kill,
    Terminate,
    Start,
    /// SIGHUP: rescan, nothing else.
    Hangup,
    /// Wait until every line that must come has come.
    Sync,
    Pause {
        ms: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) setup: Setup,
    pub(super) steps: Vec<Step>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}\n  {:?}", self.seed, self.setup)?;
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {index:3} {step:?}")?;
        }
        Ok(())
    }
}

impl Plan {
    /// The plan of `seed`. Each plan uses a few kinds of rotation and faults only, as a real pod does: that reaches
    /// deeper states than a mixture of everything.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let symlink = random.once_in(10);
        let kinds = rotation_kinds(random, symlink);
        let truncates = kinds.iter().any(|kind| matches!(kind, Kind::CopyTruncate | Kind::Truncate | Kind::Rewrite));
        let state = random.once_in(2);
        let setup = Setup {
            poll: random.once_in(3),
            memory: random.once_in(2),
            state,
            gnu_arguments: random.once_in(2),
            append: !truncates || !random.once_in(5),
            banner: !state && random.once_in(5),
            dated: random.once_in(3),
            old_folder: !symlink && random.once_in(10),
            exists: symlink || random.once_in(2),
            history: if random.once_in(4) { random.within(1, 2) } else { 0 },
            files: if random.once_in(4) { 2 } else { 1 },
            symlink,
            metrics: random.once_in(3),
        };
        let count = random.within(8, 45);
        let faults = [random.once_in(2), random.once_in(2), random.once_in(2)];
        let steps = (0..count).map(|_| step(random, &setup, &kinds, faults)).collect();
        Self { seed, setup, steps }
    }

    /// Whether the plan holds what log-tailer does not get right in every run yet: copytruncate or renamecopy, or a symlink that
    /// is swapped. Lines may be lost, printed twice or late. This is a fault to be mended; `known_losses_do_not_grow` counts
    /// how often it happens.
    pub(super) fn has_known_losses(&self) -> bool {
        let known = |kind: Kind| matches!(kind, Kind::CopyTruncate | Kind::RenameCopy | Kind::SymlinkSwap);
        self.steps.iter().any(|step| matches!(step, Step::Rotate { rotation, .. } if known(rotation.kind)))
    }

    pub(super) fn kills(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Kill)).count()
    }
}

fn rotation_kinds(random: &mut Random, symlink: bool) -> Vec<Kind> {
    if symlink {
        return vec![Kind::SymlinkSwap];
    }
    let common = [Kind::Create, Kind::NoCreate, Kind::CopyTruncate];
    let rare = [Kind::RenameCopy, Kind::Delete, Kind::Truncate, Kind::Rewrite];
    (0..random.within(1, 3))
        .map(|_| if random.once_in(3) { random.pick(&rare) } else { random.pick(&common) })
        .collect()
}

fn step(random: &mut Random, setup: &Setup, kinds: &[Kind], [freeze, block, sync]: [bool; 3]) -> Step {
    let file = random.below(setup.files);
    let few = random.within(1, 20);
    match random.below(100) {
        0..30 => Step::Write { file, lines: few, pause_us: if random.once_in(3) { 500 } else { 0 } },
        30..36 => Step::Burst { file, lines: random.within(200, 3000) },
        36..41 => Step::Half { file },
        41..47 => Step::Late { file, lines: few },
        47..67 => Step::Rotate { file, rotation: rotation(random, kinds) },
        67..70 => Step::Compress { file },
        70..72 => Step::Prune { file },
        72..80 if freeze => random.pick(&[Step::Freeze, Step::Thaw]),
        80..86 if block => random.pick(&[Step::Block, Step::Unblock]),
        86..92 if setup.state => random.pick(&[Step::Kill, Step::Kill, Step::Kill, Step::Terminate]),
        92..95 if setup.state => Step::Start,
        95 => Step::Hangup,
        96..98 if sync => Step::Sync,
        _ => Step::Pause { ms: random.within(0, 30) as u64 },
    }
}

fn rotation(random: &mut Random, kinds: &[Kind]) -> Rotation {
    Rotation {
        kind: random.pick(kinds),
        late: if random.once_in(2) { random.within(1, 12) } else { 0 },
        half: random.once_in(4),
        compress: random.once_in(6),
        delay_ms: if random.once_in(4) { random.within(1, 15) as u64 } else { 0 },
    }
}
