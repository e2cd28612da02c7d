//! How a request is read, and every way in which it is refused.

use super::*;

#[derive(Debug, clap::Parser)]
struct Args {
    /// Pause between polls
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = kit_units::duration)]
    poll: Duration,
    /// A label
    #[arg(long)]
    label: Vec<String>,
    /// Quiet
    #[arg(long)]
    quiet: bool,
    /// File with flags
    #[arg(long)]
    flags: Option<PathBuf>,
    /// Files
    #[arg(value_name = "FILE")]
    file: Vec<OsString>,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, clap::Subcommand)]
enum Sub {
    /// Asks
    Healthcheck {
        /// What to ask for
        #[arg(long, required = true)]
        path: String,
    },
}

impl Tool for Args {
    const NAME: &'static str = "log-tailer";
    const GRACE_ALIASES: &'static [&'static str] = &["drain-timeout"];
    const CONFIG: Option<&'static str> = Some("flags");

    fn peer_variables(
        argv: &[OsString],
        _environment: &Environment,
    ) -> Result<&'static [(&'static str, &'static str)], Error> {
        Ok(if argv.iter().any(|argument| argument == "--quiet") {
            &[("PAUSE", "poll"), ("LABELS", "label")]
        } else {
            &[]
        })
    }

    /// The path itself is the file: `flag=value` separated by `;`.
    fn configuration(path: &Path) -> Result<Vec<Setting>, Error> {
        let text = path.to_str().unwrap();
        let setting = |(at, pair): (usize, &str)| {
            let (flag, value) = pair.split_once('=').unwrap();
            Setting { flag: flag.to_owned(), value: value.to_owned(), line: at + 1 }
        };
        Ok(text.split(';').enumerate().map(setting).collect())
    }
}

fn read(argv: &[&str], environment: &[(&str, &str)]) -> Result<(Args, Common), Error> {
    let environment = environment.iter().copied().collect();
    parse(argv.iter().map(OsString::from).collect(), &environment)
}

fn refused(argv: &[&str], environment: &[(&str, &str)]) -> String {
    let error = read(argv, environment).unwrap_err();
    assert_eq!(error.code(), 2);
    error.report()
}

#[test]
fn a_flag_wins_over_its_variable_and_the_variable_over_the_default() {
    let poll = |argv: &[&str], environment: &[(&str, &str)]| read(argv, environment).unwrap().0.poll;
    assert_eq!(poll(&[], &[]), Duration::from_millis(250));
    assert_eq!(poll(&[], &[("LOG_TAILER_POLL", "2s")]), Duration::from_secs(2));
    assert_eq!(poll(&["--poll", "3s"], &[("LOG_TAILER_POLL", "2s")]), Duration::from_secs(3));
}

#[test]
fn a_peers_variable_counts_where_the_tool_says_so_and_nothing_of_ours_is_there() {
    let poll = |argv: &[&str], environment: &[(&str, &str)]| read(argv, environment).unwrap().0.poll;
    let pause = ("PAUSE", "4s");
    assert_eq!(poll(&[], &[pause]), Duration::from_millis(250));
    assert_eq!(poll(&["--quiet"], &[pause]), Duration::from_secs(4));
    assert_eq!(poll(&["--quiet"], &[pause, ("LOG_TAILER_POLL", "2s")]), Duration::from_secs(2));
    assert_eq!(poll(&["--quiet", "--poll=3s"], &[pause]), Duration::from_secs(3));
    assert_eq!(poll(&["--quiet", "--flags=poll=5s"], &[pause]), Duration::from_secs(4));
    assert_eq!(poll(&["--quiet"], &[("PAUSE", "")]), Duration::from_millis(250));
    let told = refused(&["--quiet"], &[("PAUSE", "soon")]);
    assert!(told.ends_with("hint: the value of --poll came from the variable PAUSE\n"), "{told}");
}

#[test]
fn repeatable_values_stand_one_a_line_and_are_replaced_as_a_whole() {
    let environment = [("LOG_TAILER_LABEL", "a=1\nb=2"), ("LOG_TAILER_FILE", "/one\n-two")];
    let (args, _) = read(&[], &environment).unwrap();
    assert_eq!(args.label, ["a=1", "b=2"]);
    assert_eq!(args.file, ["/one", "-two"]);
    let (args, _) = read(&["--label", "c=3", "/three"], &environment).unwrap();
    assert_eq!(args.label, ["c=3"]);
    assert_eq!(args.file, ["/three"]);
}

#[test]
fn a_file_counts_less_than_a_variable_and_that_less_than_a_flag() {
    let file = ["--flags", "poll=1s;label=x;label=y;quiet=true"];
    let (args, _) = read(&file, &[]).unwrap();
    assert_eq!((args.poll, args.label.join("+").as_str(), args.quiet), (Duration::from_secs(1), "x+y", true));
    assert_eq!(read(&file, &[("LOG_TAILER_POLL", "2s")]).unwrap().0.poll, Duration::from_secs(2));
    let typed = [&file[..], &["--poll=3s", "--label", "z"]].concat();
    let (args, _) = read(&typed, &[("LOG_TAILER_POLL", "2s")]).unwrap();
    assert_eq!((args.poll, args.label), (Duration::from_secs(3), vec!["z".to_owned()]));
    assert_eq!(read(&[], &[("LOG_TAILER_LABEL", "v"), ("LOG_TAILER_FLAGS", "label=x")]).unwrap().0.label, ["v"]);
    assert!(read(&["healthcheck", "--path", "/x"], &[("LOG_TAILER_FLAGS", "no=1")]).is_ok(), "not for this command");
}

#[test]
fn a_key_of_a_file_that_is_no_flag_or_has_a_bad_value_is_told_with_its_line() {
    assert_eq!(
        refused(&["--flags=quiet=true;pol=1s"], &[]),
        "error: unknown key \"pol\" in line 2 of quiet=true;pol=1s\nhint: did you mean poll?\n"
    );
    assert!(refused(&["--flags=poll=1"], &[]).ends_with("hint: the value of --poll came from line 1 of poll=1\n"));
    assert!(refused(&["--flags=poll=1s;poll=2s"], &[]).starts_with("error: poll stands in lines 1 and 2 of "));
    assert!(refused(&["--flags=flags=x"], &[]).starts_with("error: line 1 of flags=x names another file\n"));
}

#[test]
fn a_switch_is_true_or_false_in_the_environment() {
    assert!(read(&[], &[("LOG_TAILER_QUIET", "true")]).unwrap().0.quiet);
    assert!(!read(&[], &[("LOG_TAILER_QUIET", "false")]).unwrap().0.quiet);
    assert!(refused(&[], &[("LOG_TAILER_QUIET", "maybe")]).contains("LOG_TAILER_QUIET"));
}

#[test]
fn a_required_flag_of_a_subcommand_may_come_from_the_environment() {
    let (args, common) = read(&["healthcheck"], &[("LOG_TAILER_PATH", "/livez"), ("LOG_TAILER_GRACE", "7s")]).unwrap();
    assert!(matches!(args.command, Some(Sub::Healthcheck { path }) if path == "/livez"));
    assert_eq!(common.grace, Duration::from_secs(7));
}

#[test]
fn the_common_flags_have_defaults_and_aliases() {
    let (_, common) = read(&["--drain-timeout", "30s", "--log-format", "json"], &[]).unwrap();
    assert_eq!((common.grace, common.log_format), (Duration::from_secs(30), LogFormat::Json));
    assert_eq!(read(&[], &[]).unwrap().1.grace, Duration::from_secs(10));
}

#[test]
fn a_bad_value_is_one_line_and_names_the_variable_it_came_from() {
    assert_eq!(
        refused(&[], &[("LOG_TAILER_POLL", "250")]),
        "error: invalid value '250' for '--poll <DURATION>': \"250\" needs a unit; write 250ms, 250s or 250m\n\
         hint: the value of --poll came from the variable LOG_TAILER_POLL\n"
    );
    assert_eq!(
        refused(&["--poll", "250"], &[]),
        "error: invalid value '250' for '--poll <DURATION>': \"250\" needs a unit; write 250ms, 250s or 250m\n\
         hint: see log-tailer --help\n"
    );
}

#[test]
fn an_unknown_flag_and_an_unknown_variable_name_the_nearest() {
    assert_eq!(
        refused(&["--pol", "1s"], &[]),
        "error: unexpected argument '--pol' found\nhint: a similar argument exists: '--poll'\n"
    );
    assert_eq!(
        refused(&[], &[("LOG_TAILER_PULL", "1s")]),
        "error: unknown environment variable LOG_TAILER_PULL\nhint: did you mean LOG_TAILER_POLL?\n"
    );
    assert_eq!(
        refused(&[], &[("LOG_TAILER_SOMETHING_ELSE", "1s")]),
        "error: unknown environment variable LOG_TAILER_SOMETHING_ELSE\nhint: see log-tailer --help for the names\n"
    );
}

#[test]
fn variables_of_a_service_with_the_same_name_are_passed_over() {
    let injected = [
        ("LOG_TAILER_SERVICE_HOST", "10.0.0.1"),
        ("LOG_TAILER_SERVICE_PORT", "80"),
        ("LOG_TAILER_SERVICE_PORT_HTTP", "80"),
        ("LOG_TAILER_PORT", "tcp://10.0.0.1:80"),
        ("LOG_TAILER_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("LOG_TAILER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("LOG_TAILER_PORT_53_UDP_PROTO", "udp"),
        ("LOG_TAILER_TERMINATION_LOG", "/tmp/x"),
    ];
    assert!(read(&[], &injected).is_ok());
    assert!(read(&[], &[("LOG_TAILER_PORT_X", "1")]).is_err());
}

#[test]
fn a_misspelt_level_is_refused_and_not_taken_for_a_target() {
    assert!(read(&["--log-level", "info,log_tailer=debug"], &[]).is_ok());
    assert!(read(&["--log-level", ""], &[]).is_err(), "nothing is no level: all would be silent");
    assert_eq!(
        refused(&["--log-level", "inof"], &[]),
        "error: invalid value 'inof' for '--log-level <LEVEL>': write error, warn, info, debug or off\n\
         hint: see log-tailer --help\n"
    );
}

#[test]
fn a_hint_names_the_help_of_the_command_that_was_asked_for() {
    let told = refused(&["healthcheck", "--path", "/", "--nonsense"], &[]);
    assert_eq!(told, "error: unexpected argument '--nonsense' found\nhint: see log-tailer healthcheck --help\n");
}

#[test]
fn help_names_every_variable() {
    for flag in ["-h", "--help"] {
        let outcome = interpret::<Args>(vec![flag.into()], &Environment::default());
        let Ok(Outcome::Print(help)) = outcome else { panic!("{flag} is answered with help") };
        for name in
            ["LOG_TAILER_POLL", "LOG_TAILER_LABEL", "LOG_TAILER_FILE", "LOG_TAILER_GRACE", "LOG_TAILER_LOG_LEVEL"]
        {
            assert!(help.contains(&format!("[env: {name}]")), "{name} is missing in\n{help}");
        }
    }
}

#[test]
fn trace_is_another_word_for_the_lowest_level_that_is_told() {
    let read = |text: &str| log_level(text).unwrap().to_string();
    assert_eq!(read("trace"), read("debug"));
    assert_eq!(read("warn,h2=trace"), read("warn,h2=debug"));
    assert_eq!(read("TRACE"), "debug");
    for unchanged in ["off", "error", "info,kit_tls=warn", "info"] {
        assert_eq!(log_level(unchanged).unwrap(), unchanged.parse::<Targets>().unwrap(), "{unchanged}");
    }
    let help = match interpret::<Args>(vec!["--help".into()], &Environment::default()) {
        Ok(Outcome::Print(help)) => help,
        _ => panic!("help was asked for"),
    };
    assert!(help.contains("error, warn, info, debug, off") && !help.contains("trace"), "{help}");
}
