//! The real table: where it is, and how it is reached.

use std::{sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client as Sdk,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use pubsub::meter::Meter;

use crate::table::TableError;

/// A connection that takes longer than this will not succeed.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// The longest time for one try. A put takes about 10 ms.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);

/// The longest time for all tries of one operation.
const OPERATION_MAX: Duration = Duration::from_secs(3);

const ATTEMPTS_MAX: u32 = 3;

const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Which table, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The table's name.
    pub table: String,
    /// An endpoint other than AWS's own.
    pub endpoint_url: Option<String>,
    /// The region.
    pub region: String,
    /// The access key's id, its secret, and the session's token if there is one.
    pub credentials: (String, String, Option<String>),
    /// Whose certificates to trust.
    pub roots: Roots,
}

/// Whose certificates to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The system's certificates. Reading its 140 or so takes 2.4 ms.
    System,
    /// Those of AWS alone, which are built in: for processes that must start fast, and reach AWS directly.
    Amazon,
}

impl Settings {
    /// Reads `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and
    /// `AWS_ENDPOINT_URL_DYNAMODB`. With an endpoint, the others may be missing.
    ///
    /// # Errors
    /// The name of a variable that is missing.
    pub fn from_environment(
        table: String,
        endpoint_url: Option<String>,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, &'static str> {
        let endpoint_url = endpoint_url.or_else(|| lookup("AWS_ENDPOINT_URL_DYNAMODB"));
        let needed = |name| {
            let local = || endpoint_url.as_ref().map(|_| "local".to_owned());
            lookup(name).or_else(local).ok_or(name)
        };
        Ok(Self {
            table,
            region: needed("AWS_REGION")?,
            credentials: (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?, lookup("AWS_SESSION_TOKEN")),
            endpoint_url,
            roots: Roots::System,
        })
    }
}

/// A table of DynamoDB.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) sdk: Sdk,
    pub(crate) table: String,
    pub(crate) meter: Arc<Meter>,
}

impl Client {
    /// A client that counts its requests.
    #[must_use]
    pub fn new(settings: Settings, meter: Arc<Meter>) -> Self {
        let (key, secret, token) = settings.credentials;
        let trusted = match settings.roots {
            Roots::System => TrustStore::default(),
            Roots::Amazon => TrustStore::empty().with_pem_certificate(AMAZON_ROOTS),
        };
        let tls = TlsContext::builder().with_trust_store(trusted).build();
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        let http = match tls {
            Ok(tls) => http.tls_context(tls).build_https(),
            // It can't fail here. If it did, the system's certificates would be trusted.
            Err(_) => http.build_https(),
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_MAX)
            .operation_attempt_timeout(ATTEMPT_MAX)
            .operation_timeout(OPERATION_MAX)
            .build();
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(settings.region))
            .credentials_provider(Credentials::new(key, secret, token, None, "env"))
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            // DynamoDB refuses a process whose clock is off by more than 15 minutes. With the correction it would be
            // let in, and its wrong time would get into the log.
            .disable_clock_skew_correction(true)
            .timeout_config(timeouts);
        config.set_endpoint_url(settings.endpoint_url);
        Self { sdk: Sdk::from_conf(config.build()), table: settings.table, meter }
    }
}

/// What an error means for the operation. Its cause is logged here, once.
pub(crate) fn failure<E: std::error::Error + ProvideErrorMetadata + 'static>(error: &SdkError<E>) -> TableError {
    let code = error.code();
    tracing::warn!(code, error = %DisplayErrorContext(error), "the table failed");
    match code {
        Some("ThrottlingException" | "ProvisionedThroughputExceededException" | "RequestLimitExceeded") => {
            TableError::Throttled
        }
        _ => TableError::NoAnswer,
    }
}
