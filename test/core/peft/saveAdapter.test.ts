import * as tf from '@tensorflow/tfjs';
import {applyLoRA, LoRAError, saveAdapter} from '../../../src/index';
import {mlp} from '../../models';

test.each([
  ['a path', 'out'],
  ['a handler', tf.io.withSaveHandler(() => Promise.reject(new Error('not called')))],
])('a page saves no folder of PEFT, and names what returns the files, for %s', async (_, place) => {
  const model = applyLoRA(mlp().model, {rank: 1});
  const saving = saveAdapter(model, place, {format: 'peft'});
  await expect(saving).rejects.toThrow(LoRAError);
  await expect(saving).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
  await expect(saving).rejects.toThrow('Elsewhere exportPEFT(model) returns the contents of its files.');
});

test('an unknown format is refused with those that there are', async () => {
  const model = applyLoRA(mlp().model, {rank: 1});
  await expect(saveAdapter(model, 'out', {format: 'PEFT' as 'peft'})).rejects.toThrow(
    'format must be "tfjs", "safetensors" or "peft", got "PEFT".',
  );
});
