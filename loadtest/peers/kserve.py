"""Wrap one BYTES element in KServe v2 over HTTP with binary tensors."""

from __future__ import annotations

import json
import struct
from typing import Final

MODEL: Final = "rerank"
INPUT: Final = "request"
OUTPUT: Final = "response"
PATH: Final = f"/v2/models/{MODEL}/infer"
READY: Final = f"/v2/models/{MODEL}/ready"

_HEAD: Final = (
    '{{"inputs":[{{"name":"{name}","shape":[1,1],"datatype":"BYTES","parameters":{{"binary_data_size":{size:>10}}}}}],'
    '"outputs":[{{"name":"{output}","parameters":{{"binary_data":true}}}}]}}'
)
_LENGTH: Final = struct.Struct("<I")
HEADERS: Final = {"Inference-Header-Content-Length": str(len(_HEAD.format(name=INPUT, output=OUTPUT, size=0)))}
"""The JSON part has one length for every request, since the size in it is padded with spaces."""


def wrap(body: bytes) -> bytes:
    """Make the body of a request: JSON part, length of the element, element."""
    head = _HEAD.format(name=INPUT, output=OUTPUT, size=_LENGTH.size + len(body))
    return head.encode("ascii") + _LENGTH.pack(len(body)) + body


def unwrap(answer: bytes) -> bytes:
    """Take the one element of an answer. Raises `ValueError` if there is none."""
    decoder = json.JSONDecoder()
    # The JSON part is ASCII: model and tensor names and numbers. What follows it is bytes, one character each here.
    head, end = decoder.raw_decode(answer.decode("latin-1"))
    if not isinstance(head, dict) or [output.get("name") for output in head.get("outputs", ())] != [OUTPUT]:
        raise ValueError(f"the answer has no output {OUTPUT!r}: {answer[:200]!r}")
    (length,) = _LENGTH.unpack_from(answer, end)
    element = answer[end + _LENGTH.size :]
    if len(element) != length:
        raise ValueError(f"the element should have {length} bytes and has {len(element)}")
    return element
