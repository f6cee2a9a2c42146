//! What changes by plan over the steps of a run: the learning rate, and the bounds of batch renormalization.

use super::Settings;
use crate::schedule::LearningRate;
use bn_core::Bounds;
use bn_report::schema::ScheduleRow;

impl Settings {
    /// The learning rate of every update.
    pub fn rate(&self) -> LearningRate {
        LearningRate {
            base: self.learning_rate,
            schedule: self.schedule.clone(),
            total_steps: self.train.steps,
        }
    }

    /// What the update after `step` others uses, by the names of [`ScheduleRow`]. The names are the same at every step.
    pub fn scheduled(&self, step: u64) -> Vec<(&'static str, f64)> {
        let mut values = vec![(ScheduleRow::LEARNING_RATE, self.rate().at(step))];
        let renorm = self.norm.as_ref().and_then(|norm| norm.batch_norm()?.renorm.as_ref());
        if let Some(renorm) = renorm {
            let Bounds { r_min, r_max, d_max } = renorm.clipping.at(step);
            let bounds = [
                (ScheduleRow::RENORM_R_MIN, r_min),
                (ScheduleRow::RENORM_R_MAX, r_max),
                (ScheduleRow::RENORM_D_MAX, d_max),
            ];
            values.extend(bounds.into_iter().filter_map(|(name, bound)| Some((name, bound?))));
        }
        values
    }

    /// Rows for the update that made `step` updates of those before it: the values that changed with it, or all at the first.
    pub fn schedule_changes(&self, step: u64) -> Vec<ScheduleRow> {
        self.schedule_rows(step, |has_changed| has_changed)
    }

    /// Rows for the last update of a run: the values that [`Settings::schedule_changes`] has left out.
    pub fn schedule_ends(&self, step: u64) -> Vec<ScheduleRow> {
        self.schedule_rows(step, |has_changed| !has_changed)
    }

    fn schedule_rows(&self, step: u64, is_wanted: fn(bool) -> bool) -> Vec<ScheduleRow> {
        let Some(update) = step.checked_sub(1) else { return Vec::new() };
        let before = update.checked_sub(1).map(|before| self.scheduled(before));
        let mut rows = Vec::new();
        for (index, (name, value)) in self.scheduled(update).into_iter().enumerate() {
            let has_changed = before.as_ref().is_none_or(|before| before[index].1 != value);
            if is_wanted(has_changed) {
                rows.push(ScheduleRow { step, name: name.to_owned(), value: Some(value) });
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Registry};
    use super::*;

    fn settings(arm: &str) -> Settings {
        let text = format!(
            "optimizer.learning_rate = 0.2\ntrain = {{ steps = 40 }}\n[[arm]]\nname = 'a'\n{arm}"
        );
        let mut experiment =
            Registry::built_in().parse("x", "x", &text, &Flags::default()).unwrap();
        experiment.arms.remove(0).settings
    }

    /// The rows of a run that ends after so many updates.
    fn rows(settings: &Settings, last: u64) -> Vec<(u64, String, f64)> {
        let changes = (0..=last).flat_map(|step| settings.schedule_changes(step));
        let rows = changes.chain(settings.schedule_ends(last));
        rows.map(|row| (row.step, row.name, row.value.unwrap())).collect()
    }

    #[test]
    fn a_constant_rate_has_its_first_and_last_update() {
        let rate = |step| (step, "learning_rate".to_owned(), 0.2);
        assert_eq!(rows(&settings(""), 40), [rate(1), rate(40)]);
        // Of a run that diverged, the last update that was made; none where there was none.
        assert_eq!(rows(&settings(""), 7), [rate(1), rate(7)]);
        assert_eq!(rows(&settings(""), 1), [rate(1)]);
        assert_eq!(rows(&settings(""), 0), []);
    }

    #[test]
    fn rows_give_every_update_the_value_that_it_used() {
        let arms = [
            "schedule = { kind = 'step', every = 15, factor = 0.5 }",
            "schedule = { kind = 'cosine', warmup_steps = 5 }",
            "norm = { kind = 'renorm', renorm.schedule = 'paper' }",
            "norm = { kind = 'renorm', renorm.r_max = [[10, 1.0], [20, 3.0]] }",
        ];
        for arm in arms {
            let settings = settings(arm);
            for last in [1, 2, 14, 15, 16, 40] {
                let rows = rows(&settings, last);
                assert!(rows.is_sorted_by_key(|row| row.0), "{arm}: {rows:?}");
                for update in 0..last {
                    for (name, value) in settings.scheduled(update) {
                        let of_name = |row: &&(u64, String, f64)| row.1 == name;
                        let held = rows.iter().filter(of_name).rfind(|row| row.0 <= update + 1);
                        assert_eq!(held.unwrap().2, value, "{arm}: {name} of update {update}");
                        let ends = rows.iter().rfind(of_name).unwrap();
                        assert_eq!(ends.0, last, "{arm}: {name}");
                    }
                }
            }
        }
        assert_eq!(rows(&settings(arms[0]), 40).len(), 4);
    }
}
