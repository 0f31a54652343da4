"""Writes tiny random models of the hub's architectures, adapters that PEFT trained on them, and what PyTorch computes with both:

python test/python/make_transformers.py FOLDER [NAME …]
"""

import copy
import json
import sys
from pathlib import Path

import torch
import new_impl
import transformers
from alone import each_alone
from peft import LoraConfig, get_peft_model
from results import result

VOCABULARY = 61
BERT = dict(
    vocab_size=VOCABULARY,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=20,
)
GPT2 = dict(vocab_size=13, n_embd=8, n_layer=1, n_head=2, n_inner=6, n_positions=9, bos_token_id=1, eos_token_id=1)
LLAMA = dict(
    vocab_size=13,
    hidden_size=8,
    intermediate_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=9,
)
MODELS = {
    "bert": ("BertModel", BERT, ["query", "value"]),
    "bertClasses": ("BertForSequenceClassification", BERT | dict(num_labels=3), ["query", "output.dense"]),
    "distilbert": (
        "DistilBertModel",
        dict(vocab_size=VOCABULARY, dim=24, n_layers=2, n_heads=4, hidden_dim=36, max_position_embeddings=20),
        ["q_lin", "v_lin", "lin1"],
    ),
    "distilbertClasses": (
        "DistilBertForSequenceClassification",
        dict(vocab_size=VOCABULARY, dim=24, n_layers=1, n_heads=4, hidden_dim=36, max_position_embeddings=20, num_labels=2),
        ["q_lin", "pre_classifier"],
    ),
    "roberta": ("RobertaModel", BERT | dict(pad_token_id=1), ["query", "intermediate.dense"]),
    "gpt2": (
        "GPT2LMHeadModel",
        dict(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_positions=20),
        ["c_attn", "c_proj"],
    ),
    "llama": (
        "LlamaForCausalLM",
        dict(
            vocab_size=VOCABULARY,
            hidden_size=24,
            intermediate_size=44,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            rope_theta=500.0,
            tie_word_embeddings=False,
        ),
        ["q_proj", "v_proj", "up_proj", "lm_head"],
    ),
    "llamaScaled": (
        "LlamaForCausalLM",
        dict(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=20,
            num_hidden_layers=1,
            num_attention_heads=2,
            head_dim=12,
            max_position_embeddings=64,
            rope_scaling={
                "rope_type": "llama3",
                "rope_theta": 200.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            tie_word_embeddings=True,
        ),
        ["k_proj", "o_proj"],
    ),
    # An update of the token embedding, of the head that it is too, of both; and the table trained in full, for its
    # rows alone, and for both uses.
    "gpt2TiedTable": ("GPT2LMHeadModel", GPT2, ["wte"]),
    "gpt2TiedHead": ("GPT2LMHeadModel", GPT2, ["lm_head", "c_fc"]),
    "gpt2TiedApart": ("GPT2LMHeadModel", GPT2, dict(target_modules=["c_fc"], modules_to_save=["wte"])),
    "llamaTied": ("LlamaForCausalLM", LLAMA | dict(tie_word_embeddings=True), ["embed_tokens", "lm_head"]),
    "llamaTiedHead": (
        "LlamaForCausalLM",
        LLAMA | dict(tie_word_embeddings=True),
        dict(target_modules=["lm_head"], use_dora=True),
    ),
    "llamaTiedTrained": (
        "LlamaForCausalLM",
        LLAMA | dict(tie_word_embeddings=True),
        dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    "gpt2TokenClasses": (
        "GPT2ForTokenClassification",
        GPT2 | dict(num_labels=3),
        dict(target_modules=["c_attn"], task_type="TOKEN_CLS"),
    ),
    "llamaTokenClasses": (
        "LlamaForTokenClassification",
        LLAMA | dict(num_labels=3),
        dict(target_modules=["v_proj"], task_type="TOKEN_CLS"),
    ),
    "gpt2Spans": ("GPT2ForQuestionAnswering", GPT2, dict(target_modules=["c_attn"], task_type="QUESTION_ANS")),
    "llamaSpans": ("LlamaForQuestionAnswering", LLAMA, dict(target_modules=["v_proj"], task_type="QUESTION_ANS")),
    "mistral": ("MistralForCausalLM", LLAMA | dict(sliding_window=None), ["q_proj", "down_proj"]),
    "mistralSpans": ("MistralForQuestionAnswering", LLAMA, dict(target_modules=["k_proj"], task_type="QUESTION_ANS")),
    "mistralWindow": ("MistralForCausalLM", LLAMA | dict(sliding_window=3), ["k_proj", "up_proj"]),
    "qwen2": ("Qwen2ForCausalLM", LLAMA | dict(tie_word_embeddings=True), ["k_proj", "v_proj", "gate_proj"]),
    "qwen2Classes": (
        "Qwen2ForSequenceClassification",
        LLAMA | dict(num_labels=3, pad_token_id=0),
        dict(target_modules=["q_proj"], task_type="SEQ_CLS"),
    ),
    "qwen3": ("Qwen3ForCausalLM", LLAMA | dict(head_dim=6, attention_bias=True), ["q_proj", "k_proj", "o_proj"]),
    "qwen3TokenClasses": (
        "Qwen3ForTokenClassification",
        LLAMA | dict(head_dim=4, num_labels=3),
        dict(target_modules=["v_proj"], task_type="TOKEN_CLS"),
    ),
}
SMALL = dict(
    vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6, max_position_embeddings=9
)
YARN = {"rope_type": "yarn", "rope_theta": 60.0, "factor": 3.0, "original_max_position_embeddings": 16}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 60.0, "factor": 3.0}
TWO_BLOCKS = LLAMA | dict(num_hidden_layers=2)
MODELS |= {
    "llamaYarn": (
        "LlamaForCausalLM",
        LLAMA | dict(head_dim=12, rope_parameters=YARN | dict(beta_fast=1.5, beta_slow=0.3, truncate=False)),
        ["q_proj", "down_proj"],
    ),
    "qwen3Yarn": (
        "Qwen3ForCausalLM",
        LLAMA | dict(head_dim=10, rope_parameters=YARN | dict(beta_fast=2, mscale=0.7, mscale_all_dim=1.3)),
        dict(target_modules=["k_proj"], use_dora=True),
    ),
    "llamaDynamic": (
        "LlamaForCausalLM",
        TWO_BLOCKS | dict(max_position_embeddings=3) | dict(head_dim=6, rope_parameters=DYNAMIC),
        ["q_proj", "o_proj"],
    ),
    "nomicBertDynamic": (
        "NomicBertModel",
        SMALL | dict(max_position_embeddings=4, head_dim=6) | dict(rope_parameters=DYNAMIC),
        dict(target_modules=["v_proj", "up_proj"], use_dora=True),
    ),
    "modernbertYarn": (
        "ModernBertModel",
        SMALL
        | dict(num_hidden_layers=2, pad_token_id=0, global_attn_every_n_layers=2, local_attention=2)
        | dict(rope_parameters={"full_attention": YARN, "sliding_attention": DYNAMIC | dict(rope_theta=20.0)}),
        ["Wqkv"],
    ),
    "qwen3Window": (
        "Qwen3ForCausalLM",
        TWO_BLOCKS | dict(head_dim=4, use_sliding_window=True, sliding_window=2, max_window_layers=1),
        ["v_proj"],
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        TWO_BLOCKS
        | dict(head_dim=6, sliding_window=2, layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=5),
        dict(target_modules=["q_proj", "k_proj", "down_proj"], modules_to_save=["q_norm"]),
    ),
    "gemma3Classes": (
        "Gemma3TextForSequenceClassification",
        LLAMA | dict(head_dim=4, num_labels=3, sliding_window=2),
        dict(target_modules=["v_proj"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "gemma3BothSides": (
        "Gemma3TextModel",
        LLAMA | dict(head_dim=4, sliding_window=2, use_bidirectional_attention=True),
        ["o_proj", "gate_proj"],
    ),
    "gemma": (
        "GemmaForCausalLM",
        LLAMA | dict(head_dim=6, attention_bias=True),
        dict(target_modules=["q_proj", "o_proj"], modules_to_save=["input_layernorm"]),
    ),
    "gemmaTokenClasses": (
        "GemmaForTokenClassification",
        LLAMA | dict(head_dim=4, hidden_act="gelu", num_labels=3),
        dict(target_modules=["up_proj"], use_dora=True, task_type="TOKEN_CLS"),
    ),
    "gemma2Tied": (
        "Gemma2ForCausalLM",
        TWO_BLOCKS
        | dict(head_dim=6, sliding_window=2, query_pre_attn_scalar=2, attn_logit_softcapping=0.5, final_logit_softcapping=1.5),
        ["q_proj", "k_proj", "v_proj", "lm_head"],
    ),
    "gemma2Classes": (
        "Gemma2ForSequenceClassification",
        LLAMA | dict(head_dim=4, num_labels=3, sliding_window=2, attn_logit_softcapping=None),
        dict(target_modules=["down_proj"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "olmo3": (
        "Olmo3ForCausalLM",
        TWO_BLOCKS
        | dict(
            pad_token_id=0,
            sliding_window=2,
            layer_types=["sliding_attention", "full_attention"],
            rope_parameters={"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 40.0}},
        ),
        dict(target_modules=["k_proj", "down_proj"], modules_to_save=["q_norm"]),
    ),
    "olmo3Classes": (
        "Olmo3ForSequenceClassification",
        LLAMA | dict(pad_token_id=0, num_labels=3, sliding_window=2, attention_bias=True),
        dict(target_modules=["v_proj"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "smollm3Tied": (
        "SmolLM3ForCausalLM",
        TWO_BLOCKS | dict(no_rope_layers=[0, 1], pad_token_id=0, rope_theta=500.0),
        ["q_proj", "lm_head"],
    ),
    "smollm3Classes": (
        "SmolLM3ForSequenceClassification",
        TWO_BLOCKS | dict(no_rope_layer_interval=2, pad_token_id=0, num_labels=3, use_sliding_window=True, sliding_window=2),
        dict(target_modules=["k_proj"], task_type="SEQ_CLS"),
    ),
    "smollm3TokenClasses": (
        "SmolLM3ForTokenClassification",
        LLAMA | dict(pad_token_id=0, num_labels=3, attention_bias=True),
        dict(target_modules=["v_proj"], use_dora=True, task_type="TOKEN_CLS"),
    ),
    "phi3": (
        "Phi3ForCausalLM",
        LLAMA
        | dict(hidden_size=16, num_attention_heads=2)
        | dict(
            pad_token_id=0,
            sliding_window=3,
            rope_parameters={"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.75},
        ),
        ["qkv_proj", "gate_up_proj"],
    ),
    "phi3Long": (
        "Phi3ForCausalLM",
        LLAMA
        | dict(
            pad_token_id=0,
            original_max_position_embeddings=4,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 50.0,
                "short_factor": [1.0, 1.5],
                "long_factor": [1.25, 3.0],
            },
        ),
        dict(target_modules=["o_proj", "down_proj"], use_dora=True),
    ),
    "phi3Classes": (
        "Phi3ForSequenceClassification",
        LLAMA | dict(pad_token_id=0, num_labels=3),
        dict(target_modules=["qkv_proj"], task_type="SEQ_CLS"),
    ),
    "phi3TokenClasses": (
        "Phi3ForTokenClassification",
        LLAMA | dict(pad_token_id=0, num_labels=3),
        dict(target_modules=["qkv_proj"], task_type="TOKEN_CLS"),
    ),
    "olmo2": (
        "Olmo2ForCausalLM",
        LLAMA | dict(pad_token_id=0, attention_bias=True),
        dict(target_modules=["q_proj", "up_proj"], modules_to_save=["k_norm"]),
    ),
    "olmo2Classes": (
        "Olmo2ForSequenceClassification",
        LLAMA | dict(pad_token_id=0, num_labels=3),
        dict(target_modules=["v_proj"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "granite": (
        "GraniteForCausalLM",
        LLAMA | dict(embedding_multiplier=3.0, attention_multiplier=0.4, residual_multiplier=0.7, logits_scaling=2.5),
        ["k_proj", "down_proj", "lm_head"],
    ),
    "graniteTied": (
        "GraniteForCausalLM",
        LLAMA | dict(tie_word_embeddings=True, embedding_multiplier=3.0, logits_scaling=0.5, attention_bias=True),
        dict(target_modules=["embed_tokens", "lm_head"]),
    ),
}
NEOX = SMALL | dict(num_hidden_layers=2, rope_parameters={"rope_theta": 40.0, "partial_rotary_factor": 0.5})
PHI = SMALL | dict(num_hidden_layers=2, pad_token_id=0)
LFM2 = SMALL | dict(num_key_value_heads=1, intermediate_size=7, block_multiple_of=3, num_hidden_layers=2, full_attn_idxs=[1])
OPT = dict(vocab_size=13, hidden_size=8, ffn_dim=6, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=9)
MODELS |= {
    "gptNeoX": ("GPTNeoXForCausalLM", NEOX | dict(eos_token_id=1), ["query_key_value", "dense_h_to_4h", "lm_head"]),
    "gptNeoXClasses": (
        "GPTNeoXForSequenceClassification",
        NEOX | dict(use_parallel_residual=False, attention_bias=False, pad_token_id=0, num_labels=3),
        dict(target_modules=["attention.dense"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "gptNeoXTokenClasses": (
        "GPTNeoXForTokenClassification",
        NEOX | dict(num_labels=3),
        dict(target_modules=["query_key_value"], task_type="TOKEN_CLS"),
    ),
    "gptNeoXSpans": ("GPTNeoXForQuestionAnswering", NEOX, dict(target_modules=["dense_4h_to_h"], task_type="QUESTION_ANS")),
    "lfm2": (
        "Lfm2Model",
        LFM2 | dict(layer_types=["conv", "full_attention"]),
        dict(target_modules=["in_proj", "out_proj", "w2"], use_dora=True),
    ),
    "lfm2Hidden": (
        "Lfm2Model",
        LFM2 | dict(layer_types=["conv", "full_attention"]) | dict(conv_bias=True),
        ["in_proj", "q_proj"],
    ),
    "lfm2Tied": (
        "Lfm2ForCausalLM",
        LFM2 | dict(num_hidden_layers=3) | dict(conv_L_cache=4),
        ["q_proj", "in_proj", "w3", "lm_head"],
    ),
    "lfm2Trained": (
        "Lfm2ForCausalLM",
        LFM2 | dict(conv_bias=True, tie_word_embeddings=False),
        dict(target_modules=["v_proj", "w1"], modules_to_save=["conv.conv", "k_layernorm"]),
    ),
    "phi": (
        "PhiForCausalLM",
        PHI | dict(num_key_value_heads=1, qk_layernorm=True),
        dict(target_modules=["q_proj", "self_attn.dense", "fc1"], modules_to_save=["q_layernorm"]),
    ),
    "phiClasses": (
        "PhiForSequenceClassification",
        PHI | dict(num_labels=3),
        dict(target_modules=["v_proj", "fc2"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "phiTokenClasses": (
        "PhiForTokenClassification",
        PHI | dict(num_labels=3, partial_rotary_factor=1.0),
        dict(target_modules=["k_proj"], task_type="TOKEN_CLS"),
    ),
    "optTied": ("OPTForCausalLM", OPT, ["q_proj", "out_proj", "fc1", "lm_head"]),
    "optNarrow": (
        "OPTModel",
        OPT | dict(word_embed_proj_dim=6, do_layer_norm_before=False),
        ["v_proj", "project_in", "project_out"],
    ),
    "optClasses": (
        "OPTForSequenceClassification",
        OPT | dict(num_labels=3, enable_bias=False),
        dict(target_modules=["k_proj", "fc2"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "optSpans": ("OPTForQuestionAnswering", OPT, dict(target_modules=["q_proj"], task_type="QUESTION_ANS")),
}
MODELS["xlmRobertaXL"] = (
    "XLMRobertaXLModel",
    SMALL | dict(pad_token_id=1, num_hidden_layers=2),
    ["key", "intermediate.dense", "output.dense"],
)
MODELS["xlmRobertaXLClasses"] = (
    "XLMRobertaXLForSequenceClassification",
    SMALL | dict(pad_token_id=1) | dict(hidden_act="relu", num_labels=3),
    dict(target_modules=["value"], task_type="SEQ_CLS", use_dora=True),
)
MODELS["mobilebert"] = (
    "MobileBertModel",
    SMALL | dict(embedding_size=3, intra_bottleneck_size=4, num_feedforward_networks=3, classifier_activation=False),
    dict(
        target_modules=["key", "embedding_transformation", "bottleneck.input.dense"],
        modules_to_save=["bottleneck.input.LayerNorm"],
    ),
)
MODELS["mobilebertClasses"] = (
    "MobileBertForSequenceClassification",
    SMALL | dict(embedding_size=8, use_bottleneck=False, trigram_input=False, normalization_type="layer_norm", num_labels=3),
    dict(target_modules=["value", "output.dense"], task_type="SEQ_CLS", use_dora=True),
)
MODELS["mobilebertUnused"] = (  # two kinds of its layers have no effect, and the pooler none on the states
    "MobileBertModel",
    SMALL | dict(embedding_size=8, trigram_input=False, intra_bottleneck_size=4, use_bottleneck_attention=True),
    dict(target_modules="all-linear"),
)
MODELS["electra"] = ("ElectraModel", SMALL | dict(embedding_size=6), ["query", "embeddings_project"])
MODELS["electraClasses"] = (
    "ElectraForSequenceClassification",
    SMALL | dict(embedding_size=8, num_labels=3),
    dict(target_modules=["value"], task_type="SEQ_CLS"),
)
MODELS["albert"] = (
    "AlbertModel",
    SMALL | dict(num_hidden_layers=4) | dict(embedding_size=8, num_hidden_groups=2),
    ["value", "ffn", "embedding_hidden_mapping_in"],
)
MODELS["albertClasses"] = (
    "AlbertForSequenceClassification",
    SMALL | dict(num_hidden_layers=2) | dict(embedding_size=6, inner_group_num=2, num_labels=3),
    dict(target_modules=["query", "ffn_output"], task_type="SEQ_CLS", use_dora=True),
)
MODELS["mpnet"] = ("MPNetModel", BERT, ["attn.v", "attn.o", "intermediate.dense"])
MODELS["mpnetClasses"] = (
    "MPNetForSequenceClassification",
    SMALL | dict(num_labels=3),
    dict(target_modules=["attn.k"], task_type="SEQ_CLS", use_dora=True),
)
NOMIC = {
    "nomicBert": ("NomicBertModel", {}, ["q_proj", "up_proj"]),
    "nomicBertClasses": (
        "NomicBertForSequenceClassification",
        dict(num_labels=3, head_dim=6, hidden_act="gelu"),
        dict(target_modules=["v_proj", "down_proj"], task_type="SEQ_CLS", use_dora=True),
    ),
    "nomicBertTokenClasses": (
        "NomicBertForTokenClassification",
        dict(num_labels=3),
        dict(target_modules=["o_proj"], task_type="TOKEN_CLS"),
    ),
    "nomicBertTiedWords": ("NomicBertForMaskedLM", {}, ["k_proj", "gate_proj", "decoder", "transform.dense"]),
}
for name, (model_class, more, targets) in NOMIC.items():
    MODELS[name] = (model_class, SMALL | more, targets)
GTE = {
    "gte": ("GteModel", dict(type_vocab_size=0, num_hidden_layers=2), ["q_proj", "down_proj"]),
    "gteClasses": (
        "GteForSequenceClassification",
        dict(num_labels=3, hidden_act="silu", rope_theta=20.0),
        dict(target_modules=["v_proj", "gate_proj"], task_type="SEQ_CLS", use_dora=True),
    ),
    "gteTokenClasses": (
        "GteForTokenClassification",
        dict(num_labels=3),
        dict(target_modules=["o_proj"], task_type="TOKEN_CLS"),
    ),
    "gteTiedWords": ("GteForMaskedLM", dict(type_vocab_size=2), ["k_proj", "up_proj", "decoder"]),
}
for name, (model_class, more, targets) in GTE.items():
    MODELS[name] = (model_class, SMALL | more, targets)
NEW = SMALL | dict(rope_theta=30.0)
NEWS = {
    "new": (
        "NewModel",
        dict(type_vocab_size=0, num_hidden_layers=2, rope_scaling={"type": "ntk", "factor": 8.0}),
        ["qkv_proj", "up_gate_proj"],
    ),
    "newClasses": (
        "NewForSequenceClassification",
        dict(num_labels=3, rope_scaling={"type": "ntk", "factor": 4.0, "mixed_b": 0.75}),
        dict(target_modules=["down_proj"], task_type="SEQ_CLS", use_dora=True),
    ),
    "newTokenClasses": (
        "NewForTokenClassification",
        dict(num_labels=3, pack_qkv=False),
        dict(target_modules=["q_proj"], task_type="TOKEN_CLS"),
    ),
    "newSpans": ("NewForQuestionAnswering", {}, dict(target_modules=["o_proj"], task_type="QUESTION_ANS")),
    "newTiedWords": ("NewForMaskedLM", dict(type_vocab_size=2, hidden_act="silu"), ["qkv_proj", "decoder"]),
}
for name, (model_class, more, targets) in NEWS.items():
    MODELS[name] = (model_class, NEW | more, targets)
MODERN = SMALL | dict(num_hidden_layers=2, pad_token_id=0, global_attn_every_n_layers=2, local_attention=2)
MODELS["modernbert"] = (
    "ModernBertModel",
    MODERN | dict(norm_bias=True, attention_bias=True, mlp_bias=True),
    dict(target_modules=["Wqkv", "mlp.Wo"], use_dora=True),
)
MODELS["modernbertClasses"] = (
    "ModernBertForSequenceClassification",
    MODERN | dict(num_labels=3),
    dict(target_modules=["Wi", "attn.Wo"], modules_to_save=["classifier", "head"]),
)
MODELS["modernbertMean"] = (
    "ModernBertForSequenceClassification",
    MODERN | dict(num_labels=3, classifier_pooling="mean", classifier_bias=True),
    dict(target_modules=["head.dense"], task_type="SEQ_CLS"),
)
T5 = dict(vocab_size=13, d_model=8, d_kv=3, d_ff=6, num_layers=2, num_heads=2, initializer_factor=0.5)
T5 |= dict(relative_attention_num_buckets=8, relative_attention_max_distance=4)
MODELS["t5"] = ("T5EncoderModel", T5, ["q", "v", "wi"])
MODELS["t5Gated"] = (
    "T5EncoderModel",
    T5 | dict(feed_forward_proj="gated-gelu"),
    dict(target_modules=["k", "o", "wi_0", "wo"], use_dora=True),
)
MODELS["t5TokenClasses"] = (
    "T5ForTokenClassification",
    T5 | dict(num_layers=1) | dict(num_labels=3),
    dict(target_modules=["q", "wi"], task_type="TOKEN_CLS"),
)
DEBERTA = SMALL | dict(relative_attention=True, share_att_key=True, pos_att_type="p2c|c2p", position_biased_input=False)
DEBERTA |= dict(position_buckets=4, max_relative_positions=5, norm_rel_ebd="layer_norm", pooler_hidden_act="tanh")
APART = dict(share_att_key=False, position_buckets=-1, norm_rel_ebd="none", type_vocab_size=2, position_biased_input=True)
DEBERTAS = {
    "debertaV2": ("DebertaV2Model", dict(num_hidden_layers=2), ["query_proj", "value_proj"]),
    "debertaV2Keys": (
        "DebertaV2Model",
        APART,
        dict(target_modules=["pos_key_proj", "pos_query_proj", "output.dense"], use_dora=True),
    ),
    "debertaV2Convolution": (
        "DebertaV2Model",
        dict(conv_kernel_size=3, conv_act="gelu", embedding_size=6, pos_att_type=["c2p"], num_hidden_layers=2),
        ["conv.conv", "key_proj", "embed_proj"],
    ),
    "debertaV2Classes": (
        "DebertaV2ForSequenceClassification",
        dict(num_labels=3, pos_att_type=["p2c"], pooler_hidden_act="gelu"),
        dict(target_modules=["key_proj"], modules_to_save=["pooler", "classifier"], task_type="SEQ_CLS"),
    ),
    "debertaV2NewTiedWords": ("DebertaV2ForMaskedLM", dict(legacy=False), ["value_proj", "lm_head.dense"]),
}
for name, (model_class, more, targets) in DEBERTAS.items():
    MODELS[name] = (model_class, DEBERTA | more, targets)
FIRST_DEBERTA = SMALL | dict(
    relative_attention=True, pos_att_type="c2p|p2c", position_biased_input=False, max_relative_positions=3
)
FIRST_DEBERTAS = {
    "deberta": ("DebertaModel", dict(num_hidden_layers=2), dict(target_modules=["in_proj", "pos_proj", "pos_q_proj"])),
    "debertaClasses": (
        "DebertaForSequenceClassification",
        dict(num_labels=3, pos_att_type=["c2p"], position_biased_input=True, max_relative_positions=-1, type_vocab_size=2),
        dict(target_modules=["in_proj"], modules_to_save=["pooler", "classifier"], use_dora=True, task_type="SEQ_CLS"),
    ),
    "debertaTokenClasses": (
        "DebertaForTokenClassification",
        dict(num_labels=3, relative_attention=False, pos_att_type=None),
        dict(target_modules=["in_proj"], task_type="TOKEN_CLS"),
    ),
    "debertaSpans": (
        "DebertaForQuestionAnswering",
        dict(pos_att_type=["p2c"]),
        dict(target_modules=["pos_q_proj"], task_type="QUESTION_ANS"),
    ),
    "debertaTiedWords": ("DebertaForMaskedLM", {}, ["in_proj", "decoder", "transform.dense"]),
}
for name, (model_class, more, targets) in FIRST_DEBERTAS.items():
    MODELS[name] = (model_class, FIRST_DEBERTA | more, targets)
SMALL_DISTILBERT = dict(vocab_size=13, dim=8, n_layers=1, n_heads=2, hidden_dim=6, max_position_embeddings=9)
MOBILEBERT = SMALL | dict(embedding_size=3, intra_bottleneck_size=4, num_feedforward_networks=2)
ENCODERS = {
    "bert": ("Bert", SMALL | dict(hidden_act="gelu_new"), "query"),
    "roberta": ("Roberta", SMALL | dict(pad_token_id=1), "query"),
    "xlmRoberta": ("XLMRoberta", SMALL | dict(pad_token_id=1), "query"),
    "xlmRobertaXL": ("XLMRobertaXL", SMALL | dict(pad_token_id=1), "query"),
    "camembert": ("Camembert", SMALL | dict(pad_token_id=1), "query"),
    "electra": ("Electra", SMALL | dict(embedding_size=6), "query"),
    "albert": ("Albert", SMALL | dict(embedding_size=6, num_hidden_layers=3), "query"),
    "mpnet": ("MPNet", SMALL, "attn.q"),
    "debertaV2": ("DebertaV2", DEBERTA, "query_proj"),
    "modernbert": ("ModernBert", MODERN, "Wqkv"),
    "mobilebert": ("MobileBert", MOBILEBERT, "self.query"),
    "distilbert": ("DistilBert", SMALL_DISTILBERT | dict(activation="relu"), "q_lin"),
}
# What PEFT trains for a task, and what it stores with it: a new head in full, or updates of the one for words.
TASKS = {
    "TokenClasses": ("TokenClassification", dict(num_labels=3), lambda q: dict(target_modules=[q], task_type="TOKEN_CLS")),
    "Spans": ("QuestionAnswering", {}, lambda q: dict(target_modules=[q], task_type="QUESTION_ANS")),
    "Choices": ("MultipleChoice", {}, lambda q: dict(target_modules=[q], modules_to_save=["classifier"])),
}
DECODERS = {
    "bert": ["decoder", "transform.dense"],
    "roberta": ["decoder", "lm_head.dense"],
    "xlmRoberta": ["decoder"],
    "xlmRobertaXL": ["decoder", "lm_head.dense"],
    "camembert": ["decoder"],
    "electra": ["generator_lm_head", "generator_predictions.dense"],
    "albert": ["predictions.decoder", "predictions.dense"],
    "mpnet": ["decoder", "lm_head.dense"],
    "debertaV2": ["decoder", "transform.dense"],
    "modernbert": ["decoder", "head.dense"],
    "mobilebert": ["transform.dense"],
    "distilbert": ["vocab_projector", "vocab_transform"],
}
for name, (family, sizes, query) in ENCODERS.items():
    for task, (suffix, labels, settings) in TASKS.items():
        model_class = f"{family}For{suffix}"
        chosen = settings(query)
        if name == "modernbert" and task == "Spans":  # PEFT looks for another name of the head
            chosen = dict(target_modules=[query], modules_to_save=["classifier"])
        MODELS[name + task] = (model_class, sizes | labels, chosen)
    masked = f"{family}ForMaskedLM"
    MODELS[name + "TiedWords"] = (masked, sizes, [query, *DECODERS[name]])
    if name in ("albert", "bert", "mobilebert", "roberta"):  # the decoder has a bias of its own beside the one that is tied
        MODELS[name + "Words"] = (masked, sizes | dict(tie_word_embeddings=False), [query, *DECODERS[name]])


PATCHES = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6, image_size=9, patch_size=3)
PICTURES = {
    "vit": ("ViTModel", PATCHES, ["q_proj", "v_proj", "projection"]),
    "vitClasses": (
        "ViTForImageClassification",
        PATCHES | dict(num_hidden_layers=2) | dict(num_labels=3, qkv_bias=False, hidden_act="relu"),
        dict(target_modules=["o_proj", "fc1"], modules_to_save=["classifier"], use_dora=True),
    ),
    "deit": ("DeiTModel", PATCHES, dict(target_modules=["k_proj", "fc2", "projection"], use_dora=True)),
    "deitTaught": (
        "DeiTForImageClassificationWithTeacher",
        PATCHES | dict(num_labels=3),
        dict(target_modules=["v_proj"], modules_to_save=["cls_classifier", "distillation_classifier"]),
    ),
}
DINO = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1, image_size=9, patch_size=3)
CLIP_TEXTS = dict(vocab_size=13, hidden_size=8, intermediate_size=6, num_hidden_layers=1, num_attention_heads=2)
CLIP_TEXTS |= dict(max_position_embeddings=9, projection_dim=5, pad_token_id=0, bos_token_id=1, eos_token_id=3)
SIGLIP = dict(text_config=CLIP_TEXTS, vision_config=PATCHES)
CLIP = dict(text_config=CLIP_TEXTS, vision_config=PATCHES | dict(projection_dim=5), projection_dim=5)
PICTURES |= {
    "dinov2": ("Dinov2Model", DINO, ["v_proj", "fc1", "projection"]),
    "dinov2Classes": (
        "Dinov2ForImageClassification",
        DINO | dict(use_swiglu_ffn=True, use_mask_token=False, num_labels=3),
        dict(target_modules=["gate_proj", "down_proj"], modules_to_save=["classifier"], use_dora=True),
    ),
    "dinov2Registers": (
        "Dinov2WithRegistersModel",
        DINO | dict(use_swiglu_ffn=True, num_register_tokens=2),
        dict(target_modules=["q_proj", "up_proj"], use_dora=True),
    ),
    "dinov2RegistersClasses": (
        "Dinov2WithRegistersForImageClassification",
        DINO | dict(num_labels=3),
        dict(target_modules=["o_proj"], modules_to_save=["classifier"]),
    ),
    "siglip": ("SiglipVisionModel", PATCHES, ["q_proj", "patch_embedding"]),
    "siglipPooled": ("SiglipVisionModel", PATCHES, ["v_proj", "fc1"]),
    "siglipClasses": (
        "SiglipForImageClassification",
        SIGLIP | dict(num_labels=3),
        # The model has a head that it does not compute with, with a layer `fc2` too.
        dict(target_modules=["k_proj", "layers.0.mlp.fc2"], modules_to_save=["classifier"], use_dora=True),
    ),
    "clipVision": ("CLIPVisionModel", PATCHES, dict(target_modules=["out_proj", "patch_embedding"], use_dora=True)),
    "clipVisionPooled": ("CLIPVisionModel", PATCHES, ["fc2"]),
    "clipVisionProjection": (
        "CLIPVisionModelWithProjection",
        PATCHES | dict(projection_dim=5),
        ["q_proj", "visual_projection"],
    ),
    "clipClasses": (
        "CLIPForImageClassification",
        CLIP | dict(num_labels=3),
        dict(target_modules=["v_proj"], modules_to_save=["classifier"]),
    ),
}
RESNET = dict(embedding_size=4, hidden_sizes=[12, 16], depths=[1, 2])
FEATURES = {
    "resnet": ("ResNetModel", RESNET | dict(hidden_act="gelu"), dict(target_modules=["convolution"])),
    "resnetPooled": (
        "ResNetModel",
        RESNET | dict(downsample_in_bottleneck=True, downsample_in_first_stage=True),
        dict(target_modules=["layer.1.convolution"], use_dora=True),
    ),
    "resnetClasses": (
        "ResNetForImageClassification",
        RESNET | dict(layer_type="basic", num_labels=3),
        dict(target_modules=["layer.0.convolution"], modules_to_save=["classifier.1"]),
    ),
}
CONVNEXT = dict(hidden_sizes=[4, 6], depths=[1, 2], patch_size=2)
FEATURES |= {
    "convnext": (
        "ConvNextModel",
        CONVNEXT | dict(num_stages=2, hidden_act="relu"),
        ["pwconv1", "downsampling_layer.1", "patch_embeddings"],
    ),
    "convnextClasses": (
        "ConvNextForImageClassification",
        CONVNEXT | dict(num_stages=2, num_labels=3, layer_scale_init_value=0.0),
        dict(target_modules=["pwconv2"], modules_to_save=["classifier"], use_dora=True),
    ),
    "convnextV2Pooled": ("ConvNextV2Model", CONVNEXT | dict(num_stages=2, hidden_act="silu"), ["pwconv1"]),
    "convnextV2Classes": (
        "ConvNextV2ForImageClassification",
        CONVNEXT | dict(num_stages=2, num_labels=3),
        dict(target_modules=["pwconv2", "downsampling_layer.1"], modules_to_save=["classifier"]),
    ),
    "dinov3ConvNext": (
        "DINOv3ConvNextModel",
        dict(hidden_sizes=[4, 6], depths=[1, 2]),
        ["pointwise_conv1", "stages.0.downsample_layers.0"],
    ),
}
SWIN = dict(embed_dim=6, depths=[2, 2], num_heads=[1, 2], window_size=2, mlp_ratio=1.5, patch_size=2, image_size=9)
FEATURES |= {
    "swin": ("SwinModel", SWIN, ["q_proj", "reduction", "projection"]),
    "swinClasses": (
        "SwinForImageClassification",
        SWIN | dict(qkv_bias=False, num_labels=3, hidden_act="silu"),
        dict(target_modules=["v_proj", "fc1"], modules_to_save=["classifier"], use_dora=True),
    ),
    "swinV2Pooled": ("Swinv2Model", SWIN, ["query", "key", "output.dense"]),
    "swinV2Classes": (
        "Swinv2ForImageClassification",
        SWIN | dict(pretrained_window_sizes=[3, 2], num_labels=3),
        dict(target_modules=["value", "reduction"], modules_to_save=["classifier"], use_dora=True),
    ),
    "swinV2AllLinear": (
        "Swinv2ForImageClassification",
        SWIN | dict(num_heads=[2, 3]) | dict(num_labels=3),
        dict(target_modules="all-linear", task_type="SEQ_CLS", r=2, lora_alpha=4),
    ),
    "swinV2BiasDoRA": (
        "Swinv2Model",
        SWIN | dict(num_heads=[2, 3]),
        dict(target_modules=["continuous_position_bias_mlp.2"], use_dora=True, r=2),
    ),
}
MOBILENET = dict(depth_multiplier=0.05, min_depth=3, depth_divisible_by=3, expand_ratio=1.5)
FEATURES |= {
    "mobilenetV2": (
        "MobileNetV2Model",
        MOBILENET | dict(finegrained_output=False, tf_padding=False, first_layer_is_expansion=False),
        ["first_conv.convolution", "1.reduce_1x1.convolution", "conv_1x1.convolution"],
    ),
    "mobilenetV2Classes": (
        "MobileNetV2ForImageClassification",
        MOBILENET | dict(finegrained_output=False, num_labels=3),
        # PyTorch's class looks up the stride of convolutions that it pads, which adapted ones of PEFT do not have.
        ["classifier"],
    ),
}
EFFICIENTNET = dict(
    width_coefficient=0.01,
    depth_divisor=3,
    depth_coefficient=1.2,
    num_block_repeats=[1, 1],
    in_channels=[3, 3],
    out_channels=[3, 500],
    strides=[1, 2],
    kernel_sizes=[3, 5],
    expand_ratios=[1, 2],
    squeeze_expansion_ratio=1.0,
    hidden_dim=12,
)
FEATURES |= {
    "efficientnet": (
        "EfficientNetModel",
        EFFICIENTNET | dict(depthwise_padding=[2]),
        ["embeddings.convolution", "expand_conv", "squeeze_excite.expand", "top_conv"],
    ),
    "efficientnetPooled": (
        "EfficientNetModel",
        EFFICIENTNET | dict(pooling_type="max", hidden_act="relu"),
        dict(target_modules=["project_conv"], use_dora=True),
    ),
    "efficientnetClasses": (
        "EfficientNetForImageClassification",
        EFFICIENTNET | dict(num_labels=3),
        dict(target_modules=["project_conv", "squeeze_excite.reduce"], modules_to_save=["classifier"]),
    ),
}
SEGFORMER = dict(
    num_encoder_blocks=2,
    depths=[1, 2],
    sr_ratios=[2, 1],
    hidden_sizes=[4, 6],
    patch_sizes=[3, 3],
    strides=[2, 2],
    num_attention_heads=[1, 2],
    mlp_ratios=[2, 1],
    decoder_hidden_size=5,
)
FEATURES |= {
    "segformer": (
        "SegformerModel",
        SEGFORMER,
        ["q_proj", "v_proj", "sequence_reduction.sequence_reduction", "patch_embeddings.proj"],
    ),
    "segformerClasses": (
        "SegformerForImageClassification",
        SEGFORMER | dict(reshape_last_stage=False, hidden_act="relu", num_labels=3),
        dict(target_modules=["k_proj", "fc1"], modules_to_save=["classifier"], use_dora=True),
    ),
    "segformerPositions": (
        "SegformerForSemanticSegmentation",
        SEGFORMER | dict(num_labels=3),
        dict(
            target_modules=["o_proj", "linear_projections.0.proj", "linear_projections.1.proj", "linear_fuse"],
            modules_to_save=["classifier"],
        ),
    ),
}
MOBILEVIT = dict(hidden_sizes=[4, 6, 4], neck_hidden_sizes=[3, 3, 4, 3, 3, 3, 5], num_attention_heads=2, expand_ratio=0.5)
FEATURES |= {
    "mobilevit": (
        "MobileViTModel",
        MOBILEVIT | dict(mlp_ratio=1.5),
        [
            "encoder.layer.2.transformer.layer.1.attention.attention.query",
            "layer.3.conv_kxk.convolution",
            "4.conv_projection.convolution",
        ],
    ),
    "mobilevitClasses": (
        "MobileViTForImageClassification",
        MOBILEVIT | dict(qkv_bias=False, hidden_act="gelu", num_labels=3),
        dict(target_modules=["value", "2.intermediate.dense"], modules_to_save=["classifier"], use_dora=True),
    ),
}
PICTURES |= FEATURES
DINOV3 = PATCHES | dict(num_hidden_layers=2)
PICTURES |= {
    "dinov3": (
        "DINOv3ViTModel",
        DINOV3 | dict(num_register_tokens=2, rope_theta=20.0),
        ["q_proj", "v_proj", "up_proj", "patch_embeddings"],
    ),
    "dinov3Pooled": (
        "DINOv3ViTModel",
        DINOV3 | dict(use_gated_mlp=True, hidden_act="silu", key_bias=True, proj_bias=False, num_register_tokens=1),
        dict(target_modules=["k_proj", "gate_proj"], use_dora=True),
    ),
}
BEIT = PATCHES | dict(num_hidden_layers=2)
PICTURES |= {
    "beit": (
        "BeitModel",
        BEIT | dict(use_shared_relative_position_bias=True, use_absolute_position_embeddings=True, use_mean_pooling=False),
        ["q_proj", "k_proj", "projection"],
    ),
    "beitPooled": (
        "BeitModel",
        BEIT | dict(use_relative_position_bias=True, use_shared_relative_position_bias=True, use_mask_token=True),
        ["v_proj", "fc1"],
    ),
    "beitClasses": (
        "BeitForImageClassification",
        BEIT | dict(use_relative_position_bias=True, layer_scale_init_value=0.0, hidden_act="relu", num_labels=3),
        dict(target_modules=["o_proj", "fc2"], modules_to_save=["classifier"], use_dora=True),
    ),
}
NAFLEX = {key: value for key, value in PATCHES.items() if key != "image_size"} | dict(num_patches=9)
PICTURES |= {
    "siglip2": ("Siglip2VisionModel", NAFLEX, ["q_proj", "patch_embedding"]),
    "siglip2Pooled": (
        "Siglip2VisionModel",
        NAFLEX | dict(num_patches=25, hidden_act="relu"),
        dict(target_modules=["v_proj", "fc1"], modules_to_save=["position_embedding"]),
    ),
    "siglip2Classes": (
        "Siglip2ForImageClassification",
        dict(text_config=CLIP_TEXTS, vision_config=NAFLEX | dict(num_hidden_layers=2), num_labels=3),
        dict(target_modules=["k_proj", "layers.0.mlp.fc2"], modules_to_save=["classifier"], use_dora=True),
    ),
}
MODELS |= PICTURES
SIGLIP_TEXTS = {key: value for key, value in CLIP_TEXTS.items() if key != "projection_dim"}
PAIRS = ["clipPairs", "siglipPairs", "siglip2Pairs"]
MODELS |= {
    "siglipText": ("SiglipTextModel", SIGLIP_TEXTS, ["k_proj", "fc2"]),
    "siglipTextPooled": (
        "SiglipTextModel",
        SIGLIP_TEXTS | dict(projection_size=5),
        dict(target_modules=["q_proj", "head"], use_dora=True),
    ),
    "siglipPairs": (
        "SiglipModel",
        dict(text_config=SIGLIP_TEXTS, vision_config=PATCHES),
        dict(target_modules=["v_proj", "layers.0.mlp.fc1", "head.mlp.fc2"], modules_to_save=["text_model.head"]),
    ),
    "siglip2Pairs": (
        "Siglip2Model",
        dict(text_config=SIGLIP_TEXTS, vision_config=NAFLEX),
        dict(target_modules=["self_attn.out_proj", "layers.0.mlp.fc1", "token_embedding"], modules_to_save=["text_model.head"]),
    ),
    "clipText": ("CLIPTextModel", CLIP_TEXTS, ["q_proj", "token_embedding"]),
    "clipTextPooled": ("CLIPTextModel", CLIP_TEXTS | dict(eos_token_id=2), dict(target_modules=["fc1"], use_dora=True)),
    "clipTextProjection": ("CLIPTextModelWithProjection", CLIP_TEXTS, ["v_proj", "text_projection"]),
    "clipPairs": (
        "CLIPModel",
        CLIP,
        dict(target_modules=["q_proj", "fc1", "visual_projection"], modules_to_save=["text_projection"]),
    ),
}
WHISPER = dict(
    vocab_size=13,
    d_model=12,
    encoder_layers=1,
    decoder_layers=2,
    encoder_attention_heads=3,
    decoder_attention_heads=2,
    encoder_ffn_dim=6,
    decoder_ffn_dim=10,
    num_mel_bins=5,
    max_source_positions=7,
    max_target_positions=9,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
    decoder_start_token_id=1,
)
# Models that hear.
SOUNDS = {
    "whisper": ("WhisperModel", WHISPER, ["encoder_attn.k_proj", "self_attn.q_proj", "fc1"]),
    "whisperTiedText": (
        "WhisperForConditionalGeneration",
        WHISPER | dict(activation_function="gelu_new"),
        ["proj_out", "embed_tokens", "encoder_attn.v_proj", "out_proj"],
    ),
    "whisperClasses": (
        "WhisperForAudioClassification",
        WHISPER | dict(encoder_layers=2) | dict(classifier_proj_size=4, num_labels=3),
        dict(target_modules=["v_proj", "fc2", "projector"], modules_to_save=["classifier"], use_dora=True),
    ),
}
AST = dict(
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=6,
    patch_size=3,
    frequency_stride=2,
    time_stride=2,
    max_length=11,
    num_mel_bins=8,
)
SOUNDS |= {
    "ast": ("ASTModel", AST | dict(qkv_bias=False), ["q_proj", "fc1", "projection"]),
    "astPooled": ("ASTModel", AST | dict(frequency_stride=3), ["k_proj", "o_proj"]),
    "astClasses": (
        "ASTForAudioClassification",
        AST | dict(time_stride=4, num_hidden_layers=1) | dict(num_labels=3, hidden_act="relu"),
        dict(target_modules=["v_proj", "fc2"], modules_to_save=["classifier"], use_dora=True),
    ),
}
WAV2VEC2 = dict(
    vocab_size=7,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=6,
    conv_dim=[4, 6, 5],
    conv_kernel=[5, 3, 2],
    conv_stride=[3, 2, 1],
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    classifier_proj_size=5,
)
STABLE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
SOUNDS |= {
    "wav2vec2": ("Wav2Vec2Model", WAV2VEC2, ["q_proj", "intermediate_dense"]),
    "wav2vec2CTC": (
        "Wav2Vec2ForCTC",
        WAV2VEC2 | STABLE | dict(num_conv_pos_embeddings=5, num_hidden_layers=2),
        dict(target_modules=["v_proj", "feature_projection.projection", "conv_layers.2.conv"], modules_to_save=["lm_head"]),
    ),
    "wav2vec2Classes": (
        "Wav2Vec2ForSequenceClassification",
        WAV2VEC2 | dict(num_labels=3, feat_extract_activation="gelu_new"),
        dict(target_modules=["k_proj", "projector"], modules_to_save=["classifier"], use_dora=True),
    ),
    "hubert": ("HubertModel", WAV2VEC2 | dict(feat_proj_layer_norm=False), ["out_proj", "output_dense", "conv_layers.1.conv"]),
    "hubertCTC": (
        "HubertForCTC",
        WAV2VEC2 | STABLE | dict(hidden_act="relu"),
        dict(target_modules=["q_proj", "lm_head"], use_dora=True),
    ),
    "hubertClasses": ("HubertForSequenceClassification", WAV2VEC2 | dict(num_labels=2), ["v_proj", "projector"]),
}
MODELS |= SOUNDS
# Their models interpolate positions only if they are asked to.
INTERPOLATED = ["vit", "deit", "siglip", "siglip_vision_model", "clip", "clip_vision_model"]
# Many narrow layers, after which little would be left of a gradient.
DEVIATIONS = {"mobilenet": 0.5, "mobilevit": 0.4, "efficientnet": 1.0}


def rows(tensor):
    return [round(value, 8) for value in tensor.detach().float().flatten().tolist()]


def digits(tensor):
    return [float(f"{value:.7g}") for value in tensor.detach().float().flatten().tolist()]


def texts_for(name, config):
    config = getattr(config, "text_config", config)
    shape = (3, 7) if config.vocab_size == VOCABULARY else (2, 3, 5) if name.endswith("Choices") else (2, 5)
    ids = torch.randint(2, config.vocab_size, shape)
    mask = torch.ones_like(ids)
    mask[1, ..., 4:] = 0
    mask[2:, 1:] = 0
    if name.endswith("Hidden"):  # a hole, and padding before a text
        mask = torch.tensor([[1, 0, 1, 1, 1], [0, 0, 1, 1, 1]])
    ids[mask == 0] = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
    if name.startswith("clip"):
        ids[torch.arange(len(ids)), mask.sum(-1) - 1] = 3  # the token that ends a text
    return dict(input_ids=ids, attention_mask=mask)


def stored_texts(inputs):
    return {"ids": inputs["input_ids"].tolist(), "mask": inputs["attention_mask"].tolist()}


def pictures_for(height=9, width=9):
    return dict(pixel_values=torch.randint(-16, 17, (2, 3, height, width)) / 8)


def seen_by(name):
    """The pictures for a model, or their patches: rows and columns are not those of its positions, and some patches are padding."""
    if not name.startswith("siglip2"):
        return pictures_for()
    grids = torch.tensor([[2, 5], [6, 2]])
    mask = (torch.arange(13)[None] < grids.prod(-1)[:, None]).long()
    patches = torch.randint(-16, 17, (2, 13, 27)) / 8 * mask[:, :, None]
    return dict(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=grids)


def sounds_for(config, model_class):
    """What a model hears, and what of it is stored: as tfjs has it, [batch, frames, bins]."""
    if config.model_type == "whisper":
        heard = torch.randint(-16, 17, (2, config.num_mel_bins, 2 * config.max_source_positions)) / 8
        inputs, stored = dict(input_features=heard), heard.permute(0, 2, 1)
        if "Classification" not in model_class.__name__:
            inputs["decoder_input_ids"] = torch.randint(2, config.vocab_size, (2, 5))
    elif config.model_type in ("wav2vec2", "hubert"):
        stored = torch.randint(-16, 17, (2, 41)) / 8
        mask = torch.ones(2, 41, dtype=torch.long)
        mask[1, 29:] = 0
        inputs = dict(input_values=stored, attention_mask=mask)
    else:
        stored = torch.randint(-16, 17, (2, config.max_length, config.num_mel_bins)) / 8
        inputs = dict(input_values=stored)
    return inputs, {
        "ids": inputs["decoder_input_ids"].tolist() if "decoder_input_ids" in inputs else [],
        "mask": inputs["attention_mask"].tolist() if "attention_mask" in inputs else [],
        "sound": {"shape": list(stored.shape), "values": rows(stored)},
    }


def frames_of(model, mask, count):
    """Which frames are of a sound, and not of its padding."""
    lengths = model._get_feat_extract_output_lengths(mask.sum(-1))
    return (torch.arange(count)[None] < lengths[:, None]).long()


def stored_pictures(inputs):
    """Pictures as tfjs has them, [batch, height, width, channels], or patches, [batch, patches, values]."""
    pixels = inputs["pixel_values"]
    if pixels.ndim == 4:
        pixels = pixels.permute(0, 2, 3, 1)
    lists = {"patchMask": "pixel_attention_mask", "grids": "spatial_shapes"}
    beside = {name: inputs[key].tolist() for name, key in lists.items() if key in inputs}
    return {"pixels": {"shape": list(pixels.shape), "values": rows(pixels)}, **beside}


def parts_of_pairs(model, inputs):
    """What the encoders of a model for pairs give apart, and its loss."""
    texts = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}
    images = {key: value for key, value in inputs.items() if key not in texts}
    return {
        "imageVectors": rows(model.get_image_features(**images).pooler_output),
        "textVectors": rows(model.get_text_features(**texts).pooler_output),
        "loss": model(**inputs, return_loss=True).loss.item(),
    }


def other_pictures(model, name, pooled):
    """Pictures of another size than that of the config, whose places are interpolated: higher, and less wide."""
    inputs = pictures_for(15, 8 if name in FEATURES else 7)
    ways = dict(interpolate_pos_encoding=True) if model.config.model_type in INTERPOLATED else {}
    given = result(model(**inputs, **ways), pooled)
    return {**stored_pictures(inputs)["pixels"], "base": rows(given), "baseShape": list(given.shape)}


def write(folder, name, model_class, config, targets):
    torch.manual_seed(len(name))
    model = model_class(config).eval()
    deviation = next((value for start, value in DEVIATIONS.items() if name.startswith(start)), 0.2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=deviation) if parameter.ndim > 1 else parameter.data.add_(
            torch.randn_like(parameter) * 0.2
        )
    for name_of_buffer, buffer in model.named_buffers():
        if name_of_buffer.endswith("running_mean"):
            buffer.normal_(std=0.3)
        elif name_of_buffer.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    model.tie_weights()
    target = folder / name
    model.save_pretrained(target, safe_serialization=True)

    pictures = name in PICTURES
    pooled = name.endswith("Pooled")
    heard, stored_sounds = sounds_for(config, model_class) if name in SOUNDS else (None, {})
    inputs = heard or (seen_by(name) if pictures else texts_for(name, config))
    if name in PAIRS:
        inputs |= seen_by(name)
    run = lambda given: result(peft(**given) if peft else model(**given), pooled)
    peft = None
    base = each_alone(run, model, inputs)
    # Swin's layers keep the windows that they chose for small images.
    takes_images = pictures and inputs["pixel_values"].ndim == 4
    other = {"other": other_pictures(copy.deepcopy(model), name, pooled)} if takes_images else {}
    parts = parts_of_pairs(model, inputs) if name in PAIRS else {}
    if name.endswith("CTC"):
        labels = torch.tensor([[2, 5, -100], [4, 1, 6]])
        model.config.ctc_loss_reduction = "mean"
        parts = {"labels": labels.tolist(), "loss": model(**inputs, labels=labels).loss.item()}
    settings = targets if isinstance(targets, dict) else dict(target_modules=targets)
    peft = get_peft_model(model, LoraConfig(**dict(r=3, lora_alpha=6) | settings))
    for parameter_name, parameter in peft.named_parameters():
        if "lora_magnitude" in parameter_name:
            parameter.data.mul_(torch.rand_like(parameter) + 0.5)
        elif "lora_" in parameter_name or "modules_to_save" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.3)
    peft.eval()
    adapted = each_alone(run, peft, inputs)
    weights = torch.randn_like(adapted)
    if adapted.ndim == 3 and not pictures and not heard:
        weights = weights * inputs["attention_mask"][:, :, None]
    if name.endswith("CTC"):
        frames = frames_of(model, inputs["attention_mask"], adapted.shape[1])
        stored_sounds["frames"] = frames.tolist()
        weights = weights * frames[:, :, None]
    (adapted * weights).sum().backward()
    gradients = {
        key.removeprefix("base_model.model.").replace(".modules_to_save.default", "").replace(".default", ""): parameter.grad
        for key, parameter in peft.named_parameters()
        if parameter.grad is not None
    }
    peft.save_pretrained(target, save_embedding_layers=False)
    (target / "README.md").unlink(missing_ok=True)
    if "Tied" in name:  # merged by PEFT, one of two tied weights would take the other along
        merged = adapted
    else:
        peft = peft.merge_and_unload()
        merged = each_alone(run, peft, inputs)
    expected = {
        "transformers": transformers.__version__,
        **({"ids": [], "mask": []} | other if pictures else stored_sounds or stored_texts(inputs)),
        **(stored_pictures(inputs) if "pixel_values" in inputs else {}),
        **parts,
        "base": rows(base),
        "adapted": rows(adapted),
        "merged": rows(merged),
        "shape": list(base.shape),
        "weights": rows(weights),
        "gradients": {key: {"shape": list(value.shape), "values": digits(value)} for key, value in gradients.items()},
    }
    (target / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


def main():
    folder = Path(sys.argv[1])
    for name, (class_name, settings, targets) in MODELS.items():
        if len(sys.argv) == 2 or name in sys.argv[2:]:
            model_class = getattr(transformers, class_name, None) or getattr(new_impl, class_name)
            write(folder, name, model_class, model_class.config_class(**settings), targets)
            print(name)


main()
