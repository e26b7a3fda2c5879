"""What a terminal shows of a run that was refused, or that failed."""

import logging
import os
import re
import shutil
from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.execution import context_creation_job

from isles_assets.graph.commands import render
from isles_assets.graph.console import brief
from isles_assets.graph.reporting import of_judgement, refusals_reported
from isles_assets.graph.terminal import terminal
from isles_assets.lib.findings import Finding, InOrder, Level, Materialize, Refusal, TransientRefusal
from isles_assets.publication.waivers import Judgement
from isles_assets.source.listing import own_listing
from isles_assets_tests.project import replace
from isles_assets_tests.test_commands import TOY_MODULE, run_toy, toy_checkout, toy_copy
from isles_assets_tests.toy import T1

__all__ = ["toy_checkout", "toy_copy"]

JOB = ("dagster", "job", "execute", "-m", TOY_MODULE, "-j")
PUBLISH = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "hub_dataset")
QUIET = {"PYTHONWARNINGS": "ignore:Function"}
SUBJECTS = ("sub-a02", "sub-a05", "sub-a08")
MOON = ({"ISLES_HUB_TARGET": "moon"}, "ISLES_HUB_TARGET: is 'moon' -> set it to local or huggingface")
MANY = ({"ISLES_PARTITIONS_PER_RUN": "many"}, "ISLES_PARTITIONS_PER_RUN is 'many'; set it to a whole number")


def traces(output: str) -> int:
    return len(re.findall("Stack Trace:|Traceback", output))


def block(output: str) -> str:
    """What stands from the head of the block at the end on, without Dagster's last line of a command."""
    told = output.partition("\nNot done. ")[2]
    *_, last = output.rstrip().splitlines()
    return told.rpartition(last)[0] if last.startswith("Error: ") else told


def times(output: str) -> int:
    """Lines that are not of the block: they begin with a time."""
    return len(re.findall(r"^\d\d:\d\d:\d\d ", output, re.MULTILINE))


def step(error: BaseException | None, output, **options) -> str:
    """What a run of one step that raises `error` shows."""

    @dg.op(**options)
    def work():
        with refusals_reported():
            if error:
                raise error

    @dg.op
    def after(it):
        pass

    @dg.job(executor_def=dg.in_process_executor)
    def job():
        after(work())

    job.execute_in_process(raise_on_error=False)
    return str(output.readouterr().err)


@pytest.mark.slow
def test_damaged_files_are_said_in_one_block_at_the_end(toy_built_copy, toy_tree, toy_sample_tree, capfd):
    shutil.copyfile(own_listing(toy_sample_tree), own_listing(toy_tree))
    for subject in SUBJECTS:
        path = toy_tree / T1.path(subject)
        replace(path, path.read_bytes()[:300])
    assert not toy_built_copy.build().success
    output = capfd.readouterr().err
    assert traces(output) == 0 and "Not executing" not in output
    assert len(output.splitlines()) < 40
    told = block(output)
    assert f"3 of 6 subjects failed: {', '.join(SUBJECTS)}. The other 3 are done." in told
    for subject in SUBJECTS:
        assert len(re.findall(f"{subject}_ses-1_T1w.nii.gz: is cut short: .* -> restore the file", told)) == 1
    assert "raw_tree, check as_listed: fails because of files named above." in told
    assert re.search(r"^Not run because of that: \d+ steps\.$", told, re.MULTILINE)
    assert "-> " not in output.replace(told, "")


@pytest.mark.slow
def test_a_failed_check_is_said_once_and_what_was_not_run_is_counted(toy_built_copy, toy_tree, capfd):
    (toy_tree / T1.path("sub-a05")).unlink()
    assert not toy_built_copy.build().success
    output = capfd.readouterr().err
    assert traces(output) == 0 and "Not executing" not in output
    assert len(output.splitlines()) < 20
    told = block(output)
    assert "raw_tree, check release_layout:\n  rawdata/sub-a05/ses-1/anat/" in told
    assert output.count("is missing -> restore it") == 1
    assert re.search(r"^Not run because of that: \d+ steps\.$", told, re.MULTILINE)


@pytest.mark.long
@pytest.mark.slow
def test_a_rollback_at_a_local_target_is_refused_in_a_few_words(toy_copy):
    (toy_copy / "rollback.yaml").write_text("ops: {restore_revision: {config: {to: v7-0123456789ab}}}")
    code, output = run_toy(toy_copy, *JOB, "rollback", "-c", "rollback.yaml", **QUIET)
    assert code == 1
    assert traces(output) == 0 and times(output) == 1 and len(output.splitlines()) < 11
    assert "restore_revision: Not rolled back.\n" in block(output)
    assert output.count("a local target has no history -> publish again") == 1


@pytest.mark.slow
def test_a_run_of_one_asset_refuses_without_a_trace(toy_built_copy, capfd):
    (toy_built_copy.folder.root / "shards/default/sub-a05.parquet").unlink()
    assert not toy_built_copy.materialize("hub_dataset").success
    output = capfd.readouterr().err
    assert traces(output) == 0 and len(output.splitlines()) < 12
    assert block(output).count("1 of 6 shards missing or stale: sub-a05") == 1
    assert "Not run because of that: 3 steps." in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "words", "command"),
    [
        pytest.param(*MOON, (*JOB, "verify"), marks=pytest.mark.long),
        pytest.param(*MOON, PUBLISH, marks=pytest.mark.long),
        pytest.param(*MANY, (*JOB, "verify"), marks=pytest.mark.long),
        (*MANY, PUBLISH),
    ],
)
def test_a_wrong_setting_is_said_in_words(toy_copy, setting, words, command):
    code, output = run_toy(toy_copy, *command, **QUIET, **setting)
    assert code == 1
    assert traces(output) == 0 and len(output.splitlines()) < 12
    assert output.count(words) == 1


def test_a_fault_of_the_program_shows_its_trace_once_and_in_full(capfd):
    shown = step(ZeroDivisionError("a fault"), capfd)
    assert traces(shown) == 1 and "raise error" in shown
    assert 'Execution of step "work" failed' in shown
    assert shown.rstrip().endswith("Not run because of that: 1 step.")
    assert "work: ZeroDivisionError: a fault (its trace is above)" in shown


def test_a_fault_that_was_raised_from_a_refusal_is_a_fault(capfd):
    fault = KeyError("column")
    fault.__cause__ = Refusal.of("Not made.", "is odd", "mend it")
    shown = step(fault, capfd)
    assert traces(shown) == 1 and "work: KeyError: 'column' (its trace is above)" in shown


def test_a_refusal_that_was_raised_from_an_accident_shows_no_trace(capfd):
    refusal = Refusal.of("Not made.", "cannot be written", "make room", path="data")
    refusal.__cause__ = OSError("no space")
    shown = step(refusal, capfd)
    assert traces(shown) == 0
    assert shown.count("work: Not made.\n  data: cannot be written -> make room\n") == 1


@pytest.mark.parametrize("asked", [None, 0.1])
def test_a_wait_before_another_try_is_said_with_its_reason(capfd, asked):
    refusal = TransientRefusal.of("Not published.", "the Hub is busy", "wait", path="toys/toy")
    refusal.pause = asked
    policy = dg.RetryPolicy(max_retries=1, delay=0.1)
    shown = step(refusal, capfd, retry_policy=policy)
    assert "The next attempt is in 0 s." in shown
    assert shown.index("The next attempt") < shown.index("Not done. ")
    assert traces(shown) == 0
    assert shown.partition("Not done. ")[2].count("toys/toy: the Hub is busy -> wait") == 1


def test_a_run_that_is_interrupted_shows_no_trace(capfd):
    shown = step(KeyboardInterrupt(), capfd)
    assert traces(shown) == 0 and shown.count("Interrupted. Finished work is kept") == 1


def shown_of_check(found: Sequence[Finding], capfd) -> str:
    """What a run shows of a check that is not blocking."""

    @dg.asset
    def thing():
        return dg.MaterializeResult()

    @dg.asset_check(asset="thing")
    def one():
        return dg.AssetCheckResult(passed=False, metadata=of_judgement(Judgement(stopping=tuple(found)), "waive: it"))

    job = dg.Definitions([thing], asset_checks=[one]).resolve_implicit_global_asset_job_def()
    job.execute_in_process()
    return str(capfd.readouterr().err).partition("\nDone, but checks failed. ")[2]


def test_a_failed_check_of_a_run_that_goes_on_is_said_at_the_end_with_how_to_waive_it(capfd):
    found = [Finding(f"is odd in way {number}", "look", path="", level=Level.WAIVABLE) for number in range(3)]
    shown = shown_of_check(found, capfd)
    assert "thing, check one:\n  is odd in way 0 -> look\n  is odd in way 1 -> look\n" in shown
    assert shown.count("waive: it") == 1 and "more" not in shown


def test_how_to_waive_is_not_said_while_something_fatal_is_left(capfd):
    found = [Finding("is odd", "look", path="a", level=Level.WAIVABLE), Finding("is cut short", "restore it", path="b")]
    shown = shown_of_check(found, capfd)
    assert "  b: is cut short -> restore it" in shown and "waive: it" not in shown


def test_what_a_check_found_is_cut_after_some_lines(capfd):
    shown = shown_of_check([Finding("is odd", "look", path=f"file {number}") for number in range(250)], capfd)
    assert shown.count("-> look") == 20 and "  ... and 230 more\n" in shown


def failure_of(asset: str, *files: str, others: str = "") -> dg.Failure:
    """What the asset of a product fails with if `files` of the subjects of their names cannot be used."""
    again = {file: Materialize((asset,), file) for file in files}
    found = [Finding("is cut short", InOrder(("restore it", mend)), file, file) for file, mend in again.items()]
    lines = [f"{finding.subject} was not made.\n  {finding.text(render)}" for finding in found]
    words = "\n".join([f"{len(files)} of 3 subjects failed: {', '.join(files)}.", *lines, *filter(None, [others])])
    return dg.Failure(words, metadata=of_judgement(Judgement(stopping=tuple(found))))


@pytest.mark.parametrize("logger", ["terminal", "brief"])
@pytest.mark.parametrize("more", [False, True])
def test_what_two_steps_have_found_is_said_once_for_both(capfd, more, logger):
    @dg.op
    def preview():
        raise failure_of("preview", "sub-1", "sub-2")

    @dg.op
    def shard():
        files = ("sub-1", "sub-2", "sub-3") if more else ("sub-1", "sub-2")
        raise failure_of("shard", *files, others="sub-4: its process ended")

    @dg.job(logger_defs={"brief": brief})
    def job():
        preview()
        shard()

    job.execute_in_process(raise_on_error=False, run_config={"loggers": {"brief": {}}} if logger == "brief" else None)
    told = capfd.readouterr().err.partition("\nNot done. ")[2]
    for file in ("sub-1", "sub-2"):
        assert told.count(f"{file}: is cut short") == 1 == told.count(f"{file} was not made.")
        mend = f"dagster asset materialize --select preview,shard --partition {file}"
        assert f"  {file}: is cut short -> restore it; then {mend}\n" in told
    assert told.count("sub-4: its process ended") == 1
    assert told.count("sub-3: is cut short") == told.count("sub-3 was not made.") == more
    assert f"shard: {2 + more} of 3 subjects failed: sub-1, sub-2" in told
    number = "2 of 3" if more else "All 2"
    assert f"\n{number} problems are those of preview, above.\n" in told


@pytest.mark.parametrize("logger", ["terminal", "brief"])
def test_steps_that_had_nothing_to_do_are_one_line(capfd, logger):
    @dg.op(out=dg.Out(is_required=False))
    def published():
        yield from ()

    @dg.op
    def looks(it):
        pass

    @dg.op
    def looks_again(it):
        pass

    @dg.job(logger_defs={"brief": brief})
    def job():
        it = published()
        looks(it)
        looks_again(it)

    job.execute_in_process(run_config={"loggers": {"brief": {}}} if logger == "brief" else None)
    shown = capfd.readouterr().err
    assert "Skipping step" not in shown and "Not done" not in shown
    assert shown.count("\nNot run, because this run made nothing for them to check: 2 steps.\n") == 1


@pytest.mark.parametrize("failing", ["subject_preview", "subject_manifest"])
def test_how_to_make_the_report_is_said_where_it_can_be_made(capfd, failing):
    @dg.asset
    def subject_manifest():
        if failing == "subject_manifest":
            raise dg.Failure("1 of 3 subjects failed: sub-1.")

    @dg.asset(deps=[subject_manifest])
    def subject_preview():
        raise dg.Failure("1 of 3 subjects failed: sub-1.")

    @dg.asset(deps=[subject_manifest, subject_preview])
    def quality_report():
        pass

    defs = dg.Definitions([subject_manifest, subject_preview, quality_report], executor=dg.in_process_executor)
    defs.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)
    command = "\nThe report can still be made: dagster asset materialize --select quality_report\n"
    assert (command in capfd.readouterr().err) == (failing == "subject_preview")


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault"), Refusal.of("Not made.", "is odd", "mend it")])
def test_brief_ends_as_terminal_does(capfd, error):
    @dg.op
    def work():
        with refusals_reported():
            raise error

    @dg.op
    def after(it):
        pass

    def job(config):
        @dg.job(config=config, logger_defs={"brief": brief}, executor_def=dg.in_process_executor)
        def job():
            after(work())

        job.execute_in_process(raise_on_error=False)
        shown = capfd.readouterr().err
        assert traces(shown) == isinstance(error, ZeroDivisionError)
        return re.sub("of run .*", "of run", shown.partition("\nNot done. ")[2])

    told = job({"loggers": {"brief": {}}})
    assert told and told == job(None)
    assert told.rstrip().endswith("Not run because of that: 1 step.")


def test_a_run_in_which_nothing_fails_shows_no_block(capfd):
    assert "Not done" not in step(None, capfd)


def test_the_history_keeps_the_trace_and_the_findings(capfd):
    @dg.op
    def work():
        with refusals_reported():
            raise Refusal.of("Not made.", "is odd", "mend it", path="a/file")

    @dg.job
    def job():
        work()

    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        records = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    (data,) = (record.dagster_event.step_failure_data for record in records)
    assert data.error.stack and data.error.cause.stack
    assert data.user_failure_data.metadata["findings"].records[0].data["path"] == "a/file"


def test_no_secret_gets_into_a_trace_that_is_shown(capfd, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")

    @dg.op
    def work():
        raise ValueError(f"the token is {os.environ['HF_TOKEN']}")

    @dg.job
    def job():
        work()

    job.execute_in_process(raise_on_error=False)
    shown = capfd.readouterr().err
    assert shown.count("ValueError: the token is ***") == 2 and "secretsecret" not in shown


def test_dagster_takes_a_logger_of_the_location_only_if_the_run_config_names_it():
    """Once this fails, the patch is no longer needed: docs/decisions/0001-logger-of-a-terminal.md."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    @dg.logger
    def mine(_):
        logger = logging.Logger("mine")
        logger.addHandler(Listener())
        return logger

    @dg.asset
    def thing(context):
        context.log.warning("said by the thing")

    job = dg.Definitions([thing], loggers={"mine": mine}).resolve_implicit_global_asset_job_def()
    job.execute_in_process()
    assert not said
    job.execute_in_process(run_config={"loggers": {"mine": {}}})
    assert any("said by the thing" in words for words in said)


def test_the_name_that_is_replaced_is_the_one_that_dagster_uses():
    before = dg.default_system_loggers(None)
    ((logger, config),) = vars(context_creation_job)["default_system_loggers"](None)
    assert logger is terminal and [config] == [config for _, config in before]
