//! Stratified splits: every part gets a proportional share of every class.

use crate::random::{Purpose, Stream};

/// Ascending indices of the examples in each part. Every index is in exactly one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// All remaining examples.
    pub train: Vec<usize>,
    /// Exactly the requested number.
    pub validation: Vec<usize>,
    /// Exactly the requested number.
    pub test: Vec<usize>,
}

/// Splits examples with labels `0..classes` so that each part has each class in proportion, within two examples.
///
/// # Panics
/// There are too few examples, or a label is not below `classes`.
pub fn stratified(
    labels: &[u32],
    classes: usize,
    validation: usize,
    test: usize,
    seed: u64,
) -> Parts {
    let mut members = vec![Vec::new(); classes];
    for (index, &label) in labels.iter().enumerate() {
        members[label as usize].push(index);
    }
    let sizes: Vec<usize> = members.iter().map(Vec::len).collect();
    let validation = shares(&sizes, validation);
    // From the remaining examples, so that two parts cannot both round up a class beyond its size.
    let left: Vec<usize> =
        sizes.iter().zip(&validation).map(|(size, taken)| size - taken).collect();
    let test = shares(&left, test);

    let mut parts = Parts { train: Vec::new(), validation: Vec::new(), test: Vec::new() };
    for (class, members) in members.iter().enumerate() {
        let order = Stream::new(seed, Purpose::Split(class as u64)).permutation(members.len());
        for (rank, &member) in order.iter().enumerate() {
            let part = if rank < validation[class] {
                &mut parts.validation
            } else if rank < validation[class] + test[class] {
                &mut parts.test
            } else {
                &mut parts.train
            };
            part.push(members[member]);
        }
    }
    for part in [&mut parts.train, &mut parts.validation, &mut parts.test] {
        part.sort_unstable();
    }
    parts
}

/// Number of examples of each class in a part of `count`, by largest remainder.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    assert!(count <= total, "a part of {count} examples out of {total}");
    if count == 0 {
        return vec![0; sizes.len()];
    }
    let mut shares: Vec<usize> = sizes.iter().map(|size| count * size / total).collect();
    let mut classes: Vec<usize> = (0..sizes.len()).collect();
    // The sort is stable, so ties go to the lower class.
    classes.sort_by_key(|&class| std::cmp::Reverse(count * sizes[class] % total));
    for &class in classes.iter().take(count - shares.iter().sum::<usize>()) {
        shares[class] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(count: usize, classes: u32) -> Vec<u32> {
        let mut stream = Stream::new(9, Purpose::Initialize("labels"));
        // Squared for classes of different sizes.
        (0..count).map(|_| (stream.unit().powi(2) * classes as f32) as u32).collect()
    }

    #[test]
    fn parts_are_disjoint_and_stratified() {
        for (count, classes, validation, test) in
            [(100, 3, 20, 10), (1797, 10, 270, 270), (50, 7, 0, 25), (10, 2, 5, 5)]
        {
            let labels = labels(count, classes);
            let parts = stratified(&labels, classes as usize, validation, test, 0);
            assert_eq!((parts.validation.len(), parts.test.len()), (validation, test));
            let mut all = [&parts.train[..], &parts.validation, &parts.test].concat();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            for class in 0..classes {
                let size = labels.iter().filter(|&&label| label == class).count();
                for part in [&parts.validation, &parts.test] {
                    let got = part.iter().filter(|&&index| labels[index] == class).count();
                    let share = (part.len() * size) as f64 / count as f64;
                    assert!((got as f64 - share).abs() < 2.0, "class {class}: {got} of {share}");
                }
            }
        }
    }

    #[test]
    fn split_depends_on_the_seed() {
        let labels = labels(100, 3);
        assert_eq!(stratified(&labels, 3, 20, 20, 1), stratified(&labels, 3, 20, 20, 1));
        assert_ne!(stratified(&labels, 3, 20, 20, 1), stratified(&labels, 3, 20, 20, 2));
    }
}
