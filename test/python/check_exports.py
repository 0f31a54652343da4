"""Loads adapters that tfjs-lora wrote with PEFT, and compares what PyTorch computes with what tfjs computed:

python test/python/check_exports.py FOLDER
"""

import json
import sys
import warnings
from pathlib import Path

import peft
import torch
from network import load_network
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open

TOLERANCE = 1e-5


def difference(actual, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    return (actual.detach().double().flatten() - expected).abs().max().item()


def check(folder):
    result = json.loads((folder / "tfjs.json").read_text())
    network, inputs, base = load_network(result["network"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing keys are told by a warning alone
        warnings.filterwarnings("ignore", "LoRA adapter added to ConvNd layer with groups > 1")
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")  # PEFT decides by the layer's class itself
        model = PeftModel.from_pretrained(network, folder).eval()
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        written = set(file.keys())
    loaded = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    unknown = written - loaded
    lacking = {key for key in loaded - written if ".lora_" in key}
    assert not unknown, f"{result['name']}: PEFT does not know {sorted(unknown)}"
    assert not lacking, f"{result['name']}: PEFT misses {sorted(lacking)}"

    outputs = difference(model(**inputs), result["y"])
    try:
        merged = model.merge_and_unload()
    except NotImplementedError:
        return result["name"], outputs, None  # grouped convolutions
    weights = merged.state_dict()
    outputs = max(outputs, difference(merged(**inputs), result["y_merged"]))
    changed = [name for name in result["merged"] if not torch.equal(weights[name], base[name])]
    assert changed, f"{result['name']}: the adapter changes nothing"
    return result["name"], outputs, max(difference(weights[name], value) for name, value in result["merged"].items())


def main():
    folders = sorted(path.parent for path in Path(sys.argv[1]).glob("*/tfjs.json"))
    rows = [check(folder) for folder in folders]
    print(f"PEFT {peft.__version__}, torch {torch.__version__.split('+')[0]}\n")
    print("| adapter | largest difference of outputs | of merged weights |")
    print("| --- | --- | --- |")
    for name, outputs, weights in rows:
        print(f"| {name} | {outputs:.1e} | {'PEFT does not merge it' if weights is None else f'{weights:.1e}'} |")
    wrong = [name for name, *values in rows if any(value is not None and not value <= TOLERANCE for value in values)]
    print(f"\n{len(rows) - len(wrong)} passed, {len(wrong)} failed")
    if not rows or wrong:
        sys.exit(f"More than {TOLERANCE}: {wrong}")


main()
