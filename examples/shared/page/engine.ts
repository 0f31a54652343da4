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

/** Fetches a file. @throws Error for the visitor if it is not there. */
export async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`The model could not be loaded: ${response.url} answers ${response.status}.`);
  }
  return response;
}
