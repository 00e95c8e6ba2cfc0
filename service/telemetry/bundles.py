"""Count reloads of bundles, scenes and catalogues, and show refused bundles.

One process does that itself; of several it is the supervisor.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.telemetry.snapshots import MergeMode

REFUSED: Final = "rerank_bundle_refused"
REFUSED_MODE: Final[MergeMode] = "livemax"
"""How the gauge `REFUSED` of several processes becomes one."""

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
        self._refused = Gauge(REFUSED, text, ("model", "version"), registry=registry)

    def reloaded(self, result: str) -> None:
        """Count one bundle that a reload has looked at: ``ok`` or ``refused``."""
        self._reloads[result].inc()

    def scenes_reloaded(self, result: str) -> None:
        """Count one reload of scenes: ``ok`` or ``refused``."""
        self._scene_reloads[result].inc()

    def catalogues_reloaded(self, result: str) -> None:
        """Count one look at the catalogues: ``ok`` or ``refused``."""
        self._catalogue_reloads[result].inc()

    def bundle_refused(self, name: str, version: str, refused: bool) -> None:
        """Show a version as refused, or no more."""
        if refused:
            self._refused.labels(name, version).set(1)
        else:
            self._refused.remove(name, version)
