"""Makes the models in test/fixtures/keras: written by Keras, converted by the official converter, with what Keras computes.

    python make_keras.py ../fixtures/keras [conv recurrent …]
    python make_keras.py ../fixtures/kerasLayers --layers [Dense …]
    python make_keras.py FOLDER --files [Dense …]

The last writes what `npm run check -- keras` compares: three settings of each layer, as converted `.h5` and `.keras` files,
with the outputs and gradients of Keras.

Each version of Keras has an environment of its own, and writes its files beside those of the others:

    pip install tensorflow-cpu==2.21.0 keras==3.12.0 tf_keras tensorflow_hub "setuptools<81"   or   tensorflow-cpu==2.13.1
    pip install --no-deps tensorflowjs==4.22.0

With KERAS=2 `tf_keras` writes, beside a Keras 3.
"""

import gzip
import inspect
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile
import types
import warnings

warnings.simplefilter('ignore')
logging.disable()
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import numpy  # noqa: E402

# The converter reads names that numpy no longer has.
for name, value in {'object': object, 'bool': bool}.items():
    if name not in numpy.__dict__:
        setattr(numpy, name, value)

import tensorflow  # noqa: E402
import keras  # noqa: E402  first, or it looks into the modules below

try:
    import tf_keras
    keras = tf_keras if os.environ.get('KERAS') == '2' else keras
except ImportError:
    sys.modules['tf_keras'] = keras

import h5py  # noqa: E402
import keras_layers  # noqa: E402

# The converter imports these, and uses none of them here.
for name in [
    'tensorflow_decision_forests', 'jax', 'jax.experimental', 'jax.experimental.jax2tf', 'flax', 'flax.serialization',
    'tensorflow_hub',
]:
    sys.modules[name] = types.ModuleType(name)
sys.modules['jax'].experimental = sys.modules['jax.experimental']
sys.modules['jax.experimental'].jax2tf = sys.modules['jax.experimental.jax2tf']

import tensorflowjs  # noqa: E402
from tensorflowjs.converters import converter, keras_h5_conversion  # noqa: E402

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


def cells():
    """Words of several lengths, both ways through a GRU and through a stack of cells."""
    return keras.Sequential([
        layers.Input((6,)),
        layers.Embedding(10, 4, mask_zero=True),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.RNN([layers.LSTMCell(3), layers.GRUCell(2), layers.GRUCell(4, reset_after=False)], return_sequences=True),
        layers.GRU(2),
    ], name='cells')


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


def normalized():
    """Two inputs, one normalized as its examples are, and one by given numbers."""
    numbers, others = layers.Input((4,), name='numbers'), layers.Input((2,), name='others')
    adapted = layers.Normalization(name='adapted')
    adapted.adapt(numpy.arange(12, dtype='float32').reshape(3, 4))
    given = layers.Normalization(mean=[0.5, -1.0], variance=[4.0, 0.25], name='given')
    x = layers.Concatenate()([adapted(numbers), given(others)])
    return keras.Model([numbers, others], layers.Dense(2)(x), name='normalized')


def randomize(model, random):
    """Weights that are not those of a new model: biases and statistics count too."""
    values = []
    for weight in model.weights:
        path = getattr(weight, 'path', weight.name)
        if 'seed' in path or 'count' in path:
            values.append(numpy.array(weight))
            continue
        drawn = random.normal(0, 0.5, weight.shape).astype('float32')
        values.append(numpy.abs(drawn) + 0.5 if 'variance' in path else drawn)
    model.set_weights(values)
    for layer in model.layers:
        if isinstance(layer, layers.Normalization) and layer.input_mean is None:
            layer.finalize_state()


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
    made = [conv, recurrent, shared, masked, kinds, transformer, functions, cells, normalized]
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
    groups = json.loads(model_json.read_text())['weightsManifest']
    if sum(len(group['weights']) for group in groups) < len([w for w in model.weights if 'seed' not in getattr(w, 'path', w.name)]):
        raise ValueError('the converter leaves weights out')  # of "a/b" where there is a layer "a" too
    model_json.write_text(json.dumps(json.loads(model_json.read_text()), separators=(',', ':')) + '\n')
    (target / 'expected.json').write_text(json.dumps(expected, separators=(',', ':')) + '\n')


def drawn(kind, shape, number):
    """Numbers that the tests draw as well, so that no file has to hold them: whole ones for words and flags, else from -2 to 2."""
    bits = (numpy.arange(numpy.prod(shape), dtype='uint64') + 1000003 * number + 1) * 2654435761 % 2 ** 32
    bits = ((bits ^ (bits >> 15)) * 2246822519 % 2 ** 32) >> 8
    values = (bits % {'words': 10, 'flags': 2}[kind] if kind in ('words', 'flags') else bits / 2 ** 22 - 2).astype('float32').reshape(shape)
    if kind == 'masked':
        values[1, -2:] = 0
        values[0, 3:] = 0.5
    return values


def draw_weights(model):
    """Weights from -1 to 1, and variances from 1 to 2."""
    values = []
    for number, weight in enumerate(model.weights):
        name = getattr(weight, 'path', weight.name)
        given = numpy.array(weight)
        value = drawn('', given.shape, 100 + number) / 2
        values.append(given if 'seed' in name or 'count' in name else numpy.abs(value) + 1 if 'variance' in name else value)
    model.set_weights(values)


def converted(model):
    """The topology, and the names and shapes of the weights, with the number of each in the model."""
    with tempfile.TemporaryDirectory() as place:
        file = pathlib.Path(place) / 'model.h5'
        model.save(file)
        with h5py.File(file) as h5:
            topology, [group] = keras_h5_conversion.h5_merged_saved_model_to_tfjs_format(h5)
    values = [numpy.array(weight) for weight in model.weights]
    weights = []
    for entry in group:
        numbers = [n for n, value in enumerate(values) if numpy.array_equal(value, entry['data'])]
        constant = None if entry['data'].shape else entry['data'].item()
        weights.append([entry['name'], list(entry['data'].shape), numbers[0], *([] if constant is None else [constant])])
    topology.pop('training_config', None)
    if len(weights) < len([weight for weight in model.weights if 'seed' not in getattr(weight, 'path', weight.name)]):
        raise ValueError('the converter leaves weights out')  # of "a/b" where there is a layer "a" too
    return topology, weights


def changes(before, after, path=()):
    """What differs between two values of JSON: paths, and the values there afterwards; `None` where there is nothing."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in {**before, **after}:
            if key not in after:
                found.append([[*path, key]])
            elif before.get(key, ...) != after[key]:
                found += changes(before.get(key), after[key], [*path, key])
        return found
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [change for i, pair in enumerate(zip(before, after)) for change in changes(*pair, [*path, i])]
    return [] if before == after else [[list(path), after]]


def computed(make, arguments, shapes):
    """A model of one layer or more, its inputs, and what it computes. Some layers compute channels last alone on this machine."""
    def model_of(arguments, shapes):
        keras.backend.clear_session()
        model = make(arguments, shapes)
        if any(isinstance(layer, layers.Normalization) and layer.input_mean is None for layer in model.layers):
            model.build([None, *shapes[0]])
        draw_weights(model)
        for layer in model.layers:
            if isinstance(layer, layers.Normalization):
                layer.finalize_state()
        return model

    def inputs_of(model, shapes):
        kinds = shapes if isinstance(shapes[0], str) else [''] * len(shapes)
        return [drawn(kind, (2, *tensor.shape[1:]), number) for number, (kind, tensor) in enumerate(zip(kinds, model.inputs))]

    def run(model, given, before=lambda x: x, after=lambda y: y):
        """Outputs, and the gradients of a sum of them, each number times one that is drawn: for inputs and for weights."""
        with tensorflow.GradientTape(persistent=True) as tape:
            tensors = [tensorflow.convert_to_tensor(x) for x in given]
            tape.watch(tensors)
            moved = [before(x) for x in tensors]
            found = model(moved if len(moved) > 1 else moved[0], training=False)
            found = [after(y) for y in (found if isinstance(found, (list, tuple)) else [found])]
            loss = sum(tensorflow.reduce_sum(y * drawn('', y.shape, 300 + i)) for i, y in enumerate(found) if y.dtype.is_floating)
        weights = [weight if isinstance(weight, tensorflow.Variable) else weight.value for weight in model.trainable_weights]
        slopes = [None] * (len(tensors) + len(weights)) if isinstance(loss, int) else tape.gradient(loss, [*tensors, *weights])
        slopes = [None if slope is None else tensorflow.convert_to_tensor(slope).numpy() for slope in slopes]
        return [numpy.array(y) for y in found], (slopes[:len(tensors)], slopes[len(tensors):])

    model = model_of(arguments, shapes)
    given = inputs_of(model, shapes)
    try:
        return model, *run(model, given)
    except Exception:
        if arguments.get('data_format') != 'channels_first':
            raise
    # The same weights, and the channels moved there and back.
    [shape] = shapes
    last = model_of({**arguments, 'data_format': 'channels_last'}, [(*shape[1:], shape[0])])
    last.set_weights([numpy.array(weight) for weight in model.weights])

    def channels_last(x):
        return tensorflow.transpose(x, [0, *range(2, len(x.shape)), 1])

    def channels_first(y):
        return tensorflow.transpose(y, [0, len(y.shape) - 1, *range(1, len(y.shape) - 1)]) if len(y.shape) > 2 else y

    return model, *run(last, given, channels_last, channels_first)


def one_layer(name):
    def make(arguments, shapes):
        inputs = [layers.Input((5,) if shape == 'words' else (6, 4) if shape == 'masked' else shape) for shape in shapes]
        layer = getattr(layers, name)(name='it', **arguments)
        return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]), name='model')
    return make


def sums_of(y):
    """Four sums of the numbers, each times one that is drawn: a number that is wrong changes them, and they are short."""
    weights = [drawn('', (y.size,), 200 + i).astype('float64') for i in range(4)]
    return [float(f'{weight @ y.flatten().astype("float64"):.8g}') for weight in weights]


def case_of(base, model, outputs, label):
    topology, weights = converted(model)
    entry = {'label': label, 'outputs': [[list(y.shape), sums_of(y)] for y in outputs]}
    if base is None:
        return {**entry, 'topology': topology, 'weights': weights}
    return {**entry, 'changes': changes(base['topology'], topology),
            **({} if weights == base['weights'] else {'weights': weights})}


def variants(arguments, varied):
    """The first case, then each value of each argument, then two mixtures drawn from these."""
    yield {}
    single = [{key: value} for key, values in (varied or {}).items() for value in values]
    yield from single
    random = numpy.random.default_rng(len(single))
    for _ in range(2 if len(varied or {}) > 2 else 0):
        yield {key: values[random.integers(len(values))] for key, values in varied.items() if values and random.random() < 0.4}


REFUSALS = (ImportError, LookupError, TypeError, ValueError, NotImplementedError, AttributeError, tensorflow.errors.OpError)


def layer_cases(left, names, pick=lambda settings: settings):
    """Of each layer its name, the kinds of its inputs, and its settings, each with the model and what it computes."""
    def cases(name, shapes, arguments, varied):
        taken = inspect.signature(getattr(layers, name).__init__).parameters
        for settings in pick(list(variants(arguments, varied))):
            if any(key not in taken and 'kwargs' not in taken for key in settings):
                continue
            first = settings.get('data_format') == 'channels_first'
            turned = [(shape[-1], *shape[:-1]) for shape in shapes] if first else shapes
            try:
                model, *found = computed(one_layer(name), {**arguments, **settings}, turned)
            except REFUSALS as error:
                print(f'{name} {settings}: Keras refuses: {str(error).splitlines()[0][:150]}')
                continue
            if any(key not in model.get_layer('it').get_config() for key in settings):
                continue  # Keras itself forgets it
            yield ' '.join(f'{key}={value}' for key, value in settings.items()), model, *found
            if varied is not None:
                left.update(keras_layers.keys_left(name, model.get_layer('it').get_config()))

    def model_case(name, make, shapes):
        try:
            yield '', *computed(lambda arguments, shapes: make(), {}, shapes)
        except REFUSALS as error:
            print(f'{name}: Keras refuses: {str(error).splitlines()[0][:150]}')

    for name, shapes, arguments, varied in keras_layers.LAYERS:
        if hasattr(layers, name) and (not names or name in names):
            yield name, shapes, cases(name, shapes, arguments, varied)
    for name, make, shapes in keras_layers.models(keras, layers):
        if not names or name in names or '@models' in names:
            yield name, shapes, model_case(name, make, shapes)


def layer_groups(left, names):
    for name, shapes, cases in layer_cases(left, names):
        group = {'name': name, 'inputs': shapes, 'cases': []}
        for label, model, outputs, _ in cases:
            try:
                group['cases'].append(case_of(group['cases'][0] if group['cases'] else None, model, outputs, label))
            except REFUSALS as error:
                print(f'{name} {label}: {str(error).splitlines()[0][:150]}')
        if group['cases']:
            yield group


def write_files(folder, names):
    """Three settings of each layer: the first, the last, and one between. The converter's own failures count as none."""
    version = keras.__version__.split('.')[0]
    def three(settings):
        return [settings[i] for i in sorted({0, len(settings) // 2, len(settings) - 1})]

    for name, shapes, cases in layer_cases(set(), names, three):
        for label, model, outputs, (slopes, of_weights) in cases:
            expected = {
                'name': f'{name} {label}'.strip(),
                'inputs': [[kind if isinstance(kind, str) else '', [2, *tensor.shape[1:]]] for kind, tensor in zip(
                    shapes if isinstance(shapes[0], str) else [''] * len(model.inputs), model.inputs)],
                'outputs': [[list(y.shape), sums_of(y)] for y in outputs],
                'slopes': [None if slope is None else sums_of(slope) for slope in slopes],
                'weightSlopes': [[slope.size, sums_of(slope)] for slope in of_weights if slope is not None],
            }
            for form in ['h5', 'keras']:
                target = folder / f'{version}-{len(list(folder.iterdir())):04}-{form}'
                try:
                    write(model, target, form, expected)
                except Exception as error:
                    print(f'{expected["name"]} as .{form}: not converted: {str(error).splitlines()[0][:150]}')
                    shutil.rmtree(target, ignore_errors=True)


def write_layers(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    left = set()
    lines = [json.dumps(group, separators=(',', ':')) for group in layer_groups(left, names)]
    text = '[\n' + ',\n'.join(lines) + '\n]\n'
    # Without the time, so that the same cases make the same file.
    (folder / f'keras-{keras.__version__.split(".")[0]}.json.gz').write_bytes(gzip.compress(text.encode(), mtime=0))
    assert not left, left


if sys.argv[2:3] == ['--files']:
    write_files(pathlib.Path(sys.argv[1]), sys.argv[3:])
elif sys.argv[2:3] == ['--layers']:
    write_layers(pathlib.Path(sys.argv[1]), sys.argv[3:])
else:
    main()
