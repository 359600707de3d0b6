"""The benchmark of the metrics: its arithmetic, its table, and tiny contests."""

import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from seesaw.metrics.frechet import Statistics

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
benchmark = importlib.import_module("metrics")
CPU = torch.device("cpu")


def contest(**ways):
    return benchmark.Contest("what", ways, count=6, known=2.5)


def test_ways_take_turns_and_every_other_round_goes_backwards():
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = benchmark.rounds(ways, 3, CPU)
    assert "".join(calls) == "abccbaabc"
    assert [len(rounds) for rounds in times.values()] == [3, 3, 3]


def test_rows_hold_times_and_differences_from_the_first_way():
    rows = benchmark.held(
        contest(ours=lambda: time.sleep(0.004) or 2.0, theirs=lambda: time.sleep(0.02) or 1.5),
        3,
        1,
        CPU,
    )
    ours, theirs, known = rows
    assert [row.way for row in rows] == ["ours", "theirs", "known in closed form"]
    assert ours.ratio == ours.cpu_ratio == 1
    assert 2 < theirs.ratio < 6
    assert theirs.rate == pytest.approx(6 / sorted(theirs.seconds)[1])
    assert (ours.difference, ours.relative) == (0, 0)
    assert (theirs.value, theirs.difference, theirs.relative) == (1.5, 0.5, 0.25)
    assert (known.value, known.difference, known.relative) == (2.5, 0.5, 0.25)
    assert known.seconds == []
    # sleep takes no CPU time
    assert max(theirs.cpu) < 0.5 * min(theirs.seconds)
    columns = benchmark.HEAD.split("\n")[0].count("|")
    assert all(benchmark.line(row).count("|") == columns for row in rows)
    assert "| equal |" in benchmark.line(ours)


def test_arithmetic_by_hand():
    # a slow round slows both: the ratio within each round stands
    assert benchmark.paired_ratio([2.0, 20.0, 8.0], [1.0, 10.0, 2.0]) == 2
    assert benchmark.difference(np.array([1.0, 4.5]), np.array([1.0, 5.0])) == (0.5, 0.1)
    assert benchmark.difference(0.0, 0.0) == (0, 0)
    assert benchmark.difference(1.0, 0.0) == (1, float("inf"))
    with pytest.raises(ValueError, match="cannot be compared"):
        benchmark.difference(np.zeros(2), np.zeros(3))
    assert benchmark.spelt_out("a.{0-2}.b") == ["a.0.b", "a.1.b", "a.2.b"]
    assert benchmark.spelt_out("a.{2-1}") == ["a.2", "a.1"]
    assert benchmark.spelt_out("plain") == ["plain"]


def test_memory_is_what_a_call_takes_beyond_what_is_held():
    held = np.ones(20_000_000)
    value, taken = benchmark.with_memory(lambda: float(np.ones(10_000_000).sum()), CPU)
    assert value == 1e7
    assert 0.07 < taken < 0.12
    assert held.nbytes == 160_000_000


def test_threads_are_those_asked_for_and_put_back():
    before = torch.get_num_threads()
    with benchmark.limited(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_the_known_distance_is_the_textbooks():
    a, b, known = benchmark.features_of_known_distance(200, 24)
    assert isinstance(a, Statistics)
    values = np.linalg.eigvalsh(a.covariance)
    assert values.min() > 0
    assert values.max() / values.min() > 50
    off = a.covariance - np.diag(a.covariance.diagonal())
    assert np.abs(off).max() > 0.1 * a.covariance.diagonal().mean()
    assert benchmark.with_sqrtm(a, b) == pytest.approx(known, rel=1e-10)
    assert benchmark.frechet_distance(a, b) == pytest.approx(known, rel=1e-10)
    wrong = Statistics(a.n, a.mean + 0.1, a.covariance)
    assert benchmark.with_sqrtm(wrong, b) != pytest.approx(known, rel=1e-3)


def found(*words):
    """Rows of the command line's contests."""
    given = benchmark.parsed(["--device", "cpu", "--repeats", "1", *words])
    return [
        row
        for name in given.contests
        for made in benchmark.CONTESTS[name](given)
        for row in benchmark.held(made, 1, 1, CPU)
    ]


def test_tiny_contests_agree():
    rows = found(
        *("--contests", "frechet", "fidelity", "sets", "drift", "--rows", "80"),
        *("--dimensions", "32", "--vectors", "40", "--pairs", "2", "--side", "48"),
    )
    assert len({row.contest for row in rows}) == 7
    for row in rows:
        loose = "reflects" in row.way
        assert row.relative < (0.02 if loose else 1e-4), (row.contest, row.way)
        if "float64" in row.way and not loose:
            assert row.relative < 1e-9, (row.contest, row.way)
    distances = [row for row in rows if row.contest.startswith("Frechet")]
    assert len(distances) == 5
    assert all(row.relative < 1e-9 for row in distances)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    words = ["--contests", "detectors", "--networks", "canny", "--few", "2", "--side", "32"]
    words += ["--repeats", "2", "--threads", "1", "2", "--device", "cpu"]
    output = tmp_path / "metrics.json"
    monkeypatch.setattr(sys, "argv", ["metrics.py", *words, "--output", str(output)])
    benchmark.main()
    printed = capsys.readouterr().out.splitlines()
    assert "torchmetrics" in printed[0]
    assert len(printed) == 4 + 2
    kept = json.loads(output.read_text())
    assert [row["threads"] for row in kept["rows"]] == [1, 2]
    assert all(len(row["seconds"]) == 2 for row in kept["rows"])
    assert kept["settings"]["side"] == "32"
    for bad in (["--rows", "2048"], ["--repeats", "0"], ["--contests", "speed"]):
        with pytest.raises(SystemExit):
            benchmark.parsed(bad)
