//! The server, as a process of its own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex},
    time::Duration,
};

use crate::canary;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout},
    time::timeout,
};

/// The project's folder.
pub(crate) static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the project").to_owned()
});

/// The binary, built for the first test that needs it: the one of `cargo run`, or the one in `LINGER_BINARY`.
pub(crate) static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(binary) = env::var_os("LINGER_BINARY") {
        return ROOT.join(binary);
    }
    // With the functions' features, their common dependencies are compiled only once, also for `cargo lambda watch`.
    let features: &[&str] = if cfg!(feature = "dynamodb") { &["--features", "local/dynamodb,watch"] } else { &[] };
    build(features, "linger")
});

/// Builds a binary of the project, and returns its path.
pub(crate) fn build(arguments: &[&str], name: &str) -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--bin", name]).args(arguments).current_dir(&*ROOT);
    assert!(build.status().is_ok_and(|status| status.success()), "cargo build --bin {name} failed");
    let tests = env::current_exe().expect("a test knows its own path");
    tests.ancestors().nth(2).expect("it is in target/debug/deps").join(name)
}

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// Kept open, so that the server can write to it.
    _stdout: BufReader<ChildStdout>,
    /// Its address, such as `http://127.0.0.1:40123`.
    pub(crate) base: String,
    log: PathBuf,
}

impl Server {
    /// Starts one on a free port.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_with(&["--port", "0"], arguments, &[]).await
    }

    /// Starts one with these environment variables.
    pub(crate) async fn start_in(environment: &[(&str, &str)]) -> Self {
        Self::start_with(&["--port", "0"], &[], environment).await
    }

    /// Starts one without a log, with these environment variables.
    pub(crate) async fn start_quiet(environment: &[(&str, &str)]) -> Self {
        Self::start_with(&["--port", "0"], &["--log-format", "off"], environment).await
    }

    async fn start_with(port: &[&str], arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        static STARTED: Mutex<u32> = Mutex::new(0);
        let number = {
            let mut started = STARTED.lock().unwrap();
            *started += 1;
            *started
        };
        let log = env::temp_dir().join(format!("linger-{}-{number}.log", std::process::id()));
        let json = !arguments.contains(&"--log-format");
        let mut child = command()
            .args(port)
            .args(if json { &["--log-format", "json"][..] } else { &[] })
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        timeout(Duration::from_secs(10), stdout.read_line(&mut line)).await.expect("it starts within 10 s").unwrap();
        let said = fs::read_to_string(&log).unwrap_or_default();
        let base = line.trim().strip_prefix("linger is at ").unwrap_or_else(|| panic!("it did not start: {said}"));
        Self { child, _stdout: stdout, base: base.to_owned(), log }
    }

    /// The address, without the scheme.
    #[must_use]
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("plain HTTP")
    }

    /// An address below it.
    #[must_use]
    pub(crate) fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Starts one over a table of DynamoDB, which it makes if there is none.
    #[cfg(feature = "dynamodb")]
    pub(crate) async fn over_table(endpoint: &str, table: &str, arguments: &[&str]) -> Self {
        let store = ["--store", "dynamodb", "--create-table", "--endpoint-url", endpoint, "--table", table];
        Self::start(&[&store, arguments].concat()).await
    }

    /// Sends it a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(Duration::from_secs(10), self.child.wait()).await.expect("it ends within 10 s").unwrap()
    }

    /// How many descriptors it has open.
    #[must_use]
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("procfs").count()
    }

    /// The value of a metric; 0 for one that is not there yet.
    pub(crate) async fn number(&self, name: &str) -> f64 {
        let text = reqwest::get(self.url("/metrics")).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// The same for a metric that is a whole number.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small")]
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        self.number(name).await as u64
    }

    /// Its log so far, a JSON object for each line.
    #[must_use]
    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(&self.log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        canary::check_and_remove(&self.log);
    }
}

/// The server's command, without environment variables that would change it. It ends with the test.
#[must_use]
pub(crate) fn command() -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&*BINARY);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("LINGER_") || name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}
