"""Cameras as robots have them: a mosaic without a name, one camera for two views, a view without one, frames of a while ago."""

import json
import subprocess
import time

import pytest
import yaml
from builtin_interfaces.msg import Time
from harness import CAMERAS, Feed, parameters, statuses, values, wait_for
from recording import PERIOD_NS, golden_replay, identity, type_name
from sensor_msgs.msg import Image

STEPS_BACK = 3
SETS = 8
SHARED = "/camera/shared/image_raw"


class Camera(Feed):
    """One camera, which sends an RGGB mosaic as 8UC1, and the joints."""

    encoding = "8UC1"

    def _samples(self, stamp):
        samples = [(SHARED, self._image(stamp))]
        return samples + [sample for sample in super()._samples(stamp) if not isinstance(sample[1], Image)]

    def _image(self, stamp, stuck=False):
        width, height = 64, 48
        message = Image(width=width, height=height, encoding=self.encoding, step=width)
        message.header.stamp = stamp
        noise = f"{stamp.sec}.{stamp.nanosec}".encode()
        picture = bytes((5 * x + 3 * y + self.brightness) % 256 for y in range(height) for x in range(width))
        message.data = picture[:len(picture) - len(noise)] + noise
        return message


def camera_parameters(policy, **more):
    given = {name: value for name, value in parameters().items() if "left_wrist" not in name or "joint" in name}
    views = {"inputs.cameras.left_wrist.blank": True}
    for view in ("top", "right_wrist"):
        views[f"inputs.cameras.{view}.topic"] = SHARED
        views[f"inputs.cameras.{view}.encoding"] = "bayer_rggb8"
    return {**given, **views, "policy": str(policy), **more}


@pytest.fixture(scope="module")
def remembering(tool, tmp_path_factory):
    """The demo checkpoint with frames of three steps ago, exported with a view that may be blank."""
    folder = tmp_path_factory.mktemp("cameras")
    checkpoint, policy = folder / "checkpoint", folder / "policy"
    subprocess.run([tool, "make-checkpoint", "--size", "demo", "--seed", "7", "-o", checkpoint], check=True)
    file = checkpoint / "processor_config.json"
    config = json.loads(file.read_text())
    config["processor_kwargs"]["modality_configs"]["new_embodiment"]["video"]["delta_indices"] = [-STEPS_BACK, 0]
    file.write_text(json.dumps(config))
    cameras = [word for camera in CAMERAS for word in ("--camera", f"{camera}=640x480")]
    subprocess.run([tool, "export", "--checkpoint", checkpoint, "--tokenizer", checkpoint / "tokenizer", "--embodiment",
                    "new_embodiment", *cameras, "--blank-view", "left_wrist", "--step-s", str(PERIOD_NS * 1e-9),
                    "--steps", "1,2,4,8", "-o", policy], check=True)
    return policy


@pytest.fixture(scope="module")
def run(start, tmp_path_factory):
    def begin(content):
        file = tmp_path_factory.mktemp("params") / "params.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": content}}))
        return start(arguments=["--ros-args", "--params-file", file], bare=True)
    return begin


def test_one_mosaic_gives_two_views_with_their_history_and_the_blank_view_is_said(robot, run, remembering):
    node = run(camera_parameters(remembering, rate_hz=-1.0))
    node.wait_until_ready()
    assert "left_wrist" in next(line for line in node.lines if "sees black" in line)
    chunks, heard = robot.chunks(), robot.diagnostics()
    with Camera(robot) as feed:
        def without_history():
            answer = robot.trigger("/vla_trt/infer_once")
            return not answer.success and "top without history" in answer.message
        wait_for(without_history, "a violation before the camera has run for three steps")
        wait_for(lambda: robot.trigger("/vla_trt/infer_once").success, lambda: f"an inference\n{node.log}")
        wait_for(lambda: chunks, "the chunk")
        assert list(chunks[-1].input_names) == ["top", "right_wrist", "joints"]
        assert chunks[-1].input_stamps[0] == chunks[-1].input_stamps[1]

        def shown():
            inputs = statuses(heard[-1]).get("inputs") if heard else None
            return inputs and values(inputs).get("blank views") == "left_wrist"
        wait_for(shown, "the blank view in diagnostics")

        # The driver is changed: now it says that its bytes are something else.
        feed.encoding = "rgb8"

        def refused():
            inputs = statuses(heard[-1]).get("inputs")
            return inputs and "bayer_rggb8" in values(inputs).get("top last refusal", "")
        wait_for(refused, lambda: f"the refusal in diagnostics\n{heard[-1:]}")
    node.end()


@pytest.mark.parametrize(("more", "reason"), [
    ({"inputs.cameras.top.blank": True}, "blank_views"),
    ({"inputs.cameras.top.exif": "apply"}, "inputs.cameras.top.exif"),
    ({"inputs.cameras.top.encoding": "bayer_rggb16"}, "inputs.cameras.top.encoding"),
    ({"inputs.joints.topic": SHARED}, "inputs.joints.topic"),
], ids=["a view that was never blank", "EXIF of raw frames", "a mosaic of 16 bits", "a topic of two kinds"])
def test_parameters_that_do_not_fit_end_the_start_with_the_reason(run, remembering, more, reason):
    node = run(camera_parameters(remembering, **more))
    assert node.wait() == 1
    assert reason in node.log


def test_live_and_replay_agree_on_every_chunk(robot, run, tool, remembering, tmp_path):
    patient = {f"inputs.{name}.max_age_ms": 600_000.0 for name in ("cameras.top", "cameras.right_wrist", "joints")}
    patient |= {"inputs.max_skew_ms": 0.0, "seed": 3, "action.step_s": 10.0}
    node = run(camera_parameters(remembering, **patient, rate_hz=-1.0))
    node.wait_until_ready()
    chunks = robot.chunks()
    feed = Camera(robot, hz=0)
    wait_for(lambda: (feed.send(), "without history" in robot.trigger("/vla_trt/infer_once").message)[1], "the first frame")
    # Later than any of those frames can be history.
    begin, recorded, live = time.time_ns() + 10 * PERIOD_NS, [], []
    for number in range(STEPS_BACK + SETS):
        stamp = begin + number * PERIOD_NS
        feed.stamp = lambda: Time(sec=stamp // 10**9, nanosec=stamp % 10**9)
        feed.brightness = 9 * number
        time.sleep(max(0.0, (stamp - time.time_ns()) * 1e-9))
        recorded += [(topic, type_name(message), stamp, message) for topic, message in feed.send()]
        wanted = [(stamp // 10**9, stamp % 10**9)] * 3

        def answered():
            answer = robot.trigger("/vla_trt/infer_once")
            if number < STEPS_BACK:
                return "top without history" in answer.message and "joints" not in answer.message
            return next((chunk for chunk in chunks if identity(chunk) == wanted), None)

        answer = wait_for(answered, lambda: f"the answer to set {number}\n{node.log}")
        live += [answer] if number >= STEPS_BACK else []
    assert len({tuple(chunk.values) for chunk in live}) == SETS

    replay = golden_replay(tool, remembering, tmp_path, recorded, live, camera_parameters(remembering, **patient))
    same = replay("-p", "encode.threads:=1")
    assert same.returncode == 0, same.stdout + same.stderr
    assert f"{SETS} chunks" in same.stdout
