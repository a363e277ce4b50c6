"""``ntbench check`` says every mistake of a suite in one pass, each once, with its place and the nearest match."""

from __future__ import annotations

import numpy as np
import pytest

EVERY = """\
backbones    = [
  "cnnn",
  { backbone = "cnn", chanels = [4] },
  { backbone = "mlp", wdths = [4], weights = "DEFAULT", name = 3 },
  4,
]
strategies   = [
  "fine-tuna",
  { strategy = "fine-tune", depth = [1], method = "l2-spp", adapt = "nrom" },
  { strategy = "fine-tune", depths = [9], method = { name = "l2-sp", alpa = 1 }, adapt = { name = "lora", rnk = 3 } },
  { name = "mine", transfer = 99, freeze = 88, stps = 1, keep_head = 1 },
  { name = "path", transfer = "all", path = [{ feeze = 1 }, { share = "a" }] },
  5,
]
weighting    = ["unifrom", { weighting = "l2rw", meta_shar = 1, name = 3 }, 6]
measures     = ["leap", "leep", "leep", 7]
metric       = "acuracy"
target_sizes = [20, 20, 0, "x per class"]
seeds        = [0, -1, "a"]
lanes        = "many"
standardise  = "targt"
strategie    = ["x"]

[recipe]
stps = 5
optimizer = "adamm"
learning_rates = [0.1, -1]
head_strengths = [1, 2, 3]
validation_size = 5
steps = 3

[source_recipe]
warmup = 10

[statistics]
alfa = 3
test = "z"
family = ["targt"]
contrasts = { one = { sorce = "x" }, two = {} }

[tasks]
noisy = { task = "printed-digits", label_nois = 0.4, label_noise = { rat = 0.1 } }
wrong = { task = "printed-digts", characters_ = 1, label_noise = { share = 0.1 } }
more  = { task = "wrong", inversio = true, rotation = { degres = 3 } }
bad   = 1

[models]
m1 = { state_dikt = "x", download = "yes" }
m2 = { state_dict = "nowhere.pt", classes = ["a", "a"] }
m3 = { state_dict = "text.pt" }
m4 = 3

[source_methods]
noisy = "l2-spp"
nosy  = "bss"

[[pairs]]
target  = "digitz"
sources = ["noisy", "nois", 8]
[[pairs]]
target  = "prnted-digits"
surce   = "noise"
[[pairs]]
target  = 9
sources = ["glyps", ["noise"]]
[[pairs]]
target  = "m3"
source  = ["glyphs"]
"""

SAID = [
    ("backbones[0]", 2, 'unknown backbone "cnnn"; did you mean "cnn"?'),
    ("backbones[1]", 3, 'did you mean "channels"?'),
    ("backbones[2]", 4, "published weights are a source"),
    ("backbones[2]", 4, "name = 3 is not text"),
    ("backbones[2]", 4, 'did you mean "widths"?'),
    ("backbones[3]", 5, "must be text or a table, got 4"),
    ("strategies[0]", 8, 'unknown strategy "fine-tuna"; did you mean "fine-tune"?'),
    ("strategies[1]", 9, 'no argument "depth"; did you mean "depths"?'),
    ("strategies[1]", 9, 'unknown method "l2-spp"; did you mean "l2-sp"?'),
    ("strategies[1]", 9, 'unknown adaptation "nrom"; did you mean "norm"?'),
    ("strategies[2]", 10, 'depth 9 is not within 0 to 3 (if backbone "cnn" is meant)'),
    ("strategies[2]", 10, 'did you mean "alpha"?'),
    ("strategies[2]", 10, 'did you mean "rank"?'),
    ("strategies[3]", 11, "transfer = 99 is not within 0 to 4"),
    ("strategies[3]", 11, "freeze = 88 is not within 0 to 4"),
    ("strategies[3]", 11, '"stps" is not part of a strategy; did you mean "steps"?'),
    ("strategies[3]", 11, "keep_head = 1 is neither true nor false"),
    ("strategies[4]", 12, '"feeze" is not part of a path; did you mean "freeze"?'),
    ("strategies[4]", 12, "share = 'a' is not a number"),
    ("strategies[5]", 13, "must be text or a table, got 5"),
    ("weighting[0]", 15, 'did you mean "uniform"?'),
    ("weighting[1]", 15, 'did you mean "meta_share"?'),
    ("weighting[1]", 15, "name = 3 is not text"),
    ("weighting[2]", 15, "must be text or a table, got 6"),
    ("measures[0]", 16, 'unknown measure "leap"; did you mean "leep"?'),
    ("measures[3]", 16, "must be text, got 7"),
    ("measures", 16, "duplicate value leep"),
    ("metric", 17, 'unknown metric "acuracy"; did you mean "accuracy"?'),
    ("target_sizes[2]", 18, "a size must be at least 1"),
    ("target_sizes[3]", 18, '"x per class" is not a size'),
    ("target_sizes", 18, "duplicate value 20"),
    ("seeds[1]", 19, "must be greater than or equal to 0, got -1"),
    ("seeds[2]", 19, "must be a whole number, got 'a'"),
    ("lanes", 20, "must be 'auto' or a whole number, got 'many'"),
    ("standardise", 21, 'did you mean "target"?'),
    ("strategie", 22, 'unknown key "strategie"; did you mean "strategies"?'),
    ("recipe.stps", 25, 'unknown key "stps"; did you mean "steps"?'),
    ("recipe.optimizer", 26, "'sgd', 'adam' or 'adamw', got 'adamm'"),
    ("recipe.learning_rates[1]", 27, "must be greater than 0, got -1"),
    ("recipe", 24, "checkpoints = 5 is more than steps = 3"),
    ("recipe", 24, 'validation_size belongs to validation = "extra"'),
    ("source_recipe.warmup", 33, "must be less than 1, got 10"),
    ("statistics.alfa", 36, 'did you mean "alpha"?'),
    ("statistics.test", 37, "'t', 'sign-flip' or 'auto', got 'z'"),
    ("statistics.family[0]", 38, "got 'targt'"),
    ("statistics.contrasts.one.sorce", 39, 'unknown key "sorce"; did you mean "source"?'),
    ("statistics.contrasts.two", 39, "a contrast must say which comparisons it means"),
    ("tasks.noisy", 42, 'did you mean "label_noise"?'),
    ("tasks.noisy.label_noise", 42, 'no argument "rat"; did you mean "rate"?'),
    ("tasks.noisy.label_noise", 42, 'needs the argument "rate"'),
    ("tasks.wrong.task", 43, 'unknown task "printed-digts"; did you mean "printed-digits"?'),
    ("tasks.wrong", 43, '(if task "printed-digits" is meant)'),
    ("tasks.wrong.label_noise", 43, 'no argument "share"'),
    ("tasks.wrong.label_noise", 43, 'needs the argument "rate"'),
    ("tasks.more", 44, 'did you mean "inversion"?'),
    ("tasks.more.rotation", 44, 'no argument "degres"; did you mean "degrees"?'),
    ("tasks.more.rotation", 44, 'needs the argument "degrees"'),
    ("tasks.bad", 45, "must be text or a table, got 1"),
    ("models.m1", 48, 'did you mean "state_dict"?'),
    ("models.m1.download", 48, "'yes' is not true or false"),
    ("models.m2.classes", 49, "at least two different names"),
    ("models.m2.state_dict", 49, "no file at"),
    ("models.m3.state_dict", 50, "text.pt"),
    ("models.m4", 51, "must be a table, got 3"),
    ("source_methods.noisy", 54, 'unknown method "l2-spp"; did you mean "l2-sp"?'),
    ("source_methods.nosy", 55, "is no source of the suite"),
    ("source_methods.nosy", 55, "which a source model is trained without"),
    ("pairs[0].target", 58, 'unknown task "digitz"; did you mean "digits"?'),
    ("pairs[0].sources[1]", 59, 'unknown task "nois"; did you mean "noisy"?'),
    ("pairs[0].sources[2]", 59, "got 8"),
    ("pairs[1].target", 61, 'did you mean "printed-digits"?'),
    ("pairs[1].surce", 62, 'unknown key "surce"; did you mean "source"?'),
    ("pairs[2].target", 64, "must be text, got 9"),
    ("pairs[2].sources[0]", 65, 'unknown task "glyps"; did you mean "glyphs"?'),
    ("pairs[2].sources[1]", 65, "got ['noise']"),
    ("pairs[3].target", 67, "can be a source only"),
    ("pairs[3].source", 68, "must be text, got ['glyphs']"),
]


def test_every_mistake_of_a_suite_is_said_at_once_each_with_its_line(tmp_path, ntbench):
    path = tmp_path / "every.toml"
    path.write_text(EVERY)
    (tmp_path / "text.pt").write_text("no tensors")
    done = ntbench("check", path)
    assert done.code == 2
    lines = done.err.splitlines()[1:]
    for place, line, message in SAID:
        found = [said for said in lines if said.startswith(f"  {place} (line {line}): ") and message in said]
        assert len(found) == 1, (place, message, done.err)
        lines.remove(found[0])
    assert not lines
    assert f"{len(SAID)} problems" in done.err


def test_what_is_said_of_one_part_does_not_hang_on_another(tmp_path, ntbench):
    path = tmp_path / "every.toml"
    (tmp_path / "text.pt").write_text("no tensors")
    before, _, after = EVERY.partition("[recipe]")
    rest = after.partition("[source_recipe]")[2]
    path.write_text(f"{before}\n[source_recipe]{rest}")
    done = ntbench("check", path)
    assert f"{len([one for one in SAID if not one[0].startswith('recipe')])} problems" in done.err


MALFORMED = [
    "[recipe]\nstps = 5\n[statistics]\nmargin = -1\n",
    "[models]\nm = 3\n",
    '[tasks.b]\nnpz = "b.npz"\nx = 1\n',
]


@pytest.mark.parametrize("wrong", MALFORMED)
def test_what_is_malformed_hides_nothing_of_the_data(tmp_path, ntbench, wrong):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.random((60, 4), np.float32), y=np.arange(60) % 2)
    path = tmp_path / "some.toml"
    path.write_text(
        'backbones = ["mlp"]\ntarget_sizes = [20, 300, 42]\nseeds = 1\nweighting = [{ weighting = "l2rw", meta_share = '
        '0.1, head = "shared" }, "unifrom"]\nstrategies = [{ strategy = "fine-tune", method = "dann" }, "fine-tuna"]\n'
        f'unlabelled_size = 5\n{wrong}[tasks.a]\nnpz = "a.npz"\n[[pairs]]\ntarget = "a"\nsource = "moons"\n'
    )
    done = ntbench("check", path, "--data")
    assert done.code == 2
    assert 'did you mean "uniform"?' in done.err
    assert 'did you mean "fine-tune"?' in done.err
    for said in (
        'target "a", size 300: needs 300 examples, the train pool has 42',
        'size 42 leaves none of 42; use smaller sizes',
        'weighting "l2rw" is left 1 target examples to learn from',
        "pair moons -> a: The source has 2 columns and the target 4",
    ):  # fmt: skip
        assert said in done.out, (said, done.out)
    assert "Traceback" not in done.err
