import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {TRANSFORMERS} from '../../extensions/onnx/transformers';
import {type AttackKind, type Json, mustHold} from '../kind';

/** `config.json`, and an ONNX file whose tensors are found by their names in PyTorch. */
export const onnxTransformer: AttackKind = {
  name: 'config.json and an ONNX file of a transformer',
  prepare: () => ({
    whole: TRANSFORMERS.slice(0, 2).map(({config, file}) => ({config: config as Json, file})),
    models: [],
    async use({config, file}) {
      const text = config instanceof Uint8Array ? new TextDecoder().decode(config) : JSON.stringify(config);
      const weights = file as Uint8Array;
      const {model} = await loadTransformer({config: text, weights, tokenizer: false});
      try {
        const held = model.weights.reduce((sum, weight) => sum + weight.read().size, 0);
        mustHold(held <= weights.length, 'The model holds more than the file.');
        tf.tidy(() => {
          (model.predict([tf.tensor2d([[1, 2]], undefined, 'int32'), tf.tensor2d([[1, 1]])]) as tf.Tensor).dataSync();
        });
      } finally {
        disposeModel(model);
      }
    },
  }),
};
