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

import torch
import transformers
from peft import PeftModel

TOLERANCE = 2e-5
# One with another, which files of this library have.
TIED = re.compile(r"(^|\.)shared\.weight$")


def equal(one, other):
    """Whether a written base gives what its files gave, to the bit."""
    return all(torch.equal(one[name], other[name]) for name in one if torch.is_tensor(one[name]))


def check(folder, source):
    config = json.loads((source / "config.json").read_text())
    with tempfile.TemporaryDirectory() as plain:  # transformers would load the adapter that lies beside a fixture
        for name in ("config.json", "model.safetensors"):
            shutil.copy(source / name, plain)
        base = getattr(transformers, config["architectures"][0]).from_pretrained(plain)
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
    with torch.no_grad():
        output = model(**inputs)
    if hasattr(output, "start_logits"):
        values = torch.stack([output.start_logits, output.end_logits], -1)
    else:
        names = ["logits", "logits_per_image", "image_embeds", "text_embeds", "last_hidden_state"]
        values = getattr(output, next(name for name in names if hasattr(output, name)))
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
    return folder.name, differences.max().item() / scale, result["moved"], faults


def main():
    folder, fixtures, minilm = map(Path, sys.argv[1:])
    rows = [check(path, minilm if path.name == "minilm" else fixtures / path.name) for path in sorted(folder.iterdir())]
    print(f"transformers {transformers.__version__}\n")
    print("| trained by tfjs | largest difference in PEFT, of the largest number | moved by training |")
    print("| --- | --- | --- |")
    for name, difference, moved, _ in rows:
        print(f"| {name} | {difference:.1e} | {moved:.2f} |")
    wrong = [name for name, difference, moved, _ in rows if not (difference <= TOLERANCE and moved > 1e-3)]
    unlike = {name: faults for name, _, _, faults in rows if faults}
    print(f"\n{len(rows) - len(wrong)} passed, {len(wrong)} failed")
    print(f"{len(rows) - len(unlike)} bases are in transformers what they were, to the bit, after exportTransformer")
    if not rows or wrong or unlike:
        sys.exit(f"More than {TOLERANCE}: {wrong}. Written otherwise: {unlike}")


main()
