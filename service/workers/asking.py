"""Give all workers the same order, as the first phase of a switch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from service.workers.handle import ProcessGone, ReplyT, WorkerProcess
from service.workers.messages import Command


async def ask_all(
    workers: Sequence[WorkerProcess],
    order: Callable[[WorkerProcess], Command],
    kind: type[ReplyT],
    seconds: float,
) -> Sequence[ReplyT]:
    """Return the answers of all to their `order`, once the last has come.

    Raises what one of them raises (see `WorkerProcess.ask`), or `ProcessGone` where there is none.
    """
    if not workers:
        raise ProcessGone("no worker is running")
    asked = (worker.ask(order(worker), kind, seconds) for worker in workers)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    problems = [answer for answer in answers if isinstance(answer, BaseException)]
    # Report a refusal rather than a worker that has gone: it says more.
    for problem in sorted(problems, key=lambda p: isinstance(p, ProcessGone)):
        raise problem
    return [answer for answer in answers if not isinstance(answer, BaseException)]
