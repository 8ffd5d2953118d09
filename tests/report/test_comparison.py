"""What several seeds resolve, against SciPy, by hand and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from invconv.report.comparison import Comparison, coverage, dunnett


def layout(seeds=5, methods=("glow", "finc", "cinc"), sd=0.01, shift=0.0, seed_sd=0.0, rng=0):
    """Seeds × methods; the second method is ``shift`` above the first."""
    draw = np.random.default_rng(rng)
    table = 3 + sd * draw.standard_normal((seeds, len(methods)))
    table += seed_sd * draw.standard_normal((seeds, 1))
    table[:, 1] += shift
    return pd.DataFrame(table, columns=list(methods))


def test_the_quantile_is_that_of_published_tables():
    """Two-sided 5 % points of Dunnett's t (Dunnett, 1964)."""
    assert dunnett(1, 10) == pytest.approx(stats.t.ppf(0.975, 10), abs=0.02)
    assert dunnett(2, 10) == pytest.approx(2.57, abs=0.02)
    assert dunnett(9, 30) == pytest.approx(2.86, abs=0.02)


def test_two_methods_are_a_paired_t_test():
    table = layout(methods=("glow", "finc"), shift=0.02, seed_sd=1.0)
    found = Comparison(table, "glow").to_control["finc"]
    paired = stats.ttest_rel(table["finc"], table["glow"]).confidence_interval()
    assert found.mean == pytest.approx((paired.low + paired.high) / 2)
    assert found.reach == pytest.approx((paired.high - paired.low) / 2, rel=0.02)


def test_what_a_seed_changes_for_all_methods_cancels():
    one, other = (Comparison(layout(seed_sd=sd), "glow") for sd in (0.0, 5.0))
    assert other.sd == pytest.approx(one.sd)
    assert other.gain > 1000 * one.gain
    for name in ("finc", "cinc"):
        assert other.to_control[name].reach == pytest.approx(one.to_control[name].reach)


def test_verdicts():
    assert Comparison(layout(shift=0.1), "glow").to_control["finc"].verdict == "resolved"
    assert Comparison(layout(sd=0.001), "glow").to_control["finc"].verdict == "equivalent"
    both = Comparison(layout(sd=0.0001, shift=0.005), "glow").to_control["finc"]
    assert both.verdict == "resolved, equivalent"
    neither = Comparison(layout(sd=0.1), "glow").to_control["finc"]
    assert neither.verdict == "neither"
    assert str(neither).count(",") == 1


def test_the_detectable_difference_is_detected_in_80_percent():
    methods = [f"m{i}" for i in range(10)]
    once = Comparison(layout(5, methods, sd=1.0), "m0")
    detectable = once.to_control["m1"].detectable / once.sd
    assert detectable == pytest.approx(2.32, abs=0.03)
    found = [
        Comparison(layout(5, methods, 1.0, detectable, rng=i), "m0").to_control["m1"].resolved
        for i in range(400)
    ]
    assert 0.74 < np.mean(found) < 0.86


def test_seeds_that_a_method_lacks_are_omitted():
    table = layout(5)
    table.loc[4, "cinc"] = np.nan
    found = Comparison(table, "glow")
    assert found.seeds == 4
    assert found.freedom == 6
    assert found.seeds_needed(2.32 * found.sd) == 5


def test_all_pairs_are_tukeys():
    table = layout(6, shift=0.02)
    found = Comparison(table, "glow")
    quantile = stats.studentized_range.ppf(0.95, 3, 10)
    assert found.pairs["glow", "cinc"].reach == pytest.approx(quantile * found.sd / 6**0.5)
    assert found.pairs["glow", "finc"].mean == pytest.approx(-found.to_control["finc"].mean)
    assert list(found.pairs) == [("glow", "finc"), ("glow", "cinc"), ("finc", "cinc")]


def test_beside_it_stands_scipys_unpaired_test():
    table = layout(8, shift=0.03)
    found = Comparison(table, "glow").unpaired()
    expected = stats.dunnett(table["finc"], table["cinc"], control=table["glow"])
    assert found["finc"] == pytest.approx(expected.pvalue[0], abs=0.02)
    assert Comparison(table, "glow").unpaired() == found


@pytest.mark.parametrize(("methods", "seeds"), [(10, 5), (10, 10), (2, 5), (10, 3)])
def test_the_intervals_cover(methods, seeds):
    assert 0.93 < coverage(methods, seeds) < 0.97


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="there is no method 'glow' to compare with"):
        Comparison(layout(methods=("a", "b")), "glow")
    with pytest.raises(ValueError, match=r"are needed, not 3 methods with 1 seeds"):
        Comparison(layout(1), "glow")
    with pytest.raises(ValueError, match=r"are needed, not 1 methods with 5 seeds"):
        Comparison(layout()[["glow"]], "glow")
