import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter} from 'tfjs-lora';
import {exportTransformer, loadTransformer, type TransformerOptions} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {atTokens, type Expectation, inputsOf} from './fixtures';

// A Gemma 3 that also takes images, of transformers and PEFT (`test/python/make_gemma3.py`).
const bytesOf = (file: string) => new Uint8Array(readFileSync(join('test/fixtures/gemma3Whole', file)));
const textOf = (file: string) => Buffer.from(bytesOf(file)).toString('utf8');
const CONFIG = JSON.parse(textOf('config.json')) as Record<string, unknown> & {text_config: Record<string, unknown>};
const WEIGHTS = bytesOf('model.safetensors');
const EXPECTED = JSON.parse(textOf('expected.json')) as Expectation;
const ADAPTER = {config: textOf('adapter_config.json'), weights: bytesOf('adapter_model.safetensors')};
const TEXT_PART = {architecture: 'Gemma3ForCausalLM'};
const CLOSE = {rtol: 2e-5, atol: 2e-5};

function predicted(model: tf.LayersModel): number[] {
  const values = tf.tidy(() => numbers(model.predict(inputsOf(EXPECTED)) as tf.Tensor));
  return atTokens(values, EXPECTED);
}

async function outputOf(
  config: Record<string, unknown>,
  weights: Uint8Array = WEIGHTS,
  options: TransformerOptions = TEXT_PART,
) {
  const {model} = await loadTransformer({config, weights, ...options});
  const values = predicted(model);
  disposeModel(model);
  return values;
}

/** The file with other names of tensors. */
function renamed(rename: (name: string) => string): Uint8Array {
  const tensors = [...decodeSafetensors(WEIGHTS).tensors];
  return encodeSafetensors(
    Object.fromEntries(tensors.map(([name, {shape, data}]) => [rename(name), {shape, data: data!}])),
  );
}

describe('the text part of a Gemma 3 that takes images', () => {
  test('gives the logits of PyTorch, and with the adapter of PEFT those of PEFT', async () => {
    await withoutLeaks(async () => {
      const {model, config} = await loadTransformer({config: CONFIG, weights: WEIGHTS, ...TEXT_PART});
      expect(config).toMatchObject({model_type: 'gemma3_text', architectures: ['Gemma3ForCausalLM']});
      expect(predicted(model)).toBeAllClose(atTokens(EXPECTED.base, EXPECTED), CLOSE);
      const keyMap = (module: string) => module.replace('language_model.', '').replaceAll('.', '/');
      const adapter = await loadAdapter(ADAPTER, {model, keyMap});
      const adapted = applyLoRA(model, adapter);
      expect(predicted(adapted)).toBeAllClose(atTokens(EXPECTED.adapted, EXPECTED), CLOSE);
      const written = await exportPEFT(adapted, {
        keyMap: path => path.replace(/^model/, 'model/language_model').replaceAll('/', '.'),
      });
      const [own, theirs] = [written.weights, ADAPTER.weights].map(each => decodeSafetensors(each).tensors);
      expect(new Map([...own!].sort())).toEqual(new Map([...theirs!].sort()));
      adapter.dispose();
      disposeModel(adapted);
      disposeModel(model);
    });
  });
});

describe('the text part of a Gemma 3 that takes images', () => {
  beforeAll(() => useBackend('cpu'));

  test('is loaded by default, which a warning says, and not where it was chosen', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const wanted = await outputOf(CONFIG);
    expect(warn).not.toHaveBeenCalled();
    expect(await outputOf(CONFIG, WEIGHTS, {})).toEqual(wanted);
    expect(warn.mock.calls).toEqual([
      ['The model also takes images, but only its text part is loaded, as by {architecture: "Gemma3ForCausalLM"}.'],
    ]);
  });

  test('is read under the names of its modules in transformers 5, and those of published files', async () => {
    const wanted = await outputOf(CONFIG);
    const inMemory = renamed(name => `model.${name.replace('language_model.model.', 'language_model.')}`);
    expect(await outputOf(CONFIG, inMemory)).toEqual(wanted);
    const published = renamed(name => name.replace('vision_tower.', 'vision_tower.vision_model.'));
    expect(await outputOf(CONFIG, published)).toEqual(wanted);
  });

  test('has the settings of a published config, which leaves out what is as in transformers', async () => {
    const wanted = await outputOf(CONFIG);
    const names = ['hidden_size', 'intermediate_size', 'head_dim', 'num_hidden_layers', 'num_attention_heads'];
    const sizes = [...names, 'num_key_value_heads', 'vocab_size', 'sliding_window', 'query_pre_attn_scalar'];
    const text = {
      ...Object.fromEntries(sizes.map(name => [name, CONFIG.text_config[name]])),
      model_type: 'gemma3_text',
      sliding_window_pattern: 2,
      rope_scaling: {factor: 8, rope_type: 'linear'},
      rope_theta: 40,
      rope_local_base_freq: 10,
    };
    const config = {architectures: CONFIG.architectures, model_type: 'gemma3', text_config: text};
    expect(await outputOf(config)).toEqual(wanted);
    const left = ['vocab_size', 'num_attention_heads', 'num_hidden_layers', 'hidden_size', 'intermediate_size'];
    const bare = Object.fromEntries(Object.entries(text).filter(([name]) => !left.includes(name)));
    const few = {...bare, num_hidden_layers: 2};
    await expect(outputOf({...config, text_config: few})).rejects.toThrow(
      'language_model.model.embed_tokens.weight: shape [13, 8] in the file, [262208, 2304] by the config',
    );
    await expect(outputOf({...config, text_config: few})).rejects.toThrow('[48, 2304] by the config');
    await expect(outputOf({...config, text_config: few})).rejects.toThrow('[9216, 2304] by the config');
    // Of 26 blocks 24 are not in the file, with 13 tensors each. The error names 20 of the faults.
    await expect(outputOf({...config, text_config: bare})).rejects.toThrow(`and ${24 + 24 * 13 - 20} more`);
  });

  test('is exported as a text model, which gives the same', async () => {
    const wanted = await outputOf(CONFIG);
    const {model} = await loadTransformer({config: CONFIG, weights: WEIGHTS, ...TEXT_PART});
    const {config, weights} = await exportTransformer(model);
    disposeModel(model);
    expect([...decodeSafetensors(weights).tensors.keys()]).toContain('model.layers.1.self_attn.q_proj.weight');
    expect(JSON.parse(config)).toMatchObject({model_type: 'gemma3_text', tie_word_embeddings: true});
    expect(await outputOf(JSON.parse(config) as Record<string, unknown>, weights, {})).toEqual(wanted);
  });

  test('takes a new head for classes', async () => {
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const {model, config} = await loadTransformer({config: CONFIG, weights: WEIGHTS, labels: ['no', 'yes']});
    warn.mockRestore();
    expect(config.architectures).toEqual(['Gemma3TextForSequenceClassification']);
    expect(model.outputs[0]!.shape).toEqual([null, 2]);
  });

  test.each<[string, object, string]>([
    ['another text model', {text_config: {...CONFIG.text_config, model_type: 'llama'}}, 'model_type is "llama"'],
    ['no text model', {text_config: 3}, 'text_config must be an object, got 3'],
    [
      'attention to later tokens',
      {text_config: {...CONFIG.text_config, use_bidirectional_attention: true}},
      'use_bidirectional_attention is true',
    ],
    ['quantized weights', {quantization_config: {bits: 4}}, 'quantization_config is'],
  ])('is refused with %s', async (_, fields, message) => {
    await expect(outputOf({...CONFIG, ...fields})).rejects.toThrow(message);
  });

  test('is refused by another class of the whole model, and as the whole model', async () => {
    const named = {...CONFIG, architectures: ['Gemma3ForSequenceClassification']};
    await expect(outputOf(named, WEIGHTS, {})).rejects.toThrow(
      'The config names the class "Gemma3ForSequenceClassification", which is not supported.',
    );
    const architecture = 'Gemma3ForConditionalGeneration';
    await expect(outputOf(CONFIG, WEIGHTS, {architecture})).rejects.toThrow(
      'architecture must be one of Gemma3TextModel, Gemma3TextForSequenceClassification, Gemma3ForCausalLM',
    );
  });
});
