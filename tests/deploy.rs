//! The deploy scripts against recorded answers. That shows their logic, and nothing of AWS.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::emulator::ROOT;

/// Stand-ins for `aws`, `sam` and `cargo-lambda` that write down how they were called.
struct Recorded {
    folder: PathBuf,
}

const STAND_IN: &str = r#"#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$RECORD"
[ "$(basename "$0") $1" != "$FAILS" ] || exit 1
case "$*" in
  *describe-stacks*BucketName*) echo the-bucket ;;
  *describe-stacks*Page*) echo https://page.example ;;
  *describe-stacks*ApiUrl*) echo https://api.example ;;
  *describe-stacks*DistributionId*) echo DISTRIBUTION ;;
  *describe-stacks*TableName*) echo the-table ;;
  *"s3 cp"*config.js*) cat "$3" >"$RECORD.config" ;;
esac
"#;

impl Recorded {
    fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("linger-deploy-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        for command in ["aws", "sam", "cargo-lambda"] {
            let path = folder.join(command);
            fs::write(&path, STAND_IN).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// Runs a script, and says what it printed and whether it succeeded.
    fn run(&self, script: &str, arguments: &[&str], answers: &str, fails: &str) -> (String, bool) {
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new(ROOT.join(script))
            .args(arguments)
            .env("PATH", path)
            .env("RECORD", self.folder.join("record"))
            .env("FAILS", fails)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.success())
    }

    /// What was called since this was last asked, but for questions.
    fn calls(&self) -> Vec<String> {
        let path = self.folder.join("record");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().filter(|line| !line.contains("describe-stacks")).map(str::to_owned).collect()
    }
}

fn files_below(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn deploy_builds_deploys_uploads_and_prints_the_link() {
    let recorded = Recorded::new();
    let (said, succeeded) =
        recorded.run("deploy", &["--stack", "chat", "--parameter-overrides", "Retention=7d"], "", "");
    assert!(succeeded && said.ends_with("linger is at https://page.example\n"), "{said}");
    let calls = recorded.calls();
    assert_eq!(calls[0], "sam build");
    assert!(
        calls[1].starts_with("sam deploy --stack-name chat ")
            && calls[1].ends_with(" --parameter-overrides Retention=7d")
    );
    assert!(calls[1].contains("--no-fail-on-empty-changeset"), "a second run with nothing new is fine");
    let files = files_below(&ROOT.join("static"));
    let uploads: Vec<_> = calls.iter().filter(|call| call.starts_with("aws s3 cp ")).collect();
    assert_eq!(uploads.len(), files);
    assert!(uploads.iter().all(|upload| upload.ends_with("--cache-control no-cache")));
    let module = uploads.iter().find(|upload| upload.contains("s3://the-bucket/client/request.js")).unwrap();
    assert!(module.contains("--content-type text/javascript; charset=utf-8"), "{module}");
    assert_eq!(calls.last().unwrap(), "aws cloudfront create-invalidation --distribution-id DISTRIBUTION --paths /*");
    let config = fs::read_to_string(recorded.folder.join("record.config")).unwrap();
    assert!(config.contains("https://api.example") && config.contains("export const base = '';"), "{config}");

    let (_, succeeded) = recorded.run("deploy", &["--stack", "chat", "--parameter-overrides", "Retention=7d"], "", "");
    let again = recorded.calls();
    assert!(succeeded && again.len() == calls.len() && again[..2] == calls[..2]);
}

#[test]
fn a_dry_run_shows_every_command_and_runs_none() {
    let recorded = Recorded::new();
    let (said, succeeded) = recorded.run("deploy", &["--parameter-overrides", "Retention=7d", "--dry-run"], "", "");
    assert!(
        succeeded && said.contains("+ sam deploy --stack-name linger") && said.contains("+ aws cloudfront"),
        "{said}"
    );
    let (said, succeeded) = recorded.run("undeploy", &["--dry-run"], "", "");
    assert!(succeeded && said.contains("+ sam delete"), "{said}");
    assert_eq!(recorded.calls(), [""; 0]);
}

#[test]
fn what_fails_stops_it() {
    let recorded = Recorded::new();
    let (said, succeeded) = recorded.run("deploy", &[], "", "sam deploy");
    assert!(!succeeded && !said.contains("linger is at"), "{said}");
    assert_eq!(recorded.calls().len(), 2, "nothing is uploaded");
}

#[test]
fn undeploy_removes_what_was_agreed_to_and_no_more() {
    let recorded = Recorded::new();
    let (said, succeeded) = recorded.run("undeploy", &[], "yes\n", "");
    assert!(!succeeded && said.contains("Nothing was removed."), "{said}");
    assert_eq!(recorded.calls(), [""; 0]);
    let (said, succeeded) = recorded.run("undeploy", &[], "linger\nno\n", "");
    assert!(succeeded && said.contains("The table the-table was kept."), "{said}");
    let removed = ["aws s3 rm s3://the-bucket --recursive", "sam delete --stack-name linger --no-prompts"];
    assert_eq!(recorded.calls(), removed);
    let (_, succeeded) = recorded.run("undeploy", &[], "linger\nthe-table\n", "");
    assert!(succeeded);
    assert_eq!(recorded.calls().last().unwrap(), "aws dynamodb delete-table --table-name the-table");
}
