"""What the transport relies on in uvicorn, whose protocol and server it overrides in parts that are not its API.

uvicorn is pinned to one minor version for that reason. When a newer one is taken, these tests say what has changed.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import socket
import tomllib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast
from unittest.mock import Mock

import pytest
import uvicorn
from packaging.requirements import Requirement
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.transport import ending, gate, listener, protocol, reading
from tests.deploy.files import ROOT

PROTOCOL: Final = {
    "client",
    "flow",
    "headers",
    "pipeline",
    "resume_writing",
    "timeout_keep_alive_task",
    "connection_lost",
    "connection_made",
    "cycle",
    "data_received",
    "expect_100_continue",
    "loop",
    "on_body",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "parser",
    "scope",
    "timeout_keep_alive_handler",
    "transport",
    "url",
}
"""Attributes of `HttpToolsProtocol` that the transport reads, calls or overrides."""

UNDERSCORED: Final = {"_unset_keepalive_if_required"}
"""Those of them that begin with an underscore."""

FLOW: Final = {"pause_reading", "read_paused", "resume_reading"}
"""Attributes of `FlowControl` that the transport overrides or reads; it reads `write_paused` as well."""

CYCLE: Final = {
    "body",
    "disconnected",
    "keep_alive",
    "message_event",
    "response_complete",
    "response_started",
    "waiting_for_100_continue",
}
"""Attributes of `RequestResponseCycle` that the transport reads or sets."""

SERVER: Final = {"capture_signals", "config", "lifespan", "serve", "server_state", "servers", "shutdown"}
"""Attributes of `uvicorn.Server` that the transport reads, calls or overrides."""

GET: Final = b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD: Final = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"

App = Callable[[Any, Any, Any], Awaitable[None]]


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer 200 with two bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connect(app: App = hello, protocol_class: type[HttpToolsProtocol] = HttpToolsProtocol) -> HttpToolsProtocol:
    """A connected protocol, made as `Listener` makes one. Its transport only records."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    connection = protocol_class(config=config, server_state=ServerState(), app_state={}, _loop=None)
    transport = Mock()
    transport.is_closing.return_value = False
    connection.connection_made(transport)
    return connection


async def answered(connection: HttpToolsProtocol) -> None:
    """Let the tasks that uvicorn has made end."""
    await asyncio.gather(*connection.tasks)


def written(connection: HttpToolsProtocol) -> bytes:
    return b"".join(call.args[0] for call in cast(Mock, connection.transport).write.call_args_list)


def test_uvicorn_is_pinned_to_the_minor_version_that_is_installed_here() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (pin,) = (r for r in map(Requirement, project["dependencies"]) if r.name == "uvicorn")
    major, minor, *_ = (int(part) for part in version("uvicorn").split("."))
    assert pin.specifier.contains(f"{major}.{minor}.99")
    assert not pin.specifier.contains(f"{major}.{minor + 1}.0")
    assert not pin.specifier.contains(f"{major}.{minor - 1}.99")


def attributes_of(tree: ast.AST, *owners: str) -> Iterator[str]:
    """Names of the attributes that are taken from the expressions `owners`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in owners:
            yield node.attr


def class_in(module: Any, name: str) -> ast.ClassDef:
    tree = ast.parse(Path(inspect.getfile(module)).read_text("utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return found


def methods(trees: Sequence[ast.ClassDef]) -> set[str]:
    return {n.name for tree in trees for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def used(parent: type, *trees: ast.ClassDef) -> set[str]:
    """Attributes of uvicorn's class `parent` that its subclasses use or override; their own have an underscore."""
    names = {name for tree in trees for name in attributes_of(tree, "self", "super()", parent.__name__)}
    own = methods(trees) - set(dir(parent))
    return {name for name in (names | methods(trees)) - own if not name.startswith("_")} | (names & UNDERSCORED)


def test_the_tables_above_name_all_that_the_transport_uses() -> None:
    names = {protocol: "TimedProtocol", reading: "BoundedProtocol", ending: "EndingProtocol"}
    classes = [class_in(module, name) for module, name in names.items()]
    assert used(HttpToolsProtocol, *classes) == PROTOCOL | UNDERSCORED
    owners = ("cycle", "earlier", "self.cycle", "self._last")
    assert {name for tree in classes for name in attributes_of(tree, *owners)} == CYCLE
    assert used(uvicorn.Server, class_in(listener, "Listener")) == SERVER
    assert used(FlowControl, class_in(gate, "ReadGate")) - {"held"} == FLOW


def test_all_of_it_is_there() -> None:
    async def check() -> None:
        connection = connect()
        connection.data_received(GET)
        assert {name for name in PROTOCOL if hasattr(connection, name)} == PROTOCOL
        assert {name for name in CYCLE if hasattr(connection.cycle, name)} == CYCLE
        await answered(connection)

    asyncio.run(check())
    server = uvicorn.Server(uvicorn.Config(hello, lifespan="off", log_config=None))
    made_by_serve = {"lifespan", "servers"}
    assert {name for name in SERVER - made_by_serve if hasattr(server, name)} == SERVER - made_by_serve


def test_the_scope_made_when_a_message_begins_is_the_one_that_the_app_gets() -> None:
    async def check() -> None:
        scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            scopes.append(scope)
            await hello(scope, receive, send)

        connection = connect(app)
        assert not vars(connection)["cycle"]
        connection.data_received(GET[:5])
        cast("dict[str, Any]", connection.scope)["mark"] = 1
        connection.data_received(GET[5:])
        await answered(connection)
        assert (scopes[0]["mark"], scopes[0]["path"], connection.url) == (1, "/a", b"/a?b=1")
        assert connection.cycle.response_complete

    asyncio.run(check())


def test_the_method_and_the_whole_url_are_known_before_a_request_gets_its_cycle() -> None:
    seen: list[Any] = []

    class Early(HttpToolsProtocol):
        def on_headers_complete(self) -> None:
            kept = self.parser.should_keep_alive()
            seen.append((self.parser.get_method(), self.url, self.expect_100_continue, kept, self.cycle))

    async def check() -> None:
        connection = connect(protocol_class=Early)
        connection.data_received(HEAD[:7])
        connection.data_received(HEAD[7:-2] + b"Expect: 100-continue\r\n\r\n")
        assert not connection.tasks, "no task is made but by on_headers_complete"
        connection.on_response_complete()
        assert connection.timeout_keep_alive_task is not None, "a refused request leaves a connection that is kept"
        connection.data_received(b"")
        assert connection.timeout_keep_alive_task is None

    asyncio.run(check())
    assert seen == [(b"POST", b"/a", True, True, None)]


def test_the_timer_of_an_idle_connection_calls_the_handler_that_a_subclass_overrides() -> None:
    async def check() -> None:
        ended = asyncio.Event()

        class Timed(HttpToolsProtocol):
            def timeout_keep_alive_handler(self) -> None:
                ended.set()

        connection = connect(protocol_class=Timed)
        connection.timeout_keep_alive = 0
        connection.data_received(GET)
        await answered(connection)
        await asyncio.wait_for(ended.wait(), 5)
        cast(Mock, connection.transport).close.assert_not_called()

    asyncio.run(check())


def test_requests_of_a_pipeline_are_answered_in_order_and_the_latest_is_the_cycle() -> None:
    async def check() -> None:
        connection = connect()
        connection.data_received(GET)
        first = connection.cycle
        connection.data_received(GET)
        assert connection.cycle is not first
        assert not first.response_complete
        assert not connection.cycle.response_started
        await answered(connection)
        await answered(connection)
        assert written(connection).count(b"HTTP/1.1 200 OK") == 2

    asyncio.run(check())


@pytest.mark.parametrize("kept", [True, False])
def test_a_cycle_that_is_not_kept_alive_ends_the_connection_with_its_answer(kept: bool) -> None:
    async def check() -> None:
        connection = connect()
        connection.data_received(GET)
        connection.cycle.keep_alive = kept
        await answered(connection)
        assert (b"connection: close" in written(connection)) != kept
        assert cast(Mock, connection.transport).close.called != kept

    asyncio.run(check())


def test_a_cycle_whose_client_has_gone_wakes_its_app_with_a_disconnect() -> None:
    got: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        while not got or got[-1] != "http.disconnect":
            got.append((await receive())["type"])

    async def check() -> None:
        connection = connect(app)
        connection.data_received(HEAD)
        await asyncio.sleep(0)
        connection.cycle.disconnected = True  # As TimedProtocol does for the earlier ones of a pipeline,
        connection.cycle.message_event.set()
        await answered(connection)
        connection = connect(app)
        connection.data_received(HEAD)
        got.clear()
        connection.connection_lost(None)  # and uvicorn for the latest.
        assert connection.cycle.disconnected
        assert connection not in connection.connections
        await answered(connection)

    asyncio.run(check())
    assert got == ["http.disconnect"]


def test_a_server_serves_sockets_until_it_should_exit_and_then_shuts_itself_down() -> None:
    calls: list[Any] = []
    states: list[ServerState] = []

    def make(**arguments: Any) -> HttpToolsProtocol:
        calls.append(sorted(arguments))
        states.append(arguments["server_state"])
        return HttpToolsProtocol(**arguments)

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            calls.append("no signals")
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            calls.append(("shutdown", len(self.servers), len(self.server_state.connections), self.lifespan.state))
            self.config.timeout_graceful_shutdown = 0
            await super().shutdown(sockets)

    async def check() -> None:
        config = uvicorn.Config(hello, http=make, ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]
        server = Server(config)
        with socket.create_server(("127.0.0.1", 0)) as sock:
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write(GET)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            server.should_exit = True
            await asyncio.wait_for(serving, 10)
            assert sock.fileno() < 0
            writer.close()
        assert states == [server.server_state]

    asyncio.run(check())
    made = ["_loop", "app_state", "config", "server_state"]
    assert calls == ["no signals", made, ("shutdown", 1, 1, {})]
