//! The series of a file while it is being read.

use std::collections::BTreeMap;

use super::log::{Log, Series};

/// The series gathered so far.
pub(super) struct Groups<K> {
    groups: Vec<Group<K>>,
    by_key: BTreeMap<K, usize>,
    /// By the cells of the key as they stand in the file, with the comma behind them.
    by_cells: BTreeMap<String, usize>,
    /// The group of the row before.
    last: usize,
}

struct Group<K> {
    key: K,
    cells: String,
    series: Series,
    is_ordered: bool,
    /// The group whose row last followed one of this: files repeat their quantities in the same order at every step.
    next: usize,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self { groups: Vec::new(), by_key: BTreeMap::new(), by_cells: BTreeMap::new(), last: 0 }
    }
}

impl<K: Ord + Clone> Groups<K> {
    /// The group of the cells that `rest` begins with, and what stands behind them, if these cells were remembered.
    pub(super) fn find<'a>(&self, rest: &'a str) -> Option<(usize, &'a str)> {
        let guess = self.groups.get(self.last)?.next;
        let cells = self.groups[guess].cells.as_str();
        if let Some(value) = rest.strip_prefix(cells).filter(|_| !cells.is_empty()) {
            return Some((guess, value));
        }
        let end = rest.rfind(',')? + 1;
        let group = *self.by_cells.get(&rest[..end])?;
        Some((group, &rest[end..]))
    }

    /// The group of a key; a new one where there is none.
    pub(super) fn of_key(&mut self, key: K) -> usize {
        if let Some(&group) = self.by_key.get(&key) {
            return group;
        }
        let group = self.groups.len();
        self.by_key.insert(key.clone(), group);
        let series = Series::default();
        self.groups.push(Group { key, cells: String::new(), series, is_ordered: true, next: 0 });
        group
    }

    /// Takes note that these cells are those of a group.
    pub(super) fn remember(&mut self, cells: &str, group: usize) {
        if !cells.is_empty() {
            cells.clone_into(&mut self.groups[group].cells);
            self.by_cells.insert(cells.to_owned(), group);
        }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, group: usize, step: u64, value: Option<f64>) {
        if let Some(last) = self.groups.get_mut(self.last) {
            last.next = group;
        }
        self.last = group;
        let group = &mut self.groups[group];
        group.is_ordered &= group.series.ends_before(step);
        group.series.push(step, value);
    }

    /// The log; none where a step stands twice in a series.
    pub(super) fn finish(self) -> Option<Log<K>> {
        let mut all = Vec::new();
        for Group { key, mut series, is_ordered, .. } in self.groups {
            if !is_ordered && !series.sort() {
                return None;
            }
            series.shrink();
            all.push((key, series));
        }
        Some(Log::new(all))
    }
}
