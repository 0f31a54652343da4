import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, saveAdapter, startWasm} from 'tfjs-lora';
import {joinFederation} from 'tfjs-lora/federated';
import {labels, serverUrl, url, xs} from './data';

await startWasm();
const model = applyLoRA(await tf.loadLayersModel(url), {rank: 2, method: 'lora-fa', seed: 1});
compileModel(model, {optimizer: adam({learningRate: 1e-2})});
const run = joinFederation({
  url: serverUrl,
  model,
  train: async trained => {
    const {history} = await trained.fit(xs, labels, {epochs: 1});
    return {examples: xs.shape[0], metrics: {loss: history.loss!.at(-1) as number}};
  },
});
await run.finished;
await saveAdapter(model, 'common.safetensors');
