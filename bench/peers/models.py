"""A training step of a transformer with PEFT, and its forward pass, as a part of bench/encoder.ts.

Takes the name of a model and its folder or file. Where a folder is empty, a model of random numbers is written into it, in the shape of the
real one, or a narrow one for bench/launches.
Reads orders from standard input, a line of JSON each, {"run": "lora" | "forward", "threads": 1}, and answers each with the milliseconds of
processor time and of the clock that one run took.
"""

import json
import os
import sys
import time

import peft
import torch
import transformers

CLASSES, RANK = 2, 8


class Classifier(torch.nn.Module):
    """The mean of the states, and a layer for the classes."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.head = torch.nn.Linear(body.config.hidden_size, CLASSES)

    def forward(self, input_ids, attention_mask):
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[:, :, None].float()
        return self.head((states * weights).sum(1) / weights.sum(1))


def adapted(model, *names, **options):
    return peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(names), **options))


def queries_and_values(model):
    """Releases of transformers name them differently."""
    leaves = {name.split(".")[-1] for name, _ in model.named_modules()}
    return ("query", "value") if "query" in leaves else ("q_proj", "v_proj")


def images(batch, edge):
    return {"pixel_values": torch.rand(batch, 3, edge, edge)}


def texts(batch, places):
    ids = torch.randint(1000, 20000, (batch, places))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def minilm(folder):
    body = transformers.AutoModel.from_pretrained(folder)
    return Classifier(adapted(body, "query", "value")), texts(16, 64), torch.arange(16) % CLASSES


def vit(folder):
    config = transformers.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=CLASSES)
    model = made(transformers.ViTForImageClassification, config, folder)
    return adapted(model, *queries_and_values(model)), images(4, 224), torch.arange(4) % CLASSES


def resnet50(folder, **sizes):
    model = made(transformers.ResNetForImageClassification, transformers.ResNetConfig(num_labels=CLASSES, **sizes), folder)
    return adapted(model, "convolution", modules_to_save=["classifier"]), images(8, 160), torch.arange(8) % CLASSES


def swin_t(folder, **sizes):
    config = transformers.SwinConfig(drop_path_rate=0.0, num_labels=CLASSES, **sizes)
    model = made(transformers.SwinForImageClassification, config, folder)
    return adapted(model, *queries_and_values(model)), images(8, 224), torch.arange(8) % CLASSES


def modernbert(folder):
    config = transformers.ModernBertConfig(num_hidden_layers=6, num_labels=CLASSES)
    model = made(transformers.ModernBertForSequenceClassification, config, folder)
    return adapted(model, "Wqkv"), texts(4, 128), torch.arange(4) % CLASSES


def qwen3(folder):
    config = transformers.Qwen3Config(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    model = made(transformers.Qwen3ForCausalLM, config, folder)
    inputs = {**texts(1, 128), "use_cache": False}
    return adapted(model, "q_proj", "v_proj"), inputs, torch.randint(1000, 20000, (1, 128))


def smollm2(file):
    model = transformers.AutoModelForCausalLM.from_pretrained(os.path.dirname(file), gguf_file=os.path.basename(file), dtype=torch.float32)
    inputs = {**texts(4, 128), "use_cache": False}
    return adapted(model, "q_proj", "v_proj"), inputs, torch.randint(1000, 20000, (4, 128))


def made(kind, config, folder):
    if not os.path.exists(os.path.join(folder, "config.json")):
        kind(config).save_pretrained(folder)
    return kind.from_pretrained(folder)


def narrow_resnet50(folder):
    return resnet50(folder, embedding_size=16, hidden_sizes=[64, 128, 256, 512])


def narrow_swin_t(folder):
    return swin_t(folder, embed_dim=24)


MODELS = {
    "minilm": minilm,
    "vit": vit,
    "resnet50": resnet50,
    "swin-t": swin_t,
    "narrow-resnet50": narrow_resnet50,
    "narrow-swin-t": narrow_swin_t,
    "modernbert": modernbert,
    "qwen3": qwen3,
    "smollm2": smollm2,
}


def main(name, place):
    torch.manual_seed(0)
    model, inputs, labels = MODELS[name](place)
    # Without dropout, as the other side has it.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    loss_of = torch.nn.CrossEntropyLoss()

    def logits():
        outputs = model(**inputs)
        found = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
        return found.reshape(-1, found.shape[-1])

    def lora():
        model.train()
        # Frozen statistics are used and not changed, as on the other side.
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        optimizer.zero_grad()
        loss = loss_of(logits(), labels.reshape(-1))
        loss.backward()
        optimizer.step()
        loss.item()

    def forward():
        model.eval()
        with torch.inference_mode():
            logits().sum().item()

    runs = {"lora": lora, "forward": forward}
    versions = {"torch": torch.__version__, "peft": peft.__version__}
    print(json.dumps({**versions, "trainable": sum(w.numel() for w in model.parameters() if w.requires_grad)}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        torch.set_num_threads(order["threads"])
        wall, cpu = time.perf_counter(), time.process_time()
        runs[order["run"]]()
        print(
            json.dumps({"wall": 1e3 * (time.perf_counter() - wall), "cpu": 1e3 * (time.process_time() - cpu)}),
            flush=True,
        )


main(*sys.argv[1:])
