//! The images in a real Docker: each one alone, the compose demos, and log-tailer in the order that a native sidecar has.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use kit_test::{eventually, eventually_some, free_port, try_http_get};
use serde_json::Value;
use xtask::image::{Arch, archive, rows};

use crate::engines::{self, succeed};
use crate::manifests::{Document, containers, words};
use crate::workspace::root;

/// Longest wait for something that takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

/// A file of `docker/compose`, up until it goes out of scope.
struct Compose {
    file: String,
    project: String,
    web: u16,
    app: u16,
}

impl Compose {
    fn up(name: &str) -> Self {
        let file = root().join(format!("docker/compose/{name}.yaml")).display().to_string();
        let project = format!("podkit-{name}-{}", std::process::id());
        let compose = Self { file, project, web: free_port(), app: free_port() };
        succeed(&mut compose.command(&["up", "-d", "--quiet-pull"]));
        compose
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", &self.project, "--file", &self.file]).args(arguments);
        command.env("PODKIT_WEB", self.web.to_string()).env("PODKIT_APP", self.app.to_string());
        command
    }

    /// The container of a service, running or not.
    fn container(&self, service: &str) -> String {
        let filter = |label: &str, value: &str| format!("label=com.docker.compose.{label}={value}");
        let mut list = docker(&["ps", "--all", "--quiet", "--filter", &filter("project", &self.project)]);
        succeed(list.args(["--filter", &filter("service", service)])).trim().to_owned()
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--volumes", "--timeout", "1"]).output();
    }
}

/// A container that is removed when it goes out of scope.
struct Container(String);

impl Container {
    /// Starts what `arguments` of `docker run` describe, as a pod of the restricted profile would.
    fn run(name: &str, arguments: &[&str]) -> Self {
        let container = Self(format!("podkit-{name}-{}", std::process::id()));
        let mut command = docker(&["run", "--detach", "--name", &container.0, "--read-only", "--cap-drop", "ALL"]);
        succeed(command.args(["--security-opt", "no-new-privileges"]).args(arguments));
        container
    }

    /// The container's state, as Docker tells it.
    fn state(&self) -> Value {
        state(&self.0)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.0]).output();
    }
}

fn state(container: &str) -> Value {
    serde_json::from_str(&succeed(&mut docker(&["inspect", "--format", "{{json .State}}", container]))).unwrap()
}

/// What a container wrote to stdout.
fn stdout(container: &str) -> String {
    succeed(&mut docker(&["logs", container]))
}

fn get(port: u16, path: &str) -> Option<String> {
    let answer = try_http_get(SocketAddr::from(([127, 0, 0, 1], port)), path).ok()?;
    (answer.status == 200).then_some(answer.body)
}

/// Requests that can be told apart in an access log.
fn request_each(port: u16, count: usize) -> Vec<String> {
    let paths: Vec<String> = (0..count).map(|number| format!("/?request={number}")).collect();
    for path in &paths {
        eventually(&format!("an answer to {path}"), PATIENCE, || get(port, path).is_some());
    }
    paths
}

/// How often each path was requested, by an access log.
fn times_logged(log: &str, path: &str) -> usize {
    log.matches(&format!("\"GET {path} HTTP")).count()
}

#[test]
fn docker_loads_every_archive_and_runs_it_without_any_right() {
    let Some(()) = engines::docker() else { return };
    let host = Arch::host().unwrap();
    for row in rows::read(&root()).unwrap() {
        let reference = archive::reference(&row.tool);
        let loaded = succeed(docker(&["load", "--input"]).arg(engines::archive(&row.tool, host)));
        assert_eq!(loaded.trim(), format!("Loaded image: {reference}"));
        let config = succeed(&mut docker(&["image", "inspect", "--format", "{{json .Config}}", &reference]));
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["User"], "65532:65532");
        assert_eq!(config["Entrypoint"], serde_json::json!([format!("/{}", row.tool)]));
        let run = |argument: &str| {
            let mut command = docker(&["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none"]);
            command.args(["--security-opt", "no-new-privileges", "--user", "65532:65532", &reference, argument]);
            command.output().unwrap()
        };
        let version = run("--version");
        let expected = format!("{} {}\n", row.tool, env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&version.stdout), expected, "{version:?}");
        assert_eq!(run("--help").status.code(), Some(0), "{}", row.tool);
        let wrong = run("--no-such-flag");
        assert_eq!(wrong.status.code(), Some(2), "{}", row.tool);
        assert!(String::from_utf8_lossy(&wrong.stderr).starts_with("error: "), "{wrong:?}");
    }
}

#[test]
fn the_log_tailer_demo_shows_every_request_once_and_ends_with_zero() {
    let Some(()) = engines::docker() else { return };
    let demo = Compose::up("log-tailer");
    let paths = request_each(demo.web, 50);
    let tailer = demo.container("log-tailer");
    let last = paths.last().unwrap();
    eventually("the last request in the log", PATIENCE, || times_logged(&stdout(&tailer), last) > 0);
    let log = stdout(&tailer);
    for path in &paths {
        assert_eq!(times_logged(&log, path), 1, "{path} in {log}");
    }
    let healthy = || state(&tailer)["Health"]["Status"] == "healthy";
    eventually("a healthy log-tailer", PATIENCE, healthy);
    // docker-compose waits 10 s before it kills; 137 would tell that it had to.
    succeed(&mut demo.command(&["stop"]));
    assert_eq!(state(&tailer)["ExitCode"], 0);
    assert_eq!(state(&demo.container("nginx"))["ExitCode"], 0);
}

#[test]
fn the_init_writer_demo_serves_the_page_that_was_written_before() {
    let Some(()) = engines::docker() else { return };
    let demo = Compose::up("init-writer");
    assert_eq!(state(&demo.container("init-writer"))["ExitCode"], 0);
    let page = eventually_some("nginx's page", PATIENCE, || get(demo.web, "/"));
    // `date` ends its line with the year or the zone; both have digits and one newline.
    assert!(page.ends_with('\n') && page.lines().count() == 1 && page.contains(':'), "{page:?}");
    assert_eq!(eventually_some("demo-app's page", PATIENCE, || get(demo.app, "/")), page);
}

#[test]
fn l09_the_tls_demo_serves_through_tunnel_and_door_as_pid_1_without_any_right() {
    let Some(()) = engines::docker() else { return };
    let demo = Compose::up("tls-ambassador");
    // Plain text into the tunnel, TLS to the door, plain text to the app, and back.
    let page = eventually_some("an answer through the tunnel", PATIENCE, || get(demo.app, "/"));
    assert!(page.contains("cluster_name"), "{page:?}");
    let certificate = root().join("docker/compose/certs/ca.crt");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--cacert"]).arg(certificate);
    assert_eq!(succeed(curl.arg(format!("https://localhost:{}/", demo.web))), page);
    for service in ["door", "tunnel"] {
        let container = demo.container(service);
        eventually("a healthy container", PATIENCE, || state(&container)["Health"]["Status"] == "healthy");
    }
    succeed(&mut demo.command(&["stop"]));
    for service in ["door", "tunnel", "app"] {
        assert_eq!(state(&demo.container(service))["ExitCode"], 0, "{service}");
    }
}

/// The container of a manifest, as arguments of `docker run`: its environment, image and arguments.
fn as_docker_run(container: &Value) -> Vec<String> {
    let mut arguments = Vec::new();
    for variable in container["env"].as_array().into_iter().flatten() {
        arguments.push("--env".to_owned());
        arguments.push(format!("{}={}", variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()));
    }
    arguments.push(container["image"].as_str().unwrap().to_owned());
    arguments.extend(words(&container["args"]));
    arguments
}

/// A container of an object in `k8s-examples`, by the names of the object and the container.
fn example(object: &str, name: &str) -> Value {
    let documents = Document::all();
    let found = documents.iter().find(|document| document.object["metadata"]["name"] == object).unwrap();
    let all = containers(found.pod().unwrap());
    let (container, _) = all.into_iter().find(|(container, _)| container["name"] == name).unwrap();
    container.clone()
}

/// A volume that every uid may write to, as an emptyDir is.
struct Volume(String);

impl Volume {
    fn new(name: &str) -> Self {
        let volume = Self(format!("podkit-{name}-{}", std::process::id()));
        let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=mode=1777"];
        succeed(docker(&["volume", "create"]).args(options).arg(&volume.0));
        volume
    }

    fn at(&self, path: &str) -> String {
        format!("{}:{path}", self.0)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = docker(&["volume", "rm", "--force", &self.0]).output();
    }
}

/// Starts a sidecar of an example and waits for its startup probe, as the kubelet does before the main container starts.
fn started_sidecar(name: &str, sidecar: &Value, mount: &str) -> Container {
    let run = as_docker_run(sidecar);
    let mut arguments = vec!["--volume", mount];
    arguments.extend(run.iter().map(String::as_str));
    let container = Container::run(name, &arguments);
    let probe = words(&sidecar["startupProbe"]["exec"]["command"]);
    let answered = || docker(&["exec", &container.0]).args(&probe).output().unwrap().status.success();
    eventually("the startup probe of a sidecar whose log does not exist yet", PATIENCE, answered);
    container
}

/// Stops a sidecar after everything else has ended; all that is there must be out, soon and with 0.
fn stop_last(sidecar: &Container) -> String {
    let start = Instant::now();
    succeed(&mut docker(&["stop", "--time", "30", &sidecar.0]));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "log-tailer took {took:?} to end");
    assert_eq!(sidecar.state()["ExitCode"], 0);
    stdout(&sidecar.0)
}

#[test]
fn a_native_sidecar_starts_first_ends_last_and_loses_no_line() {
    let Some(()) = engines::docker() else { return };
    let logs = Volume::new("native-logs");
    let sidecar = example("web-native", "log-tailer");
    let tailer = started_sidecar("native-tailer", &sidecar, &logs.at("/var/log/nginx:ro"));
    let port = free_port();
    // Docker would fill an empty volume with the links to stdout that the image has there; the kubelet does not.
    let (publish, mount) = (format!("127.0.0.1:{port}:8080"), logs.at("/var/log/nginx:nocopy"));
    let nginx = example("web-native", "nginx");
    let image = nginx["image"].as_str().unwrap();
    let nginx = Container::run(
        "native-nginx",
        &["--user", "65532", "--tmpfs", "/tmp:mode=1777", "--publish", &publish, "--volume", &mount, image],
    );
    let paths = request_each(port, 200);
    succeed(&mut docker(&["stop", "--time", "30", &nginx.0]));
    let log = stop_last(&tailer);
    for path in &paths {
        assert_eq!(times_logged(&log, path), 1, "{path} in {log}");
    }
}

#[test]
fn a_job_with_a_native_sidecar_ends_with_every_line_out() {
    let Some(()) = engines::docker() else { return };
    let logs = Volume::new("job-logs");
    let sidecar = example("report", "log-tailer");
    let tailer = started_sidecar("job-tailer", &sidecar, &logs.at("/var/log/report:ro"));
    let run = as_docker_run(&example("report", "work"));
    let mount = logs.at("/var/log/report");
    let mut arguments = vec!["--volume", mount.as_str()];
    arguments.extend(run.iter().map(String::as_str));
    let work = Container::run("job-work", &arguments);
    eventually("the end of the work", PATIENCE, || work.state()["Status"] == "exited");
    assert_eq!(work.state()["ExitCode"], 0, "{}", stdout(&work.0));
    assert_eq!(stop_last(&tailer), "one line of the report\n");
}
