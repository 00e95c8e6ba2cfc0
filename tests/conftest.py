"""What holds for all tests: in continuous integration, property-based ones draw the same examples every time.

Elsewhere they draw new ones, which is how they find something; a build should fail because of its change alone.
"""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: how long an example takes says more about the machine's other work than about the code.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")
