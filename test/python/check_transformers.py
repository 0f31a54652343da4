"""Loads adapters that tfjs-lora trained on models of the hub with PEFT, and compares what PyTorch computes with what tfjs computed:

python test/python/check_transformers.py FOLDER FIXTURES MINILM
"""

import json
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import new_impl
import torch
import transformers
from alone import each_alone
from peft import PeftModel
from results import result as result_of

TOLERANCE = 2e-5
# One with another, which files of this library have.
TIED = re.compile(r"(^|\.)shared\.weight$")
# By type of model: why transformers cannot run it with PEFT's layers in it. It is compared after they are merged.
MERGED = {"mobilenet_v2": "reads the strides of its convolutions, which PEFT's layers do not have"}


def equal(one, other):
    """Whether a written base gives what its files gave, to the bit."""
    return all(torch.equal(one[name], other[name]) for name in one if torch.is_tensor(one[name]))


def check(folder, source):
    config = json.loads((source / "config.json").read_text())
    with tempfile.TemporaryDirectory() as plain:  # transformers would load the adapter that lies beside a fixture
        for name in ("config.json", "model.safetensors"):
            shutil.copy(source / name, plain)
        architecture = config["architectures"][0]
        base = getattr(new_impl if config["model_type"] == "new" else transformers, architecture).from_pretrained(plain)
    result = json.loads((folder / "tfjs.json").read_text())
    if result["added"] > 0:
        base.resize_token_embeddings(base.config.vocab_size + result["added"], mean_resizing=False)
    written, report = type(base).from_pretrained(folder / "base", output_loading_info=True)
    type(base.config).from_dict(json.loads((folder / "base/whole.json").read_text()))  # refuses integers for floats
    faults = list(report["unexpected_keys"]) + [key for key in report["missing_keys"] if not TIED.search(key)]
    mask = torch.tensor(result["mask"])
    inputs = dict(input_ids=torch.tensor(result["ids"]), attention_mask=mask) if result["ids"] else {}
    if "pixels" in result:
        pixels = torch.tensor(result["pixels"]["values"]).reshape(result["pixels"]["shape"])
        inputs["pixel_values"] = pixels.permute(0, 3, 1, 2) if pixels.ndim == 4 else pixels
    if "grids" in result:
        inputs |= dict(pixel_attention_mask=torch.tensor(result["patchMask"]), spatial_shapes=torch.tensor(result["grids"]))
    if "sound" in result:
        heard = torch.tensor(result["sound"]["values"]).reshape(result["sound"]["shape"])
        inputs = dict(input_features=heard.permute(0, 2, 1)) if config["model_type"] == "whisper" else dict(input_values=heard)
        inputs |= dict(decoder_input_ids=torch.tensor(result["ids"])) if result["ids"] else {}
        inputs |= dict(attention_mask=mask) if result["mask"] else {}
    with torch.no_grad():  # PEFT changes the base that it is given
        same = result["added"] > 0 or equal(base.eval()(**inputs), written.eval()(**inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # missing keys are told by a warning alone
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`")
        warnings.filterwarnings("ignore", category=FutureWarning)
        model = PeftModel.from_pretrained(base, folder).eval()
    if config["model_type"] in MERGED:
        model = model.merge_and_unload()
    with torch.no_grad():
        values = each_alone(lambda given: result_of(model(**given)), model, inputs)
    expected = torch.tensor(result["output"]).reshape(values.shape)
    if "frames" in result:  # here CTC gives a blank after the end of a sound
        frames = torch.tensor(result["frames"]) == 1
        values, expected = values[frames], expected[frames]
    differences = (values - expected).abs()
    if values.ndim == 3 and len(mask) > 0 and "sound" not in result:
        differences = differences * mask[:, :, None]
    scale = max(1.0, expected.abs().max().item())
    if not same:
        faults.append("other outputs")
    if config["model_type"] in MERGED:
        print(f"{folder.name} is compared merged: transformers {MERGED[config['model_type']]}")
    return folder.name, differences.max().item() / scale, result["moved"], faults


def main():
    folder, fixtures, minilm = map(Path, sys.argv[1:])
    rows, raised = [], {}
    for path in sorted(folder.iterdir()):
        try:
            rows.append(check(path, minilm if path.name == "minilm" else fixtures / path.name))
        except Exception as error:  # one model must not hide what is wrong with the others
            raised[path.name] = f"{type(error).__name__}: {error}"
    print(f"transformers {transformers.__version__}\n")
    print("| trained by tfjs | largest difference in PEFT, of the largest number | moved by training |")
    print("| --- | --- | --- |")
    for name, difference, moved, _ in rows:
        print(f"| {name} | {difference:.1e} | {moved:.1e} |")
    wrong = [name for name, difference, moved, _ in rows if not (difference <= TOLERANCE and moved > 1e-3)]
    unlike = {name: faults for name, _, _, faults in rows if faults}
    print(f"\n{len(rows) - len(wrong)} passed, {len(wrong) + len(raised)} failed")
    print(f"{len(rows) - len(unlike)} bases are in transformers what they were, to the bit, after exportTransformer")
    if not rows or wrong or unlike or raised:
        sys.exit(f"More than {TOLERANCE}: {wrong}. Written otherwise: {unlike}. Not run: {raised}")


main()
