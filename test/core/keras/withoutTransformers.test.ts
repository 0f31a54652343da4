import {loadKerasModel} from 'tfjs-lora';
import {useBackend, withoutLeaks} from '../../helpers';
import {artifactsOf, handlerOf} from './converted';

test('attention says what has to be imported', async () => {
  await useBackend('cpu');
  const line = (name: string) =>
    `  "${name}" (MultiHeadAttention) is computed by Attention. Import it first: import 'tfjs-lora/transformers'.`;
  await withoutLeaks(async () => {
    await expect(loadKerasModel(handlerOf(artifactsOf('keras-3.15-h5-transformer')))).rejects.toThrow(
      ['The Keras model cannot be loaded:', line('attention'), line('crossed')].join('\n'),
    );
  });
});
