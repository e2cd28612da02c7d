//! The manifests of `k8s-examples`, read into the shape that the API server sees.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;

use crate::workspace::root;

/// One document of one manifest.
pub(crate) struct Document {
    /// Path below the repository's root.
    pub(crate) path: PathBuf,
    /// First sentence of the comment that the file begins with.
    pub(crate) says: String,
    /// The object.
    pub(crate) object: Value,
}

impl Document {
    /// Every document of every YAML file below `k8s-examples`, in the order of their paths.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = yaml_files(&root().join("k8s-examples"));
        paths.sort();
        assert!(!paths.is_empty(), "no manifests found");
        paths.iter().flat_map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(path).unwrap();
        // Indented comments are commands to try.
        let prose = |line: &&str| line.starts_with("# ") && !line.starts_with("#  ");
        let lines: Vec<&str> = text.lines().take_while(prose).map(|line| line.trim_start_matches("# ")).collect();
        let paragraph = lines.join(" ");
        let first = paragraph.split_once(". ").map_or(paragraph.as_str(), |(first, _)| first);
        let says = format!("{}.", first.trim_end_matches('.'));
        let documents = match Yaml::load_from_str(&text) {
            Ok(documents) => documents,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let path = path.strip_prefix(root()).unwrap().to_owned();
        let document = |yaml: &Yaml<'_>| Self { path: path.clone(), says: says.clone(), object: json(yaml) };
        documents.iter().map(document).collect()
    }

    /// The pod that this object is or makes.
    pub(crate) fn pod(&self) -> Option<&Value> {
        let object = &self.object;
        match object["kind"].as_str().unwrap() {
            "Pod" => Some(&object["spec"]),
            "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => Some(&object["spec"]["template"]["spec"]),
            "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]["spec"]),
            _ => None,
        }
    }

    /// Why the restricted profile does not hold for this object, where its first line begins with `NOT RESTRICTED:`.
    pub(crate) fn not_restricted(&self) -> Option<&str> {
        self.says.strip_prefix("NOT RESTRICTED: ")
    }

    /// What a message calls this object.
    pub(crate) fn name(&self) -> String {
        let name = self.object["metadata"]["name"].as_str().unwrap();
        format!("{} ({} {name})", self.path.display(), self.object["kind"].as_str().unwrap())
    }
}

/// The init containers and the containers of a pod; the flag tells init containers that end before the others start.
pub(crate) fn containers(pod: &Value) -> Vec<(&Value, bool)> {
    let list = |field: &str| pod[field].as_array().into_iter().flatten();
    let ends = |container: &Value| container["restartPolicy"] != "Always";
    let first = list("initContainers").map(|container| (container, ends(container)));
    first.chain(list("containers").map(|container| (container, false))).collect()
}

/// The strings of a list that may be absent.
pub(crate) fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files
}

fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::from(*value),
        Yaml::Value(Scalar::Integer(value)) => Value::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Value::from(value.into_inner()),
        Yaml::Value(Scalar::String(value)) => Value::from(value.as_ref()),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(fields) => {
            fields.iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), json(value))).collect()
        }
        other => panic!("a manifest has no such value: {other:?}"),
    }
}

#[test]
fn yaml_becomes_what_the_api_server_reads() {
    let read = |text: &str| json(&Yaml::load_from_str(text).unwrap()[0]);
    let expected = serde_json::json!({ "a": [1, true, null, "1", 0.5], "b": { "c": "0640" } });
    assert_eq!(read("a: [1, true, ~, \"1\", 0.5]\nb: {c: '0640'}"), expected);
}
