"""Suites, ledgers and checkpoints with anything in them: a clear error or a result, never a traceback, a hang or
runaway memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

import bench
from bench.backbones.base import build
from bench.ledger.file import LEDGER, decode
from tests.reliability.fuzz import ledger_lines, read_checkpoint, read_ledger, read_suite

EXAMPLES = int(os.environ.get("NTBENCH_FUZZ", "60"))  # more of them for a night
FEW = settings(
    deadline=None, max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
FEWER = settings(FEW, max_examples=EXAMPLES // 4)  # what takes long
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RECORDED = ("trial", "source", "similarity", "task", "run")

# What stands in files by mistake or by malice: of the wrong kind, too large, too deep, too long, not a number.
odd = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 50), st.sampled_from([2**31, 2**63, 2**64, 10**300, -(2**63)]),
    st.floats(), st.text(max_size=20), st.sampled_from(["digits", "noise", "cnn", "all", "0-9", "5 per class", "../x"]),
    st.just("\x00"), st.just("\ud800"), st.just("x" * 5_000), st.lists(st.integers(0, 9), max_size=4),
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=3),
)  # fmt: skip


def toml(value):
    """Write a value as TOML, strange or not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(json.dumps(value), repr(value))
    return '""' if value is None else json.dumps(value)


def places(value, path=()):
    """Every place within nested values."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def drawn_change(data, value):
    """Replace, remove or add something somewhere within a value."""
    path = data.draw(st.sampled_from([p for p in places(value) if p]))
    if data.draw(st.integers(0, 4)) == 0 and isinstance(path[-1], str):
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        return changed(value, path[:-1], {k: v for k, v in holder.items() if k != path[-1]})
    return changed(value, path, data.draw(odd))


def drawn_damage(data, content):
    """Flip, cut, repeat or insert bytes."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(0, len(content) - 1)))
        end = start + data.draw(st.sampled_from([0, 1, 4, 8, 64]))
        content[start:end] = data.draw(
            st.binary(max_size=8) | st.just(content[start:end] * 2) | st.sampled_from([b"\xff" * 8, b"\x00" * 8])
        )
    return bytes(content)


# --- suites --------------------------------------------------------------------------------------------

SUITE = {
    "name": "s", "backbones": ["cnn", {"backbone": "mlp", "widths": [8], "name": "m"}], "seeds": 2,
    "strategies": ["triangle", {"strategy": "fine-tune", "depths": [0]}, {"name": "own", "transfer": 1, "freeze": 0}],
    "weighting": ["uniform", {"weighting": "per-example", "name": "w"}], "target_sizes": [20, "5 per class", "all"],
    "image_size": 8, "measures": ["leep"], "lanes": "auto", "precision": "float32", "source_models": 1,
    "tasks": {"near": {"task": "printed-digits", "n": 100}, "mixed": {"task": "near", "mix": "digits", "rotation": 9}},
    "models": {"given": {"state_dict": "x.pt"}, "known": {"weights": "DEFAULT", "classes": ["a", "b"]}},
    "pairs": [{"target": "digits", "sources": ["near", "mixed"]}, {"target": "near", "source": "noise"}],
    "recipe": {"steps": 5, "learning_rates": [0.1], "checkpoints": 1}, "source_recipe": {"steps": 5},
    "statistics": {"margin": 0.02, "contrasts": {"a": {"source": "near"}}}, "data_root": "data", "description": "d",
}  # fmt: skip


def test_the_sound_ones_are_read(tmp_path, ledger):
    whole = {**SUITE, "models": {}}
    assert read_suite("\n".join(f"{k} = {toml(v)}" for k, v in whole.items()).encode(), tmp_path)
    assert read_ledger(ledger, tmp_path)
    assert all(read_checkpoint(content, tmp_path, (suffix,)) for suffix, content in CHECKPOINTS.items())


@FEW
@given(st.data())
def test_a_suite_with_anything_anywhere(tmp_path, data):
    suite = {**SUITE, "models": data.draw(st.sampled_from([{}, SUITE["models"]]))}  # sound, or not
    for _ in range(data.draw(st.integers(1, 3))):
        suite = drawn_change(data, suite)
        if not isinstance(suite, dict):
            return
    read_suite("\n".join(f"{json.dumps(k)} = {toml(v)}" for k, v in suite.items()).encode(errors="replace"), tmp_path)


@FEW
@given(st.data())
def test_a_suite_file_with_damage(tmp_path, data):
    path = data.draw(st.sampled_from(sorted(EXPERIMENTS.glob("*.toml"))))
    read_suite(drawn_damage(data, path.read_bytes()), tmp_path)


@FEW
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
def test_a_suite_file_of_anything(tmp_path, content):
    read_suite(content, tmp_path)


# --- ledgers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ledger(tmp_path_factory, small_suite):
    """A real ledger, one record of each kind and a few trials."""
    folder = tmp_path_factory.mktemp("run")
    bench.run({**small_suite, "seeds": 2, "target_sizes": [20]}, folder, jobs=0)
    return (folder / LEDGER).read_bytes()


@FEWER
@given(st.data())
def test_a_ledger_with_anything_anywhere(tmp_path, ledger, data):
    records = [decode(line) for line in ledger.splitlines(keepends=True)]
    kind = data.draw(st.sampled_from(RECORDED))
    place = data.draw(st.sampled_from([i for i, record in enumerate(records) if record["kind"] == kind]))
    record = records[place]
    for _ in range(data.draw(st.integers(1, 2))):
        record = drawn_change(data, record)
        if not isinstance(record, dict):
            return
    text = json.dumps(record).encode(errors="replace")  # NaN included, as somebody else might write it
    lines = ledger.splitlines(keepends=True)
    lines[place] = ledger_lines(text)
    read_ledger(b"".join(lines), tmp_path)


@FEWER
@given(st.data())
def test_a_ledger_with_damage(tmp_path, ledger, data):
    read_ledger(drawn_damage(data, ledger), tmp_path)


@FEWER
@given(st.lists(st.recursive(odd, lambda inner: st.lists(inner, max_size=3)).map(lambda v: {"kind": v}), max_size=3))
def test_a_ledger_of_anything(tmp_path, records):
    read_ledger(b"".join(ledger_lines(json.dumps(r).encode()) for r in records), tmp_path)


def test_a_line_that_is_nested_too_deeply(tmp_path, ledger):
    deep = b'{"kind":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert read_ledger(ledger + ledger_lines(deep), tmp_path)


def test_the_same_line_with_other_bytes_around_its_row(tmp_path, ledger):
    """The short way of reading takes a row by its place in the line."""
    line = next(line for line in ledger.splitlines(keepends=True) if b'"kind":"trial"' in line)
    for row in (b"", b"{}", b"{}{}", b"[1]", b'{"key":1}', b"{" * 9, b'{"status":"ok","seconds":1,"key":"k"}'):
        start, end = line.index(b',"row":') + 7, line.index(b',"detail":')
        read_ledger(ledger + ledger_lines(b"{" + line[19:start] + row + line[end:]), tmp_path)


# --- checkpoints ---------------------------------------------------------------------------------------


def _state():
    network = build("cnn", (1, 8, 8), 10, 0, 0, channels=[4, 4])
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


def _checkpoints():
    state = _state()
    whole, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": state}, whole)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    return {".pt": whole.getvalue(), ".pth": legacy.getvalue(), ".safetensors": save(state)}


CHECKPOINTS = _checkpoints()


@FEW
@given(st.sampled_from(sorted(CHECKPOINTS)), st.data())
def test_a_checkpoint_with_damage(tmp_path, suffix, data):
    content = CHECKPOINTS[suffix]
    # Most of a file is numbers; what is read as anything else stands near its ends.
    ends = content[:600], content[600:-600], content[-600:]
    which = data.draw(st.sampled_from([0, 2]))
    read_checkpoint(
        b"".join(drawn_damage(data, part) if i == which else part for i, part in enumerate(ends)), tmp_path, (suffix,)
    )


@FEW
@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(["blocks.b1.0.weight", "model"]), odd, max_size=3))
def test_a_checkpoint_of_anything(tmp_path, values):
    for protocol in (2, 4):
        read_checkpoint(pickle.dumps(values, protocol), tmp_path, (".pt", ".bin"))
    file = io.BytesIO()
    torch.save(values, file)
    read_checkpoint(file.getvalue(), tmp_path, (".pt",))


@FEW
@given(st.data())
def test_a_checkpoint_of_tensors_of_any_shape(tmp_path, data):
    state = _state()
    shapes = st.lists(st.integers(0, 4), max_size=5)
    for name in data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=3)):
        dtype = data.draw(st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]))
        state[name] = torch.zeros(data.draw(shapes), dtype=dtype)
    file = io.BytesIO()
    torch.save(state, file)
    read_checkpoint(file.getvalue(), tmp_path, (".pt",))


def test_a_safetensors_header_of_anything(tmp_path):
    huge = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'
    below = b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'
    for header in (b"{}", b"[]", b'{"a":1}', huge, below, b"\xff" * 20, random.Random(0).randbytes(40)):
        for length in (len(header), 2**63, 0, 2**40):
            read_checkpoint(length.to_bytes(8, "little") + header + bytes(4), tmp_path, (".safetensors",))
