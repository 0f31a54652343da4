"""Writes what the `quants.py` of the Python package gguf computes of blocks, for `test/extensions/quantized/formats.test.ts`:

python test/python/make_quantized.py test/fixtures/quantized/formats.json

The bytes are drawn from a seed, here and in TypeScript. A file holds the numbers of one block of each format, to look at, and a hash of the numbers
of many. Their scales are such as weights have (`sane`), or whatever the bytes say (`all`), infinities and NaN included; all NaN are hashed as one. Of formats of 16 bits
the bytes are all that there are.
"""

import hashlib
import json
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

BLOCKS = 300
# Where the scales stand, float16 each.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
FORMATS = ["F32", "F16", "BF16", *SCALES]


def numbers(seed, count):
    """Whole numbers of 32 bits by mulberry32, as `randomFrom` has them."""
    wide = np.uint64(0xFFFFFFFF)
    state = (np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5)) & wide
    mixed = ((state ^ (state >> np.uint64(15))) * (state | np.uint64(1))) & wide
    mixed ^= (mixed + (((mixed ^ (mixed >> np.uint64(7))) * (mixed | np.uint64(61))) & wide)) & wide
    return ((mixed ^ (mixed >> np.uint64(14))) & wide).astype(np.uint32)


def draw_bytes(seed, count):
    return (numbers(seed, count) >> 24).astype(np.uint8)


def digest(values):
    values = np.where(np.isnan(values), np.float32(np.nan), values).astype(np.float32)
    bits = values.view(np.uint32).copy()
    bits[np.isnan(values)] = 0x7FC00000
    return hashlib.sha256(bits.tobytes()).hexdigest()


def dequantized(name):
    kind = GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    blocks = draw_bytes(FORMATS.index(name) + 1, BLOCKS * size).reshape(BLOCKS, size)
    if size == 2:
        blocks = np.arange(2**16, dtype=np.uint16).view(np.uint8).reshape(-1, 2)
    every = digest(dequantize(blocks, kind).ravel())
    for at in SCALES.get(name, []):
        blocks[:, at + 1] = (blocks[:, at + 1] & 0x87) | 0x18  # ± 2^-9 to 2^-8
    numbers_of = dequantize(blocks, kind)
    first = [float(value) for value in numbers_of[0]] if name in SCALES else []
    return {"first": first, "sane": digest(numbers_of.ravel()), "all": every}


def quantized(name):
    """Numbers of many sizes, of which some are zero and some blocks are all zero, and some are exactly between two whole numbers."""
    drawn = numbers(77, BLOCKS * 32).astype(np.float64)
    sizes = 2.0 ** ((np.arange(BLOCKS) % 24) - 20)
    values = ((drawn / 2**31 - 1).reshape(BLOCKS, 32) * sizes[:, None]).astype(np.float32)
    values[drawn.reshape(BLOCKS, 32) % 11 == 0] = 0
    values[5] = 0
    values[6] = (np.arange(32) - 16) / 2
    values[7] = (np.arange(32) - 15.5) * 8
    blocks = quantize(values, GGMLQuantizationType[name])
    return {"first": blocks[0].tolist(), "halves": blocks[6].tolist(), "all": hashlib.sha256(blocks.tobytes()).hexdigest()}


def main(path):
    np.seterr(invalid="ignore")
    found = {
        "blocks": BLOCKS,
        "dequantized": {name: dequantized(name) for name in FORMATS},
        "quantized": {name: quantized(name) for name in ["Q8_0", "Q4_0"]},
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file)
        file.write("\n")


main(sys.argv[1])
