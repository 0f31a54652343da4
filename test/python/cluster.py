"""What a cluster does with PEFT, for cluster.ts. MODEL is a folder as the hub has it.

accelerate launch --multi_gpu --num_processes 2 cluster.py train MODEL SUBJECTS ADAPTER
python cluster.py logits MODEL ADAPTER TEXTS LOGITS

`train` reads [{"text": …, "label": 0 | 1}, …], and each process trains on a part of every batch. `logits` writes those of
a list of texts. A warning of PEFT is an error there, since PEFT warns of what it does not find in a file.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def load(folder: str):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encode = lambda texts: tokenizer(texts, max_length=24, truncation=True, padding=True, return_tensors="pt")
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2), encode


def train(folder: str, subjects: str, adapter: str) -> None:
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    set_seed(1)
    base, encode = load(folder)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=8, target_modules=["query", "value"])
    model = get_peft_model(base, config)
    collate = lambda batch: {
        **encode([each["text"] for each in batch]),
        "labels": torch.tensor([each["label"] for each in batch]),
    }
    batches = DataLoader(json.loads(Path(subjects).read_text()), batch_size=16, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    model.train()
    for _ in range(2):
        for batch in batches:
            accelerator.backward(model(**batch).loss)
            optimizer.step()
            optimizer.zero_grad()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(adapter)
    accelerator.print(f"PEFT trained in {accelerator.num_processes} processes ({accelerator.state.backend}).")
    accelerator.end_training()


def logits(folder: str, adapter: str, texts: str, file: str) -> None:
    base, encode = load(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(base, adapter).eval()
    with torch.inference_mode():
        values = model(**encode(json.loads(Path(texts).read_text()))).logits
    Path(file).write_text(json.dumps(values.tolist()))


if __name__ == "__main__":
    {"train": train, "logits": logits}[sys.argv[1]](*sys.argv[2:])
