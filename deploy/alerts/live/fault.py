"""Describe one fault and its alerts, and hold what came of it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.alerts.files import ALERTS
from deploy.alerts.live.prometheus import Prometheus, running
from loadtest.resilience.chaos.harness import Service, serve, wait
from loadtest.resilience.chaos.scenario import Trial

PATIENCE: Final = 90.0
"""Most seconds from the fault until its alerts fire, on a busy machine: windows are 15 to 30 s long."""

ROOMY: Final = ("--budget-ms", "10000")
"""Options with which only the fault degrades a list or makes it late."""


@dataclass
class Stage:
    """Serve and scrape for one fault; note the seconds until each alert fired."""

    trial: Trial
    wanted: Sequence[str]
    fired: dict[str, float] = field(default_factory=dict)
    series: frozenset[str] = frozenset()

    @contextlib.contextmanager
    def serve(self, *options: str, patience: float = PATIENCE, **how: Any) -> Iterator[Watched]:
        """Serve under a steady client; Prometheus scrapes from before the fault."""
        with serve(self.trial, *options, **how) as service, self.scraping(service.port) as prometheus:
            # A counter is seen to grow only from a scrape before the fault.
            wait(prometheus.settled, PATIENCE)
            yield Watched(service, prometheus, self, patience)

    def scraping(self, port: int) -> contextlib.AbstractContextManager[Prometheus]:
        """Scrape a port while the context lasts."""
        return running(self.trial.scratch / "prometheus", [port])

    def watch(self, prometheus: Prometheus, again: Callable[[], object], patience: float = PATIENCE) -> None:
        """Repeat the fault until all wanted alerts have fired; without any, for all the time."""
        began = time.monotonic()
        while time.monotonic() - began < patience:
            again()
            for name in prometheus.firing():
                self.fired.setdefault(name, time.monotonic() - began)
            if self.wanted and set(self.wanted) <= self.fired.keys():
                break
            time.sleep(0.2)
        self.series |= prometheus.names()


@dataclass(frozen=True)
class Watched:
    """A service that a Prometheus scrapes."""

    service: Service
    prometheus: Prometheus
    stage: Stage
    patience: float

    def until_firing(self, again: Callable[[], object] = lambda: None) -> None:
        """Repeat the fault until its alerts have fired, or until patience ends."""
        self.stage.watch(self.prometheus, again, self.patience)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, the alerts that it must make fire, and the way to cause it."""

    name: str
    alerts: Sequence[str]
    how: str
    act: Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one fault, and why it was skipped or broke off."""

    fault: Fault
    stage: Stage
    skipped: str | None = None
    error: str | None = None

    @property
    def missing(self) -> list[str]:
        """Name wanted alerts that did not fire; without a fault, those that did."""
        if not self.fault.alerts:
            return sorted(self.stage.fired)
        return [name for name in self.fault.alerts if name not in self.stage.fired]

    @property
    def failed(self) -> bool:
        """Tell whether an alert stayed silent, or the fault could not be caused."""
        return self.skipped is None and (self.error is not None or bool(self.missing))

    @property
    def verdict(self) -> str:
        """The result in one word."""
        if self.skipped is not None:
            return "skipped"
        return "FAILED" if self.failed else "fired" if self.fault.alerts else "silent"

    def why(self) -> list[str]:
        """Say what was wrong, a line for each alert, with series that are missing."""
        if self.skipped is not None:
            return [f"skipped: {self.skipped}"]
        lines = [] if self.error is None else [f"broke off: {self.error}"]
        for name in self.missing if self.fault.alerts else ():
            absent = sorted(metrics_of(name) - self.stage.series)
            lines.append(f"{name} did not fire" + (f": no series {', '.join(absent)}" if absent else ""))
        return [*lines, *(f"{name} fired without a fault" for name in (self.missing if not self.fault.alerts else ()))]


def metrics_of(alert: str) -> set[str]:
    """Return the service's series that an alert reads, not those that are recorded of them."""
    (expr,) = [rule.expr for rule in ALERTS if rule.name == alert]
    return set(re.findall(r"(?<![:\w])rerank_\w+", expr))


def scratch(folder: Path, name: str) -> Path:
    """Make a folder of a fault's own."""
    path = folder / name
    path.mkdir()
    return path
