"""Writes random configs of each family of the hub, and what PyTorch computes with them, for `test/extensions/transformers/configs.slow.test.ts`:

python test/python/make_configs.py test/fixtures/configs [FAMILY …]

A file holds two things. `cases` are many configs, valid ones and odd ones, each with its inputs and some numbers of the result, or `null`
where transformers refuses. `settings` is a table of every key of the config that transformers looks up, with what becomes of one model when the
key is set to this or that: the same result, another one, or an error.

Weights are no part of a file: `values` below and `weightsOf` in TypeScript draw the same numbers from a seed.
"""

import json
import math
import random
import sys
import tempfile
from pathlib import Path

import new_impl
import numpy as np
import torch
import transformers
from alone import each_alone
from safetensors.torch import save_file
from transformers import PreTrainedConfig

CASES = 20
VOCABULARY = 13
SHOWN = 40
ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "relu", "silu", "swish"]
ODD = [None, True, False, 0, 1, 3, 0.5, "x", {}, [1]]
# What `from_pretrained` takes out of a config before anything looks it up, and what older versions and other families read.
ALSO_TRIED = ["rope_scaling", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings"]
ALSO_TRIED += ["position_embedding_type", "pruned_heads", "torch_dtype", "use_bidirectional_attention", "embedding_size"]
transformers.logging.set_verbosity(transformers.logging.CRITICAL)
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
for each in new_impl.CLASSES:
    setattr(transformers, each.__name__, each)


def values(seed, count):
    """Numbers in [-0.5, 0.5) by mulberry32, as `randomFrom` has them."""
    wide = np.uint64(0xFFFFFFFF)
    state = (np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x6D2B79F5)) & wide
    mixed = ((state ^ (state >> np.uint64(15))) * (state | np.uint64(1))) & wide
    mixed ^= (mixed + (((mixed ^ (mixed >> np.uint64(7))) * (mixed | np.uint64(61))) & wide)) & wide
    return ((mixed ^ (mixed >> np.uint64(14))) & wide).astype(np.float64) / 2**32 - 0.5


def weights_of(seed, shapes):
    """The tensors of a file: those of one axis around 1 if they are weights or variances, around 0 if they are biases."""
    tensors = {}
    for i, (name, shape) in enumerate(shapes):
        center = 1 if len(shape) == 1 and name.endswith(("weight", "running_var")) else 0
        numbers = values(1000 * seed + i, math.prod(shape)) + center
        tensors[name] = torch.tensor(numbers, dtype=torch.float32).reshape(shape)
    return tensors


def encoder(rng):
    heads = rng.choice([1, 2, 3])
    return dict(
        vocab_size=VOCABULARY,
        hidden_size=heads * rng.choice([4, 6]),
        num_hidden_layers=rng.choice([1, 2]),
        num_attention_heads=heads,
        intermediate_size=rng.choice([5, 8]),
        max_position_embeddings=rng.choice([12, 20]),
        hidden_act=rng.choice(ACTIVATIONS),
        layer_norm_eps=rng.choice([1e-12, 1e-5, 0.01]),
        type_vocab_size=rng.choice([1, 2]),
        num_labels=rng.choice([1, 3]),
    )


def bert(rng):
    return encoder(rng) | dict(pad_token_id=rng.choice([0, 5, None]))


def roberta(rng):
    return encoder(rng) | dict(pad_token_id=rng.choice([0, 1, 1, 4]))


def electra(rng):
    return bert(rng) | dict(embedding_size=rng.choice([4, 8]))


def albert(rng):
    layers = rng.choice([1, 2, 4])
    return electra(rng) | dict(
        num_hidden_layers=layers,
        num_hidden_groups=rng.choice([1, 1, min(2, layers)]),
        inner_group_num=rng.choice([1, 1, 2]),
    )


def mobilebert(rng):
    config = bert(rng)
    narrow = config["num_attention_heads"] * rng.choice([2, 3])
    has_bottleneck = rng.choice([True, True, False])
    return config | dict(
        embedding_size=rng.choice([3, config["hidden_size"] - 1]),
        trigram_input=rng.choice([True, True, False]),
        use_bottleneck=has_bottleneck,
        intra_bottleneck_size=narrow,
        num_feedforward_networks=rng.choice([1, 2, 3]),
        normalization_type=rng.choice(["no_norm", "no_norm", "layer_norm"]),
        classifier_activation=rng.choice([True, False]),
        **rng.choice(
            [
                dict(use_bottleneck_attention=False, key_query_shared_bottleneck=True),
                dict(use_bottleneck_attention=True, key_query_shared_bottleneck=rng.choice([True, False])),
            ]
        ),
        tie_word_embeddings=rng.choice([True, True, False]),
    )


def distilbert(rng):
    heads = rng.choice([1, 2, 3])
    return dict(
        vocab_size=VOCABULARY,
        dim=heads * rng.choice([4, 6]),
        n_layers=rng.choice([1, 2]),
        n_heads=heads,
        hidden_dim=rng.choice([5, 8]),
        max_position_embeddings=rng.choice([12, 20]),
        activation=rng.choice(ACTIVATIONS),
        sinusoidal_pos_embds=rng.choice([True, False]),
        num_labels=rng.choice([1, 3]),
        pad_token_id=rng.choice([0, 5]),
    )


def gpt2(rng):
    heads = rng.choice([1, 2, 3])
    return dict(
        vocab_size=VOCABULARY,
        n_embd=heads * rng.choice([4, 6]),
        n_layer=rng.choice([1, 2]),
        n_head=heads,
        n_inner=rng.choice([None, 5]),
        n_positions=rng.choice([12, 20]),
        activation_function=rng.choice(ACTIVATIONS),
        layer_norm_epsilon=rng.choice([1e-5, 0.01]),
        num_labels=rng.choice([1, 3]),
        pad_token_id=rng.choice([None, 0, 7, 12]),
        eos_token_id=12,
        tie_word_embeddings=rng.choice([True, True, False]),
        is_causal=rng.choice([True, True, False]),
    )


def rope(rng):
    ways = [
        {},
        {"rope_theta": 100.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 50}},
        {"rope_parameters": {"type": "linear", "factor": 2, "rope_theta": 50.0}},
        {"rope_parameters": None, "rope_scaling": None, "rope_theta": 20.0},
        {"rope_scaling": {"rope_type": "linear", "factor": 3.0}, "rope_theta": 77.0},
        {"rope_scaling": {"type": "linear", "factor": 3.0, "rope_theta": 11.0}, "rope_theta": 77.0},
        {"rope_parameters": llama3(rng) | {"rope_theta": 80.0}},
        {"rope_scaling": llama3(rng), "rope_theta": 30.0, "original_max_position_embeddings": rng.choice([4, 9])},
        {"rope_scaling": {k: v for k, v in llama3(rng).items() if k != "original_max_position_embeddings"}},
        {"rope_scaling": llama3(rng), "rope_parameters": {"rope_type": "linear", "rope_theta": 9.0, "factor": 2.0}},
        {"rope_scaling": {}, "rope_parameters": {"rope_type": "linear", "rope_theta": 9.0, "factor": 2.0}},
        {"partial_rotary_factor": 0.5, "rope_theta": 40.0},
        {"rope_parameters": yarn(rng) | {"rope_theta": 90.0}},
        {"rope_scaling": yarn(rng), "rope_theta": 30.0, "original_max_position_embeddings": rng.choice([8, 40])},
        {"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 15.0},
        {"rope_scaling": dynamic(rng)} | short(rng),
        {"rope_parameters": dynamic(rng) | {"rope_theta": 25.0}} | short(rng),
    ]
    return rng.choice(ways)


def yarn(rng):
    more = [
        {},
        {"beta_fast": rng.choice([2, 4.0]), "beta_slow": rng.choice([0.25, 1])},
        {"attention_factor": 0.8, "truncate": rng.choice([True, False])},
        {"mscale": 0.5, "mscale_all_dim": rng.choice([1.5, 0]), "beta_fast": 1.5, "truncate": False},
        {"attention_factor": None, "beta_fast": None, "beta_slow": None, "mscale": 2.0},
    ]
    usual = {"rope_type": "yarn", "factor": rng.choice([0.5, 4, 3.0]), "original_max_position_embeddings": rng.choice([6, 50])}
    return usual | rng.choice(more)


def dynamic(rng):
    return {"rope_type": "dynamic", "factor": rng.choice([1.0, 2.0, 4])}


def short(rng):
    return {"max_position_embeddings": rng.choice([2, 3, 5])}


def llama3(rng):
    return {
        "rope_type": "llama3",
        "factor": rng.choice([2.0, 8]),
        "low_freq_factor": 1.0,
        "high_freq_factor": rng.choice([2.0, 4]),
        "original_max_position_embeddings": rng.choice([6, 16]),
    }


def llama(rng):
    groups = rng.choice([1, 2])
    heads = groups * rng.choice([1, 2])
    return dict(
        vocab_size=VOCABULARY,
        hidden_size=heads * 4,
        intermediate_size=rng.choice([5, 8]),
        num_hidden_layers=rng.choice([1, 2]),
        num_attention_heads=heads,
        num_key_value_heads=rng.choice([None, groups]),
        head_dim=rng.choice([None, 2, 6]),
        max_position_embeddings=rng.choice([12, 20]),
        hidden_act=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]),
        rms_norm_eps=rng.choice([1e-6, 0.01]),
        attention_bias=rng.choice([True, False]),
        mlp_bias=rng.choice([True, False]),
        num_labels=rng.choice([1, 3]),
        pad_token_id=rng.choice([None, 0, 2]),
        eos_token_id=2,
        tie_word_embeddings=rng.choice([True, False]),
        is_causal=rng.choice([True, True, False]),
    ) | rope(rng)


def nomic_bert(rng):
    more = dict(head_dim=rng.choice([None, 2, 6]), hidden_act=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]))
    return encoder(rng) | more | dict(pad_token_id=rng.choice([0, 5])) | rope(rng)


def gte(rng):
    config = encoder(rng) | dict(hidden_act=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]))
    config |= dict(pad_token_id=rng.choice([0, 5]), type_vocab_size=rng.choice([0, 1, 2]))
    return config | (dict(head_dim=rng.choice([2, 6])) if rng.random() < 0.5 else {}) | rope(rng)


def new(rng):
    config = encoder(rng) | dict(hidden_act=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]))
    config |= dict(pad_token_id=rng.choice([0, 5]), type_vocab_size=rng.choice([0, 1, 2]), pack_qkv=rng.choice([True, True, False]))
    ways = [
        {},
        {"rope_theta": 40.0, "rope_scaling": {"type": "ntk", "factor": rng.choice([0.5, 2.0, 8])}},
        {"rope_scaling": {"type": "ntk", "factor": 4.0, "mixed_b": rng.choice([None, 0.5, 1.25])}},
    ]
    return config | rng.choice(ways)


def decoder(rng, *without):
    config = llama(rng)
    return {key: value for key, value in config.items() if key not in without}


def mistral(rng):
    config = decoder(rng, "attention_bias", "mlp_bias") | dict(sliding_window=rng.choice([None, 1, 2, 3, 40]))
    config["num_key_value_heads"] = config["num_key_value_heads"] or config["num_attention_heads"]
    return config


def layer_types(rng, config):
    return [rng.choice(["full_attention", "sliding_attention"]) for _ in range(config["num_hidden_layers"])]


def windows(rng, config):
    if rng.random() < 0.4:
        return dict(sliding_window=rng.choice([2, 4096]), use_sliding_window=False)
    switched = dict(use_sliding_window=True, sliding_window=rng.choice([1, 2, 3, 40]))
    switched |= dict(max_window_layers=rng.choice([0, 1, 28]))
    return switched | (dict(layer_types=layer_types(rng, config)) if rng.random() < 0.4 else {})


def qwen2(rng):
    config = decoder(rng, "attention_bias", "mlp_bias", "head_dim")
    return config | windows(rng, config)


def qwen3(rng):
    config = decoder(rng, "mlp_bias")
    return config | dict(head_dim=rng.choice([2, 4, 6])) | windows(rng, config)


def gemma3_text(rng):
    config = decoder(rng, "mlp_bias", "hidden_act", "rope_parameters", "rope_scaling", "rope_theta")
    config = {key: value for key, value in config.items() if key != "partial_rotary_factor"}
    config["num_key_value_heads"] = config["num_key_value_heads"] or config["num_attention_heads"]
    config |= dict(
        head_dim=rng.choice([2, 4, 6]),
        hidden_activation=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]),
        query_pre_attn_scalar=rng.choice([3, 8]),
        sliding_window=rng.choice([2, 3, 4, 40]),
        use_bidirectional_attention=rng.choice([False, False, None, True]),
    )
    if config["use_bidirectional_attention"]:
        config["is_causal"] = True
    pattern = rng.choice([dict(sliding_window_pattern=2), dict(layer_types=layer_types(rng, config)), {}])
    return config | pattern | nested_rope(rng, ["full_attention"], "rope_theta", "rope_local_base_freq")


def gemma(rng):
    return decoder(rng, "mlp_bias") | of_gemma(rng)


def of_gemma(rng):
    return dict(num_key_value_heads=1, head_dim=rng.choice([2, 4, 6]), num_attention_heads=rng.choice([1, 2, 4]))


def gemma2(rng):
    config = decoder(rng, "mlp_bias", "hidden_act") | of_gemma(rng) | dict(
        hidden_size=rng.choice([4, 8]),
        hidden_activation=rng.choice(["silu", "gelu", "gelu_pytorch_tanh"]),
        query_pre_attn_scalar=rng.choice([3, 8]),
        sliding_window=rng.choice([1, 2, 3, 40]),
        attn_logit_softcapping=rng.choice([None, 0.3, 1.5]),
        final_logit_softcapping=rng.choice([None, 0.5, 2.0]),
    )
    return config | rng.choice([dict(layer_types=layer_types(rng, config)), {}])


def plain_decoder(rng):
    config = {key: value for key, value in encoder(rng).items() if key not in ("type_vocab_size", "num_labels")}
    return config | dict(
        num_labels=rng.choice([1, 3]),
        pad_token_id=rng.choice([None, 0, 2]),
        eos_token_id=2,
        tie_word_embeddings=rng.choice([True, False]),
        is_causal=rng.choice([True, True, False]),
    )


def gpt_neox(rng):
    config = plain_decoder(rng)
    size = config["hidden_size"] // config["num_attention_heads"]
    ways = [
        {},
        {"rotary_pct": 1.0, "rotary_emb_base": 30},
        {"rotary_pct": 0.5, "rotary_emb_base": 50.0, "rope_theta": 3.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 60.0, "partial_rotary_factor": 0.75}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}, "rotary_pct": 1.0},
        {"rope_parameters": llama3(rng) | {"partial_rotary_factor": 1.0}},
        {"rope_scaling": yarn(rng), "rotary_pct": 1.0, "rotary_emb_base": 70.0},
        {"rope_parameters": dynamic(rng) | {"partial_rotary_factor": 1.0}} | short(rng),
    ]
    flags = dict(use_parallel_residual=rng.choice([True, True, False]), attention_bias=rng.choice([True, True, False]))
    return config | flags | (rng.choice(ways) if size == 4 else rng.choice(ways[1:3]))


def phi(rng):
    config = plain_decoder(rng)
    ways = [
        {"rope_theta": 40.0},
        {"partial_rotary_factor": 1.0},
        {"rope_parameters": {"rope_theta": 70.0, "partial_rotary_factor": 1.0}},
        {"rope_scaling": llama3(rng), "partial_rotary_factor": 1.0, "rope_theta": 30.0},
        {"rope_parameters": yarn(rng) | {"partial_rotary_factor": 1.0}},
        {"rope_scaling": dynamic(rng), "partial_rotary_factor": 1.0} | short(rng),
    ]
    is_even = config["hidden_size"] // config["num_attention_heads"] == 4
    config |= dict(num_key_value_heads=rng.choice([None, 1]), qk_layernorm=rng.choice([True, False]))
    return config | rng.choice(ways if is_even else ways[1:])


def lfm2(rng):
    config = decoder(rng, "hidden_act", "rms_norm_eps", "attention_bias", "mlp_bias", "head_dim")
    config["num_key_value_heads"] = config["num_key_value_heads"] or config["num_attention_heads"]
    count = rng.choice([1, 2, 3])
    config |= dict(
        num_hidden_layers=count,
        norm_eps=rng.choice([1e-5, 0.01]),
        conv_bias=rng.choice([True, False, False]),
        conv_L_cache=rng.choice([1, 2, 3, 4]),
        intermediate_size=rng.choice([5, 8, 11]),
        block_auto_adjust_ff_dim=rng.choice([True, True, False]),
        block_multiple_of=rng.choice([1, 3, 4]),
        block_ffn_dim_multiplier=rng.choice([1, 1.0, 1.5]),
    )
    if rng.random() < 0.3:
        config |= rng.choice([dict(head_dim=rng.choice([2, 6])), dict(block_ff_dim=7)])
    if rng.random() < 0.3:
        config["tie_embedding"] = config.pop("tie_word_embeddings")
    ways = [
        dict(layer_types=[*(rng.choice(["full_attention", "conv"]) for _ in range(count - 1)), "full_attention"]),
        dict(full_attn_idxs=[rng.randrange(count), *(i for i in range(1, 4) if rng.random() < 0.2)]),
        dict(full_attn_idxs=[], layer_types=["full_attention", *["conv"] * (count - 1)]),
        {},
    ]
    return config | rng.choice([*ways[:3], *ways])


def opt(rng):
    config = {key: value for key, value in plain_decoder(rng).items() if key not in ("intermediate_size", "hidden_act", "layer_norm_eps")}
    return config | dict(
        ffn_dim=rng.choice([5, 8]),
        activation_function=rng.choice(ACTIVATIONS),
        do_layer_norm_before=rng.choice([True, True, False]),
        _remove_final_layer_norm=rng.choice([True, False, False]),
        word_embed_proj_dim=rng.choice([None, 5, config["hidden_size"]]),
        enable_bias=rng.choice([True, True, False]),
    )


def nested_rope(rng, scaled, of_all, of_windows):
    linear = {"rope_type": "linear", "factor": rng.choice([2.0, 3.0])}
    ways = [
        {},
        {of_all: 50.0, of_windows: 20.0},
        {of_all: 70.0, "rope_scaling": linear},
        {of_windows: 30.0, "rope_scaling": llama3(rng)},
        {"rope_parameters": {"full_attention": linear | {"rope_theta": 40.0}, "sliding_attention": {"rope_theta": 9.0}}},
        {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 11.0}}, of_all: 60.0},
        {"rope_parameters": {"full_attention": llama3(rng) | {"rope_theta": 80.0}}},
        {"rope_parameters": {"full_attention": without_truncate(yarn(rng)) | {"rope_theta": 80.0}}, of_windows: 12.0},
        {"rope_parameters": {"full_attention": dynamic(rng), "sliding_attention": dynamic(rng)}} | short(rng),
        {"rope_scaling": without_truncate(yarn(rng)) | {"rope_theta": 35.0}},
        {"rope_scaling": dynamic(rng), of_all: 45.0} | short(rng),
    ]
    return rng.choice(ways)


def without_truncate(scaling):
    """With angles by kinds of blocks, transformers looks for it where no config has it."""
    return {key: value for key, value in scaling.items() if key != "truncate"}


def smollm3(rng):
    config = decoder(rng, "head_dim")
    if rng.random() < 0.5:
        config["no_rope_layers"] = [rng.choice([0, 1]) for _ in range(config["num_hidden_layers"])]
    else:
        config["no_rope_layer_interval"] = rng.choice([1, 2, 4])
    if config["pad_token_id"] is None and rng.random() < 0.7:
        config["pad_token_id"] = 1
    switched = dict(use_sliding_window=True, sliding_window=rng.choice([1, 2, 40]))
    return config | rng.choice([{}, switched, switched | dict(layer_types=layer_types(rng, config))])


def phi3(rng):
    config = decoder(rng, "attention_bias", "mlp_bias", "rope_parameters", "rope_scaling", "rope_theta", "head_dim")
    size = rng.choice([4, 5, 6, 8])
    part = rng.choice([1.0, 0.5, 0.75]) if size % 2 == 0 else rng.choice([0.4, 0.6])
    config |= dict(hidden_size=config["num_attention_heads"] * size, sliding_window=rng.choice([None, None, 1, 3]))
    config |= dict(partial_rotary_factor=part, original_max_position_embeddings=rng.choice([3, 5, 12]))
    if config["pad_token_id"] is None and rng.random() < 0.7:
        config["pad_token_id"] = 1
    pairs = int(size * part) // 2
    if int(size * part) % 2 == 1 or rng.random() < 0.4:
        return config | rng.choice([{}, {"rope_theta": 50.0}, {"rope_parameters": {"rope_theta": 70.0}}])
    factors = {f"{length}_factor": [rng.choice([1.0, 1.25, 2]) for _ in range(pairs)] for length in ("short", "long")}
    scaling = factors | {"type": rng.choice(["longrope", "yarn"])}
    return config | dict(rope_theta=60.0, rope_scaling=scaling | rng.choice([{}, {"factor": 3.0}, {"attention_factor": 1.5}]))


def olmo2(rng):
    return decoder(rng, "mlp_bias", "head_dim")


def olmo3(rng):
    config = decoder(rng, "mlp_bias", "head_dim", "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor")
    config |= dict(sliding_window=rng.choice([1, 2, 3, 40]), num_hidden_layers=rng.choice([1, 2, 4]))
    config |= rng.choice([dict(layer_types=layer_types(rng, config)), {}])
    return config | nested_rope(rng, ["full_attention"], "rope_theta", "rope_local_base_freq")


def granite(rng):
    return decoder(rng, "head_dim") | dict(
        embedding_multiplier=rng.choice([1.0, 12, 0.5]),
        attention_multiplier=rng.choice([1.0, 0.3]),
        residual_multiplier=rng.choice([1.0, 0.22]),
        logits_scaling=rng.choice([1, 8.0]),
    )


def modernbert(rng):
    config = encoder(rng)
    config = {key: value for key, value in config.items() if key not in ("hidden_act", "layer_norm_eps", "type_vocab_size")}
    config |= dict(
        hidden_activation=rng.choice(["gelu", "silu", "gelu_pytorch_tanh"]),
        norm_eps=rng.choice([1e-5, 0.01]),
        pad_token_id=rng.choice([0, 5]),
        local_attention=rng.choice([2, 3, 4, 40]),
        classifier_pooling=rng.choice(["cls", "mean"]),
        classifier_activation=rng.choice(ACTIVATIONS),
        tie_word_embeddings=rng.choice([True, True, False]),
    )
    config |= {name: rng.choice([True, False]) for name in MODERN_BIASES}
    ways = [dict(global_attn_every_n_layers=rng.choice([1, 2])), dict(layer_types=layer_types(rng, config)), {}]
    return config | rng.choice(ways) | nested_rope(rng, [], "global_rope_theta", "local_rope_theta")


def t5(rng):
    ways = ["relu", "gelu", "silu", "gated-gelu", "gated-gelu", "gated-silu", "gated-gelu_new"]
    return dict(
        vocab_size=VOCABULARY,
        d_model=rng.choice([8, 12]),
        d_kv=rng.choice([2, 3, 6]),
        d_ff=rng.choice([5, 8]),
        num_layers=rng.choice([1, 2]),
        num_heads=rng.choice([1, 2, 3]),
        relative_attention_num_buckets=rng.choice([4, 8, 9, 32]),
        relative_attention_max_distance=rng.choice([9, 12, 128]),
        layer_norm_epsilon=rng.choice([1e-6, 0.01]),
        feed_forward_proj=rng.choice(ways),
        num_labels=rng.choice([1, 3]),
        pad_token_id=rng.choice([0, 5]),
        tie_word_embeddings=rng.choice([True, False]),
    )


def deberta_v2(rng):
    config = encoder(rng) | dict(
        relative_attention=rng.choice([True, True, True, False]),
        pos_att_type=rng.choice(["p2c|c2p", " C2P | p2c", ["c2p"], ["p2c"], ["p2c", "c2p"], None, []]),
        share_att_key=rng.choice([True, False]),
        position_buckets=rng.choice([-1, 2, 4, 5, 8, 16]),
        max_relative_positions=rng.choice([-1, 4, 6, 12]),
        norm_rel_ebd=rng.choice(["layer_norm", "none"]),
        position_biased_input=rng.choice([True, False]),
        pooler_hidden_act=rng.choice([*ACTIVATIONS, "tanh"]),
        type_vocab_size=rng.choice([0, 0, 2]),
        pad_token_id=rng.choice([0, 5]),
        legacy=rng.choice([True, False]),
    )
    if rng.random() < 0.4:
        config |= dict(conv_kernel_size=rng.choice([1, 3, 5]), conv_act=rng.choice(["tanh", "gelu"]))
    if config["legacy"] and rng.random() < 0.4:
        config["embedding_size"] = 6
    return config


def deberta(rng):
    config = encoder(rng) | dict(
        relative_attention=rng.choice([True, True, True, False]),
        pos_att_type=rng.choice(["p2c|c2p", " C2P | p2c", ["c2p"], ["p2c"], ["p2c", "c2p"], None, []]),
        max_relative_positions=rng.choice([-1, 2, 4, 12]),
        position_biased_input=rng.choice([True, False]),
        pooler_hidden_act=rng.choice([*ACTIVATIONS, "tanh"]),
        type_vocab_size=rng.choice([0, 0, 2]),
        pad_token_id=rng.choice([0, 5]),
        legacy=rng.choice([True, False]),
    )
    return config | (dict(embedding_size=6) if config["legacy"] and rng.random() < 0.4 else {})


def picture_sizes(rng):
    patch = rng.choice([2, 3, 4])
    side = patch * rng.choice([2, 3]) + rng.choice([0, 0, 1])
    return dict(patch_size=patch, image_size=side, num_channels=rng.choice([1, 3, 3]))


def vit(rng):
    return {key: value for key, value in encoder(rng).items() if key in OF_PICTURES} | picture_sizes(rng) | dict(
        qkv_bias=rng.choice([True, True, False]),
        pooler_output_size=rng.choice([None, 5]),
        pooler_act=rng.choice(["tanh", "gelu"]),
    )


def dinov2(rng):
    config = vit(rng) | dict(
        mlp_ratio=rng.choice([1, 2]),
        use_swiglu_ffn=rng.choice([True, False]),
        layerscale_value=rng.choice([1.0, 0.5]),
    )
    return {key: value for key, value in config.items() if "pooler" not in key and key != "intermediate_size"}


def dinov2_with_registers(rng):
    return dinov2(rng) | dict(num_register_tokens=rng.choice([1, 2, 4]))


def beit(rng):
    config = {key: value for key, value in vit(rng).items() if "pooler" not in key and key != "qkv_bias"}
    flags = ["absolute_position_embeddings", "relative_position_bias", "shared_relative_position_bias", "mask_token"]
    return config | dict(
        use_mean_pooling=rng.choice([True, False]),
        layer_scale_init_value=rng.choice([0.1, 0.5, 0.0]),
        **{f"use_{flag}": rng.choice([True, False]) for flag in flags},
    )


def dinov3_vit(rng):
    keys = ["qkv_bias", "pooler_output_size", "pooler_act", "num_labels"]
    config = {key: value for key, value in vit(rng).items() if key not in keys}
    return config | dict(
        hidden_size=config["num_attention_heads"] * rng.choice([4, 8]),
        use_gated_mlp=rng.choice([True, False]),
        hidden_act=rng.choice(["gelu", "gelu_pytorch_tanh", "silu", "swish"]),
        num_register_tokens=rng.choice([1, 2, 4]),
        rope_theta=rng.choice([100.0, 20.0]),
        **{f"{name}_bias": rng.choice([True, False]) for name in ("query", "key", "value", "proj", "mlp")},
    )


def clip_vision(rng):
    config = vit(rng) | dict(projection_dim=rng.choice([4, 6]), hidden_act=rng.choice([*ACTIVATIONS, "quick_gelu"]))
    return {key: value for key, value in config.items() if "pooler" not in key and key not in ("qkv_bias", "num_labels")}


def siglip_vision(rng):
    config = {key: value for key, value in clip_vision(rng).items() if key != "projection_dim"}
    return config | dict(vision_use_head=rng.choice([True, False]))


def pair_texts(rng):
    config = {key: value for key, value in encoder(rng).items() if key not in ("type_vocab_size", "num_labels")}
    config |= dict(hidden_act=rng.choice([*ACTIVATIONS, "quick_gelu"]), projection_dim=rng.choice([4, 6]))
    return config | dict(eos_token_id=rng.choice([2, 3, 12]), pad_token_id=rng.choice([0, 1, None]), bos_token_id=0)


def clip(rng):
    texts, pictures = pair_texts(rng), clip_vision(rng)
    size = rng.choice([4, 6])
    return dict(text_config=texts, vision_config=pictures, projection_dim=size)


def siglip(rng):
    texts, pictures = pair_texts(rng), siglip_vision(rng)
    width = pictures["hidden_size"]
    texts |= dict(projection_size=width)
    return dict(text_config=texts, vision_config=pictures | dict(vision_use_head=True))


def siglip2_vision(rng):
    config = {key: value for key, value in siglip_vision(rng).items() if key != "image_size"}
    return config | dict(patch_size=rng.choice([1, 2, 3]), num_patches=rng.choice([1, 4, 9, 16, 49]))


def siglip2(rng):
    texts, patches = pair_texts(rng), siglip2_vision(rng)
    texts |= dict(projection_size=patches["hidden_size"])
    return dict(text_config=texts, vision_config=patches | dict(vision_use_head=True), num_labels=rng.choice([1, 3]))


def stages(rng, config):
    """Sizes of stages, and of images that are large enough for them."""
    count = rng.choice([1, 2, 3])
    config |= dict(
        depths=[rng.choice([1, 2]) for _ in range(count)],
        hidden_sizes=[rng.choice([4, 6, 9]) for _ in range(count)],
        hidden_act=rng.choice(ACTIVATIONS),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        image_size=rng.choice([16, 17, 19, 22]),
    )
    return config


def resnet(rng):
    return stages(rng, {}) | dict(
        embedding_size=rng.choice([4, 5]),
        layer_type=rng.choice(["basic", "bottleneck"]),
        downsample_in_first_stage=rng.choice([True, False]),
        downsample_in_bottleneck=rng.choice([True, False]),
    )


def convnext(rng):
    config = stages(rng, {}) | dict(
        layer_norm_eps=rng.choice([1e-12, 1e-5, 0.01]),
        layer_scale_init_value=rng.choice([1e-6, 0.5, 0.0]),
        patch_size=rng.choice([2, 3, 4]),
    )
    return config | dict(num_stages=len(config["depths"]))


def convnextv2(rng):
    return {key: value for key, value in convnext(rng).items() if key != "layer_scale_init_value"}


def dinov3_convnext(rng):
    return stages(rng, {}) | dict(layer_norm_eps=rng.choice([1e-6, 1e-5, 0.01]))


def mobilenet_v2(rng):
    config = dict(
        depth_multiplier=rng.choice([0.02, 0.03125, 0.1, 0.05]),
        depth_divisible_by=rng.choice([1, 2, 4]),
        min_depth=rng.choice([2, 3, 4]),
        expand_ratio=rng.choice([1, 1.5, 2.0]),
        output_stride=rng.choice([32, 32, 64]),
        hidden_act=rng.choice([*ACTIVATIONS, "relu6"]),
        layer_norm_eps=rng.choice([1e-3, 0.01]),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        image_size=rng.choice([16, 17, 33, 38]),
    )
    return config | {flag: rng.choice([True, False]) for flag in ("first_layer_is_expansion", "tf_padding")} | dict(
        finegrained_output=False
    )


def efficientnet(rng):
    count = rng.choice([1, 2, 3])
    coefficient, divisor = rng.choice([0.01, 0.02, 0.0125]), rng.choice([1, 2, 3])
    rounded = lambda width: max(divisor, int(width * coefficient + divisor / 2) // divisor * divisor)
    widths = [32, *(rng.choice([200, 310, 450]) for _ in range(count))]
    return dict(
        width_coefficient=coefficient,
        depth_divisor=divisor,
        depth_coefficient=rng.choice([0.7, 1.0, 1.4]),
        num_block_repeats=[rng.choice([1, 1, 2]) for _ in range(count)],
        in_channels=widths[:-1],
        out_channels=widths[1:],
        strides=[rng.choice([1, 2]) for _ in range(count)],
        kernel_sizes=[rng.choice([2, 3, 3, 4, 5]) for _ in range(count)],
        expand_ratios=[rng.choice([1, 2]) for _ in range(count)],
        depthwise_padding=rng.choice([[], [0], [1, 2]]),
        squeeze_expansion_ratio=rng.choice([0.25, 0.5, 1.5]),
        hidden_dim=rounded(1280) + (divisor if rounded(1280) < 0.9 * 1280 * coefficient else 0),
        hidden_act=rng.choice(ACTIVATIONS),
        pooling_type=rng.choice(["mean", "mean", "max"]),
        batch_norm_eps=rng.choice([1e-3, 0.01]),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        image_size=rng.choice([8, 11, 14, 17]),
    )


def segformer(rng):
    count = rng.choice([1, 2, 3])
    heads = [rng.choice([1, 2, 3]) for _ in range(count)]
    config = dict(
        num_encoder_blocks=count,
        depths=[rng.choice([1, 1, 2]) for _ in range(count)],
        sr_ratios=[rng.choice([1, 2, 3]) if stage == 0 else 1 for stage in range(count)],
        hidden_sizes=[number * rng.choice([2, 3]) for number in heads],
        patch_sizes=[rng.choice([2, 3, 5]) for _ in range(count)],
        strides=[rng.choice([1, 2, 3]) if stage == 0 else rng.choice([1, 2]) for stage in range(count)],
        num_attention_heads=heads,
        mlp_ratios=[rng.choice([1, 2]) for _ in range(count)],
        decoder_hidden_size=rng.choice([3, 5]),
        layer_norm_eps=rng.choice([1e-6, 0.01]),
        hidden_act=rng.choice(ACTIVATIONS),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        image_size=rng.choice([9, 12, 14]),
    )
    return config


def mobilevit(rng):
    heads = rng.choice([1, 2])
    return dict(
        hidden_sizes=[heads * rng.choice([2, 3]) for _ in range(3)],
        neck_hidden_sizes=[rng.choice([2, 3, 4]) for _ in range(7)],
        num_attention_heads=heads,
        mlp_ratio=rng.choice([1.0, 1.25, 2.0]),
        expand_ratio=rng.choice([0.5, 2.0]),
        patch_size=rng.choice([1, 2, 2, 3]),
        conv_kernel_size=rng.choice([1, 3, 3, 5]),
        output_stride=rng.choice([32, 32, 64]),
        hidden_act=rng.choice(ACTIVATIONS),
        layer_norm_eps=rng.choice([1e-5, 0.01]),
        qkv_bias=rng.choice([True, False]),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        image_size=rng.choice([17, 24, 33, 38]),
    )


def swin(rng):
    count = rng.choice([1, 2, 3])
    heads = [rng.choice([1, 2, 3]) for _ in range(count)]
    window = rng.choice([2, 2, 3])
    patch = rng.choice([2, 3])
    return dict(
        embed_dim=rng.choice([6, 12]),
        depths=[rng.choice([1, 2, 3]) for _ in range(count)],
        num_heads=heads,
        window_size=window,
        patch_size=patch,
        image_size=patch * window * 2 ** (count - 1) * rng.choice([1, 1, 2]) + rng.choice([0, 0, 1]),
        num_channels=rng.choice([1, 3, 3]),
        num_labels=rng.choice([1, 3]),
        mlp_ratio=rng.choice([1.0, 1.25, 2.0]),
        qkv_bias=rng.choice([True, True, False]),
        hidden_act=rng.choice(ACTIVATIONS),
        layer_norm_eps=rng.choice([1e-12, 1e-5, 0.01]),
    )


def swinv2(rng):
    config = swin(rng)
    count = len(config["depths"])
    return config | dict(pretrained_window_sizes=[rng.choice([0, 0, 2, 5]) for _ in range(count)])


def whisper(rng):
    heads = [rng.choice([1, 2, 3]) for _ in range(2)]
    return dict(
        vocab_size=VOCABULARY,
        d_model=math.lcm(*heads) * rng.choice([4, 6]),
        encoder_attention_heads=heads[0],
        decoder_attention_heads=heads[1],
        **{f"{part}_layers": rng.choice([1, 2]) for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": rng.choice([5, 8]) for part in ("encoder", "decoder")},
        num_mel_bins=rng.choice([3, 4]),
        max_source_positions=rng.choice([4, 5, 9]),
        max_target_positions=rng.choice([7, 12]),
        activation_function=rng.choice(ACTIVATIONS),
        classifier_proj_size=rng.choice([4, 5]),
        num_labels=rng.choice([1, 3]),
        **{f"{name}_token_id": i for i, name in enumerate(["pad", "bos", "eos", "decoder_start"])},
        tie_word_embeddings=rng.choice([True, True, False]),
    )


def framed(rng):
    """wav2vec 2.0 and HuBERT."""
    count = rng.choice([1, 2, 3])
    groups = rng.choice([1, 2, 3])
    return dict(
        vocab_size=7,
        hidden_size=math.lcm(groups, heads := rng.choice([1, 2, 3])) * rng.choice([4, 6]),
        num_hidden_layers=rng.choice([1, 2]),
        num_attention_heads=heads,
        intermediate_size=rng.choice([5, 8]),
        hidden_act=rng.choice(ACTIVATIONS),
        feat_extract_activation=rng.choice(ACTIVATIONS),
        feat_extract_norm=rng.choice(["group", "layer"]),
        layer_norm_eps=rng.choice([1e-12, 1e-5, 0.01]),
        conv_dim=[rng.choice([3, 4, 5]) for _ in range(count)],
        conv_kernel=[rng.choice([2, 3, 5]) for _ in range(count)],
        conv_stride=[rng.choice([1, 2, 3]) for _ in range(count)],
        conv_bias=rng.choice([True, False]),
        num_conv_pos_embeddings=rng.choice([1, 2, 5, 8]),
        num_conv_pos_embedding_groups=groups,
        do_stable_layer_norm=rng.choice([True, False]),
        classifier_proj_size=rng.choice([4, 5]),
        num_labels=rng.choice([1, 3]),
        mask_time_prob=rng.choice([0.05, 0.0]),
    )


def hubert(rng):
    return framed(rng) | dict(feat_proj_layer_norm=rng.choice([True, False]))


def ast(rng):
    config = {key: value for key, value in vit(rng).items() if key in [*OF_PICTURES, "qkv_bias"]}
    patch = rng.choice([2, 3])
    return config | dict(
        patch_size=patch,
        frequency_stride=rng.choice([1, 2, 3]),
        time_stride=rng.choice([1, 2, 4]),
        max_length=patch + rng.choice([0, 5, 7]),
        num_mel_bins=patch + rng.choice([0, 3, 4]),
    )


OF_PICTURES = ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"]
OF_PICTURES += ["num_labels"]
MODERN_BIASES = ["norm_bias", "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias"]


# What is odd in a config, beside the settings that are tried one by one: (what is set, and what is left out).
ODD_CHANGES = {
    "bert": [({"num_labels": 2, "id2label": {"0": "a", "1": "b", "2": "c"}}, []), ({"is_decoder": True}, [])],
    "roberta": [({"pad_token_id": None}, []), ({"is_decoder": True}, []), ({}, ["pad_token_id"])],
    "distilbert": [
        ({"num_attention_heads": 1}, []),
        ({"hidden_size": 6, "n_heads": 3}, ["dim"]),
        ({"num_attention_heads": 1}, ["n_heads"]),
        ({"num_hidden_layers": 1}, ["n_layers"]),
        ({"num_hidden_layers": 1}, []),
    ],
    "whisper": [
        ({"hidden_size": 6}, []),
        ({"hidden_size": 6, "encoder_attention_heads": 3, "decoder_attention_heads": 2}, ["d_model"]),
        ({"num_hidden_layers": 1}, ["encoder_layers"]),
        ({"num_attention_heads": 1}, []),
        ({"num_key_value_heads": 1}, []),
        ({"encoder_attention_heads": 5}, []),
        ({"scale_embedding": True}, []),
        ({"use_weighted_layer_sum": True}, []),
        ({}, ["decoder_layers"]),
        ({}, ["activation_function"]),
    ],
    "audio-spectrogram-transformer": [
        ({"head_dim": 4}, []),
        ({"patch_size": [2, 2]}, []),
        ({"max_length": 1}, []),
        ({"qkv_bias": False}, []),
        ({"is_causal": True}, []),
        ({}, ["time_stride"]),
        ({}, ["hidden_act"]),
    ],
    "gpt2": [
        ({"num_attention_heads": 1}, []),
        ({"num_attention_heads": 1}, ["n_head"]),
        ({"hidden_size": 6, "n_head": 3}, ["n_embd"]),
        ({"max_position_embeddings": 14}, ["n_positions"]),
        ({"scale_attn_weights": False}, []),
        ({"scale_attn_by_inverse_layer_idx": True}, []),
        ({"reorder_and_upcast_attn": True}, []),
        ({"n_ctx": 3}, []),
    ],
    "llama": [
        ({"rope_theta": "500000"}, ["rope_parameters", "rope_scaling"]),
        ({"rope_theta": None}, ["rope_parameters", "rope_scaling"]),
        ({"rope_parameters": "linear"}, ["rope_scaling"]),
        ({"rope_parameters": [1]}, ["rope_scaling"]),
        ({"rope_parameters": True}, ["rope_scaling"]),
        ({"rope_parameters": {"rope_type": None, "rope_theta": 9.0}}, ["rope_scaling"]),
        ({"rope_parameters": {"rope_type": "linear", "factor": "2"}}, ["rope_scaling"]),
        ({"rope_parameters": {"rope_type": "linear"}}, ["rope_scaling"]),
        ({"rope_parameters": {"rope_theta": None}}, ["rope_scaling"]),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}}, ["rope_scaling"]),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 6}}, []),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, []),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.5}, ["rope_parameters"]),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}, ["rope_scaling"]),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}}, []),
        ({"pretraining_tp": 2}, []),
        ({"pad_token_id": -1}, []),
    ],
}
ODD_CHANGES["electra"] = [*ODD_CHANGES["bert"], ({}, ["embedding_size"]), ({"embedding_size": 6}, [])]
ODD_CHANGES["albert"] = [
    *ODD_CHANGES["electra"],
    ({}, ["hidden_act"]),
    ({"num_hidden_groups": 3}, []),
    ({"num_hidden_groups": 0}, []),
    ({"inner_group_num": 0}, []),
]
ODD_CHANGES["mobilebert"] = [
    ({"hidden_size": 7}, []),
    ({"intra_bottleneck_size": 5}, []),
    ({"use_bottleneck_attention": False, "key_query_shared_bottleneck": False}, []),
    ({"normalization_type": "rms_norm"}, []),
    ({"num_feedforward_networks": 0}, []),
    ({"embedding_size": 8}, []),
    ({"true_hidden_size": 4}, []),
    ({"hidden_act": "tanh"}, []),
    ({"is_decoder": True}, []),
    ({}, ["hidden_act"]),
    ({}, ["layer_norm_eps", "type_vocab_size"]),
    ({}, ["use_bottleneck", "use_bottleneck_attention", "key_query_shared_bottleneck"]),
    ({}, ["trigram_input", "normalization_type", "classifier_activation"]),
    ({}, ["num_feedforward_networks"]),
    ({}, ["intra_bottleneck_size"]),
]
ODD_CHANGES["nomic_bert"] = [
    ({}, ["intermediate_size"]),
    ({"head_dim": 3}, []),
    ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, []),
    ({"rotary_emb_base": 20.0}, ["rope_theta", "rope_scaling", "rope_parameters"]),
]
ODD_CHANGES["gte"] = [*ODD_CHANGES["nomic_bert"], ({"head_dim": None}, []), ({}, ["type_vocab_size", "hidden_act"])]
ODD_CHANGES["new"] = [
    ({"hidden_size": 7}, []),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, []),
    ({"rope_scaling": {"type": "ntk"}}, []),
    ({"layer_norm_type": "rms_norm"}, []),
    ({"position_embedding_type": "absolute"}, []),
    ({"logn_attention_scale": True}, []),
    ({"hidden_act": "tanh"}, []),
    ({}, ["type_vocab_size", "hidden_act", "pack_qkv"]),
    ({}, ["layer_norm_eps"]),
]
ODD_CHANGES["xlm-roberta"] = ODD_CHANGES["roberta"]
WINDOW_KEYS = ["sliding_window", "layer_types"]
ODD_WINDOWS = [
    ({"sliding_window": 0}, []),
    ({"sliding_window": None, "use_sliding_window": True}, []),
    ({"layer_types": ["sliding_attention"]}, []),
    ({"layer_types": ["chunked_attention", "full_attention"], "num_hidden_layers": 2}, []),
    ({"head_dim": 5}, []),
    ({"pad_token_id": None}, []),
    ({"num_key_value_heads": None}, []),
    ({}, ["num_key_value_heads"]),
    ({}, ["pad_token_id"]),
    ({}, ["tie_word_embeddings"]),
    ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 9.0, "factor": 2.0}}, ["rope_scaling"]),
]
WITH_WINDOWS = ["mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "smollm3", "phi3", "olmo3", "modernbert"]
WITHOUT_WINDOWS = ["gemma", "olmo2", "granite"]
for odd_family in [*WITH_WINDOWS, *WITHOUT_WINDOWS]:
    unread = ["layer_types"] if odd_family == "phi3" else WINDOW_KEYS if odd_family in WITHOUT_WINDOWS else []
    ODD_CHANGES[odd_family] = [change for change in ODD_WINDOWS if not any(key in change[0] for key in unread)]
ODD_CHANGES["gemma3_text"] += [
    ({"final_logit_softcapping": 3.0}, []),
    ({"attn_logit_softcapping": 3.0}, []),
    ({"is_causal": False}, []),
    ({"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, ["rope_scaling"]),
    ({"query_pre_attn_scalar": 0}, []),
]
ODD_CHANGES["gemma"] += [({"use_bidirectional_attention": True}, []), ({}, ["hidden_act"]), ({}, ["head_dim"])]
ODD_CHANGES["gemma2"] += [
    ({"use_bidirectional_attention": True}, []),
    ({"attn_logit_softcapping": 0.0}, []),
    ({"query_pre_attn_scalar": 0}, []),
    ({"hidden_size": 6, "num_attention_heads": 4}, []),
    ({}, ["attn_logit_softcapping", "final_logit_softcapping"]),
]
ODD_PLAIN = [
    ({"hidden_size": 7}, []),
    ({"hidden_act": "tanh"}, []),
    ({"head_dim": 2}, []),
    ({"rotary_pct": 0.1}, ["rope_parameters", "rope_scaling"]),
    ({"partial_rotary_factor": 0.3}, ["rope_parameters", "rope_scaling"]),
    ({"pad_token_id": 50}, []),
    ({}, ["hidden_act"]),
    ({}, ["tie_word_embeddings"]),
    ({}, ["pad_token_id"]),
    ({}, ["layer_norm_eps"]),
]
ODD_CHANGES["gpt_neox"] = [*ODD_PLAIN, ({}, ["use_parallel_residual", "attention_bias"])]
ODD_CHANGES["phi"] = [*ODD_PLAIN, ({"num_key_value_heads": 5}, []), ({}, ["num_key_value_heads", "qk_layernorm"])]
ODD_CHANGES["lfm2"] = [
    ({"layer_types": ["conv"], "num_hidden_layers": 2}, []),
    ({"layer_types": ["sliding_attention"], "num_hidden_layers": 1}, []),
    ({"full_attn_idxs": [0.5], "layer_types": None}, []),
    ({"full_attn_idxs": [-1, 5], "layer_types": None}, []),
    ({"full_attn_idxs": [-1, 0, 5], "layer_types": None}, []),
    ({"conv_L_cache": 0}, []),
    ({"block_ffn_dim_multiplier": 0.5}, []),
    ({"hidden_size": 7}, []),
    ({"num_key_value_heads": None}, []),
    ({"tie_word_embeddings": True, "tie_embedding": False}, []),
    ({"intermediate_size": 4, "block_ff_dim": 5}, []),
    ({"head_dim": None}, []),
    ({}, ["conv_L_cache", "conv_bias"]),
    ({}, ["block_auto_adjust_ff_dim", "block_multiple_of", "block_ffn_dim_multiplier"]),
    ({}, ["norm_eps", "num_key_value_heads"]),
    ({}, ["pad_token_id"]),
    ({}, ["tie_word_embeddings", "tie_embedding"]),
]
ODD_CHANGES["opt"] = [
    ({"hidden_size": 7}, []),
    ({"activation_function": "tanh"}, []),
    ({"layer_norm_elementwise_affine": False}, []),
    ({"word_embed_proj_dim": "x"}, []),
    ({"pad_token_id": 50}, []),
    ({}, ["activation_function"]),
    ({}, ["pad_token_id"]),
    ({}, ["do_layer_norm_before", "_remove_final_layer_norm", "enable_bias"]),
]
ODD_CHANGES["smollm3"] += [({"no_rope_layers": [1, 2]}, []), ({"no_rope_layers": []}, [])]
# The usual token that fills up is in no vocabulary as small, which matters to heads for classes alone.
ODD_CHANGES["phi3"] = [change for change in ODD_CHANGES["phi3"] if change != ({}, ["pad_token_id"])]
ODD_CHANGES["phi3"] += [
    ({"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, ["rope_parameters"]),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, ["rope_parameters"]),
    ({"partial_rotary_factor": 2.0}, []),
]
ODD_CHANGES["granite"] += [({"residual_multiplier": 0}, []), ({"logits_scaling": -1.0}, [])]
ODD_CHANGES["modernbert"] += [({"classifier_pooling": "max"}, []), ({"local_attention": 1}, []), ({"hidden_size": 7}, [])]

ODD_CHANGES["t5"] = [
    ({"hidden_size": 8}, ["d_model"]),
    ({"hidden_size": 10}, []),
    ({"num_attention_heads": 1}, ["num_heads"]),
    ({"num_hidden_layers": 1}, ["num_layers"]),
    ({"head_dim": 4}, ["d_kv"]),
    ({"feed_forward_proj": "gated-gelu-new"}, []),
    ({"feed_forward_proj": "geglu"}, []),
    ({"feed_forward_proj": "gated-relu"}, []),
    ({"feed_forward_proj": "gelu_new"}, []),
    ({}, ["feed_forward_proj"]),
    ({}, ["relative_attention_num_buckets"]),
    ({}, ["relative_attention_max_distance"]),
    ({"relative_attention_num_buckets": 2}, []),
    ({"relative_attention_max_distance": 2, "relative_attention_num_buckets": 8}, []),
    ({"is_decoder": True}, []),
    ({"num_decoder_layers": 3}, []),
]

ODD_CHANGES["deberta-v2"] = [
    ({"pos_att_type": ["p2p", "c2p"]}, []),
    ({"pos_att_type": "x"}, []),
    ({"position_buckets": 1}, []),
    ({"position_buckets": None}, []),
    ({"position_buckets": 8, "max_relative_positions": 4}, []),
    ({"conv_kernel_size": 2}, []),
    ({"conv_kernel_size": 3, "conv_groups": 2}, []),
    ({"attention_head_size": 3}, []),
    ({"pooler_hidden_size": 5}, []),
    ({"norm_rel_ebd": "layer_norm|x"}, []),
    ({"hidden_size": 7}, []),
    ({"type_vocab_size": None}, []),
    ({}, ["relative_attention"]),
    ({}, ["pos_att_type", "share_att_key"]),
    ({}, ["position_buckets", "max_relative_positions", "norm_rel_ebd"]),
    ({}, ["type_vocab_size", "position_biased_input", "legacy", "pooler_hidden_act", "layer_norm_eps"]),
]

UNREAD_IN_DEBERTA = ["position_buckets", "conv_kernel_size", "norm_rel_ebd", "share_att_key"]
ODD_CHANGES["deberta"] = [
    change for change in ODD_CHANGES["deberta-v2"] if not any(key in [*change[0], *change[1]] for key in UNREAD_IN_DEBERTA)
]
ODD_CHANGES["deberta"] += [({"talking_head": True}, []), ({}, ["pos_att_type"]), ({}, ["max_relative_positions"])]
ODD_CHANGES["xlm-roberta-xl"] = ODD_CHANGES["roberta"]

ODD_PICTURES = [
    ({"image_size": 1}, []),
    ({"image_size": [8, 12]}, []),
    ({"image_size": [9]}, []),
    ({"patch_size": [2, 4]}, []),
    ({"patch_size": 0}, []),
    ({"num_channels": 2}, []),
    ({"hidden_size": 7}, []),
    ({"hidden_act": "tanh"}, []),
    ({"head_dim": 2}, []),
    ({}, ["hidden_act"]),
    ({}, ["layer_norm_eps"]),
    ({}, ["num_channels"]),
]
PAIRS = ["clip", "siglip", "siglip2"]
PICTURES = ["vit", "deit", "beit", "dinov2", "dinov2_with_registers", "dinov3_vit", "siglip_vision_model", "clip_vision_model"]
INTERPOLATED = ["vit", "deit", "siglip_vision_model", "clip_vision_model"]
FEATURES = ["resnet", "convnext", "convnextv2", "dinov3_convnext", "swin", "swinv2", "mobilenet_v2", "efficientnet", "segformer", "mobilevit"]
for odd_family in PICTURES:
    ODD_CHANGES[odd_family] = ODD_PICTURES
PATCHES = ["siglip2_vision_model"]
ODD_CHANGES["siglip2_vision_model"] = [
    *[change for change in ODD_PICTURES if "image_size" not in change[0]],
    ({"num_patches": 5}, []),
    ({"num_patches": 0}, []),
    ({"image_size": 5}, []),
    ({}, ["num_patches"]),
    ({}, ["vision_use_head", "patch_size"]),
]
ODD_CHANGES["dinov2"] = [*ODD_PICTURES, ({"mlp_ratio": 0.5}, []), ({"use_mask_token": False}, []), ({}, ["use_swiglu_ffn"])]
ODD_CHANGES["dinov2_with_registers"] = [*ODD_CHANGES["dinov2"], ({}, ["num_register_tokens"]), ({"num_register_tokens": 0}, [])]

ODD_CHANGES["beit"] = [
    *ODD_PICTURES,
    ({"image_size": [8, 12], "use_relative_position_bias": True}, []),
    ({"layer_scale_init_value": -1.0}, []),
    ({"use_mask_token": True}, []),
    ({"vocab_size": 3}, []),
    ({"out_indices": [1]}, []),
    ({}, ["use_mean_pooling", "layer_scale_init_value"]),
    ({}, ["use_absolute_position_embeddings", "use_relative_position_bias", "use_shared_relative_position_bias"]),
]

ODD_STAGES = [
    ({"depths": [1]}, []),
    ({"depths": []}, []),
    ({"depths": [0]}, []),
    ({"depths": 2}, []),
    ({"hidden_sizes": [4, 8]}, []),
    ({"hidden_sizes": [0]}, []),
    ({"num_channels": 2}, []),
    ({"hidden_act": "tanh"}, []),
    ({"out_features": ["stage1"]}, []),
    ({}, ["hidden_act"]),
    ({}, ["num_channels"]),
]
for odd_family in FEATURES:
    ODD_CHANGES[odd_family] = ODD_STAGES
ODD_CHANGES["resnet"] = [
    *ODD_STAGES,
    ({"layer_type": "x"}, []),
    ({"hidden_sizes": [3, 3]}, []),
    ({}, ["layer_type"]),
    ({}, ["embedding_size"]),
    ({}, ["downsample_in_first_stage", "downsample_in_bottleneck"]),
]
ODD_CHANGES["convnext"] = [
    *ODD_STAGES,
    ({"num_stages": 1}, []),
    ({"num_stages": 5}, []),
    ({"patch_size": [2, 3]}, []),
    ({"layer_scale_init_value": -1.0}, []),
    ({}, ["num_stages"]),
    ({}, ["layer_norm_eps"]),
    ({}, ["layer_scale_init_value"]),
]
ODD_CHANGES["convnextv2"] = ODD_CHANGES["convnext"]
ODD_CHANGES["swin"] = [
    ({"depths": [1]}, []),
    ({"depths": []}, []),
    ({"num_heads": [1]}, []),
    ({"num_heads": [0]}, []),
    ({"embed_dim": 7}, []),
    ({"window_size": 4}, []),
    ({"window_size": 0}, []),
    ({"image_size": [13, 17]}, []),
    ({"patch_size": [2, 3]}, []),
    ({"mlp_ratio": 3}, []),
    ({"mlp_ratio": 0.0}, []),
    ({"use_absolute_embeddings": True}, []),
    ({"hidden_act": "tanh"}, []),
    ({"hidden_size": 5, "num_layers": 7}, []),
    ({"out_features": ["stage1"]}, []),
    ({}, ["window_size"]),
    ({}, ["mlp_ratio", "qkv_bias"]),
    ({}, ["layer_norm_eps", "hidden_act"]),
]
ODD_CHANGES["swinv2"] = [
    *ODD_CHANGES["swin"],
    ({"pretrained_window_sizes": [3, 3, 3, 3]}, []),
    ({"pretrained_window_sizes": [2]}, []),
    ({}, ["pretrained_window_sizes"]),
]
ODD_CHANGES["mobilenet_v2"] = [
    ({"output_stride": 16}, []),
    ({"output_stride": 8}, []),
    ({"depth_multiplier": 0}, []),
    ({"expand_ratio": -1.0}, []),
    ({"min_depth": 1, "depth_divisible_by": 0}, []),
    ({"num_channels": 2}, []),
    ({"hidden_act": "tanh"}, []),
    ({}, ["hidden_act", "layer_norm_eps"]),
    ({}, ["first_layer_is_expansion", "tf_padding", "output_stride"]),
]
ODD_CHANGES["efficientnet"] = [
    ({"strides": [3]}, []),
    ({"strides": [2, 1, 2, 1]}, []),
    ({"hidden_dim": 11}, []),
    ({"pooling_type": "first"}, []),
    ({"depth_divisor": 5}, []),
    ({"width_coefficient": 1}, []),
    ({"kernel_sizes": [1, 1, 1]}, []),
    ({"in_channels": [64, 64, 64]}, []),
    ({"num_block_repeats": [0, 0, 0]}, []),
    ({"depthwise_padding": 1}, []),
    ({"num_channels": 2}, []),
    ({"hidden_act": "tanh"}, []),
    ({}, ["hidden_act", "batch_norm_eps"]),
    ({}, ["depthwise_padding", "pooling_type", "squeeze_expansion_ratio"]),
]
ODD_CHANGES["segformer"] = [
    ({"num_encoder_blocks": 1}, []),
    ({"depths": [1]}, []),
    ({"sr_ratios": [2]}, []),
    ({"num_attention_heads": [4, 4, 4]}, []),
    ({"hidden_sizes": [5, 5, 5]}, []),
    ({"mlp_ratios": [0.5, 0.5, 0.5]}, []),
    ({"patch_sizes": [4, 4, 4]}, []),
    ({"reshape_last_stage": False}, []),
    ({"decoder_hidden_size": 0}, []),
    ({"num_channels": 2}, []),
    ({"hidden_act": "tanh"}, []),
    ({"num_hidden_layers": 2}, []),
    ({}, ["hidden_act", "layer_norm_eps"]),
    ({}, ["num_encoder_blocks"]),
    ({}, ["decoder_hidden_size"]),
]
ODD_CHANGES["mobilevit"] = [
    ({"output_stride": 16}, []),
    ({"output_stride": 8}, []),
    ({"conv_kernel_size": 2}, []),
    ({"patch_size": [2, 2]}, []),
    ({"num_attention_heads": 5}, []),
    ({"hidden_sizes": [4, 4]}, []),
    ({"neck_hidden_sizes": [4, 4, 4]}, []),
    ({"mlp_ratio": 1}, []),
    ({"num_channels": 2}, []),
    ({"hidden_act": "tanh"}, []),
    ({}, ["hidden_act", "layer_norm_eps"]),
    ({}, ["qkv_bias", "output_stride", "patch_size"]),
]
PICTURES = [*PICTURES, *FEATURES]

ODD_CHANGES["clip_text_model"] = [
    ({"eos_token_id": None}, []),
    ({"eos_token_id": 50}, []),
    ({"hidden_size": 7}, []),
    ({"hidden_act": "tanh"}, []),
    ({"head_dim": 2}, []),
    ({"is_causal": False}, []),
    ({}, ["eos_token_id"]),
    ({}, ["hidden_act"]),
    ({}, ["layer_norm_eps"]),
    ({}, ["projection_dim"]),
]
ODD_CHANGES["siglip_text_model"] = [*ODD_CHANGES["clip_text_model"], ({"projection_size": 5}, [])]
ODD_CHANGES["clip"] = [
    ({"projection_dim": 5}, []),
    ({"logit_scale_init_value": 1.0}, []),
    ({"text_config": "x"}, []),
    ({"hidden_size": 8}, []),
    ({}, ["projection_dim"]),
]
ODD_CHANGES["siglip"] = ODD_CHANGES["siglip2"] = [*ODD_CHANGES["clip"][:-1], ({"text_config": []}, [])]

ODD_FRAMES = [
    ({"add_adapter": True}, []),
    ({"adapter_attn_dim": 3}, []),
    ({"conv_stride": [2, 2]}, []),
    ({"conv_dim": 4}, []),
    ({"num_conv_pos_embedding_groups": 5}, []),
    ({"num_attention_heads": 5}, []),
    ({"do_stable_layer_norm": True}, []),
    ({"feat_extract_norm": "batch"}, []),
    ({"use_weighted_layer_sum": True}, []),
    ({"conv_pos_batch_norm": True}, []),
    ({}, ["conv_bias"]),
    ({}, ["feat_extract_activation"]),
]
ODD_CHANGES |= {"wav2vec2": ODD_FRAMES, "hubert": ODD_FRAMES}
SOUNDS = ["whisper", "wav2vec2", "hubert", "audio-spectrogram-transformer"]
FAMILIES = {
    "bert": (bert, ["BertModel", "BertForSequenceClassification"]),
    "roberta": (roberta, ["RobertaModel", "RobertaForSequenceClassification"]),
    "xlm-roberta": (roberta, ["XLMRobertaModel", "XLMRobertaForSequenceClassification"]),
    "electra": (electra, ["ElectraModel", "ElectraForSequenceClassification"]),
    "albert": (albert, ["AlbertModel", "AlbertForSequenceClassification"]),
    "nomic_bert": (nomic_bert, ["NomicBertModel", "NomicBertForSequenceClassification"]),
    "mobilebert": (mobilebert, ["MobileBertModel", "MobileBertForMaskedLM", "MobileBertForSequenceClassification"]),
    "distilbert": (distilbert, ["DistilBertModel", "DistilBertForSequenceClassification"]),
    "gpt2": (gpt2, ["GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification"]),
    "llama": (llama, ["LlamaModel", "LlamaForCausalLM", "LlamaForSequenceClassification"]),
    "mistral": (mistral, ["MistralModel", "MistralForCausalLM", "MistralForSequenceClassification"]),
    "qwen2": (qwen2, ["Qwen2Model", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification"]),
    "qwen3": (qwen3, ["Qwen3Model", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"]),
    "gemma3_text": (gemma3_text, ["Gemma3TextModel", "Gemma3ForCausalLM", "Gemma3TextForSequenceClassification"]),
    "gemma": (gemma, ["GemmaModel", "GemmaForCausalLM", "GemmaForSequenceClassification"]),
    "gemma2": (gemma2, ["Gemma2Model", "Gemma2ForCausalLM", "Gemma2ForSequenceClassification"]),
    "olmo3": (olmo3, ["Olmo3Model", "Olmo3ForCausalLM", "Olmo3ForSequenceClassification"]),
    "gpt_neox": (gpt_neox, ["GPTNeoXModel", "GPTNeoXForCausalLM", "GPTNeoXForSequenceClassification"]),
    "phi": (phi, ["PhiModel", "PhiForCausalLM", "PhiForSequenceClassification"]),
    "lfm2": (lfm2, ["Lfm2Model", "Lfm2ForCausalLM"]),
    "opt": (opt, ["OPTModel", "OPTForCausalLM", "OPTForSequenceClassification"]),
    "smollm3": (smollm3, ["SmolLM3Model", "SmolLM3ForCausalLM", "SmolLM3ForSequenceClassification"]),
    "phi3": (phi3, ["Phi3Model", "Phi3ForCausalLM", "Phi3ForSequenceClassification"]),
    "olmo2": (olmo2, ["Olmo2Model", "Olmo2ForCausalLM", "Olmo2ForSequenceClassification"]),
    "granite": (granite, ["GraniteModel", "GraniteForCausalLM"]),
    "deberta-v2": (deberta_v2, [f"DebertaV2{end}" for end in ("Model", "ForMaskedLM", "ForSequenceClassification")]),
    "deberta": (deberta, ["DebertaModel", "DebertaForMaskedLM", "DebertaForSequenceClassification"]),
    "xlm-roberta-xl": (roberta, ["XLMRobertaXLModel", "XLMRobertaXLForMaskedLM", "XLMRobertaXLForSequenceClassification"]),
    "gte": (gte, ["GteModel", "GteForMaskedLM", "GteForSequenceClassification"]),
    "new": (new, ["NewModel", "NewForMaskedLM", "NewForSequenceClassification"]),
    "t5": (t5, ["T5EncoderModel", "T5ForTokenClassification"]),
    "vit": (vit, ["ViTModel", "ViTForImageClassification"]),
    "deit": (vit, ["DeiTModel", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"]),
    "beit": (beit, ["BeitModel", "BeitForImageClassification"]),
    "dinov2": (dinov2, ["Dinov2Model", "Dinov2ForImageClassification"]),
    "dinov2_with_registers": (
        dinov2_with_registers,
        ["Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification"],
    ),
    "dinov3_vit": (dinov3_vit, ["DINOv3ViTModel"]),
    "siglip_vision_model": (siglip_vision, ["SiglipVisionModel"]),
    "siglip2_vision_model": (siglip2_vision, ["Siglip2VisionModel"]),
    "clip_vision_model": (clip_vision, ["CLIPVisionModel", "CLIPVisionModelWithProjection"]),
    "resnet": (resnet, ["ResNetModel", "ResNetForImageClassification"]),
    "convnext": (convnext, ["ConvNextModel", "ConvNextForImageClassification"]),
    "convnextv2": (convnextv2, ["ConvNextV2Model", "ConvNextV2ForImageClassification"]),
    "mobilenet_v2": (mobilenet_v2, ["MobileNetV2Model", "MobileNetV2ForImageClassification"]),
    "efficientnet": (efficientnet, ["EfficientNetModel", "EfficientNetForImageClassification"]),
    "segformer": (segformer, ["SegformerModel", "SegformerForImageClassification", "SegformerForSemanticSegmentation"]),
    "mobilevit": (mobilevit, ["MobileViTModel", "MobileViTForImageClassification"]),
    "swin": (swin, ["SwinModel", "SwinForImageClassification"]),
    "swinv2": (swinv2, ["Swinv2Model", "Swinv2ForImageClassification"]),
    "dinov3_convnext": (dinov3_convnext, ["DINOv3ConvNextModel"]),
    "clip_text_model": (pair_texts, ["CLIPTextModel", "CLIPTextModelWithProjection"]),
    "siglip_text_model": (pair_texts, ["SiglipTextModel"]),
    "clip": (clip, ["CLIPModel"]),
    "siglip": (siglip, ["SiglipModel"]),
    "siglip2": (siglip2, ["Siglip2Model", "Siglip2ForImageClassification"]),
    "whisper": (
        whisper,
        ["WhisperModel", "WhisperForAudioClassification", "WhisperForConditionalGeneration"],
    ),
    "wav2vec2": (framed, [f"Wav2Vec2{end}" for end in ("Model", "ForSequenceClassification", "ForCTC")]),
    "hubert": (hubert, [f"Hubert{end}" for end in ("Model", "ForSequenceClassification", "ForCTC")]),
    "audio-spectrogram-transformer": (ast, ["ASTModel", "ASTForAudioClassification"]),
    "modernbert": (
        modernbert,
        [f"ModernBert{end}" for end in ("Model", "ForTokenClassification", "ForMaskedLM", "ForSequenceClassification")],
    ),
}


OF_LLAMA_ROPE = ["llama", "nomic_bert", "gte", "mistral", "qwen2", "qwen3", "smollm3", "olmo2", "granite", "gemma", "gemma2", "lfm2"]


def inputs_of(rng, config, class_name):
    pad = config.get("pad_token_id")
    fills = pad if isinstance(pad, int) and 0 <= pad < VOCABULARY else 0
    is_alone = pad is None and class_name.endswith("SequenceClassification")
    places = rng.choice([1, 4, 6, 7])
    ids, mask = [], []
    for _ in range(1 if is_alone else 3):
        # In LFM2 with biases, what is hidden before a token would change it, unlike in the text alone.
        ways = ["whole", "right"] if config.get("conv_L_cache") and config.get("conv_bias") else ["whole", "right", "left", "inside"]
        way = "whole" if is_alone else rng.choice(ways)
        cut = rng.randrange(places)
        seen = [
            {"whole": True, "right": i <= cut, "left": i >= cut, "inside": i == 0 or i != cut}[way]
            for i in range(places)
        ]
        mask.append([int(one) for one in seen])
        # A token that counts may be the one that fills up, such as the end of a text.
        ids.append([rng.randrange(VOCABULARY) if one else fills for one in seen])
    return ids, mask


def side_of(size, index):
    return size[index] if isinstance(size, list) and len(size) > index else size if isinstance(size, int) else 8


def pictures_of(rng, config):
    """The shape of pictures, as tfjs has it, and whether it is another one than that of the config."""
    height, width = (max(side_of(config.get("image_size"), i), 4) for i in (0, 1))
    patch = max(side_of(config.get("patch_size"), 0), 1)
    other = rng.random() < 0.3
    if other:
        height, width = height + patch, width + rng.choice([0, 2 * patch])
    channels = config.get("num_channels", 3)
    return [2, height, width, channels], other


def pixels_of(seed, shape):
    """Drawn from a seed, as the weights are."""
    numbers = torch.tensor(4 * values(5_000_000 + seed, math.prod(shape)), dtype=torch.float32)
    return numbers.reshape(shape).permute(0, 3, 1, 2).contiguous()


def patches_of(rng, seed, config):
    """The patches of pictures of two sizes, of which one or none fills all places, and what of them is stored."""
    grids = [[rng.choice([1, 2, 3, 5]), rng.choice([1, 2, 4, 7])] for _ in range(2)]
    count = max(rows * columns for rows, columns in grids) + rng.choice([0, 0, 3])
    mask = [[int(i < rows * columns) for i in range(count)] for rows, columns in grids]
    shape = [2, count, count_in(config, "num_channels", 3) * count_in(config, "patch_size", 16) ** 2]
    pixels = torch.tensor(4 * values(5_000_000 + seed, math.prod(shape)), dtype=torch.float32).reshape(shape)
    inputs = dict(pixel_values=pixels, pixel_attention_mask=torch.tensor(mask), spatial_shapes=torch.tensor(grids))
    return inputs, {"ids": [], "mask": [], "pixels": shape, "patchMask": mask, "grids": grids}


def count_in(config, key, otherwise):
    value = config.get(key)
    return value if type(value) is int and 0 < value < 100 else otherwise


def frames_of(config, mask):
    """Which frames are of a sound, and not of its padding, after which CTC has no frames."""
    counts = [sum(row) for row in mask] + [len(mask[0])]
    for size, stride in zip(config["conv_kernel"], config["conv_stride"]):
        counts = [(count - size) // stride + 1 for count in counts]
    return [[int(i < count) for i in range(counts[-1])] for count in counts[:-1]]


def sounds_of(rng, seed, config, class_name):
    """What a model hears and, of one that writes, tokens; and what of them is stored: the shape as tfjs has it."""
    draw = lambda shape: torch.tensor(4 * values(5_000_000 + seed, math.prod(shape)), dtype=torch.float32).reshape(shape)
    if class_name.startswith("AST"):
        shape = [2, count_in(config, "max_length", 4), count_in(config, "num_mel_bins", 3)]
        return dict(input_values=draw(shape)), {"ids": [], "mask": [], "sound": shape}
    if not class_name.startswith("Whisper"):
        shape = [2, rng.choice([80, 97])]
        mask = [[int(i < count) for i in range(shape[1])] for count in (shape[1], rng.choice([62, 71]))]
        inputs = dict(input_values=draw(shape), attention_mask=torch.tensor(mask))
        stored = {"ids": [], "mask": mask, "sound": shape}
        return inputs, stored | ({"frames": frames_of(config, mask)} if class_name.endswith("CTC") else {})
    shape = [2, 2 * count_in(config, "max_source_positions", 4), count_in(config, "num_mel_bins", 3)]
    inputs = dict(input_features=draw(shape).permute(0, 2, 1).contiguous())
    ids = [[rng.randrange(VOCABULARY) for _ in range(5)] for _ in range(2)]
    if "Classification" in class_name:
        ids = []
    else:
        inputs["decoder_input_ids"] = torch.tensor(ids)
    return inputs, {"ids": ids, "mask": [], "sound": shape}


def part_of(config, name):
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def given(rng, family, seed, config, class_name):
    """The inputs of a model, and what of them is stored."""
    if family in PAIRS:
        texts, of_texts = given(rng, "clip_text_model", seed, part_of(config, "text_config"), class_name)
        vision = "siglip2_vision_model" if family == "siglip2" else "clip_vision_model"
        pictures, of_pictures = given(rng, vision, seed, part_of(config, "vision_config"), class_name)
        if class_name.endswith("ImageClassification"):
            return pictures, of_pictures
        return texts | pictures, of_pictures | of_texts
    if family in SOUNDS:
        return sounds_of(rng, seed, config, class_name)
    if family in PATCHES:
        return patches_of(rng, seed, config)
    if family not in PICTURES:
        ids, mask = inputs_of(rng, config, class_name)
        return dict(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)), {"ids": ids, "mask": mask}
    shape, other = pictures_of(rng, config)
    ways = dict(interpolate_pos_encoding=True) if other and family in INTERPOLATED else {}
    return dict(pixel_values=pixels_of(seed, shape)) | ways, {"ids": [], "mask": [], "pixels": shape}


def shapes_of(folder, class_name, config, rng):
    """The tensors of a file for a config, as `save_pretrained` and others write them."""
    model_class = getattr(transformers, class_name)
    # A config changes what it is made of.
    state = model_class(model_class.config_class.from_dict(json.loads(json.dumps(config)))).state_dict()
    shapes = [(name, list(tensor.shape)) for name, tensor in state.items() if not name.endswith("num_batches_tracked")]
    # Some write the head that is tied to the token embedding, with the same numbers or, by mistake, with others.
    heads = ("CausalLM", "LMHeadModel", "ConditionalGeneration")
    if config.get("tie_word_embeddings") and class_name.endswith(heads) and rng.random() < 0.6:
        shapes = [entry for entry in shapes if entry[0] not in ("lm_head.weight", "proj_out.weight")]
    if class_name.startswith("T5"):  # one table by two names: those of the tool, or both
        absent = rng.choice(["encoder.embed_tokens.weight", "shared.weight", ""])
        shapes = [entry for entry in shapes if entry[0].removeprefix("transformer.") != absent]
    return shapes


def result_of(folder, class_name, config, tensors, inputs):
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model_class = getattr(transformers, class_name)
    model, info = model_class.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    faults = [*info["missing_keys"], *info["mismatched_keys"]]
    if any("pooler" not in str(name) and "num_batches_tracked" not in str(name) for name in faults):
        raise ValueError(f"The file does not fit: {faults}")
    model.eval()
    with torch.no_grad():
        return each_alone(lambda given: numbers_of(model(**given, return_dict=True)), model, inputs)


def numbers_of(output):
    for name in ("logits", "logits_per_image", "image_embeds", "text_embeds"):
        if hasattr(output, name):
            given = getattr(output, name)
            return given.permute(0, 2, 3, 1) if given.ndim == 4 else given
    states = output.last_hidden_state
    return states.permute(0, 2, 3, 1) if states.ndim == 4 else states


def shown(result, mask):
    """Some numbers of the result at tokens."""
    if result.ndim == 3 and mask and len(mask[0]) == result.shape[1]:
        result = result[torch.tensor(mask) == 1]
    numbers = result.flatten().tolist()
    step = math.ceil(len(numbers) / SHOWN)
    return [float(f"{number:.6g}") for number in numbers[::step]]


def case_of(folder, family, seed):
    make, classes = FAMILIES[family]
    rng = random.Random(f"{family} {seed}")
    config = {"model_type": family} | make(rng)
    if "dynamic" in json.dumps(config) and config.get("head_dim") == 2:
        config["head_dim"] = 6  # its formula divides by the size less 2
    class_name = rng.choice(classes)
    is_odd = rng.random() < 0.35
    shapes = shapes_of(folder, class_name, config, rng)
    if is_odd:
        changes, absent = rng.choice(ODD_CHANGES[family])
        config = {key: value for key, value in config.items() if key not in absent} | changes
        try:
            shapes = shapes_of(folder, class_name, config, rng)
        except Exception:  # the file is that of the config as it was
            pass
    inputs, stored = given(rng, family, seed, config, class_name)
    case = {"seed": seed, "architecture": class_name, "odd": is_odd, "config": config, "tensors": shapes} | stored
    try:
        result = result_of(folder, class_name, config, weights_of(seed, shapes), inputs)
    except Exception as error:
        if not is_odd:
            raise
        print(f"  {family} {seed}: {config}: {error}"[:300])
        return case | {"values": None}
    return case | {"values": shown(result, stored.get("frames", stored["mask"]))}


def lookups_of(family, run):
    """The keys of a config that transformers looks up while it makes and runs a model."""
    seen = set()
    original = PreTrainedConfig.__getattribute__

    def spy(self, key):
        seen.add(key)
        return original(self, key)

    PreTrainedConfig.__getattribute__ = spy
    try:
        run()
    finally:
        PreTrainedConfig.__getattribute__ = original
    of_code = {key for key in seen if callable(getattr(PreTrainedConfig, key, None)) or key.startswith("_")}
    return sorted(seen - of_code - {"attribute_map", "sub_configs", "model_type", "architectures"})


def settings_of(folder, family):
    make, classes = FAMILIES[family]
    class_name = classes[-1]
    config = {"model_type": family} | make(random.Random(1))
    if family not in PAIRS:
        config |= {"num_labels": 2} if family in PICTURES + PATCHES else {"pad_token_id": 1, "num_labels": 2}
    if family in OF_LLAMA_ROPE:
        config |= {"rope_parameters": llama3(random.Random(1)) | {"rope_theta": 80.0}, "rope_scaling": None}
    if family == "gemma2":  # its windows and caps are to matter
        config |= {"attn_logit_softcapping": 4.0, "final_logit_softcapping": 1.0, "num_hidden_layers": 2, "hidden_size": 8}
    shapes = shapes_of(folder, class_name, config, random.Random(1))
    tensors = weights_of(1, shapes)
    ids, mask = [[4, 5, 6, 1], [7, 2, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 0]]
    inputs = dict(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
    stored = {"ids": ids, "mask": mask}
    if family in PICTURES + PATCHES + PAIRS + SOUNDS:
        inputs, stored = given(random.Random(2), family, 1, config, class_name)
    base = result_of(folder, class_name, config, tensors, inputs)
    keys = lookups_of(family, lambda: result_of(folder, class_name, config, tensors, inputs))
    table = {}
    for key in sorted({*keys, *ALSO_TRIED}):
        table[key] = []
        for value in ODD:
            try:
                result = result_of(folder, class_name, config | {key: value}, tensors, inputs)
                same = result.shape == base.shape and torch.allclose(result, base, atol=1e-5)
                table[key].append("same" if same else "other")
            except Exception:
                table[key].append("error")
    case = {"seed": 1, "architecture": class_name, "odd": False, "config": config, "tensors": shapes}
    return case | stored | {"values": shown(base, stored.get("frames", stored["mask"])), "tried": ODD, "outcomes": table}


def main():
    folder = Path(sys.argv[1])
    for family in sys.argv[2:] or FAMILIES:
        with tempfile.TemporaryDirectory() as scratch:
            cases = [case_of(Path(scratch), family, seed) for seed in range(1, CASES + 1)]
            settings = settings_of(Path(scratch), family)
        names = sorted({name for case in [*cases, settings] for name, _ in case["tensors"]})
        for case in [*cases, settings]:
            case["tensors"] = [[names.index(name), *shape] for name, shape in case["tensors"]]
        line = json.JSONEncoder(separators=(",", ":")).encode
        lines = ",\n".join(line(case) for case in cases)
        text = f'{{"transformers":"{transformers.__version__}","names":{line(names)},\n'
        text += f'"settings":{line(settings)},\n"cases":[\n{lines}\n]}}\n'
        (folder / f"{family}.json").write_text(text)
        print(family, len(text))


main()
