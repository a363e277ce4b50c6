"""Figures and pages of rows by other metrics: every one is drawn, and none speaks of accuracy or, unbounded, points."""

from __future__ import annotations

import pytest
from synthetic_suite import synthetic_rows

from bench.report.figures import FIGURES, panels
from bench.report.findings import findings
from bench.report.harm import harm_table
from bench.report.html_data import meta
from bench.report.material import Material, Part
from bench.report.packing import to_json
from bench.report.table import FORMATS, format_table
from bench.schema import conform
from bench.scores import with_scores
from bench.stats.gap import negative_transfer

SOURCES = ("printed-digits", "letters", "noise")
POINTS = [("feature-extraction", 4, 4), *(("fine-tune", 4, f) for f in range(3)), ("layer-transfer", 2, 2)]
POINTS += [("layer-transfer", 3, 3), ("layer-transfer-tuned", 2, 0), ("layer-transfer-tuned", 3, 0)]


def rows_by(metric: str, unit: str, scale: float = 1.0):
    """Synthetic rows with scores; their accuracies are another number."""
    rows = synthetic_rows(SOURCES, POINTS, seeds=3)
    score = scale * (rows["test_accuracy"] - (0 if unit == "points" else 2))
    rows = rows.assign(metric=metric, metric_unit=unit, test_score=score, val_score=score, val_loss=1.0)
    rows = rows.assign(test_accuracy=0.5, majority_accuracy=0.9, seconds=1.0, trainable_parameters=100)
    return conform(rows.assign(learning_rate=0.1, learning_rates="0.1"))


CASES = [("auroc", "points", 1.0, None), ("mae", "", 5000.0, 50.0)]


def texts(figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize(("metric", "unit", "scale", "margin"), CASES)
def test_every_figure_is_drawn_and_names_what_it_shows(metric, unit, scale, margin):
    rows = rows_by(metric, unit, scale)
    comparisons = negative_transfer(rows, margin=margin)
    drawn = {}
    for panel in panels(rows, comparisons):
        if not panel.name.startswith("share_won_back"):
            drawn[panel.name] = texts(panel.draw())
            assert "ccuracy" not in panel.title + panel.kind.reading
    assert set(drawn) == set(FIGURES) - {"share_won_back"}
    for name, text in drawn.items():
        assert "ccuracy" not in text, name
        assert "majority" not in text, name
        assert ("point" in text) <= (unit == "points"), name
    label = {"auroc": "AUROC", "mae": "MAE"}[metric]
    for name in ("gap_map", "forest", "transfer_map", "learning_curves", "accuracy_against_cost"):
        assert label in drawn[name], name


@pytest.mark.parametrize(("metric", "unit", "scale", "margin"), CASES)
def test_tables_findings_and_page_do_too(metric, unit, scale, margin):
    rows = rows_by(metric, unit, scale)
    comparisons = negative_transfer(rows, margin=margin)
    said = [*findings(comparisons), str(harm_table(comparisons)), *comparisons.attrs["warnings"]]
    said += [format_table(comparisons, fmt) for fmt in FORMATS if fmt != "csv"]
    for text in said:
        assert "ccuracy" not in text
        assert ("points" in text) <= (unit == "points")
    assert f'"{metric}":' in to_json(meta(Material("here", [Part("synthetic", rows, comparisons)])))


def test_a_report_of_two_metrics_keeps_them_apart():
    parts = [rows_by("auroc", "points"), with_scores(synthetic_rows(SOURCES, POINTS, seeds=3))]
    both = conform([row for part in parts for row in part.astype(object).where(part.notna(), None).to_dict("records")])
    comparisons = negative_transfer(both)
    names = {panel.name: panel.title for panel in panels(both, comparisons)}
    assert {"gap_map-auroc", "gap_map-accuracy", "gap_against_similarity-auroc"} <= set(names)
    assert names["accuracy_against_cost-auroc"] == "AUROC against cost: auroc"
    assert names["accuracy_against_cost-accuracy"] == "Accuracy against cost: accuracy"
    said = findings(comparisons)
    assert any(sentence.startswith("By AUROC: Of ") for sentence in said)
    assert any(sentence.startswith("By accuracy: Of ") for sentence in said)
    legend = (
        "Gap = accuracy from scratch minus accuracy after transfer, in points, mean over seeds; or AUROC from scratch"
    )
    assert legend in format_table(comparisons, "md")
    assert {row[1] for row in harm_table(comparisons)["rows"]} == {"accuracy", "auroc"}
