"""What training prints: each figure beside those of the sorts and of a random order, then the verdict."""

from __future__ import annotations

from typing import Any

import pytest

from models.training.report import training_report

INTERVAL = {"mean": 0.0123, "low": -0.0045, "high": 0.0312, "lists": 77}
NDCG = {
    "mix": [5.0, 1.0, 1.0],
    "objective": "click",
    "served": 0.7123,
    "formula": 0.7,
    "prior": 0.6999,
    "random": 0.5,
    "difference": INTERVAL,
}
NATS = {
    "objective": "conversion",
    "lists": 76,
    "model": 1.25,
    "prior": 1.31,
    "random": 1.3863,
    "gain": INTERVAL,
    "pcoc": 0.97,
}


def provenance(**changes: Any) -> dict[str, Any]:
    return {
        "metrics": {"best_epoch": 4, "valid_loss": 1.5},
        "objectives_without_events": [],
        "choice": {
            "head": "hazard",
            "valued": ["click", "conversion", "gmv"],
            "shares": {"click": 0.5, "conversion": 0.0},
            "by_likelihood": {"click": 0.75, "conversion": 0.25},
            "shown_knows_more": True,
        },
        "verdict": {"outcome": "same", "sentence": "As good as the sort.", "figures": [NDCG, NATS]},
        **changes,
    }


def line_with(text: str, *words: str) -> list[str]:
    """The words of the one line that has all of these."""
    [line] = [line for line in text.splitlines() if all(word in line for word in words)]
    return line.split()


def test_every_figure_stands_beside_the_sorts_and_the_random_order() -> None:
    text = training_report(provenance())
    assert line_with(text, "5/1/1")[:7] == ["5/1/1", "click", "77", "0.7123", "0.7000", "0.6999", "0.5000"]
    assert "+0.0123 (-0.0045 to +0.0312)" in text
    assert line_with(text, "1.2500")[:5] == ["conversion", "76", "1.2500", "1.3100", "1.3863"]
    assert line_with(text, "1.2500")[-1] == "0.9700"
    header = line_with(text, "NDCG@10")
    assert [header.index(name) for name in ("served", "formula", "prior", "random")] == sorted(
        header.index(name) for name in ("served", "formula", "prior", "random")
    )
    assert "best epoch 4, held-out loss 1.5000" in text
    assert text.endswith("Verdict: same. As good as the sort.")


def test_what_is_kept_and_why_is_said() -> None:
    text = training_report(provenance())
    assert "kept: click 0.5, conversion 0 (by likelihood click 0.75, conversion 0.25" in text
    assert "the shown order knows more than the scores" in text
    choice = {**provenance()["choice"], "shown_knows_more": False}
    assert "the shown order knows no more than the scores" in training_report(provenance(choice=choice))


def test_what_is_not_valued_or_never_happened_is_named() -> None:
    assert "not valued" not in training_report(provenance())
    choice = {**provenance()["choice"], "valued": ["click"]}
    text = training_report(provenance(choice=choice, objectives_without_events=["click", "gmv"]))
    assert line_with(text, "not valued")[-2:] == ["conversion,", "gmv"]
    assert line_with(text, "never happened")[-1] == "click"


def test_the_papers_head_has_no_prior_and_no_share() -> None:
    figures = [NDCG, {**NATS, "prior": None, "gain": None, "pcoc": None}]
    text = training_report(
        provenance(
            choice={"head": "independent", "valued": ["click", "conversion", "gmv"]},
            verdict={"outcome": "same", "sentence": "So.", "figures": figures},
        )
    )
    assert "papers' head" in text
    assert line_with(text, "1.2500") == ["conversion", "76", "1.2500", "-", "1.3863", "-"]


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"head": "pointwise"}, "events of each place by themselves: no prior within, nothing to choose"),
        ({"head": "entire-space"}, "clicks, and purchases given a click: no prior within, nothing to choose"),
        (
            {"head": "hazard", "shares": {"click": 1.0}},
            "share of the learnt correction kept, without a choice: click 1",
        ),
    ],
)
def test_what_was_not_chosen_is_said(choice: dict[str, Any], line: str) -> None:
    assert line in training_report(provenance(choice={"valued": [], **choice})).splitlines()


def test_a_learning_curve_has_a_line_per_share() -> None:
    point = {
        "share": 0.1,
        "lists": 250,
        "choice": {"shares": {"click": 0.25, "conversion": 0.0}},
        "verdict": {"outcome": "sort", "figures": [NDCG, NATS]},
    }
    text = training_report(provenance(learning_curve=[point, {**point, "share": 0.3, "lists": 750}]))
    assert line_with(text, "10%", "250") == [
        "10%",
        "250",
        "click",
        "0.25,",
        "conversion",
        "0",
        "sort",
        "conversion",
        "+0.0123",
    ]
    assert line_with(text, "30%", "750")
    assert "learning curve" not in training_report(provenance())


def test_without_figures_the_verdict_still_stands() -> None:
    verdict = {"outcome": "unmeasured", "sentence": "No scores.", "figures": []}
    text = training_report(provenance(verdict=verdict))
    assert "NDCG" not in text
    assert text.endswith("Verdict: unmeasured. No scores.")
