"""Writes what TRL computes for rewards, for `test/extensions/language/rewards.test.ts`: advantages, losses, KL, entropies, clipped shares, gradients of the factors, and the factors after ten steps.

python test/python/make_rewards.py > test/fixtures/rewards.json

The model and its adapter are those of test/fixtures/transformers/llama. Gradients and factors are written as their inner products with cosines of three frequencies. Needs trl 1.16.
"""

import contextlib
import itertools
import json
import math
import sys
import tempfile

import torch
import trl
from make_preferences import COMMON, factors, made

# Two prompts with four answers each. 2 ends a text; two of the answers were cut off.
PROMPTS = [[1, 5, 9, 33, 21], [1, 44, 8]]
ANSWERS = [
    [[10, 11, 2], [12, 13, 14, 15, 16, 2], [17, 18, 19, 20, 3, 4], [2]],
    [[30, 31, 2], [32, 2], [33, 34, 35, 36, 37, 38], [40, 41, 42, 2]],
]
# By two functions.
REWARDS = [[[1.0, 0.5], [0.0, 0.25], [0.5, -1.0], [0.25, 0.0]], [[2.0, 1.0], [0.5, 1.0], [-1.0, 0.0], [0.0, 0.75]]]
WEIGHTS = [1.0, 0.5]
MAX_TOKENS = 6
CONFIG = {
    **{name: value for name, value in COMMON.items() if name != "max_grad_norm"},
    "num_generations": 4,
    "max_completion_length": MAX_TOKENS,
    "reward_weights": WEIGHTS,
    "disable_dropout": True,
}


def rounded(values):
    return [float(f"{value:.7g}") for value in values]


def projections(tensor):
    flat = tensor.flatten().double()
    at = torch.arange(len(flat), dtype=torch.float64)
    return rounded([float((flat * torch.cos(at * k)).sum()) for k in (0.1, 0.7, 1.9)])


def moved(row, token):
    """How much more likely the old policy found a token, so that importance weights are clipped."""
    return 0.4 * math.sin(1 + 3 * row + 2 * token)


def trainer_of(kind, config, folder):
    rewards = [[answer[i] for group in REWARDS for answer in group] for i in range(2)]

    def reward0(completions, **_):
        return rewards[0]

    def reward1(completions, **_):
        return rewards[1]

    class Trainer(kind):
        def __init__(self, **options):
            super().__init__(**options, reward_funcs=[reward0, reward1])

    trainer = made(Trainer, config, [{"prompt": "the fox"}] * 8, folder, **CONFIG)
    prompts = [prompt for prompt in PROMPTS for _ in range(4)]
    answers = [answer for group in ANSWERS for answer in group]
    texts = ["" for _ in answers]
    if kind is trl.GRPOTrainer:
        trainer._generate = lambda _: (prompts, answers, None, texts, None, {}, None, None)
    else:
        trainer._generate = lambda _: (prompts, answers, texts)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def case(trainer, is_moved, **settings):
    for name, value in settings.items():
        assert hasattr(trainer, name), name
        setattr(trainer, name, value)
    trainer.num_iterations = 2 if is_moved else 1
    trainer._metrics["train"].clear()
    inputs = trainer._generate_and_score_completions([{"prompt": "the fox"}] * 8)
    if is_moved:
        if "old_logps" in inputs:
            counts = inputs["completion_mask"].sum(1) > 0
            inputs["old_logps"] = inputs["old_logps"] + counts * torch.tensor([moved(row, 0) for row in range(8)])
        else:
            shift = [[moved(row, token) for token in range(MAX_TOKENS)] for row in range(8)]
            inputs["old_per_token_logps"] = inputs["old_per_token_logps"] + torch.tensor(shift)
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    clipped = metrics.get("cispo_clip_ratio", metrics.get("clip_ratio/region_mean"))
    return {
        "advantages": rounded(inputs["advantages"].tolist()),
        "loss": rounded([loss.item()])[0],
        **({"kl": rounded([metrics["kl"]])[0]} if "kl" in metrics else {}),
        "entropy": rounded([metrics["entropy"]])[0],
        "clipped": rounded([clipped])[0],
        "gradients": [projections(p.grad) for p in factors(trainer.model).values()],
    }


def cases(grpo, rloo):
    result = {}
    for loss, beta, level, is_moved, is_masked in itertools.product(
        ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"], [0.0, 0.1], ["token", "sequence"], [False, True], [False, True]
    ):
        name = ", ".join([loss, str(beta), level, *(["moved"] if is_moved else []), *(["masked"] if is_masked else [])])
        settings = {"loss_type": loss, "beta": beta, "importance_sampling_level": level, "mask_truncated_completions": is_masked}
        result[name] = case(grpo, is_moved, **settings, epsilon_high=1.2 if loss == "cispo" else 0.28)
    for beta, is_moved, is_masked in itertools.product([0.0, 0.1], [False, True], [False, True]):
        name = ", ".join(["rloo", str(beta), "sequence", *(["moved"] if is_moved else []), *(["masked"] if is_masked else [])])
        result[name] = case(rloo, is_moved, beta=beta, mask_truncated_completions=is_masked, epsilon_high=0.28)
    return result


def advantages(grpo, rloo):
    result = {}
    for scale, combine in [("group", "sum"), ("batch", "sum"), ("none", "sum"), ("group", "normalize")]:
        settings = {"scale_rewards": scale, "multi_objective_aggregation": {"sum": "sum_then_normalize", "normalize": "normalize_then_sum"}[combine]}
        result[f"dapo, {scale}, {combine}"] = case(grpo, False, **settings, beta=0.0)["advantages"]
    grpo.scale_rewards, grpo.multi_objective_aggregation = "group", "sum_then_normalize"
    for scale in ["none", "batch"]:
        result[f"rloo, {scale}, sum"] = case(rloo, False, beta=0.0, normalize_advantages=scale == "batch")["advantages"]
    rloo.normalize_advantages = False
    return result


def curve(trainer):
    """The factors after ten steps on the same answers. It comes last, since it trains the model."""
    settings = {"loss_type": "dapo", "beta": 0.1, "importance_sampling_level": "token", "mask_truncated_completions": False, "epsilon_high": 0.28}
    for name, value in settings.items():
        setattr(trainer, name, value)
    trainer.num_iterations = 2
    inputs = trainer._generate_and_score_completions([{"prompt": "the fox"}] * 8)
    optimizer = torch.optim.Adam(factors(trainer.model).values(), lr=0.002, eps=1e-7)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"losses": rounded(losses), "factors": [projections(p.detach()) for p in factors(trainer.model).values()]}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        grpo, rloo = trainer_of(trl.GRPOTrainer, trl.GRPOConfig, folder), trainer_of(trl.RLOOTrainer, trl.RLOOConfig, folder)
        result = {
            "versions": {module.__name__: module.__version__ for module in (torch, trl)},
            **{"prompts": PROMPTS, "answers": ANSWERS, "rewards": REWARDS, "weights": WEIGHTS, "maxTokens": MAX_TOKENS},
            "names": list(factors(grpo.model)),
            "cases": cases(grpo, rloo),
            "advantages": advantages(grpo, rloo),
            "curve": curve(grpo),
        }
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()
