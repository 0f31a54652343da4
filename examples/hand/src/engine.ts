import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, fromSafetensors, mergeLoRA} from 'tfjs-lora';
import {toGraphModel} from 'tfjs-lora/graph';
import {Learning} from '../../shared/learning';
import {startWasm} from '../../shared/wasm';
import type {Frames} from '../data';
import {errorOf, featuresOf, featuresOfCopies, type Hand, learn, openHand} from '../learn';
import type {Engine, Labelled, Landmarks, Learned, News, Size, Start} from './protocol';

/** No adapter of this model comes near it. */
const MOST_BYTES = 2 ** 24;
/** About so many pictures are in an epoch, copies included. */
const EXAMPLES = 120;
/** Every fifth frame is held out. */
const isHeldOut = (_: unknown, i: number) => i % 5 === 4;

/** The model of hands, and what it has learned. */
export class HandEngine implements Engine {
  private graphModel: tf.GraphModel | undefined;
  private hand: Hand | undefined;
  private readonly learning = new Learning();
  private isStopped = false;

  constructor(private readonly tell: (news: News) => void) {}

  async start(url: string): Promise<Start> {
    await startWasm();
    this.graphModel = await tf.loadGraphModel(url);
    this.hand = await openHand(this.graphModel);
    return {parameters: this.hand.front.countParams() + this.hand.body.countParams()};
  }

  look(picture: ImageData): Promise<Landmarks> {
    const {front, body} = this.opened();
    // What lies before the cut is the same for both.
    const seen = tf.tidy(() => front.predict(tensorOf([picture])) as tf.Tensor);
    const by = (model: tf.LayersModel) => tf.tidy(() => [...(model.predict(seen) as tf.Tensor).dataSync()]);
    const landmarks = {before: by(body), after: this.learning.model === undefined ? null : by(this.learning.model)};
    seen.dispose();
    return Promise.resolve(landmarks);
  }

  async learn(frames: readonly Labelled[], epochs: number): Promise<Learned> {
    const hand = this.opened();
    const [trained, heldOut] = [frames.filter((each, i) => !isHeldOut(each, i)), frames.filter(isHeldOut)];
    const begin = performance.now();
    this.isStopped = false;
    const [own, test] = [framesOf(trained), framesOf(heldOut)];
    const held = featuresOf(hand, test);
    try {
      const copies = Math.max(1, Math.round(EXAMPLES / trained.length) - 1);
      const features = await featuresOfCopies(hand, own, copies, 1, (done, total) => {
        this.tell({kind: 'copies', done, total});
        return !this.isStopped;
      });
      if (features === null) {
        throw new Error('Stopped before the first step: nothing has changed.');
      }
      let model: tf.LayersModel;
      try {
        model = await learn(hand.body, features, {
          method: 'lora',
          epochs,
          seed: 1,
          onStep: (step, steps, loss) => {
            this.tell({kind: 'step', step, steps, loss});
            return !this.isStopped;
          },
        });
      } finally {
        tf.dispose([features.xs, features.ys]);
      }
      const errors = {count: heldOut.length, before: errorOf(hand.body, held), after: errorOf(model, held)};
      const seconds = (performance.now() - begin) / 1000;
      return {...(await this.learning.takeOn(model)), seconds, isStopped: this.isStopped, heldOut: errors};
    } finally {
      tf.dispose([own, test, held].flatMap(({xs, ys}) => [xs, ys]));
    }
  }

  stop(): Promise<void> {
    this.isStopped = true;
    return Promise.resolve();
  }

  file(): Promise<Blob> {
    return this.learning.file();
  }

  async graph(): Promise<{topology: Blob; weights: Blob}> {
    const merged = mergeLoRA(this.learning.learned);
    const tuned = await toGraphModel(merged, this.graphModel!, {dtype: 'float16'});
    disposeModel(merged);
    let files: {topology: Blob; weights: Blob} | undefined;
    await tuned.save(
      tf.io.withSaveHandler(({weightData, weightSpecs, ...rest}) => {
        const weightsManifest = [{paths: ['hand.bin'], weights: weightSpecs}];
        files = {
          topology: new Blob([JSON.stringify({...rest, weightsManifest})]),
          weights: new Blob([weightData].flat() as ArrayBuffer[]),
        };
        return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}});
      }),
    );
    tuned.dispose();
    return files!;
  }

  async open(file: File): Promise<Size> {
    const {body} = this.opened();
    if (file.size > MOST_BYTES) {
      throw new Error(`${file.name}: too large for an adapter of this model.`);
    }
    try {
      const adapter = fromSafetensors(new Uint8Array(await file.arrayBuffer()));
      try {
        return await this.learning.takeOn(applyLoRA(body, adapter));
      } finally {
        adapter.dispose();
      }
    } catch (error) {
      throw new Error(`${file.name}: ${(error as Error).message}`, {cause: error});
    }
  }

  forget(): Promise<void> {
    this.learning.forget();
    return Promise.resolve();
  }

  private opened(): Hand {
    if (this.hand === undefined) {
      throw new Error('The model is not loaded.');
    }
    return this.hand;
  }
}

function tensorOf(pictures: readonly ImageData[]): tf.Tensor4D {
  return tf.tidy(() => tf.div<tf.Tensor4D>(tf.stack(pictures.map(picture => tf.browser.fromPixels(picture))), 255));
}

function framesOf(labelled: readonly Labelled[]): Frames {
  return {
    xs: tensorOf(labelled.map(({picture}) => picture)),
    ys: tf.tensor2d(labelled.map(({landmarks}) => [...landmarks])),
  };
}
