"""The user's own data, named in a suite with no code: a folder of images, an `.npz`, a table.

Nothing here unpickles: a file can only bring numbers, strings and pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest
from bench.heads.base import SINGLE_LABEL
from bench.heads.index import BUILTIN as BUILTIN_KINDS
from bench.registry import HEADS
from bench.tasks import image_folder, labels, npz, tables
from bench.tasks.arguments import one_of, whole
from bench.tasks.base import UNLABELLED, Task, task
from bench.tasks.given import FURTHER, Part, as_task, merge_validation, with_test
from bench.tasks.images import RESIZE

FOLDER_KINDS = (SINGLE_LABEL, UNLABELLED)


def _folder_shape(*, image_size: int | None = None, channels: int | None = None, **_: Any) -> tuple[int, ...]:
    return (channels or 3, image_size or 0, image_size or 0)  # 0: only the files tell


# Version 2: images keep their aspect (squashed before), and a `val` beside a test set joins the train pool on demand.
@task("image-folder", version=2, paths=("path",), suite_sized=True, shape=_folder_shape)
def read_folder(
    root: Path,
    *,
    path: str,
    image_size: int | None = None,
    resize: str = "crop",
    channels: int | None = None,
    group: str | None = None,
    merge_val: bool = False,
    kind: str = SINGLE_LABEL,
) -> Task:
    """A folder of images with one folder per class.

    Sub-folders `train`, `test` and `val` (or `valid`, `validation`, `dev`) with one folder per class each
    give the split, and `test-night` a further, shifted test set "night". Without `test`, `val` is the test set; with
    neither, the protocol cuts one. A `val` beside a `test` is the validation split where the recipe says
    ``validation = "given"``, else unused. Classes are in the order of their names. Hidden files are ignored,
    files that are not images by their suffix are left out with a warning. A folder may be larger than memory:
    arrays above the environment's NTBENCH_MEMORY (1 GiB unless said) lie in a temporary file, where TMPDIR says.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The folder.
    image_size : int, optional
        Side of the square that images are brought to; the suite's by default. Without either, all images must
        have one size.
    resize : {"crop", "squash"}
        Whether images keep their aspect (the shorter side is brought to `image_size` and the centre cut out),
        or are pressed into the square.
    channels : int, optional
        1 (grey) or 3 (RGB); without it, 1 where all images are grey, else 3.
    group : str, optional
        A regular expression that finds what an image belongs to (a patient, a site) in the name of its file: its
        first group, or all that it matches. No cut tears such a group apart.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.
    kind : {"single-label", "unlabelled"}
        An unlabelled folder has images in any sub-folders, and can be a source only.

    Raises
    ------
    DataError
        For a missing folder, fewer than two classes, a class without images, a damaged image.
    """
    folder = _locate(root, path, "folder")
    if image_size is not None:
        whole("image-folder", 1, image_size=image_size)
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise DataError(f"image-folder: channels must be 1 (grey) or 3 (RGB), got {channels!r}")
    one_of("image-folder", "resize", resize, RESIZE)
    one_of("image-folder", "kind", kind, FOLDER_KINDS)
    classes, listed = _listed(folder, kind == SINGLE_LABEL)
    files = [file for part, _ in listed.values() for file in part]
    own = [file for part, (files_of, _) in listed.items() if not part.startswith(FURTHER) for file in files_of]
    channels = channels or image_folder.common_channels(own)
    x, notes = image_folder.read_all(files, channels, image_size, str(folder), resize)
    parts, begin = {}, 0
    for part, (own, y) in listed.items():
        groups = None if group is None else image_folder.groups_of(own, group)
        parts[part] = Part(x[begin : begin + len(own)], y, groups)
        begin += len(own)
    parts, merged = merge_validation(parts, merge_val, folder)
    return as_task("image-folder", folder, classes, parts, (*notes, *merged), kind)


def _listed(folder: Path, labelled: bool) -> tuple[list[str], dict[str, tuple[list[Path], np.ndarray]]]:
    """Return the classes of a folder, and the files and labels of each of its parts."""
    places = image_folder.parts(folder, labelled)
    if not labelled:
        files = {part: image_folder.files_in(place) for part, place in places.items()}
        return [], {part: (own, np.zeros(len(own), np.int64)) for part, own in files.items()}
    found = {part: image_folder.class_files(place) for part, place in places.items()}
    classes = sorted(found["train"])
    if len(classes) < 2:
        raise DataError(f'{folder}: has one class only ("{classes[0]}"); a task needs at least two')
    for part in found:
        strange = sorted(set(found[part]) - set(classes))
        if strange:
            raise DataError(
                f'{places[part]}: the class "{strange[0]}" is not in {places["train"].name}/'
                f"{nearest(strange[0], classes)}"
            )
    return classes, {part: _flat(files, classes) for part, files in found.items()}


def _flat(found: dict[str, list[Path]], classes: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """List the files of a part and their labels."""
    pairs = [(file, classes.index(name)) for name, files in found.items() for file in files]
    return [file for file, _ in pairs], np.array([label for _, label in pairs], np.int64)


@task("npz", version=1, paths=("path",))
def read_npz(
    root: Path,
    *,
    path: str,
    keys: Mapping[str, str] | None = None,
    merge_val: bool = False,
    kind: str = SINGLE_LABEL,
) -> Task:
    """Arrays in an `.npz` file: x and y, perhaps x_test and y_test, x_val and y_val, groups and classes.

    Images are N x C x H x W (N x H x W is taken as grey; N x H x W x C as such where C is 1 or 3 and the
    second axis is neither), as bytes or as floats from 0 to 1; tables are N x D. Whole-number images
    from 0 to 255 become bytes, whole-number tables floats. Labels are whole numbers or strings; without
    `classes`, the different labels are the classes. Without a test set, x_val and y_val are it; with neither,
    the protocol cuts one, and tears no group of `groups` (and `groups_val`, `groups_test`) apart. MedMNIST's
    names (`train_images`, `train_labels`, `val_images`, ...) are known. Further test sets, such as shifted ones, are
    x_test_NAME and y_test_NAME.

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file.
    keys : mapping, optional
        What the arrays are called in the file, where that is something else: ``{ x = "data", y = "target" }``.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.
    kind : str
        What y is: "single-label"; "multi-label", 0 and 1 of shape (N, K); "regression", numbers of shape (N,) or
        (N, D); "unlabelled", for a file without y. `classes` then names the K labels or D numbers.

    Raises
    ------
    DataError
        For a missing or damaged file, pickled contents, a missing array, impossible values.
    """
    file = _locate(root, path, "file")
    one_of("npz", "kind", kind, HEADS)
    labelled = kind != UNLABELLED
    found = npz.read_arrays(file, keys, labelled)
    ends = [role[1:] for role in found if role == "x" or role.startswith("x_")]
    y = [found[f"y{end}"] if labelled else np.zeros(len(found[f"x{end}"]), np.int64) for end in ends]
    if kind == SINGLE_LABEL:
        y, classes = labels.encode(y, str(file), found.get("classes"))
    else:
        classes = labels.target_names(y[0], kind, found.get("classes"))
    parts = {}
    for end, targets in zip(ends, y, strict=True):
        x = npz.inputs(found[f"x{end}"], f"{file}, x{end}")
        groups = found.get(f"groups{end}")
        if groups is not None and (len(groups) != len(targets) or groups.size != len(targets)):
            raise DataError(f"{file}: groups{end} has shape {groups.shape}, there are {len(targets)} labels")
        parts[end[1:] or "train"] = Part(x, targets, None if groups is None else groups.reshape(-1))
    parts, notes = merge_validation(parts, merge_val, file)
    return as_task("npz", file, classes, parts, notes, kind)


@task("table", version=2, paths=("path", "test_path", "val_path", "further"), shape=(0,))  # 0: only the file tells
def read_table(
    root: Path,
    *,
    path: str,
    label: str | int | Sequence[str | int] = "label",
    test_path: str | None = None,
    val_path: str | None = None,
    header: bool = True,
    split: str | int | None = None,
    group: str | int | None = None,
    drop: str | int | Sequence[str | int] = (),
    missing: str = "error",
    standardise: bool = True,
    one_hot: bool = False,
    merge_val: bool = False,
    kind: str = SINGLE_LABEL,
    further: Mapping[str, str] | None = None,
) -> Task:
    """Rows of a CSV or Parquet table, by the class in one column, by several labels or by numbers.

    Columns are named, or numbered from 0 (-1 is the last).

    Parameters
    ----------
    root : Path
        Data root, for a relative `path`.
    path : str
        The file: .csv, .tsv, .parquet or .pq.
    label : str, int, or sequence of them
        Column of the class: whole numbers or strings. Of a regression, column or columns of numbers; of a
        multi-label task, the columns that say of each label, by 1 or 0, whether the row has it.
    test_path, val_path : str, optional
        Further tables to test and to validate on, relative to the suite or to the folder of the first. Without a
        test set, the validation split is it; with neither, the protocol cuts one.
    header : bool
        Whether the first line of a CSV names the columns; without that they are numbered.
    split : str or int, optional
        Column that says which part a row belongs to: train, val (valid, validation, dev) or test.
    group : str or int, optional
        Column of what a row belongs to (a patient, a site): no cut tears such a group apart, and it is no input.
    drop : str, int, or sequence of them
        Columns to leave out.
    missing : {"error", "drop", "fill"}
        What becomes of rows with missing values: an error, left out, or filled: numbers with the median of the
        train pool alone, a column of strings (under `one_hot`) with a category of its own.
    standardise : bool
        Whether numeric columns take part in the transform that the suite states for a pair (its `standardise`;
        by default mean 0 and spread 1 on the target's train pool). The task itself has the values of the file.
    one_hot : bool
        Whether a column of strings (at most 50 different) becomes one 0/1 column per value; an error
        without it.
    merge_val : bool
        Whether a validation split that stands beside a test set joins the train pool.
    kind : {"single-label", "multi-label", "regression", "unlabelled"}
        What is to be predicted; nothing of an unlabelled table, whose `label`, if it has one, is left out.
    further : mapping of str to str, optional
        Further tables to test on, such as shifted ones, by name: ``{ night = "night.csv" }``.

    Raises
    ------
    DataError
        For a missing or damaged file, a missing label or column, gaps, columns that are not numeric.
    """
    for name, value in (("standardise", standardise), ("one_hot", one_hot), ("header", header)):
        if not isinstance(value, bool):
            raise DataError(f"table: {name} must be true or false, got {value!r}")
    one_of("table", "missing", missing, tables.MISSING)
    one_of("table", "kind", kind, BUILTIN_KINDS)
    first = _locate(root, path, "file")
    files = {"train": first}
    for part, more in (("val", val_path), ("test", test_path)):
        if more is not None:
            files[part] = _locate(first.parent, more, "file")
    if split is not None and len(files) > 1:
        raise DataError("table: give either split, or test_path and val_path")
    if not isinstance(further, Mapping | None):
        raise DataError(f'table: further must map names to files, such as {{ night = "night.csv" }}; got {further!r}')
    files |= {f"{FURTHER}{name}": _locate(first.parent, more, "file") for name, more in (further or {}).items()}
    label, drop = ([given] if isinstance(given, str | int) else list(given) for given in (label, drop))
    roles = tables.Roles(label, split, group, drop)
    table = tables.read_parts(files, roles, header=header, missing=missing, one_hot=one_hot, kind=kind)
    parts, notes = merge_validation(table.parts, merge_val, first)
    notes = (*table.notes, *notes)
    if missing == "fill":
        parts, cut = with_test(parts, "table", first, kind)
        parts, gaps = tables.filled(table, parts, first)
        notes = (*notes, *cut, *gaps)
    result = as_task("table", first, table.classes, parts, notes, kind)
    return result.changed(measured=table.measured & standardise)


def _locate(root: Path, given: str, kind: str) -> Path:
    """Return the place of a path that is absolute or relative to the root."""
    if not isinstance(given, str | Path) or not str(given):
        raise DataError(f"path must name a {kind}, got {given!r}")
    path = Path(root).expanduser() / Path(given).expanduser()
    there = path.is_dir() if kind == "folder" else path.is_file()
    if there:
        return path
    if path.exists():
        raise DataError(f"{path}: is not a {kind}")
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise DataError(f"no {kind} at {path}{nearest(path.name, beside)}")
