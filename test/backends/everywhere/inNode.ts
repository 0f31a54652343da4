// Runs the suite in this process: `inNode.ts <backend> <order>`. Prints a line for each outcome.

import {createRequire} from 'node:module';
import {argv} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {type Order, start} from './start';

const PACKAGES: Record<string, string> = {
  wasm: '@tensorflow/tfjs-backend-wasm',
  tensorflow: '@tensorflow/tfjs-node',
};

const [, , backend = '', order = ''] = argv;
const require = createRequire(import.meta.url);
tf.enableProdMode();

await start(backend, order as Order, {
  site: 'Node',
  loadBackends: () => {
    const name = PACKAGES[backend];
    return Promise.resolve(name === undefined ? undefined : require(name));
  },
  ownCases: async () => {
    const {languageCases} = await import('./languageCases');
    const {readFile} = await import('node:fs/promises');
    const written = languageCases(async name => new Uint8Array(await readFile(`test/fixtures/gguf/${name}`)));
    return [...written, ...(backend === 'tensorflow' ? (await import('./fileCases')).fileCases : [])];
  },
  report: outcome => console.log(`OUTCOME ${JSON.stringify(outcome)}`),
});
