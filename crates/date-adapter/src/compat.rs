//! tail's `-F`: a switch that says what happens to a FILE anyway.

use std::ffi::OsString;

/// Turns `-F` into a flag that no one else types: it only asks for a FILE.
pub(crate) fn from_tail(argv: Vec<OsString>) -> Vec<OsString> {
    let mut open = true;
    argv.into_iter()
        .map(|argument| {
            open &= argument != "--";
            if open && argument == "-F" { OsString::from("--tail-follow") } else { argument }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_becomes_a_flag_and_a_file_of_that_name_stays() {
        let argv = ["-F", "/var/log/ts.log", "--", "-F"].map(OsString::from).to_vec();
        assert_eq!(from_tail(argv), ["--tail-follow", "/var/log/ts.log", "--", "-F"]);
    }
}
