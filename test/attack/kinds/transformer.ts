import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';
import {sameNumbers} from './models';
import {fileOf, partsOf} from './safetensorsParts';

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const FIXTURES = 'test/fixtures/transformers';

/** `config.json` and `model.safetensors` of a transformer, from bytes and as a stream. */
export const transformer: AttackKind = {
  name: 'config.json and model.safetensors of a transformer',
  prepare() {
    const whole = ['bertClasses', 'gpt2', 'llamaScaled'].flatMap((name): Parts[] => {
      const bytes = new Uint8Array(readFileSync(join(FIXTURES, name, 'model.safetensors')));
      const config = JSON.parse(readFileSync(join(FIXTURES, name, 'config.json'), 'utf8')) as Json;
      return [
        {config, ...partsOf(bytes)},
        {config, file: bytes},
      ];
    });
    let turn = 0;
    return {
      whole,
      models: [],
      async use({config, ...rest}) {
        const bytes = new Uint8Array(fileOf(rest));
        const weights = turn++ % 2 === 0 ? bytes : new Blob([bytes]);
        const text = config instanceof Uint8Array ? new TextDecoder().decode(config) : JSON.stringify(config);
        const {model} = await loadTransformer({config: text, weights});
        try {
          // What was loaded is what the file says of it, and can be used.
          const {tensors} = decodeSafetensors(bytes);
          for (const layer of model.layers.filter(({weights: own}) => own.length > 0)) {
            const table = tensors.get(`${layer.name.replaceAll('/', '.')}.weight`);
            const [first] = layer.getWeights();
            if (layer.getClassName() === 'Embedding' && table?.data && first) {
              mustHold(sameNumbers(first.dataSync(), table.data), `${layer.name} is not what the file says.`);
            }
          }
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
