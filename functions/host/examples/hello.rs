//! The smallest possible function, to compare the start of the others with: see tests/load/start.mjs.

use std::convert::Infallible;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

fn main() -> Result<(), lambda_runtime::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let hello = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Infallible>(event.payload));
    runtime.block_on(lambda_runtime::run_concurrent(hello))
}
