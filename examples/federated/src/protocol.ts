/** The calls from the page to the worker, and the news from the worker. */
import type {FederationState} from 'tfjs-lora/federated';
import type {Method} from '../task';

export interface Engine {
  /** Loads the base, and the digits of a client. */
  start(part: Part): Promise<Start>;
  /** Takes part until the run is over, or the client leaves. */
  join(url: string): Promise<Over>;
  /** Leaves when the round that goes on is over. */
  leave(): Promise<void>;
}

/** Which client it is, and how it learns. */
export interface Part {
  client: number;
  method: Method;
  seed: number;
}

export interface Start {
  /** How many digits of each kind the client has. */
  kinds: number[];
  /** The first of them, 28 × 28 each, from 0 to 255. */
  pictures: Uint8ClampedArray[];
  /** Share of held-out digits that the base reads. */
  accuracy: number;
  /** What a server needs that admits known clients alone. */
  publicKey: string;
}

export interface Over {
  rounds: number;
  bytesSent: number;
  bytesReceived: number;
}

export type News =
  | {kind: 'state'; state: FederationState}
  /** The client has trained. */
  | {kind: 'trained'; round: number; loss: number; bytes: number}
  /** What the common adapter reads after a round. */
  | {kind: 'measured'; round: number; accuracy: number};
