//! dockerize's spellings, turned into our own before parsing.
//!
//! `-template a:b` (repeatable), `-no-overwrite`, `-delims '<%:%>'`, with one dash or two as Go's flags have it, become
//! one `template` step with the engine dockerize. Its other flags wait for services or start programs, which is not
//! this tool's work; they are refused by name.

use std::ffi::{OsStr, OsString};

use kit_run::{Error, Tool};

use crate::Args;

impl Tool for Args {
    const NAME: &'static str = "init-writer";
    const GRACE: Option<std::time::Duration> = None;

    fn compat(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        translate(argv)
    }
}

/// dockerize's flags that a template run may carry, and where their work is done instead.
const ELSEWHERE: [(&str, &str); 8] = [
    ("wait", "wait for services with podkit/wait-for"),
    ("wait-http-header", "wait for services with podkit/wait-for"),
    ("wait-retry-interval", "wait for services with podkit/wait-for"),
    ("timeout", "wait for services with podkit/wait-for"),
    ("stdout", "follow files with podkit/log-tailer"),
    ("stderr", "follow files with podkit/log-tailer"),
    ("poll", "follow files with podkit/log-tailer"),
    ("env", "set variables in the container's env or envFrom"),
];

fn translate(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    if !argv.iter().any(|token| go_flag(token, "template").is_some()) {
        return Ok(argv);
    }
    let mut result = Vec::new();
    let mut templates = Vec::new();
    let mut flags: Vec<OsString> = Vec::new();
    let mut tokens = argv.into_iter();
    while let Some(token) = tokens.next() {
        if let Some(value) = go_flag(&token, "template") {
            templates.push(value.or_else(|| tokens.next()).ok_or_else(|| needs_value("template", "SRC:DEST"))?);
        } else if let Some(value) = go_flag(&token, "delims") {
            flags.push("--delims".into());
            flags.push(value.or_else(|| tokens.next()).ok_or_else(|| needs_value("delims", "LEFT:RIGHT"))?);
        } else if let Some(value) = go_flag(&token, "no-overwrite") {
            if value.is_none_or(|value| value != "false") {
                flags.push("--if-missing".into());
            }
        } else if let Some((name, instead)) = ELSEWHERE.iter().find(|(name, _)| go_flag(&token, name).is_some()) {
            return Err(Error::request(format!("dockerize's -{name} is not understood")).hint(*instead));
        } else {
            // One of our own flags, such as --root or --mode, or its value.
            result.push(token);
        }
    }
    result.insert(0, "template".into());
    result.push("--engine=dockerize".into());
    result.extend(flags);
    result.push("--".into());
    result.extend(templates);
    Ok(result)
}

fn needs_value(flag: &str, value: &str) -> Error {
    Error::request(format!("-{flag} needs a value")).hint(format!("write -{flag} {value}"))
}

/// `-name`, `--name`, `-name=value`: `Some(None)` without a value.
fn go_flag(token: &OsStr, name: &str) -> Option<Option<OsString>> {
    let token = token.to_str()?;
    let body = token.strip_prefix("--").or_else(|| token.strip_prefix('-'))?;
    match body.split_once('=') {
        Some((flag, value)) if flag == name => Some(Some(value.into())),
        None if body == name => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(argv: &[&str], expected: &[&str]) {
        let translated = translate(argv.iter().map(OsString::from).collect()).unwrap();
        assert_eq!(translated, expected.iter().map(OsString::from).collect::<Vec<_>>(), "{argv:?}");
    }

    #[test]
    fn dockerizes_flags_become_one_template_step() {
        check(&["-template", "a:b"], &["template", "--engine=dockerize", "--", "a:b"]);
        check(
            &["-no-overwrite", "--template=a:b", "-delims", "<%:%>", "--root", "/data", "-template", "c:d"],
            &[
                "template",
                "--root",
                "/data",
                "--engine=dockerize",
                "--if-missing",
                "--delims",
                "<%:%>",
                "--",
                "a:b",
                "c:d",
            ],
        );
    }

    #[test]
    fn our_own_command_lines_pass_unchanged() {
        check(&["template", "a:b", "--delims", "<%:%>"], &["template", "a:b", "--delims", "<%:%>"]);
        check(&["write", "x", "--text", "-wait"], &["write", "x", "--text", "-wait"]);
    }

    #[test]
    fn what_dockerize_does_besides_templates_is_refused_by_name() {
        let error = translate(vec!["-template".into(), "a:b".into(), "-wait".into(), "tcp://db:1".into()]).unwrap_err();
        assert_eq!(error.to_string(), "dockerize's -wait is not understood");
        assert_eq!(error.hint_text(), Some("wait for services with podkit/wait-for"));
        assert_eq!(translate(vec!["-template".into()]).unwrap_err().to_string(), "-template needs a value");
    }
}
