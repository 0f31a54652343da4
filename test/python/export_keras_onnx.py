"""Exports small networks of Keras 3, by its own `export` and by tf2onnx:

    python test/python/export_keras_onnx.py FOLDER     (needs tensorflow, keras, onnx and tf2onnx)
"""

import os
import sys

os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers as L


def gelu(x):
    return keras.activations.gelu(x, approximate=True)  # tf2onnx has no Erfc


def image():
    x = inputs = keras.Input([32, 32, 3], name='images')
    x = L.Conv2D(8, 3, 2, padding='same', use_bias=False)(x)
    x = L.ReLU(6.0)(L.BatchNormalization()(x))
    x = L.DepthwiseConv2D(3, padding='same')(x)
    x = L.LeakyReLU()(L.BatchNormalization()(x))
    y = L.SeparableConv2D(8, 3, padding='same', activation='swish')(x)
    x = L.MaxPooling2D(3, 2, padding='same')(L.Add()([x, y]))
    x = L.concatenate([x, L.AveragePooling2D(3, 1, padding='same')(x)])
    x = L.GlobalAveragePooling2D()(L.Conv2D(12, 3, activation=gelu)(x))
    return keras.Model(inputs, L.Dense(5, activation='softmax')(L.Dropout(0.5)(x)))


def segment():
    x = inputs = keras.Input([16, 16, 3], name='images')
    one = L.Conv2D(8, 3, padding='same', activation='relu')(x)
    x = L.Conv2D(8, 3, 2, padding='same', activation='elu')(one)
    x = L.Conv2DTranspose(8, 3, 2, padding='same', activation='relu')(x)
    x = L.Concatenate()([x, one])
    x = L.UpSampling2D(2, interpolation='bilinear')(L.GroupNormalization(4)(x))
    return keras.Model(inputs, L.Conv2D(2, 1, activation='sigmoid')(x))


def sequence():
    x = inputs = keras.Input([9], dtype='int32', name='tokens')
    x = L.Embedding(30, 8)(x)
    x = L.Bidirectional(L.LSTM(6, return_sequences=True))(x)
    x = L.LSTM(4)(x)  # the exporters make loops of GRU and SimpleRNN
    return keras.Model(inputs, L.Dense(3)(x))


def attention():
    x = inputs = keras.Input([10, 8], name='values')
    for _ in range(2):
        x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
        x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(16, activation=gelu)(x)))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))


def sound():
    x = inputs = keras.Input([40, 4], name='sound')
    x = L.Conv1D(8, 5, 2, padding='same', activation='relu')(x)
    x = L.SeparableConv1D(8, 3, padding='same')(x)
    x = L.PReLU(shared_axes=[1])(L.Conv1D(8, 3, dilation_rate=2, padding='causal')(x))
    x = L.GlobalMaxPooling1D()(L.MaxPooling1D(2)(x))
    return keras.Model(inputs, L.Dense(4, activation='tanh')(L.Flatten()(x)))


def main(folder):
    keras.utils.set_random_seed(0)
    for make in [image, segment, sequence, attention, sound]:
        model = make()
        for layer in model.layers:
            if isinstance(layer, L.BatchNormalization):
                layer.moving_mean.assign(np.random.normal(0, 0.3, layer.moving_mean.shape))
                layer.moving_variance.assign(np.random.uniform(0.5, 1.5, layer.moving_variance.shape))
        model(np.zeros([2, *model.inputs[0].shape[1:]], model.inputs[0].dtype))
        at = lambda how: os.path.join(folder, f'{make.__name__}-{how}.onnx')
        try:
            model.export(at('keras'), format='onnx', verbose=False)
        except Exception as error:
            print(f'{make.__name__}: Keras does not export it: {str(error).splitlines()[0][:150]}', file=sys.stderr)
        try:
            [given] = model.inputs
            shape = tf.TensorSpec([None, *given.shape[1:]], given.dtype, name=given.name)
            tf2onnx.convert.from_function(tf.function(lambda x: model(x, training=False), input_signature=[shape]),
                                          input_signature=[shape], opset=17, output_path=at('tf2onnx'))
        except Exception as error:
            print(f'{make.__name__}: tf2onnx does not convert it: {str(error).splitlines()[0][:150]}', file=sys.stderr)


if __name__ == '__main__':
    main(sys.argv[1])
