"""Be an engine process whose model answers at once, until standard input ends.

Started by `crowd.py` only: the arguments are the path of the socket, how often answers are swapped on purpose,
and the seconds that a run waits for.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from loadtest.cost.handover.content import KEY, EchoEngine
from service.engines.listener import EngineListener, OwnEngine
from service.engines.private import listen
from service.telemetry.pacing import spare_what_is_loaded
from service.transport.sockets import loop_factory


async def serve(path: Path, engine: EchoEngine) -> None:
    """Take jobs of workers; print a line once it does."""
    listener = EngineListener([OwnEngine(KEY, engine)])
    spare_what_is_loaded()
    await listener.listen(listen(path))
    print("{}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve, and end without waiting for anybody."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(Path(sys.argv[1]), EchoEngine(int(sys.argv[2]), float(sys.argv[3]))))
        os._exit(0)


if __name__ == "__main__":
    main()
