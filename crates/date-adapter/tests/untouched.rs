//! Whatever is not the stamp stays as it is: random bytes, random pieces, against a model that knows nothing of speed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use support::{Random, full, pieces};

const SHAPE: &[u8] = b"dd/dd/ddddTdd:dd:dd";

/// The stamp that begins at `at`, rewritten, or nothing where its shape does not stand there alone.
fn model_stamp(line: &[u8], at: usize) -> Option<Option<Vec<u8>>> {
    let text = line.get(at..at + SHAPE.len())?;
    let shaped =
        text.iter().zip(SHAPE).all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape });
    let alone =
        (at == 0 || !line[at - 1].is_ascii_digit()) && !line.get(at + SHAPE.len()).is_some_and(u8::is_ascii_digit);
    if !shaped || !alone {
        return None;
    }
    let number = |from: usize, to: usize| -> u32 { std::str::from_utf8(&text[from..to]).unwrap().parse().unwrap() };
    let (day, month, year) = (number(0, 2), number(3, 5), number(6, 10));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let dated = (1..=12).contains(&month) && day >= 1 && day <= days[month as usize - 1];
    let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
    let timed = hour < 24 && minute < 60 && (second < 60 || (second == 60 && minute % 15 == 14));
    let rewritten = [&text[6..10], b"/", &text[3..5], b"/", &text[0..2], &text[10..]].concat();
    Some((dated && timed).then_some(rewritten))
}

fn model_line(line: &[u8], all: bool) -> Vec<u8> {
    let (mut out, mut at) = (Vec::new(), 0);
    while at < line.len() {
        match model_stamp(line, at) {
            Some(result) => {
                out.extend(result.unwrap_or_else(|| line[at..at + SHAPE.len()].to_vec()));
                at += SHAPE.len();
                if !all {
                    break;
                }
            }
            None => {
                out.push(line[at]);
                at += 1;
            }
        }
    }
    out.extend(&line[at..]);
    out
}

fn model(input: &[u8], all: bool) -> Vec<u8> {
    input.split_inclusive(|byte| *byte == b'\n').flat_map(|line| model_line(line, all)).collect()
}

/// Bytes that make stamps, almost-stamps, and everything else.
fn noise(random: &mut Random, stamp: &mut (u64, u64), out: &mut Vec<u8>) {
    match random.below(12) {
        0..=3 => {
            if random.below(5) == 0 {
                *stamp = (random.below(32 * 13), random.below(24 * 60));
            }
            let ((day, month), (hour, minute)) = ((stamp.0 / 13, stamp.0 % 13), (stamp.1 / 60, stamp.1 % 60));
            let (year, second) = (random.between(2020, 2024), random.below(62));
            out.extend(format!("{day:02}/{month:02}/{year}T{hour:02}:{minute:02}:{second:02}").bytes());
        }
        4 => out.push(b'\n'),
        5 => out.extend(b"\r\n"),
        6 => out.push(b"0123456789/T:"[random.below(13) as usize]),
        7 => out.push(random.below(256) as u8),
        8 => out.extend([b' '; 3]),
        9 => out.extend(&SHAPE[..random.below(19) as usize]),
        10 => out.extend(b"\0\xff\xfe message/with T:"),
        _ => out.extend(b" text "),
    }
}

#[test]
fn nothing_but_stamps_changes_in_random_bytes_and_random_pieces() {
    let mut random = Random::seeded("untouched");
    for round in 0..if full() { 20_000 } else { 500 } {
        let (mut input, mut stamp) = (Vec::new(), (14, 985));
        for _ in 0..random.below(200) {
            noise(&mut random, &mut stamp, &mut input);
        }
        let piece = 1 + random.below(300) as usize;
        for (place, all) in [("first", false), ("all", true)] {
            let (out, counts) = pieces(&["-i", "%d/%m/%YT%T", "-f", "%Y/%m/%dT%T", "--match", place], &input, piece);
            let expected = model(&input, all);
            assert!(
                out == expected,
                "round {round}, {place}, pieces of {piece}:\n{}\n{}\n{}",
                input.escape_ascii(),
                out.escape_ascii(),
                expected.escape_ascii()
            );
            assert_eq!(counts.lines(), input.split_inclusive(|byte| *byte == b'\n').count() as u64);
        }
    }
}

/// The other way to write, in which lengths change: what is left after the stamps were taken out is the same.
#[test]
fn what_stands_between_stamps_of_another_length_is_the_same() {
    let mut random = Random::seeded("untouched, longer");
    for _ in 0..if full() { 20_000 } else { 500 } {
        let (mut input, mut expected, mut stamp) = (Vec::new(), Vec::new(), (14, 985));
        for _ in 0..random.below(60) {
            let mut line = Vec::new();
            for _ in 0..random.below(12) {
                noise(&mut random, &mut stamp, &mut line);
            }
            line.retain(|byte| *byte != b'\n');
            line.push(b'\n');
            input.extend(&line);
            // YYYY/MM/DDTHH:MM:SS grows by the offset of UTC, and slashes become dashes.
            let rearranged = model_line(&line, false);
            let at = (0..line.len()).find(|at| model_stamp(&line, *at).is_some());
            match at.filter(|at| model_stamp(&line, *at) != Some(None)) {
                Some(at) => {
                    let mut stamp = rearranged[at..at + SHAPE.len()].to_vec();
                    stamp.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'-');
                    if stamp.ends_with(b":60") {
                        stamp[17..].copy_from_slice(b"59");
                    }
                    expected.extend([&rearranged[..at], &stamp, b"Z", &rearranged[at + SHAPE.len()..]].concat());
                }
                None => expected.extend(rearranged),
            }
        }
        let (out, _) = pieces(&["-i", "%d/%m/%YT%T", "--from-zone", "UTC"], &input, 1 + random.below(5000) as usize);
        assert!(out == expected, "{}\n{}\n{}", input.escape_ascii(), out.escape_ascii(), expected.escape_ascii());
    }
}
