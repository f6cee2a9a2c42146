"""Expected values of the statistics, by SciPy, lifelines, rliable and statsmodels.

    python3 -m venv venv && venv/bin/pip install scipy lifelines rliable statsmodels
    venv/bin/python generate.py > golden.json

Bootstrap means are drawn with the same SplitMix64 numbers as the Rust code draws, and SciPy makes the interval of them.
"""
import json
import sys
from importlib.metadata import version

import lifelines
import numpy as np
from rliable import metrics as rliable
from scipy import stats
from statsmodels.stats.multitest import multipletests

MASK = (1 << 64) - 1


def draws(seed):
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def bootstrap(values, resamples=10_000):
    draw = draws(0x626E2D7265706F72)
    n = len(values)
    means = np.array([np.mean([values[(next(draw) * n) >> 64] for _ in range(n)]) for _ in range(resamples)])
    from scipy.stats._resampling import BootstrapResult

    earlier = BootstrapResult(confidence_interval=None, bootstrap_distribution=means, standard_error=means.std(ddof=1))
    result = stats.bootstrap((values,), np.mean, n_resamples=0, method="percentile", bootstrap_result=earlier)
    return [result.confidence_interval.low, result.confidence_interval.high]


def permutation(differences):
    result = stats.permutation_test(
        (np.array(differences),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    return float(result.pvalue)


def needed(mean, sd, alpha, power=0.8):
    n = 2
    while n < ((stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(power, n - 1)) * sd / mean) ** 2:
        n += 1
    return n


rng = np.random.default_rng(7)
samples = [list(rng.normal(0.9, 0.02, n)) for n in (2, 3, 5, 6, 8, 13, 30)]
samples += [[0.9, 0.9, 0.91, 0.95, 0.95], [25.0, 40.0, 30.0, 40.0, 40.0], [1e-300, 2e-300, 5e-300], [1e300, 3e300, -2e300, 1e299]]

summaries = []
for x in samples:
    x = [float(v) for v in x]
    scores = np.array(x)[:, None]
    summaries.append({
        "values": x,
        "mean": float(np.mean(x)),
        "sd": float(np.std(np.array(x) / max(map(abs, x)), ddof=1) * max(map(abs, x))),
        "median": float(np.median(x)),
        "iqm": float(rliable.aggregate_iqm(scores)),
        "trimmed": float(stats.trim_mean(x, 0.25)),
        "interval": bootstrap(x),
        "quantiles": [float(np.quantile(x, q)) for q in (0.0, 0.025, 0.3, 0.5, 0.975, 1.0)],
    })

survivals = []
for n in (1, 2, 5, 8, 12, 20):
    for _ in range(4):
        steps = [int(s) * 25 for s in rng.integers(1, 12, n)]
        happened = [bool(h) for h in rng.random(n) < 0.7]
        fitter = lifelines.KaplanMeierFitter().fit(steps, happened)
        median = float(fitter.median_survival_time_)
        at = sorted(set(s for s, h in zip(steps, happened) if h))
        horizon = 150
        survivals.append({
            "steps": steps,
            "happened": happened,
            "median": None if np.isinf(median) else median,
            "survival": [[s, float(fitter.survival_function_at_times(s).iloc[0])] for s in at],
        })

pairs = []
for n in (2, 3, 5, 6, 8, 12):
    for shift in (0.0, 0.01, 0.05):
        x, y = rng.normal(0.9 + shift, 0.02, n), rng.normal(0.9, 0.02, n)
        if n == 8:
            x, y = np.round(x, 2), np.round(y, 2)
        pairs.append({
            "x": [float(v) for v in x],
            "y": [float(v) for v in y],
            "p": permutation(x - y),
            "improvement": float(rliable.probability_of_improvement(x[:, None], y[:, None])),
            "mann_whitney": float(stats.mannwhitneyu(x, y).statistic / (n * n)),
        })

holms = []
for n in (1, 2, 3, 7):
    p = [float(v) for v in rng.random(n) * 0.1]
    holms.append({"p": p, "adjusted": [float(v) for v in multipletests(p, method="holm")[1]]})

students = [[q, f, float(stats.t.ppf(q, f))] for f in (1, 2, 3, 4, 7, 12, 29, 200) for q in (0.005, 0.05, 0.5, 0.8, 0.975, 0.9999)]
powers = [[m, s, a, needed(m, s, a)] for m, s in ((0.01, 0.02), (0.01, 0.01), (-0.02, 0.015), (1.0, 0.1), (0.002, 0.02)) for a in (0.05, 0.05 / 6)]
binomials = [[p, n, float(stats.binom.std(n, p) / n)] for p, n in ((0.97, 270), (0.5, 10000), (0.0, 5), (1.0, 5))]

areas = []
for n in (2, 5, 20):
    steps = np.cumsum(rng.integers(1, 50, n))
    values = rng.random(n)
    areas.append({
        "steps": [int(s) for s in steps],
        "values": [float(v) for v in values],
        "area": float(np.trapezoid(values, steps) / (steps[-1] - steps[0])),
    })

json.dump({
    "by": {name: version(name) for name in ("numpy", "scipy", "lifelines", "rliable", "statsmodels")},
    "summaries": summaries, "survivals": survivals, "pairs": pairs, "holms": holms,
    "students": students, "powers": powers, "binomials": binomials, "areas": areas,
}, sys.stdout, indent=0)
