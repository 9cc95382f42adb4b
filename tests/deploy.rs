//! The deploy scripts against recorded answers. That shows their logic, and nothing of AWS.

use std::{fs, path::Path};

use crate::{
    account::{Account, shells},
    server::{ROOT, Server},
    smoke,
};

#[test]
fn deploy_builds_deploys_uploads_tries_it_and_prints_the_link() {
    for shell in shells() {
        let account = Account::new(&shell);
        let ended = account.run("deploy", &["--open", "--stack", "chat", "--parameter-overrides", "Retention=7d"], "");
        assert!(ended.succeeded && ended.said.ends_with("linger is at https://page.example\n"), "{}", ended.said);
        assert_eq!(ended.complained, "");
        let calls = account.calls();
        assert_eq!(calls[0], "sam build --parameter-overrides Architecture=arm64");
        assert!(calls[1].starts_with("sam deploy --stack-name chat "));
        assert!(calls[1].contains("--no-fail-on-empty-changeset"), "a second run with nothing new is fine");
        let of = |part: &str| calls.iter().position(|call| call.contains(part)).unwrap_or_else(|| panic!("{part}"));
        let module = &calls[of("*.js")];
        assert!(
            module.contains("--content-type text/javascript; charset=utf-8 --cache-control public, max-age=31536000")
        );
        let index = "s3://the-bucket/index.html --content-type text/html; charset=utf-8 --cache-control no-cache";
        assert!(of("*.css") < of(index) && of("*.js") < of(index), "what names the others comes last");
        assert!(of(index) < of("s3 rm") && of("s3 rm") < of("create-invalidation"));
        let last = "python3 tests/aws/smoke https://page.example --direct https://api.example";
        assert_eq!(calls.last().unwrap(), last);
    }
}

#[test]
fn a_page_that_is_being_loaded_keeps_its_files_and_older_ones_go() {
    for shell in shells() {
        let account = Account::new(&shell);
        assert!(account.run("deploy", &["--open"], "").succeeded);
        let index = account.folder.join("bucket/index.html");
        let first = fs::read_to_string(&index).unwrap();
        let version = first.split("href=\"v").nth(1).unwrap().split('/').next().unwrap().to_owned();
        // As if another version had been there before.
        fs::write(&index, first.replace(&format!("v{version}/"), "v77/")).unwrap();
        account.calls();
        assert!(account.run("deploy", &["--open"], "").succeeded);
        let calls = account.calls();
        let strays = calls.iter().find(|call| call.contains("s3 rm")).unwrap();
        let kept = format!("--recursive --exclude index.html --exclude v{version}/* --exclude v77/*");
        assert!(strays.ends_with(&kept), "{strays}");
        assert_eq!(fs::read_to_string(&index).unwrap(), first, "the same files are the same version");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_as_it_is_uploaded() {
    let account = Account::new(Path::new("bash"));
    assert!(account.run("deploy", &["--open"], "").succeeded);
    let bucket = account.folder.join("bucket");
    let server = Server::start(&["--static-dir", bucket.to_str().unwrap()]).await;
    let said = smoke::run(&server.base, &[]).await.expect("all is well");
    assert!(said.contains("ok      the page: "), "{said}");
    assert!(fs::read_dir(&bucket).unwrap().count() == 2, "index.html, and a folder with the rest");
    // An installed page begins at index.html, above the folder.
    let index = reqwest::get(&server.base).await.unwrap().text().await.unwrap();
    let manifest = index.split("rel=\"manifest\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let manifest = reqwest::get(server.url(&format!("/{manifest}"))).await.unwrap();
    let (at, said) = (manifest.url().clone(), manifest.text().await.unwrap());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(at.join(said["start_url"].as_str().unwrap()).unwrap().path(), "/");
    assert_eq!(at.join(said["scope"].as_str().unwrap()).unwrap().path(), "/");
}

#[test]
fn a_new_account_gets_no_reservation_but_a_warning() {
    for shell in shells() {
        let account = Account::new(&shell);
        account.has("account", "10\t10");
        let ended = account.run("deploy", &["--open"], "");
        assert!(ended.succeeded && ended.said.contains("allows 10 invocations at once"), "{}", ended.said);
        assert!(ended.said.contains("about 5 tabs can wait") && ended.said.contains("--quota-code L-B99A9384"));
        assert!(!account.parameters().iter().any(|parameter| parameter.contains("Concurrency")));
    }
}

#[test]
fn reservations_are_what_the_account_can_spare() {
    for shell in shells() {
        for (limits, publish, subscribe) in [("1000\t1000", 50, 400), ("1000\t280", 20, 160), ("1000\t118", 2, 16)] {
            let account = Account::new(&shell);
            account.has("account", limits);
            let ended = account.run("deploy", &["--open"], "");
            let said =
                format!("invocations at once, {publish} are set aside for publishers, and {subscribe} for polls");
            assert!(ended.said.contains(&said), "{}", ended.said);
            let parameters = account.parameters();
            let expected = [format!("PublishConcurrency={publish}"), format!("SubscribeConcurrency={subscribe}")];
            assert!(expected.iter().all(|parameter| parameters.contains(parameter)), "{parameters:?}");
        }
        let account = Account::new(&shell);
        account.run("deploy", &["--open", "--parameter-overrides", "PublishConcurrency=7", "Retention=1h"], "");
        let parameters = account.parameters();
        assert!(
            parameters.contains(&"PublishConcurrency=7".to_owned()) && parameters.contains(&"Retention=1h".to_owned())
        );
        assert!(!parameters.iter().any(|parameter| parameter.starts_with("SubscribeConcurrency")), "{parameters:?}");
        let account = Account::new(&shell);
        account.run("deploy", &["--open", "--parameter-overrides", "ManagedInstances=yes"], "");
        assert!(account.parameters().contains(&"SubscribeConcurrency=0".to_owned()), "managed instances reserve none");
    }
}

#[test]
fn a_second_run_changes_what_is_given_and_nothing_else() {
    for shell in shells() {
        let account = Account::deployed(&shell);
        let ended = account.run("deploy", &["--parameter-overrides", "Retention=7d"], "");
        assert!(ended.succeeded && ended.said.contains("50 invocations for publishers, 400 for polls, as before"));
        let calls = account.calls();
        assert_eq!(calls[0], "sam build --parameter-overrides Architecture=x86_64", "what the stack has is built");
        assert!(calls[1].ends_with(" --parameter-overrides Retention=7d OriginSecretBefore=\"\""), "{}", calls[1]);
        // An account that was new is told when it may have more.
        account.has("parameters", "PublishConcurrency=0\nSubscribeConcurrency=0\n");
        let ended = account.run("deploy", &[], "");
        assert!(ended.said.contains("PublishConcurrency=50 SubscribeConcurrency=400"), "{}", ended.said);
        assert!(!account.parameters().iter().any(|parameter| parameter.contains("Concurrency")));
    }
}

#[test]
fn the_secret_is_new_when_it_is_asked_for_and_never_shown() {
    for shell in shells() {
        let account = Account::new(&shell);
        let first = account.run("deploy", &["--open"], "").said;
        let parameters = account.parameters();
        let secret = parameters.iter().find_map(|parameter| parameter.strip_prefix("OriginSecret=")).unwrap();
        assert!(secret.len() == 48 && !first.contains(secret) && first.contains("OriginSecret=***"), "{first}");
        assert!(parameters.contains(&"OriginSecretBefore=\"\"".to_owned()));

        let account = Account::deployed(&shell);
        let said = account.run("deploy", &["--rotate-secret"], "").said;
        let parameters = account.parameters();
        let before = "0123456789abcdef0123456789abcdef";
        assert!(parameters.contains(&format!("OriginSecretBefore={before}")) && !said.contains(before));
        let new = parameters.iter().find_map(|parameter| parameter.strip_prefix("OriginSecret=")).unwrap();
        assert!(new.len() == 48 && new != secret);
    }
}

#[test]
fn nobody_opens_an_api_to_all_without_saying_so() {
    for shell in shells() {
        let account = Account::new(&shell);
        let ended = account.run("deploy", &[], "");
        assert!(!ended.succeeded && ended.complained.contains("./deploy --open"), "{}", ended.complained);
        assert_eq!(account.calls(), [""; 0]);
        // An error of AWS does not mean that there are no keys.
        let account = Account::deployed(&shell);
        let ended = account.run_failing("deploy", &[], "", "parameters");
        assert!(!ended.succeeded && ended.complained.contains("can't tell what AccessKeys is"), "{}", ended.complained);
        assert_eq!(account.calls(), [""; 0]);
        // Keys that are taken away open it too.
        let account = Account::deployed(&shell);
        account.has("parameters", "AccessKeys={\"keys\":[]}\n");
        let without = ["--parameter-overrides", "AccessKeys=\"\""];
        assert!(!account.run("deploy", &without, "").succeeded);
        assert!(account.run("deploy", &[&without[..], &["--open"]].concat(), "").succeeded);
        let ended = account.run("deploy", &["--open"], "");
        assert!(!ended.succeeded && ended.complained.contains("there are keys"), "{}", ended.complained);
        // A stack stays as it is.
        let ended = Account::deployed(&shell).run("deploy", &[], "");
        assert!(ended.succeeded && ended.said.contains("Everybody may publish and subscribe, as before"));
    }
}

#[test]
fn public_keys_are_given_and_private_ones_refused() {
    for shell in shells() {
        let account = Account::new(&shell);
        let file = account.folder.join("keys.json");
        // By its name in the folder in which one is, and not in that of the script.
        let give = |keys: &str| {
            fs::write(&file, keys).unwrap();
            account.run("deploy", &["--access-keys", "keys.json"], "")
        };
        let x = "11qYAycb2Xk3tTGqRkmGQWTxFzKtVmMbxWVAUbA0uPA";
        let ended = give(&format!(
            "{{\"keys\": [\r\n  {{\"kty\":\t\"OKP\", \"crv\": \"Ed25519\", \"kid\": \"a b\", \"x\": \"{x}\"}}\r\n]}}\n"
        ));
        assert!(ended.succeeded, "{}", ended.complained);
        let calls = account.calls();
        // As SAM reads it: between quotes, with those inside escaped.
        let keys = format!(r#"{{"keys":[{{"crv":"Ed25519","kid":"a b","kty":"OKP","x":"{x}"}}]}}"#);
        let given = format!("AccessKeys=\"{}\" ", keys.replace('"', "\\\""));
        assert!(calls[1].contains(&given), "{}", calls[1]);
        assert!(calls.last().unwrap().ends_with(" --guarded"), "{calls:?}");
        // A set that a function would not start with is refused before anything is done.
        let key = |more: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"{more}}}"#);
        let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        for wrong in [
            String::new(),
            "[]".to_owned(),
            set(&[]),
            set(&[key(&format!(",\"d\"\t:\"{secret}\""))]),
            set(&[format!("{{\"kty\":\"oct\",\"k\":\"{secret}\"}}")]),
            set(&[key(""), key(",\"kid\":\"b\"")]),
            set(&[key(",\"kid\":\"b\""), key(",\"kid\":\"b\"")]),
            set(&[key(",\"kid\":\"b\\\\\"")]),
            set(&[key(",\"crv\":\"Ed25519\"")]),
        ] {
            let ended = give(&wrong);
            assert!(!ended.succeeded && !ended.complained.contains(secret), "{wrong}");
            assert_eq!(account.calls(), [""; 0], "{wrong}");
        }
        // A stack that has keys is tried with them in mind.
        let account = Account::deployed(&shell);
        account.has("parameters", "AccessSecret=arn:aws:secretsmanager:eu-west-1:000000000000:secret:keys\n");
        assert!(account.run("deploy", &[], "").succeeded);
        assert!(account.calls().last().unwrap().ends_with(" --guarded"));
    }
}

#[test]
fn the_region_and_the_profile_count_for_every_command() {
    let arguments = ["--region", "eu-west-1", "--profile", "work", "--open", "--parameter-overrides", "Retention=7d"];
    let everywhere = |account: &Account| {
        let calls = account.all_calls();
        for call in calls.iter().filter(|call| !call.starts_with("python3")) {
            assert!(call.contains(" --region eu-west-1 --profile work"), "{call}");
        }
        calls.len()
    };
    for shell in shells() {
        let account = Account::deployed(&shell);
        assert!(account.run("deploy", &arguments, "").succeeded);
        assert!(everywhere(&account) > 12);
        assert!(account.run("undeploy", &arguments[..4], "linger\nthe-table\n").succeeded);
        assert!(everywhere(&account) >= 5);
        account.has("status", "ROLLBACK_COMPLETE");
        assert!(account.run("deploy", &arguments, "linger\n").succeeded);
        assert!(everywhere(&account) > 12);
    }
}

#[test]
fn a_budget_is_made_where_budgets_are() {
    for shell in shells() {
        let account = Account::new(&shell);
        let arguments = ["--open", "--region", "eu-north-1", "--profile", "work", "--budget", "20", "me@example.com"];
        assert!(account.run("deploy", &arguments, "").succeeded);
        let made = account.calls().into_iter().find(|call| call.contains("linger-budget")).unwrap();
        assert!(
            made.contains("--parameter-overrides Dollars=20 Email=me@example.com --region us-east-1 --profile work")
        );
        assert!(!account.run("deploy", &["--budget", "20"], "").succeeded);
    }
}

#[test]
fn a_first_deployment_that_failed_is_cleared_away_when_that_is_agreed_to() {
    for shell in shells() {
        let account = Account::new(&shell);
        account.has("status", "ROLLBACK_COMPLETE");
        let ended = account.run("deploy", &["--open"], "no\n");
        assert!(!ended.succeeded && ended.said.contains("is ROLLBACK_COMPLETE"), "{}", ended.said);
        assert_eq!(account.calls(), [""; 0]);
        assert!(account.run("deploy", &["--open"], "linger\n").succeeded);
        let calls = account.calls();
        assert_eq!(calls[0], "aws cloudformation delete-stack --stack-name linger");
        assert_eq!(calls[1], "aws cloudformation wait stack-delete-complete --stack-name linger");
        assert!(calls[3].contains("PublishConcurrency=50"), "all is chosen anew: {}", calls[3]);

        account.has("status", "UPDATE_IN_PROGRESS");
        let ended = account.run("deploy", &["--open"], "");
        assert!(!ended.succeeded && ended.complained.contains("is being changed"), "{}", ended.complained);
        account.has("status", "REVIEW_IN_PROGRESS");
        assert!(account.run("deploy", &["--open"], "").succeeded, "nothing was made yet");
    }
}

#[test]
fn without_cloudfront_there_is_an_api_and_it_is_said_how() {
    for shell in shells() {
        let account = Account::new(&shell);
        account.has(
            "events",
            "Resource handler returned: Your account must be verified before you can add new CloudFront",
        );
        let ended = account.run_failing("deploy", &["--open"], "", "sam deploy");
        assert!(
            !ended.succeeded && ended.complained.contains("--parameter-overrides WithPage=no"),
            "{}",
            ended.complained
        );
        assert!(!account.calls().iter().any(|call| call.starts_with("aws s3")), "nothing is uploaded");

        account.has("outputs", "ApiUrl=https://api.example\nApiEndpoint=https://api.example\nTableName=the-table\n");
        let bare =
            ["--open", "--parameter-overrides", "WithPage=no", "AllowedOrigins=https://a.example,https://b.example"];
        let ended = account.run("deploy", &bare, "");
        assert!(ended.succeeded && ended.said.ends_with("linger is at https://api.example\n"), "{}", ended.said);
        let calls = account.calls();
        assert!(
            !calls
                .iter()
                .any(|call| call.starts_with("aws s3") || call.contains("cloudfront") || call.contains("Secret"))
        );
        assert_eq!(calls.last().unwrap(), "python3 tests/aws/smoke https://api.example --origin https://a.example");
    }
}

#[test]
fn what_fails_stops_it() {
    for shell in shells() {
        for fails in ["sam build", "sam deploy", "aws lambda", "aws cloudfront", "aws s3", "python3 tests/aws/smoke"] {
            let ended = Account::new(&shell).run_failing("deploy", &["--open"], "", fails);
            assert!(!ended.succeeded && !ended.said.contains("linger is at"), "{fails}: {}", ended.said);
        }
        for wrong in [&["--stack"][..], &["--parameter-overrides", "Retention"], &["--parameter-overrides", "A=1 B=2"]]
        {
            let account = Account::new(&shell);
            assert!(!account.run("deploy", wrong, "").succeeded, "{wrong:?}");
            assert_eq!(account.all_calls(), [""; 0]);
        }
    }
}

#[test]
fn help_and_dry_runs_work_from_anywhere_and_run_nothing() {
    for shell in shells() {
        let account = Account::new(&shell);
        for (script, shown) in
            [("deploy", "+ sam deploy --stack-name chat"), ("undeploy", "+ sam delete --stack-name chat")]
        {
            let ended = account.run(script, &["--help"], "");
            assert!(ended.succeeded && ended.said.contains(&format!("./{script} [--stack NAME]")), "{}", ended.said);
            let ended = account.run(script, &["--dry-run", "--stack", "chat"], "");
            assert!(ended.succeeded && ended.said.contains(shown), "{}", ended.said);
        }
        assert_eq!(account.all_calls(), [""; 0]);
    }
}

#[test]
fn undeploy_removes_what_was_agreed_to_and_no_more() {
    for shell in shells() {
        let account = Account::deployed(&shell);
        let ended = account.run("undeploy", &[], "yes\n");
        assert!(!ended.succeeded && ended.said.contains("Nothing was removed."), "{}", ended.said);
        assert_eq!(account.calls(), [""; 0]);
        let ended = account.run("undeploy", &[], "linger\nno\n");
        assert!(ended.succeeded && ended.said.contains("The table the-table was kept."), "{}", ended.said);
        let removed = ["aws s3 rm s3://the-bucket --recursive", "sam delete --stack-name linger --no-prompts"];
        assert_eq!(account.calls(), removed);
        assert!(account.run("undeploy", &[], "linger\nthe-table\n").succeeded);
        assert_eq!(account.calls().last().unwrap(), "aws dynamodb delete-table --table-name the-table");
        // The bucket of one that is half removed.
        assert!(account.run_failing("undeploy", &[], "linger\nno\n", "aws s3").succeeded);
    }
}

#[test]
fn undeploy_copes_with_a_stack_that_has_nothing_and_with_none() {
    for shell in shells() {
        let account = Account::new(&shell);
        let ended = account.run("undeploy", &[], "linger\n");
        assert!(!ended.succeeded && ended.complained.contains("there is no stack linger"), "{}", ended.complained);
        account.has("status", "ROLLBACK_COMPLETE").has("outputs", "");
        assert!(account.run("undeploy", &[], "linger\n").succeeded);
        assert_eq!(account.calls(), ["sam delete --stack-name linger --no-prompts"]);
    }
}

#[test]
fn the_scripts_use_nothing_that_bash_3_2_lacks() {
    // What came with bash 4 and later; a file that has it as a word of a comment says it otherwise.
    let newer = r"readarray|mapfile|declare -[gAn]|local -n|coproc|wait -n|\|&|&>>|\$\{\w+(,,|\^\^|@[QUuLEPAa])|\$EPOCH|\[\[ -v |;&|\[-1\]";
    let newer = regex::Regex::new(newer).unwrap();
    // `set -u` takes an empty array for none there.
    let bare = regex::Regex::new(r#"(^|[^+])"\$\{\w+\[@\]\}""#).unwrap();
    for file in ["deploy", "undeploy", "functions/stack.sh"] {
        let text = fs::read_to_string(ROOT.join(file)).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            assert!(!newer.is_match(line), "{file}: {line}");
            let full = ["\"${smoke[@]}\"", "rest+=(--parameter-overrides", "\"${budget[@]}\""];
            let known_full = full.iter().any(|known| line.contains(known));
            assert!(known_full || !bare.is_match(line), "{file}: {line}");
        }
    }
}
