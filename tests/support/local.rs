//! DynamoDB Local: the real one, started once for all tests of a process.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::LazyLock,
};

/// Where it is: in `DYNAMODB_ENDPOINT`, or in one that this process started, in memory.
///
/// # Panics
/// When there is neither, saying how to get it.
pub static ENDPOINT: LazyLock<String> = LazyLock::new(|| {
    static SHARED: LazyLock<DynamoDbLocal> = LazyLock::new(|| DynamoDbLocal::start(None, 0));
    env::var("DYNAMODB_ENDPOINT").unwrap_or_else(|_| SHARED.endpoint.clone())
});

/// One that runs. It ends with the process that started it, or when this is dropped.
pub struct DynamoDbLocal {
    /// Its address.
    pub endpoint: String,
    process: Child,
    /// When this closes, it ends by itself.
    _stdin: ChildStdin,
}

impl DynamoDbLocal {
    /// Starts one: in memory, or on disk in a folder; on a port, or on a free one.
    ///
    /// # Panics
    /// When it does not start, saying how to get it.
    #[must_use]
    pub fn start(folder: Option<&Path>, port: u16) -> Self {
        let home = home();
        let temporary = home.join("tmp");
        std::fs::create_dir_all(&temporary).expect("a folder for its native library");
        let mut java = Command::new("java");
        java.arg(format!("-Djava.io.tmpdir={}", temporary.display()))
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-cp"])
            .arg(format!("{}:{}/*", home.join("classes").display(), home.join("lib").display()))
            .arg("Local");
        if let Some(folder) = folder {
            java.arg(folder).arg(port.to_string());
        }
        let started = java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = started.expect("java is needed for DynamoDB Local (Debian: apt-get install default-jre)");
        let stdout = process.stdout.take().expect("piped");
        let mut endpoint = String::new();
        BufReader::new(stdout).read_line(&mut endpoint).expect("it says where it is");
        assert!(endpoint.starts_with("http://"), "DynamoDB Local is not in {}: tests/run gets it", home.display());
        let stdin = process.stdin.take().expect("piped");
        Self { endpoint: endpoint.trim().to_owned(), process, _stdin: stdin }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for DynamoDbLocal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn home() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the project").join("target/tools/dynamodb")
}
