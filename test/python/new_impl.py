"""The model type `new` of the hub (GTE v1.5 and multilingual, arXiv 2407.19669), whose code is not in transformers: a reference with the names of modules that the published files have."""

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutput, QuestionAnsweringModelOutput, TokenClassifierOutput


@strict
class NewConfig(PreTrainedConfig):
    model_type = "new"
    vocab_size: int = 30528
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 2048
    type_vocab_size: int = 1
    initializer_range: float = 0.02
    layer_norm_type: str = "layer_norm"
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "rope"
    rope_theta: float | int = 10000.0
    rope_scaling: dict | None = None
    pack_qkv: bool = True
    logn_attention_scale: bool = False
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True


def frequencies(config):
    """Of each pair at position 1. With `ntk` either the base grows or each pair has a factor of its own."""
    size = config.hidden_size // config.num_attention_heads
    scaling = config.rope_scaling
    if scaling is None:
        return config.rope_theta ** (-torch.arange(0, size, 2) / size)
    if scaling["type"] != "ntk":
        raise ValueError(f"unknown scaling {scaling}")
    factor, mixed = scaling["factor"], scaling.get("mixed_b")
    if factor <= 1:
        return config.rope_theta ** (-torch.arange(0, size, 2) / size)
    if mixed is None:
        return (config.rope_theta * factor) ** (-torch.arange(0, size, 2) / size) / factor ** (2 / size)
    slope = torch.tensor(float(factor)).log() / (size / 2) ** mixed
    return config.rope_theta ** (-torch.arange(0, size, 2) / size) / (slope * torch.arange(1, size // 2 + 1) ** mixed).exp()


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        if config.position_embedding_type != "rope" or config.layer_norm_type != "layer_norm" or config.logn_attention_scale:
            raise ValueError("not in any published model")
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width) if config.type_vocab_size > 0 else None
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def forward(self, ids):
        types = 0 if self.token_type_embeddings is None else self.token_type_embeddings.weight[0]
        return self.LayerNorm(self.word_embeddings(ids) + types)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, width = config.num_attention_heads, config.hidden_size
        if width % self.heads != 0:
            raise ValueError("The heads do not divide the width")
        self.packed = config.pack_qkv
        if self.packed:
            self.qkv_proj = nn.Linear(width, 3 * width)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.o_proj = nn.Linear(width, width)

    def forward(self, x, mask, angles):
        parts = self.qkv_proj(x).chunk(3, -1) if self.packed else (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        turn = lambda z: torch.cat([-z.chunk(2, -1)[1], z.chunk(2, -1)[0]], -1)
        q, k = (z * cos + turn(z) * sin for z in (q, k))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(mask[:, None, None] == 0, torch.finfo(scores.dtype).min)
        return self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class GatedMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_gate_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, x):
        up, gate = self.up_gate_proj(x).chunk(2, -1)
        return self.down_proj(self.act(gate) * up)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention, self.mlp = Attention(config), GatedMLP(config)
        self.attn_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x, mask, angles):
        x = self.attn_ln(x + self.attention(x, mask, angles))
        return self.mlp_ln(x + self.mlp(x))


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])


class Pooler(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x):
        return self.dense(x[:, 0]).tanh()


class NewPreTrainedModel(PreTrainedModel):
    config_class = NewConfig
    base_model_prefix = "new"


class NewModel(NewPreTrainedModel):
    def __init__(self, config, pools=False):
        super().__init__(config)
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)
        self.pooler = Pooler(config) if pools else None
        self.post_init()

    def get_input_embeddings(self):
        return self.embeddings.word_embeddings

    def forward(self, input_ids, attention_mask, **_):
        x = self.embeddings(input_ids)
        angles = torch.arange(x.shape[1])[:, None].float() * frequencies(self.config)
        for layer in self.encoder.layer:
            x = layer(x, attention_mask, angles)
        return BaseModelOutput(last_hidden_state=x)


class NewLMPredictionHead(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense, self.act = nn.Linear(config.hidden_size, config.hidden_size), ACT2FN[config.hidden_act]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x):
        return self.decoder(self.norm(self.act(self.dense(x))))


class NewForMaskedLM(NewPreTrainedModel):
    _tied_weights_keys = {"lm_head.decoder.weight": "new.embeddings.word_embeddings.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.new, self.lm_head = NewModel(config), NewLMPredictionHead(config)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head.decoder

    def forward(self, input_ids, attention_mask, **_):
        return TokenClassifierOutput(logits=self.lm_head(self.new(input_ids, attention_mask).last_hidden_state))


class NewForSequenceClassification(NewPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.new = NewModel(config, pools=True)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask, **_):
        states = self.new(input_ids, attention_mask).last_hidden_state
        return TokenClassifierOutput(logits=self.classifier(self.new.pooler(states)))


class NewForTokenClassification(NewPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.new, self.classifier = NewModel(config), nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask, **_):
        return TokenClassifierOutput(logits=self.classifier(self.new(input_ids, attention_mask).last_hidden_state))


class NewForQuestionAnswering(NewPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.new, self.qa_outputs = NewModel(config), nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(self, input_ids, attention_mask, **_):
        start, end = self.qa_outputs(self.new(input_ids, attention_mask).last_hidden_state).unbind(-1)
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)


CLASSES = [NewConfig, NewModel, NewForMaskedLM, NewForSequenceClassification, NewForTokenClassification, NewForQuestionAnswering]
