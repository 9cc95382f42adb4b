//! A table that is away for a while: stopped, or ended and started again with what it had written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use pubsub::cursor::Cursor;
use tests::{
    checker::{Begin, Chain, History, Publish, Rules, check},
    local::DynamoDbLocal,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{client::Noting, server::Server, table::new_table_at};

/// What has been answered so far.
#[derive(Default)]
pub(crate) struct Answered {
    acknowledged: AtomicU32,
    refused: AtomicU32,
}

/// Waits until there are so many more.
async fn more(answers: &AtomicU32, count: u32) {
    let wanted = answers.load(Relaxed) + count;
    let counted = async {
        while answers.load(Relaxed) < wanted {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(120), counted).await.expect("there are more answers");
}

/// Publishes for ever, and checks that every refusal comes in time.
pub(crate) async fn publish_through_outages(
    client: Noting,
    number: usize,
    answered: Arc<Answered>,
    done: Arc<AtomicBool>,
) -> Vec<Publish> {
    let mut publishes = Vec::new();
    let mut message = 0;
    while !done.load(Relaxed) {
        let text = format!("{number}.{message}");
        let publish = client.publish(&text, Some(&text)).await;
        let took = publish.ended - publish.begun;
        assert!(took < Duration::from_secs(6), "{took:?}: an answer is there after 3 s, on a machine with time for it");
        // What was refused may be there: it is asked again with its key until it is.
        if publish.id.is_some() {
            message += 1;
            answered.acknowledged.fetch_add(1, Relaxed);
        } else {
            answered.refused.fetch_add(1, Relaxed);
            sleep(Duration::from_millis(200)).await;
        }
        publishes.push(publish);
    }
    publishes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing_that_was_acknowledged() {
    let folder = std::env::temp_dir().join(format!("linger-outage-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let database = DynamoDbLocal::start(Some(&folder), 0);
    let endpoint = database.endpoint.clone();
    let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    // Holds run out while the table is away.
    let server = Server::over_table(&endpoint, &new_table_at(&endpoint).await, &["--wait-max", "5s"]).await;
    let client = Noting::new(&server.base, "x");
    let (answered, done) = (Arc::new(Answered::default()), Arc::new(AtomicBool::new(false)));
    let mut publishers = JoinSet::new();
    for number in 0..16 {
        publishers.spawn(publish_through_outages(client.clone(), number, Arc::clone(&answered), Arc::clone(&done)));
    }
    let reader = tokio::spawn(read_through_outages(client.clone()));
    let signal = |database: &DynamoDbLocal, name: &str| {
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &database.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    };

    more(&answered.acknowledged, 100).await;
    signal(&database, "STOP");
    sleep(Duration::from_secs(4)).await;
    let refused = reqwest::get(server.url("/sub?channel=x&wait=0")).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"2"[..]));
    more(&answered.refused, 50).await;
    signal(&database, "CONT");
    more(&answered.acknowledged, 50).await;
    drop(database);
    more(&answered.refused, 50).await;
    let database = DynamoDbLocal::start(Some(&folder), port);
    more(&answered.acknowledged, 50).await;

    done.store(true, Relaxed);
    let publishes: Vec<_> = publishers.join_all().await.into_iter().flatten().collect();
    assert!(client.publish("end", None).await.id.is_some());
    let chain = timeout(Duration::from_secs(30), reader).await.expect("it comes to the end").unwrap();
    let delivered: Vec<_> = chain.polls.iter().flat_map(|poll| poll.messages.clone()).collect();
    println!("{} answers to publishers, {} messages delivered", publishes.len(), delivered.len());
    let audit = Some((Duration::ZERO, delivered));
    let history = History { publishes, chains: vec![chain], audit, ..History::default() };
    let rules = Rules { patience: Duration::from_secs(60), ..Rules::default() };
    assert_eq!(check(&history, rules), Ok(()));
    drop(database);
    let _ = std::fs::remove_dir_all(folder);
}

pub(crate) async fn read_through_outages(client: Noting) -> Chain {
    let mut chain = Chain { start: Begin::After(Cursor::ORIGIN), polls: vec![] };
    let mut query = "cursor=0-0".to_owned();
    loop {
        let Some(poll) = client.poll(&query).await else {
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        query = format!("cursor={}", poll.cursor);
        let ended = poll.messages.iter().any(|(_, text)| text == "end");
        chain.polls.push(poll);
        if ended {
            return chain;
        }
    }
}
