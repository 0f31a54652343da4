import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {loadAdapter, resetOptimizer, setAdapter} from 'tfjs-lora';
import {
  type Federation,
  type FederationState,
  joinFederation,
  type NodeKey,
  nodeKeyText,
  storedNodeKey,
} from 'tfjs-lora/federated';
import pixels from 'virtual:digits';
import type {Digits} from '../../shared/digits';
import {accuracy} from '../../shared/network';
import {startWasm} from '../../shared/wasm';
import {adapt, learn, type Method, ownDigits} from '../task';

/** Which client it is, and how it learns. */
interface Client {
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
  /** For a server that admits known clients only. */
  publicKey: string;
}

interface Over {
  rounds: number;
  bytesSent: number;
  bytesReceived: number;
}

export type News =
  | {kind: 'state'; state: FederationState}
  /** The client has trained. */
  | {kind: 'trained'; round: number; loss: number; bytes: number}
  /** The accuracy of the shared adapter after a round. */
  | {kind: 'measured'; round: number; accuracy: number};

const SIDE = 28;
/** So many of a client's digits are shown. */
const SHOWN = 60;

/** A client in its tab: its digits, its model, and the run that it takes part in. */
export class ClientEngine {
  private own: Digits | undefined;
  private tests: Digits | undefined;
  private model: tf.LayersModel | undefined;
  private method: Method | undefined;
  private key: NodeKey | undefined;
  private federation: Federation | undefined;

  constructor(private readonly tell: (news: News) => void) {}

  /** Loads the base, and the digits of a client. */
  async start({client, method, seed}: Client): Promise<Start> {
    await startWasm();
    this.key = await storedNodeKey(`client ${client}`);
    const base = await tf.loadLayersModel(new URL('model/model.json', self.location.origin).href);
    this.method = method;
    this.model = adapt(base, method, seed);
    const start = await fetch(new URL('model/start.safetensors', self.location.origin));
    setAdapter(this.model, await loadAdapter(new Uint8Array(await start.arrayBuffer())));
    const all = digitsIn(pixels.ofClients);
    this.own = ownDigits(all, client, seed);
    tf.dispose([all.images, all.labels]);
    this.tests = digitsIn(pixels.heldOut);
    const kinds = tf.tidy(() => [...tf.sum(this.own!.labels, 0).dataSync()]);
    const shown = tf.tidy(() => [...tf.mul(this.own!.images, 255).dataSync()]);
    const pictures = Array.from({length: Math.min(SHOWN, this.own.images.shape[0])}, (_, i) =>
      Uint8ClampedArray.from(shown.slice(i * SIDE * SIDE, (i + 1) * SIDE * SIDE)),
    );
    const publicKey = await nodeKeyText(this.key, 'public');
    return {kinds, pictures, accuracy: accuracy(base, this.tests) / 100, publicKey};
  }

  /** Takes part until the run is over, or the client leaves. */
  async join(url: string): Promise<Over> {
    const {own, tests, model, method, key} = this;
    if (own === undefined || tests === undefined || model === undefined || method === undefined || key === undefined) {
      throw new Error('The base is not loaded yet.');
    }
    let loss = NaN;
    this.federation = joinFederation({
      url,
      model,
      key,
      heartbeatSeconds: 10,
      onState: state => this.tell({kind: 'state', state}),
      train: async (trained, {round, config}) => {
        resetOptimizer(trained);
        loss = await learn(trained, method, own, {round, rounds: Number(config.rounds)});
        return {examples: own.images.shape[0], metrics: {loss}};
      },
      evaluate: trained => ({
        examples: tests.images.shape[0],
        metrics: {accuracy: accuracy(trained, tests) / 100},
      }),
      onRound: ({kind, round, bytesSent, metrics}) =>
        this.tell(
          kind === 'train'
            ? {kind: 'trained', round, loss, bytes: bytesSent}
            : {kind: 'measured', round, accuracy: Number(metrics?.accuracy)},
        ),
    });
    return this.federation.finished;
  }

  /** Leaves when the round that goes on is over. */
  async leave(): Promise<void> {
    await this.federation?.leave();
  }
}

/** Digits as tensors. */
function digitsIn(text: string): Digits {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const count = bytes.length / (SIDE * SIDE);
  const kinds = Int32Array.from({length: count}, (_, i) => i % 10);
  return tf.tidy(() => ({
    images: tf.tensor4d(
      Float32Array.from(bytes, grey => grey / 255),
      [count, SIDE, SIDE, 1],
    ),
    labels: tf.cast(tf.oneHot(tf.tensor1d(kinds, 'int32'), 10), 'float32') as tf.Tensor2D,
  }));
}
