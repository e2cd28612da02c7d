//! One case after the other of what lines become.

use clap::Parser;

use super::*;
use crate::LineArgs;

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    lines: LineArgs,
}

fn lines(flags: &[&str]) -> Lines {
    let args = Args::parse_from(std::iter::once("tool").chain(flags.iter().copied()));
    args.lines.lines(LineStats::default()).unwrap()
}

fn offer(lines: &mut Lines, input: Input<'_>) -> (Taken, Vec<u8>) {
    let mut to = Vec::new();
    let taken = lines.take(input, Instant::now(), SystemTime::UNIX_EPOCH, &mut to);
    (taken, to)
}

/// All of the input, offered until it is taken.
fn check(flags: &[&str], input: &[u8], expected: &[u8]) {
    let mut lines = lines(flags);
    let mut to = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let input = Input { offset: at as u64, ..Input::whole(b"/logs/a.log", &input[at..]) };
        let (taken, out) = offer(&mut lines, input);
        assert!(taken.bytes > 0, "{flags:?} take nothing: {:?}", taken.then);
        at += taken.bytes;
        to.extend_from_slice(&out);
    }
    assert_eq!(String::from_utf8_lossy(&to), String::from_utf8_lossy(expected), "{flags:?}");
}

/// A line longer than a window, offered in pieces as a follower does.
fn in_pieces(flags: &[&str], line: &[u8], piece: usize) -> (Vec<u8>, Lines) {
    let mut lines = lines(flags);
    let (mut to, mut at) = (Vec::new(), 0);
    while at < line.len() {
        let until = line.len().min(at + piece);
        let whole = Input::whole(b"/logs/a.log", &line[at..until]);
        let length = Some(line.len() as u64);
        let piece =
            Input { offset: at as u64, begins: at == 0, ends: until == line.len(), line_bytes: length, ..whole };
        let (taken, out) = offer(&mut lines, piece);
        assert!(taken.bytes > 0);
        at += taken.bytes;
        to.extend_from_slice(&out);
    }
    (to, lines)
}

#[test]
fn lines_are_chosen_by_expressions() {
    let input = b"error one\ninfo two\nerror health\n";
    check(&["--include-lines", "error"], input, b"error one\nerror health\n");
    check(&["--include-lines", "error", "--exclude-lines", "health"], input, b"error one\n");
    check(&["--include-lines", "^info", "--include-lines", "one$"], input, b"error one\ninfo two\n");
    check(&["--exclude-lines", "\\xff"], b"a\n\xff\n", b"a\n");
    check(&["--include-lines", "caf\u{e9}"], "caf\u{e9}\nother\n".as_bytes(), "caf\u{e9}\n".as_bytes());
}

#[test]
fn one_line_of_n_is_kept_and_the_others_are_counted() {
    check(&["--sample", "3"], b"1\n2\n3\n4\n5\n6\n7\n", b"1\n4\n7\n");
    let mut lines = lines(&["--sample", "2", "--include-lines", "[13]"]);
    let (_, out) = offer(&mut lines, Input::whole(b"f", b"1\n2\n3\n1\n"));
    assert_eq!(out, b"1\n1\n", "only chosen lines are sampled");
    let dropped = |reason| lines.stats.dropped.get_or_create(&[("reason", reason)]).get();
    assert_eq!((lines.stats.lines.get(), dropped("include"), dropped("sample")), (4, 1, 1));
}

#[test]
fn t69_lines_of_a_trace_become_one_record() {
    let input = b"2024 boom\n  at a\n  at b\n2024 fine\n";
    let start = ["--multiline-start", "^\\d"];
    check(&start, input, b"2024 boom\\n  at a\\n  at b\n2024 fine\n");
    check(&[&start[..], &["--multiline-join", " | "]].concat(), input, b"2024 boom |   at a |   at b\n2024 fine\n");
    check(&[&start[..], &["--include-lines", "at b"]].concat(), input, b"2024 boom\\n  at a\\n  at b\n");
}

#[test]
fn t69_the_last_record_is_held_until_it_is_the_last() {
    let mut lines = lines(&["--multiline-start", "^\\d", "--multiline-timeout", "3s"]);
    assert_eq!(lines.hold(), Duration::from_secs(3));
    let input = Input { last: false, ..Input::whole(b"f", b"1 a\n b\n2 c\n") };
    let (taken, out) = offer(&mut lines, input);
    assert_eq!((taken, out.as_slice()), (Taken { bytes: 7, then: Then::More }, b"1 a\\n b\n".as_slice()));
    let rest = Input { offset: 7, bytes: b"2 c\n", ..input };
    assert_eq!(offer(&mut lines, rest), (Taken { bytes: 0, then: Then::Held }, Vec::new()));
    let (taken, out) = offer(&mut lines, Input { last: true, ..rest });
    assert_eq!((taken.bytes, out.as_slice()), (4, b"2 c\n".as_slice()));
}

#[test]
fn a_record_that_fills_the_window_is_cut_instead_of_held_for_ever() {
    let mut lines = lines(&["--multiline-start", "^\\d"]);
    let long = b" trace line\n".repeat(WINDOW / 12);
    let (taken, out) = offer(&mut lines, Input { last: false, ..Input::whole(b"f", &long) });
    assert_eq!(taken.bytes, long.len());
    assert!(out.ends_with(b" trace line\n"));
}

#[test]
fn long_lines_are_passed_split_truncated_or_dropped() {
    let input = b"12345678\nabc\n";
    let flags = |policy| ["--max-line-bytes", "3", "--long-lines", policy];
    check(&flags("pass"), input, input);
    check(&flags("split"), input, b"123\n456\n78\nabc\n");
    check(&flags("truncate"), input, b"123\nabc\n");
    check(&flags("drop"), input, b"abc\n");
    check(&["--max-line-bytes", "3"], "aéé\n".as_bytes(), "aé\né\n".as_bytes());
}

#[test]
fn t61_a_line_longer_than_any_window_streams_through() {
    let mut line = b"x".repeat(300_000);
    line.push(b'\n');
    for piece in [1000, 65_536, 299_999] {
        assert_eq!(in_pieces(&["--include-lines", "x"], &line, piece).0, line);
        assert_eq!(in_pieces(&["--exclude-lines", "x"], &line, piece).0, b"");
        let prefixed = in_pieces(&["--prefix", "{name}: "], &line, piece).0;
        assert!(prefixed.starts_with(b"a.log: xxx") && prefixed.len() == line.len() + 7);
        let (split, lines) = in_pieces(&["--max-line-bytes", "100000"], &line, piece);
        let lengths: Vec<usize> = split.split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [100_000, 100_000, 100_000, 0], "{piece}");
        assert_eq!(lines.stats.long.get(), 1);
        let truncated = in_pieces(&["--max-line-bytes", "70000", "--long-lines", "truncate"], &line, piece).0;
        assert_eq!(truncated.len(), 70_001, "{piece}");
        assert!(truncated.ends_with(b"x\n"));
        assert_eq!(in_pieces(&["--max-line-bytes", "299999", "--long-lines", "drop"], &line, piece).0, b"");
    }
}

#[test]
fn t61_a_line_longer_than_any_window_is_several_json_records() {
    let text = "é".repeat(100_000);
    let line = format!("{text}\n");
    let (out, _) = in_pieces(&["--output", "json"], line.as_bytes(), 65_535);
    let records: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&out).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(records.iter().map(|record| record["log"].as_str().unwrap()).collect::<String>(), text);
    let (last, others) = records.split_last().unwrap();
    assert_eq!(last["partial"], false);
    assert!(!others.is_empty() && others.iter().all(|record| record["partial"] == true));
    assert_eq!(others.first().unwrap().get("log_base64"), None, "no letter is cut in two");
}

#[test]
fn a_rate_waits_or_drops() {
    let now = Instant::now();
    let mut blocking = lines(&["--rate-limit", "2/s"]);
    let mut to = Vec::new();
    let taken = blocking.take(Input::whole(b"f", b"1\n2\n3\n"), now, SystemTime::UNIX_EPOCH, &mut to);
    assert_eq!((taken.bytes, to.as_slice()), (4, b"1\n2\n".as_slice()));
    let Then::At(until) = taken.then else { panic!("{taken:?}") };
    let taken = blocking.take(Input::whole(b"f", b"3\n"), until, SystemTime::UNIX_EPOCH, &mut to);
    assert_eq!((taken.bytes, to.as_slice()), (2, b"1\n2\n3\n".as_slice()));

    let mut dropping = lines(&["--rate-limit", "2/s", "--rate-policy", "drop"]);
    to.clear();
    let taken = dropping.take(Input::whole(b"f", b"1\n2\n3\n"), now, SystemTime::UNIX_EPOCH, &mut to);
    assert_eq!((taken.bytes, to.as_slice()), (6, b"1\n2\n".as_slice()));
    assert_eq!(dropping.stats.dropped.get_or_create(&[("reason", "rate")]).get(), 1);
}

#[test]
fn t35_a_last_line_without_its_end_gets_one_only_where_it_must() {
    let unended = Input::whole(b"f", b"a\nb");
    assert_eq!(offer(&mut lines(&["--include-lines", "."]), unended).1, b"a\nb");
    assert_eq!(offer(&mut lines(&["--include-lines", "."]), Input { add_end: true, ..unended }).1, b"a\nb\n");
    let (_, json) = offer(&mut lines(&["--output", "json"]), unended);
    assert!(json.ends_with(b"\"log\":\"b\"}\n"));
}

#[test]
fn t65_utf_16_lines_are_found_at_even_offsets_and_come_out_as_utf_8() {
    // U+0A61 holds a newline's bytes across two letters; it must not end a line.
    let text = "a\u{0a61}\u{0061}\nb\n";
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let input = Input { line_end: b"\n\0", ..Input::whole(b"f", &bytes) };
    let (taken, out) = offer(&mut lines(&["--encoding", "utf-16le"]), input);
    assert_eq!((taken.bytes, String::from_utf8(out).unwrap().as_str()), (bytes.len(), text));
}

#[test]
fn t68_nul_ends_stay_nul_ends() {
    let input = Input { line_end: b"\0", ..Input::whole(b"f", b"a\nb\0c\0") };
    assert_eq!(offer(&mut lines(&["--exclude-lines", "^c"]), input).1, b"a\nb\0");
}

#[test]
fn the_output_is_bounded_although_escapes_grow() {
    let input = b"\x01\n".repeat(WINDOW / 2);
    let mut lines = lines(&["--output", "json"]);
    let (taken, out) = offer(&mut lines, Input::whole(b"f", &input));
    assert!(taken.bytes < input.len() && taken.then == Then::More);
    assert!(out.len() < WINDOW + 200, "{}", out.len());
}

/// Puts the number of lines in front, and leaves out what begins with `-`.
struct Numbering {
    passed_over: u64,
}

impl Rewrite for Numbering {
    fn record(&mut self, record: Record<'_>, to: &mut Vec<u8>) -> bool {
        to.extend_from_slice(if record.whole { b"whole " } else { b"part " });
        to.extend_from_slice(format!("{} ", record.lines).as_bytes());
        to.extend_from_slice(record.text);
        !record.text.starts_with(b"-")
    }

    fn passed_over(&mut self, lines: u64) {
        self.passed_over += lines;
    }
}

fn rewritten(lines: &mut Lines, numbering: &mut Numbering, input: Input<'_>) -> String {
    let mut to = Vec::new();
    let taken = lines.take_rewriting(input, Instant::now(), SystemTime::UNIX_EPOCH, Some(numbering), &mut to);
    assert_eq!(taken, Taken { bytes: input.bytes.len(), then: Then::More });
    String::from_utf8(to).unwrap()
}

#[test]
fn records_are_rewritten_after_they_were_chosen_and_before_they_are_cut() {
    let mut numbering = Numbering { passed_over: 0 };
    let flags = ["--exclude-lines", "^no", "--multiline-start", "^[^ ]", "--multiline-join", "/", "--prefix", "> "];
    let input = Input::whole(b"a", b"one\n two\nno\n n\n-three\nfour\n");
    let out = rewritten(&mut lines(&flags), &mut numbering, input);
    assert_eq!((out.as_str(), numbering.passed_over), ("> whole 2 one/ two\n> whole 1 four\n", 2));
    let cut = rewritten(&mut lines(&["--max-line-bytes", "9"]), &mut numbering, Input::whole(b"a", b"abc\nd\n"));
    assert_eq!(cut, "whole 1 a\nbc\nwhole 1 d\n");
}

#[test]
fn of_a_line_in_pieces_the_first_is_rewritten_or_all_left_out() {
    let mut numbering = Numbering { passed_over: 0 };
    for (first, expected) in [("abc", "part 1 abcdef\n"), ("-abc", "")] {
        let mut lines = lines(&["--sample", "1"]);
        let piece = Input { ends: false, ..Input::whole(b"a", first.as_bytes()) };
        let mut out = rewritten(&mut lines, &mut numbering, piece);
        let rest = Input { begins: false, ..Input::whole(b"a", b"def\n") };
        out += &rewritten(&mut lines, &mut numbering, rest);
        assert_eq!(out, expected);
    }
}
