import keras
from data import folder, imageBase

body = keras.saving.load_model(imageBase)
body.trainable = False
model = keras.Sequential([*body.layers[:-1], keras.layers.Dense(2)])
data = keras.utils.image_dataset_from_directory(folder, image_size=(8, 8))
model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(data, epochs=3)
