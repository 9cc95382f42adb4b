//! Checks that a request came through CloudFront, by a secret that only CloudFront and the functions know. So nobody
//! can get around what stands before CloudFront, such as a limit for each address.

use serde_json::Value;

use crate::event;

/// The header with the secret. CloudFront replaces what the client sent under this name.
const HEADER: &str = "linger-origin";

/// The valid secrets: this one and, until CloudFront has learnt it, the previous one.
pub(crate) struct Origin {
    secrets: Vec<String>,
}

impl Origin {
    /// Reads a list with commas between. Without any secret, every request is let in.
    pub(crate) fn parse(list: &str) -> Self {
        Self { secrets: list.split(',').filter(|secret| !secret.is_empty()).map(str::to_owned).collect() }
    }

    /// Whether an event may be answered. Checked before anything else of the event is read.
    pub(crate) fn admits(&self, event: &Value) -> bool {
        let good = |said: &str| self.secrets.iter().any(|secret| is_same(secret.as_bytes(), said.as_bytes()));
        self.secrets.is_empty() || event::headers(event, HEADER).into_iter().any(good)
    }
}

/// Compares in constant time, so that the time does not tell how much of it is right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_who_says_a_secret_is_let_in() {
        let origin = Origin::parse("new,old");
        let says = |value: &Value| origin.admits(&json!({ "headers": { "Linger-Origin": value } }));
        assert!(says(&json!("new")) && says(&json!("old")));
        for value in [json!(""), json!("ne"), json!("newer"), json!("NEW"), json!("new,old"), json!(","), json!(null)] {
            assert!(!says(&value), "{value}");
        }
        assert!(!origin.admits(&json!({})));
        assert!(!origin.admits(&json!({"headers": {"linger-origin-2": "new"}, "body": "new"})));
        assert!(origin.admits(&json!({"multiValueHeaders": {"linger-origin": ["new"]}})));
    }

    #[test]
    fn without_a_secret_everybody_is_let_in_and_an_empty_one_is_none() {
        for list in ["", ",", ",,"] {
            assert!(Origin::parse(list).admits(&json!({})), "{list}");
        }
        assert!(!Origin::parse("secret,").admits(&json!({"headers": {"linger-origin": ""}})));
    }
}
