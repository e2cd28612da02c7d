//! Many steps from a file.

use std::fs;
use std::path::Path;

use kit_test::{Process, Signal};
use tempfile::tempdir;

use crate::support::{PATIENCE, command, fails, identity, names, run, skipped, text};

fn plan(dir: &Path, yaml: &str) -> String {
    let path = dir.join("plan.yaml");
    fs::write(&path, yaml.replace("DIR", text(dir))).unwrap();
    text(&path).to_owned()
}

#[test]
fn iw14_steps_run_in_order_and_stop_at_the_first_failure() {
    let dir = tempdir().unwrap();
    let message = dir.path().join("termination-log");
    fs::write(&message, "").unwrap();
    let plan = plan(
        dir.path(),
        "steps:\n  - mkdir: {dir: DIR/html}\n  - copy: {src: DIR/missing, dest: DIR/html/index.html}\n  - touch: {file: DIR/never}\n",
    );
    let mut command = command(&["--plan", &plan]);
    let exit = Process::spawn(command.env("INIT_WRITER_TERMINATION_LOG", &message)).wait_within(PATIENCE);
    let expected = format!(
        "error: step 2 of 3 (copy {0}/html/index.html, line 3 of the plan): cannot read {0}/missing: \
         No such file or directory (os error 2)\n\
         hint: check that the volume is mounted in this init container, and the spelling\n",
        dir.path().display()
    );
    assert_eq!((exit.stderr.as_str(), exit.code), (expected.as_str(), Some(1)));
    assert_eq!(fs::read_to_string(&message).unwrap(), expected);
    assert_eq!(names(dir.path()), ["html", "plan.yaml", "termination-log"]);
}

#[test]
fn iw14_the_termination_message_is_cut_to_what_kubernetes_shows() {
    let dir = tempdir().unwrap();
    let message = dir.path().join("termination-log");
    fs::write(&message, "").unwrap();
    let template = dir.path().join("t");
    let names: String = (0..1000).map(|number| format!("${{MISSING_{number}}} ")).collect();
    fs::write(&template, names).unwrap();
    let pair = format!("{}:{}", text(&template), text(&dir.path().join("out")));
    let mut command = command(&["template", &pair]);
    let exit = Process::spawn(command.env("INIT_WRITER_TERMINATION_LOG", &message)).wait_within(PATIENCE);
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("MISSING_0,") && exit.stderr.contains("MISSING_999"), "not all are listed");
    let kept = fs::read_to_string(&message).unwrap();
    assert!(kept.len() == 4096 && exit.stderr.starts_with(&kept));
}

#[test]
fn iw14_the_whole_plan_is_checked_before_the_first_step() {
    let dir = tempdir().unwrap();
    let check = |second: &str, expected: &str| {
        let plan = plan(dir.path(), &format!("steps:\n  - touch: {{file: DIR/made}}\n  - {second}\n"));
        let exit = run(&["--plan", &plan, "--root", text(dir.path())]);
        assert_eq!(exit.code, Some(2), "{second}");
        assert!(exit.stderr.contains(expected), "{second}: {}", exit.stderr);
        assert!(!dir.path().join("made").exists(), "{second}: the first step ran");
    };
    check("tuch: {file: x}", "line 3: unknown verb tuch\nhint: did you mean touch?\n");
    check("touch: {fiel: x}", "line 3: unknown field fiel of touch\nhint: did you mean file?\n");
    check("touch: {file: /etc/x}", "/etc/x leaves the root");
    check("copy: {src: /etc/passwd, dest: x}", "/etc/passwd leaves the root");
    check("link: {name: x, target: ../../etc}", "../../etc leaves the root");
    check("write: {dest: x, from-env: NOT_THERE}", "variable is not set: NOT_THERE");
    check("date: {dest: x, tz: Nowhere}", "\"Nowhere\" is no time zone");
    fs::write(dir.path().join("t"), "${NOT_THERE} $ALSO_NOT").unwrap();
    check("template: {src: t, dest: x}", "variables are not set: ALSO_NOT, NOT_THERE");
    fs::write(dir.path().join("t.j2"), "{{ env.X").unwrap();
    check("template: {src: t.j2, dest: x}", "line 1: syntax error");
    check("template: {src: t, dest: x, engine: jinja, vars: A}", "--vars needs --engine envsubst");
}

#[test]
fn iw14_a_template_that_an_earlier_step_makes_is_checked_at_its_turn() {
    let dir = tempdir().unwrap();
    let yaml = "steps:\n  - write: {dest: DIR/t, text: \"$A\"}\n  - template: {src: DIR/t, dest: DIR/out}\n";
    let plan = plan(dir.path(), yaml);
    fs::write(dir.path().join("t"), "$STALE").unwrap();
    let exit = Process::spawn(command(&["--plan", &plan]).env("A", "a")).wait_within(PATIENCE);
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(dir.path().join("out")).unwrap(), "a");
    let exit = run(&["--plan", &plan]);
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
}

#[test]
fn iw14_a_plan_that_is_not_there_is_said_so() {
    let expected = "error: cannot read the plan /no/such/plan.yaml: No such file or directory (os error 2)\n\
                    hint: check that the ConfigMap is mounted in this init container, and its key\n";
    fails(&["--plan", "/no/such/plan.yaml"], 2, expected);
}

#[test]
fn a_summary_says_what_each_step_did() {
    let dir = tempdir().unwrap();
    let plan = plan(dir.path(), "steps:\n  - touch: {file: DIR/f, if-missing: true}\n  - mkdir: {dir: DIR/d}\n");
    let run = || String::from_utf8(run(&["--plan", &plan, "--summary", "json"]).stdout).unwrap();
    let line = |first: &str, second: &str| {
        let dir = dir.path().display();
        format!(
            "{{\"steps\":[{{\"outcome\":\"{first}\",\"path\":\"{dir}/f\",\"step\":1,\"verb\":\"touch\"}},\
             {{\"outcome\":\"{second}\",\"path\":\"{dir}/d\",\"step\":2,\"verb\":\"mkdir\"}}]}}\n"
        )
    };
    assert_eq!(run(), line("changed", "changed"));
    assert_eq!(run(), line("kept", "unchanged"));
}

#[test]
fn a_marker_makes_a_plan_run_once() {
    let dir = tempdir().unwrap();
    let (plan, marker) =
        (plan(dir.path(), "steps:\n  - date: {dest: DIR/f, format: \"%s %f\"}\n"), dir.path().join("done"));
    let arguments = ["--plan", plan.as_str(), "--once-marker", text(&marker)];
    assert_eq!(run(&arguments).code, Some(0));
    let before = identity(&dir.path().join("f"));
    assert_eq!(run(&arguments).code, Some(0));
    assert_eq!(identity(&dir.path().join("f")), before);
    fs::remove_file(&marker).unwrap();
    assert_eq!(run(&arguments).code, Some(0));
    assert_ne!(identity(&dir.path().join("f")), before);
}

#[test]
fn sigterm_ends_a_run_between_steps_and_names_what_was_not_done() {
    let dir = tempdir().unwrap();
    // The second step reads a FIFO-like source that is large enough to be in the middle of it: 64 GiB of holes are
    // compared with an equal file, which takes seconds and changes nothing.
    let big = fs::File::create(dir.path().join("big")).unwrap();
    if big.set_len(64 << 30).is_err() {
        return skipped("no sparse file of 64 GiB here");
    }
    fs::File::create(dir.path().join("same")).unwrap().set_len(64 << 30).unwrap();
    let yaml = "steps:\n  - touch: {file: DIR/first}\n  - copy: {src: DIR/big, dest: DIR/same, mode: 644}\n  - touch: {file: DIR/last}\n";
    let plan = plan(dir.path(), yaml);
    let mut process = Process::spawn(&mut command(&["--plan", &plan]));
    kit_test::eventually("the first step", PATIENCE, || dir.path().join("first").exists());
    process.signal(Signal::TERM);
    let exit = process.wait_within(PATIENCE);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    let start =
        format!("error: stopped by a signal: step 2 of 3 (copy {}/same, line 3 of the plan)", dir.path().display());
    assert!(
        exit.stderr.starts_with(&start) && exit.stderr.contains("and what follows was not done"),
        "{}",
        exit.stderr
    );
    assert!(!dir.path().join("last").exists());
}
