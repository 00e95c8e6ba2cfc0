"""Warn about scores and prices: what the sort uses and what training corrects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from models.checking.check import Survey
from models.checking.findings import Finding, plural, share_text
from models.checking.tallies import RangeTally
from models.contract.features import PRIOR_SCORES

_USED: Final = tuple(dict.fromkeys(chain.from_iterable(PRIOR_SCORES)))
"""The scores that the model and the default formula use by name."""


def score_findings(survey: Survey) -> Iterator[Finding]:
    """Warn about scores and the price, unless they are ignored by choice."""
    choices = survey.choices
    present = {name: tally for name, tally in survey.fields.scores.items() if tally.present}
    scores = {name: tally for name, tally in present.items() if choices.kind("scores", name) != "ignore"}
    yield from _names(survey, scores)
    for name, tally in scores.items():
        if tally.outside_unit:
            yield _outside_unit(name, tally)
    for name in _USED:
        if name in scores and scores[name].present < survey.fields.rows["item"]:
            share = share_text(survey.fields.missing("item", scores[name].present))
            text = f"score '{name}' is missing for {share} of the candidates."
            advice = "The median stands in, which sorts them by nothing. Give every candidate every score."
            yield Finding("score-missing", text, advice)
    if choices.kind("price", "price") != "ignore":
        yield from _price(survey, bool(survey.total.purchases))


def _names(survey: Survey, scores: dict[str, RangeTally]) -> Iterator[Finding]:
    others = sorted(set(scores) - set(_USED))
    if not scores:
        text = "no candidate has a score."
        advice = (
            "The model then starts from nothing, and there is no sort to compare with. Log at least the score 'ctr'."
        )
        yield Finding("no-scores", text, advice)
    elif "ctr" not in scores:
        text = f"there is no score 'ctr', only {_quoted(others)}."
        advice = (
            "The model and the default formula read the estimated click probability by that name. Rename the score "
            "that is it; without one, `export` needs `--queue`."
        )
        yield Finding("no-ctr", text, advice)
    if others and "ctr" in scores:
        text = f"{plural(len(others), 'score')} not named 'ctr' or 'cvr': {_quoted(others)}."
        advice = (
            "They are read as features of the item. The model's starting point and the default formula use ctr (click) "
            "and cvr (purchase after a click) alone; rename a score that is one of these."
        )
        yield Finding("scores-not-named-ctr-or-cvr", text, advice)
    if "ctr" in scores and "cvr" not in scores and survey.total.purchases:
        text = "purchases are recorded and there is no score 'cvr'."
        advice = (
            "Conversions and revenue are then not valued. Log the estimated probability of a purchase after a click."
        )
        yield Finding("no-cvr", text, advice)


def _outside_unit(name: str, tally: RangeTally) -> Finding:
    share = share_text(tally.outside_unit / tally.present)
    text = (
        f"{share} of the values of score '{name}' lie outside 0 to 1; they go from {tally.low:.4g} to {tally.high:.4g}."
    )
    advice = "If it is a probability, scale it (percent: divide by 100; logit: apply the sigmoid)."
    if name in _USED:
        advice += " As it is, values are cut to 0 and 1 where the model starts from them."
    return Finding("scores-outside-unit", text, advice)


def _price(survey: Survey, sells: bool) -> Iterator[Finding]:
    price = survey.fields.price
    if not price.present:
        text = "no candidate has a price" + (", so revenue is not valued." if sells else ".")
        yield Finding("no-prices", text, "Fill `candidates.price` if the platform sells; the weight of GMV needs it.")
    elif price.zeros * 2 > price.present:
        text = f"{share_text(price.zeros / price.present)} of the prices are 0."
        yield Finding("prices-zero", text, "Write null where the price is not known; 0 says that the item is free.")


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
