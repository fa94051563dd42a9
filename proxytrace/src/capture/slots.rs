//! Numbers of a fixed range: taken from the lowest on, and given back.

/// The numbers below a limit that are not in use.
#[derive(Debug)]
pub(super) struct Slots {
    limit: u32,
    /// From here on none was ever taken.
    fresh: u32,
    returned: Vec<u32>,
}

impl Slots {
    pub(super) fn below(limit: u32) -> Self {
        Self { limit, fresh: 0, returned: Vec::new() }
    }

    /// How many are not in use.
    pub(super) fn free(&self) -> usize {
        (self.limit - self.fresh) as usize + self.returned.len()
    }

    /// The number that is taken next; none if all are in use.
    fn next(&self) -> Option<u32> {
        let fresh = (self.fresh < self.limit).then_some(self.fresh);
        self.returned.last().copied().or(fresh)
    }

    pub(super) fn take(&mut self) -> Option<u32> {
        let next = self.next()?;
        if self.returned.pop().is_none() {
            self.fresh += 1;
        }
        Some(next)
    }

    /// Takes so many; none of them if there are not enough.
    pub(super) fn take_many(&mut self, count: usize) -> Option<Vec<u32>> {
        (count <= self.free()).then(|| (0..count).filter_map(|_| self.take()).collect())
    }

    pub(super) fn give_back(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.returned.extend(numbers);
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn what_is_given_back_is_taken_again() {
        let mut slots = Slots::below(4);
        assert_eq!(slots.take_many(3), Some(vec![0, 1, 2]));
        assert_eq!(slots.take_many(2), None);
        assert_eq!((slots.next(), slots.free()), (Some(3), 1));
        slots.give_back([1]);
        assert_eq!(slots.free(), 2);
        assert_eq!((slots.next(), slots.take(), slots.take()), (Some(1), Some(1), Some(3)));
        assert_eq!((slots.next(), slots.take(), slots.take_many(0)), (None, None, Some(vec![])));
    }
}
