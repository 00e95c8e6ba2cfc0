"""Make the live source that the settings name."""

from __future__ import annotations

from service.catalogues.redis_link import check_url
from service.catalogues.redis_source import RedisSource
from service.catalogues.source import LiveObserver
from service.environment import PREFIX
from service.settings import Settings, SettingsError, flag

_NAME = "catalogue_live"


def check_live(settings: Settings) -> None:
    """Raise `SettingsError` for a live source that cannot work; nothing is connected to."""
    if settings.catalogue_live is None:
        return
    try:
        check_url(settings.catalogue_live.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{_NAME.upper()} ({flag(_NAME)}): {error}") from None


def make_live(settings: Settings, observer: LiveObserver) -> RedisSource | None:
    """Make the live source, if the settings name one. Raises `SettingsError` as `check_live` does."""
    if settings.catalogue_live is None:
        return None
    check_live(settings)
    return RedisSource.make(
        settings.catalogue_live.get_secret_value(),
        observer,
        prefix=settings.catalogue_live_prefix,
        seconds=settings.catalogue_live_ms / 1e3,
        ttl_seconds=settings.catalogue_live_ttl_seconds,
    )
