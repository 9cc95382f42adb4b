//! What the docs show is what happens: each `console` block is run, and its output is compared.
//!
//! A line that begins with `$ ` is a command, and the lines up to the next one are its output. A command that does not
//! end soon waits for one that comes after it. Ids, times and other values that are new each time match any such value.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Stdio,
    time::Duration,
};

use crate::server::{ROOT, Server};
use regex::{Captures, Regex};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

struct Shown {
    command: String,
    output: String,
}

fn shown_in(document: &str) -> Vec<Shown> {
    let text = fs::read_to_string(ROOT.join(document)).unwrap();
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut shown: Vec<Shown> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => shown.push(Shown { command: command.to_owned(), output: String::new() }),
            None => shown.last_mut().expect("a command comes first").output += line,
        }
    }
    shown
}

/// A text in which values that are new each time are replaced by their kind.
fn timeless(text: &str) -> String {
    let mut text = text.replace("\r\n", "").replace('\n', "");
    for (pattern, kind) in [
        (r"[1-9]\d{12}-(\d)", "EPOCH-$1"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"x-request-id: \d+", "REQUEST"),
        (r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", "DATE"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, kind).into_owned();
    }
    text
}

fn start(command: &str) -> Child {
    let mut bash = Command::new("bash");
    bash.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    bash.spawn().unwrap()
}

async fn check(document: &str, shown: &Shown, child: Child) -> String {
    let output = timeout(Duration::from_secs(10), child.wait_with_output()).await.expect("it ends").unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(timeless(&output), timeless(&shown.output), "{document}: {}", shown.command);
    output
}

async fn run(document: &str, address: &str, commands: impl Fn(&str) -> bool) {
    let epoch = Regex::new(r"[1-9]\d{12}-").unwrap();
    // The epochs of this run, by those in the document.
    let mut epochs = BTreeMap::new();
    let mut waiting = Vec::new();
    let all = shown_in(document);
    assert!(!all.is_empty());
    for shown in all.iter().filter(|shown| commands(&shown.command)) {
        let command = shown.command.replace("curl ", "curl -s ").replace("localhost:3000", address);
        let command = epoch.replace_all(&command, |shown: &Captures<'_>| {
            epochs.get(&shown[0]).cloned().unwrap_or_else(|| shown[0].to_owned())
        });
        let mut child = start(&command);
        if timeout(Duration::from_millis(1500), child.wait()).await.is_err() {
            waiting.push((shown, child));
            continue;
        }
        let output = check(document, shown, child).await;
        let pairs = epoch.find_iter(&shown.output).zip(epoch.find_iter(&output));
        epochs.extend(pairs.map(|(shown, real)| (shown.as_str().to_owned(), real.as_str().to_owned())));
    }
    for (shown, child) in waiting {
        check(document, shown, child).await;
    }
}

/// Runs a document's commands against a server.
async fn run_here(document: &str) {
    let server = Server::start(&["--wait-max", "5s"]).await;
    run(document, server.address(), |_| true).await;
}

#[tokio::test]
async fn the_readme_shows_what_happens() {
    run_here("README.md").await;
}

#[tokio::test]
async fn the_loop_of_the_readme_prints_each_message_once() {
    let server = Server::start(&[]).await;
    let readme = fs::read_to_string(ROOT.join("README.md")).unwrap();
    let mut blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script = blocks.find(|block| block.contains("while ")).expect("a loop");
    let mut child = start(&script.replace("localhost:3000", server.address()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..3 {
        let body = format!("message={number}&nick=ann");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let sent = reqwest::Client::new().post(server.url("/pub")).header(form.0, form.1).body(body).send().await;
        assert!(sent.unwrap().status().is_success());
        let line = timeout(Duration::from_secs(10), lines.next_line()).await.expect("it prints").unwrap();
        assert_eq!(line, Some(format!("ann: {number}")));
    }
}

#[tokio::test]
async fn the_api_document_shows_what_happens() {
    run_here("docs/API.md").await;
}

#[cfg(feature = "dynamodb")]
#[tokio::test]
async fn both_functions_answer_what_the_api_document_shows() {
    let functions = crate::runtime::Functions::start(&crate::runtime::Settings {
        endpoint: &tests::local::ENDPOINT,
        table: &crate::table::new_table().await,
        concurrency: 10,
        deadline: Duration::from_millis(5500),
        environment: &[],
    })
    .await;
    // Functions have other headers.
    let whole_answers = |command: &str| !command.contains("curl -i") && !command.contains("curl -si");
    run("docs/API.md", functions.base.trim_start_matches("http://"), whole_answers).await;
}

#[test]
fn the_operations_document_lists_every_flag_and_maximum() {
    let document = fs::read_to_string(ROOT.join("docs/OPERATIONS.md")).unwrap();
    let variable = Regex::new(r#""(LINGER_\w+)""#).unwrap();
    let mut count = 0;
    for source in ["local/src/flags.rs", "functions/pubsub/src/limits.rs"] {
        let text = fs::read_to_string(ROOT.join(source)).unwrap();
        for captures in variable.captures_iter(&text) {
            assert!(document.contains(&format!("`{}`", &captures[1])), "{} is not in OPERATIONS.md", &captures[1]);
            count += 1;
        }
    }
    assert!(count >= 13, "{count}");
}

#[test]
fn the_code_and_both_documents_name_the_same_codes() {
    let read = |file: &str| fs::read_to_string(ROOT.join(file)).unwrap();
    let names = |pattern: &str, text: &str| -> BTreeSet<String> {
        let found = Regex::new(pattern).unwrap();
        found.captures_iter(text).map(|captures| captures[1].to_owned()).collect()
    };
    let code = names(r#"\(S::\w+, "(\w+)","#, &read("functions/pubsub/src/api/problem.rs"));
    let prose = read("docs/API.md");
    let table = prose.split("| status | codes |").nth(1).unwrap().split("\n\n").next().unwrap();
    let document = read("docs/openapi.yaml");
    let enums: Vec<_> = names(r"code: \{enum: \[([^\]]*)\]", &document).into_iter().collect();
    assert!(code.len() > 30, "{code:?}");
    let table = Regex::new(r"\([^)]*\)").unwrap().replace_all(table, "");
    assert_eq!(names(r"`([a-z_]+)`", &table), code);
    assert_eq!(names(r"(\w+)", &enums.join(" ")), code);
}

#[test]
fn the_files_and_functions_of_the_walk_exist() {
    let document = fs::read_to_string(ROOT.join("docs/WHY.md")).unwrap();
    let quoted = Regex::new(r"`([^`]+)`").unwrap();
    let all = |text: &str| -> Vec<String> { quoted.captures_iter(text).map(|found| found[1].to_owned()).collect() };
    let mut steps = 0;
    for row in document.lines().filter(|line| line.starts_with('|')) {
        let files: Vec<_> = all(row).into_iter().filter(|text| text.contains('/') && !text.contains(' ')).collect();
        let files: Vec<_> = files.iter().filter(|file| file.contains('.') || file.ends_with('/')).collect();
        for file in &files {
            assert!(ROOT.join(file).exists(), "{file}");
        }
        let columns: Vec<_> = row.trim_matches('|').split('|').collect();
        let [_, functions, _] = columns.as_slice() else { continue };
        let code: String = files.iter().filter_map(|file| fs::read_to_string(ROOT.join(file)).ok()).collect();
        for function in all(functions) {
            let name = function.rsplit(['.', ':']).next().unwrap();
            let defined = Regex::new(&format!(r"(?m)(fn {name}\b|^  (async )?{name}\()")).unwrap();
            assert!(defined.is_match(&code), "{function} is not in {files:?}");
            steps += 1;
        }
    }
    assert!(steps > 12, "{steps}");
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#:]+)\)").unwrap();
    let docs = fs::read_dir(ROOT.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for path in docs.chain([ROOT.join("README.md")]).filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
        for captures in link.captures_iter(&fs::read_to_string(&path).unwrap()) {
            assert!(path.parent().unwrap().join(&captures[1]).exists(), "{}: {}", path.display(), &captures[1]);
        }
    }
}

/// A table of a document: the first and second columns of each row that has a number in the second.
fn table(document: &str, heading: &str) -> BTreeMap<String, f64> {
    let rows = document.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}")).lines().skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).filter_map(|line| {
        let mut columns = line.trim_matches('|').split('|').map(str::trim);
        Some((columns.next()?.to_owned(), columns.next()?.parse().ok()?))
    });
    rows.collect()
}

/// Dollars as people write them.
fn dollars(amount: f64) -> String {
    match amount {
        0.0..0.01 => format!("${amount:.4}"),
        0.01..0.1 => format!("${amount:.3}"),
        0.1..10.0 => format!("${:.2}", (amount * 10.0).round() / 10.0),
        _ => format!("${amount:.0}"),
    }
}

#[test]
fn the_costs_are_the_sum_of_their_inputs_wherever_they_are_told() {
    let read = |file: &str| fs::read_to_string(ROOT.join(file)).unwrap();
    let (readme, costs) = (read("README.md"), read("docs/COST.md"));
    let prices = table(&costs, "| price | dollars |");
    let inputs = table(&costs, "| input | |");
    let (price, input) = (|name: &str| prices[name], |name: &str| inputs[name]);
    let second = 0.125 * price("a gigabyte-second of Lambda on arm64");
    let requests = ["the API", "Lambda", "CloudFront"].map(|of| price(&format!("a million requests of {of}")));
    let said = input("bytes of logs for a request") * price("a gigabyte of logs")
        + input("bytes of a small answer") * price("a gigabyte sent out by CloudFront");
    let request = requests.iter().sum::<f64>() / 1e6 + said / 1e9;
    let read_unit = price("a million read units") / 1e6;

    let idle = 3600.0 * second + 144.0 * (request + input("reads of an idle hold of 25 s") * 0.5 * read_unit);
    let busy = 3600.0 * (second + request + 8.3 * read_unit);
    let hidden = 60.0 * (request + 0.02 * second + 0.5 * read_unit);
    let million = |writes: &str| 1e6 * (request + 0.02 * second) + input(writes) * price("a million write units");
    let (plain, keyed) = (million("write units of a publish of up to 1 KiB"), million("the same with a key"));
    let (day, month) = (idle + 7.0 * hidden, idle * 720.0 * 100.0);
    let machine = 720.0 * (price("an hour of a t4g.small") + price("an hour of a public IPv4 address"));
    let days = [50.0, 100.0, 200.0, 1000.0].map(|people| people * 22.0 * day);
    for (document, amounts) in [
        (&readme, &[idle, month, days[1], machine][..]),
        (&costs, &[&[idle, day, plain, keyed, month, busy][..], &days].concat()),
    ] {
        for amount in amounts {
            assert!(document.contains(&dollars(*amount)), "{} is nowhere", dollars(*amount));
        }
    }

    let sent = 3600.0 * input("bytes of a small answer") / 1e9 * price("a gigabyte sent out by a machine");
    let sizes = costs.split("| listeners | hours a month |").nth(1).unwrap().lines().skip(2);
    let sizes: Vec<_> = sizes.take_while(|row| row.starts_with('|')).collect();
    assert!(sizes.len() >= 6, "{sizes:?}");
    for row in sizes {
        let row = row.replace([' ', ','], "");
        let columns: Vec<_> = row.trim_matches('|').split('|').collect();
        let hours = columns[0].parse::<f64>().unwrap() * columns[1].parse::<f64>().unwrap();
        let right = [machine, machine + hours * sent, hours * idle, hours * busy].map(dollars);
        assert_eq!(columns[2..], right, "{row}");
    }
}

#[test]
fn the_operations_document_lists_every_parameter_with_its_default() {
    let (document, template) =
        ["docs/OPERATIONS.md", "template.yaml"].map(|file| fs::read_to_string(ROOT.join(file)).unwrap()).into();
    let parameter = Regex::new(r"(?m)^  (\w+):\n    Type: .*\n    Default: '?([^'\n]*)'?\n(    NoEcho)?").unwrap();
    let section = document.split("### Parameters").nth(1).unwrap().split("\n### ").next().unwrap();
    let mut count = 0;
    for captures in parameter.captures_iter(&template).filter(|captures| captures.get(3).is_none()) {
        let (name, default) = (&captures[1], &captures[2]);
        let row = section.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not among the parameters"));
        let told = row.split('|').nth(2).unwrap().trim().replace('`', "");
        let is_told = told.split(", ").any(|part| part == default);
        let in_words =
            (default.is_empty() && told == "none") || (default == "0" && ["none", "chosen"].contains(&&*told));
        assert!(is_told || in_words, "{name} is {default:?} by default, and not {told:?}");
        count += 1;
    }
    assert!(count >= 16, "{count}");
}
