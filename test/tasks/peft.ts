import * as tf from '@tensorflow/tfjs';
import {applyLoRA, loadAdapter, saveAdapter} from 'tfjs-lora';
import {url} from './data';

const base = await tf.loadLayersModel(url);
const model = applyLoRA(base, await loadAdapter('from-python', {model: base}));
await saveAdapter(model, 'for-python', {format: 'peft'});
