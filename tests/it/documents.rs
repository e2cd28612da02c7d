//! The documents whose tables come from the code: a table that differs is written anew and its test fails once.

use std::fmt::Write as _;

use xtask::image::rows;

use crate::workspace::{arrows, block_holds, descriptions, is_room, root};

/// The text as a sentence of prose.
fn sentence(description: &str) -> String {
    let mut letters = description.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[test]
fn the_readme_lists_the_images_as_their_rows_and_crates_describe_them() {
    let descriptions = descriptions();
    let mut table = "| image | in a pod | what it does |\n|---|---|---|\n".to_owned();
    for row in rows::read(&root()).unwrap() {
        let what = sentence(&descriptions[&row.tool]);
        let kind = format!("{:?}", row.kind).to_lowercase();
        writeln!(table, "| [`podkit/{0}`](crates/{0}/README.md) | {kind} | {what} |", row.tool).unwrap();
    }
    block_holds("README.md", "images", &table);
}

#[test]
fn the_readme_shows_the_pod_of_the_examples_as_it_is_applied() {
    let manifest = std::fs::read_to_string(root().join("k8s-examples/log-tailer/web.yaml")).unwrap();
    block_holds("README.md", "pod", &format!("```yaml\n{manifest}```\n"));
}

#[test]
fn the_map_shows_every_crate_and_what_it_sees() {
    let (descriptions, arrows) = (descriptions(), arrows());
    let is_development = |name: &str| ["kit-test", "xtask", "podkit-tests"].contains(&name);
    let table = |wanted: &dyn Fn(&str) -> bool| {
        let mut table = "| crate | in one sentence | sees |\n|---|---|---|\n".to_owned();
        for (name, description) in descriptions.iter().filter(|(name, _)| wanted(name)) {
            let folder = if name == "podkit-tests" { "../tests" } else { name };
            writeln!(table, "| [{name}]({folder}) | {} | {} |", sentence(description), arrows[name].join(", "))
                .unwrap();
        }
        table
    };
    let tools = table(&|name| !is_room(name) && !is_development(name));
    let rooms = table(&|name| is_room(name) && !is_development(name));
    let development = table(&is_development);
    let map = format!("## Tools\n{tools}\n## Rooms\n{rooms}\n## Never shipped\n{development}");
    block_holds("crates/README.md", "map", &map);
}

#[test]
fn every_tool_has_a_readme_that_begins_with_its_name() {
    for row in rows::read(&root()).unwrap() {
        let path = root().join("crates").join(&row.tool).join("README.md");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.starts_with(&format!("# {}\n", row.tool)), "{}", path.display());
    }
}
