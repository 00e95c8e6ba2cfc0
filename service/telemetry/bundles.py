"""Count reloads of bundles, scenes and catalogues, and show what is refused.

One process does that itself; of several it is the supervisor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.bundles.renewing import Renewal
from service.telemetry.snapshots import MergeMode

_BUNDLE_REFUSED: Final = "rerank_bundle_refused"
_FILES_REFUSED: Final = "rerank_files_refused"
REFUSED_MODES: Final[dict[str, MergeMode]] = {_BUNDLE_REFUSED: "livemax", _FILES_REFUSED: "livemax"}
"""How the gauges of several processes become one."""

_RESULTS: Final = ("ok", "refused")


class BundleMetrics:
    """Hold the metrics of what serves bundles."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "Bundles that a reload switched to, or refused."
        reloads = Counter("rerank_reloads_total", text, ("result",), registry=registry)
        self._reloads = {result: reloads.labels(result) for result in _RESULTS}
        text = "Files of scenes that a reload switched to, or refused; one that has not changed is not counted."
        scenes = Counter("rerank_scene_reloads_total", text, ("result",), registry=registry)
        self._scene_reloads = {result: scenes.labels(result) for result in _RESULTS}
        text = "Looks at the catalogues that switched to a new one, or refused one; one of no effect is not counted."
        catalogues = Counter("rerank_catalogue_reloads_total", text, ("result",), registry=registry)
        self._catalogue_reloads = {result: catalogues.labels(result) for result in _RESULTS}
        text = "1 for each version that was refused at start or on SIGHUP, until it is live or gone."
        self._refused = Gauge(_BUNDLE_REFUSED, text, ("model", "version"), registry=registry)
        text = "1 while the file of scenes, or a catalogue, is refused: at its last look, the one at start included."
        files = Gauge(_FILES_REFUSED, text, ("kind",), registry=registry)
        self._scenes_refused, self._catalogue_refused = files.labels("scenes"), files.labels("catalogue")

    def reloaded(self, result: str) -> None:
        """Count one bundle that a reload has looked at: ``ok`` or ``refused``."""
        self._reloads[result].inc()

    def scenes_renewed(self, outcome: Renewal, count: bool) -> None:
        """Show whether the scenes are refused, and `count` what the look led to."""
        _note(outcome, self._scenes_refused, self._scene_reloads if count else None)

    def catalogues_renewed(self, outcome: Renewal, count: bool) -> None:
        """Show whether a catalogue is refused, and `count` what the look led to."""
        _note(outcome, self._catalogue_refused, self._catalogue_reloads if count else None)

    def bundle_refused(self, name: str, version: str, refused: bool) -> None:
        """Show a version as refused, or no more."""
        if refused:
            self._refused.labels(name, version).set(1)
        else:
            self._refused.remove(name, version)


def _note(outcome: Renewal, gauge: Gauge, counts: Mapping[str, Counter] | None) -> None:
    refused = outcome.problem is not None
    gauge.set(refused)
    if counts is not None:
        counts["ok"].inc(outcome.switched)
        counts["refused"].inc(refused)
