import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA} from 'tfjs-lora';
import {withAdapterIn} from '../../shared/learning';
import {AdapterEngine} from '../../shared/page/engine';
import {isHeldOut} from '../../shared/page/heldOut';
import type {Size} from '../../shared/page/results';
import {locateWasm} from '../../shared/wasm';
import {loadBase} from './base';
import {chancesOf, learn, type Pictures, rightOf, type Way} from './learn';

/** No adapter of this model is nearly as large. */
const MAX_BYTES = 2 ** 25;

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** How many images were held out, and how many of them are classified correctly. */
  count: number;
  right: number;
}

/** The image classifier and its adapter. Its news are the share of a training that is done. */
export class PictureEngine extends AdapterEngine<number> {
  private base: tf.LayersModel | undefined;
  private stopping = new AbortController();

  /** Loads the base on a backend. */
  async start(backend: string): Promise<void> {
    this.learning.forget();
    if (this.base !== undefined) {
      disposeModel(this.base);
    }
    tf.enableProdMode();
    locateWasm();
    if (!(await tf.setBackend(backend))) {
      throw new Error(`This browser could not start the ${backend} backend.`);
    }
    this.base = await loadBase();
  }

  override stop(): Promise<void> {
    this.stopping.abort();
    return super.stop();
  }

  /** Trains a new adapter on the images of classes, and measures it on those that are held out. */
  async learn(
    classes: readonly (readonly HTMLCanvasElement[])[],
    way: Way,
    settings: {epochs: number; copies: number},
  ): Promise<Learned> {
    const [trained, heldOut] = [false, true].map(isHeld =>
      picturesOf(classes.map(pictures => pictures.filter((_, i) => isHeldOut(i) === isHeld))),
    ) as [Pictures, Pictures];
    const begin = performance.now();
    this.stopping = new AbortController();
    const {signal} = this.stopping;
    try {
      const model = await learn(this.base!, trained, way, {...settings, signal, onProgress: this.tell});
      const size = await this.learning.takeOn(model);
      const seconds = (performance.now() - begin) / 1000;
      const count = heldOut.labels.shape[0];
      return {...size, seconds, isStopped: signal.aborted, count, right: await rightOf(model, heldOut)};
    } catch (error) {
      throw signal.aborted ? new Error('Stopped before the first step. Nothing has changed.') : error;
    } finally {
      tf.dispose([trained, heldOut] as unknown as tf.TensorContainer);
    }
  }

  /** How likely each class is for an image. */
  async look(picture: HTMLCanvasElement): Promise<number[]> {
    const images = tensorOf([picture]);
    const [chances] = await chancesOf(this.learning.learned, images);
    images.dispose();
    return chances!;
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
    await merged.save('downloads://pictures');
    disposeModel(merged);
  }
}

/** Images of classes, with their labels. */
function picturesOf(classes: readonly (readonly HTMLCanvasElement[])[]): Pictures {
  return tf.tidy(() => {
    const labels = tf.tensor1d(classes.flatMap((pictures, label) => pictures.map(() => label)), 'int32'); // prettier-ignore
    return {
      images: tensorOf(classes.flat()),
      labels: tf.cast(tf.oneHot(labels, classes.length), 'float32') as tf.Tensor2D,
    };
  });
}

/** Images as the base's input: `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
function tensorOf(pictures: readonly HTMLCanvasElement[]): tf.Tensor4D {
  return tf.tidy(() => {
    const pixels = pictures.map(picture => tf.browser.fromPixels(picture)); // whole numbers from 0 to 255
    return tf.div<tf.Tensor4D>(tf.cast(tf.stack(pixels), 'float32'), 255);
  });
}
