"""Trains an adapter with PEFT, in each process that `accelerate launch` starts on a part of each batch.

accelerate launch --multi_gpu --num_processes 2 train.py MODEL SUBJECTS ADAPTER

MODEL is a folder as the hub has it, SUBJECTS a file of JSON, [{"text": …, "label": 0 | 1}, …], and ADAPTER the folder
that `save_pretrained` writes.
"""

import json
import sys
import time

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer

PLACES, BATCH, EPOCHS, RATE = 24, 16, 2, 1e-3


def main(folder: str, subjects: str, adapter: str) -> None:
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # On top of what is pretrained stands a new head, which the adapter carries.
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=8, target_modules=["query", "value"])
    model = get_peft_model(base, config)

    def collate(batch):
        texts = [each["text"] for each in batch]
        inputs = tokenizer(texts, max_length=PLACES, truncation=True, padding=True, return_tensors="pt")
        return {**inputs, "labels": torch.tensor([each["label"] for each in batch])}

    with open(subjects, encoding="utf-8") as file:
        examples = json.load(file)
    batches = DataLoader(examples, batch_size=BATCH, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=RATE)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)

    begin = time.perf_counter()
    model.train()
    for _ in range(EPOCHS):
        for batch in batches:
            loss = model(**batch).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    seconds = time.perf_counter() - begin
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(adapter)
    accelerator.print(
        f"{accelerator.num_processes} processes ({accelerator.distributed_type.value}, {accelerator.state.backend}), "
        f"{EPOCHS * len(batches)} steps in {seconds:.0f} s"
    )
    accelerator.end_training()


if __name__ == "__main__":
    main(*sys.argv[1:])
