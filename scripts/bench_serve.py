#!/usr/bin/env python3
"""Requests a second of vla_trt's policy server and of NVIDIA's, both with a policy that gives zeros.

    cargo build --release -p vla_serve --example zeros
    scripts/bench_serve.py --vendor Isaac-GR00T --server target/release/examples/zeros

--vendor is a checkout of github.com/NVIDIA/Isaac-GR00T (N1.6); its `gr00t/policy/server_client.py` is run as it is. Needs
pyzmq, msgpack and numpy. One observation has three 640x480 cameras. It is packed once and sent --requests times over one REQ
socket, so that the client's own packing is not counted; then once more with the vendor's client, which packs each. The two
servers take turns, and the median of the rounds is printed.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import zmq

CAMERAS = ("top", "left_wrist", "right_wrist")
KEYS = {"left_arm": 6, "left_gripper": 1, "right_arm": 6, "right_gripper": 1}
ROWS = 16


def vendor_server(port):
    """NVIDIA's server in this process, with a policy of zeros."""
    from gr00t.policy.policy import BasePolicy
    from gr00t.policy.server_client import PolicyServer

    class Zeros(BasePolicy):
        def check_observation(self, observation):
            pass

        def check_action(self, action):
            pass

        def _get_action(self, observation, options=None):
            return {key: np.zeros((1, ROWS, width), np.float32) for key, width in KEYS.items()}, {}

        def reset(self, options=None):
            return {}

    PolicyServer(Zeros(strict=False), host="127.0.0.1", port=port).run()


def observation():
    random = np.random.default_rng(0)
    return {
        "video": {name: random.integers(0, 256, (1, 1, 480, 640, 3), np.uint8) for name in CAMERAS},
        "state": {key: random.standard_normal((1, 1, width), np.float32) for key, width in KEYS.items()},
        "language": {"task": [["pick up the cube"]]},
    }


def packed_rate(port, message, requests):
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(requests // 10):
            socket.send(message)
            reply = socket.recv()
        start = time.perf_counter()
        for _ in range(requests):
            socket.send(message)
            reply = socket.recv()
        return requests / (time.perf_counter() - start), reply


def client_rate(port, requests):
    from gr00t.policy.server_client import PolicyClient

    client, sent = PolicyClient(host="127.0.0.1", port=port), observation()
    for _ in range(requests // 10):
        client.get_action(sent)
    start = time.perf_counter()
    for _ in range(requests):
        client.get_action(sent)
    return requests / (time.perf_counter() - start)


def free_port():
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vendor", required=True, type=pathlib.Path, help="checkout of Isaac-GR00T")
    parser.add_argument("--server", type=pathlib.Path, help="the example `zeros`, built")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--as-vendor-server", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(args.vendor))
    if args.as_vendor_server:
        return vendor_server(args.as_vendor_server)
    from gr00t.policy.server_client import MsgSerializer

    ports = {"NVIDIA's": free_port(), "vla_trt": free_port()}
    commands = {
        "NVIDIA's": [sys.executable, __file__, "--vendor", args.vendor, "--as-vendor-server", str(ports["NVIDIA's"])],
        "vla_trt": [args.server, "gr00t", str(ports["vla_trt"])],
    }
    message = MsgSerializer.to_bytes({"endpoint": "get_action", "data": {"observation": observation(), "options": None}})
    servers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands.values()]
    try:
        packed, whole, replies = {name: [] for name in ports}, {name: [] for name in ports}, {}
        for _ in range(args.rounds):
            for name, port in ports.items():
                rate, replies[name] = packed_rate(port, message, args.requests)
                packed[name].append(rate)
            for name, port in ports.items():
                whole[name].append(client_rate(port, args.requests))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    actions = [MsgSerializer.from_bytes(reply)[0] for reply in replies.values()]
    assert all(np.array_equal(actions[0][key], actions[1][key]) for key in KEYS), "the two servers answer differently"
    print(f"{args.requests} requests of {len(message) / 2**20:.2f} MiB, median of {args.rounds} rounds; requests a second")
    for what, rates in (("packed beforehand", packed), ("the vendor's client", whole)):
        theirs, ours = (statistics.median(rates[name]) for name in ("NVIDIA's", "vla_trt"))
        print(f"{what:20} NVIDIA's {theirs:7.0f}   vla_trt {ours:7.0f}   ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
