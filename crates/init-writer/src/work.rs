//! Checks all steps, then does them one after the other.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use kit_fs::{Change, Content, Kind, ModeRule, Parents, Root, shown};
use kit_run::{Context, Environment, Error, Shutdown};

use crate::args::{Engine, Summary};
use crate::data::{self, Data};
use crate::hint::hint;
use crate::step::{Action, Config, Make, Numbered, Source, Step, Template, Text, Zone};
use crate::template::{self, Flaw, Values};
use crate::tree::{self, Source as Tree};
use crate::{date, plan};

pub(crate) fn run(config: Config, context: &Context) -> Result<(), Error> {
    let root = match &config.root {
        Some(path) => Root::open(path).map_err(|error| {
            Error::request("--root cannot be used").caused_by(error).hint("name a directory that is mounted here")
        })?,
        None => Root::whole(),
    };
    let steps = match config.source {
        Source::CommandLine(steps) => steps,
        Source::Plan(path) => read_plan(&path)?,
    };
    let work = Work { root, steps, environment: context.environment(), shutdown: context.shutdown() };
    work.check(config.once_marker.as_deref())?;
    let mut done = Vec::new();
    if !work.was_done(config.once_marker.as_deref())? {
        for index in 0..work.steps.len() {
            done.push(work.step(index)?);
        }
        work.mark_done(config.once_marker.as_deref())?;
    }
    match config.summary {
        Some(Summary::Json) => summary(&work.steps, &done),
        None => Ok(()),
    }
}

/// The plan is named by whoever wrote the pod, so `--root` does not hold for it.
fn read_plan(path: &Path) -> Result<Vec<Step>, Error> {
    let unreadable = |error: std::io::Error| {
        Error::request(format!("cannot read the plan {}", shown(path)))
            .caused_by(error)
            .hint("check that the ConfigMap is mounted in this init container, and its key")
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    plan::parse(path, &text)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Changed,
    Unchanged,
    /// `--if-missing`, and it was there.
    Kept,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Kept => "kept",
        }
    }

    fn and(self, other: Self) -> Self {
        if self == Self::Changed || other == Self::Kept { self } else { other }
    }
}

impl From<Change> for Outcome {
    fn from(change: Change) -> Self {
        match change {
            Change::Changed => Self::Changed,
            Change::Unchanged => Self::Unchanged,
        }
    }
}

/// Why a step did not come to its end.
enum Trouble {
    FileSystem(kit_fs::Error),
    Other(Error),
    Refused(String, &'static str),
    Template(PathBuf, Flaw),
}

impl From<kit_fs::Error> for Trouble {
    fn from(error: kit_fs::Error) -> Self {
        Self::FileSystem(error)
    }
}

impl From<tree::Trouble> for Trouble {
    fn from(trouble: tree::Trouble) -> Self {
        match trouble {
            tree::Trouble::System(error) => Self::FileSystem(error),
            tree::Trouble::Refused(text, repair) => Self::Refused(text, repair),
        }
    }
}

impl From<data::Trouble> for Trouble {
    fn from(trouble: data::Trouble) -> Self {
        match trouble {
            data::Trouble::Unreadable(error) => Self::FileSystem(error),
            data::Trouble::Wrong(text) => Self::Other(Error::request(text).hint("correct the file")),
        }
    }
}

struct Work<'a> {
    root: Root,
    steps: Vec<Step>,
    environment: &'a Environment,
    shutdown: Shutdown,
}

impl Work<'_> {
    fn numbered(&self, index: usize) -> Numbered<'_> {
        Numbered { step: &self.steps[index], number: index + 1, of: self.steps.len() }
    }

    /// Everything that can be known to be wrong without changing anything.
    fn check(&self, once_marker: Option<&Path>) -> Result<(), Error> {
        let mut unset = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            match self.check_step(index, step) {
                Ok(()) => {}
                Err(Trouble::Template(src, Flaw::Unset(names))) => unset.push((index, src, names)),
                Err(trouble) => {
                    let error = self.error(index, trouble);
                    // Whatever is wrong now was asked for wrongly, but for a file that cannot be read.
                    return Err(error);
                }
            }
        }
        if let Some(marker) = once_marker {
            self.root.check(marker).map_err(|error| Error::request("--once-marker").caused_by(error))?;
        }
        match unset.as_slice() {
            [] => Ok(()),
            [(index, src, names)] => Err(self.unset(*index, src, names)),
            several => {
                let listed: Vec<_> =
                    several.iter().map(|(_, src, names)| format!("{} ({})", names.join(", "), shown(src))).collect();
                Err(Error::request(format!("variables are not set: {}", listed.join("; "))).hint(UNSET_HINT))
            }
        }
    }

    fn check_step(&self, index: usize, step: &Step) -> Result<(), Trouble> {
        let refused = |error: kit_fs::Error| {
            let text = hint(&error, step).unwrap_or_default();
            Trouble::Other(Error::request(self.numbered(index).to_string()).caused_by(error).hint(text))
        };
        match &step.action {
            Action::Copy { src, .. } => self.root.check_read(src).map_err(refused)?,
            Action::Link { target, name } => self.root.check_target(name, target).map_err(refused)?,
            Action::Write { text: Text::FromEnv(name), .. } if self.environment.get(name).is_none() => {
                return Err(Trouble::Template(PathBuf::from("--from-env"), Flaw::Unset(vec![name.clone()])));
            }
            Action::Date { format, zone, .. } => {
                self.date(format, zone).map_err(Trouble::Other)?;
            }
            Action::Template(template) => self.check_template(index, template, refused)?,
            Action::Write { .. } | Action::Mkdir { .. } | Action::Touch { .. } | Action::Remove { .. } => {}
        }
        match &step.action {
            // Making or filling the root itself is no way out of it.
            Action::Mkdir { dir: path } | Action::Copy { dest: path, .. } => {
                self.root.check_read(path).map_err(refused)
            }
            _ => self.root.check(step.path()).map_err(refused),
        }
    }

    /// Fills the template for nothing, unless its source is yet to come from an earlier step.
    fn check_template(
        &self,
        index: usize,
        template: &Template,
        refused: impl Fn(kit_fs::Error) -> Trouble,
    ) -> Result<(), Trouble> {
        let Template { pair, data, engine, vars, delims, .. } = template;
        let wrong = |text: &str, repair: &str| Err(Trouble::Other(Error::request(text).hint(repair)));
        if delims.is_some() && *engine != Some(Engine::Dockerize) {
            return wrong("--delims needs --engine dockerize", "envsubst and Jinja have fixed delimiters");
        }
        if !vars.is_empty() && matches!(engine, Some(Engine::Jinja | Engine::Dockerize)) {
            return wrong("--vars needs --engine envsubst", "the other languages replace what they are told to");
        }
        if !data.is_empty() && *engine == Some(Engine::Dockerize) {
            return wrong(
                "--data needs --engine jinja or envsubst",
                "dockerize's templates know the environment alone",
            );
        }
        for path in data.iter().map(|(_, path)| path).chain([&pair.src]) {
            self.root.check_read(path).map_err(&refused)?;
            let later = self.steps[..index].iter().map(Step::path);
            if later.into_iter().any(|made| made.starts_with(path) || path.starts_with(made)) {
                return Ok(());
            }
        }
        match self.fill(template, |_, _| Ok(())) {
            // What cannot be read fails at its turn, with the steps before it done.
            Err(Trouble::FileSystem(_) | Trouble::Refused(..)) => Ok(()),
            other => other,
        }
    }

    fn was_done(&self, marker: Option<&Path>) -> Result<bool, Error> {
        let Some(marker) = marker else { return Ok(false) };
        let there = self.root.place(marker, Parents::MustExist).and_then(|place| place.kind());
        match there {
            Ok(Some(_)) => {
                tracing::info!(marker = %shown(marker), "everything was done before");
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) if error.cause().is_some_and(|cause| cause.kind() == std::io::ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(Error::failed("cannot look for the --once-marker").caused_by(error)),
        }
    }

    fn mark_done(&self, marker: Option<&Path>) -> Result<(), Error> {
        let Some(marker) = marker else { return Ok(()) };
        let attributes = kit_fs::Attributes { mode: ModeRule::KeepOr(0o644), owner: None };
        let parents = Parents::Make { mode: 0o755, owner: None };
        let made = self.root.place(marker, parents).and_then(|place| place.touch(&attributes));
        made.map(drop).map_err(|error| {
            Error::failed("all steps are done, but the --once-marker cannot be made")
                .caused_by(error)
                .hint("put it on a writable volume")
        })
    }

    fn step(&self, index: usize) -> Result<Outcome, Error> {
        if self.shutdown.is_requested() {
            return Err(self.stopped(index, ""));
        }
        let step = &self.steps[index];
        let outcome = self.act(step).map_err(|trouble| self.error(index, trouble))?;
        tracing::info!(path = %shown(step.path()), "{} {}", step.verb(), outcome.name());
        Ok(outcome)
    }

    fn stopped(&self, index: usize, what: &str) -> Error {
        let left = if index + 1 == self.steps.len() {
            format!("{} was not done", self.numbered(index))
        } else {
            format!("{} and what follows was not done", self.numbered(index))
        };
        Error::failed(format!("stopped by a signal: {left}{what}"))
            .hint("run it again; steps that were done change nothing then")
    }

    fn error(&self, index: usize, trouble: Trouble) -> Error {
        let failed = || Error::failed(self.numbered(index).to_string());
        match trouble {
            Trouble::FileSystem(error)
                if error.cause().is_some_and(|cause| cause.kind() == std::io::ErrorKind::Interrupted) =>
            {
                self.stopped(index, "; its target is as it was")
            }
            Trouble::FileSystem(error) => {
                let text = hint(&error, &self.steps[index]);
                let error = failed().caused_by(error);
                match text {
                    Some(text) => error.hint(text),
                    None => error,
                }
            }
            Trouble::Refused(text, repair) => failed().caused_by(text).hint(repair),
            Trouble::Template(src, Flaw::Unset(names)) => self.unset(index, &src, &names),
            Trouble::Template(src, Flaw::Wrong(text)) => {
                Error::request(format!("{}: template {}, {text}", self.numbered(index), shown(&src)))
                    .hint("correct the template, or choose its language with --engine")
            }
            Trouble::Other(error) => error,
        }
    }

    fn unset(&self, index: usize, src: &Path, names: &[String]) -> Error {
        let (verb, noun) = if names.len() == 1 { ("is", "variable") } else { ("are", "variables") };
        let place = if src == Path::new("--from-env") { String::new() } else { format!(" template {},", shown(src)) };
        let text = format!("{}:{place} {noun} {verb} not set: {}", self.numbered(index), names.join(", "));
        Error::request(text).hint(UNSET_HINT)
    }

    fn act(&self, step: &Step) -> Result<Outcome, Trouble> {
        let Step { action, make, .. } = step;
        match action {
            Action::Write { dest, text, append_newline } => {
                if self.is_kept(dest, make)? {
                    return Ok(Outcome::Kept);
                }
                let mut bytes = self.text(text)?;
                if *append_newline && bytes.last() != Some(&b'\n') {
                    bytes.push(b'\n');
                }
                self.write(dest, make, &bytes)
            }
            Action::Date { dest, format, zone } => {
                if self.is_kept(dest, make)? {
                    return Ok(Outcome::Kept);
                }
                let line = self.date(format, zone).map_err(Trouble::Other)?;
                self.write(dest, make, line.as_bytes())
            }
            Action::Copy { src, dest, recursive, follow, exclude } => {
                self.copy(make, (src, dest), *recursive, *follow, exclude)
            }
            Action::Mkdir { dir } => self.make_directory(dir, make),
            Action::Touch { file } => {
                if self.is_kept(file, make)? {
                    return Ok(Outcome::Kept);
                }
                Ok(self.root.place(file, make.parents())?.touch(&make.attributes())?.into())
            }
            Action::Link { target, name } => {
                if self.is_kept(name, make)? {
                    return Ok(Outcome::Kept);
                }
                Ok(self.root.place(name, make.parents())?.link(target, make.owner)?.into())
            }
            Action::Remove { path } => match self.root.place(path, Parents::MustExist) {
                Err(kit_fs::Error::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Ok(Outcome::Unchanged)
                }
                place => Ok(place?.remove()?.into()),
            },
            Action::Template(template) => self.template(template, make),
        }
    }

    /// Whether `--if-missing` was given and something is there, a dangling symlink included.
    fn is_kept(&self, path: &Path, make: &Make) -> Result<bool, kit_fs::Error> {
        if !make.if_missing {
            return Ok(false);
        }
        match self.root.place(path, Parents::MustExist) {
            Ok(place) => Ok(place.kind()?.is_some()),
            Err(error) if error.cause().is_some_and(|cause| cause.kind() == std::io::ErrorKind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&self, dest: &Path, make: &Make, bytes: &[u8]) -> Result<Outcome, Trouble> {
        let place = self.root.place(dest, make.parents())?;
        Ok(place.write(Content::Bytes(bytes), &make.attributes())?.into())
    }

    fn make_directory(&self, path: &Path, make: &Make) -> Result<Outcome, Trouble> {
        // The root of a confined run, or `/`, is no entry of a directory; it is there.
        if self.root.kind(path)? == Some(Kind::Directory)
            && (make.if_missing || make.mode.is_none() && make.owner.is_none())
        {
            return Ok(if make.if_missing { Outcome::Kept } else { Outcome::Unchanged });
        }
        let place = self.root.place(path, make.parents())?;
        Ok(place.make_directory(make.mode, make.dir_mode, make.owner)?.into())
    }

    fn text(&self, text: &Text) -> Result<Vec<u8>, Trouble> {
        match text {
            Text::Literal(text) => Ok(text.clone().into_bytes()),
            Text::FromEnv(name) => {
                use std::os::unix::ffi::OsStrExt as _;
                Ok(self.environment.get(name).map(|value| value.as_bytes().to_vec()).unwrap_or_default())
            }
            Text::Stdin => {
                let mut bytes = Vec::new();
                match std::io::stdin().lock().read_to_end(&mut bytes) {
                    Ok(_) => Ok(bytes),
                    Err(cause) => Err(Trouble::Other(Error::failed("cannot read standard input").caused_by(cause))),
                }
            }
        }
    }

    fn date(&self, format: &str, zone: &Zone) -> Result<String, Error> {
        let named = |name: &str, from: &str| {
            date::zone(name).map_err(|text| Error::request(format!("{from}: {text}")).hint("or leave it out for UTC"))
        };
        let zone = match zone {
            Zone::Utc => TimeZone::UTC,
            Zone::Named(name) => named(name, "--tz")?,
            Zone::OfEnvironment => match self.environment.get("TZ") {
                Some(name) => named(&name.to_string_lossy(), "the variable TZ")?,
                None => TimeZone::UTC,
            },
        };
        date::line(Timestamp::now(), zone, format).map_err(|text| {
            Error::request(format!("--format \"{format}\": {text}"))
                .hint("its directives are those of strftime, e.g. %Y-%m-%dT%H:%M:%S%:z")
        })
    }

    fn copy(
        &self,
        make: &Make,
        (src, dest): (&Path, &Path),
        recursive: bool,
        follow: bool,
        exclude: &[String],
    ) -> Result<Outcome, Trouble> {
        match self.root.kind(src)? {
            Some(Kind::Directory) if recursive => {
                let source = Tree::open(&self.root, src, follow, exclude)?;
                let mut outcome = Outcome::Kept;
                source.walk(|found| -> Result<(), Trouble> {
                    let here = match found.kind {
                        Kind::Directory => self.copy_directory(make, &dest.join(&found.relative), found.mode)?,
                        _ => {
                            let file = source.file(&found.relative)?;
                            self.copy_file(make, &file, &dest.join(&found.relative), found.mode)?
                        }
                    };
                    outcome = here.and(outcome);
                    Ok(())
                })?;
                Ok(outcome)
            }
            Some(Kind::Directory) => Err(Trouble::Refused(
                format!("{} is a directory", shown(src)),
                "pass --recursive to copy what it holds",
            )),
            Some(Kind::File) => {
                let file = self.root.file(src)?;
                let mode = file.metadata().map_err(|source| kit_fs::Error::System {
                    action: "look at",
                    path: src.to_owned(),
                    source,
                })?;
                self.copy_file(make, &file, dest, std::os::unix::fs::MetadataExt::mode(&mode) & 0o777)
            }
            Some(Kind::Special | Kind::Symlink) => Err(Trouble::Refused(
                format!("{} is neither a file nor a directory", shown(src)),
                "write --stdin takes what a program sends",
            )),
            None => Err(Trouble::FileSystem(kit_fs::Error::System {
                action: "read",
                path: src.to_owned(),
                source: std::io::Error::from_raw_os_error(2),
            })),
        }
    }

    /// Existing directories keep mode and owner: the top one is often the volume itself, which others own.
    fn copy_directory(&self, make: &Make, dest: &Path, mode: u32) -> Result<Outcome, Trouble> {
        // `dest.join("")` ends with a slash.
        let dest: PathBuf = dest.components().collect();
        if self.root.kind(&dest)? == Some(Kind::Directory) {
            return Ok(Outcome::Unchanged);
        }
        // A directory that its owner cannot write could not be filled.
        let place = self.root.place(&dest, make.parents())?;
        Ok(place.make_directory(None, mode | 0o300, make.owner)?.into())
    }

    fn copy_file(&self, make: &Make, from: &std::fs::File, dest: &Path, mode: u32) -> Result<Outcome, Trouble> {
        if self.is_kept(dest, make)? {
            return Ok(Outcome::Kept);
        }
        let mut attributes = make.attributes();
        if make.mode.is_none() {
            attributes.mode = ModeRule::Exactly(mode);
        }
        let stop = || self.shutdown.is_requested();
        let place = self.root.place(dest, make.parents())?;
        Ok(place.write(Content::Copy { from, stop: &stop }, &attributes)?.into())
    }

    fn template(&self, template: &Template, make: &Make) -> Result<Outcome, Trouble> {
        let mut outcome = Outcome::Kept;
        self.fill(template, |dest, bytes| {
            let here = if self.is_kept(dest, make)? { Outcome::Kept } else { self.write(dest, make, bytes)? };
            outcome = here.and(outcome);
            Ok(())
        })?;
        Ok(outcome)
    }

    /// Renders every template of the step and hands over the results. All are rendered before the first is handed
    /// over, so that one unset variable leaves nothing half done.
    fn fill(
        &self,
        template: &Template,
        mut put: impl FnMut(&Path, &[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let Template { pair, engine, data, vars, delims, strip_ext, lenient } = template;
        let data: BTreeMap<String, Data> = data
            .iter()
            .map(|(name, path)| Ok((name.clone(), data::load(&self.root, path)?)))
            .collect::<Result<_, data::Trouble>>()?;
        let values = Values { environment: self.environment, data, vars, delims: delims.as_ref(), lenient: *lenient };
        let mut files = Vec::new();
        if self.root.kind(&pair.src)? == Some(Kind::Directory) {
            let source = Tree::open(&self.root, &pair.src, false, &[])?;
            source.walk(|found| -> Result<(), Trouble> {
                if found.kind == Kind::File {
                    files.push((pair.src.join(&found.relative), pair.dest.join(stripped(&found.relative, strip_ext))));
                }
                Ok(())
            })?;
        } else {
            files.push((pair.src.clone(), pair.dest.clone()));
        }
        let mut results = Vec::new();
        let mut unset = std::collections::BTreeSet::new();
        for (src, dest) in files {
            let bytes = data::read(&self.root, &src)?;
            let engine = engine.unwrap_or_else(|| default_engine(&src));
            match template::render(engine, &bytes, &values) {
                Ok(result) => results.push((dest, result)),
                Err(Flaw::Unset(names)) => unset.extend(names),
                Err(flaw) => return Err(Trouble::Template(src, flaw)),
            }
        }
        if !unset.is_empty() {
            return Err(Trouble::Template(pair.src.clone(), Flaw::Unset(unset.into_iter().collect())));
        }
        results.iter().try_for_each(|(dest, result)| put(dest, result))
    }
}

const UNSET_HINT: &str =
    "set them in the container's env or envFrom, give a default such as ${NAME:-x}, or pass --lenient";

fn default_engine(src: &Path) -> Engine {
    if src.extension().is_some_and(|extension| extension == "j2") { Engine::Jinja } else { Engine::Envsubst }
}

/// `a/app.conf.tmpl` as `a/app.conf`, for the extension with or without its dot.
fn stripped(relative: &Path, extension: &Option<String>) -> PathBuf {
    let wanted = extension.as_deref().map(|extension| extension.strip_prefix('.').unwrap_or(extension));
    match (wanted, relative.extension()) {
        (Some(wanted), Some(found)) if found == wanted => relative.with_extension(""),
        _ => relative.to_owned(),
    }
}

fn summary(steps: &[Step], done: &[Outcome]) -> Result<(), Error> {
    let steps = steps.iter().zip(done).enumerate().map(|(index, (step, outcome))| {
        let path = step.path().to_string_lossy();
        serde_json::json!({"step": index + 1, "verb": step.verb(), "path": path, "outcome": outcome.name()})
    });
    let line = serde_json::json!({"steps": steps.collect::<Vec<_>>()});
    writeln!(std::io::stdout().lock(), "{line}")
        .map_err(|cause| Error::failed("all steps are done, but the summary cannot be written").caused_by(cause))
}
