"""Collapsed trainings are said with their rates and the remedy, loudly where no rate was left."""

from __future__ import annotations

from trial_rows import frame, scratch, transfer

from bench.report.findings import findings
from bench.stats.collapse import collapses, headline, quiet_collapses, unlearned
from bench.stats.gap import negative_transfer

FINE = {"learning_rate": 0.01, "learning_rates": "0.001, 0.01, 0.1", "train_loss": 0.2, "constant_loss": 0.693}
LOST = FINE | {"collapsed_rates": "0.001, 0.01, 0.1", "train_loss": 97.0}
ACCURACIES = [0.7, 0.72, 0.69, 0.71]


def test_an_arm_that_collapsed_at_every_rate_opens_the_findings():
    rows = frame(
        scratch(ACCURACIES, **FINE), transfer([0.5] * 3, **LOST), transfer([0.6], seeds=[3], **FINE)
    )  # fmt: skip
    table = negative_transfer(rows)
    first = findings(table)[0]
    assert first.startswith("Training collapsed at every learning rate tried, so these gaps tell of the recipe: ")
    assert "fine-tune (n=4, f=0) from a on t (cnn, 20 target examples) in 3 of 4 seeds" in first
    said = next(warning for warning in table.attrs["warnings"] if "collapsed" in warning)
    assert said == (
        "fine-tune (n=4, f=0) from a on t (cnn, 20 target examples): training collapsed at learning rates 0.001, 0.01, "
        "0.1, every rate that was tried, in 3 of 4 seeds (training loss up to 97, a constant prediction has 0.693): "
        "use smaller learning_rates, warmup or clip_norm."
    )


def test_findings_open_with_it_where_nothing_can_be_compared():
    (table := negative_transfer(frame(scratch([0.5], **LOST))))
    assert len(table) == 0
    assert findings(table)[0].startswith("Training collapsed at every learning rate tried")
    assert "scratch on t" in findings(table)[0]


def test_a_rate_that_collapses_beside_a_sound_one_is_a_note_at_the_end():
    aside = FINE | {"collapsed_rates": "0.1"}
    rows = frame(scratch(ACCURACIES, **FINE), transfer(ACCURACIES, **aside))
    assert collapses(rows) == []
    assert headline(rows) == ""
    (note,) = quiet_collapses(rows)
    assert note.endswith("(in so many of 8 trials), where another or an earlier step was kept: 0.1 (4).")
    assert negative_transfer(rows).attrs["warnings"] == [note]
    assert not any("collapsed" in finding for finding in findings(negative_transfer(rows)))


def test_a_collapsed_rate_that_was_kept_is_a_warning_even_beside_sound_ones():
    rows = frame(scratch(ACCURACIES, **FINE), transfer([0.5] * 4, **LOST | {"collapsed_rates": "0.01"}))
    (said,) = collapses(rows)
    assert "collapsed at learning rate 0.01 in 4 of 4 seeds" in said
    assert headline(rows) == ""


def test_many_arms_are_not_named_one_by_one():
    rows = frame(*(transfer([0.5], source=f"s{i}", **LOST) for i in range(9)))
    said = collapses(rows)
    assert len(said) == 6
    assert said[-1].startswith("Training collapsed in 4 more trials of 4 more arms too")
    assert headline(rows).count(" seeds") == 5


def test_rows_that_do_not_say_have_nothing_to_warn_of():
    rows = frame(scratch(ACCURACIES), transfer(ACCURACIES))
    assert collapses(rows) == quiet_collapses(rows) == []
    assert headline(rows) == ""


def test_what_has_learned_nothing_is_told_from_what_collapsed():
    slow = FINE | {"train_loss": 2.0}
    rows = frame(scratch(ACCURACIES, **FINE), transfer([0.5] * 3, **slow), transfer([0.5], seeds=[3], **LOST))
    (said,) = unlearned(rows)
    assert said == (
        "fine-tune (n=4, f=0) from a on t (cnn, 20 target examples): a training loss of 2 (median of 3 seeds, at "
        "learning rate 0.01), where a constant prediction has 0.693: nothing was learned; use more steps or other "
        "learning_rates."
    )
    assert "use smaller" not in said


def test_a_model_of_a_step_before_the_collapse_is_sound():
    before = FINE | {"collapsed_rates": "0.01", "train_loss": 0.5, "val_loss": 0.6}
    rows = frame(scratch(ACCURACIES, **FINE), transfer([0.5] * 4, **before))
    assert collapses(rows) == []
    assert "an earlier step was kept: 0.01 (4)" in quiet_collapses(rows)[0]
    for lost in ({"train_loss": 0.7}, {"val_loss": 50.0}):  # none the better, and a disaster on other examples
        rows = frame(scratch(ACCURACIES, **FINE), transfer([0.5] * 4, **before | lost))
        assert len(collapses(rows)) == 1


def test_status_and_table_judge_a_collapse_alike():
    from bench.cli.state import Failures
    from bench.ledger.records import record_of

    before = FINE | {"collapsed_rates": "0.01", "train_loss": 0.5, "val_loss": 0.6}
    for row, collapsed in ((before, set()), (LOST | {"val_loss": 0.7}, {"k"}), (FINE, set())):
        found = Failures()
        found.add(record_of({"kind": "trial", "key": "k", "row": row | {"status": "ok", "seconds": 1.0}}))
        assert found.collapsed == collapsed
