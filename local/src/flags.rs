//! The command line and environment variables.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, Resettable},
};
use http::HeaderValue;
use ipnet::IpNet;
use pubsub::limits;

use crate::{addresses::Allowed, client::ProxyHeader, development::Make, names};

/// The linger server: publish/subscribe over plain HTTP long polling, on this machine.
///
/// LINGER_…_MAX variables set further limits; docs/OPERATIONS.md lists them. A variable that is empty is not set, but
/// an empty LINGER_ACCESS_KEYS is an error.
#[derive(Debug, Parser)]
#[command(name = "linger", version = crate::VERSION, args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    /// What to do instead of serving
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) address: Address,

    /// The folder of a page of your own, instead of linger's
    #[arg(long, env = "LINGER_STATIC_DIR")]
    pub(crate) static_dir: Option<PathBuf>,

    /// How long messages are kept: 3s, 24h, or a number of seconds
    #[arg(long, env = "LINGER_RETENTION", default_value = "24h", value_parser = limits::duration)]
    pub(crate) retention: Duration,

    /// How long a poll is held at most: 3s, or a number of seconds; 25s is the limit
    #[arg(long, env = "LINGER_WAIT_MAX", default_value = "25s", value_parser = wait_max)]
    pub(crate) wait_max: Duration,

    /// How long a connection stays open without a request. Longer than the 60 s of most balancers: whoever closes first
    /// must be the balancer, since a request that it sends at that moment is lost
    #[arg(long, env = "LINGER_KEEP_ALIVE", default_value = "75s", value_parser = limits::duration)]
    pub(crate) keep_alive: Duration,

    /// Threads that serve connections. By default one less than there are processors, so that one is left for the
    /// kernel's part of the work, and for a proxy in front
    #[arg(long, env = "LINGER_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,

    /// An origin whose pages may use this server, such as `https://example.com`; can be given more than once, or in
    /// the environment with commas between
    #[arg(
        long = "allowed-origin",
        env = "LINGER_ALLOWED_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = names::origin
    )]
    pub(crate) allowed_origins: Vec<HeaderValue>,

    /// A name that this server goes by, besides localhost and its addresses, such as `chat.example.com`, or
    /// `.example.com` for all below it; can be given more than once
    #[arg(
        long = "allowed-host",
        env = "LINGER_ALLOWED_HOST",
        value_name = "HOST",
        value_delimiter = ',',
        value_parser = names::host
    )]
    pub(crate) allowed_hosts: Vec<String>,

    /// A proxy that says whom its requests come from: an address, or a network such as 10.0.0.0/8; can be given more than
    /// once
    #[arg(
        long = "trusted-proxy",
        env = "LINGER_TRUSTED_PROXY",
        value_name = "NETWORK",
        value_delimiter = ',',
        value_parser = names::network
    )]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// Where trusted proxies say it
    #[arg(long, env = "LINGER_PROXY_HEADER", value_enum, default_value_t = ProxyHeader::XForwardedFor)]
    pub(crate) proxy_header: ProxyHeader,

    /// Publishes that one address may ask for in a minute
    #[arg(long, env = "LINGER_ADDRESS_PUBLISHES", default_value_t = 1200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) address_publishes: u32,

    /// Channels that one address may begin in a minute
    #[arg(long, env = "LINGER_ADDRESS_CHANNELS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) address_channels: u32,

    /// Polls that one address may have at once, each counted for each of its channels
    #[arg(long, env = "LINGER_ADDRESS_HOLDS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) address_holds: u32,

    /// Connections that one address may have at once
    #[arg(long, env = "LINGER_ADDRESS_CONNECTIONS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) address_connections: u32,

    /// Limits this machine's own processes like strangers
    #[arg(long, env = "LINGER_LIMIT_LOOPBACK", value_parser = BoolishValueParser::new())]
    pub(crate) limit_loopback: bool,

    /// The keys that may sign tokens: a file with a JWK set (RFC 7517). With it each request needs a token; without it
    /// everybody may publish and subscribe. The variable may have the set itself
    #[arg(long, env = "LINGER_ACCESS_KEYS", hide_env_values = true, value_name = "FILE")]
    pub(crate) access_keys: Option<String>,

    /// The issuer that tokens must have (iss)
    #[arg(long, env = "LINGER_ACCESS_ISSUER", value_name = "ISSUER")]
    pub(crate) access_issuer: Option<String>,

    /// The audience that tokens must be for (aud)
    #[arg(long, env = "LINGER_ACCESS_AUDIENCE", value_name = "AUDIENCE")]
    pub(crate) access_audience: Option<String>,

    /// Where messages are kept; DynamoDB is in builds with the feature `dynamodb`
    #[arg(long, env = "LINGER_STORE", value_enum, default_value_t = StoreKind::Memory)]
    pub(crate) store: StoreKind,

    /// The table of the store in DynamoDB [default: linger]
    #[arg(long, env = "LINGER_TABLE")]
    pub(crate) table: Option<String>,

    /// Where DynamoDB is, if not at AWS
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB")]
    pub(crate) endpoint_url: Option<String>,

    /// Makes the table if there is none, for development
    #[arg(long, env = "LINGER_CREATE_TABLE", value_parser = BoolishValueParser::new())]
    pub(crate) create_table: bool,

    /// Makes every channel's log in the table begin anew, and exits: for a table that was restored from a backup
    #[cfg(feature = "dynamodb")]
    #[arg(long)]
    pub(crate) begin_anew: bool,

    /// How log lines are written
    #[arg(long, env = "LINGER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Where a server listens.
#[derive(Debug, Args)]
pub(crate) struct Address {
    /// The name or address to listen on
    #[arg(long, env = "LINGER_HOST", default_value = "127.0.0.1", value_parser = names::listener)]
    pub(crate) host: String,

    /// The port to listen on; 0 picks a free one
    #[arg(long, env = "LINGER_PORT", default_value = "3000", value_parser = names::port)]
    pub(crate) port: u16,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks the server that listens there whether it is well; the exit code says so
    Health(Address),
    #[command(flatten)]
    Make(Make),
}

/// Reads how long polls are held. Clients and proxies rely on the documented 25 s: `client.js` gives up after 40 s, and
/// many proxies after 30 s.
fn wait_max(text: &str) -> Result<Duration, String> {
    let wait = limits::duration(text).map_err(|error| error.to_string())?;
    let limit = limits::WAIT_MAX;
    if wait > limit {
        return Err(format!("must be {} s at most: clients and proxies give up on longer polls", limit.as_secs()));
    }
    Ok(wait)
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

impl Flags {
    /// Reads the flags and variables, or ends the process with an error or a help text.
    pub(crate) fn read() -> Self {
        let command = Self::command().mut_args(|arg| {
            let empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
            if arg.get_env().is_some_and(empty) { arg.env(Resettable::Reset) } else { arg }
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Environment variables that look like settings but are none, most likely misspelt; without those that Kubernetes
    /// sets for a service called linger.
    pub(crate) fn unknown_variables() -> Vec<String> {
        let command = Self::command();
        let known = |name: &str| {
            limits::Limits::VARIABLES.contains(&name)
                || command.get_arguments().any(|arg| arg.get_env().is_some_and(|env| env == name))
        };
        let others = |name: &str| {
            let rest = name.strip_prefix("LINGER_");
            rest.is_none_or(|rest| ["SERVICE_", "PORT_", "TEST_"].iter().any(|other| rest.starts_with(other)))
        };
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| !known(name) && !others(name)).collect()
    }

    /// The name of the table.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn table(&self) -> &str {
        self.table.as_deref().unwrap_or("linger")
    }

    /// The limits of each address. Nobody has more than half of all connections.
    pub(crate) fn allowed(&self, connections_max: usize) -> Allowed {
        let half = u32::try_from(connections_max / 2).unwrap_or(u32::MAX).max(1);
        Allowed {
            publishes: self.address_publishes,
            channels: self.address_channels,
            holds: self.address_holds,
            connections: self.address_connections.min(half),
            loopback: self.limit_loopback,
        }
    }

    /// The names of this server. On this machine alone, the name that it listens on is one of them.
    pub(crate) fn allowed_names(&self, loopback: bool) -> Vec<String> {
        let own = loopback.then(|| self.address.host.to_ascii_lowercase());
        self.allowed_hosts.iter().cloned().chain(own).collect()
    }
}

impl From<LogFormat> for logging::Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
            LogFormat::Off => Self::Off,
        }
    }
}
