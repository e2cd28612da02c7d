//! The one way in which a tool ends badly.

use std::error::Error as StdError;
use std::fmt;

use crate::exit;

/// What ended the process: an exit code, one line of text with its causes, and the repair.
///
/// Shown as `what: cause: cause`. The hint is separate because it is printed on a line of its own.
#[derive(Debug)]
pub struct Error {
    code: u8,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// The request was wrong: exit code 2.
    pub fn request(message: impl Into<String>) -> Self {
        Self::with_code(exit::REQUEST, message)
    }

    /// The work failed: exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::with_code(exit::FAILED, message)
    }

    /// An end with a code of the tool's own. The code must not be 0: that is `Ok(())`.
    pub fn with_code(code: u8, message: impl Into<String>) -> Self {
        debug_assert_ne!(code, 0, "an error with exit code 0 would look like success");
        Self { code, message: message.into(), hint: None, source: None }
    }

    /// Adds the cause, which is printed after the message and must not be repeated in it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the repair, printed on its own line. A later hint replaces an earlier one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code of the process.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The repair, if one is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The two lines a user reads: `error: …` and, where known, `hint: …`. Line breaks inside become blanks.
    pub(crate) fn report(&self) -> String {
        let one_line = |text: &str| text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
        let mut report = format!("error: {}\n", one_line(&self.to_string()));
        if let Some(hint) = &self.hint {
            report.push_str(&format!("hint: {}\n", one_line(hint)));
        }
        report
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_printed_once_and_the_hint_on_its_own_line() {
        let error = Error::failed("cannot read certificate /tls/tls.crt")
            .caused_by(std::io::Error::from_raw_os_error(13))
            .hint("check that the Secret is mounted");
        assert_eq!(
            error.report(),
            "error: cannot read certificate /tls/tls.crt: Permission denied (os error 13)\n\
             hint: check that the Secret is mounted\n"
        );
        assert_eq!(error.code(), 1);
    }

    #[test]
    fn line_breaks_inside_a_message_become_blanks() {
        assert_eq!(Error::request("one\n  two\n\nthree").report(), "error: one two three\n");
    }
}
