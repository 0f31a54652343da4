"""Writes what transformers computes of SmolLM2-135M-Instruct's GGUF file, for `npm run check -- language`:

python test/python/make_smollm2.py FILE.gguf test/fixtures/gguf/smollm2.json

and beside it, in `smollm2Gradients.json`, gradients of factors in float64, and how far those in float32 are from them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPT = "The quick brown fox jumps over the lazy dog. In 2024, "
TALK = [{"role": "user", "content": "Name three colors."}]
TEXT = "The capital of France is Paris, and the capital of Germany is Berlin."

source, target = map(Path, sys.argv[1:])
tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
# transformers cuts a file's texts as GPT-2; the model's own `tokenizer.json` has digits apart.
steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
ids = torch.tensor([tokenizer(PROMPT).input_ids])
text = torch.tensor([tokenizer(TEXT).input_ids])
talk = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
with torch.no_grad():
    logits = model(ids).logits[0]
    expected = {
        "prompt": PROMPT,
        "ids": ids[0].tolist(),
        "largest": float(logits.abs().max()),
        "logits": [round(float(value), 5) for value in logits[:, ::991].flatten()],
        "greedy": model.generate(ids, max_new_tokens=64, do_sample=False)[0].tolist(),
        "text": TEXT,
        "perplexity": float(torch.exp(model(text, labels=text).loss)),
        "talk": talk,
    }
target.write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n")

# Gradients of the loss of a text in the factors of an adapter, some numbers of each.
LONGER = TEXT + " Once upon a time, there was a girl who lived near the forest and wore a red riding cloak."
RANK, SCALING, SAMPLES = 4, 2, 12
FIRST = 17


def numbers(shape: tuple[int, int], factor: int, largest: float) -> torch.Tensor:
    """Numbers without a pattern, to the last bit the same as those of `checkSmolLM2.ts`."""
    places = np.arange(shape[0] * shape[1], dtype=np.float64)
    values = ((places * 7919 + factor * 104729) % 1009 - 504) / 504 * largest
    return torch.tensor(values.astype(np.float32).reshape(shape))


def gradients(dtype: torch.dtype, ids: torch.Tensor) -> tuple[float, float, list[np.ndarray]]:
    """The loss, the log-probability of what follows the first tokens, and the gradients of the loss."""
    model.to(dtype)
    factors, hooks = [], []
    for block in model.model.layers:
        for layer in (block.self_attn.q_proj, block.self_attn.v_proj):
            a = numbers((layer.in_features, RANK), len(factors), 0.05).to(dtype).requires_grad_()
            b = numbers((RANK, layer.out_features), len(factors) + 1, 0.02).to(dtype).requires_grad_()
            factors += [a, b]
            update = lambda _layer, inputs, y, a=a, b=b: y + inputs[0] @ a @ b * SCALING
            hooks.append(layer.register_forward_hook(update))
    # The loss of transformers itself is taken in float32.
    each = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
    loss = each.mean()
    loss.backward()
    for hook in hooks:
        hook.remove()
    flat = [factor.grad.double().numpy().ravel() for factor in factors]
    return loss.item(), -each[FIRST - 1 :].sum().item(), [grad[np.arange(SAMPLES) * grad.size // SAMPLES] for grad in flat]


model.requires_grad_(False)
longer = torch.tensor([tokenizer(LONGER).input_ids])
loss, log_prob, exact = gradients(torch.float64, longer)
_, _, single = gradients(torch.float32, longer)
errors = [np.linalg.norm(one - other) / np.linalg.norm(other) for one, other in zip(single, exact)]
expected = {
    "ids": longer[0].tolist(),
    "loss": round(loss, 9),
    "first": FIRST,
    "logProb": round(log_prob, 7),
    "gradients": [[float(f"{value:.8g}") for value in grad] for grad in exact],
    "torch": float(f"{np.median(errors):.3g}"),
}
beside = target.with_name("smollm2Gradients.json")
beside.write_text(json.dumps(expected, separators=(",", ":")) + "\n")
