"""Warn about what was shown: exposure, choice, lengths, splits and repeats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.checking.check import Survey
from models.checking.counts import Lengths
from models.checking.findings import Finding, of_lists, share_text

_FOLLOWED: Final = 0.95
_FEWEST: Final = 10
"""Lists that must agree before an order counts as a rule."""

_SPLIT_LACKS: Final = {
    "train": "Nothing can be trained. Set `split` to 'train' for most lists.",
    "valid": "Training then cross-fits, which takes longer. Set `split` to 'valid' for about 10%.",
    "test": "Nothing then measures the model on lists that it has not seen. Set `split` to 'test' for about 10%.",
}


def list_findings(survey: Survey) -> Iterator[Finding]:
    """Warn about lists as a whole."""
    if not survey.total.shown:
        text = "no list shows an item: `exposed` is empty everywhere."
        advice = "There is nothing to learn from. `exposed` holds the places of the shown candidates, in order, from 0."
        yield Finding("nothing-shown", text, advice)
    else:
        yield from _shown(survey)
        yield from _deterministic(survey)
    yield from _skewed("shown items", "shown-lengths-skewed", survey.shown_lengths, 4, 20)
    yield from _skewed("candidates", "candidate-lengths-skewed", survey.candidate_lengths, 10, 100)
    yield from _splits(survey)
    yield from _repeats(survey)


def _shown(survey: Survey) -> Iterator[Finding]:
    total = survey.total
    if total.lists_with_nothing_shown:
        text = f"{of_lists(total.lists_with_nothing_shown, total.lists)} show nothing."
        advice = "They teach nothing. Check that `exposed` was filled for them, or leave them out."
        yield Finding("lists-with-nothing-shown", text, advice)
    if total.lists_with_one_shown * 2 >= total.lists:
        text = f"{of_lists(total.lists_with_one_shown, total.lists)} show a single item."
        advice = (
            "What stands before an item cannot be learnt from them. If a request's items were logged as "
            "separate lists, join them into one list a request."
        )
        yield Finding("one-item-shown", text, advice)
    if total.lists_with_all_shown >= _FOLLOWED * (total.lists - total.lists_with_nothing_shown):
        text = f"{of_lists(total.lists_with_all_shown, total.lists)} show all of their candidates: nothing was chosen."
        advice = (
            "The model learns from that, but evaluation can only reorder what was shown, and mining finds no other "
            "items. Log the candidates that were not shown as well, with their scores."
        )
        yield Finding("all-candidates-shown", text, advice)
    if not total.lists_with_first_shown and total.shown * total.lists >= _FEWEST * total.candidates:
        text = "no list shows its first candidate, place 0 in `exposed`."
        advice = (
            "Check that places are counted from 0: counted from 1, each stands for the candidate after the one shown."
        )
        yield Finding("first-candidate-never-shown", text, advice)


def _deterministic(survey: Survey) -> Iterator[Finding]:
    tally = survey.exposure
    names = [n for n in tally.compared if tally.compared[n] >= _FEWEST and tally.share(n) >= _FOLLOWED]
    if names:
        share = max(tally.share(name) for name in names)
        text = (
            f"in {share_text(share)} of the lists the shown order is the descending order of {' and of '.join(names)}."
        )
        advice = (
            "Nothing can be learnt about other orders, and the effect of the position cannot be told from that of the "
            "score. Show a small share of requests in an order that is partly random."
        )
        yield Finding("deterministic-exposure", text, advice)


def _skewed(what: str, code: str, lengths: Lengths, times: int, least: int) -> Iterator[Finding]:
    median, longest = max(1, lengths.quantile(0.5)), lengths.longest
    if longest >= least and longest > times * median:
        text = (
            f"lists differ much in length: half have at most {median:,} {what}, 99% at most "
            f"{lengths.quantile(0.99):,}, the longest {longest:,}."
        )
        advice = "Long lists cost memory and time in training; `--list-length` cuts what is shown past it."
        yield Finding(code, text, advice)


def _splits(survey: Survey) -> Iterator[Finding]:
    for split, counts in survey.counts.items():
        if not counts.lists:
            yield Finding(f"no-{split}-lists", f"no list is of split '{split}'.", _SPLIT_LACKS[split])
    for name, share in survey.users.overlaps().items():
        if share > 0:
            text = f"{share_text(share)} of the test split's users (by user.{name}) are in the training split as well."
            advice = (
                "That is right for a split by time which no session crosses. Otherwise the test flatters the model: "
                "split by user."
            )
            yield Finding("users-in-train-and-test", text, advice)


def _repeats(survey: Survey) -> Iterator[Finding]:
    share = survey.requests.repeated_share
    if share > 0:
        text = (
            f"{share_text(share)} of the lists repeat another: same user, context, candidates, scores and shown order."
        )
        advice = (
            "Check that no log was read twice, and that the repeats are not in two splits. Real repeats, such as page "
            "reloads, are better logged once."
        )
        yield Finding("repeated-requests", text, advice)
