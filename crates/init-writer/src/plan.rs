//! A plan file: YAML in, the same steps as the command line would give.
//!
//! A step's fields are the flags and positional arguments of its verb, so they are turned into those and parsed by the
//! same definition. What this adds are lines, nearest names and the shape.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, Command, FromArgMatches as _, Subcommand as _};
use kit_fs::shown;
use kit_run::Error;

use crate::args::StepArgs;
use crate::step::Step;
use crate::yaml::{self, Flaw, Kind, Node};

/// Reads all steps, or says what is wrong with the first wrong one.
pub(crate) fn parse(path: &Path, text: &str) -> Result<Vec<Step>, Error> {
    steps(text).map_err(|(flaw, hint)| {
        let error = Error::request(format!("plan {}, line {}: {}", shown(path), flaw.line, flaw.text));
        error.hint(hint)
    })
}

/// What is wrong, and the repair.
type Refusal = (Flaw, String);

const SHAPE: &str = "a plan looks like: steps: [{mkdir: {dir: /mnt/html}}, {date: {dest: /mnt/html/index.html}}]";

fn steps(text: &str) -> Result<Vec<Step>, Refusal> {
    let shape = |line, text: String| (Flaw::new(line, text), SHAPE.to_owned());
    let document = yaml::parse(text).map_err(|flaw| (flaw, SHAPE.to_owned()))?;
    let document = document.ok_or_else(|| shape(1, "the plan is empty".to_owned()))?;
    let Kind::Map(entries) = &document.kind else {
        return Err(shape(document.line, format!("the plan is {}, not a map with the key steps", document.what())));
    };
    if let Some((key, _)) = entries.iter().find(|(key, _)| scalar(key) != Some("steps")) {
        return Err(shape(key.line, format!("unknown key {}", scalar(key).unwrap_or_default())));
    }
    let list = entries.first().map(|(_, value)| value);
    let Some(Node { kind: Kind::List(items), .. }) = list else {
        let line = list.map_or(document.line, |node| node.line);
        return Err(shape(line, "steps is not a list".to_owned()));
    };
    let verbs = StepArgs::augment_subcommands(Command::new("step").no_binary_name(true));
    let mut found = Vec::new();
    for item in items {
        found.extend(step(item, &verbs)?);
    }
    if found.is_empty() {
        return Err(shape(document.line, "there are no steps".to_owned()));
    }
    Ok(found)
}

fn step(item: &Node, verbs: &Command) -> Result<Vec<Step>, Refusal> {
    let Kind::Map(entries) = &item.kind else {
        let flaw = Flaw::new(item.line, format!("a step is {}, not a map of one verb", item.what()));
        return Err((flaw, SHAPE.to_owned()));
    };
    let (verb, fields) = match entries.as_slice() {
        [(verb, fields)] => (verb, fields),
        [] => return Err((Flaw::new(item.line, "a step without a verb"), SHAPE.to_owned())),
        [_, (second, _), ..] => {
            let text = format!("a second verb in one step: {}", scalar(second).unwrap_or_default());
            return Err((
                Flaw::new(second.line, text),
                "begin each step with a dash; indent its fields below the verb".to_owned(),
            ));
        }
    };
    let name = scalar(verb).unwrap_or_default();
    let Some(command) = verbs.find_subcommand(name) else {
        let known: Vec<_> = verbs.get_subcommands().map(Command::get_name).collect();
        return Err((Flaw::new(verb.line, format!("unknown verb {name}")), nearest(name, &known)));
    };
    let Kind::Map(fields) = &fields.kind else {
        let flaw = Flaw::new(fields.line, format!("{name} has {} instead of its fields", fields.what()));
        return Err((flaw, format!("{name} understands {}", listed(&known_fields(command)))));
    };
    let argv = argv(name, verb.line, command, fields)?;
    let matches = verbs.clone().try_get_matches_from(argv);
    let parsed = matches.and_then(|matches| StepArgs::from_arg_matches(&matches));
    let parsed = parsed.map_err(|error| {
        let flaw = Flaw::new(line_of(&error, fields).unwrap_or(verb.line), one_line(&error));
        (flaw, format!("{name} understands {}", listed(&known_fields(command))))
    })?;
    Ok(Step::from_args(parsed, Some(verb.line)))
}

/// The fields as the command line that means the same.
fn argv(verb: &str, line: usize, command: &Command, fields: &[(Node, Node)]) -> Result<Vec<OsString>, Refusal> {
    let known = known_fields(command);
    let mut flags = vec![OsString::from(verb)];
    for (key, value) in fields {
        let name = scalar(key).unwrap_or_default();
        let Some(arg) = command.get_arguments().find(|arg| field(arg).as_deref() == Some(name)) else {
            return Err((Flaw::new(key.line, format!("unknown field {name} of {verb}")), nearest(name, &known)));
        };
        if !arg.is_positional() {
            flags.extend(tokens(name, arg, value)?);
        }
    }
    flags.push("--".into());
    for arg in command.get_positionals().filter(|arg| field(arg).is_some()) {
        let name = arg.get_id().as_str();
        let value = fields.iter().find(|(key, _)| scalar(key) == Some(name));
        let Some((_, value)) = value else {
            let flaw = Flaw::new(line, format!("{verb} lacks the field {name}"));
            return Err((flaw, format!("{verb} understands {}", listed(&known))));
        };
        flags.push(text(name, value)?.into());
    }
    Ok(flags)
}

fn tokens(name: &str, arg: &Arg, value: &Node) -> Result<Vec<OsString>, Refusal> {
    let token = |value: &Node| Ok(OsString::from(format!("--{name}={}", text(name, value)?)));
    match (arg.get_action(), &value.kind) {
        (ArgAction::SetTrue, kind) => match kind {
            Kind::Scalar { text, plain: true } if text == "true" => Ok(vec![format!("--{name}").into()]),
            Kind::Scalar { text, plain: true } if text == "false" => Ok(Vec::new()),
            _ => {
                Err((Flaw::new(value.line, format!("{name} is neither true nor false")), format!("write {name}: true")))
            }
        },
        (ArgAction::Append, Kind::List(items)) => items.iter().map(token).collect(),
        // `data: {k: FILE}` reads better than a list of `k=FILE`.
        (ArgAction::Append, Kind::Map(entries)) if name == "data" => entries
            .iter()
            .map(|(key, file)| Ok(format!("--{name}={}={}", scalar(key).unwrap_or_default(), text(name, file)?).into()))
            .collect(),
        _ => Ok(vec![token(value)?]),
    }
}

fn text<'a>(name: &str, value: &'a Node) -> Result<&'a str, Refusal> {
    match scalar(value) {
        Some(text) if !value.is_null() => Ok(text),
        _ => {
            let flaw = Flaw::new(value.line, format!("{name} is {}, not a text", value.what()));
            Err((flaw, format!("write {name}: \"...\"")))
        }
    }
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

/// The name of an argument in a plan. The pairs of a template step are `src` and `dest` there.
fn field(arg: &Arg) -> Option<String> {
    match arg.get_action() {
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version => None,
        _ if arg.get_id() == "templates" || arg.get_id() == "stdin" => None,
        _ => Some(arg.get_long().map_or_else(|| arg.get_id().to_string(), str::to_owned)),
    }
}

fn known_fields(command: &Command) -> Vec<String> {
    let positionals = command.get_positionals().filter_map(field);
    positionals.chain(command.get_arguments().filter(|arg| !arg.is_positional()).filter_map(field)).collect()
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

fn nearest(name: &str, known: &[impl AsRef<str>]) -> String {
    let near = known.iter().map(|other| (kit_run::edits(name.as_bytes(), other.as_ref().as_bytes()), other.as_ref()));
    match near.min() {
        // Half of the letters may be wrong: cp is meant to be found as copy.
        Some((distance, other)) if distance <= name.len().max(other.len()) / 2 => format!("did you mean {other}?"),
        _ => format!("known are {}", listed(known)),
    }
}

/// The line of the field that clap blames, if it names one.
fn line_of(error: &clap::Error, fields: &[(Node, Node)]) -> Option<usize> {
    let clap::error::ContextValue::String(arg) = error.get(clap::error::ContextKind::InvalidArg)? else { return None };
    let name = arg.trim_start_matches(['-', '<']).split([' ', '>', '=']).next()?.to_ascii_lowercase();
    fields.iter().find(|(key, _)| scalar(key) == Some(name.as_str())).map(|(_, value)| value.line)
}

fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let first = text.split("\n\n").next().unwrap_or_default();
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Action;

    #[test]
    fn iw14_the_plan_of_the_documentation_is_understood() {
        let plan = r#"
steps:
  - mkdir: {dir: /mnt/html, owner: "33:33", mode: "0755"}
  - write: {dest: /mnt/html/robots.txt, text: "User-agent: *\n", if-missing: true}
  - date: {dest: /contents/index.html}
  - copy: {src: /etc/hostname, dest: /html/index.html}
  - link: {name: /data/current, target: releases/7}
  - template: {src: /tpl/app.conf.tmpl, dest: /config/app.conf, engine: envsubst}
  - touch: {file: /data/.ready}
  - remove: {path: /data/cache}
  - template:
      src: "/tpl/with:colon"
      dest: /config/x
      data: {db: /secrets/db, more: /x.yaml}
      vars: [A, B]
      mode: 0640
  - write: {dest: "-x", text: -n}
"#;
        let steps = steps(plan).unwrap();
        assert_eq!(steps.iter().map(|step| step.line.unwrap()).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 17]);
        assert_eq!(steps[0].make.mode, Some(0o755));
        assert!(steps[1].make.if_missing);
        let Action::Link { target, name } = &steps[4].action else { panic!("{steps:?}") };
        assert_eq!((target.to_str(), name.to_str()), (Some("releases/7"), Some("/data/current")));
        let Action::Template(template) = &steps[8].action else { panic!("{steps:?}") };
        assert_eq!(template.pair.src.to_str(), Some("/tpl/with:colon"));
        assert_eq!(template.vars, ["A", "B"]);
        assert_eq!(template.data.len(), 2);
        assert_eq!(steps[8].make.mode, Some(0o640));
        assert_eq!(steps[9].path().to_str(), Some("-x"));
    }

    #[test]
    fn refusals_name_line_and_repair() {
        let check = |plan: &str, line: usize, text: &str, hint: &str| {
            let (flaw, found) = steps(plan).unwrap_err();
            assert_eq!((flaw.line, flaw.text.as_str()), (line, text), "{plan}");
            assert!(found.contains(hint), "{plan}: {found}");
        };
        check("steps:\n  - mkdri: {dir: /x}\n", 2, "unknown verb mkdri", "did you mean mkdir?");
        check("steps:\n  - cp: {src: /x}\n", 2, "unknown verb cp", "did you mean copy?");
        check("steps:\n  - fetch: {url: x}\n", 2, "unknown verb fetch", "known are write, date, copy");
        check(
            "steps:\n  - mkdir:\n      dir: /x\n      ower: \"1\"\n",
            4,
            "unknown field ower of mkdir",
            "did you mean owner?",
        );
        check("steps:\n  - remove: {path: /x, mode: 1}\n", 2, "unknown field mode of remove", "known are path");
        check("steps:\n  - mkdir: {owner: 33}\n", 2, "mkdir lacks the field dir", "dir, mode, dir-mode");
        check(
            "steps:\n  - mkdir:\n      dir: /x\n      mode: 999\n",
            4,
            "invalid value '999' for '--mode <MODE>': \"999\" is no octal mode; write it like 0644 or 2775",
            "mkdir understands",
        );
        check(
            "steps:\n  - write: {dest: /x}\n",
            2,
            "the following required arguments were not provided: <--text <TEXT>|--from-env <NAME>|--stdin>",
            "text, from-env",
        );
        check(
            "steps:\n  - touch: {file: /x, if-missing: maybe}\n",
            2,
            "if-missing is neither true nor false",
            "write if-missing: true",
        );
        check("steps:\n  - touch: {file: [a]}\n", 2, "file is a list, not a text", "file");
        check("steps:\n  - touch: {file: }\n", 2, "file is nothing, not a text", "file");
        check("steps:\n  - touch: /x\n", 2, "touch has a text instead of its fields", "touch understands file");
        check(
            "steps:\n  - touch: {file: x}\n    mkdir: {dir: y}\n",
            3,
            "a second verb in one step: mkdir",
            "begin each step with a dash",
        );
        check("steps: {}\n", 1, "steps is not a list", "a plan looks like");
        check("step: []\n", 1, "unknown key step", "a plan looks like");
        check("", 1, "the plan is empty", "a plan looks like");
        check("steps: []", 1, "there are no steps", "a plan looks like");
        check("- x", 1, "the plan is a list, not a map with the key steps", "a plan looks like");
    }
}
