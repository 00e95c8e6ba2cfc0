"""A check by tasks reports what one process does, and names the part that is broken, gone or another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.checking import fields, tallies
from models.checking.check import Survey, survey_file
from models.checking.report import report_json, report_text
from models.cli import main
from models.data import fit_spec
from models.data.field_choices import FieldChoices
from models.data.fitting import number_values
from models.data.list_writer import write_lists
from models.data.records import ListFileError, ListRecord
from models.datasets import simulated_logs
from models.datasets.simulator import SimulatorConfig
from models.distributed import checking
from models.distributed.checking import survey_on_ray
from tests.models.distributed.machines import TWO_CORES

pytestmark = pytest.mark.usefixtures("tasks_here")
PARTS = 5
CHANGED = "has changed since the command began"


def log(
    change: Callable[[int, ListRecord], ListRecord] = lambda _, record: record, seed: int = 3
) -> Iterator[ListRecord]:
    """Lists with fields of every kind, of which one comes late, and requests that repeat."""
    config = SimulatorConfig(candidates=8, items=60, users=50, brands=3)
    records = list(simulated_logs.load(config, seed=seed, lists=200, length=4).records)
    for i, record in enumerate(records):
        user = {**record.user, "user_id": f"u{i % 70}", "age": float(i), **({"late": i % 2 == 0} if i > 150 else {})}
        same = replace(records[i % 190], request_id=record.request_id, user=user)
        yield change(i, same)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder of parts."""
    write_lists(tmp_path / "lists", log(), {"source": "simulator"}, parts=PARTS)
    return tmp_path / "lists"


@pytest.fixture(params=["exact", "bounded"])
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for everything, and for little."""
    if request.param == "bounded":
        monkeypatch.setattr(tallies, "_SAMPLED", 100)
        monkeypatch.setattr(fields, "KEPT_VALUES", 20)
        monkeypatch.setattr(fields, "_PER_VOCABULARY", 1)
        monkeypatch.setattr(fit_spec, "MOST_HELD", 1000)
        monkeypatch.setattr(number_values, "BLOCK", 64)
        monkeypatch.setattr(number_values, "SAMPLE", 100)


def surveyed(lists: Path, choices: FieldChoices | None = None) -> Survey:
    return survey_on_ray(lists, choices or FieldChoices(), TWO_CORES)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    "choices",
    [
        FieldChoices(max_vocabulary=4, min_count=2),
        FieldChoices({"age": "category", "user.thrift": "hash", "style": "ignore"}, max_vocabulary=16),
    ],
)
def test_a_check_by_tasks_reports_what_one_process_does(lists: Path, choices: FieldChoices) -> None:
    ray, here = surveyed(lists, choices), survey_file(lists, choices)
    assert ray.spec is not None
    assert here.spec is not None
    assert ray.spec.fingerprint == here.spec.fingerprint
    assert report_json(lists, ray, {}) == report_json(lists, here, {})
    assert report_text(lists, ray, {}) == report_text(lists, here, {})


def test_parts_do_not_change_the_report_but_for_rounding(lists: Path, tmp_path: Path) -> None:
    write_lists(tmp_path / "one.parquet", log(), {})
    assert report_text("", survey_file(lists), {}) == report_text("", survey_file(tmp_path / "one.parquet"), {})


def test_empty_parts_are_passed_over(lists: Path, tmp_path: Path) -> None:
    whole = report_text("", survey_file(lists), {})
    empty_part(lists / "part-00000a.parquet", lists)
    assert report_text("", surveyed(lists), {}) == whole == report_text("", survey_file(lists), {})
    (tmp_path / "none").mkdir()
    empty_part(tmp_path / "none" / "part.parquet", lists)
    with pytest.raises(ListFileError, match="none: has no lists"):
        surveyed(tmp_path / "none")


def empty_part(path: Path, like: Path) -> None:
    """Write a part of the same fields without lists."""
    pq.write_table(pq.read_table(like / "part-00001.parquet").slice(0, 0), path)


def test_a_request_id_that_stands_in_two_parts_is_named(tmp_path: Path) -> None:
    for part in (1, 2):
        write_lists(tmp_path / "lists" / f"{part}.parquet", log(), {})
    with pytest.raises(ListFileError, match=r"2\.parquet: row 0, column request_id: 'sim-3-0' stands twice"):
        surveyed(tmp_path / "lists")


def test_a_part_of_another_schema_is_named(lists: Path) -> None:
    aged = log(lambda i, record: replace(record, request_id=f"x{i}", user={"age": "old"}))
    write_lists(lists / "part-00009.parquet", aged, {})
    with pytest.raises(ListFileError, match=r"part-00009\.parquet: column user\.age: is string here and double in"):
        surveyed(lists)


def test_tasks_that_run_in_another_folder_read_a_relative_source(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tasks_here: Callable[..., Iterator[Any]]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    spoil = [lambda: None, (lists / "part-00003.parquet").unlink]

    def run_elsewhere(*arguments: Any, **options: Any) -> Iterator[Any]:
        monkeypatch.chdir(tmp_path / "elsewhere")
        spoil.pop(0)()
        yield from tasks_here(*arguments, **options)

    whole = report_text("lists", survey_file(lists), {})
    monkeypatch.setattr(checking, "run_tasks", run_elsewhere)
    monkeypatch.chdir(tmp_path)
    assert report_text("lists", surveyed(Path("lists")), {}) == whole
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ListFileError, match=r"^lists/part-00003\.parquet: cannot be read as Parquet: there is no such"):
        surveyed(Path("lists"))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "cannot be read as Parquet: there is no such file"),
        (lambda part: part.write_bytes(part.read_bytes()[:-100]), "cannot be read as Parquet: "),
        (lambda part: part.write_bytes(part.with_name("part-00001.parquet").read_bytes()), CHANGED),
        (lambda part: write_lists(part, list(log())[:7], {}), CHANGED),
        (lambda part: write_lists(part.parent, log(seed=4), {"source": "simulator"}, parts=PARTS), CHANGED),
    ],
)
def test_a_part_that_changes_meanwhile_is_named(
    lists: Path,
    spoil: Callable[[Path], object],
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    tasks_here: Callable[..., Iterator[Any]],
) -> None:
    def spoilt(*arguments: Any, **options: Any) -> Iterator[Any]:
        for i, result in enumerate(tasks_here(*arguments, **options)):
            if i == 1:
                spoil(lists / "part-00003.parquet")
            yield result

    monkeypatch.setattr(checking, "run_tasks", spoilt)
    with pytest.raises(ListFileError, match=rf"part-0000[23]\.parquet: {problem}"):
        surveyed(lists)


def test_a_choice_without_a_field_is_refused_as_in_one_process(lists: Path) -> None:
    with pytest.raises(ValueError, match="there is no field 'colour' to choose a kind for"):
        surveyed(lists, FieldChoices({"colour": "hash"}))


def test_the_command_names_an_address_without_a_cluster(lists: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    assert main(["data", "check", str(lists), "--ray", "127.0.0.1:1"]) == 2
    assert "--ray: there is no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
    assert main(["data", "check", str(lists), "--workers", "2"]) == 2
    assert "--workers: needs --ray" in capsys.readouterr().err
