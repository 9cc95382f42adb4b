//! What can be said on the command line, or in the environment.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use http::{HeaderValue, Uri};
use pubsub::limits;

/// Publish/subscribe over plain HTTP long polling, on this machine.
///
/// The maxima of the store are set by LINGER_…_MAX variables, which docs/OPERATIONS.md lists.
#[derive(Debug, Parser)]
#[command(name = "linger", version)]
pub(crate) struct Flags {
    /// The name or address to listen on
    #[arg(long, env = "LINGER_HOST", default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// The port to listen on; 0 picks a free one
    #[arg(long, env = "LINGER_PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// The folder of the page
    #[arg(long, env = "LINGER_STATIC_DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../static"))]
    pub(crate) static_dir: PathBuf,

    /// How long messages are kept: 3s, 24h, or a number of seconds
    #[arg(long, env = "LINGER_RETENTION", default_value = "24h", value_parser = limits::duration)]
    pub(crate) retention: Duration,

    /// How long a poll is held at most: 3s, 1m, or a number of seconds
    #[arg(long, env = "LINGER_WAIT_MAX", default_value = "25s", value_parser = limits::duration)]
    pub(crate) wait_max: Duration,

    /// An origin whose pages may use this server, such as `https://example.com`; can be given more than once, or in
    /// the environment with commas between
    #[arg(
        long = "allowed-origin",
        env = "LINGER_ALLOWED_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub(crate) allowed_origins: Vec<HeaderValue>,

    /// Where messages are kept; DynamoDB is in builds with the feature `dynamodb`
    #[arg(long, env = "LINGER_STORE", value_enum, default_value_t = StoreKind::Memory)]
    pub(crate) store: StoreKind,

    /// The table of the store in DynamoDB
    #[arg(long, env = "LINGER_TABLE", default_value = "linger")]
    pub(crate) table: String,

    /// Where DynamoDB is, if not at AWS
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB")]
    pub(crate) endpoint_url: Option<String>,

    /// Makes the table if there is none, for development
    #[arg(long, env = "LINGER_CREATE_TABLE")]
    pub(crate) create_table: bool,

    /// Makes every channel's log in the table begin anew, and exits: for a table that was restored from a backup
    #[cfg(feature = "dynamodb")]
    #[arg(long)]
    pub(crate) begin_anew: bool,

    /// How log lines are written
    #[arg(long, env = "LINGER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    /// In this process
    Memory,
    /// In a table of DynamoDB
    Dynamodb,
}

/// How log lines are written, on standard error.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
    /// Not at all
    Off,
}

impl LogFormat {
    /// Begins to write the process's log.
    pub(crate) fn start(self) {
        let lines =
            tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_target(false);
        match self {
            Self::Text => lines.compact().init(),
            Self::Json => lines.json().flatten_event(true).init(),
            Self::Off => {}
        }
    }
}

/// Reads an origin as browsers send it: a scheme, a host, perhaps a port, and nothing else.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let example =
        "an origin is a scheme and a host, and a port if it is not the scheme's own, such as https://example.com";
    let uri: Uri = text.parse().map_err(|_| example.to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(example.to_owned());
    };
    let origin = format!("{scheme}://{authority}");
    match text.strip_prefix(&origin) {
        Some("") if !authority.as_str().contains('@') => {
            HeaderValue::try_from(origin.to_ascii_lowercase()).map_err(|_| example.to_owned())
        }
        Some("/") => Err(format!("it ends with a slash; write {origin}")),
        Some(path) if !path.is_empty() => Err(format!("it has a path, {path}; write {origin}")),
        _ => Err(example.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        origin(text).expect_err(text)
    }

    #[test]
    fn an_origin_is_taken_as_browsers_send_it() {
        for text in ["https://example.com", "http://localhost:8080", "http://[::1]:3000"] {
            assert_eq!(origin(text), Ok(HeaderValue::from_static(text)));
        }
        assert_eq!(origin("https://Example.COM"), Ok(HeaderValue::from_static("https://example.com")));
    }

    #[test]
    fn a_slash_or_a_path_is_pointed_out() {
        assert_eq!(refused("https://example.com/"), "it ends with a slash; write https://example.com");
        assert_eq!(refused("https://example.com/chat"), "it has a path, /chat; write https://example.com");
        for text in ["example.com", "*", "", "https://", "https://ann@example.com", "null"] {
            assert!(refused(text).starts_with("an origin is"), "{text}");
        }
    }
}
