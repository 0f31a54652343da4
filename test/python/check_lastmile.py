"""Compares adapted files in ONNX Runtime with PEFT, for `npm run check -- lastmile`.

    python test/python/check_lastmile.py FOLDER

`cases.json` lists the files: {name, model, adapter, file, adapted, factors}. PEFT computes with the weights of the file,
dequantized where they are in 4 bits. Where a file computes in float32, logits agree to 1e-5 of the largest. Where it
rounds, to float16 or int8, the adapted file is at most 1.5 times as far from PEFT, by the root of the mean square, as the
file before is from its weights. With zeros for factors a float32 file gives the bits that it gave before.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from make_lastmile import IDS
from onnx import numpy_helper
from peft import PeftModel
from transformers import AutoModelForCausalLM
from transformers.utils import logging


def dequantized(file):
    """Module → weight, of the products of a file that are in 4 bits."""
    tensors = {tensor.name: tensor for tensor in file.graph.initializer}
    weights = {}
    for node in file.graph.node:
        if node.op_type == "MatMulNBits":
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            packed, scales = (numpy_helper.to_array(tensors[name]) for name in node.input[1:3])
            rows, blocks = sizes["N"], packed.shape[1]
            values = np.stack([packed & 15, packed >> 4], -1).reshape(rows, blocks, -1).astype(np.float32)
            zeros = np.float32(8)
            if len(node.input) > 3 and node.input[3]:
                points = numpy_helper.to_array(tensors[node.input[3]]).reshape(rows, -1)
                zeros = np.stack([points & 15, points >> 4], -1).reshape(rows, -1)[:, :blocks, None].astype(np.float32)
            matrix = (values - zeros) * scales.astype(np.float32).reshape(rows, -1, 1)
            module = re.sub(r"/MatMul.*", "", node.name)[1:].replace("/", ".").replace(".attn.", ".self_attn.")
            weights[module] = torch.tensor(matrix.reshape(rows, -1)[:, : sizes["K"]])
    return weights


def reference(folder, model, file):
    """The model in PyTorch, with the weights of the file."""
    network = AutoModelForCausalLM.from_pretrained(folder / model, dtype=torch.float32).eval()
    modules = dict(network.named_modules())
    config = network.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = [config.num_attention_heads * size] + 2 * [config.num_key_value_heads * size]
    with torch.no_grad():
        for module, weight in dequantized(file).items():
            if module in modules:
                if module == "lm_head":
                    network.lm_head.weight = torch.nn.Parameter(weight)
                modules[module].weight.copy_(weight)
            else:
                for name, rows in zip("qkv", weight.split(heads)):
                    modules[module.replace("qkv_proj", f"{name}_proj")].weight.copy_(rows)
    return network


def run(path, factors, network):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    config = network.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    feeds = {}
    for value in session.get_inputs():
        floats = np.float16 if "float16" in value.type else np.float32
        if value.name == "input_ids":
            feeds[value.name] = np.array([IDS], np.int64)
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones((1, len(IDS)), np.int64)
        elif value.name == "position_ids":
            feeds[value.name] = np.arange(len(IDS), dtype=np.int64)[None]
        elif value.name.startswith("past"):
            feeds[value.name] = np.zeros([1, config.num_key_value_heads, 0, size], floats)
        elif factors is None:
            feeds[value.name] = np.zeros([each if isinstance(each, int) else 1 for each in value.shape], floats)
        else:
            stored = factors[value.name]
            feeds[value.name] = np.frombuffer(bytes.fromhex(stored["data"]), stored["type"]).reshape(stored["dims"])
    return session.run(["logits"], feeds)[0]


def distance(actual, expected, size=lambda values: np.abs(values).max()):
    return float(size(actual.astype(np.float32) - expected) / size(expected))


def root_mean_square(values):
    return np.sqrt(np.mean(np.square(values)))


def logits(network):
    with torch.no_grad():
        return network(torch.tensor([IDS])).logits.numpy()


def main(folder):
    logging.disable_progress_bar()
    passed = failed = 0
    for case in json.loads((folder / "cases.json").read_text()):
        file = onnx.load(case["file"])
        network = reference(folder, case["model"], file)
        base = logits(network)
        before, off = run(case["file"], {}, network), run(case["adapted"], None, network)
        on = run(case["adapted"], json.loads(Path(case["factors"]).read_text()), network)
        expected = logits(PeftModel.from_pretrained(network, folder / case["adapter"]).eval())
        rounds = before.dtype != np.float32 or any(
            node.op_type == "MatMulInteger" or any(item.name == "accuracy_level" and item.i > 1 for item in node.attribute)
            for node in file.graph.node
        )
        size = {"size": root_mean_square} if rounds else {}
        own, adapted = distance(before, base, **size), distance(on, expected, **size)
        bits = before.dtype != np.float32 or np.array_equal(before, off)
        good = bits and (adapted <= 1.5 * own if rounds else max(adapted, own) <= 1e-5)
        moved = distance(expected, base)
        print(
            f"{'ok    ' if good else 'FAILED'} {case['name']:28} file {own:.1e}, adapted {adapted:.1e} from PEFT "
            f"(which the adapter moves by {moved:.1e}){'' if bits else ', other bits when off'}"
        )
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    return failed == 0


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) else 1)
