"""Writes test/fixtures/onnx: tiny ONNX files, and what ONNX Runtime computes of random inputs.

    python test/python/make_onnx.py     (needs onnx, onnxruntime, torch and onnxscript)

operations.json has a file for each operation and its variants; networks.json what the exporters of PyTorch write.
"""

import base64
import io
import json
import os
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FOLDER = os.path.join(os.path.dirname(__file__), '../fixtures/onnx')
rng = np.random.default_rng(0)
cases = []


def rand(*shape):
    return rng.standard_normal(shape).astype('float32')


def run(file, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options)
    return session.run(None, {k: v for k, v in inputs.items() if k in [i.name for i in session.get_inputs()]})


def packed(array):
    kind = {'f': 'float32', 'i': 'int32', 'u': 'int32', 'b': 'bool'}[array.dtype.kind]
    values = [float(f'{v:.7g}') if kind == 'float32' else int(v) for v in array.ravel()]
    return {'shape': list(array.shape), 'dtype': kind, 'values': values}


def add(into, name, file, inputs, reference=None):
    inputs = {k: np.round(v, 3) if v.dtype.kind == 'f' else v for k, v in inputs.items()}
    try:
        outputs = run(reference or file, inputs)
    except Exception as error:
        raise ValueError(name) from error
    into.append({
        'name': name,
        'file': base64.b64encode(file).decode(),
        'inputs': {k: packed(v) for k, v in inputs.items()},
        'outputs': [packed(v) for v in outputs],
    })


def case(name, nodes, weights=None, opset=17, outputs=1, fixed=False, floats=None, **inputs):
    """A node: (operation, inputs, outputs, attributes). What nothing gives is an input, open along its first axis."""
    made = [helper.make_node(op, i.split(',') if i else [], o.split(','), **{'domain': '', **a}) for op, i, o, a in nodes]
    def info(key, value):
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(key, kind, [d if fixed or i > 0 else 'N' for i, d in enumerate(value.shape)])
    names = [f'y{i}' if i else 'y' for i in range(outputs)]
    ends = [helper.make_empty_tensor_value_info(n) for n in names]
    graph = helper.make_graph(
        made, 'g', [info(k, v) for k, v in inputs.items()], ends,
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid('', opset), helper.make_opsetid('com.microsoft', 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 21 else 10)
    model = onnx.shape_inference.infer_shapes(model)
    for end in model.graph.output:
        if not end.type.tensor_type.elem_type:
            end.type.tensor_type.elem_type = T.FLOAT
    add(cases, name, model.SerializeToString(), inputs, floats)


i64 = lambda *v: np.array(v, 'int64')
x3, x4, image = rand(2, 3, 4), rand(2, 3, 4, 5), rand(2, 4, 7, 6)

# One tensor.
for op in 'Abs Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Mish Neg Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh Atan Asinh Identity Dropout Celu'.split():
    case(op, [(op, 'x', 'y', {})], opset=18, x=x3)
for op in 'Sqrt Log Reciprocal Acosh'.split():
    case(op, [(op, 'x', 'y', {})], x=np.abs(x3) + 1.5)
for op in 'Asin Acos Atanh'.split():
    case(op, [(op, 'x', 'y', {})], x=np.tanh(x3) * np.float32(0.9))
case('Elu alpha', [('Elu', 'x', 'y', {'alpha': 0.3})], x=x3)
case('Celu alpha', [('Celu', 'x', 'y', {'alpha': 0.3})], x=x3)
case('LeakyRelu alpha', [('LeakyRelu', 'x', 'y', {'alpha': 0.3})], x=x3)
case('HardSigmoid alpha', [('HardSigmoid', 'x', 'y', {'alpha': 0.3, 'beta': 0.4})], x=x3)
case('Gelu', [('Gelu', 'x', 'y', {})], opset=20, x=x3)
case('Gelu tanh', [('Gelu', 'x', 'y', {'approximate': 'tanh'})], opset=20, x=x3)
case('Gelu of Microsoft', [('Gelu', 'x', 'y', {'domain': 'com.microsoft'})], x=x3)
case('Clip', [('Clip', 'x,low,high', 'y', {})], {'low': np.float32(-0.5), 'high': np.float32(0.7)}, x=x3)
case('Clip one side', [('Clip', 'x,,high', 'y', {})], {'high': np.float32(0.7)}, x=x3)
case('Clip to a bound that is computed', [('ReduceMax', 'x', 'm', {'keepdims': 0}), ('Sub', 'm,d', 'low', {}), ('Clip', 'x,low', 'y', {})], {'d': np.float32(1)}, x=x3)
case('Clip of opset 9', [('Clip', 'x', 'y', {'min': 0.0, 'max': 6.0})], opset=9, x=x3 * 5)
case('PRelu', [('PRelu', 'x,w', 'y', {})], {'w': rand(3, 1, 1)}, x=x4)
case('PRelu single', [('PRelu', 'x,w', 'y', {})], {'w': rand(1)}, x=x3)
case('Softmax', [('Softmax', 'x', 'y', {})], x=x3)
case('Softmax axis', [('Softmax', 'x', 'y', {'axis': 1})], x=x4)
case('Softmax of opset 11', [('Softmax', 'x', 'y', {'axis': 2})], opset=11, x=x3)
case('LogSoftmax axis', [('LogSoftmax', 'x', 'y', {'axis': 1})], x=x3)
case('LpNormalization', [('LpNormalization', 'x', 'y', {'axis': 1})], x=x3)
for op in 'IsInf IsNaN'.split():
    case(op, [('Sqrt', 'x', 's', {}), ('Reciprocal', 's', 'r', {}), (op, 'r', 'b', {}), ('Cast', 'b', 'y', {'to': T.FLOAT})], x=np.array([[1, 0, -1], [0, 2, -3]], 'float32'))
case('Cast', [('Cast', 'x', 'i', {'to': T.INT64}), ('Cast', 'i', 'b', {'to': T.BOOL}), ('Not', 'b', 'n', {}), ('Cast', 'n', 'y', {'to': T.FLOAT})], x=x3 * 3)

# Two tensors.
for op in 'Add Sub Mul Div'.split():
    case(op, [(op, 'x,z', 'y', {})], x=x3, z=rand(2, 3, 4))
    case(f'{op} constant', [(op, 'x,w', 'y', {})], {'w': rand(4)}, x=x3)
case('Add broadcast', [('Add', 'x,w', 'y', {})], {'w': rand(3, 1, 5)}, x=x4)
case('Sub scalar first', [('Sub', 'w,x', 'y', {})], {'w': np.float32(1.0)}, x=x3)
case('Pow', [('Pow', 'x,w', 'y', {})], {'w': np.float32(3)}, x=x3)
case('Pow two', [('Pow', 'x,w', 'y', {})], {'w': np.float32(2)}, x=x3)
case('Max', [('Max', 'x,z,w', 'y', {})], {'w': rand(4)}, x=x3, z=rand(2, 3, 4))
case('Min', [('Min', 'x,z', 'y', {})], x=x3, z=rand(2, 3, 4))
case('Sum', [('Sum', 'x,z,w', 'y', {})], {'w': rand(4)}, x=x3, z=rand(2, 3, 4))
case('Mean', [('Mean', 'x,z,w', 'y', {})], {'w': rand(4)}, x=x3, z=rand(2, 3, 4))
for op in 'Equal Greater GreaterOrEqual Less LessOrEqual'.split():
    case(op, [(op, 'x,w', 'b', {}), ('Cast', 'b', 'y', {'to': T.FLOAT})], {'w': np.float32(0.1)}, x=x3)
for op in 'And Or Xor'.split():
    case(op, [('Greater', 'x,w', 'a', {}), ('Less', 'x,v', 'b', {}), (op, 'a,b', 'c', {}), ('Cast', 'c', 'y', {'to': T.FLOAT})], {'w': np.float32(-0.2), 'v': np.float32(0.3)}, x=x3)
case('Where', [('Greater', 'x,w', 'a', {}), ('Where', 'a,x,v', 'y', {})], {'w': np.float32(0), 'v': rand(3, 1)}, x=x3)
case('Mod', [('Mod', 'x,w', 'y', {})], {'w': i64(3)}, x=np.arange(6).reshape(2, 3))
case('Div whole', [('Div', 'x,w', 'y', {})], {'w': i64(4)}, x=np.arange(6).reshape(2, 3))

# Products.
case('MatMul', [('MatMul', 'x,w', 'y', {})], {'w': rand(4, 5)}, x=x3)
case('MatMul and bias', [('MatMul', 'x,w', 'm', {}), ('Add', 'b,m', 'a', {}), ('Relu', 'a', 'y', {})], {'w': rand(4, 5), 'b': rand(5)}, x=x3)
case('MatMul of stacks', [('MatMul', 'x,z', 'y', {})], x=x3, z=rand(2, 4, 3))
case('MatMul constant first', [('MatMul', 'w,x', 'y', {})], {'w': rand(5, 3)}, x=x3)
case('MatMul stack of constants', [('MatMul', 'x,w', 'y', {})], {'w': rand(3, 5, 2)}, x=x4)
case('Gemm', [('Gemm', 'x,w,b', 'y', {'transB': 1})], {'w': rand(5, 4), 'b': rand(5)}, x=rand(2, 4))
case('Gemm scaled', [('Gemm', 'x,w,b', 'y', {'alpha': 0.5, 'beta': 2.0})], {'w': rand(4, 5), 'b': rand(1, 5)}, x=rand(2, 4))
case('Gemm without bias', [('Gemm', 'x,w', 'g', {}), ('Sigmoid', 'g', 'y', {})], {'w': rand(4, 5)}, x=rand(2, 4))
case('Einsum', [('Einsum', 'x,z', 'y', {'equation': 'bij,bkj->bik'})], x=x3, z=rand(2, 5, 4))

# Convolutions.
case('Conv', [('Conv', 'x,w,b', 'y', {'pads': [1, 0, 1, 2], 'strides': [2, 1]})], {'w': rand(3, 4, 3, 2), 'b': rand(3)}, x=image)
case('Conv same, relu', [('Conv', 'x,w,b', 'c', {'pads': [1, 1, 1, 1]}), ('Relu', 'c', 'y', {})], {'w': rand(3, 4, 3, 3), 'b': rand(3)}, x=image)
case('Conv without bias, Clip to 6', [('Conv', 'x,w', 'c', {}), ('Clip', 'c,l,h', 'y', {})], {'w': rand(3, 4, 3, 3), 'l': np.float32(0), 'h': np.float32(6)}, x=image)
case('Conv dilated', [('Conv', 'x,w', 'y', {'dilations': [2, 1], 'pads': [2, 0, 2, 0]})], {'w': rand(3, 4, 3, 1)}, x=image)
case('Conv grouped', [('Conv', 'x,w,b', 'c', {'group': 2}), ('Tanh', 'c', 'y', {})], {'w': rand(6, 2, 3, 3), 'b': rand(6)}, x=image)
case('Conv depthwise', [('Conv', 'x,w,b', 'c', {'group': 4, 'pads': [1, 1, 1, 1], 'strides': [2, 2]}), ('Relu', 'c', 'y', {})], {'w': rand(4, 1, 3, 3), 'b': rand(4)}, x=image)
case('Conv depthwise with multiplier', [('Conv', 'x,w', 'y', {'group': 4})], {'w': rand(8, 1, 3, 3)}, x=image)
case('Conv depthwise dilated', [('Conv', 'x,w', 'y', {'group': 4, 'dilations': [2, 2]})], {'w': rand(4, 1, 3, 3)}, x=image)
for pad in 'SAME_UPPER SAME_LOWER VALID'.split():
    case(f'Conv {pad}', [('Conv', 'x,w', 'y', {'auto_pad': pad, 'strides': [2, 2]})], {'w': rand(3, 4, 3, 2)}, x=image)
case('Conv along one axis', [('Conv', 'x,w,b', 'y', {'pads': [2, 1], 'strides': [2]})], {'w': rand(5, 3, 3), 'b': rand(5)}, x=rand(2, 3, 9))
case('Conv depthwise along one axis', [('Conv', 'x,w', 'y', {'group': 3, 'pads': [1, 1]})], {'w': rand(3, 1, 3)}, x=rand(2, 3, 9))
case('Conv along three axes', [('Conv', 'x,w,b', 'y', {'pads': [1, 0, 1, 0, 1, 0]})], {'w': rand(2, 3, 2, 3, 2), 'b': rand(2)}, x=rand(2, 3, 4, 5, 4))
case('ConvTranspose', [('ConvTranspose', 'x,w,b', 'y', {'strides': [2, 2]})], {'w': rand(4, 3, 2, 2), 'b': rand(3)}, x=image)
case('ConvTranspose with pads', [('ConvTranspose', 'x,w', 'y', {'strides': [2, 2], 'pads': [1, 1, 1, 1], 'output_padding': [1, 1]})], {'w': rand(4, 3, 3, 3)}, x=image)
case('ConvTranspose along one axis', [('ConvTranspose', 'x,w', 'y', {'strides': [3], 'pads': [1, 0]})], {'w': rand(3, 2, 4)}, x=rand(2, 3, 5))
case('MaxPool', [('MaxPool', 'x', 'y', {'kernel_shape': [3, 2], 'strides': [2, 1], 'pads': [1, 0, 1, 1]})], x=image)
case('MaxPool rounding up', [('MaxPool', 'x', 'y', {'kernel_shape': [2, 2], 'strides': [2, 2], 'ceil_mode': 1})], x=image)
case('MaxPool along one axis', [('MaxPool', 'x', 'y', {'kernel_shape': [2], 'strides': [2]})], x=rand(2, 3, 8))
case('AveragePool', [('AveragePool', 'x', 'y', {'kernel_shape': [2, 2], 'strides': [2, 2]})], x=image)
case('AveragePool with pads', [('AveragePool', 'x', 'y', {'kernel_shape': [3, 3], 'strides': [2, 2], 'pads': [1, 1, 1, 1]})], x=image)
case('AveragePool that counts pads', [('AveragePool', 'x', 'y', {'kernel_shape': [3, 3], 'pads': [1, 1, 1, 1], 'count_include_pad': 1})], x=image)
case('AveragePool rounding up', [('AveragePool', 'x', 'y', {'kernel_shape': [2, 2], 'strides': [2, 2], 'ceil_mode': 1})], opset=19, x=image)
case('GlobalAveragePool', [('GlobalAveragePool', 'x', 'p', {}), ('Flatten', 'p', 'y', {})], x=image)
case('GlobalMaxPool', [('GlobalMaxPool', 'x', 'y', {})], x=image)

# Normalizations.
norm = {'s': rand(4), 'b': rand(4), 'm': rand(4), 'v': np.abs(rand(4)) + 0.5}
case('BatchNormalization', [('BatchNormalization', 'x,s,b,m,v', 'y', {'epsilon': 1e-3})], norm, x=image)
case('BatchNormalization of rows', [('BatchNormalization', 'x,s,b,m,v', 'y', {})], norm, x=rand(3, 4))
case('LayerNormalization', [('LayerNormalization', 'x,s,b', 'y', {})], norm, x=x3)
case('LayerNormalization without bias', [('LayerNormalization', 'x,s', 'y', {})], norm, x=x3)
case('LayerNormalization over two axes', [('LayerNormalization', 'x,s', 'y', {'axis': 1})], {'s': rand(3, 4)}, x=x3)
case('InstanceNormalization', [('InstanceNormalization', 'x,s,b', 'y', {})], norm, x=image)
case('GroupNormalization', [('GroupNormalization', 'x,s,b', 'y', {'num_groups': 2})], norm, opset=21, x=image)
case('RMSNormalization', [('RMSNormalization', 'x,s', 'y', {})], norm, opset=23, x=x3)
case('LRN', [('LRN', 'x', 'y', {'size': 3})], x=image)

# Recurrent layers. Sequences are [time, batch, values] in ONNX.
def recurrent(name, op, gates, directions=1, outputs='y', nodes=(), **attributes):
    rows = gates * 4
    weights = {'w': rand(directions, rows, 3), 'r': rand(directions, rows, 4), 'b': rand(directions, 2 * rows)}
    case(name, [('Transpose', 'x', 't', {'perm': [1, 0, 2]}), (op, 't,w,r,b', outputs, {'hidden_size': 4, **attributes}), *nodes], weights, x=rand(2, 5, 3))
for op, gates in {'RNN': 1, 'LSTM': 4, 'GRU': 3}.items():
    recurrent(op, op, gates)
    recurrent(f'{op} backwards', op, gates, direction='reverse')
    recurrent(f'{op} in both directions', op, gates, 2, 's', [
        ('Transpose', 's', 'd', {'perm': [0, 2, 1, 3]}), ('Constant', '', 'z', {'value_ints': [0, 0, -1]}),
        ('Reshape', 'd,z', 'e', {}), ('Transpose', 'e', 'y', {'perm': [1, 0, 2]}),
    ], direction='bidirectional')
    recurrent(f'{op}, its last state', op, gates, 2, ',y', direction='bidirectional')
recurrent('GRU that resets after', 'GRU', 3, linear_before_reset=1)
recurrent('RNN of relu', 'RNN', 1, activations=['Relu'])
case('LSTM along the first axis, without bias', [('LSTM', 'x,w,r,,,h,h', 'l', {'hidden_size': 2}), ('Squeeze', 'l,a', 'y', {})],
     {'w': rand(1, 8, 3), 'r': rand(1, 8, 2), 'h': np.zeros((1, 2, 2), 'float32'), 'a': i64(1)}, fixed=True, x=rand(4, 2, 3))

# Reductions.
for op in 'ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp'.split():
    case(op, [(op, 'x', 'y', {'axes': [1, -1], 'keepdims': 0})], opset=13, x=x4)
case('ReduceLogSum', [('ReduceLogSum', 'x', 'y', {'axes': [1]})], opset=13, x=np.abs(x4))
case('ReduceSum', [('ReduceSum', 'x,a', 'y', {})], {'a': i64(2)}, x=x4)
case('ReduceMean of opset 18', [('ReduceMean', 'x,a', 'y', {'keepdims': 0})], {'a': i64(-1)}, opset=18, x=x4)
case('ArgMax', [('ArgMax', 'x', 'y', {'axis': 1})], x=x3)
case('ArgMin without axis kept', [('ArgMin', 'x', 'y', {'axis': -1, 'keepdims': 0})], x=x3)
case('CumSum', [('CumSum', 'x,a', 'y', {'exclusive': 1, 'reverse': 1})], {'a': np.array(1)}, x=x3)
case('TopK', [('TopK', 'x,k', 'y,y1', {'axis': 1})], {'k': i64(2)}, outputs=2, x=x3)

# Shapes.
case('Reshape', [('Reshape', 'x,s', 'y', {})], {'s': i64(0, 2, -1)}, x=x3)
case('Flatten', [('Flatten', 'x', 'y', {})], x=x4)
case('Transpose', [('Transpose', 'x', 'y', {'perm': [0, 2, 1]})], x=x3)
case('Transpose and back', [('Transpose', 'x', 't', {'perm': [0, 2, 3, 1]}), ('Add', 't,w', 'a', {}), ('Transpose', 'a', 'y', {'perm': [0, 3, 1, 2]})], {'w': rand(3)}, x=x4)
case('Squeeze, Unsqueeze', [('Unsqueeze', 'x,a', 'u', {}), ('Squeeze', 'u,b', 's', {}), ('Unsqueeze', 's,b', 'y', {})], {'a': i64(1, 3), 'b': i64(1)}, x=x3)
case('Squeeze of opset 11', [('Unsqueeze', 'x', 'u', {'axes': [2]}), ('Squeeze', 'u', 'y', {'axes': [2]})], opset=11, x=x3)
case('Concat', [('Concat', 'x,z,w', 'y', {'axis': 1})], {'w': rand(2, 1, 4)}, fixed=True, x=x3, z=rand(2, 2, 4))
case('Split', [('Split', 'x', 'a,y', {'axis': 2, 'split': [1, 3]})], opset=11, x=x3)
case('Split equal', [('Split', 'x', 'y,y1', {'axis': -1})], outputs=2, x=x3)
case('Split of opset 18', [('Split', 'x', 'y,y1', {'axis': 1, 'num_outputs': 2})], opset=18, outputs=2, x=x3)
case('Slice', [('Slice', 'x,s,e,a', 'y', {})], {'s': i64(1, -3), 'e': i64(2**63 - 1, -1), 'a': i64(1, 3)}, x=x4)
case('Slice with steps', [('Slice', 'x,s,e,a,t', 'y', {})], {'s': i64(0), 'e': i64(5), 'a': i64(-1), 't': i64(2)}, x=x4)
case('Slice backwards', [('Slice', 'x,s,e,a,t', 'y', {})], {'s': i64(-1), 'e': i64(-(2**63)), 'a': i64(-1), 't': i64(-1)}, x=x4)
case('Slice of opset 9', [('Slice', 'x', 'y', {'starts': [1], 'ends': [3], 'axes': [2]})], opset=9, x=x3)
case('Gather', [('Gather', 'w,x', 'y', {})], {'w': rand(9, 3)}, x=np.array([[1, 2], [8, 0]]))
case('Gather one', [('Gather', 'x,i', 'y', {'axis': 1})], {'i': np.array(-1)}, x=x3)
case('Gather several', [('Gather', 'x,i', 'y', {'axis': 2})], {'i': i64(3, 0, -2)}, x=x3)
case('GatherND', [('GatherND', 'w,x', 'y', {})], {'w': rand(4, 3)}, x=np.array([[1, 2], [3, 0]]))
case('ScatterND', [('ScatterND', 'x,i,w', 'y', {})], {'i': i64(1, 0).reshape(1, 2), 'w': rand(1, 4)}, x=x3)
case('Expand', [('Expand', 'x,s', 'y', {})], {'s': i64(1, 3, 4)}, x=rand(2, 1, 4))
case('Tile', [('Tile', 'x,r', 'y', {})], {'r': i64(1, 2, 3)}, x=x3)
case('Pad', [('Pad', 'x,p,v', 'y', {})], {'p': i64(0, 1, 0, 0, 0, 2), 'v': np.float32(0.5)}, x=x3)
case('Pad reflect', [('Pad', 'x,p', 'y', {'mode': 'reflect'})], {'p': i64(0, 1, 2, 0, 0, 1)}, x=x3)
case('Pad edge', [('Pad', 'x,p', 'y', {'mode': 'edge'})], {'p': i64(0, 1, 1, 0, 0, 1)}, x=x3)
case('Pad of opset 9', [('Pad', 'x', 'y', {'pads': [0, 0, 1, 1, 0, 0, 1, 1]})], opset=9, x=x4)
case('Shape', [('Shape', 'x', 's', {}), ('Gather', 's,i', 'g', {}), ('Cast', 'g', 'c', {'to': T.FLOAT}), ('Mul', 'x,c', 'y', {})], {'i': np.array(0)}, x=x3)
case('Shape into Reshape', [('Shape', 'x', 's', {'start': 0, 'end': 1}), ('Concat', 's,m', 't', {'axis': 0}), ('Reshape', 'x,t', 'y', {})], {'m': i64(-1)}, x=x3)
case('ConstantOfShape', [('Shape', 'x', 's', {}), ('ConstantOfShape', 's', 'c', {'value': helper.make_tensor('v', T.FLOAT, [1], [2.5])}), ('Mul', 'x,c', 'y', {})], x=x3)
case('Range', [('Range', 'a,b,c', 'r', {}), ('Add', 'x,r', 'y', {})], {'a': np.float32(1), 'b': np.float32(9), 'c': np.float32(2)}, x=x3)
case('Size', [('Size', 'x', 's', {}), ('Cast', 's', 'c', {'to': T.FLOAT}), ('Div', 'x,c', 'y', {})], x=x3)
case('OneHot', [('OneHot', 'x,d,v', 'y', {'axis': 1})], {'d': i64(5), 'v': np.array([-1, 2], 'float32')}, x=np.array([[1, 4, 2], [0, 3, 3]]))
case('Trilu', [('Trilu', 'x,k', 'y', {'upper': 0})], {'k': np.array(1)}, x=x3)
case('NonZero', [('NonZero', 'w', 'n', {}), ('Transpose', 'n', 't', {}), ('GatherND', 'v,t', 'g', {}), ('Mul', 'x,g', 'y', {})], {'w': np.array([1, 0, 2, 3, 0], 'float32'), 'v': rand(5)}, x=rand(2, 3))
case('DepthToSpace', [('DepthToSpace', 'x', 'y', {'blocksize': 2})], x=rand(2, 8, 3, 2))
case('DepthToSpace CRD', [('DepthToSpace', 'x', 'y', {'blocksize': 2, 'mode': 'CRD'})], x=rand(2, 8, 3, 2))
case('SpaceToDepth', [('SpaceToDepth', 'x', 'y', {'blocksize': 2})], x=rand(2, 3, 4, 6))

# Sizes of images.
def resize(name, scales=None, sizes=None, opset=17, **attributes):
    weights = {'s': np.array(scales, 'float32')} if scales else {'z': i64(*sizes)}
    case(f'Resize {name}', [('Resize', 'x,,s' if scales else 'x,,,z', 'y', attributes)], weights, opset, fixed=sizes is not None, x=image)
resize('nearest', [1, 1, 2, 3])
resize('nearest by pixels', [1, 1, 2, 2], coordinate_transformation_mode='asymmetric', nearest_mode='floor')
resize('nearest by a fraction', [1, 1, 1.5, 0.6])
resize('nearest to sizes', None, [2, 4, 9, 5], coordinate_transformation_mode='asymmetric')
resize('linear', [1, 1, 2, 2], mode='linear')
resize('linear to sizes', None, [2, 4, 5, 9], mode='linear', coordinate_transformation_mode='pytorch_half_pixel')
resize('linear by a fraction', [1, 1, 1.7, 0.55], mode='linear')
resize('linear, corners aligned', [1, 1, 2, 2], mode='linear', coordinate_transformation_mode='align_corners')
resize('linear, asymmetric', [1, 1, 2, 2], mode='linear', coordinate_transformation_mode='asymmetric')
resize('cubic', [1, 1, 2, 0.5], mode='cubic', cubic_coeff_a=-0.75)
case('Resize of opset 10', [('Resize', 'x,s', 'y', {'mode': 'linear'})], {'s': np.array([1, 1, 2, 2], 'float32')}, opset=10, x=image)
case('Upsample', [('Upsample', 'x,s', 'y', {})], {'s': np.array([1, 1, 2, 2], 'float32')}, opset=9, x=image)

# Types of initializers.
for name, kind in {'float16': 'float16', 'double': 'float64', 'uint8': 'uint8', 'int8': 'int8', 'int16': 'int16', 'int32': 'int32', 'uint32': 'uint32', 'bool': 'bool'}.items():
    value = (np.array([[1, 0, 3], [2, 1, 0]]) * (1.5 if 'o' in kind and kind != 'bool' else 1)).astype(kind)
    case(f'an initializer of {name}', [('Cast', 'w', 'c', {'to': T.FLOAT}), ('MatMul', 'x,c', 'y', {})], {'w': value}, x=rand(3, 2))

# What later opsets and com.microsoft have in one operation. Only newer versions of ONNX Runtime run them all.
MS = {'domain': 'com.microsoft'}
case('GatherElements', [('GatherElements', 'x,i', 'y', {'axis': 2})], {}, x=x3, i=rng.integers(0, 4, (2, 3, 2)))
case('GatherElements axis', [('GatherElements', 'x,i', 'y', {'axis': 1})], {}, x=x3, i=rng.integers(0, 3, (2, 5, 4)))
case('Flatten axis 0', [('Flatten', 'x', 'f', {'axis': 0}), ('Transpose', 'f', 'y', {})], x=x3)
case('Flatten axis 2', [('Flatten', 'x', 'y', {'axis': 2})], x=x3)
case('Swish', [('Swish', 'x', 'y', {})], opset=24, x=x3)
case('RMSNormalization opset 23', [('RMSNormalization', 'x,g', 'y', {'epsilon': 1e-4})], {'g': rand(4)}, opset=23, x=x3)
case('SimplifiedLayerNormalization', [('SimplifiedLayerNormalization', 'x,g', 'y', {'epsilon': 1e-4})], {'g': rand(4)}, x=x3)
for op in 'FastGelu BiasGelu'.split():
    case(op, [(op, 'x,b', 'y', MS)], {'b': rand(4)}, x=x3)
case('QuickGelu', [('QuickGelu', 'x', 'y', {'alpha': 1.5, **MS})], x=x3)
case('SkipLayerNormalization', [('SkipLayerNormalization', 'x,z,g,b,c', 'y,,,y1', {'epsilon': 1e-4, **MS})], {'g': rand(4), 'b': rand(4), 'c': rand(4)}, outputs=2, x=x3, z=rand(2, 3, 4))
case('SkipSimplifiedLayerNormalization', [('SkipSimplifiedLayerNormalization', 'x,z,g', 'y', {'epsilon': 1e-4, **MS})], {'g': rand(4)}, x=x3, z=rand(2, 3, 4))
case('EmbedLayerNormalization', [('EmbedLayerNormalization', 'x,s,w,p,t,g,b', 'y,m', {'epsilon': 1e-4, **MS})], {'w': rand(9, 4), 'p': rand(5, 4), 't': rand(2, 4), 'g': rand(4), 'b': rand(4)}, x=rng.integers(0, 9, (2, 3)).astype('int32'), s=rng.integers(0, 2, (2, 3)).astype('int32'))
mask = np.array([[1, 1, 1], [1, 1, 0]], 'int32')
case('Attention of Microsoft', [('Attention', 'x,w,b,m', 'y', {'num_heads': 2, **MS})], {'w': rand(4, 12), 'b': rand(12)}, x=x3, m=mask)
case('Attention of Microsoft, causal', [('Attention', 'x,w,b', 'y', {'num_heads': 2, 'unidirectional': 1, **MS})], {'w': rand(4, 12), 'b': rand(12)}, x=x3)
case('MultiHeadAttention', [('MultiHeadAttention', 'x,k,v,b,m', 'y', {'num_heads': 2, **MS})], {'b': rand(12)}, x=x3, k=rand(2, 3, 4), v=rand(2, 3, 4), m=mask)
cos, sin = (f(np.outer(np.arange(6), [1, 0.3])).astype('float32') for f in (np.cos, np.sin))
tables = {'c': cos, 's': sin}
heads = rand(2, 3, 3, 4)
case('RotaryEmbedding of Microsoft', [('RotaryEmbedding', 'x,p,c,s', 'y', MS)], tables, x=heads, p=np.array([[1, 2, 3], [0, 1, 2]]))
case('RotaryEmbedding of Microsoft, interleaved', [('RotaryEmbedding', 'x,p,c,s', 'y', {'interleaved': 1, 'num_heads': 2, **MS})], {**tables, 'p': i64(0)}, x=rand(2, 3, 8))
case('RotaryEmbedding', [('RotaryEmbedding', 'x,c,s,p', 'y', {})], tables, opset=23, x=heads, p=np.array([[1, 2, 3], [0, 1, 2]]))
case('RotaryEmbedding of a part', [('RotaryEmbedding', 'x,c,s,p', 'y', {'interleaved': 1, 'num_heads': 2, 'rotary_embedding_dim': 4})], tables, opset=23, x=rand(2, 3, 12), p=np.array([[1, 2, 3], [0, 1, 2]]))
case('GroupQueryAttention', [('GroupQueryAttention', 'x,k,v,,,n,t,c,s', 'y,pk,pv', {'num_heads': 4, 'kv_num_heads': 2, 'do_rotary': 1, **MS})],
     {'c': np.repeat(cos, 4, 1), 's': np.repeat(sin, 4, 1), 'n': np.array([2, 2], 'int32'), 't': np.array(3, 'int32')}, x=rand(2, 3, 64), k=rand(2, 3, 32), v=rand(2, 3, 32))
case('Attention', [('Attention', 'x,k,v,m', 'y', {'q_num_heads': 2, 'kv_num_heads': 1})], {}, opset=23, x=x3, k=rand(2, 5, 2), v=rand(2, 5, 2), m=rand(2, 1, 3, 5))
case('Attention with a mask of bools', [('Cast', 'm', 'b', {'to': T.BOOL}), ('Attention', 'x,k,v,b', 'y', {'softcap': 2.0})], {}, opset=23, x=heads, k=rand(2, 3, 3, 4), v=rand(2, 3, 3, 5), m=np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]])[None, None].repeat(2, 0))
case('Attention, causal', [('Attention', 'x,k,v', 'y', {'is_causal': 1, 'scale': 0.7})], {}, opset=23, x=heads, k=rand(2, 3, 3, 4), v=rand(2, 3, 3, 4))
cell = {'w': rand(2, 8, 3), 'r': rand(2, 8, 2), 'b': rand(2, 16)}
case('LSTM with states', [('Transpose', 'h', 'p', {'perm': [1, 0, 2]}), ('Transpose', 'c', 'q', {'perm': [1, 0, 2]}), ('Transpose', 'x', 't', {'perm': [1, 0, 2]}),
     ('LSTM', 't,w,r,b,,p,q', 'o,s,e', {'hidden_size': 2, 'direction': 'bidirectional'}),
     ('Transpose', 'o', 'y', {'perm': [2, 0, 1, 3]}), ('Transpose', 's', 'y1', {'perm': [1, 0, 2]}), ('Transpose', 'e', 'y2', {'perm': [1, 0, 2]})],
     cell, outputs=3, x=rand(2, 4, 3), h=rand(2, 2, 2), c=rand(2, 2, 2))
case('LSTM with lengths of all', [('Transpose', 'x', 't', {'perm': [1, 0, 2]}), ('LSTM', 't,w,r,b,l', 'o', {'hidden_size': 2, 'direction': 'bidirectional'}), ('Transpose', 'o', 'y', {'perm': [2, 0, 1, 3]})],
     {**cell, 'l': np.array([4, 4], 'int32')}, fixed=True, x=rand(2, 4, 3))
case('GRU with a state', [('Transpose', 'h', 'p', {'perm': [1, 0, 2]}), ('Transpose', 'x', 't', {'perm': [1, 0, 2]}), ('GRU', 't,w,r,b,,p', 'o', {'hidden_size': 2, 'linear_before_reset': 1}), ('Transpose', 'o', 'y', {'perm': [2, 0, 1, 3]})],
     {'w': rand(1, 6, 3), 'r': rand(1, 6, 2), 'b': rand(1, 12)}, x=rand(2, 4, 3), h=rand(2, 1, 2))

def branch(op):
    value = helper.make_tensor_value_info('z', T.FLOAT, None)
    # Both branches have names of their own, and take what is outside of them.
    return helper.make_graph([helper.make_node(op, ['x', 'w'], ['m']), helper.make_node('Relu', ['m'], ['z'])], op, [], [value])
case('If', [('Shape', 'x', 's', {}), ('Size', 's', 'n', {}), ('Equal', 'n,three', 'c', {}), ('If', 'c', 'i', {'then_branch': branch('Add'), 'else_branch': branch('Mul')}), ('Neg', 'i', 'y', {})], {'three': np.array(3), 'w': rand(4)}, x=x3)


# Quantized files. Where they quantize what flows, a file that computes the same with floats says what is expected.
def copied(nodes, weights, **inputs):
    case('a copy', nodes, weights, opset=21, **inputs)
    return base64.b64decode(cases.pop()['file'])


def quantized(name, nodes, weights, float_nodes, float_weights, **inputs):
    case(name, nodes, weights, opset=21, floats=copied(float_nodes, float_weights, **inputs), **inputs)


eight = rng.integers(-128, 128, (4, 3)).astype('int8')
column = np.array([0.02, 0.01, 0.03], 'float32')
case('DequantizeLinear', [('DequantizeLinear', 'w,s,z', 'd', {}), ('MatMul', 'x,d', 'y', {})], {'w': eight, 's': np.float32(0.02), 'z': np.int8(3)}, x=x3)
case('DequantizeLinear along an axis', [('DequantizeLinear', 'w,s', 'd', {'axis': 1}), ('MatMul', 'x,d', 'y', {})], {'w': eight, 's': column}, x=x3)
case('DequantizeLinear by blocks', [('DequantizeLinear', 'w,s', 'd', {'axis': 0, 'block_size': 2}), ('MatMul', 'x,d', 'y', {})], {'w': eight, 's': np.abs(rand(2, 3))}, opset=21, x=x3)
case('DequantizeLinear of what is given', [('DequantizeLinear', 'x,s,z', 'y', {'axis': 2})], {'s': np.abs(rand(4)), 'z': np.array([3, 100, 7, 0], 'uint8')}, x=rng.integers(0, 256, (2, 3, 4)).astype('uint8'))
case('QuantizeLinear of a weight', [('QuantizeLinear', 'w,s,z', 'q', {}), ('DequantizeLinear', 'q,s,z', 'd', {}), ('MatMul', 'x,d', 'y', {})], {'w': rand(4, 3), 's': np.float32(0.02), 'z': np.int8(1)}, x=x3)
quantized('QuantizeLinear', [('QuantizeLinear', 'x,s,z', 'q', {}), ('DequantizeLinear', 'q,s,z', 'd', {}), ('Mul', 'd,d', 'y', {})], {'s': np.float32(0.01), 'z': np.uint8(100)},
          [('Clip', 'x,low,high', 'd', {}), ('Mul', 'd,d', 'y', {})], {'low': np.float32(-1), 'high': np.float32(1.55)}, x=x3)
quantized('MatMulInteger', [('DynamicQuantizeLinear', 'x', 'q,s,z', {}), ('MatMulInteger', 'q,w,z,n', 'i', {}), ('Cast', 'i', 'f', {'to': T.FLOAT}), ('Mul', 's,t', 'st', {}), ('Mul', 'f,st', 'm', {}), ('Add', 'b,m', 'a', {}), ('Relu', 'a', 'y', {})],
          {'w': eight, 't': column, 'n': np.array([1, 0, -2], 'int8'), 'b': np.array([1, 2, 3], 'float32')},
          [('MatMul', 'x,w', 'm', {}), ('Add', 'm,b', 'a', {}), ('Relu', 'a', 'y', {})], {'w': (eight.astype('float32') - np.array([1, 0, -2], 'float32')) * column, 'b': np.array([1, 2, 3], 'float32')}, x=x3)
filters = rng.integers(-128, 128, (2, 4, 3, 3)).astype('int8')
quantized('ConvInteger', [('DynamicQuantizeLinear', 'x', 'q,s,z', {}), ('ConvInteger', 'q,w,z,n', 'i', {'pads': [1, 1, 1, 1]}), ('Cast', 'i', 'f', {'to': T.FLOAT}), ('Mul', 's,t', 'st', {}), ('Mul', 'f,st', 'y', {})],
          {'w': filters, 't': np.float32(0.02), 'n': np.int8(0)}, [('Conv', 'x,w', 'y', {'pads': [1, 1, 1, 1]})], {'w': filters.astype('float32') * np.float32(0.02)}, x=image)
quantized('QLinearConv', [('QuantizeLinear', 'x,s,z', 'q', {}), ('QLinearConv', 'q,s,z,w,t,n,u,v,b', 'c', {'strides': [2, 2]}), ('DequantizeLinear', 'c,u,v', 'y', {})],
          {'s': np.float32(0.02), 'z': np.uint8(128), 'w': filters, 't': np.array([0.01, 0.02], 'float32'), 'n': np.zeros(2, 'int8'), 'u': np.float32(0.03), 'v': np.uint8(50), 'b': np.array([700, -900], 'int32')},
          [('Clip', 'x,a,o', 'q', {}), ('Conv', 'q,w,b', 'c', {'strides': [2, 2]}), ('Clip', 'c,e,f', 'y', {})],
          {'a': np.float32(-2.56), 'o': np.float32(2.54), 'w': filters * np.array([0.01, 0.02], 'float32').reshape(2, 1, 1, 1), 'b': np.array([700 * 0.02 * 0.01, -900 * 0.02 * 0.02], 'float32'), 'e': np.float32(-1.5), 'f': np.float32(205 * 0.03)}, x=image)
quantized('QLinearMatMul', [('QuantizeLinear', 'x,s,z', 'q', {}), ('QLinearMatMul', 'q,s,z,w,t,n,u,v', 'c', {}), ('DequantizeLinear', 'c,u,v', 'y', {})],
          {'s': np.float32(0.02), 'z': np.uint8(128), 'w': eight, 't': np.float32(0.02), 'n': np.int8(0), 'u': np.float32(0.04), 'v': np.uint8(128)},
          [('Clip', 'x,a,o', 'q', {}), ('MatMul', 'q,w', 'c', {}), ('Clip', 'c,e,f', 'y', {})],
          {'a': np.float32(-2.56), 'o': np.float32(2.54), 'w': eight * np.float32(0.02), 'e': np.float32(-5.12), 'f': np.float32(5.08)}, x=x3)
def blocks(bits, name, scale, zeros=None, **more):
    zero = {} if zeros is None else {'z': zeros}
    case(name, [('MatMulNBits', f"x,w,s{',z' if zero else ''}", 'y', {'K': 64, 'N': 3, 'bits': bits, 'block_size': 32, **MS})],
         {'w': rng.integers(0, 256, (3, 2, 4 * bits)).astype('uint8'), 's': scale, **zero}, x=rand(2, 2, 64))
halves = np.abs(rand(6)).astype('float16').astype('float32')
blocks(4, 'MatMulNBits', halves)
blocks(8, 'MatMulNBits of 8 bits', halves)
blocks(4, 'MatMulNBits with scales of float32', np.abs(rand(6)))
blocks(4, 'MatMulNBits with zeros', halves, rng.integers(0, 256, 3).astype('uint8'))

# One side is stretched along an axis after a longer one.
case('MatMul of stretched stacks', [('MatMul', 'x,z', 'y', {})], x=rand(2, 1, 3, 4), z=rand(2, 5, 4, 3))
case('MatMul of a stretched stack of constants', [('MatMul', 'x,w', 'y', {})], {'w': rand(3, 1, 4, 2)}, x=rand(2, 3, 5, 3, 4))

# Integers, truth values, and indices that count from the end.
x5, volume = rand(2, 2, 3, 4, 3), rand(2, 3, 6, 6, 5)
ints = rng.integers(-9, 9, (2, 3, 4))
some = np.array([[0, 0.5, 256], [0, -3, 512]], 'float32')
for axis in range(4):
    case(f'GatherElements of four axes, along {axis}', [('GatherElements', 'x,i', 'y', {'axis': axis})], x=x4, i=rng.integers(0, x4.shape[axis], [3 if a == axis else d for a, d in enumerate(x4.shape)]))
case('GatherElements from the end', [('GatherElements', 'x,i', 'y', {'axis': 2})], x=x3, i=rng.integers(-4, 4, (2, 3, 2)))
case('GatherElements from the end, constant', [('GatherElements', 'x,i', 'y', {'axis': 2})], {'i': rng.integers(-4, 4, (2, 3, 2))}, fixed=True, x=x3)
case('indices from the end of what is open', [('Gather', 'x,i', 'y', {})], {'i': i64(-1, 0)}, x=x3)
case('indices from the end, of an input', [('Gather', 'x,i', 'y', {'axis': 1})], fixed=True, x=x3, i=np.array([[-1, -2], [0, -3]]))
case('GatherND from the end', [('GatherND', 'w,x', 'y', {})], {'w': rand(4, 3)}, x=np.array([[-1, 2], [3, -3]]))
case('GatherND from the end, constant', [('GatherND', 'x,i', 'y', {})], {'i': np.array([[-1, 2], [1, -3]])}, x=x3)
case('ScatterND from the end', [('ScatterND', 'x,i,w', 'y', {})], {'i': i64(-1, -1).reshape(1, 2), 'w': rand(1, 4)}, x=x3)
case('ScatterND from the end, fixed', [('ScatterND', 'x,i,w', 'y', {})], {'i': i64(1, -1).reshape(1, 2), 'w': rand(1, 4)}, fixed=True, x=x3)
rows = np.array([[-1, 4, -5], [0, -2, 7]])
for kind, values in {'floats': np.array([-1, 2.5], 'float32'), 'ones': np.array([0, 1], 'float32'), 'integers': i64(3, 7)}.items():
    case(f'OneHot of {kind}, from the end', [('OneHot', 'x,d,v', 'y', {'axis': 1})], {'d': i64(5), 'v': values}, x=rows)
case('Cast of floats to bool', [('Cast', 'x', 'b', {'to': T.BOOL}), ('Cast', 'b', 'y', {'to': T.FLOAT})], x=some)
case('Cast of integers to bool', [('Cast', 'x', 'y', {'to': T.BOOL})], x=some.astype('int64'))
case('Not, Where and Xor of casts to bool', [('Cast', 'x', 'b', {'to': T.BOOL}), ('Cast', 'z', 'c', {'to': T.BOOL}), ('Xor', 'b,c', 'd', {}), ('Not', 'd', 'e', {}), ('Where', 'e,x,z', 'y', {})], x=some, z=np.array([[1, 0, 2], [0, 256, 0]], 'float32'))
case('NonZero of floats', [('NonZero', 'x', 'n', {}), ('Transpose', 'n', 't', {}), ('GatherND', 'x,t', 'y', {})], x=some)
for to, kind in {'UINT8': 'int64', 'INT8': 'int64', 'UINT16': 'float32', 'INT16': 'float32'}.items():
    case(f'Cast of {kind} to {to} wraps around', [('Cast', 'x', 'i', {'to': getattr(T, to)}), ('Cast', 'i', 'y', {'to': T.FLOAT})], x=np.array([[-1, 300, -129], [70000, -40000, 5]], kind))
case('Cast of fractions to integers', [('Cast', 'x', 'i', {'to': T.UINT8}), ('Cast', 'x', 'j', {'to': T.INT32}), ('Cast', 'i', 'f', {'to': T.FLOAT}), ('Cast', 'j', 'g', {'to': T.FLOAT}), ('Mul', 'f,g', 'y', {})], x=np.array([[-1.7, 1.7, -0.2, 255.9]], 'float32'))
left, right = np.array([[7, -7, 7], [-7, 8, -1]]), np.array([[2, 2, -2], [-2, 4, 3]])
case('Div of integers', [('Div', 'x,z', 'y', {})], x=left, z=right)
case('Div of integers by a negative constant', [('Div', 'x,w', 'y', {})], {'w': np.array(-2)}, x=left)
case('Div of a constant by integers', [('Div', 'w,x', 'y', {})], {'w': np.array(9)}, x=right)
case('Div of constants', [('Div', 'w,v', 'd', {}), ('Cast', 'd', 'f', {'to': T.FLOAT}), ('Mul', 'x,f', 'y', {})], {'w': np.array([-7, 7]), 'v': np.array([2, -2])}, x=rand(3, 2))
case('Div of large integers', [('Div', 'x,w', 'y', {})], {'w': np.array(3, 'int32')}, x=np.array([[2**30 + 1, -2**30 - 1, 16777217]], 'int32'))
case('Mod of integers', [('Mod', 'x,z', 'y', {})], x=left, z=right)
case('Mod with fmod', [('Mod', 'x,z', 'y', {'fmod': 1})], x=left, z=right)
case('Mod with fmod by a constant', [('Mod', 'x,w', 'y', {'fmod': 1})], {'w': np.array(-3)}, x=left)
case('Mod with fmod, of floats', [('Mod', 'x,z', 'y', {'fmod': 1})], x=left.astype('float32') * np.float32(1.25), z=right.astype('float32'))
for op in 'ReduceMean ReduceL2 ReduceLogSum ReduceLogSumExp ReduceL1'.split():
    given = np.abs(ints) + 1 if 'Log' in op else ints
    case(f'{op} of integers', [(op, 'x,a', 'y', {'keepdims': 0})], {'a': i64(1, 2)}, opset=18, x=given.astype('int32'))
case('ReduceMean of integers over what is open', [('ReduceMean', 'x,a', 'y', {})], {'a': i64(0)}, opset=18, x=ints)
for op in 'ReduceMean ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSum ReduceLogSumExp'.split():
    case(f'{op} without axes', [(op, 'x', 'y', {'noop_with_empty_axes': 1})], opset=18, x=np.abs(x3) if 'Log' in op else x3)
    case(f'{op} of empty axes', [(op, 'x,a', 'y', {'noop_with_empty_axes': 1})], {'a': i64()}, opset=18, x=np.abs(x3) if 'Log' in op else x3)
case('Squeeze of a batch of one', [('Squeeze', 'x', 's', {}), ('ReduceSum', 's,a', 'y', {})], {'a': i64(1)}, fixed=True, x=rand(1, 3, 1, 4))
case('Trilu of truth values', [('Greater', 'x,z', 'b', {}), ('Trilu', 'b', 't', {}), ('Not', 't', 'n', {}), ('Where', 'n,x,z', 'y', {})], {'z': np.float32(0)}, x=x3)
empty = np.where(np.arange(12).reshape(3, 4) < 5, 0, x3).astype('float32')
for p in 1, 2:
    case(f'LpNormalization of zeros by {p}', [('LpNormalization', 'x', 'y', {'p': p})], x=empty)
far = {'from beyond the end': (100, -100, -1), 'from beyond the end, by steps': (100, 0, -2), 'from the largest integer': (2**63 - 1, -2**63, -3), 'from before the beginning': (-9, -9, -1), 'backwards to the largest integer': (-1, 2**63 - 1, -1),
       'up to the place before the first': (2, -5, -1), 'from before the beginning, forwards': (-9, 3, 1)}
for name, (start, end, step) in far.items():
    case(f'Slice {name}', [('Slice', 'x,s,e,a,t', 'y', {})], {'s': i64(start), 'e': i64(end), 'a': i64(2), 't': i64(step)}, x=x3)
case('Slice of an open axis from beyond the end', [('Slice', 'x,s,e,a,t', 'y', {})], {'s': i64(2**63 - 1), 'e': i64(-2**63), 'a': i64(0), 't': i64(-1)}, x=x3)

# Windows that are smaller than their strides, and volumes.
for kernel, strides, pads in [([3, 1, 1], [3, 3, 3], [1, 0, 0, 1, 0, 0]), ([1, 1, 1], [3, 3, 2], [0] * 6), ([2, 1, 3], [2, 3, 3], [0, 0, 0, 0, 0, 1]), ([2, 2, 2], [3, 3, 3], [0] * 6)]:
    at = {'strides': strides, 'pads': pads}
    case(f'Conv of {kernel} by {strides}', [('Conv', 'x,w', 'y', at)], {'w': rand(2, 3, *kernel)}, x=volume)
    case(f'MaxPool of {kernel} by {strides}', [('MaxPool', 'x', 'y', {'kernel_shape': kernel, **at})], x=volume)
    case(f'AveragePool of {kernel} by {strides}', [('AveragePool', 'x', 'y', {'kernel_shape': kernel, **at})], x=volume)
    for auto in 'SAME_UPPER SAME_LOWER'.split():
        case(f'Conv of {kernel} by {strides}, {auto}', [('Conv', 'x,w', 'y', {'strides': strides, 'auto_pad': auto})], {'w': rand(2, 3, *kernel)}, x=volume)
three = {'s': rand(3), 'b': rand(3), 'm': rand(3), 'v': np.abs(rand(3)) + 0.5}
case('BatchNormalization of volumes', [('Conv', 'x,w', 'c', {}), ('BatchNormalization', 'c,s,b,m,v', 'n', {}), ('Relu', 'n', 'y', {})], {'w': rand(3, 3, 2, 2, 2), **three}, x=volume)
case('BatchNormalization of six axes', [('BatchNormalization', 'x,s,b,m,v', 'y', {})], three, x=rand(2, 3, 2, 2, 2, 2))
case('PRelu of volumes', [('PRelu', 'x,w', 'y', {})], {'w': rand(3, 1, 1, 1)}, x=volume)

# Inputs of one axis, slopes and matrices that are inputs, and equations.
case('a list', [('Mul', 'x,w', 'm', {}), ('Relu', 'm', 'y', {})], {'w': np.float32(2)}, x=rand(4))
case('a list of integers', [('Gather', 'w,x', 'y', {})], {'w': rand(9, 3)}, x=i64(1, 4, 8))
case('a list and rows', [('Unsqueeze', 'z,a', 'u', {}), ('Mul', 'x,u', 'y', {})], {'a': i64(1)}, x=rand(2, 3), z=rand(2))
case('PRelu with slopes of each example', [('ReduceMax', 'x,a', 'm', {}), ('PRelu', 'x,m', 'y', {})], {'a': i64(1, 2)}, opset=18, x=x3)
case('PRelu with slopes that are an input', [('PRelu', 'x,w', 'y', {})], fixed=True, x=x3, w=rand(3, 1))
case('PRelu with a slope that is an input', [('PRelu', 'x,w', 'y', {})], fixed=True, x=rand(1, 3, 4), w=rand(1))
case('Gemm of a transposed input', [('Gemm', 'x,w', 'y', {'transA': 1})], {'w': rand(2, 5)}, fixed=True, x=rand(2, 4))
case('a transposed input of Gemm, by an input', [('Gemm', 'x,w', 'y', {'transA': 1, 'transB': 1})], fixed=True, x=rand(2, 4), w=rand(5, 2))
for equation, *shapes in [('bij,bjk,bkl->bil', (2, 3, 4), (2, 4, 5), (2, 5, 3)), ('bi,bj,bk->bijk', (2, 3), (2, 4), (2, 2)), ('bij->bji', (2, 3, 4)), ('bij->bj', (2, 3, 4)),
                          ('bij,bjk', (2, 3, 4), (2, 4, 5)), ('...ij,...jk->...ik', (2, 3, 4), (2, 4, 5)), ('b...i,b...i->b...', (2, 3, 4), (2, 3, 4)), ('bij,k->bik', (2, 3, 4), (1,))]:
    each = {f'x{i}': rand(*shape) for i, shape in enumerate(shapes)}
    case(f'Einsum {equation}', [('Einsum', ','.join(each), 'y', {'equation': equation})], fixed=equation.startswith('bij,k'), **each)
case('Einsum bn,anm,bm->ba', [('Einsum', 'x,w,z', 'y', {'equation': 'bn,anm,bm->ba'})], {'w': rand(5, 3, 4)}, x=rand(2, 3), z=rand(2, 4))

# Diagonals, gathers for each example, and transposed convolutions of volumes.
for equation, *shapes in [('bii->bi', (2, 3, 3)), ('bii->b', (2, 3, 3)), ('biji->bj', (2, 3, 4, 3)), ('biiijj->bij', (2, 3, 3, 3, 2, 2)), ('bii,bij->bj', (2, 3, 3), (2, 3, 4))]:
    each = {f'x{i}': rand(*shape) for i, shape in enumerate(shapes)}
    case(f'Einsum {equation}', [('Einsum', ','.join(each), 'y', {'equation': equation})], **each)
case('GatherND of each example', [('GatherND', 'x,i', 'y', {'batch_dims': 1})], x=x4, i=np.array([[[0, 3], [-1, -4], [2, 1]], [[1, 1], [0, 0], [-3, 2]]]))
case('GatherND of each example, along one axis', [('GatherND', 'x,i', 'y', {'batch_dims': 1})], x=x3, i=np.array([[2], [-3]]))
case('GatherND of two axes of examples', [('GatherND', 'x,i', 'y', {'batch_dims': 2})], x=x4, i=rng.integers(-4, 4, (2, 3, 2, 1)))
case('GatherND of each example, constant', [('GatherND', 'x,i', 'y', {'batch_dims': 1})], {'i': np.array([[[0, 3], [-1, 1]], [[1, 1], [2, -2]]])}, fixed=True, x=x4)
case('ConvTranspose along three axes', [('ConvTranspose', 'x,w,b', 'c', {'strides': [2, 1, 3]}), ('Relu', 'c', 'y', {})], {'w': rand(3, 2, 2, 3, 2), 'b': rand(2)}, x=rand(2, 3, 3, 2, 4))
case('ConvTranspose along three axes with pads', [('ConvTranspose', 'x,w', 'y', {'strides': [2, 3, 1], 'pads': [1, 0, 1, 1, 1, 0], 'output_padding': [1, 1, 0]})], {'w': rand(3, 2, 3, 2, 3)}, x=rand(2, 3, 3, 2, 4))


def networks():
    """Networks that PyTorch exports, by both exporters, and for a fixed and an open batch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.manual_seed(0)
    made = []

    class Classifier(nn.Module):
        """Convolutions with normalizations, as networks of images have them."""
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
            self.point = nn.Conv2d(8, 12, 1)
            self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
            self.classes = nn.Linear(12, 5)

        def forward(self, images):
            x = F.hardswish(self.norm(self.stem(images)))
            x = self.point(F.relu6(self.depthwise(x)))
            x = x * F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
            x = F.max_pool2d(x, 3, 2, 1)
            return self.classes(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    class Encoder(nn.Module):
        """A transformer over tokens."""
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(40, 16)
            self.layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, activation='gelu')
            self.classes = nn.Linear(16, 3)

        def forward(self, ids):
            return self.classes(self.layer(self.tokens(ids)).mean(1))

    class Upscaler(nn.Module):
        """What widens images again: transposed convolutions, resizes, skips, groups of channels."""
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(3, 8, 3, padding=1)
            self.groups = nn.GroupNorm(2, 8)
            self.up = nn.ConvTranspose2d(8, 4, 2, 2)
            self.shuffle = nn.Conv2d(8, 12, 3, padding=1)

        def forward(self, images):
            x = F.silu(self.groups(self.down(images)))
            wide = F.interpolate(x, scale_factor=2.0, mode='bilinear')
            return torch.cat([self.up(x), wide, F.interpolate(images, scale_factor=2.0)], 1), F.pixel_shuffle(self.shuffle(x), 2)

    class Sound(nn.Module):
        """Convolutions along time, and a LayerNorm that is decomposed."""
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv1d(4, 8, 5, stride=2, padding=2), nn.Conv1d(8, 8, 3, groups=2)
            self.slopes, self.norm = nn.PReLU(8), nn.LayerNorm(8)

        def forward(self, sound):
            x = self.slopes(self.second(F.gelu(self.first(sound))))
            return self.norm(F.avg_pool1d(x, 2).transpose(1, 2)).softmax(1)

    class Tagger(nn.Module):
        """Recurrent layers over time."""
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(6, 4, 2, batch_first=True, bidirectional=True)
            self.gru, self.tags = nn.GRU(8, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, values):
            x, last = self.gru(self.lstm(values)[0])
            return self.tags(x), last[0]

    for name, model, x in [
        ('tagger', Tagger(), torch.randn(3, 5, 6)),
        ('classifier', Classifier(), torch.randn(3, 3, 16, 16)),
        ('encoder', Encoder(), torch.randint(0, 40, (3, 6))),
        ('upscaler', Upscaler(), torch.randn(3, 3, 6, 6)),
        ('sound', Sound(), torch.randn(3, 4, 20)),
    ]:
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 1.5)
        model.eval()
        argument = next(iter(__import__('inspect').signature(model.forward).parameters))
        common = dict(input_names=[argument])
        for exporter, is_open in [('torchscript', True), ('torchscript', False), ('dynamo', True), ('dynamo', False)]:
            into, inputs = io.BytesIO(), x.numpy() if is_open else x[:1].numpy()
            if exporter == 'torchscript':
                axes = {'dynamic_axes': {argument: {0: 'batch'}}} if is_open else {}
                torch.onnx.export(model, (torch.tensor(inputs),), into, dynamo=False, opset_version=14, **common, **axes)
            else:
                shapes = {'dynamic_shapes': ({0: torch.export.Dim('batch')},)} if is_open else {}
                torch.onnx.export(model, (torch.tensor(inputs),), dynamo=True, verbose=False, **common, **shapes).save(into)
            file = onnx.load_from_string(into.getvalue())
            for each in [*file.graph.node, *file.graph.value_info, *file.graph.input, *file.graph.output]:
                each.doc_string = ''  # where in PyTorch it comes from
                each.ClearField('metadata_props')
            add(made, f'{name}, {exporter}, {"any batch" if is_open else "a fixed batch"}', file.SerializeToString(), {argument: inputs})
    return made


def write(name, list):
    with open(os.path.join(FOLDER, f'{name}.json'), 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(c, separators=(',', ':')) for c in list) + '\n]\n')
    print(len(list), name, file=sys.stderr)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    os.makedirs(FOLDER, exist_ok=True)
    write('operations', cases)
    if sys.argv[1:] != ['operations']:
        write('networks', networks())
