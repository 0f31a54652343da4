"""Draws ONNX files of one operation, with what ONNX Runtime computes of random inputs, as JSON.

    python test/python/make_onnx_drawn.py [SEED COUNT FILE]     (needs onnx and onnxruntime)

Without arguments it writes test/fixtures/onnx/drawn.json. Draws opsets, ranks, sizes, types, negative axes and indices,
empty lists of axes, and whether an input is a constant. What ONNX Runtime refuses is drawn again.
"""

import base64
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FILE = os.path.join(os.path.dirname(__file__), '../fixtures/onnx/drawn.json')
REFUSED = tuple(error for error in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
                if isinstance(error, type) and issubclass(error, Exception))
OPSETS = [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]
TYPES = {'float32': 'float32', 'int64': 'int32', 'int32': 'int32', 'bool': 'bool', 'uint8': 'int32', 'int8': 'int32'}


class Draw:
    """One operation: its inputs by name, which of them are constants, and its attributes."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.opset = self.choice(OPSETS)
        self.flows, self.constants, self.names, self.attributes = {}, {}, [], {}
        self.op, self.outputs = '', 1

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def choice(self, of):
        return of[self.int(0, len(of) - 1)]

    def chance(self, p):
        return self.rng.random() < p

    def shape(self, low=1, high=5):
        return tuple(self.choice([1, 2, 3, 4, 5]) for _ in range(self.int(low, high)))

    def values(self, shape, kind='float32'):
        if kind == 'float32':
            array = np.round(self.rng.standard_normal(shape) * 2, 2)
            return np.where(self.rng.random(shape) < 0.1, 0, array).astype('float32')
        if kind == 'bool':
            return self.rng.random(shape) < 0.5
        low = 0 if kind.startswith('u') else -7
        return self.rng.integers(low, 8, shape).astype(kind)

    def flow(self, array):
        name = f'x{len(self.flows)}'
        self.flows[name] = np.asarray(array)
        self.names.append(name)
        return self.flows[name]

    def constant(self, array, kind=None):
        name = f'c{len(self.constants)}'
        self.constants[name] = np.asarray(array, kind)
        self.names.append(name)

    def either(self, array, p=0.5):
        """An input that is a constant in some of the files."""
        self.constant(array) if self.chance(p) else self.flow(array)

    def skip(self):
        self.names.append('')

    def ints(self, name, values, since):
        """A list that is an attribute before an opset, and an input since then."""
        if self.opset < since:
            self.attributes[name] = [int(v) for v in values]
        else:
            self.constant(np.array(values, 'int64'))

    def axis(self, rank):
        return self.int(-rank, rank - 1)

    def axes(self, rank):
        """Some axes, a part of them counted from the last."""
        return [a - rank if self.chance(0.3) else a for a in range(rank) if self.chance(0.5)]

    def file(self):
        def info(key, value):
            dims = [None if i == 0 and self.isOpen else d for i, d in enumerate(value.shape)]
            return helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), dims)
        ends = [f'y{i}' for i in range(self.outputs)]
        node = helper.make_node(self.op, self.names, ends, name='n', **self.attributes)
        graph = helper.make_graph([node], 'g', [info(k, v) for k, v in self.flows.items()],
                                  [helper.make_empty_tensor_value_info(end) for end in ends],
                                  [numpy_helper.from_array(v, k) for k, v in self.constants.items()])
        opsets = [helper.make_opsetid('', self.opset)]
        model = onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        for end in model.graph.output:
            if not end.type.tensor_type.elem_type:
                end.type.tensor_type.elem_type = T.FLOAT
        return model.SerializeToString()


# Each draws an operation.

def unary(d):
    d.op = d.choice('Abs Ceil Cos Erf Exp Floor HardSigmoid Neg Relu Round Selu Sigmoid Sign Sin Softplus Softsign Tanh Elu LeakyRelu '
                    'Identity HardSwish Mish Atan Sinh Celu'.split())
    kind = 'float32' if d.op not in ('Abs', 'Neg', 'Sign', 'Identity', 'Relu') else d.choice(['float32', 'int64', 'int32'])
    d.flow(d.values(d.shape(), kind))
    if d.op in ('Elu', 'LeakyRelu', 'HardSigmoid', 'Celu') and d.chance(0.5):
        d.attributes['alpha'] = d.choice([0.1, 0.5, 2.0])


def binary(d):
    d.op = d.choice('Add Sub Mul Div Pow Max Min Equal Greater Less GreaterOrEqual LessOrEqual And Or Xor Mod'.split())
    kind = 'bool' if d.op in ('And', 'Or', 'Xor') else d.choice(['float32', 'float32', 'int64', 'int32'])
    if d.op == 'Mod':
        kind = 'int64'
        d.attributes['fmod'] = d.int(0, 1)
    shape = d.shape()
    other = tuple(s if d.chance(0.6) else 1 for s in shape)[d.int(0, len(shape) - 1):]
    first, second = (shape, other) if d.chance(0.7) else (other, shape)
    a, b = d.values(first, kind), d.values(second, kind)
    if d.op in ('Div', 'Mod') and kind != 'float32':
        b = np.where(b == 0, 3, b)
    if d.op == 'Div' and kind == 'float32':
        b = np.where(np.abs(b) < 0.1, 1, b).astype('float32')
    if d.op == 'Pow':
        a, b = (np.abs(a) + 1).astype(kind), np.abs(d.rng.integers(0, 4, second)).astype(kind)
    isFirst = d.chance(0.3)
    d.constant(a) if isFirst else d.flow(a)
    d.flow(b) if isFirst else d.either(b, 0.6)


def variadic(d):
    d.op = d.choice('Max Min Sum Mean'.split())
    shape = d.shape()
    d.flow(d.values(shape))
    for _ in range(d.int(0, 2)):
        d.either(d.values(tuple(s if d.chance(0.7) else 1 for s in shape)))


def reduce(d):
    d.op = d.choice('ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp'.split())
    shape = d.shape()
    # Large products of integers overflow, and logarithms of integers are rounded.
    isFloat = d.op in ('ReduceProd', 'ReduceLogSumExp')
    d.flow(d.values(shape, 'float32' if isFloat else d.choice(['float32', 'float32', 'float32', 'int32'])))
    axes = d.axes(len(shape))
    since = 13 if d.op == 'ReduceSum' else 18
    if axes or (d.opset >= since and d.chance(0.5)):
        d.ints('axes', axes, since)
    if d.chance(0.5):
        d.attributes['keepdims'] = d.int(0, 1)
    if d.opset >= since and d.chance(0.3):
        d.attributes['noop_with_empty_axes'] = d.int(0, 1)


def arg(d):
    d.op = d.choice(['ArgMax', 'ArgMin'])
    shape = d.shape()
    # No two values are equal.
    d.flow(d.rng.permutation(int(np.prod(shape))).reshape(shape).astype('float32'))
    d.attributes = {'axis': d.axis(len(shape)), 'keepdims': d.int(0, 1)}


def softmax(d):
    d.op = d.choice(['Softmax', 'LogSoftmax'])
    shape = d.shape()
    d.flow(d.values(shape))
    d.attributes['axis'] = d.axis(len(shape)) if d.opset > 10 else d.int(0, len(shape) - 1)


def concat(d):
    d.op = 'Concat'
    shape = d.shape()
    axis = d.axis(len(shape))
    kind = d.choice(['float32', 'float32', 'int64', 'bool'])
    d.flow(d.values(shape, kind))
    for _ in range(d.int(0, 2)):
        d.either(d.values(tuple(d.int(1, 3) if i == axis % len(shape) else s for i, s in enumerate(shape)), kind))
    d.attributes['axis'] = axis


def split(d):
    d.op = 'Split'
    shape = list(d.shape())
    axis = d.axis(len(shape))
    sizes = [d.int(1, 3) for _ in range(d.int(2, 3))]
    if d.opset < 18 and d.chance(0.4):
        sizes = [sizes[0]] * len(sizes)
    shape[axis] = sum(sizes)
    d.outputs = len(sizes)
    d.flow(d.values(shape, d.choice(['float32', 'int64'])))
    d.attributes['axis'] = axis
    if len(set(sizes)) > 1 or d.opset >= 18:
        d.ints('split', sizes, 13)


def cut(d):
    d.op = 'Slice'
    d.opset = max(d.opset, 10)
    shape = d.shape()
    rank = len(shape)
    axes = [a for a in range(rank) if d.chance(0.6)] or [d.int(0, rank - 1)]
    limits = [-2**31, -9, -2, -1, 0, 1, 2, 4, 9, 2**31 - 1]
    d.flow(d.values(shape, d.choice(['float32', 'float32', 'int64', 'bool'])))
    d.constant([d.choice(limits) for _ in axes], 'int64')
    d.constant([d.choice(limits) for _ in axes], 'int64')
    d.constant([a - rank if d.chance(0.3) else a for a in axes], 'int64')
    d.constant([d.choice([1, 1, 2, -1, -2, 3]) for _ in axes], 'int64')


def gather(d):
    d.op = 'Gather'
    shape = d.shape()
    axis = d.axis(len(shape))
    size = shape[axis]
    indices = d.rng.integers(-size if d.opset >= 11 else 0, size, d.shape(0, 2))
    d.either(d.values(shape, d.choice(['float32', 'float32', 'int64', 'bool'])), 0.3)
    # Such a table becomes an Embedding, whose indices are those of rows, and a model takes no single number.
    if d.constants:
        indices = np.atleast_1d(np.abs(indices) % size)
    d.constant(indices.astype('int64')) if d.flows else d.flow(indices.astype('int64'))
    d.attributes['axis'] = axis


def gatherElements(d):
    d.op = 'GatherElements'
    d.opset = max(d.opset, 11)
    shape = d.shape()
    axis = d.axis(len(shape))
    own = list(shape)
    own[axis] = d.int(1, 4)
    d.flow(d.values(shape))
    d.either(d.rng.integers(-shape[axis], shape[axis], own).astype('int64'))
    d.attributes['axis'] = axis


def gatherND(d):
    d.op = 'GatherND'
    d.opset = max(d.opset, 12)
    shape = d.shape()
    examples = d.choice([0, 0, 1, 2])
    examples = min(examples, len(shape) - 1)
    depth = d.int(1, len(shape) - examples)
    lead = shape[:examples] + d.shape(1, 2)
    indices = np.stack([d.rng.integers(-s, s, lead) for s in shape[examples:examples + depth]], -1)
    d.flow(d.values(shape))
    d.either(indices.astype('int64'))
    if examples > 0:
        d.attributes['batch_dims'] = examples


def scatterND(d):
    d.op = 'ScatterND'
    d.opset = d.choice([11, 13, 16, 18])
    shape = d.shape()
    indices = d.rng.permutation(shape[0])[:d.int(1, shape[0])].reshape(-1, 1)
    d.flow(d.values(shape))
    d.constant((indices - (shape[0] if d.chance(0.3) else 0)).astype('int64'))
    d.either(d.values((len(indices), *shape[1:])))


def oneHot(d):
    d.op = 'OneHot'
    d.opset = max(d.opset, 9)
    shape = d.shape(1, 3)
    depth = d.int(1, 5)
    d.flow(d.rng.integers(-depth, depth, shape).astype('int64'))
    d.constant(np.array(depth, 'int64'))
    d.constant(np.array([d.int(-1, 1), d.int(2, 3)], d.choice(['float32', 'int64'])))
    d.attributes['axis'] = d.axis(len(shape) + 1)


def reshape(d):
    d.op = 'Reshape'
    shape = d.shape()
    size = int(np.prod(shape))
    parts = [0] if d.chance(0.3) else []
    left = size // (shape[0] if parts else 1)
    while left > 1 and len(parts) < 4:
        divisor = d.choice([n for n in range(1, left + 1) if left % n == 0])
        parts.append(divisor)
        left //= divisor
    if left > 1 or not parts:
        parts.append(left)
    if d.chance(0.5) and len(parts) > 1:
        parts[d.int(1, len(parts) - 1)] = -1
    d.flow(d.values(shape, d.choice(['float32', 'float32', 'int64', 'bool'])))
    d.constant(np.array(parts, 'int64'))


def flatten(d):
    d.op = 'Flatten'
    shape = d.shape()
    d.flow(d.values(shape))
    d.attributes['axis'] = d.int(-len(shape), len(shape)) if d.opset >= 11 else d.int(0, len(shape))


def transpose(d):
    d.op = 'Transpose'
    shape = d.shape()
    d.flow(d.values(shape, d.choice(['float32', 'float32', 'int64', 'bool'])))
    if d.chance(0.8):
        d.attributes['perm'] = d.rng.permutation(len(shape)).tolist()


def squeeze(d):
    d.op = 'Squeeze'
    shape = d.shape()
    ones = [a for a, s in enumerate(shape) if s == 1]
    d.flow(d.values(shape))
    if ones and d.chance(0.7):
        d.ints('axes', [a - len(shape) if d.opset >= 11 and d.chance(0.3) else a for a in ones if d.chance(0.7)] or ones, 13)


def unsqueeze(d):
    d.op = 'Unsqueeze'
    shape = d.shape(1, 3)
    rank = len(shape) + d.int(1, 2)
    axes = d.rng.permutation(rank)[:rank - len(shape)]
    d.flow(d.values(shape, d.choice(['float32', 'int64', 'bool'])))
    d.ints('axes', [a - rank if d.opset >= 11 and d.chance(0.4) else a for a in axes], 13)


def expand(d):
    d.op = 'Expand'
    d.opset = max(d.opset, 8)
    shape = d.shape()
    wanted = [s if s > 1 and d.chance(0.5) else d.choice([1, 2, 3]) if s == 1 else d.choice([1, s]) for s in shape]
    d.flow(d.values(shape, d.choice(['float32', 'int64', 'bool'])))
    d.constant(np.array(([2] if d.chance(0.3) else []) + wanted, 'int64'))


def tile(d):
    d.op = 'Tile'
    shape = d.shape()
    d.flow(d.values(shape, d.choice(['float32', 'int64', 'bool'])))
    d.constant(np.array([d.int(1, 3) for _ in shape], 'int64'))


def pad(d):
    d.op = 'Pad'
    shape = d.shape()
    mode = d.choice(['constant', 'constant', 'reflect', 'edge'])
    sides = [d.int(0, min(2, s - 1) if mode == 'reflect' else 2) for s in shape * 2]
    d.flow(d.values(shape))
    d.attributes['mode'] = mode
    d.ints('pads', sides, 11)
    if mode == 'constant' and d.chance(0.5):
        if d.opset < 11:
            d.attributes['value'] = -1.5
        else:
            d.constant(np.float32(-1.5))


def trilu(d):
    d.op = 'Trilu'
    d.opset = max(d.opset, 14)
    shape = d.shape(2, 4)
    d.flow(d.values(shape, d.choice(['float32', 'int64', 'bool'])))
    if d.chance(0.6):
        d.constant(np.array(d.int(-6, 6), 'int64'))
    d.attributes['upper'] = d.int(0, 1)


def cumSum(d):
    d.op = 'CumSum'
    d.opset = max(d.opset, 11)
    shape = d.shape()
    d.flow(d.values(shape, d.choice(['float32', 'int64'])))
    d.constant(np.array(d.axis(len(shape)), 'int64'))
    d.attributes = {'exclusive': d.int(0, 1), 'reverse': d.int(0, 1)}


def topK(d):
    d.op = 'TopK'
    d.opset = max(d.opset, 11)
    shape = d.shape()
    axis = d.axis(len(shape))
    d.flow(d.rng.permutation(int(np.prod(shape))).reshape(shape).astype('float32'))
    d.constant(np.array([d.int(1, shape[axis])], 'int64'))
    d.attributes = {'axis': axis, 'largest': d.choice([1, 1, 0])}
    d.outputs = 2


def where(d):
    d.op = 'Where'
    d.opset = max(d.opset, 9)
    shape = d.shape()
    kind = d.choice(['float32', 'int64', 'bool'])
    part = lambda: tuple(s if d.chance(0.7) else 1 for s in shape)
    d.flow(d.values(shape, 'bool'))
    d.either(d.values(part(), kind))
    d.either(d.values(part(), kind))


def cast(d):
    d.op = 'Cast'
    kind = d.choice(['float32', 'int64', 'int32', 'bool', 'uint8'])
    to = d.choice([T.FLOAT, T.INT64, T.INT32, T.BOOL, T.UINT8, T.INT8])
    array = d.values(d.shape(), kind)
    # What a negative or large float becomes as an integer without a sign is not defined.
    if kind == 'float32' and to in (T.UINT8, T.INT8):
        array = np.abs(array)
    if kind == 'int64' and d.chance(0.4):
        array = array * 256
    d.flow(array)
    d.attributes['to'] = to


def clip(d):
    d.op = 'Clip'
    d.opset = max(d.opset, 11)
    d.flow(d.values(d.shape(), d.choice(['float32', 'int64']) if d.opset > 11 else 'float32'))
    kind = d.flows['x0'].dtype
    d.constant(np.array(-1, kind)) if d.chance(0.7) else d.skip()
    d.constant(np.array(1, kind)) if d.chance(0.7) else d.skip()


def matMul(d):
    d.op = 'MatMul'
    n, lead = d.int(1, 4), d.shape(0, 3)
    first = (*lead, d.int(1, 4), n)
    second = (*(s if d.chance(0.7) else 1 for s in lead), n, d.int(1, 4))
    d.flow(d.values(first if d.chance(0.85) else (n,)))
    d.either(d.values(second[-2:] if d.chance(0.4) else second))


def gemm(d):
    d.op = 'Gemm'
    m, k, n = d.int(1, 4), d.int(1, 4), d.int(1, 4)
    d.attributes = {'transA': d.int(0, 1), 'transB': d.int(0, 1), 'alpha': d.choice([1.0, 0.5]), 'beta': d.choice([1.0, 2.0])}
    d.flow(d.values((k, m) if d.attributes['transA'] else (m, k)))
    d.either(d.values((n, k) if d.attributes['transB'] else (k, n)), 0.7)
    if d.opset < 11 or d.chance(0.7):
        d.either(d.values(d.choice([(n,), (1, n), (m, n), (1,), (m, 1)])), 0.7)


def einsum(d):
    d.op = 'Einsum'
    d.opset = max(d.opset, 12)
    equation = d.choice(['ij,jk->ik', 'bij,bjk->bik', 'bij,bkj->bki', 'bi,bj->bij', '...ij,...jk->...ik', 'bij->bji', 'bij->b', 'bhid,bhjd->bhij',
                         'ij,ij->', 'bi,ij,jk->bk', 'bii->bi', 'bii->b', 'biij,bi->bj', 'bj,ii->bji'])
    sizes = {letter: d.int(1, 4) for letter in 'bdhijk'}
    lead = (d.int(1, 3),)
    for operand in equation.split('->')[0].split(','):
        shape = (lead if '...' in operand else ()) + tuple(sizes[c] for c in operand if c != '.')
        d.flow(d.values(shape)) if not d.flows else d.either(d.values(shape))
    d.attributes['equation'] = equation


def windows(d, sizes, kernel, dilates=True):
    strides = [d.int(1, 3) for _ in sizes]
    auto = d.choice(['NOTSET'] * 4 + ['SAME_UPPER', 'SAME_LOWER', 'VALID'])
    more = {'strides': strides}
    if auto != 'NOTSET':
        more['auto_pad'] = auto
    elif d.chance(0.7):
        more['pads'] = [d.int(0, k - 1) for k in kernel] + [d.int(0, k - 1) for k in kernel]
    if dilates and auto == 'NOTSET' and max(strides) == 1 and d.chance(0.3):
        more['dilations'] = [d.int(1, 2) for _ in sizes]
    return more


def conv(d):
    d.op = 'Conv'
    axes = d.int(1, 3)
    group = d.choice([1, 1, 1, 2, 3])
    inner = d.choice([1, 1, 2])
    sizes = [d.int(3, 7) for _ in range(axes)]
    kernel = [d.int(1, 3) for _ in sizes]
    out = group * d.int(1, 2)
    d.flow(d.values((d.int(1, 2), group * inner, *sizes)))
    d.constant(d.values((out, inner, *kernel)))
    if d.chance(0.5):
        d.constant(d.values((out,)))
    d.attributes = {'group': group, **windows(d, sizes, kernel)}


def convTranspose(d):
    d.op = 'ConvTranspose'
    axes = d.int(1, 3)
    sizes = [d.int(2, 5) for _ in range(axes)]
    kernel = [d.int(1, 4) for _ in sizes]
    strides = [d.int(1, 3) for _ in sizes]
    channels, out = d.int(1, 3), d.int(1, 3)
    d.flow(d.values((d.int(1, 2), channels, *sizes)))
    d.constant(d.values((channels, out, *kernel)))
    if d.chance(0.5):
        d.constant(d.values((out,)))
    d.attributes = {'strides': strides, 'pads': [d.int(0, k - 1) for k in kernel] * 2}
    if d.chance(0.4):
        d.attributes['output_padding'] = [d.int(0, s - 1) for s in strides]


def pool(d):
    d.op = d.choice(['MaxPool', 'AveragePool', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool'])
    axes = d.int(1, 3)
    sizes = [d.int(3, 7) for _ in range(axes)]
    d.flow(d.values((d.int(1, 2), d.int(1, 3), *sizes)))
    if d.op.startswith('Global'):
        return
    kernel = [d.int(1, 3) for _ in sizes]
    d.attributes = {'kernel_shape': kernel, **windows(d, sizes, kernel, False)}
    if d.opset >= 10 and 'auto_pad' not in d.attributes and d.chance(0.4):
        d.attributes['ceil_mode'] = d.int(0, 1)
    if d.op == 'AveragePool' and d.chance(0.4):
        d.attributes['count_include_pad'] = d.int(0, 1)


def normalize(d):
    d.op = d.choice(['BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'LpNormalization', 'LRN'])
    shape = (d.int(1, 3), d.int(1, 4), *d.shape(1, 3))
    d.flow(d.values(shape))
    if d.op == 'LayerNormalization':
        d.opset = max(d.opset, 17)
        axis = d.int(1, len(shape) - 1)
        d.constant(d.values(shape[axis:]))
        if d.chance(0.7):
            d.constant(d.values(shape[axis:]))
        d.attributes['axis'] = axis - len(shape) if d.chance(0.5) else axis
    elif d.op == 'LpNormalization':
        d.attributes = {'axis': d.axis(len(shape)), 'p': d.int(1, 2)}
    elif d.op == 'LRN':
        d.attributes = {'size': d.choice([1, 3, 5]), 'alpha': 0.1, 'beta': 0.5}
    else:
        d.constant(d.values(shape[1:2]))
        d.constant(d.values(shape[1:2]))
        if d.op == 'BatchNormalization':
            d.opset = max(d.opset, 9)
            d.constant(d.values(shape[1:2]))
            d.constant(np.abs(d.values(shape[1:2])) + np.float32(0.5))
        d.attributes['epsilon'] = 1e-3


def prelu(d):
    d.op = 'PRelu'
    shape = d.shape(2, 4)
    slope = tuple(s if d.chance(0.5) else 1 for s in shape[1:])
    d.flow(d.values(shape))
    d.either(d.values(d.choice([slope, slope, (1,)])), 0.8)


def resize(d):
    d.op = 'Resize'
    d.opset = max(d.opset, 11)
    shape = (d.int(1, 2), d.int(1, 3), *(d.int(2, 5) for _ in range(d.int(1, 2))))
    mode = d.choice(['nearest', 'linear', 'cubic'] if len(shape) == 4 else ['nearest', 'linear'])
    d.flow(d.values(shape))
    d.constant(np.array([], 'float32')) if d.opset < 13 else d.skip()
    place = d.choice(['half_pixel', 'align_corners', 'asymmetric', 'pytorch_half_pixel'])
    d.attributes = {'mode': mode, 'coordinate_transformation_mode': place}
    if mode == 'nearest':
        d.attributes['nearest_mode'] = d.choice(['floor', 'round_prefer_floor', 'ceil', 'round_prefer_ceil'])
    if d.chance(0.5):
        d.constant(np.array([1, 1, *(d.choice([0.5, 1, 1.5, 2, 3]) for _ in shape[2:])], 'float32'))
    else:
        d.constant(np.array([], 'float32')) if d.opset < 13 else d.skip()
        d.constant(np.array([*shape[:2], *(d.int(1, 9) for _ in shape[2:])], 'int64'))


def blocks(d):
    d.op = d.choice(['DepthToSpace', 'SpaceToDepth'])
    b = d.int(1, 3)
    if d.op == 'DepthToSpace':
        d.flow(d.values((d.int(1, 2), b * b * d.int(1, 2), d.int(1, 3), d.int(1, 3))))
        if d.opset >= 11:
            d.attributes['mode'] = d.choice(['DCR', 'CRD'])
    else:
        d.flow(d.values((d.int(1, 2), d.int(1, 3), b * d.int(1, 3), b * d.int(1, 3))))
    d.attributes['blocksize'] = b


def shapes(d):
    d.op = d.choice(['Shape', 'Size', 'NonZero'])
    if d.op == 'NonZero':
        d.opset = max(d.opset, 9)
    d.flow(d.values(d.shape(), d.choice(['float32', 'int64', 'bool'])))
    if d.op == 'Shape' and d.opset >= 15 and d.chance(0.5):
        d.attributes = {'start': d.int(-3, 3), 'end': d.int(-3, 5)}


OPERATIONS = [unary, binary, binary, variadic, reduce, reduce, arg, softmax, concat, split, cut, cut, gather, gatherElements, gatherND,
              scatterND, oneHot, reshape, flatten, transpose, squeeze, unsqueeze, expand, tile, pad, trilu, cumSum, topK, where, cast, clip,
              matMul, gemm, einsum, conv, conv, conv, convTranspose, pool, pool, normalize, prelu, resize, blocks, shapes]


def drawn(seed):
    """A case, or `None` if ONNX Runtime refuses it, or it is of no use."""
    d = Draw(seed)
    d.choice(OPERATIONS)(d)
    firsts = {v.shape[:1] for v in d.flows.values()}
    # Inputs have a batch, the same for all, where they are open. Some operations depend on how large it is.
    isPart = (d.op == 'Slice' and any(int(axis) % d.flows['x0'].ndim == 0 for axis in d.constants['c2'])
              or d.op == 'Squeeze' and len(d.names) == 1 and 'axes' not in d.attributes)
    d.isOpen = d.chance(0.5) and len(firsts) == 1 and () not in firsts and not isPart
    try:
        file = d.file()
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        outputs = onnxruntime.InferenceSession(file, options).run(None, d.flows)
    except (*REFUSED, ValueError, TypeError, onnx.shape_inference.InferenceError):
        return None
    if any(str(v.dtype) not in TYPES or v.size == 0 or (v.dtype.kind == 'f' and not np.isfinite(v).all()) for v in outputs):
        return None
    return {
        'name': f'{seed}: {d.op} {d.opset} {json.dumps(d.attributes)} ' + ', '.join(
            f'{"constant " if name in d.constants else ""}{array.dtype}{list(array.shape)}'
            for name in d.names if name for array in [d.flows.get(name, d.constants.get(name))]) + (' open' if d.isOpen else ''),
        'file': base64.b64encode(file).decode(),
        'inputs': {k: packed(v) for k, v in d.flows.items()},
        'outputs': [packed(v) for v in outputs],
    }


def packed(array):
    kind = TYPES[str(array.dtype)]
    values = [float(f'{v:.7g}') if kind == 'float32' else int(v) for v in array.ravel()]
    return {'shape': list(array.shape), 'dtype': kind, 'values': values}


def cases(seed, count):
    made = []
    while len(made) < count:
        case = drawn(seed)
        made += [case] if case else []
        seed += 1
    return made


if __name__ == '__main__':
    seed, count, path = (int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]) if len(sys.argv) == 4 else (0, 250, FILE)
    with open(path, 'w') as file:
        json.dump(cases(seed, count), file, separators=(',', ':'))
