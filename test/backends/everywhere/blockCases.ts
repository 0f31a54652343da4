import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, type LoRAConfig, trainableVariables} from 'tfjs-lora';
import {quantizeBase} from 'tfjs-lora/quantized';
import {Attention, GatedActivation, RMSNormalization, type Rotary} from 'tfjs-lora/transformers';
import {candidatesIn} from '../../../src/extensions/language/sampling';
import {transformerKernels} from '../../../src/extensions/transformers/kernels/transformer';
import {formatTrials} from '../../../src/extensions/quantized/kernels/trial';
import {random} from '../../helpers';
import {asOnCpu, type Case, read} from './case';

const [WIDTH, INNER, HEADS, KEY_HEADS, SIZE] = [64, 96, 4, 2, 16];
const POSITIONS = 7;

/** Blocks of a decoder, whose products share inputs, and add to what was before them. */
function decoder(rotary: Rotary | null = {}): tf.LayersModel {
  const {layers} = tf;
  const apply = (layer: tf.layers.Layer, ...inputs: tf.SymbolicTensor[]) =>
    layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.SymbolicTensor;
  const dense = (name: string, units: number) => layers.dense({name, units, useBias: false});
  const states = tf.input({shape: [null, WIDTH]});
  const mask = tf.input({shape: [null]});
  let x = states;
  for (const i of [0, 1]) {
    const first = apply(new RMSNormalization({name: `first_${i}`}), x);
    const parts = [
      apply(dense(`q_${i}`, HEADS * SIZE), first),
      apply(dense(`k_${i}`, KEY_HEADS * SIZE), first),
      apply(dense(`v_${i}`, KEY_HEADS * SIZE), first),
    ];
    const attention = new Attention({
      ...{heads: HEADS, keyValueHeads: KEY_HEADS, causal: true, rotary, name: `heads_${i}`},
    });
    x = apply(layers.add(), x, apply(dense(`o_${i}`, WIDTH), apply(attention, ...parts, mask)));
    const second = apply(new RMSNormalization({name: `second_${i}`}), x);
    const gates = ['gate', 'up'].map(name => apply(dense(`${name}_${i}`, INNER), second));
    x = apply(layers.add(), x, apply(dense(`down_${i}`, WIDTH), apply(new GatedActivation(), ...gates)));
  }
  const model = tf.model({inputs: [states, mask], outputs: x});
  tf.tidy(() => {
    model.setWeights(
      model.weights.map(({shape}, i) => {
        const values = random(shape as number[], 70 + i, 0.15);
        return shape.length === 1 ? tf.add(1, values) : values;
      }),
    );
  });
  return model;
}

/** Outputs for several examples and for one of one position, and the gradients of an adapted model. */
export async function outcome(config: LoRAConfig & {rank: number}, rotary?: null): Promise<number[][]> {
  const model = decoder(rotary);
  const blocks = await quantizeBase(model, {bits: 4});
  await formatTrials();
  const adapted = applyLoRA(blocks, {...config, seed: 1});
  const variables = trainableVariables(adapted);
  tf.tidy(() => {
    // Updates of about the same size, whatever their rank, so that 16-bit floats can tell them.
    const scale = 0.6 / config.rank;
    variables.forEach((variable, i) => variable.assign(tf.add(variable, random(variable.shape, 7 + i, scale))));
  });
  const found = tf.tidy(() => {
    const given = (batch: number, positions: number) => [
      random([batch, positions, WIDTH], 3),
      tf.ones([batch, positions]),
    ];
    const inputs = given(2, POSITIONS);
    const run = (training: boolean) => adapted.apply(inputs, {training}) as tf.Tensor;
    const weights = random([2, POSITIONS, WIDTH], 99);
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(run(true), weights)), variables);
    return [
      adapted.predict(inputs) as tf.Tensor,
      adapted.predict(given(1, 1)) as tf.Tensor,
      ...variables.map(({name}) => grads[name]!),
    ];
  });
  [model, blocks, adapted].forEach(each => {
    disposeModel(each);
  });
  return read(found);
}

/** How the blocks are adapted. */
const CONFIGS: readonly [kind: string, LoRAConfig & {rank: number}][] = [
  ['queries and values', {rank: 3, targets: [/^[qv]_/]}],
  ['all layers', {rank: 2}],
  ['all layers, of high rank', {rank: 24}],
];

/** Rows with equal values, infinitely low ones, and others that are no logits. */
const VOCABULARY = 1500;
const ROWS = [
  Array.from({length: VOCABULARY}, (_, i) => Math.abs(((i * 37) % 1009) - 500)),
  Array.from({length: VOCABULARY}, (_, i) => (i % 300 === 7 ? -i : -Infinity)),
  Array.from({length: VOCABULARY}, (_, i) => (i === 5 ? NaN : i === 900 ? Infinity : i % 13)),
];

/** How many of the largest values, of their places and of counts a program finds otherwise than sorting does. */
async function misplaced(): Promise<number> {
  const {largest} = transformerKernels() ?? {};
  if (largest === undefined) {
    return 0;
  }
  let wrong = 0;
  for (const count of [1, 2, 9]) {
    const found = tf.tidy(() => largest(tf.tensor2d(ROWS), count));
    const [size] = found.shape.slice(1) as [number];
    const [values = []] = await read([found]);
    ROWS.forEach((row, r) => {
      const own = candidatesIn(Float32Array.from(values.slice(r * size, (r + 1) * size)), count);
      const places = row.map((_, i) => i).sort((a, b) => row[b]! - row[a]! || a - b);
      const isFinite = row.every(value => value < Infinity);
      // What else a row with wrong values has does not matter.
      const expected = isFinite ? places.slice(0, count) : [];
      wrong += expected.filter((at, i) => own.tokens[i] !== at || own.logits[i] !== row[at]).length;
      wrong += own.wrong === row.filter(value => !(value < Infinity)).length ? 0 : 1;
    });
  }
  return wrong;
}

/** What blocks of quantized layers, and what follows them, have to do on every backend. */
export const blockCases: readonly Case[] = [
  ...CONFIGS.map(([kind, config]) => ({
    behaviour: 'a quantized decoder has the outputs and gradients of cpu',
    kind,
    tolerance: 2e-4,
    halfTolerance: 5e-2,
    run: asOnCpu(() => outcome(config)),
  })),
  {behaviour: 'the largest logits are those that sorting finds', tolerance: 0, run: misplaced},
];
