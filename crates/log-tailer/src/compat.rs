//! GNU tail's spellings, turned into ours.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use kit_run::Error;

/// Rewrites GNU's options. With any of its short ones the tool starts and prints headers as GNU tail does.
pub(crate) fn from_gnu(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut gnu = Gnu::default();
    let mut rest = argv.into_iter();
    let mut first = true;
    while let Some(argument) = rest.next() {
        if argument == "--" {
            gnu.ours.push(argument);
            gnu.ours.extend(rest);
            break;
        }
        let is_first = std::mem::take(&mut first);
        let is_gnu = gnu.long(&argument, &mut rest)?
            || (is_first && gnu.obsolete(&argument))
            || gnu.cluster(&argument, &mut rest)?;
        if !is_gnu {
            gnu.ours.push(argument);
        }
    }
    Ok(gnu.finish())
}

#[derive(Default)]
struct Gnu {
    /// Everything that is not GNU's, in order.
    ours: Vec<OsString>,
    /// GNU's way to start and to print headers.
    short: bool,
    start: Option<String>,
    follow: Option<&'static str>,
    retry: bool,
    headers: Option<&'static str>,
}

impl Gnu {
    /// A long option of GNU tail. False when it is none.
    fn long(&mut self, argument: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<bool, Error> {
        let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else { return Ok(false) };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match name {
            "--lines" | "--bytes" => {
                let value = needed(name, value, rest)?;
                self.short = true;
                self.count(&name[2..], &value)?;
            }
            "--follow" => self.follow(value.as_deref().unwrap_or("descriptor"))?,
            "--retry" => self.retry = true,
            "--quiet" | "--silent" => self.headers = Some("never"),
            "--verbose" => self.headers = Some("always"),
            "--sleep-interval" => {
                let value = needed(name, value, rest)?;
                self.sleep(&value)?;
            }
            "--debug" => {}
            "--max-unchanged-stats" => drop(needed(name, value, rest)?),
            "---disable-inotify" => self.ours.push("--watch=poll".into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// `-10`, `-10f`, `+5`: the spelling before there were options.
    fn obsolete(&mut self, argument: &OsStr) -> bool {
        let Some(text) = argument.to_str() else { return false };
        let (sign, body) = match text.as_bytes() {
            [b'+', ..] => ("+", &text[1..]),
            [b'-', digit, ..] if digit.is_ascii_digit() => ("-", &text[1..]),
            _ => return false,
        };
        let digits = body.len() - body.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, letters) = body.split_at(digits);
        let (unit, letters) = match letters.strip_prefix('c') {
            Some(rest) => ("bytes", rest),
            None => ("lines", letters.strip_prefix('l').unwrap_or(letters)),
        };
        if !matches!(letters, "" | "f") || (number.is_empty() && sign == "+") {
            return false;
        }
        self.start = Some(format!("{unit}={sign}{number}"));
        self.short = true;
        if letters == "f" {
            self.follow = Some("descriptor");
        }
        true
    }

    /// Short options, alone or together: `-F`, `-n+1`, `-fqn 5`. False when the argument is none.
    fn cluster(&mut self, argument: &OsStr, rest: &mut impl Iterator<Item = OsString>) -> Result<bool, Error> {
        let [b'-', letters @ ..] = argument.as_bytes() else { return Ok(false) };
        if letters.is_empty()
            || letters[0] == b'-'
            || !letters[0].is_ascii_alphabetic()
            || matches!(letters[0], b'h' | b'V')
        {
            return Ok(false);
        }
        for (at, letter) in letters.iter().enumerate() {
            match letter {
                b'f' => self.follow = Some("descriptor"),
                b'F' => {
                    self.follow = Some("name");
                    self.retry = true;
                }
                b'q' => self.headers = Some("never"),
                b'v' => self.headers = Some("always"),
                b'z' => self.ours.push("--zero-terminated".into()),
                b'n' | b'c' | b's' => {
                    let glued = &letters[at + 1..];
                    let name = format!("-{}", char::from(*letter));
                    let value =
                        (!glued.is_empty()).then(|| OsString::from_vec(glued.to_vec()).to_string_lossy().into_owned());
                    let value = needed(&name, value, rest)?;
                    match letter {
                        b'n' => self.count("lines", &value)?,
                        b'c' => self.count("bytes", &value)?,
                        _ => self.sleep(&value)?,
                    }
                    self.short = true;
                    return Ok(true);
                }
                other => {
                    let message = format!("unexpected option '-{}'", char::from(*other));
                    return Err(Error::request(message)
                        .hint("GNU tail's -n -c -f -F -q -v -z -s are known; see --help for the others"));
                }
            }
        }
        self.short = true;
        Ok(true)
    }

    fn count(&mut self, unit: &str, text: &str) -> Result<(), Error> {
        let (sign, digits) = match text.strip_prefix('+') {
            Some(digits) => ("+", digits),
            None => ("-", text.strip_prefix('-').unwrap_or(text)),
        };
        let number = multiplied(digits).ok_or_else(|| {
            Error::request(format!("invalid number of {unit}: '{text}'")).hint("write 10, +1 or 5K, as for GNU tail")
        })?;
        self.start = Some(format!("{unit}={sign}{number}"));
        Ok(())
    }

    fn follow(&mut self, how: &str) -> Result<(), Error> {
        self.follow = Some(match how {
            "name" => "name",
            "descriptor" => "descriptor",
            _ => {
                let message = format!("invalid argument '{how}' for --follow");
                return Err(Error::request(message).hint("write --follow=name or --follow=descriptor"));
            }
        });
        Ok(())
    }

    fn sleep(&mut self, text: &str) -> Result<(), Error> {
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let Some(seconds) = seconds else {
            return Err(Error::request(format!("invalid number of seconds: '{text}'")).hint("write -s 1 or -s 0.25"));
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be finite and positive; floats saturate"
        )]
        let milliseconds = ((seconds * 1000.0) as u64).clamp(1, 86_400_000);
        self.ours.push(format!("--poll={milliseconds}ms").into());
        Ok(())
    }

    fn finish(self) -> Vec<OsString> {
        let mut made: Vec<String> = Vec::new();
        if let Some(start) = self.start.or_else(|| self.short.then(|| "lines=-10".to_owned())) {
            made.push(format!("--start-at={start}"));
        }
        if let Some(follow) = self.follow {
            made.push(format!("--follow={follow}"));
        }
        if (self.follow.is_some() || self.short) && !self.retry {
            made.push("--no-retry".to_owned());
        }
        if self.short && self.follow.is_none() && !self.retry {
            made.push("--exit-on-eof".to_owned());
        }
        if self.short {
            made.push("--input-if-no-file".to_owned());
        }
        if let Some(headers) = self.headers.or_else(|| self.short.then_some("auto")) {
            made.push(format!("--headers={headers}"));
        }
        made.into_iter().map(OsString::from).chain(self.ours).collect()
    }
}

fn needed(name: &str, value: Option<String>, rest: &mut impl Iterator<Item = OsString>) -> Result<String, Error> {
    value.or_else(|| rest.next().map(|next| next.to_string_lossy().into_owned())).ok_or_else(|| {
        Error::request(format!("option '{name}' needs a value")).hint(format!("write for example {name} 10"))
    })
}

/// A number with GNU's endings: b 512, kB 1000, K 1024, and so on.
fn multiplied(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let powers = |base: u64, power: u32| base.checked_pow(power);
    let factor = match &text[end..] {
        "" => 1,
        "b" => 512,
        "kB" | "KB" => 1000,
        "k" | "K" | "KiB" => 1024,
        "MB" => powers(1000, 2)?,
        "m" | "M" | "MiB" => powers(1024, 2)?,
        "GB" => powers(1000, 3)?,
        "G" | "GiB" => powers(1024, 3)?,
        "TB" => powers(1000, 4)?,
        "T" | "TiB" => powers(1024, 4)?,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gnu: &str, ours: &str) {
        let argv = gnu.split(' ').map(OsString::from).collect();
        let made = from_gnu(argv).unwrap();
        let made: Vec<_> = made.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(made.join(" "), ours, "{gnu}");
    }

    #[test]
    fn the_arguments_of_a_tail_sidecar_keep_their_meaning() {
        check(
            "-n+1 -F /var/log/a.log",
            "--start-at=lines=+1 --follow=name --input-if-no-file --headers=auto /var/log/a.log",
        );
        check(
            "-f /logs/a.json",
            "--start-at=lines=-10 --follow=descriptor --no-retry --input-if-no-file --headers=auto /logs/a.json",
        );
        check("-F a", "--start-at=lines=-10 --follow=name --input-if-no-file --headers=auto a");
        check("-n 5 a", "--start-at=lines=-5 --no-retry --exit-on-eof --input-if-no-file --headers=auto a");
        check("-c +3 -f a", "--start-at=bytes=+3 --follow=descriptor --no-retry --input-if-no-file --headers=auto a");
        check("-fqn 5 a", "--start-at=lines=-5 --follow=descriptor --no-retry --input-if-no-file --headers=never a");
        check(
            "-n2K -zv a",
            "--start-at=lines=-2048 --no-retry --exit-on-eof --input-if-no-file --headers=always --zero-terminated a",
        );
        check("-s 0.5 -F a", "--start-at=lines=-10 --follow=name --input-if-no-file --headers=auto --poll=500ms a");
        check("-20f a", "--start-at=lines=-20 --follow=descriptor --no-retry --input-if-no-file --headers=auto a");
        check("+5 a", "--start-at=lines=+5 --no-retry --exit-on-eof --input-if-no-file --headers=auto a");
        check("--follow=name --retry a", "--follow=name a");
        check(
            "--lines=3 --pid=7 --follow a",
            "--start-at=lines=-3 --follow=descriptor --no-retry --input-if-no-file --headers=auto --pid=7 a",
        );
    }

    #[test]
    fn our_own_flags_pass_untouched() {
        check("--state-file /s --poll 1s a", "--state-file /s --poll 1s a");
        check("a -- -f", "a -- -f");
        check("healthcheck --admin-listen :9090", "healthcheck --admin-listen :9090");
    }

    #[test]
    fn what_gnu_refuses_is_refused_with_a_hint() {
        let refused = |text: &str| from_gnu(text.split(' ').map(OsString::from).collect()).unwrap_err().to_string();
        assert_eq!(refused("-n x a"), "invalid number of lines: 'x'");
        assert_eq!(refused("-n"), "option '-n' needs a value");
        assert_eq!(refused("-x a"), "unexpected option '-x'");
        assert_eq!(refused("--follow=inode a"), "invalid argument 'inode' for --follow");
        assert_eq!(refused("-s soon a"), "invalid number of seconds: 'soon'");
    }
}
