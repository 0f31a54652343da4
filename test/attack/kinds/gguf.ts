import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {type AttackKind, mustHold, type Parts} from '../kind';

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const FIXTURES = 'test/fixtures/gguf';

/** GGUF files, as bytes and as streams of unknown length; the header by itself too, where most is to be done. */
export const gguf: AttackKind = {
  name: 'a GGUF file',
  prepare() {
    const whole = ['llama', 'llama3', 'gemma3', 'gpt2'].flatMap((name): Parts[] => {
      const bytes = new Uint8Array(readFileSync(join(FIXTURES, `${name}.gguf`)));
      return [{file: bytes}, {header: bytes.slice(0, 2000), rest: bytes.slice(2000)}];
    });
    let turn = 0;
    return {
      whole,
      models: [],
      async use({file, header, rest}) {
        const parts = [file, header, rest].filter(part => part instanceof Uint8Array);
        const bytes = new Uint8Array(Buffer.concat(parts));
        const source = [bytes, new Blob([bytes]), new Response(bytes)][turn++ % 3]!;
        const {model, tokenizer} = await loadGGUF(source);
        try {
          // Not by tf.memory(): a graph of tfjs that pads may have left its sum of bytes no number.
          const held = model.weights.reduce((sum, weight) => sum + 4 * weight.read().size, 0);
          mustHold(held <= 5 * bytes.length, 'The model holds more than the file.');
          const {ids} = tokenizer.encode('hello 12 <think>');
          mustHold(
            ids.every(id => id < 320),
            'The tokenizer gives numbers that the model has no row for.',
          );
          tf.tidy(() => {
            (model.predict([tf.tensor2d([[1, 2]], undefined, 'int32'), tf.tensor2d([[1, 1]])]) as tf.Tensor).dataSync();
          });
        } finally {
          disposeModel(model);
        }
      },
    };
  },
};
