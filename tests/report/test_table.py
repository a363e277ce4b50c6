import io
import re

import pandas as pd
import pytest
from rich.console import Console
from synthetic_suite import DISTANCE, POINTS, synthetic_rows

from bench.errors import UnknownName
from bench.report.grid import depth_labels, grids
from bench.report.table import format_table, latex_escape
from bench.report.terminal import print_table
from bench.schema import COMPARISON, conform
from bench.stats.gap import negative_transfer
from bench.stats.select import select_depth


@pytest.fixture(scope="module")
def comparisons():
    return negative_transfer(synthetic_rows())


def printed(comparisons, width, encoding="utf-8", **options):
    page = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    print_table(comparisons, Console(file=page, width=width, **options))
    page.flush()
    return page.buffer.getvalue().decode(encoding)


def test_sources_stand_from_near_to_far(comparisons):
    for grid in grids(comparisons):
        assert [source.name for source in grid.sources] == list(DISTANCE)
        assert grid.measure == "frechet_distance"
    turned = comparisons.assign(leep=-comparisons["frechet_distance"])
    assert [source.name for source in grids(turned, near="leep")[0].sources] == list(DISTANCE)
    turned["leep"] *= -1
    assert [source.name for source in grids(turned, near="leep")[0].sources] == list(DISTANCE)[::-1]


def test_without_the_measure_the_next_one_sorts_and_without_any_the_name(comparisons):
    swapped = comparisons.assign(frechet_distance=None, leep=-comparisons["frechet_distance"])
    grid = grids(conform(swapped, COMPARISON))[0]
    assert grid.measure == "leep"
    assert [source.name for source in grid.sources] == list(DISTANCE)
    bare = grids(conform(comparisons.assign(frechet_distance=None), COMPARISON))[0]
    assert bare.measure is None
    assert [source.name for source in bare.sources] == sorted(DISTANCE)
    with pytest.raises(UnknownName, match='did you mean "frechet_distance"'):
        grids(comparisons, near="frechet-distance")


def test_columns_are_grouped_by_strategy_in_the_order_of_the_registry(comparisons):
    grid = grids(comparisons)[0]
    assert [(name, [head.depth for head in heads]) for name, heads in grid.groups] == [
        ("zero-shot", [""]),
        ("feature-extraction", [""]),
        ("fine-tune", ["f=0", "f=1", "f=2", "f=3"]),
        ("layer-transfer", ["n=1", "n=2", "n=3"]),
        ("layer-transfer-tuned", ["n=1", "n=2", "n=3"]),
        ("linear-probe-fine-tune", [""]),
        ("gradual-unfreezing", [""]),
    ]


def test_points_that_neither_depth_tells_apart_name_both():
    points = (("mine", 1, 0), ("mine", 2, 0), ("mine", 2, 1))
    table = negative_transfer(synthetic_rows(points=points, sources=("noise",)))
    assert sorted(head.depth for head in depth_labels(table).values()) == ["1,0", "2,0", "2,1"]


def test_one_grid_for_each_target_backbone_and_size():
    parts = [
        synthetic_rows(seeds=2),
        synthetic_rows(seeds=2, target="letters"),
        synthetic_rows(seeds=2, backbone="mlp"),
    ]
    titles = [grid.title for grid in grids(negative_transfer(pd.concat(parts)))]
    assert titles == [
        f"target {target}, {size} target examples"
        for target in ("digits, cnn", "digits, mlp", "letters, cnn")
        for size in (20, 100)
    ]


@pytest.mark.parametrize(("width", "decimals"), [(140, True), (120, False)])
def test_the_default_suite_fits_one_table_a_size(comparisons, width, decimals):
    text = printed(comparisons, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count("shuffled-labels") == 2
    row = next(line for line in text.splitlines() if line.startswith("shuffled-labels"))
    gaps = re.findall(r"([+-]?\d+(?:\.\d)?)[✗✓=·]", row)
    assert len(gaps) == len(POINTS)
    assert all(("." in gap) == decimals for gap in gaps)


def test_a_narrow_terminal_gets_several_tables_and_loses_nothing(comparisons):
    text = printed(comparisons, 60)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 60
    lines = [line for line in text.splitlines() if line.startswith("noise ")]
    assert len(lines) > 2
    assert sum(len(re.findall(r"[✗✓=·]", line)) for line in lines) == 2 * len(POINTS)


def test_gaps_and_marks_are_those_of_the_comparisons(comparisons):
    grid = grids(comparisons)[0]
    text = format_table(comparisons).split("\n\n")[0]
    shown = re.findall(r"([+-]?\d+\.\d)([✗✓=·])", next(x for x in text.splitlines() if x.startswith("letters")))
    cells = [grid.cells["letters", head] for head in grid.heads]
    marks = {"negative": "✗", "positive": "✓", "equivalent": "=", "inconclusive": "·"}
    assert [mark for _, mark in shown] == [marks[cell.verdict] for cell in cells]
    assert [float(gap) for gap, _ in shown] == pytest.approx([100 * cell.ntg for cell in cells], abs=0.0501)


def test_verdicts_have_colours_and_plain_marks_where_needed(comparisons):
    coloured = printed(comparisons, 140, force_terminal=True, color_system="standard")
    assert re.search(r"\x1b\[1;31m\s*\+\d+\.\d✗", coloured)
    assert re.search(r"\x1b\[1;36m\s*-\d+\.\d✓", coloured)
    plain = printed(comparisons.assign(source=comparisons["source"] + " é"), 160, encoding="ascii")
    assert "noise e " in plain
    assert "x negative, + positive, = equivalent (within 1 point), ? inconclusive" in " ".join(plain.split())


def test_the_caption_says_what_scratch_reaches(comparisons):
    accuracy = comparisons.loc[comparisons["target_size"] == 100, "scratch_accuracy"].iloc[0]
    assert f"Scratch {100 * accuracy:.1f} % (5 seeds). Sources near to far by Fréchet distance." in format_table(
        comparisons
    )


def test_the_legend_says_how_verdicts_were_made():
    rows = synthetic_rows(seeds=3)
    text = format_table(negative_transfer(rows, margin=0.02, alpha=0.1, correction="fdr_bh", family=()), "md")
    assert "equivalent (within 2 points)" in text
    assert "alpha 0.1, Benjamini-Hochberg within the whole map" in text
    text = format_table(negative_transfer(rows, alpha=0.1), "latex")
    assert text.count("equivalent within 1 point; alpha 0.1, Holm within target and target size.}") == 2


def test_failed_and_missing_comparisons_show():
    rows = synthetic_rows(seeds=2, sizes=(20,), points=(("fine-tune", 4, 0), ("fine-tune", 4, 1)))
    lost = (rows["source"] == "noise") & (rows["frozen_depth"] == 1)
    rows.loc[lost.fillna(False), ["status", "test_accuracy"]] = ["failed", None]
    rows = rows[~((rows["source"] == "letters") & (rows["frozen_depth"] == 1)).fillna(False)]
    lines = {
        line.split()[0]: line.split() for line in format_table(negative_transfer(rows)).splitlines() if line.strip()
    }
    assert lines["noise"][-1] == "failed"
    assert len(lines["letters"]) == len(lines["symbols"]) - 1


def test_markdown_parses_back(comparisons):
    blocks = re.findall(r"((?:^\|.*\n)+)", format_table(comparisons, "md"), flags=re.M)
    assert len(blocks) == 2
    for grid, block in zip(grids(comparisons), blocks, strict=True):
        head, _, *body = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        assert head == ["source", "Fréchet distance", *map(str, grid.heads)]
        assert [line[0] for line in body] == list(DISTANCE)
        for line in body:
            for label, written in zip(grid.heads, line[2:], strict=True):
                value = float(re.match(r"\*{0,2}([+-]?[\d.]+)", written).group(1))
                assert value == pytest.approx(100 * grid.cells[line[0], label].ntg, abs=0.0501)


def test_csv_is_the_comparisons(comparisons):
    back = conform(pd.read_csv(io.StringIO(format_table(comparisons, "csv"))), COMPARISON)
    pd.testing.assert_frame_equal(back, comparisons)


def test_latex_is_balanced_and_has_the_right_columns(comparisons):
    text = format_table(comparisons.assign(source=comparisons["source"] + "_50%"), "latex")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    columns = 2 + len(POINTS)
    assert "{l" + "r" * (columns - 1) + "}" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(DISTANCE)
    assert all(line.replace(r"\&", "").count("&") == columns - 1 and line.endswith(r"\\") for line in body)
    assert r"shuffled-labels\_50\%" in text
    spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", text.split(r"\midrule")[0])]
    assert sum(spans) == len(POINTS)
    assert re.search(r"\\cmidrule\(lr\)\{5-8\}", text)


def test_latex_escapes_each_character_once():
    assert latex_escape(r"a\b_c{d}~^") == r"a\textbackslash{}b\_c\{d\}\textasciitilde{}\textasciicircum{}"


def test_a_depth_chosen_by_validation_has_its_column():
    rows = synthetic_rows(seeds=2, sizes=(20,), points=(("fine-tune", 4, 0), ("fine-tune", 4, 1)))
    table = negative_transfer(select_depth(rows.assign(val_accuracy=rows["test_accuracy"])))
    assert [str(head) for head in grids(table)[0].heads] == ["fine-tune (depth by validation)"]
    assert "validation)" in format_table(table)


def test_an_unknown_format_is_named(comparisons):
    with pytest.raises(UnknownName, match='did you mean "latex"'):
        format_table(comparisons, "latx")
