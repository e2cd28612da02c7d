//! What the demo prints: each container's lines behind its name, in a colour of its own on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Container;
use crate::workspace;

/// Lines of one container that are shown before the rest of a step is only counted.
const A_FEW: usize = 3;
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// The terminal, or whatever stdout is.
pub(crate) struct Screen {
    colours: bool,
    /// Lines still shown of each container until the next [`Screen::say`].
    left: [AtomicUsize; COLOURS.len()],
    always: std::sync::atomic::AtomicBool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && workspace::variable("NO_COLOR").is_none();
        let left = std::array::from_fn(|_| AtomicUsize::new(A_FEW));
        Self { colours, left, always: false.into() }
    }

    /// From now on no line is left out.
    pub(crate) fn show_everything(&self) {
        self.always.store(true, Ordering::Relaxed);
    }

    /// One line of the demo itself.
    pub(crate) fn say(&self, text: &str) {
        for left in &self.left {
            left.store(A_FEW, Ordering::Relaxed);
        }
        self.line("demo", 0, text);
    }

    pub(crate) fn introduce(&self, container: &Container) {
        let Container { name, tool, does, .. } = container;
        self.line("demo", 0, &format!("  {name:8} {tool:12} {does}"));
    }

    /// One line of the container at `index`.
    pub(crate) fn container(&self, name: &str, index: usize, text: &str) {
        let left = &self.left[index % COLOURS.len()];
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if self.always.load(Ordering::Relaxed) {
            self.line(name, COLOURS[index % COLOURS.len()], text);
            return;
        }
        match taken {
            Ok(1) => self.line(name, COLOURS[index % COLOURS.len()], &format!("{text}  (and more)")),
            Ok(_) => self.line(name, COLOURS[index % COLOURS.len()], text),
            Err(_) => {}
        }
    }

    fn line(&self, name: &str, colour: u8, text: &str) {
        let line = if self.colours && colour > 0 {
            format!("\x1b[{colour}m{name:>8} |\x1b[0m {text}\n")
        } else {
            format!("{name:>8} | {text}\n")
        };
        // One write per line: containers print from threads of their own. A closed stdout stops no pod.
        let _written = std::io::stdout().lock().write_all(line.as_bytes());
    }
}
