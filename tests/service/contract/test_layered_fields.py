"""Missing and unknown values of items are counted alike, whoever says what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from models.contract.candidates import CandidateTable, ObjectTable
from models.contract.features import Encoder
from models.contract.scalars import Scalar
from service.contract.field_values import FieldReader, FieldUse, Gap
from tests.models.contract.layer_cases import EXTRAS, LayerCase, layer_cases
from tests.service.tiny_bundle import Options, make_manifest


def read(table: CandidateTable, case: LayerCase) -> FieldUse:
    encoder = Encoder(case.spec)
    row = {**encoder.encode_user({}, {}), **encoder.encode_slots(table, case.slots)}
    reader = FieldReader(make_manifest(Options(spec=case.spec)), encoder)
    return reader.read({}, {}, table, case.slots[case.slots >= 0], row)


@pytest.mark.long
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(layer_cases())
def test_a_request_over_layers_has_the_counts_and_gaps_of_one_that_says_all(case: LayerCase) -> None:
    with case.table(Encoder(case.spec)) as layered, np.errstate(over="ignore"):
        found, expected = read(layered, case), read(ObjectTable(case.whole), case)
    assert found.counts.fields == expected.counts.fields
    assert np.array_equal(found.counts.counts, expected.counts.counts)
    assert [_told(gap) for gap in found.gaps] == [_told(gap) for gap in expected.gaps]
    # Only the request itself can say too much; what else a catalogue has is for rules.
    own = [case.said["request"][place].features for place in case.slots[case.slots >= 0].tolist()]
    surplus = {name for features in own for name in EXTRAS if features.get(name) is not None}
    assert found.surplus.get("item", frozenset()) == surplus
    assert found.surplus.get("scores") == expected.surplus.get("scores")


def _told(gap: Gap) -> tuple[str, list[Scalar], int, int]:
    return gap.field.path, list(gap.values), gap.missing, gap.unknown
