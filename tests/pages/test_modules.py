"""The pages' modules: small, and sound by the types in their comments."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from service.pages.assets import FILES

MODULES: Final = sorted((FILES / "js").glob("*.js"))
MOST_LINES: Final = 250
LONGEST_LINE: Final = 120
TYPESCRIPT: Final = "typescript@5.9.3"
OPTIONS: Final = {
    "noEmit": True,
    "allowJs": True,
    "checkJs": True,
    "strict": True,
    "noUncheckedIndexedAccess": True,
    "noUnusedLocals": True,
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2023", "dom", "dom.iterable"],
    "types": [],
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_small_and_says_what_it_does(module: Path) -> None:
    text = module.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert max(map(len, text.splitlines())) <= LONGEST_LINE
    assert text.startswith("/**")
    assert "innerHTML" not in text  # Ids and features of a request are text, never markup.
    assert not re.search(r"\beval\(|new Function", text)


@pytest.mark.slow
def test_the_types_hold(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which fetches the TypeScript compiler")
    config = {"compilerOptions": OPTIONS, "files": [str(path) for path in MODULES]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(tmp_path), TYPESCRIPT]
    fetched = subprocess.run(install, capture_output=True, text=True, timeout=200)
    if fetched.returncode:
        pytest.skip(f"npm could not fetch {TYPESCRIPT}: {fetched.stderr.strip()[-200:]}")
    compiler = tmp_path / "node_modules" / ".bin" / "tsc"
    checked = subprocess.run([compiler, "-p", str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert checked.returncode == 0, checked.stdout
