"""The two prototypes behind ctypes: weights as each wants them, runs, buffers."""

import ctypes as C
import pathlib

import model as M
import torch

HERE = pathlib.Path(__file__).parent
BLOCK_FIELDS = ["qkv", "qkv_bias", "out", "out_bias", "up", "up_bias", "down", "down_bias", "keys", "values"]
STEP_FIELDS = [
    "encode", "encode_out", "encode_bias", "project", "project_bias", "decode", "decode_bias", "decode_out", "decode_out_bias",
    "state", "modulation",
]  # fmt: skip


def load(name):
    library = C.CDLL(str(HERE / "build" / f"lib{name}.so"))
    for function in ("library_create", "library_actions", "tape_create", "tape_buffer"):
        if hasattr(library, function):
            getattr(library, function).restype = C.c_void_p
    for function in ("library_report", "tape_report"):
        if hasattr(library, function):
            getattr(library, function).restype = C.c_char_p
    return library


def view(pointer, count, dtype):
    """A copy of device memory of an engine, as a tensor."""

    class Memory:
        __cuda_array_interface__ = {
            "shape": (count,), "typestr": {torch.float32: "<f4", torch.float16: "<f2"}[dtype],
            "data": (pointer, False), "version": 3,
        }  # fmt: skip

    return torch.as_tensor(Memory(), device="cuda").clone()


class Library:
    """Design A."""

    def __init__(self, w, how):
        self.lib, self.w = load("library"), w
        pointers = [w[name].data_ptr() for name in STEP_FIELDS]
        for i in range(M.BLOCKS):
            pointers += [w[f"{i}.{name}"].data_ptr() if f"{i}.{name}" in w else 0 for name in BLOCK_FIELDS]
            pointers.append(M.key_rows(i))
        self.weights = (C.c_int64 * len(pointers))(*pointers)
        self.stream = torch.cuda.Stream()
        self.engine = self.lib.library_create(
            C.byref(self.weights), M.STEPS, C.c_void_p(w["start"].data_ptr()), C.c_void_p(w["dt"].data_ptr()),
            C.c_void_p(w["strength"].data_ptr()), how, C.c_void_p(self.stream.cuda_stream),
        )  # fmt: skip
        if not self.engine:
            raise SystemExit("library_create failed")
        self.engine = C.c_void_p(self.engine)

    def run(self):
        if self.lib.library_run(self.engine):
            raise SystemExit("library_run failed")

    def actions(self):
        torch.cuda.synchronize()
        return view(self.lib.library_actions(self.engine), M.HORIZON * M.DIMS, torch.float32).view(M.HORIZON, M.DIMS)

    def report(self):
        return self.lib.library_report(self.engine).decode()


KINDS = ["encode", "tokens", "query", "self", "out", "up", "down", "project", "decode", "actions"]
GROUPS, RANKS, STAGE_BYTES = 32, 4, 12288


class Phase(C.Structure):
    _fields_ = [
        ("keys", C.c_void_p), ("values", C.c_void_p), ("key_rows", C.c_int), ("kind", C.c_int), ("stages", C.c_int),
        ("stage_bytes", C.c_int), ("bias", C.c_int), ("outputs", C.c_int), ("modulation", C.c_int), ("eps", C.c_float),
    ]  # fmt: skip


class TapeStruct(C.Structure):
    _fields_ = [
        ("weights", C.c_void_p), ("bytes", C.c_int64), ("phases", C.c_void_p), ("phase_count", C.c_int), ("steps", C.c_int),
        ("limit", C.c_int), ("bias", C.c_void_p), ("modulation", C.c_void_p), ("encode_bias", C.c_void_p), ("state", C.c_void_p),
        ("start", C.c_void_p), ("dt", C.c_void_p), ("strength", C.c_void_p), ("actions", C.c_void_p), ("x", C.c_void_p),
        ("mixed", C.c_void_p), ("inner", C.c_void_p), ("encoded", C.c_void_p), ("stats", C.c_void_p), ("count", C.c_void_p),
        ("trace", C.c_void_p), ("parts", C.c_void_p), ("group_rows", C.c_void_p), ("slots", C.c_int),
    ]  # fmt: skip


def pack(matrix, tiles, per_stage):
    """[32, outputs, from] to [32 x 4 blocks, halves] in the order of mma's first operand: [stage][k][16 outputs][lane][8].

    Outputs are padded to `tiles` x 16, a block's quarter of the channels to whole stages of `per_stage` x 16.
    """
    groups, outputs, of = matrix.shape
    ks = of // RANKS // 16
    stages = -(-ks // per_stage)
    padded = matrix.new_zeros(groups, tiles * 16, RANKS, stages * per_stage * 16)
    padded[:, :outputs, :, : ks * 16] = matrix.view(groups, outputs, RANKS, ks * 16)
    t = padded.view(groups, tiles, 2, 8, RANKS, stages, per_stage, 2, 4, 2)
    #               0         1      h  g  4      5       6          k  q  e
    t = t.permute(0, 4, 5, 6, 1, 3, 8, 7, 2, 9)
    return t.reshape(groups * RANKS, -1), stages


class Tape:
    """Design B."""

    def __init__(self, w, slots=0):
        self.lib, self.w = load("tape"), w
        phases, chunks, biases, names = [], [], [torch.zeros(GROUPS * 48, device="cuda")], []

        def phase(kind, matrix, bias=None, tiles=3, per_stage=8, modulation=-1, eps=1e-5, block=None, name=None):
            packed, stages = pack(matrix, tiles, per_stage)
            chunks.append(packed)
            at = sum(b.numel() for b in biases) if bias is not None else 0
            if bias is not None:
                biases.append(bias.float().reshape(-1))
            rows = M.key_rows(block) if kind == "query" else 0
            keys, values = (w[f"{block}.{name}"].data_ptr() if rows else 0 for name in ("keys", "values"))
            phases.append(Phase(keys, values, rows, KINDS.index(kind), stages, packed.shape[1] * 2 // stages, at,
                                matrix.shape[1], modulation, eps))  # fmt: skip
            names.append(name or (kind if block is None else f"{block}.{kind}"))

        def split(matrix):
            return matrix.view(GROUPS, -1, matrix.shape[1])

        phase("encode", split(w["encode"]))
        phase("tokens", split(w["encode_out"]))
        for i in range(M.BLOCKS):
            qkv, bias = w[f"{i}.qkv"], w[f"{i}.qkv_bias"]
            if M.key_rows(i):
                phase("query", split(qkv), bias, modulation=2 * i, block=i, name=f"{i}.attention")
            else:
                heads = qkv.view(3, GROUPS, 48, M.WIDTH).permute(1, 0, 2, 3).reshape(GROUPS, 144, M.WIDTH)
                bias = bias.view(3, GROUPS, 48).permute(1, 0, 2).reshape(GROUPS, 144)
                phase("self", heads, bias, 9, 2, modulation=2 * i, block=i, name=f"{i}.attention")
            phase("out", split(w[f"{i}.out"]), w[f"{i}.out_bias"], block=i)
            phase("up", split(w[f"{i}.up"]), w[f"{i}.up_bias"], 12, 2, block=i)
            phase("down", split(w[f"{i}.down"]), w[f"{i}.down_bias"], block=i)
        phase("project", split(w["project"]), w["project_bias"], modulation=2 * M.BLOCKS, eps=1e-6)
        phase("decode", split(w["decode"]), w["decode_bias"])
        phase("actions", split(w["decode_out"]), w["decode_out_bias"])

        self.names, self.phases = names, phases
        self.tape = torch.cat(chunks, 1).contiguous()
        self.bias = torch.cat(biases)
        raw = (Phase * len(phases))(*phases)
        self.table = torch.frombuffer(bytearray(bytes(raw)), dtype=torch.uint8).cuda()
        sizes = [self.lib.tape_sizes(i) for i in range(3)]
        if sizes[:2] != [C.sizeof(TapeStruct), C.sizeof(Phase)]:
            raise SystemExit(f"structures differ: {sizes}, {C.sizeof(TapeStruct)}, {C.sizeof(Phase)}")
        self.stream = torch.cuda.Stream()
        t = TapeStruct()
        t.weights, t.bytes, t.phases = self.tape.data_ptr(), self.tape.shape[1] * 2, self.table.data_ptr()
        t.phase_count, t.steps, t.limit, t.slots = len(phases), M.STEPS, 1 << 30, slots
        t.bias = self.bias.data_ptr()
        for name in ("modulation", "encode_bias", "state", "start", "dt", "strength"):
            setattr(t, name, w[name].data_ptr())
        torch.cuda.synchronize()
        self.engine = self.lib.tape_create(C.byref(t), C.c_void_p(self.stream.cuda_stream))
        if not self.engine:
            raise SystemExit("tape_create failed")
        self.engine = C.c_void_p(self.engine)

    def capture(self):
        if self.lib.tape_capture(self.engine):
            raise SystemExit("tape_capture failed")

    def run(self):
        if self.lib.tape_run(self.engine):
            raise SystemExit("tape_run failed")

    def once(self, limit, trace=None):
        if self.lib.tape_once(self.engine, limit, C.c_void_p(trace.data_ptr() if trace is not None else 0)):
            raise SystemExit("tape_once failed")
        torch.cuda.synchronize()

    def rows(self, which, tiles):
        """Rows in operand order as [64, channels]."""
        raw = view(self.lib.tape_buffer(self.engine, which), tiles * 1024, torch.float16)
        #          k      p  g  q  r  k  e
        t = raw.view(tiles, 4, 8, 4, 2, 2, 2)
        return t.permute(1, 4, 2, 0, 5, 3, 6).reshape(64, tiles * 16)

    def actions(self):
        torch.cuda.synchronize()
        return view(self.lib.tape_buffer(self.engine, 0), M.HORIZON * M.DIMS, torch.float32).view(M.HORIZON, M.DIMS)

    def place(self, name):
        """What phase `name` has written, in the reference's rows."""
        kind = name.split(".")[-1]
        if kind == "actions":
            return self.actions()
        which, tiles = {
            "encode": (2, 96), "tokens": (1, 96), "attention": (2, 96), "out": (1, 96), "up": (3, 384), "down": (1, 96),
            "project": (2, 64), "decode": (3, 64),
        }[kind]  # fmt: skip
        rows = self.rows(which, tiles)
        return rows[1 : M.ROWS] if kind == "encode" else rows[: M.ROWS]

    def report(self):
        return self.lib.tape_report(self.engine).decode()
