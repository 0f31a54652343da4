import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  compileModel,
  disposeModel,
  fitOnFeatures,
  type LoRAConfig,
  trainableVariables,
} from 'tfjs-lora';
import {encodeImages, encodePatches} from 'tfjs-lora/images';
import {loadTransformer} from 'tfjs-lora/transformers';
import {rasterise} from '../shared/drawings';
import {overSeeds, percent, table} from '../shared/report';
import {choose, DRAWINGS, KINDS} from './data';
import {SETTINGS} from './learn';

/** The edge of drawings, which the model's preprocessor resizes. */
const EDGE = 224;

/**
 * What trains: the new head alone, or LoRA in the layers that `applyLoRA` chooses too, except where patches become
 * vectors: `fitOnFeatures` needs a first layer that does not train.
 */
const WAYS: Record<'probe' | 'lora', LoRAConfig> = {
  probe: {targets: 'head', trainInFull: [/^classifier/]},
  lora: {rank: 8, alpha: 16, exclude: [({name}) => name.endsWith('patch_embedding')]},
};

/** Compares a new head alone with LoRA, for an image encoder of the hub in a folder. */
export async function compareIn(folder: string, seeds: readonly number[], counts: {train: number; test: number}) {
  await tf.setBackend('wasm');
  tf.enableProdMode();
  const {model: base} = await loadTransformer(folder, {labels: KINDS});
  const rows: string[][] = [['', 'accuracy', 'each seed', 'trainable']];
  for (const way of ['probe', 'lora'] as const) {
    const shares: number[] = [];
    let trainable = 0;
    for (const seed of seeds) {
      const {train, test} = choose(counts, seed);
      const model = applyLoRA(base, {...WAYS[way], seed});
      trainable = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
      const [seen, held] = [await pixelsOf(model, train), await pixelsOf(model, test)];
      const labels = tf.tensor1d(train.map(i => DRAWINGS[i]!.label));
      const {rate, epochs} = SETTINGS[way];
      compileModel(model, {optimizer: adam({learningRate: rate})});
      await fitOnFeatures(model, seen, labels, {epochs, batchSize: 8, verbose: 0});
      const guessed = tf.tidy(() => tf.argMax(model.predict(held, {batchSize: 8}) as tf.Tensor, -1).arraySync());
      const right = test.filter((drawing, i) => (guessed as number[])[i] === DRAWINGS[drawing]!.label).length;
      shares.push(right / test.length);
      console.log(`${way}, seed ${seed}: ${percent(shares.at(-1)!)}`);
      tf.dispose([seen, held, labels]);
      disposeModel(model);
    }
    const name = way === 'probe' ? 'a new head alone' : 'LoRA';
    rows.push([name, ...overSeeds(shares), trainable.toLocaleString('en')]);
  }
  console.log(`\n${table(rows)}`);
  disposeModel(base);
}

/** The inputs of a model: images, or in SigLIP 2 NaFlex their patches. */
async function pixelsOf(model: tf.LayersModel, drawings: readonly number[]): Promise<tf.Tensor[]> {
  const data = drawings.map(i => Uint8Array.from(rasterise(DRAWINGS[i]!.body, EDGE)));
  const images = data.map(each => ({data: each, width: EDGE, height: EDGE}));
  if (model.inputs.length === 1) {
    return [await encodeImages(model, images)];
  }
  const {pixelValues, pixelAttentionMask, spatialShapes} = await encodePatches(model, images);
  return [pixelValues, pixelAttentionMask, spatialShapes];
}
