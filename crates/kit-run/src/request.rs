//! What was asked for: the command line, completed from the environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::{Environment, Error};

/// A tool's command line, with what kit-run must know of the tool.
pub trait Tool: clap::Parser {
    /// The tool, its binary and its image: `log-tailer`. The environment prefix is made from it: `LOG_TAILER_`.
    const NAME: &'static str;

    /// How long a stop may take unless `--grace` says otherwise; `None` for one-shot tools, which have no such flag.
    const GRACE: Option<Duration> = Some(Duration::from_secs(10));

    /// Other spellings of `--grace`, without the dashes.
    const GRACE_ALIASES: &'static [&'static str] = &[];

    /// Names with the tool's prefix that are not flags and belong to somebody else.
    const FOREIGN_ENV: &'static [&'static str] = &[];

    /// Whether [`crate::set_log_level`] works while the tool runs; it costs bytes and a lock for each event.
    const LOG_LEVEL_CHANGES: bool = false;

    /// The flag, without the dashes, that names a configuration file, for a tool that reads one by [`Tool::configuration`].
    const CONFIG: Option<&'static str> = None;

    /// The values in a configuration file, each under the name of the flag that it stands for. They count less than variables and
    /// typed flags; a name that is no flag is refused by the caller.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    fn configuration(_path: &Path) -> Result<Vec<Setting>, Error> {
        Ok(Vec::new())
    }

    /// As [`Tool::compat`] for a program that was started under another name: the base name of `argv[0]`.
    ///
    /// # Errors
    /// As for [`Tool::compat`].
    fn compat_as(_program: &OsStr, argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        Self::compat(argv)
    }

    /// Variables of a peer that stand for flags (named without the dashes) of this command line. One counts where neither the flag
    /// nor its own variable is there, and where it is not empty.
    ///
    /// # Errors
    /// A variable of the peer that the tool refuses by name.
    fn peer_variables(
        _argv: &[OsString],
        _environment: &Environment,
    ) -> Result<&'static [(&'static str, &'static str)], Error> {
        Ok(&[])
    }

    /// Whether a panic in any thread or task ends the process, with two lines and a code as every other end. A server that
    /// is built with unwinding may rather go on without the one connection that met the bug.
    const ENDS_AT_PANIC: bool = true;

    /// Turns the spellings of a peer into the tool's own. Gets and returns the arguments behind the program's name.
    ///
    /// # Errors
    /// A spelling of the peer that the tool refuses by name.
    fn compat(argv: Vec<OsString>) -> Result<Vec<OsString>, Error> {
        Ok(argv)
    }
}

/// One value of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag, without the dashes.
    pub flag: String,
    /// What would be typed behind it. A flag that may be repeated may have several settings.
    pub value: String,
    /// Where it stands, counted from one.
    pub line: usize,
}

/// The flags that every tool has.
#[derive(Debug, Clone)]
pub struct Common {
    /// Which log events are written.
    pub log_level: Targets,
    /// How log events are written.
    pub log_format: LogFormat,
    /// How long a stop may take; zero for one-shot tools.
    pub grace: Duration,
}

/// How log events look on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text each.
    Text,
    /// One JSON object each.
    Json,
}

/// Reads a command line (without the program's name) together with an environment, as the tool itself would.
///
/// # Errors
/// Exactly what the tool would print before it ends with code 2; `--help` and `--version` are refused here.
pub fn parse<A: Tool>(argv: Vec<OsString>, environment: &Environment) -> Result<(A, Common), Error> {
    match interpret(A::compat(argv)?, environment)? {
        Outcome::Run(args, common) => Ok((*args, common)),
        Outcome::Print(_) => Err(Error::request("the arguments ask for help, not for a run")),
    }
}

/// A command line that was understood.
pub(crate) enum Outcome<A> {
    Run(Box<A>, Common),
    /// `--help` or `--version`: text for stdout and exit code 0.
    Print(String),
}

/// Reads a command line in the tool's own spelling.
pub(crate) fn interpret<A: Tool>(argv: Vec<OsString>, environment: &Environment) -> Result<Outcome<A>, Error> {
    let command = command::<A>();
    refuse_unknown_names::<A>(&command, environment)?;
    let file = settings_file::<A>(&command, &argv, environment);
    let settings = file.as_deref().map(A::configuration).transpose()?.unwrap_or_default();
    let settings = Settings { config: A::CONFIG, file: file.unwrap_or_default(), all: settings };
    let variables = Variables { environment, tool: A::NAME, peer: A::peer_variables(&argv, environment)? };
    let (argv, completed) = complete(&command, argv, &variables, &settings)?;
    let help = help_of(&command, A::NAME, &argv);
    let argv: Vec<OsString> = std::iter::once(OsString::from(A::NAME)).chain(argv).collect();
    let parsed = command.try_get_matches_from(&argv);
    let matches = match parsed {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Outcome::Print(error.to_string())),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // Read a second time: the names of all variables are a third of the work of a start, and only help shows them.
            let named = name_variables(self::command::<A>(), A::NAME).try_get_matches_from(&argv);
            return Ok(Outcome::Print(named.err().unwrap_or(error).to_string()));
        }
        Err(error) => return Err(refusal(&error, &help, &completed)),
    };
    let common = common(&matches);
    let args = A::from_arg_matches(&matches).map_err(|error| refusal(&error, &help, &completed))?;
    Ok(Outcome::Run(Box::new(args), common))
}

/// The values of a configuration file.
#[derive(Debug, Default)]
struct Settings {
    /// The flag that names the file.
    config: Option<&'static str>,
    file: PathBuf,
    all: Vec<Setting>,
}

impl Settings {
    fn of(&self, flag: &str) -> Vec<&Setting> {
        self.all.iter().filter(|setting| setting.flag == flag).collect()
    }

    fn refuse_unknown(&self, known: &[String]) -> Result<(), Error> {
        let file = self.file.display();
        for Setting { flag, line, .. } in &self.all {
            if Some(flag.as_str()) == self.config {
                return Err(Error::request(format!("line {line} of {file} names another file"))
                    .hint(format!("--{flag} is for the command line: one file holds all")));
            }
            if !known.contains(flag) {
                let near = nearest(flag, known).map(|near| format!("did you mean {near}?"));
                return Err(Error::request(format!("unknown key {flag:?} in line {line} of {file}"))
                    .hint(near.unwrap_or_else(|| "keys are the names of flags, without the dashes".to_owned())));
            }
        }
        Ok(())
    }
}

/// The file that the command line, else the environment names, where the selected command takes one.
fn settings_file<A: Tool>(command: &Command, argv: &[OsString], environment: &Environment) -> Option<PathBuf> {
    let config = A::CONFIG?;
    let (leaf, depth) = selected(command, argv);
    leaf.get_arguments().find(|arg| arg.get_long() == Some(config))?;
    let flag = format!("--{config}");
    let mut typed = None;
    let mut tokens = argv[depth..].iter().take_while(|token| *token != "--");
    while let Some(token) = tokens.next() {
        if token.to_str() == Some(flag.as_str()) {
            typed = tokens.next().map(PathBuf::from);
        } else if let Some(path) = token.to_str().and_then(|token| token.strip_prefix(&flag)?.strip_prefix('=')) {
            typed = Some(PathBuf::from(path));
        }
    }
    typed.or_else(|| environment.get(variable(A::NAME, config)).map(PathBuf::from))
}

/// `log-tailer` -> `LOG_TAILER`.
pub(crate) fn prefix(tool: &str) -> String {
    tool.replace('-', "_").to_ascii_uppercase()
}

fn variable(tool: &str, flag: &str) -> String {
    format!("{}_{}", prefix(tool), prefix(flag))
}

/// The tool's clap command with the common flags and no abbreviations.
fn command<A: Tool>() -> Command {
    let mut command = A::command().name(A::NAME).version(env!("CARGO_PKG_VERSION")).args_override_self(true);
    command = command.arg(
        Arg::new("log-level")
            .long("log-level")
            .value_name("LEVEL")
            .default_value("info")
            .global(true)
            .value_parser(log_level)
            .help("Which log events go to stderr: error, warn, info, debug, off; also target=level pairs"),
    );
    command = command.arg(
        Arg::new("log-format")
            .long("log-format")
            .value_name("FORMAT")
            .default_value("text")
            .global(true)
            .value_parser(value_parser!(LogFormat))
            .help("How log events look on stderr"),
    );
    if let Some(grace) = A::GRACE {
        command = command.arg(
            Arg::new("grace")
                .long("grace")
                .aliases(A::GRACE_ALIASES)
                .value_name("DURATION")
                .default_value(kit_units::format_duration(grace))
                .global(true)
                .value_parser(kit_units::duration)
                .help("Time to finish after SIGTERM; what is left then ends the process with code 4"),
        );
    }
    command
}

/// Reads `info` or `info,target=debug`. A lone word must be a level: `Targets` would take a misspelt one for a target.
/// `trace` means `debug`, in every build: nothing is told below that, and what ships has no code for it.
pub(crate) fn log_level(text: &str) -> Result<Targets, &'static str> {
    const LEVELS: &str = "write error, warn, info, debug or off";
    if text.trim().is_empty() {
        return Err(LEVELS);
    }
    let lone_words = text.split(',').filter(|part| !part.contains('='));
    for word in lone_words {
        word.trim().parse::<LevelFilter>().map_err(|_| LEVELS)?;
    }
    let asked = text.parse::<Targets>().map_err(|_| LEVELS)?;
    let told = |level: LevelFilter| level.min(LevelFilter::DEBUG);
    let mut levels: Targets = asked.iter().map(|(target, level)| (target.to_owned(), told(level))).collect();
    if let Some(level) = asked.default_level() {
        levels = levels.with_default(told(level));
    }
    Ok(levels)
}

/// Adds `[env: NAME]` to the help of every flag, in subcommands too.
fn name_variables(command: Command, tool: &str) -> Command {
    let command = command.mut_args(|arg| match flag(&arg) {
        Some(name) => {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            arg.help(format!("{help} [env: {}]", variable(tool, &name)))
        }
        None => arg,
    });
    command.mut_subcommands(|subcommand| name_variables(subcommand, tool))
}

/// The name under which an argument may be set in the environment: its long flag, or a positional's id.
fn flag(arg: &Arg) -> Option<String> {
    if matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version) {
        return None;
    }
    match arg.get_long() {
        Some(long) => Some(long.to_owned()),
        None if arg.is_positional() => Some(arg.get_id().as_str().replace('_', "-")),
        None => None,
    }
}

/// Every variable that one of the tool's flags may come from.
fn known_variables(command: &Command, tool: &str) -> Vec<String> {
    let own = command.get_arguments().filter_map(flag).map(|flag| variable(tool, &flag));
    let deeper = command.get_subcommands().flat_map(|subcommand| known_variables(subcommand, tool));
    own.chain(deeper).collect()
}

fn refuse_unknown_names<A: Tool>(command: &Command, environment: &Environment) -> Result<(), Error> {
    let prefix = format!("{}_", prefix(A::NAME));
    let names = environment.iter().filter_map(|(name, _)| name.to_str());
    let ours: Vec<&str> = names.filter(|name| name.starts_with(&prefix)).collect();
    if ours.is_empty() {
        return Ok(());
    }
    let mut known = known_variables(command, A::NAME);
    known.push(format!("{prefix}TERMINATION_LOG"));
    known.extend(A::FOREIGN_ENV.iter().map(|name| (*name).to_owned()));
    for name in ours {
        if known.iter().any(|other| other == name) || is_service_variable(name) {
            continue;
        }
        let nearest = nearest(name, &known).map_or_else(
            || format!("see {} --help for the names", A::NAME),
            |nearest| format!("did you mean {nearest}?"),
        );
        return Err(Error::request(format!("unknown environment variable {name}")).hint(nearest));
    }
    Ok(())
}

/// Names that Kubernetes injects for a Service called like the tool, e.g. `LOG_TAILER_PORT_8080_TCP_ADDR`.
///
/// Source: <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>.
fn is_service_variable(name: &str) -> bool {
    let after_port = |rest: &str| {
        let mut parts = rest.splitn(3, '_');
        let number = parts.next().is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        number && matches!(parts.next(), Some("TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, marker)| after_port(&name[at + marker.len()..]))
}

/// The known name with the fewest single-letter edits, if it is near enough to have been meant.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let near = known.iter().map(|other| (edits(name.as_bytes(), other.as_bytes()), other));
    let (distance, other) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= name.len() / 3).then_some(other.as_str())
}

/// Levenshtein's distance between two names, in bytes: how many must be added, dropped or replaced. For hints.
#[must_use]
pub fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Where a flag's value may stand in the environment.
struct Variables<'a> {
    environment: &'a Environment,
    tool: &'static str,
    /// Names of a peer, with the flags that they stand for.
    peer: &'static [(&'static str, &'static str)],
}

impl Variables<'_> {
    /// Whether there is anything at all.
    fn any(&self) -> bool {
        let prefix = format!("{}_", prefix(self.tool));
        self.environment.iter().any(|(name, _)| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            || self.peer.iter().any(|(name, _)| self.environment.get(name).is_some())
    }

    /// The variable and the value that stand for `flag`: its own, else the peer's.
    fn of(&self, flag: &str) -> Option<(String, &OsStr)> {
        let own = variable(self.tool, flag);
        if let Some(value) = self.environment.get(&own) {
            return Some((own, value));
        }
        let peer = self.peer.iter().filter(|(_, known)| *known == flag);
        peer.filter_map(|(name, _)| Some(((*name).to_owned(), self.environment.get(name)?)))
            .find(|(_, value)| !value.is_empty())
    }
}

/// The whole command line, and for error texts which flag came from where.
type Completed = (Vec<OsString>, Vec<(String, String)>);

/// Puts the values that the environment has, and the command line has not, behind the names of the subcommands.
///
/// Returns the new arguments and, for error texts, which flag came from which variable. Values stand as `--flag=value`
/// before the typed ones, and clap lets the last one win, so a typed flag overrides its variable. Flags that may be
/// repeated and positionals are left alone when the command line has any.
fn complete(
    command: &Command,
    argv: Vec<OsString>,
    variables: &Variables<'_>,
    settings: &Settings,
) -> Result<Completed, Error> {
    // Reading the command line a first time costs as much as all else of a start; mostly there is nothing to complete.
    if !variables.any() && settings.all.is_empty() {
        return Ok((argv, Vec::new()));
    }
    let (leaf, depth) = selected(command, &argv);
    let typed = typed(command, variables.tool, &argv);
    let mut flags: Vec<OsString> = Vec::new();
    let mut positionals: Vec<OsString> = Vec::new();
    let mut completed = Vec::new();
    let global = command.get_arguments().filter(|arg| arg.is_global_set() && !std::ptr::eq(leaf, command));
    let all: Vec<(&Arg, String)> =
        leaf.get_arguments().chain(global).filter_map(|arg| Some((arg, flag(arg)?))).collect();
    if !settings.all.is_empty() {
        let known: Vec<String> = all.iter().map(|(_, name)| name.clone()).collect();
        settings.refuse_unknown(&known)?;
    }
    for (arg, name) in all {
        let repeatable = matches!(arg.get_action(), ArgAction::Append | ArgAction::Count) || arg.is_positional();
        if repeatable && typed.contains(arg.get_id().as_str()) {
            continue;
        }
        let Some((variable, value)) = variables.of(&name) else {
            let found = settings.of(&name);
            if let ([first, second, ..], false) = (found.as_slice(), repeatable) {
                let file = settings.file.display();
                return Err(Error::request(format!(
                    "{name} stands in lines {} and {} of {file}",
                    first.line, second.line
                ))
                .hint(format!("--{name} has one value")));
            }
            for Setting { value, line, .. } in found {
                flags.extend(as_tokens(arg, &name, OsStr::new(value)));
                completed.push((format!("--{name}"), format!("line {line} of {}", settings.file.display())));
            }
            continue;
        };
        if arg.is_positional() {
            positionals.extend(lines(value));
        } else {
            flags.extend(as_tokens(arg, &name, value));
        }
        completed.push((format!("--{name}"), format!("the variable {variable}")));
    }
    let mut argv = argv;
    let typed_rest = argv.split_off(depth);
    argv.extend(flags);
    // Values from the environment end with `--` so that a file called `-x` stays a file.
    if positionals.is_empty() {
        argv.extend(typed_rest);
    } else {
        argv.extend(typed_rest.into_iter().filter(|token| token != "--"));
        argv.push("--".into());
        argv.extend(positionals);
    }
    Ok((argv, completed))
}

/// The subcommand that the arguments select, and how many of them stand up to its name.
fn selected<'a>(command: &'a Command, argv: &[OsString]) -> (&'a Command, usize) {
    let mut leaf = command;
    let mut depth = 0;
    for (index, token) in argv.iter().enumerate() {
        if token == "--" {
            break;
        }
        if let Some(subcommand) = token.to_str().and_then(|name| leaf.find_subcommand(name)) {
            leaf = subcommand;
            depth = index + 1;
        }
    }
    (leaf, depth)
}

/// The ids of the arguments that stand on the command line, as far as it can be understood.
fn typed(command: &Command, tool: &str, argv: &[OsString]) -> std::collections::BTreeSet<String> {
    let lenient = command.clone().ignore_errors(true);
    let program = std::iter::once(OsString::from(tool));
    let Ok(matches) = lenient.try_get_matches_from(program.chain(argv.iter().cloned())) else {
        return std::collections::BTreeSet::new();
    };
    let mut typed = std::collections::BTreeSet::new();
    let mut level: Option<&ArgMatches> = Some(&matches);
    while let Some(matches) = level {
        let given = matches.ids().map(clap::Id::as_str);
        let given = given.filter(|id| matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine));
        typed.extend(given.map(str::to_owned));
        level = matches.subcommand().map(|(_, deeper)| deeper);
    }
    typed
}

/// One variable as the tokens of its flag. Repeatable values stand one a line; a switch is `true` or `false`.
fn as_tokens(arg: &Arg, name: &str, value: &OsStr) -> Vec<OsString> {
    let with_value = |value: &OsStr| {
        let mut token = OsString::from(format!("--{name}="));
        token.push(value);
        token
    };
    match arg.get_action() {
        ArgAction::SetTrue => match value.to_str() {
            Some("false" | "0" | "no" | "off" | "") => Vec::new(),
            Some("true" | "1" | "yes" | "on") => vec![format!("--{name}").into()],
            // Left to clap, whose error says that the switch takes no such value.
            _ => vec![with_value(value)],
        },
        ArgAction::Append => lines(value).iter().map(|line| with_value(line)).collect(),
        _ => vec![with_value(value)],
    }
}

fn lines(value: &OsStr) -> Vec<OsString> {
    let lines = value.as_bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| OsString::from_vec(line.to_vec())).collect()
}

fn common(matches: &ArgMatches) -> Common {
    Common {
        log_level: matches.get_one::<Targets>("log-level").cloned().unwrap_or_default(),
        log_format: matches.get_one::<LogFormat>("log-format").copied().unwrap_or(LogFormat::Text),
        grace: matches.try_get_one::<Duration>("grace").ok().flatten().copied().unwrap_or_default(),
    }
}

/// What shows the flags of the command that was asked for: `tls-ambassador check server --help`.
fn help_of(command: &Command, tool: &str, argv: &[OsString]) -> String {
    let mut words = vec![tool];
    let mut leaf = command;
    for token in argv.iter().take_while(|token| *token != "--") {
        if let Some(subcommand) = token.to_str().and_then(|name| leaf.find_subcommand(name)) {
            words.push(subcommand.get_name());
            leaf = subcommand;
        }
    }
    words.push("--help");
    words.join(" ")
}

/// clap's several lines as one line and a hint.
fn refusal(error: &clap::Error, help: &str, completed: &[(String, String)]) -> Error {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // clap answers with the whole help, which is no one line.
        return Error::request("a command is missing").hint(format!("see {help} for the commands"));
    }
    let text = error.to_string();
    let mut paragraphs = text.strip_prefix("error: ").unwrap_or(&text).split("\n\n");
    let message = paragraphs.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let origin = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => completed.iter().find(|(flag, _)| {
            arg == flag || arg.strip_prefix(flag.as_str()).is_some_and(|rest| rest.starts_with([' ', '=', '.']))
        }),
        _ => None,
    };
    let hint = match (origin, tip) {
        (Some((flag, origin)), _) => format!("the value of {flag} came from {origin}"),
        (None, Some(tip)) => tip.lines().next().unwrap_or(tip).to_owned(),
        (None, None) => format!("see {help}"),
    };
    Error::request(message).hint(hint)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
