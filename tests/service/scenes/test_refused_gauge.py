"""What a scrape says of scenes that are refused: at a reload, and at the start, where nothing is counted."""

from __future__ import annotations

from pathlib import Path

from tests.service.scenes.test_reload import reload_scenes, reloads, scene, write_scenes
from tests.service.test_admin import Served, serving
from tests.service.tiny_bundle import write_bundle

WRONG = "[scenes.home]\ntopn = 3"


def shown(served: Served) -> tuple[float | None, float | None]:
    """Whether the service is ready, and whether the file of scenes is refused."""
    return served.public.series("rerank_ready"), served.public.series("rerank_files_refused", kind="scenes")


def test_a_wrong_file_at_start_is_refused_and_not_ready_until_it_is_put_right(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, WRONG)
    with serving(tmp_path) as served:
        assert served.public.get("/v2/health/ready").status == 503
        assert shown(served) == (0, 1)
        assert reloads(served) == [0, 0], "a start is no reload"
        write_scenes(tmp_path, scene("home"))
        assert reload_scenes(served).status == 200
        assert shown(served) == (1, 0)


def test_a_wrong_file_at_a_reload_is_refused_until_what_serves_is_there_again(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    write_scenes(tmp_path, scene("home"))
    with serving(tmp_path) as served:
        assert shown(served) == (1, 0)
        write_scenes(tmp_path, WRONG)
        assert reload_scenes(served).status == 422
        assert shown(served) == (1, 1)
        write_scenes(tmp_path, scene("home"))
        assert reload_scenes(served).json["result"] == "unchanged"
        assert shown(served) == (1, 0)
