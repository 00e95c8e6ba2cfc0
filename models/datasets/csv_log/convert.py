"""Convert CSV files to a list file in bounded memory.

The rows are read once into parts on disk, beside the list file. A pass over the parts chooses splits; another makes the
lists. The list file appears only when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
from tqdm import tqdm

from models.data.list_writer import require_replaceable, write_tables
from models.datasets.csv.form import CsvChoices, shortened
from models.datasets.csv.reading import CsvFile
from models.datasets.csv_log.columns import ColumnMap, Fields, map_columns
from models.datasets.csv_log.lists import part_lists
from models.datasets.csv_log.parts import Parts, all_parts, split_rows
from models.datasets.csv_log.profile import Profile
from models.datasets.csv_log.sides import Shares
from models.datasets.csv_log.tally import Tally
from models.datasets.csv_log.units import Sides, choose_sides
from models.datasets.csv_log.values import Reading
from models.files import named_if_full

_IDS: Final = ("request", "item", "user", "session")
_AMOUNTS: Final = ("price", "gmv")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """Hold what the user says about a log.

    `roles` and `fields` name columns, `text` the columns that stay text, `missing` the words that stand for an empty
    cell.
    """

    roles: Mapping[str, str] = field(default_factory=dict)
    fields: Fields = field(default_factory=Fields)
    text: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ("NULL",)
    form: CsvChoices = field(default_factory=CsvChoices)
    shares: Shares = field(default_factory=Shares)
    seed: int = 0


@dataclass(slots=True)
class Told:
    """Collect what the terminal is told: facts, and warnings."""

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class CsvLog:
    """Hold the open files of a log and the roles of their columns."""

    def __init__(self, paths: Sequence[Path], options: LogOptions) -> None:
        """Open the files. Raises `TableError`, and `ValueError` for a choice that does not fit them."""
        self._files = [CsvFile(path, options.form) for path in paths]
        header = self._files[0].form.header
        self.columns: ColumnMap = map_columns(header, options.roles, options.fields)
        for file in self._files:
            for column in self.columns.columns:
                file.place(column)
        for column in sorted(options.text):
            if column not in self.columns.columns:
                raise ValueError(f"--text: column {column!r} has no role and is no field")
        self._options = options
        self.told = Told()
        self._tell_columns(header)

    def convert(self, output: Path, *, parts: int | None = None, quiet: bool) -> Tally:
        """Write the list file, or a folder of `parts` files.

        Raises `TableError` for a broken row, and `ListFileError` where something else is in the way.
        """
        require_replaceable(output, parts)
        output.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(prefix=f".{output.name}.", suffix=".parts", dir=output.parent)
        with named_if_full(output), beside as folder:
            sorted_rows = Parts(Path(folder), self._files, self.columns.columns)
            reading = self._read(sorted_rows, quiet)
            sides = choose_sides(sorted_rows, reading, self._options.shares, seed=self._options.seed)
            self.told.warnings += sides.warnings
            tally = Tally()
            tables = self._tables(sorted_rows, reading, sides, tally, quiet)
            first = next(tables)
            write_tables(
                output, first.schema, chain([first], tables), self._metadata(sides), rows=sides.lists, parts=parts
            )
        self.told.facts.append(f"split: {sides.rule}")
        self.told.warnings += tally.warnings()
        return tally

    def _read(self, parts: Parts, quiet: bool) -> Reading:
        """Read the rows into the parts and decide how each column is read."""
        options, columns = self._options, self.columns
        decimal = options.form.decimal
        features = list(dict.fromkeys(column for _, _, column in columns.fields.features()))
        ids = [columns.roles[role] for role in _IDS if role in columns.roles]
        time = columns.roles.get("time")
        amounts = [columns.roles[role] for role in _AMOUNTS if role in columns.roles]
        profiled = dict.fromkeys([*features, *ids, *amounts, *([time] if time else [])])
        profiles = {c: Profile(c, decimal, as_text=c in options.text) for c in profiled}
        request = columns.roles["request"]
        with parts, tqdm(desc="read", unit="row", unit_scale=True, disable=True if quiet else None) as bar:
            split_rows(
                parts, self._files, columns.columns, profiles, request=request, missing=options.missing, told=bar.update
            )
        for column in ids:
            profiles[column].require_ids()
        kinds = {column: profiles[column].kind() for column in features}
        whole = {column: note for column in ids if (note := profiles[column].whole_ids())}
        self.told.facts += [f"{group} feature {n}: {kinds[c]}" for group, n, c in columns.fields.features()]
        self.told.facts += whole.values()
        numbers = dict.fromkeys([*features, *amounts])
        self.told.warnings += [note for column in numbers if (note := profiles[column].thousands())]
        self.told.warnings += [note for column in features if (note := profiles[column].note())]
        self.told.warnings += [f"column {c} is empty in every row and left out" for c in kinds if kinds[c] == "empty"]
        return Reading(columns, kinds, frozenset(whole), decimal, time is not None and profiles[time].mostly_numbers)

    def _tables(self, parts: Parts, reading: Reading, sides: Sides, tally: Tally, quiet: bool) -> Iterator[pa.Table]:
        with tqdm(
            total=sides.lists, desc="write", unit="list", unit_scale=True, disable=True if quiet else None
        ) as bar:
            for rows, side in zip(all_parts(parts), sides.parts, strict=True):
                lists = part_lists(rows, reading, side)
                tally.add(lists)
                yield lists.table
                bar.update(lists.table.num_rows)

    def _metadata(self, sides: Sides) -> dict[str, Any]:
        return {
            "source": "csv",
            "files": [file.path.name for file in self._files],
            "columns": dict(self.columns.roles),
            "seed": self._options.seed,
            "split": sides.rule,
        }

    def _tell_columns(self, header: Sequence[str]) -> None:
        roles = self.columns.roles
        self.told.facts += [f"{file.path}: {file.form.text()}" for file in self._files]
        self.told.facts.append(", ".join(f"{role} = {column}" for role, column in roles.items()))
        ignored = [shortened(name) or "(no name)" for name in self.columns.ignored(header)]
        if ignored:
            self.told.facts.append(
                f"ignored: {', '.join(ignored)} (use them with --scores, --item-features, --user-features or "
                "--context-features)"
            )
        self.told.warnings += _missing_roles(roles)


def _missing_roles(roles: Mapping[str, str]) -> list[str]:
    """Say what the lists lack, and what follows."""
    if "click" not in roles:
        return ["no column of clicks (--map click=COLUMN): nothing counts as shown, so a model cannot learn from it"]
    found = []
    if "position" not in roles:
        found.append("no column of positions: every row counts as shown, in the order of the rows")
    if "purchase" not in roles:
        found.append("no column of purchases: they are not recorded")
    if "price" not in roles:
        found.append("no column of prices: GMV cannot be predicted")
    return found
