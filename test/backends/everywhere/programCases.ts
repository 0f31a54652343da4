import * as tf from '@tensorflow/tfjs';
import {adam, adamW, applyLoRA, disposeModel, sgd, trainableVariables} from 'tfjs-lora';
import {loraKernels} from '../../../src/backends/loraKernels';
import type {LoRAAdam} from '../../../src/core/training/optimizers';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {randomFrom} from '../../attack/damage';
import {random} from '../../helpers';
import {chainModel, CHAINS, type Layers, randomChain} from './chains';
import {asOnCpu, type Case, difference, elsewhere, read, relativeDifference} from './case';

const SHAPES = [[7], [4, 8], [3, 3, 5, 2], [1], [130], [2, 3, 2, 1, 5], [3, 0]];
const STEPS = 25;
/** Each random size is another shader on a graphics card, and takes half a second there. */
const sizesOn = (backend: string) => (backend.startsWith('web') ? 4 : 8);

/** The variables after some steps, and what the optimizer keeps of them. */
export async function trained(make: () => tf.Optimizer): Promise<number[][]> {
  const optimizer = make();
  const variables = SHAPES.map((shape, i) => tf.tidy(() => tf.variable(random(shape, i + 1))));
  for (let step = 0; step < STEPS; step++) {
    tf.tidy(() => {
      optimizer.applyGradients(
        variables.map(({name, shape}, i) => ({name, tensor: random(shape, 100 * (step % 10) + i + 1)})),
      );
    });
  }
  const slots = (await optimizer.getWeights()).slice(1).map(({tensor}) => tensor.clone());
  const numbers = await read([...variables.map(variable => variable.clone()), ...slots]);
  tf.dispose(variables);
  optimizer.dispose();
  return numbers;
}

/** Optimizers of ours, and those of tfjs that do the same. */
export const OPTIMIZERS: [name: string, own: () => tf.Optimizer, stock: () => tf.Optimizer][] = [
  ['adam', () => adam({learningRate: 0.01, epsilon: 1e-7}), () => tf.train.adam(0.01, 0.9, 0.999, 1e-7)],
  [
    'adamW without decay',
    () => adamW({learningRate: 0.1, beta1: 0.5, epsilon: 1e-3, weightDecay: 0}),
    () => tf.train.adam(0.1, 0.5, 0.999, 1e-3),
  ],
  ['sgd', () => sgd({learningRate: 0.1}), () => tf.train.sgd(0.1)],
  ['momentum', () => sgd({learningRate: 0.1, momentum: 0.9}), () => tf.train.momentum(0.1, 0.9)],
  [
    'momentum of Nesterov',
    () => sgd({learningRate: 0.1, momentum: 0.9, nesterov: true}),
    () => tf.train.momentum(0.1, 0.9, true),
  ],
];

/** Rows or pixels, what a layer reads and gives, a rank and an activation. */
type AdaptedShape = readonly [
  ...[rows: number, inner: number, columns: number, rank: number],
  activation: 'relu' | 'tanh' | 'softmax',
];

/** From the smallest up to more than one tile of a program to each side. */
const ADAPTED: readonly AdaptedShape[] = [
  [1, 1, 1, 1, 'relu'],
  [3, 16, 32, 4, 'relu'],
  [33, 40, 70, 16, 'tanh'],
  [70, 31, 33, 5, 'relu'],
  // a rank that not every product takes
  [5, 48, 40, 17, 'relu'],
];

/** Rows of a softmax, the last ones wider than a program takes. */
const SOFTMAX: readonly AdaptedShape[] = [
  [5, 8, 7, 3, 'softmax'],
  [4, 6, 10, 2, 'softmax'],
  [3, 16, 200, 4, 'softmax'],
];

/** The outputs and gradients of a layer with a low-rank update, a Dense or a Conv2D of kernel size 1. */
async function adaptedGradients(isDense: boolean, shape: AdaptedShape): Promise<number[][]> {
  const [rows, inner, columns, rank, activation] = shape;
  const input = isDense ? [rows, inner] : [rows, 2, 3, inner];
  const own = {activation, inputShape: input.slice(1), name: 'layer'};
  const layer = isDense
    ? tf.layers.dense({...own, units: columns})
    : tf.layers.conv2d({...own, filters: columns, kernelSize: 1});
  const base = tf.sequential({layers: [layer]});
  const model = applyLoRA(base, {rank, alpha: 2 * rank, targets: ['layer'], bias: 'adapted'});
  const adapted = model.getLayer('layer');
  adapted.weights.forEach((weight, i) => {
    tf.tidy(() => {
      weight.write(tf.mul(random(weight.shape as number[], i + 1), 0.5));
    });
  });
  const x = tf.variable(random(input, 11));
  const trained = [x, ...adapted.trainableWeights.map(weight => weight.read() as tf.Variable)];
  const dy = random([...input.slice(0, -1), columns], 12);
  const {value, grads} = tf.variableGrads(
    () => tf.sum<tf.Scalar>(tf.mul(adapted.apply(x, {training: true}) as tf.Tensor, dy)),
    trained,
  );
  const numbers = await read([value, ...trained.map(({name}) => grads[name] as tf.Tensor)]);
  tf.dispose([x, dy]);
  [model, base].forEach(disposeModel);
  return numbers;
}

/** The loss and the gradients of an adapted model of convolutions, in a step and in the next one. */
async function chainGradients(layers: Layers, shape?: number[]): Promise<number[][]> {
  const base = chainModel(layers, shape);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D']});
  model.weights.forEach((weight, i) => {
    tf.tidy(() => {
      // With larger kernels the last bits grow from layer to layer, of exact operations too.
      const value = tf.mul(random(weight.shape as number[], i + 1), weight.shape.length === 4 ? 0.2 : 0.5);
      weight.write(weight.originalName.includes('variance') ? tf.add(tf.square(value), 0.5) : value);
    });
  });
  const x = random([2, ...base.inputs[0]!.shape.slice(1)] as number[], 5);
  const loss = () => {
    const outputs = [model.apply(x, {training: true}) as tf.Tensor | tf.Tensor[]].flat();
    return tf.addN(outputs.map(y => tf.mean<tf.Scalar>(tf.square(y))));
  };
  const steps = [1, 2].map(() => tf.variableGrads(loss, trainableVariables(model)));
  const numbers = await read(steps.flatMap(({value, grads}) => [value, ...Object.values(grads)]));
  x.dispose();
  [model, base].forEach(disposeModel);
  return numbers;
}

/** The function of a backend that launches what computes, and how often a step of Adam may call it. */
const LAUNCHES: Partial<Record<string, readonly [method: string, allowed: number]>> = {
  webgpu: ['runWebGPUProgram', 1],
  // The gradients are joined. A variable of no numbers has calls of its own, which launch nothing.
  webgl: ['runWebGLProgram', 1 + 3 + 3],
  // These variables are small: they are updated in a loop.
  tensorflow: ['executeSingleOutput', 0],
};

/** How many programs a step of Adam runs, beyond those that it is allowed. */
async function launches(backend: string): Promise<number> {
  const [method, allowed] = LAUNCHES[backend] ?? ['', Infinity];
  const optimizer = adam();
  const variables = SHAPES.map((shape, i) => tf.tidy(() => tf.variable(random(shape, i + 1))));
  const gradients = variables.map(({name, shape}, i) => ({name, tensor: random(shape, i + 1)}));
  const owner = tf.backend() as unknown as Record<string, (...args: unknown[]) => unknown>;
  const original = owner[method];
  let count = 0;
  const step = () => {
    tf.tidy(() => {
      optimizer.applyGradients(gradients);
    });
  };
  step();
  if (original !== undefined) {
    owner[method] = (...args) => {
      count++;
      return original.apply(owner, args);
    };
  }
  step();
  Reflect.deleteProperty(owner, method);
  await Promise.all(variables.map(variable => variable.data()));
  tf.dispose(variables);
  optimizer.dispose();
  return Math.max(0, count - allowed);
}

/**
 * The variables after steps at different rates, of which the first alone has no gradient, and one has two. Some are too
 * large to be joined.
 */
async function atTwoRates(): Promise<number[][]> {
  const optimizer = adamW({learningRate: 0.01, epsilon: 1e-4, weightDecay: 0.1}) as LoRAAdam;
  const shapes = [...SHAPES, ...SHAPES, [260, 260], [200, 200], [200, 200]];
  const variables = shapes.map((shape, i) => tf.tidy(() => tf.variable(random(shape, i + 1))));
  const fast = new Set(variables.filter((_, i) => i % 3 === 0).map(({name}) => name));
  for (let step = 0; step < 3; step++) {
    tf.tidy(() => {
      const gradients = variables.slice(1).map(({name, shape}, i) => ({name, tensor: random(shape, step + i + 2)}));
      optimizer.applyChanged([...gradients, ...gradients.slice(1, 2)], {
        gradientScale: 0.5,
        rateOf: name => (fast.has(name) ? 16 : 1),
      });
    });
  }
  const numbers = await read(variables.map(variable => variable.clone()));
  tf.dispose(variables);
  optimizer.dispose();
  return numbers;
}

/**
 * The variables after steps that their numbers were read between, by other operations, as a copy and by themselves; and
 * how many tensors are left.
 */
async function readBetween(): Promise<number[][]> {
  const before = tf.memory().numTensors;
  const optimizer = adam({learningRate: 0.01, epsilon: 1e-7});
  const variables = [...SHAPES, ...SHAPES, ...SHAPES].map((shape, i) =>
    tf.tidy(() => tf.variable(random(shape, i + 1))),
  );
  const numbers: number[][] = [];
  for (let step = 0; step < 4; step++) {
    tf.tidy(() => {
      optimizer.applyGradients(variables.map(({name, shape}, i) => ({name, tensor: random(shape, step + i + 1)})));
    });
    const [one, two, three] = variables.slice(5 * step);
    numbers.push(...(await read(tf.tidy(() => [tf.mul(one!, 2), tf.clone(two!)]))), [...(await three!.data())]);
  }
  const wide = variables.filter(({size}) => size > 1);
  numbers.push(...(await read(tf.tidy(() => wide.map(variable => tf.concat([tf.reshape(variable, [-1]), [1]]))))));
  tf.dispose(variables);
  optimizer.dispose();
  return [...numbers, [tf.memory().numTensors - before]];
}

/** What programs of our own have to do where they run, and what is used in their place where not. */
export const programCases: readonly Case[] = [
  ...OPTIMIZERS.flatMap(([name, own, stock]): Case[] => [
    {
      behaviour: 'an optimizer matches tfjs on cpu after 100 steps',
      kind: name,
      tolerance: 1e-6,
      halfTolerance: null,
      run: asOnCpu(
        () => trained(own),
        () => trained(stock),
      ),
    },
    {
      behaviour: 'an optimizer without fused programs matches tfjs on cpu after 100 steps',
      kind: name,
      tolerance: 1e-6,
      halfTolerance: null,
      run: asOnCpu(
        () => withoutOwnCode(() => trained(own)),
        () => trained(stock),
      ),
    },
  ]),
  ...[true, false].flatMap(isDense =>
    [
      {name: 'activation', shapes: ADAPTED, tolerance: 1e-5},
      // a graphics card's exponentials
      {name: 'softmax', shapes: SOFTMAX, tolerance: 1e-4},
    ].map(({name, shapes, tolerance}): Case => ({
      behaviour: `a product with an update and its ${name} match cpu, with gradients, for many shapes`,
      kind: isDense ? 'Dense' : 'Conv2D',
      tolerance,
      halfTolerance: null,
      run: async () => {
        const differences: number[] = [];
        for (const shape of shapes) {
          const compute = () => adaptedGradients(isDense, shape);
          differences.push(relativeDifference(await compute(), await elsewhere('cpu', compute)));
        }
        return Math.max(...differences);
      },
    })),
  ),
  ...Object.entries(CHAINS).map(([kind, layers]): Case => ({
    behaviour: 'a convolution with normalization and ReLU has the gradients of cpu',
    kind,
    tolerance: 1e-5,
    halfTolerance: null,
    run: asOnCpu(() => chainGradients(layers)),
  })),
  {
    behaviour: 'convolutions of random sizes have the gradients of cpu',
    tolerance: 1e-5,
    halfTolerance: null,
    run: async backend => {
      const differences: number[] = [];
      for (let seed = 1; seed <= sizesOn(backend); seed++) {
        const compute = () => {
          const {layers, shape} = randomChain(seed);
          return chainGradients(layers, shape);
        };
        differences.push(relativeDifference(await compute(), await elsewhere('cpu', compute)));
      }
      return Math.max(...differences);
    },
  },
  {
    behaviour: 'products of random sizes with an update have the gradients of cpu',
    tolerance: 1e-5,
    halfTolerance: null,
    run: async backend => {
      const chance = randomFrom(7);
      const whole = (most: number) => 1 + Math.floor(chance() * most);
      const differences: number[] = [];
      for (let i = 0; i < sizesOn(backend); i++) {
        const [rows, inner, columns] = [whole(50), whole(40), whole(40)];
        const rank = whole(Math.min(inner, columns, 8));
        const shape: AdaptedShape = [rows, inner, columns, rank, chance() < 0.5 ? 'relu' : 'tanh'];
        const compute = () => adaptedGradients(i % 2 === 0, shape);
        differences.push(relativeDifference(await compute(), await elsewhere('cpu', compute)));
      }
      return Math.max(...differences);
    },
  },
  {
    behaviour: 'an optimizer with two learning rates matches cpu for variables of many sizes',
    tolerance: 1e-6,
    halfTolerance: null,
    run: asOnCpu(atTwoRates),
  },
  {
    behaviour: 'variables read between optimizer steps match cpu, and nothing leaks',
    tolerance: 1e-6,
    halfTolerance: null,
    run: asOnCpu(readBetween),
  },
  {
    behaviour: 'fused programs run on webgpu and webgl',
    tolerance: 0,
    run: async backend => {
      const kernels = [loraKernels(), await withoutOwnCode(() => loraKernels())];
      const isCard = backend.startsWith('webg');
      const expected = [
        isCard ? 'programs' : kernels[0],
        backend === 'wasm' ? 'composed' : isCard ? 'backend' : kernels[0],
      ];
      return kernels.filter((kernel, i) => kernel !== expected[i]).length;
    },
  },
  {
    behaviour: 'an operation that reads an empty tensor leaves other results as they are',
    tolerance: 0,
    run: async backend => {
      const ones = tf.ones([2048]); // cards leave smaller ones to the processor
      const before = tf.add(ones, 3);
      const empty = tf.zeros<tf.Rank.R2>([2, 0]);
      tf.dispose(tf.matMul(empty, empty, false, true));
      // webgl has no values of an empty tensor that a program has read.
      const results = [before, tf.neg(ones), ones, ...(backend.startsWith('webgl') ? [] : [empty])];
      return difference(
        (await read(results)).flat(),
        [4, -1, 1].flatMap(value => new Array<number>(2048).fill(value)),
      );
    },
  },
  {
    behaviour: 'a gather along an empty axis is refused, or gives zeros or NaN, and leaks nothing',
    tolerance: 0,
    run: async () => {
      const {numDataBuffers} = tf.memory();
      const [table, indices] = [tf.zeros([0, 2]), tf.zeros([2048], 'int32')];
      const gathered = async () => (await read([tf.gather(table, indices)])).flat();
      const numbers = (await gathered().catch(() => [])).filter(Boolean);
      tf.dispose([table, indices]);
      return difference([...numbers, tf.memory().numDataBuffers], [numDataBuffers]);
    },
  },
  {
    behaviour: 'cumulative sums and products are right after those of another length',
    tolerance: 0,
    run: async () => {
      const results = [3, 300, 5].flatMap(length =>
        [false, true].flatMap(exclusive => [
          tf.cumsum(tf.ones([length]), 0, exclusive, true),
          tf.cumprod(tf.fill([length], -1), 0, exclusive, true),
        ]),
      );
      const expected = [3, 300, 5].flatMap(length =>
        [0, 1].flatMap(skipped => {
          const counts = Array.from({length}, (_, i) => length - i - skipped);
          return [...counts, ...counts.map(count => (count % 2 === 0 ? 1 : -1))];
        }),
      );
      return difference((await read(results)).flat(), expected);
    },
  },
  {
    behaviour: 'an Adam step runs one program on webgpu and four on webgl',
    tolerance: 0,
    halfTolerance: null,
    run: launches,
  },
];
