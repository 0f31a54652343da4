import keras
from data import base, xs, ys

model = keras.saving.load_model(base)
for layer in model.layers:
    layer.enable_lora(2)
model.compile(keras.optimizers.Adam(1e-2), "mse")
model.fit(xs, ys, epochs=3, callbacks=[keras.callbacks.BackupAndRestore("run")])
