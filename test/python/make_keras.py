"""Makes the models in test/fixtures/keras: written by Keras, converted by the official converter, with what Keras computes.

    python make_keras.py ../fixtures/keras [conv recurrent …]

Each version of Keras has an environment of its own, and writes its files beside those of the others:

    pip install tensorflow-cpu==2.21.0 keras==3.12.0 tf_keras tensorflow_hub "setuptools<81"   or   tensorflow-cpu==2.13.1
    pip install --no-deps tensorflowjs==4.22.0
"""

import json
import os
import pathlib
import sys
import tempfile
import types

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy  # noqa: E402

# The converter reads names that numpy no longer has.
for name, value in {'object': object, 'bool': bool}.items():
    if name not in numpy.__dict__:
        setattr(numpy, name, value)

import tensorflow  # noqa: E402
import keras  # noqa: E402  first, or it looks into the modules below

try:
    import tf_keras  # noqa: F401
except ImportError:
    sys.modules['tf_keras'] = keras

# The converter imports these, and uses none of them here.
for name in [
    'tensorflow_decision_forests', 'jax', 'jax.experimental', 'jax.experimental.jax2tf', 'flax', 'flax.serialization',
    'tensorflow_hub',
]:
    sys.modules[name] = types.ModuleType(name)
sys.modules['jax'].experimental = sys.modules['jax.experimental']
sys.modules['jax.experimental'].jax2tf = sys.modules['jax.experimental.jax2tf']

import tensorflowjs  # noqa: E402
from tensorflowjs.converters import converter  # noqa: E402

layers = keras.layers


def conv():
    """A sequential model: two regularizers, normalization with statistics, dropout."""
    return keras.Sequential([
        layers.Input((8, 8, 3)),
        layers.Conv2D(4, 3, padding='same', kernel_regularizer=keras.regularizers.L2(1e-3), use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(max_value=6),
        layers.DepthwiseConv2D(3, padding='same', activation='relu'),
        layers.MaxPooling2D(),
        layers.Dropout(0.25),
        layers.Flatten(),
        layers.Dense(3, activation='softmax', kernel_regularizer=keras.regularizers.L1(1e-4)),
    ], name='pictures')


def recurrent():
    """An Embedding, an LSTM, a GRU, one both ways, and a layer at each step."""
    return keras.Sequential([
        layers.Input((6,)),
        layers.Embedding(12, 4),
        layers.LSTM(5, return_sequences=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False)),
        layers.TimeDistributed(layers.Dense(4, activation='tanh')),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2, kernel_regularizer='l2'),
    ], name='words')


def shared():
    """Two inputs through one layer and one model inside, and two outputs."""
    tower_in = layers.Input((4,), name='tower_in')
    tower = keras.Model(tower_in, layers.Dense(3, name='inner')(tower_in), name='tower')
    steps = keras.Sequential([layers.Input((3,)), layers.Dense(2, name='step')], name='steps')
    left, right = layers.Input((4,), name='left'), layers.Input((4,), name='right')
    both = layers.Dense(4, activation='elu', name='both', kernel_constraint='max_norm')
    a, b = tower(both(left)), tower(both(right))
    joined = layers.Concatenate(name='joined')([a, steps(b)])
    product = layers.Multiply(name='product')([a, b])
    return keras.Model([left, right], [
        layers.Dense(1, activation='sigmoid', name='same')(joined), layers.Dense(2, name='kinds')(product),
    ], name='pairs')


def transformer():
    """Places of a block of a transformer: attention, normalization before it, a feed-forward part."""
    ids = layers.Input((5,), name='ids')
    x = layers.Embedding(10, 8, name='table')(ids)
    normal = layers.LayerNormalization(epsilon=1e-6, name='before')(x)
    seen = layers.MultiHeadAttention(2, 3, name='attention')(normal, normal, use_causal_mask=True)
    x = layers.Add(name='first')([x, seen])
    normal = layers.LayerNormalization(name='after')(x)
    wide = layers.Dense(16, activation='gelu', name='wide')(normal)
    x = layers.Add(name='second')([x, layers.Dense(8, name='narrow')(wide)])
    crossed = layers.MultiHeadAttention(2, 4, output_shape=6, use_bias=False, name='crossed')(x, normal)
    return keras.Model(ids, layers.Dense(2, name='head')(layers.GlobalAveragePooling1D(name='mean')(crossed)),
                       name='sentences')


def masked():
    """Words of several lengths: places of the word 0 do not count."""
    return keras.Sequential([
        layers.Input((6,)),
        layers.Embedding(10, 4, mask_zero=True),
        layers.LSTM(3, kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-2)),
        layers.Dense(2),
    ], name='lengths')


def kinds():
    """One layer of many kinds."""
    picture = layers.Input((6, 6, 2), name='picture')
    x = layers.Rescaling(0.5, offset=0.1)(picture)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.SeparableConv2D(4, 3, depth_multiplier=2, activation='silu')(x)
    x = layers.LeakyReLU(0.2)(x)
    x = layers.Cropping2D(1)(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding='same')(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, kernel_initializer='lecun_normal', activation='mish')(x)
    x = layers.ELU()(x)
    x = layers.GaussianNoise(0.1)(x)
    flat = layers.GlobalMaxPooling2D()(x)
    steps = layers.Reshape((6, 12))(picture)
    steps = layers.Permute((2, 1))(steps)
    steps = layers.Conv1D(4, 3, padding='same', activation='softplus')(steps)
    steps = layers.MaxPooling1D(2)(steps)
    steps = layers.SimpleRNN(4, activation='relu6', return_sequences=True)(steps)
    steps = layers.GaussianDropout(0.1)(steps)
    steps = layers.LSTM(4, go_backwards=True, recurrent_initializer='he_uniform', dropout=0.2)(steps)
    mean = layers.Average()([flat, steps])
    most = layers.Maximum()([flat, layers.Minimum()([steps, mean])])
    product = layers.Dot(axes=1, normalize=True)([mean, most])
    x = layers.Concatenate()([most, product])
    x = layers.RepeatVector(2)(layers.Dense(3, activation='selu')(x))
    x = layers.Softmax()(layers.Activation('softsign')(x))
    return keras.Model(picture, layers.Flatten()(x), name='kinds')


def functions():
    """Operations between tensors, as Keras writes `x * 2`."""
    x = inputs = layers.Input((4,), name='numbers')
    x = layers.Dense(4, name='one')(x)
    x = layers.Dense(2, name='two')(x * 2.0 + inputs)
    return keras.Model(inputs, x, name='functions')


def randomize(model, random):
    """Weights that are not those of a new model: biases and statistics count too."""
    values = []
    for weight in model.weights:
        path = getattr(weight, 'path', weight.name)
        if 'seed' in path:
            values.append(numpy.array(weight))
            continue
        drawn = random.normal(0, 0.5, weight.shape).astype('float32')
        values.append(numpy.abs(drawn) + 0.5 if 'variance' in path else drawn)
    model.set_weights(values)


def inputs_of(model, random):
    given = []
    for tensor in model.inputs:
        shape = (2, *tensor.shape[1:])
        words = any(isinstance(layer, layers.Embedding) for layer in model.layers)
        given.append(random.integers(0, 10, shape).astype('float32') if words
                     else random.normal(size=shape).astype('float32').round(3))
    return given


def main():
    folder = pathlib.Path(sys.argv[1])
    made = [conv, recurrent, shared, masked, kinds, transformer, functions]
    for seed, make in enumerate(made if len(sys.argv) < 3 else [globals()[name] for name in sys.argv[2:]]):
        random = numpy.random.default_rng(seed)
        keras.backend.clear_session()
        model = make()
        randomize(model, random)
        given = inputs_of(model, random)
        found = model(given if len(given) > 1 else given[0], training=False)
        found = found if isinstance(found, (list, tuple)) else [found]
        expected = {
            'keras': keras.__version__, 'tensorflow': tensorflow.__version__, 'converter': tensorflowjs.__version__,
            'inputs': [{'shape': list(x.shape), 'values': x.flatten().tolist()} for x in given],
            'outputs': [{'shape': list(x.shape), 'values': numpy.array(x).flatten().tolist()} for x in found],
        }
        version = '.'.join(keras.__version__.split('.')[:2])
        compiled = make is conv
        if compiled:
            model.compile(optimizer='sgd', loss='categorical_crossentropy')
        for form in ['h5', 'keras']:
            write(model, folder / f'keras-{version}-{form}-{make.__name__}', form, expected)


def write(model, target, form, expected):
    with tempfile.TemporaryDirectory() as place:
        target.mkdir(parents=True, exist_ok=True)
        file = pathlib.Path(place) / f'model.{form}'
        model.save(file)
        kind = {'h5': 'keras', 'keras': 'keras_keras'}[form]
        converter.convert(['--input_format', kind, '--output_format', 'tfjs_layers_model', str(file), str(target)])
    model_json = target / 'model.json'
    model_json.write_text(json.dumps(json.loads(model_json.read_text()), separators=(',', ':')) + '\n')
    (target / 'expected.json').write_text(json.dumps(expected, separators=(',', ':')) + '\n')


main()
