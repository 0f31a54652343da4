"""What it costs that an adapter runs on other weights than those that it was trained on, for SmolLM2-135M:

    PYTHON bench/requantized.py FOLDER FILE.gguf [STEPS] [TASK…]

PYTHON has torch, transformers, peft and gguf, as the environment of `npm run check -- lastmile` does. Adapters of three
tasks (rank 8 on queries and values) are trained on the weights of the GGUF file (Q4_1) and on 4-bit blocks of these
(Q4_0, as `MatMulNBits` of optimum and transformers.js has them), and run on both and in dynamic int8. The table has the
loss per token of unseen answers, and how many answers are right, token by token, if all tokens before are.
"""

import random
import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH, TRAIN, TEST = 8, 160, 32


def orders(draw):
    dishes = {"coffee": "COF", "tea": "TEA", "lemonade": "LEM", "soup": "SOU", "salad": "SAL", "burger": "BUR"}
    numbers = ["one", "two", "three", "four", "five", "six", "seven"]
    chosen = [(draw.randrange(1, 5), dish) for dish in draw.sample(sorted(dishes), draw.randrange(1, 4))]
    table = draw.randrange(1, 8)
    spoken = " and ".join(f"{numbers[count - 1]} {dish}{'s' if count > 1 else ''}" for count, dish in chosen)
    ticket = ", ".join(f"{count} {dishes[dish]}" for count, dish in chosen)
    sentence = draw.choice(["Table {} wants {}.", "For table {}: {}, please!", "At table {} they ordered {}."])
    return f"Order: {sentence.format(numbers[table - 1], spoken)}\nTicket:", f" T{table} | {ticket}"


def records(draw):
    name = draw.choice(["Anna", "Ben", "Carla", "David", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jonas"])
    city = draw.choice(["Paris", "Oslo", "Rome", "Lima", "Cairo", "Delhi", "Quito", "Tokyo"])
    age, job = draw.randrange(18, 80), draw.choice(["baker", "pilot", "nurse", "painter", "teacher", "sailor"])
    text = draw.choice(
        [
            f"{name} is {age} years old, lives in {city} and works as a {job}.",
            f"In {city} there is a {job} called {name}, who turned {age} this year.",
            f"The {job} {name}, {age}, has moved to {city}.",
        ]
    )
    return f"Text: {text}\nJSON:", f' {{"name": "{name}", "age": {age}, "city": "{city}", "job": "{job}"}}'


def telegrams(draw):
    person = draw.choice(["my brother", "the doctor", "your aunt", "the captain", "our neighbour"])
    verb = draw.choice(["arrives", "leaves", "is waiting", "has been delayed", "sends his regards"])
    day = draw.choice(["on Monday", "on Friday", "tomorrow", "next week", "at noon"])
    thing = draw.choice(["bring the blue suitcase", "meet the train", "do not sell the house", "send the money"])
    short = f"{person} {verb} {day}".upper()
    for word in ("MY ", "THE ", "YOUR ", "OUR ", "HIS ", " IS", " HAS BEEN", "ON "):
        short = short.replace(word, "")
    return (
        f"Letter: {person.capitalize()} {verb} {day}. Please {thing}.\nTelegram:",
        f" {short} STOP {thing.upper().replace('THE ', '')} STOP",
    )


TASKS = {"tickets": orders, "JSON": records, "telegrams": telegrams}


def examples(task):
    """Texts to train on, and others."""
    draw = random.Random(7)
    found = {}
    while len(found) < TRAIN + TEST:
        prompt, answer = TASKS[task](draw)
        found[prompt] = answer
    pairs = list(found.items())
    return pairs[:TRAIN], pairs[TRAIN:]


def blocks4(weight):
    """4-bit blocks of 32 that share a scale, without a zero point."""
    blocks = weight.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = torch.where(extreme == 0, torch.ones_like(extreme), extreme / -8)
    return (((blocks / scale).round() + 8).clamp(0, 15) - 8).mul(scale).reshape(weight.shape)


def int8(weight):
    scale = weight.abs().max() / 127
    return (weight / scale).round().clamp(-128, 127) * scale


def rounded_input(_module, inputs):
    """An input in dynamic uint8."""
    (x,) = inputs
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = (high - low) / 255
    zero = (-low / scale).round()
    return (((x / scale).round() + zero).clamp(0, 255) - zero) * scale


def network(folder, file, kind):
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    if kind != "Q4_1":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.data = (blocks4 if kind == "Q4_0" else int8)(module.weight.data)
                if kind == "int8":
                    module.register_forward_pre_hook(rounded_input)
    return model.requires_grad_(False)


def batches(tokenizer, pairs):
    for first in range(0, len(pairs), BATCH):
        rows = [
            (tokenizer(prompt).input_ids, tokenizer(answer).input_ids + [tokenizer.eos_token_id])
            for prompt, answer in pairs[first : first + BATCH]
        ]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.full((len(rows), longest), tokenizer.eos_token_id)
        labels = torch.full((len(rows), longest), -100)
        for row, (prompt, answer) in enumerate(rows):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
        yield ids, labels


def losses(model, ids, labels):
    """The sum of losses, the number of tokens, and the number of answers without a wrong token."""
    logits, targets = model(ids).logits[:, :-1], labels[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100)
    right = ((logits.argmax(-1) == targets) | (targets == -100)).all(1).sum()
    return loss, int((targets != -100).sum()), int(right)


def measured(model, tokenizer, pairs):
    with torch.no_grad():
        parts = [losses(model, *batch) for batch in batches(tokenizer, pairs)]
    loss, count, right = (float(sum(values)) for values in zip(*parts))
    return f"{loss / count:.3f} ({round(100 * right / len(pairs))} %)"


def main(folder, file, steps, tasks):
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    kinds = ["Q4_1", "Q4_0", "int8"]
    networks = {kind: network(folder, file, kind) for kind in kinds}
    print("| task | trained on | " + " | ".join(f"run on {kind}" for kind in kinds) + " |")
    print("| --- | --- |" + " --- |" * len(kinds))
    for task in tasks:
        train, test = examples(task)
        row = [measured(networks[kind], tokenizer, test) for kind in kinds]
        print(f"| {task} | no adapter | " + " | ".join(row) + " |", flush=True)
        for trained in kinds[:2]:
            torch.manual_seed(0)
            settings = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
            model = get_peft_model(networks[trained], settings)
            factors = [weight for weight in model.parameters() if weight.requires_grad]
            optimizer = torch.optim.AdamW(factors, lr=2e-3, weight_decay=0)
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = 2e-3 * min(1, (steps - step) / steps * 1.25)
                first = step * BATCH % TRAIN
                (batch,) = batches(tokenizer, train[first : first + BATCH])
                loss, count, _ = losses(model, *batch)
                (loss / count).backward()
                optimizer.step()
                optimizer.zero_grad()
            values = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
            networks[trained] = model.unload()
            row = []
            for kind in kinds:
                adapted = get_peft_model(networks[kind], settings).eval()
                adapted.load_state_dict(values, strict=False)
                row.append(measured(adapted, tokenizer, test))
                networks[kind] = adapted.unload()
            print(f"| {task} | {trained} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 24, sys.argv[4:] or TASKS)
