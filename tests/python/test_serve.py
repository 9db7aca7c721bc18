"""`vla-trt serve` answers clients written from the two protocols as `vla-trt infer` answers arrays, bit by bit, and goes on
after whatever else comes.

Skipped aloud where pyzmq, msgpack, websockets or cargo are missing. With `openpi-client` installed its own client is run, too.
"""

import contextlib
import io
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess

import pytest

for package in ("zmq", "msgpack", "websockets"):
    pytest.importorskip(package, reason=f"needs the Python package {package}")

import msgpack  # noqa: E402
import numpy as np  # noqa: E402
import websockets.sync.client  # noqa: E402
import zmq  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
CAMERAS = ("top", "left_wrist", "right_wrist")
KEYS = {"left_arm": 6, "left_gripper": 1, "right_arm": 6, "right_gripper": 1}
INSTRUCTION = "Pick up the red cube!"
# ONNX Runtime may add in another order with another number of threads.
ONE_THREAD = ("-p", "engine.threads:=1")


@pytest.fixture(scope="module")
def tool():
    """`vla-trt`, built if need be."""
    if not shutil.which("cargo"):
        pytest.skip("needs cargo, for vla-trt")
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--bin", "vla-trt"], cwd=ROOT, check=True)
    return ROOT / (os.environ.get("CARGO_TARGET_DIR") or "target") / "debug" / "vla-trt"


@pytest.fixture(scope="module")
def policy(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy") / "demo"
    subprocess.run([tool, "make-demo-policy", "--out", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@contextlib.contextmanager
def serve(tool, policy, protocol, *options, environment=None):
    """The port of a running server. It ends with code 0 on Ctrl-C, whatever was sent to it."""
    command = [tool, "serve", policy, "--protocol", protocol, "--port", "0", *ONE_THREAD, *options]
    environment = {**os.environ, **(environment or {})}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = server.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, line
        yield int(found[1])
        assert server.poll() is None
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def gr00t(tool, policy):
    with serve(tool, policy, "gr00t", "--max-message-mib", "8") as port:
        yield port


@pytest.fixture(scope="module")
def openpi(tool, policy):
    with serve(tool, policy, "openpi", "--max-message-mib", "8") as port:
        yield port


def observe(seed=0, shape=(50, 128)):
    """Images, state and noise of one observation; the noise has the shape of the model's chunk."""
    random = np.random.default_rng(seed)
    images = {name: random.integers(0, 256, (480, 640, 3), np.uint8) for name in CAMERAS}
    state = {key: random.uniform(-0.5, 0.5, width).astype(np.float32) for key, width in KEYS.items()}
    return images, state, random.standard_normal(shape).astype(np.float32)


def infer(tool, policy, folder, images, state, noise, steps=4):
    """The decoded actions of `vla-trt infer`, by key."""
    arrays = {f"image.{name}": image for name, image in images.items()}
    arrays |= {f"state_raw.{key}": values[None] for key, values in state.items()}
    arrays |= {"noise": noise, "instruction": np.frombuffer(INSTRUCTION.encode(), np.uint8), "steps": np.array([steps])}
    np.savez(folder / "in.npz", **arrays)
    command = [tool, "infer", "--policy", policy, "--inputs", folder / "in.npz", "--dump", folder / "out.npz"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    out = np.load(folder / "out.npz")
    return {key: out[f"action_decoded.{key}"] for key in KEYS}


# --- NVIDIA's protocol: msgpack over REQ/REP, arrays as .npy files --------------------------------------------------


def pack(value):
    def array(value):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    return msgpack.packb(value, default=array)


def unpack(message):
    def array(value):
        if "__ndarray_class__" in value:
            return np.load(io.BytesIO(value["as_npy"]), allow_pickle=False)
        return value

    return msgpack.unpackb(message, object_hook=array)


class Client:
    def __init__(self, port, token=None):
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 60_000)
        self.socket.connect(f"tcp://127.0.0.1:{port}")
        self.token = {"api_token": token} if token else {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def raw(self, message):
        self.socket.send(message)
        return unpack(self.socket.recv())

    def call(self, endpoint, **data):
        return self.raw(pack({"endpoint": endpoint, **({"data": data} if data else {}), **self.token}))

    def actions(self, observation, **options):
        reply = self.call("get_action", observation=observation, options=options or None)
        assert isinstance(reply, list), reply
        actions, info = reply
        assert info == {}
        return actions

    def refused(self, observation):
        reply = self.call("get_action", observation=observation, options=None)
        assert isinstance(reply, dict) and list(reply) == ["error"], reply
        return reply["error"]


def nested(images, state):
    return {
        "video": {name: image[None, None] for name, image in images.items()},
        "state": {key: values[None, None] for key, values in state.items()},
        "language": {"annotation.human.task_description": [[INSTRUCTION]]},
    }


def flat(images, state):
    """As the vendor's simulators send it."""
    return {
        **{f"video.{name}": image[None, None] for name, image in images.items()},
        **{f"state.{key}": values[None, None] for key, values in state.items()},
        "annotation.human.task_description": (INSTRUCTION,),
        "time": 0.5,
    }


def assert_same_bits(actions, expected, prefix=""):
    assert set(actions) == {prefix + key for key in expected}
    for key, values in expected.items():
        found = actions[prefix + key]
        assert (found.dtype, found.shape) == (np.float32, (1, *values.shape))
        assert found.tobytes() == values.astype(np.float32).tobytes(), key


def test_gr00t_actions_are_those_of_infer(tool, policy, gr00t, tmp_path):
    with Client(gr00t) as client:
        for seed in range(2):
            images, state, noise = observe(seed)
            expected = infer(tool, policy, tmp_path, images, state, noise)
            assert_same_bits(client.actions(nested(images, state), noise=noise), expected)
            assert_same_bits(client.actions(flat(images, state), noise=noise), expected, "action.")


def test_a_policy_of_n1d7_gives_its_own_chunk_and_modalities(tool, tmp_path):
    policy = tmp_path / "policy"
    subprocess.run([tool, "make-demo-policy", "--family", "n1d7", "-o", policy], check=True, stdout=subprocess.DEVNULL)
    images, state, noise = observe(1, (40, 132))
    expected = infer(tool, policy, tmp_path, images, state, noise)
    with serve(tool, policy, "gr00t") as port, Client(port) as client:
        assert_same_bits(client.actions(nested(images, state), noise=noise), expected)
        config = client.call("get_modality_config")
        assert config["action"]["as_json"]["delta_indices"] == list(range(16))
        assert config["video"]["as_json"]["modality_keys"] == list(CAMERAS)


def test_denoising_steps_are_those_of_the_parameters(tool, policy, tmp_path):
    images, state, noise = observe(3)
    expected = infer(tool, policy, tmp_path, images, state, noise, steps=1)
    (tmp_path / "robot.yaml").write_text("vla_trt:\n  ros__parameters:\n    denoise: {steps: 1}\n")
    with serve(tool, policy, "gr00t", "--params", tmp_path / "robot.yaml") as port, Client(port) as client:
        assert_same_bits(client.actions(nested(images, state), noise=noise), expected)


def test_noise_is_a_sequence_that_reset_begins_again(gr00t):
    images, state, _ = observe()
    observation = nested(images, state)

    def arm(client, **options):
        return client.actions(observation, **options)["left_arm"].tobytes()

    with Client(gr00t) as client:
        assert client.call("reset", options=None) == {}
        first, second = arm(client), arm(client)
        assert first != second
        # A request with its own seed does not count.
        own = arm(client, seed=5)
        client.call("reset", options=None)
        assert arm(client) == first
        assert arm(client, seed=5) == own
        assert arm(client) == second
        client.call("reset", options={"seed": 5})
        assert arm(client) == own
        client.call("reset", options={"seed": 0})
        assert arm(client) == first


def test_gr00t_endpoints(gr00t):
    with Client(gr00t) as client:
        assert client.call("ping") == {"status": "ok", "message": "Server is running"}
        config = client.call("get_modality_config")
        assert set(config) == {"video", "state", "action", "language"}
        assert all(modality["__ModalityConfig_class__"] is True for modality in config.values())
        assert config["video"]["as_json"]["modality_keys"] == list(CAMERAS)
        assert config["state"]["as_json"]["modality_keys"] == list(KEYS)
        assert len(config["action"]["as_json"]["delta_indices"]) == 16
        for endpoint in ("kill", "get_actions"):
            assert "error" in client.call(endpoint)
        assert client.call("ping")["status"] == "ok"


def wrong_observations():
    images, state, _ = observe()

    def changed(modality, key, value):
        observation = nested(images, state)
        if value is None:
            del observation[modality][key]
        else:
            observation[modality][key] = value
        return observation

    top = images["top"]
    two = nested(images, state)
    for modality in ("video", "state"):
        two[modality] = {key: np.concatenate([value, value]) for key, value in two[modality].items()}
    yield "no camera", changed("video", "top", None), "video.top"
    yield "no state", changed("state", "left_arm", None), "state.left_arm"
    yield "no instruction", changed("language", "annotation.human.task_description", None), "task_description"
    yield "two at once", two, "batch of 1, found 2"
    yield "two instructions", changed("language", "annotation.human.task_description", [["a"], ["b"]]), "task_description"
    yield "no batch", changed("video", "top", top), "video.top"
    yield "two times", changed("video", "top", np.stack([top, top])[None]), "video.top"
    yield "another size", changed("video", "top", top[None, None, :, :321]), "top"
    yield "four channels", changed("video", "top", np.zeros((1, 1, 480, 640, 4), np.uint8)), "video.top"
    yield "floating point", changed("video", "top", top[None, None].astype(np.float32)), "video.top"
    yield "columns first", changed("video", "top", np.asfortranarray(top[None, None])), "C order"
    yield "another width", changed("state", "left_arm", np.zeros((1, 1, 7), np.float32)), "state.left_arm"
    yield "double precision", changed("state", "left_arm", np.zeros((1, 1, 6))), "state.left_arm"
    yield "not a number", changed("state", "left_arm", np.full((1, 1, 6), np.nan, np.float32)), "state.left_arm"
    yield "a list", changed("state", "left_arm", [[[0.0] * 6]]), "state.left_arm"
    yield "nothing", {}, "video.top"


@pytest.mark.parametrize("observation, named", [pytest.param(o, n, id=i) for i, o, n in wrong_observations()])
def test_gr00t_refuses_what_does_not_fit_by_name(gr00t, observation, named):
    images, state, _ = observe()
    with Client(gr00t) as client:
        assert named in client.refused(observation)
        client.actions(nested(images, state))


def test_gr00t_goes_on_after_garbage_and_bombs(gr00t):
    many = b"\xdd" + struct.pack(">I", 1 << 20) + b"\xc0" * (1 << 20)
    bombs = [b"", b"\xc1", b"no msgpack", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000 + b"\xc0", many]
    bombs += [pack([]), pack("ping"), pack({"endpoint": 7}), pack({"endpoint": "get_action"}), pack({"endpoint": "get_action", "data": 3})]
    bombs.append(pack({"endpoint": "get_action", "data": {"observation": {"video": {"top": {"__ndarray_class__": True}}}}}))
    # Longer than --max-message-mib.
    bombs.append(bytes(20 << 20))
    with Client(gr00t) as client:
        for bomb in bombs:
            assert "error" in client.raw(bomb)
        assert client.call("ping")["status"] == "ok"
        # Two frames.
        client.socket.send_multipart([pack({"endpoint": "ping"}), b"more"])
        assert "error" in unpack(client.socket.recv())
        assert client.call("ping")["status"] == "ok"


def test_silent_and_stuck_clients_delay_nobody(gr00t):
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"
    with contextlib.ExitStack() as stack:
        for sent in (b"", b"\xff\x00", greeting, greeting + ready, greeting + ready + b"\x01\x00\x00\xc8x", b"GET / HTTP/1.1\r\n\r\n"):
            stack.enter_context(socket.create_connection(("127.0.0.1", gr00t))).sendall(sent)
        # More of them than the server has connections.
        for _ in range(40):
            stack.enter_context(socket.create_connection(("127.0.0.1", gr00t)))
        with Client(gr00t) as client:
            assert client.call("ping")["status"] == "ok"


def test_gr00t_wants_its_token(tool, policy, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with serve(tool, policy, "gr00t", "--token-file", tmp_path / "token") as port:
        with Client(port) as client, Client(port, "other") as other, Client(port, "secret") as known:
            assert client.call("ping") == {"error": "Unauthorized: Invalid API token"}
            assert other.call("ping") == {"error": "Unauthorized: Invalid API token"}
            assert known.call("ping")["status"] == "ok"


# --- openpi's protocol: msgpack over WebSocket, arrays as bytes with type and shape ---------------------------------


def pack_openpi(value):
    def array(value):
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}

    return msgpack.packb(value, default=array)


def unpack_openpi(message):
    def array(value):
        if b"__ndarray__" in value:
            return np.ndarray(buffer=value[b"data"], dtype=value[b"dtype"], shape=value[b"shape"])
        return value

    return msgpack.unpackb(message, object_hook=array)


@contextlib.contextmanager
def connection(port, token=None):
    headers = {"Authorization": f"Api-Key {token}"} if token else None
    address = f"ws://127.0.0.1:{port}"
    with websockets.sync.client.connect(address, compression=None, max_size=None, additional_headers=headers) as socket:
        yield socket, unpack_openpi(socket.recv(timeout=60))


def libero(images, state, noise=None):
    observation = {f"observation/{name}": image for name, image in images.items()}
    whole = np.concatenate(list(state.values())).astype(np.float64)
    observation |= {"observation/state": whole, "prompt": INSTRUCTION}
    return observation if noise is None else {**observation, "noise": noise}


def test_openpi_actions_are_those_of_infer(tool, policy, openpi, tmp_path):
    images, state, noise = observe(1)
    expected = infer(tool, policy, tmp_path, images, state, noise)
    expected = np.concatenate([expected[key] for key in KEYS], axis=1).astype(np.float32)
    planes = {"images": {name: image.transpose(2, 0, 1).copy() for name, image in images.items()}}
    by_key = {f"observation/{key}": values for key, values in state.items()}
    with connection(openpi) as (socket, metadata):
        assert (metadata["policy"], metadata["state"], metadata["action_horizon"]) == ("demo", KEYS, 16)
        for observation in (libero(images, state, noise), {**planes, **by_key, "prompt": INSTRUCTION, "noise": noise}):
            socket.send(pack_openpi(observation))
            reply = unpack_openpi(socket.recv(timeout=60))
            assert (reply["actions"].dtype, reply["actions"].shape) == (np.float32, (16, 14))
            assert reply["actions"].tobytes() == expected.tobytes()
            assert reply["server_timing"]["infer_ms"] > 0
        assert reply["server_timing"]["prev_total_ms"] > 0


def test_openpi_errors_are_text_and_the_connection_goes_on(openpi):
    images, state, _ = observe()
    good = libero(images, state)
    wrong = [{**good, "observation/top": images["top"][None]}, {**good, "observation/state": np.zeros(13)}, {}]
    with connection(openpi) as (socket, _):
        for message in (b"", b"\xc1", b"\x91" * 100_000, *map(pack_openpi, wrong), "text"):
            socket.send(message)
            assert isinstance(socket.recv(timeout=60), str)
        socket.send(pack_openpi(good))
        assert "actions" in unpack_openpi(socket.recv(timeout=60))
        socket.send(bytes(20 << 20))
        assert isinstance(socket.recv(timeout=60), str)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=60)
        assert closed.value.rcvd.code == 1009
    with connection(openpi) as (_, metadata):
        assert metadata["policy"] == "demo"


def test_openpi_wants_its_token(tool, policy):
    with serve(tool, policy, "openpi", environment={"VLA_TRT_SERVE_TOKEN": "secret"}) as port:
        for token in (None, "other"):
            with pytest.raises(websockets.exceptions.InvalidStatus) as refused, connection(port, token):
                pass
            assert refused.value.response.status_code == 401
        with connection(port, "secret") as (_, metadata):
            assert metadata["policy"] == "demo"


def test_openpis_own_client(tool, policy, openpi, tmp_path):
    client = pytest.importorskip("openpi_client.websocket_client_policy", reason="needs openpi-client")
    images, state, noise = observe(2)
    expected = infer(tool, policy, tmp_path, images, state, noise)
    own = client.WebsocketClientPolicy("127.0.0.1", openpi)
    assert own.get_server_metadata()["policy"] == "demo"
    actions = own.infer(libero(images, state, noise))["actions"]
    assert actions.tobytes() == np.concatenate([expected[key] for key in KEYS], axis=1).astype(np.float32).tobytes()
    with pytest.raises(RuntimeError, match="prompt"):
        own.infer({})


# --- starting and ending --------------------------------------------------------------------------------------------


def failed(tool, *arguments):
    done = subprocess.run([tool, "serve", *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def test_what_cannot_start_says_why(tool, policy, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, text = failed(tool, policy, "--protocol", "gr00t", "--port", port)
        assert code == 1 and port in text and "--port" in text
    code, text = failed(tool, policy, "--protocol", "gr00t", "-p", "denoise.stepps:=1")
    assert code == 1 and "denoise.stepps" in text
    (tmp_path / "token").write_text("")
    code, text = failed(tool, policy, "--protocol", "gr00t", "--token-file", tmp_path / "token")
    assert code == 1 and str(tmp_path / "token") in text
    assert failed(tool, policy, "--protocol", "grpc")[0] == 2
    assert failed(tool, tmp_path, "--protocol", "gr00t")[0] == 1


def test_ctrl_c_ends_it_with_clients_connected(tool, policy):
    with contextlib.ExitStack() as stack:
        with serve(tool, policy, "gr00t") as port:
            client = stack.enter_context(Client(port))
            assert client.call("ping")["status"] == "ok"
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
