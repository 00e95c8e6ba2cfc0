"""What holds for all tests: in continuous integration, property-based ones draw the same examples every time.

Elsewhere they draw new ones, which is how they find something; a build should fail because of its change alone.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, database=None)
if os.environ.get("CI"):
    settings.load_profile("ci")
