import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  disposeModel,
  findLearningRate,
  type LearningRateSweep,
  mergeLoRA,
  replaceHead,
  withAdapter,
} from 'tfjs-lora';
import type {NamedFile} from '../../shared/files';
import {withAdapterIn} from '../../shared/learning';
import {AdapterEngine} from '../../shared/page/engine';
import {isHeldOut} from '../../shared/page/heldOut';
import type {Size} from '../../shared/page/results';
import {locateWasm} from '../../shared/wasm';
import {classTensor, imageTensor, type LabelledImages, seededRandom, shuffledAndShifted} from './images';

/** The backends of tfjs, usually the fastest first. */
const BACKENDS = ['webgpu', 'webgl', 'wasm', 'cpu'] as const;
export type Backend = (typeof BACKENDS)[number];

/** Images of each class, in its order. */
type Classes = readonly (readonly Uint8Array[])[];

/** News: a step of training. */
export interface News {
  step: number;
  steps: number;
  loss: number;
}

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** How many images were held out, and how many of them are read correctly. */
  count: number;
  right: number;
}

/** No adapter of this model is nearly as large. */
const MAX_BYTES = 2 ** 22;
const BATCH = 16;

/** The digit reader and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class DigitEngine extends AdapterEngine<News> {
  private base: tf.LayersModel | undefined;

  /** The backends of this browser. */
  async backends(): Promise<Backend[]> {
    tf.enableProdMode();
    locateWasm();
    const there: Backend[] = [];
    for (const backend of BACKENDS) {
      if (await isThere(backend)) {
        there.push(backend);
      }
    }
    return there;
  }

  /** Loads the base from a URL on a backend, without an adapter. */
  async start(modelUrl: string, backend: Backend): Promise<void> {
    this.learning.forget();
    if (this.base !== undefined) {
      disposeModel(this.base);
      this.base = undefined;
    }
    if (!(await tf.setBackend(backend))) {
      throw new Error(`This browser could not start the ${backend} backend.`);
    }
    this.base = await tf.loadLayersModel(modelUrl);
  }

  /** Trains a new adapter on the images of classes, and measures it on those that are held out. */
  async learn(classes: Classes, {epochs, rate}: {epochs: number; rate: number}): Promise<Learned> {
    const [samples, heldOut] = [false, true].map(isHeld => labelled(classes, isHeld)) as [
      LabelledImages,
      LabelledImages,
    ];
    const model = this.untrained(classes.length);
    model.compile({optimizer: adam({learningRate: rate}), loss: 'categoricalCrossentropy'});
    this.isStopped = false;
    const begin = performance.now();
    const random = seededRandom(1);
    const steps = epochs * Math.ceil(samples.images.length / BATCH);
    let step = 0;
    const onBatchEnd = async (_: number, logs?: tf.Logs) => {
      this.tell({step: ++step, steps, loss: Number(logs?.loss)});
      await new Promise(resolve => setTimeout(resolve)); // lets in what the page has sent
      model.stopTraining = this.isStopped;
    };
    try {
      for (let epoch = 0; epoch < epochs && !model.stopTraining; epoch++) {
        // Each epoch shuffles and shifts the images again.
        const [x, y] = tensorsOf(shuffledAndShifted(samples, random), classes.length);
        await model.fit(x, y, {
          ...{batchSize: BATCH, shuffle: false, verbose: 0, yieldEvery: 'never'},
          callbacks: new tf.CustomCallback({onBatchEnd}),
        });
        tf.dispose([x, y]);
      }
    } catch (error) {
      disposeModel(model);
      throw error;
    }
    const size = await this.learning.takeOn(model);
    const seconds = (performance.now() - begin) / 1000;
    const right = await rightOf(model, heldOut);
    return {...size, seconds, isStopped: this.isStopped, count: heldOut.images.length, right};
  }

  /** Takes one step at each of many learning rates, with a new adapter, and leaves the current one as it is. */
  async tryRates(classes: Classes): Promise<Pick<LearningRateSweep, 'curve' | 'suggestion'>> {
    const model = this.untrained(classes.length);
    model.compile({optimizer: adam(), loss: 'categoricalCrossentropy'});
    const [x, y] = tensorsOf(labelled(classes, false), classes.length);
    try {
      const {curve, suggestion} = await findLearningRate(model, x, y, {from: 1e-5, batchSize: BATCH});
      return {curve, suggestion};
    } finally {
      tf.dispose([x, y]);
      disposeModel(model);
    }
  }

  /** How likely each digit is for the base, and each class for the adapter at a strength, if there is one. */
  async look(image: Uint8Array, strength: number): Promise<{base: number[]; adapted: number[] | null}> {
    const base = await chancesOf(this.base!, [image]);
    const adapted = this.learning.model && (await this.withStrength(strength, model => chancesOf(model, [image])));
    return {base: base[0]!, adapted: adapted?.[0] ?? null};
  }

  /** Opens the adapter in a file. @returns how many classes it tells apart. */
  open(file: File): Promise<number> {
    return withAdapterIn(file, MAX_BYTES, async adapter => {
      const model = applyLoRA(this.base!, adapter);
      await this.learning.takeOn(model);
      return model.outputs[0]!.shape[1]!;
    });
  }

  /** The merged model, with the adapter at a strength, as the two files of `model.save('downloads://digits')`. */
  async merged(strength: number): Promise<NamedFile[]> {
    const model = await this.withStrength(strength, mergeLoRA);
    let files: NamedFile[] = [];
    await model.save(
      // Only a page can start a download.
      tf.io.withSaveHandler(artifacts => {
        const {weightData, weightSpecs = [], ...others} = artifacts;
        const json = {...others, weightsManifest: [{paths: ['./digits.weights.bin'], weights: weightSpecs}]};
        files = [
          {name: 'digits.json', content: new Blob([JSON.stringify(json)])},
          {name: 'digits.weights.bin', content: new Blob([tf.io.CompositeArrayBuffer.join(weightData)])},
        ];
        return Promise.resolve({modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)});
      }),
    );
    disposeModel(model);
    return files;
  }

  /** The base with a new head and LoRA in the layers before it. */
  private untrained(classes: number): tf.LayersModel {
    const head = {units: classes, name: 'classes', activation: 'softmax' as const, kernelInitializer: 'zeros' as const};
    const headed = replaceHead(this.base!, [tf.layers.dense(head)]);
    const model = applyLoRA(headed, {rank: 8, alpha: 16, seed: 1});
    disposeModel(headed); // the adapted model shares what both need
    return model;
  }

  /** Does something with the adapted model, its low-rank updates scaled. The head stays as it was trained. */
  private withStrength<T>(strength: number, f: (model: tf.LayersModel) => T | Promise<T>): Promise<T> {
    return this.learning.withAdapter(async ({config, ...adapter}, model) => {
      const layers = Object.entries(config.layers).map(
        ([path, layer]) => [path, {...layer, alpha: layer.alpha * strength}] as const,
      );
      return withAdapter(model, {...adapter, config: {...config, layers: Object.fromEntries(layers)}}, () => f(model));
    });
  }
}

async function isThere(backend: Backend): Promise<boolean> {
  if (backend === 'webgpu') {
    const {gpu} = navigator as {gpu?: {requestAdapter(): Promise<unknown>}};
    if (((await gpu?.requestAdapter().catch(() => null)) ?? null) === null) {
      return false;
    }
    await import('@tensorflow/tfjs-backend-webgpu');
  }
  // In a worker, WebGL draws on a canvas that is on no page.
  if (backend === 'webgl' && new OffscreenCanvas(1, 1).getContext('webgl2') === null) {
    return false;
  }
  return tf.setBackend(backend);
}

/** The images to train on, or those that are held out. */
function labelled(classes: Classes, isHeld: boolean): LabelledImages {
  const chosen = classes.map(images => images.filter((_, i) => isHeldOut(i) === isHeld));
  return {images: chosen.flat(), classes: chosen.flatMap((images, label) => images.map(() => label))};
}

function tensorsOf({images, classes}: LabelledImages, count: number): [x: tf.Tensor4D, y: tf.Tensor2D] {
  return [imageTensor(images), classTensor(classes, count)];
}

async function chancesOf(model: tf.LayersModel, images: readonly Uint8Array[]): Promise<number[][]> {
  const chances = tf.tidy(() => model.predict(imageTensor(images)) as tf.Tensor2D);
  const rows = await chances.array();
  chances.dispose();
  return rows;
}

/** How many images are put into their class. */
async function rightOf(model: tf.LayersModel, {images, classes}: LabelledImages): Promise<number> {
  const rows = await chancesOf(model, images);
  return rows.filter((row, i) => row.indexOf(Math.max(...row)) === classes[i]).length;
}
