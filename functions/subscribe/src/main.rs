//! `GET /sub` on Lambda. It ignores the event's path: the gateway sends nothing else here.

use std::process::ExitCode;

fn main() -> ExitCode {
    host::run(host::Half::Subscribe)
}
