#!/usr/bin/env python3
"""measure.py WAY OUT times and checks one way of running the step (all passes); measure.py table OUT prints all results.

Each way is a process, so that a fault of one does not end the others. Figures go to OUT/<way>.json.
"""

import collections
import json
import os
import pathlib
import statistics
import sys
import time

import engines
import model as M
import torch

SAMPLES, WARM_UP = 200, 20
LIBRARY = {"library": 0, "library-early": 1, "library-ahead-early": 3}  # bits of library_create's `how`
TORCH = ["eager", "compile-graph"]
TENSORRT_MS = float(os.environ.get("TENSORRT_MS", 7.6))  # 4 x step, TensorRT 8.6.0, this class of GPU: an earlier run


def timed(run, stream):
    """Milliseconds of each run: the GPU's, by events, and the host's, with the wait."""
    device, host = [], []
    for sample in range(-WARM_UP, SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        started = time.perf_counter()
        begin.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        if sample >= 0:
            host.append((time.perf_counter() - started) * 1e3)
            device.append(begin.elapsed_time(end))
    return {"median": statistics.median(device), "p99": sorted(device)[int(SAMPLES * 0.99)],
            "host_median": statistics.median(host), "host_p99": sorted(host)[int(SAMPLES * 0.99)]}  # fmt: skip


def change(w, actions, wanted):
    """Relative error of what the steps add to the actions."""
    start = w["start"].double()
    return M.relative(actions.double() - start, wanted - start)


def kernels(run):
    """Microseconds and launches a run by kernel."""
    from torch.profiler import ProfilerActivity, profile

    runs = 5
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(runs):
            run()
        torch.cuda.synchronize()
    total, count = collections.Counter(), collections.Counter()
    for event in seen.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            total[event.name] += event.time_range.elapsed_us() / runs
            count[event.name] += 1 / runs
    print(f"time by kernel, us a run (launches); sum {sum(total.values()):.0f}")
    for name, us in total.most_common(16):
        print(f"  {us:8.1f} ({count[name]:5.0f}; {us / count[name]:6.2f} each)  {name[:110]}")


def library(w, how):
    engine = engines.Library(w, how)
    print(engine.report())
    engine.run()
    result = {"actions": engine.actions(), **timed(engine.run, engine.stream)}
    try:
        kernels(engine.run)
    except Exception as error:  # CUPTI may be missing
        print(f"no profile: {error}")
    return result


def tape_places(tape, seen):
    """Every place of the first step against the reference."""
    worst, bad = collections.defaultdict(float), 0
    for at, (name, wanted) in enumerate(seen):
        if tape.names[at] != name:
            raise SystemExit(f"phase {at}: {tape.names[at]}, reference {name}")
        try:
            tape.once(at + 1)
        except Exception as error:
            raise SystemExit(f"phase {at} {name} of {len(seen)}: {error}") from error
        found = tape.place(name)
        error = M.relative(found[: wanted.shape[0]], wanted)
        kind = name.split(".")[-1]
        worst[kind] = max(worst[kind], error)
        if not error < 2e-2 and bad < 6:
            bad += 1
            rows = (found.double() - wanted).norm(dim=1) / wanted.norm(dim=1)
            columns = (found.double() - wanted).norm(dim=0) / wanted.norm(dim=0)
            print(f"  phase {at} {name}: relative error {error:.2e}; rows {[f'{r:.1e}' for r in rows.tolist()[::5]]}; "
                  f"columns {[f'{c:.1e}' for c in columns.tolist()[:: max(1, len(columns) // 24)]]}")  # fmt: skip
    print("places of the first step, worst relative error: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))


def tape_profile(tape, ms):
    """Where the time goes, by kind of phase: mean over blocks and steps of the clock between marks."""
    phases = len(tape.phases)
    trace = torch.zeros(128, M.STEPS * phases, 6, dtype=torch.int32, device="cuda")
    tape.once(1 << 30, trace)
    t = trace.long().cpu() & 0xFFFFFFFF
    spent = torch.stack([(t[:, :, i + 1] - t[:, :, i]) & 0xFFFFFFFF for i in range(5)], 2).double()
    whole = ((t[:, -1, 5] - t[:, 0, 0]) & 0xFFFFFFFF).double().mean()
    us = ms * 1e3 / whole
    steps = ((t[:, 1:, 0] - t[:, :-1, 5]) & 0xFFFFFFFF).double().mean() * us
    kinds = collections.defaultdict(list)
    for at, name in enumerate(tape.names):
        kind = engines.KINDS[tape.phases[at].kind]
        if kind == "query":
            kind = f"query, {tape.phases[at].key_rows} keys"
        kinds[kind].append(at)
    print(f"time by phase in us, mean of blocks ({whole:.0f} ticks in all; arrival to next mark {steps:.2f})")
    print("| phase | count | wait | norm | product | join | finish | sum | all, ms | MB a phase | GB/s over the phase |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for kind, at in kinds.items():
        where = torch.tensor([i + step * phases for step in range(M.STEPS) for i in at])
        parts = (spent[:, where].mean((0, 1)) * us).tolist()
        p = tape.phases[at[0]]
        mb = (p.stages * p.stage_bytes * 128 + p.key_rows * 1536 * 4) / 1e6
        both = sum(parts) + steps
        print(f"| {kind} | {len(at) * M.STEPS} | " + " | ".join(f"{v:.2f}" for v in parts)
              + f" | {both:.2f} | {both * len(at) * M.STEPS / 1e3:.3f} | {mb:.1f} | {mb / both * 1e3:.0f} |")  # fmt: skip


def tape(w, seen):
    engine = engines.Tape(w)
    print(engine.report())
    tape_places(engine, seen)
    engine.capture()
    engine.run()
    first = engine.actions()
    result = {"actions": first, **timed(engine.run, engine.stream)}
    again = engine.actions()
    print(f"after {SAMPLES + WARM_UP} more runs: {'the same bits' if torch.equal(first, again) else 'OTHER BITS'}")
    tape_profile(engine, result["median"])
    for slots in (9, 8, 7):
        other = engines.Tape(w, slots)
        other.capture()
        print(f"ring of {slots}: {timed(other.run, other.stream)['median']:.3f} ms")
        del other
    return result


def eager(w):
    run = lambda: M.all_steps(w)  # noqa: E731
    return {"actions": run().clone(), **timed(run, torch.cuda.current_stream())}


def compile_graph(w):
    """`torch.compile`, all steps captured as one CUDA graph."""
    step = torch.compile(M.one_step, dynamic=False, fullgraph=True)
    begun = time.perf_counter()
    M.all_steps(w, step)
    torch.cuda.synchronize()
    print(f"first result after {time.perf_counter() - begun:.1f} s")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            M.all_steps(w, step)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        actions = M.all_steps(w, step)
    graph.replay()
    torch.cuda.synchronize()
    result = {"actions": actions.clone(), **timed(graph.replay, torch.cuda.current_stream())}
    kernels(graph.replay)
    return result


def copy_rate():
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    times = timed(lambda: b.copy_(a), torch.cuda.current_stream())
    return 2 * a.numel() / times["median"] / 1e6


def table(out):
    rows = {path.stem: json.loads(path.read_text()) for path in sorted(out.glob("*.json"))}
    rate = next((r["copy_gb_s"] for r in rows.values() if "copy_gb_s" in r), 4300)
    floor = M.STEPS * M.pass_bytes() / rate / 1e6
    peer = rows.get("compile-graph", {}).get("median")
    print(f"\n4 x step: {M.pass_bytes() / 1e9:.3f} GB a pass; copies run at {rate:.0f} GB/s: floor {floor:.2f} ms")
    print(f"| way | median, ms | p99 | host | over TensorRT 8.6 ({TENSORRT_MS} ms, another run) | over compile-graph | GB/s | relative error |")
    print("|---|---|---|---|---|---|---|---|")
    for way in [*TORCH, *LIBRARY, "tape"]:
        if way not in rows:
            print(f"| {way} | no result |")
            continue
        r = rows[way]
        over = f"{r['median'] / peer:.2f}" if peer else "-"
        print(f"| {way} | {r['median']:.3f} | {r['p99']:.3f} | {r['host_median']:.3f} | {r['median'] / TENSORRT_MS:.2f} | {over} | "
              f"{M.STEPS * M.pass_bytes() / r['median'] / 1e6:.0f} | {r['error']:.1e} |")  # fmt: skip


def main():
    way, out = sys.argv[1], pathlib.Path(sys.argv[2])
    if way == "table":
        return table(out)
    if way not in [*TORCH, *LIBRARY, "tape"]:
        raise SystemExit(f"unknown way {way}")
    w = M.make_weights()
    with torch.inference_mode():
        wanted, seen = M.reference(w)
        if way in LIBRARY:
            result = library(w, LIBRARY[way])
        elif way == "tape":
            result = tape(w, seen)
        else:
            result = eager(w) if way == "eager" else compile_graph(w)
    result["error"] = change(w, result.pop("actions"), wanted)
    if way in TORCH:
        result["copy_gb_s"] = copy_rate()
    print(way, json.dumps(result))
    (out / f"{way}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
