"""Runs ONNX files that tfjs-lora wrote, and those before, in ONNX Runtime, and compares what tfjs computed:

    python test/python/check_onnx.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

TOLERANCE = 1e-5


def array(tensor):
    return np.array(tensor['values'], tensor['dtype']).reshape(tensor['shape'])


class BatchNormalization(OpRun):
    """That of onnx takes the momentum of old versions for training."""

    op_domain = ''

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, **_):
        scale, bias, mean, var = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (scale, bias, mean, var))
        return ((x - mean) / np.sqrt(var + epsilon) * scale + bias,)


def in_double(model):
    """A model whose floats are of 64 bits."""
    result = onnx.ModelProto()
    result.CopyFrom(model)

    def widen(graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype('float64'), tensor.name))
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        for node in graph.node:
            for each in node.attribute:
                if each.type == onnx.AttributeProto.TENSOR and each.t.data_type == TensorProto.FLOAT:
                    each.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(each.t).astype('float64')))
                elif each.type == onnx.AttributeProto.GRAPH:
                    widen(each.g)
                elif node.op_type == 'Cast' and each.name == 'to' and each.i == TensorProto.FLOAT:
                    each.i = TensorProto.DOUBLE

    widen(result.graph)
    return result


def errors(outputs, expected):
    """The largest differences of each, of the largest value."""
    found = []
    for actual, wanted in zip(outputs, expected):
        assert list(actual.shape) == list(wanted.shape), (actual.shape, wanted.shape)
        largest = max(float(np.abs(wanted.astype('float64')).max(initial=0)), 1e-6)
        found.append(float(np.abs(actual.astype('float64') - wanted).max(initial=0)) / largest)
    return np.array(found)


def compare(file, tensors, expected, tolerance):
    """How far tfjs is from ONNX Runtime, and, if that is too far, how far both are from 64 bits."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if any(node.op_type == 'DequantizeLinear' for node in onnx.load(file).graph.node):
        # Otherwise it rounds to 8 bits what is multiplied, too.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(file), options)
    types = {'tensor(int64)': 'int64', 'tensor(int32)': 'int32', 'tensor(bool)': 'bool', 'tensor(float)': 'float32'}
    inputs = session.get_inputs()
    fixed = tensors.get('values', {})
    taken = [x for x in inputs if x.name not in fixed]
    given = {x.name: array(v).astype(types[x.type]) for x, v in zip(taken, tensors['inputs'].values())}
    # Inputs that the model has as constants.
    # A file for one example runs each row by itself.
    rows = next((len(given[x.name]) for x in taken if x.shape and x.shape[0] == 1), 1)
    sizes = {name: size for x in taken for name, size in zip(x.shape, given[x.name].shape)}
    # An open axis without a name is that of the examples.
    sizes[None] = 1 if rows > 1 else len(given[taken[0].name])
    for x in inputs:
        if x.name in fixed:
            given[x.name] = np.full([s if isinstance(s, int) else sizes.get(s, 1) for s in x.shape], fixed[x.name], types[x.type])

    def run(outputs_of, given):
        parts = [outputs_of(None, {k: v[i : i + 1] if rows > 1 and k not in fixed else v for k, v in given.items()}) for i in range(rows)]
        return [np.concatenate(list(each)) if rows > 1 else each[0] for each in zip(*parts)]

    wanted = [array(each) for each in expected]
    outputs = run(session.run, given)
    found = errors(wanted, outputs)
    if np.all(found <= tolerance):
        return found.max(initial=0), None
    exact = ReferenceEvaluator(in_double(onnx.load(file)), new_ops=[BatchNormalization])
    whole = run(exact.run, {k: v.astype('float64') if v.dtype == np.float32 else v for k, v in given.items()})
    ours, theirs = errors(wanted, whole), errors(outputs, whole)
    return found.max(initial=0), (ours, theirs)


failed = []
rounded = []
worst = {'before': 0, 'after': 0, 'new': 0}
folders = sorted(Path(sys.argv[1]).iterdir())
for folder in folders:
    tensors = json.loads((folder / 'tensors.json').read_text())
    model = onnx.load(folder / 'after.onnx')
    halves = any(numpy_helper.to_array(i).dtype == np.float16 for i in model.graph.initializer)
    is_new = not (folder / 'before.onnx').exists()
    for when in ['after'] if is_new else ['before', 'after']:
        try:
            tolerance = 1e-3 if halves and when == 'after' else TOLERANCE
            found, exact = compare(folder / f'{when}.onnx', tensors, tensors[when], tolerance)
            kind = 'new' if is_new else when
            if exact is not None:
                ours, theirs = exact
                line = (f'{folder.name}, {when}: {found:.1e}. From float64, tfjs differs by {ours.max():.1e}, '
                        f'ONNX Runtime by {theirs.max():.1e}')
                # ONNX Runtime rounds less often: it fuses products with sums, and adds up in blocks.
                (rounded if np.all(ours <= np.maximum(tolerance, 4 * theirs)) else failed).append(line)
            elif tolerance == TOLERANCE:
                worst[kind] = max(worst[kind], found)
        except Exception as error:
            failed.append(f'{folder.name}, {when}: {str(error)[:300]}')
    try:
        onnx.checker.check_model(model, full_check=is_new)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        if is_new:
            failed.append(f'{folder.name}: {str(error)[:300]}')
            continue
        try:
            onnx.checker.check_model(onnx.load(folder / 'before.onnx'))
            failed.append(f'{folder.name}: {str(error)[:300]}')
        except onnx.checker.ValidationError:
            pass  # so was what it was made from

print(f"{len(folders)} runs in ONNX Runtime: largest difference {worst['before']:.1e} as imported, "
      f"{worst['after']:.1e} as written back, {worst['new']:.1e} of models of layers")
for line in rounded:
    print(f'float32 rounds: {line}')
print('\n'.join([*failed, f'{len(folders)} runs, {len(failed)} faults']))
sys.exit(len(failed) > 0)
