"""Pictures of a user's own results: long names, one panel, many classes, failures, gaps near 0, skewed classes."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic_suite import POINTS, synthetic_rows

from bench.report.corners import corners
from bench.report.cost import accuracy_against_cost
from bench.report.drawing import ends_first, gap_axis, log_sizes
from bench.report.figure import gap_map
from bench.report.figures import panels
from bench.report.findings import findings
from bench.report.fitting import ELLIPSIS, short_names, text_width, wrapped
from bench.report.forest import forest
from bench.report.learning import learning_curves
from bench.report.samples import sample_sheet
from bench.report.similarity_figure import gap_against_similarity
from bench.report.style import colours, figure_style
from bench.report.transfer_map import transfer_map
from bench.stats.advice import textbook
from bench.stats.gap import negative_transfer
from bench.tasks.base import Task

TRIANGLE = [("triangle", n, f) for n in range(1, 4) for f in range(n + 1)]
SHARED = [("feature-extraction", 4, 4), ("fine-tune", 4, 0), *TRIANGLE]


def measured(**options):
    """Rows with everything that a figure reads."""
    rows = synthetic_rows(seeds=3, **options)
    return rows.assign(val_accuracy=0.5, val_loss=0.5, trainable_parameters=100 + rows["transfer_depth"], seconds=0.5)


def long_names(rows):
    return rows.assign(
        source=rows["source"].map(lambda s: f"photographs-of-{s}-taken-in-the-second-hospital", na_action="ignore"),
        target="chest-radiographs-of-the-university-hospital-2024",
        backbone="my-convolutional-network-with-attention",
        strategy=rows["strategy"].replace({"gradual-unfreezing": "gradual-unfreezing-with-discriminative-rates"}),
    )


def said(figure):
    """Every text that is drawn, ticks out of view left out."""
    hidden = set()
    for axis in figure.axes:
        for one, ends in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            for tick in (*one.get_major_ticks(), *one.get_minor_ticks()):
                if not min(ends) - 1e-12 <= tick.get_loc() <= max(ends) + 1e-12:
                    hidden |= {tick.label1, tick.label2}

    def within(artist):
        if artist.get_visible():
            if isinstance(artist, Text) and artist.get_text().strip() and artist not in hidden:
                yield artist
            for child in artist.get_children():
                yield from within(child)

    return list(within(figure))


def assert_on_the_page(figure):
    figure.draw_without_rendering()
    for text in said(figure):
        box = Text.get_window_extent(text)  # of an annotation: without its arrow
        inside = box.x0 > -1.5 and box.y0 > -1.5 and box.x1 < figure.bbox.x1 + 1.5 and box.y1 < figure.bbox.y1 + 1.5
        assert inside, text.get_text()


def assert_apart(texts):
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts]
    for (a, one), (b, other) in combinations(boxes, 2):
        across = min(one.x1, other.x1) - max(one.x0, other.x0)
        up = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert across < 1 or up < 1.5, (a, b)


def ticks(axis, which):
    ends = sorted(getattr(axis, f"get_{which}lim")())
    every = getattr(axis, f"{which}axis").get_major_ticks()
    return [tick.label1 for tick in every if ends[0] <= tick.get_loc() <= ends[1] and tick.label1.get_text()]


# --- text stays on the page -----------------------------------------------------------------------------


FIGURES = ["gap_map", "transfer_map", "forest", "gap_by_depth", "gap_against_similarity", "size_similarity",
           "learning_curves", "accuracy_against_cost"]  # fmt: skip


@pytest.fixture(scope="module")
def with_long_names():
    rows = long_names(measured(sources=("letters", "noise"), points=dict.fromkeys((*SHARED, *POINTS[1:]))))
    return {panel.name: panel for panel in panels(rows, negative_transfer(rows))}


@pytest.mark.filterwarnings("error:constrained_layout not applied")
@pytest.mark.parametrize("name", FIGURES)
def test_long_names_stay_on_the_page(with_long_names, name):
    figure = with_long_names[name].draw()
    assert_on_the_page(figure)
    titles = {axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()} - {""}
    ends = [text for axis in figure.axes for text in axis.texts if text.get_text() == "scratch"]
    assert_apart([*(text for text in said(figure) if text.get_text() in titles), *ends])


@pytest.mark.filterwarnings("error:constrained_layout not applied")
def test_the_title_of_a_single_panel_is_whole():
    comparisons = negative_transfer(measured(sources=("noise",), sizes=(20,), points=[("fine-tune", 4, 0)]))
    for draw in (forest, gap_map):
        figure = draw(comparisons)
        assert_on_the_page(figure)
        assert "20 target examples" in " ".join(figure.axes[0].get_title(loc="left").split())
    x = np.random.default_rng(0).normal(size=(8, 2))
    task = Task(x, np.arange(8) % 2, ["a", "b"], x[:4], np.arange(4) % 2)
    name = "measurements-of-the-second-hospital-" * 4
    figure = sample_sheet({name: task})
    assert_on_the_page(figure)
    assert figure.axes[0].get_title(loc="left").replace("\n", "").startswith(name)


def test_many_target_sizes_are_drawn_in_several_rows_with_labels_that_do_not_meet(monkeypatch):
    import synthetic_suite

    sizes = (1, 5, 10, 20, 50, 100, 200)
    monkeypatch.setattr(synthetic_suite, "SCRATCH", {size: 0.4 + 0.1 * np.log10(size) for size in sizes})
    rows = measured(sources=("noise",), sizes=sizes, points=SHARED[:5])
    drawn = {panel.name: panel for panel in panels(rows, negative_transfer(rows))}
    for name in ("transfer_map", "gap_by_depth", "learning_curves", "forest"):
        figure = drawn[name].draw()
        assert_on_the_page(figure)
        for axis in figure.axes:
            if axis.get_visible() and axis.xaxis.get_tick_params()["labelbottom"]:
                assert_apart(ticks(axis, "x"))
    assert "1 label: scratch" in figure_text(figure).replace("\n", " ")


def figure_text(figure):
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in said(figure))


def test_names_are_shortened_in_the_middle_and_stay_apart():
    names = [f"photographs-{i}-of-the-second-hospital" for i in range(12)]
    short = short_names(names, 60, 6)
    assert len(set(short.values())) == 12
    assert all(ELLIPSIS in text and text_width(text, 6) <= 62 for text in short.values())
    assert short_names(["a"], 60, 6) == {"a": "a"}


def test_titles_are_wrapped_without_loss():
    text = "chest-radiographs-of-the-university-hospital → xrays, 20 labels"
    lines = wrapped(text, 90, 7, bold=True).split("\n")
    assert len(lines) > 1
    assert all(text_width(line, 7, bold=True) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("a" * 200, 60, 7, most=3).count("\n") == 2


def test_a_name_with_dollars_is_a_name():
    with figure_style():
        figure = Figure()
        axis = figure.subplots()
        axis.set_title("cost_$5_and_$10^")
        figure.draw_without_rendering()
    assert axis.get_title(loc="left") == "cost_$5_and_$10^"


# --- axes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "high"), [((1.2, 1.2), 0.5), ((3, 3), 0.5), ((1.2, 1.2), 0.004)])
def test_labels_of_gaps_do_not_meet_near_zero(size, high):
    with figure_style():
        figure = Figure(figsize=size, layout="constrained")
        axis = figure.subplots()
        gap_axis(axis, "x", -high, high)
        gap_axis(axis, "y", -high, high)
        figure.draw_without_rendering()
    for which in "xy":
        labels = ticks(axis, which)
        assert "0" in [text.get_text() for text in labels]
        assert_apart(labels)
    if size == (3, 3):  # nothing is left out where there is room
        assert len(ticks(axis, "y")) == 13


def test_labels_of_sizes_do_not_meet():
    with figure_style():
        figure = Figure(figsize=(1.5, 1.2), layout="constrained")
        axis = figure.subplots()
        axis.set_xlim(9, 5100)
        log_sizes(axis, [10, 20, 50, 100, 200, 500, 1000, 2000, 5000])
        figure.draw_without_rendering()
    labels = ticks(axis, "x")
    assert [labels[0].get_text(), labels[-1].get_text()] == ["10", "5,000"]
    assert_apart(labels)
    assert ends_first([1, 2, 3, 4, 5]) == [1, 5, 3, 2, 4]


def test_no_axis_of_accuracies_goes_beyond_all_right():
    rows = measured(sources=("letters", "noise"), points=SHARED[:4])
    rng = np.random.default_rng(0)
    rows["test_accuracy"] = np.clip(0.98 + rng.normal(0, 0.03, len(rows)), 0, 1)
    for figure in (learning_curves(rows), accuracy_against_cost(rows)):
        shown = [axis for axis in figure.axes if "accuracy" in axis.get_ylabel()]
        assert shown
        assert all(axis.get_ylim()[1] <= 100 for axis in shown)


# --- colours --------------------------------------------------------------------------------------------


def lines_by_colour(axis, prefix):
    return [to_hex(line.get_color()) for line in axis.lines if str(line.get_label()).startswith(prefix)]


def test_no_colour_is_used_twice():
    for black in (True, False):
        many = colours(20, black=black)
        assert len({to_hex(colour) for colour in many}) == 20
        assert many[:7] == colours(7, black=black)
    assert "#000000" not in colours(20, black=False)
    rows = measured(sources=("noise",), points=[(f"own-{i}", 4, 0) for i in range(13)])
    for figure in (learning_curves(rows), accuracy_against_cost(rows)):
        assert len(set(lines_by_colour(figure.axes[0], "own-"))) == 13
        assert_on_the_page(figure)


def test_every_class_of_a_table_has_its_own_look_and_the_legend_covers_no_point():
    y = np.repeat(np.arange(14), 5)
    x = np.random.default_rng(0).normal(size=(len(y), 2))
    figure = sample_sheet({"many": Task(x, y, [f"class number {i} of the study" for i in range(14)], x, y)})
    axis = figure.axes[0]
    figure.draw_without_rendering()
    looks = {(to_hex(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in axis.collections}
    assert len(looks) == len({look for look, _ in looks}) == 14
    assert len({text.get_text() for text in axis.get_legend().get_texts()}) == 14
    assert not axis.get_legend().get_window_extent().overlaps(axis.get_window_extent().padded(-2))
    assert_on_the_page(figure)


# --- failures, numbers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failing():
    rows = measured(sources=("letters", "noise"), points=SHARED)
    bad = (rows["strategy"] == "triangle") & (rows["frozen_depth"] == 1)
    bad |= (rows["strategy"] == "feature-extraction") & (rows["source"] == "letters")
    return rows.assign(
        status=rows["status"].mask(bad, "failed"), test_accuracy=rows["test_accuracy"].mask(bad),
        val_accuracy=rows["val_accuracy"].mask(bad), val_loss=rows["val_loss"].mask(bad),
    )  # fmt: skip


def test_a_failed_cell_is_not_called_not_run(failing):
    comparisons = negative_transfer(failing)
    figure = transfer_map(comparisons)
    axis = figure.axes[0]
    assert {t.get_position() for t in axis.texts if t.get_text() == "failed"} == {(1, 1), (2, 1), (3, 1), (4, 4)}
    hatched = {(p.get_x() + 0.5, p.get_y() + 0.5) for p in axis.patches if p.get_hatch()}
    assert hatched == {(4, 1), (4, 2), (4, 3)}
    assert "failed: run, and no pair of trials completed" in " ".join(figure_text(gap_map(comparisons)).split())
    assert "failed" not in figure_text(gap_map(negative_transfer(measured(sources=("noise",), points=SHARED))))
    note = "14 comparisons without any completed pair of trials (failed)"
    assert note in figure_text(forest(comparisons)).replace("\n", " ")
    sentence = next(line for line in findings(comparisons) if "safest" in line)
    assert sentence.endswith("4 strategies and depths left out, failed on some pairs.")


def test_a_map_of_which_a_size_failed_altogether_is_drawn(failing):
    bad = (failing["target_size"] == 20) & failing["source"].eq("noise").fillna(False)
    rows = failing.assign(
        status=failing["status"].mask(bad, "failed"), test_accuracy=failing["test_accuracy"].mask(bad)
    )
    figure = transfer_map(negative_transfer(rows))
    assert "20 labels\nno seeds" in figure_text(figure)


def test_advice_whose_trials_failed_is_not_called_not_run(failing):
    outcomes = textbook(failing).set_index(["source", "target_size"])["outcome"]
    assert outcomes["letters", 20] == "its trials failed"
    assert "its trials failed" in figure_text(corners(failing))
    without = failing[~((failing["strategy"] == "feature-extraction") & failing["source"].eq("letters").fillna(False))]
    assert textbook(without).set_index(["source", "target_size"])["outcome"]["letters", 20] == "not run"


def test_one_is_singular():
    rows = measured(sources=("noise",), points=[("fine-tune", 4, 0)])
    assert "1 pair to digits is too few" in " ".join(findings(negative_transfer(rows)))
    text = figure_text(gap_against_similarity(rows)).replace("\n", " ")
    assert "1 pair; mean over 1 strategy or depth" in text
    assert "1 pair: too few" in text
    alone = rows[rows["seed"] == 0]
    for figure in (learning_curves(alone), forest(negative_transfer(alone)), accuracy_against_cost(alone)):
        assert "1 seeds" not in figure_text(figure).replace("\n", " ")


# --- the majority class ---------------------------------------------------------------------------------


def test_the_majority_class_is_a_dashed_line_where_accuracies_are_shown_and_said_elsewhere():
    rows = measured(sources=("letters", "noise"), points=SHARED[:5])
    for draw in (learning_curves, accuracy_against_cost):
        figure = draw(rows.assign(majority_accuracy=0.41))
        line = next(line for line in figure.axes[0].lines if line.get_label() == "majority class")
        assert line.get_linestyle() == "--"
        assert list(line.get_ydata()) == pytest.approx([41, 41])
        text = figure_text(figure)
        assert "\nmajority class\n" in f"\n{text}\n"
        assert "Majority class: 41.0 %." in text.replace("\n", " ")
        assert "ajority" not in figure_text(draw(rows.assign(majority_accuracy=np.nan)))
    comparisons = negative_transfer(rows)
    for draw in (gap_map, forest, transfer_map):
        text = figure_text(draw(comparisons.assign(majority_accuracy=0.41)))
        assert "majority class 41.0 %" in text.replace("\n", " ").replace("majority 41", "majority class 41")
    assert "ajority" not in figure_text(forest(comparisons))


def test_a_line_breaks_within_no_number_nor_before_its_percent_sign():
    text = "target lungs, 1,000 target examples (scratch 72.5 %, 5 seeds; majority class 45.8 %) at -6.1 -> of_a-b"
    for width in range(40, 400, 9):
        for line in wrapped(text, width, 6, bold=True).split("\n"):
            assert not line.startswith(("%", "8", ".", "5 %", ">")), (width, line)
            assert not line.endswith(("45.", "72.", "1,", " -")), (width, line)
