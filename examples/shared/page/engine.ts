import {Learning} from '../learning';

/** What the engines of pages have in common: an adapter, and a training that can be stopped. */
export abstract class AdapterEngine<News> {
  protected readonly learning = new Learning();
  protected isStopped = false;

  constructor(protected readonly tell: (news: News) => void) {}

  /** Ends training after the current step. */
  stop(): Promise<void> {
    this.isStopped = true;
    return Promise.resolve();
  }

  /** The adapter as a safetensors file. */
  file(): Promise<Blob> {
    return this.learning.file();
  }

  /** Removes the adapter. */
  forget(): Promise<void> {
    this.learning.forget();
    return Promise.resolve();
  }
}
