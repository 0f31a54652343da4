import * as tf from '@tensorflow/tfjs';
import {applyLoRA, combineAdapters, loadAdapter, mergeLoRA, setAdapter, startWasm} from 'tfjs-lora';
import {url, xs} from './data';

await startWasm();
const [cats, dogs] = await Promise.all([loadAdapter('cats.safetensors'), loadAdapter('dogs.safetensors')]);
const model = applyLoRA(await tf.loadLayersModel(url), cats);
(model.predict(xs) as tf.Tensor).print();
setAdapter(model, dogs);
(model.predict(xs) as tf.Tensor).print();
const parts = [cats, dogs].map(adapter => ({adapter, weight: 0.5}));
setAdapter(model, await combineAdapters(parts, {rank: 2}));
await mergeLoRA(model).save('file://both');
