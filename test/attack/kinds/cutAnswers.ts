import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, LoRAError, setAdapter} from 'tfjs-lora';
import {createNodeKey, joinFederation} from 'tfjs-lora/federated';
import {flowerTask, namesOf, objectOf, type Pushed, roundFile, typeOf} from '../../extensions/federated/superLink';
import {below, type Random, randomFrom} from '../damage';
import {type AttackKind, mustHold} from '../kind';

const {pulled, objects} = flowerTask(roundFile());

/** What a SuperLink answers to the calls of a round, and what was pushed to it. */
class Round {
  readonly pushed = new Map<string, string>();
  private isTaken = false;
  private isOver = false;

  answer(path: string, sent: Uint8Array): {status: number; body: Uint8Array} {
    const of = (name: string, message: object) => ({
      status: 200,
      body: typeOf(name).encode(typeOf(name).fromObject(message)).finish(),
    });
    switch (path) {
      case 'activate-node':
        return of('ActivateNodeResponse', {node_id: 5});
      case 'pull-messages':
        return {status: 200, body: this.isTaken ? new Uint8Array(0) : pulled};
      case 'pull-object': {
        const content = objects.get(objectOf('PullObjectRequest', sent).object_id as string);
        return of('PullObjectResponse', {object_found: true, object_available: true, object_content: content});
      }
      case 'confirm-message-received':
        this.isTaken = true;
        break;
      case 'push-messages': {
        const [tree] = objectOf('PushMessagesRequest', sent).message_object_trees as Pushed['tree'][];
        return of('PushMessagesResponse', {objects_to_push: namesOf(tree!), session_id: 'session'});
      }
      case 'push-object': {
        const {object_id: name, object_content: content} = objectOf('PushObjectRequest', sent);
        this.pushed.set(name as string, Buffer.from(content as Uint8Array).toString('base64'));
        this.isOver = true;
        return of('PushObjectResponse', {stored: true});
      }
      case 'get-run':
        return this.isOver
          ? {status: 403, body: Buffer.from('{"code": 2007, "message": "not running"}')}
          : {status: 200, body: new Uint8Array(0)};
    }
    return {status: 200, body: new Uint8Array(0)};
  }
}

/** The ways in which an answer goes wrong before it is whole. */
const CUTS: readonly ((body: Uint8Array, at: number, status: number) => Response)[] = [
  () => {
    throw new TypeError('fetch failed');
  },
  (body, at, status) => broken([body.subarray(0, at)], status),
  (body, at, status) => broken([body.subarray(0, at / 2), body.subarray(at / 2, at)], status),
  (body, at) => broken([body.subarray(0, at)], 503),
  () => new Response('<html>Bad Gateway</html>', {status: 502}),
];

function broken(all: Uint8Array[], status: number): Response {
  const pieces = all.filter(({length}) => length > 0);
  const body = new ReadableStream<Uint8Array>({
    pull: controller => {
      const piece = pieces.shift();
      if (piece === undefined) {
        controller.error(new TypeError('terminated'));
      } else {
        controller.enqueue(piece);
      }
    },
  });
  return new Response(body, {status});
}

/** A SuperLink whose answers are cut, any of them and anywhere, until they come whole. */
export const cutAnswers: AttackKind = {
  name: 'a Flower server whose answers break off',
  isValid: true,
  async prepare() {
    const key = await createNodeKey();
    const base = tf.sequential({layers: [tf.layers.dense({inputShape: [3], units: 4, name: 'd'})]});
    const model = applyLoRA(base, {rank: 2, seed: 1});
    const start = getAdapter(model);
    let expected: string | undefined;

    /** Takes part in a round, and gives what was pushed and is on the model then. */
    async function takePart(random: Random | undefined, share: number): Promise<string> {
      const round = new Round();
      const {fetch, setTimeout: wait} = globalThis;
      let hasArrived = false;
      let trained = 0;
      globalThis.setTimeout = ((f: () => void, time = 0) => wait(f, time / 1000)) as typeof setTimeout;
      globalThis.fetch = (url, init) => {
        const path = (url as string).split('/').at(-1)!;
        const {status, body} = round.answer(path, init!.body as Uint8Array);
        hasArrived ||= path === 'pull-messages';
        // A server that cannot be reached when the node arrives is told at once.
        const isCut = random !== undefined && hasArrived && random() < share;
        return Promise.resolve().then(() =>
          isCut
            ? CUTS[below(random, CUTS.length)]!(body, below(random, body.length + 1), status)
            : new Response(body as Uint8Array<ArrayBuffer>, {status}),
        );
      };
      try {
        const train = (): {examples: number} => {
          trained++;
          for (const weight of model.trainableWeights) {
            tf.tidy(() => void weight.write(tf.mul(weight.read(), 2)));
          }
          return {examples: 12};
        };
        await joinFederation({url: 'http://server', key, model, train}).finished;
      } catch (error) {
        mustHold(!(error instanceof LoRAError), `It was not repeated: ${(error as Error).message}`);
        throw error;
      } finally {
        Object.assign(globalThis, {fetch, setTimeout: wait});
      }
      mustHold(trained === 1, `It trained ${trained} times.`);
      const adapter = getAdapter(model);
      const values = Object.values(adapter.tensors).map(tensor => [...tensor.dataSync()]);
      adapter.dispose();
      setAdapter(model, start);
      // The message around the reply says when it was made.
      const contents = [...round.pushed.values()].filter(
        content => !Buffer.from(content, 'base64').toString().startsWith('Message '),
      );
      return JSON.stringify([values, contents.sort()]);
    }

    return {
      whole: [{seed: 0, share: 0}],
      models: [base],
      make: random => ({seed: below(random, 2 ** 31), share: random() / 4}),
      async use({seed, share}) {
        expected ??= await takePart(undefined, 0);
        const found = await takePart(randomFrom(seed as number), share as number);
        mustHold(found === expected, 'What was pushed, or is on the model, is not what it is without a cut.');
      },
    };
  },
};
