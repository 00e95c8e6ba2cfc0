"""Fit a feature spec to records of a test."""

from __future__ import annotations

from collections.abc import Iterable

from models.contract.spec import FeatureSpec
from models.data.field_choices import FieldChoices
from models.data.fit_spec import SpecFitter
from models.data.records import ListRecord


def fit_spec(records: Iterable[ListRecord], choices: FieldChoices | None = None) -> FeatureSpec:
    """The spec of records in memory, all of which are read."""
    fitter = SpecFitter(choices)
    fitter.add_records(records)
    return fitter.fit()
