"""The cases of test/fixtures/kerasLayers: each layer of Keras with each key of its config set to each of some values.

`make_keras.py` writes them. A group is a model of one layer (or a few) with cases, which differ from the first in
arguments of that layer. `keys_left` holds that no key of a config is left out.
"""

import importlib

IMAGE, STEPS, VOLUME, ROW = (6, 7, 3), (6, 4), (4, 4, 5, 2), (5,)
BOTH = ['valid', 'same']
FIRST = ['channels_first']
ACTIVATIONS = [
    'elu', 'gelu', 'hard_sigmoid', 'linear', 'log_softmax', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu', 'softmax',
    'softplus', 'softsign', 'swish', 'tanh', 'hard_silu', 'hard_swish', 'leaky_relu', 'exponential', 'celu', 'glu',
    'hard_tanh', 'hard_shrink', 'log_sigmoid', 'soft_shrink', 'sparsemax', 'squareplus', 'tanh_shrink', 'threshold',
]
SOME_ACTIVATIONS = ['relu', 'elu', 'softmax', 'hard_sigmoid', 'hard_silu', 'leaky_relu']
REGULARIZERS = ['l2', {'class_name': 'OrthogonalRegularizer', 'config': {'factor': 0.1}}]
CONSTRAINTS = ['max_norm', 'unit_norm']
WEIGHTED = {'use_bias': [False], 'activity_regularizer': ['l2'], 'bias_regularizer': ['l2'], 'bias_constraint': ['non_neg']}
KERNEL = {'kernel_regularizer': REGULARIZERS, 'kernel_constraint': CONSTRAINTS}
POOL = {'padding': BOTH, 'data_format': FIRST}
ALL_POOL = {'keepdims': [True], 'data_format': FIRST}
PARTS = {
    'depthwise_regularizer': ['l2'], 'depthwise_constraint': ['max_norm'],
}
POINTS = {'pointwise_regularizer': ['l2'], 'pointwise_constraint': ['max_norm']}
NORM = {
    'center': [False], 'scale': [False], 'epsilon': [0.1], 'beta_regularizer': ['l2'], 'gamma_regularizer': ['l2'],
    'beta_constraint': ['max_norm'], 'gamma_constraint': ['max_norm'],
}
RECURRENT = {
    'activation': ['relu', 'hard_sigmoid'], 'use_bias': [False], 'return_sequences': [True], 'go_backwards': [True],
    'unroll': [True], 'return_state': [True], 'dropout': [0.5], 'recurrent_dropout': [0.5], 'seed': [1], 'stateful': [],
    'kernel_regularizer': ['l2'], 'recurrent_regularizer': ['l1'], 'bias_regularizer': ['l2'], 'activity_regularizer': ['l2'],
    'kernel_constraint': ['max_norm'], 'recurrent_constraint': ['max_norm'], 'bias_constraint': ['non_neg'],
    'zero_output_for_mask': [True], 'time_major': [], 'implementation': [1], 'unit_forget_bias': [False],
    'recurrent_activation': ['relu', 'hard_sigmoid', 'sigmoid'],
}
DROPPED = {'seed': [3], 'noise_shape': [(None, 1, 4), (2, 6, 1)]}
# What random layers are set to makes no difference to what they predict.
VARIED = {
    'seed': [3], 'fill_mode': ['nearest'], 'interpolation': ['nearest'], 'fill_value': [0.5], 'data_format': ['channels_last'],
    'value_range': [(0, 1)],
}
ONCE = {}

# Of each layer the shapes of its inputs, the arguments of the first case, and the values of the other arguments.
LAYERS = [
    ('Activation', [STEPS], {'activation': 'relu'}, {'activation': ACTIVATIONS}),
    ('ActivityRegularization', [ROW], {'l1': 0.1}, {'l2': [0.1]}),
    ('Add', [STEPS, STEPS], {}, {}),
    ('Subtract', [STEPS, STEPS], {}, {}),
    ('Average', [STEPS, STEPS], {}, {}),
    ('Maximum', [STEPS, STEPS], {}, {}),
    ('Minimum', [STEPS, STEPS], {}, {}),
    ('Multiply', [STEPS, STEPS], {}, {}),
    ('Concatenate', [STEPS, STEPS], {}, {'axis': [1, 2, -2]}),
    ('Dot', [STEPS, STEPS], {'axes': 2}, {'axes': [1, -1, (2, 2)], 'normalize': [True]}),
    ('AlphaDropout', [STEPS], {'rate': 0.5}, DROPPED),
    ('Dropout', [STEPS], {'rate': 0.5}, {**DROPPED, 'rate': [0]}),
    ('GaussianDropout', [STEPS], {'rate': 0.5}, {'seed': [3]}),
    ('GaussianNoise', [STEPS], {'stddev': 0.5}, {'seed': [3]}),
    ('SpatialDropout1D', [STEPS], {'rate': 0.5}, {'seed': [3], 'noise_shape': []}),
    ('SpatialDropout2D', [IMAGE], {'rate': 0.5}, {'data_format': FIRST, 'seed': [3], 'noise_shape': []}),
    ('SpatialDropout3D', [VOLUME], {'rate': 0.5}, {'data_format': FIRST, 'seed': [3], 'noise_shape': []}),
    *[(f'{kind}Pooling{n}D', [shape], {'pool_size': 2}, {**POOL, 'strides': [1, 3], 'pool_size': [3]})
      for kind in ['Average', 'Max'] for n, shape in [(1, STEPS), (2, IMAGE), (3, VOLUME)]],
    *[(f'Global{kind}Pooling{n}D', [shape], {}, ALL_POOL)
      for kind in ['Average', 'Max'] for n, shape in [(1, STEPS), (2, IMAGE), (3, VOLUME)]],
    ('BatchNormalization', [IMAGE], {}, {
        **NORM, 'axis': [1, 2], 'momentum': [0.9], 'synchronized': [True], 'renorm': []}),
    ('LayerNormalization', [STEPS], {}, {**NORM, 'axis': [1, [1, 2], -2], 'rms_scaling': []}),
    ('Normalization', [IMAGE], {}, {'axis': [1, None, (1, 3)], 'invert': [True], 'mean': [], 'variance': []}),
    ('Normalization', [STEPS], {'mean': 0.5, 'variance': 4}, {
        'axis': [None], 'mean': [[0.1, 0.2, 0.3, 0.4]], 'variance': [[1, 2, 3, 0]], 'invert': [True]}),
    ('Conv1D', [STEPS], {'filters': 3, 'kernel_size': 2}, {
        **WEIGHTED, **KERNEL, 'strides': [2], 'padding': [*BOTH, 'causal'], 'data_format': FIRST, 'dilation_rate': [2],
        'groups': [], 'activation': SOME_ACTIVATIONS, 'kernel_size': [3], 'filters': [2]}),
    ('Conv1D', [STEPS], {'filters': 4, 'kernel_size': 3, 'padding': 'causal'}, {
        'groups': [2], 'strides': [2], 'dilation_rate': [2], 'activation': ['relu']}),
    ('Conv2D', [(6, 7, 4)], {'filters': 6, 'kernel_size': 3, 'groups': 2}, {
        'padding': BOTH, 'strides': [2], 'dilation_rate': [2], 'data_format': FIRST, 'use_bias': [False], 'activation': ['relu', 'hard_silu'],
        'kernel_regularizer': ['l2']}),
    ('Conv2D', [IMAGE], {'filters': 3, 'kernel_size': 2}, {
        **WEIGHTED, **KERNEL, 'strides': [2, (1, 3)], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2, (1, 2)],
        'groups': [3], 'activation': SOME_ACTIVATIONS, 'kernel_size': [(3, 1)], 'filters': [6]}),
    ('Conv3D', [VOLUME], {'filters': 2, 'kernel_size': 2}, {
        **WEIGHTED, **KERNEL, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2], 'groups': [2],
        'activation': ['relu', 'hard_silu'], 'kernel_size': [(3, 1, 2)], 'filters': [1]}),
    ('Conv2DTranspose', [IMAGE], {'filters': 2, 'kernel_size': 3}, {
        **WEIGHTED, **KERNEL, 'strides': [2, (2, 1)], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2],
        'output_padding': [], 'activation': SOME_ACTIVATIONS, 'kernel_size': [2], 'filters': [3], 'groups': []}),
    ('Conv2DTranspose', [IMAGE], {'filters': 2, 'kernel_size': 3, 'strides': 2}, {'output_padding': [0, 1], 'padding': ['same']}),
    ('Conv3DTranspose', [VOLUME], {'filters': 2, 'kernel_size': 3}, {
        **WEIGHTED, **KERNEL, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [],
        'output_padding': [], 'activation': ['relu', 'hard_silu'], 'kernel_size': [2], 'filters': [1], 'groups': []}),
    ('Conv3DTranspose', [VOLUME], {'filters': 2, 'kernel_size': 2, 'strides': 2}, {'output_padding': [0, 1]}),
    ('DepthwiseConv2D', [IMAGE], {'kernel_size': 3}, {
        **WEIGHTED, **PARTS, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2, (1, 2)],
        'depth_multiplier': [2], 'activation': SOME_ACTIVATIONS, 'kernel_size': [(2, 3)], 'groups': [], 'filters': [],
        'kernel_regularizer': [], 'kernel_constraint': []}),
    ('SeparableConv1D', [STEPS], {'filters': 3, 'kernel_size': 3}, {
        **WEIGHTED, **PARTS, **POINTS, 'strides': [2], 'padding': [*BOTH, 'causal'], 'data_format': FIRST,
        'dilation_rate': [2], 'depth_multiplier': [2], 'activation': SOME_ACTIVATIONS, 'kernel_size': [2], 'filters': [2],
        'groups': [], 'kernel_regularizer': [], 'kernel_constraint': []}),
    ('SeparableConv2D', [IMAGE], {'filters': 3, 'kernel_size': 3}, {
        **WEIGHTED, **PARTS, **POINTS, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2],
        'depth_multiplier': [2], 'activation': SOME_ACTIVATIONS, 'kernel_size': [2], 'filters': [2], 'groups': [],
        'kernel_regularizer': [], 'kernel_constraint': []}),
    ('Dense', [STEPS], {'units': 3}, {
        **WEIGHTED, **KERNEL, 'units': [2], 'activation': ACTIVATIONS, 'lora_rank': [2], 'lora_alpha': [], 'quantization_config': []}),
    ('EinsumDense', [STEPS], {'equation': 'abc,cd->abd', 'output_shape': (None, 3)}, {
        'equation': ['abC,CD->abD', 'abc,dc->abd', '...c,cd->...d', 'abc,bcd->abd', 'abc,cd->adb'], 'output_shape': [], 'bias_axes': ['d', 'bd'],
        'activation': ['relu', 'hard_sigmoid'], 'kernel_regularizer': ['l2'], 'kernel_constraint': ['max_norm'],
        'bias_regularizer': ['l2'], 'bias_constraint': ['max_norm'], 'activity_regularizer': ['l2'], 'lora_rank': [2], 'lora_alpha': [],
        'quantization_config': [], 'gptq_unpacked_column_size': []}),
    ('EinsumDense', [STEPS], {'equation': 'abc,cde->abde', 'output_shape': (None, 2, 3), 'bias_axes': 'de'}, None),
    ('EinsumDense', [(5, 2, 3)], {'equation': 'abcd,cde->abe', 'output_shape': (None, 4), 'bias_axes': 'e'}, None),
    ('EinsumDense', [(4, 3)], {'equation': 'ab...,bc->ac...', 'output_shape': 5, 'bias_axes': 'c'}, None),
    ('Embedding', ['words'], {'input_dim': 10, 'output_dim': 3}, {
        'output_dim': [2], 'input_dim': [11], 'mask_zero': [True], 'embeddings_regularizer': ['l2'], 'input_length': [5],
        'embeddings_constraint': ['max_norm'], 'activity_regularizer': ['l2'], 'lora_rank': [2], 'lora_alpha': [],
        'sparse': [], 'quantization_config': []}),
    ('ELU', [STEPS], {}, {'alpha': [0.5]}),
    ('LeakyReLU', [STEPS], {}, {'alpha': [0.1], 'negative_slope': [0.1]}),
    ('PReLU', [IMAGE], {}, {'shared_axes': [[1, 2], [3]], 'alpha_regularizer': ['l2'], 'alpha_constraint': ['max_norm']}),
    ('ReLU', [STEPS], {}, {'max_value': [6, 0.5], 'negative_slope': [0.1], 'threshold': [0.7]}),
    ('ReLU', [STEPS], {'max_value': 1.5, 'negative_slope': 0.2, 'threshold': 0.5}, {
        'max_value': [None], 'negative_slope': [0], 'threshold': [0]}),
    ('Softmax', [STEPS], {}, {'axis': [1, [2], [1, 2]], 'robust_masking': [True]}),
    ('ThresholdedReLU', [STEPS], {}, {'theta': [0.3]}),
    ('Cropping1D', [STEPS], {'cropping': (1, 2)}, {'data_format': []}),
    ('Cropping2D', [IMAGE], {'cropping': 1}, {'cropping': [(1, 2), ((0, 1), (2, 1))], 'data_format': FIRST}),
    ('Cropping3D', [VOLUME], {'cropping': 1}, {'data_format': FIRST}),
    ('ZeroPadding1D', [STEPS], {'padding': (1, 2)}, {'data_format': FIRST}),
    ('ZeroPadding2D', [IMAGE], {'padding': 1}, {'padding': [(1, 2), ((0, 1), (2, 1))], 'data_format': FIRST}),
    ('ZeroPadding3D', [VOLUME], {'padding': 1}, {'data_format': FIRST}),
    ('UpSampling1D', [STEPS], {'size': 2}, {}),
    ('UpSampling2D', [IMAGE], {'size': 2}, {
        'size': [(1, 3)], 'interpolation': ['bilinear', 'bicubic', 'area', 'lanczos3'], 'data_format': FIRST}),
    ('UpSampling2D', [IMAGE], {'size': (3, 2), 'interpolation': 'bilinear'}, {'data_format': FIRST}),
    ('UpSampling3D', [VOLUME], {'size': 2}, {'data_format': FIRST}),
    ('Flatten', [IMAGE], {}, {'data_format': FIRST}),
    ('Permute', [IMAGE], {'dims': (3, 1, 2)}, {'dims': [(2, 1, 3)]}),
    ('RepeatVector', [ROW], {'n': 2}, {'n': [3]}),
    ('Reshape', [IMAGE], {'target_shape': (7, 18)}, {'target_shape': [(-1, 6), (126,)]}),
    ('Rescaling', [IMAGE], {'scale': 0.5}, {'scale': [[1, 2, 3]], 'offset': [0.3, [0.1, 0.2, 0.3]]}),
    ('Resizing', [IMAGE], {'height': 4, 'width': 9}, {
        'height': [8], 'width': [3], 'interpolation': ['nearest', 'bicubic', 'area'], 'crop_to_aspect_ratio': [True],
        'pad_to_aspect_ratio': [True], 'antialias': [True], 'fill_mode': ['constant'], 'fill_value': [0.5],
        'data_format': FIRST}),
    ('Resizing', [IMAGE], {'height': 5, 'width': 3, 'crop_to_aspect_ratio': True}, {
        'height': [9], 'interpolation': ['nearest'], 'data_format': FIRST}),
    ('CenterCrop', [IMAGE], {'height': 3, 'width': 4}, {'height': [5, 6, 9], 'width': [7, 8], 'data_format': FIRST}),
    ('RandomFlip', [IMAGE], {}, {**VARIED, 'mode': ['vertical']}),
    ('RandomRotation', [IMAGE], {'factor': 0.2}, {**VARIED, 'factor': [0.1]}),
    ('RandomZoom', [IMAGE], {'height_factor': 0.2}, {**VARIED, 'height_factor': [0.1], 'width_factor': [0.1]}),
    ('RandomTranslation', [IMAGE], {'height_factor': 0.2, 'width_factor': 0.2}, {
        **VARIED, 'height_factor': [0.1], 'width_factor': [0.1]}),
    ('RandomContrast', [IMAGE], {'factor': 0.2}, {**VARIED, 'factor': [0.1]}),
    ('RandomBrightness', [IMAGE], {'factor': 0.2}, {**VARIED, 'factor': [0.1]}),
    ('RandomHeight', [IMAGE], {'factor': 0.2}, {**VARIED, 'factor': [0.1]}),
    ('RandomWidth', [IMAGE], {'factor': 0.2}, {**VARIED, 'factor': [0.1]}),
    ('RandomCrop', [IMAGE], {'height': 3, 'width': 4}, {**VARIED, 'height': [6], 'width': [7]}),
    ('RandomShear', [IMAGE], {'x_factor': 0.2}, {**VARIED, 'x_factor': [0.1], 'y_factor': [0.1]}),
    *[(name, [IMAGE], arguments, None) for name, arguments in [
        ('RandomGrayscale', {}), ('RandomErasing', {}), ('RandomInvert', {}), ('RandomPerspective', {}),
        ('RandomGaussianBlur', {}), ('RandomElasticTransform', {}), ('RandomHue', {'factor': 0.2}),
        ('RandomSaturation', {'factor': 0.2}), ('RandomSharpness', {'factor': 0.2}), ('RandomPosterization', {'factor': 4}),
        ('RandomColorDegeneration', {'factor': 0.2}), ('RandomColorJitter', {}), ('RandAugment', {}), ('AugMix', {}),
        ('MixUp', {}), ('CutMix', {}), ('AutoContrast', {}), ('Equalization', {}), ('Solarization', {}),
        ('Identity', {}),
    ]],
    ('GroupNormalization', [IMAGE], {'groups': 3}, {**NORM, 'groups': [1, -1], 'axis': [3]}),
    ('GroupNormalization', [STEPS], {'groups': 2}, {'axis': [1], 'scale': [False]}),
    ('UnitNormalization', [IMAGE], {}, {'axis': [1, [1, 2]]}),
    ('RMSNormalization', [IMAGE], {}, {'axis': [[2, 3]], 'epsilon': [0.1]}),
    ('Conv1DTranspose', [STEPS], {'filters': 2, 'kernel_size': 3}, {
        **WEIGHTED, **KERNEL, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2],
        'output_padding': [], 'activation': SOME_ACTIVATIONS, 'kernel_size': [2], 'filters': [3], 'groups': []}),
    ('Conv1DTranspose', [STEPS], {'filters': 2, 'kernel_size': 3, 'strides': 2}, {'output_padding': [0, 1], 'padding': ['same']}),
    ('DepthwiseConv1D', [STEPS], {'kernel_size': 2}, {
        **WEIGHTED, **PARTS, 'strides': [2], 'padding': [*BOTH, 'causal'], 'data_format': FIRST, 'dilation_rate': [2],
        'depth_multiplier': [2], 'activation': SOME_ACTIVATIONS, 'kernel_size': [3], 'groups': [], 'filters': [],
        'kernel_regularizer': [], 'kernel_constraint': []}),
    ('LocallyConnected1D', [STEPS], {'filters': 2, 'kernel_size': 2}, None),
    ('LocallyConnected2D', [IMAGE], {'filters': 2, 'kernel_size': 2}, None),
    ('Hashing', ['words'], {'num_bins': 3}, None),
    ('IntegerLookup', ['words'], {'vocabulary': [1, 3, 4, 7]}, None),
    ('MelSpectrogram', [(64,)], {'num_mel_bins': 8, 'sampling_rate': 100, 'sequence_stride': 16, 'fft_length': 32}, None),
    ('STFTSpectrogram', [(64,)], {'frame_length': 16, 'frame_step': 8, 'fft_length': 16}, None),
    ('ReversibleEmbedding', ['words'], {'input_dim': 10, 'output_dim': 3}, None),
    ('CategoryEncoding', ['words'], {'num_tokens': 10, 'output_mode': 'multi_hot'}, {'output_mode': ['count'], 'num_tokens': [12], 'sparse': []}),
    ('Discretization', [ROW], {'bin_boundaries': [-1.0, 0.0, 1.0]}, None),
    ('Attention', [STEPS, (5, 4)], {}, {'use_scale': [True], 'score_mode': ['concat'], 'dropout': [0.1], 'causal': [], 'seed': [1]}),
    ('Attention', [STEPS, (5, 3), (5, 4)], {'score_mode': 'concat', 'use_scale': True}, None),
    ('AdditiveAttention', [STEPS, (5, 4)], {}, {'use_scale': [False], 'dropout': [0.1], 'causal': [], 'seed': [1]}),
    ('Masking', ['masked'], {}, {'mask_value': [0.5]}),
    ('LSTM', [STEPS], {'units': 3}, {**RECURRENT, 'units': [2]}),
    ('SimpleRNN', [STEPS], {'units': 3}, {**RECURRENT, 'units': [2]}),
    ('GRU', [STEPS], {'units': 3, 'reset_after': False}, {**RECURRENT, 'units': [2], 'reset_after': [True]}),
    ('ConvLSTM1D', [(4, 5, 2)], {'filters': 2, 'kernel_size': 2}, None),
    ('ConvLSTM2D', [(3, 4, 5, 2)], {'filters': 2, 'kernel_size': 2}, {
        **RECURRENT, 'strides': [2], 'padding': BOTH, 'data_format': FIRST, 'dilation_rate': [2], 'filters': [1],
        'kernel_size': [3]}),
    ('ConvLSTM3D', [(2, 3, 3, 3, 2)], {'filters': 1, 'kernel_size': 2}, None),
]

# Keys that change nothing, are the inputs' own, or are set by what was given.
IDLE = {'name', 'trainable', 'dtype', 'batch_input_shape', 'rank', 'ragged', 'autocast', 'input_shape', 'factor', 'rng_type'}


def keys_left(name, config):
    """Each key of a config has to have values here, or a list of none, which says that it was thought of."""
    varied = {key for other, _, arguments, values in LAYERS if other == name for key in {**arguments, **(values or {})}}
    return [f'{name}: {key}' for key in config
            if key not in IDLE and not key.endswith('_initializer') and key not in varied]


def models(keras, layers):
    """Models of several layers, each with the kinds of its inputs."""
    def after_mask(*made):
        x = inputs = layers.Input((6, 4), name='steps')
        x = layers.Masking(name='masking')(x)
        for layer in made:
            x = layer(x)
        return keras.Model(inputs, x)

    def numbers(compute):
        inputs = layers.Input((5,), name='numbers')
        return keras.Model(inputs, layers.Dense(2, name='head')(compute(layers.Dense(5, name='body')(inputs))))

    def merged(merge):
        inputs = layers.Input((6, 4), name='steps')
        a, b = layers.Masking(name='masking')(inputs), layers.Masking(0.5, name='other')(inputs)
        return keras.Model(inputs, layers.LSTM(2, name='lstm')(merge([a, b])))

    for name, make in {
        'LSTM': lambda: after_mask(layers.LSTM(2, name='lstm')),
        'LSTM of sequences': lambda: after_mask(layers.LSTM(2, return_sequences=True, name='lstm')),
        'GRU': lambda: after_mask(layers.GRU(2, reset_after=False, name='gru')),
        'SimpleRNN': lambda: after_mask(layers.SimpleRNN(2, name='rnn')),
        'Bidirectional': lambda: after_mask(layers.Bidirectional(layers.LSTM(2), name='both')),
        'Bidirectional of sequences': lambda: after_mask(
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), name='both')),
        'Bidirectional of sequences, then GRU': lambda: after_mask(
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode='ave', name='both'),
            layers.GRU(2, name='gru')),
        'Bidirectional of sequences and states': lambda: after_mask(layers.Bidirectional(
            layers.GRU(2, return_sequences=True, return_state=True), merge_mode='sum', name='both')),
        'two Bidirectional': lambda: after_mask(
            layers.Bidirectional(layers.GRU(2, return_sequences=True), name='both'),
            layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True), merge_mode='mul', name='others')),
        'Conv1D, then Bidirectional': lambda: after_mask(
            layers.Conv1D(3, 2, name='between'), layers.Bidirectional(layers.LSTM(2), name='both')),
        'GRU with reset_after': lambda: after_mask(layers.GRU(2, return_sequences=True, name='gru')),
        'RNN of cells': lambda: after_mask(layers.RNN(
            [layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True, name='rnn')),
        'TimeDistributed': lambda: after_mask(layers.TimeDistributed(layers.Dense(2), name='each')),
        'GlobalAveragePooling1D': lambda: after_mask(layers.GlobalAveragePooling1D(name='mean')),
        'GlobalMaxPooling1D': lambda: after_mask(layers.GlobalMaxPooling1D(name='most')),
        'Softmax': lambda: after_mask(layers.Softmax(name='softmax')),
        **{f'{layer.__class__.__name__}, then LSTM': (lambda layer=layer: after_mask(layer, layers.LSTM(2, name='lstm')))
           for layer in [
               layers.Dense(3, name='between'), layers.Dropout(0.5, name='between'), layers.Activation('relu', name='between'),
               layers.LayerNormalization(name='between'), layers.BatchNormalization(name='between'),
               layers.ReLU(name='between'), layers.LeakyReLU(name='between'), layers.PReLU(name='between'),
               layers.Conv1D(3, 2, name='between'), layers.Reshape((6, 4), name='between'),
               layers.Permute((2, 1), name='between'), layers.MaxPooling1D(name='between'),
               layers.Rescaling(0.5, name='between'), layers.ELU(name='between'), layers.Softmax(name='between'),
               layers.LSTM(3, return_sequences=True, name='between'), layers.GaussianNoise(0.1, name='between'),
               layers.SpatialDropout1D(0.1, name='between'),
           ]},
        **{f'{merge.__class__.__name__} of two masks': (lambda merge=merge: merged(merge)) for merge in [
            layers.Add(name='merge'), layers.Concatenate(name='merge'), layers.Multiply(name='merge'),
            layers.Concatenate(axis=1, name='merge'), layers.Average(name='merge'), layers.Subtract(name='merge')]},
    }.items():
        yield f'mask: {name}', make, ['masked']

    def attended(attend, mask=True):
        inputs, other = layers.Input((6, 4), name='steps'), layers.Input((5, 4), name='others')
        x, y = inputs, other
        if mask:
            x, y = layers.Masking(name='masking')(x), layers.Masking(0.5, name='other')(y)
        return keras.Model([inputs, other], attend(x, y))

    def heads(x, y, *more, **settings):
        called = {key: settings.pop(key) for key in ['use_causal_mask', 'attention_mask'] if key in settings}
        return layers.MultiHeadAttention(2, 3, name='attention', **settings)(x, y, *more, **called)

    def with_pairs():
        inputs, other = layers.Input((6, 4), name='steps'), layers.Input((5, 4), name='others')
        pairs = layers.Input((6, 5), name='pairs')
        return keras.Model([inputs, other, pairs], heads(inputs, other, attention_mask=pairs))

    for name, make, kinds in [
        ('MultiHeadAttention with masks', lambda: attended(heads), ['masked', 'masked']),
        ('MultiHeadAttention with value_dim', lambda: attended(lambda x, y: heads(x, y, value_dim=2), False), [(6, 4), (5, 4)]),
        ('MultiHeadAttention with value_dim and masks', lambda: attended(
            lambda x, y: heads(x, y, y, value_dim=4, output_shape=5, use_bias=False)), ['masked', 'masked']),
        ('MultiHeadAttention with causal masks', lambda: after_mask(lambda x: heads(x, x, use_causal_mask=True)), ['masked']),
        ('MultiHeadAttention with others, causal', lambda: attended(
            lambda x, y: heads(x, y, use_causal_mask=True), False), [(6, 4), (5, 4)]),
        ('MultiHeadAttention with an attention_mask', with_pairs, ['', '', 'flags']),
        ('MultiHeadAttention, then LSTM', lambda: attended(
            lambda x, y: layers.LSTM(2, name='lstm')(heads(x, y))), ['masked', 'masked']),
        ('Attention with masks', lambda: attended(lambda x, y: layers.Attention(name='it')([x, y])), ['masked', 'masked']),
        ('Attention, causal', lambda: attended(
            lambda x, y: layers.Attention(use_scale=True, name='it')([x, y], use_causal_mask=True)), ['masked', 'masked']),
        ('AdditiveAttention with masks', lambda: attended(
            lambda x, y: layers.GlobalAveragePooling1D(name='mean')(layers.AdditiveAttention(name='it')([x, y]))),
         ['masked', 'masked']),
    ]:
        yield f'attention: {name}', make, kinds
    if hasattr(layers, 'GroupQueryAttention'):
        yield 'attention: GroupQueryAttention', lambda: attended(
            lambda x, y: layers.GroupQueryAttention(3, 2, 1, name='it')(x, y), False), [(6, 4), (5, 4)]
    yield 'SpectralNormalization', lambda: keras.Sequential([
        layers.Input((5,)), layers.SpectralNormalization(layers.Dense(3, name='inner'), name='it')]), [(5,)]
    yield 'mask: LSTM of an embedding', lambda: keras.Sequential([
        layers.Input((6,)), layers.Embedding(10, 4, mask_zero=True, name='embedding'), layers.Conv1D(3, 2, name='between'),
        layers.LSTM(2, name='lstm')]), ['words']
    yield 'mask: mean of an embedding', lambda: keras.Sequential([
        layers.Input((6,)), layers.Embedding(10, 4, mask_zero=True, name='embedding'),
        layers.TimeDistributed(layers.Dense(3), name='each'), layers.GlobalAveragePooling1D(name='mean')]), ['words']
    yield 'causal convolutions in a row', lambda: keras.Sequential([
        layers.Input((6, 4)), layers.Conv1D(4, 2, padding='causal', activation='relu', name='one'),
        layers.Conv1DTranspose(3, 2, strides=2, name='two'), layers.DepthwiseConv1D(3, padding='same', name='three')]), [(6, 4)]

    def scaled():
        convnext = importlib.import_module(f'{keras.__name__}.src.applications.convnext')
        inputs = layers.Input((5, 5, 4), name='image')
        x = layers.DepthwiseConv2D(3, padding='same', name='depthwise')(inputs)
        x = layers.Dense(4, name='wide')(layers.LayerNormalization(epsilon=1e-6, name='norm')(x))
        x = convnext.StochasticDepth(0.1, name='depth')(convnext.LayerScale(0.1, 4, name='scale')(x))
        return keras.Model(inputs, layers.Add(name='sum')([inputs, x]))

    yield 'LayerScale of ConvNeXt', scaled, [(5, 5, 4)]

    def recurrent(layer):
        inputs = layers.Input((6, 4), name='steps')
        return keras.Model(inputs, layer(inputs))

    for name, make in {
        'Bidirectional GRU': lambda: recurrent(layers.Bidirectional(layers.GRU(2), name='both')),
        'Bidirectional GRU of sequences': lambda: recurrent(layers.Bidirectional(
            layers.GRU(2, return_sequences=True), backward_layer=layers.GRU(2, return_sequences=True, go_backwards=True),
            name='both')),
        'Bidirectional RNN': lambda: recurrent(layers.Bidirectional(layers.RNN(layers.LSTMCell(2)), name='both')),
        **{f'RNN of {cell}': (lambda cell=cell: recurrent(layers.RNN(getattr(layers, cell)(2), name='rnn')))
           for cell in ['SimpleRNNCell', 'GRUCell', 'LSTMCell']},
        'RNN of a list': lambda: recurrent(layers.RNN(
            [layers.LSTMCell(3), layers.GRUCell(2, reset_after=False), layers.GRUCell(4), layers.SimpleRNNCell(3)],
            return_sequences=True, go_backwards=True, name='rnn')),
        'RNN of a stack': lambda: recurrent(layers.RNN(
            layers.StackedRNNCells([layers.GRUCell(3, name='one'), layers.GRUCell(3, name='two')]), name='rnn')),
        'RNN of a cell with states': lambda: recurrent(layers.RNN(layers.LSTMCell(2), return_state=True, name='rnn')),
        'RNN of cells with dropout': lambda: recurrent(layers.RNN(
            [layers.LSTMCell(3, dropout=0.5), layers.GRUCell(2, recurrent_dropout=0.5)], name='rnn')),
        'RNN of cells with states': lambda: recurrent(layers.RNN(
            [layers.LSTMCell(3), layers.GRUCell(2)], return_state=True, name='rnn')),
        'RNN of nested stacks': lambda: recurrent(layers.RNN(
            [layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)]), layers.GRUCell(3)], name='rnn')),
    }.items():
        yield f'recurrent: {name}', make, [(6, 4)]
    for name, compute in {
        'x + 3': lambda x: x + 3.0, '3 + x': lambda x: 3.0 + x, 'x - 3': lambda x: x - 3.0, '3 - x': lambda x: 3.0 - x,
        'x * 2': lambda x: x * 2.0, 'x / 2': lambda x: x / 2.0, '2 / x': lambda x: 2.0 / (x + 10.0), '-x': lambda x: -x,
        'x ** 2': lambda x: x ** 2.0, 'x + x': lambda x: x + x, 'x - 2 x': lambda x: x - x * 2.0, 'x * x': lambda x: x * x,
        'x / (x + 9)': lambda x: x / (x + 9.0), 'relu6(x + 3) / 6': lambda x: layers.ReLU(6.0, name='six')(x + 3.0) * (1 / 6),
        'x + list': lambda x: x + [1.0, 2.0, 3.0, 4.0, 5.0],
    }.items():
        yield f'operation: {name}', lambda compute=compute: numbers(compute), [(5,)]
    mobile, efficient = [
        importlib.import_module(f'{keras.__name__}.src.applications.{name}') for name in ['mobilenet_v3', 'efficientnet']]

    def mobilenet():
        x = inputs = layers.Input((8, 8, 3), name='image')
        x = layers.Conv2D(8, 3, padding='same', name='stem')(layers.Rescaling(1 / 127.5, offset=-1.0, name='rescaling')(x))
        for block, stride in [(1, 2), (2, 1)]:
            x = mobile._inverted_res_block(x, 2, 8, 3, stride, 0.25, mobile.hard_swish, block)
        x = layers.GlobalAveragePooling2D(keepdims=True, name='pool')(x)
        return keras.Model(inputs, layers.Flatten(name='flat')(layers.Conv2D(3, 1, name='head')(x)))

    yield 'blocks of MobileNetV3', mobilenet, [(8, 8, 3)]
    yield 'a small EfficientNet', lambda: efficient.EfficientNet(
        0.05, 0.05, 32, weights=None, classes=3, depth_divisor=2, blocks_args=[
            {**args, 'filters_in': 4, 'filters_out': 4, 'expand_ratio': min(args['expand_ratio'], 2), 'repeats': 1}
            for args in efficient.DEFAULT_BLOCKS_ARGS[:4]]), [(32, 32, 3)]
