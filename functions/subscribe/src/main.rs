//! `GET /sub` on Lambda. Its event's path does not matter: whatever comes here is for this half of the API.

use std::process::ExitCode;

fn main() -> ExitCode {
    host::run(host::Half::Subscribe)
}
