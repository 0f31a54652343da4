import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, getAdapter, type LoRAConfig, mergeLoRA, removeLoRA, setAdapter} from 'tfjs-lora';
import {embed, loadTransformer, type Tokenizer} from 'tfjs-lora/transformers';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {describeUnless, pretrained} from '../../missing';

/**
 * What ONNX Runtime computed with the same file, and with an update that was added to its matrices
 * (`test/python/make_paraphrase.py`).
 */
interface Expectation {
  ids: number[][];
  mask: number[][];
  rank: number;
  alpha: number;
  base: number[][];
  adapted: number[][];
}

const EXPECTED = JSON.parse(readFileSync(join(__dirname, '../../fixtures/paraphrase.json'), 'utf8')) as Expectation;
const WIDTH = 384;
/** As sentence-transformers has it on the hub. The file itself has no config. */
const CONFIG = {
  architectures: ['BertModel'],
  model_type: 'bert',
  vocab_size: 30522,
  max_position_embeddings: 512,
  type_vocab_size: 2,
  num_hidden_layers: 3,
  hidden_size: WIDTH,
  num_attention_heads: 12,
  intermediate_size: 1536,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
};
const QUERY_AND_VALUE: LoRAConfig = {
  rank: EXPECTED.rank,
  alpha: EXPECTED.alpha,
  targets: [/self\/query$/, /self\/value$/],
  seed: 1,
};

/** The numbers that `make_paraphrase.py` makes too. */
function pattern(shape: [number, number], period: number, divisor = 1): tf.Tensor2D {
  const values = Array.from({length: shape[0] * shape[1]}, (_, i) => (((i * 7) % period) / period - 0.5) / divisor);
  return tf.tensor2d(values, shape);
}

function inputs(): tf.Tensor2D[] {
  return [tf.tensor2d(EXPECTED.ids, undefined, 'int32'), tf.tensor2d(EXPECTED.mask, undefined, 'int32')];
}

function predicted(model: tf.LayersModel): number[] {
  return tf.tidy(() => numbers(model.predict(inputs()) as tf.Tensor));
}

/** Agreement to 2e-5 of the largest number. */
function expectClose(actual: number[], expected: number[][]): void {
  const largest = Math.max(...expected.flat().map(Math.abs));
  expect(actual).toBeAllClose(expected.flat(), {rtol: 0, atol: 2e-5 * largest});
}

const {folder, missing} = pretrained('paraphrase');

describeUnless(missing, 'paraphrase-MiniLM-L3, read from ONNX', () => {
  let model: tf.LayersModel;

  beforeAll(async () => {
    await useBackend('wasm');
    const file = readdirSync(folder).find(name => name.endsWith('.onnx'))!;
    model = (await loadTransformer({config: CONFIG, weights: join(folder, file), pooling: 'mean'})).model;
  });

  afterAll(() => disposeModel(model));

  test('has the weights of a BERT of three layers, and no others', () => {
    const embeddings = (30_522 + 512 + 2 + 2) * WIDTH;
    const attention = 4 * (WIDTH + 1) * WIDTH;
    const feedForward = (WIDTH + 1) * 1536 + (1536 + 1) * WIDTH;
    expect(model.countParams()).toBe(embeddings + 3 * (attention + feedForward + 4 * WIDTH));
  });

  test('embeds texts of mixed length, and a row of padding, as ONNX Runtime does', () => {
    expectClose(predicted(model), EXPECTED.base);
  });

  test('embeds them in batches of any size', async () => {
    const texts = EXPECTED.mask.slice(0, -1).map((_, i) => String(i));
    const tokenizer: Pick<Tokenizer, 'encode'> = {
      encode: text => ({
        ids: EXPECTED.ids[Number(text)]!.filter((_, position) => EXPECTED.mask[Number(text)]![position] === 1),
      }),
    };
    for (const batchSize of [1, 4]) {
      const embedded = await embed(model, tokenizer, texts, {batchSize, normalize: false});
      expectClose(numbers(embedded), EXPECTED.base.slice(0, -1));
      embedded.dispose();
    }
  });

  test('computes with an adapter, and merged, what ONNX Runtime computes with the changed matrices', async () => {
    await withoutLeaks(() => {
      const adapted = applyLoRA(model, QUERY_AND_VALUE);
      expect(predicted(adapted)).toEqual(predicted(model));
      const adapter = getAdapter(adapted);
      const tensors = Object.fromEntries(
        Object.keys(adapter.tensors).map(name => [
          name,
          name.endsWith('lora_A') ? pattern([WIDTH, EXPECTED.rank], 11) : pattern([EXPECTED.rank, WIDTH], 13, 16),
        ]),
      );
      expect(Object.keys(tensors)).toHaveLength(12);
      setAdapter(adapted, {...adapter, tensors});
      expectClose(predicted(adapted), EXPECTED.adapted);
      const merged = mergeLoRA(adapted);
      expectClose(predicted(merged), EXPECTED.adapted);
      tf.dispose([adapter.tensors, tensors]);
      [merged, adapted].forEach(disposeModel);
    });
  });

  test('learns by one step of LoRA, and keeps what it learned when it is merged', async () => {
    await withoutLeaks(async () => {
      const before = predicted(model);
      const adapted = applyLoRA(model, QUERY_AND_VALUE);
      const optimizer = adam({learningRate: 1e-3});
      adapted.compile({optimizer, loss: 'meanSquaredError'});
      const given = inputs();
      // Each text should move to where the next one is.
      const targets = tf.tensor2d([...EXPECTED.base.slice(1), EXPECTED.base[0]!]);
      const loss = () => tf.tidy(() => numbers(adapted.evaluate(given, targets) as tf.Scalar)[0]!);
      const first = loss();
      await adapted.fit(given, targets, {epochs: 1, batchSize: given[0]!.shape[0], verbose: 0});
      expect(loss()).toBeLessThan(first);
      const learned = predicted(adapted);
      const merged = mergeLoRA(adapted);
      const removed = removeLoRA(adapted);
      expectClose(predicted(merged), [learned]);
      expect(predicted(removed)).toEqual(before);
      optimizer.dispose();
      tf.dispose([...given, targets]);
      [removed, merged, adapted].forEach(disposeModel);
    });
  });
});
