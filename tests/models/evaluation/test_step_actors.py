"""An actor attempts steps by name, and what became of a lost one is said in a line."""

from __future__ import annotations

from models.evaluation.step_actors import StepActor, how_it_ended


def test_an_actor_begins_once_and_attempts_what_it_is_given() -> None:
    begun = list[str]()

    def begin() -> dict[str, str]:
        begun.append("begun")
        return {"fails": "ValueError: no"}

    actor = StepActor(lambda: begin().get, threads=1)
    assert begun == []
    actor.begin()
    assert [actor.run("fails"), actor.run("done"), actor.run(None)] == ["ValueError: no", None, None]
    assert begun == ["begun"]


def test_of_what_ray_says_the_cause_is_kept() -> None:
    killed = (
        "The actor died unexpectedly before finishing this task.\n\tpid: 7\nThe actor is dead because its worker "
        "process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a "
        "connection error code 2. End of file. Some common causes include: (1) the process was killed.\n"
    )
    ended = "Worker unexpectedly exits with a connection error code 2. End of file"
    assert how_it_ended(RuntimeError(killed)) == f"on the cluster: {ended}"
    lost = "The actor died unexpectedly.\nThe actor died because its node has died. Node Id: 1"
    assert how_it_ended(RuntimeError(lost)) == "on the cluster: The actor died because its node has died. Node Id: 1"
    assert how_it_ended(RuntimeError()) == "on the cluster: RuntimeError()"


def test_an_error_of_our_own_code_is_said_as_that() -> None:
    class TaskError(Exception):
        cause = ValueError("no such\nworld")

    assert how_it_ended(TaskError("a long story")) == "on the cluster: ValueError: no such"
