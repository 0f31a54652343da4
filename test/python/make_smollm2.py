"""Writes what transformers computes of SmolLM2-135M-Instruct's GGUF file, for `npm run check -- language`:

python test/python/make_smollm2.py FILE.gguf test/fixtures/gguf/smollm2.json
"""

import json
import sys
from pathlib import Path

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
