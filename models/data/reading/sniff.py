"""Say what a file is that is not Parquet."""

from __future__ import annotations

import zlib
from typing import Any, Final

_MAGIC: Final = b"PAR1"
_HEAD: Final = 4096
_GZIP: Final = b"\x1f\x8b"
_OTHER: Final = (
    (b"PARE", "it is encrypted Parquet"),
    (b"ARROW1", "it is an Arrow file; write it with pyarrow.parquet.write_table"),
    (b"ORC", "it is ORC; write it as Parquet"),
    (b"Obj\x01", "it is Avro; write it as Parquet"),
    (b"PK\x03\x04", "it is a ZIP archive or a spreadsheet; unpack it, or save it as CSV for `listwright data csv`"),
)
_CSV: Final = "it is CSV; `listwright data csv` converts a log, pyarrow.csv.read_csv reads any table"
_JSON: Final = "it is JSON; pyarrow.json.read_json reads JSON lines and pyarrow.parquet.write_table writes them"


def not_parquet(file: Any) -> str | None:
    """Say why an open file is not Parquet; None if it seems to be."""
    head = file.read(_HEAD)
    if not head:
        return "it is empty"
    if head.startswith(_MAGIC):
        file.seek(-4, 2)
        return None if file.read(4) == _MAGIC else "it is cut off: its end is missing"
    for magic, reason in _OTHER:
        if head.startswith(magic):
            return reason
    if head.startswith(_GZIP):
        inner = _text_kind(_unpacked(head))
        return f"it is packed by gzip; in it: {inner}" if inner else "it is packed by gzip; unpack it"
    return _text_kind(head) or "it does not begin with Parquet's mark 'PAR1'"


def _unpacked(head: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error:
        return b""


def _text_kind(head: bytes) -> str | None:
    """Tell CSV from JSON by the first line; None for neither."""
    line = head.decode("utf-8-sig", "replace").lstrip().partition("\n")[0]
    if not line or "\0" in line or "\ufffd" in line[:200]:
        return None
    if line[0] in "{[":
        return _JSON
    return _CSV if any(mark in line for mark in ",;\t|") else None
