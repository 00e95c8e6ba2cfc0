"""The bill of materials of what the wheel installs: whole, valid, the same each time, within the policy on licences.

`make release-test` runs these, since they install the wheel and the tools from an index.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.files import ROOT
from tests.release.conftest import Environment
from tests.release.test_distributions import PROJECT

# Most of the time is pip's, and that of a busy index.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SUPPLY: Final = ROOT / "deploy" / "supply"


@pytest.fixture(scope="module")
def bill(installed: Environment, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(installed, tools, tmp_path_factory.mktemp("sbom") / "serving.cdx.json")


def _written(installed: Environment, tools: Path, out: Path) -> Path:
    command = [str(tools), str(SUPPLY / "sbom.py"), str(installed.bin / "python"), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "valid against CycloneDX 1.6" in done.stdout
    return out


def _components(bill: Path) -> dict[str, Any]:
    return {component["name"]: component for component in json.loads(bill.read_text("utf-8"))["components"]}


def test_it_is_about_the_project_and_has_all_that_pip_installed_at_its_version(
    bill: Path, installed: Environment
) -> None:
    root = json.loads(bill.read_text("utf-8"))["metadata"]["component"]
    assert (root["name"], root["version"]) == ("listwright", PROJECT["version"])
    listed = json.loads(
        installed.output("python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check")
    )
    expected = {package["name"]: package["version"] for package in listed if package["name"] != "listwright"}
    found = {name: component["version"] for name, component in _components(bill).items()}
    assert found == expected | {"swagger-ui-dist": found["swagger-ui-dist"]}


def test_it_has_none_of_the_tools_that_made_it(bill: Path) -> None:
    assert not {"cyclonedx-bom", "pip_audit", "license-expression"} & _components(bill).keys()


def test_the_same_environment_gives_the_same_bytes(
    bill: Path, installed: Environment, tools: Path, tmp_path: Path
) -> None:
    assert _written(installed, tools, tmp_path / "again.json").read_bytes() == bill.read_bytes()


def test_all_licences_of_what_serves_are_allowed_and_listed(bill: Path, tools: Path, tmp_path: Path) -> None:
    out = tmp_path / "licences.md"
    command = [str(tools), str(SUPPLY / "licences.py"), str(bill), "--serving", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == 2 + len(_components(bill))
    assert not [line for line in lines if line.endswith("| none |")]
