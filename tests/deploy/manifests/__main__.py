"""Render every overlay and component, and validate each object for every version of Kubernetes (`make manifests`)."""

from __future__ import annotations

from collections import Counter

from tests.deploy.manifests.rendering import NAMES, rendered
from tests.deploy.manifests.schemas import fault, versions


def main() -> int:
    """Print a line for each rendered folder, and every fault; return 1 if there is any."""
    faults = 0
    for name in NAMES:
        try:
            manifests = rendered(name)
        except RuntimeError as error:
            print(f"{name}: {error}")
            return 1
        for manifest in manifests:
            for version in versions():
                if problem := fault(manifest, version):
                    faults += 1
                    print(f"{name}: {manifest['kind']} {manifest['metadata']['name']}: Kubernetes {version}: {problem}")
        kinds = Counter(manifest["kind"] for manifest in manifests)
        print(f"{name}: {', '.join(sorted(kinds))}", flush=True)
    outcome = f"{faults} faults" if faults else "valid"
    print(f"{outcome} for Kubernetes {versions()[0]} to {versions()[-1]}; objects of Prometheus' operator by structure")
    return min(faults, 1)


if __name__ == "__main__":
    raise SystemExit(main())
