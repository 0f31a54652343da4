// What a CommonJS program in Node writes.

import tf = require('@tensorflow/tfjs');
import lora = require('tfjs-lora');
import node = require('tfjs-lora/node');

export function adapt(): tf.LayersModel {
  const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
  const handler: tf.io.IOHandler = lora.fileHandler('adapter.json');
  const same: typeof lora.fileHandler = node.fileHandler;
  console.log(handler, same);
  return node.applyLoRA(base, {rank: 1});
}
