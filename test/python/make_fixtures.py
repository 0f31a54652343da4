"""Makes adapters with PEFT, and writes what PEFT computes with them: the fixtures under test/fixtures/peft/made.

Run with the Python of `npm run check -- peft`: python test/python/make_fixtures.py [NAME …], with no name for all of them.
"""

import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from network import as_json, make_inputs, make_network, weights_of
from peft import IA3Config, LoHaConfig, LoKrConfig, LoraConfig, PeftModel, VeraConfig, get_peft_model

FOLDER = Path(__file__).parent.parent / "fixtures" / "peft" / "made"


def config(**options):
    return LoraConfig(init_lora_weights=False, **options)


ATTENTION = r".*\.attention\.(query|value)"

VARIANTS = {
    "expression": {
        "config": config(
            target_modules=ATTENTION,
            r=2,
            lora_alpha=3,
            rank_pattern={r"layer\.1\.attention\.query": 3},
            alpha_pattern={r"^encoder.layer.0.attention.value": 7, "value": 5},
        )
    },
    "allLinear": {
        "config": config(target_modules="all-linear", exclude_modules=["out", "mix"], r=9, lora_alpha=4, use_rslora=True)
    },
    "convolutions": {
        "config": config(target_modules=["line", "pointwise", "volume"], r=2, lora_alpha=5),
        "dtype": torch.bfloat16,
    },
    "transposed": {"config": config(target_modules=["mix"], r=3, lora_alpha=3, fan_in_fan_out=True)},
    "embedding": {"config": config(target_modules=["tokens"], r=8, lora_alpha=4), "dtype": torch.float16},
    "biasAll": {"config": config(target_modules=["query", "line", "key"], r=2, lora_alpha=2, bias="all")},
    "loraBias": {"config": config(target_modules=["head.0", "volume", "query"], r=2, lora_alpha=3, lora_bias=True)},
    "loraBiasOnly": {
        "config": config(target_modules=["head.0", "line"], r=2, lora_alpha=3, lora_bias=True, bias="lora_only")
    },
    "modulesToSave": {
        "config": config(
            target_modules=["query"],
            r=2,
            lora_alpha=2,
            modules_to_save=["batch", "head", "layer.0.norm", "depthwise", "volume", "line", "tokens"],
        )
    },
    "grouped": {"config": config(target_modules=["depthwise", "grouped"], r=6, lora_alpha=3)},
    "depthwise": {"config": config(target_modules=["depthwise"], r=6, lora_alpha=3), "within_groups": True},
    "dora": {"config": config(target_modules=["head.0"], r=2, use_dora=True)},
    "doraKinds": {
        "config": config(
            target_modules=["query", "line", "pointwise", "volume", "tokens", "mix"], r=2, lora_alpha=3, use_dora=True
        )
    },
    "ia3": {
        "config": IA3Config(
            target_modules=["query", "key", "out", "pointwise", "volume", "grouped"],
            feedforward_modules=["out", "volume"],
            init_ia3_weights=False,
        )
    },
    "vera": {
        "config": VeraConfig(target_modules=["query", "out", "head.0"], r=5, save_projection=True, init_weights=False)
    },
    "veraWithout": {
        "config": VeraConfig(target_modules=["query"], r=5, save_projection=False, init_weights=False)
    },
    "loha": {
        "config": LoHaConfig(target_modules=["query", "pointwise", "head.0"], r=3, alpha=2, init_weights=False)
    },
    "lokr": {
        "config": LoKrConfig(target_modules=["query", "pointwise", "head.0"], r=2, alpha=3, init_weights=False)
    },
    "pissa": {
        "config": LoraConfig(
            init_lora_weights="pissa",
            target_modules=["query", "out", "mix", "head.0", "tokens"],
            r=5,
            lora_alpha=3,
            rank_pattern={"head.0": 2},
        )
    },
    "olora": {
        "config": LoraConfig(
            init_lora_weights="olora", target_modules=["query", "out", "head.0"], r=5, lora_alpha=4, use_rslora=True
        )
    },
    "lohaWide": {
        "config": LoHaConfig(target_modules=["query", "pointwise", "line"], r=8, alpha=2, init_weights=False)
    },
    "lokrBoth": {
        "config": LoKrConfig(target_modules=["query", "head.0"], r=1, alpha=1, decompose_both=True, init_weights=False)
    },
}


# Adapters of the models under test/fixtures/transformers, with parts that layers bring whole.
OF_TRANSFORMERS = {
    "gpt2Saved": {
        "base": "gpt2",
        "config": config(
            target_modules=["c_attn"], r=2, lora_alpha=3, modules_to_save=["attn.c_proj", "mlp.c_fc"], fan_in_fan_out=True
        ),
    },
    "llamaEmbeddings": {
        "base": "llama",
        "config": config(target_modules=["q_proj", "embed_tokens", "lm_head"], r=2, lora_alpha=3),
    },
}


def stir(model, within_groups):
    """Random values for everything that training would change."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.4)
            if within_groups and ".lora_A." in name:
                mask = torch.zeros_like(parameter)
                groups = parameter.shape[1]
                for row in range(parameter.shape[0]):
                    mask[row, row * groups // parameter.shape[0]] = 1
                parameter.mul_(mask)
        for name, buffer in model.named_buffers():
            if "modules_to_save" in name and "running" in name:
                buffer.add_(torch.rand_like(buffer))


def start(init):
    """The factors that PEFT starts from, of some modules, and the weights that it leaves of them."""
    settings = LoraConfig(target_modules=["query", "head.0"], r=2, lora_alpha=4, init_lora_weights=init)
    modules = dict(get_peft_model(make_network(), settings).base_model.model.named_modules())
    return {
        path: {
            "A": as_json(modules[path].lora_A["default"].weight),
            "B": as_json(modules[path].lora_B["default"].weight),
            "weight": as_json(modules[path].base_layer.weight),
        }
        for path in ("encoder.layer.0.attention.query", "head.0")
    }


def load_transformer(name):
    """A model of the hub that lies under test/fixtures/transformers, without the adapter that lies beside it."""
    source = FOLDER.parent.parent / "transformers" / name
    settings = json.loads((source / "config.json").read_text())
    with tempfile.TemporaryDirectory() as plain:
        for file in ("config.json", "model.safetensors"):
            shutil.copy(source / file, plain)
        model = getattr(transformers, settings["architectures"][0]).from_pretrained(plain).eval()
    model.name_or_path = name  # which PEFT writes into the adapter's config
    return model


def write_for_transformer(name, base, config):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    model = get_peft_model(load_transformer(base), config)
    stir(model, False)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    torch.manual_seed(1)
    ids = torch.randint(2, 61, (2, 5))
    loaded = PeftModel.from_pretrained(load_transformer(base), folder).eval()
    expected = {"ids": ids.tolist(), "y": as_json(loaded(input_ids=ids).logits)}
    (folder / "expected.json").write_text(json.dumps(expected))
    print(name, {path.name: path.stat().st_size for path in sorted(folder.iterdir())})


def main():
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or [*VARIANTS, *OF_TRANSFORMERS, "starts"]
    FOLDER.mkdir(parents=True, exist_ok=True)
    inputs = make_inputs()
    network = make_network()
    base = {
        "versions": {"peft": peft.__version__, "torch": torch.__version__},
        "weights": {name: as_json(tensor) for name, tensor in weights_of(network).items()},
        "inputs": {name: as_json(tensor) for name, tensor in inputs.items()},
        "y": as_json(network(**inputs)),
    }
    if not sys.argv[1:]:
        (FOLDER / "base.json").write_text(json.dumps(base))

    if "starts" in names:
        (FOLDER / "starts.json").write_text(json.dumps({name: start(name) for name in ("pissa", "olora")}))
    for name in names:
        if name in OF_TRANSFORMERS:
            write_for_transformer(name, **OF_TRANSFORMERS[name])
        if name not in VARIANTS:
            continue
        variant = VARIANTS[name]
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        model = get_peft_model(make_network(), variant["config"])
        stir(model, variant.get("within_groups", False))
        if "dtype" in variant:
            model.to(variant["dtype"])
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        # As PEFT itself reads it: what was rounded when it was saved is rounded here too.
        loaded = PeftModel.from_pretrained(make_network(), folder).eval()
        expected = {"y": as_json(loaded(**inputs))}
        try:
            merged = loaded.merge_and_unload()
            expected["y_merged"] = as_json(merged(**inputs))
            before = base["weights"]
            # Those that the adapter leaves as they are stand in base.json.
            expected["merged"] = {
                key: as_json(tensor)
                for key, tensor in weights_of(merged).items()
                if as_json(tensor) != before[key]
            }
        except NotImplementedError as error:
            expected["not_merged"] = str(error)
        (folder / "expected.json").write_text(json.dumps(expected))
        print(name, {path.name: path.stat().st_size for path in sorted(folder.iterdir())})


main()
