//! What the state file is told, and when: nothing as handed over that is still inside the sink.

use crate::FollowError;
use crate::engine::Engine;
use crate::identity::{Print, Trace};
use crate::sink::Sink;
use crate::state::Saved;
use crate::target::ORDER_BITS;

impl<S: Sink> Engine<S> {
    /// A batch is with the sink: its place is remembered once the output has accepted it.
    pub(crate) fn taken(&mut self, target: usize, at: usize) -> Result<(), FollowError> {
        if self.state.is_none() {
            return Ok(());
        }
        self.save_later(target, self.targets[target].generations[at].number);
        self.flush().map(drop)
    }

    pub(crate) fn save_later(&mut self, target: usize, number: u64) {
        if self.state.is_some() && !self.unsaved.contains(&(target, number)) {
            self.unsaved.push((target, number));
        }
    }

    /// Pushes the sink's output; when all of it is out, remembers the places.
    pub(crate) fn flush(&mut self) -> Result<bool, FollowError> {
        let out = self.sink.flush().map_err(FollowError::Output)?;
        if out && !self.unsaved.is_empty() {
            for (target, number) in std::mem::take(&mut self.unsaved) {
                if self.is_going_out(target, number) {
                    self.unsaved.push((target, number));
                } else if let Some(at) = self.targets[target].position(number) {
                    self.save(target, at, false);
                }
            }
        }
        Ok(out)
    }

    /// Before more goes out: whether the state file knows of what went out before, or has not to. After a kill one batch is
    /// repeated, not two.
    pub(crate) fn is_remembered(&mut self) -> Result<bool, FollowError> {
        if self.unsaved.is_empty() { Ok(true) } else { self.flush() }
    }

    /// Whether a line of another generation of that path has begun to go out: until its end the records of both stay as they are.
    fn is_going_out(&self, target: usize, number: u64) -> bool {
        self.in_flight.is_some_and(|(of, other)| of == target && other != number)
    }

    /// Remembers a generation whose bytes before its offset may still be inside the sink.
    pub(crate) fn save_when_out(&mut self, target: usize, at: usize) {
        let number = self.targets[target].generations[at].number;
        if self.unsaved.is_empty() && !self.is_going_out(target, number) {
            self.save(target, at, false);
        } else {
            self.save_later(target, number);
        }
    }

    /// Remembers one generation in the state file.
    pub(crate) fn save(&mut self, target: usize, at: usize, closed: bool) {
        let Some(state) = self.state.as_mut() else { return };
        let path = self.targets[target].path_digest();
        let generation = &mut self.targets[target].generations[at];
        if generation.in_batch() || (!closed && generation.saved == Some(generation.offset)) {
            return;
        }
        let mut trace = generation.trace();
        trace.offset = generation.offset;
        let (start, modified) = (generation.start(), generation.modified());
        let saved = Saved { path, trace, order: generation.order, closed, seen: generation.seen, start, modified };
        generation.saved = Some(generation.offset);
        let written = state.save(&mut generation.slot, &saved);
        self.stats.checkpointed(&written);
    }

    /// Remembers in the state file what the next run must not read.
    pub(crate) fn save_closed(&mut self, target: usize, trace: Trace) -> Option<usize> {
        let state = self.state.as_mut()?;
        let path = self.targets[target].path_digest();
        let order = self.targets[target].number() << ORDER_BITS;
        let mut slot = None;
        let (seen, start, modified) = (trace.offset, Print::default(), 0);
        let written = state.save(&mut slot, &Saved { path, trace, order, closed: true, seen, start, modified });
        self.stats.checkpointed(&written);
        slot
    }
}
