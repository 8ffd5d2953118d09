"""The clock: rounds, quiet windows, processes, and ratios with intervals."""

import math
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
import torch

from invconv.bench import Clock, Measured, Ratio, medians, time_block, time_calls
from invconv.bench import clock as clock_module
from invconv.bench.blocks import POLICY, guarded_parts
from invconv.bench.quiet import BUSY, Usage, busy_machine, conditions, usage
from invconv.bench.ratios import Interval, expand, intervals, summaries, wide
from invconv.rows import Incorrect, Part, Status
from invconv.sweeps.cells import run_cell

CPU = torch.device("cpu")
UNSEEN = Clock(rounds=4, warmup=1, window=0)
"""A clock that does not look at the machine."""


def test_every_round_has_all_calls_in_an_order_of_its_own():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abcd"}
    timed = time_calls(calls, CPU, Clock(rounds=8, warmup=2, window=0))
    assert order[:8] == list("abcdabcd")
    rounds = ["".join(order[i : i + 4]) for i in range(8, len(order), 4)]
    assert len(rounds) == 8 and {"".join(sorted(names)) for names in rounds} == {"abcd"}
    assert len(set(rounds)) > 1
    assert timed.samples.groupby("call").size().tolist() == [8] * 4
    again = time_calls(calls, CPU, Clock(rounds=8, warmup=0, window=0), seed=1)
    assert again.samples["call"].tolist() != timed.samples["call"].tolist()


def test_what_prepares_a_call_is_outside_the_clock():
    prepared = []
    calls = {name: lambda: None for name in "ab"}

    def before(name):
        prepared.append(name)
        time.sleep(0.01)

    timed = time_calls(calls, CPU, UNSEEN, before=before)
    assert timed.samples["seconds"].max() < 0.01
    assert prepared[-8:] == timed.samples["call"].tolist()


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds must be at least 1, not 0"):
        time_calls({"a": int}, CPU, Clock(rounds=0))


def test_slow_and_rare_calls_take_part_in_six_rounds(monkeypatch):
    monkeypatch.setattr(clock_module, "SLOW", 0.05)
    counts = dict.fromkeys(("fast", "slow", "rare"), 0)

    def call(name, seconds):
        counts[name] += 1
        time.sleep(seconds)

    calls = {
        "fast": lambda: call("fast", 0),
        "slow": lambda: call("slow", 0.06),
        "rare": lambda: call("rare", 0),
    }
    timed = time_calls(calls, CPU, Clock(rounds=20, warmup=3, window=0), few=["rare"])
    sizes = timed.samples.groupby("call").size()
    assert (sizes["fast"], sizes["slow"], sizes["rare"]) == (20, 6, 6)
    assert counts == {"fast": 23, "slow": 7, "rare": 9}  # a slow call is warmed up once
    rounds = timed.samples.groupby("call")["round"].agg(set)
    assert rounds["slow"] == rounds["rare"] < rounds["fast"]
    assert np.ptp(sorted(rounds["slow"])) > 12, "spread over the block"


class Machine:
    """Counters in which others use ``foreign`` cores in one window after the other."""

    def __init__(self, *foreign):
        self.foreign, self.now, self.busy = list(foreign), 0.0, 0.0

    def read(self):
        found = Usage(self.now, self.busy, 0.0, 0.0, 0)
        self.now += 1.0
        self.busy += self.foreign.pop(0) if self.foreign else 0.0
        return found


@pytest.fixture
def machine(monkeypatch):
    """Makes every window last one second of a machine that others use as said."""

    def use(*foreign):
        # two readings for each window: one before, one after; the time between is a second
        both = [x for one in foreign for x in (one, 0.0)]
        counters = Machine(*both)
        monkeypatch.setattr(clock_module, "usage", counters.read)
        monkeypatch.setattr(clock_module.time, "monotonic", lambda: math.inf)

    return use


def test_a_busy_window_is_repeated(machine):
    machine(0.0, 0.5, 0.0)
    timed = time_calls({"a": int}, CPU, Clock(rounds=3, warmup=0))
    assert (timed.discarded, timed.noisy, timed.foreign_cpu) == (1, "", 0.0)
    assert timed.samples["round"].tolist() == [0, 1, 2]
    assert timed.samples["quiet"].all()


def test_what_does_not_become_quiet_is_noisy_and_keeps_its_samples(machine):
    machine(*[0.5] * 20)
    timed = time_calls({"a": int}, CPU, Clock(rounds=3, warmup=0))
    assert timed.discarded == 3
    assert timed.noisy == (
        "other processes used 0.50 cores while it was timed, also when that was repeated 3 times"
    )
    assert timed.samples["round"].tolist() == [0, 1, 2]
    assert not timed.samples["quiet"].any()
    assert timed.foreign_cpu == 0.5


def test_a_little_of_others_is_allowed(machine):
    machine(0.9 * BUSY, 0.0, 0.0)
    timed = time_calls({"a": int}, CPU, Clock(rounds=3, warmup=0))
    assert (timed.discarded, timed.noisy) == (0, "")
    assert timed.foreign_cpu == pytest.approx(0.9 * BUSY, abs=1e-3)


def test_a_system_that_does_not_tell_is_not_called_quiet(monkeypatch):
    unknown = Usage(0.0, None, 0.0, 0.0, 0)
    monkeypatch.setattr(clock_module, "usage", lambda: unknown)
    timed = time_calls({"a": int}, CPU, UNSEEN)
    assert timed.foreign_cpu is None and not timed.noisy


def test_fast_calls_fill_a_window_with_more_rounds():
    timed = time_calls({"a": int}, CPU, Clock(rounds=2, warmup=0, window=0.05))
    assert len(timed.samples) > 2 or timed.noisy
    assert timed.samples["round"].is_unique


def test_foreign_time_is_that_of_others():
    before = Usage(10.0, 100.0, 1.0, 50.0, 0)
    assert Usage(12.0, 103.0, 1.5, 52.0, 0).foreign(before) == pytest.approx(0.75)
    assert Usage(12.0, 101.0, 1.0, 52.0, 0).foreign(before) == 0.0
    assert Usage(12.0, None, 0.0, 52.0, 0).foreign(before) is None


def test_the_machine_is_read():
    before = usage()
    values = conditions(before)
    assert before.busy is None or before.busy > 0
    assert values["steal_s"] >= 0 and values["involuntary_switches"] >= 0


SPIN = "while True: pass"
SIZE = 400_000


@pytest.fixture
def two_busy_processes():
    """What the test starts computes on two cores until it ends."""
    running = []
    yield lambda: running.extend(subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(2))
    for process in running:
        process.kill()
        process.wait()


@dataclass
class Sizes:
    clock: Clock = field(default_factory=lambda: Clock(rounds=20, warmup=2, window=0.2))


def time_sums(config, device, process):
    one, two = np.ones(SIZE), np.ones(3 * SIZE)
    return Measured([time_calls({"one": one.sum, "two": two.sum}, device, config.clock)])


def timing_cell(folder, name):
    def measure(_):
        return time_block(time_sums, Sizes(), CPU, Sizes().clock, [Ratio("ratio", "two", "one")])

    return run_cell(name, "t", {}, {}, folder / name, CPU, measure)[0]


def test_a_busy_machine_is_seen_or_does_no_harm(tmp_path, two_busy_processes):
    quiet = medians({"one": np.ones(SIZE).sum, "two": np.ones(3 * SIZE).sum}, CPU, 100)
    two_busy_processes()
    deadline = time.monotonic() + 20
    while not busy_machine(0.2):
        assert time.monotonic() < deadline, "two busy processes were not seen"
    row = timing_cell(tmp_path, "busy")
    if row.status == Status.OK:
        truth = quiet["two"] / quiet["one"]
        assert row.values["ratio_low"] <= truth <= row.values["ratio_high"]
    else:
        assert row.status == Status.NOISY
        assert "other processes used" in row.reason
        assert row.values["one_s"] > 0
    assert (tmp_path / "busy" / "samples.csv.gz").exists()


def test_the_gpu_clock_waits_before_the_flush_and_after_the_call_alone(monkeypatch):
    """Between the flush and the first event nothing waits, so that the launch is hidden."""
    events = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            events.append("event")

        def elapsed_time(self, end):
            return 2.0

    class Flush:
        def zero_(self):
            events.append("flush")

    class Current:
        def __init__(self, device):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    class Properties:
        L2_cache_size = 1000

    def empty(size, **_):
        assert size == 2000, "twice the cache"
        return Flush()

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(torch, "empty", empty)
    measure = clock_module.cuda_clock(torch.device("cuda"))
    assert measure(lambda: events.append("call")) == pytest.approx(0.002)
    assert events == ["wait", "flush", "event", "call", "event", "wait"]


def samples_of(times, process=0):
    """Samples with a line for each round of each call."""
    frames = [
        pd.DataFrame({"call": call, "round": range(len(seconds)), "seconds": seconds})
        for call, seconds in times.items()
    ]
    return pd.concat(frames, ignore_index=True).assign(process=process, window=0, quiet=True)


def test_a_ratio_is_the_median_of_those_within_the_rounds():
    drift = np.linspace(1, 3, 20)
    found = intervals(samples_of({"a": 2 * drift, "b": drift}), {"r": ("a", "b")})["r"]
    assert found.ratio == pytest.approx(2)
    assert (found.low, found.high) == (pytest.approx(2), pytest.approx(2))


def test_the_interval_of_rounds_lies_between_two_of_them():
    ratios = np.exp(np.arange(20) / 10)
    found = intervals(samples_of({"a": ratios, "b": np.ones(20)}), {"r": ("a", "b")})["r"]
    assert found.low == pytest.approx(ratios[5]) and found.high == pytest.approx(ratios[14])
    together = intervals(samples_of({"a": ratios, "b": np.ones(20)}), {"r": ("a", "b")}, 40)["r"]
    assert together.low_all == pytest.approx(ratios[2])
    assert together.high_all == pytest.approx(ratios[17])
    few = intervals(samples_of({"a": ratios[:6], "b": np.ones(6)}), {"r": ("a", "b")}, 40)["r"]
    assert (few.low, few.high) == (pytest.approx(ratios[0]), pytest.approx(ratios[5]))
    assert math.isnan(few.low_all)
    none = intervals(samples_of({"a": ratios[:5], "b": np.ones(5)}), {"r": ("a", "b")})["r"]
    assert math.isnan(none.low)
    assert none.values("r") == {"r": pytest.approx(ratios[2])}


def test_only_common_rounds_are_compared():
    samples = samples_of({"a": np.full(6, 2.0), "b": np.ones(20)})
    assert intervals(samples, {"r": ("a", "b"), "x": ("a", "c")}) == {
        "r": Interval(2.0, 2.0, 2.0, 2.0, 2.0)
    }


@pytest.mark.parametrize("tails", ["normal", "heavy"])
def test_intervals_of_rounds_cover(tails):
    draw = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        noise = draw.standard_normal(20) if tails == "normal" else draw.standard_cauchy(20)
        samples = samples_of({"a": np.exp(0.01 * noise), "b": np.ones(20)})
        found = intervals(samples, {"r": ("a", "b")})["r"]
        covered += found.low <= 1 <= found.high
    assert 0.92 <= covered / 200 <= 0.99


def test_intervals_over_processes_cover():
    """Of three processes, each with an error of its own that its rounds do not show."""
    draw = np.random.default_rng(0)
    covered = together = 0
    for _ in range(60):
        frames = []
        for process in range(3):
            times = {"x/b": np.exp(0.001 * draw.standard_normal(20))}
            for name in "cdefg":
                shift = 0.02 * draw.standard_normal()
                times[f"{name}/a"] = np.exp(shift + 0.001 * draw.standard_normal(20))
            frames.append(samples_of(times, process))
        pairs = {f"{name}/r": (f"{name}/a", "x/b") for name in "cdefg"}
        found = intervals(pd.concat(frames), pairs, among=5).values()
        covered += sum(one.low <= 1 <= one.high for one in found)
        together += all(one.low_all <= 1 <= one.high_all for one in found)
    assert 0.92 <= covered / 300 <= 0.98
    assert together / 60 >= 0.88


def test_rules_are_expanded_for_each_part():
    calls = ["glow/st", "finc/st", "finc/ft", "glow/ft"]
    rules = [Ratio("st_vs_glow", "*/st", "glow/st"), Ratio("st_vs_ft", "*/st", "*/ft")]
    assert expand(rules, calls) == {
        "finc/st_vs_glow": ("finc/st", "glow/st"),
        "glow/st_vs_ft": ("glow/st", "glow/ft"),
        "finc/st_vs_ft": ("finc/st", "finc/ft"),
    }
    assert expand([Ratio("r", "a", "b"), Ratio("s", "a", "c")], ["a", "b"]) == {"r": ("a", "b")}


def time_two(config, device, process):
    calls = {"glow/st": lambda: time.sleep(0.002), "finc/st": lambda: time.sleep(0.004)}
    parts = {name: Part({"method": name}, {"first": process.first}) for name in ("glow", "finc")}
    timed = time_calls(calls, device, config, seed=process.number)
    return Measured([timed], {"number": process.number}, parts)


RULES = [Ratio("st_vs_glow", "*/st", "glow/st")]


def test_a_block_has_the_times_and_ratios_of_its_parts():
    clock = Clock(rounds=6, warmup=1, window=0)
    block = time_block(time_two, clock, CPU, clock, RULES, among=3)
    assert set(block.parts) == {"glow", "finc"}
    row = block.parts["finc"].values
    assert row["st_s"] == pytest.approx(0.004, rel=0.5)
    assert row["st_vs_glow_low"] <= row["st_vs_glow"] <= row["st_vs_glow_high"]
    assert "st_vs_glow" not in block.parts["glow"].values
    assert (block.values["processes"], block.values["compared"], block.values["rounds"]) == (
        1,
        3,
        6,
    )
    times = wide(block.samples)  # what a reader does with the stored samples
    ratio = np.exp(np.log(times["finc/st"] / times["glow/st"]).median())
    assert ratio == pytest.approx(row["st_vs_glow"])


@pytest.mark.parametrize(("processes", "policy"), [(2, "active"), (1, "PASSIVE")])
def test_several_processes_and_those_beside_training_are_fresh_ones(
    monkeypatch, processes, policy
):
    monkeypatch.setenv(POLICY, policy)
    clock = Clock(rounds=6, warmup=1, processes=processes, window=0)
    block = time_block(where_it_runs, clock, CPU, clock, RULES)
    assert block.samples["process"].unique().tolist() == list(range(processes))
    import os

    assert block.values["pid"] != os.getpid()
    assert block.values["policy"] == "", "what is timed may spin"
    assert os.environ[POLICY] == policy
    assert block.values["threads_of_child"] == torch.get_num_threads()
    assert block.parts["finc"].values["first"] is True
    assert math.isfinite(block.parts["finc"].values["st_vs_glow_low"]) or processes == 1


def where_it_runs(config, device, process):
    import os

    found = time_two(config, device, process)
    seen = {"pid": os.getpid(), "policy": os.environ.get(POLICY, "")}
    return Measured(
        found.timed, {**seen, "threads_of_child": torch.get_num_threads()}, found.parts
    )


def time_noisy(config, device, process):
    from dataclasses import replace

    found = time_two(config, device, process)
    return replace(found, timed=[replace(found.timed[0], noisy="others computed")])


def test_a_noisy_block_counts_only_where_that_is_allowed():
    clock = Clock(rounds=2, warmup=0, window=0)
    assert time_block(time_noisy, clock, CPU, clock).noisy == "others computed"
    allowed = time_block(time_noisy, clock, CPU, Clock(window=0, allow_noisy=True))
    assert allowed.noisy == "" and allowed.values["noisy"] is True


def time_one_that_fails(config, device, process):
    calls = {}

    def make(name):
        if name == "bad":
            raise Incorrect("it is not an inverse")
        calls[f"{name}/st"] = int
        return {}

    parts = guarded_parts({"good": {}, "bad": {}}, process, make)
    assert process.first or "bad" in process.failed
    return Measured([time_calls(calls, device, config)], parts=parts)


def test_a_part_that_fails_does_not_stop_the_others(monkeypatch):
    clock = Clock(rounds=2, warmup=0, processes=2, window=0)
    block = time_block(time_one_that_fails, clock, CPU, clock)
    assert block.parts["bad"].status == Status.INCORRECT
    assert block.parts["bad"].reason == "Incorrect: it is not an inverse"
    assert block.parts["good"].values["st_s"] >= 0
    assert set(block.samples["call"]) == {"good/st"}


def test_medians_and_quartiles():
    samples = samples_of({"x/st": [5.0, 1.0, 2.0, 3.0, 4.0]})
    assert summaries(samples) == {"x/st": {"st_q25_s": 2.0, "st_s": 3.0, "st_q75_s": 4.0}}
    found = medians({"slow": lambda: time.sleep(0.01), "none": int}, CPU, 3)
    assert list(found) == ["slow", "none"] and 0.01 <= found["slow"] < 0.1
