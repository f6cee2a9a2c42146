//! Claims, measured: supported, contradicted or undecided, by every kind of measure.

mod common;

use std::fs;
use std::path::Path;

use bn_report::compare::{ClaimVerdict, Comparison, Scorecard};
use bn_report::findings::Findings;
use bn_report::read::read_experiment;
use bn_report::schema::{
    self, Claim, Expected, LayerQuantity, Measure, Quantity, Split, Statistics,
};
use common::{MadeUpArm, write_experiment};

fn quantity(split: Split) -> Quantity {
    Quantity { metric: "accuracy".into(), split, statistics: Statistics::Moving }
}

/// "fast" learns sooner than "slow" and ends higher; by moving statistics "lagging" reads little for long.
fn arms() -> Vec<MadeUpArm> {
    vec![
        MadeUpArm::new("slow", 150.0, Some(10.0), 0.93),
        MadeUpArm::new("fast", 20.0, Some(10.0), 0.97),
        MadeUpArm::new("lagging", 20.0, Some(600.0), 0.97),
    ]
}

fn write(directory: &Path, arms: &[MadeUpArm], seeds: u64) {
    write_experiment(directory, arms, seeds, (600, 25));
}

/// The scorecard of a claim about two arms of an experiment, and the headline.
fn judge(
    directory: &Path,
    (arm, baseline): (&str, &str),
    measure: Measure,
    expected: Expected,
    margin: Option<f64>,
) -> (Scorecard, String) {
    let path = directory.join(schema::MANIFEST);
    let text = fs::read_to_string(&path).expect("the manifest");
    let mut manifest: schema::Manifest = toml::from_str(&text).expect("a manifest");
    manifest.claim = Some(Claim {
        text: "one beats the other".into(),
        source: None,
        number: None,
        arm: arm.into(),
        baseline: Some(baseline.into()),
        expected,
        margin,
        measure,
    });
    fs::write(&path, manifest.to_toml().expect("TOML")).expect("written");
    let comparison = Comparison::of(&read_experiment(directory).expect("an experiment"));
    let headline = Findings::of(&comparison).headline.plain();
    (comparison.claim.expect("a scorecard"), headline)
}

#[test]
fn a_difference_is_supported_one_way_and_contradicted_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &arms(), 6);
    let directory = folder.path();
    let steps = |pair, expected| judge(directory, pair, Measure::StepsToTarget, expected, None);
    let (card, headline) = steps(("fast", "slow"), Expected::Lower);
    assert_eq!(card.verdict, ClaimVerdict::Supported, "{card:?}");
    assert!(headline.starts_with("Supported: \"fast\" takes 50 steps (median) to validation accuracy 0.9 for good, \"slow\" takes "), "{headline}");
    assert!(headline.ends_with("over 6 seeds, p = 0.031."), "{headline}");
    assert_eq!(steps(("slow", "fast"), Expected::Lower).0.verdict, ClaimVerdict::Contradicted);
    for measure in [
        Measure::Final(quantity(Split::Test)),
        Measure::Best(quantity(Split::Validation)),
        Measure::Area(quantity(Split::Validation)),
    ] {
        let (card, headline) =
            judge(directory, ("fast", "slow"), measure.clone(), Expected::Higher, None);
        assert_eq!(card.verdict, ClaimVerdict::Supported, "{measure}: {headline}");
        let (card, _) = judge(directory, ("slow", "fast"), measure.clone(), Expected::Higher, None);
        assert_eq!(card.verdict, ClaimVerdict::Contradicted, "{measure}");
    }
}

#[test]
fn with_too_few_seeds_or_without_the_arm_a_claim_is_undecided() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &arms(), 5);
    let measure = Measure::Final(quantity(Split::Test));
    let (card, headline) =
        judge(folder.path(), ("fast", "slow"), measure.clone(), Expected::Higher, None);
    assert_eq!(
        (card.verdict, card.reason.as_str()),
        (ClaimVerdict::Undecided, "a test cannot decide below 6 seeds")
    );
    assert!(
        headline.contains("difference +0.0")
            && headline.ends_with("(a test cannot decide below 6 seeds)."),
        "{headline}"
    );
    let (card, headline) = judge(folder.path(), ("fast", "gone"), measure, Expected::Higher, None);
    assert_eq!(card.verdict, ClaimVerdict::Undecided);
    assert_eq!(headline, "Undecided: arm \"gone\" is not among the runs.");
}

#[test]
fn sameness_is_shown_by_the_interval_and_its_margin() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &arms(), 6);
    let verdict = |arm, margin| {
        let measure = Measure::Final(quantity(Split::Test));
        judge(folder.path(), (arm, "slow"), measure, Expected::Same, margin).0.verdict
    };
    assert_eq!(verdict("fast", Some(0.5)), ClaimVerdict::Supported);
    assert_eq!(verdict("fast", Some(0.001)), ClaimVerdict::Contradicted);
    assert_eq!(verdict("fast", None), ClaimVerdict::Undecided);
}

#[test]
fn divergence_gaps_and_layers_are_measures_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    let mut arms = arms();
    arms[0].diverges_from = Some(0);
    write(directory, &arms, 6);
    let (card, headline) =
        judge(directory, ("slow", "fast"), Measure::DivergedShare, Expected::Higher, None);
    assert_eq!((card.verdict, card.arm_value.mean), (ClaimVerdict::Supported, Some(1.0)));
    assert!(
        headline
            .starts_with("Supported: \"slow\" diverged on 6 of 6 seeds, \"fast\" never diverged; "),
        "{headline}"
    );
    // A run that diverged has no final value, and is worse than any.
    let end = Measure::Final(quantity(Split::Test));
    let (card, headline) = judge(directory, ("fast", "slow"), end.clone(), Expected::Higher, None);
    assert_eq!((card.verdict, card.baseline_value.n), (ClaimVerdict::Supported, 0));
    assert!(
        headline.ends_with(
            ", and \"slow\" diverged on 6 of 6 seeds; over 6 seeds, a diverged run counting as worse than any other, p = 0.031."
        ),
        "{headline}"
    );
    let (_, headline) = judge(directory, ("slow", "fast"), end, Expected::Higher, None);
    assert!(
        headline.starts_with("Contradicted: \"slow\" diverged on 6 of 6 seeds, and final test accuracy, by moving statistics, is 0.9"),
        "{headline}"
    );

    let gap = Measure::StatisticsGap {
        quantity: quantity(Split::Validation),
        against: Statistics::Batch,
    };
    let (card, headline) = judge(directory, ("lagging", "fast"), gap, Expected::Lower, None);
    assert_eq!(card.verdict, ClaimVerdict::Supported, "{headline}");
    assert_eq!(card.better, None, "a gap is neither good nor bad");

    for (arm, value) in [("fast", 0.5), ("lagging", 2.0)] {
        for seed in 0..6 {
            let rows = format!(
                "step,layer,metric,value\n1,hidden1.norm,gap,9\n2,hidden1.norm,gap,{value}\n2,out,gap,100\n"
            );
            let run = directory.join(arm).join(schema::seed_dir(seed));
            fs::write(run.join(schema::LAYERS), rows).expect("written");
        }
    }
    let layer = LayerQuantity { metric: "gap".into(), layer: "hidden*.norm".into() };
    let (card, _) = judge(
        directory,
        ("lagging", "fast"),
        Measure::LayerFinal(layer.clone()),
        Expected::Higher,
        None,
    );
    assert_eq!((card.verdict, card.arm_value.mean), (ClaimVerdict::Supported, Some(2.0)));
    let (card, _) =
        judge(directory, ("fast", "lagging"), Measure::LayerMean(layer), Expected::Higher, None);
    assert_eq!((card.verdict, card.arm_value.mean), (ClaimVerdict::Contradicted, Some(4.75)));
}

#[test]
fn the_baseline_is_the_one_asked_for_the_planned_the_claimed_or_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let directory = folder.path();
    write(directory, &arms(), 1);
    let baseline = |choice: Option<&str>| {
        let experiment = read_experiment(directory).expect("an experiment");
        let choice = bn_report::compare::Choice {
            baseline: choice.map(str::to_owned),
            ..Default::default()
        };
        Comparison::with(&experiment, &choice).baseline
    };
    assert_eq!(baseline(None), 0);
    judge(directory, ("slow", "lagging"), Measure::StepsToTarget, Expected::Lower, None);
    assert_eq!(baseline(None), 2);
    let path = directory.join(schema::MANIFEST);
    let text = fs::read_to_string(&path).expect("the manifest");
    let mut manifest: schema::Manifest = toml::from_str(&text).expect("a manifest");
    manifest.baseline = Some("fast".into());
    fs::write(&path, manifest.to_toml().expect("TOML")).expect("written");
    assert_eq!((baseline(None), baseline(Some("lagging"))), (1, 2));
}
