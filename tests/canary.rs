//! No server writes a token anywhere: when a test is over, the logs of its servers are searched.

use std::{fs, path::Path, thread};

use regex::bytes::Regex;

/// Searches a log, and removes it.
pub(crate) fn check_and_remove(log: &Path) {
    let text = fs::read(log).unwrap_or_default();
    let _ = fs::remove_file(log);
    // Every JWT begins like this: {" in base64url.
    let token = Regex::new("eyJ[A-Za-z0-9_-]{16}").expect("a pattern");
    // A test that fails gives its own reason.
    assert!(thread::panicking() || !token.is_match(&text), "a token is in the log: {}", String::from_utf8_lossy(&text));
}
