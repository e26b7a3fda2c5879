"""What becomes of an exception in a step of a run."""

import errno
import os
from collections.abc import Sequence

import dagster as dg
import pytest

from isles_assets.graph.reporting import refusals_reported
from isles_assets.lib.findings import Refusal, TransientRefusal


def run_of(refusals: list[Refusal]) -> tuple[dg.ExecuteInProcessResult, Sequence[dg.DagsterEvent]]:
    """A run of one step that raises each of `refusals` at a try, with the events of that step."""

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=2, delay=0))
    def step():
        with refusals_reported():
            if refusals:
                raise refusals.pop(0)

    @dg.job
    def job():
        step()

    result = job.execute_in_process(raise_on_error=False)
    return result, result.events_for_node("step")


def refusal(kind: type[Refusal] = Refusal, pause: float | None = None) -> Refusal:
    made = kind.of("Not published.", "the Hub says no", "ask it", path="toys/toy")
    if isinstance(made, TransientRefusal):
        made.pause = pause
    return made


def test_a_refusal_is_not_tried_again_and_fails_the_step_in_its_words():
    result, events = run_of([refusal()])
    assert not result.success
    (failure,) = [event for event in events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    assert told.description == "Not published.\n  toys/toy: the Hub says no -> ask it"
    assert told.metadata["offenders"].value == 1 and "findings" in told.metadata
    assert not [event for event in events if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]


@pytest.mark.parametrize("pause", [None, 1.0])
def test_what_may_pass_is_tried_again_after_the_time_that_was_asked_for(pause):
    result, events = run_of([refusal(TransientRefusal, pause), refusal(TransientRefusal, pause)])
    assert result.success
    waits = [event for event in events if event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert [event.event_specific_data.seconds_to_wait for event in waits] == [pause or 0] * 2


def test_what_does_not_pass_in_three_tries_fails_the_step():
    result, _ = run_of([refusal(TransientRefusal, 0.1) for _ in range(3)])
    assert not result.success


def failure_of(error: Exception) -> tuple[str | None, bool]:
    """The words with which a step fails that raises `error`, None for its trace; and whether it was tried again."""

    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1, delay=0))
    def step():
        with refusals_reported():
            raise error

    @dg.job
    def job():
        step()

    events = job.execute_in_process(raise_on_error=False).events_for_node("step")
    (failure,) = [event.step_failure_data for event in events if event.is_step_failure]
    again = any(event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY for event in events)
    return failure.user_failure_data and failure.user_failure_data.description, again


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "a disk is full -> free space"), (errno.EMFILE, "too many files are open -> raise the limit")],
)
def test_what_the_machine_cannot_do_is_said_in_words(number, words):
    told, again = failure_of(OSError(number, os.strerror(number), "some/file"))
    assert told and f"some/file: {words}" in told and not again
    told, _ = failure_of(OSError(number, os.strerror(number)))
    assert told and f"\n  {words}" in told


def test_a_file_that_is_missing_is_a_fault_and_shows_its_trace():
    assert failure_of(OSError(errno.ENOENT, "none", "some/file")) == (None, True)
