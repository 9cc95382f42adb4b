//! Random numbers that are the same for the same seed.

/// Xorshift. Any sequence will do, if each seed has another one.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices.get(usize::try_from(self.below(choices.len() as u64)).unwrap_or_default()).expect("a choice").clone()
    }
}
