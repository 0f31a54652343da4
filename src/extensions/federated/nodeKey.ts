import {asLoRAError, damagedError, ioError, kindOf, LoRAError, show, unsupportedError} from '../../platform/errors';
import {base64Of} from '../../platform/formats/base64';
import {concatenate} from '../../platform/formats/byteReader';
import {openDatabase} from '../../core/storage/openDatabase';

/** The key pair that a node signs its calls with: ECDSA on the curve P-384. */
export type NodeKey = CryptoKeyPair;

const ALGORITHM = {name: 'ECDSA', namedCurve: 'P-384'};

/**
 * Creates a new key, which no server knows yet, or reads one from the text that `nodeKeyText(key, 'private')` returned.
 *
 * @param text the text of a key. Default: a new key is made.
 * @returns a promise of the key. Its private half can be exported.
 * @throws LoRAError `ERR_OPTION` if the text is no string, `ERR_DAMAGED` if it is not the private half of such a key.
 * @example
 *     const node = joinFederation({url, model, train, key: await createNodeKey()});
 * @experimental
 */
export async function createNodeKey(text?: string): Promise<NodeKey> {
  if (text === undefined) {
    return crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  }
  if (typeof text !== 'string') {
    throw new LoRAError(`The text of a key must be a string, got ${kindOf(text)}.`);
  }
  try {
    const {d, ...open} = JSON.parse(text) as JsonWebKey;
    const [privateKey, publicKey] = await Promise.all([
      crypto.subtle.importKey('jwk', {...open, d: d ?? '', key_ops: ['sign']}, ALGORITHM, true, ['sign']),
      crypto.subtle.importKey('jwk', {...open, key_ops: ['verify']}, ALGORITHM, true, ['verify']),
    ]);
    return {privateKey, publicKey};
  } catch (error) {
    throw damagedError("The text is not the key of a node. Pass a text of nodeKeyText(key, 'private').", {
      cause: error,
    });
  }
}

/**
 * Returns one half of a key as text. The public half is an OpenSSH file, as `ssh-keygen` writes it: `flwr supernode
 * register` registers it on a server that admits only registered nodes. The private half is a JSON Web Key, which
 * contains the public half. Store it in a file that only your program can read; `createNodeKey(text)` reads it.
 *
 * @param key the key of a node.
 * @param half which half.
 * @returns a promise of the text.
 * @throws LoRAError `ERR_OPTION` if it is not such a key or half, `ERR_UNSUPPORTED` if the private half cannot be
 *     exported, as with `storedNodeKey`.
 * @example
 *     const registered = await nodeKeyText(await storedNodeKey(), 'public');
 * @experimental
 */
export async function nodeKeyText(key: NodeKey, half: 'public' | 'private'): Promise<string> {
  checkNodeKey(key);
  if (!['public', 'private'].includes(half)) {
    throw new LoRAError(`The half of a key must be "public" or "private", got ${show(half)}.`);
  }
  if (half === 'public') {
    return publicKeyText(key);
  }
  if (!key.privateKey.extractable) {
    throw unsupportedError(
      'The private half of this key cannot be exported: a key of storedNodeKey stays in its page.',
    );
  }
  return JSON.stringify(await crypto.subtle.exportKey('jwk', key.privateKey));
}

/** Returns the public half in the format of OpenSSH. */
async function publicKeyText({publicKey}: NodeKey): Promise<string> {
  const point = new Uint8Array(await crypto.subtle.exportKey('raw', publicKey));
  const [type, curve] = ['ecdsa-sha2-nistp384', 'nistp384'];
  const text = new TextEncoder();
  const parts = [text.encode(type), text.encode(curve), point].flatMap(field => [
    Uint8Array.of(0, 0, 0, field.length), // each is preceded by its length
    field,
  ]);
  return `${type} ${base64Of(concatenate(parts))}\n`;
}

/** Returns the public half as PEM, which the calls to a server contain. */
export async function publicKeyPEM({publicKey}: NodeKey): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.exportKey('spki', publicKey));
  const lines = base64Of(bytes).match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PUBLIC KEY-----', ...lines, '-----END PUBLIC KEY-----', ''].join('\n');
}

/** @throws LoRAError if a value is not the key of a node. */
export function checkNodeKey(key: unknown): void {
  const {privateKey, publicKey} = (key ?? {}) as Partial<NodeKey>;
  if (!(privateKey instanceof CryptoKey && publicKey instanceof CryptoKey)) {
    throw new LoRAError(`key must be a key of createNodeKey or storedNodeKey, got ${kindOf(key)}.`);
  }
}

/**
 * Returns the key of this name from the page's IndexedDB, or stores a new one there. To the server, a tab that returns
 * with its key is the same node. The private half cannot be exported.
 *
 * @param name the name under which the key is stored. Defaults to `'node'`.
 * @returns a promise of the key.
 * @throws LoRAError `ERR_UNSUPPORTED` if there is no IndexedDB, or the page may not use it.
 * @example
 *     const node = joinFederation({url, model, train, key: await storedNodeKey()});
 * @experimental
 */
export async function storedNodeKey(name = 'node'): Promise<NodeKey> {
  if (typeof name !== 'string' || name === '') {
    throw new LoRAError(`The name of a key must be a string, got ${show(name)}.`);
  }
  if (typeof indexedDB === 'undefined') {
    throw unsupportedError(
      'There is no IndexedDB here. In Node, store the key in a file: ' +
        "writeFile(path, await nodeKeyText(key, 'private')).",
    );
  }
  const fresh = await crypto.subtle.generateKey(ALGORITHM, false, ['sign', 'verify']);
  const database = await openDatabase('tfjs-lora-federated', created => created.createObjectStore(STORE)).catch(
    (error: unknown) => {
      throw asLoRAError(error, 'The keys in IndexedDB could not be opened', 'ERR_IO');
    },
  );
  try {
    const store = database.transaction(STORE, 'readwrite').objectStore(STORE);
    // One transaction, so that two tabs that start at once both get the first one's key.
    const storedKey = (await settled(store.get(name), 'read')) as NodeKey | undefined;
    if (storedKey === undefined) {
      await settled(store.put(fresh, name), 'written');
    }
    return storedKey ?? fresh;
  } finally {
    database.close();
  }
}

const STORE = 'keys';

function settled<T>(request: IDBRequest<T>, done: string): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(ioError(`The keys in IndexedDB could not be ${done}.`, {cause: request.error}));
  });
}

/**
 * Signs a text by ECDSA with SHA-256. Returns ASN.1, a sequence of two integers; WebCrypto gives both at full length,
 * one after the other.
 */
export async function sign({privateKey}: NodeKey, text: string): Promise<Uint8Array> {
  const data = new TextEncoder().encode(text);
  const raw = new Uint8Array(await crypto.subtle.sign({name: 'ECDSA', hash: 'SHA-256'}, privateKey, data));
  const half = raw.length / 2;
  const parts = [...wholeNumber(raw.subarray(0, half)), ...wholeNumber(raw.subarray(half))];
  return Uint8Array.of(0x30, parts.length, ...parts);
}

/** A positive integer in ASN.1: no leading zeros, except before a set first bit, which would make it negative. */
function wholeNumber(bytes: Uint8Array): number[] {
  const first = bytes.findIndex(byte => byte !== 0);
  const digits = [...bytes.subarray(first < 0 ? bytes.length - 1 : first)];
  const positive = (digits[0] ?? 0) >= 0x80 ? [0, ...digits] : digits;
  return [0x02, positive.length, ...positive];
}
