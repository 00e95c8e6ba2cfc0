"""Each oddity of a list file is warned about by name, and a clean file is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import models.checking
from models.checking.check import Survey, survey_file
from models.checking.report import findings, report_text, short_text
from models.data.field_choices import FieldChoices, FieldKind
from models.data.list_writer import write_lists
from tests.models.checking.oddities import ODDITIES, Records, clean, user, write_odd


def survey(records: Records, folder: Path, choices: FieldChoices | None = None) -> Survey:
    path = folder / "lists.parquet"
    write_lists(path, records, {})
    return survey_file(path, choices)


def codes(records: Records, folder: Path, choices: FieldChoices | None = None) -> list[str]:
    return [finding.code for finding in findings(survey(records, folder, choices))]


def test_nothing_is_odd_in_a_log_of_the_simulator(tmp_path: Path) -> None:
    surveyed = survey(clean(), tmp_path)
    assert not findings(surveyed)
    assert short_text("file", surveyed) == "checked 300 lists: nothing odd"
    assert "Nothing odd was found." in report_text("file", surveyed, {})


@pytest.mark.parametrize("code", ODDITIES)
def test_an_oddity_is_warned_about_by_name(code: str, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    write_odd(code, path)
    surveyed = survey_file(path)
    assert code in [finding.code for finding in findings(surveyed)]
    text = report_text("file", surveyed, {})
    assert f"{code}: " in text
    assert max(map(len, text.splitlines())) <= 100


def test_every_warning_has_such_a_log() -> None:
    sources = Path(models.checking.__file__).parent.glob("*.py")
    text = "".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r'Finding\(\s*"([a-z-]+)"', text)) | {
        f"no-{split}-lists" for split in ("train", "valid", "test")
    }
    named |= {"shown-lengths-skewed", "candidate-lengths-skewed"}
    assert named == set(ODDITIES)


def test_a_hashed_user_id_is_named_even_where_hashing_was_chosen(tmp_path: Path) -> None:
    records = user(lambda i: f"u{i % 9}", "user_id")
    choices = FieldChoices({"user.user_id": "hash"})
    (found,) = [f for f in findings(survey(records, tmp_path, choices)) if f.code == "field-hashed"]
    assert "user.user_id" in found.text
    assert "9 values" in found.text


@pytest.mark.parametrize("kind", ["category", "number", "ignore"])
def test_a_choice_about_codes_ends_the_warning(kind: FieldKind, tmp_path: Path) -> None:
    records = user(lambda i: i % 5, "segment")
    assert codes(records, tmp_path, FieldChoices({"segment": kind})) == []


def test_a_price_that_is_ignored_is_not_missed(tmp_path: Path) -> None:
    records = ODDITIES["no-prices"]()
    assert codes(records, tmp_path) == ["no-prices"]
    assert codes(records, tmp_path, FieldChoices({"price": "ignore"})) == []


def test_the_score_of_a_deterministic_exposure_is_named(tmp_path: Path) -> None:
    surveyed = survey(ODDITIES["deterministic-exposure"](), tmp_path)
    (found,) = findings(surveyed)
    assert "100% of the lists" in found.text
    assert "order of ctr." in found.text


def test_flags_and_true_fractions_are_no_codes(tmp_path: Path) -> None:
    assert codes(user(lambda i: i % 2, "flag"), tmp_path) == []
    assert codes(user(lambda i: (i % 5) / 2, "half"), tmp_path) == []


def test_whole_numbers_with_a_name_of_ids_are_codes_however_many(tmp_path: Path) -> None:
    assert "codes-read-as-numbers" in codes(user(lambda i: 7919 * i % 10_007, "city_id"), tmp_path)
    assert "codes-read-as-numbers" not in codes(user(lambda i: 7919 * i % 10_007, "distance"), tmp_path)


@pytest.mark.parametrize("kind", ["hash", "category", "ignore"])
def test_64_bit_ids_are_no_oddity_where_they_are_not_read_as_numbers(kind: FieldKind, tmp_path: Path) -> None:
    records = user(lambda i: 2**62 + i % 9, "signature")
    surveyed = survey(records, tmp_path, FieldChoices({"user.signature": kind}))
    assert "numbers-rounded" not in [finding.code for finding in findings(surveyed)]
    (report,) = [report for report in surveyed.reports if report.name == "user.signature"]
    assert (report.distinct, report.sample[0]) == (9, str(2**62))
