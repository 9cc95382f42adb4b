//! `tests/aws/smoke`, the last step of a deployment, against servers here.

use tokio::process::Command;

use crate::{
    access::Keys,
    server::{ROOT, Server},
};

/// Runs it against an address. If it finds something wrong, its output is the error.
pub(crate) async fn run(base: &str, arguments: &[&str]) -> Result<String, String> {
    run_with(base, arguments, None).await
}

/// The same with a token.
async fn run_with(base: &str, arguments: &[&str], token: Option<&str>) -> Result<String, String> {
    let mut smoke = Command::new(ROOT.join("tests/aws/smoke"));
    smoke.envs(token.map(|token| ("LINGER_TOKEN", token)));
    let output = smoke.arg(base).args(arguments).kill_on_drop(true).output().await.expect("python3");
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_passes_what_a_deployment_must() {
    let origin = "https://a.example";
    let server = Server::start(&["--allowed-origin", origin]).await;
    let said = run(&server.base, &["--origin", origin]).await.expect("all is well");
    assert_eq!(said.lines().filter(|line| line.starts_with("ok ")).count(), 8, "{said}");
    // It also finds what is wrong.
    let said = run(&server.base, &[]).await.expect("nobody was to be let in");
    assert!(said.contains("CORS: nobody"), "{said}");
    let said = run(&server.base, &["--origin", "https://b.example"]).await.expect_err("another is let in");
    assert!(said.contains("NOT OK  CORS: https://b.example is told None"), "{said}");
    let said = run(&server.base, &["--origin", origin, "--direct", &server.base]).await.expect_err("it answers all");
    assert!(said.contains("NOT OK  the API's own address"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_keys_is_tried_with_a_token_and_without() {
    let keys = Keys::new("es256").await;
    let server = Server::start(&["--access-keys", &keys.file("linger-keys.json")]).await;
    let token = keys.token(&["--publish", "smoke-*", "--subscribe", "smoke-*"]).await;
    let count = |said: String| said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(count(run(&server.base, &["--guarded"]).await.expect("all is well")), 3);
    // An invalid channel is reported only with a valid token.
    assert_eq!(count(run_with(&server.base, &["--guarded"], Some(&token)).await.expect("all is well")), 9);
    let open = Server::start(&[]).await;
    let said = run(&open.base, &["--guarded"]).await.expect_err("everybody is let in");
    assert!(said.contains("nobody reads without a token"), "{said}");
}
