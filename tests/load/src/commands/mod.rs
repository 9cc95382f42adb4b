//! The measurements.

pub(crate) mod abort;
pub(crate) mod fan_out;
pub(crate) mod herd;
pub(crate) mod idle;
pub(crate) mod table;
pub(crate) mod throughput;
