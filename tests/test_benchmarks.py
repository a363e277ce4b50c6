"""The benchmarks' bookkeeping: same trials, samples that add up, tables that keep what is not theirs. No times."""

from __future__ import annotations

import csv
import statistics
import tomllib
from collections import Counter
from dataclasses import replace
from itertools import islice

import pandas as pd
import pytest
from benchmarks import careful, cut, growth, lanes, launch, ratios, startup, step, suite, tutorial, weighting
from benchmarks.__main__ import BENCHMARKS, main

import bench
from bench.ledger.file import encode, read_records
from bench.ledger.results import load_results
from bench.suite import Plan, load_suite

DEFAULT = tomllib.loads(suite.SUITE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tiny() -> dict:
    """The default suite's strategies and recipe on two small sources, a smaller network and fewer steps."""
    return {
        "name": "tiny",
        "backbones": [{"backbone": "cnn", "channels": [8, 8], "norm": "batch", "name": "cnn"}],
        "strategies": DEFAULT["strategies"],
        "target_sizes": [60],
        "seeds": 2,
        "image_size": 8,
        "measures": [],
        "tasks": {
            "near": {"task": "printed-digits", "n": 200, "n_test": 50},
            "far": {"task": "glyphs", "characters": "letters", "n": 300, "n_test": 60},
        },
        "pairs": [{"target": "digits", "sources": ["near", "far"]}],
        "recipe": DEFAULT["recipe"] | {"steps": 30, "head": "stepped"},  # as the scripts have it
        "source_recipe": DEFAULT["source_recipe"] | {"steps": 40},
    }


@pytest.fixture(scope="module")
def study(tiny) -> tutorial.Study:
    return tutorial.Study(tiny)


def places(plan: Plan) -> list[tuple]:
    found = []
    for trial in plan.trials():
        how = plan.strategy(trial)
        source = trial.model.source if trial.model else None
        found.append((source, trial.target, how.name, how.transfer, how.frozen, trial.target_size, trial.seed))
    return found


def test_the_scripts_run_the_trials_of_the_default_suite():
    every = [suite.place(cell) for cell in tutorial.cells(tutorial.Study(suite.SUITE))]
    assert Counter(every) == Counter(places(Plan(load_suite(suite.SUITE))))


def test_the_scripts_train_along_the_suites_paths(study):
    plan = Plan(study.suite)
    wanted = {(s.name, s.transfer, s.frozen): s for s in plan.strategies[0]}
    for cell in tutorial.cells(study):
        how = wanted[cell.strategy, cell.transfer_depth, cell.frozen_depth]
        shares = sum(phase.share for phase in how.path)
        assert [frozen for frozen, _ in cell.path] == [phase.freeze for phase in how.path]
        assert [share for _, share in cell.path] == pytest.approx([phase.share / shares for phase in how.path])
        assert (cell.copied_lr, cell.steps, cell.keep_head) == (how.copied_lr, how.steps, how.keep_head)


def test_accuracies_agree_with_the_harness(tiny, study, tmp_path):
    bench.run(tiny, tmp_path / "run", jobs=0)
    reference = suite.harness_accuracies(tmp_path / "run")
    cells = list(tutorial.cells(study))
    assert set(reference) == {suite.place(cell) for cell in cells}
    found = {suite.place(cell): careful.run_cell(study, cell, tmp_path) for cell in cells}
    assert len(list(tmp_path.glob("*.pt"))) == 2 * 2  # a source model for each source and seed
    said = suite.agreement([suite.Round(accuracies={"careful": found})], reference, "careful", "here")
    assert int(said["cells"]) == len(cells)
    assert abs(float(said["mean_difference"])) < 0.05
    by_strategy = Counter()
    for place, accuracy in found.items():
        by_strategy[place[2]] += (accuracy - reference[place]) / sum(p[2] == place[2] for p in found)
    assert max(map(abs, by_strategy.values())) < 0.2, by_strategy


def test_the_careful_script_does_what_the_tutorial_does(study, tmp_path):
    for strategy in ("fine-tune", "zero-shot"):
        cell = next(cell for cell in tutorial.cells(study) if cell.strategy == strategy)
        assert careful.run_cell(study, cell, tmp_path) == tutorial.run_cell(study, cell)


def test_a_round_scales_every_stratum_up(study, tmp_path, monkeypatch):
    cells = list(tutorial.cells(study))
    groups = suite.strata(cells)
    assert sum(map(len, groups.values())) == len(cells)
    drawn = [suite.draw(groups, index) for index in range(4)]
    assert all(set(one) == set(groups) for one in drawn)
    assert all(one[group] in groups[group] for one in drawn for group in groups)
    some = ("fine-tune", 2, 0, 60)
    assert len({suite.place(one[some]) for one in drawn}) == 4  # another cell each round

    # With a second for every cell and ten for every source model the sums are known.
    monkeypatch.setattr(careful, "source_model", lambda *_: "source")
    monkeypatch.setattr(careful, "run_cell", lambda *_: 0.5)
    monkeypatch.setattr(tutorial, "run_cell", lambda *_: 0.5)
    monkeypatch.setattr(suite, "timed", lambda work, device: (10.0 if (made := work()) == "source" else 1.0, made))
    one = suite.sample_round(study, 0, tmp_path)
    assert one.scripts == {"tutorial": len(cells), "careful": len(cells) + 10 * 2 * 2}
    assert set(one.accuracies["tutorial"]) == {suite.place(cell) for cell in suite.draw(groups, 0).values()}


def test_accuracies_are_written_and_read_again(study, tmp_path, monkeypatch):
    monkeypatch.setattr(tutorial, "Study", lambda path, device: study)
    monkeypatch.setattr(tutorial, "run_cell", lambda study, cell: cell.seed / 10)
    tutorial.main("a suite", str(tmp_path / "out.csv"))
    assert tutorial.read(tmp_path / "out.csv") == {suite.place(c): c.seed / 10 for c in tutorial.cells(study)}


# --- tables ------------------------------------------------------------------------------------------------


def row(benchmark: str, on: str, ratio: float = 2.0, aim: str = "") -> dict[str, str]:
    return ratios.Measured(benchmark, "it", [ratio], aim).row(on)


def test_a_table_keeps_other_machines_and_other_benchmarks(tmp_path):
    path = tmp_path / "new" / "ratios.csv"
    ratios.merge(path, [row("step: a", "old"), row("step: b", "old"), row("growth: a", "old")])
    ratios.merge(path, [row("step: a", "other")])
    ratios.merge(path, [row("step: a", "old", 3.0)])  # without its b: that benchmark is measured no more
    with path.open(newline="") as file:
        lines = list(csv.reader(file))
    assert ",".join(lines[0]) == "benchmark,baseline,ratio,low,high,aim,met,machine"
    found = {(line[0], line[-1]): line[2] for line in lines[1:]}
    assert found == {("step: a", "old"): "3", ("growth: a", "old"): "2", ("step: a", "other"): "2"}
    with pytest.raises(ValueError, match="has the columns"):
        ratios.merge(path, [], columns=("other",))


@pytest.mark.parametrize(
    ("aim", "broken", "met"),
    [("", False, ""), (">= 2", False, "yes"), (">= 2.1", False, "no"), ("<= 2", False, "yes"), ("<= 1.9", False, "no"),
     ("<= 2", True, "no")],
)  # fmt: skip
def test_an_aim_is_judged_by_the_median(aim, broken, met):
    line = ratios.Measured("x: y", "it", [1.0, 2.0, 9.0], aim, broken).row("m")
    assert (line["ratio"], line["low"], line["high"], line["met"]) == ("2", "1", "9", met)


def test_contestants_take_turns():
    order = []
    watch = ratios.alternate({name: lambda n=name: order.append(n) for name in "ab"}, 3, warm_up=False)
    assert order == list("abbaab")
    assert len(watch.ratios("a", "b")) == 3


def test_the_machine_is_described_without_its_name():
    import platform

    said = ratios.machine()
    assert "torch 2." in said
    assert "core" in said
    assert platform.node() not in said.split()


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["stepp"])
    said = capsys.readouterr().err
    assert all(name in said for name in ("stepp", *BENCHMARKS))


# --- growth, start-up, step --------------------------------------------------------------------------------


def test_made_up_runs_are_what_the_plan_would_leave(tmp_path):
    growth.write_ledger(tmp_path / "run", 800)  # more than one source's
    for work in growth.WORK.values():
        work(tmp_path / "run", 800)
    rows = load_results(tmp_path / "run")
    plan = growth.make_plan(growth.make_suite(800))
    assert set(rows["key"]) == {trial.key for trial in islice(plan.trials(), 800)}
    assert rows[rows.source.notna()]["leep"].notna().all()
    assert rows.attrs["warnings"] == []
    sizes = [len(encode(record)) for record in read_records(tmp_path / "run") if record["kind"] == "trial"]
    assert statistics.mean(sizes) < growth.BYTES_A_ROW
    for rows in growth.SIZES:
        total = sum(len(b.strategies) * len(b.sizes) * len(b.seeds) for b in Plan(growth.make_suite(rows)).blocks())
        assert rows <= total < 4 * rows


def test_resuming_would_notice_what_is_missing(tmp_path):
    growth.write_ledger(tmp_path / "run", 30)
    with pytest.raises(AssertionError):
        growth.resuming(tmp_path / "run", 31)


def test_what_was_not_measured_is_said_to_be_in_proportion(tmp_path):
    medians = {
        ("planning", 1_000): (0.5, 2**20),
        ("planning", 100_000): (4.0, 1),
        ("planning", 10_000_000): (60.0, 2**30),
    }
    medians |= {(what, 1_000): (1.0, 2**20) for what in growth.WORK if what != "planning"}
    growth._write_table(medians, {1_000: 2**20}, tmp_path / "new" / "growth.csv")
    found = pd.read_csv(tmp_path / "new" / "growth.csv").set_index(["what", "rows"])
    assert tuple(found.loc["planning", 10_000_000][["seconds", "MiB", "how"]]) == (60.0, 1024.0, "measured")
    assert tuple(found.loc["loading", 10_000_000][["seconds", "how"]]) == (10_000.0, "in proportion to 1,000")
    assert found.loc["ledger", 100_000]["MiB"] == 100.0
    shown = growth.tables(tmp_path / "new")["growth"].splitlines()
    assert shown[0] == "|  | 1,000 trials | 100,000 trials | 10,000,000 trials |"
    assert shown[2] == "| plan: every trial with its key | 500 ms, 1 MiB | 4 s | 1 min, 1 GiB |"
    assert shown[3] == "| the ledger on the disk | 1 MiB | 100 MiB* | 9.8 GiB* |"


def test_the_verbs_that_start_up_is_measured_of_run(tmp_path):
    growth.write_ledger(tmp_path / "run", 800)
    assert set(startup.verbs(tmp_path)) == {"--help", "list", "plan", "table"}
    assert startup.imported(startup.verbs(tmp_path / "run")["table"]) == []
    with pytest.raises(RuntimeError, match="failed"):
        startup.imported(["table", str(tmp_path / "nothing")])


def test_the_loops_do_the_same_steps():
    import torch

    setting = step.make_setting(8, "cpu", epochs=2)
    assert torch.equal(setting.batches.view(2, -1).sort(1).values[0], torch.arange(step.EXAMPLES))
    one, other = step.ours(setting).state_dict(), step.bare(setting).state_dict()
    assert all(torch.allclose(value, other[name], atol=1e-5) for name, value in one.items())
    for loop in step.loops().values():
        trained = loop(setting)
        moved = [not torch.equal(a, b) for a, b in zip(trained.parameters(), setting.network.parameters(), strict=True)]
        assert all(moved)
        steps = {int(v) for name, v in trained.state_dict().items() if name.endswith("num_batches_tracked")}
        assert steps == {len(setting.batches)}


def test_lanes_of_a_benchmark_train_as_one_alone_does():
    import torch

    setting = step.make_setting(8, "cpu", epochs=1)
    # In double precision: Adam makes rounding as large as a step.
    setting = replace(setting, network=setting.network.double(), x=setting.x.double())
    alone = step.ours(setting).state_dict()
    for name, tensor in step.stacked(setting, 3)().state_dict().items():
        assert all(torch.allclose(lane, alone[name], atol=1e-6) for lane in tensor), name
    rows = lanes.measure(ratios.Options(rounds=1), sides=(8,), counts=(1, 4))
    assert [row.benchmark for row in rows] == ["lanes: throughput of 4 at 8 x 8"]


def test_the_cut_of_a_benchmark_changes_nothing_but_time():
    import torch

    case = cut.Case("small", "cnn", (1, 8, 8), 64, (("norm", "batch"),))
    network, x, y = cut.make(case, "cpu")
    for frozen in range(network.depth + 1):
        one = cut.training(network, x, y, frozen, True, epochs=2)().state_dict()
        other = cut.training(network, x, y, frozen, False, epochs=2)().state_dict()
        assert all(torch.allclose(value, other[name], atol=1e-4) for name, value in one.items())
        blocks = list(network.blocks)
        before = network.state_dict()
        moved = {name.split(".")[1] for name, v in one.items() if "blocks" in name and not torch.equal(v, before[name])}
        assert moved == set(blocks[frozen:])
    rows = cut.measure(ratios.Options(rounds=1), (case,), epochs=2)
    assert [row.baseline for row in rows] == ["run anew"] * 4 + ["fine-tuning"] * 2


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_every_contestant_takes_the_same_weighted_step(norm, capsys):
    import torch

    from bench.backbones.base import build

    case = weighting.Case("small", "cnn", (1, 8, 8), 1, "", arguments=(("channels", (4, 4)), ("norm", norm)))
    network = build("cnn", (1, 8, 8), weighting.CLASSES, 0, 1, channels=(4, 4), norm=norm).double()
    for table in (weighting.L2RW, weighting.MW_NET):
        found = {}
        for name, work in weighting.contestants(table, case).items():
            setting = weighting.Setting(case, network=network)
            work(setting)
            moved = [p.detach().flatten() for p in (*setting.network.parameters(), *setting.weigher.parameters())]
            found[name] = torch.cat(moved)
        assert {"ours", "higher", "double backward"} <= set(found)
        before = weighting.Setting(case, network=network)
        start = torch.cat([p.detach().flatten() for p in (*before.network.parameters(), *before.weigher.parameters())])
        assert not torch.equal(found["ours"], start)
        assert all(torch.allclose(one, found["ours"], rtol=1e-9, atol=1e-12) for one in found.values())
    # torch.func does not take batch norm's counter, and that is said.
    assert ("torch.func jvp cannot" in capsys.readouterr().out) == (norm == "batch")


def test_the_table_of_weighted_steps():
    import torch

    case = weighting.Case("small", "cnn", (1, 8, 8), 1, "<= 100", ">= 0.01", (("channels", (4, 4)),))
    rows = weighting.measure(ratios.Options(rounds=1), (case,), memory=False)
    aims = {(row.benchmark, row.baseline): row.aim for row in rows}
    assert aims["weighting: time of L2RW, small", "plain step"] == "<= 100"
    assert aims["weighting: speed of L2RW, small", "higher"] == weighting.FASTER
    assert aims["weighting: speed of MW-Net, small", "higher"] == ">= 0.01"
    assert weighting.alone("plain", "cpu") > 50
    assert torch.get_num_threads() == 1


def test_a_bare_loop_says_how_long_it_took(capsys):
    import torch

    threads = torch.get_num_threads()
    try:
        launch.bare("1")
    finally:
        torch.set_num_threads(threads)
    assert float(capsys.readouterr().out) > 0


def test_empty_trials_are_rows_that_nobody_trained(tmp_path, capsys):
    from bench import runner

    before = runner.Runner.run_trials, runner.trainable_parameters
    try:
        launch.empty(str(tmp_path / "empty"), '{"jobs": 0}', "20")
    finally:
        runner.Runner.run_trials, runner.trainable_parameters = before
    assert float(capsys.readouterr().out) > 0
    rows = load_results(tmp_path / "empty" / "run")
    assert Counter(rows.strategy) == {"scratch": 10, "feature-extraction": 10}
    assert set(rows.seconds) == {0.0}
    assert set(rows.test_accuracy) == {1.0}
    assert sum(r["kind"] == "source" for r in read_records(tmp_path / "empty" / "run")) == 1


def test_ways_to_run_take_turns_and_what_is_not_installed_is_said(tmp_path, monkeypatch, capsys):
    asked = []

    def fake(*arguments):
        asked.append(arguments)
        return "600"

    monkeypatch.setattr(launch, "_in_process", fake)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    found = launch.measure(ratios.Options(rounds=2))
    assert [line.benchmark for line in found][1:] == [
        "launch: speed of 2 processes, a bare loop",
        *(f"launch: empty trials by {n}" for n in ("1 process", "2 processes")),
    ]
    # Two that take 600 s each, side by side, do twice what one does in 600 s.
    assert [line.ratios for line in found[1:]] == [[2.0] * 2, [600.0] * 2, [600.0] * 2]
    assert "Ray is not installed" in capsys.readouterr().out
    suites = [tuple(arguments[4:]) for arguments in asked if arguments[0] == "suite"]
    assert len(suites) == 4
    assert suites[0] == suites[3] != suites[1] == suites[2]
