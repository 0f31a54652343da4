"""Runs ONNX files that tfjs-lora wrote, and those before, in ONNX Runtime, and compares what tfjs computed:

    python test/python/check_onnx.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

TOLERANCE = 1e-5


def array(tensor):
    return np.array(tensor['values'], tensor['dtype']).reshape(tensor['shape'])


def difference(file, tensors, expected):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options)
    types = {'tensor(int64)': 'int64', 'tensor(int32)': 'int32', 'tensor(bool)': 'bool', 'tensor(float)': 'float32'}
    inputs = session.get_inputs()
    fixed = tensors.get('values', {})
    taken = [x for x in inputs if x.name not in fixed]
    given = {x.name: array(v).astype(types[x.type]) for x, v in zip(taken, tensors['inputs'].values())}
    # Inputs that the model has as constants.
    sizes = {name: size for x in taken for name, size in zip(x.shape, given[x.name].shape)}
    for x in inputs:
        if x.name in fixed:
            given[x.name] = np.full([s if isinstance(s, int) else sizes.get(s, 1) for s in x.shape], fixed[x.name], types[x.type])
    # A file for one example runs each row by itself.
    rows = next((len(given[x.name]) for x in taken if x.shape and x.shape[0] == 1), 1)
    parts = [session.run(None, {k: v[i : i + 1] if rows > 1 and k not in fixed else v for k, v in given.items()}) for i in range(rows)]
    outputs = [np.concatenate(list(each)) if rows > 1 else each[0] for each in zip(*parts)]
    worst = 0
    for actual, wanted in zip(outputs, map(array, expected)):
        assert list(actual.shape) == list(wanted.shape), (actual.shape, wanted.shape)
        largest = max(float(np.abs(actual.astype('float64')).max(initial=0)), 1e-6)
        found = float(np.abs(actual.astype('float64') - wanted).max(initial=0)) / largest
        worst = found if np.isnan(found) else max(worst, found)
    return worst


failed = []
worst = {'before': 0, 'after': 0, 'new': 0}
folders = sorted(Path(sys.argv[1]).iterdir())
for folder in folders:
    tensors = json.loads((folder / 'tensors.json').read_text())
    model = onnx.load(folder / 'after.onnx')
    halves = any(numpy_helper.to_array(i).dtype == np.float16 for i in model.graph.initializer)
    is_new = not (folder / 'before.onnx').exists()
    for when in ['after'] if is_new else ['before', 'after']:
        try:
            found = difference(folder / f'{when}.onnx', tensors, tensors[when])
            tolerance = 1e-3 if halves and when == 'after' else TOLERANCE
            kind = 'new' if is_new else when
            worst[kind] = max(worst[kind], found if tolerance == TOLERANCE else 0)
            if not found <= tolerance:
                failed.append(f'{folder.name}, {when}: {found:.1e}')
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
print('\n'.join(failed))
sys.exit(len(failed) > 0)
