//! Randomness as the machines see it: a seeded generator that is handed in, so that a run can be repeated.

/// A seeded source of randomness. Two dice of one seed throw alike.
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// Dice for `seed`; the shell seeds from the operating system, the simulator from the command line.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number in `0..bound`; zero where `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(0..bound) }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Sixteen random bytes.
    pub fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.any()) << 64 | u128::from(self.any())).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn dice_of_one_seed_throw_alike() {
        let (mut one, mut other) = (Dice::new(7), Dice::new(7));
        let throws: Vec<_> = (0..100).map(|_| one.below(1_000)).collect();
        assert_eq!(throws, (0..100).map(|_| other.below(1_000)).collect::<Vec<_>>());
        assert!(throws.iter().all(|&throw| throw < 1_000));
        assert_ne!(Dice::new(8).bytes(), one.bytes());
    }
}
