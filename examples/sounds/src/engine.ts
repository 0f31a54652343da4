import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA} from 'tfjs-lora';
import {resample, type Sound} from 'tfjs-lora/sound';
import {encodeWords, loadWordBase} from 'tfjs-lora/words';
import {withAdapterIn} from '../../shared/learning';
import {AdapterEngine} from '../../shared/page/engine';
import {fetched} from '../../shared/page/fetched';
import {isHeldOut} from '../../shared/page/heldOut';
import type {Size} from '../../shared/page/results';
import type {SampleClass} from '../../shared/page/samples';
import {startWasm} from '../../shared/wasm';
import {RATE} from '../clips';
import {
  adapt,
  chooseDetection,
  classify,
  type Clips,
  type Detection,
  learn,
  SETTINGS,
  type Talk,
  talkFrom,
  type Way,
} from '../learn';

/** No adapter of this model is nearly as large. */
const MAX_BYTES = 2 ** 24;

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  detection: Detection;
  /** The classes of the held-out clips, and what each was taken for. */
  labels: readonly number[];
  guesses: readonly number[];
}

/** The sound classifier and its adapter. Its news are the share of a training that is done. */
export class SoundEngine extends AdapterEngine<number> {
  private base: tf.LayersModel | undefined;
  /** Other words than the visitor's. */
  private talk: Talk | undefined;
  private stopping = new AbortController();

  async start(): Promise<void> {
    await startWasm();
    this.base = (await loadWordBase()).model;
    const talk = await fetched('clips/talk.bin');
    this.talk = talkFrom(new Uint8Array(await talk.arrayBuffer()));
  }

  override stop(): Promise<void> {
    this.stopping.abort();
    return super.stop();
  }

  /** Trains a new adapter on the clips of classes, the last of which is the background. */
  async learn(
    classes: readonly SampleClass<Sound>[],
    way: Way,
    settings: {epochs: number; copies: number},
  ): Promise<Learned> {
    const [trained, heldOut] = [clipsOf(classes, false), clipsOf(classes, true)];
    const noise = trained.clips.filter((_, i) => trained.labels[i] === classes.length - 1);
    const begin = performance.now();
    this.stopping = new AbortController();
    const {signal} = this.stopping;
    await tf.nextFrame(); // shows that it trains before the spectrograms are computed
    const model = adapt(this.base!, classes.length, way, 1);
    try {
      const {rate} = SETTINGS[way];
      await learn(model, trained, {
        ...{...settings, way, rate, talk: this.talk!, noise, seed: 1, signal},
        onProgress: this.tell,
      });
    } catch (error) {
      disposeModel(model);
      throw error;
    }
    const seconds = (performance.now() - begin) / 1000;
    const names = classes.map(({name}) => name);
    return {
      ...(await this.learning.takeOn(model)),
      ...{seconds, isStopped: signal.aborted, labels: heldOut.labels, guesses: classify(model, heldOut.clips)},
      detection: chooseDetection(model, heldOut, names, this.talk!),
    };
  }

  /** How likely each class is for a sound of one second. */
  async look(sound: Sound): Promise<number[]> {
    const model = this.learning.learned;
    const output = tf.tidy(() => model.predict(encodeWords([resample(sound, RATE)])) as tf.Tensor);
    const scores = [...(await output.data())];
    output.dispose();
    return scores;
  }

  /** Opens the adapter in a file. @returns how many classes it tells apart. */
  open(file: File): Promise<number> {
    return withAdapterIn(file, MAX_BYTES, async adapter => {
      const model = applyLoRA(this.base!, adapter);
      await this.learning.takeOn(model);
      return model.outputs[0]!.shape[1]!;
    });
  }

  /** Downloads the whole classifier. */
  async download(): Promise<void> {
    const merged = mergeLoRA(this.learning.learned);
    await merged.save('downloads://sounds');
    disposeModel(merged);
  }

  /** The whole classifier as an ONNX file. */
  async onnx(): Promise<Blob> {
    const {toONNX} = await import('tfjs-lora/onnx'); // large, and rarely needed
    return new Blob([await toONNX(this.learning.learned)]);
  }
}

/** The held-out clips of all classes, or the others. */
function clipsOf(classes: readonly SampleClass<Sound>[], heldOut: boolean): Clips {
  const own = classes.map(({samples}) => samples.filter((_, i) => isHeldOut(i) === heldOut));
  return {clips: own.flat(), labels: own.flatMap((clips, label) => clips.map(() => label))};
}
