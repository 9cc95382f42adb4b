//! Many durations, counted by their size, so that millions take no more memory than a few.

use std::time::Duration;

/// Steps within each power of two, so that a duration is exact to about 1.5 %.
const STEPS: u64 = 64;

/// How often each size of duration occurred.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    counts: Vec<u64>,
    total: u64,
}

impl Durations {
    /// Counts one more.
    pub(crate) fn add(&mut self, duration: Duration) {
        let slot = slot(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
        if slot >= self.counts.len() {
            self.counts.resize(slot + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(slot) {
            *count += 1;
        }
        self.total += 1;
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// A percentile in milliseconds, in thousandths; nothing if there are no durations.
    pub(crate) fn at(&self, thousandths: u64) -> Option<f64> {
        let rank = (self.total * thousandths).div_ceil(1000).max(1);
        let mut before = 0;
        let slot = self.counts.iter().position(|count| {
            before += count;
            before >= rank
        });
        slot.map(|slot| nanos(slot) as f64 / 1e6)
    }
}

fn slot(nanos: u64) -> usize {
    // Below this power of two, each number has a slot of its own.
    let exponent = (nanos / STEPS).checked_ilog2().map_or(0, |power| power + 1);
    let step = nanos >> exponent.saturating_sub(1);
    usize::try_from(u64::from(exponent) * STEPS + step % STEPS).unwrap_or(usize::MAX)
}

/// The smallest duration of a slot.
fn nanos(slot: usize) -> u64 {
    let (exponent, step) = (slot as u64 / STEPS, slot as u64 % STEPS);
    if exponent == 0 { step } else { (STEPS + step) << (exponent - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_known_to_two_percent() {
        for nanos_given in (0..200).chain((7..63).map(|power| (5u64 << (power - 2)) + 3)) {
            let kept = nanos(slot(nanos_given));
            assert!(kept <= nanos_given && nanos_given - kept <= nanos_given / 50, "{nanos_given} is kept as {kept}");
        }
    }

    #[test]
    fn shares_are_of_all() {
        let mut durations = Durations::default();
        assert_eq!(durations.at(500), None);
        for millis in 1..=100 {
            durations.add(Duration::from_millis(millis));
        }
        for (thousandths, expected) in [(10, 1.0), (500, 50.0), (990, 99.0), (1000, 100.0)] {
            let at = durations.at(thousandths).unwrap();
            assert!((at - expected).abs() <= expected / 50.0, "{thousandths}: {at}");
        }
    }
}
