//! `cargo lambda watch`, typed in a fresh clone as docs/ARCHITECTURE.md has it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tests::local::DynamoDbLocal;
use tokio::time::{sleep, timeout};

use crate::server::ROOT;

/// How long it may compile, on a busy machine.
const COMPILES_MAX: Duration = Duration::from_secs(600);

/// A folder with what a clone of the project would have.
struct Clone {
    folder: PathBuf,
}

impl Clone {
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("linger-clone-{}", std::process::id()));
        let files = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let listed = Command::new("git").args(files).current_dir(&*ROOT).output().expect("git");
        for file in String::from_utf8(listed.stdout).unwrap().lines().filter(|file| ROOT.join(file).is_file()) {
            let copy = folder.join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(ROOT.join(file), copy).unwrap();
        }
        Self { folder }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// A command of cargo, in the root. It uses what was compiled before.
    fn cargo(&self, arguments: &[&str]) -> tokio::process::Command {
        let tools = ROOT.join("target/tools/python/bin");
        let path = format!("{}:{}", tools.display(), env::var("PATH").unwrap());
        let target = env::current_exe().unwrap();
        let target: &Path = target.ancestors().nth(3).expect("it is in target/debug/deps");
        let mut cargo = tokio::process::Command::new("cargo");
        cargo.args(arguments).current_dir(&self.folder).env("PATH", path).env("CARGO_TARGET_DIR", target);
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        cargo
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Repeats a request until the answer is right: a function is compiled at its first request.
async fn until(request: impl Fn() -> reqwest::RequestBuilder, right: impl Fn(&reqwest::Response) -> bool) -> Value {
    let asked = async {
        loop {
            match request().send().await {
                Ok(answer) if right(&answer) => return answer.text().await.unwrap(),
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    serde_json::from_str(&timeout(COMPILES_MAX, asked).await.expect("it answers")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_starts_both_functions_and_a_saved_file_is_in_the_next_answer() {
    let clone = Clone::new();
    let command = "\ncargo lambda watch\n";
    assert!(clone.read("docs/ARCHITECTURE.md").contains(command), "what is tried here is what it says");
    let (port, table_port) = (free_port(), free_port());
    let (invoke_port, endpoint) = (port.to_string(), format!("http://127.0.0.1:{table_port}"));
    let address = ["--invoke-address", "127.0.0.1", "--invoke-port", &invoke_port];
    let mut watch = clone.cargo(&[&["lambda", "watch"], &address[..]].concat());
    let mut watch = watch.env("AWS_ENDPOINT_URL_DYNAMODB", &endpoint).stdout(Stdio::null()).spawn().unwrap();
    let (client, base) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}"));
    let form = |text: &str| {
        let request = client.post(format!("{base}/pub")).body(format!("channel=watch&message={text}"));
        request.header("content-type", "application/x-www-form-urlencoded")
    };

    let refused = |answer: &reqwest::Response| answer.status() == 503;
    let early = until(|| form("early"), refused).await;
    assert_eq!(early["code"], "store_unreachable", "there is no database yet, and it says so");
    until(|| client.get(format!("{base}/sub?wait=0")), refused).await;
    let folder = clone.folder.join("database");
    fs::create_dir(&folder).unwrap();
    let _database = DynamoDbLocal::start(Some(&folder), table_port);

    let sent = until(|| form("first"), |answer| answer.status() == 200).await;
    let query = format!("channel=watch&cursor={}", sent["id"].as_str().unwrap());
    let held = tokio::spawn(client.get(format!("{base}/sub?{query}")).timeout(COMPILES_MAX).send());
    let sent = until(|| form("second"), |answer| answer.status() == 200).await;
    let held: Value = serde_json::from_str(&held.await.unwrap().unwrap().text().await.unwrap()).unwrap();
    assert_eq!(held["messages"][0]["id"], sent["id"]);

    let invoke = ["lambda", "invoke", "publish", "--data-file", "functions/publish/event.json"];
    let invoked = clone.cargo(&[&invoke[..], &address[..]].concat()).output().await.unwrap();
    let answer: Value = serde_json::from_slice(&invoked.stdout).expect("the function's answer");
    assert_eq!(answer["statusCode"], 200, "{answer}");

    let (file, saved) = ("functions/host/src/lib.rs", "x-saved-file");
    let changed = clone.read(file).replace("\"x-request-id\"", &format!("\"{saved}\""));
    fs::write(clone.folder.join(file), changed).unwrap();
    // cargo-lambda never answers a request that it was about to give to a function that it ends.
    let third = || form("third").timeout(Duration::from_secs(20));
    until(third, |answer| answer.headers().contains_key(saved)).await;

    let pid = watch.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    timeout(Duration::from_secs(60), watch.wait()).await.expect("Ctrl-C ends it").unwrap();
}
