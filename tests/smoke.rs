//! `tests/aws/smoke`, which a deployment ends with, against what can be had here.

use tokio::process::Command;

use crate::emulator::{Emulator, ROOT};

/// Runs it against an address. What it prints is the error if it finds something wrong.
pub(crate) async fn run(base: &str, arguments: &[&str]) -> Result<String, String> {
    let mut smoke = Command::new(ROOT.join("tests/aws/smoke"));
    let output = smoke.arg(base).args(arguments).kill_on_drop(true).output().await.expect("python3");
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulator_passes_what_a_deployment_must() {
    let origin = "https://a.example";
    let emulator = Emulator::start(&["--allowed-origin", origin]).await;
    let said = run(&emulator.base, &["--origin", origin]).await.expect("all is well");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 8, "{said}");
    // And it finds what is wrong.
    let said = run(&emulator.base, &[]).await.expect("nobody was to be let in");
    assert!(said.contains("CORS: nobody"), "{said}");
    let said = run(&emulator.base, &["--origin", "https://b.example"]).await.expect_err("another is let in");
    assert!(said.contains("NOT OK  CORS: https://b.example is told None"), "{said}");
    let said =
        run(&emulator.base, &["--origin", origin, "--direct", &emulator.base]).await.expect_err("it answers all");
    assert!(said.contains("NOT OK  the API's own address"), "{said}");
}
