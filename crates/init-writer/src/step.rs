//! What is true: steps whose every part was checked.

use std::fmt;
use std::path::{Path, PathBuf};

use kit_fs::{Attributes, ModeRule, Owner, Parents, shown};
use kit_run::Error;

use crate::args::{Args, Engine, MakeFlags, StepArgs, Summary, TemplateArgs};

/// Permissions of a new file that nobody named.
const FILE_MODE: u32 = 0o644;

/// A whole request.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) source: Source,
    pub(crate) root: Option<PathBuf>,
    pub(crate) once_marker: Option<PathBuf>,
    pub(crate) summary: Option<Summary>,
}

/// Where the steps come from. A plan is read when the root is known to exist.
#[derive(Debug)]
pub(crate) enum Source {
    CommandLine(Vec<Step>),
    Plan(PathBuf),
}

impl TryFrom<Args> for Config {
    type Error = Error;

    fn try_from(args: Args) -> Result<Self, Error> {
        let Args { plan, root, once_marker, summary, step } = args;
        let source = match (plan, step) {
            (Some(plan), None) => Source::Plan(plan),
            (None, Some(step)) => Source::CommandLine(Step::from_args(step, None)),
            (Some(_), Some(_)) => {
                return Err(Error::request("--plan and a step on the command line exclude each other")
                    .hint("move the step into the plan, or run a second init container"));
            }
            (None, None) => {
                return Err(Error::request("nothing to do: neither a step nor --plan was given")
                    .hint("write for example: init-writer date /contents/index.html; see init-writer --help"));
            }
        };
        Ok(Self { source, root, once_marker, summary })
    }
}

/// One step and where it stands.
#[derive(Debug)]
pub(crate) struct Step {
    /// Of the plan; `None` for the command line.
    pub(crate) line: Option<usize>,
    pub(crate) action: Action,
    pub(crate) make: Make,
}

/// How whatever a step makes is to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Make {
    pub(crate) mode: Option<u32>,
    pub(crate) dir_mode: u32,
    pub(crate) owner: Option<Owner>,
    pub(crate) if_missing: bool,
    pub(crate) no_mkdir: bool,
}

impl Make {
    fn new(flags: &MakeFlags, mode: Option<u32>) -> Self {
        // What `if_changed` asks for is always so.
        let MakeFlags { dir_mode, owner, if_missing, if_changed: _, no_mkdir } = *flags;
        Self { mode, dir_mode, owner, if_missing, no_mkdir }
    }

    pub(crate) fn parents(&self) -> Parents {
        if self.no_mkdir { Parents::MustExist } else { Parents::Make { mode: self.dir_mode, owner: self.owner } }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let mode = self.mode.map_or(ModeRule::KeepOr(FILE_MODE), ModeRule::Exactly);
        Attributes { mode, owner: self.owner }
    }
}

/// What a step does.
#[derive(Debug)]
pub(crate) enum Action {
    Write { dest: PathBuf, text: Text, append_newline: bool },
    Date { dest: PathBuf, format: String, zone: Zone },
    Copy { src: PathBuf, dest: PathBuf, recursive: bool, follow: bool, exclude: Vec<String> },
    Mkdir { dir: PathBuf },
    Touch { file: PathBuf },
    Link { target: PathBuf, name: PathBuf },
    Remove { path: PathBuf },
    Template(Template),
}

#[derive(Debug)]
pub(crate) enum Text {
    Literal(String),
    FromEnv(String),
    Stdin,
}

/// Which time zone `date` writes.
#[derive(Debug)]
pub(crate) enum Zone {
    Utc,
    Named(String),
    /// The variable TZ, else UTC.
    OfEnvironment,
}

#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) pair: Pair,
    pub(crate) engine: Option<Engine>,
    pub(crate) data: Vec<(String, PathBuf)>,
    pub(crate) vars: Vec<String>,
    pub(crate) delims: Option<(String, String)>,
    pub(crate) strip_ext: Option<String>,
    pub(crate) lenient: bool,
}

/// A template and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub(crate) src: PathBuf,
    pub(crate) dest: PathBuf,
}

impl Pair {
    /// Reads `SRC:DEST`. A name that holds a colon needs `--src` and `--dest`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((src, dest)) if !src.is_empty() && !dest.is_empty() && !dest.contains(':') => {
                Ok(Self { src: src.into(), dest: dest.into() })
            }
            _ => Err(format!("\"{text}\" is not SRC:DEST; a name that holds a colon needs --src and --dest")),
        }
    }
}

impl Step {
    /// Several only for a template step with several pairs.
    pub(crate) fn from_args(args: StepArgs, line: Option<usize>) -> Vec<Self> {
        let (action, make) = match args {
            StepArgs::Write(a) => {
                let text = match (a.text, a.from_env) {
                    (Some(text), _) => Text::Literal(text),
                    (None, Some(name)) => Text::FromEnv(name),
                    (None, None) => Text::Stdin,
                };
                let make = Make::new(&a.make, a.mode);
                (Action::Write { dest: a.dest, text, append_newline: a.append_newline }, make)
            }
            StepArgs::Date(a) => {
                let zone = match a.tz {
                    Some(name) => Zone::Named(name),
                    None if a.utc => Zone::Utc,
                    None => Zone::OfEnvironment,
                };
                (Action::Date { dest: a.dest, format: a.format, zone }, Make::new(&a.make, a.mode))
            }
            StepArgs::Copy(a) => {
                let make = Make::new(&a.make, a.mode);
                let (src, dest, recursive) = (a.src, a.dest, a.recursive);
                (Action::Copy { src, dest, recursive, follow: a.follow, exclude: a.exclude }, make)
            }
            StepArgs::Mkdir(a) => (Action::Mkdir { dir: a.dir }, Make::new(&a.make, a.mode)),
            StepArgs::Touch(a) => (Action::Touch { file: a.file }, Make::new(&a.make, a.mode)),
            StepArgs::Link(a) => (Action::Link { target: a.target, name: a.name }, Make::new(&a.make, None)),
            StepArgs::Remove(a) => {
                let make = Make { mode: None, dir_mode: 0, owner: None, if_missing: false, no_mkdir: true };
                (Action::Remove { path: a.path }, make)
            }
            StepArgs::Template(a) => return templates(a, line),
        };
        vec![Self { line, action, make }]
    }

    /// The verb, as it is typed.
    pub(crate) fn verb(&self) -> &'static str {
        match &self.action {
            Action::Write { .. } => "write",
            Action::Date { .. } => "date",
            Action::Copy { .. } => "copy",
            Action::Mkdir { .. } => "mkdir",
            Action::Touch { .. } => "touch",
            Action::Link { .. } => "link",
            Action::Remove { .. } => "remove",
            Action::Template(_) => "template",
        }
    }

    /// What the step is about to change.
    pub(crate) fn path(&self) -> &Path {
        match &self.action {
            Action::Write { dest, .. } | Action::Date { dest, .. } | Action::Copy { dest, .. } => dest,
            Action::Mkdir { dir } => dir,
            Action::Touch { file } => file,
            Action::Link { name, .. } => name,
            Action::Remove { path } => path,
            Action::Template(template) => &template.pair.dest,
        }
    }
}

fn templates(args: TemplateArgs, line: Option<usize>) -> Vec<Step> {
    let make = Make::new(&args.make, args.mode);
    let mut pairs = args.templates;
    if let (Some(src), Some(dest)) = (args.src, args.dest) {
        pairs.push(Pair { src, dest });
    }
    let of = |pair| Template {
        pair,
        engine: args.engine,
        data: args.data.clone(),
        vars: args.vars.clone(),
        delims: args.delims.clone(),
        strip_ext: args.strip_ext.clone(),
        lenient: args.lenient,
    };
    pairs.into_iter().map(|pair| Step { line, action: Action::Template(of(pair)), make }).collect()
}

/// A step among others, for messages: `step 3 of 5 (copy /data/x)`, or `copy /data/x` when it is alone.
pub(crate) struct Numbered<'a> {
    pub(crate) step: &'a Step,
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) of: usize,
}

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, number, of } = self;
        match step.line {
            Some(line) => {
                write!(f, "step {number} of {of} ({} {}, line {line} of the plan)", step.verb(), shown(step.path()))
            }
            None if *of > 1 => write!(f, "step {number} of {of} ({} {})", step.verb(), shown(step.path())),
            None => write!(f, "{} {}", step.verb(), shown(step.path())),
        }
    }
}
