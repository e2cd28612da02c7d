//! Every scenario of the field notes stands in a test's name or in a list of exclusions with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::workspace::root;

/// The scenarios of one tool. A test that covers `T34` is called `t34_...`; one that covers several begins with all of
/// them: `t34_t35_...`.
struct Suite {
    tool: &'static str,
    /// Each list's letters and its numbers.
    lists: &'static [(&'static str, RangeInclusive<u32>)],
}

/// One entry per tool.
const SUITES: &[Suite] = &[
    Suite { tool: "date-adapter", lists: &[("DA", 1..=23)] },
    Suite { tool: "init-writer", lists: &[("IW", 1..=15)] },
    Suite { tool: "log-tailer", lists: &[("T", 1..=80)] },
    // Servers, clients, names and sessions, framing, HTTP/2, tokens, databases, lifecycle.
    Suite {
        tool: "tls-ambassador",
        lists: &[
            ("S", 1..=51),
            ("C", 1..=17),
            ("H", 1..=10),
            ("F", 1..=29),
            ("G", 1..=18),
            ("J", 1..=33),
            ("D", 1..=10),
            ("L", 1..=12),
        ],
    },
];

impl Suite {
    fn ids(&self) -> BTreeSet<String> {
        let ids = |(letters, numbers): &(&str, RangeInclusive<u32>)| {
            numbers.clone().map(|number| format!("{letters}{number:02}")).collect::<Vec<_>>()
        };
        self.lists.iter().flat_map(ids).collect()
    }

    /// The ids that test functions begin with, in the tool's own tests, in those of its modules and in those that cross crates.
    fn tested(&self) -> BTreeSet<String> {
        let ids = self.ids();
        let mut found = BTreeSet::new();
        let own = root().join("crates").join(self.tool);
        for folder in [own.join("tests"), own.join("src"), root().join("tests/it")] {
            for_each_source(&folder, &mut |source| {
                for (at, _) in source.match_indices("fn ") {
                    let name = source[at + 3..].split('(').next().unwrap_or_default().to_uppercase();
                    found.extend(name.split('_').take_while(|word| ids.contains(*word)).map(str::to_owned));
                }
            });
        }
        found
    }

    /// `ID reason` per line; `#` begins a comment.
    fn excluded(&self) -> Vec<(String, String)> {
        let path = root().join("crates").join(self.tool).join("tests/excluded-scenarios.txt");
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).map(|(id, why)| (id.into(), why.into())).collect()
    }
}

fn for_each_source(folder: &Path, look: &mut dyn FnMut(&str)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_source(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_scenario_is_tested_or_excluded_with_a_reason() {
    for suite in SUITES.iter().filter(|suite| root().join("crates").join(suite.tool).exists()) {
        let (ids, tested, excluded) = (suite.ids(), suite.tested(), suite.excluded());
        for (id, reason) in &excluded {
            assert!(ids.contains(id), "{}: excluded-scenarios.txt names {id}, which does not exist", suite.tool);
            assert!(!tested.contains(id), "{}: {id} is excluded and tested", suite.tool);
            assert!(reason.len() > 10, "{}: {id} is excluded without a reason", suite.tool);
        }
        let excluded: BTreeSet<String> = excluded.into_iter().map(|(id, _)| id).collect();
        let forgotten: Vec<&String> =
            ids.iter().filter(|id| !tested.contains(*id) && !excluded.contains(*id)).collect();
        assert!(forgotten.is_empty(), "{}: no test is named after {forgotten:?}", suite.tool);
    }
}

#[test]
fn a_test_may_stand_for_several_scenarios() {
    let suite = Suite { tool: "log-tailer", lists: &[("T", 54..=54)] };
    assert!(suite.tested().contains("T54"), "the rotate-fuzz test is named after T54");
    assert_eq!(suite.ids().into_iter().collect::<Vec<_>>(), ["T54"]);
}
