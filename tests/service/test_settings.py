"""Settings: one class, documented, and a wrong value names itself."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from pydantic import ValidationError

from service import command
from service.environment import PREFIX
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
    return "none" if value is None or value == () else f"`{str(value).lower() if isinstance(value, bool) else value}`"


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
        ("SHADOW", ""),
        ("SHADOW", "next@"),
        ("SHADOW", "next@1@2"),
        ("SHADOW", "../next"),
        ("SHADOW_SHARE", "1.01"),
        ("SHADOW_SHARE", "-0.01"),
        ("SHADOW_SHARE", "nan"),
        ("API_KEYS", ""),
        ("API_KEYS", " , "),
    ],
)
def test_a_wrong_value_names_itself(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + variable, value)
    flag = "" if variable == "API_KEYS" else f" \\(--{variable.lower().replace('_', '-')}\\)"
    with pytest.raises(SettingsError, match=f"^{PREFIX}{variable}{flag}: "):
        load_settings()


def test_a_variable_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_PROT", "1")
    with pytest.raises(SettingsError, match="LISTWRIGHT_PROT: no such setting"):
        load_settings()


def test_variables_that_kubernetes_sets_for_a_service_of_this_name_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_8000_TCP_ADDR"):
        monkeypatch.setenv(PREFIX + name, "10.0.0.1")
    load_settings()


def test_keys_are_split_at_commas_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", "alpha-key, beta-key,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["alpha-key", "beta-key"]
    assert "alpha-key" not in repr(settings)
    assert "alpha-key" not in settings.model_dump_json()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1
