//! Templates through the binary, dockerize's spellings included.

use std::fs;
use std::path::Path;

use kit_test::{Exit, LinkOrder, Mount, Process};
use tempfile::tempdir;

use crate::support::{PATIENCE, command, identity, mode, names};

fn run(arguments: &[&str]) -> Exit {
    let mut command = command(arguments);
    command.env("NAME", "web").env("EMPTY", "").env("HOSTS", "a,b");
    Process::spawn(&mut command).wait_within(PATIENCE)
}

/// Fills `template`, written to a file called `name`.
fn fill(dir: &Path, name: &str, template: &str, more: &[&str]) -> Result<String, Exit> {
    let (src, dest) = (dir.join(name), dir.join("out"));
    let _ = fs::remove_file(&dest);
    fs::write(&src, template).unwrap();
    let pair = format!("{}:{}", src.display(), dest.display());
    let exit = run(&[&["template", &pair], more].concat());
    if exit.code == Some(0) {
        return Ok(fs::read_to_string(dest).unwrap());
    }
    assert!(!dest.exists(), "a failed template left a result");
    Err(exit)
}

#[test]
fn iw09_envsubst_is_the_default_and_jinja_goes_by_name() {
    let dir = tempdir().unwrap();
    let check = |name: &str, template: &str, more: &[&str], expected: &str| {
        assert_eq!(fill(dir.path(), name, template, more).as_deref(), Ok(expected), "{template}");
    };
    check(
        "a.conf",
        "$NAME ${NAME}s ${NO:-x} ${EMPTY-x} ${NO:=y}$NO ${NAME:+z} $$NAME $1 $(NAME)\n",
        &[],
        "web webs x  yy z $NAME $1 $(NAME)\n",
    );
    check("nginx.conf", "host $host; name $NAME;", &["--vars", "NAME"], "host $host; name web;");
    check("a.j2", "{{ env.NAME }} {{ env.NO | default('x') }}\n", &[], "web x\n");
    check("a.conf", "{{ env.NAME }} $NAME", &["--engine", "jinja"], "web $NAME");
    check("a.conf", "[$NO]", &["--lenient"], "[]");
}

#[test]
fn iw09_a_strict_run_lists_everything_that_is_unset() {
    let dir = tempdir().unwrap();
    for (name, template) in [("a", "$ZZ ${AA} $NAME ${ZZ}"), ("a.j2", "{{ env.ZZ }}{{ env.AA }}{{ env.NAME }}")] {
        let exit = fill(dir.path(), name, template, &[]).unwrap_err();
        assert_eq!(exit.code, Some(2));
        let names = if name == "a" { "AA, ZZ" } else { "env.AA, env.ZZ" };
        let expected = format!(
            "error: template {0}/out: template {0}/{name}, variables are not set: {names}\nhint: set them in the \
             container's env or envFrom, give a default such as ${{NAME:-x}}, or pass --lenient\n",
            dir.path().display()
        );
        assert_eq!(exit.stderr, expected);
    }
    let exit = fill(dir.path(), "a", "a\n${NAME%x}", &[]).unwrap_err();
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("line 2: ${NAME%x... is no form that envsubst knows"), "{}", exit.stderr);
}

#[test]
fn iw10_data_comes_from_files_of_every_kind() {
    let dir = tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        format!("d={}", path.display())
    };
    let check = |data: &str, template: &str, expected: &str| {
        let found = fill(dir.path(), "t.j2", template, &["--data", data]);
        assert_eq!(found.as_deref(), Ok(expected), "{data} {template}");
    };
    check(
        &file("x.json", br#"{"a": {"b": [1, 2.5, null, true]}}"#),
        "{{ d.a.b[0] }} {{ d.a.b[1] }} {{ d.a.b[3] }}",
        "1 2.5 True",
    );
    check(&file("x.yaml", b"a: &x {b: 0x10}\nc: *x\nd: 'no'\n"), "{{ d.c.b }} {{ d.d }}", "16 no");
    check(
        &file("x.toml", b"a = 1\n[t]\nd = 2022-12-01T16:25:21Z\n"),
        "{{ d.a }} {{ d.t.d }}",
        "1 2022-12-01T16:25:21Z",
    );
    check(&file("x.env", b"export A=1\nB='two words'\n"), "{{ d.A }} {{ d.B }}", "1 two words");
    check(&file("labels", b"app=\"web\"\nnote=\"a \\\"b\\\"\"\n"), "{{ d.app }} {{ d.note }}", "web a \"b\"");
    let found = fill(dir.path(), "t", "${d.app}", &["--data", &file("labels", b"app=\"web\"\n")]);
    assert_eq!(found.as_deref(), Ok("web"));
    let broken = file("x.json", b"{\"a\": \n}");
    let exit = fill(dir.path(), "t.j2", "{{ d.a }}", &["--data", &broken]).unwrap_err();
    assert!(exit.code == Some(2) && exit.stderr.contains("x.json: expected value at line 2"), "{}", exit.stderr);
}

#[test]
fn iw10_a_mounted_secret_is_a_map_and_bytes_are_never_replaced_silently() {
    let dir = tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    let _mount = Mount::new(&secret, LinkOrder::AfterSwap, &[("user", b"u"), ("raw", &[0xff, 0xfe])]);
    let data = format!("db={}", secret.display());
    let filled = fill(dir.path(), "t.j2", "{{ db.user }} {{ db.raw | b64encode }}", &["--data", &data]);
    assert_eq!(filled.as_deref(), Ok("u //4="));
    let exit = fill(dir.path(), "t.j2", "{{ db.raw }}", &["--data", &data]).unwrap_err();
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("the value is not UTF-8; write it with | b64encode"), "{}", exit.stderr);
}

#[test]
fn a_directory_of_templates_is_filled_all_or_nothing() {
    let dir = tempdir().unwrap();
    let (src, dest) = (dir.path().join("tpl"), dir.path().join("out"));
    fs::create_dir_all(src.join("sub")).unwrap();
    fs::write(src.join("a.conf.tmpl"), "$NAME").unwrap();
    fs::write(src.join("sub/b.j2"), "{{ env.NO }}").unwrap();
    let pair = format!("{}:{}", src.display(), dest.display());
    let arguments = ["template", pair.as_str(), "--strip-ext", ".tmpl", "--mode", "0640"];
    assert_eq!(run(&arguments).code, Some(2));
    assert!(!dest.exists(), "one template was filled although another could not");
    fs::write(src.join("sub/b.j2"), "{{ env.NAME }}").unwrap();
    assert_eq!(run(&arguments).code, Some(0));
    assert_eq!(names(&dest), ["a.conf", "sub"]);
    assert_eq!(fs::read_to_string(dest.join("sub/b.j2")).unwrap(), "web");
    assert_eq!(mode(&dest.join("a.conf")), 0o640);
}

#[test]
fn dockerizes_command_lines_are_understood() {
    let dir = tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("a.tmpl"), "<% .Env.NAME %> {{ .Env.NAME }} <% default .Env.NO \"d\" %>\n").unwrap();
    fs::write(path("b.tmpl"), "<% range split .Env.HOSTS \",\" %>[<% . %>]<% end %>").unwrap();
    let pair = |name: &str| format!("{}:{}", path(&format!("{name}.tmpl")).display(), path(name).display());
    let (a, b) = (pair("a"), pair("b"));
    let arguments = ["-no-overwrite", "-delims", "<%:%>", "-template", a.as_str(), "-template", b.as_str()];
    assert_eq!(run(&arguments).stderr, "");
    assert_eq!(fs::read_to_string(path("a")).unwrap(), "web {{ .Env.NAME }} d\n");
    assert_eq!(fs::read_to_string(path("b")).unwrap(), "[a][b]");
    fs::write(path("a"), "mine").unwrap();
    let before = identity(&path("a"));
    assert_eq!(run(&arguments).code, Some(0));
    assert_eq!(identity(&path("a")), before);
    fs::write(path("a.tmpl"), "{{ jsonQuery .Env.NAME \"x\" }}").unwrap();
    let exit = run(&["-template", &a]);
    assert_eq!(exit.code, Some(2));
    assert!(
        exit.stderr.contains("line 1: the action {{ jsonQuery .Env.NAME \"x\" }} is not understood"),
        "{}",
        exit.stderr
    );
    let exit = run(&["-template", &a, "-wait", "tcp://db:5432"]);
    assert_eq!(
        exit.stderr,
        "error: dockerize's -wait is not understood\nhint: wait for services with podkit/wait-for\n"
    );
}
