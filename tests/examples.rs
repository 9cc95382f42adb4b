//! The examples do what their first lines say: they print what is published, and go on where they were.

use std::{fs, path::Path, process::Stdio, time::Duration};

use crate::{
    access::Keys,
    server::{ROOT, Server},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Each example's file, its interpreter, a check of what it needs, and how to get that.
const EXAMPLES: [(&str, &str, &[&str], &str); 3] = [
    ("follow.py", "python3", &["-c", "import requests"], "pip install requests"),
    ("follow.mjs", "node", &["--version"], "apt-get install nodejs"),
    ("follow.sh", "sh", &["-c", "jq --version && curl --version"], "apt-get install jq curl"),
];

/// A running example, which ends when this is dropped.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: std::path::PathBuf,
}

impl Running {
    /// Starts it for the `run`th time. Each run has a file of its own for its errors, because what an earlier run
    /// started may still write.
    fn start((file, program): (&str, &str), folder: &Path, (base, token): (&str, &str), run: u32) -> Self {
        let said = folder.join(format!("stderr-{run}"));
        let mut command = Command::new(program);
        command.arg(ROOT.join("examples").join(file)).args([base, file]).env("LINGER_TOKEN", token);
        command.current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, said }
    }

    async fn line(&mut self) -> String {
        let line = timeout(Duration::from_secs(30), self.lines.next_line()).await;
        line.unwrap_or_else(|_| panic!("nothing is printed, but {}", self.said())).unwrap().expect("it runs on")
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }
}

async fn publish(server: &Server, channel: &str, nick: &str, message: &str) {
    let document = serde_json::json!({"channel": channel, "nick": nick, "message": message}).to_string();
    let request = reqwest::Client::new().post(server.url("/pub")).header("content-type", "application/json");
    assert!(request.body(document).send().await.unwrap().status().is_success());
}

async fn works(server: &Server, (file, program, needs, how): (&str, &str, &[&str], &str)) {
    let there = std::process::Command::new(program).args(needs).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(there.is_ok_and(|status| status.success()), "{file} needs {program} {needs:?}: {how}");
    let folder = std::env::temp_dir().join(format!("linger-{file}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let start = |run| Running::start((file, program), &folder, (&server.base, ""), run);

    publish(server, file, "ann", "a \\n \"b\" \u{e4}").await;
    let mut running = start(1);
    assert_eq!(running.line().await, "ann: a \\n \"b\" \u{e4}", "{file}");
    publish(server, file, "", "second").await;
    assert_eq!(running.line().await, "anonymous: second", "{file} waits");
    // The cursor is saved soon after the message is printed.
    let noted = async {
        let cursor = || fs::read_to_string(folder.join(format!("{file}.cursor"))).unwrap_or_default();
        while !cursor().trim().ends_with("-2") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), noted).await.expect("the cursor is noted");
    drop(running);

    publish(server, file, "bob", "third").await;
    let mut running = start(2);
    assert_eq!(running.line().await, "bob: third", "{file} goes on where it was");
    assert_eq!(running.said(), "");
    drop(running);

    // A cursor of a log that is gone, with the newline that another of these programs writes.
    fs::write(folder.join(format!("{file}.cursor")), "1-1\n").unwrap();
    let mut running = start(3);
    assert!(running.line().await.starts_with("ann: "));
    assert_eq!(running.said().trim(), "some messages are gone", "{file}");
    drop(running);

    // An error is not taken for a batch: it is printed, and nothing ends.
    fs::write(folder.join(format!("{file}.cursor")), "nonsense").unwrap();
    let mut running = start(4);
    let told = async {
        while !running.said().contains("400") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), told).await.expect("the error is told");
    assert!(running.child.try_wait().unwrap().is_none(), "{file} ended");
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_sends_its_token() {
    let keys = Keys::new("es256").await;
    let server = Server::start(&["--access-keys", &keys.file("linger-keys.json")]).await;
    let token = keys.token(&["--publish", "*", "--subscribe", "*"]).await;
    for (file, program, ..) in EXAMPLES {
        let request = reqwest::Client::new().post(server.url("/pub")).bearer_auth(&token);
        let form = request.header("content-type", "application/x-www-form-urlencoded");
        let sent = form.body(format!("channel={file}&nick=ann&message=hi")).send().await.unwrap();
        assert!(sent.status().is_success(), "{}", sent.status());
        let folder = std::env::temp_dir().join(format!("linger-token-{file}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut running = Running::start((file, program), &folder, (&server.base, &token), 1);
        assert_eq!(running.line().await, "ann: hi", "{file}");
        drop(running);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_prints_what_is_said_and_goes_on_where_it_was() {
    let server = Server::start(&[]).await;
    let [python, node, shell] = EXAMPLES.map(|example| works(&server, example));
    tokio::join!(python, node, shell);
}
