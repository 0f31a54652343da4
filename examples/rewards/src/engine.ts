import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, disposeModel, type LoRAConfig} from 'tfjs-lora';
import {type ChatMessage, generate, type SampledAnswer, trainOnRewards} from 'tfjs-lora/language';
import {GGUFEngine} from '../../shared/page/ggufEngine';
import {heard} from '../../shared/steps';
import type {Course, Learned, News} from './protocol';
import {type Answer, type Reward, rewardsOf, type Wishes} from './wishes';

const LORA: LoRAConfig = {rank: 16, alpha: 32, seed: 1, targets: [/[qkvo]_proj$/]};
const LEARNING_RATE = 1e-3;

/** The language model and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class RewardsEngine extends GGUFEngine<News> {
  /** Trains a copy of the adapter; a new adapter if there is none. */
  async learn({questions, wishes, steps, group, maxTokens}: Course): Promise<Learned> {
    const {model: base, tokenizer} = this.loaded();
    const rewards = rewardsOf(wishes);
    const begin = performance.now();
    this.stopping = new AbortController();
    const {signal} = this.stopping;
    const model =
      this.learning.model === undefined
        ? applyLoRA(base, LORA)
        : await this.learning.withAdapter(adapter => Promise.resolve(applyLoRA(base, adapter)));
    const optimizer = adamW({learningRate: LEARNING_RATE});
    let done = 0;
    try {
      await trainOnRewards(model, tokenizer, {
        prompts: questions.map(question => ({prompt: asked(question), question})),
        // Each wish counts as much as the others, and the most that an answer gets is 1.
        rewards: rewards.map(({of}) => [answers => answers.map(answer => of(answered(answer))), 1 / rewards.length]),
        ...{optimizer, steps, group, maxTokens, signal, seed: 1},
        callbacks: [new tf.CustomCallback({onEpochEnd: heard})],
        onStep: ({reward, examples}) => {
          const sorted = [...examples].sort((a, b) => b.reward - a.reward);
          const [best, worst] = [sorted[0]!, sorted.at(-1)!];
          const {question} = answered(best);
          this.tell({kind: 'step', step: ++done, steps, reward, question, best: shown(best), worst: shown(worst)});
        },
      });
    } catch (error) {
      // What was learned in whole steps is kept.
      if (!signal.aborted || done === 0) {
        disposeModel(model);
        throw signal.aborted ? new Error('Stopped before the first step ended.', {cause: error}) : error;
      }
    } finally {
      optimizer.dispose();
    }
    return {...(await this.takeOn(model)), seconds: (performance.now() - begin) / 1000};
  }

  /** Answers a question, with or without the adapter. */
  write(question: string, learned: boolean, maxTokens: number): Promise<string> {
    this.stopping = new AbortController();
    const {signal} = this.stopping;
    const model = this.answering(learned);
    return this.written(
      () => generate(model, this.loaded().tokenizer, asked(question), {maxTokens, signal}),
      piece => this.tell({kind: 'piece', text: piece}),
    );
  }

  /** What an answer gets for each wish. The visitor's function runs here, where it does not hold up the page. */
  judge(answer: Answer, wishes: Wishes): Promise<{name: string; reward: number}[]> {
    const rewardFor = ({name, of}: Reward) => ({name, reward: of(answer)});
    return Promise.resolve().then(() => rewardsOf(wishes).map(rewardFor));
  }
}

function asked(content: string): ChatMessage[] {
  return [{role: 'user', content}];
}

function answered({text, truncated, record}: SampledAnswer): Answer {
  return {text, truncated, question: (record as {question?: string}).question ?? ''};
}

function shown({text, reward}: {text: string; reward: number}): {text: string; reward: number} {
  return {text, reward};
}
