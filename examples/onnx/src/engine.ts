import type * as tf from '@tensorflow/tfjs';
import {disposeModel} from 'tfjs-lora';
import {toONNX} from 'tfjs-lora/onnx';
import {startWasm} from '../../shared/wasm';
import {learn, openBase, parametersOf} from '../learn';
import type {Line} from '../lines';

interface Learned {
  /** The ONNX file with what was learned. */
  file: Uint8Array<ArrayBuffer>;
  parameters: number;
  seconds: number;
  isStopped: boolean;
}

/** A training step. */
export interface News {
  step: number;
  steps: number;
  loss: number;
}

/** Trains an ONNX file with tfjs. */
export class DirectionEngine {
  private opened: {file: Uint8Array; base: tf.LayersModel} | undefined;
  private isStopped = false;

  constructor(private readonly tell: (news: News) => void) {}

  /** Imports an ONNX file. */
  async start(file: Uint8Array): Promise<{parameters: number}> {
    await startWasm();
    const base = await openBase(file);
    this.opened = {file, base};
    return {parameters: base.countParams()};
  }

  /** Trains a new adapter on lines, upright and upside down, and writes it into the file. */
  async learn(lines: readonly Line[], epochs: number): Promise<Learned> {
    if (this.opened === undefined) {
      throw new Error('The model is not loaded.');
    }
    const {file, base} = this.opened;
    const begin = performance.now();
    this.isStopped = false;
    const model = await learn(base, lines, 'lora', {
      epochs,
      seed: 1,
      onStep: (step, steps, loss) => {
        this.tell({step, steps, loss});
        return !this.isStopped;
      },
    });
    try {
      const tuned = await toONNX(model, file);
      const seconds = (performance.now() - begin) / 1000;
      return {file: tuned, parameters: parametersOf(model), seconds, isStopped: this.isStopped};
    } finally {
      disposeModel(model);
    }
  }

  /** Ends training after the current step. */
  stop(): Promise<void> {
    this.isStopped = true;
    return Promise.resolve();
  }
}
