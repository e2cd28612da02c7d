//! Random stamps in random formats and zones against jiff, Python and GNU date.
//!
//! A hundredth of the ten million stamps by default, all with `PODKIT_FULL=1` (in a release build, some minutes). Python
//! and GNU date read the system's zone database, whose history before 1970 depends on how it was packed: they are asked about
//! later moments of zones whose history no recent release of the database has corrected.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]
#![allow(clippy::print_stderr, reason = "what could not be compared is said")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Timestamp, civil};
use support::{Random, adapted, full};

const ZONES: [&str; 20] = [
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Europe/Dublin",
    "Asia/Kathmandu",
    "Europe/London",
    "America/Los_Angeles",
    "Australia/Sydney",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Singapore",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "America/St_Johns",
    "Europe/Moscow",
    "Pacific/Apia",
    "Africa/Johannesburg",
];
/// 2037-01-01T00:00:00Z
const END: i64 = 2_114_380_800;
const BATCH: usize = 500;

fn count(whole: usize) -> usize {
    if full() { whole } else { whole / 100 }
}

/// A date and time format that jiff and the adapter spell the same, with or without a zone.
fn format(random: &mut Random, zone: bool, fraction: bool) -> String {
    let separator = *random.pick(&["/", "-", ".", "_", ""]);
    let date = match random.below(9) {
        0 => format!("%Y{separator}%m{separator}%d"),
        1 => format!("%d{separator}%m{separator}%Y"),
        2 => format!("%m{separator}%d{separator}%Y"),
        3 => format!("%d{separator}%b{separator}%Y"),
        4 => "%a, %e %b %Y".to_owned(),
        5 => "%A %d %B %Y".to_owned(),
        6 => format!("%Y{separator}%j"),
        7 => "%F".to_owned(),
        _ => "%b %e %Y".to_owned(),
    };
    let time = random.pick(&["%T", "%H.%M.%S", "%H%M%S"]);
    let digits = if fraction { *random.pick(&["", ".%3f", ",%6f", ".%9f", "%.3f"]) } else { "" };
    let half = if digits.is_empty() && random.below(4) == 0 { "%I:%M:%S %p" } else { time };
    let clock = format!("{half}{digits}");
    let between = random.pick(&["T", " ", "_", " at "]);
    let suffix = if zone { *random.pick(&["%z", "%:z", " %z", " %:z"]) } else { "" };
    if suffix.is_empty() && random.below(4) == 0 {
        format!("{clock}{between}{date}")
    } else {
        format!("{date}{between}{clock}{suffix}")
    }
}

#[track_caller]
fn compare(arguments: &[&str], lines: &[String], expected: &[String]) {
    let (out, _) = adapted(arguments, (lines.join("\n") + "\n").as_bytes());
    let out = String::from_utf8(out).unwrap();
    for ((line, expected), got) in lines.iter().zip(expected).zip(out.lines()) {
        assert_eq!(got, expected, "{arguments:?} {line:?}");
    }
    assert_eq!(out.lines().count(), lines.len());
}

fn text(random: &mut Random) -> String {
    random.pick(&["", " x", " GET /a/b T1", "\t42", " 01/12/2022T16:25:21"]).to_string()
}

#[test]
fn da23_jiff_agrees_about_stamps_that_name_their_offset() {
    let mut random = Random::seeded("offsets");
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    for _ in 0..count(4_000_000) / BATCH {
        let (input, output) = (format(&mut random, true, true), format(&mut random, true, true));
        let (from, to) = (random.pick(&names).clone(), random.pick(&names).clone());
        let (from, to) = (TimeZone::get(&from).unwrap(), (TimeZone::get(&to).unwrap(), to));
        let (mut lines, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let second = random.between(-2_500_000_000, 4_500_000_000);
            let moment = Timestamp::new(second, random.below(1_000_000_000) as i32).unwrap();
            let stamp = moment.to_zoned(from.clone()).strftime(&input).to_string();
            // The input may have cut the fraction: what it says is what counts.
            let digits = ["%3f", "%.3f", "%6f", "%9f"].iter().find(|digits| input.contains(*digits));
            let cut = match digits.map(|digits| digits.trim_start_matches(['%', '.'])) {
                Some("3f") => 1_000_000,
                Some("6f") => 1_000,
                Some("9f") => 1,
                _ => 1_000_000_000,
            };
            let moment = Timestamp::from_nanosecond(moment.as_nanosecond().div_euclid(cut) * cut).unwrap();
            let tail = text(&mut random);
            expected.push(format!("{}{tail}", moment.to_zoned(to.0.clone()).strftime(&output)));
            lines.push(format!("{stamp}{tail}"));
        }
        compare(&["-i", &input, "-f", &output, "-z", &to.1, "--match", "start"], &lines, &expected);
    }
}

#[test]
fn da23_jiff_agrees_about_wall_clocks_in_every_zone_and_policy() {
    let mut random = Random::seeded("walls");
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    for _ in 0..count(4_000_000) / BATCH {
        let input = format(&mut random, false, false);
        let (from, to) = (random.pick(&names).clone(), random.pick(&names).clone());
        let policy = *random.pick(&["compatible", "earlier", "later", "reject"]);
        let (zone, other) = (TimeZone::get(&from).unwrap(), TimeZone::get(&to).unwrap());
        let edges: Vec<i64> = zone
            .following(Timestamp::from_second(-3_000_000_000).unwrap())
            .take(150)
            .map(|edge| edge.timestamp().as_second())
            .collect();
        let (mut lines, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            // Half of them close to a transition.
            let second = match edges.is_empty() || random.below(2) == 0 {
                true => random.between(-2_500_000_000, 4_500_000_000),
                false => *random.pick(&edges) + random.between(-90_000, 90_000),
            };
            let wall = Timestamp::from_second(second).unwrap().to_zoned(TimeZone::UTC).datetime();
            push(wall, &input, &zone, &other, policy, &mut lines, &mut expected);
        }
        compare(
            &["-i", &input, "-f", "%FT%T%:z", "--from-zone", &from, "-z", &to, "--gap", policy, "--fold", policy],
            &lines,
            &expected,
        );
    }
}

fn push(
    wall: civil::DateTime,
    input: &str,
    zone: &TimeZone,
    other: &TimeZone,
    policy: &str,
    lines: &mut Vec<String>,
    expected: &mut Vec<String>,
) {
    let choice = match policy {
        "earlier" => Disambiguation::Earlier,
        "later" => Disambiguation::Later,
        "reject" => Disambiguation::Reject,
        _ => Disambiguation::Compatible,
    };
    let line = wall.strftime(input).to_string();
    expected.push(match zone.clone().into_ambiguous_zoned(wall).disambiguate(choice) {
        Ok(zoned) => zoned.with_time_zone(other.clone()).strftime("%FT%T%:z").to_string(),
        Err(_) => line.clone(),
    });
    lines.push(line);
}

/// Seconds before and after a clock change that are asked about.
const SHIFTS: [i64; 18] =
    [-7200, -3601, -3600, -1801, -1800, -61, -60, -59, -1, 0, 1, 59, 60, 1799, 1800, 3599, 3600, 7200];

/// The clock changes of a zone since 1970.
fn edges(zone: &TimeZone) -> Vec<jiff::tz::TimeZoneTransition<'_>> {
    zone.following(Timestamp::UNIX_EPOCH).take_while(|edge| edge.timestamp().as_second() < END).collect()
}

/// Moments around every clock change since 1970, for the first five zones.
fn moments_at_edges(name: &str) -> Vec<i64> {
    if !ZONES[..5].contains(&name) {
        return Vec::new();
    }
    let zone = TimeZone::get(name).unwrap();
    let seconds: Vec<i64> = edges(&zone).iter().map(|edge| edge.timestamp().as_second()).collect();
    assert!(seconds.len() > 100, "{name} has {} transitions", seconds.len());
    seconds.iter().flat_map(|edge| SHIFTS.map(|shift| edge + shift)).collect()
}

/// What wall clocks show around every clock change since 1970, before and after it, for the first five zones.
fn walls_at_edges(name: &str) -> Vec<i64> {
    if !ZONES[..5].contains(&name) {
        return Vec::new();
    }
    let zone = TimeZone::get(name).unwrap();
    let walls = edges(&zone).into_iter().flat_map(|edge| {
        let second = edge.timestamp().as_second();
        let before = zone.to_offset(edge.timestamp() - jiff::SignedDuration::from_secs(1));
        [before, edge.offset()].map(|offset| second + i64::from(offset.seconds()))
    });
    walls.flat_map(|wall| SHIFTS.map(|shift| wall + shift)).collect()
}

#[test]
fn da11_every_clock_change_since_1970_in_five_zones_is_as_jiff_says() {
    for name in &ZONES[..5] {
        let zone = TimeZone::get(name).unwrap();
        let mut lines = Vec::new();
        let wall = |second: &i64| Timestamp::from_second(*second).unwrap().to_zoned(TimeZone::UTC).datetime();
        let walls: Vec<civil::DateTime> = walls_at_edges(name).iter().map(wall).collect();
        assert!(walls.len() > 2 * 100 * SHIFTS.len(), "{name} has {} clocks to ask about", walls.len());
        for policy in ["compatible", "earlier", "later", "reject"] {
            let mut expected = Vec::new();
            lines.clear();
            for wall in &walls {
                push(*wall, "%F %T", &zone, &zone, policy, &mut lines, &mut expected);
            }
            compare(
                &["-i", "%F %T", "-f", "%FT%T%:z", "--from-zone", name, "-z", name, "--gap", policy, "--fold", policy],
                &lines,
                &expected,
            );
        }
    }
}

#[test]
fn da13_da23_jiff_agrees_about_counts_in_every_unit() {
    let mut random = Random::seeded("counts");
    for (unit, scale) in [("epoch", 1i128), ("epoch-ms", 1_000), ("epoch-us", 1_000_000), ("epoch-ns", 1_000_000_000)] {
        for _ in 0..count(1_000_000) / 4 / BATCH {
            let zone = random.pick(&ZONES);
            let table = TimeZone::get(zone).unwrap();
            let (mut lines, mut expected, mut back) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..BATCH {
                let nanos = i128::from(random.between(-2_000_000_000, 4_000_000_000)) * 1_000_000_000
                    + i128::from(random.below(1_000_000_000));
                let count = nanos.div_euclid(1_000_000_000 / scale);
                let moment = Timestamp::from_nanosecond(count * (1_000_000_000 / scale)).unwrap();
                lines.push(count.to_string());
                back.push(format!("{}", moment.to_zoned(table.clone()).strftime("%Y-%m-%d %H:%M:%S.%9f %z")));
                expected.push(back.last().unwrap().clone());
            }
            let written = "%Y-%m-%d %H:%M:%S.%9f %z";
            compare(&["-i", unit, "-f", written, "-z", zone], &lines, &expected);
            compare(&["-i", written, "-f", unit], &back, &lines);
        }
    }
}

/// Gives `input` to a program and returns its lines, or says why not.
fn ask(command: &mut Command, input: &str) -> Option<Vec<String>> {
    let name = format!("{command:?}");
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: {name} cannot be started");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success(), "{name}");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn da23_gnu_date_agrees_about_moments_in_zones() {
    let version = Command::new("date").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("GNU coreutils")) {
        eprintln!("skipped: date is not GNU date");
        return;
    }
    let mut random = Random::seeded("GNU date");
    for zone in ZONES {
        let anywhere = (0..count(500_000) / ZONES.len()).map(|_| random.between(0, END));
        let lines: Vec<String> = anywhere.chain(moments_at_edges(zone)).map(|moment: i64| moment.to_string()).collect();
        let input: String = lines.iter().map(|line| format!("@{line}\n")).collect();
        let format = "%a %d %b %Y %j %y %H:%M:%S %I %p %z %Z";
        let mut date = Command::new("date");
        date.env("TZ", zone).env("LC_ALL", "C").args(["-f", "-", &format!("+{format}")]);
        let Some(expected) = ask(&mut date, &input) else { return };
        // One fact per format: the adapter refuses to be told one twice, so the line is asked for in two halves.
        let halves = [("%a %d %b %Y", 0, 15), ("%j %y", 16, 22), ("%H:%M:%S", 23, 31), ("%I %p %z %Z", 32, 0)];
        for (part, from, to) in halves {
            let expected: Vec<String> = expected
                .iter()
                .map(|line| if to == 0 { line[from..].to_owned() } else { line[from..to].to_owned() })
                .collect();
            compare(&["-i", "epoch", "-f", part, "-z", zone], &lines, &expected);
        }
    }
}

/// Reads `zone seconds`, the wall clock's seconds since 1970; writes the moment for both values of `fold`.
const PYTHON: &str = "
import sys, datetime, zoneinfo
zones, start = {}, datetime.datetime(1970, 1, 1)
for line in sys.stdin:
    name, seconds = line.split()
    zone = zones.get(name) or zones.setdefault(name, zoneinfo.ZoneInfo(name))
    wall = start + datetime.timedelta(seconds=int(seconds))
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    print(int(first.timestamp()), int(second.timestamp()), wall.strftime('%A %d %B %Y %I:%M:%S %p'), sep='|')
";

#[test]
fn da23_python_agrees_about_wall_clocks() {
    let has_zones = Command::new("python3").args(["-c", "import zoneinfo; zoneinfo.ZoneInfo('Europe/Paris')"]).output();
    if !has_zones.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no python3 with zoneinfo and a zone database");
        return;
    }
    let mut random = Random::seeded("Python");
    for zone in ZONES {
        let table = TimeZone::get(zone).unwrap();
        let edges: Vec<i64> = table
            .following(Timestamp::UNIX_EPOCH)
            .take(130)
            .map(|edge| edge.timestamp().as_second())
            .filter(|edge| *edge < END)
            .collect();
        let walls: Vec<i64> = (0..count(500_000) / ZONES.len())
            .map(|_| match edges.is_empty() || random.below(2) == 0 {
                true => random.between(200_000, END),
                false => (*random.pick(&edges) + random.between(-50_000, 50_000)).max(200_000),
            })
            .chain(walls_at_edges(zone))
            .collect();
        let input: String = walls.iter().map(|wall| format!("{zone} {wall}\n")).collect();
        let Some(answers) = ask(Command::new("python3").args(["-c", PYTHON]), &input) else { return };
        let part = |number: usize| -> Vec<String> {
            answers.iter().map(|line| line.split('|').nth(number).unwrap().to_owned()).collect()
        };
        let input = "%A %d %B %Y %I:%M:%S %p";
        compare(&["-i", input, "-f", "epoch", "--from-zone", zone], &part(2), &part(0));
        compare(
            &["-i", input, "-f", "epoch", "--from-zone", zone, "--gap", "earlier", "--fold", "later"],
            &part(2),
            &part(1),
        );
    }
}
