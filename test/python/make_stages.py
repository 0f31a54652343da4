"""Writes the features of every stage of image encoders, as transformers computes them for the images of the fixtures, for
`test/extensions/transformers/images.test.ts`:

python test/python/make_stages.py test/fixtures/transformers test/fixtures/stages.json
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers

# How many hidden states come before those of the first stage.
MODELS = {
    "resnet": 1,
    "convnext": 1,
    "segformer": 0,
    "swin": None,
    "swinV2Pooled": None,
    "dinov3ConvNext": 1,
    "efficientnet": None,
    "mobilevit": 0,
}


def last_blocks(name, model):
    """The modules whose outputs are those of stages, where the hidden states are others."""
    if name == "efficientnet":
        # The first block of a stage has no residual connection, and so no dropout for it.
        blocks = list(model.encoder.blocks)
        return [block for block, after in zip(blocks, [*blocks[1:], None]) if after is None or not after.projection.apply_dropout]
    return [layer.blocks[-1] for layer in model.encoder.layers]


def features(name, model, images, first):
    states = []
    if first is None:
        for block in last_blocks(name, model):
            block.register_forward_hook(lambda _, __, output: states.append(output[0] if isinstance(output, tuple) else output))
    with torch.inference_mode():
        output = model(images, output_hidden_states=True)
    for state in states if first is None else output.hidden_states[first:]:
        if state.ndim == 3:
            edge = round(state.shape[1] ** 0.5)  # The images are squares.
            yield state.reshape(state.shape[0], edge, edge, -1)
        else:
            yield state.permute(0, 2, 3, 1)


def main(folder, target):
    written = {}
    for name, first in MODELS.items():
        with tempfile.TemporaryDirectory() as alone:
            # The fixture's own folder has an adapter too, which from_pretrained would load.
            for file in ("config.json", "model.safetensors"):
                shutil.copy(Path(folder, name, file), alone)
            model = transformers.AutoModel.from_pretrained(alone).eval()
        pixels = json.loads(Path(folder, name, "expected.json").read_text())["pixels"]
        images = torch.tensor(pixels["values"]).reshape(pixels["shape"]).permute(0, 3, 1, 2)
        written[name] = [
            {"shape": list(state.shape), "values": [float(f"{value:.7g}") for value in state.flatten().tolist()]}
            for state in features(name, model, images, first)
        ]
    Path(target).write_text(json.dumps(written, separators=(",", ":")) + "\n")


main(*sys.argv[1:])
