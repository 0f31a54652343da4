import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  disposeModel,
  getAdapter,
  loadAdapter,
  type LoRAConfig,
  mergeLoRA,
  removeLoRA,
  saveAdapter,
  setAdapter,
  trainableVariables,
} from 'tfjs-lora';
import {LoRALayer} from '../../../src/core/layers/loraLayer';
import {ACTIVATIONS, random} from '../../helpers';
import {MemoryHandler, reloaded, stir, stirFactors, stirUpdates} from '../../models';
import {type Case, difference, elsewhere, largestDifference, predicts, read, relativeDifference} from './case';
import {biasesOf, withValues} from '../../../src/platform/tfjs/weights';
import type {Activation, Kind} from './kinds';

/** An activation without a corner, so that finite differences converge. */
const SMOOTH: Activation = 'tanh';
/** One whose gradient comes from its output, and one across channels, whose gradient needs its input. */
const SAMPLE: Activation[] = ['relu', 'softmax'];

/**
 * The step of finite differences, in a direction of length 1 to 2, by the length of the gradient: where that is small,
 * the rounding of the outputs is most of what a small step sees; where it is large, so is the curvature.
 */
function stepFor(length: number): number {
  return Math.min(0.05, Math.max(0.01, 0.025 / Math.sqrt(length)));
}

/** Examples in a batch. */
const COUNT = 3;

type Shape = [number, number];

/** Under which activations a kind is tried: each where models merge and some elsewhere, some, or one. */
export type Range = 'every' | 'some' | 'one';

/** What every kind of layer has to do on every backend; with a method of its own, under one activation. */
export function casesOf(kind: Kind, range: Range = 'every'): Case[] {
  const {label = '', options} = kind;
  const some = label === '' && range !== 'one' ? [SMOOTH, ...SAMPLE] : [SMOOTH];
  const all = label === '' && range === 'every' ? ACTIVATIONS : some;
  const activations = kind.activates === false ? [undefined] : all;
  const sample = kind.activates === false ? [undefined] : some;
  const [smooth] = sample;
  const define = (behaviour: string, tolerance: number | [number, number | null], run: () => Promise<number>): Case => {
    const [whole, half] = [tolerance].flat();
    return {
      behaviour: label + behaviour,
      kind: kind.name,
      tolerance: whole ?? 0,
      ...(half !== undefined && {halfTolerance: half}),
      run,
    };
  };
  return [
    define('a new adapter changes nothing, bit for bit', 0, () => worst(sample, one => exactAtBirth(kind, one))),
    // Sums in another order: float32 has 6e-8, and a gradient adds up some hundred products, twice over. float16 has
    // 5e-4, which carries a number or two across the corner of a relu.
    ...(label === '' || options?.dropout !== undefined
      ? [
          define('gradients match those of the cpu backend', [1e-5, 5e-2], () =>
            worst(sample, one => gradientsAsOnCpu(kind, one)),
          ),
        ]
      : // Of the largest of all.
        [
          define('gradients match those of the stock layer with the updated weights', [1e-5, 5e-2], () =>
            worst(sample, one => gradientsAsStock(kind, one)),
          ),
        ]),
    // Of the gradient's length. Rounding of the outputs, 1e-7, over the step, some 2e-2, is 1e-5 of an output's size;
    // there are more of these than there is gradient. With float16 the rounding is all there is.
    ...(label === '' || (options?.dropout !== undefined && options.method === undefined)
      ? [define('gradients match finite differences', [1e-3, null], () => gradientsAsDifferences(kind, smooth))]
      : []),
    define('a training step changes the factors and no bit of the frozen weights', 0, () =>
      stepMovesFactorsAlone(kind, smooth),
    ),
    // `x·W + (x·A)·B` against `x·(W + A·B)`: the same numbers, rounded elsewhere.
    define('a merged model computes the same', [1e-5, 1e-2], () => worst(activations, one => merges(kind, one))),
    define('saved models and adapters load bit for bit', 0, () => savesAndLoads(kind, smooth)),
    define('no tensor or buffer leaks', [0, null], () => leaks(kind, smooth)),
  ];
}

async function worst<T>(items: readonly T[], run: (item: T) => Promise<number>): Promise<number> {
  let largest = 0;
  for (const item of items) {
    largest = Math.max(largest, await run(item));
  }
  return largest;
}

/** The layer, a second one of its kind where one can follow, and a head. */
function makeModel(kind: Kind, activation?: Activation): tf.LayersModel {
  const args = activation === undefined ? {} : {activation};
  const first = kind.layer({...args, name: 'first', inputShape: kind.inputShape});
  const second = kind.tokens === undefined ? [kind.layer({...args, name: 'second'})] : [];
  const head = [tf.layers.flatten({name: 'flat'}), tf.layers.dense({units: 3, name: 'head'})];
  const model = tf.sequential({layers: [first, ...second, ...head]});
  stir(model);
  return model;
}

/** Adapts all but the second layer, through which gradients have to find their way. */
function adapt(model: tf.LayersModel, {options}: Kind): tf.LayersModel {
  const adapted = applyLoRA(model, {targets: ['first', 'head'], ...configOf(options)});
  rewind(adapted);
  return adapted;
}

/** How a kind is adapted. IA³ has no rank. */
function configOf(options: Kind['options']): LoRAConfig {
  const hasRank = options?.method?.startsWith('ia3') !== true;
  return {...(hasRank && {rank: 2, alpha: 3}), seed: 1, ...options};
}

/** What moves the update away from its start. The factors of LoRA are all of an update; other methods have more. */
function stirOf({options}: Kind): (model: tf.LayersModel) => void {
  return options === undefined ? stirFactors : stirUpdates;
}

/** Lets the dropout of updates begin again, so that the next step has the same masks. */
function rewind(model: tf.LayersModel): void {
  for (const layer of model.layers) {
    if (layer instanceof LoRALayer) {
      layer.dropout.step = 0;
    }
  }
}

function makeInputs(kind: Kind): tf.Tensor {
  const shape = [COUNT, ...kind.inputShape] as Shape;
  return kind.tokens === undefined ? random(shape, 9) : tf.randomUniform(shape, 0, kind.tokens, 'int32', 9);
}

async function exactAtBirth(kind: Kind, activation?: Activation): Promise<number> {
  const base = makeModel(kind, activation);
  const x = makeInputs(kind);
  return difference(await predicts(adapt(base, kind), x), await predicts(base, x));
}

/** Gradients of Σ w·y in the input, where there is one, and in all that trains, at factors that are not zero. */
async function gradientsOf(kind: Kind, activation?: Activation): Promise<number[][]> {
  const model = adapt(makeModel(kind, activation), kind);
  stirOf(kind)(model);
  const x = makeInputs(kind);
  const f = (input: tf.Tensor) => {
    rewind(model);
    const y = model.apply(input, {training: true}) as tf.Tensor;
    return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as Shape, 8)));
  };
  const variables = trainableVariables(model);
  const gradients = tf.tidy(() => {
    const {grads} = tf.variableGrads(() => f(x), variables);
    return [...(kind.tokens === undefined ? [tf.grad(f)(x)] : []), ...variables.map(({name}) => grads[name]!)];
  });
  return read(gradients);
}

async function gradientsAsOnCpu(kind: Kind, activation?: Activation): Promise<number> {
  const expected = await elsewhere('cpu', () => gradientsOf(kind, activation));
  return relativeDifference(await gradientsOf(kind, activation), expected);
}

/**
 * The gradients of an adapted layer, and those of a stock layer that reads the updated weights in place of its own.
 * These are computed by public ops from the parameters, so that both are asked for the same.
 */
async function gradientsAsStock(kind: Kind, activation?: Activation): Promise<number> {
  const args = activation === undefined ? {} : {activation};
  const base = tf.sequential({layers: [kind.layer({...args, name: 'first', inputShape: kind.inputShape})]});
  stir(base);
  const model = applyLoRA(base, {targets: ['first'], ...configOf(kind.options)});
  stirOf(kind)(model);
  const layer = model.layers[0] as LoRALayer;
  const stock = layer.mergeToOriginalLayer();
  const x = makeInputs(kind);
  const own = (input: tf.Tensor) => model.apply(input, {training: true}) as tf.Tensor;
  const plain = (input: tf.Tensor) => {
    const kernels = layer.update.mergedKernels();
    const biases = biasesOf(layer.baseLayer).values();
    const values = [
      ...layer.adaptation.weights(stock).map(({variable}, i) => [variable, kernels[i]!] as const),
      ...[...biasesOf(stock).values()].map(bias => {
        const [value] = [biases.next().value!.read()];
        return [bias, layer.update.mergedBias(value)] as const;
      }),
    ];
    return withValues(values, () => stock.apply(input, {training: true}) as tf.Tensor);
  };
  const variables = trainableVariables(model);
  const [found, wanted] = [own, plain].map(compute => {
    const f = (input: tf.Tensor) => {
      const y = compute(input);
      return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as Shape, 8)));
    };
    return tf.tidy(() => {
      const {grads} = tf.variableGrads(() => f(x), variables);
      return [...(kind.tokens === undefined ? [tf.grad(f)(x)] : []), ...variables.map(({name}) => grads[name]!)];
    });
  });
  return relativeDifference([(await read(found!)).flat()], [(await read(wanted!)).flat()]);
}

/**
 * The difference of both in a direction that is half the gradient's own and half random, relative to the length of the
 * gradient. On a graphics card, which takes long to launch so many, the forward pass of the differences is on cpu, with
 * which it has to agree anyway. The gradient is always that of the backend.
 */
async function gradientsAsDifferences(kind: Kind, activation?: Activation): Promise<number> {
  const gradients = await gradientsOf(kind, activation);
  const backend = tf.getBackend();
  return elsewhere(backend.startsWith('web') ? 'cpu' : backend, async () => {
    const model = adapt(makeModel(kind, activation), kind);
    stirOf(kind)(model);
    const x = tf.variable(makeInputs(kind));
    const points = [...(kind.tokens === undefined ? [x] : []), ...trainableVariables(model)];
    const f = async () => {
      rewind(model);
      const y = model.apply(x, {training: true}) as tf.Tensor;
      const [values, weights] = await read([y, random(y.shape as Shape, 8)]);
      // In float64, which does not round.
      return values!.reduce((sum, value, i) => sum + value * weights![i]!, 0);
    };
    let largest = 0;
    for (const [i, point] of points.entries()) {
      largest = Math.max(largest, await slopeError(point, gradients[i]!, 40 + i, f));
    }
    return largest;
  });
}

/** How far the slope of `f` at `point` is from a gradient in that direction, relative to the gradient's length. */
async function slopeError(point: tf.Variable, gradient: number[], seed: number, f: () => Promise<number>) {
  const length = Math.hypot(...gradient);
  const [noise] = await read([random(point.shape as Shape, seed)]);
  // Of a single number the two may be opposite.
  const share = gradient.length === 1 ? 0 : 1;
  const direction = gradient.map((value, j) => value / length + (share * noise![j]!) / Math.hypot(...noise!));
  const start = tf.clone(point);
  const at = async (distance: number) => {
    point.assign(tf.add(start, tf.mul(tf.tensor(direction, point.shape), distance)));
    return f();
  };
  const slope = async (h: number) => ((await at(h)) - (await at(-h))) / (2 * h);
  // Richardson's extrapolation: what is left of the curvature is of the order h⁴.
  const step = stepFor(length);
  const measured = (4 * (await slope(step / 2)) - (await slope(step))) / 3;
  point.assign(start);
  const expected = gradient.reduce((sum, value, j) => sum + value * direction[j]!, 0);
  return Math.abs(measured - expected) / (length * Math.hypot(...direction));
}

async function trainStep(model: tf.LayersModel, x: tf.Tensor): Promise<void> {
  model.compile({optimizer: tf.train.adam(0.01), loss: 'meanSquaredError'});
  const y = random([COUNT, 3], 5);
  await model.fit(x, y, {epochs: 1, verbose: 0});
  y.dispose();
}

async function stepMovesFactorsAlone(kind: Kind, activation?: Activation): Promise<number> {
  const base = makeModel(kind, activation);
  const model = adapt(base, kind);
  const trains = new Set(trainableVariables(model).map(({name}) => name));
  const all = [...new Set(model.weights)];
  const factors = all.filter(weight => trains.has(weight.name));
  const frozen = [...new Set([...model.weights, ...base.weights])].filter(weight => !factors.includes(weight));
  const values = (weights: tf.LayerVariable[]) => read(weights.map(weight => tf.clone(weight.read())));
  const before = await values(frozen);
  const factorsBefore = await values(factors);
  await trainStep(model, makeInputs(kind));
  const moved = await values(factors);
  // In the first step one factor of each layer stands still, the other being zero.
  const movers = factors.filter((_, i) => difference(moved[i]!, factorsBefore[i]!) > 1e-4);
  const still = ['first', 'head'].filter(name => !movers.some(({originalName}) => originalName.startsWith(name)));
  if (still.length > 0) {
    throw new Error(`No factor of ${still.join(', ')} moves.`);
  }
  return largestDifference(await values(frozen), before);
}

async function merges(kind: Kind, activation?: Activation): Promise<number> {
  const args = activation === undefined ? {} : {activation};
  const build = () => {
    const base = tf.sequential({layers: [kind.layer({...args, name: 'first', inputShape: kind.inputShape})]});
    stir(base);
    const model = applyLoRA(base, {targets: ['first'], ...configOf(kind.options)});
    stirOf(kind)(model);
    return {base, model, x: makeInputs(kind)};
  };
  const {base, model, x} = build();
  const merged = mergeLoRA(model);
  const classes = (of: tf.LayersModel) => of.layers.map(layer => layer.getClassName()).join();
  if (classes(merged) !== classes(base)) {
    throw new Error(`Merged to ${classes(merged)} instead of ${classes(base)}.`);
  }
  const adapted = await predicts(model, x);
  const reference = async (of: ReturnType<typeof build>) => [
    await predicts(of.model, of.x),
    await predicts(of.base, of.x),
  ];
  // What starts from the weight starts from other signs elsewhere.
  const [expected, plain] = !('init' in (kind.options ?? {}))
    ? await elsewhere('cpu', () => reference(build()))
    : [adapted, await predicts(base, x)];
  if (difference(expected!, plain!) < 1e-3) {
    throw new Error('The update does nothing.');
  }
  return relativeDifference([adapted, await predicts(merged, x)], [expected!, expected!]);
}

async function savesAndLoads(kind: Kind, activation?: Activation): Promise<number> {
  const base = makeModel(kind, activation);
  const model = adapt(base, kind);
  stirOf(kind)(model);
  const x = makeInputs(kind);
  const expected = await predicts(model, x);
  const handler = new MemoryHandler();
  await saveAdapter(model, handler);
  const again = applyLoRA(base, await loadAdapter(handler));
  return largestDifference([await predicts(await reloaded(model), x), await predicts(again, x)], [expected, expected]);
}

async function leaks(kind: Kind, activation?: Activation): Promise<number> {
  const live = async () => {
    const base = makeModel(kind, activation);
    const x = makeInputs(kind);
    const model = adapt(base, kind);
    const optimizer = tf.train.adam(0.01);
    model.compile({optimizer, loss: 'meanSquaredError'});
    const y = random([COUNT, 3], 5);
    await model.fit(x, y, {epochs: 2, verbose: 0});
    const adapter = getAdapter(model);
    setAdapter(model, null);
    setAdapter(model, adapter);
    const [merged, removed] = [mergeLoRA(model), removeLoRA(model)];
    await predicts(merged, x);
    await predicts(removed, x);
    optimizer.dispose();
    adapter.dispose();
    [merged, removed, model, base].forEach(disposeModel);
    tf.dispose([x, y]);
  };
  // What tfjs makes once and keeps.
  await live();
  const before = tf.memory();
  await live();
  const after = tf.memory();
  return Math.max(
    Math.abs(after.numTensors - before.numTensors),
    Math.abs(after.numDataBuffers - before.numDataBuffers),
  );
}
