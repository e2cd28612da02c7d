//! The oracle accepts what a perfect tailer writes and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::oracle::Observer;
use super::plan::{Kind, Plan, Rotation, Setup};
use super::world::World;

fn setup() -> Setup {
    let plan = (0..).map(Plan::new).find(|plan| {
        let setup = &plan.setup;
        setup.append && !setup.banner && !setup.symlink && !setup.exists && setup.history == 0 && setup.files == 1
    });
    plan.unwrap().setup
}

fn rotation(kind: Kind) -> Rotation {
    Rotation { kind, late: 3, half: false, compress: false, delay_ms: 0 }
}

/// Five lines, a rotation with three late ones, five lines, and the part of a line.
fn world(folder: &tempfile::TempDir, kind: Kind) -> World {
    let mut world = World::new(folder.path(), 0, 1, &setup());
    world.write(5, Duration::ZERO);
    world.rotate(rotation(kind), &BTreeSet::new());
    world.write(5, Duration::ZERO);
    world.half();
    world
}

/// What is wrong with these lines, written by one process that leaves no unfinished line behind.
fn problems(world: World, lines: &[Vec<u8>]) -> Vec<String> {
    let worlds = [world];
    let mut observer = Observer::new(true);
    observer.begin_life();
    let mut output: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
    let part = worlds[0].lines.last().unwrap();
    output.extend_from_slice(&part.bytes[..part.written]);
    observer.feed(&output, &worlds);
    observer.verdict(&worlds, false).problems
}

fn finished(world: &World) -> Vec<Vec<u8>> {
    world.lines.iter().filter(|line| line.finished.is_some()).map(|line| line.bytes.clone()).collect()
}

#[track_caller]
fn check(kind: Kind, change: impl FnOnce(&mut Vec<Vec<u8>>), expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let world = world(&folder, kind);
    let mut lines = finished(&world);
    assert_eq!(lines.len(), 13);
    change(&mut lines);
    let problems = problems(world, &lines).join("\n");
    assert!(if expected.is_empty() { problems.is_empty() } else { problems.contains(expected) }, "{problems}");
}

#[test]
fn the_oracle_accepts_every_line_once_in_order() {
    for kind in [Kind::Create, Kind::NoCreate, Kind::CopyTruncate, Kind::RenameCopy, Kind::Delete] {
        check(kind, |_| (), "");
    }
}

#[test]
fn the_oracle_sees_a_missing_a_doubled_and_a_torn_line() {
    check(Kind::Create, |lines| drop(lines.remove(6)), "1 lines missing");
    check(Kind::Create, |lines| lines.insert(6, lines[5].clone()), "twice by one process");
    check(Kind::Create, |lines| lines[2].truncate(9), "not a line");
    check(Kind::Create, |lines| lines[2].extend_from_slice(b"a00000003 "), "not a line");
}

#[test]
fn the_oracle_sees_lines_out_of_order() {
    check(Kind::Create, |lines| lines.swap(0, 1), "after");
    // Line 7 is the last of the old file, line 8 the first of the new one.
    check(Kind::Create, |lines| lines.swap(7, 8), "after the newer");
}

#[test]
fn only_what_stood_in_no_file_may_be_missing() {
    // Lines 5 to 7 came between copy and truncation; or to a file without a name that nobody had open.
    check(Kind::CopyTruncate, |lines| drop(lines.drain(5..8)), "");
    check(Kind::CopyTruncate, |lines| drop(lines.drain(4..8)), "1 lines missing");
    check(Kind::Delete, |lines| drop(lines.drain(0..8)), "");
    check(Kind::Delete, |lines| drop(lines.drain(0..9)), "1 lines missing");
    check(Kind::Create, |lines| drop(lines.drain(5..8)), "3 lines missing");
}

#[test]
fn parts_of_lines_that_truncations_cut_stand_before_the_next_line() {
    let cut_twice = |kind| {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 0, 1, &setup());
        world.write(2, Duration::ZERO);
        let rotation = Rotation { late: 0, half: true, ..rotation(kind) };
        world.rotate(rotation, &BTreeSet::new());
        world.rotate(rotation, &BTreeSet::new());
        world.write(1, Duration::ZERO);
        world.half();
        let part = |id: usize| world.lines[id].bytes[..world.lines[id].written].to_vec();
        let lines = [part(0), part(1), [part(2), part(3), part(4)].concat()];
        problems(world, &lines).join("\n")
    };
    assert_eq!(cut_twice(Kind::CopyTruncate), "");
    assert!(cut_twice(Kind::Create).contains("joined with another line"), "{}", cut_twice(Kind::Create));
}

#[test]
fn parts_of_lines_that_truncations_cut_may_be_closed_together() {
    let closed = |kind, arrange: fn([Vec<u8>; 2]) -> Vec<u8>| {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 0, 1, &setup());
        world.write(2, Duration::ZERO);
        let cut = |world: &mut World| {
            let id = loop {
                world.write(1, Duration::ZERO);
                world.half();
                if world.lines.last().is_some_and(|line| line.written > 9) {
                    break world.lines.len() - 1;
                }
            };
            world.rotate(Rotation { late: 0, ..rotation(kind) }, &BTreeSet::new());
            id
        };
        let cuts = [cut(&mut world), cut(&mut world)];
        world.write(1, Duration::ZERO);
        world.half();
        let part = |id: usize| world.lines[id].bytes[..world.lines[id].written].to_vec();
        let mut lines = Vec::new();
        for id in 0..world.lines.len() - 1 {
            match cuts.iter().position(|cut| *cut == id) {
                None => lines.push(part(id)),
                Some(0) => {}
                Some(_) => lines.push(arrange(cuts.map(part))),
            }
        }
        problems(world, &lines).join("\n")
    };
    assert_eq!(closed(Kind::CopyTruncate, |[one, two]| [one, two].concat()), "");
    assert!(closed(Kind::Create, |[one, two]| [one, two].concat()).contains("not a line"));
    assert!(closed(Kind::CopyTruncate, |[one, two]| [two, one].concat()).contains("not a line"));
    assert!(closed(Kind::CopyTruncate, |[one, two]| [&one[..], &two[..], b"more"].concat()).contains("not a line"));
}

/// What comes out, of all lines and the two parts of the third.
type Arrange = fn(&[Vec<u8>], [Vec<u8>; 2]) -> Vec<Vec<u8>>;

#[test]
fn the_rest_of_a_line_stands_alone_only_after_its_first_part_and_only_where_the_file_was_let_go() {
    let check = |kind, arrange: Arrange| {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(folder.path(), 0, 1, &setup());
        world.write(2, Duration::ZERO);
        world.half();
        // A file without a name that nobody had open gets the rest of the line.
        world.rotate(Rotation { late: 1, ..rotation(kind) }, &BTreeSet::new());
        world.write(2, Duration::ZERO);
        world.half();
        let lines = finished(&world);
        let parts = [lines[2][..7].to_vec(), lines[2][7..].to_vec()];
        problems(world, &arrange(&lines, parts)).join("\n")
    };
    let whole = |lines: &[Vec<u8>], _| lines.to_vec();
    let apart = |lines: &[Vec<u8>], [first, rest]: [Vec<u8>; 2]| [&lines[..2], &[first], &lines[3..], &[rest]].concat();
    assert_eq!(check(Kind::Delete, whole), "");
    assert_eq!(check(Kind::Delete, apart), "");
    assert!(check(Kind::Create, apart).contains("not a line"), "it was to be read whole");
    let refused: [Arrange; 4] = [
        |lines, [_, rest]| [&lines[..2], &lines[3..], &[rest]].concat(),
        |lines, [first, rest]| [&lines[..2], &[rest], &lines[3..], &[first]].concat(),
        |lines, [first, rest]| [&lines[..2], &[first], &lines[3..], &[rest.clone(), rest]].concat(),
        |lines, [first, rest]| [&lines[..2], &[first], &lines[3..], &[rest[1..].to_vec()]].concat(),
    ];
    for arrange in refused {
        assert!(check(Kind::Delete, arrange).contains("not a line"), "{}", check(Kind::Delete, arrange));
    }
}

#[test]
fn only_a_kill_excuses_repeats_and_a_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = world(&folder, Kind::Create);
    world.write(1, Duration::ZERO);
    let lines = finished(&world);
    let worlds = [world];
    let verdict = |killed: bool| {
        let mut observer = Observer::new(true);
        let output = |lines: &[Vec<u8>]| -> Vec<u8> { lines.iter().flat_map(|l| [l, &b"\n"[..]].concat()).collect() };
        observer.begin_life();
        observer.feed(&[output(&lines[..8]), lines[8][..5].to_vec()].concat(), &worlds);
        observer.end_life(killed);
        observer.begin_life();
        observer.feed(&output(&lines[6..]), &worlds);
        observer.verdict(&worlds, true)
    };
    let killed = verdict(true);
    assert_eq!(killed.problems, [""; 0]);
    assert_eq!(killed.repeated, [lines[6].len() + lines[7].len() + 2]);
    let problems = verdict(false).problems.join("\n");
    assert!(problems.contains("again after a clean exit"), "{problems}");
    assert!(problems.contains("ends with what is no part of a line"), "{problems}");
}
