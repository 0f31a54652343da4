import {Remote} from '../../../shared/worker';
import type {Engine, Progress} from '../protocol';

/** Calls the engine in its worker. */
export class Client extends Remote<Engine, Progress> {
  constructor(onProgress: (progress: Progress) => void) {
    super(new Worker(new URL('../worker/index.ts', import.meta.url), {type: 'module'}), onProgress);
  }
}
