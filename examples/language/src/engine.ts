import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, compileModel, disposeModel, learningRateSchedule, type LoRAConfig} from 'tfjs-lora';
import {
  type Chat,
  type ChatBatches,
  type ChatRecord,
  compilePreferences,
  encodeChats,
  encodePreferences,
  generate,
  type ChatMessage,
  openChat,
  type PreferenceBatches,
} from 'tfjs-lora/language';
import {GGUFEngine} from '../../shared/page/ggufEngine';
import type {Size} from '../../shared/page/results';
import {heard} from '../../shared/steps';
import type {Course, Feedback, Learned, News, Prompt, Training} from './protocol';

const LORA: LoRAConfig = {rank: 8, alpha: 16, seed: 1, targets: [/[qv]_proj$/]};
/** Longer texts are truncated, in tokens. */
const MAX_LENGTH = 256;
const BATCH = 4;
/** The maximum length of generated texts, in tokens. */
const MAX_TOKENS = 48;

/** A part of a training. */
interface Phase {
  /** The steps of an epoch. */
  steps: number;
  learningRate: number;
  /** Compiles the model, and makes the batches. */
  prepare: (model: tf.LayersModel, optimizer: tf.Optimizer) => Promise<ChatBatches | PreferenceBatches>;
}

/** The language model and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class LanguageEngine extends GGUFEngine<News> {
  private training: tf.LayersModel | undefined;
  /** The conversation with the base model, and the one with the adapted model. */
  private readonly chats = new Map<tf.LayersModel, {chat: Chat; system: string | undefined}>();

  /** Trains a new adapter. */
  learn({examples, ...training}: Course): Promise<Learned> {
    return this.train(applyLoRA(this.loaded().model, LORA), training, [this.onTexts(examples, 2e-3)]);
  }

  /** Trains a copy of the adapter on what is liked, then on all ratings; a new adapter if there is none. */
  async learnRatings({ratings, ...training}: Feedback): Promise<Learned> {
    const {model: base, tokenizer} = this.loaded();
    const model =
      this.learning.model === undefined
        ? applyLoRA(base, LORA)
        : await this.learning.withAdapter(adapter => Promise.resolve(applyLoRA(base, adapter)));
    // KTO moves a model only a short way: what the visitor likes has to be likely already.
    const liked = ratings.filter(({label}) => label).map(({prompt, completion}) => answered(prompt, completion));
    const kto: Phase = {
      steps: Math.ceil(ratings.length / BATCH),
      learningRate: 5e-4,
      prepare: async (_, optimizer) => {
        const data = await encodePreferences(model, tokenizer, ratings, {
          ...{batchSize: BATCH, maxLength: MAX_LENGTH, seed: 1, signal: this.stopping.signal},
          onProgress: ({done, total}) => this.tell({kind: 'preparing', done, total}),
        });
        compilePreferences(model, {method: 'kto', optimizer});
        return data;
      },
    };
    return this.train(model, training, [...(liked.length > 0 ? [this.onTexts(liked, 1e-3)] : []), kto]);
  }

  /** Ends training after the current step, or text generation. */
  override stop(): Promise<void> {
    if (this.training !== undefined) {
      this.training.stopTraining = true;
    }
    return super.stop();
  }

  /** Continues a text or answers a chat, with or without the adapter. */
  write(prompt: Prompt, learned: boolean): Promise<string> {
    this.stopping = new AbortController();
    const model = this.answering(learned);
    return this.written(
      () => (typeof prompt === 'string' ? this.generated(model, prompt) : this.answered(model, prompt)),
      piece => this.tell({kind: 'piece', text: piece}),
    );
  }

  /** Answers a chat on its own, with sampling: another answer each time. */
  sample(prompt: Prompt, learned: boolean): Promise<string> {
    this.stopping = new AbortController();
    const model = this.answering(learned);
    return this.written(
      () => this.generated(model, prompt, 0.8),
      piece => this.tell({kind: 'piece', text: piece}),
    );
  }

  override forget(): Promise<void> {
    this.closeChats();
    return super.forget();
  }

  /** Trains on texts, or on answers to chats. */
  private onTexts(examples: readonly ChatRecord[], learningRate: number): Phase {
    return {
      steps: Math.ceil(examples.length / BATCH),
      learningRate,
      prepare: async (model, optimizer) => {
        const options = {batchSize: BATCH, maxLength: MAX_LENGTH, seed: 1};
        const data = await encodeChats(model, this.loaded().tokenizer, examples, options);
        compileModel(model, {optimizer});
        return data;
      },
    };
  }

  /** Trains a model in phases of as many epochs each, and takes it on. */
  private async train(model: tf.LayersModel, {epochs, sample}: Training, phases: Phase[]): Promise<Learned> {
    const begin = performance.now();
    this.training = model;
    this.stopping = new AbortController();
    const {signal} = this.stopping;
    const steps = epochs * phases.reduce((sum, phase) => sum + phase.steps, 0);
    let [step, epoch, truncated] = [0, 0, 0];
    try {
      for (const {learningRate, prepare} of phases) {
        const optimizer = adamW({learningRate});
        try {
          const data = await prepare(model, optimizer);
          truncated = Math.max(truncated, data.truncated);
          await model.fitDataset(data, {
            epochs,
            verbose: 0,
            callbacks: [
              learningRateSchedule({warmup: 0.1}),
              new tf.CustomCallback({
                onBatchEnd: async (_, logs) => {
                  this.tell({kind: 'step', step: ++step, steps, loss: Number(logs?.loss)});
                  await heard();
                },
                onEpochEnd: async () => {
                  const text = await this.written(() => this.generated(model, sample));
                  epoch++;
                  // What is stopped is no answer.
                  if (!signal.aborted) {
                    this.tell({kind: 'sample', epoch, text});
                  }
                },
              }),
            ],
          });
        } catch (error) {
          if (!signal.aborted || step === 0) {
            throw error;
          }
        } finally {
          optimizer.dispose();
        }
        if (signal.aborted) {
          break;
        }
      }
      return {...(await this.takeOn(model)), seconds: (performance.now() - begin) / 1000, truncated};
    } catch (error) {
      disposeModel(model);
      throw signal.aborted ? new Error('Stopped before the first step.', {cause: error}) : error;
    } finally {
      this.training = undefined;
    }
  }

  /** Replaces the adapted model. Both models start new conversations, so that their answers can be compared. */
  protected override takeOn(model: tf.LayersModel): Promise<Size> {
    this.closeChats();
    return super.takeOn(model);
  }

  private closeChats(): void {
    this.chats.forEach(({chat}) => chat.dispose());
    this.chats.clear();
  }

  /** Continues a text, or answers a chat on its own. */
  private generated(model: tf.LayersModel, prompt: Prompt, temperature = 0): AsyncIterable<string> {
    // An answer in a chat ends with an end-of-text token.
    const stop = typeof prompt === 'string' ? ['\n'] : [];
    const {signal} = this.stopping;
    return generate(model, this.loaded().tokenizer, prompt, {maxTokens: MAX_TOKENS, temperature, stop, signal});
  }

  /** Answers a message in the conversation with a model. Another system message starts another conversation. */
  private answered(model: tf.LayersModel, messages: readonly ChatMessage[]): AsyncIterable<string> {
    const system = messages.find(({role}) => role === 'system')?.content;
    let open = this.chats.get(model);
    if (open?.system !== system) {
      open?.chat.dispose();
      open = undefined;
    }
    open ??= {chat: openChat(model, this.loaded().tokenizer, {system, maxTokens: MAX_TOKENS}), system};
    this.chats.set(model, open);
    return open.chat.send(messages.at(-1)!.content, {signal: this.stopping.signal});
  }
}

/** A chat with an answer, to train on. */
function answered(prompt: readonly ChatMessage[], content: string): ChatRecord {
  return {messages: [...prompt, {role: 'assistant', content}]};
}
