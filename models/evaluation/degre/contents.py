"""Lay out the experiment's figures as the contents of a page.

Tables per judge, and sweeps as charts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from models.evaluation.degre.hit_rate import PERCENTS
from models.evaluation.degre.judges import PRIMARY
from models.evaluation.degre.layout import MISSING
from models.evaluation.degre.value_accuracy import MEASURES
from models.reporting.contents import Chart, Column, Contents, Figure, Line, Row, Table

_RATES: Final = tuple(f"HR@{k}%" for k in PERCENTS)
_FAMILIES: Final = {
    "reference": "References",
    "search": "Searches of the evaluator",
    "baseline": "Generators of other papers",
    "degre": "DeGRe",
}
_ABLATIONS: Final = "Ablations (Table 4's form)"
_CEILING: Final = "a ceiling: it searches this judge itself"
_HITS: Final = (
    *(Column(title=rate, form="number", digits=4) for rate in _RATES),
    Column(title="mean value, clicks", form="number", digits=4),
    Column(title="seeds", form="number", digits=0),
    Column(title="requests", form="number", digits=0),
)
_INTERVALS: Final = "95% intervals over requests; a request counts with the mean over seeds."
_Entries = Sequence[Mapping[str, Any]]


def contents_of(report: Mapping[str, Any], titles: Mapping[str, str], base: str, ceiling: str) -> Contents:
    """Lay out the report's figures.

    `titles` are the judges'; `base` and `ceiling` are the planners that gains and their shares refer to.
    """
    setting = report["setting"]
    tables = [
        *_hits("hit-rates", "Generators (Table 2's form)", report["hit_rates"], titles),
        *_differences(report["differences"], titles),
        *_gains("gains", f"Gains over the {base}", report["gains"], titles, base, ceiling),
        *_sets_and_orders(report["sets_and_orders"], titles, base),
        *_exhaustive(report["exhaustive"], titles),
        *_accuracy(report["accuracy"]),
        *_hits("ablations", _ABLATIONS, report["ablations"], titles),
        *_distances(report["distances"], titles),
        *_grid(report["grid"], titles),
    ]
    for mix in report["mixes"]:
        weights = ", ".join(f"{w:g}" for w in mix["weights"])
        section = f"Generators, α, β, γ = {weights}"
        tables += _hits(f"mix-{weights}", section, mix["hit_rates"], titles)
        tables += _gains(f"mix-{weights}-gains", section, mix["gains"], titles, base, ceiling)
    return Contents(
        title=f"DeGRe on {setting['data']['file']}, profile {setting['profile']['name']}",
        kind="degre",
        summary=_summary(report),
        setting=_setting(setting),
        tables=[*tables, _costs(report["steps"])],
        charts=[_sweep(sweep, titles) for sweep in report["sweeps"]],
    )


def _summary(report: Mapping[str, Any]) -> str:
    setting, table = report["setting"], report["hit_rates"].get(PRIMARY.name)
    profile = setting["profile"]
    told = (
        f"Planners fill {profile['length']} places on {setting['requests']} test requests. The hit rate HR@k% says how "
        f"often a list is among the best k% of {profile['random_lists']:,} random lists of its request, as a judge "
        "values them."
    )
    known = [row for row in table["rows"] if row["hit_rate"] is not None and not row["ceiling"]] if table else []
    for family in ("degre", "baseline"):
        rows = [row for row in known if row["family"] == family]
        if rows:
            best = max(rows, key=_first_rate)
            told += (
                f" {_FAMILIES[family]}, best under the primary judge: {best['title']}, HR@1% {_first_rate(best):.3f}."
            )
    waiting = sum(step["seconds"] is None for step in report["steps"])
    return told + (f"\n\n{waiting} of {len(report['steps'])} steps are not done." if waiting else "")


def _first_rate(row: Mapping[str, Any]) -> float:
    return float(row["hit_rate"][str(PERCENTS[0])]["mean"])


def _setting(setting: Mapping[str, Any]) -> dict[str, str]:
    profile, data = setting["profile"], setting["data"]
    return {
        "command": setting["command"],
        "data": f"{data['file']}, {'simulated' if setting['simulated'] else 'logged'} lists",
        "lists": ", ".join(f"{count:,} {name}" for name, count in data["lists"].items()),
        "SHA-256": data["sha256"],
        "profile": profile["name"],
        "mined requests": f"{setting['mining_slates']:,}",
        "seeds": f"{profile['seeds']}; {profile['sweep_seeds']} in ablations and sweeps",
        "models": f"d = {profile['dim']}, {profile['evaluator_layers']} layers in the evaluator",
        "hardware": setting["hardware"],
        "versions": f"torch {setting['torch']}",
    }


def _per_judge(
    name: str,
    section: str,
    title: str,
    caption: str,
    columns: Sequence[Column],
    tables: Mapping[str, Any],
    titles: Mapping[str, str],
    rows: Callable[[Any], Sequence[Row]],
) -> Iterator[Table]:
    """Make one table per judge that has figures."""
    for judge, table in tables.items():
        if table:
            yield Table(
                name=f"{name}-{judge}",
                title=f"{title}, judge: {titles[judge]}",
                caption=caption,
                columns=columns,
                rows=rows(table),
                section=section,
            )


def _hits(name: str, section: str, tables: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[Table]:
    def row(entry: Mapping[str, Any]) -> Row:
        found = entry["hit_rate"] or dict.fromkeys(map(str, PERCENTS))
        figures = [*(_figure(found[str(k)]) for k in PERCENTS), _figure(entry["value"])]
        counts = [Figure(mean=float(entry[key])) for key in ("seeds", "requests")]
        group, note = _FAMILIES.get(entry["family"], ""), _CEILING if entry["ceiling"] else ""
        return Row(name=entry["planner"], title=entry["title"], group=group, note=note, figures=[*figures, *counts])

    caption = f"Share of requests whose list is in the best 1%, 3% and 10% of random lists. {_INTERVALS}"
    return _per_judge(
        name, section, "Hit rates", caption, _HITS, tables, titles, lambda table: [row(e) for e in table["rows"]]
    )


def _differences(tables: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[Table]:
    def rows(table: _Entries) -> list[Row]:
        return [
            Row(
                name=f"{entry['ours']}-{entry['theirs']}",
                title=f"less {entry['theirs']}",
                group=entry["ours"],
                figures=[*(_figure(entry["difference"][str(k)]) for k in PERCENTS), _figure(entry["value"])],
            )
            for entry in table
        ]

    columns = [Column(title=name, form="change", digits=4) for name in (*_RATES, "mean value")]
    caption = f"The planner in the heading less that of the row, paired by request. {_INTERVALS}"
    return _per_judge("differences", "Paired differences", "All measures", caption, columns, tables, titles, rows)


def _gains(
    name: str, section: str, tables: Mapping[str, Any], titles: Mapping[str, str], base: str, ceiling: str
) -> Iterator[Table]:
    def rows(table: _Entries) -> list[Row]:
        parts = ("gain", "relative", "kept")
        return [_plain_row(entry, [_figure(entry[part], "not defined") for part in parts]) for entry in table]

    columns = [
        Column(title="gain, clicks", form="change", digits=4),
        Column(title="relative", digits=1),
        Column(title=f"of what {ceiling} gains", form="share", digits=1),
    ]
    caption = f"Mean value of a list under the judge, less that of the {base}. {_INTERVALS}"
    return _per_judge(name, section, "Gains", caption, columns, tables, titles, rows)


def _sets_and_orders(tables: Mapping[str, Any], titles: Mapping[str, str], base: str) -> Iterator[Table]:
    def rows(table: _Entries) -> list[Row]:
        return [_plain_row(entry, [_figure(entry[part]) for part in ("gain", "set", "order")]) for entry in table]

    heads = ("gain, clicks", "of it by the set", "by the order")
    columns = [Column(title=head, form="change", digits=4) for head in heads]
    caption = f"A list's set is worth the mean over random permutations of it; its order brings the rest. {_INTERVALS}"
    return _per_judge("orders", "Sets and orders", f"Gains over the {base}", caption, columns, tables, titles, rows)


def _exhaustive(tables: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[Table]:
    for judge, table in tables.items():
        if table["requests"] and "rows" in table:
            yield Table(
                name=f"exhaustive-{judge}",
                title=f"All lists, judge: {titles[judge]}",
                section="Against all lists",
                caption=f"All {table['lists']:,} lists of each of {table['requests']} requests. {_INTERVALS}",
                columns=[
                    Column(title="optimality", form="number", digits=4),
                    Column(title="share of better lists", form="number", digits=5),
                    *(Column(title=f"exact {rate}", form="number", digits=3) for rate in _RATES),
                ],
                rows=[_exact_row(entry) for entry in table["rows"]],
            )


def _exact_row(entry: Mapping[str, Any]) -> Row:
    rates = entry["hit_rate"] or {}
    exact = [Figure(mean=rates[str(k)]) if rates else Figure(text=MISSING) for k in PERCENTS]
    figures = [_figure(entry["optimality"]), _figure(entry["better"]), *exact]
    return Row(name=entry["title"], title=entry["title"], figures=figures)


def _accuracy(found: Mapping[str, Any] | None) -> Iterator[Table]:
    if found is None:
        return

    def figure(measure: Mapping[str, float] | None) -> Figure:
        return _figure(measure and {**measure, "mean": measure["value"]}, "not defined")

    yield Table(
        name="accuracy",
        title="Estimates of clicks",
        section="Evaluators (Table 3's form)",
        caption=f"Estimated against logged clicks of {found['lists']:,} test lists; 95% intervals over lists.",
        columns=[Column(title=title, form="number", digits=4) for title in MEASURES.values()],
        rows=[
            Row(name=row["evaluator"], title=row["evaluator"], figures=[figure(row[name]) for name in MEASURES])
            for row in found["rows"]
        ],
    )


def _distances(tables: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[Table]:
    def rows(table: _Entries) -> list[Row]:
        counts = [Figure(text="not defined") if e["needed"] is None else Figure(mean=float(e["needed"])) for e in table]
        return [
            Row(name=entry["title"], title=entry["title"], figures=[_figure(entry["difference"]), count])
            for entry, count in zip(table, counts, strict=True)
        ]

    columns = [
        Column(title="value less the whole's, clicks", form="change", digits=4),
        Column(title="requests that would tell it from 0", form="number", digits=0),
    ]
    caption = f"On all requests that ablations are valued on, each less the first row of the ablations. {_INTERVALS}"
    return _per_judge("distances", _ABLATIONS, "Values", caption, columns, tables, titles, rows)


def _grid(entries: _Entries, titles: Mapping[str, str]) -> Iterator[Table]:
    models, planners = (list(dict.fromkeys(entry[part] for entry in entries)) for part in ("model", "planner"))
    for judge, title in titles.items():
        found = {(entry["model"], entry["planner"]): entry["judges"].get(judge) for entry in entries}
        rates = {cell: row["hit_rate"][str(PERCENTS[0])] for cell, row in found.items() if row and row["hit_rate"]}
        if rates:
            yield Table(
                name=f"grid-{judge}",
                title=f"{_RATES[0]}, judge: {title}",
                section="Value models and planners",
                caption=f"{_RATES[0]} of each value model under each planner. Searches of the judge are ceilings.",
                columns=[Column(title=planner, form="number", digits=4) for planner in planners],
                rows=[
                    Row(name=model, title=model, figures=[_figure(rates.get((model, p))) for p in planners])
                    for model in models
                ],
            )


def _sweep(sweep: Mapping[str, Any], titles: Mapping[str, str]) -> Chart:
    """Make a chart of HR@1% against one setting.

    Settings are texts, evenly spaced: they are powers, and α has a 0.
    """
    lines = []
    for judge, title in titles.items():
        rows = [point["judges"].get(judge) for point in sweep["points"]]
        rates = [row["hit_rate"][str(PERCENTS[0])] if row and row["hit_rate"] else {} for row in rows]
        if any(rates):
            ends = {end: [rate.get(end) for rate in rates] for end in ("mean", "low", "high")}
            settings = [f"{point['x']:g}" for point in sweep["points"]]
            lines.append(Line(title=title, x=settings, y=ends["mean"], low=ends["low"], high=ends["high"]))
    return Chart(
        name=f"sweep-{sweep['symbol']}",
        title=f"{_RATES[0]} against {sweep['symbol']}",
        kind="sweep",
        x_title=sweep["symbol"],
        y_title=_RATES[0],
        lines=lines,
        finding="" if lines else "Not run.",
    )


def _costs(steps: _Entries) -> Table:
    def row(step: Mapping[str, Any]) -> Row:
        notes = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in step["notes"].items())
        seconds = Figure(text=MISSING) if step["seconds"] is None else Figure(mean=float(step["seconds"]))
        told = ", ".join(notes) + ("; resumed" if step["resumed"] else "")
        return Row(name=step["step"], title=step["step"], figures=[seconds, Figure(text=told)])

    return Table(
        name="steps",
        title="Steps and their time",
        section="What each step took",
        caption="Seconds of each step; of a resumed one, those of its last run.",
        columns=[Column(title="seconds", form="number", digits=1), Column(title="notes", form="text")],
        rows=[row(step) for step in steps],
    )


def _plain_row(entry: Mapping[str, Any], figures: Sequence[Figure]) -> Row:
    note = _CEILING if entry["ceiling"] else ""
    return Row(name=entry["title"], title=entry["title"], note=note, figures=figures)


def _figure(interval: Mapping[str, float] | None, missing: str = MISSING) -> Figure:
    if interval is None:
        return Figure(text=missing)
    return Figure(mean=interval["mean"], low=interval["low"], high=interval["high"])
