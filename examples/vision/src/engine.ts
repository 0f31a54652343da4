import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from 'tfjs-lora';
import {encodeImages} from 'tfjs-lora/images';
import {counted} from '../../shared/counted';
import {withAdapterIn} from '../../shared/learning';
import {AdapterEngine} from '../../shared/page/engine';
import {fetched} from '../../shared/page/fetched';
import type {Size} from '../../shared/page/results';
import {isHeldOut} from '../../shared/page/heldOut';
import {startWasm} from '../../shared/wasm';
import {
  type BaseFiles,
  calibrate,
  configOf,
  guesses,
  hubFiles,
  joined,
  learn,
  learnHead,
  nearestClasses,
  openBase,
  rowsOf,
  see,
  type Seen,
  SETTINGS,
} from '../learn';

/** An image, by its number. Its pixels can be left out if it was among the images of the previous call. */
export interface Picture {
  id: number;
  pixels?: ImageData;
}

/** The class of an image. */
export interface Look {
  /** By similarity to the images of the classes; `null` if fewer than two classes have images. */
  before: number | null;
  /** As the trained model predicts, with its probability; `null` if there is no adapter. */
  after: {label: number; chance: number} | null;
}

interface Opened extends Size {
  /** How many classes the adapter tells apart. */
  classes: number;
}

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** How many images were held out, and how many of them are classified correctly. */
  heldOut: {count: number; before: number; after: number};
}

/** News: bytes of the model that were loaded, images that were processed, or a training step. */
export type News =
  | {kind: 'loading' | 'looking'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number};

/** No adapter of this model is nearly as large. */
const MAX_BYTES = 2 ** 25;

/** The id of an image, and its class. */
interface Labelled {
  id: number;
  label: number;
}

/** The image model and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class VisionEngine extends AdapterEngine<News> {
  private files: BaseFiles | undefined;
  /** By number of classes: the base of the adapter and, until it is trained, another one. */
  private readonly bases = new Map<number, tf.LayersModel>();
  /** By the ids of images. */
  private readonly seen = new Map<number, Seen>();
  /** The ids of the images of each class, as of the latest `look`. */
  private classes: readonly (readonly number[])[] = [];

  /** Loads the model from the files in a folder at a URL. */
  async start(folder: string): Promise<{parameters: number}> {
    await startWasm();
    const get = (name: string) => fetched(folder + name);
    const weights = counted(await get('model.safetensors'), (done, total) => this.tell({kind: 'loading', done, total}));
    this.files = {
      config: (await (await get('config.json')).json()) as BaseFiles['config'],
      preprocessor: (await (await get('preprocessor_config.json')).json()) as Record<string, unknown>,
      weights: await weights.blob(),
    };
    return {parameters: (await this.baseFor(2)).countParams()};
  }

  /** Classifies other images, by the images of the classes and by what was learned. */
  async look(classes: readonly (readonly Picture[])[], others: readonly Picture[]): Promise<Look[]> {
    await this.seeAll([...classes.flat(), ...others]);
    this.classes = classes.map(pictures => pictures.map(({id}) => id));
    if (others.length === 0) {
      return [];
    }
    const {own} = labelledIn(this.classes);
    const [seen, tried] = [this.seenIn(own), this.seenIn(others)];
    const {model} = this.learning;
    const before = nearest(seen, labelsOf(own), tried!);
    const after = model && guesses(model, tried!);
    free(seen, tried);
    return others.map((_, i) => ({before: before?.[i] ?? null, after: after?.[i] ?? null}));
  }

  /** Trains a new adapter on the classes of the latest `look`, and calibrates it on their held-out images. */
  async learn(epochs: number): Promise<Learned> {
    const begin = performance.now();
    this.isStopped = false;
    const labels = this.classes.length;
    const base = await this.baseFor(labels);
    const {own, heldOut} = labelledIn(this.classes);
    const [seen, others] = [this.seenIn(own), this.seenIn(heldOut)];
    const model = applyLoRA(base, configOf(base, 'lora', 1));
    try {
      await learnHead(base, model, seen!, labelsOf(own), 1);
      await learn(model, seen!, labelsOf(own), {
        rate: SETTINGS.lora.rate,
        epochs,
        seed: 1,
        onStep: (step, steps, loss) => {
          this.tell({kind: 'step', step, steps, loss});
          return !this.isStopped;
        },
      });
      if (others !== null) {
        calibrate(model, others, labelsOf(heldOut));
      }
      const right = (guessed: readonly number[]) => guessed.filter((label, i) => label === heldOut[i]!.label).length;
      const counts = {
        count: heldOut.length,
        before: others === null ? 0 : right(nearest(seen, labelsOf(own), others) ?? []),
        after: others === null ? 0 : right(labelsOf(guesses(model, others))),
      };
      const seconds = (performance.now() - begin) / 1000;
      return {...(await this.takeOn(model, labels)), seconds, isStopped: this.isStopped, heldOut: counts};
    } catch (error) {
      disposeModel(model);
      throw error;
    } finally {
      free(seen, others);
    }
  }

  /** The whole model with the adapter merged, as the files of a model on the hub, by their names. */
  async model(names: readonly string[]): Promise<Record<string, Blob>> {
    const files = await hubFiles(this.learning.learned, this.opened(), names);
    return Object.fromEntries(Object.entries(files).map(([name, content]) => [name, new Blob([content])]));
  }

  /** Opens the adapter in a file. */
  open(file: File): Promise<Opened> {
    return withAdapterIn(file, MAX_BYTES, async adapter => {
      const classes = adapter.tensors['classifier/bias']?.size;
      if (classes === undefined) {
        throw new Error('it has no head for classes.');
      }
      return {...(await this.takeOn(applyLoRA(await this.baseFor(classes), adapter), classes)), classes};
    });
  }

  private opened(): BaseFiles {
    if (this.files === undefined) {
      throw new Error('The model is not loaded.');
    }
    return this.files;
  }

  /** The base with a head for a number of classes. */
  private async baseFor(classes: number): Promise<tf.LayersModel> {
    const base = this.bases.get(classes) ?? (await openBase(this.opened(), classes));
    this.bases.set(classes, base);
    return base;
  }

  /** Replaces the trained model, and frees the bases of others. */
  private async takeOn(model: tf.LayersModel, classes: number): Promise<Size> {
    const size = await this.learning.takeOn(model);
    for (const [other, base] of this.bases) {
      if (other !== classes) {
        disposeModel(base);
        this.bases.delete(other);
      }
    }
    return size;
  }

  /** Computes the features of images, once for each, and frees those of all others. */
  private async seeAll(pictures: readonly Picture[]): Promise<void> {
    const [base] = this.bases.values();
    const strange = pictures.filter(({id}) => !this.seen.has(id));
    if (strange.length > 0) {
      const pixels = await encodeImages(
        base!,
        strange.map(picture => picture.pixels!),
      );
      const seen = await see(base!, pixels, (done, total) => this.tell({kind: 'looking', done, total}));
      strange.forEach(({id}, i) => this.seen.set(id, rowsOf(seen, [i])));
      tf.dispose([pixels, seen] as tf.TensorContainer);
    }
    const ids = new Set(pictures.map(({id}) => id));
    for (const [id, seen] of this.seen) {
      if (!ids.has(id)) {
        tf.dispose(seen);
        this.seen.delete(id);
      }
    }
  }

  /** The features of images; `null` if there are none. */
  private seenIn(pictures: readonly {id: number}[]): Seen | null {
    return pictures.length === 0 ? null : joined(pictures.map(({id}) => this.seen.get(id)!));
  }
}

/** The images of classes: those to train on, and those that are held out. */
function labelledIn(classes: readonly (readonly number[])[]): {own: Labelled[]; heldOut: Labelled[]} {
  const labelled = classes.flatMap((ids, label) => ids.map((id, i) => ({id, label, i})));
  return {own: labelled.filter(({i}) => !isHeldOut(i)), heldOut: labelled.filter(({i}) => isHeldOut(i))};
}

function free(...all: readonly (Seen | null)[]): void {
  all.forEach(seen => tf.dispose(seen ?? []));
}

function labelsOf(labelled: readonly {label: number}[]): number[] {
  return labelled.map(({label}) => label);
}

/** The nearest class of each of the others; `null` if fewer than two classes have images. */
function nearest(seen: Seen | null, labels: readonly number[], others: Seen): number[] | null {
  const used = [...new Set(labels)];
  if (seen === null || used.length < 2) {
    return null;
  }
  const compact = labels.map(label => used.indexOf(label));
  return nearestClasses(seen, compact, others).map(i => used[i]!);
}
