"""``ntbench plan`` and ``ntbench list``."""

from __future__ import annotations

import re

import pytest
from cli_suite import SUITE, TRIALS

from bench.cli.wording import counted, duration, rate
from bench.ledger.file import LEDGER
from bench.registry import TASKS
from bench.suite.model import Recipe


def row(text, name):
    """Return the numbers of one line of a summary."""
    line = next(line for line in text.splitlines() if line.startswith(name + "  "))
    return [int(n.replace(",", "")) for n in line[len(name) :].split()]


def test_a_plan_before_anything_was_run(suite, tmp_path, ntbench):
    done = ntbench("plan", suite, "--out", tmp_path / "none")
    assert done.code == 0
    assert row(done.out, "trials") == [TRIALS, 0, 0, TRIALS]
    assert row(done.out, "source models") == [4, 0, 0, 4]
    assert row(done.out, "noisy -> digits") == [14, 0, 0, 14]
    assert row(done.out, "zero-shot") == [4, 0, 0, 4]
    assert "guess" in done.out  # an estimate with nothing measured says what it is
    assert not (tmp_path / "none").exists()


def test_a_plan_of_a_finished_run(finished, ntbench):
    suite, out, _ = finished
    done = ntbench("plan", suite, "--out", out)
    assert row(done.out, "trials") == [TRIALS, TRIALS, 0, 0]
    assert row(done.out, "source models") == [4, 4, 0, 0]
    assert "Nothing is missing." in done.out


def test_a_plan_in_the_middle_estimates_from_what_was_measured(finished, tmp_path, ntbench):
    suite, out, _ = finished
    half = tmp_path / "half"
    half.mkdir()
    lines = (out / LEDGER).read_bytes().splitlines(keepends=True)
    (half / LEDGER).write_bytes(b"".join(line for line in lines if b'"kind":"trial"' not in line))
    trials = [line for line in lines if b'"kind":"trial"' in line]
    with (half / LEDGER).open("ab") as file:
        file.write(b"".join(trials[::2]) + b'{"crc":"torn')
    done = ntbench("plan", suite, "--out", half)
    assert row(done.out, "trials") == [TRIALS, TRIALS // 2, 0, TRIALS // 2]
    assert "from the times of the trials that are done" in done.out
    assert "cut short by an interruption" in done.err


def test_a_plan_says_what_its_estimate_rests_on(finished, tmp_path, ntbench):
    suite, out, _ = finished
    part = tmp_path / "part"
    part.mkdir()
    lines = (out / LEDGER).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"kind":"trial"' not in line or b'"strategy":"scratch"' in line]
    (part / LEDGER).write_bytes(b"".join(kept))
    said = ntbench("plan", suite, "--out", part, "--jobs", "1").out.splitlines()[-1]
    # Fine-tuning everything costs what scratch costs; other frozen depths are predicted from it.
    shares = re.search(r"on 1 worker, (\d+)% of it from the times of .* same shape and (\d+)% of it predicted", said)
    assert said.startswith("About ")
    assert int(shares[1]) + int(shares[2]) in (99, 100, 101)
    assert "guess" not in said


def test_conditions_and_seeds_of_a_plan(suite, tmp_path, ntbench):
    out = tmp_path / "none"
    done = ntbench("plan", suite, "--out", out, "--seeds", "0-9", "--where", "strategy=fine-tune", "source=near")
    assert row(done.out, "trials") == [10 * 2 + 10 * 2 * 2, 0, 0, 60]
    assert ntbench("plan", suite, "--where", "backbone=cn").code == 2


def test_a_suite_of_a_million_trials(tmp_path, ntbench):
    suite = tmp_path / "large.toml"
    pairs = '[[pairs]]\nsources = ["near", "noisy"]\ntarget = "digits"\n'
    sizes = ", ".join(str(n) for n in range(20, 520))
    suite.write_text(SUITE.replace("[20, 40]", f"[{sizes}]").replace("seeds = 2", "seeds = 300"))
    assert pairs in suite.read_text()
    done = ntbench("plan", suite, "--out", tmp_path / "none")
    assert done.code == 0
    assert row(done.out, "trials")[0] == 300 * 500 + 2 * 300 * (1 + 3 * 500) > 10**6


def test_what_is_unknown_before_data_are_read_is_said(tmp_path, ntbench):
    folder = tmp_path / "images"
    folder.mkdir()
    suite = tmp_path / "own.toml"
    own = 'near = { folder = "images" }'
    suite.write_text(SUITE.replace('near = { task = "printed-digits", n = 200, n_test = 50, image_size = 8 }', own))
    done = ntbench("plan", suite, "--out", tmp_path / "none")
    assert done.code == 0
    assert "The classes of near, noisy are known once their data are read" in done.out


@pytest.mark.parametrize(
    "kind", ["tasks", "changes", "backbones", "strategies", "adaptations", "measures", "weightings", "metrics"]
)
def test_lists_have_every_name_with_a_summary(kind, ntbench):
    from bench.cli.listing import registries

    done = ntbench("list", kind)
    assert done.code == 0
    lines = done.out.splitlines()
    for name in registries()[kind].names():
        place = lines.index(name)
        assert lines[place + 1].startswith("    ")


def test_lists_have_arguments_with_defaults(ntbench):
    out = ntbench("list", "strategies").out
    assert "probe = 0.5, lr = 1.0, copied_lr = unset" in out
    assert 'rate (needed), kind = "uniform"' in ntbench("list", "changes").out
    assert "channels = [16, 32, 32, 64]" in ntbench("list", "backbones").out


def test_all_names_at_once_and_a_wrong_kind(ntbench):
    done = ntbench("list")
    assert f"tasks ({len(TASKS.names())})" in done.out
    wrong = ntbench("list", "strategys")
    assert wrong.code == 2
    assert 'did you mean "strategies"' in wrong.err


def test_a_plug_in_is_listed(tmp_path, ntbench):
    plugin = tmp_path / "mine.py"
    body = 'def f(depth, *, a=3):\n    """Do it."""\n    yield bench.point("m", 1, 0)\n'
    plugin.write_text(f'import bench\n\n\n@bench.strategy("listed-mine")\n{body}')
    done = ntbench("list", "strategies", "--plugin", plugin)
    assert "listed-mine\n    Do it.\n    a = 3\n" in done.out


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (3600, "1 h"),
    ],
)
def test_times(seconds, said):
    assert duration(seconds) == said


def test_rates_and_counts():
    assert [rate(r) for r in (123.4, 3.21, 0.5, 0.01)] == ["123/s", "3.2/s", "30/min", "36/h"]
    assert [counted(1, "trial"), counted(12000, "trial"), counted(2, "match", "matches")] == [
        "1 trial", "12,000 trials", "2 matches",
    ]  # fmt: skip


def test_a_recipe_s_keys_are_listed_each_with_its_meaning_default_and_what_is_allowed(ntbench):
    done = ntbench("list", "recipe")
    assert done.code == 0
    entries = dict(re.findall(r"^(\w+)\n((?:    .*\n)+)", done.out, re.MULTILINE))
    assert list(entries) == list(Recipe.model_fields)
    for name, text in entries.items():
        meaning, default = text.rsplit(f"{name} = ", 1)
        assert len(meaning.split()) > 3, f"{name} is not explained in the docstring of Recipe"
        assert ";" in default
    for name, said in (
        ("steps", "steps = 100 ([source_recipe]: 400); a whole number, 1 or more"),
        ("optimizer", 'optimizer = "sgd"; one of "sgd", "adam", "adamw"'),
        ("momentum", "momentum = 0.9; a number, 0 or more, below 1"),
        ("learning_rates", "[0.01, 0.03, 0.1] ([source_recipe]: [0.05]); a list, each a number, above 0"),
        ("validation_size", "a whole number, 1 or more or left out"),
        ("head", 'head = "solved"; one of "solved", "stepped"'),
        ("head_strengths", "head_strengths = unset; a list, each a number, above 0 or left out"),
        ("augment", 'a list, each one of "flip", "shift"'),
    ):
        assert said in entries[name]
    assert 'did you mean "recipe"' in ntbench("list", "recipes").err


def test_the_recipe_in_force_is_said_with_what_handed_in_weights_make_of_it(suite, tmp_path, ntbench):
    line = "recipe: sgd at learning rates 0.1, copied blocks at 0.1 of them; 5 steps of 32 examples; heads on frozen "
    line += "blocks solved at L2 strength 0.01\n"
    assert line in ntbench("plan", suite).out
    assert line in ntbench("check", suite).out
    (tmp_path / "mine.pt").write_bytes(b"weights")
    text = suite.read_text().replace('sources = ["near", "noisy"]', 'sources = ["near", "mine"]')
    suite.write_text(text + '[models]\nmine = { state_dict = "mine.pt" }\n')
    said = ntbench("plan", suite).out
    assert "recipe: adamw at learning rates 0.1, copied blocks at 0.1 of them; 5 steps of 32 examples; warm-up" in said
    assert "(optimizer, warmup, clip_norm: the defaults of suites with [models])" in said
