"""Which models are live, and what is known of those that are not. Knows nothing about how a bundle is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.model import Model
from service.problems import NOT_READY, invalid, unavailable


class Registry:
    """Live models by name, one version each. Used from the event loop only."""

    def __init__(self, *, default: str | None = None, retry_after_seconds: int = 1) -> None:
        self._default = default
        self._retry_after = retry_after_seconds
        self._models: dict[str, Model] = {}
        self._failures: dict[str, str] = {}
        self._listeners: list[Callable[[Model], None]] = []
        self._loading = True
        self._draining = False

    @property
    def models(self) -> Sequence[Model]:
        """Live models, in the order of their names."""
        return [self._models[name] for name in sorted(self._models)]

    @property
    def default(self) -> str | None:
        """The model of a request that names none; None if it must name one."""
        if self._default is None and len(self._models) == 1:
            return next(iter(self._models))
        return self._default

    def publish(self, model: Model) -> None:
        """Make `model` the live version of its name. Requests that have begun end with the version they began with."""
        self._models[model.name] = model
        self._failures.pop(model.name, None)
        for tell in self._listeners:
            tell(model)

    def on_publish(self, tell: Callable[[Model], None]) -> None:
        """Call `tell` with every model that goes live."""
        self._listeners.append(tell)

    def fail(self, name: str, reason: str) -> None:
        """Remember why a bundle is not live. One that is live already stays so, and stays ready."""
        if name not in self._models:
            self._failures[name] = reason

    def loaded(self) -> None:
        """All bundles of the start have been published or have failed."""
        self._loading = False

    def drain(self) -> None:
        """Say not ready from now on; requests are still answered."""
        self._draining = True

    def why_not_ready(self) -> str | None:
        """None when ready. Ready means: all that was there at the start is live, and so is the default model."""
        if self._draining:
            return "the service is shutting down"
        if self._loading:
            return "bundles are being loaded and warmed"
        if self._failures:
            return "; ".join(f"bundle {name!r} was not loaded: {why}" for name, why in sorted(self._failures.items()))
        if not self._models:
            return "no bundle is loaded"
        if self._default is not None and self._default not in self._models:
            return f"the default model {self._default!r} is not loaded"
        return None

    def select(self, name: str | None) -> Model:
        """The model for a request. Raises `Problem`: 503 if it is not ready, 422 if the name is unknown or needed."""
        wanted = name if name is not None else self.default
        if wanted is not None and wanted in self._models:
            return self._models[wanted]
        if self._loading or not self._models or wanted in self._failures or (name is None and wanted is not None):
            raise unavailable(NOT_READY, self.why_not_ready() or "no bundle is loaded", self._retry_after)
        known = ", ".join(sorted(self._models))
        if wanted is None:
            raise invalid("model", f"is needed, since more than one model is loaded: {known}")
        raise invalid("model", f"no model {wanted[:64]!r} is loaded; there is: {known}")
