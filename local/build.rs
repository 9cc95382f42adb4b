//! Puts the page into the binary of a release: a list of its files, with what is in them. Other builds read them from
//! the folder, so that a change is seen by loading the page again.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let page = package.join("../static").canonicalize()?;
    println!("cargo::rerun-if-changed={}", page.display());
    let mut files = Vec::new();
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        list(&page, &mut files)?;
    }
    files.sort();
    let mut code = String::from("&[");
    for file in files {
        let name = file.strip_prefix(&page).unwrap_or(&file);
        // A string takes whatever is written.
        let _ = write!(code, "({name:?}, include_bytes!({file:?})),");
    }
    code.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("page.rs"), code)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
