"""Makes the graphs in test/fixtures/graph, and larger ones, with the official converter. Weights are random.

    python make_graphs.py ../fixtures/graph           the small ones, which the tests read
    python make_graphs.py --large ~/.cache/tfjs-lora/converted   well-known networks, which `npm run check -- graphs` reads

The converter's requirements do not go together, so it is installed without them:

    pip install tensorflow-cpu==2.21.0 keras tf_keras tensorflow_hub "setuptools<81"
    pip install --no-deps tensorflowjs==4.22.0
"""

import argparse
import os
import pathlib
import sys
import tempfile
import types

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import keras  # noqa: E402  first, or it looks into the modules below
import numpy  # noqa: E402
import tf_keras  # noqa: E402, F401

# The converter imports these, and uses none of them here.
for name in [
    'tensorflow_decision_forests', 'jax', 'jax.experimental', 'jax.experimental.jax2tf', 'flax', 'flax.serialization',
]:
    sys.modules[name] = types.ModuleType(name)
sys.modules['jax'].experimental = sys.modules['jax.experimental']
sys.modules['jax.experimental'].jax2tf = sys.modules['jax.experimental.jax2tf']

from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter  # noqa: E402

layers = keras.layers


def u_net():
    """Dilated and transposed convolutions, a resize, and what was left off on the way down."""
    x = inputs = layers.Input((16, 16, 3))
    x = skip = layers.Conv2D(6, 3, padding='same', activation='relu')(x)
    x = layers.Conv2D(8, 3, strides=2, padding='same')(x)
    x = layers.BatchNormalization()(x)
    x = layers.LeakyReLU(0.1)(x)
    x = layers.Conv2D(8, 3, padding='same', dilation_rate=2, activation='elu')(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding='same', activation='relu')(x)
    x = layers.Concatenate()([x, skip])
    x = layers.UpSampling2D(2, interpolation='bilinear')(x)
    x = layers.Conv2D(2, 1, activation='sigmoid')(x)
    return keras.Model(inputs, x)


def hard_swish():
    """The blocks of MobileNetV3: squeeze and excite, hard-swish, depthwise."""
    x = inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding='same', use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = block = layers.Activation('hard_swish')(x)
    x = layers.DepthwiseConv2D(3, padding='same', use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation('hard_swish')(x)
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(4, 1, activation='relu')(s)
    s = layers.Conv2D(8, 1, activation='hard_sigmoid')(s)
    x = layers.Multiply()([x, s])
    x = layers.Conv2D(8, 1, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Add()([x, block])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, activation='softmax')(x))


def swish():
    """The blocks of EfficientNet: a rescaling with a bias of four axes, swish, depthwise with strides."""
    x = inputs = layers.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(x)
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation('swish')(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding='same', use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Activation('swish')(x)
    s = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    s = layers.Conv2D(2, 1, activation='swish')(s)
    s = layers.Conv2D(8, 1, activation='sigmoid')(s)
    x = layers.Multiply()([x, s])
    x = layers.Conv2D(6, 1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(4)(x))


def dense_net():
    """The blocks of DenseNet: normalization before the convolution, concatenation after it."""
    x = inputs = layers.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding='same')(x)
    for _ in range(2):
        y = layers.Activation('relu')(layers.BatchNormalization()(x))
        y = layers.Conv2D(6, 1, use_bias=False)(y)
        y = layers.Activation('relu')(layers.BatchNormalization()(y))
        x = layers.Concatenate()([x, layers.Conv2D(4, 3, padding='same', use_bias=False)(y)])
    x = layers.AveragePooling2D(2)(x)
    x = layers.GlobalAveragePooling2D()(layers.Activation('relu')(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(4, activation='softmax')(x))


def transformer(width=12, heads=3, vocabulary=20, length=6, depth=1):
    """Attention as Keras has it, in Einsums."""
    ids = layers.Input((length,), dtype='int32')
    x = layers.Embedding(vocabulary, width)(ids)
    for _ in range(depth):
        attention = layers.MultiHeadAttention(heads, width // heads)
        x = layers.LayerNormalization()(layers.Add()([x, attention(x, x)]))
        y = layers.Dense(2 * width, activation='relu')(x)
        x = layers.LayerNormalization()(layers.Add()([x, layers.Dense(width)(y)]))
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(ids, layers.Dense(3, activation='softmax')(x))


def recurrent(kind, unroll):
    x = inputs = layers.Input((5, 4))
    x = kind(6, unroll=unroll)(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def cells(unroll):
    """All outputs of a loop over a stack of cells, backwards."""
    x = inputs = layers.Input((3, 4))
    stack = [layers.GRUCell(3), layers.SimpleRNNCell(2)]
    x = layers.RNN(stack, return_sequences=True, go_backwards=True, unroll=unroll)(x)
    return keras.Model(inputs, layers.Dense(2)(x))


SMALL = {
    'uNet': (u_net, {}),
    'hardSwish': (hard_swish, {}),
    'swish': (swish, {}),
    'denseNet': (dense_net, {'uint8': '*'}),
    'transformer': (transformer, {'float16': '*'}),
    'lstm': (lambda: recurrent(layers.LSTM, True), {}),
    'gru': (lambda: recurrent(layers.GRU, True), {}),
    'rolledLSTM': (lambda: recurrent(layers.LSTM, False), {}),
    'rolledGRU': (lambda: recurrent(layers.GRU, False), {}),
    'cells': (lambda: cells(True), {}),
    'rolledCells': (lambda: cells(False), {}),
}

apps = keras.applications
BIG = {
    'efficientNetB0': lambda: apps.EfficientNetB0(weights=None, input_shape=(96, 96, 3), classes=10),
    'mobileNetV3Small': lambda: apps.MobileNetV3Small(weights=None, input_shape=(96, 96, 3), classes=10),
    'denseNet121': lambda: apps.DenseNet121(weights=None, input_shape=(96, 96, 3), classes=10),
    'transformer': lambda: transformer(64, 4, 200, 16, 2),
    'uNet': u_net,
    'lstm': lambda: recurrent(layers.LSTM, True),
    'gru': lambda: recurrent(layers.GRU, True),
}
LARGE = {
    f'{name}-{dtype}': (make, {} if dtype == 'float32' else {dtype: '*'})
    for name, make in BIG.items()
    for dtype in ['float32', 'float16', 'uint8']
}


def stir(model, seed=1):
    """Normalizations that do something, and no bias that is zero."""
    random = numpy.random.default_rng(seed)
    for weight in model.weights:
        name = weight.path.split('/')[-1]
        if name in ('moving_variance', 'gamma'):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif name in ('bias', 'beta', 'moving_mean'):
            weight.assign(random.normal(0, 0.2, weight.shape))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--large', action='store_true')
    arguments.add_argument('folder', type=pathlib.Path)
    options = arguments.parse_args()
    for name, (make, quantization) in (LARGE if options.large else SMALL).items():
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        model = make()
        stir(model)
        with tempfile.TemporaryDirectory() as saved:
            model.export(saved, verbose=False)
            target = options.folder / name
            converter.convert_tf_saved_model(saved, str(target), quantization_dtype_map=quantization or None)
        print(name, sum(path.stat().st_size for path in target.iterdir()))


main()
