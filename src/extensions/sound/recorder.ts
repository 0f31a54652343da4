import {
  checkNumber,
  checkOptions,
  ioError,
  LoRAError,
  messageOf,
  notReadyError,
  unsupportedError,
} from '../../platform/errors';
import {type CallOptions, checkCallOptions, throwIfAborted, unlessAborted} from '../../platform/signals';
import {slidingWindows} from './slidingWindows';
import type {Sound} from './sound';

/** Options of a `Recorder`. */
export interface RecorderOptions {
  /** Called with the level of each piece of sound, some 20 times a second: its root mean square, from 0 to 1. */
  onLevel?: (level: number) => void;
  /** Which microphone, and what the browser does to its sound. Defaults to one channel, without echo cancellation. */
  constraints?: MediaTrackConstraints;
}

/** How a recorder's sound is cut into windows. */
export interface WindowOptions {
  /** Seconds of a window. */
  seconds: number;
  /** Seconds from one window to the next. Defaults to a quarter of a window. */
  hop?: number;
  /** Ends the iteration when it is aborted. */
  signal?: AbortSignal;
}

/** A window of a recorder's sound. */
export interface RecordedWindow extends Sound {
  /** Where it starts, in seconds from the first window of this iteration. */
  readonly time: number;
}

/** Samples of a piece that the worklet posts. */
const PIECE = 2048;

/** Runs on the browser's audio thread: collects pieces of the first channel. */
const WORKLET = `registerProcessor('tfjs-lora-recorder', class extends AudioWorkletProcessor {
  piece = new Float32Array(${PIECE});
  filled = 0;
  process([[samples]]) {
    if (samples) {
      this.piece.set(samples, this.filled);
      this.filled += samples.length;
      if (this.filled === ${PIECE}) {
        this.port.postMessage(this.piece.slice());
        this.filled = 0;
      }
    }
    return true;
  }
});`;

/**
 * Records from the microphone in a page, with a level meter. Browsers ask for permission when it starts, and give it in
 * secure contexts only.
 *
 *     const recorder = new Recorder({onLevel: level => (meter.value = level)});
 *     await recorder.start();
 *     const clip = await recorder.record(1.5); // seconds
 *     for await (const window of recorder.windows({seconds: 1, hop: 0.25, signal})) {
 *       listen(window);
 *     }
 *     await recorder.stop();
 *
 * Sounds have the rate of the device, often 48,000; `encodeSounds` and `logMel` resample them.
 *
 * @experimental
 */
export class Recorder {
  private readonly options: RecorderOptions;
  private readonly listeners = new Set<(piece: Float32Array | undefined) => void>();
  private context: AudioContext | undefined;
  private stream: MediaStream | undefined;

  /** @throws LoRAError `ERR_OPTION` if an option is not valid. */
  constructor(options: RecorderOptions = {}) {
    checkOptions(options, {onLevel: true, constraints: true});
    if (options.onLevel !== undefined && typeof options.onLevel !== 'function') {
      throw new LoRAError('onLevel must be a function of the level.');
    }
    this.options = options;
  }

  /** Whether it listens to the microphone. */
  get isRunning(): boolean {
    return this.context !== undefined;
  }

  /**
   * Opens the microphone. Does nothing if it is open.
   *
   * @throws LoRAError `ERR_UNSUPPORTED` if there is no Web Audio, as in Node; `ERR_IO` if there is no microphone, or
   *     the user refused.
   */
  async start(): Promise<void> {
    if (this.isRunning) {
      return;
    }
    const {onLevel, constraints} = this.options;
    // TypeScript takes it for granted, but pages that are not secure do not have it.
    const devices = (globalThis.navigator as Partial<Navigator> | undefined)?.mediaDevices;
    if (devices === undefined || typeof AudioWorkletNode !== 'function') {
      throw unsupportedError('A Recorder needs a page with a microphone: a browser, over https or on localhost.');
    }
    const context = new AudioContext();
    this.context = context;
    try {
      const audio = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
      this.stream = await devices.getUserMedia({audio: {...audio, ...constraints}});
      const url = URL.createObjectURL(new Blob([WORKLET], {type: 'text/javascript'}));
      await context.audioWorklet.addModule(url).finally(() => URL.revokeObjectURL(url));
      await context.resume();
    } catch (cause) {
      await this.stop();
      throw ioError(`The microphone could not be opened: ${messageOf(cause)}`, {cause});
    }
    const node = new AudioWorkletNode(context, 'tfjs-lora-recorder', {numberOfOutputs: 0});
    node.port.onmessage = ({data}: MessageEvent<Float32Array>) => {
      onLevel?.(Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length));
      [...this.listeners].forEach(listener => listener(data));
    };
    context.createMediaStreamSource(this.stream).connect(node);
  }

  /** Closes the microphone. Recordings end with what they have. */
  async stop(): Promise<void> {
    const {context, stream} = this;
    [this.context, this.stream] = [undefined, undefined];
    stream?.getTracks().forEach(track => track.stop());
    [...this.listeners].forEach(listener => listener(undefined));
    if (context !== undefined && context.state !== 'closed') {
      await context.close();
    }
  }

  /**
   * Records from now on.
   *
   * @param seconds how long.
   * @param options a signal.
   * @returns the sound, which is shorter if the recorder is stopped.
   * @throws LoRAError `ERR_NOT_READY` if it was not started; `ERR_OPTION` if `seconds` is not a positive number;
   *     `ERR_ABORTED` when the signal is aborted.
   */
  async record(seconds: number, options: Pick<CallOptions, 'signal'> = {}): Promise<Sound> {
    checkOptions(options, {signal: true}, 'record(1.5, {signal})');
    checkCallOptions(options);
    checkNumber('seconds', seconds, seconds > 0, 'a number of seconds above 0');
    const sampleRate = this.rate();
    const samples = new Float32Array(Math.round(seconds * sampleRate));
    let filled = 0;
    for await (const piece of this.pieces(options.signal)) {
      const fitting = piece.subarray(0, samples.length - filled);
      samples.set(fitting, filled);
      filled += fitting.length;
      if (filled === samples.length) {
        break;
      }
    }
    return {samples: samples.subarray(0, filled), sampleRate};
  }

  /**
   * Iterates over windows of the sound from now on, which overlap. Windows that are not taken in time are held.
   *
   * @param options the length of a window, the hop, and a signal. Without one, `break` ends the iteration.
   * @throws LoRAError `ERR_NOT_READY` if it was not started; `ERR_OPTION` if an option is not valid; `ERR_ABORTED` when
   *     the signal is aborted.
   */
  async *windows(options: WindowOptions): AsyncGenerator<RecordedWindow, void, undefined> {
    checkOptions(options, {seconds: true, hop: true, signal: true}, 'windows({seconds: 1})');
    const {seconds, hop = seconds / 4, signal} = options;
    checkCallOptions(options);
    checkNumber('seconds', seconds, seconds > 0, 'a number of seconds above 0');
    checkNumber('hop', hop, hop > 0, 'a number of seconds above 0');
    const sampleRate = this.rate();
    const push = slidingWindows(
      Math.max(1, Math.round(seconds * sampleRate)),
      Math.max(1, Math.round(hop * sampleRate)),
    );
    for await (const piece of this.pieces(signal)) {
      for (const {samples, firstSample} of push(piece)) {
        yield {samples, sampleRate, time: firstSample / sampleRate};
        throwIfAborted(signal);
      }
    }
  }

  private rate(): number {
    if (this.context === undefined) {
      throw notReadyError('The recorder is not started. Call `await recorder.start()` first.');
    }
    return this.context.sampleRate;
  }

  /** The samples of the microphone from now on, until it is closed or the signal is aborted. */
  private async *pieces(signal: AbortSignal | undefined): AsyncGenerator<Float32Array, void, undefined> {
    const waiting: (Float32Array | undefined)[] = [];
    let wake = (): void => undefined;
    const listener = (piece: Float32Array | undefined) => {
      waiting.push(piece);
      wake();
    };
    this.listeners.add(listener);
    try {
      for (;;) {
        while (waiting.length > 0) {
          const piece = waiting.shift();
          if (piece === undefined) {
            return;
          }
          throwIfAborted(signal);
          yield piece;
        }
        await unlessAborted(
          new Promise<void>(resolve => {
            wake = resolve;
          }),
          signal,
        );
      }
    } finally {
      this.listeners.delete(listener);
    }
  }
}
