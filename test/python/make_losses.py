"""Writes what PyTorch, transformers and sentence-transformers compute as losses, with the gradients, for `test/extensions/transformers/losses.test.ts`:

python test/python/make_losses.py > test/fixtures/losses.json
"""

import json
import sys

import sentence_transformers
import torch
import transformers
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from transformers.loss.loss_utils import ForQuestionAnsweringLoss

torch.manual_seed(7)


def rounded(tensor):
    return [round(value, 7) for value in tensor.detach().flatten().tolist()]


def case(loss, **inputs):
    """A loss of tensors, and its gradient in each that has one."""
    loss.backward()
    return {
        "loss": loss.item(),
        "inputs": {name: {"shape": list(x.shape), "values": rounded(x)} for name, x in inputs.items()},
        "gradients": {name: rounded(x.grad) for name, x in inputs.items() if x.grad is not None},
    }


def drawn(*shape):
    # Rounded, so that both sides have the same numbers.
    return torch.tensor(rounded(torch.randn(*shape))).reshape(shape).requires_grad_()


def positions():
    logits, targets = drawn(2, 4, 5), torch.tensor([[1, -100, 4, 0], [-100, -100, 2, 3]])
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 5), targets.reshape(-1))
    return case(loss, logits=logits, targets=targets)


def spans():
    # The answer of the third text was cut off, and only its end that of the fourth.
    logits, targets = drawn(4, 5, 2), torch.tensor([[0, 2], [3, 3], [7, 9], [4, 6]])
    start, end = logits.unbind(-1)
    loss = ForQuestionAnsweringLoss(start, end, targets[:, 0].clone(), targets[:, 1].clone())
    return case(loss, logits=logits, targets=targets)


def ranking(count=1, **options):
    anchors, candidates = drawn(4, 3), drawn(4 * count, 3)
    parts = [anchors, *candidates.split(4)]
    # The model is not asked where the embeddings are given.
    loss = losses.MultipleNegativesRankingLoss(torch.nn.Identity(), **options).compute_loss_from_embeddings(parts, None)
    return case(loss, anchors=anchors, candidates=candidates)


def cosine():
    one, other, targets = drawn(4, 3), drawn(4, 3), torch.tensor([1.0, 0.0, 0.5, -0.25])
    loss = losses.CosineSimilarityLoss(torch.nn.Identity()).compute_loss_from_embeddings([one, other], targets)
    return case(loss, one=one, other=other, targets=targets)


result = {
    "versions": {module.__name__: module.__version__ for module in (torch, transformers, sentence_transformers)},
    "positions": positions(),
    "spans": spans(),
    "ranking": ranking(),
    "rankingWithNegatives": ranking(2, scale=5.0),
    "rankingOfProducts": ranking(scale=1.0, similarity_fct=util.dot_score),
    "symmetric": ranking(directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"),
    "symmetricWithNegatives": ranking(2, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"),
    "cosine": cosine(),
}
json.dump(result, sys.stdout, separators=(",", ":"))
print()
