"""GR00T N1.6's step at its real widths with seeded weights: the weights, the program in any precision, and its parts."""

import torch
import torch.nn.functional as F

WIDTH, HEADS, HEAD_DIM, INNER, BLOCKS, ROWS, HORIZON, DIMS, OUTPUT, STEPS = 1536, 32, 48, 6144, 32, 51, 50, 128, 1024, 4
TEXT_ROWS, IMAGE_ROWS = 53, 324
MODULATION_ROWS = 2 * BLOCKS + 3


def key_rows(block):
    """Rows of keys of a cross-attention block; 0: self-attention."""
    return {0: TEXT_ROWS, 2: IMAGE_ROWS}.get(block % 4, 0)


def make_weights(seed=1, device="cuda", dtype=torch.float16):
    """Weights [to, from] as nn.Linear keeps them, by name; matrices of unit gain, so that values have usual sizes."""
    random = torch.Generator(device=device).manual_seed(seed)

    def normal(*shape, scale=1.0, dtype=dtype):
        return (torch.randn(*shape, generator=random, device=device) * scale).to(dtype)

    def matrix(to, of):
        return normal(to, of, scale=of**-0.5)

    w = {
        "encode": matrix(WIDTH, DIMS), "encode_out": matrix(WIDTH, WIDTH), "encode_bias": normal(HORIZON, WIDTH, scale=0.3),
        "project": matrix(OUTPUT, WIDTH), "project_bias": normal(OUTPUT, scale=0.1),
        "decode": matrix(OUTPUT, OUTPUT), "decode_bias": normal(OUTPUT, scale=0.1),
        "decode_out": matrix(DIMS, OUTPUT), "decode_out_bias": normal(DIMS, scale=0.1),
        "state": normal(WIDTH),
        "start": normal(HORIZON, DIMS, dtype=torch.float32),
        "dt": torch.full((1,), 1 / STEPS, device=device), "strength": torch.linspace(0.5, 1, HORIZON, device=device),
    }  # fmt: skip
    # Rows: gain (about 1) and shift by turns, last the action encoder's.
    modulation = normal(STEPS, MODULATION_ROWS, WIDTH, scale=0.3, dtype=torch.float32)
    modulation[:, 0:-1:2] += 1
    w["modulation"] = modulation
    for i in range(BLOCKS):
        rows = key_rows(i)
        to = WIDTH if rows else 3 * WIDTH
        w[f"{i}.qkv"], w[f"{i}.qkv_bias"] = matrix(to, WIDTH) * 2, normal(to, scale=0.1)
        w[f"{i}.out"], w[f"{i}.out_bias"] = matrix(WIDTH, WIDTH), normal(WIDTH, scale=0.1)
        w[f"{i}.up"], w[f"{i}.up_bias"] = matrix(INNER, WIDTH), normal(INNER, scale=0.1)
        w[f"{i}.down"], w[f"{i}.down_bias"] = matrix(WIDTH, INNER), normal(WIDTH, scale=0.1)
        if rows:
            w[f"{i}.keys"], w[f"{i}.values"] = normal(HEADS, rows, HEAD_DIM, scale=1.5), normal(HEADS, rows, HEAD_DIM)
    return w


def one_step(w, actions, modulation, seen=None):
    """Actions [50, 128] after one step, with weights of any type; `seen` gets every product's result by place."""
    kind = w["encode"].dtype

    def see(name, value):
        if seen is not None:
            seen.append((name, value.clone()))

    h = F.silu(F.linear(actions.to(kind), w["encode"]) + modulation[-1].to(kind))
    see("encode", h)
    tokens = F.linear(h, w["encode_out"]) + w["encode_bias"]
    x = torch.cat([w["state"][None], tokens])
    see("tokens", x)

    def heads(y):
        return y.view(-1, HEADS, HEAD_DIM).transpose(0, 1)

    for i in range(BLOCKS):
        gain, shift = modulation[2 * i].to(kind), modulation[2 * i + 1].to(kind)
        n = F.layer_norm(x, (WIDTH,), eps=1e-5) * gain + shift
        if key_rows(i):
            q, k, v = heads(F.linear(n, w[f"{i}.qkv"], w[f"{i}.qkv_bias"])), w[f"{i}.keys"], w[f"{i}.values"]
        else:
            matrices, biases = w[f"{i}.qkv"].split(WIDTH), w[f"{i}.qkv_bias"].split(WIDTH)
            q, k, v = [heads(F.linear(n, matrices[part], biases[part])) for part in range(3)]
        mixed = F.scaled_dot_product_attention(q[None], k[None], v[None])[0].transpose(0, 1).reshape(-1, WIDTH)
        see(f"{i}.attention", mixed)
        x = x + F.linear(mixed, w[f"{i}.out"], w[f"{i}.out_bias"])
        see(f"{i}.out", x)
        n = F.layer_norm(x, (WIDTH,), eps=1e-5)
        inner = F.gelu(F.linear(n, w[f"{i}.up"], w[f"{i}.up_bias"]), approximate="tanh")
        see(f"{i}.up", inner)
        x = x + F.linear(inner, w[f"{i}.down"], w[f"{i}.down_bias"])
        see(f"{i}.down", x)
    gain, shift = modulation[2 * BLOCKS].to(kind), modulation[2 * BLOCKS + 1].to(kind)
    y = F.linear(F.layer_norm(x, (WIDTH,), eps=1e-6) * gain + shift, w["project"], w["project_bias"])
    see("project", y)
    y = F.relu(F.linear(y, w["decode"], w["decode_bias"]))
    see("decode", y)
    velocity = F.linear(y, w["decode_out"], w["decode_out_bias"])[1:]
    exact = torch.float64 if kind == torch.float64 else torch.float32
    actions = actions.to(exact) + w["dt"].to(exact) * w["strength"].to(exact)[:, None] * velocity.to(exact)
    see("actions", actions)
    return actions


def all_steps(w, step=one_step):
    actions = w["start"]
    for i in range(STEPS):
        actions = step(w, actions, w["modulation"][i])
    return actions


def reference(w):
    """Actions after all steps in double precision from the same weights, and every place of the first step."""
    exact = {name: value.double() for name, value in w.items()}
    seen = []
    first = one_step(exact, exact["start"], exact["modulation"][0], seen)
    actions = first
    for i in range(1, STEPS):
        actions = one_step(exact, actions, exact["modulation"][i])
    return actions, seen


def relative(found, wanted):
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def pass_bytes():
    """Bytes of weights, keys and values that one step reads."""
    values = WIDTH * DIMS + WIDTH * WIDTH + OUTPUT * WIDTH + OUTPUT * OUTPUT + OUTPUT * DIMS
    for i in range(BLOCKS):
        values += (1 if key_rows(i) else 3) * WIDTH * WIDTH + WIDTH * WIDTH + 2 * WIDTH * INNER + 2 * key_rows(i) * WIDTH
    return 2 * values
