"""Writes what TRL computes for rewards, for `test/extensions/language/rewards.test.ts`: advantages, losses, KL, entropies, clipped shares, gradients of the factors, and the factors after ten steps.

python test/python/make_rewards.py > test/fixtures/rewards.json

The first model and its adapter are those of test/fixtures/transformers/llama. Seven others have random sizes, prompts, answers and rewards, and weights that the test computes by the same formula; each has a part of the cases. Gradients and factors are written as their inner products with cosines of three frequencies. Needs trl 1.16, and ran with transformers 5.24 and datasets 4.7.
"""

import contextlib
import copy
import dataclasses
import itertools
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable

import peft
import torch
import transformers
import trl
from make_preferences import COMMON, factors, made, saved_policy

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


def formula(shape, scale, seed):
    """Numbers between -scale and scale that look random."""
    at = torch.arange(math.prod(shape), dtype=torch.float64)
    waves = torch.sin((at + 1) * 12.9898 + seed * 78.233) * 43758.5453
    return (scale * (2 * (waves - waves.floor()) - 1)).float().reshape(shape)


@dataclasses.dataclass
class Policy:
    """A model with an adapter, and the answers that it is trained on."""

    load: Callable
    prompts: list
    answers: list
    rewards: list


def random_tokens(draw, count):
    return [draw.randint(3, 60) for _ in range(count)]


def random_answer(draw):
    is_truncated = draw.random() < 0.25
    return random_tokens(draw, MAX_TOKENS) if is_truncated else [*random_tokens(draw, draw.randint(0, MAX_TOKENS - 1)), 2]


def random_policy(seed):
    """A policy, and what the test builds its model from: a config, an adapter, and the shapes of both."""
    draw = random.Random(seed)
    heads = draw.choice([2, 3, 4, 6])
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": draw.choice([12, 24, 36]),
        "intermediate_size": draw.randint(16, 48),
        "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads,
        "num_key_value_heads": draw.choice([count for count in range(1, heads + 1) if heads % count == 0]),
        "head_dim": draw.choice([4, 6, 8]),
        "rope_theta": draw.choice([100.0, 10000.0, 500000.0]),
        "rms_norm_eps": draw.choice([1e-6, 1e-5]),
        "tie_word_embeddings": draw.random() < 0.5,
        "vocab_size": 61,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    modules = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]
    adapter = {
        "r": draw.randint(1, 5),
        "lora_alpha": draw.randint(2, 12),
        "target_modules": sorted(draw.sample(modules, draw.randint(1, 7))),
        "use_rslora": draw.random() < 0.5,
    }
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    weights = dict(sorted(base.named_parameters()))
    with torch.no_grad():
        for i, weight in enumerate(weights.values()):
            is_matrix = weight.dim() > 1
            scale = 2 / math.sqrt(weight.shape[-1]) if is_matrix else 0.3
            weight.copy_(formula(weight.shape, scale, 100 * seed + i) + (0 if is_matrix else 1))
    lora = peft.LoraConfig(**adapter, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(copy.deepcopy(base), lora)
    shapes = {name: list(x.shape) for name, x in sorted(peft.get_peft_model_state_dict(adapted).items())}
    tensors = {name: formula(shape, 0.4, 100 * seed + 50 + i) for i, (name, shape) in enumerate(shapes.items())}
    policy = Policy(
        load=lambda: (copy.deepcopy(base), lora, tensors),
        prompts=[[1, *random_tokens(draw, draw.randint(1, 6))] for _ in range(2)],
        answers=[[random_answer(draw) for _ in range(4)] for _ in range(2)],
        rewards=[[[round(draw.uniform(-1, 2), 2) for _ in range(2)] for _ in range(4)] for _ in range(2)],
    )
    model = {"seed": seed, "config": config, "adapter": adapter}
    return policy, {**model, "weights": {name: list(x.shape) for name, x in weights.items()}, "factors": shapes}


def answers_of(policy):
    return {"prompts": policy.prompts, "answers": policy.answers, "rewards": policy.rewards}


def trainer_of(kind, config, folder, policy):
    rewards = [[answer[i] for group in policy.rewards for answer in group] for i in range(2)]

    def reward0(completions, **_):
        return rewards[0]

    def reward1(completions, **_):
        return rewards[1]

    class Trainer(kind):
        def __init__(self, **options):
            super().__init__(**options, reward_funcs=[reward0, reward1])

    trainer = made(Trainer, config, [{"prompt": "the fox"}] * 8, folder, policy=policy.load, **CONFIG)
    prompts = [prompt for prompt in policy.prompts for _ in range(4)]
    answers = [answer for group in policy.answers for answer in group]
    texts = ["" for _ in answers]
    if kind is trl.GRPOTrainer:
        trainer._generate = lambda _: (prompts, answers, None, texts, None, {}, None, None)
    else:
        trainer._generate = lambda _: (prompts, answers, texts)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def trainers_of(folder, policy):
    return trainer_of(trl.GRPOTrainer, trl.GRPOConfig, folder, policy), trainer_of(trl.RLOOTrainer, trl.RLOOConfig, folder, policy)


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


def cases(grpo, rloo, count=1, first=0):
    """All combinations, or one in `count` of them from `first` on."""
    result = {}
    losses = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
    combinations = [
        *itertools.product(losses, [0.0, 0.1], ["token", "sequence"], [False, True], [False, True]),
        *itertools.product(["rloo"], [0.0, 0.1], ["sequence"], [False, True], [False, True]),
    ]
    for loss, beta, level, is_moved, is_masked in combinations[first::count]:
        name = ", ".join([loss, str(beta), level, *(["moved"] if is_moved else []), *(["masked"] if is_masked else [])])
        settings = {"beta": beta, "mask_truncated_completions": is_masked, "epsilon_high": 1.2 if loss == "cispo" else 0.28}
        if loss == "rloo":
            result[name] = case(rloo, is_moved, **settings)
        else:
            result[name] = case(grpo, is_moved, **settings, loss_type=loss, importance_sampling_level=level)
    return result


def random_models(count=7):
    """Models of random sizes, each with a part of the cases; together they have all."""
    result = []
    for i in range(count):
        policy, model = random_policy(i + 1)
        with tempfile.TemporaryDirectory() as folder:
            grpo, rloo = trainers_of(folder, policy)
            result.append({**model, **answers_of(policy), "names": list(factors(grpo.model)), "cases": cases(grpo, rloo, count, i)})
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
        policy = Policy(saved_policy, PROMPTS, ANSWERS, REWARDS)
        grpo, rloo = trainers_of(folder, policy)
        result = {
            "versions": {module.__name__: module.__version__ for module in (torch, trl)},
            **{**answers_of(policy), "weights": WEIGHTS, "maxTokens": MAX_TOKENS},
            "names": list(factors(grpo.model)),
            "cases": cases(grpo, rloo),
            "advantages": advantages(grpo, rloo),
            "models": random_models(),
            "curve": curve(grpo),
        }
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()
