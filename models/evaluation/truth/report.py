"""Report the truth experiment as ``report.json`` and ``report.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from models.evaluation.simulated.comparison import true_values
from models.evaluation.steps import is_done, read_failure
from models.evaluation.truth.paths import LISTS_FILE, data_step, method_step
from models.evaluation.truth.points import points_of
from models.evaluation.truth.profile import Profile
from models.evaluation.truth.registry import METHODS
from models.evaluation.truth.steps import bench_of
from models.files import whole_file
from models.reporting.contents import Column, Contents, Figure, Row, Table

REPORT_FILE: Final = "report.md"
_COLUMNS: Final = ("clicks", "orders", "GMV")


def write_report(root: Path, profile: Profile, command: str) -> str:
    """Write ``report.json`` and ``report.md`` into the run's folder; return the Markdown."""
    main = points_of(profile)[0]
    rows = []
    for name in main.methods:
        step = method_step(main.name, name, 0, 0)
        figures = [Figure(text=read_failure(root, step) or "not run")] * len(_COLUMNS)
        if is_done(root, step) and is_done(root, data_step(main.name)):
            lists = np.load(root / step / LISTS_FILE, allow_pickle=False)
            values = true_values(bench_of(root, profile, main).cases, lists).mean(axis=0)
            figures = [Figure(mean=float(value)) for value in values]
        rows.append(Row(name=name, title=METHODS[name].title, figures=figures, group=METHODS[name].group))
    columns = [Column(title=title, form="number", digits=3) for title in _COLUMNS]
    table = Table(name="main", title="True values", caption="Means of a request.", columns=columns, rows=rows)
    setting = {"command": command}
    Contents(title="Truth", kind="truth", summary="", setting=setting, tables=[table]).write(root)
    cells = "\n".join(
        f"| {row.title} | {' | '.join(f.text or format(f.mean, '.3f') for f in row.figures)} |" for row in rows
    )
    text = f"| method | {' | '.join(_COLUMNS)} |\n|---|---|---|---|\n{cells}\n"
    with whole_file(root / REPORT_FILE) as partial:
        partial.write_text(text, "utf-8")
    return text
