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
from peft import LoraConfig, PeftModel, TrainableTokensConfig, get_peft_model
from transformers import AutoModelForCausalLM

MODELS = Path(__file__).parent.parent / "fixtures/transformers"
lora = lambda indices: LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj"], trainable_token_indices=indices)
ADAPTERS = {
    # The head is the token embedding: its logits change with the tokens.
    "tied": ("llamaTied", 0, lora([3, 11])),
    "untied": ("llama", 0, lora({"embed_tokens": [60, 7, 21]})),
    # Models with two more tokens, which train.
    "added": ("llamaTied", 2, lora([13, 14])),
    "addedUntied": ("llama", 2, lora({"embed_tokens": [61, 62], "lm_head": [61, 62]})),
    # PEFT's own type, without LoRA.
    "alone": ("llamaTied", 2, TrainableTokensConfig(token_indices=[3, 13, 14])),
    "aloneUntied": ("llama", 2, TrainableTokensConfig(token_indices=[61, 62], target_modules=["embed_tokens", "lm_head"])),
}
IDS = [[1, 3, 11, 7, 3, 5], [7, 7, 2, 11, 4, 3]]


def load_base(name: str, added: int) -> torch.nn.Module:
    with tempfile.TemporaryDirectory() as folder:  # beside an adapter, transformers would load it too
        for file in ["config.json", "model.safetensors"]:
            shutil.copy(MODELS / name / file, folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if added > 0:
        # The rows of new tokens are random: adapters hold their own.
        model.resize_token_embeddings(model.config.vocab_size + added)
    return model


def main(folder: Path) -> None:
    for name, (base, added, lora_config) in ADAPTERS.items():
        torch.manual_seed(5)
        load = lambda: load_base(base, added)
        model = get_peft_model(load(), lora_config).eval()
        vocabulary = model.config.vocab_size
        ids = torch.tensor(IDS + ([[1, vocabulary - 2, 5, vocabulary - 1, 2, 3]] if added > 0 else []))
        assert added > 0 or torch.equal(model(ids).logits, load()(ids).logits)
        trained = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
        with torch.no_grad():
            for weight in trained.values():
                weight.add_(0.3 * torch.randn_like(weight))
        logits = model(ids).logits
        weights = torch.randn_like(logits)
        (logits * weights).sum().backward()
        gradients = [weight.grad.flatten() for key, weight in trained.items() if "trainable_tokens" in key]
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
            "ids": ids.tolist(),
            "logits": flat(logits),
            "weights": flat(weights),
            "gradient": flat(torch.cat(gradients)),
        }
        (out / "expected.json").write_text(json.dumps(expected))


main(Path(sys.argv[1]))
