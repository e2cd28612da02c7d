//! The stages of `docker/Dockerfile`, read so that the file stays the one source of what an image is.
//!
//! An image is a stage that starts `FROM base`. Only the instructions below may stand in it and in `base`; any other one is an
//! error that names its line, so that an archive never misses something that `docker build` would have done.
//!
//! ```text
//! FROM scratch AS base
//! USER 65532:65532
//!
//! FROM base AS log-tailer
//! COPY --from=bin --chmod=0555 /log-tailer /log-tailer
//! ENTRYPOINT ["/log-tailer"]
//! ```

use std::path::Path;

use anyhow::{Context, bail};

/// One image, as its stage describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Name of the stage, which is the tool.
    pub name: String,
    /// `UID:GID` of the process.
    pub user: String,
    /// Files taken from the `bin` stage.
    pub copies: Vec<Copy>,
    /// Words of the entrypoint in exec form.
    pub entrypoint: Vec<String>,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Path in the `bin` stage, absolute there.
    pub source: String,
    /// Path in the image.
    pub dest: String,
    /// Permission bits.
    pub mode: u32,
}

/// The images of `docker/Dockerfile` under `root`, in its order.
///
/// # Errors
/// When the file cannot be read, or as [`parse`].
pub fn read(root: &Path) -> anyhow::Result<Vec<Stage>> {
    let path = root.join("docker/Dockerfile");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

/// The images of a Dockerfile.
///
/// # Errors
/// When an image's stage or `base` holds an instruction or a form that archives cannot follow.
pub fn parse(text: &str) -> anyhow::Result<Vec<Stage>> {
    let mut base = None;
    let mut images = Vec::new();
    // Stages that do not lead to an image (those that compile) may hold anything.
    let mut current: Option<Stage> = None;
    for (number, line) in logical_lines(text) {
        let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let rest = rest.trim();
        if instruction == "FROM" {
            finish(current.take(), &mut base, &mut images);
            let words: Vec<&str> = rest.split_whitespace().collect();
            current = match words[..] {
                ["scratch", "AS", "base"] => Some(Stage { name: "base".to_owned(), ..Stage::default() }),
                ["base", "AS", name] => {
                    let base: &Stage = base.as_ref().with_context(|| format!("line {number}: no base stage above"))?;
                    Some(Stage { name: name.to_owned(), ..base.clone() })
                }
                _ => None,
            };
        } else if let Some(stage) = &mut current {
            apply(stage, instruction, rest).with_context(|| format!("line {number}: {line}"))?;
        }
    }
    finish(current, &mut base, &mut images);
    Ok(images)
}

fn finish(stage: Option<Stage>, base: &mut Option<Stage>, images: &mut Vec<Stage>) {
    match stage {
        Some(stage) if stage.name == "base" => *base = Some(stage),
        Some(stage) => images.push(stage),
        None => {}
    }
}

fn apply(stage: &mut Stage, instruction: &str, rest: &str) -> anyhow::Result<()> {
    match instruction {
        "USER" => rest.clone_into(&mut stage.user),
        "COPY" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["--from=bin", mode, source, dest] = words[..] else {
                bail!("an image copies as: COPY --from=bin --chmod=MODE /SOURCE /DEST");
            };
            let mode = mode.strip_prefix("--chmod=").context("the second word is --chmod=MODE")?;
            let mode = u32::from_str_radix(mode, 8).context("the mode is octal")?;
            if !source.starts_with('/') || !dest.starts_with('/') || dest.ends_with('/') {
                bail!("both paths are absolute and name files");
            }
            stage.copies.push(Copy { source: source.to_owned(), dest: dest.to_owned(), mode });
        }
        "ENTRYPOINT" => stage.entrypoint = serde_json::from_str(rest).context("an entrypoint has the exec form")?,
        _ => {
            bail!("an image's stage holds USER, COPY and ENTRYPOINT; teach crates/xtask/src/image/stages.rs a new one")
        }
    }
    Ok(())
}

/// Lines with their number, joined where they end in a backslash, without comments and blank lines.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let part = line.strip_suffix('\\').unwrap_or(line).trim_end();
        match lines.last_mut() {
            Some((_, whole)) if continues => {
                whole.push(' ');
                whole.push_str(part);
            }
            _ => lines.push((index + 1, part.to_owned())),
        }
        continues = line.ends_with('\\');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "FROM rust AS bin\nRUN make \\\n  --all\nFROM scratch AS base\nUSER 1:2\n";

    #[test]
    fn an_image_inherits_from_base_and_adds_its_file_and_entrypoint() {
        let text =
            format!("{BASE}FROM base AS tool\nCOPY --from=bin --chmod=0555 /t /tool\nENTRYPOINT [\"/tool\", \"-x\"]\n");
        let copies = vec![Copy { source: "/t".to_owned(), dest: "/tool".to_owned(), mode: 0o555 }];
        let entrypoint = vec!["/tool".to_owned(), "-x".to_owned()];
        let expected = Stage { name: "tool".to_owned(), user: "1:2".to_owned(), copies, entrypoint };
        assert_eq!(parse(&text).unwrap(), [expected]);
    }

    fn refused(line: &str) -> String {
        format!("{:#}", parse(&format!("{BASE}FROM base AS tool\n{line}\n")).unwrap_err())
    }

    #[test]
    fn what_an_archive_cannot_follow_is_an_error_with_its_line() {
        assert!(refused("RUN true").starts_with("line 7: RUN true: an image's stage holds USER, COPY and ENTRYPOINT"));
        assert!(refused("ENTRYPOINT /tool").contains("exec form"));
        assert!(refused("COPY /a /b").contains("COPY --from=bin"));
        assert!(refused("COPY --from=bin --chmod=0555 /a /b/").contains("name files"));
    }
}
