"""Writes random ONNX graphs, and what ONNX Runtime computes of random inputs, as JSON.

    python test/python/make_onnx_random.py [SEED COUNT FILE]     (needs onnx and onnxruntime)

Without arguments it writes test/fixtures/onnx/random.json. Each graph begins with an image, a sequence or rows, and grows
by one operation of a random value at a time. The file has every value that no node reads as an output.
"""

import base64
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

FILE = os.path.join(os.path.dirname(__file__), '../fixtures/onnx/random.json')
UNARY = 'Relu Sigmoid Tanh Elu LeakyRelu Softplus HardSigmoid HardSwish Mish Abs Neg Erf'.split()
REFUSED = tuple(error for error in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
                if isinstance(error, type) and issubclass(error, Exception))
REDUCING = 'ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2'.split()


class Graph:
    """A graph that grows. Values are computed along the way, so that every shape is known."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.values, self.read = [], {}, {}, set()
        self.closed = set()  # values with time first, which only their own steps read
        n, c = 2, self.int(2, 5)
        shape = self.choice([(n, c, self.int(5, 9), self.int(5, 9)), (n, self.int(3, 7), c), (n, 2 * c)])
        self.input = np.round(self.rng.standard_normal(shape).astype('float32'), 3)
        self.values['x'] = self.input

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def choice(self, of):
        return of[self.int(0, len(of) - 1)]

    def weight(self, *shape, scale=None):
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        values = np.round(self.rng.standard_normal(shape) * (scale or fan**-0.5), 3).astype('float32')
        return self.constant(values)

    def constant(self, array):
        name = f'w{len(self.weights)}'
        self.weights[name] = np.asarray(array)
        return name

    def ints(self, *values):
        return self.constant(np.array(values, 'int64'))

    def add(self, op, *inputs, outputs=1, **attributes):
        """Appends a node if ONNX Runtime takes it and its values are of a sensible size."""
        names = [f'v{len(self.nodes)}_{i}' for i in range(outputs)]
        node = helper.make_node(op, inputs, names, **attributes)
        given = {i: self.values[i] for i in inputs if i in self.values}
        weights = {i: self.weights[i] for i in inputs if i in self.weights}
        made = run(file_of([node], given, weights, dict.fromkeys(names)), given)
        if any(v.size == 0 or v.size > 3000 or not np.isfinite(v).all() or np.abs(v).max() > 1e3 for v in made):
            return
        self.nodes.append(node)
        self.read.update(inputs)
        self.values.update(zip(names, made))

    def grow(self):
        # The last value in two of three cases, so that graphs become deep.
        names = [name for name in self.values if name not in self.closed]
        name = names[-1] if self.rng.random() < 0.66 else self.choice(names)
        rank = self.values[name].ndim
        steps = COMMON + {4: IMAGES, 3: SEQUENCES, 2: ROWS}.get(rank, [])
        self.choice(steps)(self, name, self.values[name].shape)

    def file(self):
        ends = {name: value.shape for name, value in self.values.items() if name not in self.read and name != 'x'}
        used = {name: array for name, array in self.weights.items() if name in self.read}
        return file_of(self.nodes, {'x': self.input}, used, ends)


def file_of(nodes, inputs, weights, ends):
    """`ends` are shapes by name; where one is `None`, ONNX Runtime infers it."""
    def info(key, shape):
        return helper.make_tensor_value_info(key, 1, shape and ['N', *shape[1:]])
    graph = helper.make_graph(nodes, 'g', [info(k, v.shape) for k, v in inputs.items()],
                              [info(k, shape) for k, shape in ends.items()],
                              [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    return model.SerializeToString()


def run(file, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(file, options).run(None, inputs)


# Steps for values of every rank. Axis 0 counts examples and stays where it is.

def unary(g, x, shape):
    g.add(g.choice(UNARY), x)


def with_constant(g, x, shape):
    # Some of the axes are broadcast.
    own = [d if g.rng.random() < 0.5 else 1 for d in shape[1:]]
    inputs = [x, g.weight(*own[g.int(0, len(own) - 1):], scale=1)]
    g.add(g.choice(['Add', 'Mul', 'Sub', 'Max', 'Min']), *(inputs if g.rng.random() < 0.7 else inputs[::-1]))


def with_other(g, x, shape):
    same = [name for name, value in g.values.items() if value.shape == shape]
    g.add(g.choice(['Add', 'Mul', 'Sub', 'Max']), x, g.choice(same))


def concat(g, x, shape):
    axis = g.int(1, len(shape) - 1)
    fits = [name for name, value in g.values.items()
            if value.ndim == len(shape) and all(a == b for i, (a, b) in enumerate(zip(value.shape, shape)) if i != axis)]
    g.add('Concat', x, g.choice(fits), *([g.choice(fits)] if g.rng.random() < 0.3 else []), axis=axis)


def reduce(g, x, shape):
    axes = [axis for axis in range(1, len(shape)) if g.rng.random() < 0.6] or [len(shape) - 1]
    keeps = g.int(0, 1) if len(shape) - len(axes) > 1 else 1
    op = g.choice(REDUCING)
    g.add(op, x, g.ints(*axes), keepdims=keeps)


def softmax(g, x, shape):
    g.add(g.choice(['Softmax', 'LogSoftmax']), x, axis=g.choice([g.int(1, len(shape) - 1), -1]))


def cut(g, x, shape):
    axis = g.int(1, len(shape) - 1)
    size = shape[axis]
    begin, step = g.int(0, size // 2), g.int(1, 2)
    end = g.choice([size, -1, 2**31 - 1])
    if g.rng.random() < 0.2:
        begin, end, step = -1, -(2**31), -step
    g.add('Slice', x, g.ints(begin), g.ints(end), g.ints(axis), g.ints(step))


def gather(g, x, shape):
    axis = g.int(1, len(shape) - 1)
    g.add('Gather', x, g.ints(*(g.int(-shape[axis], shape[axis] - 1) for _ in range(g.int(1, 4)))), axis=axis)


def split(g, x, shape):
    axis = g.int(1, len(shape) - 1)
    if shape[axis] > 1:
        first = g.int(1, shape[axis] - 1)
        g.add('Split', x, g.ints(first, shape[axis] - first), outputs=2, axis=axis)


def pad(g, x, shape):
    sides = [0] + [g.int(0, 2) for _ in shape[1:]]
    others = [0] + [g.int(0, 2) for _ in shape[1:]]
    mode = g.choice(['constant', 'constant', 'reflect', 'edge'])
    if mode == 'reflect' and any(max(a, b) >= d for a, b, d in zip(sides, others, shape)):
        mode = 'edge'
    value = [g.constant(np.float32(g.choice([0, -1.5])))] if mode == 'constant' and g.rng.random() < 0.7 else []
    g.add('Pad', x, g.ints(*sides, *others), *value, mode=mode)


def permute(g, x, shape):
    if len(shape) > 2:
        g.add('Transpose', x, perm=[0, *(1 + g.rng.permutation(len(shape) - 1)).tolist()])


def flatten(g, x, shape):
    # The layer after it depends on the order of the values.
    g.add('Flatten', x, axis=1)


def merge_axes(g, x, shape):
    if len(shape) > 2:
        at = g.int(1, len(shape) - 2)
        g.add('Reshape', x, g.ints(*(0 if i < at else d for i, d in enumerate(shape[:at])), -1, *shape[at + 2:]))


def unsqueeze(g, x, shape):
    if len(shape) < 4:
        g.add('Unsqueeze', x, g.ints(g.int(1, len(shape))))


def where(g, x, shape):
    condition = g.constant(g.rng.random(shape[1:]) < 0.5)
    g.add('Where', condition, x, g.weight(1, scale=1))


COMMON = [unary, unary, with_constant, with_other, with_other, concat, reduce, softmax, cut, gather, split, pad, permute,
          flatten, merge_axes, unsqueeze, where]


# Steps for images, [n, c, h, w].

def window(g, sizes, kernel):
    strides = [g.int(1, 2) for _ in sizes]
    auto = g.choice(['NOTSET', 'NOTSET', 'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'])
    if auto != 'NOTSET':
        return {'strides': strides, 'auto_pad': auto}
    return {'strides': strides, 'pads': [g.int(0, (k - 1) // 2) for k in kernel] + [g.int(0, k // 2) for k in kernel]}


def convolution(g, x, shape):
    channels, sizes = shape[1], shape[2:]
    kernel = [g.int(1, min(3, s)) for s in sizes]
    groups = g.choice([1, 1, channels, *(d for d in range(2, channels) if channels % d == 0)])
    out = groups * g.int(1, max(1, 6 // groups))
    options = window(g, sizes, kernel)
    # Neither tfjs nor the import has dilations together with strides.
    if 'auto_pad' not in options and max(options['strides']) == 1 and g.rng.random() < 0.3:
        options['dilations'] = [g.int(1, 2) for _ in sizes]
    if any((options.get('dilations', [1] * 4)[i] * (k - 1) + 1) > s for i, (k, s) in enumerate(zip(kernel, sizes))):
        options.pop('dilations', None)
    bias = [g.weight(out, scale=1)] if g.rng.random() < 0.6 else []
    g.add('Conv', x, g.weight(out, channels // groups, *kernel), *bias, group=groups, **options)


def transposed(g, x, shape):
    channels, sizes = shape[1], shape[2:]
    kernel = [g.int(1, 3) for _ in sizes]
    strides = [g.int(1, 2) for _ in sizes]
    pads = [g.int(0, (k - 1) // 2) for k in kernel] * 2
    more = {}
    if g.rng.random() < 0.4:
        more['output_padding'] = [g.int(0, min(s - 1, p)) for s, p in zip(strides, pads)]
    out = g.int(1, 4)
    bias = [g.weight(out, scale=1)] if g.rng.random() < 0.6 else []
    g.add('ConvTranspose', x, g.weight(channels, out, *kernel), *bias, strides=strides, pads=pads, **more)


def pool(g, x, shape):
    kernel = [g.int(1, min(3, s)) for s in shape[2:]]
    options = window(g, shape[2:], kernel)
    if 'auto_pad' not in options:
        options['ceil_mode'] = g.int(0, 1)
    if g.rng.random() < 0.5:
        g.add('MaxPool', x, kernel_shape=kernel, **options)
    else:
        counts = 0 if 'auto_pad' in options else g.int(0, 1)
        g.add('AveragePool', x, kernel_shape=kernel, count_include_pad=counts, **options)


def normalize(g, x, shape):
    c = shape[1]
    scale, bias = g.weight(c, scale=1), g.weight(c, scale=1)
    if g.rng.random() < 0.6:
        variance = g.constant(np.round(g.rng.random(c) + 0.5, 3).astype('float32'))
        g.add('BatchNormalization', x, scale, bias, g.weight(c, scale=1), variance, epsilon=1e-3)
    else:
        g.add('InstanceNormalization', x, scale, bias, epsilon=1e-3)


def of_channels(g, x, shape):
    op = g.choice(['PRelu', 'Add', 'Mul', 'Div'])
    own = g.constant(np.round(g.rng.random((shape[1], *[1] * (len(shape) - 2))) + 0.5, 3).astype('float32'))
    g.add(op, x, own)


def global_pool(g, x, shape):
    g.add(g.choice(['GlobalAveragePool', 'GlobalMaxPool']), x)


def resize(g, x, shape):
    scales = np.array([1, 1, *(g.choice([1, 2, 3]) for _ in shape[2:])], 'float32')
    mode, place = g.choice([('nearest', 'asymmetric'), ('nearest', 'half_pixel'), ('linear', 'half_pixel'),
                            ('linear', 'align_corners'), ('linear', 'asymmetric')])
    more = {'nearest_mode': 'floor'} if mode == 'nearest' else {}
    g.add('Resize', x, '', g.constant(scales), mode=mode, coordinate_transformation_mode=place, **more)


def depth_to_space(g, x, shape):
    if shape[1] % 4 == 0:
        g.add('DepthToSpace', x, blocksize=2, mode=g.choice(['DCR', 'CRD']))
    elif shape[2] % 2 == 0 and shape[3] % 2 == 0:
        g.add('SpaceToDepth', x, blocksize=2)


IMAGES = [convolution, convolution, convolution, transposed, pool, pool, normalize, normalize, of_channels, global_pool,
          resize, depth_to_space]


# Steps for sequences, [n, t, d], and rows, [n, d].

def product(g, x, shape):
    g.add('MatMul', x, g.weight(shape[-1], g.int(2, 6), scale=shape[-1]**-0.5))


def layer_norm(g, x, shape):
    d = shape[-1]
    bias = [g.weight(d, scale=1)] if g.rng.random() < 0.7 else []
    g.add('LayerNormalization', x, g.weight(d, scale=1), *bias, axis=-1, epsilon=1e-3)


def attend(g, x, shape):
    g.add('Einsum', x, x, equation=g.choice(['ntd,nsd->nts', 'ntd,nte->nde']))


def gemm(g, x, shape):
    flipped, out = g.int(0, 1), g.int(2, 6)
    w = g.weight(*((out, shape[1]) if flipped else (shape[1], out)), scale=shape[1]**-0.5)
    bias = [g.weight(out, scale=1)] if g.rng.random() < 0.7 else []
    g.add('Gemm', x, w, *bias, transB=flipped, alpha=g.choice([1.0, 0.5]), beta=g.choice([1.0, 2.0]))


def recurrent(g, x, shape):
    # Time first, as most exporters write it.
    op, ways, size = g.choice([('LSTM', 4), ('GRU', 3), ('RNN', 1)]), g.int(1, 2), g.int(2, 4)
    op, gates = op
    before = len(g.nodes)
    g.add('Transpose', x, perm=[1, 0, 2])
    if len(g.nodes) == before:
        return
    g.closed.add(f'v{before}_0')
    w, r = g.weight(ways, gates * size, shape[2], scale=0.4), g.weight(ways, gates * size, size, scale=0.4)
    b = g.weight(ways, 2 * gates * size, scale=0.4)
    more = {'linear_before_reset': g.int(0, 1)} if op == 'GRU' else {}
    g.add(op, f'v{before}_0', w, r, b, hidden_size=size, direction='bidirectional' if ways == 2 else 'forward', **more)
    if len(g.nodes) == before + 1:
        return
    g.closed.add(f'v{before + 1}_0')
    g.add('Transpose', f'v{before + 1}_0', perm=[2, 0, 1, 3])
    g.add('Reshape', f'v{before + 2}_0', g.ints(0, 0, -1))


SEQUENCES = [product, product, layer_norm, attend, convolution, pool, recurrent, of_channels]
ROWS = [gemm, gemm, product, layer_norm]


def graph(seed):
    g = Graph(seed)
    target = g.int(3, 9)
    for _ in range(60):
        if len(g.nodes) < target:
            try:
                g.grow()
            except REFUSED:
                pass  # this value does not suit the operation
    return g


def case(seed):
    g = graph(seed)
    file = g.file()
    onnx.checker.check_model(onnx.load_from_string(file))
    return {
        'name': f'{seed}: ' + ', '.join(node.op_type for node in g.nodes),
        'file': base64.b64encode(file).decode(),
        'inputs': {'x': packed(g.input)},
        'outputs': [packed(each) for each in run(file, {'x': g.input})],
    }


def cases(seed, count):
    """ONNX Runtime refuses a few graphs whose nodes it takes one by one: its shapes of pools with `ceil_mode`."""
    made = []
    while len(made) < count:
        try:
            made.append(case(seed))
        except REFUSED:
            pass
        seed += 1
    return made


def packed(array):
    return {'shape': list(array.shape), 'dtype': 'float32', 'values': [float(f'{v:.7g}') for v in array.ravel()]}


if __name__ == '__main__':
    seed, count, path = (int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]) if len(sys.argv) == 4 else (0, 40, FILE)
    with open(path, 'w') as file:
        json.dump(cases(seed, count), file, separators=(',', ':'))
