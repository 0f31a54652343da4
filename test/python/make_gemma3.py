"""Writes a tiny Gemma 3 that also takes images, an adapter that PEFT trained for its text part, and what PyTorch computes of texts:

python test/python/make_gemma3.py test/fixtures/gemma3Whole
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from peft import LoraConfig, get_peft_model

TEXT = dict(
    vocab_size=13,
    hidden_size=8,
    intermediate_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=6,
    max_position_embeddings=64,
    sliding_window=2,
    layer_types=["sliding_attention", "full_attention"],
    query_pre_attn_scalar=5,
    rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 40.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
    },
)
VISION = dict(
    hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, image_size=4, patch_size=2
)
IMAGE_TOKENS = dict(mm_tokens_per_image=1, boi_token_index=10, eoi_token_index=11, image_token_index=12)


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(3)
    config = transformers.Gemma3Config(text_config=TEXT, vision_config=VISION, **IMAGE_TOKENS)
    model = transformers.Gemma3ForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.tie_weights()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    ids = torch.randint(2, 10, (2, 6))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    ids[mask == 0] = 0
    base = model(input_ids=ids, attention_mask=mask).logits
    modules = r".*language_model.*\.(q_proj|down_proj)"
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=modules)).eval()
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted = peft(input_ids=ids, attention_mask=mask).logits
    peft.save_pretrained(folder)
    (folder / "README.md").unlink()
    expected = {
        "transformers": transformers.__version__,
        "ids": ids.tolist(),
        "mask": mask.tolist(),
        "base": base.flatten().tolist(),
        "adapted": adapted.flatten().tolist(),
        "shape": list(base.shape),
    }
    (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


main()
