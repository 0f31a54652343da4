import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, saveAdapter, startWasm, trainableVariables} from 'tfjs-lora';
import {type EncodedTexts, encodeTexts, loadTransformer, rankingLoss} from 'tfjs-lora/transformers';
import {encoderUrl} from './data';

await startWasm();
const {model: base, tokenizer} = await loadTransformer(encoderUrl, {pooling: 'mean'});
const model = applyLoRA(base, {rank: 2, targets: ['query', 'value']});
const questions = encodeTexts(model, tokenizer, ['yes', 'no']);
const answers = encodeTexts(model, tokenizer, ['the cat', 'a dog']);
const vectors = ({inputIds, attentionMask}: EncodedTexts) =>
  model.apply([inputIds, attentionMask], {training: true}) as tf.Tensor;
const [optimizer, variables] = [adam({learningRate: 1e-3}), trainableVariables(model)];
for (let step = 0; step < 3; step++) {
  tf.tidy(() => void optimizer.minimize(() => rankingLoss(vectors(questions), vectors(answers)), false, variables));
}
await saveAdapter(model, 'sentences.safetensors');
