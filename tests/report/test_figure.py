import numpy as np
import pandas as pd
import pytest
from synthetic_suite import DISTANCE, POINTS, synthetic_rows

from bench.errors import DataError
from bench.report.drawing import apart, gap_norm, gap_ticks
from bench.report.figure import gap_map
from bench.report.figures import panels
from bench.report.style import PAGE
from bench.report.write import write_figure
from bench.schema import COMPARISON, empty
from bench.stats.gap import negative_transfer


@pytest.fixture(scope="module")
def comparisons():
    return negative_transfer(synthetic_rows(seeds=3))


def test_the_map_has_a_panel_a_size_with_every_gap_in_its_place(comparisons):
    figure = gap_map(comparisons)
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 2
    assert figure.get_figwidth() == pytest.approx(PAGE)
    for panel, size in zip(shown, (20, 100), strict=True):
        assert f"{size} target examples (scratch " in panel.get_title(loc="left")
        assert [label.get_text() for label in panel.get_yticklabels()] == list(DISTANCE)
        values = panel.images[0].get_array()
        assert values.shape == (len(DISTANCE), len(POINTS))
        block = comparisons[comparisons["target_size"] == size].set_index(["source", "strategy", "frozen_depth"])["ntg"]
        assert values[8, 1] == pytest.approx(block["shuffled-labels", "feature-extraction", 4])
        assert values[0, 2] == pytest.approx(block["printed-digits", "fine-tune", 0])


def test_the_colour_scale_is_centred_on_no_gap(comparisons):
    norm = next(axis for axis in gap_map(comparisons).axes if axis.images).images[0].norm
    assert norm(0.0) == pytest.approx(0.5)
    assert norm.vmin == -norm.vmax == pytest.approx(-comparisons["ntg"].abs().max())
    assert norm(-0.05) == pytest.approx(1 - norm(0.05))
    assert gap_norm([0.01, np.nan]).vmax == 0.1
    minus = [f"\N{MINUS SIGN}{n}" for n in (5, 2, 1)]
    assert gap_ticks(0.05)[1] == [*minus, "0", "+1", "+2", "+5"]


def test_every_cell_says_gap_and_verdict(comparisons):
    panel = next(axis for axis in gap_map(comparisons).axes if axis.images)
    written = [text.get_text() for text in panel.texts]
    marks = {"negative": "✗", "positive": "✓", "equivalent": "=", "inconclusive": "·"}
    shown = comparisons[comparisons["target_size"] == 20]
    for verdict, mark in marks.items():
        assert sum(text.endswith(mark) for text in written) == (shown["verdict"] == verdict).sum()


def test_maps_of_several_weightings_say_which_is_which():
    rows = synthetic_rows(sources=("noise",), points=[("fine-tune", 4, 0)], seeds=3)
    other = rows[rows["source"].notna()].assign(weighting="learned")
    rows = pd.concat([rows, other], ignore_index=True)
    maps = [panel for panel in panels(rows, negative_transfer(rows)) if panel.name.startswith("gap_map")]
    titles = {panel.name: panel.draw().axes[0].get_title(loc="left") for panel in maps}
    assert {name: title.partition(",\n")[0] for name, title in titles.items()} == {
        "gap_map-learned": "target digits, cnn, learned", "gap_map-uniform": "target digits, cnn, uniform",
    }  # fmt: skip
    alone = gap_map(negative_transfer(other.pipe(lambda part: pd.concat([part, rows[rows["source"].isna()]]))))
    assert alone.axes[0].get_title(loc="left").startswith("target digits, cnn,\n20 target examples (scratch ")


def test_what_was_not_measured_is_blank(comparisons):
    part = comparisons[~((comparisons["source"] == "noise") & (comparisons["strategy"] == "zero-shot"))]
    panel = next(axis for axis in gap_map(part).axes if axis.images)
    row = list(DISTANCE).index("noise")
    assert np.ma.getmaskarray(panel.images[0].get_array())[row].tolist() == [True] + [False] * 13


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(DataError, match="no comparison to draw"):
        gap_map(empty(COMPARISON))


def test_names_are_moved_apart_as_little_as_may_be():
    assert apart([0.0, 10.0, 20.0], 5).tolist() == [0, 10, 20]
    assert apart([10.0, 10.0, 30.0], 5) == pytest.approx([7.5, 12.5, 30])
    assert apart([9.0, 10.0], 5, 0, 10).tolist() == [5, 10]
    assert apart([0.0, 1.0], 5, 0, 10).tolist() == [0, 5]
    assert np.diff(apart(sorted(np.random.default_rng(0).uniform(0, 3, 20)), 1)).min() > 1 - 1e-9


@pytest.fixture(scope="module")
def every():
    rows = synthetic_rows(sources=("printed-digits", "noise", "patches", "letters"), seeds=3)
    rows = rows.assign(val_accuracy=0.5, val_loss=0.5, trainable_parameters=100 + rows["transfer_depth"], seconds=0.5)
    return {panel.name: panel for panel in panels(rows, negative_transfer(rows))}


@pytest.mark.parametrize(
    "name",
    ["gap_map", "transfer_map", "forest", "gap_by_depth", "gap_against_similarity", "size_similarity",
     "learning_curves", "accuracy_against_cost"],
)  # fmt: skip
def test_every_figure_fits_the_paper_and_is_the_same_every_time(every, name, tmp_path):
    figure = every[name].draw()
    assert figure.get_figwidth() <= PAGE + 1e-9
    page = write_figure(tmp_path / "a.png", figure).read_bytes()
    assert page.startswith(b"\x89PNG")
    assert page == write_figure(tmp_path / "b.png", every[name].draw()).read_bytes()
    document = write_figure(tmp_path / "a.pdf", figure).read_bytes()
    assert document.startswith(b"%PDF")
    assert b"CreationDate" not in document


def test_letters_can_be_read_at_the_width_of_the_paper(every):
    for name in ("transfer_map", "gap_by_depth", "gap_against_similarity", "forest", "learning_curves"):
        figure = every[name].draw()
        sizes = {text.get_fontsize() for axis in figure.axes for text in axis.texts if text.get_text()}
        sizes |= {label.get_fontsize() for axis in figure.axes for label in axis.get_xticklabels()}
        assert min(sizes) >= 4, name


def test_no_window_is_opened_and_no_global_style_is_left(comparisons):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    gap_map(comparisons)
    assert dict(mpl.rcParams) == before
