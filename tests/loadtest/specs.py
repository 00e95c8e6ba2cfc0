"""A feature spec with every kind of field, and a bundle.json around it, for tests of the load tools."""

from __future__ import annotations

import json
from pathlib import Path

from models.contract.manifest import MANIFEST_FILE, DiversityDefaults, Limits, Manifest, QueueSpec
from models.contract.spec import Category, FeatureSpec, Hashed, Number

SPEC = FeatureSpec(
    user=(Category(name="age", vocabulary=("18-24", "25-34")), Hashed(name="user_id", buckets=50)),
    context=(Number(name="hour", mean=12.0, std=6.0, default=12.0),),
    item=(Category(name="category", vocabulary=("shoes", "hats", "bags")), Number(name="stars", mean=3.5, std=1.0)),
    scores=(
        Number(name="ctr", mean=-3.0, std=0.7, default=0.05, transform="logit"),
        Number(name="cvr", mean=-2.5, std=0.5, default=0.05, transform="logit"),
    ),
    price=Number(name="price", mean=4.0, std=0.6, default=50.0, transform="log1p"),
)


def write_bundle_json(folder: Path) -> Path:
    """``folder/demo/1/bundle.json`` without the files beside it; returns its folder."""
    manifest = Manifest(
        name="demo",
        version="1",
        family="sort-gen",
        spec=SPEC,
        limits=Limits(list_length=10, queues=3),
        queues=(QueueSpec("click", "ctr"),),
        partition="bfs",
        objectives={"click": 5.0, "conversion": 1.0, "gmv": 1.0},
        units={"click": 1.0, "conversion": 1.0, "gmv": 1.0},
        diversity=DiversityDefaults(),
        fallback="ctr",
        inputs=(),
        outputs=(),
    )
    bundle = folder / "demo" / "1"
    bundle.mkdir(parents=True)
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest.to_json()), "utf-8")
    return bundle
