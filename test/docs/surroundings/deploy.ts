import * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT} from '../../../src';
import {toONNX} from '../../../src/onnx';

export const published = 'https://example.com/model_q4.onnx';

const base = tf.sequential({layers: [tf.layers.dense({name: 'fc', units: 4, inputShape: [3]})]});

export async function files(): Promise<Record<string, string | Uint8Array>> {
  const {config, weights} = await exportPEFT(applyLoRA(base, {rank: 2}));
  return {
    [published]: await toONNX(base),
    'out/peft-adapter/adapter_config.json': JSON.stringify(config),
    'out/peft-adapter/adapter_model.safetensors': weights,
  };
}
