"""Keep the live models, and the reasons why others are not live."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.bundles.model import Model
from service.contract.problems import NOT_READY, invalid, unavailable
from service.options.bundles import NO_DEFAULT

Tell = Callable[[Model], None]


class Registry:
    """Hold live models by name and version.

    The last one published of a name is its current version. At most `keep_versions` of a name are live. `default` is
    the model of requests that name none: None for the first name that is published, ``none`` for no model at all. Once
    it is decided it never changes. Used from the event loop only.
    """

    def __init__(self, *, default: str | None = None, retry_after_seconds: int = 1, keep_versions: int = 1) -> None:
        self._default = default
        self._retry_after = retry_after_seconds
        self.keep_versions = keep_versions
        self._models: dict[str, dict[str, Model]] = {}
        self._failures: dict[str, str] = {}
        self._published: list[Tell] = []
        self._retired: list[Tell] = []
        self._drained: list[Callable[[], None]] = []
        self._loading = True
        self._draining = False
        self._hang: str | None = None
        self._needs: list[Callable[[], str | None]] = []

    @property
    def models(self) -> Sequence[Model]:
        """Live models, in the order of their names, the current version of each first."""
        return [model for name in sorted(self._models) for model in reversed(self._models[name].values())]

    @property
    def serving(self) -> bool:
        return bool(self._models)

    def current(self, name: str) -> Model | None:
        """Return the live version for requests that name no version."""
        versions = self._models.get(name)
        return None if versions is None else next(reversed(versions.values()))

    def find(self, name: str, version: str | None = None) -> Model | None:
        """Return a live model, in its current version unless one is named, or None."""
        return self.current(name) if version is None else self._models.get(name, {}).get(version)

    @property
    def default(self) -> str | None:
        """The model of a request that names none; None while there is none."""
        return None if self._default == NO_DEFAULT else self._default

    def publish(self, model: Model) -> None:
        """Make `model` the current version of its name.

        If too many versions are live then, the one published longest ago is retired. Requests that have begun end with
        the version they began with.
        """
        if self._default is None:
            self._default = model.name
        versions = self._models.setdefault(model.name, {})
        replaced = versions.pop(model.version, None)
        versions[model.version] = model
        gone = [] if replaced is None else [replaced]
        while len(versions) > self.keep_versions:
            gone.append(versions.pop(next(iter(versions))))
        self._failures.pop(model.name, None)
        for old in gone:
            for tell in self._retired:
                tell(old)
        for tell in self._published:
            tell(model)

    def would_retire(self, model: Model) -> set[str]:
        """Return the versions that would be retired if this model were published."""
        after = [version for version in self._models.get(model.name, {}) if version != model.version]
        return set([*after, model.version][: -self.keep_versions])

    def on_publish(self, tell: Tell) -> None:
        """Call `tell` with every model that goes live."""
        self._published.append(tell)

    def on_retire(self, tell: Tell) -> None:
        """Call `tell` with every model that is retired, before its successor is published."""
        self._retired.append(tell)

    def fail(self, name: str, reason: str | None) -> None:
        """Note why a name has no live model; None if it needs none."""
        if reason is None:
            self._failures.pop(name, None)
        elif name not in self._models:
            self._failures[name] = reason

    def needs(self, why_not_ready: Callable[[], str | None]) -> None:
        """Be ready only while this returns None; else it returns the reason."""
        self._needs.append(why_not_ready)

    def loaded(self) -> None:
        """Note that all bundles of the start have been published or have failed."""
        self._loading = False

    def drain(self) -> None:
        """Say not ready from now on; requests are still answered."""
        self._draining = True
        for tell in self._drained:
            tell()

    def hang(self, reason: str) -> None:
        """Say not ready from now on, for this reason: the engine hangs."""
        self._hang = reason

    def on_drain(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the service begins to shut down."""
        self._drained.append(tell)

    def why_not_ready(self) -> str | None:
        """Return the reason why start-up bundles or the default model are not live, or None."""
        if self._hang is not None:
            return self._hang
        if self._draining:
            return "the service is shutting down"
        if self._loading:
            return "bundles are being loaded and warmed"
        if self._failures:
            return "; ".join(f"bundle {name!r} was not loaded: {why}" for name, why in sorted(self._failures.items()))
        if not self._models:
            return "no bundle is loaded"
        if self.default is not None and self.default not in self._models:
            return f"the default model {self.default!r} (LISTWRIGHT_DEFAULT_MODEL) is not loaded"
        return next((reason for need in self._needs if (reason := need()) is not None), None)

    def select(self, name: str | None, version: str | None = None) -> Model:
        """Return the model for a request, in its current version unless one is named.

        Raises `Problem`: 503 if it is not ready, 422 if the name or version is unknown, or the name is needed.
        """
        wanted = name if name is not None else self.default
        if wanted is not None and wanted in self._models:
            versions = self._models[wanted]
            if version is None:
                return next(reversed(versions.values()))
            if version in versions:
                return versions[version]
            live = ", ".join(versions)
            raise invalid("version", f"no version {version[:64]!r} of model {wanted!r} is live; there is: {live}")
        if self._loading or not self._models or wanted in self._failures or (name is None and wanted is not None):
            raise unavailable(NOT_READY, self.why_not_ready() or "no bundle is loaded", self._retry_after)
        known = ", ".join(sorted(self._models))
        if wanted is None:
            raise invalid("model", f"is needed, since there is no default model; there is: {known}")
        raise invalid("model", f"no model {wanted[:64]!r} is loaded; there is: {known}")
