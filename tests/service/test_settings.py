"""Settings: one class, documented, and a wrong value names itself."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from service import command
from service.access.keys import ApiKeys
from service.environment import PREFIX, is_service_link, shadowing_links
from service.settings import SECRETS, Settings, SettingsError, flag, load_settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LISTWRIGHT_BUNDLES", str(tmp_path))


def settings_table() -> str:
    """The table of docs/settings.md, a row per setting in the class's order."""
    rows = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        option = f"`{flag(name)}`" if name not in SECRETS else "none: keys do not belong on a command line"
        rows.append(f"| `{PREFIX}{name.upper()}` | {option} | {_default(field.default)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is None or value == ():
        return "not set"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_the_document_holds_the_table_that_the_class_makes() -> None:
    table = settings_table()
    text = DOCUMENT.read_text("utf-8")
    assert table in text, f"docs/settings.md is out of date; it should hold:\n\n{table}"


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`{PREFIX}{name.upper()}`" in settings_table()


def test_the_environment_is_read_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_PORT", "9000")
    monkeypatch.setenv("LISTWRIGHT_MAX_IN_FLIGHT", "7")
    assert load_settings().port == 9000
    settings = load_settings({"port": "9001"})
    assert (settings.port, settings.max_in_flight) == (9001, 7)


def test_catalogues_are_beside_the_bundles_unless_a_setting_names_their_folder(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.catalogue_root == tmp_path / "catalogue"
    (tmp_path / "items").mkdir()
    assert load_settings({"catalogue": str(tmp_path / "items")}).catalogue_root == tmp_path / "items"
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_CATALOGUE \(--catalogue\): no such folder"):
        load_settings({"catalogue": str(tmp_path / "absent")})


def test_copies_of_catalogues_need_memory_that_can_be_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "memfd_create", lambda *_: -1, raising=False)
    assert load_settings({"catalogue_copy": "true"}).catalogue_copy
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(SettingsError, match=r"LISTWRIGHT_CATALOGUE_COPY \(--catalogue-copy\): this platform"):
        load_settings({"catalogue_copy": "true"})


def test_every_setting_but_the_keys_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    flags = {option for action in parser._actions for option in action.option_strings}
    assert "--max-in-flight" in flags
    assert "--api-keys" not in flags
    assert len(flags) == len(Settings.model_fields) - 1 + 2  # and -h, --help
    assert vars(parser.parse_args([])) == {}
    assert vars(parser.parse_args(["--port", "0"])) == {"port": "0"}
    assert "19" in parser.format_help()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("ADMIN_PORT", "-1"),
        ("BUDGET_MS", "0"),
        ("BUDGET_MS", "nan"),
        ("WORKERS", "0"),
        ("MAX_IN_FLIGHT", "0"),
        ("PROVIDER", "tpu"),
        ("BUNDLES", "/no/such/folder"),
        ("LOG_LEVEL", "loud"),
        ("DRAIN_SECONDS", "soon"),
        ("DEFAULT_MODEL", ""),
        ("DEFAULT_MODEL", "../next"),
        ("SHADOW", ""),
        ("SHADOW", "next@"),
        ("SHADOW", "next@1@2"),
        ("SHADOW", "../next"),
        ("SHADOW_SHARE", "1.01"),
        ("SHADOW_SHARE", "-0.01"),
        ("SHADOW_SHARE", "nan"),
        ("API_KEYS", ""),
        ("API_KEYS", " , "),
        ("HOST", ""),
        ("BUNDLES", ""),
        ("CATALOGUE", ""),
        ("UDS", ""),
        ("ADMIN_HOST", ""),
    ],
)
def test_a_wrong_value_names_itself(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + variable, value)
    flag = "" if variable == "API_KEYS" else f" \\(--{variable.lower().replace('_', '-')}\\)"
    with pytest.raises(SettingsError, match=f"^{PREFIX}{variable}{flag}: "):
        load_settings()


def settings_of(*types: type) -> list[str]:
    """The settings whose values are of these types, or missing."""

    def is_one(kind: object) -> bool:
        return kind in types or any(map(is_one, get_args(kind)))

    return [name for name, field in Settings.model_fields.items() if is_one(field.annotation)]


@pytest.mark.parametrize("value", ["inf", "-inf", "Infinity", "nan"])
def test_no_number_may_be_infinite_or_none_at_all(value: str) -> None:
    assert {"load_timeout_seconds", "log_slow_ms", "max_batch", "shadow_share"} <= set(settings_of(int, float))
    for name in settings_of(int, float):
        with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()} \\({flag(name)}\\): ") as caught:
            load_settings({name: value})
        assert ";" not in str(caught.value)


def test_no_time_in_seconds_may_be_longer_than_a_day() -> None:
    for name in (name for name in settings_of(int, float) if name.endswith("_seconds")):
        with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()} .*less than or equal to"):
            load_settings({name: "86401"})


def test_no_path_may_be_empty() -> None:
    paths = settings_of(Path)
    assert {"bundles", "catalogue", "uds", "api_keys_file", "admin_keys_file"} <= set(paths)
    for name in paths:
        message = f"^{PREFIX}{name.upper()} \\({flag(name)}\\): is set but empty$"
        with pytest.raises(SettingsError, match=message):
            load_settings({name: ""})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"max_unfinished_mb": 2}, ["MAX_UNFINISHED_MB"]),
        ({"max_unfinished_per_peer_mb": 1}, ["MAX_UNFINISHED_PER_PEER_MB"]),
        ({"max_body_bytes": 32 * 2**20}, ["MAX_UNFINISHED_PER_PEER_MB"]),
        ({"max_body_bytes": 64 * 2**20 - 4095}, ["MAX_UNFINISHED_MB", "MAX_UNFINISHED_PER_PEER_MB"]),
    ],
)
def test_limits_that_no_largest_body_fits_in_are_an_error(given: dict[str, int], named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(given)
    faults = str(caught.value).split("; LISTWRIGHT")
    assert len(faults) == len(named)
    for fault, name in zip(faults, named, strict=True):
        assert f"{name} (" in fault
        assert "LISTWRIGHT_MAX_BODY_BYTES" in fault


def test_one_largest_body_may_be_all_that_fits() -> None:
    load_settings({"max_unfinished_mb": 2, "max_unfinished_per_peer_mb": 2, "max_body_bytes": 2 * 2**20 - 4096})
    load_settings({"max_unfinished_mb": 3, "max_unfinished_per_peer_mb": 3})


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LISTWRIGHT_PROT", "LISTWRIGHT_PORT"),
        ("LISTWRIGHT_ADMN_PORT", "LISTWRIGHT_ADMIN_PORT"),
        ("listwright_worker", "LISTWRIGHT_WORKERS"),
        ("LISTWRIGHT_SERVICE", None),
        ("LISTWRIGHT_XYZZY", None),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_that_is_one(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str | None
) -> None:
    monkeypatch.setenv(name, "9000")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    guess = f" (did you mean {nearest}?)" if nearest else ""
    assert str(caught.value).startswith(f"{name}: no such setting{guess};")


@pytest.mark.parametrize("infix", ["", "CANARY_", "ADMIN_", "V2_CANARY_"])
def test_variables_that_kubernetes_sets_for_a_service_are_ignored(monkeypatch: pytest.MonkeyPatch, infix: str) -> None:
    """Those of kubelet for a Service with one named port, https://kubernetes.io/docs/concepts/services-networking."""
    url = "tcp://10.0.0.1:8000"
    given = {"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8000", "SERVICE_PORT_HTTP": "8000", "PORT": url}
    given |= {"PORT_8000_TCP": url, "PORT_8000_TCP_PROTO": "tcp", "PORT_8000_TCP_PORT": "8000"}
    for name, value in (given | {"PORT_8000_TCP_ADDR": "10.0.0.1", "PORT_53_UDP": "udp://10.0.0.1:53"}).items():
        monkeypatch.setenv(PREFIX + infix + name, value)
    settings = load_settings()
    assert (settings.port, settings.admin_port) == (8000, None)
    hidden = {"": ["LISTWRIGHT_PORT"], "ADMIN_": ["LISTWRIGHT_ADMIN_PORT"]}
    assert shadowing_links(os.environ, Settings.model_fields) == hidden.get(infix, [])


@pytest.mark.parametrize("value", ["abc", "tcp://", "tcp://10.0.0.1", "http://10.0.0.1:80", ""])
def test_a_port_that_is_no_number_and_no_service_link_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LISTWRIGHT_PORT", value)
    with pytest.raises(SettingsError, match=r"^LISTWRIGHT_PORT \(--port\): "):
        load_settings()


def test_no_setting_can_be_taken_for_a_service_link() -> None:
    assert not [name for name in Settings.model_fields if is_service_link(PREFIX + name.upper(), "8000")]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("clef-\u00e9", "character 6 of key 1"),
        ("good,also good", "character 5 of key 2"),
        ("good,tab\there", "character 4 of key 2"),
        ("bell\x07", "character 5 of key 1"),
        ("nul-free,line\nbreak", "character 5 of key 2"),
        ("\x7f", "character 1 of key 1"),
        ("\udcff", "character 1 of key 1"),
    ],
)
def test_a_key_that_no_client_can_send_is_an_error_that_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, keys: str, place: str
) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", keys)
    with pytest.raises(SettingsError, match=f"^LISTWRIGHT_API_KEYS: {place} cannot be sent") as caught:
        load_settings()
    assert not [part for part in keys.split(",") if part in str(caught.value)]


def test_every_visible_ascii_character_may_be_in_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != ",")
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", key)
    (found,) = load_settings().api_keys
    assert found.get_secret_value() == key
    assert ApiKeys.of(load_settings()).check(f"Bearer {key}") == "key-1"


def test_keys_are_split_at_commas_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", "alpha-key, beta-key,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["alpha-key", "beta-key"]
    assert "alpha-key" not in repr(settings)
    assert "alpha-key" not in settings.model_dump_json()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1
