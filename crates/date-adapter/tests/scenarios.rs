//! The date adapter's scenarios of the field notes, DA01 to DA23, as far as they need no process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use support::{Random, adapted, adapter, check, full, pieces};

const SEED_CASE: [&str; 4] = ["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T"];

#[test]
fn da01_the_recipe_is_right_for_a_million_lines_and_touches_no_message() {
    let mut random = Random::seeded("da01");
    let messages = ["GET /index.html HTTP/1.1 200", "Timeout at /a/b/T", "plain", "", "T/T/01/02/2022T00:00:00"];
    let (mut input, mut expected) = (String::new(), String::new());
    for _ in 0..if full() { 1_000_000 } else { 100_000 } {
        let (year, month, day) = (random.between(1, 9999), random.between(1, 12), random.between(1, 28));
        let time = format!("{:02}:{:02}:{:02}", random.below(24), random.below(60), random.below(60));
        let message = random.pick(&messages);
        input += &format!("{day:02}/{month:02}/{year:04}T{time} {message}\n");
        expected += &format!("{year:04}/{month:02}/{day:02}T{time} {message}\n");
    }
    let (out, counts) = pieces(&SEED_CASE, input.as_bytes(), 100_003);
    assert!(
        out == expected.as_bytes(),
        "first difference at {:?}",
        out.iter().zip(expected.as_bytes()).position(|(a, b)| a != b)
    );
    assert_eq!(counts.left_alone(), 0);
}

#[test]
fn da02_lines_without_a_stamp_stay_as_they_are() {
    let text =
        b"no stamp\n\n  //T\n01/12/2022 T16:25:21\n1/12/2022T16:25:21\n101/12/2022T16:25:21\n01/12/2022T16:25:212\n";
    for piece in [1, 7, 1000] {
        let (out, counts) = pieces(&SEED_CASE, text, piece);
        assert_eq!(out, text);
        assert_eq!((counts.unmatched, counts.rewritten), (7, 0));
    }
}

#[test]
fn da03_a_stamp_may_stand_anywhere() {
    let line = "127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /apache_pb.gif HTTP/1.0\" 200 2326\n";
    check(&["-i", "clf"], line, &line.replace("10/Oct/2000:13:55:36 -0700", "2000-10-10T13:55:36-07:00"));
    check(&["-i", "clf", "-z", "UTC"], line, &line.replace("10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36Z"));
    check(&["-i", "clf", "--match", "start"], line, line);
}

#[test]
fn da04_of_several_stamps_the_first_or_all_are_rewritten() {
    let line = "a 01/12/2022T16:25:21 b 02/12/2022T16:25:21 c\n";
    check(&SEED_CASE, line, "a 2022/12/01T16:25:21 b 02/12/2022T16:25:21 c\n");
    let all = [&SEED_CASE[..], &["--match", "all"]].concat();
    check(&all, line, "a 2022/12/01T16:25:21 b 2022/12/02T16:25:21 c\n");
    let second = [&SEED_CASE[..], &["--match", "field=4"]].concat();
    check(&second, line, "a 01/12/2022T16:25:21 b 2022/12/02T16:25:21 c\n");
    let behind = [&SEED_CASE[..], &["--match", r"regex=b (?<ts>\S+)"]].concat();
    check(&behind, line, "a 01/12/2022T16:25:21 b 2022/12/02T16:25:21 c\n");
}

/// The spellings that lnav, VRL, Fluent Bit and Logstash test with, and the moment they mean.
#[test]
fn da05_the_peers_spellings_are_known_to_auto() {
    let auto = ["-i", "auto", "--from-zone", "UTC", "-z", "UTC"];
    for (text, expected) in [
        ("2022-08-27T17:22:01.694554+03:00", "2022-08-27T14:22:01.694554Z"),
        ("2022-08-27T17:22:01.694554+0300", "2022-08-27T14:22:01.694554Z"),
        ("2022-08-27T17:22:01.694554+0000", "2022-08-27T17:22:01.694554Z"),
        ("2022-08-27T17:22:01.694554Z", "2022-08-27T17:22:01.694554Z"),
        ("2017 May 08 Mon 18:57:57.578", "2017-05-08T18:57:57.578Z"),
        ("2014-02-11 16:12:34", "2014-02-11T16:12:34Z"),
        ("2014-02-11 16:12:34.123", "2014-02-11T16:12:34.123Z"),
        ("05/18/2018 12:00:53 PM", "2018-05-18T12:00:53Z"),
        ("05/18/2018 12:00:53 AM", "2018-05-18T00:00:53Z"),
        ("2001-11-06 20:45:45,123", "2001-11-06T20:45:45.123Z"),
        ("2004-07-04T12:27:27-00:00", "2004-07-04T12:27:27Z"),
        ("2001-12-07T23:54:54,123Z", "2001-12-07T23:54:54.123Z"),
        ("07/18/2017 01:47:03 +0530", "2017-07-17T20:17:03Z"),
        ("07/17/2017 22:17:03,1 +02:00", "2017-07-17T20:17:03.1Z"),
        ("Fri Jul 17 20:17:03.1234 2017", "2017-07-17T20:17:03.1234Z"),
        ("1478207457.456", "2016-11-03T21:10:57.456Z"),
        ("1000000000123", "2001-09-09T01:46:40.123Z"),
        ("@4000000050d506482dbdf024", "2012-12-22T01:00:46.767422500Z"),
    ] {
        check(&auto, text, expected);
    }
    for bad in ["2013-22-01 12:01:22", "2013-00-01 12:01:22", "1-2-3 1:2:3", "@4000000043", "20-", "%{bad_value}"] {
        check(&auto, bad, bad);
    }
    // One instant in ten spellings, most without a zone.
    let brisbane = ["-i", "auto", "--month-first", "--from-zone", "Australia/Brisbane", "-f", "epoch"];
    for text in [
        "2001-02-03 14:05:06",
        "02/03/2001:14:05:06",
        "2001-02-03T14:05:06",
        "2001-02-03T04:05:06Z",
        "Sat, 3 Feb 2001 14:05:06",
        "Sat Feb 3 14:05:06 2001",
        "3-Feb-2001 14:05:06",
        "2001-02-02T22:05:06-06:00",
        "Sat, 03 Feb 2001 07:05:06 +0300",
        "03/Feb/2001:02:05:06 -0200",
        "981173106",
    ] {
        check(&brisbane, text, "981173106");
    }
    let mixed = ["-i", "%m/%d/%Y %T:%L %z", "-z", "UTC"];
    check(&mixed, "07/17/2017 22:17:03:1 +02:00", "2017-07-17T20:17:03.1Z");
}

#[test]
fn da06_a_format_of_names_needs_the_whole_word() {
    for text in ["12Maybe", "12May", "12Mai03"] {
        check(&["-i", "%y%b%d", "-f", "%F"], text, text);
    }
    check(&["-i", "%y%b%d", "-f", "%F"], "12May03", "2012-05-03");
}

#[test]
fn da07_da08_a_stamp_ends_at_the_line_end_however_it_ends() {
    check(&["-i", "%Y-%m", "-f", "%m/%Y"], "20-", "20-");
    for end in ["", "\n", "\r\n", "\r"] {
        check(&SEED_CASE, &format!("x 01/12/2022T16:25:21{end}"), &format!("x 2022/12/01T16:25:21{end}"));
    }
}

#[test]
fn da09_what_does_not_exist_is_counted_and_left() {
    let impossible = [
        "31/02/2022T10:00:00",
        "30/02/2024T10:00:00",
        "29/02/2023T10:00:00",
        "29/02/1900T10:00:00",
        "01/00/2022T10:00:00",
        "01/13/2022T10:00:00",
        "00/01/2022T10:00:00",
        "32/01/2022T10:00:00",
        "01/01/2022T24:00:00",
        "01/01/2022T25:00:00",
        "01/01/2022T10:60:00",
        "01/01/2022T10:00:60",
        "01/01/2022T10:00:61",
        "01/01/2022T23:59:61",
    ];
    let text = impossible.join(" x\n") + " x\n29/02/2024T10:00:00 x\n29/02/2000T10:00:00 x\n";
    let (out, counts) = adapted(&SEED_CASE, text.as_bytes());
    let expected = impossible.join(" x\n") + " x\n2024/02/29T10:00:00 x\n2000/02/29T10:00:00 x\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!((counts.invalid, counts.rewritten, counts.unmatched), (14, 2, 0));
    let policies = |on_invalid| [&SEED_CASE[..], &["--on-invalid", on_invalid]].concat();
    check(&policies("drop"), "a\n31/02/2022T10:00:00 x\nb\n", "a\nb\n");
    check(&policies("tag"), "a\n31/02/2022T10:00:00 x\nb\n", "a\n[invalid-timestamp] 31/02/2022T10:00:00 x\nb\n");
    check(&policies("fail"), "01/02/2022T10:00:00 a\n31/02/2022T10:00:00 x\nb\n", "2022/02/01T10:00:00 a\n");
}

#[test]
fn da10_stamps_without_a_year_follow_their_file() {
    let from = ["-i", "syslog", "-f", "%F %T", "--year", "2019"];
    check(
        &from,
        "Dec 31 23:59:59 a\nJan  1 00:00:01 b\nFeb 29 10:00:00 c\n",
        "2019-12-31 23:59:59 a\n2020-01-01 00:00:01 b\n2020-02-29 10:00:00 c\n",
    );
    let (_, counts) = adapted(&["-i", "syslog", "-f", "%F %T"], b"Dec 31 23:59:59 a\nDec 31 23:59:59 b\nno\n");
    assert_eq!((counts.years_inferred, counts.rewritten), (2, 2));
    check(&from, "Feb 30 10:00:00 never\n", "Feb 30 10:00:00 never\n");
}

#[test]
fn da11_clock_changes_go_by_the_policy() {
    let paris = |policy: &'static str, choice| {
        vec!["-i", "%F %T", "--from-zone", "Europe/Paris", "-f", "%FT%T%:z", policy, choice]
    };
    let gap = "2016-03-27 02:30:00";
    for (choice, expected) in [
        ("compatible", "2016-03-27T03:30:00+02:00"),
        ("later", "2016-03-27T03:30:00+02:00"),
        ("earlier", "2016-03-27T01:30:00+01:00"),
        ("reject", gap),
    ] {
        check(&paris("--gap", choice), gap, expected);
    }
    let fold = "2016-10-30 02:30:00";
    for (choice, expected) in [
        ("compatible", "2016-10-30T02:30:00+02:00"),
        ("earlier", "2016-10-30T02:30:00+02:00"),
        ("later", "2016-10-30T02:30:00+01:00"),
        ("reject", fold),
    ] {
        check(&paris("--fold", choice), fold, expected);
    }
    for (zone, wall, expected) in [
        ("America/Santiago", "2016-05-14 23:30:00", "2016-05-14T23:30:00-03:00"),
        ("Australia/Lord_Howe", "2016-10-02 02:15:00", "2016-10-02T02:45:00+11:00"),
        ("Australia/Lord_Howe", "2016-04-03 01:45:00", "2016-04-03T01:45:00+11:00"),
        ("Asia/Kathmandu", "2020-01-01 00:00:00", "2020-01-01T00:00:00+05:45"),
        ("Europe/Dublin", "2020-01-01 12:00:00", "2020-01-01T12:00:00+00:00"),
        ("Europe/Dublin", "2020-07-01 12:00:00", "2020-07-01T12:00:00+01:00"),
    ] {
        check(&["-i", "%F %T", "--from-zone", zone, "-f", "%FT%T%:z"], wall, expected);
    }
    let (out, _) = adapted(&["-i", "%F %T", "--from-zone", "Africa/Monrovia", "-f", "%s"], b"1971-01-01 00:00:00");
    let seconds: i64 = String::from_utf8(out).unwrap().parse().unwrap();
    assert_ne!(seconds.rem_euclid(60), 0, "Monrovia kept its own time to the second until 1972");
    let (_, counts) = adapted(&paris("--gap", "later"), format!("{gap}\n{fold}\n{fold}\n").as_bytes());
    assert_eq!((counts.gaps, counts.folds), (1, 2));
}

#[test]
fn da12_fractions_are_cut_and_never_rounded() {
    let digits = "999999999999";
    for given in 0..=12 {
        let text = if given == 0 { "10:11:59".to_owned() } else { format!("10:11:59.{}", &digits[..given]) };
        check(&["-i", "%T%.f", "-f", "%T%.f"], &text, &text);
        for wanted in 1..=12 {
            let padded = format!("{:0<12}", &digits[..given]);
            let expected = format!("10:11:59,{}", &padded[..wanted]);
            check(&["-i", "%T%.f", "-f", &format!("%T,%{wanted}f")], &text, &expected);
        }
    }
    for (precision, expected) in [("s", ""), ("ms", ".123"), ("us", ".123400"), ("ns", ".123400000"), ("keep", ".1234")]
    {
        let arguments = ["-i", "rfc3339", "-f", "rfc3339", "--precision", precision];
        check(&arguments, "2022-12-01T16:25:21.1234Z", &format!("2022-12-01T16:25:21{expected}Z"));
    }
    check(&["-i", "log4j", "-f", "%T.%3f"], "2022-12-01 16:25:21,987", "16:25:21.987");
}

#[test]
fn da13_counts_of_seconds_in_every_unit() {
    for (preset, text, expected) in [
        ("epoch", "0", "1970-01-01T00:00:00Z"),
        ("epoch", "-1", "1969-12-31T23:59:59Z"),
        ("epoch", "2147483648", "2038-01-19T03:14:08Z"),
        ("epoch", "253402300799", "9999-12-31T23:59:59Z"),
        ("epoch", "253402300800", "253402300800"),
        ("epoch-ms", "-1", "1969-12-31T23:59:59.999Z"),
        ("epoch-ms", "1669911921123", "2022-12-01T16:25:21.123Z"),
        ("epoch-us", "1669911921123456", "2022-12-01T16:25:21.123456Z"),
        ("epoch-ns", "1669911921123456789", "2022-12-01T16:25:21.123456789Z"),
        ("auto", "1669911921", "2022-12-01T16:25:21Z"),
        ("auto", "1669911921123456789", "2022-12-01T16:25:21.123456789Z"),
        ("auto", "16699119211", "16699119211"),
    ] {
        check(&["-i", preset, "--from-zone", "UTC"], text, expected);
    }
    for (preset, expected) in [
        ("epoch", "1669911921"),
        ("epoch-ms", "1669911921123"),
        ("epoch-us", "1669911921123000"),
        ("epoch-ns", "1669911921123000000"),
    ] {
        check(&["-i", "rfc3339", "-f", preset], "2022-12-01T16:25:21.123Z", expected);
    }
    check(&["-i", "rfc3339", "-f", "epoch-ms"], "1969-12-31T23:59:59.9Z", "-100");
    check(&["-i", "tai64n", "-f", "rfc3339"], "@4000000050d506482dbdf024 x", "2012-12-22T01:00:46.767422500Z x");
    check(&["-i", "rfc3339", "-f", "tai64n"], "1970-01-01T00:00:00Z", "@400000000000000a00000000");
}

#[test]
fn da14_month_names_of_other_languages() {
    for (locale, format, text, expected) in [
        ("fr", "%B %d %Y", "août 19 2022", "2022-08-19"),
        ("fr", "%d %b %Y", "03 NOV. 2022", "2022-11-03"),
        ("es", "%d/%b/%Y", "01/Ene/2014", "2014-01-01"),
        ("de", "%d. %b %Y", "07. Mär 2022", "2022-03-07"),
        ("pt_BR.UTF-8", "%d de %B de %Y", "07 de Março de 2022", "2022-03-07"),
        ("ru", "%d %B %Y", "07 СЕНТЯБРЯ 2022", "2022-09-07"),
        ("fr", "%d %b %Y", "03 Nov 2022", "2022-11-03"),
    ] {
        check(&["-i", format, "-f", "%F", "--locale", locale], text, expected);
    }
    check(&["-i", "%F", "-f", "%A %d %B %Y", "--locale", "fr"], "2022-08-19", "vendredi 19 août 2022");
    check(
        &["-i", "%F %T", "--from-zone", "UTC", "-f", "rfc2822", "--locale", "fr"],
        "2022-08-19 00:00:00",
        "Fri, 19 Aug 2022 00:00:00 +0000",
    );
    assert_eq!(adapter(&["-i", "%F", "-f", "%F", "--locale", "xx"]).unwrap_err(), "--locale \"xx\" is unknown");
}

#[test]
fn da15_auto_does_not_guess_between_day_and_month() {
    let auto = |more: &'static [&'static str]| [&["-i", "auto", "-f", "%F %T"], more].concat();
    let line = "01/12/2022 16:25:21 x";
    check(&auto(&[]), line, line);
    let (_, counts) = adapted(&auto(&[]), line.as_bytes());
    assert_eq!((counts.ambiguous, counts.unmatched, counts.invalid), (1, 0, 0));
    check(&auto(&["--day-first"]), line, "2022-12-01 16:25:21 x");
    check(&auto(&["--month-first"]), line, "2022-01-12 16:25:21 x");
    check(&auto(&[]), "13/12/2022 16:25:21 x", "2022-12-13 16:25:21 x");
    check(&auto(&[]), "12/13/2022 16:25:21 x", "2022-12-13 16:25:21 x");
    check(&auto(&[]), "12/12/2022 16:25:21 x", "2022-12-12 16:25:21 x");
    let refusal = adapter(&["-i", "%d/%m/%Y", "-f", "%F", "--day-first"]).unwrap_err();
    assert!(refusal.starts_with("--day-first and --month-first are for -i auto"), "{refusal}");
}

#[test]
fn da16_in_json_only_the_value_changes() {
    let json = |path: &'static str| vec!["-i", "%d/%m/%YT%T", "-i", "epoch", "-f", "%Y/%m/%dT%T", "--match", path];
    check(
        &json("json=a.ts"),
        r#"{"ts":"01/12/2022T16:25:21","a":{"ts":"01/12/2022T16:25:21"},"z":1.0}"#,
        r#"{"ts":"01/12/2022T16:25:21","a":{"ts":"2022/12/01T16:25:21"},"z":1.0}"#,
    );
    check(
        &json("json=ts"),
        r#"{"m":"\"","ts":"01\/12\/2022T16:25:21 \u00e9"}"#,
        r#"{"m":"\"","ts":"2022/12/01T16:25:21 \u00e9"}"#,
    );
    check(&json("json=l[1]"), r#"{"l":[0, 1669911921 ,2]}"#, r#"{"l":[0, "2022/12/01T16:25:21" ,2]}"#);
    check(
        &["-i", "rfc3339", "-f", "epoch", "--match", "json=t"],
        r#"{"t":"2022-12-01T16:25:21Z"}"#,
        r#"{"t":"1669911921"}"#,
    );
    check(&["-i", "epoch", "-f", "epoch-ms", "--match", "json=t"], r#"{"t":1669911921}"#, r#"{"t":1669911921000}"#);
    check(
        &["-i", "epoch", "-f", "%F\"%T\\", "--match", "json=t"],
        r#"{"t":1669911921}"#,
        r#"{"t":"2022-12-01\"16:25:21\\"}"#,
    );
    for line in [r#"{"ts":null}"#, r#"{"ts":1.6e9}"#, "01/12/2022T16:25:21", r#"{"ts":"01/12/2022T16:25:21"#] {
        check(&json("json=ts"), line, line);
    }
}

#[test]
fn da18_a_line_longer_than_any_buffer_is_rewritten_and_whole() {
    let length = if full() { 100 << 20 } else { 10 << 20 };
    let mut line = b"01/12/2022T16:25:21 ".to_vec();
    line.resize(length, b'x');
    let input = [&line[..], b"\n02/12/2022T16:25:21 next\n", &vec![b'y'; 300_000], b"\nend\n"].concat();
    let (out, counts) = pieces(&SEED_CASE, &input, 65_536);
    let mut expected = input.clone();
    expected[..19].copy_from_slice(b"2022/12/01T16:25:21");
    expected[length + 1..length + 20].copy_from_slice(b"2022/12/02T16:25:21");
    assert!(out == expected);
    assert_eq!((counts.rewritten, counts.unmatched), (2, 2));
    let dropping = [&SEED_CASE[..], &["--on-unmatched", "drop"]].concat();
    let (out, _) = pieces(&dropping, &input, 4_096);
    assert_eq!(out.len(), length + 1 + b"02/12/2022T16:25:21 next\n".len());
}

#[test]
fn da19_bytes_around_the_stamp_may_be_anything() {
    for (before, after) in
        [(&b"\0"[..], &b"\0\xff\xfe"[..]), (b"\xff", b"\xe9"), (b"\xc3", b"\0\0\r\r"), (b"", b"\x80")]
    {
        let line = [before, b"01/12/2022T16:25:21", after, b"\n"].concat();
        let expected = [before, b"2022/12/01T16:25:21", after, b"\n"].concat();
        // Twice, so that the remembered stamp meets the same surroundings.
        assert_eq!(adapted(&SEED_CASE, &line.repeat(3)).0, expected.repeat(3));
    }
}

#[test]
fn da22_a_leap_second_stays_where_parts_are_only_rearranged() {
    check(&SEED_CASE, "31/12/2016T23:59:60 x", "2016/12/31T23:59:60 x");
    check(&[&SEED_CASE[..], &["--leap", "clamp"]].concat(), "31/12/2016T23:59:60 x", "2016/12/31T23:59:59 x");
    let zone = ["-i", "%FT%T%z", "-z", "Asia/Kathmandu", "-f", "%FT%T%:z"];
    check(&zone, "2016-12-31T23:59:60Z", "2017-01-01T05:44:59+05:45");
    check(&[&zone[..], &["--leap", "keep"]].concat(), "2016-12-31T23:59:60Z", "2017-01-01T05:44:60+05:45");
    check(&["-i", "rfc3339", "-f", "epoch"], "2016-12-31T23:59:60Z", "1483228799");
}

#[test]
fn lines_without_a_stamp_inherit_one_or_get_the_time_or_end_the_run() {
    let policy = |on_unmatched| [&SEED_CASE[..], &["--on-unmatched", on_unmatched]].concat();
    let text = "first\n01/12/2022T16:25:21 a\n  at x\n01/12/2022T16:25:22 b\n01/12/2022T16:25:23 c\n  at y\n";
    check(
        &policy("inherit"),
        text,
        "first\n2022/12/01T16:25:21 a\n2022/12/01T16:25:21   at x\n2022/12/01T16:25:22 b\n2022/12/01T16:25:23 c\n2022/12/01T16:25:23   at y\n",
    );
    check(&policy("drop"), text, "2022/12/01T16:25:21 a\n2022/12/01T16:25:22 b\n2022/12/01T16:25:23 c\n");
    check(&policy("fail"), "01/12/2022T16:25:21 a\nno\n01/12/2022T16:25:22 b\n", "2022/12/01T16:25:21 a\n");
    let (out, _) = adapted(&["-i", "rfc3339", "--on-unmatched", "stamp"], b"plain\n");
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("20") && out.ends_with("Z plain\n"), "{out}");
}

#[test]
fn several_formats_are_tried_in_order_and_impossible_dates_by_the_next() {
    let both = ["-i", "%d/%m/%Y", "-i", "%m/%d/%Y", "-f", "%F"];
    check(&both, "01/12/2022\n12/31/2022\n31/31/2022\n", "2022-12-01\n2022-12-31\n31/31/2022\n");
    // A remembered stamp of the second format gives way where the first one fits.
    let zones = ["-i", "%FT%T%z", "-i", "%FT%T", "--from-zone", "UTC", "-z", "UTC", "-f", "%T"];
    check(
        &zones,
        "2022-12-01T10:00:00 a\n2022-12-01T10:00:01 b\n2022-12-01T10:00:02+01:00 c\n",
        "10:00:00 a\n10:00:01 b\n09:00:02 c\n",
    );
}

#[test]
fn abbreviations_mean_what_they_are_said_to_mean() {
    let est = ["-i", "%F %T %Z", "--zone-abbrev", "EST=America/New_York", "-z", "UTC", "-f", "%T %Z"];
    check(
        &est,
        "2022-12-01 10:00:00 EST\n2022-12-01 10:00:00 GMT\n2022-12-01 10:00:00 CET\n",
        "15:00:00 UTC\n10:00:00 UTC\n2022-12-01 10:00:00 CET\n",
    );
}
