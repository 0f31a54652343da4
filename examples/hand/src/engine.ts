import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA} from 'tfjs-lora';
import {toGraphModel} from 'tfjs-lora/graph';
import {withAdapterIn} from '../../shared/learning';
import {AdapterEngine} from '../../shared/page/engine';
import type {Size} from '../../shared/page/results';
import {startWasm} from '../../shared/wasm';
import type {Frames} from '../data';
import {
  errorOf,
  featuresOf,
  type Features,
  featuresOfCopies,
  guessesOf,
  type Hand,
  learn,
  openHand,
  seenIn,
} from '../learn';
import {heldOutOf, type Labelled} from './labelled';

export interface Sight {
  before: Guess;
  after: Guess | null;
}

/** The landmarks, as in `Labelled`, and the probability that there is a hand. */
export interface Guess {
  landmarks: number[];
  presence: number;
}

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** The held-out frames with a hand, and their mean error, relative to the hand's diagonal. */
  hands: {count: number; before: number; after: number};
  /** The held-out frames without a hand, and in how many of them one was found. */
  grounds: {count: number; before: number; after: number};
}

/** News: how much of the work before the first step is done, or a training step. */
export type News =
  {kind: 'copies'; done: number; total: number} | {kind: 'step'; step: number; steps: number; loss: number};

/** No adapter of this model is nearly as large. */
const MAX_BYTES = 2 ** 24;
/** About how many images are in an epoch, with copies. */
const EXAMPLES = 120;

/** The hand model and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class HandEngine extends AdapterEngine<News> {
  private graphModel: tf.GraphModel | undefined;
  private hand: Hand | undefined;

  /** Loads the model from the file at a URL. */
  async start(url: string): Promise<{parameters: number}> {
    await startWasm();
    this.graphModel = await tf.loadGraphModel(url);
    this.hand = await openHand(this.graphModel);
    return {parameters: this.hand.front.countParams() + this.hand.body.countParams()};
  }

  /** Finds the landmarks in an image, without and, if there is one, with the adapter. */
  look(picture: ImageData): Promise<Sight> {
    const {front, body} = this.opened();
    // The part before the cut is the same for both.
    const seen = tf.tidy(() => front.predict(tensorOf([picture])) as tf.Tensor4D);
    const by = (model: tf.LayersModel): Guess =>
      tf.tidy(() => {
        const {landmarks, presence} = guessesOf(model, seen);
        return {landmarks: [...landmarks.dataSync()], presence: presence.dataSync()[0]!};
      });
    const {model} = this.learning;
    const sight = {before: by(body), after: model === undefined ? null : by(model)};
    seen.dispose();
    return Promise.resolve(sight);
  }

  /** Trains a new adapter on frames. */
  async learn(frames: readonly Labelled[], epochs: number): Promise<Learned> {
    const hand = this.opened();
    const isHeld = heldOutOf(frames);
    const [trained, heldOut] = [frames.filter((_, i) => !isHeld[i]), frames.filter((_, i) => isHeld[i])];
    const [hands, grounds] = [
      heldOut.filter(({landmarks}) => landmarks !== null),
      heldOut.filter(({landmarks}) => landmarks === null),
    ];
    const begin = performance.now();
    this.isStopped = false;
    const own = framesOf(trained);
    try {
      const copies = Math.max(1, Math.round(EXAMPLES / trained.length) - 1);
      const features = await featuresOfCopies(hand, own, copies, 1, (done, total) => {
        this.tell({kind: 'copies', done, total});
        return !this.isStopped;
      });
      if (features === null) {
        throw new Error('Stopped before the first step. Nothing has changed.');
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
      const measures = {
        hands: this.measured(hands, model, errorOf),
        grounds: this.measured(grounds, model, (each, {xs}) => tf.tidy(() => seenIn(guessesOf(each, xs).presence))),
      };
      const seconds = (performance.now() - begin) / 1000;
      return {...(await this.learning.takeOn(model)), seconds, isStopped: this.isStopped, ...measures};
    } finally {
      tf.dispose([own.xs, own.ys]);
    }
  }

  /** Measures frames with the published model and with another. */
  private measured(
    labelled: readonly Labelled[],
    model: tf.LayersModel,
    measure: (model: tf.LayersModel, features: Features) => number,
  ): {count: number; before: number; after: number} {
    if (labelled.length === 0) {
      return {count: 0, before: 0, after: 0};
    }
    const hand = this.opened();
    return tf.tidy(() => {
      const features = featuresOf(hand, framesOf(labelled));
      return {count: labelled.length, before: measure(hand.body, features), after: measure(model, features)};
    });
  }

  /** The whole graph with the adapter merged, as the two files that `tf.loadGraphModel` takes. */
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

  /** Opens the adapter in a file. */
  async open(file: File): Promise<Size> {
    const {body} = this.opened();
    return withAdapterIn(file, MAX_BYTES, adapter => this.learning.takeOn(applyLoRA(body, adapter)));
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
    ys: tf.tensor2d(labelled.map(({landmarks}) => [...(landmarks ?? Array.from({length: 63}, () => NaN))])),
  };
}
