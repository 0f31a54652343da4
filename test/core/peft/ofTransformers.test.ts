import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter, LoRAError, mergeLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {fixture} from '../../extensions/transformers/fixtures';
import {expectedOf, peftFiles, readText} from '../../peftNetworks';

const CLOSE = {rtol: 2e-5, atol: 2e-5};

async function load(name: string): Promise<tf.LayersModel> {
  const {config, weights} = fixture(name);
  return (await loadTransformer({config, weights})).model;
}

/** The logits that a model gives for the tokens of an adapter's fixture. */
function logits(model: tf.LayersModel, name: string): number[] {
  const {ids} = JSON.parse(readText('made', name, 'expected.json')) as {ids: number[][]};
  return tf.tidy(() => {
    const tokens = tf.tensor2d(ids, undefined, 'int32');
    return Array.from((model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor).dataSync());
  });
}

const tensorsOf = (bytes: Uint8Array) =>
  [...decodeSafetensors(bytes).tensors].map(([name, {shape, data}]) => [name, shape, Array.from(data!)]).sort();

test.each([
  ['gpt2Saved', 'gpt2'],
  ['llamaEmbeddings', 'llama'],
])('%s, an adapter of PEFT, gives its outputs', async (name, base) => {
  await withoutLeaks(async () => {
    const model = await load(base);
    const adapter = await loadAdapter(peftFiles('made', name), {model});
    const adapted = applyLoRA(model, adapter);
    const merged = mergeLoRA(adapted);
    const {data} = expectedOf('made', name).y;
    expect(logits(adapted, name)).toBeAllClose(data, CLOSE);
    expect(logits(merged, name)).toBeAllClose(data, CLOSE);
    tf.dispose(adapter.tensors);
    [merged, adapted, model].forEach(disposeModel);
  });
});

describe("GPT-2's Conv1D as a whole module", () => {
  test('is exported as PEFT has it, from a model that was saved and loaded too', async () => {
    const model = await load('gpt2');
    const files = peftFiles('made', 'gpt2Saved');
    const adapted = applyLoRA(model, await loadAdapter(files, {model}));
    const loaded = await reloaded(adapted);
    for (const each of [adapted, loaded]) {
      const {weights, config} = await exportPEFT(each);
      expect(tensorsOf(weights)).toEqual(tensorsOf(files.weights));
      expect(config.fan_in_fan_out).toBe(true);
    }
  });

  test('is known in a part of a model and in a merged one', async () => {
    const model = await load('gpt2');
    const files = peftFiles('made', 'gpt2Saved');
    const merged = mergeLoRA(applyLoRA(model, await loadAdapter(files, {model})));
    const part = tf.model({
      inputs: merged.inputs,
      outputs: merged.getLayer('transformer/h/1/mlp/c_fc').output,
    });
    const {tensors} = await loadAdapter(files, {model: part});
    const stored = decodeSafetensors(files.weights).tensors;
    const kernel = tensors['transformer/h/1/attn/c_proj/kernel']!;
    expect(Array.from(kernel.dataSync())).toEqual(
      Array.from(stored.get('base_model.model.transformer.h.1.attn.c_proj.weight')!.data!),
    );
  });

  test('is refused where a Dense layer does not say whether it is one, and both would fit', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 72, inputShape: [24], name: 'c_attn'}),
        tf.layers.dense({units: 24, name: 'wide'}),
        tf.layers.dense({units: 24, name: 'c_proj'}),
      ],
    });
    const read = () =>
      loadAdapter(peftFiles('made', 'gpt2Saved'), {
        model,
        keyMap: name => (name.startsWith('transformer.h.0.attn') ? name.split('.').at(-1) : null),
      });
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(/h\.0\.attn\.c_proj: The weight is square/);
  });

  test('has no updates by LoHa and LoKr in PEFT', async () => {
    const model = await load('gpt2');
    const adapted = applyLoRA(model, {rank: 1, method: 'loha', targets: [/c_fc$/]});
    await expect(exportPEFT(adapted)).rejects.toThrow(
      "transformer/h/0/mlp/c_fc: PEFT has no updates of GPT-2's Conv1D by the method loha",
    );
  });
});

describe('weights of the base in a file of PEFT', () => {
  test('that are not those of the model are refused by name', async () => {
    const model = await load('llama');
    const {config, weights} = peftFiles('made', 'llamaEmbeddings');
    const {tensors} = decodeSafetensors(weights);
    const name = 'base_model.model.model.embed_tokens.base_layer.weight';
    const changed = [...tensors].map(([key, {shape, data}]) => {
      return [key, {shape, data: key === name ? data!.map(value => value + 1e-3) : data!}] as const;
    });
    const read = () => loadAdapter({config, weights: encodeSafetensors(Object.fromEntries(changed))}, {model});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(
      /model\.embed_tokens: .*not the weight of this model.*save_embedding_layers=False/s,
    );
  });
});
