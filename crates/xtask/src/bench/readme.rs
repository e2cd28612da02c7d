//! The part of a README that a measurement owns.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// The text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`, without the line breaks next to them.
///
/// # Errors
/// When the file or one of the markers is missing.
pub fn block(readme: &Path, name: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let (from, to) = range(&text, name).with_context(|| format!("in {}", readme.display()))?;
    Ok(text[from..to].trim().to_owned())
}

/// Puts `block` between the markers.
///
/// # Errors
/// When the file or one of the markers is missing, or it cannot be written.
pub fn replace(readme: &Path, name: &str, block: &str) -> anyhow::Result<()> {
    let text = fs::read_to_string(readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let (from, to) = range(&text, name).with_context(|| format!("in {}", readme.display()))?;
    fs::write(readme, format!("{}\n{}\n{}", &text[..from], block.trim(), &text[to..]))?;
    Ok(())
}

fn range(text: &str, name: &str) -> anyhow::Result<(usize, usize)> {
    let (open, close) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    match (text.find(&open), text.find(&close)) {
        (Some(from), Some(to)) if from < to => Ok((from + open.len(), to)),
        _ => bail!("{open} and {close} do not stand there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_markers_changes() {
        let folder = tempfile::tempdir().unwrap();
        let readme = folder.path().join("README.md");
        fs::write(&readme, "before\n<!-- bench:tail -->\nold\n<!-- /bench:tail -->\nafter\n").unwrap();
        replace(&readme, "tail", "new\n\ntable").unwrap();
        let expected = "before\n<!-- bench:tail -->\nnew\n\ntable\n<!-- /bench:tail -->\nafter\n";
        assert_eq!(fs::read_to_string(&readme).unwrap(), expected);
        assert_eq!(block(&readme, "tail").unwrap(), "new\n\ntable");
        let error = replace(&readme, "other", "").unwrap_err();
        assert!(format!("{error:#}").contains("<!-- bench:other --> and <!-- /bench:other --> do not stand there"));
    }
}
