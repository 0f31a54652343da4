/**
 * What the federated example promises of the server: its sums are those of the library, servers of several kinds are understood,
 * and a run with a stock SuperLink, in which a node is killed, ends right.
 *
 *     npm run check -- federated
 *     npm run check -- federated --quick    without servers of several kinds
 */
import {execFileSync} from 'node:child_process';
import {mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {argv} from 'node:process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {type Adapter, combineAdapters, fileHandler, getAdapter, loadAdapter, saveAdapter} from 'tfjs-lora';
import {checkServers} from './checkServers';
import {installFlower, runPython} from '../../../examples/federated/flower';
import {pretrained} from '../../../examples/federated/data';
import {adapt, RANK} from '../../../examples/federated/task';

const OUTPUT = fileURLToPath(new URL('../../../examples/federated/output/', import.meta.url));
const path = (name: string) => join(OUTPUT, name);
const WEIGHTS = [0.5, 0.3, 0.2];

/** Reads adapters, writes the weighted mean of their products at their rank. */
const PYTHON = `
import sys
from federation.exact import mean_of_products
from federation.safetensors import read, write
*files, result = sys.argv[1:]
read_files = [read(file) for file in files]
tensors, metadata = read_files[0]
for name in [name for name in tensors if name.endswith("lora_A")]:
    other = name[:-1] + "B"
    factors = [(t[name], t[other]) for t, _ in read_files]
    tensors[name], tensors[other], cut, naive = mean_of_products(factors, [${WEIGHTS.join(', ')}])
    print(f"  {name}: the rank cuts off {100 * cut:.1f} %, means of A and of B are wrong by {100 * naive:.0f} %")
write(result, {name: value.astype("float32") for name, value in tensors.items()}, metadata)
`;

/** The update of each kernel that an adapter makes, as one matrix. */
function products({config, tensors}: Adapter): Record<string, tf.Tensor> {
  const names = Object.keys(tensors).filter(name => name.endsWith('lora_A'));
  return Object.fromEntries(
    names.map(name => {
      const [a, b] = [tensors[name]!, tensors[name.replace(/A$/, 'B')]!];
      const rank = a.shape.at(-1)!;
      const {alpha} = config.layers[name.replace(/\/lora_A$/, '')]!;
      return [name, tf.mul(tf.matMul(tf.reshape(a, [-1, rank]), tf.reshape(b, [rank, -1])), alpha / rank)];
    }),
  );
}

/** The largest difference between the products of two adapters, relative to the largest number. */
function difference(first: Adapter, second: Adapter): number {
  return tf.tidy(() => {
    const other = products(second);
    const each = Object.entries(products(first)).map(([name, product]) => {
      const apart = tf.max(tf.abs(tf.sub(product, other[name]!))).dataSync()[0]!;
      return apart / tf.max(tf.abs(product)).dataSync()[0]!;
    });
    return Math.max(...each);
  });
}

await tf.setBackend('wasm');
installFlower(line => console.log(line));
mkdirSync(path('page'), {recursive: true});
runPython('-m', 'unittest');

const base = await pretrained();
const adapters: Adapter[] = [];
for (const [i] of WEIGHTS.entries()) {
  const model = adapt(base, 'lora', i);
  model.trainableWeights.forEach((weight, j) => {
    weight.write(tf.randomNormal(weight.shape as number[], 0, 1, 'float32', 10 * i + j));
  });
  adapters.push(getAdapter(model));
  await saveAdapter(model, fileHandler(path(`part-${i}.safetensors`)));
}
runPython('-c', PYTHON, ...adapters.map((_, i) => path(`part-${i}.safetensors`)), path('sum.safetensors'));
const parts = adapters.map((adapter, i) => ({adapter, weight: WEIGHTS[i]!}));
const ours = await combineAdapters(parts, {rank: RANK});
const theirs = await loadAdapter(fileHandler(path('sum.safetensors')));
const apart = difference(ours, theirs);
const whole = difference(await combineAdapters(parts), theirs);
console.log(
  `combineAdapters and the server's sum differ by ${apart.toExponential(1)}, relative to the largest number.`,
);
if (!(apart < 1e-5) || !(whole > 0.01)) {
  throw new Error(`They must agree to 1e-5, and differ from the sum of a higher rank, which they do by ${whole}.`);
}

await base.save(fileHandler(path('page')));
await saveAdapter(adapt(base, 'lora-fa', 1), fileHandler(path('page/start.safetensors')));
if (!argv.includes('--quick')) {
  await checkServers({base: path('page'), adapter: path('page/start.safetensors'), path});
}

const run = fileURLToPath(new URL('../../../examples/federated/run.ts', import.meta.url));
const said = execFileSync(process.execPath, ['--import', 'tsx', run, '--quick'], {
  encoding: 'utf8',
  stdio: ['ignore', 'pipe', 'inherit'],
});
console.log(said);
const percent = (row: string) => Number(new RegExp(`^${row} +([\\d.]+)`, 'm').exec(said)?.[1]);
const [federated, alone] = [percent('LoRA-FA, mean of B'), percent('LoRA-FA, the best client alone')];
if (!said.includes('was killed in round 2') || !(federated > alone)) {
  throw new Error('The federation must read more digits than the best client alone, with a node that was killed.');
}
