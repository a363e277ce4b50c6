"""What the page of a report computes with: tables, curves and recipes as compact data blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report.cells import options_of
from bench.report.packing import pack_columns, short, squeeze, to_json
from bench.report.style import measure_name
from bench.schema import COMPARISON, TRIAL, empty, interval_columns, near_is_low, similarity_columns
from bench.scores import Scale, metrics_of, scales_of, with_scores

if TYPE_CHECKING:
    import pandas as pd

    from bench.report.material import Material, Part

CHUNK = 2_000  # trials whose curves are unpacked at once
PAIR = "pair"
_JOINT = "\x1f"  # between the parts of a source model's place


def meta(material: Material) -> dict[str, Any]:
    """Return what the page must know before any table is opened."""
    trials, comparisons = _trials(material), _comparisons(material)
    alphas = {options_of(part.comparisons)["alpha"] for part in material.parts}
    measures = dict.fromkeys([*similarity_columns(comparisons), *similarity_columns(trials)])
    return {
        "suites": [_suite(part, material) for part in material.parts],
        "measures": [
            {"name": name, "title": measure_name(name), "near": "low" if near_is_low(name) else "high"}
            for name in measures
        ],
        "scales": {scale.metric: _scale(scale) for scale in [*_unpaired(trials, comparisons), *scales_of(comparisons)]},
        "level": short(100 * (1 - min(alphas, default=0.05))),
        "chunk": CHUNK if material.curves is not None else None,
        "tracebacks": bool(material.tracebacks),
        "tasks": {
            card["name"]: {"fingerprint": card.get("fingerprint"), "version": card.get("version")}
            | ({"classes": card.get("classes")} if material.by_class else {})
            for card in material.made.tasks
            if "name" in card
        },
        "models": {
            _JOINT.join("" if value is None else str(value) for value in place): {
                "key": model.get("key"), "steps": model.get("steps"), "learning_rate": model.get("learning_rate")
            }
            for place, model in material.made.models.items()
            if model
        },
    }  # fmt: skip


def _unpaired(trials: pd.DataFrame, comparisons: pd.DataFrame) -> list[Scale]:
    """Return the scales of trials that no comparison has, and that of accuracies."""
    return [Scale(), *scales_of(trials[~trials["metric"].isin(metrics_of(comparisons))])]


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "label": scale.label, "units": scale.units, "bounded": scale.bounded, "factor": scale.factor,
        "decimals": scale.decimals, "step": scale.step,
    }  # fmt: skip


def _suite(part: Part, material: Material) -> dict[str, Any]:
    run = material.made.last_runs().get(part.suite, {})
    versions = run.get("versions")
    machine = [run.get("processor"), run.get("system"), run.get("device")]
    return {
        "name": part.suite,
        "file": part.file,
        "sizes": part.sizes,
        "recipe": part.config.get("recipe"),
        "source_recipe": part.config.get("source_recipe"),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, dict) else None,
        "commit": run.get("commit"),
        "machine": ", ".join(str(value) for value in machine if value) or None,
        "started": run.get("started"),
    }


def data_blocks(material: Material) -> list[tuple[str, str]]:
    """Return the blocks of data by their name, compressed; the page unpacks one when it needs it."""
    trials, comparisons = _trials(material), _comparisons(material)
    known = [column.name for column in COMPARISON]
    blocks = [
        (
            "comparisons-data",
            pack_columns(comparisons, dict.fromkeys([PAIR, *known, *_similarity(comparisons)])),
        ),
        (
            "trials-data",
            pack_columns(trials, dict.fromkeys([PAIR, *(c.name for c in TRIAL), *_similarity(trials)])),
        ),
    ]
    packed = [(name, squeeze(to_json(value))) for name, value in blocks]
    if material.tracebacks:
        packed.append(("tracebacks-data", squeeze(to_json(material.tracebacks))))
    if material.curves is not None:
        packed += _chunks("curves", material.curves, trials["key"])
        packed += _chunks("classes", material.by_class or {}, trials["key"])
    return packed


def _similarity(table: pd.DataFrame) -> list[str]:
    """Name a table's measures of similarity and the ends of their intervals."""
    return [*similarity_columns(table), *interval_columns(table)]


def _chunks(name: str, kept: dict[str, str], keys: pd.Series) -> list[tuple[str, str]]:
    """Pack what is kept of trials in their order; it is JSON already."""
    texts = [kept.get(key, "null") for key in keys]
    starts = range(0, len(texts), CHUNK)
    return [
        (f"{name}-data-{i}", squeeze(f"[{','.join(texts[start : start + CHUNK])}]")) for i, start in enumerate(starts)
    ]


def _trials(material: Material) -> pd.DataFrame:
    return _joined([with_scores(part.rows) for part in material.parts], empty(TRIAL), "scratch")


def _comparisons(material: Material) -> pd.DataFrame:
    return _joined([part.comparisons for part in material.parts], empty(COMPARISON), "")


def _joined(tables: list[pd.DataFrame], nothing: pd.DataFrame, no_source: str) -> pd.DataFrame:
    import pandas as pd

    filled = [table.assign() for table in tables if len(table)] or [nothing]
    for table in filled:
        table.attrs = {}
    joined = pd.concat(filled, ignore_index=True)
    joined[PAIR] = joined["source"].fillna(no_source) + " \N{RIGHTWARDS ARROW} " + joined["target"]
    return joined
