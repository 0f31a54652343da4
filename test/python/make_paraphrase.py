"""Writes what ONNX Runtime computes with paraphrase-MiniLM-L3, and with a LoRA update of its queries and values, for texts of mixed length:

    pip install onnx==1.23.2 onnxruntime==1.32.0 tokenizers==0.23.3
    npm run setup -- pretrained minilm paraphrase   # prints the folders
    python test/python/make_paraphrase.py PARAPHRASE MINILM test/fixtures/paraphrase.json

The graph comes without a tokenizer. That of all-MiniLM-L6-v2 has the same vocabulary.
"""

import json
import re
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
from tokenizers import Tokenizer

TEXTS = [
    "A man is eating food.",
    "",
    "Re: [ILUG] Which distribution would you recommend for a 486 with 8 MB?",
    "naïve café — 价格 ½ off!!! 😀",
    "A man is eating a piece of bread. " * 6,
    "Somebody eats.",
]
RANK, ALPHA, WIDTH = 8, 16, 384


def pattern(rows, columns, period):
    """Numbers between −0.5 and 0.5, which the test makes again."""
    places = numpy.arange(rows * columns).reshape(rows, columns)
    return ((places * 7 % period) / period - 0.5).astype(numpy.float32)


def compute(graph, inputs):
    """The last of the normalizations, which is what BERT gives, and the mean of it, which is what the graph makes of that."""
    names = [last(graph, kind).output[0] for kind in ("LayerNormalization", "Concat")]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # as it is written
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    states, vectors = session.run(names, inputs)
    mask = inputs["attention_mask"][:, :, None]
    assert numpy.abs(vectors - (states * mask).sum(1) / numpy.maximum(mask.sum(1), 1)).max() < 1e-5
    return vectors


def last(graph, kind):
    return [node for node in graph.graph.node if node.op_type == kind][-1]


def adapt(graph):
    """Adds alpha / rank · A · B to the matrices of queries and values, which are [in, out]. Gives how many there were."""
    update = ALPHA / RANK * pattern(WIDTH, RANK, 11) @ (pattern(RANK, WIDTH, 13) / 16)
    initializers = {tensor.name: tensor for tensor in graph.graph.initializer}
    nodes = [node for node in graph.graph.node if re.search(r"/self/(query|value)/MatMul$", node.name)]
    for tensor in [initializers[node.input[1]] for node in nodes]:
        adapted = onnx.numpy_helper.to_array(tensor) + update
        tensor.CopyFrom(onnx.numpy_helper.from_array(adapted.astype(numpy.float32), tensor.name))
    return len(nodes)


def main():
    source, minilm, target = map(Path, sys.argv[1:])
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(TEXTS)
    padding = [0] * len(encoded[0].ids)  # a row of it
    inputs = {
        "input_ids": numpy.array([*(text.ids for text in encoded), padding]),
        "attention_mask": numpy.array([*(text.attention_mask for text in encoded), padding]),
    }
    graph = onnx.load(next(source.glob("*.onnx")))
    base = compute(graph, inputs)
    assert adapt(graph) == 6
    adapted = compute(graph, inputs)
    numbers = {"base": base, "adapted": adapted}
    result = {
        "made by": f"onnxruntime {onnxruntime.__version__}",
        "ids": inputs["input_ids"].tolist(),
        "mask": inputs["attention_mask"].tolist(),
        "rank": RANK,
        "alpha": ALPHA,
        **{name: [[round(float(value), 7) for value in row] for row in rows] for name, rows in numbers.items()},
    }
    lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in result.items())
    target.write_text(f"{{\n{lines}\n}}\n")


main()
