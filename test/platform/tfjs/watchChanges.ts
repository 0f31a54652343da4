// Run by changes.process.test.ts in a separate process: what changes in the globals of tfjs when the library is
// imported, and while it works.

import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {differences, type Globals, globalsOf} from './globals';

/** Differences by when they were seen. */
export type Seen = Record<string, string[]>;

const source = (path: string) => import(pathToFileURL(`${process.cwd()}/src/${path}.ts`).href) as Promise<unknown>;

/** What was there when a layer was called, in training and else. */
let looks: Globals[] = [];

class Witness extends tf.layers.Layer {
  static get className(): string {
    return 'Witness';
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    looks.push(globalsOf(tf));
    return inputs;
  }
}
tf.serialization.registerClass(Witness);

function model(): tf.Sequential {
  const layers = [tf.layers.dense({units: 4, inputShape: [3]}), new Witness(), tf.layers.dense({units: 2})];
  return tf.sequential({layers});
}

/** The classes of the callbacks of a fit. */
let callbacks: string[] = [];

const setModel = Reflect.get(tf.CallbackList.prototype, 'setModel') as (
  this: tf.CallbackList,
  ...args: unknown[]
) => void;
tf.CallbackList.prototype.setModel = function (model) {
  callbacks = this.callbacks.map(({constructor}) => constructor.name);
  setModel.call(this, model);
};

/** Trains a model. What is there meanwhile is in `looks` and `callbacks`. */
async function train(trained: tf.LayersModel): Promise<void> {
  trained.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  await trained.fit(tf.ones([2, 3]), tf.ones([2, 2]), {
    epochs: 1,
    verbose: 0,
    callbacks: {onBatchEnd: () => void looks.push(globalsOf(tf)), onTrainEnd: () => void looks.push(globalsOf(tf))},
  });
}

/** What differs from `before` in any of the looks that were taken since. */
function lookedAt(before: Globals): string[] {
  const seen = new Set(looks.flatMap(look => differences(before, look)));
  looks = [];
  return [...seen];
}

async function watch(): Promise<Seen> {
  const seen: Seen = {};
  tf.enableProdMode();
  createRequire(`${process.cwd()}/test/`)('@tensorflow/tfjs-backend-wasm');
  await tf.setBackend('wasm');
  tf.registerBackend('tensorflow', () => new (class extends tf.KernelBackend {})(), 0);
  tf.registerKernel({kernelName: tf.Conv2DBackpropFilter, backendName: 'tensorflow', kernelFunc: () => []});
  await train(model());
  const ofTfjs = callbacks;
  looks = [];
  let before = globalsOf(tf);

  const {applyLoRA, checkpoint} = (await source('node')) as typeof import('../../../src/node');
  seen['the import'] = differences(before, globalsOf(tf));
  before = globalsOf(tf);

  for (const backend of ['cpu', 'tensorflow', 'wasm']) {
    await tf.setBackend(backend);
    seen[`setting ${backend}`] = differences(before, globalsOf(tf));
    before = globalsOf(tf);
  }

  await train(model());
  const more = (others: string[]) => callbacks.filter(name => !others.includes(name)).map(name => `+ callback ${name}`);
  seen['a fit of a stock model'] = [...more(ofTfjs), ...lookedAt(before)];
  seen['what a fit of a stock model leaves'] = differences(before, globalsOf(tf));
  await train(applyLoRA(model(), {rank: 1}));
  seen['a fit of an adapted model'] = lookedAt(before);
  seen['what a fit of an adapted model leaves'] = differences(before, globalsOf(tf));
  before = globalsOf(tf);
  const ofFits = callbacks;
  checkpoint('file://nowhere');
  await train(model());
  seen['a fit after a checkpoint'] = [...more(ofFits), ...lookedAt(before)];

  const {keepingNames} = (await source(
    'platform/tfjs/keepingNames',
  )) as typeof import('../../../src/platform/tfjs/keepingNames');
  seen['a rebuild'] = keepingNames(() => differences(before, globalsOf(tf)));
  const {withWeightLimit} = (await source(
    'platform/tfjs/weightLimit',
  )) as typeof import('../../../src/platform/tfjs/weightLimit');
  seen['a head from a file'] = withWeightLimit({left: 0}, () => differences(before, globalsOf(tf)));
  seen['what a rebuild and a head from a file leave'] = differences(before, globalsOf(tf));

  await source('graph');
  seen['the import of graph'] = differences(before, globalsOf(tf));
  before = globalsOf(tf);
  await source('transformers');
  seen['the import of transformers'] = differences(before, globalsOf(tf));
  before = globalsOf(tf);
  await source('quantized');
  seen['the import of quantized'] = differences(before, globalsOf(tf));
  return seen;
}

void watch().then(seen => {
  console.log(JSON.stringify(seen));
});
