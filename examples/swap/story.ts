import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  predictWith,
  scaleAdapter,
  setAdapter,
  withAdapter,
} from 'tfjs-lora';
import {type Digits, loadDigits, type Style, styled, STYLES} from '../shared/digits';
import {accuracy, network, train} from '../shared/network';

/** The amounts of data, and the epochs. */
export interface Scale {
  /** Digits of each kind to train on. */
  train: number;
  /** Digits of each kind to measure with. */
  test: number;
  epochs: number;
}

export const FULL: Scale = {train: 200, test: 100, epochs: 8};

const SEED = 11;

/** The results: accuracies in percent, by adapter and then by the style of the digits. */
export interface Outcome {
  base: tf.LayersModel;
  adapters: Record<Style, Adapter>;
  table: Record<string, Record<string, number>>;
  /** The accuracy on a batch of all styles, each digit with the adapter of its style. */
  mixed: number;
}

export const styles = Object.keys(STYLES) as Style[];

/**
 * Trains a base on plain digits and an adapter for each style. Then measures the base, each adapter, blends, and
 * strengths on digits of each style, with one model in memory.
 */
export async function swap(
  scale: Scale,
  log: (line: string) => void = () => undefined,
  progress?: (label: string) => tf.Callback,
): Promise<Outcome> {
  const plain = loadDigits(0, scale.train);
  const held = loadDigits(scale.train, scale.test);
  const tests: Record<string, Digits> = {plain: held};
  styles.forEach(style => (tests[style] = styled(held, style)));

  // 1. A base that knows only plain digits.
  const base = network(SEED);
  const callbacks = (label: string) => progress && {callbacks: progress(label)};
  await train(base, plain, {rate: 2e-3, epochs: scale.epochs, ...callbacks('base')});
  log(`base: ${accuracy(base, held).toFixed(1)} % accuracy on plain digits`);

  // 2. One adapted model in memory. Training for each style starts from the base and gives an adapter.
  const model = applyLoRA(base, {rank: 4, alpha: 8, seed: SEED});
  const start = getAdapter(model);
  const adapters = {} as Record<Style, Adapter>;
  for (const style of styles) {
    setAdapter(model, start);
    const lesson = styled(plain, style);
    await train(model, lesson, {rate: 4e-3, epochs: scale.epochs, ...callbacks(style)});
    lesson.images.dispose(); // the labels are those of the plain digits
    adapters[style] = getAdapter(model);
  }
  start.dispose();

  // 3. Adapters are switched at run time, and blended: a sum or a scaled adapter is an adapter too.
  const equal = (weight: number) => styles.map(style => ({adapter: adapters[style], weight}));
  const blends: Record<string, Adapter | null> = {
    base: null,
    ...adapters,
    'half rotated': scaleAdapter(adapters.rotated, 0.5),
    'rotated + mirrored': await combineAdapters(equal(1).slice(0, 2)),
    'all, a third each': await combineAdapters(equal(1 / 3)),
    'the same, by svd to rank 4': await combineAdapters(equal(1 / 3), {rank: 4}),
    'all, by ties': await combineAdapters(equal(1), {method: 'ties', density: 0.3, rank: 4}),
  };
  const table: Outcome['table'] = {};
  for (const [name, adapter] of Object.entries(blends)) {
    table[name] = withAdapter(model, adapter, () =>
      Object.fromEntries(Object.entries(tests).map(([style, digits]) => [style, accuracy(model, digits)])),
    );
  }

  // 4. A batch of all styles, each digit with its own adapter.
  const mixed = mixedAccuracy(model, tests, adapters);

  for (const [name, adapter] of Object.entries(blends)) {
    if (!styles.some(style => style === name)) {
      adapter?.dispose();
    }
  }
  disposeModel(model);
  tf.dispose([plain, ...Object.values(tests)].flatMap(({images, labels}) => [images, labels]));
  return {base, adapters, table, mixed};
}

/** The styles take turns in the batch, and each digit is predicted with the adapter of its style. */
function mixedAccuracy(
  model: tf.LayersModel,
  tests: Record<string, Digits>,
  adapters: Record<string, Adapter>,
): number {
  const names = Object.keys(tests);
  const {labels} = tests.plain!;
  const turns = Array.from({length: labels.shape[0]}, (_, i) => names[i % names.length]!);
  return tf.tidy(() => {
    const rows = turns.map((name, i) => tf.slice(tests[name]!.images, i, 1));
    const own = turns.map(name => adapters[name] ?? null);
    const guesses = tf.argMax(predictWith(model, tf.concat(rows), own) as tf.Tensor, 1);
    return 100 * tf.mean(tf.cast(tf.equal(guesses, tf.argMax(labels, 1)), 'float32')).dataSync()[0]!;
  });
}
