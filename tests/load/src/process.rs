//! What a process and all that it started use of the machine, from /proc.

use std::{fs, io, time::Duration};

/// The usage of a process and its descendants at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// On a processor, since they began.
    pub(crate) cpu: Duration,
    /// Resident memory; what several of them share is counted once.
    pub(crate) memory_kib: u64,
    pub(crate) descriptors: usize,
}

/// What this process has used.
pub(crate) fn own_cpu() -> Duration {
    cpu(std::process::id()).unwrap_or_default()
}

impl Usage {
    /// Looks at a process and its descendants.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut all = Self {
            cpu: cpu(pid)?,
            memory_kib: memory_kib(pid)?,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        };
        for child in children(pid)? {
            // A process that has just ended has nothing.
            let usage = Self::of(child).unwrap_or_default();
            all.cpu += usage.cpu;
            all.memory_kib += usage.memory_kib;
            all.descriptors += usage.descriptors;
        }
        Ok(all)
    }
}

fn threads(pid: u32) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.path().to_str().map(str::to_owned)).collect())
}

/// The first number of `schedstat` is nanoseconds; `stat` would count in hundredths of a second.
fn cpu(pid: u32) -> io::Result<Duration> {
    let texts = threads(pid)?.into_iter().filter_map(|thread| fs::read_to_string(format!("{thread}/schedstat")).ok());
    let nanos = texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum();
    Ok(Duration::from_nanos(nanos))
}

fn memory_kib(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
    Ok(line.trim_end_matches("kB").trim().parse().unwrap_or(0))
}

fn children(pid: u32) -> io::Result<Vec<u32>> {
    let texts = threads(pid)?.into_iter().filter_map(|thread| fs::read_to_string(format!("{thread}/children")).ok());
    let all: String = texts.collect();
    Ok(all.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.memory_kib > 100 && usage.descriptors >= 3, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn who_works_has_used_a_processor() {
        let before = own_cpu();
        // When a thread of another test ends, its usage is gone too.
        while own_cpu().saturating_sub(before) < Duration::from_millis(10) {
            std::hint::black_box((0..1000u64).sum::<u64>());
        }
    }
}
