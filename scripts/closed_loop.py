#!/usr/bin/env python3
"""A policy in closed loop: the real node, real topics, ALOHA in MuJoCo, and figures of how it moved.

    . .cache/env.sh && . install/setup.bash
    .cache/sim/bin/python3 scripts/closed_loop.py --policy data/reach_policy --episodes 50 --mode blend --latency-ms 200
    .cache/sim/bin/python3 scripts/closed_loop.py --policy data/reach_policy --faults
    .cache/sim/bin/python3 scripts/closed_loop.py --camera-latency-ms 240 --pairing newest --pairing frame

Each mode and latency is one setting: a robot, a node, `--episodes` held-out seeds. Latency is put where it comes from:
cameras and joint states are held back and keep the stamps that they were taken at. One table is printed;
docs/closed_loop.md explains its columns.
"""

import argparse
import importlib.util
import itertools
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default=str(ROOT / "data" / "reach_policy"), help="folder of the bundle")
    parser.add_argument("--node", default=str(ROOT / "install/vla_trt/lib/vla_trt/vla_trt_node"), help="executable of the node")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--mode", action="append", help="handover.mode; more than once for more settings (default: blend)")
    parser.add_argument("--latency-ms", type=float, action="append", help="more than once for more settings (default: 0)")
    parser.add_argument("--camera-latency-ms", type=float, default=0.0, help="pictures are later than joint states by this")
    parser.add_argument("--command-latency-ms", type=float, default=0.0, help="trajectories reach the controller later by this")
    parser.add_argument("--pairing", action="append", choices=["newest", "frame"],
                        help="inputs.pairing; prints the table of pairings, and more than once compares them")
    parser.add_argument("--fault", action="append", default=[], help="try this fault instead of episodes; see --faults")
    parser.add_argument("--faults", action="store_true", help="try every fault")
    parser.add_argument("--actions", action="store_true",
                        help="drive the arm and the gripper through their controllers' action servers")
    parser.add_argument("--lockstep", action="store_true", help="add the baseline that waits for the policy")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the node")
    parser.add_argument("--no-limits", action="store_true",
                        help="no limits of speed and acceleration, which smooth every mode: shows the modes themselves")
    parser.add_argument("--picture", metavar="FILE", help="write an animation of the episodes: .webp or .gif")
    parser.add_argument("--verbose", action="store_true", help="a line an episode")
    return parser.parse_args()


def lockstep(options):
    """The line of the baseline."""
    import numpy as np

    from sim.lockstep import FIRST_SEED, Bundle, episode
    from sim.scene import Scene

    scene, policy = Scene(), Bundle(options.policy)
    done = [episode(scene, policy, seed, 5.0)[0] for seed in range(FIRST_SEED, FIRST_SEED + options.episodes)]
    scene.close()
    times = [time for time in done if time is not None]
    return f"| lockstep | - | {len(times)} of {len(done)} | {np.median(times) if times else float('nan'):.2f} | | | | | | | | | |"


def episodes(options, parameters):
    """The table of settings."""
    from sim.loop import Loop
    from sim.measure import Setting
    from sim.picture import save

    print(Setting.PAIRING_HEADER if options.pairing else Setting.HEADER, flush=True)
    if options.lockstep and not options.pairing:
        print(lockstep(options), flush=True)

    def show(episode):
        if options.verbose:
            print(f"  seed {episode.seed}  reached {episode.reached_s}  closest {episode.closest_m * 1e3:.1f} mm  "
                  f"{episode.chunks} chunks  jump {max(episode.jumps, default=0.0) * 1e3:.1f} mrad", file=sys.stderr, flush=True)

    settings = itertools.product(options.mode or ["blend"], options.latency_ms or [0.0], options.pairing or ["newest"])
    for mode, latency, pairing in settings:
        with Loop(options.node, options.policy, mode, latency, parameters, actions=options.actions,
                  camera_latency_ms=options.camera_latency_ms, pairing=pairing, command_latency_ms=options.command_latency_ms) as loop:
            frames = loop.robot.frames = [] if options.picture else None
            done = loop.run(options.episodes, show)
            print(done.pairing_line() if options.pairing else done.line(), flush=True)
        if frames:
            save(frames, options.picture)


def faults(options, parameters):
    """The table of faults."""
    from sim import trials
    from sim.faults import FAULTS
    from sim.loop import FIRST_SEED

    names = list(FAULTS) if options.faults else options.fault
    for unknown in set(names) - set(FAULTS):
        raise SystemExit(f"--fault: expected one of {', '.join(FAULTS)}; found {unknown}")
    print(trials.Outcome.HEADER, flush=True)
    mode, latency = (options.mode or ["blend"])[0], (options.latency_ms or [0.0])[0]
    for outcome in trials.run(names, FIRST_SEED, options.node, options.policy, mode, latency, parameters):
        print(outcome.line(), flush=True)


def check(options):
    """Says what is missing, before anything starts."""
    for module in ("mujoco", "rclpy", "vla_trt"):
        if importlib.util.find_spec(module) is None:
            raise SystemExit(f"Python finds no module {module}: run this with .cache/sim/bin/python3 (scripts/setup_sim.sh makes "
                             "it) after\n  . .cache/env.sh && . install/setup.bash")
    for what, path in (("node", options.node), ("policy", options.policy)):
        if not pathlib.Path(path).exists():
            raise SystemExit(f"--{what}: expected a {what}, found nothing at {path}; scripts/build.sh builds the node")


def main():
    options = arguments()
    check(options)
    parameters = dict(item.split("=", 1) for item in options.param)
    if options.no_limits:
        from sim.task import RIGHT_ARM

        parameters |= {f"limits.{joint}.{kind}": ".inf" for joint in RIGHT_ARM for kind in ("velocity", "acceleration")}
        parameters["motion.allow_unlimited"] = "true"
    if options.fault or options.faults:
        faults(options, parameters)
    else:
        episodes(options, parameters)
    return 0


if __name__ == "__main__":
    sys.exit(main())
