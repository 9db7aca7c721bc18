#!/usr/bin/env python3
"""A policy bundle of the split layout in PyTorch: the same networks and weights, what a user would run in place of engines.

Runs the stages as policy.yaml joins them (names, rename, constants, feeds, repetition), at the usual sizes of its
profiles and with seeded inputs. Holds the result against ONNX Runtime where it is installed, then times each mode: host
inputs copied to the device, every stage, actions copied back, synchronised. Prints median and p99; --out writes them.

modes: eager; eager-graph (one CUDA graph of all of it); compile (torch.compile, each stage); compile-graph (the compiled
stages in one CUDA graph); reduce-overhead (torch.compile's own CUDA graphs). Graphs need a GPU.
"""

import argparse
import json
import pathlib
import statistics
import time

import numpy
import onnx_torch
import torch

NUMPY = {"f32": numpy.float32, "f16": numpy.float16, "bf16": numpy.float32, "i32": numpy.int32, "i64": numpy.int64}
ONNX_NUMPY = {"float": numpy.float32, "float16": numpy.float16, "int32": numpy.int32, "int64": numpy.int64}
# Between this and ONNX Runtime on the CPU, norm of the difference over norm of the reference.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
WARM_UP = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=pathlib.Path, help="policy folder, exported with --layout split")
    parser.add_argument("--steps", type=int, help="denoising steps; default: the policy's")
    parser.add_argument("--samples", type=int, default=200, help="timed inferences of each mode (default 200)")
    parser.add_argument(
        "--dtype", choices=["fp32", "fp16", "bf16"], help="all values in this type; default: as exported"
    )
    parser.add_argument("--compile", action="store_true", help="time torch.compile too")
    parser.add_argument("--modes", help="these modes in place of the default ones, with commas between")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tf32", action="store_true", help="let FP32 products be TF32; our engines do not")
    parser.add_argument("--no-check", action="store_true", help="do not run ONNX Runtime")
    parser.add_argument("--out", type=pathlib.Path, help="file for the figures, JSON")
    return parser.parse_args()


# --- the bundle ---

def scalar(text):
    text = text.strip().strip("'\"")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def flow(text):
    """`{a: 1, b: [x, y]}` or `[..]` or a scalar, from the beginning of `text`: value and what follows."""
    text = text.lstrip()
    if text[:1] not in ("{", "["):
        end = min((at for at in map(text.find, ",]}") if at >= 0), default=len(text))
        return scalar(text[:end]), text[end:]
    found, text, closing = ({} if text[0] == "{" else []), text[1:].lstrip(), {"{": "}", "[": "]"}[text[0]]
    while not text.startswith(closing):
        if closing == "}":
            key, text = text.split(":", 1)
            found[key.strip()], text = flow(text)
        else:
            value, text = flow(text)
            found.append(value)
        text = text.lstrip().removeprefix(",").lstrip()
    return found, text[1:]


def read_policy(path):
    """policy.yaml: by PyYAML where it is installed, else as `vla-trt export` writes it."""
    text = path.read_text()
    try:
        import yaml

        return yaml.safe_load(text)
    except ImportError:
        pass
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    def block(at, indent):
        found = [] if lines[at].lstrip().startswith("- ") else {}
        while at < len(lines) and len(lines[at]) - len(lines[at].lstrip()) == indent:
            if isinstance(found, list):
                lines[at] = lines[at].replace("- ", "  ", 1)
                value, at = block(at, indent + 2)
                found.append(value)
                continue
            key, value = lines[at].strip().split(":", 1)
            if value.strip():
                found[key], at = flow(value)[0], at + 1
            else:
                deeper = len(lines[at + 1]) - len(lines[at + 1].lstrip())
                found[key], at = block(at + 1, deeper)
        return found, at

    return block(0, 0)[0]


def read_safetensors(path):
    """Tensors of single precision by name."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    tensors = {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            begin, end = about["data_offsets"]
            tensors[name] = numpy.frombuffer(body[begin:end], numpy.float32).reshape(about["shape"])
    return tensors


class Stage:
    """One stage of policy.yaml. Names are the policy's; `tensor` gives the network's."""

    def __init__(self, folder, about):
        self.name, self.onnx = about["name"], folder / about["onnx"]
        self.repeat = about.get("repeat") is not None
        self.inputs, self.outputs = dict(about.get("inputs") or {}), dict(about.get("outputs") or {})
        self.profile = {name: sizes[1] for name, sizes in (about.get("profile") or {}).items()}
        renamed = {name: tensor for tensor, name in (about.get("rename") or {}).items()}
        self.tensor = {name: renamed.get(name, name) for name in (*self.inputs, *self.outputs)}
        self.feeds = {name: about["feeds"] for name, about in self.outputs.items() if about and about.get("feeds")}


class Policy:
    """A bundle: stages in run order, constants, and inputs for them."""

    def __init__(self, folder, steps, seed):
        about = read_policy(folder / "policy.yaml")
        self.name, self.cameras = about["name"], about["cameras"]
        self.steps = steps or about["denoise"]["default"]
        if self.steps not in about["denoise"]["steps"]:
            raise SystemExit(f"--steps {self.steps}: the bundle has constants for {about['denoise']['steps']}")
        self.stages = [Stage(folder, stage) for stage in about["stages"]]
        self.constants, tables = {}, {}
        for stage in self.stages:
            for name, wanted in stage.inputs.items():
                if wanted and "constants" in wanted:
                    file = folder / wanted["constants"]
                    if file not in tables:
                        tables[file] = read_safetensors(file)
                    if f"{name}.{self.steps}" not in tables[file]:
                        raise SystemExit(
                            f"{name}: not a constant of the split layout; export the policy with --layout split"
                        )
                    self.constants[name] = tables[file][f"{name}.{self.steps}"]
        self.result = next(name for stage in reversed(self.stages) for name in stage.feeds)
        self.host = self.host_inputs(numpy.random.default_rng(seed))

    def host_inputs(self, random):
        """What no stage makes, by name, at the profiles' usual sizes."""
        made, host = set(), {}
        sizes = {name: size for stage in self.stages for name, size in stage.profile.items()}
        for stage in self.stages:
            for name, wanted in stage.inputs.items():
                if name not in made and name not in self.constants and name not in host:
                    shape = [sizes[dim] if isinstance(dim, str) else dim for dim in wanted["dims"]]
                    host[name] = self.values(name, shape, NUMPY[wanted["dtype"]], random, sizes)
            made |= set(stage.outputs)
        return host

    def values(self, name, shape, dtype, random, sizes):
        count = int(numpy.prod(shape))
        if numpy.issubdtype(dtype, numpy.integer):
            # Text rows first, then the rows of the images.
            start = {"positions": 0, "text_index": 0, "image_index": sizes.get("T", 0)}.get(name)
            if start is None:
                raise SystemExit(f"{name}: not an input of the split layout; export the policy with --layout split")
            return numpy.arange(start, start + count, dtype=dtype).reshape(shape)
        if name == "strength":
            return numpy.ones(shape, dtype)
        if name.startswith("pixels") or name == "state":
            return random.uniform(-1, 1, shape).astype(dtype)
        return (random.standard_normal(shape) * (0.02 if name == "text_rows" else 1)).astype(dtype)

    def run(self, call, host, constant):
        """Every stage: `call(stage, inputs by the policy's names)` gives its outputs by the same; `constant(name, step)`."""
        values = dict(host)
        first = next((at for at, stage in enumerate(self.stages) if stage.repeat), len(self.stages))
        last = max((at for at, stage in enumerate(self.stages) if stage.repeat), default=-1)
        for stage in self.stages[:first]:
            values |= call(stage, {name: values[name] for name in stage.inputs})
        for step in range(self.steps):
            for stage in self.stages[first : last + 1]:
                inputs = {n: constant(n, step) if n in self.constants else values[n] for n in stage.inputs}
                values |= call(stage, inputs)
                for name, target in stage.feeds.items():
                    values[target] = values[name]
        for stage in self.stages[last + 1 :] if last >= 0 else []:
            values |= call(stage, {name: values[name] for name in stage.inputs})
        return values


# --- PyTorch ---


class Torch:
    """The policy's stages as modules on a device."""

    def __init__(self, policy, device, dtype):
        self.policy, self.device = policy, torch.device(device)
        pinned = self.device.type == "cuda"
        self.host = {name: torch.from_numpy(array) for name, array in policy.host.items()}
        if pinned:
            self.host = {name: tensor.pin_memory() for name, tensor in self.host.items()}
        self.inputs = {name: tensor.to(self.device) for name, tensor in self.host.items()}
        # A copy: the arrays of a file are read-only.
        self.constants = {n: torch.from_numpy(table.copy()).to(self.device) for n, table in policy.constants.items()}
        self.modules, self.order = {}, {}

        def build(stage, inputs):
            if stage.name in self.modules:
                return self.call(self.modules, stage, inputs)
            examples = {stage.tensor[name]: tensor for name, tensor in inputs.items()}
            module, names, outputs, results = onnx_torch.module(stage.onnx, examples, dtype)
            policy_name = {tensor: name for name, tensor in stage.tensor.items()}
            self.modules[stage.name] = module
            self.order[stage.name] = [policy_name[name] for name in names], outputs
            return {policy_name[name]: value for name, value in results.items() if name in policy_name}

        self.values = policy.run(build, self.inputs, self.constant)

    def constant(self, name, step):
        return self.constants[name][step]

    def call(self, modules, stage, inputs):
        names, outputs = self.order[stage.name]
        policy_name = {tensor: name for name, tensor in stage.tensor.items()}
        made = modules[stage.name](*(inputs[name] for name in names))
        return {policy_name[name]: value for name, value in zip(outputs, made, strict=True) if name in policy_name}

    def chain(self, modules):
        """All stages on the device's inputs; the actions, there."""
        values = self.policy.run(lambda stage, inputs: self.call(modules, stage, inputs), self.inputs, self.constant)
        return values[self.policy.result]

    def upload(self):
        for name, tensor in self.host.items():
            self.inputs[name].copy_(tensor, non_blocking=True)

    def synchronise(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def mode(self, mode):
        """A function that gives the actions on the device."""
        modules, graph = dict(self.modules), mode.endswith("-graph")
        if mode.startswith("compile") or mode == "reduce-overhead":
            kind = "reduce-overhead" if mode == "reduce-overhead" else "default"
            modules = {
                n: torch.compile(module, mode=kind, dynamic=False, fullgraph=True) for n, module in modules.items()
            }
        if not graph:
            if mode == "reduce-overhead":

                def run():
                    torch.compiler.cudagraph_mark_step_begin()
                    return self.chain(modules)

                return run
            return lambda: self.chain(modules)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.chain(modules)
        torch.cuda.current_stream().wait_stream(side)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            actions = self.chain(modules)

        def replay():
            recorded.replay()
            return actions

        return replay

    def time(self, mode, samples):
        """Seconds until the first result, actions, and milliseconds of every sample."""
        begun = time.perf_counter()
        run = self.mode(mode)
        actions = run().cpu()
        self.synchronise()
        first_s = time.perf_counter() - begun
        times = []
        for sample in range(-WARM_UP, samples):
            self.synchronise()
            started = time.perf_counter()
            self.upload()
            actions = run().cpu()
            self.synchronise()
            if sample >= 0:
                times.append((time.perf_counter() - started) * 1e3)
        return first_s, actions, times


# --- agreement ---

def error(found, reference):
    found, reference = numpy.asarray(found, numpy.float64), numpy.asarray(reference, numpy.float64)
    return float(numpy.linalg.norm(found - reference) / max(numpy.linalg.norm(reference), 1e-30))


def on_onnx_runtime(policy):
    """Every tensor of the chain from ONNX Runtime on the CPU; None where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    sessions = {}

    def call(stage, inputs):
        if stage.name not in sessions:
            sessions[stage.name] = onnxruntime.InferenceSession(str(stage.onnx), providers=["CPUExecutionProvider"])
        session = sessions[stage.name]
        wanted = {about.name: ONNX_NUMPY[about.type[7:-1]] for about in session.get_inputs()}
        fed = {stage.tensor[name]: array.astype(wanted[stage.tensor[name]]) for name, array in inputs.items()}
        tensors = {stage.tensor[name]: name for name in stage.outputs}
        return {tensors[n]: array for n, array in zip(tensors, session.run(list(tensors), fed), strict=True)}

    return policy.run(call, policy.host, lambda name, step: policy.constants[name][step])


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


@torch.no_grad()
def main():
    args = arguments()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}[args.dtype]
    policy = Policy(args.bundle, args.steps, args.seed)
    peer = Torch(policy, args.device, dtype)
    name = torch.cuda.get_device_name() if peer.device.type == "cuda" else "CPU"
    sizes = {n: size for stage in policy.stages for n, size in stage.profile.items()}
    held = {str(t.dtype)[6:] for module in peer.modules.values() for t in module.buffers() if t.dtype.is_floating_point}
    print(
        f"{policy.name}: {len(policy.cameras)} cameras, {policy.steps} steps, {sizes}, {'/'.join(sorted(held))} on {name}, "
        f"torch {torch.__version__}"
    )
    figures = {
        "policy": policy.name, "cameras": len(policy.cameras), "steps": policy.steps, "sizes": sizes, "device": name,
        "torch": torch.__version__, "dtype": args.dtype or "as exported", "tf32": args.tf32, "samples": args.samples,
        "agreement": {}, "modes": {},
    }  # fmt: skip
    # The reference has the types of the files.
    types = set().union(*(onnx_torch.floating_types(stage.onnx) for stage in policy.stages), [dtype] if dtype else [])
    limit, failed = max(TOLERANCE[held] for held in types), []
    reference = None if args.no_check else on_onnx_runtime(policy)
    if reference is None:
        print("agreement with ONNX Runtime: not looked at")
    else:
        made = [name for stage in policy.stages for name in stage.outputs]
        figures["agreement"] = {n: error(peer.values[n].float().cpu(), reference[n]) for n in made}
        worst = max(figures["agreement"], key=figures["agreement"].get)
        print(f"agreement with ONNX Runtime: {policy.result} {figures['agreement'][policy.result]:.1e}, worst {worst} "
              f"{figures['agreement'][worst]:.1e} (limit {limit:.0e})")  # fmt: skip
        failed += [n for n, value in figures["agreement"].items() if not value <= limit]
    default = ["eager"] + (["eager-graph"] if peer.device.type == "cuda" else [])
    compiled = ["compile"] + (["compile-graph", "reduce-overhead"] if peer.device.type == "cuda" else [])
    modes = args.modes.split(",") if args.modes else default + (compiled if args.compile else [])
    if peer.device.type != "cuda" and any(mode.endswith("-graph") for mode in modes):
        raise SystemExit("CUDA graphs need a GPU: leave the modes with -graph out")
    eager = peer.chain(peer.modules).float().cpu()
    for mode in modes:
        try:
            # torch.compile and inference mode do not go together on every version.
            with torch.inference_mode(mode.startswith("eager")):
                first_s, actions, times = peer.time(mode, args.samples)
        except Exception as problem:
            # The other modes' figures are worth having.
            figures["modes"][mode] = {"error": f"{type(problem).__name__}: {problem}"[:2000]}
            print(f"{mode:16} failed: {problem}", flush=True)
            failed.append(mode)
            continue
        median, p99, off = statistics.median(times), percentile(times, 0.99), error(actions.float(), eager)
        figures["modes"][mode] = {"median_ms": median, "p99_ms": p99, "first_s": first_s, "error_to_eager": off}
        print(
            f"{mode:16} median {median:9.3f} ms, p99 {p99:9.3f} ms, first result after {first_s:6.1f} s, "
            f"off eager by {off:.1e}",
            flush=True,
        )
        failed += [mode] if not off <= limit else []
        if args.out:
            args.out.write_text(json.dumps(figures, indent=1) + "\n")
    if failed:
        raise SystemExit(f"failed, or beyond the limit of {limit:.0e}: {', '.join(failed)}")


if __name__ == "__main__":
    main()
