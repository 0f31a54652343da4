"""Makes tiny decoders as published ones are made, for `npm run check -- lastmile`.

    python test/python/make_lastmile.py models FOLDER         # decoders, their adapters, and what PEFT computes
    python test/python/make_lastmile.py quantize FILE FOLDER  # a float file in 4 bits and in dynamic int8
"""

import json
import sys
from pathlib import Path

SIZES = dict(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
)
SPLIT = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PACKED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
IDS = [5, 9, 200, 33, 7, 80, 12, 99, 100, 4, 63, 11]


def models(folder):
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Phi3Config, PreTrainedTokenizerFast
    from transformers import Qwen2Config, Qwen3Config

    configs = {
        "llama": LlamaConfig(**SIZES),
        "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
        "qwen3": Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
        "mistral": MistralConfig(**SIZES, sliding_window=None),
        "phi3": Phi3Config(**SIZES, pad_token_id=0),
    }
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(256)}, unk_token="w0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", eos_token="w1", bos_token="w2")
    torch.manual_seed(0)
    for name, config in configs.items():
        place = folder / name
        model = AutoModelForCausalLM.from_config(config).eval()
        fill(model.parameters(), 0.15)
        model.save_pretrained(place)
        tokenizer.save_pretrained(place)
        # The version of transformers that optimum needs reads the base of positions under its earlier name.
        written = json.loads((place / "config.json").read_text())
        written["rope_theta"] = written.get("rope_parameters", {}).get("rope_theta", 10000.0)
        (place / "config.json").write_text(json.dumps(written))
        every = PACKED if name == "phi3" else SPLIT
        kinds = {
            "qv": dict(target_modules=[module for module in every if module in ("qkv_proj", "q_proj", "v_proj")]),
            "all": dict(target_modules=every, use_rslora=True, rank_pattern={"o_proj": 3}),
        }
        for kind, settings in kinds.items():
            lora = LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", init_lora_weights=False, **settings)
            adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(place), lora).eval()
            fill((weight for weight in adapted.parameters() if weight.requires_grad), 0.1)
            adapted.save_pretrained(folder / f"{name}-{kind}")


def fill(weights, spread):
    import torch

    for weight in weights:
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=spread)


def quantize(file, folder):
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    for name in ("q4", "q8"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    blocks = MatMulNBitsQuantizer(onnx.load(file), block_size=32, is_symmetric=True, accuracy_level=None)
    blocks.process()
    onnx.save(blocks.model.model, folder / "q4/model.onnx")
    options = dict(EnableSubgraph=True, MatMulConstBOnly=True)
    quantize_dynamic(file, folder / "q8/model.onnx", weight_type=QuantType.QInt8, extra_options=options)


if __name__ == "__main__":
    if sys.argv[1] == "models":
        models(Path(sys.argv[2]))
    else:
        quantize(sys.argv[2], Path(sys.argv[3]))
