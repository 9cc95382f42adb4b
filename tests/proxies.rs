//! linger behind nginx, as docs/DEPLOY.md sets it up.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use crate::server::{ROOT, Server};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

const NAME: &str = "chat.example.com";

/// nginx with the project's configuration, which ends when this is dropped.
struct Nginx {
    _child: Child,
    port: u16,
    folder: PathBuf,
}

impl Nginx {
    async fn start(server: &Server) -> Self {
        let folder = std::env::temp_dir().join(format!("linger-nginx-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        certificate(&folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = fs::read_to_string(ROOT.join("packaging/nginx.conf")).unwrap();
        // What the document shows for a path of another site is in the same server.
        let document = fs::read_to_string(ROOT.join("docs/DEPLOY.md")).unwrap();
        let below = document.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
        let (before, last) = settings.rsplit_once('}').unwrap();
        settings = format!("{before}{below}}}{last}");
        for (written, here) in [
            ("127.0.0.1:3000", server.address()),
            ("listen 443 ", &format!("listen 127.0.0.1:{port} ")),
            ("/etc/ssl/chat.example.com", &format!("{}/server", folder.display())),
        ] {
            assert!(settings.contains(written), "{written} is not in nginx.conf");
            settings = settings.replace(written, here);
        }
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = paths.map(|of| format!("{of}_temp_path {}/{of};", folder.display())).concat();
        let main = format!(
            "daemon off; worker_processes 1; pid {0}/pid; error_log {0}/error.log; events {{ worker_connections 256; }}\n\
             http {{ access_log off; {paths}\n{settings}\n}}",
            folder.display()
        );
        fs::write(folder.join("nginx.conf"), main).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", "error.log", "-p"]).arg(&folder).args(["-c", "nginx.conf"]).kill_on_drop(true);
        let child = nginx.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("apt-get install nginx-light");
        let nginx = Self { _child: child, port, folder };
        let up = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let up = timeout(Duration::from_secs(10), up).await;
        up.unwrap_or_else(|_| panic!("{:?}", fs::read_to_string(nginx.folder.join("error.log"))));
        nginx
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--resolve", &format!("{NAME}:{}:127.0.0.1", self.port)]).args(arguments);
        curl.arg(format!("https://{NAME}:{}{path}", self.port)).kill_on_drop(true).stdout(Stdio::piped());
        curl
    }

    async fn ask(&self, arguments: &[&str], path: &str) -> String {
        let Output { stdout, .. } = self.curl(arguments, path).output().await.expect("curl");
        String::from_utf8(stdout).unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end when the master is told to.
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        let _ = std::process::Command::new("kill").arg(pid.trim()).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn certificate(folder: &Path) {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -keyout server.key -out server.pem";
    let mut openssl = std::process::Command::new("openssl");
    let made = openssl.args(arguments.split(' ')).current_dir(folder).stderr(Stdio::null()).status();
    assert!(made.is_ok_and(|status| status.success()), "apt-get install openssl");
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let wait = async {
        while !so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("not within 10 s: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_polls_are_held_and_each_client_has_its_own_address() {
    let server = Server::start(
        &[
            &["--allowed-host", NAME, "--trusted-proxy", "127.0.0.1"][..],
            &["--limit-loopback", "--address-publishes", "3"],
        ]
        .concat(),
    )
    .await;
    let before = server.descriptors();
    let nginx = Nginx::start(&server).await;
    assert_eq!(
        nginx.ask(&["--http2", "-o", "/dev/null", "-w", "%{http_code} HTTP/%{http_version}"], "/").await,
        "200 HTTP/2"
    );
    assert!(nginx.ask(&[], "/metrics").await.contains("404"));

    let held = nginx.curl(&[], "/sub?cursor=latest").spawn().unwrap();
    until("the poll is held", async || server.metric("linger_holds").await == 1).await;
    let sent = nginx.ask(&["-d", "message=hi"], "/pub").await;
    assert!(sent.contains("\"sent\""), "{sent}");
    let answer = timeout(Duration::from_secs(10), held.wait_with_output()).await.expect("it is answered").unwrap();
    assert!(String::from_utf8(answer.stdout).unwrap().contains("\"message\":\"hi\""));

    let mut left = nginx.curl(&[], "/sub?cursor=latest").spawn().unwrap();
    until("the poll is held", async || server.metric("linger_holds").await == 1).await;
    left.kill().await.unwrap();
    until("who leaves is forgotten", async || server.metric("linger_holds").await == 0).await;

    // What a client writes about its own address counts for nothing.
    let publish = async |own: &str, written: &str| {
        let written = format!("x-forwarded-for: {written}");
        let arguments =
            ["--interface", own, "-H", &written, "-d", "message=hi", "-o", "/dev/null", "-w", "%{http_code}"];
        nginx.ask(&arguments, "/pub").await
    };
    for (number, status) in [(1, "200"), (2, "200"), (3, "200"), (4, "429")] {
        assert_eq!(publish("127.0.0.3", &format!("10.0.0.{number}")).await, status, "{number}");
    }
    assert_eq!(publish("127.0.0.4", "127.0.0.3").await, "200", "another client has its own limit");

    // The same below a path, of which linger knows nothing.
    assert!(nginx.ask(&[], "/live/").await.contains("<title>"));
    assert!(nginx.ask(&[], "/live/config.js").await.contains("base = '/live'"));
    assert!(nginx.ask(&[], "/live/metrics").await.contains("404"));
    let held = nginx.curl(&["-L", "-H", "sec-fetch-mode: cors"], "/live/sub?channel=below").spawn().unwrap();
    until("the poll is redirected and held", async || server.metric("linger_holds").await == 1).await;
    let sent = nginx.ask(&["--interface", "127.0.0.5", "-d", "channel=below&message=hi"], "/live/pub").await;
    assert!(sent.contains("\"sent\""), "{sent}");
    let answer = timeout(Duration::from_secs(10), held.wait_with_output()).await.expect("it is answered").unwrap();
    assert!(String::from_utf8(answer.stdout).unwrap().contains("\"message\":\"hi\""));

    // A connection to linger is kept, and used again.
    for _ in 0..10 {
        nginx.ask(&[], "/sub?wait=0").await;
    }
    sleep(Duration::from_millis(300)).await;
    let kept = server.descriptors() - before;
    assert!((1..=3).contains(&kept), "{kept} connections");
}
