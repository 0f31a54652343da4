"""Writes test/fixtures/onnx/transformers.json: small transformers of random weights as PyTorch exports them to ONNX, with
their config.json, and what they give for some tokens (needs torch, transformers, onnx and onnxscript):

    python test/python/make_onnx_transformers.py
"""

import base64
import io
import json
from pathlib import Path

import onnx
import torch
import transformers

SIZES = dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
             max_position_embeddings=16, pad_token_id=0)
CASES = [
    ('BertForSequenceClassification', transformers.BertConfig(**SIZES, num_labels=3), ['torchscript', 'dynamo']),
    ('AlbertModel', transformers.AlbertConfig(**SIZES | dict(num_hidden_layers=2), embedding_size=4), ['torchscript']),
    ('LlamaForCausalLM', transformers.LlamaConfig(**SIZES, num_key_value_heads=1), ['torchscript']),
    ('GPT2Model', transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=16), ['torchscript']),
]


class Model(torch.nn.Module):
    """A model with a plain output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask):
        return self.model(input_ids=ids, attention_mask=mask, **({'use_cache': False} if self.model.config.use_cache else {}))[0]


cases = []
for name, config, exporters in CASES:
    torch.manual_seed(1)
    config._attn_implementation = 'eager'
    config.use_cache = getattr(config, 'use_cache', False) and not config.model_type in ('bert', 'albert')
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        # Biases and norms start the same everywhere.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(1, 20, (2, 6))
    mask = torch.ones(2, 6, dtype=torch.int64)
    whole = Model(model).eval()
    for exporter in exporters:
        file = io.BytesIO()
        if exporter == 'torchscript':
            axes = {'ids': {0: 'batch', 1: 'length'}, 'mask': {0: 'batch', 1: 'length'}}
            torch.onnx.export(whole, (ids, mask), file, dynamo=False, opset_version=17, input_names=['ids', 'mask'],
                              dynamic_axes=axes)
        else:
            sizes = {0: torch.export.Dim('batch', min=1, max=64), 1: torch.export.Dim('length', min=2, max=16)}
            torch.onnx.export(whole, (ids, mask), dynamo=True, external_data=False, verbose=False,
                              dynamic_shapes={'ids': sizes, 'mask': sizes}).save(file)
        proto = onnx.load_from_string(file.getvalue())
        for node in proto.graph.node:
            del node.metadata_props[:]
            node.doc_string = ''
        for value in [*proto.graph.value_info]:
            proto.graph.value_info.remove(value)
        values = whole(ids, mask).detach()
        cases.append({
            'name': f'{name}, {exporter}',
            'config': {'architectures': [name], **{k: v for k, v in config.to_diff_dict().items() if k != 'transformers_version'}},
            'ids': ids.tolist(),
            'shape': list(values.shape),
            'values': [float(f'{v:.7g}') for v in values.flatten().tolist()],
            'file': base64.b64encode(proto.SerializeToString()).decode(),
        })
        print(cases[-1]['name'], len(cases[-1]['file']))
Path('test/fixtures/onnx/transformers.json').write_text('[\n' + ',\n'.join(map(json.dumps, cases)) + '\n]\n')
