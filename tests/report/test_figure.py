import io

import numpy as np
import pytest
from synthetic_suite import DISTANCE, POINTS, synthetic_rows

from bench.errors import DataError, UnknownName
from bench.report.figure import gap_against_similarity, gap_map
from bench.schema import COMPARISON, empty
from bench.stats.gap import negative_transfer


@pytest.fixture(scope="module")
def comparisons():
    return negative_transfer(synthetic_rows(seeds=3))


def png(figure):
    page = io.BytesIO()
    figure.savefig(page, format="png", metadata={"Software": None})
    return page.getvalue()


def test_the_map_has_a_panel_a_size_with_every_gap_in_its_place(comparisons):
    panels = [axis for axis in gap_map(comparisons).axes if axis.images]
    assert len(panels) == 2
    for panel, size in zip(panels, (20, 100), strict=True):
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


def test_every_cell_says_gap_and_verdict(comparisons):
    panel = next(axis for axis in gap_map(comparisons).axes if axis.images)
    written = [text.get_text() for text in panel.texts]
    marks = {"negative": "✗", "positive": "✓", "equivalent": "=", "inconclusive": "·"}
    shown = comparisons[comparisons["target_size"] == 20]
    for verdict, mark in marks.items():
        assert sum(text.endswith(mark) for text in written) == (shown["verdict"] == verdict).sum()


def test_what_was_not_measured_is_blank(comparisons):
    part = comparisons[~((comparisons["source"] == "noise") & (comparisons["strategy"] == "zero-shot"))]
    panel = next(axis for axis in gap_map(part).axes if axis.images)
    row = list(DISTANCE).index("noise")
    assert np.ma.getmaskarray(panel.images[0].get_array())[row].tolist() == [True] + [False] * 13


def test_figures_are_the_same_every_time(comparisons):
    assert png(gap_map(comparisons)) == png(gap_map(comparisons))
    first = png(gap_against_similarity(comparisons))
    assert first.startswith(b"\x89PNG")
    assert first == png(gap_against_similarity(comparisons))


def test_the_similarity_plot_has_a_line_a_strategy_through_its_means(comparisons):
    figure = gap_against_similarity(comparisons)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["20 target examples", "100 target examples"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == list(dict.fromkeys(name for name, _, _ in POINTS))
    block = comparisons[(comparisons["target_size"] == 20) & (comparisons["strategy"] == "fine-tune")]
    mean = 100 * block.groupby("source")["ntg"].mean()[list(DISTANCE)]
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() != "None"]
    lines = [line for line in lines if len(line.get_xdata()) == len(DISTANCE)]
    drawn = [line for line in lines if np.allclose(line.get_ydata(), mean)]
    assert len(drawn) == 1
    assert drawn[0].get_xdata().tolist() == list(DISTANCE.values())


def test_what_cannot_be_drawn_is_said(comparisons):
    with pytest.raises(DataError, match="no comparison to draw"):
        gap_map(empty(COMPARISON))
    with pytest.raises(UnknownName, match='did you mean "leep"'):
        gap_against_similarity(comparisons, measure="lep")
    with pytest.raises(DataError, match="no pair has both a gap and a LEEP"):
        gap_against_similarity(comparisons, measure="leep")


def test_no_window_is_opened_and_no_global_style_is_left(comparisons):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    gap_map(comparisons)
    assert dict(mpl.rcParams) == before
