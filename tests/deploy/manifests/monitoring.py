"""Check the objects of Prometheus' operator against a small description of them.

No package that is kept up has their schemas. This describes only the fields that we use, by the operator's reference of
its API (monitoring.coreos.com/v1): any other field is a fault, so that one that is misspelt is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Final = {
    "type": "string",
    "minLength": 1,
    "pattern": r"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(items: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


def _resource(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _object("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)
    own = {"apiVersion": {"const": "monitoring.coreos.com/v1"}, "kind": {"const": kind}}
    return _object("apiVersion kind metadata spec", **own, metadata=metadata, spec=spec)


_ENDPOINT: Final = _object("port", port=_TEXT, path=_TEXT, interval=_DURATION, scrapeTimeout=_DURATION)
_ALERT: Final = {
    "alert": _TEXT,
    "expr": {"type": ["string", "integer"]},
    "for": _DURATION,
    "keep_firing_for": _DURATION,
    "labels": _TEXTS,
    "annotations": _TEXTS,
}
_RECORD: Final = {"record": _TEXT, "expr": {"type": ["string", "integer"]}, "labels": _TEXTS}
_RULE: Final = {"oneOf": [_object("alert expr", **_ALERT), _object("record expr", **_RECORD)]}
_GROUP: Final = _object("name rules", name=_TEXT, interval=_DURATION, rules=_list(_RULE))

SCHEMAS: Final = {
    "ServiceMonitor": _resource(
        "ServiceMonitor",
        _object(
            "selector endpoints",
            jobLabel=_TEXT,
            selector=_object("matchLabels", matchLabels=_TEXTS),
            podTargetLabels=_list(_TEXT),
            endpoints=_list(_ENDPOINT),
        ),
    ),
    "PrometheusRule": _resource("PrometheusRule", _object("groups", groups=_list(_GROUP))),
}
"""Schema of each kind."""
