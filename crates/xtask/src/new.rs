//! `cargo xtask new TOOL --kind KIND "One sentence."`: everything that a tool has, in the shape that all of them have.
//!
//! Written are the crate, the row and the stage of its image, an example that applies, and one test that fails until somebody
//! describes the tool. What is missing afterwards is named by the tests of the workspace.
//!
//! ```text
//! crates/<tool>/{Cargo.toml,README.md,src/{main,lib,args}.rs,tests/it/main.rs}
//! docker/images.toml, docker/Dockerfile       one row, one stage, at the end
//! k8s-examples/<tool>/<tool>.yaml
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::workspace;

/// What to make.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The name of the crate, the binary, the image and the folder of the example, e.g. log-tailer
    pub tool: String,

    /// What it is in a pod
    #[arg(long, value_enum)]
    pub kind: Kind,

    /// What it does, in one sentence
    pub sentence: String,
}

/// What a tool is in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Runs to its end before the main containers start
    Init,
    /// Runs beside the main container
    Sidecar,
    /// Translates what the main container gives out
    Adapter,
    /// Stands between the main container and the network
    Ambassador,
    /// Answers one question and exits
    Probe,
}

impl Kind {
    /// Runs once and opens no listener.
    fn is_one_shot(self) -> bool {
        matches!(self, Self::Init | Self::Probe)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::Adapter => "adapter",
            Self::Ambassador => "ambassador",
            Self::Probe => "probe",
        }
    }
}

/// One file of a new crate: its path in the crate, its template for tools that stay, and for those that run once.
struct Template {
    path: &'static str,
    stays: &'static str,
    once: &'static str,
}

const TEMPLATES: &[Template] = &[
    Template {
        path: "Cargo.toml",
        stays: include_str!("new/stays/Cargo.toml.in"),
        once: include_str!("new/once/Cargo.toml.in"),
    },
    Template { path: "README.md", stays: include_str!("new/README.md.in"), once: include_str!("new/README.md.in") },
    Template {
        path: "src/main.rs",
        stays: include_str!("new/stays/main.rs.in"),
        once: include_str!("new/once/main.rs.in"),
    },
    Template {
        path: "src/lib.rs",
        stays: include_str!("new/stays/lib.rs.in"),
        once: include_str!("new/once/lib.rs.in"),
    },
    Template {
        path: "src/args.rs",
        stays: include_str!("new/stays/args.rs.in"),
        once: include_str!("new/once/args.rs.in"),
    },
    Template { path: "tests/it/main.rs", stays: include_str!("new/test.rs.in"), once: include_str!("new/test.rs.in") },
];

/// Makes the tool in this repository and says what comes next.
///
/// # Errors
/// See [`generate`].
pub fn run(args: &Args) -> anyhow::Result<()> {
    for path in generate(&workspace::root(), args)? {
        println!("wrote {}", path.display());
    }
    // A long name breaks lines elsewhere than a short one.
    workspace::run(workspace::cargo().args(["fmt", "--package", &args.tool]))?;
    // Builds of images are `--locked`: the new member must stand in Cargo.lock.
    workspace::capture(workspace::cargo().args(["metadata", "--format-version", "1", "--offline"]))?;
    println!(
        "next: write what {0} promises into crates/{0}/src/lib.rs, then its tests; `cargo test -p {0}` fails until you describe it",
        args.tool
    );
    Ok(())
}

/// Writes all files below `root` and returns their paths relative to it.
///
/// # Errors
/// When the name or the sentence is not one, when the tool exists, or a file cannot be written. Nothing is written in the first
/// two cases.
pub fn generate(root: &Path, args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    let Args { tool, kind, sentence } = args;
    check_name(tool)?;
    let folder = Path::new("crates").join(tool);
    if root.join(&folder).exists() {
        bail!("{} exists already", folder.display());
    }
    let sentence = Sentence::read(sentence)?;
    let fill = |template: &str| {
        template
            .replace("{tool}", tool)
            .replace("{crate}", &tool.replace('-', "_"))
            .replace("{variable}", &tool.replace('-', "_").to_ascii_uppercase())
            .replace("{Sentence}", &sentence.spoken)
            .replace("{description}", &sentence.description)
            .replace("{kind}", kind.name())
            .replace("{version}", env!("CARGO_PKG_VERSION"))
    };
    let mut written = Vec::new();
    for Template { path, stays, once } in TEMPLATES {
        let path = folder.join(path);
        write(root, &path, &fill(if kind.is_one_shot() { once } else { stays }))?;
        written.push(path);
    }
    let example = Path::new("k8s-examples").join(tool).join(format!("{tool}.yaml"));
    let once = kind.is_one_shot();
    let template = if once { include_str!("new/once/pod.yaml.in") } else { include_str!("new/stays/pod.yaml.in") };
    write(root, &example, &fill(template))?;
    written.push(example);
    let row = if once { include_str!("new/once/images.toml.in") } else { include_str!("new/stays/images.toml.in") };
    for (path, template) in [("docker/images.toml", row), ("docker/Dockerfile", include_str!("new/Dockerfile.in"))] {
        let path = PathBuf::from(path);
        let before =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("cannot read {}", path.display()))?;
        write(root, &path, &format!("{}\n\n{}", before.trim_end(), fill(template)))?;
        written.push(path);
    }
    Ok(written)
}

/// A crate's name that is a good name of an image, a folder and a prefix of variables as well.
fn check_name(tool: &str) -> anyhow::Result<()> {
    let letters = tool.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
    let ends =
        tool.starts_with(|letter: char| letter.is_ascii_lowercase()) && !tool.ends_with('-') && !tool.contains("--");
    if !letters || !ends {
        bail!("{tool:?} is not a name; write it as log-tailer: small letters, digits and single hyphens");
    }
    if tool.starts_with("kit-") || ["xtask", "podkit-tests"].contains(&tool) {
        bail!("{tool} is no tool: kit-* are rooms, which grow when a second tool needs one");
    }
    // Kubernetes injects <SERVICE>_PORT and <SERVICE>_SERVICE_HOST; variables of such a tool could not be told from them.
    if tool.contains("-service-") || tool.ends_with("-service") || tool.contains("-port-") || tool.ends_with("-port") {
        bail!("{tool} would have variables like those that Kubernetes injects for Services; choose a name without it");
    }
    Ok(())
}

/// The sentence as Cargo descriptions have it, and as prose has it.
struct Sentence {
    /// Without a full stop, small at the beginning.
    description: String,
    /// With both.
    spoken: String,
}

impl Sentence {
    fn read(text: &str) -> anyhow::Result<Self> {
        let text = text.trim().trim_end_matches('.');
        let mut letters = text.chars();
        let Some(first) = letters.next().filter(|_| !text.contains(['\n', '"', '\\'])) else {
            bail!(
                "the sentence must be one line of text without quotes, such as: \"Copies every line of a log to stdout.\""
            );
        };
        let rest = letters.as_str();
        // An abbreviation such as TLS stays as it is.
        let shouted = rest.starts_with(|letter: char| letter.is_uppercase());
        let small = if shouted { first.to_string() } else { first.to_lowercase().collect() };
        Ok(Self { description: format!("{small}{rest}"), spoken: format!("{}{rest}.", first.to_uppercase()) })
    }
}

fn write(root: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    let path = root.join(path);
    let parent = path.parent().unwrap_or(root);
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_collide_are_refused() {
        for name in ["", "Tool", "a_b", "-a", "a-", "a--b", "9a", "kit-x", "xtask", "my-service", "a-port-b", "../x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "log-tailer", "vault-files2", "export"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_sentence_is_written_as_crates_and_as_prose_have_it() {
        let read = |text| Sentence::read(text).map(|sentence| (sentence.description, sentence.spoken)).unwrap();
        assert_eq!(read("Counts lines."), ("counts lines".into(), "Counts lines.".into()));
        assert_eq!(read("TLS for all"), ("TLS for all".into(), "TLS for all.".into()));
        assert!(
            Sentence::read(" . ").is_err() && Sentence::read("a\nb").is_err() && Sentence::read("a \"b\"").is_err()
        );
    }
}
