import * as tf from '@tensorflow/tfjs';
import {clip, wav} from '../../extensions/sound/clips';

export const preprocessor = {feature_extractor_type: 'ASTFeatureExtractor', max_length: 10};

export const file = new Blob([wav({data: new Uint8Array(4000)}).slice()]);
export const recordings = [file, clip(0)];
export const clips = [clip(1), clip(2)];
export const room = clip(3);
export const spectrograms = tf.zeros([2, 30, 40]);
export const logits = tf.zeros([2, 8, 5]);
export const windows = [{time: 0, scores: {yes: 0.9, background: 0.1}}];
export const known = [{time: 0.2, label: 'yes'}];
