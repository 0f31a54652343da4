import {disposeModel} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {fixture} from './fixtures';
import {useBackend} from '../../helpers';

beforeAll(() => useBackend('cpu'));

const {config, weights} = fixture('bert');

// As in a project that did not install them.
jest.mock('@huggingface/tokenizers', () => {
  throw new Error("Cannot find package '@huggingface/tokenizers'");
});

test('without @huggingface/tokenizers a model loads, and its tokenizer says what to install', async () => {
  const tokenizer = new Blob(['{}']);
  const loading = loadTransformer({config, weights, tokenizerJson: tokenizer});
  await expect(loading).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
  await expect(loading).rejects.toThrow('npm install @huggingface/tokenizers');
  const loaded = await loadTransformer({config, weights});
  disposeModel(loaded.model);
  expect(() => loaded.tokenizer).toThrow('Pass {tokenizerJson}');
});
