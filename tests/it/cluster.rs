//! The manifests of `k8s-examples` in the cluster that `KUBECONFIG` names: all of them at once, as they are.
//!
//! What they need of the images stands in `docker.rs`; here is what only a kubelet does: fsGroup, probes, the order of init
//! containers, the restricted profile (where the server enforces it), and the end of a pod.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use kit_test::{Process, eventually, eventually_some, try_http_get};
use serde_json::Value;

use crate::engines::{self, succeed};
use crate::manifests::{Document, containers};
use crate::workspace::root;

/// Longest wait for something that takes a few seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The first version whose pods have native sidecars without a feature gate.
const NATIVE_SIDECARS: u64 = 29;

/// Pods whose page was written by an init container, with what it says.
const PAGES: [(&str, &str); 3] =
    [("init-date", ":"), ("init-hostname", "init-hostname"), ("init-plan", "Hello from init-plan;")];

/// A namespace that goes with everything in it.
struct Namespace(String);

impl Namespace {
    fn new(name: &str, profile: &str) -> Self {
        let namespace = Self(format!("podkit-{name}-{}", std::process::id()));
        succeed(Command::new("kubectl").args(["create", "namespace", &namespace.0]));
        // Servers before 1.23 know the label as any other one.
        let label = format!("pod-security.kubernetes.io/enforce={profile}");
        succeed(Command::new("kubectl").args(["label", "namespace", &namespace.0, &label]));
        let account = || namespace.kubectl(&["get", "serviceaccount", "default"]).output().unwrap().status.success();
        eventually("the default service account", PATIENCE, account);
        namespace
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(["--namespace", &self.0]).args(arguments);
        command
    }

    fn object(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&succeed(&mut self.kubectl(&["get", kind, name, "--output", "json"]))).unwrap()
    }

    /// Asks a pod's port from this machine.
    fn forward(&self, pod: &str, port: u16) -> Forward {
        let process = Process::spawn(&mut self.kubectl(&["port-forward", &format!("pod/{pod}"), &format!(":{port}")]));
        let line = process.wait_for_stdout("Forwarding from 127.0.0.1:", PATIENCE);
        let port = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        Forward { _process: process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that failed half-way leaves finalizers behind.
        let pods = self.kubectl(&["get", "pods", "--output", "name"]).output().unwrap();
        for pod in String::from_utf8_lossy(&pods.stdout).lines() {
            let _ = release(self, pod).output();
        }
        let _ = Command::new("kubectl").args(["delete", "namespace", &self.0, "--wait=false"]).output();
    }
}

struct Forward {
    _process: Process,
    address: SocketAddr,
}

impl Forward {
    /// What stands at a path; an answer that tells that there is nothing is an answer as well.
    fn get(&self, path: &str) -> String {
        eventually_some(&format!("an answer to {path}"), PATIENCE, || {
            let answer = try_http_get(self.address, path).ok()?;
            Some(if answer.status == 200 { answer.body } else { String::new() })
        })
    }
}

/// The minor version of the kubelets: they run the sidecars, and a server built from source may not know its own version.
fn kubelet_minor() -> u64 {
    let nodes = succeed(Command::new("kubectl").args(["get", "nodes", "--output", "json"]));
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let version = nodes["items"][0]["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap();
    version.split('.').nth(1).unwrap().parse().unwrap()
}

fn has_native_sidecar(document: &Document) -> bool {
    let pod = document.pod().cloned().unwrap_or_default();
    containers(&pod).iter().any(|(container, _)| container["restartPolicy"] == "Always")
}

/// The files to apply, each with its objects.
fn files(minor: u64) -> Vec<(PathBuf, Vec<Document>)> {
    let mut files: Vec<(PathBuf, Vec<Document>)> = Vec::new();
    for document in Document::all() {
        if has_native_sidecar(&document) && minor < NATIVE_SIDECARS {
            eprintln!("{} needs 1.{NATIVE_SIDECARS}, the kubelet is 1.{minor}: left out here", document.name());
            continue;
        }
        match files.last_mut() {
            Some((path, documents)) if *path == document.path => documents.push(document),
            _ => files.push((document.path.clone(), vec![document])),
        }
    }
    files
}

#[test]
fn every_example_becomes_ready_does_its_work_and_ends_with_zero() {
    let Some(()) = engines::cluster() else { return };
    let restricted = Namespace::new("restricted", "restricted");
    let free = Namespace::new("free", "privileged");
    let mut applied = Vec::new();
    for (path, documents) in files(kubelet_minor()) {
        let exempt = documents.iter().any(|document| document.not_restricted().is_some());
        let namespace = if exempt { &free } else { &restricted };
        succeed(namespace.kubectl(&["apply", "--filename"]).arg(root().join(path)));
        applied.extend(documents.into_iter().map(|document| (namespace, document)));
    }
    for (namespace, document) in &applied {
        wait_until_it_works(namespace, document);
    }
    let pods: Vec<(&Namespace, String)> =
        applied.iter().flat_map(|(namespace, document)| pods(namespace, document)).collect();
    for ((namespace, name), document) in
        pods.iter().zip(applied.iter().filter(|(_, document)| document.pod().is_some()))
    {
        does_its_work(namespace, name, &document.1);
    }
    end_with_zero(&[&restricted, &free], &pods);
}

fn wait_until_it_works(namespace: &Namespace, document: &Document) {
    let (kind, name) =
        (document.object["kind"].as_str().unwrap(), document.object["metadata"]["name"].as_str().unwrap());
    let works = |object: &Value| match kind {
        "Pod" if runs_on(document) => condition(object, "Ready"),
        "Pod" => object["status"]["phase"] == "Succeeded",
        "Job" => condition(object, "Complete"),
        "Deployment" => object["status"]["availableReplicas"] == object["spec"]["replicas"],
        _ => true,
    };
    let start = Instant::now();
    let mut object = namespace.object(kind, name);
    while !works(&object) {
        // An image that is not there does not come later: registries are out of reach, or the tag is wrong.
        let hopeless = object["status"].to_string().contains("ImagePullBackOff");
        let patience = start.elapsed() < PATIENCE && !hopeless;
        assert!(patience, "{}: {}", document.name(), story(namespace, name, &object));
        std::thread::sleep(Duration::from_millis(300));
        object = namespace.object(kind, name);
    }
}

/// Everything that tells why a pod does not work.
fn story(namespace: &Namespace, pod: &str, object: &Value) -> String {
    let logs = namespace.kubectl(&["logs", pod, "--all-containers", "--tail=20"]).output().unwrap();
    let events = namespace.kubectl(&["get", "events", "--sort-by=.lastTimestamp"]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:#}\n{}\n{}", object["status"], text(&logs.stdout), text(&events.stdout))
}

fn runs_on(document: &Document) -> bool {
    document.pod().is_some_and(|pod| pod["restartPolicy"].is_null() || pod["restartPolicy"] == "Always")
}

fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == name && condition["status"] == "True")
}

/// The names of the pods that an object is or made: the first of each, since examples have one replica.
fn pods<'a>(namespace: &'a Namespace, document: &Document) -> Option<(&'a Namespace, String)> {
    document.pod()?;
    let name = document.object["metadata"]["name"].as_str().unwrap();
    if document.object["kind"] == "Pod" {
        return Some((namespace, name.to_owned()));
    }
    let label = format!("app={name}");
    let list = succeed(&mut namespace.kubectl(&["get", "pods", "--selector", &label, "--output", "name"]));
    let first = list.lines().next().unwrap_or_else(|| panic!("{} made no pod", document.name()));
    Some((namespace, first.trim_start_matches("pod/").to_owned()))
}

/// The pods with tls-ambassador: their apps can be had through TLS, by those who may.
fn tls_does_its_work(namespace: &Namespace, name: &str) {
    // curl takes the certificate as it is: nobody knows this machine's way to the pod by a name of it.
    let curl = |port: u16, header: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "20", "--write-out", " %{http_code}", "--header", header]);
        curl.arg(format!("https://127.0.0.1:{port}/"));
        String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
    };
    let answers = |header: &str, wanted: &dyn Fn(&str) -> bool| {
        let forward = namespace.forward(name, 9200);
        eventually(&format!("{name}'s answer to {header:?}"), PATIENCE, || {
            wanted(&curl(forward.address.port(), header))
        });
    };
    let is_search = |answer: &str| answer.contains("cluster_name") && answer.ends_with(" 200");
    match name {
        "search" => answers("A: b", &is_search),
        "search-mtls" => answers("A: b", &|answer| answer == " 000"),
        "search-jwt" => {
            answers("A: b", &|answer| answer.ends_with(" 401"));
            let manifest = std::fs::read_to_string(root().join("k8s-examples/tls-ambassador/search-jwt.yaml")).unwrap();
            let token = manifest.lines().find_map(|line| line.split_once("TOKEN=")).unwrap().1;
            answers(&format!("Authorization: Bearer {token}"), &is_search);
        }
        "archive" => {
            let psql = |query: &str| {
                let base = ["exec", name, "--container", "archiver", "--", "psql", "--host=127.0.0.1"];
                let mut psql = namespace.kubectl(&base);
                succeed(psql.args(["--username=postgres", "--no-align", "--tuples-only", "--command", query]))
            };
            let streams = "select count(*) from pg_stat_replication join pg_stat_ssl using (pid) where ssl";
            eventually("the log streams over TLS", PATIENCE, || psql(streams).trim() == "1");
            assert_eq!(psql("select ssl from pg_stat_ssl where pid = pg_backend_pid()").trim(), "t");
        }
        other => panic!("tests/it/cluster.rs: say what the pod {other} is to do"),
    }
}

/// Asks what listens on port 8080, and looks for every request in what log-tailer wrote, where it is in the pod.
fn does_its_work(namespace: &Namespace, name: &str, document: &Document) {
    let pod = document.pod().unwrap();
    let all = containers(pod);
    if all.iter().any(|(container, _)| container["name"] == "tls-ambassador") {
        tls_does_its_work(namespace, name);
    }
    let ports = all.iter().flat_map(|(container, _)| container["ports"].as_array().into_iter().flatten());
    if !ports.into_iter().any(|port| port["containerPort"] == 8080) {
        return;
    }
    let forward = namespace.forward(name, 8080);
    let paths: Vec<String> = (0..20).map(|number| format!("/?request={number}")).collect();
    for path in &paths {
        forward.get(path);
    }
    for (_, text) in PAGES.iter().filter(|(pod, _)| *pod == name) {
        let page = forward.get("/");
        assert!(page.contains(text), "{}: {page:?} lacks {text:?}", document.name());
    }
    if all.iter().any(|(container, _)| container["name"] == "date-adapter") {
        stamps_are_rewritten(namespace, name);
    }
    if !all.iter().any(|(container, _)| container["name"] == "log-tailer") {
        return;
    }
    let log = || succeed(&mut namespace.kubectl(&["logs", name, "--container", "log-tailer"]));
    let times = |log: &str, path: &str| log.matches(&format!("\"GET {path} HTTP")).count();
    eventually("the last request in the log", PATIENCE, || times(&log(), paths.last().unwrap()) > 0);
    let log = log();
    for path in &paths {
        assert_eq!(times(&log, path), 1, "{}: {path} in {log}", document.name());
    }
}

/// The example's app writes 01/12/2022T16:25:21; its date-adapter says 2022/12/01T16:25:21.
fn stamps_are_rewritten(namespace: &Namespace, name: &str) {
    let log = || succeed(&mut namespace.kubectl(&["logs", name, "--container", "date-adapter"]));
    let log = eventually_some("three whole lines of date-adapter", PATIENCE, || {
        Some(log()).filter(|log| log.matches('\n').count() >= 3)
    });
    for line in log.lines() {
        let slashes: Vec<usize> = line.match_indices('/').map(|(at, _)| at).take(2).collect();
        assert_eq!(slashes, [4, 7], "{name}: {line:?} does not begin with year, month and day");
    }
}

/// A pod that has a finalizer stays readable after its containers have ended.
fn hold(namespace: &Namespace, pod: &str) -> Command {
    namespace.kubectl(&["patch", "pod", pod, "--patch", r#"{"metadata":{"finalizers":["podkit.example/held"]}}"#])
}

fn release(namespace: &Namespace, pod: &str) -> Command {
    let pod = pod.trim_start_matches("pod/");
    namespace.kubectl(&["patch", "pod", pod, "--patch", r#"{"metadata":{"finalizers":null}}"#])
}

/// Deletes pods: every container ends by itself, inside the grace period of 30 s, after which the kubelet would kill it (137).
///
/// The states come from watches, because a kubelet forgets a container soon after it ended. A busy one (seen in 1.20) forgets it
/// before it told the server how: such a container must at least be gone before the kubelet would have killed it.
fn end_with_zero(namespaces: &[&Namespace], pods: &[(&Namespace, String)]) {
    for (namespace, pod) in pods {
        succeed(&mut hold(namespace, pod));
    }
    let watch =
        |namespace: &&Namespace| Process::spawn(&mut namespace.kubectl(&["get", "pods", "--watch", "-o", "json"]));
    let watches: Vec<Process> = namespaces.iter().map(watch).collect();
    let start = Instant::now();
    for (namespace, pod) in pods {
        succeed(&mut namespace.kubectl(&["delete", "pod", pod, "--wait=false"]));
    }
    let mut told = 0;
    for (_, pod) in pods {
        let ends = eventually_some(&format!("the end of every container of {pod}"), PATIENCE, || {
            let ends = watches.iter().map(|watch| ends(&watch.stdout(), pod)).find(|ends| !ends.is_empty())?;
            ends.values().all(|end| *end != End::Runs).then_some(ends)
        });
        for (container, end) in ends {
            let took = start.elapsed();
            match end {
                End::Code(code) => assert_eq!(code, 0, "{pod}: the exit code of {container}"),
                _ => assert!(took < Duration::from_secs(28), "{pod}: {container} was gone after {took:?}"),
            }
            told += usize::from(end != End::Forgotten);
        }
    }
    assert!(told > 0, "the kubelet told no container's end");
    for (namespace, pod) in pods {
        succeed(&mut release(namespace, pod));
    }
}

/// What is known of a container's end; later states win.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum End {
    Runs,
    Forgotten,
    Code(i64),
}

/// Every container of a pod with its end, by what a watch has told until now. The last document may be incomplete.
fn ends(watched: &[u8], pod: &str) -> BTreeMap<String, End> {
    let mut ends = BTreeMap::new();
    let documents = serde_json::Deserializer::from_slice(watched).into_iter::<Value>().map_while(Result::ok);
    for object in documents.filter(|object| object["metadata"]["name"] == pod) {
        for status in object["status"]["containerStatuses"].as_array().into_iter().flatten() {
            let states = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
            let forgotten = states.iter().any(|state| state["reason"] == "ContainerStatusUnknown");
            // Between two starts when the pod was deleted: it runs no more, and nobody tells how the last run ended.
            let between = !object["metadata"]["deletionTimestamp"].is_null() && status["state"]["waiting"].is_object();
            let end = match status["state"]["terminated"]["exitCode"].as_i64() {
                _ if forgotten || between => End::Forgotten,
                Some(code) => End::Code(code),
                None => End::Runs,
            };
            let known = ends.entry(status["name"].as_str().unwrap().to_owned()).or_insert(end);
            if end > *known {
                *known = end;
            }
        }
    }
    ends
}
