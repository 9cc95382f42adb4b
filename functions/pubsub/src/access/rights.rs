//! What a token lets its bearer do.

use super::json::{Json, Object};
use crate::{channel::Channel, message::Nick};

/// The `type` of linger's entries in `authorization_details` (RFC 9396).
const TYPE: &str = "linger";

/// What can be done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishing to it.
    Publish,
    /// Polling it, and reading its history.
    Subscribe,
}

/// What a client may do, and its nickname.
#[derive(Debug, Default)]
pub struct Rights {
    granted: Vec<(Action, Channels)>,
    nick: Option<Nick>,
}

/// One channel, or all whose names begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Channels {
    Named(Channel),
    Beginning(String),
}

impl Rights {
    /// Everything, with any nickname.
    pub(super) fn unlimited() -> Self {
        let all = |action| (action, Channels::Beginning(String::new()));
        Self { granted: vec![all(Action::Publish), all(Action::Subscribe)], nick: None }
    }

    /// Reads a token's claims, or says what is wrong with them. A member that is not understood makes the token
    /// invalid: if it was a restriction, ignoring it would grant more than the issuer meant.
    pub(super) fn parse(claims: &Object) -> Result<Self, &'static str> {
        let nick = match claims.get("nickname") {
            None => None,
            Some(Json::Text(nick)) => Some(Nick::parse(nick.clone()).map_err(|_| "nickname is no nick")?),
            Some(_) => return Err("nickname is no text"),
        };
        let details = match claims.get("authorization_details") {
            None => &[][..],
            Some(Json::List(details)) => details,
            Some(_) => return Err("authorization_details is no list"),
        };
        let mut granted = Vec::new();
        for entry in details {
            let Json::Object(entry) = entry else {
                return Err("an entry of authorization_details is no object");
            };
            match entry.get("type") {
                Some(Json::Text(kind)) if kind == TYPE => granted.extend(grants(entry)?),
                Some(Json::Text(_)) => {}
                _ => return Err("an entry of authorization_details has no type"),
            }
        }
        Ok(Self { granted, nick })
    }

    /// Whether this may be done with a channel.
    #[must_use]
    pub fn allow(&self, action: Action, channel: &Channel) -> bool {
        self.granted.iter().any(|(granted, channels)| *granted == action && channels.include(channel))
    }

    /// The nickname, if the token has one.
    #[must_use]
    pub fn nick(&self) -> Option<&Nick> {
        self.nick.as_ref()
    }
}

impl Channels {
    fn parse(pattern: &str) -> Option<Self> {
        let Some(prefix) = pattern.strip_suffix('*') else {
            return Channel::parse(pattern).ok().map(Self::Named);
        };
        let begins_names = prefix.is_empty() || Channel::parse(prefix).is_ok();
        begins_names.then(|| Self::Beginning(prefix.to_owned()))
    }

    fn include(&self, channel: &Channel) -> bool {
        match self {
            Self::Named(named) => named == channel,
            Self::Beginning(prefix) => channel.as_str().starts_with(prefix),
        }
    }
}

/// What one of linger's entries grants.
fn grants(entry: &Object) -> Result<Vec<(Action, Channels)>, &'static str> {
    if entry.keys().any(|name| !["type", "actions", "channels"].contains(&name.as_str())) {
        return Err("a linger entry has other members than type, actions and channels");
    }
    let actions = texts(entry, "actions").ok_or("actions is no list of texts")?;
    let channels = texts(entry, "channels").ok_or("channels is no list of texts")?;
    let channels = channels.into_iter().map(Channels::parse).collect::<Option<Vec<_>>>();
    let channels = channels.ok_or("channels has what is neither a channel nor a prefix and *")?;
    let mut granted = Vec::new();
    for action in actions {
        let action = match action {
            "publish" => Action::Publish,
            "subscribe" => Action::Subscribe,
            _ => return Err("actions has another action than publish and subscribe"),
        };
        granted.extend(channels.iter().map(|channels| (action, channels.clone())));
    }
    Ok(granted)
}

fn texts<'a>(entry: &'a Object, name: &str) -> Option<Vec<&'a str>> {
    let Some(Json::List(items)) = entry.get(name) else {
        return None;
    };
    let text = |item: &'a Json| if let Json::Text(text) = item { Some(text.as_str()) } else { None };
    items.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::json;
    use proptest::prelude::*;

    fn rights(claims: &str) -> Result<Rights, &'static str> {
        Rights::parse(&json::object(claims.as_bytes()).unwrap())
    }

    fn granted(actions: &str, channels: &str) -> Result<Rights, &'static str> {
        let entry = format!(r#"{{"type":"linger","actions":{actions},"channels":{channels}}}"#);
        rights(&format!(r#"{{"authorization_details":[{{"type":"other","actions":7}},{entry}]}}"#))
    }

    fn may_publish(pattern: &str, name: &str) -> bool {
        let rights = granted(r#"["publish"]"#, &format!(r#"["{pattern}"]"#)).unwrap();
        rights.allow(Action::Publish, &Channel::parse(name).unwrap())
    }

    #[test]
    fn a_channel_is_named_whole_or_by_a_prefix_that_ends_in_a_star() {
        for (pattern, name, included) in [
            ("news", "news", true),
            ("news", "newsroom", false),
            ("news", "new", false),
            ("news", "News", false),
            ("team.*", "team.a", true),
            ("team.*", "team.", true),
            ("team.*", "team", false),
            ("team.*", "teams", false),
            ("team.*", "Team.a", false),
            ("team.*", "my.team.a", false),
            ("team*", "team", true),
            ("*", "lobby", true),
        ] {
            assert_eq!(may_publish(pattern, name), included, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_not_granted_is_not_allowed() {
        let news = Channel::parse("news").unwrap();
        for claims in ["{}", r#"{"authorization_details":[]}"#, r#"{"authorization_details":[{"type":"Linger"}]}"#] {
            assert!(!rights(claims).unwrap().allow(Action::Subscribe, &news), "{claims}");
        }
        let listens = granted(r#"["subscribe"]"#, r#"["news"]"#).unwrap();
        assert!(listens.allow(Action::Subscribe, &news) && !listens.allow(Action::Publish, &news));
        assert!(!granted("[]", r#"["*"]"#).unwrap().allow(Action::Publish, &news));
        assert!(!granted(r#"["publish"]"#, "[]").unwrap().allow(Action::Publish, &news));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (actions, channels) in [
            (r#"["delete"]"#, r#"["news"]"#),
            (r#"["publish","Publish"]"#, r#"["news"]"#),
            (r#""publish""#, r#"["news"]"#),
            (r#"[7]"#, r#"["news"]"#),
            (r#"["publish"]"#, r#""news""#),
            (r#"["publish"]"#, r#"["ne*ws"]"#),
            (r#"["publish"]"#, r#"["**"]"#),
            (r#"["publish"]"#, r#"["*.a"]"#),
            (r#"["publish"]"#, r#"[""]"#),
            (r#"["publish"]"#, r#"["a b"]"#),
            (r#"["publish"]"#, r#"["a%2E"]"#),
            (r#"["publish"]"#, r#"["team.\u0000*"]"#),
            (r#"["publish"],"locations":[]"#, r#"["news"]"#),
        ] {
            assert!(granted(actions, channels).is_err(), "{actions} {channels}");
        }
        for claims in [
            r#"{"authorization_details":{"type":"linger"}}"#,
            r#"{"authorization_details":["linger"]}"#,
            r#"{"authorization_details":[{"actions":["publish"],"channels":["*"]}]}"#,
            r#"{"authorization_details":[{"type":"linger","actions":["publish"]}]}"#,
            r#"{"nickname":""}"#,
            r#"{"nickname":7}"#,
            r#"{"nickname":null}"#,
            r#"{"nickname":"a\nb"}"#,
        ] {
            assert!(rights(claims).is_err(), "{claims}");
        }
        assert_eq!(rights(r#"{"nickname":"ann"}"#).unwrap().nick().map(Nick::as_str), Some("ann"));
    }

    proptest! {
        #[test]
        fn a_prefix_includes_what_begins_with_it_and_nothing_else(
            prefix in "[a-cA-C._-]{0,4}", name in "[a-cA-C._-]{1,6}"
        ) {
            prop_assert_eq!(may_publish(&format!("{prefix}*"), &name), name.as_bytes().starts_with(prefix.as_bytes()));
        }
    }
}
