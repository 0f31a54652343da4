"""Writes tiny random language models as GGUF files, and what transformers computes of them, for `test/extensions/language`:

python test/python/make_gguf.py FOLDER [NAME …]

Files are written as llama.cpp's converter writes them: queries and keys of Llama by pairs, one added to the norms of Gemma, GPT-2's matrices turned over. K-quants, which
the package `gguf` does not make, have drawn bytes. The models of transformers get the numbers that `gguf` gives for the blocks, and texts their tokens by the tokenizer
that transformers makes of the file (`gguf_file=`).
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SIZES = dict(vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
SHARED = SIZES | dict(num_key_value_heads=2)
CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the dog doesn't mind it at all.",
    "There's nothing that they'll say: we've seen 12 of 345 and 6789 more! What's left?",
    "naïve café, Straße, 日本語のテキスト, Привет мир, 🙂🙂 and the rest of the other words",
    "for (let i = 0; i < 10; i++) {\n    sum += values[i];\n}\n\n\nreturn sum;\t// done",
]
TEXTS = [
    *CORPUS,
    *["", " ", "  ", "\n", " \n\n  x", "hello", " hello", "hello  world   again", "THEY'LL DON'T we're I'm", "1234567 3.14 1,000"],
    *["ünïcödé e\u0301 ﬁ Ω", "日本 中文 한국어", "👩‍👩‍👧 🏳️‍🌈 🙃", "a\tb\r\nc\r\rd", "<s>hi</s><|im_start|>user\nho<|im_end|>", "trailing   ", "<think>so</think> x"],
    *["\u00a0nbsp\u2003em\u200b", "aaaaaaaaaaaaaaaaaaaa", "(){}[]<>!?;:", "the the  the", "x=1;y+=2;//c", "हिन्दी العربية", "A B  C   D"],
]
TEXTS += ["½ cup of sugar, add ½ cup", " ² ① ٣", "a\ufeffb \ufeff", "x\u0085y \u0085", " <s> hi</s> ho", "<|user|>\nHi<|end|>\n<|assistant|>\n"]
# Texts of these are drawn; `test/extensions/language/drawnTexts.ts` draws the same.
PIECES = json.loads((Path(__file__).parent / "../fixtures/gguf/pieces.json").read_text())


def drawn_texts():
    state = 1

    def draw(count):
        nonlocal state
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        return (state >> 8) % count

    return ["".join(PIECES[draw(len(PIECES))] for _ in range(1 + draw(8))) for _ in range(1000)]


def hashes(tokenize):
    """A hash of the tokens of each fifty drawn texts."""
    ids = [tokenize(text) for text in drawn_texts()]
    return [hashlib.sha256(json.dumps(ids[i : i + 50], separators=(",", ":")).encode()).hexdigest()[:8] for i in range(0, 1000, 50)]


SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PHI = ["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_tokenizer(split):
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Split(Regex(split), behavior="isolated")] if split else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=318, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    tokens.append("<think>")
    return tokens, [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]


def write_bytes(writer, pre, split):
    tokens, merges = byte_tokenizer(split)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIAL else 4 if token == "<think>" else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(2)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(pre == "llama-bpe")
    writer.add_chat_template(TEMPLATE)


def write_pieces(writer, kind):
    """As SentencePiece: special tokens, 256 bytes, then pieces with falling scores."""
    gemma = kind == "gemma"
    names = ["<pad>", "<eos>", "<bos>", "<unk>"] if gemma else ["<unk>", "<s>", "</s>"] + (PHI if kind == "phi" else [])
    characters = sorted(set("".join(CORPUS).replace(" ", "").replace("\n", "").replace("\t", "")))[:40]
    pairs = ["▁", "▁t", "he", "▁the", "in", "er", "re", "▁a", "nd", "▁and", "on", "or"]
    pieces = pairs + characters
    pieces = [*pieces, "  ", "   "][: 320 - 256 - len(names)] if gemma else pieces[: 320 - 256 - len(names)]
    tokens = names + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    types = [3 if name != "<unk>" else 2 for name in names] + [6] * 256 + [4 if piece.isspace() else 1 for piece in pieces]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * (len(names) + 256) + [-1000.0 if gemma else float(-i) for i in range(len(pieces))])
    writer.add_token_types(types)
    for name, key in [("bos", "<bos>" if gemma else "<s>"), ("eos", "<eos>" if gemma else "</s>"), ("unk", "<unk>")]:
        getattr(writer, f"add_{name}_token_id")(tokens.index(key))
    writer.add_add_bos_token(True)
    if gemma:
        writer.add_add_space_prefix(False)


def stretched(config):
    """The factors of Llama 3's rotary angles, as the converter writes them."""
    scaling = config.rope_parameters
    size = config.head_dim
    plain = 1.0 / (scaling["rope_theta"] ** (np.arange(0, size, 2) / size))
    share = 8192 * plain / (2 * np.pi)
    smooth = np.clip((share - 1) / 3, 0, 1)
    return (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32)


GPT2_NAMES = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
              "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}  # fmt: skip
NAMES = {"embed_tokens": "token_embd", "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up", "norm": "output_norm",
         "lm_head": "output"}  # fmt: skip
GEMMA_NAMES = NAMES | {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(name, names):
    module, end = name.rsplit(".", 1)
    module = module.removeprefix("model.").removeprefix("transformer.").removeprefix("gpt_neox.")
    for start in ("layers.", "h."):
        if module.startswith(start):
            index, rest = module.removeprefix(start).split(".", 1)
            return f"blk.{index}.{names[rest]}.{end}"
    return f"{names[module]}.{end}"


def paired(weights, heads):
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def unpaired(weights, heads):
    return weights.reshape(heads, weights.shape[0] // heads // 2, 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def drawn(shape, kind, random):
    """Blocks of K-quants whose scales are such as weights have."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (shape[0] * shape[1] // numbers, size), dtype=np.uint8)
    for at in [208] if kind == Type.Q6_K else [0, 2]:
        blocks[:, at : at + 2] = np.float16(random.uniform(1e-4, 4e-4, (len(blocks), 1))).view(np.uint8)
    return blocks.reshape(shape[0], -1)


MODELS = {
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig(**SHARED, tie_word_embeddings=True), "llama", ["Q8_0", "Q4_1", "Q5_1"], ("smollm", None)),
    "llama3": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(**SHARED, rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                                original_max_position_embeddings=8192)),
        "llama", ["Q4_0", "F16"], ("llama-bpe", "llama"),
    ),
    "kQuants": (
        transformers.LlamaForCausalLM,
        transformers.LlamaConfig(**SHARED | dict(hidden_size=256, num_hidden_layers=1, intermediate_size=32, head_dim=8, num_attention_heads=4), tie_word_embeddings=True),
        "llama", ["Q4_K", "Q5_K", "Q6_K"], "pieces",
    ),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config(**SHARED, tie_word_embeddings=True), "qwen2", ["Q5_0", "Q8_0"], ("qwen2", "qwen")),
    "qwen3": (transformers.Qwen3ForCausalLM, transformers.Qwen3Config(**SHARED, head_dim=16), "qwen3", ["BF16", "Q4_0"], ("qwen2", "qwen")),
    "gemma3": (
        transformers.Gemma3ForCausalLM,
        transformers.Gemma3TextConfig(**SHARED | dict(num_hidden_layers=7), head_dim=8, sliding_window=3, query_pre_attn_scalar=8, tie_word_embeddings=True),
        "gemma3", ["Q4_0", "Q8_0"], "gemma",
    ),
    "phi3": (
        transformers.Phi3ForCausalLM,
        transformers.Phi3Config(**SHARED | dict(num_key_value_heads=4), pad_token_id=0, original_max_position_embeddings=8,
                                rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.5, 2.0, 3.0, 4.0])),
        "phi3", ["Q5_1", "F32"], "phi",
    ),
    "gpt2": (
        transformers.GPT2LMHeadModel,
        transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_inner=64, n_positions=64, bos_token_id=1, eos_token_id=2),
        "gpt2", ["Q8_0", "Q5_0"], ("gpt-2", None),
    ),
}  # fmt: skip
# Their tokenizers are like those of others, and are not compared again.
WITH_KNOWN_TOKENIZERS = ["gemma", "gemma2", "olmo2", "olmo3", "phi2", "gptneox", "lfm2"]
ONE_BLOCK = SHARED | dict(num_hidden_layers=1)
PLAIN = SIZES | dict(num_hidden_layers=1, pad_token_id=0)
MODELS |= {
    "gemma": (transformers.GemmaForCausalLM, transformers.GemmaConfig(**ONE_BLOCK, head_dim=16), "gemma", ["Q8_0"], ("gpt-2", None)),
    "gemma2": (
        transformers.Gemma2ForCausalLM,
        transformers.Gemma2Config(**SHARED, head_dim=16, sliding_window=3, query_pre_attn_scalar=16, attn_logit_softcapping=2.0, final_logit_softcapping=5.0),
        "gemma2", ["Q8_0"], ("gpt-2", None),
    ),
    "olmo2": (transformers.Olmo2ForCausalLM, transformers.Olmo2Config(**ONE_BLOCK, pad_token_id=0), "olmo2", ["Q8_0"], ("gpt-2", None)),
    "olmo3": (
        transformers.Olmo3ForCausalLM,
        transformers.Olmo3Config(**SHARED, pad_token_id=0, sliding_window=3, layer_types=["sliding_attention", "full_attention"]),
        "olmo2", ["Q8_0"], ("gpt-2", None),
    ),
    "lfm2": (
        transformers.Lfm2ForCausalLM,
        transformers.Lfm2Config(**SHARED | dict(num_hidden_layers=4), full_attn_idxs=[2], block_multiple_of=64, conv_L_cache=4),
        "lfm2", ["Q8_0"], ("lfm2", None),
    ),
    "phi2": (transformers.PhiForCausalLM, transformers.PhiConfig(**PLAIN), "phi2", ["Q8_0"], ("gpt-2", None)),
    "gptneox": (transformers.GPTNeoXForCausalLM, transformers.GPTNeoXConfig(**PLAIN), "gptneox", ["Q8_0"], ("gpt-2", None)),
}  # fmt: skip
PHI_NAMES = NAMES | {"final_layernorm": "output_norm", "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
NEOX_NAMES = {"embed_in": "token_embd", "final_layer_norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
              "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}  # fmt: skip
OLMO_NAMES = NAMES | {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
LFM2_NAMES = NAMES | {"embedding_norm": "token_embd_norm", "operator_norm": "attn_norm", "ffn_norm": "ffn_norm", "self_attn.out_proj": "attn_output",
                      "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm", "conv.in_proj": "shortconv.in_proj", "conv.conv": "shortconv.conv",
                      "conv.out_proj": "shortconv.out_proj", "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down"}  # fmt: skip
OTHER_NAMES = {"lfm2": LFM2_NAMES, "gpt2": GPT2_NAMES, "gemma2": GEMMA_NAMES, "gemma3": GEMMA_NAMES, "olmo2": OLMO_NAMES, "phi2": PHI_NAMES, "gptneox": NEOX_NAMES}
GEMMAS = ("gemma", "gemma2", "gemma3")


def by_parts(weights, heads):
    return weights.reshape(heads, 3, -1, *weights.shape[1:]).swapaxes(0, 1).reshape(weights.shape)


def by_heads(weights, heads):
    return weights.reshape(3, heads, -1, *weights.shape[1:]).swapaxes(0, 1).reshape(weights.shape)


def write_config(writer, config, architecture, name):
    if architecture == "gpt2":
        writer.add_context_length(config.n_positions)
        writer.add_embedding_length(config.n_embd)
        writer.add_feed_forward_length(config.n_inner)
        writer.add_block_count(config.n_layer)
        writer.add_head_count(config.n_head)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    if architecture in ("phi2", "gptneox"):
        size = config.hidden_size // config.num_attention_heads
        writer.add_layer_norm_eps(config.layer_norm_eps)
        writer.add_rope_dimension_count(int(size * config.rope_parameters["partial_rotary_factor"]))
        if architecture == "phi2":
            writer.add_head_count_kv(config.num_key_value_heads)
        else:
            writer.add_parallel_residual(config.use_parallel_residual)
        return
    if architecture == "lfm2":
        writer.add_head_count_kv([0 if kind == "conv" else config.num_key_value_heads for kind in config.layer_types])
        writer.add_shortconv_l_cache(config.conv_L_cache)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps if architecture == "lfm2" else config.rms_norm_eps)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["full_attention"]["rope_theta"] if "full_attention" in rope else rope["rope_theta"])
    if architecture in ("llama", "phi3", "lfm2"):
        writer.add_rope_dimension_count(size)
        writer.add_vocab_size(config.vocab_size)
    if architecture in ("llama", "qwen3", *GEMMAS):
        writer.add_key_length(size)
        writer.add_value_length(size)
    if architecture in ("gemma2", "gemma3") or name == "olmo3":
        writer.add_sliding_window(config.sliding_window)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if name == "olmo3":
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
    if architecture == "phi3":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        stretch = config.max_position_embeddings / config.original_max_position_embeddings
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(config.original_max_position_embeddings)))
        writer.add_sliding_window(0)


def make(folder, name):
    model_class, config, architecture, kinds, tokenizer = MODELS[name]
    torch.manual_seed(7)
    random = np.random.default_rng(7)
    model = model_class(config).eval()
    for key, weight in model.named_parameters():
        if "norm" in key or "ln_" in key or key.endswith("bias"):
            torch.nn.init.normal_(weight, 0.0 if architecture in GEMMAS or key.endswith("bias") else 1.0, 0.1)
        else:
            torch.nn.init.normal_(weight, 0, 0.2)
    path = folder / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    write_config(writer, config, architecture, name)
    if isinstance(tokenizer, str):
        write_pieces(writer, tokenizer)
    else:
        from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping

        split = {"llama": mapping._LLAMA3_SPLIT, "qwen": mapping._QWEN2_SPLIT, None: None}[tokenizer[1]]
        write_bytes(writer, tokenizer[0], split)
    if name == "llama3":
        writer.add_tensor("rope_freqs.weight", stretched(config))
    if name == "phi3":
        writer.add_tensor("rope_factors_long.weight", np.float32(config.rope_parameters["long_factor"]))
        writer.add_tensor("rope_factors_short.weight", np.float32(config.rope_parameters["short_factor"]))
    names = OTHER_NAMES.get(architecture, NAMES)
    state = model.state_dict()
    turn = 0
    for key, weight in state.items():
        if key == "lm_head.weight" and model.get_output_embeddings().weight is model.get_input_embeddings().weight:
            continue
        weights = weight.numpy()
        weights = weights.squeeze(1) if "conv.conv" in key else weights
        heads = {"q": config.num_attention_heads, "k": getattr(config, "num_key_value_heads", 0)}
        paired_by = next((heads[kind] for kind in heads if architecture == "llama" and f".{kind}_proj." in key), None)
        is_turned = architecture == "gpt2" and weights.ndim == 2 and ".c_" in key
        is_norm = architecture in GEMMAS and "norm" in key
        parted = heads["q"] if "query_key_value" in key else 0
        weights = by_parts(weights, parted) if parted else weights.T if is_turned else paired(weights, paired_by) if paired_by else weights + 1 if is_norm else weights
        kind = Type.F32
        if weights.ndim == 2 and "wpe" not in key and "conv.conv" not in key:
            kind = Type[kinds[turn % len(kinds)]]
            turn += 1
            if weights.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0] != 0:
                kind = Type.Q8_0
        if kind.name.endswith("_K"):
            data = drawn(weights.shape, kind, random)
        else:
            data = gguf.quantize(np.ascontiguousarray(weights), kind)
        writer.add_tensor(gguf_name(key, names), data, raw_dtype=kind)
        stored = np.float32(gguf.dequantize(data, kind)).reshape(weights.shape)
        stored = by_heads(stored, parted) if parted else stored.T if is_turned else unpaired(stored, paired_by) if paired_by else stored - 1 if is_norm else stored
        weight.copy_(torch.from_numpy(np.ascontiguousarray(stored)).reshape(weight.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    known = name in WITH_KNOWN_TOKENIZERS
    reader = None if known else transformers.AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    # Where transformers makes less of a file than is in the model's own `tokenizer.json`.
    if tokenizer[0] == "qwen2":
        reader.backend_tokenizer.normalizer = normalizers.NFC()
    if tokenizer[0] == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        reader.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if tokenizer in ("pieces", "phi"):
        reader.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        reader.backend_tokenizer.pre_tokenizer = None
    if tokenizer == "phi":
        stated = json.loads(reader.backend_tokenizer.to_str())
        for token in stated["added_tokens"]:
            token["rstrip"] = token["content"] not in ("<unk>", "<s>", "<|endoftext|>")
        reader._tokenizer = Tokenizer.from_str(json.dumps(stated))
    random_ids = torch.from_numpy(random.integers(3, 318, (2, 12)))
    with torch.no_grad():
        logits = model(random_ids).logits
        greedy = model.generate(random_ids[:1], max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    shown = logits[:, ::4, ::5]
    expected = {
        "ids": random_ids.tolist(),
        "logits": [round(float(value), 6) for value in shown.flatten()],
        "greedy": greedy[0].tolist(),
    }
    if not known:
        expected |= {
            "texts": [[text, reader(text).input_ids] for text in TEXTS],
            "hashes": hashes(lambda text: reader(text).input_ids),
            "decoded": [reader.decode(reader(text, add_special_tokens=False).input_ids) for text in TEXTS],
        }
    (folder / f"{name}.json").write_text(json.dumps(expected, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    target, *chosen = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for each in chosen or MODELS:
            make(Path(target), each)
            print(each)
