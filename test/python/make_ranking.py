"""Writes what sentence-transformers computes for pairs, for `test/extensions/transformers/ranking.test.ts`: the loss, the gradients of the factors of LoRA, and the losses of 20 steps.

    pip install sentence-transformers==6.2.0 peft==0.21.2
    python test/python/make_ranking.py > test/fixtures/ranking.json

The model is test/fixtures/sentences/mean.
"""

import json
import os
import sys

import peft
import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

FOLDER = os.path.join(os.path.dirname(__file__), "../fixtures/sentences/mean")
PAIRS = [
    ["the cat", "a cat sat", "a dog sat", "the dog ran home"],
    ["a dog ran", "the dog ran home fast", "the cat ran home fast", "a mat"],
    ["on the mat", "a mat", "home", "the dog ran"],
    ["fast home", "a dog ran home", "the cat sat on the mat", "a cat"],
    ["the dog sat", "a dog on a mat", "a cat on a mat", "fast"],
]
RANK = 2


def rounded(tensor):
    return [float(f"{value:.7g}") for value in tensor.flatten().tolist()]


def made():
    """The model with an update that is not zero."""
    torch.manual_seed(3)
    model = SentenceTransformer(FOLDER, device="cpu")
    encoder = model[0].model
    peft.inject_adapter_in_model(peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=["query", "value"]), encoder)
    factors = {name.replace(".default.weight", ""): p for name, p in encoder.named_parameters() if "lora_" in name}
    for p in factors.values():
        # Rounded, so that both sides have the same numbers.
        p.data = torch.tensor(rounded(0.5 * torch.randn(p.shape))).reshape(p.shape)
    return model.eval(), factors


def columns(model, count):
    return [model.preprocess([pair[i] for pair in PAIRS]) for i in range(count)]


def case(count, **options):
    """The loss of pairs, or of pairs with negatives, and its gradients."""
    model, factors = made()
    loss = MultipleNegativesRankingLoss(model, **options)(columns(model, count), None)
    loss.backward()
    return {"loss": loss.item(), "gradients": {name: rounded(p.grad) for name, p in factors.items()}}


def curve(steps=20):
    model, factors = made()
    optimizer = torch.optim.Adam(factors.values(), lr=0.02)
    compute = MultipleNegativesRankingLoss(model)
    losses = []
    for _ in range(steps):
        loss = compute(columns(model, 4), None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(f"{loss.item():.7g}"))
    return losses


result = {
    "versions": {module.__name__: module.__version__ for module in (torch, peft, sentence_transformers)},
    "pairs": PAIRS,
    "factors": {name: {"shape": list(p.shape), "values": rounded(p)} for name, p in made()[1].items()},
    "pairsAlone": case(2),
    "negatives": case(4),
    "scaled": case(4, scale=5.0),
    "curve": curve(),
}
json.dump(result, sys.stdout, separators=(",", ":"))
print()
