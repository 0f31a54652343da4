// A process that reads from a hub, and prints what is there: `hubReader.ts <endpoint> <folder> <what> <address>`.

import {createHash} from 'node:crypto';
import {argv} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import {bytesOf, fetched} from '../../../src/core/storage/sources';
import '../../../src/graph';
import {loadKerasModel, setHub} from '../../../src/node';

const [endpoint = '', folder = '', what = '', address = ''] = argv.slice(2);

async function read(): Promise<string> {
  setHub({endpoint, cache: {folder}});
  if (what === 'bytes') {
    const bytes = await bytesOf(await fetched(address, {}), {maxBytes: 1e9});
    return createHash('sha256').update(bytes).digest('hex');
  }
  await tf.setBackend('cpu');
  const model = what === 'graph' ? await tf.loadGraphModel(address) : await loadKerasModel(address);
  const weights = 'getWeights' in model ? model.getWeights() : Object.values(model.weights).flat();
  return JSON.stringify(weights.map(weight => [...weight.dataSync()]));
}

void read().then(text => process.stdout.write(text));
