//! Every manifest applies as it is: the tools take its arguments, its images exist, and the restricted profile admits it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kit_run::Environment;
use serde_json::Value;
use xtask::image::{archive, rows};

use crate::engines::succeed;
use crate::manifests::{Document, containers, words};
use crate::workspace::root;

/// Images of other projects that examples may use. Their names exist in public registries, never as `latest`.
const FOREIGN: [&str; 2] = ["docker.io/library/postgres:15", "docker.io/nginxinc/nginx-unprivileged:1.22"];

/// Programs that have no place in an image made from nothing.
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "busybox", "env"];

fn each_pod(mut check: impl FnMut(&Document, &Value)) {
    let documents = Document::all();
    let pods: Vec<(&Document, &Value)> = documents.iter().filter_map(|one| Some((one, one.pod()?))).collect();
    assert!(!pods.is_empty(), "no pods found");
    for (document, pod) in pods {
        check(document, pod);
    }
}

fn each_container(mut check: impl FnMut(&Document, &Value, &Value, String)) {
    each_pod(|document, pod| {
        for (container, _) in containers(pod) {
            let place = format!("{}, container {}", document.name(), container["name"].as_str().unwrap());
            check(document, pod, container, place);
        }
    });
}

/// The tool whose image a container runs, where it is one of ours.
fn tool(container: &Value) -> Option<String> {
    let image = container["image"].as_str().unwrap();
    let name = image.strip_prefix("podkit/")?;
    Some(name.split(':').next().unwrap().to_owned())
}

/// Lets the tool's own parser read a command line and an environment.
fn parse(tool: &str, argv: Vec<String>, environment: &BTreeMap<String, String>) -> Result<(), String> {
    let argv: Vec<_> = argv.into_iter().map(Into::into).collect();
    let environment: Environment = environment.clone().into_iter().collect();
    let outcome = match tool {
        "date-adapter" => kit_run::parse::<date_adapter::Args>(argv, &environment).map(drop),
        "init-writer" => kit_run::parse::<init_writer::Args>(argv, &environment).map(drop),
        "log-tailer" => kit_run::parse::<log_tailer::Args>(argv, &environment).map(drop),
        "tls-ambassador" => kit_run::parse::<tls_ambassador::Args>(argv, &environment).map(drop),
        "demo-app" => kit_run::parse::<demo_app::Args>(argv, &environment).map(drop),
        other => panic!("tests/it/examples.rs: add {other} to this table, and its crate to tests/Cargo.toml"),
    };
    outcome.map_err(|error: kit_run::Error| error.to_string())
}

/// An argument as the kubelet gives it: `$(NAME)` is the container's variable, or the address of a Service.
fn expanded(word: &str, environment: &BTreeMap<String, String>) -> String {
    let Some((before, (name, after))) =
        word.split_once("$(").and_then(|(before, rest)| Some((before, rest.split_once(')')?)))
    else {
        return word.to_owned();
    };
    let service = name.ends_with("_SERVICE_HOST").then(|| "192.0.2.1".to_owned());
    let value = environment.get(name).cloned().or(service);
    let value = value.unwrap_or_else(|| panic!("{word}: nobody sets {name}"));
    format!("{before}{value}{}", expanded(after, environment))
}

#[test]
fn the_tools_parsers_take_every_manifests_arguments_and_environment() {
    each_container(|_, _, container, place| {
        let Some(tool) = tool(container) else { return };
        let mut environment = BTreeMap::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap().to_owned();
            // A value that the cluster fills in (a field, a Secret) is any text to the parser.
            let value = variable["value"].as_str().unwrap_or("filled-in").to_owned();
            assert!(environment.insert(name, value).is_none(), "{place}: a variable stands twice");
        }
        let entrypoint = format!("/{tool}");
        let command = words(&container["command"]);
        assert!(command.is_empty() || command[0] == entrypoint, "{place}: {command:?} is not in the image");
        let typed = command.into_iter().skip(1).chain(words(&container["args"]));
        let argv: Vec<String> = typed.map(|word| expanded(&word, &environment)).collect();
        parse(&tool, argv, &environment).unwrap_or_else(|error| panic!("{place}: {error}"));
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let command = words(&container[probe]["exec"]["command"]);
            let Some((program, rest)) = command.split_first() else { continue };
            assert_eq!(*program, entrypoint, "{place}: {probe} runs what is not in the image");
            parse(&tool, rest.to_vec(), &environment).unwrap_or_else(|error| panic!("{place}: {probe}: {error}"));
        }
    });
}

#[test]
fn every_image_is_one_of_this_version_or_a_known_one() {
    let ours: Vec<String> = rows::read(&root()).unwrap().iter().map(|row| archive::reference(&row.tool)).collect();
    each_container(|_, _, container, place| {
        let image = container["image"].as_str().unwrap();
        assert!(ours.iter().any(|known| known == image) || FOREIGN.contains(&image), "{place}: unknown image {image}");
        assert!(
            container["imagePullPolicy"].is_null(),
            "{place}: the default policy is right for a tag with a version"
        );
    });
}

#[test]
fn the_restricted_profile_admits_every_pod() {
    each_pod(|document, pod| {
        let faults = restricted_faults(pod, document.not_restricted().is_some());
        assert!(faults.is_empty(), "{}: {}", document.name(), faults.join(", "));
        if let Some(reason) = document.not_restricted() {
            assert!(reason.len() > 20, "{}: say why the profile does not hold", document.name());
            let strict = restricted_faults(pod, false);
            assert!(!strict.is_empty(), "{}: the profile does hold, say nothing of it", document.name());
        }
    });
}

/// What <https://kubernetes.io/docs/concepts/security/pod-security-standards/> forbids, field by field. `root_with_chown`
/// relaxes it for examples that need root to give files away.
fn restricted_faults(pod: &Value, root_with_chown: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[field] == true {
            faults.push(field.to_owned());
        }
    }
    let volumes =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        for kind in volume.as_object().unwrap().keys().filter(|key| *key != "name") {
            if !volumes.contains(&kind.as_str()) {
                faults.push(format!("a volume of kind {kind}"));
            }
        }
    }
    let shared = &pod["securityContext"];
    for (container, _) in containers(pod) {
        let name = container["name"].as_str().unwrap();
        let own = &container["securityContext"];
        let setting = |field: &str| if own[field].is_null() { &shared[field] } else { &own[field] };
        let mut require = |fine: bool, fault: &str| {
            if !fine {
                faults.push(format!("{name}: {fault}"));
            }
        };
        require(own["privileged"] != true, "privileged");
        require(own["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation is not false");
        require(setting("runAsNonRoot") == true || root_with_chown, "runAsNonRoot is not true");
        require(setting("runAsUser") != 0 || root_with_chown, "runAsUser is 0");
        let seccomp = setting("seccompProfile")["type"].as_str();
        require(matches!(seccomp, Some("RuntimeDefault" | "Localhost")), "no seccomp profile");
        require(words(&own["capabilities"]["drop"]).contains(&"ALL".to_owned()), "capabilities are not dropped");
        let added = words(&own["capabilities"]["add"]);
        let may = |name: &String| name == "NET_BIND_SERVICE" || (root_with_chown && name == "CHOWN");
        require(added.iter().all(may), "capabilities are added");
        require(matches!(own["procMount"].as_str(), None | Some("Default")), "procMount");
        require(setting("seLinuxOptions").is_null(), "seLinuxOptions");
        require(own["readOnlyRootFilesystem"] == true, "the root file system is writable (our own rule)");
        let ports = container["ports"].as_array().into_iter().flatten();
        require(ports.into_iter().all(|port| port["hostPort"].is_null()), "hostPort");
    }
    require_safe_sysctls(shared, &mut faults);
    faults
}

fn require_safe_sysctls(shared: &Value, faults: &mut Vec<String>) {
    if !shared["sysctls"].is_null() {
        faults.push("sysctls".to_owned());
    }
}

#[test]
fn the_check_of_the_profile_sees_what_is_wrong() {
    let pod = serde_json::json!({
        "hostNetwork": true,
        "volumes": [{ "name": "v", "hostPath": { "path": "/" } }],
        "containers": [{ "name": "c", "securityContext": { "runAsUser": 0, "capabilities": { "add": ["CHOWN"] } } }],
    });
    let faults = restricted_faults(&pod, false).join(", ");
    for fault in ["hostNetwork", "hostPath", "runAsUser is 0", "no seccomp", "are added", "not dropped", "runAsNonRoot"]
    {
        assert!(faults.contains(fault), "{fault} is missing from: {faults}");
    }
}

#[test]
fn every_container_says_what_it_needs_and_how_its_health_is_seen() {
    each_pod(|document, pod| {
        assert_eq!(pod["automountServiceAccountToken"], false, "{}: a token that nothing needs", document.name());
        for (container, ends) in containers(pod) {
            let place = format!("{}, container {}", document.name(), container["name"].as_str().unwrap());
            let resources = &container["resources"];
            for (kind, resource) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
                assert!(resources[kind][resource].is_string(), "{place}: resources.{kind}.{resource} is missing");
            }
            // What runs to its end is judged by its exit code.
            let in_job = pod["restartPolicy"] == "Never" || pod["restartPolicy"] == "OnFailure";
            let runs_on = !ends && (!in_job || container["restartPolicy"] == "Always");
            let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
            let has_probe = probes.iter().any(|probe| !container[*probe].is_null());
            assert_eq!(has_probe, runs_on, "{place}: probes are for containers that run on");
            let sidecar = container["restartPolicy"] == "Always";
            assert!(
                !sidecar || !container["startupProbe"].is_null(),
                "{place}: what waits for it needs a startupProbe"
            );
        }
    });
}

#[test]
fn no_container_calls_a_shell() {
    each_container(|_, _, container, place| {
        let mut all = words(&container["command"]);
        all.extend(words(&container["args"]));
        for word in all {
            let name = word.rsplit('/').next().unwrap();
            assert!(!SHELLS.contains(&name), "{place}: {word}");
        }
    });
}

#[test]
fn no_variable_has_a_name_that_kubernetes_injects() {
    each_container(|_, _, container, place| {
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap();
            assert!(!name.ends_with("_PORT") && !name.contains("_SERVICE_"), "{place}: {name}");
        }
    });
}

#[test]
fn every_manifest_begins_with_what_it_shows_and_every_object_has_its_own_name() {
    let mut seen = BTreeMap::new();
    for document in Document::all() {
        assert!(document.says.len() > 20, "{}: it begins with no comment", document.name());
        let object = &document.object;
        let key = (object["kind"].to_string(), object["metadata"]["name"].to_string());
        if let Some(other) = seen.insert(key, document.name()) {
            panic!("{other} and {}: applying both would mix them", document.name());
        }
    }
}

/// `kubernetes-validate` of PyPI, which carries the schemas of every version up to the newest; installed beside the test's output.
fn validator() -> Option<Command> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubernetes-validate");
    let python = || {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &folder).arg("-m").stdin(Stdio::null());
        command
    };
    let works =
        || python().args(["kubernetes_validate", "--version"]).output().is_ok_and(|output| output.status.success());
    if !works() {
        let install =
            ["pip", "install", "--quiet", "--disable-pip-version-check", "kubernetes-validate==1.37.0", "--target"];
        let outcome = python().args(install).arg(&folder).output();
        if !works() {
            eprintln!("skipped: kubernetes-validate cannot be installed: {outcome:?}");
            return None;
        }
    }
    let mut command = python();
    command.args(["kubernetes_validate", "--strict"]);
    Some(command)
}

#[test]
fn the_current_schema_of_kubernetes_takes_every_manifest_and_no_misspelt_field() {
    let Some(mut validate) = validator() else { return };
    let misspelt = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let spec = "{restartPolicies: Never, containers: [{name: x}]}";
    std::fs::write(&misspelt, format!("{{apiVersion: v1, kind: Pod, metadata: {{name: x}}, spec: {spec}}}")).unwrap();
    let mut refuse = validator().unwrap();
    assert!(!refuse.arg(misspelt.path()).output().unwrap().status.success(), "a misspelt field passes");
    validate.current_dir(root()).args(Document::all().iter().map(|document| document.path.clone()));
    succeed(&mut validate);
}

#[test]
fn every_image_has_an_example() {
    let mut shown = Vec::new();
    each_container(|_, _, container, _| shown.extend(tool(container)));
    for row in rows::read(&root()).unwrap() {
        assert!(shown.contains(&row.tool), "no manifest in k8s-examples uses {}", row.tool);
    }
}

#[test]
fn the_index_lists_every_manifest_with_its_first_sentence() {
    let mut table = String::from("| manifest | what it shows |\n|---|---|\n");
    let mut last = None;
    for document in Document::all() {
        if last.as_ref() == Some(&document.path) {
            continue;
        }
        let path = document.path.strip_prefix("k8s-examples").unwrap();
        writeln!(table, "| [{0}]({0}) | {1} |", path.display(), document.says).unwrap();
        last = Some(document.path);
    }
    crate::workspace::block_holds("k8s-examples/README.md", "examples", &table);
}
