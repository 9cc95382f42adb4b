//! Which module and crate may use which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::server::ROOT;
use regex::Regex;

/// The modules of the library, each with those that it may use.
const ARROWS: [(&str, &[&str]); 16] = [
    ("limits", &[]),
    ("meter", &[]),
    ("clock", &[]),
    ("channel", &["limits"]),
    ("cursor", &["limits"]),
    ("message", &["limits", "channel", "cursor"]),
    ("batch", &["limits", "channel", "cursor", "message"]),
    ("store", &["limits", "channel", "cursor", "message", "batch"]),
    ("memory", &["limits", "clock", "channel", "cursor", "message", "batch", "store"]),
    ("follow", &["limits", "clock", "channel", "cursor", "message", "batch", "store"]),
    ("share", &["limits", "batch"]),
    ("hold", &["limits", "channel", "cursor", "batch", "store", "follow"]),
    ("service", &["limits", "clock", "channel", "cursor", "message", "batch", "store", "follow", "share", "hold"]),
    ("access", &["limits", "clock", "channel", "message"]),
    ("api", &["limits", "clock", "channel", "cursor", "message", "batch", "store", "service", "access"]),
    ("lib", &[]),
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file, without its own tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn modules_know_only_whom_they_may() {
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let source = ROOT.join("functions/pubsub/src");
    let own = Regex::new(r"\bcrate::\{?").unwrap();
    let module = Regex::new(r"(?:crate::|\n    )([a-z_]+)(?:::|,|\n)").unwrap();
    let mut seen = BTreeSet::new();
    for path in rust_files(&source) {
        let first = path.strip_prefix(&source).unwrap().components().next().unwrap();
        let name = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap().to_owned();
        let text = code(&path);
        let uses: Vec<_> =
            own.split(&text).skip(1).map(|rest| rest.split_once(';').map_or(rest, |(used, _)| used)).collect();
        for used in uses {
            for captures in module.captures_iter(&format!("crate::{}", used.trim_start_matches(['\n', ' ']))) {
                let used = captures.get(1).unwrap().as_str();
                let may = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in ARROWS"));
                assert!(may.contains(&used) || used == name, "{name} names {used}, in {}", path.display());
                seen.insert((name.clone(), used.to_owned()));
            }
        }
    }
    let arrow = |from: &str, to: &str| seen.contains(&(from.to_owned(), to.to_owned()));
    assert!(arrow("service", "follow") && arrow("api", "service") && arrow("batch", "cursor"), "{seen:?}");
}

#[test]
fn each_framework_stands_in_its_own_package() {
    for (crates, home) in [("axum", "local"), ("lambda_http", "functions/host"), ("aws_", "functions/dynamodb")] {
        let named = Regex::new(&format!(r"\b{crates}\w*::")).unwrap();
        for path in rust_files(&ROOT).into_iter().filter(|path| !path.starts_with(ROOT.join(home))) {
            assert!(!named.is_match(&code(&path)), "{} names {crates}", path.display());
        }
    }
}

#[test]
fn only_the_api_knows_a_status_code() {
    let source = ROOT.join("functions/pubsub/src");
    for path in rust_files(&source).into_iter().filter(|path| !path.starts_with(source.join("api"))) {
        let text = code(&path);
        assert!(!text.contains("StatusCode") && !text.contains("http::"), "{}", path.display());
    }
}

/// The crates of a build, each with its features that are on.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = ["tree", "--edges", "normal,build", "--prefix", "none", "--format", "{p} {f}"];
    let tree = std::process::Command::new(cargo).args(tree).args(arguments).current_dir(&*ROOT).output().unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    tree.lines().map(|line| line.trim_end_matches("(*)").trim().to_owned()).collect()
}

#[test]
fn cargo_run_compiles_little_and_nothing_of_aws() {
    // `cargo run` resolves features for all default members, and compiles what the server needs of that.
    let (run, alone) = (tree(&[]), tree(&["--package", "local"]));
    assert!((20..=90).contains(&alone.len()), "{} crates", alone.len());
    let more: Vec<_> = alone.difference(&run).collect();
    assert!(more.is_empty(), "another default member turns on more features of these: {more:?}");
    assert!(!run.iter().any(|name| name.starts_with("aws-")), "{run:?}");
}
