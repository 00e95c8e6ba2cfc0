"""Report the truth experiment: what its lists are truly worth, as ``report.json`` and ``report.md``.

A report can be made at any time; what was not run says so.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from models.evaluation.hardware import sum_up_hardware
from models.evaluation.steps import is_done, read_markers
from models.evaluation.truth.figures.ablations import own_parts, paper_parts
from models.evaluation.truth.figures.calibration import calibration_chart
from models.evaluation.truth.figures.drawing import draw_charts
from models.evaluation.truth.figures.fronts import front_charts, hypervolume_table
from models.evaluation.truth.figures.grid import grid_table
from models.evaluation.truth.figures.markdown import markdown
from models.evaluation.truth.figures.pairs import list_pairs
from models.evaluation.truth.figures.positions import position_charts
from models.evaluation.truth.figures.results import NOT_RUN, Results
from models.evaluation.truth.figures.summary import summary
from models.evaluation.truth.figures.sweeps import sweep_charts, sweep_tables
from models.evaluation.truth.figures.tables import base_table, rival_table, small_table
from models.evaluation.truth.figures.targets import targets
from models.evaluation.truth.paths import data_file, data_step
from models.evaluation.truth.points import points_of
from models.evaluation.truth.profile import Profile
from models.evaluation.truth.registry import METHODS
from models.files import file_digest, whole_file
from models.reporting.contents import Chart, Contents, Table

REPORT_FILE: Final = "report.md"
_PACKAGES: Final = ("listwright", "torch", "numpy", "lightgbm", "pymoo")


def write_report(root: Path, profile: Profile, command: str) -> str:
    """Write ``report.json``, ``report.md`` and its charts into the run's folder; return the Markdown."""
    return write_results(Results(root, profile, points_of(profile), METHODS), command)


def write_results(results: Results, command: str) -> str:
    """Write the report of some results, as `write_report` does."""
    contents = make_contents(results, command)
    contents.write(results.root)
    text = markdown(contents, draw_charts(results.root, contents.charts))
    with whole_file(results.root / REPORT_FILE) as partial:
        partial.write_text(text, "utf-8")
    return text


def make_contents(results: Results, command: str) -> Contents:
    """Compute all that a report shows.

    Tables and charts that nothing is known of are left out, and named in the setting.
    """
    tables, charts = list(_tables(results)), list(_charts(results))
    waiting = [table.title for table in tables if not _is_known(table)]
    return Contents(
        title="SORT-Gen and its rivals where list values are known",
        kind="truth",
        summary=summary(results),
        setting=_setting(results, command) | ({NOT_RUN: "; ".join(waiting)} if waiting else {}),
        targets=targets(results),
        tables=[table for table in tables if _is_known(table)],
        charts=[chart for chart in charts if any(y is not None for line in chart.lines for y in line.y)],
        pairs=list_pairs(results.main),
        failures=results.failures(),
    )


def _is_known(table: Table) -> bool:
    """Tell whether a table has a figure, or says why it has none."""
    return any(row.note or any(figure.mean is not None for figure in row.figures) for row in table.rows)


def _tables(results: Results) -> Iterator[Table]:
    main, small = results.main, results.small
    found = [
        base_table(main),
        rival_table(main),
        None if small is None else small_table(small),
        paper_parts(main),
        own_parts(main),
        grid_table(main),
        hypervolume_table(main),
    ]
    yield from (table for table in found if table is not None)
    yield from sweep_tables(results)


def _charts(results: Results) -> Iterator[Chart]:
    yield from position_charts(results.main)
    yield from front_charts(results.main)
    yield from sweep_charts(results)
    calibration = calibration_chart(results.main)
    if calibration is not None:
        yield calibration


def _setting(results: Results, command: str) -> dict[str, str]:
    """Describe command, data, seeds, sizes, hardware and versions as texts."""
    profile, point, markers = results.profile, results.main.point, read_markers(results.root)
    return {
        "command": f"`{command}`",
        "profile": profile.name,
        "data": _data(results),
        "seeds": f"{point.seeds} in the tables, {profile.sweep_seeds} in sweeps, {point.mix_seeds} in fronts",
        "test requests": f"{profile.requests:,}; settings are chosen on {profile.valid_requests:,} others",
        "value models": f"width {profile.value_dim}, layers: {profile.value_layers}, epochs: {profile.value_epochs}; "
        f"as in the papers: {profile.paper_dim}, {profile.paper_layers}, {profile.paper_epochs}",
        "generators": f"width {profile.generator_dim}, layers: {profile.generator_layers}, "
        f"requests: {profile.generator_requests:,}, epochs: {profile.generator_epochs}",
        "beam": str(profile.beam),
        "steps": _steps(results, markers),
        "hardware": sum_up_hardware(markers),
        "versions": ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in _PACKAGES)]),
    }


def _data(results: Results) -> str:
    """Name the list file of the tables with its digest."""
    point = results.main.point.name
    if not is_done(results.root, data_step(point)):
        return NOT_RUN
    file = data_file(results.root, point)
    return f"`{file.relative_to(results.root).as_posix()}`, SHA-256 `{file_digest(file)}`"


def _steps(results: Results, markers: Sequence[Mapping[str, Any]]) -> str:
    """Count the steps done and failed, and sum up their time."""
    minutes = sum(float(marker["seconds"]) for marker in markers) / 60
    resumed = sum(bool(marker.get("resumed")) for marker in markers)
    part = f", of {resumed} that were resumed only the last part" if resumed else ""
    done = f"{len(markers)} done, {len(results.failures())} failed"
    return f"{done}; {minutes:,.1f} minutes if run one after another{part}"
