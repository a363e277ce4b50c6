"""Arrays larger than memory: where they lie changes no value, and a full disk is an error that says so."""

import contextlib
import os
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import DataError
from bench.identity import digest_arrays
from bench.tasks import arrays
from bench.tasks.contract_change import example_task


def on_disk(x):
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap):
            return True
        x = x.base
    return False


@contextlib.contextmanager
def small(limit="200", chunk=64):
    """Let next to nothing stay in memory, and work through it in small pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NTBENCH_MEMORY", limit)
        patch.setattr(arrays, "CHUNK_BYTES", chunk)
        yield


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow beyond `size`, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# The limit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", 2**30),
        (" ", 2**30),
        ("0", 0),
        ("1000", 1000),
        ("3K", 3072),
        ("512M", 2**29),
        ("1.5g", 3 * 2**29),
        ("2 GiB", 2**31),
        ("7MB", 7 * 2**20),
        ("1T", 2**40),
    ],
)
def test_the_limit_comes_from_the_environment(monkeypatch, said, expected):
    monkeypatch.setenv("NTBENCH_MEMORY", said)
    assert arrays.memory_limit() == expected


@pytest.mark.parametrize("said", ["many", "-1", "2X", "G", "1e9", "1,5G", "inf", "2G 3"])
def test_a_limit_that_is_no_size_is_named(monkeypatch, said):
    monkeypatch.setenv("NTBENCH_MEMORY", said)
    with pytest.raises(DataError, match=rf'NTBENCH_MEMORY = "{said}": must be a number of bytes, such as 512M'):
        arrays.memory_limit()


def test_a_bad_limit_is_noticed_before_any_data_are_read(monkeypatch, tmp_path):
    from bench.suite.load import load_suite
    from bench.suite.plan import Plan
    from bench.tasks.build import build_task

    plan = Plan(load_suite({"target_sizes": [20], "pairs": [{"target": "MNIST", "sources": ["noise"]}]}))
    with pytest.raises(DataError, match="MNIST: torchvision cannot open it"):
        build_task(plan.tasks["MNIST"], tmp_path)
    monkeypatch.setenv("NTBENCH_MEMORY", "much")
    with pytest.raises(DataError, match='MNIST: NTBENCH_MEMORY = "much"'):
        build_task(plan.tasks["MNIST"], tmp_path)


def test_the_limit_decides_where_an_array_lies(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NTBENCH_MEMORY", "1K")
    assert not on_disk(arrays.allocate((4, 256), np.uint8))
    x = arrays.allocate((4, 257), np.uint8)
    assert on_disk(x)
    x[:] = np.arange(257) % 256
    arrays.release(x)
    assert (x == np.arange(257) % 256).all()
    # Nothing is left behind, whatever becomes of the process.
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reserves", [True, False])
def test_the_place_on_the_disk_is_taken_at_once(monkeypatch, tmp_path, reserves):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: (tmp_path / "file").open("w+b"))
    with small():
        arrays.allocate((5, 2**20 + 1), np.uint8)
    assert (tmp_path / "file").stat().st_size == 5 * (2**20 + 1)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 5 * 2**20


@pytest.mark.parametrize("reserves", [True, False])
def test_a_full_disk_is_a_clear_error(monkeypatch, reserves):
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with small(), largest_file(2**20):
        assert on_disk(arrays.allocate((2**20,), np.uint8))
        with pytest.raises(DataError) as caught:
            arrays.allocate((3, 2**19, 2), np.uint8, "xrays")
    said = str(caught.value)
    assert said.startswith("xrays: an array of 3 x 524288 x 2 takes 3 MiB, more than NTBENCH_MEMORY leaves in memory")
    assert "File too large" in said
    assert "TMPDIR" in said


def test_a_file_system_that_cannot_reserve_is_written_to(monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    with small():
        x = arrays.allocate((3, 2**20 + 1), np.uint8)
        x[:] = 7
    assert on_disk(x)
    assert x.sum(dtype=int) == 7 * x.size


def test_memory_that_is_not_there_is_a_clear_error(monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(DataError, match=r"xrays: an array of 4 x 5 takes 20 B, .*set NTBENCH_MEMORY below that"):
        arrays.allocate((4, 5), np.uint8, "xrays")


def test_giving_pages_back_keeps_a_private_mapping_as_it_was_changed(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(10000))
    for mode in ("c", "r+"):
        x = np.load(tmp_path / "x.npy", mmap_mode=mode)
        x[5000] = 3
        arrays.release(x, x[4000:][:2000], np.asarray(x))
        assert x[5000] == 3
    arrays.release(np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(3))


# Working through an array -----------------------------------------------------------------------------

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
DTYPES = st.sampled_from(["u1", "<f4", ">f8", "?"])


def numbers(shape, dtype, seed, order):
    x = np.random.default_rng(seed).integers(0, 2 if dtype == "?" else 256, shape).astype(dtype)
    channels_last = np.moveaxis(np.moveaxis(x, 1, 3).copy(), 3, 1)
    return {"C": x, "F": np.asfortranarray(x), "reversed": x[::-1], "last": channels_last}[order]


@settings(deadline=None, max_examples=60)
@given(
    shape=SHAPES, dtype=DTYPES, seed=st.integers(0, 99), order=st.sampled_from(["C", "F", "reversed", "last"]),
    limit=st.sampled_from(["0", "200", "1G"]), chunk=st.sampled_from([1, 64, 10**6]),
)  # fmt: skip
def test_pieces_give_what_numpy_gives_at_once(shape, dtype, seed, order, limit, chunk):
    x = numbers(shape, dtype, seed, order)
    rng = np.random.default_rng(seed)
    mask = rng.random(len(x)) < 0.5
    mask[0] = True
    indices = [
        mask,
        np.flatnonzero(mask),
        list(range(len(x))),
        slice(None, None, -2),
        rng.integers(-len(x), len(x), 30),
    ]
    with small(limit, chunk):
        made = [(arrays.take(x, index), x[index]) for index in indices]
        made.append((arrays.concatenate([x, x[:1], x]), np.concatenate([x, x[:1], x])))
        made.append((arrays.contiguous(x), np.ascontiguousarray(x)))
        made.append((arrays.map_rows(lambda rows: rows[:, :1].astype("f2") + 1, x), x[:, :1].astype("f2") + 1))
        for ours, expected in made:
            assert ours.dtype == expected.dtype
            np.testing.assert_array_equal(ours, expected)
            assert arrays.same(ours, expected.copy())
        assert arrays.contiguous(x).flags.c_contiguous
        np.testing.assert_array_equal(np.concatenate(list(arrays.chunks(x))), x)
        assert arrays.extremes(x) == (x.min(), x.max())
        whole = digest_arrays({"x": np.ascontiguousarray(x)})
        assert digest_arrays({"x": x}, chunks=arrays.chunks) == digest_arrays({"x": x}) == whole


def test_all_rows_in_order_and_a_single_part_are_not_copied():
    x = np.arange(12).reshape(6, 2)
    assert arrays.take(x, np.arange(6)) is x
    assert arrays.take(x, np.ones(6, bool)) is x
    assert arrays.take(x, np.arange(6)[::-1]) is not x
    assert arrays.concatenate([x]) is x
    assert arrays.contiguous(x) is x


def test_an_index_beyond_the_rows_is_an_error():
    for index in ([6], [-7], np.ones(5, bool)):
        with pytest.raises(IndexError):
            arrays.take(np.zeros((6, 2)), index)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_that_is_not_finite_is_found(bad):
    x = np.zeros((50, 3), np.float32)
    with small():
        assert arrays.first_not_finite(x) is None
        x[47, 0] = x[33, 2] = bad
        assert arrays.first_not_finite(x) == 33


def test_a_difference_anywhere_is_noticed():
    x = np.zeros((50, 3), np.float32)
    y = x.copy()
    y[49, 2] = 1
    with small():
        assert arrays.same(x, x.copy())
        assert not arrays.same(x, y)
        assert not arrays.same(x, x[:49])
        assert not arrays.same(x, x.astype(np.float64))


@pytest.mark.parametrize(("image", "known"), [(True, "f63c642a4e8ed4a6ab41"), (False, "5cc03e4195d27a1c7491")])
def test_fingerprints_are_those_of_stored_rows(image, known):
    assert example_task(image=image).fingerprint == known
    with small():
        assert example_task(image=image).fingerprint == known
