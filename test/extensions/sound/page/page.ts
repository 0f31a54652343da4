// What the check of Whisper in a browser calls: LoRA steps on the WASM backend.

import * as tf from '@tensorflow/tfjs';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, compileModel} from '../../../../src/index';
import {loadTransformer} from '../../../../src/transformers';

declare global {
  interface Window {
    /** Trains the model at `/model/` on a clip of zeros, and returns the losses. */
    trainSteps: (steps: number, tokens: number[]) => Promise<number[]>;
    isReady: boolean;
  }
}

window.trainSteps = async (steps, tokens) => {
  setWasmPaths('/wasm/');
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const {model} = await loadTransformer(new URL('/model', location.href), {tokenizer: false});
  const adapted = applyLoRA(model, {rank: 8, targets: [/(q|v)_proj$/], seed: 1});
  compileModel(adapted, {optimizer: adam({learningRate: 1e-3})});
  const inputs = [tf.zeros([1, 3000, 80]), tf.tensor2d([tokens.slice(0, -1)], undefined, 'int32')];
  const targets = tf.tensor2d([tokens.slice(1)], undefined, 'int32');
  const losses: number[] = [];
  for (let i = 0; i < steps; i++) {
    losses.push((await adapted.trainOnBatch(inputs, targets)) as number);
  }
  return losses;
};
window.isReady = true;
