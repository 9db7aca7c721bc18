"""An ONNX network that `vla-trt export` wrote, as a PyTorch module with the same weights.

Covers the operators of the split layout (OPERATORS below, LayerNormalization, Gemm, ..), no others: one that is not
known is an error. What depends on shapes only is computed once, for the sizes of the example inputs. Where a person
writing the model in PyTorch would take one function, the nodes that stand for it become that function:
scaled_dot_product_attention, gelu, silu, rms_norm, layer_norm, linear.
"""

import math
import operator

import numpy
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

TYPES = {
    1: torch.float32,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
OPERATORS = {
    "Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Div": operator.truediv, "Pow": torch.pow,
    "Neg": operator.neg, "Sqrt": torch.sqrt, "Erf": torch.erf, "Tanh": torch.tanh, "Sigmoid": torch.sigmoid,
    "Relu": torch.relu, "Where": torch.where, "Greater": torch.gt, "Equal": torch.eq, "MatMul": torch.matmul,
}  # fmt: skip
SCOPE_OF_FP32 = "/fp32/"


def attributes(node):
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


class Graph:
    """Nodes by what they make, and patterns among them."""

    def __init__(self, model):
        self.nodes = list(model.node)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.weights = {tensor.name: tensor for tensor in model.initializer}

    def made_by(self, name, kind):
        node = self.maker.get(name)
        return node if node is not None and node.op_type == kind else None

    def number(self, name):
        """The value of a constant of one element."""
        tensor = self.weights.get(name)
        if tensor is None or math.prod(tensor.dims) != 1:
            return None
        return float(numpy_helper.to_array(tensor).reshape(-1)[0])

    def split(self, node):
        """(value, number) of a node whose one input is a constant of one element; either order."""
        if node is None or len(node.input) != 2:
            return None, None
        for value, other in (node.input, reversed(node.input)):
            if self.number(other) is not None:
                return value, self.number(other)
        return None, None

    def through(self, name, kind):
        """The input of the node of that kind that makes `name`, else `name` itself."""
        node = self.made_by(name, kind)
        return node.input[0] if node is not None else name

    def attention(self, node):
        """MatMul(Softmax(MatMul(q * scale, k^T) + mask), v): q, k, v, mask or None, scale."""
        softmax = self.made_by(node.input[0], "Softmax")
        if softmax is None or attributes(softmax).get("axis", -1) != -1:
            return None
        scores, mask = self.made_by(softmax.input[0], "MatMul"), None
        if scores is None and (added := self.made_by(softmax.input[0], "Add")) is not None:
            scores, mask = self.made_by(added.input[0], "MatMul"), added.input[1]
        if scores is None:
            return None
        q, scale = self.split(self.made_by(scores.input[0], "Mul"))
        k = self.made_by(scores.input[1], "Transpose")
        if q is None or k is None or list(attributes(k)["perm"]) != [0, 1, 3, 2]:
            return None
        return q, k.input[0], node.input[1], mask, scale

    def gelu_tanh(self, node):
        """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))): x."""
        half, tanh = (self.split(self.maker.get(name)) for name in node.input)
        if half[1] != 0.5 or tanh[1] != 1.0 or self.made_by(tanh[0], "Tanh") is None:
            return None
        x = half[0]
        inner, scale = self.split(self.made_by(self.maker[tanh[0]].input[0], "Mul"))
        inner = self.made_by(inner, "Add")
        close = scale is not None and abs(scale - math.sqrt(2 / math.pi)) < 1e-3
        return x if close and inner is not None and inner.input[0] == x else None

    def silu(self, node):
        """x * sigmoid(x): x."""
        for x, other in (node.input, reversed(node.input)):
            sigmoid = self.made_by(other, "Sigmoid")
            if sigmoid is not None and sigmoid.input[0] == x:
                return x
        return None

    def rms_norm(self, node):
        """x / sqrt(mean(x^2) + eps) * weight, in single precision but for the product: x, weight, eps."""
        div = self.made_by(self.through(node.input[0], "Cast"), "Div")
        root = self.made_by(div.input[1], "Sqrt") if div is not None else None
        mean, eps = self.split(self.made_by(root.input[0], "Add")) if root is not None else (None, None)
        mean = self.made_by(mean, "ReduceMean")
        square = self.made_by(mean.input[0], "Mul") if mean is not None else None
        weight = node.input[1]
        if square is None or list(square.input) != [div.input[0]] * 2 or weight not in self.weights:
            return None
        return self.through(div.input[0], "Cast"), weight, eps


class Builder:
    """Goes through the nodes once: a constant is computed, everything else becomes a node of a torch.fx graph."""

    def __init__(self, model, folder, examples, dtype):
        self.folder, self.dtype = folder, dtype
        self.graph = Graph(model.graph)
        self.module, self.fx = torch.nn.Module(), torch.fx.Graph()
        self.device = next(iter(examples.values())).device
        self.values, self.nodes = {}, {}  # by name: what it is with the examples, and the fx node (none: a constant)
        self.held = {}
        self.inputs = [value.name for value in model.graph.input if value.name not in self.graph.weights]
        for at, name in enumerate(self.inputs):
            self.values[name], self.nodes[name] = examples[name], self.fx.placeholder(f"input_{at}")
        for node in self.graph.nodes:
            try:
                self.node(node)
            except Exception as error:
                raise RuntimeError(f"{node.op_type} {node.name}: {error}") from error
        self.outputs = [value.name for value in model.graph.output]
        self.fx.output(tuple(self.argument(name) for name in self.outputs))
        self.fx.eliminate_dead_code()
        self.fx.lint()

    # --- values ---

    def value(self, name):
        if name not in self.values:
            tensor = self.graph.weights[name]
            array = torch.from_numpy(self.array(tensor)).to(TYPES[tensor.data_type])
            if self.dtype is not None and array.dtype.is_floating_point:
                array = array.to(self.dtype)
            self.values[name] = array.to(self.device)
        return self.values[name]

    def array(self, tensor):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            array = numpy_helper.to_array(tensor)
            return numpy.array(array, dtype=numpy.float32 if tensor.data_type == 16 else None)
        place = {entry.key: entry.value for entry in tensor.external_data}
        kind = {1: numpy.float32, 6: numpy.int32, 7: numpy.int64, 10: numpy.float16, 16: numpy.uint16}[tensor.data_type]
        count, offset = math.prod(tensor.dims), int(place.get("offset", 0))
        array = numpy.fromfile(self.folder / place["location"], kind, count, offset=offset).reshape(list(tensor.dims))
        if tensor.data_type == 16:
            array = (array.astype(numpy.uint32) << 16).view(numpy.float32)
        return array

    def is_constant(self, name):
        return name not in self.nodes

    def ints(self, name):
        return self.value(name).tolist()

    def argument(self, name):
        """The fx node of a value; a constant becomes a buffer."""
        if not self.is_constant(name):
            return self.nodes[name]
        if name not in self.held:
            held = f"held_{len(self.held)}"
            self.module.register_buffer(held, self.value(name))
            self.held[name] = self.fx.get_attr(held)
        return self.held[name]

    def call(self, name, function, *arguments, **keywords):
        """`name` = function(arguments, **keywords); a str among the arguments is the name of a value."""
        named = [x for x in arguments if isinstance(x, str)]
        with torch.no_grad():
            values = (self.value(x) if isinstance(x, str) else x for x in arguments)
            self.values[name] = function(*values, **keywords)
        if not all(map(self.is_constant, named)):
            arguments = tuple(self.argument(x) if isinstance(x, str) else x for x in arguments)
            self.nodes[name] = self.fx.call_function(function, arguments, keywords)

    def cast(self, name, dtype):
        """A floating value in that type."""
        if not self.value(name).dtype.is_floating_point or self.value(name).dtype == dtype:
            return name
        made = f"{name} as {dtype}"
        if made not in self.values:
            self.call(made, torch.Tensor.to, name, dtype)
        return made

    # --- nodes ---

    def node(self, node):
        inputs, (made, *more) = list(node.input), node.output
        wanted = attributes(node)
        if self.dtype is not None:
            # Another type than the exported one: in all of the network but what is to stay in single precision.
            own = torch.float32 if SCOPE_OF_FP32 in node.name else self.dtype
            inputs = [self.cast(name, own) if name else name for name in inputs]
        if self.fused(node, made):
            return
        match node.op_type:
            case kind if kind in OPERATORS:
                self.call(made, OPERATORS[kind], *inputs)
            case "Gemm":
                x, weight, *bias = inputs
                if not wanted.get("transB", 0):
                    # A weight as PyTorch keeps it.
                    transposed = f"{weight} transposed"
                    if transposed not in self.values:
                        self.values[transposed] = self.value(weight).t().contiguous()
                    weight = transposed
                self.call(made, F.linear, x, weight, *bias)
            case "LayerNormalization":
                x, weight, *bias = inputs
                shape = tuple(self.value(weight).shape)
                self.call(made, F.layer_norm, x, shape, weight, *(bias or [None]), wanted["epsilon"])
            case "Softmax":
                self.call(made, torch.softmax, inputs[0], wanted.get("axis", -1))
            case "Cast":
                to = TYPES[wanted["to"]]
                if to.is_floating_point and self.dtype is not None:
                    to = torch.float32 if SCOPE_OF_FP32 in node.name else self.dtype
                self.call(made, torch.Tensor.to, inputs[0], to)
            case "Reshape":
                shape = [self.value(inputs[0]).shape[at] if n == 0 else n for at, n in enumerate(self.ints(inputs[1]))]
                self.call(made, torch.reshape, inputs[0], tuple(shape))
            case "Transpose":
                self.call(made, torch.permute, inputs[0], tuple(wanted["perm"]))
            case "Expand":
                shape = torch.broadcast_shapes(self.value(inputs[0]).shape, tuple(self.ints(inputs[1])))
                self.call(made, torch.broadcast_to, inputs[0], tuple(shape))
            case "Concat":
                self.concat(made, inputs, wanted["axis"])
            case "Split":
                self.split(node, inputs, wanted.get("axis", 0))
            case "Slice":
                self.slice(made, inputs)
            case "Gather":
                axis = wanted.get("axis", 0)
                if self.value(inputs[1]).dim() == 1:
                    self.call(made, torch.index_select, inputs[0], axis, inputs[1])
                else:
                    self.call(made, torch.select, inputs[0], axis, int(self.value(inputs[1])))
            case "ReduceMean":
                axes = wanted.get("axes") or self.ints(inputs[1])
                self.call(made, torch.mean, inputs[0], tuple(axes), bool(wanted.get("keepdims", 1)))
            case "Shape":
                self.values[made] = torch.tensor(self.value(inputs[0]).shape, device=self.device)
            case "Range":
                start, end, step = (int(self.value(name)) for name in inputs)
                self.values[made] = torch.arange(
                    start, end, step, device=self.device, dtype=self.value(inputs[1]).dtype
                )
            case other:
                raise NotImplementedError(f"operator {other} is not among those that vla-trt's split layout has")

    def concat(self, made, inputs, axis):
        self.values[made] = torch.cat([self.value(name) for name in inputs], axis)
        if not all(map(self.is_constant, inputs)):
            self.nodes[made] = self.fx.call_function(torch.cat, (tuple(map(self.argument, inputs)), axis))

    def split(self, node, inputs, axis):
        start, sizes = 0, self.ints(inputs[1])
        for made, size in zip(node.output, sizes, strict=True):
            self.call(made, torch.narrow, inputs[0], axis, start, size)
            start += size

    def slice(self, made, inputs):
        x, starts, ends = inputs[0], self.ints(inputs[1]), self.ints(inputs[2])
        axes = self.ints(inputs[3]) if len(inputs) > 3 and inputs[3] else range(len(starts))
        if len(inputs) > 4 and any(step != 1 for step in self.ints(inputs[4])):
            raise NotImplementedError("a step other than 1")
        for at, (start, end, axis) in enumerate(zip(starts, ends, axes, strict=True)):
            start, end, _ = slice(start, end).indices(self.value(x).shape[axis])
            name = made if at == len(starts) - 1 else f"{made} {at}"
            self.call(name, torch.narrow, x, axis, start, end - start)
            x = name

    # --- several nodes as one function ---

    def fused(self, node, made):
        graph = self.graph
        if self.dtype is not None and SCOPE_OF_FP32 in node.name:
            return False
        if node.op_type == "MatMul" and (found := graph.attention(node)) is not None:
            q, k, v, mask, scale = found
            names = [self.cast(name, self.dtype or self.value(name).dtype) for name in (q, k, v)]
            causal = mask is not None and self.is_causal(mask)
            mask = None if mask is None or causal else self.cast(mask, self.value(names[0]).dtype)
            self.call(made, F.scaled_dot_product_attention, *names, mask, 0.0, causal, scale=scale)
        elif node.op_type != "Mul":
            return False
        elif (x := graph.gelu_tanh(node)) is not None:
            self.call(made, F.gelu, self.cast(x, self.dtype or self.value(x).dtype), approximate="tanh")
        elif (x := graph.silu(node)) is not None:
            self.call(made, F.silu, self.cast(x, self.dtype or self.value(x).dtype))
        elif (found := graph.rms_norm(node)) is not None:
            x, weight, eps = found
            x = self.cast(x, self.value(weight).dtype)
            self.call(made, F.rms_norm, x, tuple(self.value(weight).shape), weight, eps)
        else:
            return False
        return True

    def is_causal(self, mask):
        """Whether a constant mask lets each row see itself and those before."""
        if not self.is_constant(mask):
            return False
        mask = self.value(mask)
        hidden = torch.ones(mask.shape[-2:], dtype=torch.bool, device=mask.device).triu(1)
        return bool((mask[..., ~hidden] == 0).all() and (mask[..., hidden] < -1e4).all())


def floating_types(path):
    """Floating types of the weights of a network."""
    types = {TYPES[tensor.data_type] for tensor in onnx.load(path, load_external_data=False).graph.initializer}
    return {held for held in types if held.is_floating_point}


def module(path, examples, dtype=None):
    """The network at `path` for inputs like `examples` (name to tensor): module, names of its inputs and of its outputs,
    and its outputs on the examples. `dtype`: all floating values in this type; default: the types of the file."""
    model = onnx.load(path, load_external_data=False)
    builder = Builder(model, path.parent, examples, dtype)
    built = torch.fx.GraphModule(builder.module, builder.fx)
    results = {name: builder.values[name] for name in builder.outputs}
    return built.eval().requires_grad_(False), builder.inputs, builder.outputs, results
