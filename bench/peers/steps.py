"""Training steps of the benchmark's cases in PyTorch, with PEFT and in full, as a part of bench/run.ts.

Takes the name of a case. Prints a line of JSON about what it can run, then reads orders from standard input, a line of JSON each, and
answers each with the milliseconds that one run of it took.
"""

import json
import sys
import time

import peft
import torch
from torch import nn

MLP_WIDTH, MLP_DEPTH, MLP_BATCH = 1024, 4, 64
CONV_SIZE, CONV_CHANNELS, CONV_DEPTH, CONV_BATCH = 32, 64, 6, 8
CLASSES = 10
RANK = 8
HEAD = "head"


def mlp() -> nn.Module:
    layers = nn.Sequential()
    for _ in range(MLP_DEPTH):
        layers.append(nn.Linear(MLP_WIDTH, MLP_WIDTH))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(MLP_WIDTH, CLASSES))
    return layers


def conv() -> nn.Module:
    layers = nn.Sequential()
    for i in range(CONV_DEPTH):
        layers.append(nn.Conv2d(3 if i == 0 else CONV_CHANNELS, CONV_CHANNELS, 3, padding=1))
        layers.append(nn.BatchNorm2d(CONV_CHANNELS, eps=1e-3))
        layers.append(nn.ReLU())
    layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    layers.add_module(HEAD, nn.Linear(CONV_CHANNELS, CLASSES))
    return layers


def lora_mlp() -> nn.Module:
    return adapted(mlp(), nn.Linear)


def lora_conv() -> nn.Module:
    """The convolutions adapted, the head trained in full, the normalizations frozen and by their running statistics."""
    model = adapted(conv(), nn.Conv2d, modules_to_save=[HEAD])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def adapted(model: nn.Module, kind: type, **options) -> nn.Module:
    names = [name for name, module in model.named_modules() if isinstance(module, kind)]
    return peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=names, **options))


CASES = {
    "mlp": {"lora": lora_mlp, "full": mlp, "input": (MLP_BATCH, MLP_WIDTH)},
    "conv": {"lora": lora_conv, "full": conv, "input": (CONV_BATCH, 3, CONV_SIZE, CONV_SIZE)},
}

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def counts(model: nn.Module) -> dict[str, int]:
    """Numbers that train, and all; the statistics of a normalization count as tfjs counts them, among its weights."""
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    return {
        "trainable": sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        "total": sum(weight.numel() for weight in [*model.parameters(), *statistics]),
    }


def step(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor):
    """One training step: forward, backward, the optimizer's update, the loss read back."""
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    loss_of = nn.CrossEntropyLoss()

    def run() -> None:
        optimizer.zero_grad()
        loss = loss_of(model(inputs), labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return run


def answer(**content) -> None:
    print(json.dumps(content), flush=True)


def main(name: str) -> None:
    case = CASES[name]
    inputs = torch.randn(case["input"])
    labels = torch.arange(inputs.shape[0]) % CLASSES
    models = {run: case[run]() for run in ("lora", "full")}
    runs = {run: step(model, inputs, labels) for run, model in models.items()}
    answer(
        ready={run: counts(model) for run, model in models.items()},
        versions={"torch": torch.__version__, "peft": peft.__version__},
    )
    for line in sys.stdin:
        order = json.loads(line)
        torch.set_num_threads(order["threads"])
        run = runs[order["run"]]
        now = CLOCKS[order["clock"]]
        start = now()
        for _ in range(order["repeats"]):
            run()
        answer(ms=(now() - start) * 1000 / order["repeats"])


if __name__ == "__main__":
    main(sys.argv[1])
