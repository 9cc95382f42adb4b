//! Puts the page into the binary of a release: a list of its files with their contents. Other builds read them from the
//! folder, so that a change is visible after a reload. A release also has the commit in its version.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> io::Result<()> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let page = package.join("../static").canonicalize()?;
    println!("cargo::rerun-if-changed={}", page.display());
    let mut files = Vec::new();
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release {
        list(&page, &mut files)?;
    }
    // `cargo run` sets it for the server too, which would take a name that begins with LINGER_ for a setting.
    println!("cargo::rustc-env=SHOWN_VERSION={}", version(release));
    files.sort();
    let mut code = String::from("&[");
    for file in files {
        let name = file.strip_prefix(&page).unwrap_or(&file);
        // Writing to a string never fails.
        let _ = write!(code, "({name:?}, include_bytes!({file:?})),");
    }
    code.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("page.rs"), code)
}

/// The version, and in a release the commit. Other builds lack it, because each commit would link them anew.
fn version(release: bool) -> String {
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rerun-if-env-changed=LINGER_COMMIT");
    match release.then(commit).flatten() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    }
}

/// The commit: from the variable, for builds without the repository, or else from git.
fn commit() -> Option<String> {
    let named = env::var("LINGER_COMMIT").ok().filter(|commit| !commit.is_empty());
    named.or_else(|| {
        // Every commit and checkout writes to this file.
        println!(
            "cargo::rerun-if-changed={}",
            git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?
        );
        git(&["rev-parse", "--short=12", "HEAD"])
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
