//! As many of a long run's items as a picture has room for, evenly chosen, without holding the rest.

pub struct Thinned<T> {
    len_min: usize,
    stride: usize,
    seen_count: usize,
    kept: Vec<T>,
}

impl<T> Thinned<T> {
    /// Keeps `len_min` to twice as many, once there are.
    pub fn new(len_min: usize) -> Self {
        Self { len_min, stride: 1, seen_count: 0, kept: Vec::new() }
    }

    pub fn push(&mut self, item: T) {
        if self.seen_count.is_multiple_of(self.stride) {
            self.kept.push(item);
        }
        self.seen_count += 1;
        if self.kept.len() > 2 * self.len_min {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
        }
    }

    pub fn into_kept(self) -> Vec<T> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_lies_evenly() {
        for count in [0, 1, 9, 10, 11, 1000, 12_345] {
            let mut thinned = Thinned::new(5);
            (0..count).for_each(|item| thinned.push(item));
            let kept = thinned.into_kept();
            assert!(kept.len() <= 10 && kept.len() >= 5.min(count), "{count}: {kept:?}");
            assert!(kept.windows(3).all(|three| three[1] - three[0] == three[2] - three[1]), "{count}: {kept:?}");
        }
    }
}
