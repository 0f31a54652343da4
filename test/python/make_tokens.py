"""Writes adapters of PEFT that train the embeddings of some tokens, for models of make_transformers.py, and what
PyTorch computes with them:

python test/python/make_tokens.py FOLDER
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

MODELS = Path(__file__).parent.parent / "fixtures/transformers"
ADAPTERS = {
    # The head is the token embedding: its logits change with the tokens.
    "tied": ("llamaTied", {"trainable_token_indices": [3, 11]}),
    "untied": ("llama", {"trainable_token_indices": {"embed_tokens": [60, 7, 21]}}),
}
IDS = [[1, 3, 11, 7, 3, 5], [7, 7, 2, 11, 4, 3]]


def load_base(name: str) -> torch.nn.Module:
    with tempfile.TemporaryDirectory() as folder:  # beside an adapter, transformers would load it too
        for file in ["config.json", "model.safetensors"]:
            shutil.copy(MODELS / name / file, folder)
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def main(folder: Path) -> None:
    for name, (base, tokens) in ADAPTERS.items():
        torch.manual_seed(5)
        load = lambda: load_base(base)
        model = get_peft_model(load(), LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj"], **tokens)).eval()
        ids = torch.tensor(IDS)
        start = model(ids).logits
        assert torch.equal(start, load()(ids).logits)
        trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
        with torch.no_grad():
            for weight in trained.values():
                weight.add_(0.3 * torch.randn_like(weight))
        logits = model(ids).logits
        weights = torch.randn_like(logits)
        (logits * weights).sum().backward()
        [gradient] = [weight.grad for key, weight in trained.items() if "trainable_tokens" in key]
        out = folder / name
        model.save_pretrained(out)
        (out / "README.md").unlink(missing_ok=True)
        # PEFT names the temporary folder of the base.
        config = out / "adapter_config.json"
        settings = {**json.loads(config.read_text()), "base_model_name_or_path": base}
        config.write_text(json.dumps(settings, indent=2))
        merged = PeftModel.from_pretrained(load(), out).merge_and_unload()
        assert torch.allclose(merged(ids).logits, logits, atol=1e-5)
        flat = lambda x: [round(value, 6) for value in x.detach().flatten().tolist()]
        expected = {
            "base": base,
            "ids": IDS,
            "logits": flat(logits),
            "weights": flat(weights),
            "gradient": flat(gradient),
        }
        (out / "expected.json").write_text(json.dumps(expected))


main(Path(sys.argv[1]))
