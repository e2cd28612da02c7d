//! Bytes, lines, formats.

use std::io::Write;

use crate::harness::{Pod, WAYS, with};

#[test]
fn t60_t62_every_byte_passes() {
    for copy in [&[][..], &["--copy"]] {
        let pod = Pod::new();
        let mut all: Vec<u8> = (0..=255_u8).collect();
        all.extend_from_slice(b"\r\n\r\n\n\n\0\0\n\xff\xfe\n");
        pod.append("f", &all);
        let tail = pod.tail(&with(&["f"], copy));
        tail.prints(&all);
    }
}

#[test]
fn t61_lines_of_any_length_pass_and_memory_stays() {
    let pod = Pod::new();
    let mut all = Vec::new();
    for length in [1, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 1 << 20, 8 << 20] {
        all.extend(std::iter::repeat_n(b'x', length));
        all.extend_from_slice(b"\nnext\n");
    }
    pod.append("f", &all);
    let tail = pod.tail(&["f"]);
    tail.prints(&all);
    let peak = tail.memory_peak_kib();
    assert!(peak < 16 * 1024, "{peak} KiB in a debug build");
    let prefixed = pod.tail(&["--prefix", "> ", "f"]);
    let mut expected = Vec::new();
    for line in all.split_inclusive(|byte| *byte == b'\n') {
        expected.extend_from_slice(b"> ");
        expected.extend_from_slice(line);
    }
    prefixed.prints(&expected);
}

#[test]
fn t63_t64_a_line_written_in_many_parts_is_one_line() {
    let pod = Pod::new();
    let mut writer = pod.writer("f");
    let tail = pod.tail(&["--prefix", "> ", "f"]);
    let line = "h\u{e4}ppy \u{1F600} line".repeat(20);
    for byte in line.as_bytes() {
        writer.write_all(&[*byte]).unwrap();
    }
    writer.write_all(b"\n").unwrap();
    tail.prints(format!("> {line}\n"));
}

#[test]
fn t65_utf16_is_read_with_its_mark_and_resumed_in_the_middle() {
    let pod = Pod::new();
    let units = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    pod.append("f", units("\u{FEFF}one\u{0A0A}\ntwo\n"));
    let run = || pod.run(&["--exit-on-eof", "--encoding", "auto", "--state-file", "s", "f"]).stdout;
    assert_eq!(String::from_utf8(run()).unwrap(), "one\u{0A0A}\ntwo\n");
    pod.append("f", units("three\n"));
    assert_eq!(String::from_utf8(run()).unwrap(), "three\n");
}

#[test]
fn t66_a_utf8_mark_goes_only_when_asked() {
    let pod = Pod::new();
    pod.append("f", "\u{FEFF}text\n");
    assert_eq!(pod.run(&["--exit-on-eof", "f"]).stdout, "\u{FEFF}text\n".as_bytes());
    assert_eq!(pod.run(&["--exit-on-eof", "--encoding", "auto", "f"]).stdout, b"text\n");
}

#[test]
fn t67_a_line_end_of_two_bytes_is_one_on_every_border() {
    let pod = Pod::new();
    let units = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    // 32 Ki units are the window; U+0A0A and U+000A side by side hold a line end at an odd offset too.
    for length in 32_764..32_772 {
        let text = "x".repeat(length - 1) + "\u{0A0A}\nnext\n";
        std::fs::write(pod.path("f"), units(&text)).unwrap();
        let exit = pod.run(&["--exit-on-eof", "--encoding", "utf-16be", "--prefix", "> ", "f"]);
        let expected: String = text.lines().map(|line| format!("> {line}\n")).collect();
        assert!(exit.stdout == expected.as_bytes(), "{length} units: {} bytes came", exit.stdout.len());
    }
}

#[test]
fn t68_lines_may_end_with_nul() {
    let pod = Pod::new();
    pod.append("f", "a\nb\0c\0d\n");
    let exit = pod.run(&["-z", "-n", "2", "f"]);
    assert_eq!(exit.stdout, b"c\0d\n");
}

#[test]
fn t69_a_stack_trace_is_one_record_also_at_rotation_and_at_the_end() {
    for way in WAYS {
        let pod = Pod::new();
        pod.append("f", "1 boom\n  at a\n  at b\n2 fine\n");
        let arguments = ["--multiline-start", "^[0-9]", "--multiline-join", "|", "f"];
        let tail = pod.tail(&with(&arguments, way));
        tail.prints("1 boom|  at a|  at b\n2 fine\n");
        pod.append("f", "3 boom\n  at c\n");
        pod.rename("f", "f.1");
        pod.append("f", "4 boom\n  at d\n");
        tail.ends_with("1 boom|  at a|  at b\n2 fine\n3 boom|  at c\n4 boom|  at d\n");
    }
}

#[test]
fn t70_a_filtered_json_stream_has_file_offset_and_labels() {
    let pod = Pod::new();
    pod.append("f", "GET /a\nDEBUG x\nGET /healthz\n\"q\"\\\n");
    let arguments = [
        "--exit-on-eof",
        "--output",
        "json",
        "--label",
        "app=web",
        "--exclude-lines",
        "healthz",
        "--include-lines",
        "GET|q",
        "f",
    ];
    let text = String::from_utf8(pod.run(&arguments).stdout).unwrap();
    let found: Vec<&str> = text.lines().map(|line| line.split("Z\",").nth(1).unwrap()).collect();
    let first = r#""file":"f","offset":0,"labels":{"app":"web"},"log":"GET /a"}"#;
    let second = r#""file":"f","offset":28,"labels":{"app":"web"},"log":"\"q\"\\"}"#;
    assert_eq!(found, [first, second]);
}

#[test]
fn t72_a_busy_file_does_not_starve_a_quiet_one() {
    let pod = Pod::new();
    let big = ("y".repeat(99) + "\n").repeat(400_000);
    pod.append("big", &big);
    pod.append("small", "small\n");
    let tail = pod.tail(&["--prefix", "{file} ", "big", "small"]);
    kit_test::eventually("the small file's line", crate::harness::PATIENCE, || tail.0.stdout_contains("small small\n"));
    let all = tail.0.stdout();
    let at = all.windows(12).position(|window| window == b"small small\n").unwrap();
    assert!(at < 20 << 20, "the small file came after {at} bytes of the big one");
}

#[test]
fn t78_dropped_lines_are_left_out_and_blocked_ones_only_wait() {
    let pod = Pod::new();
    let all: String = (0..100).map(|number| format!("{number}\n")).collect();
    pod.append("f", &all);
    let exit = pod.run(&["--exit-on-eof", "--rate-limit", "10/s", "--rate-policy", "drop", "f"]);
    let lines = exit.stdout.split(|byte| *byte == b'\n').count() - 1;
    assert!((10..50).contains(&lines), "{lines} lines");
    let exit = pod.run(&["--exit-on-eof", "--rate-limit", "80/s", "f"]);
    assert_eq!(String::from_utf8(exit.stdout).unwrap(), all);
}
