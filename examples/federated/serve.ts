/**
 * Starts a server of Flower, builds the page of a client, and serves it on this machine.
 *
 *     npm run example -- federated-page
 */
import {mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {fileHandler, saveAdapter} from 'tfjs-lora';
import {servePage} from '../shared/serve';
import {pretrained} from './data';
import {installFlower, SuperLink} from './flower';
import {adapt} from './task';

const OUTPUT = fileURLToPath(new URL('output/page/', import.meta.url));
const NODES = 3;
const ROUNDS = 10;

await tf.setBackend('wasm');
installFlower(line => console.log(line));
mkdirSync(OUTPUT, {recursive: true});
const base = await pretrained();
await base.save(fileHandler(OUTPUT));
const adapter = join(OUTPUT, 'start.safetensors');
await saveAdapter(adapt(base, 'lora-fa', 1), fileHandler(adapter));

const link = await SuperLink.start();
process.on('exit', () => link.stop());
process.on('SIGINT', () => process.exit(130));
process.env.FLOWER_URL = link.url;
await servePage(fileURLToPath(new URL('vite.config.ts', import.meta.url)));
console.log(
  `Open it in three tabs: ?client=1, ?client=2, ?client=3. A run of ${ROUNDS} rounds begins when three are there.`,
);
for (;;) {
  const result = join(OUTPUT, 'result.safetensors');
  rmSync(result, {force: true});
  await link.run({strategy: 'mean', rounds: ROUNDS, nodes: NODES, adapter, result, frozen: 'lora_A', evaluate: true});
  console.log(`A run is over. Its adapter is ${result}.`);
}
