"""A file of keys is read whole or refused, by the place of what is wrong; no message shows a key."""

from __future__ import annotations

import contextlib
import os
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access.key import MOST_KEYS, NO_KEY, ApiKey, KeysError
from service.access.reading import LONGEST, MOST_BYTES, parse_keys, read_keys
from service.access.sources import Access
from service.settings import SettingsError, load_settings
from tests.service.access.files import SECRETS, entry, write_keys

SECRET = "s3cr3t-s3cr3t-s3cr3t"
unix = pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")


def refusal(text: str | bytes, **options: bool) -> str:
    with pytest.raises(KeysError) as caught:
        parse_keys(text if isinstance(text, bytes) else text.encode(), **options)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_keys_are_given_in_the_clear_or_by_their_digest() -> None:
    digest = sha256(SECRET.encode()).hexdigest()
    found = parse_keys(
        f'[[keys]]\nname="a"\nsha256="{digest.upper()}"\n{entry("old", "requests_per_second=2")}'.encode()
    )
    assert found[0] == ApiKey("a", digest)
    assert found[1] == ApiKey("old", sha256(SECRETS["old"].encode()).hexdigest(), 2.0)


def test_a_key_shows_neither_its_secret_nor_its_digest() -> None:
    (key,) = parse_keys(f'[[keys]]\nname="a"\nkey="{SECRET}"'.encode())
    assert repr(key) == str(key) == "ApiKey('a')"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no key"),
        ("keys = []", "holds no key"),
        ("# nothing\n", "holds no key"),
        ("keys = 1", "must hold tables [[keys]]"),
        (f'[keys.a]\nkey="{SECRET}"', "must hold tables [[keys]]"),
        (f'"{SECRET}" = 1', "must hold tables [[keys]]"),
        (f"[[keys]]\nname = {SECRET}", "is not valid TOML (at line 2, column 8)"),
        (f'[[keys]]\nname="a"\n"{SECRET}" = 1\n"{SECRET}" = 2', "is not valid TOML (at end of document)"),
        ("\N{SNOWMAN}".encode("utf-16").decode("latin-1"), "is not valid TOML"),
        ("keys = [" + "[" * 5000, "nested"),
        (f'[[keys]]\nname="a"\nkye="{SECRET}"', "keys[0]: has an entry that is none of name, key, sha256"),
        (f'[[keys]]\nname="a"\n"{SECRET}"=1', "keys[0]: has an entry that is none of name, key, sha256"),
        (f'[[keys]]\nkey="{SECRET}"', "keys[0].name: "),
        ('[[keys]]\nname="a"\nkey=5', "keys[0].key: "),
        ('[[keys]]\nname="a"', "keys[0] (a): needs either key or sha256"),
        (f'[[keys]]\nname="a"\nkey="{SECRET}"\nsha256="{"0" * 64}"', "keys[0] (a): needs either key or sha256"),
        ('[[keys]]\nname="a"\nkey=""', "keys[0] (a): its key has 0 characters"),
        ('[[keys]]\nname="a"\nkey="short"', "keys[0] (a): its key has 5 characters"),
        (f'[[keys]]\nname="a"\nkey="{"x" * (LONGEST + 1)}"', "keys[0] (a): its key has 257 characters"),
        (f'[[keys]]\nname="a"\nkey="{SECRET}\N{LATIN SMALL LETTER E WITH ACUTE}"', "keys[0] (a): character 21 of"),
        (f'[[keys]]\nname="a"\nkey="{SECRET} "', "keys[0] (a): character 21 of its key cannot be sent"),
        (f'[[keys]]\nname="a"\nkey="\\n{SECRET}"', "keys[0] (a): character 1 of its key cannot be sent"),
        (f'[[keys]]\nname="a"\nsha256="{SECRET}"', "keys[0] (a): sha256 must be 64 hexadecimal digits"),
        (f'[[keys]]\nname="a"\nsha256="{sha256().hexdigest()}"', "keys[0] (a): sha256 is the digest of an empty key"),
        (entry("old") + entry("old"), "keys[1]: has the same name as keys[0]"),
        (entry("old") + entry("old").replace('"old"', '"b"'), "keys[1]: has the same key as keys[0]"),
        (entry("old", "requests_per_second=0"), "keys[0].requests_per_second: "),
        (entry("old", "requests_per_second=nan"), "requests_per_second"),
        (entry("old", "requests_per_second=inf"), "requests_per_second"),
        (entry("old", "requests_per_second=true"), "keys[0].requests_per_second: "),
        (entry("old", 'requests_per_second="many"'), "keys[0].requests_per_second: "),
    ],
)
def test_what_is_wrong_is_named_by_its_place_and_never_shown(text: str, problem: str) -> None:
    assert problem in refusal(text)


def test_a_limit_has_no_meaning_for_keys_of_the_admin_listener() -> None:
    assert "keys[0] (old): requests_per_second" in refusal(entry("old", "requests_per_second=5"), limits=False)


def test_there_are_only_so_many() -> None:
    tables = "".join(f'[[keys]]\nname="k{i}"\nkey="{SECRET}-{i}"\n' for i in range(MOST_KEYS + 1))
    assert refusal(tables) == "keys: has 65 keys; at most 64 are allowed"


@pytest.mark.parametrize(
    "name",
    [*("", "A", "-a", "_a", "a" * 33, "a b", "a.b", "a\\u0022b", "a\\nb", "\N{GREEK SMALL LETTER ALPHA}", "a{b}")],
)
def test_names_with_odd_characters_are_refused_and_not_repeated(name: str) -> None:
    assert refusal(f'[[keys]]\nname="{name}"\nkey="{SECRET}"').startswith("keys[0].name: is no name for a key: small")


def test_the_name_that_metrics_use_for_none_is_refused() -> None:
    assert NO_KEY == "none"
    assert "metrics use it" in refusal(f'[[keys]]\nname="{NO_KEY}"\nkey="{SECRET}"')


@given(st.text(max_size=60))
def test_any_name_is_taken_as_it_is_or_refused(name: str) -> None:
    escaped = "".join(f"\\U{ord(c):08x}" for c in name.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    with contextlib.suppress(KeysError):
        (key,) = parse_keys(f'[[keys]]\nname="{escaped}"\nkey="{SECRET}"'.encode())
        assert key.name == name
        assert key.name.isascii()


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_refused(text: bytes) -> None:
    with contextlib.suppress(KeysError):
        assert parse_keys(text)


@unix
@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        (0o644, "every user can read it (mode 0644)"),
        (0o604, "every user can read it (mode 0604)"),
        (0o602, "every user can change it (mode 0602)"),
        (0o660, "its group can change it (mode 0660)"),
        (0o666, "every user can change it (mode 0666)"),
    ],
)
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int, problem: str) -> None:
    path = write_keys(tmp_path / "keys.toml", entry("old"), mode)
    with pytest.raises(KeysError) as caught:
        read_keys(path)
    assert str(caught.value) == f"{problem}; mode 0600, 0400 or 0440 is needed"


@unix
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_links_are_followed_to_files_that_only_the_right_users_read(tmp_path: Path, mode: int) -> None:
    """As Kubernetes mounts a secret: a link to a link in a folder that all may list."""
    (tmp_path / "..2026").mkdir()
    write_keys(tmp_path / "..2026" / "keys.toml", entry("old"), mode)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "keys.toml").symlink_to(Path("..data") / "keys.toml")
    assert [key.name for key in read_keys(tmp_path / "keys.toml")] == ["old"]


@unix
def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, problem in (
        (tmp_path / "pipe", "is not a regular file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "absent", "cannot be read: No such file or directory"),
        (tmp_path / "pipe" / "below", "cannot be read: Not a directory"),
    ):
        with pytest.raises(KeysError, match=problem):
            read_keys(path)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys.toml", "#" * (MOST_BYTES + 1))
    with pytest.raises(KeysError, match="is larger than 65536 bytes"):
        read_keys(path)


@pytest.mark.parametrize("option", ["api_keys_file", "admin_keys_file"])
@pytest.mark.parametrize(
    ("text", "problem"), [(None, "cannot be read"), ("", "holds no key"), ("[", "is not valid TOML")]
)
def test_a_wrong_file_at_start_is_an_error_that_names_the_option_and_the_file(
    tmp_path: Path, option: str, text: str | None, problem: str
) -> None:
    path = tmp_path / "keys.toml"
    if text is not None:
        write_keys(path, text)
    settings = load_settings({"bundles": str(tmp_path), option: str(path)})
    with pytest.raises(SettingsError) as caught:
        Access.open(settings)
    flag = "--" + option.replace("_", "-")
    assert str(caught.value).startswith(f"LISTWRIGHT_{option.upper()} ({flag}): {path}: {problem}")


def test_keys_of_a_variable_and_of_a_file_at_once_are_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTWRIGHT_API_KEYS", SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings({"bundles": str(tmp_path), "api_keys_file": str(tmp_path / "keys.toml")})
    text = str(caught.value)
    assert text.startswith("LISTWRIGHT_API_KEYS_FILE (--api-keys-file): LISTWRIGHT_API_KEYS is set as well")
    assert SECRET not in text
