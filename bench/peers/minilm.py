"""A training step of all-MiniLM-L6-v2 with PEFT, and its forward pass, as a part of bench/encoder.ts.

Takes the folder of the model. Reads orders from standard input, a line of JSON each, {"run": "lora" | "forward", "threads": 1}, and answers
each with the milliseconds of processor time and of the clock that one run took.
"""

import json
import sys
import time

import peft
import torch
from transformers import AutoModel

BATCH, PLACES, CLASSES, RANK = 16, 64, 2, 8


class Classifier(torch.nn.Module):
    """The mean of the states, and a layer for the classes."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.head = torch.nn.Linear(body.config.hidden_size, CLASSES)

    def forward(self, ids, mask):
        states = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].float()
        return self.head((states * weights).sum(1) / weights.sum(1))


def main(folder):
    torch.manual_seed(0)
    body = AutoModel.from_pretrained(folder)
    # Without dropout, as the other side has it.
    for module in body.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["query", "value"])
    model = Classifier(peft.get_peft_model(body, config))
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    loss_of = torch.nn.CrossEntropyLoss()
    ids = torch.randint(1000, 20000, (BATCH, PLACES))
    mask = torch.ones_like(ids)
    labels = torch.arange(BATCH) % CLASSES

    def lora():
        model.train()
        optimizer.zero_grad()
        loss = loss_of(model(ids, mask), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    def forward():
        model.eval()
        with torch.inference_mode():
            model(ids, mask).sum().item()

    runs = {"lora": lora, "forward": forward}
    print(json.dumps({"torch": torch.__version__, "peft": peft.__version__}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        torch.set_num_threads(order["threads"])
        wall, cpu = time.perf_counter(), time.process_time()
        runs[order["run"]]()
        print(
            json.dumps({"wall": 1e3 * (time.perf_counter() - wall), "cpu": 1e3 * (time.process_time() - cpu)}),
            flush=True,
        )


main(sys.argv[1])
