"""Makes tiny decoders as published ones are made, for `npm run check -- lastmile`.

    python test/python/make_lastmile.py models FOLDER         # decoders, their adapters, and what PEFT generates
    python test/python/make_lastmile.py smollm2 GGUF FOLDER   # the same for SmolLM2-135M, in float32
    python test/python/make_lastmile.py whisper FOLDER        # a tiny Whisper, its adapters, and PEFT's logits
    python test/python/make_lastmile.py dynamo FOLDER FILE    # a decoder as torch's exporter writes it
    python test/python/make_lastmile.py quantize FILE FOLDER  # a float file in 4 bits and in dynamic int8
    python test/python/make_lastmile.py fixtures OPTIMUM TO   # graphs without weights, and what PEFT adds to products

OPTIMUM is the Python with optimum, FOLDER that of a model of transformers.
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
PROMPTS = [[5, 9, 200, 33, 7], [80, 12, 99], [100, 4, 63, 11, 42, 17]]
TEXTS = ["The capital of France is", "def add(a, b):", "Once upon a time there was a small"]
IDS = [5, 9, 200, 33, 7, 80, 12, 99, 100, 4, 63, 11]


def models(folder):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config

    configs = {
        "llama": LlamaConfig(**SIZES),
        "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
        "qwen3": Qwen3Config(**SIZES, head_dim=32, tie_word_embeddings=True),
        "mistral": MistralConfig(**SIZES, sliding_window=None),
        "phi3": Phi3Config(**SIZES, pad_token_id=0),
    }
    torch.manual_seed(0)
    for name, config in configs.items():
        place = folder / name
        model = AutoModelForCausalLM.from_config(config).eval()
        fill(model.parameters(), 0.15)
        model.save_pretrained(place)
        save_words(place)
        write_rope_theta(place)
        every = PACKED if name == "phi3" else SPLIT
        kinds = {
            "qv": dict(target_modules=[module for module in every if module in ("qkv_proj", "q_proj", "v_proj")]),
            "all": dict(target_modules=every, use_rslora=True, rank_pattern={"o_proj": 3}),
        }
        adapters(place, {kind: dict(r=4, lora_alpha=8, **settings) for kind, settings in kinds.items()}, 0.1, PROMPTS)


def smollm2(file, place):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = dict(pretrained_model_name_or_path=file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # transformers saves no model that it read from blocks.
    del model.config.quantization_config, model.hf_quantizer
    model.is_quantized = False
    model.save_pretrained(place)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    tokenizer.save_pretrained(place)
    write_rope_theta(place)
    torch.manual_seed(0)
    kinds = {
        "qv": dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
        "all": dict(r=16, lora_alpha=16, target_modules=SPLIT),
    }
    adapters(place, kinds, 0.04, [tokenizer(text).input_ids for text in TEXTS])


def write_rope_theta(place):
    """The version of transformers that optimum needs reads the base of positions under its earlier name."""
    written = json.loads((place / "config.json").read_text())
    written["rope_theta"] = written.get("rope_parameters", {}).get("rope_theta", 10000.0)
    (place / "config.json").write_text(json.dumps(written))


def adapters(place, kinds, spread, prompts):
    """Saves adapters next to a model, and what it generates without and with each of them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def generated(model):
        def tokens(prompt):
            ids = torch.tensor([prompt])
            settings = dict(max_new_tokens=64, do_sample=False, pad_token_id=0, use_cache=True)
            return model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)[0].tolist()

        return [tokens(prompt) for prompt in prompts]

    expected = {"prompts": prompts, "base": generated(AutoModelForCausalLM.from_pretrained(place).eval())}
    for kind, settings in kinds.items():
        lora = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(place), lora).eval()
        fill((weight for weight in adapted.parameters() if weight.requires_grad), spread)
        adapted.save_pretrained(place.with_name(f"{place.name}-{kind}"))
        expected[kind] = generated(adapted)
    (place / "generated.json").write_text(json.dumps(expected))


def whisper(place):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    bins = 8
    blocks = dict(encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4)
    sizes = dict(d_model=32, encoder_ffn_dim=48, decoder_ffn_dim=40, num_mel_bins=bins, vocab_size=256)
    tokens = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    lists = dict(max_target_positions=24, suppress_tokens=[], begin_suppress_tokens=[])
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**blocks, **sizes, **tokens, **lists)).eval()
    fill(model.parameters(), 0.3)
    model.save_pretrained(place)
    WhisperFeatureExtractor(feature_size=bins).save_pretrained(place)
    features = torch.sin(torch.arange(bins * 3000, dtype=torch.float64) ** 2 / 7).float().reshape(1, bins, -1)

    def logits(network):
        with torch.no_grad():
            outputs = network(input_features=features, decoder_input_ids=torch.tensor([IDS]))
        return outputs.logits.flatten().tolist()

    expected = {"ids": IDS, "bins": bins, "features": features.flatten().tolist(), "base": logits(model)}
    every = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    kinds = {"qv": dict(target_modules=["q_proj", "v_proj"]), "all": dict(target_modules=every, use_rslora=True)}
    for kind, settings in kinds.items():
        lora = LoraConfig(r=3, lora_alpha=6, init_lora_weights=False, **settings)
        adapted = get_peft_model(WhisperForConditionalGeneration.from_pretrained(place), lora).eval()
        fill((weight for weight in adapted.parameters() if weight.requires_grad), 0.2)
        adapted.save_pretrained(place / kind)
        expected[kind] = logits(adapted)
    (place / "expected.json").write_text(json.dumps(expected))


def dynamo(folder, file):
    import torch
    from transformers import AutoModelForCausalLM

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids):
            return self.model(input_ids=input_ids, use_cache=False).logits

    file.parent.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    names = dict(input_names=["input_ids"], output_names=["logits"])
    shapes = ({1: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(
        Logits(model), (torch.tensor([IDS]),), file, dynamo=True, dynamic_shapes=shapes, external_data=False, **names
    )


def fixtures(optimum, to):
    import subprocess
    from tempfile import TemporaryDirectory

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, LlamaConfig

    to.mkdir(parents=True, exist_ok=True)
    small = {**SIZES, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
    config = LlamaConfig(**{**small, "num_attention_heads": 2, "num_key_value_heads": 1})
    with TemporaryDirectory() as name:
        place = Path(name)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
        model.save_pretrained(place / "llama")
        save_words(place / "llama")
        write_rope_theta(place / "llama")
        settings = dict(r=2, lora_alpha=3, target_modules=SPLIT, use_rslora=True, rank_pattern={"o_proj": 3})
        adapters(place / "llama", {"all": settings}, 0.3, [])
        adapted = PeftModel.from_pretrained(model, place / "llama-all")
        added = {
            module.removeprefix("base_model.model."): (layer.get_delta_weight("default") @ vector(layer.in_features)).tolist()
            for module, layer in adapted.named_modules()
            if hasattr(layer, "get_delta_weight")
        }
        (to / "added.json").write_text(json.dumps(added) + "\n")
        (to / "adapter_model.safetensors").write_bytes((place / "llama-all" / "adapter_model.safetensors").read_bytes())
        config = json.loads((place / "llama-all" / "adapter_config.json").read_text())
        (to / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}, indent=2))
        builder = ["-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "cpu", "-c", place / "cache"]
        subprocess.run([sys.executable, *builder, "-i", place / "llama", "-o", place / "builder"], check=True)
        export = [optimum, "-m", "optimum.commands.optimum_cli", "export", "onnx", "--model"]
        task = ["--task", "text-generation-with-past", "--no-post-process"]
        subprocess.run([*export, place / "llama", *task, place / "optimum"], check=True)
        quantize_with = [optimum, __file__, "quantize"]
        subprocess.run([*quantize_with, place / "optimum/model.onnx", place / "optimum"], check=True)
        dynamo(place / "llama", place / "dynamo/model.onnx")
        files = {"builder-q4": "builder", "optimum": "optimum", "optimum-q4": "optimum/q4", "optimum-q8": "optimum/q8"}
        for name, folder in {**files, "dynamo": "dynamo"}.items():
            graph_of(place / folder / "model.onnx", to / f"{name}.onnx.gz")


def vector(size):
    """What products are multiplied with."""
    import torch

    return torch.arange(size) % 7 / 4 - 0.75


def graph_of(file, to):
    """Writes a file without its weights, which it says to be in another file."""
    import gzip

    import onnx

    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.HasField("raw_data"):
            onnx.external_data_helper.set_external_data(tensor, "weights", length=len(tensor.raw_data))
            tensor.ClearField("raw_data")
    to.write_bytes(gzip.compress(model.SerializeToString(), 9, mtime=0))


def save_words(place):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({f"w{i}": i for i in range(256)}, unk_token="w0"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w0", eos_token="w1", bos_token="w2"
    ).save_pretrained(place)


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
    command, *paths = sys.argv[1:]
    commands = {"models": models, "smollm2": smollm2, "whisper": whisper, "dynamo": dynamo, "quantize": quantize}
    commands["fixtures"] = fixtures
    commands[command](*map(Path, paths))
