"""Writes how Keras trains a small model with sample weights, for `test/core/training/losses.test.ts`:

python test/python/make_weighted_keras.py > test/fixtures/weightedFits.json
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np

rng = np.random.default_rng(5)


def rounded(values):
    return np.round(np.asarray(values, dtype="float64"), 7).tolist()


X = np.array(rounded(rng.normal(size=(7, 3))), dtype="float32")
WEIGHTS = np.array([1, 0, 2.5, 0.5, 1, 3, 0.25], dtype="float32")


def case(loss, outputs, activation, targets, shape=(3,)):
    inputs = X.reshape(7, *shape)
    model = keras.Sequential([keras.Input(shape), keras.layers.Dense(outputs, activation=activation)])
    kernel, bias = np.array(rounded(rng.normal(size=(shape[-1], outputs))), "float32"), np.zeros(outputs, "float32")
    model.layers[0].set_weights([kernel, bias])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, metrics=["mae"] if loss == "mean_squared_error" else [])
    # Keras multiplies [batch, positions] by [batch] along the wrong axis.
    weights = WEIGHTS if targets.ndim < 3 else np.repeat(WEIGHTS[:, None], targets.shape[1], axis=1)
    before = model.evaluate(inputs, targets, sample_weight=weights, batch_size=3, verbose=0)
    history = model.fit(inputs, targets, sample_weight=weights, batch_size=3, epochs=2, shuffle=False, verbose=0).history
    trained = model.layers[0].get_weights()
    return {
        "shape": list(shape),
        "outputs": outputs,
        "targets": {"shape": list(targets.shape), "values": targets.flatten().tolist()},
        "kernel": kernel.flatten().tolist(),
        "evaluated": before,
        "losses": history["loss"],
        "trained": {"kernel": rounded(trained[0].flatten()), "bias": rounded(trained[1])},
    }


one_hot = np.eye(4, dtype="float32")[[0, 3, 1, 2, 2, 0, 3]]
result = {
    "versions": {"keras": keras.__version__},
    "x": X.flatten().tolist(),
    "weights": WEIGHTS.tolist(),
    "meanSquaredError": case("mean_squared_error", 2, None, np.array(rounded(rng.normal(size=(7, 2))), "float32")),
    "meanAbsoluteError": case("mean_absolute_error", 2, None, np.array(rounded(rng.normal(size=(7, 3, 2))), "float32"), (3, 1)),
    "categoricalCrossentropy": case("categorical_crossentropy", 4, "softmax", one_hot),
    "sparseCategoricalCrossentropy": case("sparse_categorical_crossentropy", 4, "softmax", one_hot.argmax(-1)),
    "binaryCrossentropy": case("binary_crossentropy", 1, "sigmoid", np.array([0, 1, 1, 0, 1, 0, 0], "float32")[:, None]),
}
json.dump(result, sys.stdout, separators=(",", ":"))
print()
