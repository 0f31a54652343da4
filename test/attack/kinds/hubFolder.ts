import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {isDeepStrictEqual} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA} from 'tfjs-lora';
import {exportTransformer, loadTransformer, type Pooling, type TransformerOptions} from 'tfjs-lora/transformers';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {chooseArchitecture} from '../../../src/extensions/transformers/load/architectures';
import {HubConfig} from '../../../src/extensions/transformers/net/hubConfig';
import {configsOf, FAMILIES, inputsOf as drawnInputs, PAIRS, weightsOf} from '../../extensions/transformers/configs';
import {fixture, inputsOf, NAMES, OLDER} from '../../extensions/transformers/fixtures';
import {below, pick} from '../damage';
import {type AttackKind, type Json, mustHold} from '../kind';
import {sameNumbers} from './models';

/** A folder of the hub, as transformers writes it, and inputs of its model. */
interface Folder {
  name: string;
  config: Record<string, unknown>;
  weights: () => Uint8Array;
  /** Whether the model is one for texts and pictures together, of which `predict` wants as many. */
  isPair: boolean;
  /** Whether the names in the file are those of today. */
  isOfToday: boolean;
  inputs: () => tf.Tensor[];
}

/** Of classes with random configs, whose names `make_configs.py` took from transformers. */
function drawnFolders(): Folder[] {
  return FAMILIES.flatMap(family =>
    configsOf(family)
      .cases.filter(({odd, values}) => !odd && values !== null)
      .map(each => ({
        name: `${family}, case ${each.seed}`,
        config: {...each.config, architectures: [each.architecture]},
        weights: () => weightsOf(each),
        isPair: PAIRS.includes(family),
        isOfToday: true,
        inputs: () => drawnInputs(each, [each.ids, each.mask]),
      })),
  );
}

/** Of every class. */
function storedFolders(): Folder[] {
  return NAMES.map(name => {
    const {config, weights, expected} = fixture(name);
    return {
      name,
      config: JSON.parse(config) as Record<string, unknown>,
      weights: () => weights,
      isPair: name.endsWith('Pairs'),
      isOfToday: !OLDER.test(name),
      inputs: () => inputsOf(expected),
    };
  });
}

/** Families whose bodies have a pooler in PyTorch. */
const POOLED = new Set(['albert', 'beit', 'bert', 'camembert', 'deit', 'mpnet', 'roberta', 'vit', 'xlm-roberta']);

/** One table under two names, of which files may have one or both. */
const T5_TABLE = /(^|\.)(shared|encoder\.embed_tokens)\.weight$/;

const POOLINGS: readonly Pooling[] = ['none', 'mean', 'first', 'last', 'pooler'];

/** What is done with a folder. */
interface Ways {
  pooling: Pooling;
  labels: boolean;
  dtype: 'float32' | 'bfloat16' | 'float16';
  gradientCheckpointing: boolean;
  /** Whether an adapter is merged in between, which is zero as yet. */
  adapted: boolean;
  /** Whether the files lie in a folder. */
  inFolder: boolean;
}

function waysFrom(random: () => number): Ways {
  const yes = (share: number) => random() < share;
  return {
    pooling: yes(0.5) ? 'none' : pick(random, POOLINGS),
    labels: yes(0.15),
    dtype: pick(random, ['float32', 'float32', 'bfloat16', 'float16']),
    gradientCheckpointing: yes(0.2),
    adapted: yes(0.3),
    inFolder: yes(0.5),
  };
}

/**
 * A folder of the hub, of every class, loaded with every pooling, written by `exportTransformer` and loaded again: the
 * class that is written has each tensor that it has in PyTorch, to the bit, and computes the same.
 */
export const hubFolder: AttackKind = {
  name: 'a folder of the hub, and back',
  isValid: true,
  prepare() {
    const folders = [...drawnFolders(), ...storedFolders(), ...storedFolders()];
    return {
      whole: [],
      make: random => ({number: below(random, folders.length), ways: waysFrom(random) as unknown as Json}),
      models: [],
      use: async ({number, ways}) => thereAndBack(folders[number as number]!, ways as unknown as Ways),
    };
  },
};

async function thereAndBack(folder: Folder, {pooling, labels, dtype, gradientCheckpointing, adapted, inFolder}: Ways) {
  const what = `${folder.name}, ${JSON.stringify({pooling, labels, dtype, gradientCheckpointing, adapted, inFolder})}`;
  const models: tf.LayersModel[] = [];
  const load = async (files: {config: string; weights: Uint8Array}, options: TransformerOptions) => {
    const model = await loadFrom(files, options, inFolder);
    models.push(model);
    return model;
  };
  try {
    const options = {pooling, gradientCheckpointing, ...(labels && {labels: 3})};
    const given = {config: JSON.stringify(folder.config), weights: folder.weights()};
    const model = await load(given, options);
    let written = model;
    if (adapted) {
      const site = model.layers.find(layer => layer.getClassName() === 'Dense' && layer.name.includes('layer'));
      const lora = site && applyLoRA(model, {rank: 1, targets: [site.name]});
      written = lora === undefined ? model : mergeLoRA(lora);
      models.push(...(lora === undefined ? [] : [lora, written]));
    }
    const files = await exportTransformer(written, {dtype});
    await compareTensors(folder, files, {pooling, labels, isExact: dtype === 'float32'}, what);
    const again = await load(files, {pooling, gradientCheckpointing});
    const [first, second] = await Promise.all([written, again].map(each => outputOf(each, folder)));
    const isSame = dtype === 'float32' ? sameNumbers(first!, second!) : second!.length === first!.length;
    mustHold(isSame, `${what}: computes otherwise when it was written and loaded.`);
    const twice = await exportTransformer(again, {dtype});
    mustHold(Buffer.compare(twice.weights, files.weights) === 0, `${what}: other weights when written again.`);
    mustHold(
      isDeepStrictEqual(JSON.parse(twice.config), JSON.parse(files.config)),
      `${what}: another config when written again.`,
    );
  } finally {
    models.reverse().forEach(disposeModel);
  }
}

async function loadFrom(
  {config, weights}: {config: string; weights: Uint8Array},
  options: TransformerOptions,
  inFolder: boolean,
): Promise<tf.LayersModel> {
  if (!inFolder) {
    return (await loadTransformer({config, weights, ...options})).model;
  }
  const folder = mkdtempSync(join(tmpdir(), 'hub-'));
  try {
    writeFileSync(join(folder, 'config.json'), config);
    writeFileSync(join(folder, 'model.safetensors'), weights);
    return (await loadTransformer(folder, options)).model;
  } finally {
    rmSync(folder, {recursive: true});
  }
}

/** Compares what was written with the file of the hub. A body alone has the names of that file without its prefix. */
async function compareTensors(
  folder: Folder,
  files: {config: string; weights: Uint8Array},
  {pooling, labels, isExact}: {pooling: Pooling; labels: boolean; isExact: boolean},
  what: string,
): Promise<void> {
  const [before, after] = [folder.weights(), files.weights].map(bytes => decodeSafetensors(bytes).tensors);
  const {architecture, purpose} = await chooseArchitecture(HubConfig.parse(files.config), {pooling});
  const prefix = `${architecture.prefix}.`;
  // DINOv3 has no class with a head, and names of its body begin like its prefix.
  const hasHeads = Object.values(architecture.classes).some(head => head !== 'none');
  const hasPrefix = hasHeads && [...before!.keys()].some(name => name.startsWith(prefix));
  const isBody = purpose.head === 'none' && hasPrefix;
  const named = (name: string) => (isBody ? name.slice(prefix.length) : !hasPrefix && labels ? prefix + name : name);
  // The pooler belongs to heads in some families, as in a body of BERT to none that `labels` asks for.
  // One bias under two names, which are tied in PyTorch, but drawn at random here.
  const isTwice = (name: string) => {
    const [, head] = /^(cls\.predictions|lm_head)\.(decoder\.)?bias$/.exec(name) ?? [];
    return before!.has(`${head}.decoder.bias`);
  };
  const isElsewhere = (name: string) =>
    isTwice(name) ||
    T5_TABLE.test(name) ||
    name.endsWith('.num_batches_tracked') || // a count for training
    ((isBody || labels) && hasPrefix && !name.startsWith(prefix)) ||
    (/(^|\.)pooler\./.test(name) && (labels || (isBody && !POOLED.has(folder.config.model_type as string))));
  for (const [name, {data}] of before!) {
    if (isElsewhere(name) || !folder.isOfToday) {
      continue;
    }
    const found = after!.get(named(name));
    mustHold(found !== undefined, `${what}: ${named(name)} is not written.`);
    mustHold(!isExact || sameNumbers(found!.data!, data!), `${what}: ${named(name)} has other numbers.`);
  }
  if (folder.isOfToday && !labels && !isBody) {
    // The count of batches beside the statistics of a normalization, which are drawn without it.
    const isCount = (name: string) =>
      name.endsWith('.num_batches_tracked') && before!.has(name.replace(/num_batches_tracked$/, 'running_mean'));
    const more = [...after!.keys()].filter(name => !before!.has(name) && !T5_TABLE.test(name) && !isCount(name));
    mustHold(more.length === 0, `${what}: ${more.join(', ')} is no tensor of the class.`);
  }
}

async function outputOf(model: tf.LayersModel, {inputs, isPair}: Folder): Promise<Float32Array> {
  const result = tf.tidy(() => predicted(model, inputs(), isPair));
  try {
    return await result.data<'float32'>();
  } finally {
    result.dispose();
  }
}

/** What a model gives: one for texts and pictures of both, and the encoder of one of them of its own. */
function predicted(model: tf.LayersModel, inputs: tf.Tensor[], isPair: boolean): tf.Tensor {
  if (isPair && model.inputs.length === inputs.length) {
    return model.apply(inputs) as tf.Tensor; // `predict` wants as many pictures as texts
  }
  const {length} = model.inputs;
  const own = length === 2 ? inputs.slice(0, 2) : inputs.slice(-length); // a text has ids and a mask
  // A body takes the choices of a text as texts.
  const isFlat = own[0]?.rank === 3 && model.inputs[0]?.shape.length === 2;
  const rows = isFlat ? own.map(input => tf.reshape(input, [-1, input.shape.at(-1)!])) : own;
  return model.predict(rows) as tf.Tensor;
}
