"""What PyTorch computes with an adapter that PEFT loads, as logits of texts:

python measure.py MODEL ADAPTER TEXTS LOGITS

TEXTS and LOGITS are files of JSON: a list of texts, and a list of numbers for each. A warning is an error here, since
PEFT tells by one what it does not find in a file.
"""

import json
import sys
import warnings

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

PLACES, BATCH = 24, 64


def main(folder: str, adapter: str, texts: str, logits: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(base, adapter).eval()
    with open(texts, encoding="utf-8") as file:
        lines = json.load(file)
    rows = []
    with torch.inference_mode():
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            inputs = tokenizer(batch, max_length=PLACES, truncation=True, padding=True, return_tensors="pt")
            rows += model(**inputs).logits.tolist()
    with open(logits, "w", encoding="utf-8") as file:
        json.dump(rows, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
