import {createHash} from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter} from 'tfjs-lora';
import {createNodeKey, joinFederation} from 'tfjs-lora/federated';
import {flowerTask, objectOf, roundFile, typeOf} from '../../extensions/federated/superLink';
import {type AttackKind, type Json, mustHold, type Parts} from '../kind';

interface Tree {
  object_id: string;
  children: Tree[];
}

/** What a server of Flower sends for a round: the message, and its objects, whose names are made anew. */
export const flower: AttackKind = {
  name: 'a round of a Flower server',
  async prepare() {
    const {pulled, objects} = flowerTask(roundFile());
    const [tree] = objectOf('PullMessagesResponse', pulled).message_object_trees as Tree[];
    const bodies = Object.fromEntries([...objects].map(([name, bytes]) => [name, partOf(bytes)]));
    const base = tf.sequential({layers: [tf.layers.dense({inputShape: [3], units: 4, name: 'd'})]});
    const model = applyLoRA(base, {rank: 2, seed: 1});
    const key = await createNodeKey();
    const values = () => {
      const adapter = getAdapter(model);
      const texts = Object.values(adapter.tensors).map(tensor => [...tensor.dataSync()].join());
      adapter.dispose();
      return texts.join();
    };
    return {
      whole: [{pulled: new Uint8Array(pulled), ...bodies}],
      models: [base],
      async use(parts) {
        const before = values();
        const {names, contents} = rebuilt(tree!, parts);
        let isAsked = false;
        const answers: Record<string, () => Uint8Array | undefined> = {
          'pull-messages': () => {
            const first = isAsked ? new Uint8Array(0) : renamed(parts.pulled as Uint8Array, names);
            isAsked = true;
            return first;
          },
          'get-run': () => undefined,
          'activate-node': () => typeOf('ActivateNodeResponse').encode({node_id: 5}).finish(),
        };
        const fetched = globalThis.fetch;
        globalThis.fetch = (url, init) => {
          const path = (url as string).split('/').at(-1)!;
          const asked = path === 'pull-object' ? objectOf('PullObjectRequest', init!.body as Uint8Array) : undefined;
          const content = asked && contents.get(asked.object_id as string);
          const type = typeOf('PullObjectResponse');
          const found = {object_found: content !== undefined, object_available: true, object_content: content};
          const body = asked
            ? type.encode(type.fromObject(found)).finish()
            : (answers[path] ?? (() => new Uint8Array(0)))();
          return Promise.resolve(
            body === undefined
              ? new Response('{"code": 2007}', {status: 403})
              : new Response(body as Uint8Array<ArrayBuffer>),
          );
        };
        let trained = 0;
        try {
          await joinFederation({url: 'http://server', key, model, train: () => ({examples: ++trained})}).finished;
        } catch (error) {
          mustHold(values() === before, 'What was refused has changed the adapter.');
          throw error;
        } finally {
          globalThis.fetch = fetched;
        }
        mustHold(trained <= 1, 'One message trained twice.');
        mustHold(!/NaN|Infinity/.test(values()), 'Numbers that are not finite are in the adapter.');
      },
    };
  },
};

/** An object as a part to damage: JSON where its body is JSON. */
function partOf(bytes: Uint8Array): Json | Uint8Array {
  const text = Buffer.from(bytes.subarray(bytes.indexOf(0) + 1)).toString();
  try {
    return {head: Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString(), body: JSON.parse(text) as Json};
  } catch {
    return new Uint8Array(bytes);
  }
}

/** The objects with their new names, by the old and by the new ones. */
function rebuilt(root: Tree, parts: Parts): {names: Map<string, string>; contents: Map<string, Uint8Array>} {
  const names = new Map<string, string>();
  const contents = new Map<string, Uint8Array>();
  const add = ({object_id: former, children}: Tree): void => {
    children.forEach(add);
    const part = parts[former] ?? null;
    const {head, body} = (part ?? {}) as {head?: Json; body?: Json};
    const isWhole = typeof head === 'string';
    let text = (
      part instanceof Uint8Array
        ? Buffer.from(part)
        : Buffer.from(isWhole ? `${head}\0${JSON.stringify(body)}` : JSON.stringify(part))
    ).toString('latin1');
    names.forEach((name, old) => (text = text.replaceAll(old, name)));
    const end = text.indexOf('\0');
    // The length of a body is put right, so that the damage is looked at behind it.
    const whole = isWhole ? text.slice(0, end).replace(/\d+$/, String(text.length - end - 1)) + text.slice(end) : text;
    const content = Buffer.from(whole, 'latin1');
    const name = createHash('sha256').update(content).digest('hex');
    names.set(former, name);
    contents.set(name, content);
  };
  add(root);
  return {names, contents};
}

function renamed(bytes: Uint8Array, names: ReadonlyMap<string, string>): Uint8Array {
  let text = Buffer.from(bytes).toString('latin1');
  names.forEach((name, old) => (text = text.replaceAll(old, name)));
  return Buffer.from(text, 'latin1');
}
