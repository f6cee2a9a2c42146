//! Holm's correction for several tests.

/// The p-values of several tests, each raised so that the chance of any false positive among all of them stays at the level:
/// `adjusted(i) = max over j <= i of min(1, (m - j) p(j))` with the `m` p-values in ascending order, counted from 0.
///
/// Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (position, &index) in order.iter().enumerate() {
        largest = largest.max(((p_values.len() - position) as f64 * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}
