"""Writes what PyTorch computes as losses of classes with weights, with the gradients, for `test/extensions/transformers/weightedLosses.test.ts` and `test/core/training/losses.test.ts`:

python test/python/make_weighted.py > test/fixtures/weightedLosses.json

`sigmoid_focal_loss` is torchvision's own code, and the focal loss of classes the formula that it generalizes to.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(11)


def rounded(tensor):
    return [round(value, 7) for value in tensor.detach().flatten().tolist()]


def drawn(*shape):
    # Rounded, so that both sides have the same numbers.
    return torch.tensor(rounded(2 * torch.randn(*shape))).reshape(shape).requires_grad_()


LOGITS = drawn(2, 4, 5)
TARGETS = torch.tensor([[1, -100, 4, 0], [-100, 2, 2, 3]])
CLASS_WEIGHTS = [0.5, 2.0, 1.0, 0.25, 3.0]
WEIGHTS = torch.tensor([[1.0, 2.0, 0.0, 0.5], [3.0, 1.0, 0.25, 1.5]])


def case(compute, logits=LOGITS, targets=TARGETS):
    logits.grad = None
    loss = compute()
    loss.backward()
    tensors = {name: {"shape": list(x.shape), "values": rounded(x)} for name, x in (("logits", logits), ("targets", targets))}
    return {"loss": loss.item(), **tensors, "gradient": rounded(logits.grad)}


def cross_entropy(**options):
    return F.cross_entropy(LOGITS.reshape(-1, 5), TARGETS.reshape(-1), **options)


def weighted():
    losses = F.cross_entropy(LOGITS.reshape(-1, 5), TARGETS.reshape(-1), reduction="none")
    return (losses * WEIGHTS.reshape(-1)).sum() / (TARGETS != -100).sum()


def weighted_by_row():
    losses = F.cross_entropy(LOGITS.reshape(-1, 5), TARGETS.reshape(-1), reduction="none").reshape(2, 4)
    return (losses * torch.tensor([[2.0], [0.5]])).sum() / (TARGETS != -100).sum()


def focal(gamma):
    losses = F.cross_entropy(LOGITS.reshape(-1, 5), TARGETS.reshape(-1), reduction="none")
    return ((1 - torch.exp(-losses)) ** gamma * losses).sum() / (TARGETS != -100).sum()


def sigmoid_focal_loss(inputs, targets, alpha, gamma):
    p = torch.sigmoid(inputs)
    ce_loss = F.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = ce_loss * ((1 - p_t) ** gamma)
    if alpha >= 0:
        alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
        loss = alpha_t * loss
    return loss.mean()


labels, tags = drawn(3, 4), torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
result = {
    "versions": {"torch": torch.__version__},
    "classWeights": CLASS_WEIGHTS,
    "weights": rounded(WEIGHTS),
    "smoothed": case(lambda: cross_entropy(label_smoothing=0.2)),
    "byClass": case(lambda: cross_entropy(weight=torch.tensor(CLASS_WEIGHTS))),
    "smoothedByClass": case(lambda: cross_entropy(weight=torch.tensor(CLASS_WEIGHTS), label_smoothing=0.1)),
    "weighted": case(weighted),
    "weightedByRow": case(weighted_by_row),
    "focal": case(lambda: focal(2)),
    "focalRoot": case(lambda: focal(0.5)),
    "sigmoidFocal": case(lambda: sigmoid_focal_loss(labels, tags, 0.25, 2), labels, tags),
    "sigmoidFocalUnbalanced": case(lambda: sigmoid_focal_loss(labels, tags, -1, 1.5), labels, tags),
}
json.dump(result, sys.stdout, separators=(",", ":"))
print()
