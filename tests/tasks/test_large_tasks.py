"""Tasks larger than memory: the same values, keys and errors, and a process that stays small."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_arrays import largest_file, on_disk

from bench.errors import DataError, StoreError
from bench.identity import generator
from bench.registry import CHANGES, TASKS
from bench.tasks import arrays
from bench.tasks.base import PARTS
from bench.tasks.build import read_task, save_task
from bench.tasks.contract import check_task
from bench.tasks.contract_change import EXAMPLES
from bench.tasks.fit import fit

LIMIT = "300K"
CHANGED = [*EXAMPLES, "pixel_permutation", "inversion", "shuffled_labels", "class_half", "example_half", "mix"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four classes of 60 images of 48 x 40 in colour: 1.4 MB once decoded."""
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in "abcd":
        (place / name).mkdir()
        for k in range(60):
            pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / name / f"{k}.bmp")
    return place


def read(path):
    return TASKS.get("image-folder").function(Path(), path=str(path))


@pytest.fixture(scope="module")
def in_memory(folder):
    return read(folder)


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setenv("NTBENCH_MEMORY", LIMIT)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 2**16)


def assert_same(ours, expected):
    assert ours.fingerprint == expected.fingerprint
    assert (ours.name, ours.version, ours.classes) == (expected.name, expected.version, expected.classes)
    for part in PARTS:
        a, b = getattr(ours, part), getattr(expected, part)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_a_folder_larger_than_memory_gives_the_same_task(folder, in_memory, little_memory):
    task = read(folder)
    assert on_disk(task.x)
    assert not on_disk(in_memory.x)
    assert_same(task, in_memory)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 40, 48), (3, 9, 48)])
def test_and_the_same_images_at_another_shape(folder, in_memory, monkeypatch, shape):
    expected = fit(in_memory, shape)
    monkeypatch.setenv("NTBENCH_MEMORY", LIMIT)
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 2**16)
    task = read(folder)
    fitted = fit(task, shape)
    assert on_disk(fitted.x) == (expected.x.nbytes > arrays.memory_limit())
    assert_same(fitted, expected)
    assert fit(task, task.shape) is task


@pytest.mark.parametrize("name", CHANGED)
def test_and_the_same_changes(folder, in_memory, monkeypatch, name):
    def changed(task):
        arguments = EXAMPLES.get(name, {}) if name != "mix" else {"task": fit(task, (1, 20, 20)), "share": 0.3}
        return CHANGES.get(name).function(task, generator("change", name), **arguments)

    expected = changed(in_memory)
    monkeypatch.setenv("NTBENCH_MEMORY", LIMIT)
    task = read(folder)
    made = changed(task)
    assert on_disk(made.x) == (expected.x.nbytes > arrays.memory_limit())
    assert_same(made, expected)
    if name in ("label_noise", "shuffled_labels"):
        assert np.shares_memory(made.x, task.x)


def test_the_contract_holds_and_notices_as_ever(folder, little_memory):
    assert check_task(lambda: read(folder)) == []

    def leaky():
        task = read(folder)
        return task.changed(x_test=task.x[:72])

    assert any("72 of 72 test images are also in the train pool" in problem for problem in check_task(leaky))


def test_a_folder_without_room_on_the_disk_is_named(folder, little_memory):
    with largest_file(2**20), pytest.raises(DataError, match=f"^{folder}: an array of 240 x 3 x 40 x 48 takes 1.3"):
        read(folder)


# npz --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).integers(0, 256, (300, 20, 10, 3), dtype=np.uint8),
        np.random.default_rng(0).random((300, 1, 20, 10)),
        np.random.default_rng(0).integers(0, 256, (300, 20, 10)),
        np.asfortranarray(np.random.default_rng(0).random((3000, 9))),
    ],
    ids=["channels-last", "floats", "whole-numbers", "fortran-table"],
)
def test_npz_larger_than_memory(tmp_path, monkeypatch, x, save):
    save(tmp_path / "a.npz", x=x, y=np.arange(len(x)) % 3)
    whole = TASKS.get("npz").function(tmp_path, path="a.npz")
    monkeypatch.setenv("NTBENCH_MEMORY", "40K")
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 5000)
    task = TASKS.get("npz").function(tmp_path, path="a.npz")
    assert on_disk(task.x)
    assert_same(task, whole)


def test_a_damaged_or_pickled_npz_larger_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("NTBENCH_MEMORY", "1K")
    x = np.random.default_rng(0).integers(0, 256, (300, 1, 20, 10), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(300) % 3)
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[30000] ^= 255
    (tmp_path / "a.npz").write_bytes(damaged)
    np.savez(tmp_path / "b.npz", x=np.array([{}] * 3000), y=np.arange(3000) % 3)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read: Bad CRC-32"):
        TASKS.get("npz").function(tmp_path, path="a.npz")
    with pytest.raises(DataError, match=r'b\.npz: "x" holds pickled Python objects'):
        TASKS.get("npz").function(tmp_path, path="b.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_checksum_of_an_npz_larger_than_memory_is_compared(tmp_path, monkeypatch, save):
    monkeypatch.setenv("NTBENCH_MEMORY", "1K")
    save(tmp_path / "a.npz", x=np.zeros((300, 1, 20, 10), np.uint8), y=np.arange(300) % 3)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 16] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read: Bad CRC-32"):
        TASKS.get("npz").function(tmp_path, path="a.npz")


# For worker processes ---------------------------------------------------------------------------------


@pytest.fixture(params=["all parts", "few parts"])
def saved(request, tmp_path, in_memory):
    """A task and the folder that it was saved in; named as a file, which is nobody's concern."""
    task = in_memory
    if request.param == "all parts":
        flags = np.arange(len(task.y)) % 3 == 0
        task = task.changed(x=task.x[::-1] / np.float32(255), harmful=flags, domains=flags * 2, name="mixed", version=4)
        task = task.changed(x_test=task.x_test.astype(np.float32) / 255)
    (tmp_path / "work").mkdir()
    save_task(task, tmp_path / "work" / "f.safetensors")
    return task, tmp_path / "work" / "f.safetensors"


def test_what_is_read_is_what_was_saved(saved):
    task, path = saved
    found = read_task(path)
    assert_same(found, task)
    assert_same(found.changed(), task)


def test_inputs_are_mapped_and_cannot_be_written(saved):
    found = read_task(saved[1])
    for x in (found.x, found.x_test):
        assert on_disk(x)
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 0


def test_only_the_folder_itself_is_left_and_saving_again_replaces_it(saved):
    task, path = saved
    left = path.with_name(f"{path.name}.part")
    left.mkdir()
    (left / "left").write_text("by a killed run")
    save_task(task.changed(version=9), path)
    assert read_task(path).version == 9
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_leaves_nothing_half_written(in_memory, tmp_path):
    with largest_file(2**19), pytest.raises(StoreError, match=r"cannot write .*f\.safetensors: File too large"):
        save_task(in_memory, tmp_path / "f.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_saved_task_is_never_unpickled(saved):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(saved[1].parent / "exploded"),)

    for part in ("x", "y"):
        shutil.copy(saved[1] / f"{part}.npy", saved[1] / "kept")
        np.save(saved[1] / f"{part}.npy", np.array([Bomb()] * 20, dtype=object), allow_pickle=True)
        with pytest.raises(StoreError, match="cannot read the task in"):
            read_task(saved[1])
        shutil.move(saved[1] / "kept", saved[1] / f"{part}.npy")
    assert not (saved[1].parent / "exploded").exists()
    assert read_task(saved[1]).fingerprint == saved[0].fingerprint


def test_a_damaged_saved_task_is_an_error(saved):
    path = saved[1]
    x = (path / "x.npy").read_bytes()
    (path / "x.npy").write_bytes(x[:1000])
    with pytest.raises(StoreError, match="cannot read the task in"):
        read_task(path)
    (path / "x_test.npy").rename(path / "x.npy")
    with pytest.raises(StoreError, match=r"cannot read the task in .*No such file"):
        read_task(path)
    with pytest.raises(StoreError, match="No such file"):
        read_task(path.parent / "none")


# The size of the process ------------------------------------------------------------------------------

PEAK = """
import sys
from pathlib import Path

import torch

from bench.registry import CHANGES, TASKS
from bench.identity import generator
from bench.tasks import arrays
from bench.tasks.build import read_task, save_task
from bench.tasks.fit import fit

torch.set_num_threads(1)
arrays.CHUNK_BYTES = 2**20


def peak():
    # Not the resource module's figure, which begins with what the parent held.
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def go(path, size):
    task = TASKS.get("image-folder").function(Path(), path=path, image_size=size)
    task = CHANGES.get("label_noise").function(task, generator("change"), rate=0.4)
    task = CHANGES.get("example_half").function(task, generator("change"))
    task = CHANGES.get("inversion").function(task, generator("change"))
    task.fingerprint
    save_task(task, Path(path).parent / str(size))
    found = read_task(Path(path).parent / str(size))
    fit(found, (1, size - 1, size)).fingerprint
    TASKS.get("npz").function(Path(path).parent, path=f"{size}.npz")
    return task.x.nbytes + task.x_test.nbytes


go(sys.argv[1], 8)
before = peak()
size = go(sys.argv[1], int(sys.argv[2]))
print(size, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory NOT TESTED: there is no /proc here")
def test_the_process_does_not_grow_with_the_folder(tmp_path):
    for name in "ab":
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.effect_noise((16, 16), 90).convert("RGB").save(tmp_path / name, "png")
        for k in range(150):
            shutil.copy(tmp_path / name, tmp_path / "images" / name / f"{k}.png")
    for size in (8, 250):
        x = np.zeros((300, size, size, 3), np.uint8)
        np.savez_compressed(tmp_path / f"{size}.npz", x=x, y=np.arange(300) % 2)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "images"), "250"],
        env={**os.environ, "NTBENCH_MEMORY": LIMIT}, cwd=Path(__file__).parents[2], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    size, growth = map(int, done.stdout.split())
    assert size > 36e6
    assert growth < 16e6
