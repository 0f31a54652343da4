"""Writes what PyTorch computes with all-MiniLM-L6-v2, and with an adapter of PEFT on it, for texts of mixed length:

python test/python/make_minilm.py MODEL FOLDER
"""

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

TEXTS = [
    "A man is eating food.",
    "",
    "Re: [ILUG] Which distribution would you recommend for a 486 with 8 MB?",
    "naïve café — 价格 ½ off!!! 😀",
    "word " * 300,
]


def main():
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModel.from_pretrained(source).eval()
    encoded = tokenizer(TEXTS, padding=True, truncation=True, max_length=128, return_tensors="pt")
    ids = torch.cat([encoded["input_ids"], torch.zeros(1, encoded["input_ids"].shape[1], dtype=torch.long)])
    mask = torch.cat([encoded["attention_mask"], torch.zeros(1, ids.shape[1], dtype=torch.long)])  # a row of padding
    inputs = dict(input_ids=ids, attention_mask=mask)
    with torch.no_grad():
        base = model(**inputs).last_hidden_state
        peft = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value", "output.dense"]))
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        adapted = peft.eval()(**inputs).last_hidden_state
        peft.save_pretrained(folder)
        merged = peft.merge_and_unload()(**inputs).last_hidden_state
    values = dict(base=base, adapted=adapted, merged=merged)
    (folder / "expected.json").write_text(
        json.dumps(
            {
                "texts": TEXTS,
                "ids": ids.tolist(),
                "mask": mask.tolist(),
                "shape": list(base.shape),
                **{name: [round(value, 7) for value in tensor.flatten().tolist()] for name, tensor in values.items()},
            }
        )
    )


main()
