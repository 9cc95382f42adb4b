//! An account of AWS as the deploy scripts see it: stand-ins for the commands that they run, with recorded answers.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::server::{BINARY, ROOT};

/// An account as the stand-ins for `aws` and the others answer for it, and what they were called with.
pub(crate) struct Account {
    pub(crate) folder: PathBuf,
    shell: PathBuf,
}

/// How a script ended.
pub(crate) struct Ended {
    pub(crate) said: String,
    pub(crate) complained: String,
    pub(crate) succeeded: bool,
}

/// What scripts are run in: this system's bash and, where `BASH_3_2` says where it is, the one that macOS has.
pub(crate) fn shells() -> impl Iterator<Item = PathBuf> {
    [Some("bash".into()), env::var_os("BASH_3_2").map(PathBuf::from)].into_iter().flatten()
}

impl Account {
    /// One that has nothing yet, and a thousand invocations at once.
    pub(crate) fn new(shell: &Path) -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let name = format!("linger-deploy-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(folder.join("bin")).unwrap();
        for command in ["aws", "sam", "cargo-lambda", "python3"] {
            symlink(ROOT.join("tests/aws/stand-in"), folder.join("bin").join(command)).unwrap();
        }
        symlink(&*BINARY, folder.join("bin/linger")).unwrap();
        let account = Self { folder, shell: shell.to_owned() };
        let outputs = "Page=https://page.example\nApiUrl=https://page.example\nApiEndpoint=https://api.example\n\
            BucketName=the-bucket\nDistributionId=DISTRIBUTION\nTableName=the-table\n";
        account.has("account", "1000\t1000").has("outputs", outputs);
        account
    }

    /// One in which linger was deployed before.
    pub(crate) fn deployed(shell: &Path) -> Self {
        let account = Self::new(shell);
        account.has("status", "CREATE_COMPLETE").has("secret", "0123456789abcdef0123456789abcdef");
        account.has("parameters", "PublishConcurrency=50\nSubscribeConcurrency=400\nArchitecture=x86_64\n");
        account
    }

    /// Records an answer.
    pub(crate) fn has(&self, what: &str, answer: &str) -> &Self {
        fs::write(self.folder.join(what), answer).unwrap();
        self
    }

    /// Runs a script in another folder than the project's, with answers to what it asks.
    pub(crate) fn run(&self, script: &str, arguments: &[&str], answers: &str) -> Ended {
        self.run_failing(script, arguments, answers, "")
    }

    /// The same where a command fails.
    pub(crate) fn run_failing(&self, script: &str, arguments: &[&str], answers: &str, fails: &str) -> Ended {
        let path = format!("{}:{}", self.folder.join("bin").display(), env::var("PATH").unwrap());
        let mut child = Command::new(&self.shell)
            .arg(ROOT.join(script))
            .args(arguments)
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("RECORD", &self.folder)
            .env("FAILS", fails)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read may have ended.
        let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ended {
            said: String::from_utf8(output.stdout).unwrap(),
            complained: String::from_utf8(output.stderr).unwrap(),
            succeeded: output.status.success(),
        }
    }

    /// What was called since this was last asked, questions too.
    pub(crate) fn all_calls(&self) -> Vec<String> {
        let path = self.folder.join("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text.lines().map(str::to_owned).collect()
    }

    /// What was called that changes something.
    pub(crate) fn calls(&self) -> Vec<String> {
        let questions = ["describe-stack", "get-account-settings", "get-distribution-config", "s3 cp s3://"];
        let asks = |call: &String| questions.iter().any(|question| call.contains(question));
        self.all_calls().into_iter().filter(|call| !asks(call)).collect()
    }

    /// What the stack was deployed with.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let calls = self.calls();
        let deploy = calls.iter().find(|call| call.starts_with("sam deploy ")).expect("it deploys");
        let given = deploy.split_once("--parameter-overrides ").map_or("", |(_, given)| given);
        given.split(' ').map(str::to_owned).collect()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
