import * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import type {NamedFile} from '../../../shared/files';
import type {
  AdapterState,
  Backend,
  Engine,
  LeftOut,
  Prediction,
  Progress,
  Rates,
  RatesJob,
  Settings,
  Start,
  Training,
  TrainingJob,
} from '../protocol';
import {
  findInBrowser,
  fromArtifacts,
  fromFiles,
  keepInBrowser,
  type LabelledAdapter,
  removeFromBrowser,
  toArtifacts,
  toFile,
} from './adapterStorage';
import {startBackend, switchBackend} from './backends';
import {imageTensor, selected} from './images';
import {mergedModelFiles} from './mergedModel';
import {AdaptedReader} from './reader';
import {type Outcome, partsOf, train, tryRates} from './training';

/** The base model, the adapted model, and the calls of the page. */
export class DigitEngine implements Engine {
  private base: tf.LayersModel | null = null;
  /** The base's files, to load it again on another backend. */
  private baseArtifacts: tf.io.ModelArtifacts = {};
  private reader: AdaptedReader | null = null;
  private strength: number | null = 1;
  private stopped = false;
  /** Predictions wait until the models have moved to another backend. */
  private moving = Promise.resolve();

  constructor(private readonly report: (progress: Progress) => void) {}

  async start(modelUrl: string, wished: Backend | null): Promise<Start> {
    const {backends, backend} = await startBackend(wished);
    this.baseArtifacts = await tf.io.http(modelUrl).load!();
    this.base = await tf.loadLayersModel(tf.io.fromMemory(this.baseArtifacts));
    const start = {backends, backend, baseParameters: this.base.countParams(), adapter: null, fault: null};
    try {
      const kept = await findInBrowser();
      if (kept === null) {
        return start;
      }
      return {...start, adapter: {...this.takeOn(kept).state, kept: true}};
    } catch (error) {
      return {...start, fault: (error as Error).message};
    }
  }

  useBackend(backend: Backend): Promise<void> {
    const moved = this.moveTo(backend);
    this.moving = moved.catch(() => undefined);
    return moved;
  }

  async predict(image: Uint8Array): Promise<Prediction> {
    await this.moving;
    const labels = this.reader?.labels;
    const models = [this.loaded, ...(this.reader === null ? [] : [this.reader.model])];
    const outputs = tf.tidy(() => models.map(model => model.predict(imageTensor([image])) as tf.Tensor));
    const [base = [], adapted = []] = await Promise.all(outputs.map(async output => Array.from(await output.data())));
    tf.dispose(outputs);
    return {base, adapted: labels === undefined ? null : {labels, probabilities: adapted}};
  }

  async train(job: TrainingJob): Promise<Training> {
    this.stopped = false;
    const reader = this.readerFor(job) ?? this.replaceReader(AdaptedReader.untrained(this.loaded, job.labels));
    reader.setStrength(1);
    let outcome: Outcome;
    try {
      outcome = await train(reader.model, job, this.report, () => this.stopped);
    } finally {
      reader.keepTraining();
      reader.setStrength(this.strength);
    }
    // If training diverged, the browser keeps the previous adapter.
    const adapter = outcome.diverged === null ? await this.keep(reader) : {...reader.state, kept: false};
    return {adapter, stopped: this.stopped, ...outcome};
  }

  async leaveOut({labels, samples, ...settings}: RatesJob & Settings): Promise<LeftOut> {
    this.stopped = false;
    const stopped = () => this.stopped;
    const {parts, judged} = partsOf(samples.classes);
    if (judged === 0) {
      throw new Error('At least one label needs two samples: one to train on, and one to test.');
    }
    const counted = {right: 0, judged, readers: parts.length, stopped: false};
    for (const [i, part] of parts.entries()) {
      const heldOut = selected(samples, index => part.includes(index));
      const job = {labels, samples: selected(samples, index => !part.includes(index)), heldOut, ...settings};
      const report = (progress: Progress) => {
        if (progress.kind === 'step') {
          const done = (i + progress.step / progress.steps) / parts.length;
          this.report({kind: 'part', done, reader: i + 1, readers: parts.length});
        }
      };
      const reader = AdaptedReader.untrained(this.loaded, labels);
      try {
        const {heldOutAccuracy} = await train(reader.model, job, report, stopped);
        counted.right += Math.round((heldOutAccuracy ?? 0) * part.length);
      } finally {
        reader.dispose();
      }
      if (stopped()) {
        return {...counted, stopped: true};
      }
    }
    return counted;
  }

  async tryRates(job: RatesJob): Promise<Rates> {
    const known = this.readerFor(job);
    const reader = known ?? AdaptedReader.untrained(this.loaded, job.labels);
    reader.setStrength(1);
    try {
      return await tryRates(reader.model, job);
    } finally {
      if (known === null) {
        reader.dispose();
      } else {
        known.setStrength(this.strength);
      }
    }
  }

  stop(): Promise<void> {
    this.stopped = true;
    return Promise.resolve();
  }

  setStrength(strength: number | null): Promise<void> {
    this.strength = strength;
    this.reader?.setStrength(strength);
    return Promise.resolve();
  }

  renameLabel(from: string, to: string): Promise<AdapterState> {
    const reader = this.trained;
    reader.labels = reader.labels.map(label => (label === from ? to : label));
    return this.keep(reader);
  }

  async adapterFile(): Promise<NamedFile> {
    return {name: 'digit-reader.adapter.json', content: await toFile(labelled(this.trained))};
  }

  async openAdapter(files: File[]): Promise<AdapterState> {
    return this.keep(this.takeOn(await fromFiles(files)));
  }

  async mergedFiles(): Promise<NamedFile[]> {
    const {labels} = this.trained;
    const merged = this.trained.merged();
    try {
      merged.setUserDefinedMetadata({labels});
      return await mergedModelFiles(merged, 'digit-reader');
    } finally {
      disposeModel(merged);
    }
  }

  async forget(): Promise<void> {
    this.reader?.dispose();
    this.reader = null;
    await removeFromBrowser();
  }

  private async moveTo(backend: Backend): Promise<void> {
    // Tensors belong to the backend that created them, so the adapter moves as bytes.
    const kept = this.reader === null ? null : await toArtifacts(labelled(this.reader));
    await switchBackend(backend);
    const former = this.loaded;
    this.base = await tf.loadLayersModel(tf.io.fromMemory(this.baseArtifacts));
    if (kept !== null) {
      this.takeOn(await fromArtifacts(kept));
    }
    disposeModel(former);
  }

  /** Applies a saved adapter to the base. If it does not fit, nothing changes. */
  private takeOn({adapter, labels}: LabelledAdapter): AdaptedReader {
    try {
      return this.replaceReader(AdaptedReader.fromAdapter(this.loaded, adapter, labels));
    } catch (error) {
      adapter.dispose();
      throw error;
    }
  }

  private replaceReader(reader: AdaptedReader): AdaptedReader {
    this.reader?.dispose();
    this.reader = reader;
    reader.setStrength(this.strength);
    return reader;
  }

  /** The reader, if it has exactly these labels. */
  private readerFor({labels}: RatesJob): AdaptedReader | null {
    return this.reader?.labels.join('\n') === labels.join('\n') ? this.reader : null;
  }

  /** Keeps the adapter in the browser, if that is allowed. */
  private async keep(reader: AdaptedReader): Promise<AdapterState> {
    try {
      await keepInBrowser(labelled(reader));
      return {...reader.state, kept: true};
    } catch {
      return {...reader.state, kept: false};
    }
  }

  private get loaded(): tf.LayersModel {
    if (this.base === null) {
      throw new Error('The model is not loaded yet.');
    }
    return this.base;
  }

  private get trained(): AdaptedReader {
    if (this.reader === null) {
      throw new Error('There is no adapter yet. Train one first.');
    }
    return this.reader;
  }
}

function labelled({value, labels}: AdaptedReader): LabelledAdapter {
  return {adapter: value, labels};
}
