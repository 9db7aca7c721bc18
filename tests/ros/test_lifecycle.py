"""The managed node: what `ros2 lifecycle set` and a life cycle manager call, and what the robot does meanwhile."""

import re
import shutil
import signal
import time

import pytest
from geometry_msgs.msg import TwistStamped
from harness import Feed, seconds, statuses, values, wait_for
from lifecycle_msgs.msg import Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from test_operator import LIMITED, MOVING, alarms, at_rest, grown, silence
from test_outputs import arm, begin, controller, is_brake  # noqa: F401
from trajectory_msgs.msg import JointTrajectory

# rcl_lifecycle's default state machine: label, id, state before, state after.
GRAPH = [
    ("configure", 1, 1, 10), ("transition_success", 10, 10, 2), ("transition_failure", 11, 10, 1),
    ("transition_error", 12, 10, 15),
    ("cleanup", 2, 2, 11), ("transition_success", 20, 11, 1), ("transition_failure", 21, 11, 2),
    ("transition_error", 22, 11, 15),
    ("activate", 3, 2, 13), ("transition_success", 30, 13, 3), ("transition_failure", 31, 13, 2),
    ("transition_error", 32, 13, 15),
    ("deactivate", 4, 3, 14), ("transition_success", 40, 14, 2), ("transition_failure", 41, 14, 3),
    ("transition_error", 42, 14, 15),
    ("shutdown", 5, 1, 12), ("shutdown", 6, 2, 12), ("shutdown", 7, 3, 12),
    ("transition_success", 50, 12, 4), ("transition_failure", 51, 12, 4), ("transition_error", 52, 12, 15),
    ("transition_success", 60, 15, 1), ("transition_failure", 61, 15, 4), ("transition_error", 62, 15, 4),
]
STATES = {0: "unknown", 1: "unconfigured", 2: "inactive", 3: "active", 4: "finalized", 10: "configuring", 11: "cleaningup",
          12: "shuttingdown", 13: "activating", 14: "deactivating", 15: "errorprocessing"}
MANAGED = {"autostart": False}


class Manager:
    """Calls the services of one managed node, as `ros2 lifecycle` and nav2's manager do."""

    def __init__(self, robot, node):
        self.robot, self.node = robot, node
        self.events = robot.listen(f"{node}/transition_event", TransitionEvent)

    def state(self):
        state = self.robot.call(f"{self.node}/get_state", GetState).current_state
        assert STATES[state.id] == state.label
        return state.label

    def change(self, label="", number=0):
        """Asks for a transition by label or by id; whether it succeeded."""
        request = ChangeState.Request(transition=Transition(id=number, label=label))
        return self.robot.call(f"{self.node}/change_state", ChangeState, request).success

    def available(self):
        """{label: id} of the transitions from the present state."""
        offered = self.robot.call(f"{self.node}/get_available_transitions", GetAvailableTransitions)
        return {each.transition.label: each.transition.id for each in offered.available_transitions}

    def set(self, label):
        """As `ros2 lifecycle set`: looks the transition up and asks for it by id."""
        assert self.change(number=self.available()[label]), f"{label} of {self.node}"

    def passed(self):
        return [(event.start_state.label, event.transition.label, event.goal_state.label) for event in self.events]


def described(transitions):
    for each in transitions:
        assert STATES[each.start_state.id] == each.start_state.label
        assert STATES[each.goal_state.id] == each.goal_state.label
    return [(each.transition.label, each.transition.id, each.start_state.id, each.goal_state.id) for each in transitions]


def phase(heard, node):
    """Phase of a node in its last diagnostics."""
    ours = [array for array in heard if array.status and array.status[0].name.startswith(f"{node}:")]
    return values(statuses(ours[-1])["inference"])["phase"] if ours else None


def resident_mib(node):
    text = open(f"/proc/{node.process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) / 1024


def test_a_manager_takes_the_node_through_every_state(robot, start):
    node = start({**MANAGED, **MOVING, **LIMITED}, ["-r", "__ns:=/managed"])
    manager, heard = Manager(robot, "/managed/vla_trt"), robot.diagnostics()
    chunks, trajectories = robot.chunks("/managed/vla_trt"), robot.trajectories("/managed/vla_trt")
    assert manager.state() == "unconfigured"
    wait_for(lambda: phase(heard, "managed/vla_trt") == "unconfigured", "the phase in diagnostics")
    assert " ready: " not in node.log, "nothing is loaded before configure"
    answer = robot.trigger("/managed/vla_trt/infer_once")
    assert not answer.success and "unconfigured" in answer.message
    answer = robot.trigger("/managed/vla_trt/reload")
    assert not answer.success and "unconfigured" in answer.message
    with Feed(robot, namespace="/managed"):
        manager.set("configure")
        assert manager.state() == "inactive", "answered when the policy is loaded"
        node.wait_until_ready()
        wait_for(lambda: phase(heard, "managed/vla_trt") == "inactive", "the phase in diagnostics")
        answer = robot.trigger("/managed/vla_trt/infer_once")
        assert not answer.success and "inactive" in answer.message
        assert silence(chunks, trajectories), "inactive: nothing moves"
        loaded = resident_mib(node)

        manager.set("activate")
        assert manager.state() == "active"
        grown(trajectories, more=3)
        assert seconds(trajectories[-1].points[-1].time_from_start) > 1.2, "it would move for long"

        manager.set("deactivate")
        assert manager.state() == "inactive"
        # Answered when the robot is at rest: the way to rest was published before.
        wait_for(lambda: seconds(trajectories[-1].points[-1].time_from_start) <= 1.1, "the way to rest")
        assert at_rest(trajectories[-1])
        rest = seconds(trajectories[-1].header.stamp) + seconds(trajectories[-1].points[-1].time_from_start)
        assert rest <= robot.node.get_clock().now().nanoseconds * 1e-9, "answered at rest"
        assert silence(chunks, trajectories)

        count = len(chunks)
        manager.set("activate")
        grown(chunks, count, more=2)
        manager.set("deactivate")
        manager.set("cleanup")
        assert manager.state() == "unconfigured"
        assert not robot.trigger("/managed/vla_trt/infer_once").success
        assert silence(chunks, trajectories)
        assert resident_mib(node) < loaded - 4, "the engines, some 6 MiB, are freed"

        manager.set("configure")
        manager.set("activate")
        grown(chunks, len(chunks), more=2)
        manager.set("shutdown")
        assert manager.state() == "finalized" and manager.available() == {}
        assert silence(chunks, trajectories)
        assert not manager.change("configure") and not robot.trigger("/managed/vla_trt/reload").success
        wait_for(lambda: phase(heard, "managed/vla_trt") == "finalized", "the phase in diagnostics")
        assert node.process.poll() is None, "it answers until it is ended"
    expected = []
    for label, goal in [("configure", "inactive"), ("activate", "active"), ("deactivate", "inactive"),
                        ("activate", "active"), ("deactivate", "inactive"), ("cleanup", "unconfigured"),
                        ("configure", "inactive"), ("activate", "active"), ("shutdown", "finalized")]:
        between = {"configure": "configuring", "activate": "activating", "deactivate": "deactivating",
                   "cleanup": "cleaningup", "shutdown": "shuttingdown"}[label]
        before = expected[-1][2] if expected else "unconfigured"
        expected += [(before, label, between), (between, "transition_success", goal)]
    wait_for(lambda: len(manager.events) >= len(expected), "every transition event")
    assert manager.passed() == expected
    assert all(event.timestamp > 0 for event in manager.events)
    assert not [line for line in alarms(node) if "refused" not in line], "no alarm over what was asked for"
    code, took = node.signal(signal.SIGINT)
    assert code == 0 and took < 2.0


def test_states_and_transitions_are_those_of_rcl_lifecycle(robot, start):
    start(MANAGED, ["-r", "__ns:=/standard"])
    states = robot.call("/standard/vla_trt/get_available_states", GetAvailableStates).available_states
    assert {state.id: state.label for state in states} == STATES
    graph = robot.call("/standard/vla_trt/get_transition_graph", GetAvailableTransitions).available_transitions
    assert described(graph) == GRAPH
    assert Manager(robot, "/standard/vla_trt").available() == {"configure": 1, "shutdown": 5}


def test_autostart_is_the_default_and_the_node_can_be_managed_all_the_same(robot, start):
    node = start({}, ["-r", "__ns:=/auto"])
    node.wait_until_ready()
    manager, chunks = Manager(robot, "/auto/vla_trt"), robot.chunks("/auto/vla_trt")
    wait_for(lambda: manager.state() == "active", "active without a manager")
    with Feed(robot, namespace="/auto"):
        grown(chunks)
        manager.set("deactivate")
        assert silence(chunks)
        # A reload leaves the state.
        assert robot.trigger("/auto/vla_trt/reload").success and manager.state() == "inactive"
        assert silence(chunks)
        manager.set("activate")
        grown(chunks, len(chunks))
        assert robot.trigger("/auto/vla_trt/reload").success and manager.state() == "active"
        grown(chunks, len(chunks))


@pytest.mark.parametrize("wrong", [{"label": "activate"}, {"number": 3}, {"label": "deactivate"}, {"label": "cleanup"},
                                   {"number": Transition.TRANSITION_ACTIVE_SHUTDOWN}, {"label": "explode"},
                                   {"number": Transition.TRANSITION_ON_CONFIGURE_SUCCESS}, {}])
def test_a_transition_that_the_state_does_not_offer_is_answered_false_and_nothing_happens(robot, start, wrong):
    namespace = f"/wrong_{wrong.get('label', '')}{wrong.get('number', '')}"
    node = start(MANAGED, ["-r", f"__ns:={namespace}"])
    manager = Manager(robot, f"{namespace}/vla_trt")
    assert not manager.change(**wrong)
    assert manager.state() == "unconfigured" and not manager.events
    node.wait_for_log("refused in the state unconfigured")


def test_other_services_are_answered_during_a_transition_and_a_second_one_is_refused(robot, start):
    node = start(MANAGED, ["-r", "__ns:=/busy"])
    manager = Manager(robot, "/busy/vla_trt")
    manager.state()
    client = robot.node.create_client(ChangeState, "/busy/vla_trt/change_state")
    assert client.wait_for_service(30.0)
    configure = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    first, second = client.call_async(configure), client.call_async(configure)
    seen = set()
    while not first.done():
        seen.add(manager.state())
    wait_for(second.done, "the second answer")
    assert first.result().success and not second.result().success
    assert "configuring" in seen, "asked while the policy was loading"
    assert manager.state() == "inactive"
    node.wait_until_ready()


def broken_policy(policy, folder):
    """A copy of the policy with a network that does not load, and what mends it."""
    shutil.copytree(policy, folder)
    victim = next(iter(sorted(folder.glob("*.onnx"))))
    good = victim.read_bytes()
    victim.write_bytes(b"no network")
    return lambda: victim.write_bytes(good)


def test_a_load_that_fails_leaves_the_node_unconfigured(robot, start, policy, tmp_path):
    mend = broken_policy(policy, tmp_path / "policy")
    start({**MANAGED, "policy": str(tmp_path / "policy")}, ["-r", "__ns:=/broken"])
    manager, heard = Manager(robot, "/broken/vla_trt"), robot.diagnostics()
    assert not manager.change("configure")
    assert manager.state() == "unconfigured"
    assert manager.passed() == [("unconfigured", "configure", "configuring"),
                                ("configuring", "transition_failure", "unconfigured")]
    wait_for(lambda: phase(heard, "broken/vla_trt") == "degraded", "the failure in diagnostics")
    mend()
    manager.set("configure")
    assert manager.state() == "inactive"


def test_with_autostart_a_reload_after_a_load_that_failed_activates(robot, start, policy, tmp_path):
    mend = broken_policy(policy, tmp_path / "policy")
    node = start({"policy": str(tmp_path / "policy")}, ["-r", "__ns:=/again"])
    node.wait_for_log("~/reload tries again")
    manager = Manager(robot, "/again/vla_trt")
    wait_for(lambda: manager.state() == "unconfigured", "unconfigured")
    assert not robot.trigger("/again/vla_trt/reload").success
    assert manager.state() == "unconfigured"
    mend()
    assert robot.trigger("/again/vla_trt/reload").success
    assert manager.state() == "active"


def test_a_policy_that_is_lost_passes_errorprocessing_and_a_reload_restores_the_state(robot, start, policy, tmp_path):
    folder = tmp_path / "policy"
    shutil.copytree(policy, folder)
    node = start({"policy": str(folder)}, ["-r", "__ns:=/lost"])
    node.wait_until_ready()
    manager = Manager(robot, "/lost/vla_trt")
    wait_for(lambda: manager.state() == "active", "active")
    victim = next(iter(sorted(folder.glob("*.onnx"))))
    good = victim.read_bytes()
    victim.write_bytes(b"no network")
    assert not robot.trigger("/lost/vla_trt/reload").success
    assert manager.state() == "unconfigured"
    wait_for(lambda: manager.passed() and manager.passed()[-1][2] == "unconfigured", "the events")
    assert manager.passed()[-3:] == [("active", "deactivate", "deactivating"),
                                     ("deactivating", "transition_error", "errorprocessing"),
                                     ("errorprocessing", "transition_success", "unconfigured")]
    victim.write_bytes(good)
    assert robot.trigger("/lost/vla_trt/reload").success
    assert manager.state() == "active"


def test_a_latched_stop_outlasts_deactivation_and_faults_while_inactive_latch_nothing(robot, start):
    node = start({"inputs.on_violation": "stop", "inputs.joints.max_age_ms": 300.0}, ["-r", "__ns:=/latched"])
    node.wait_until_ready()
    manager, chunks = Manager(robot, "/latched/vla_trt"), robot.chunks("/latched/vla_trt")
    wait_for(lambda: manager.state() == "active", "active")
    with Feed(robot, namespace="/latched") as feed:
        grown(chunks)
        manager.set("deactivate")
        feed.send_joints = False
        time.sleep(1.0)
        feed.send_joints = True
        time.sleep(0.3)
        manager.set("activate")
        grown(chunks, len(chunks), more=2)

        assert robot.trigger("/latched/vla_trt/stop").success
        manager.set("deactivate")
        manager.set("activate")
        assert manager.state() == "active"
        assert silence(chunks), "stopped before, and stopped now"
        assert robot.trigger("/latched/vla_trt/resume").success
        grown(chunks, len(chunks), more=2)


def test_two_nodes_in_two_namespaces_are_managed_apart(robot, start):
    managers = {}
    for name in ("left", "right"):
        start(MANAGED, ["-r", f"__ns:=/{name}"])
        managers[name] = Manager(robot, f"/{name}/vla_trt")
    for manager in managers.values():
        manager.set("configure")
    assert [manager.state() for manager in managers.values()] == ["inactive", "inactive"]
    left, right = robot.chunks("/left/vla_trt"), robot.chunks("/right/vla_trt")
    with Feed(robot, namespace="/left"), Feed(robot, namespace="/right"):
        managers["left"].set("activate")
        grown(left, more=2)
        assert not right
        managers["right"].set("activate")
        grown(right, more=2)
        managers["left"].set("deactivate")
        count = grown(right, len(right), more=1)
        assert silence(left)
        grown(right, count, more=2)
    for manager in managers.values():
        manager.set("shutdown")
        assert manager.state() == "finalized"


def test_deactivation_reaches_every_route_and_is_answered_when_all_are_at_rest(robot, start, controller):  # noqa: F811
    left = controller("/routes/left/follow")
    left.settles = False
    base = {"kind": "twist", "keys": ["left_gripper"], "components": ["linear.x"], "topic": "cmd_vel",
            "frame_id": "base_link", "max": [0.05], "max_acceleration": [0.2]}
    routes = {"left": arm("left", "/routes/left/follow"), "base": base,
              "right": {"kind": "joint_trajectory", "keys": ["right_arm", "right_gripper"]}}
    grippers = {f"limits.left_gripper.{limit}": 5.0 for limit in ("velocity", "acceleration")}
    node = begin(start, "/routes", routes, **grippers)
    manager = Manager(robot, "/routes/vla_trt")
    twists, right = robot.listen("/routes/cmd_vel", TwistStamped), robot.listen("/routes/vla_trt/right", JointTrajectory)
    with Feed(robot, namespace="/routes"):
        for _ in range(2):
            goals, seen = len(left.goals), len(twists)
            wait_for(lambda: len(left.goals) > goals + 2 and len(twists) > seen + 20, lambda: f"motion\n{node.log}")
            manager.set("deactivate")
            assert left.ends[-1] == "canceled", "the server reports no end: what is active is cancelled"
            wait_for(lambda: is_brake(left.trajectories[-1]) and is_brake(right[-1]), lambda: f"the way to rest\n{node.log}")
            wait_for(lambda: twists[-1].twist.linear.x == 0.0, "zeros")
            # Zeros are repeated for half a second.
            wait_for(lambda: silence(twists, right, left.goals), "silence")
            manager.set("activate")
