//! Rows as figures by name, there and back: what the table `scalars` has of a [`Row`].

use gradscope_record::stats::{Cells, Name, Row, Stats};

/// The cells of a row, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    cells: Vec<(Name, Option<f64>)>,
    /// The cell after the one that was set last: figures come in the order that they were written in.
    next: usize,
}

impl Figures {
    pub fn of<R: Row>(row: &R) -> Self {
        let mut figures = Self::default();
        R::visit(Some(row), &mut Listing(&mut figures.cells));
        figures
    }

    /// The figures that are there.
    pub fn each(&self) -> impl Iterator<Item = (Name, f64)> + '_ {
        self.cells.iter().filter_map(|(name, value)| Some((*name, (*value)?)))
    }

    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.cells.iter().map(|(name, _)| name.to_string())
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.cells[self.position(name)?].1
    }

    /// Takes a figure; one that the row does not have is left out.
    pub fn set(&mut self, name: &str, value: Option<f64>) {
        if let Some(at) = self.position(name) {
            self.cells[at].1 = value;
            self.next = at + 1;
        }
    }

    /// The row of these figures; `None` where one is lacking that every such row has.
    pub fn row<R: Row>(&self) -> Option<R> {
        R::visit(None, &mut Recalling(self.cells.iter()))
    }

    fn position(&self, name: &str) -> Option<usize> {
        let is_named = |at: &usize| name.strip_prefix(self.cells[*at].0.stem) == Some(self.cells[*at].0.suffix);
        (self.next..self.cells.len()).chain(0..self.next.min(self.cells.len())).find(is_named)
    }
}

struct Listing<'a>(&'a mut Vec<(Name, Option<f64>)>);

impl Cells for Listing<'_> {
    fn has(&self, _: Stats) -> bool {
        true
    }
    fn u64(&mut self, name: Name, value: Option<u64>) -> Option<u64> {
        self.0.push((name, value.map(|value| value as f64)));
        value
    }
    fn f32(&mut self, name: Name, value: Option<f32>) -> Option<f32> {
        self.0.push((name, value.map(f64::from)));
        value
    }
    fn f64(&mut self, name: Name, value: Option<f64>) -> Option<f64> {
        self.0.push((name, value));
        value
    }
}

struct Recalling<'a>(std::slice::Iter<'a, (Name, Option<f64>)>);

impl Cells for Recalling<'_> {
    fn has(&self, _: Stats) -> bool {
        true
    }
    fn u64(&mut self, _: Name, _: Option<u64>) -> Option<u64> {
        self.0.next()?.1.map(|value| value as u64)
    }
    fn f32(&mut self, _: Name, _: Option<f32>) -> Option<f32> {
        self.0.next()?.1.map(|value| value as f32)
    }
    fn f64(&mut self, _: Name, _: Option<f64>) -> Option<f64> {
        self.0.next()?.1
    }
}
