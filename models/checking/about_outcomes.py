"""Warn about what happened: clicks, purchases, revenue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.checking.check import Survey
from models.checking.counts import Counts
from models.checking.findings import Finding, of_lists, plural, share_text

_MANY: Final = 0.75
_FEWEST: Final = 100
"""Lists that must all have a click before that is odd."""


def outcome_findings(survey: Survey) -> Iterator[Finding]:
    """Warn about labels."""
    total = survey.total
    if not total.shown:
        return
    yield from _clicks(total)
    yield from _purchases(total)
    if total.lists_with_purchases_recorded:
        yield from _revenue(total)


def _clicks(total: Counts) -> Iterator[Finding]:
    if not total.clicks:
        advice = "The model cannot learn what is clicked. Check how clicks are joined to what was shown."
        yield Finding("no-clicks", "no list has a click.", advice)
    elif total.lists_without_click >= _MANY * total.lists:
        text = f"{of_lists(total.lists_without_click, total.lists)} have no click."
        advice = (
            "That is sound if so little is clicked; keep such lists, they teach what is not. If more was clicked, "
            "check how clicks are joined to what was shown."
        )
        yield Finding("lists-without-click", text, advice)
    elif not total.lists_without_click and total.lists >= _FEWEST:
        text = "every list has a click."
        advice = (
            "If lists without a click were left out, the model's probabilities will be too high. Log every list shown."
        )
        yield Finding("every-list-clicked", text, advice)


def _purchases(total: Counts) -> Iterator[Finding]:
    recorded = total.lists_with_purchases_recorded
    if not recorded:
        text = "no list records purchases, so the model values clicks only."
        yield Finding("no-purchases", text, "If the platform sells, fill `purchases` and `gmv`; otherwise all is well.")
        return
    if recorded < total.lists:
        text = f"{of_lists(total.lists - recorded, total.lists)} do not record purchases, the others do."
        advice = "They count as not known. Where nothing was bought, write 0 instead of null."
        yield Finding("purchases-partly-recorded", text, advice)
    if not total.purchases:
        text = "purchases are recorded, and none ever happened."
        yield Finding(
            "purchases-never-happen", text, "Check how purchases are joined; leave the column out if unknown."
        )
    if total.purchases_without_click:
        share = share_text(total.purchases_without_click / total.purchases)
        text = f"{plural(total.purchases_without_click, 'purchase')} ({share}) at places without a click."
        advice = (
            "The model takes a purchase to follow a click. If the click was lost, set it to 1; if an item can be "
            "bought without one, count the purchase as a click too."
        )
        yield Finding("purchases-without-click", text, advice)


def _revenue(total: Counts) -> Iterator[Finding]:
    if not total.lists_with_gmv_recorded:
        text = "purchases are recorded and `gmv` is not."
        advice = "Revenue is then taken to be the item's price, and cannot be measured. Fill `gmv` if it is known."
        yield Finding("no-gmv", text, advice)
    elif total.purchases and not total.gmv:
        text = f"all `gmv` is 0, with {plural(total.purchases, 'purchase')}."
        yield Finding("gmv-all-zero", text, "Fill `gmv` with the revenue of each purchase, or leave the column out.")
    elif total.purchases_without_gmv:
        share = share_text(total.purchases_without_gmv / total.purchases)
        text = f"{plural(total.purchases_without_gmv, 'purchase')} ({share}) with a `gmv` of 0."
        yield Finding("purchases-without-gmv", text, "Check that nothing was lost; free items are sound.")
    if total.gmv_without_purchase:
        text = f"{plural(total.gmv_without_purchase, 'place')} with `gmv` and without a purchase."
        yield Finding("gmv-without-purchase", text, "Set `purchases` to 1 there, or `gmv` to 0.")
