//! The end of a generation: when nothing more is to come from a file that lost its name, and what its last bytes are.

use crate::FollowError;
use crate::engine::{Engine, Step};
use crate::generation::{Generation, Kind};
use crate::identity::Facts;
use crate::sink::Sink;
use crate::target::Presence;

impl<S: Sink> Engine<S> {
    /// Whether nothing of a copy is left to hand over, closing it where that is so.
    pub(crate) fn copy_is_out(&mut self, target: usize, number: u64) -> Result<bool, FollowError> {
        self.close_done(target)?;
        let followed = &self.targets[target];
        let left = followed.position(number).is_some_and(|at| followed.generations[at].unread() > 0);
        Ok(!left && self.in_flight.is_none())
    }

    /// Closes older generations that are dry and silent, and copies that are read.
    pub(crate) fn close_done(&mut self, target: usize) -> Result<(), FollowError> {
        let mut at = 0;
        // Nothing may come between the parts of a line that is going out, and what is inside the sink is not handed over.
        while at < self.targets[target].generations.len() && self.in_flight.is_none() && self.unsaved.is_empty() {
            let followed = &self.targets[target];
            let generation = &followed.generations[at];
            let is_last = at + 1 == followed.generations.len();
            let is_live = is_last && followed.presence == Presence::There;
            // Whole lines are handed over first; nothing of a younger generation may come before them.
            let behind = match &generation.stream {
                Some(_) => !self.is_over(target, at)?,
                None => generation.unread() > 0 && self.has_line(target, at)?,
            };
            if behind || generation.in_batch() {
                return Ok(());
            }
            if is_live || !self.is_over(target, at)? {
                at += 1;
                continue;
            }
            let followed = &self.targets[target];
            let generation = &followed.generations[at];
            if generation.stream.is_none() && generation.unread() > 0 {
                let glue = generation.kind == Kind::Copy && !is_last;
                if !matches!(self.end_of_generation(target, at, glue)?, Step::Dry) {
                    return Ok(());
                }
            }
            self.close(target, at)?;
        }
        Ok(())
    }

    /// Whether a generation that is not under the name any more needs no further look.
    fn is_over(&self, target: usize, at: usize) -> Result<bool, FollowError> {
        let followed = &self.targets[target];
        let generation = &followed.generations[at];
        let is_last = at + 1 == followed.generations.len();
        if let Some(stream) = &generation.stream {
            return Ok((stream.window.ended || stream.broken) && stream.window.bytes().is_empty());
        }
        if generation.waiting && self.sink_holds(generation) {
            return Ok(false);
        }
        if generation.kind == Kind::Copy {
            // The end of a copy goes on in the truncated file: they must go out together. Where a copy of that has no line
            // end either, no rest will come.
            let next = followed.generations.get(at + 1);
            let next_has_line = next.is_some() && self.has_line(target, at + 1)?;
            let next_is_final = next.is_some_and(|next| next.kind == Kind::Copy && next.unread() > 0);
            return Ok(generation.unread() == 0
                || next_has_line
                || next_is_final
                || generation.grew.elapsed() >= self.config.rotate_wait);
        }
        // While nothing took its name, the writer may well still have it open.
        let orphan = is_last && Facts::of(&generation.file).is_ok_and(|facts| facts.links > 0);
        let silent = generation.grew.elapsed() >= self.config.rotate_wait;
        let settled = generation.replaced.is_some_and(|since| since.elapsed() >= self.config.rotate_wait);
        let lingers = generation.replaced.is_some_and(|since| since.elapsed() >= self.config.rotate_linger);
        Ok(!orphan && settled && (silent || (lingers && generation.unread() == 0)))
    }

    fn sink_holds(&self, generation: &Generation) -> bool {
        let hold = self.sink.hold();
        hold != std::time::Duration::MAX && generation.grew.elapsed() < hold
    }

    pub(crate) fn has_line(&self, target: usize, at: usize) -> Result<bool, FollowError> {
        let followed = &self.targets[target];
        let generation = &followed.generations[at];
        if generation.stream.is_some() {
            return Ok(true);
        }
        Ok(self.end_of_line(target, at, generation.offset)?.is_some())
    }

    /// Where the line ends that holds the byte at `from`, in a file that is not compressed.
    pub(crate) fn end_of_line(&self, target: usize, at: usize, from: u64) -> Result<Option<u64>, FollowError> {
        let followed = &self.targets[target];
        let mut buffer = vec![0; 4096];
        let found = crate::lines::first_end(&followed.generations[at].file, followed.line_end, from, &mut buffer);
        Ok(found.map_err(FollowError::Read)?.ok())
    }

    fn end_of_generation(&mut self, target: usize, at: usize, glue: bool) -> Result<Step, FollowError> {
        // Compressed content is another round of its own.
        let plain = |one: &Generation| one.stream.is_none();
        let glue = glue && plain(&self.targets[target].generations[at + 1]) && self.has_line(target, at + 1)?;
        let step = self.release_partial(target, at, !glue)?;
        if step == Step::Dry && glue {
            self.targets[target].generations[at + 1].continues = true;
            return self.advance(target, at + 1, u64::MAX, 1);
        }
        Ok(step)
    }

    /// Forgets an open generation; its trace stays known.
    pub(crate) fn close(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        self.save(target, at, true);
        let followed = &mut self.targets[target];
        let Some(generation) = followed.generations.remove(at) else { return Ok(()) };
        if let (Some(watch), Some(watcher)) = (generation.watch, self.watcher.as_mut()) {
            watcher.forget_file(watch);
        }
        followed.remember(generation.trace(), generation.slot, generation.kind == Kind::Copy);
        self.stats.files_open.dec();
        let (path, number) = (followed.shown(), generation.number);
        tracing::debug!(path, number, offset = generation.offset, "generation closed");
        self.settle_shadows(target, number)
    }
}
