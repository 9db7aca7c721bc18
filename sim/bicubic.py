"""torchvision's bicubic of u8 pictures with antialias, in numpy, to the last bit.

Along the rows first, then along the columns, u8 between; an axis that keeps its size is left alone. Weights are those of
a = -0.5, rounded to integers of 16 bits: src/policy does the same in Rust.
"""

import math

import numpy as np


def _cubic(x):
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a if x < 2.0 else 0.0


def weights(given, wanted):
    """Integer weights `[wanted, given]` of one axis, and how many bits they are shifted by."""
    scale = given / wanted
    support, inverse = (2.0 * scale, 1.0 / scale) if scale >= 1.0 else (2.0, 1.0)
    most = math.ceil(support) * 2 + 1
    real = np.zeros((wanted, given))
    for index in range(wanted):
        centre = scale * (index + 0.5)
        low = max(int(centre - support + 0.5), 0)
        count = min(max(min(int(centre + support + 0.5), given) - low, 0), most)
        taps = [_cubic((tap + low - centre + 0.5) * inverse) for tap in range(count)]
        real[index, low:low + count] = np.array(taps) / sum(taps)
    bits = 0
    while bits < 22 and int(0.5 + real.max() * 2.0 ** (bits + 1)) < 1 << 15:
        bits += 1
    return np.trunc(real * 2.0**bits + np.copysign(0.5, real)).astype(np.int32), bits


def _axis(images, wanted, axis):
    given = images.shape[axis]
    if given == wanted:
        return images
    matrix, bits = weights(given, wanted)
    # Products of 16-bit weights and bytes, and their sums, are exact in float64, which has fast products.
    mixed = np.moveaxis(np.tensordot(images.astype(np.float64), matrix.astype(np.float64), (axis, 1)), -1, axis)
    return np.clip((mixed.astype(np.int64) + (1 << (bits - 1))) >> bits, 0, 255).astype(np.uint8)


def resize(images, size):
    """Pictures u8 [N, H, W, C] at the size (width, height)."""
    return _axis(_axis(images, size[0], 2), size[1], 1)
