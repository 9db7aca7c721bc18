"""A policy that cannot be loaded: the node stays up, says why, and loads once the cause is mended."""

import pytest
from harness import Feed, Parameters, statuses, values, wait_for


@pytest.fixture(scope="module")
def short(start):
    """A node whose engines may take one MiB."""
    node = start({"memory.budget_mib": 1}, ["-r", "__ns:=/short"])
    node.wait_for_log("~/reload tries again")
    return node


def _statuses(robot, condition):
    """The first diagnostics of /short that satisfy the condition."""
    heard = robot.diagnostics()

    def found():
        for array in heard:
            if array.status and array.status[0].name.startswith("short/"):
                tasks = statuses(array)
                if condition(tasks):
                    return tasks
        return None

    return wait_for(found, "diagnostics")


def test_engines_beyond_the_budget_leave_the_node_degraded_with_the_table_in_the_log(robot, short):
    assert short.process.poll() is None
    assert "not enough memory to load stage" in short.log
    for part in ("worst moment:", "what would help:", "memory.budget_mib: ", "never swapped"):
        assert part in short.log, part


def test_degraded_is_one_line_in_diagnostics(robot, short):
    engines = _statuses(robot, lambda tasks: tasks["engines"].level == b"\x02")["engines"]
    assert values(engines)["phase"] == "degraded"
    assert values(engines)["error"] == "does_not_fit"
    assert "not enough memory to load stage" in engines.message and "(more in the log)" in engines.message
    assert "\n" not in engines.message and "worst moment" not in engines.message


def test_while_degraded_calls_are_answered_and_a_reload_that_changes_nothing_is_refused_again(robot, short):
    answer = robot.trigger("/short/vla_trt/infer_once")
    assert not answer.success and "not enough memory" in answer.message
    answer = robot.trigger("/short/vla_trt/reload")
    assert not answer.success and "what would help" in answer.message


def test_a_larger_budget_set_live_and_a_reload_bring_the_policy_up(robot, short):
    parameters = Parameters(robot, "/short/vla_trt")
    described = parameters.describe("memory.budget_mib", "memory.reserve_mib", "engines.load_order")
    assert not any(descriptor.read_only for descriptor in described)
    results = parameters.set(memory__budget_mib=2000, engines__load_order=["context", "vision", "language", "step"])
    assert all(result.successful for result in results), results
    answer = robot.trigger("/short/vla_trt/reload")
    assert answer.success, answer.message
    with Feed(robot, namespace="/short"):
        chunks = robot.chunks("/short/vla_trt")
        wait_for(lambda: chunks, "a chunk after the reload")
    loads = [line for line in short.lines if "loading engine 1 of 4: " in line]
    assert "loading engine 1 of 4: context" in loads[-1], loads
    tasks = _statuses(robot, lambda tasks: values(tasks["engines"])["phase"] == "ready")
    memory = values(tasks["memory"])
    assert memory["budget (MiB)"] == "2000"
    for stage in ("vision", "language", "context", "step"):
        assert float(memory[f"{stage} planned (MiB)"]) > 0, memory
        assert float(memory[f"{stage} measured (MiB)"]) >= 0, memory
    assert values(tasks["engines"])["restarts"] == "0"


def test_log_shapes_logs_every_input_of_every_stage(robot, short):
    parameters = Parameters(robot, "/short/vla_trt")
    assert all(result.successful for result in parameters.set(log_shapes=True))
    with Feed(robot, namespace="/short"):
        for stage, tensor in (("vision", "pixels"), ("language", "text_rows"), ("language", "image_rows"),
                              ("context", "vl_embs"), ("context", "state"), ("step", "actions"), ("step", "strength")):
            wait_for(lambda: any("input" in line and stage in line and tensor in line for line in short.lines),
                     f"{stage} {tensor} in the log")
    assert all(result.successful for result in parameters.set(log_shapes=False))
