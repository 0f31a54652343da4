import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, sgd} from 'tfjs-lora';
import {loadGGUF, type RewardOptions, trainOnRewards} from 'tfjs-lora/language';
import {fileOf} from '../../extensions/language/ggufFiles';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';

const PROMPTS: Json = ['the fox', {prompt: 'who', answer: 3}, {prompt: [{role: 'user', content: 'what'}], tags: []}];

const SETTINGS: readonly Json[] = [
  {loss: 'dapo', beta: 0.1, epsilon: 0.2, epsilonHigh: 0.28, padToMultipleOf: 8, scaleRewards: 'batch', seed: 1},
  {loss: 'rloo', importance: 'sequence', iterations: 2, batchSize: 1, temperature: 0.7, maskTruncated: true},
  {loss: 'cispo', epsilonHigh: 5, combine: 'normalize', topK: 3, topP: 0.9, restore: true},
];

/** Prompts, settings and rewards of a stranger, such as of a form in a page. */
export const rewardSettings: AttackKind = {
  name: 'settings of rewards',
  async prepare() {
    const {model, tokenizer} = await loadGGUF(fileOf('llama'));
    const chatTemplate = {render: ({messages}: Record<string, unknown>) => JSON.stringify(messages)};
    const withTemplate = Object.assign(Object.create(tokenizer) as typeof tokenizer, {chatTemplate});
    return {
      whole: SETTINGS.map((settings): Parts => ({settings, prompts: PROMPTS, values: [0.5, -1]})),
      models: [model],
      async use({settings, prompts, values}) {
        const adapted = applyLoRA(model, {rank: 1, targets: [/v_proj$/], seed: 1});
        const optimizer = sgd({learningRate: 0.01});
        try {
          await trainOnRewards(adapted, withTemplate, {
            ...(settings as Partial<RewardOptions>),
            prompts: prompts as RewardOptions['prompts'],
            rewards: [() => values as number[]],
            ...{steps: 1, group: 2, promptsPerStep: 1, maxTokens: 2, optimizer},
          });
          const sums = adapted.trainableWeights.map(weight => tf.tidy(() => tf.sum(weight.read()).dataSync()[0]));
          mustHold(sums.every(Number.isFinite), 'A weight is not finite.');
        } finally {
          optimizer.dispose();
          disposeModel(adapted);
        }
      },
    };
  },
};
