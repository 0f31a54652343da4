/**
 * Writes adapters for PEFT, and beside each what tfjs computes with it, for `check_exports.py`:
 *
 *     tsx test/python/exportAdapters.ts <folder>
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT, loadAdapter} from '../../src/index';
import {type LoRAConfig, mergeLoRA, type StoredType} from '../../src/node';
import {writePEFTFolder} from '../../src/node/peftFolder';
import {predictions, train} from '../models';
import {KEY_MAP, largeNetwork, type Network, peftFiles, smallNetwork} from '../peftNetworks';

const [, , out = ''] = process.argv;
const large = () => largeNetwork(true);

/** Adapters that PEFT made: imported, and exported again. */
const IMPORTED: [folder: string[], make: () => Network][] = [
  ...['lora', 'rslora', 'modules_to_save', 'bias_lora_only'].map(
    name => [[name], smallNetwork] as [string[], () => Network],
  ),
  ...[
    ...['expression', 'allLinear', 'convolutions', 'transposed', 'embedding', 'biasAll', 'loraBias', 'loraBiasOnly'],
    ...[
      'modulesToSave',
      'depthwise',
      'dora',
      'doraKinds',
      'pissa',
      'olora',
      'ia3',
      'vera',
      'loha',
      'lohaWide',
      'lokr',
      'lokrBoth',
    ],
  ].map(name => [['made', name], large] as [string[], () => Network]),
];

/** Adapters that are trained here. */
const TRAINED: [name: string, config: LoRAConfig, dtype?: StoredType][] = [
  ['every kind', {rank: 3, alpha: 4, exclude: ['grouped'], targets: 'all'}],
  ['every kind as float16', {rank: 2, alpha: 4, exclude: ['grouped']}, 'float16'],
  ['every kind as bfloat16', {rank: 2, alpha: 4, exclude: ['grouped']}, 'bfloat16'],
  ['depthwise', {rank: 2, alpha: 3, targets: ['depthwise']}],
  [
    'strengths of all sorts',
    {
      rank: 3,
      rankStabilized: true,
      targets: ['tokens', 'line', 'volume', /_(query|value)$/, 'mix'],
      overrides: [
        {targets: ['line'], rank: 2, alpha: 7},
        {targets: [/_value$/], rankStabilized: false, alpha: 2},
        {targets: ['mix'], rank: 5},
      ],
    },
  ],
  ['biases of adapted layers', {rank: 2, targets: ['line', 'pointwise', /_out$/, 'mix'], bias: 'adapted'}],
  ['all biases', {rank: 2, targets: ['line', /_query$/], bias: 'all'}],
  ['DoRA', {rank: 2, alpha: 3, method: 'dora', targets: ['tokens', 'line', 'volume', 'pointwise', /_query$/, 'mix']}],
  ['PiSSA', {rank: 2, alpha: 4, init: 'pissa', targets: ['tokens', 'line', 'pointwise', /_query$/, 'mix']}],
  ['OLoRA', {rank: 1, init: 'olora', targets: ['line', /_query$/, 'mix']}],
  ['LoRA-FA', {rank: 2, method: 'lora-fa', targets: ['line', /_query$/, 'mix']}],
  [
    'IA³',
    {
      method: 'ia3',
      targets: ['volume', 'pointwise', /_query$/, /_out$/, 'head_hidden'],
      overrides: [{targets: [/_out$/, 'volume'], method: 'ia3-feedforward'}],
    },
  ],
  ['VeRA', {rank: 4, method: 'vera', alpha: 2, targets: [/_query$/, /_out$/, 'head_hidden']}],
  ['LoHa', {rank: 2, alpha: 3, method: 'loha', targets: ['pointwise', /_query$/, 'head_hidden']}],
  ['LoKr', {rank: 1, alpha: 3, method: 'lokr', targets: ['pointwise', /_query$/, 'head_hidden']}],
  [
    'whole modules',
    {
      rank: 2,
      targets: [/_query$/],
      trainInFull: ['tokens', 'batch', 'depthwise', 'layer_0_norm', 'head_out', 'volume', 'line'],
      bias: 'all',
    },
  ],
];

async function write(
  name: string,
  {model, inputs, torchWeight, torchNames}: Network,
  exported: Awaited<ReturnType<typeof exportPEFT>>,
): Promise<void> {
  const folder = join(out, name.replaceAll(' ', '_'));
  mkdirSync(folder, {recursive: true});
  await writePEFTFolder(exported, folder);
  // What was rounded for the file is rounded here too.
  const adapted = applyLoRA(model, await loadAdapter(exported, {model, keyMap: KEY_MAP}));
  const merged = mergeLoRA(adapted);
  const result = {
    name,
    network: inputs.length === 2 ? 'small' : 'large',
    y: predictions(adapted, inputs)[0],
    y_merged: predictions(merged, inputs)[0],
    merged: Object.fromEntries(torchNames.map(each => [each, torchWeight(merged, each)])),
  };
  writeFileSync(join(folder, 'tfjs.json'), JSON.stringify(result));
}

await tf.setBackend('cpu');
for (const [folder, make] of IMPORTED) {
  const network = make();
  const adapter = await loadAdapter(peftFiles(...folder), {model: network.model, keyMap: KEY_MAP});
  await write(`imported ${folder.at(-1)!}`, network, await exportPEFT(network.model, {adapter, keyMap: KEY_MAP}));
}
for (const [name, config, dtype] of TRAINED) {
  const network = large();
  const adapted = applyLoRA(network.model, {seed: 1, ...config});
  await train(adapted, network.inputs, {epochs: 20, optimizer: tf.train.adam(0.02)});
  const exported = await exportPEFT(adapted, {keyMap: KEY_MAP, ...(dtype && {dtype})});
  await write(`trained ${name}`, network, exported);
}
