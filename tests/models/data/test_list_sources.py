"""List files in folders of parts and behind URLs, read as one file is."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.list_file import ListFile, read_lists, read_metadata
from models.data.list_writer import write_lists
from models.data.reading.stores import source_digest, source_name
from models.data.records import ListFileError, ListRecord
from tests.models.data.buckets import put, running_bucket
from tests.models.data.tables import RECORDS, table, written

fsspec = pytest.importorskip("fsspec", reason="the extra `store` is not installed")
CASES = Path(__file__).parent / "cases"


def in_parts(folder: Path) -> Path:
    """The three lists in two part files, as Spark names them, and what it leaves beside them."""
    lists = table()
    pq.write_table(lists.slice(0, 2), folder / "part-00000-a.c000.snappy.parquet", compression="snappy")
    pq.write_table(lists.slice(2), folder / "part-00001-b.c000.snappy.parquet", compression="snappy")
    for name in ("_SUCCESS", "._SUCCESS.crc", ".part-00000-a.c000.snappy.parquet.crc", "_committed_17"):
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_of_parts_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    source = ListFile(in_parts(tmp_path))
    assert len(source) == 3
    windows = list(source.windows())
    assert [record for window in windows for record in window.records()] == RECORDS
    assert [(Path(w.source).name, w.rows.tolist()) for w in windows] == [
        ("part-00000-a.c000.snappy.parquet", [0, 1]),
        ("part-00001-b.c000.snappy.parquet", [0]),
    ]


def test_a_part_without_a_name_ending_counts(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "20260301_000000_00017_abcde")
    assert list(read_lists(tmp_path)) == RECORDS


def test_messages_name_the_part_and_the_row_in_it(tmp_path: Path) -> None:
    pq.write_table(table().slice(0, 2), tmp_path / "a.parquet")
    pq.write_table(table(clicks=pa.array([[1, 0], [0], [7]])).slice(1), tmp_path / "b.parquet")
    with pytest.raises(ListFileError, match=r"b.parquet: row 1, column clicks: must hold 0 or 1, not 7"):
        list(read_lists(tmp_path))


def test_a_request_that_stands_in_two_parts_is_refused(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    pq.write_table(table(request_id=pa.array(["4", "5", "2"])), tmp_path / "b.parquet")
    with pytest.raises(ListFileError, match=r"b.parquet: row 2, column request_id: '2' stands twice"):
        list(read_lists(tmp_path))


def test_a_field_has_one_type_over_all_parts(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    ids = pa.array(["4", "5", "6"])
    pq.write_table(table(request_id=ids, context=pa.array([{"hour": 1.5}] * 3)), tmp_path / "b.parquet")
    hours = [window.context["hour"] for window in ListFile(tmp_path).windows()]
    assert [array.type for array in hours] == [pa.float64()] * 2
    assert [array.to_pylist() for array in hours] == [[3.0, 4.0, 5.0], [1.5] * 3]
    pq.write_table(table(request_id=ids, context=pa.array([{"hour": "late"}] * 3)), tmp_path / "b.parquet")
    with pytest.raises(ListFileError, match=r"b.parquet: column context.hour: is string here and int64 in .*a.parquet"):
        ListFile(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "is a folder without part files"),
        (("_SUCCESS",), "is a folder without part files"),
        (("split=train/part-0.parquet",), "holds the folder 'split=train'; part files must lie in one folder"),
        (("_delta_log/0.json", "part-0.parquet"), "is a Delta table"),
    ],
)
def test_a_folder_that_holds_no_lists_is_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ListFileError, match=message):
        ListFile(tmp_path)


LINES = b"request,item,click\n1,2,0\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (LINES, "it is CSV; `listwright data csv` converts a log"),
        (LINES.replace(b",", b";"), "it is CSV"),
        (b"\xef\xbb\xbf" + LINES.replace(b",", b"\t"), "it is CSV"),
        (gzip.compress(LINES, mtime=0), "it is packed by gzip; in it: it is CSV; `listwright data csv` converts a log"),
        (gzip.compress(b"\0\1\2", mtime=0), "it is packed by gzip; unpack it"),
        (b'{"request_id": "1"}\n', "it is JSON; pyarrow.json.read_json"),
        (b"[1, 2]", "it is JSON"),
        (b"ARROW1\0\0", "it is an Arrow file"),
        (b"Obj\x01\x04", "it is Avro"),
        (b"PK\x03\x04abc", "it is a ZIP archive or a spreadsheet"),
        (b"PAR1abc", "it is cut off: its end is missing"),
        (b"PAR1abcPAR1", "cannot be read as Parquet: "),
        (b"\x00\x01\x02\xff", "it does not begin with Parquet's mark"),
    ],
)
def test_what_is_not_parquet_is_said_to_be_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "lists.parquet"
    path.write_bytes(content)
    with pytest.raises(ListFileError) as caught:
        list(read_lists(path))
    assert str(caught.value).startswith(f"{path}: cannot be read as Parquet: ")
    assert reason in str(caught.value)


def test_a_table_of_one_row_per_item_is_told_from_lists(tmp_path: Path) -> None:
    path = tmp_path / "flat.parquet"
    pq.write_table(pa.table({"user": ["u"], "request_id": ["1"], "item": ["i"], "click": [0]}), path)
    with pytest.raises(
        ListFileError, match=r"no column 'candidates'; it looks like a table of one row per item.*data csv"
    ):
        ListFile(path)


def test_pages_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(table(), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    with pytest.raises(ListFileError, match=r"lists.parquet: cannot be read as Parquet: "):
        list(ListFile(path).windows())


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(table().append_column("clicks", table()["clicks"]), path)
    with pytest.raises(ListFileError, match="there are two columns 'clicks'"):
        ListFile(path)


def test_a_digest_is_that_of_the_file_or_of_what_sha256sum_prints(tmp_path: Path) -> None:
    path = written(tmp_path, table())
    assert source_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    folder = tmp_path / "parts"
    folder.mkdir()
    in_parts(folder)
    names = sorted(entry.name for entry in folder.glob("part-*"))
    printed = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True).stdout
    assert source_digest(folder) == hashlib.sha256(printed).hexdigest()


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in memory."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fsspec.filesystem("memory").rm(url.removeprefix("memory:/"), recursive=True)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket behind a server of the S3 protocol on this machine."""
    with running_bucket("lists") as url:
        yield url


@pytest.mark.parametrize("kind", ["memory", "file", "bucket"])
def test_files_and_folders_behind_urls_are_read(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    root = f"file://{tmp_path}/far" if kind == "file" else str(request.getfixturevalue(kind))
    if kind == "file":
        (tmp_path / "far" / "parts").mkdir(parents=True)
    one, parts = tmp_path / "one", tmp_path / "near"
    for folder in (one, parts):
        folder.mkdir()
    write_lists(one / "lists.parquet", RECORDS, {"source": "here"})
    in_parts(parts)
    put(one, root)
    put(parts, f"{root}/parts")
    assert list(read_lists(f"{root}/lists.parquet")) == list(read_lists(Path(f"{root}/lists.parquet"))) == RECORDS
    assert list(read_lists(f"{root}/parts")) == list(read_lists(f"{root}/parts/")) == RECORDS
    assert list(read_lists(f"{root}/parts", "test")) == RECORDS[2:]
    assert read_metadata(f"{root}/lists.parquet") == {"source": "here"}
    assert source_digest(f"{root}/lists.parquet") == source_digest(one / "lists.parquet")
    assert source_digest(f"{root}/parts") == source_digest(parts)
    names = {window.source for window in ListFile(f"{root}/parts").windows()}
    assert {name.rsplit("/", 1)[-1] for name in names} == {file.name for file in parts.glob("part-*")}
    assert all("://" in name for name in names)
    with pytest.raises(ListFileError, match=r"absent.parquet: cannot be read as Parquet: there is no such file"):
        ListFile(f"{root}/absent.parquet")


def test_a_folder_is_listed_anew_each_time(memory: str, tmp_path: Path) -> None:
    pq.write_table(table().slice(0, 2), tmp_path / "a.parquet")
    put(tmp_path, memory)
    assert len(ListFile(memory)) == 2
    pq.write_table(table().slice(2), tmp_path / "b.parquet")
    put(tmp_path, memory)
    assert list(read_lists(memory)) == RECORDS


@pytest.mark.parametrize("fetched", [1 << 26, 0])
def test_a_store_is_asked_for_whole_row_groups_or_for_pages(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: int
) -> None:
    """Row groups of usual size take few reads; both ways give the same lists."""
    monkeypatch.setattr("models.data.reading.parquet_part._FETCHED_BYTES", fetched)
    write_lists(tmp_path / "lists.parquet", RECORDS, {})
    put(tmp_path, memory)
    reads: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(size or 0)
            return super().read(size)

    store, _ = fsspec.core.url_to_fs(memory)
    monkeypatch.setattr(store, "open", lambda name, *_, **__: Counted(store.cat_file(name)))
    file = ListFile(memory)
    reads.clear()
    assert [record for window in file.windows() for record in window.records()] == RECORDS
    columns = pq.read_metadata(tmp_path / "lists.parquet").num_columns
    assert (len(reads) < columns) == bool(fetched)


def test_an_unknown_protocol_and_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListFileError, match=r"^nowhere://x/y: cannot be read as Parquet: Protocol not known: nowhere"):
        ListFile("nowhere://x/y")

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ListFileError, match=r"^s3://x/y: No module named 'fsspec'; needs the extra store: "):
        ListFile("s3://x/y")


def test_paths_need_no_fsspec(tmp_path: Path) -> None:
    path = written(tmp_path, table())
    code = (
        "import sys; from models.data.list_file import ListFile\n"
        f"assert len(ListFile({str(path)!r})) == 3 and 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "url", ["s3://bucket/lists", "gs://b/x.parquet", "memory://x", "file:///tmp/x", "data/x.parquet"]
)
def test_a_url_keeps_its_slashes_on_the_way_through_a_path(url: str) -> None:
    assert source_name(Path(url)) == source_name(url) == url


def test_a_path_that_looks_like_a_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("s3:/bucket/lists.parquet")
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        pq.write_table(table(), file)
    assert list(read_lists(path)) == RECORDS


def test_a_case_of_sparks_folder() -> None:
    read = list(read_lists(CASES / "spark_dir.parquet"))
    assert [record.request_id for record in read] == [f"r{i}" for i in range(20)]
    assert all(isinstance(record, ListRecord) for record in read)
