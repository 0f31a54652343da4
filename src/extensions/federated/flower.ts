import {damagedError, ioError, messageOf, tooLargeError, unsupportedError} from '../../platform/errors';
import {base64Of} from '../../platform/formats/base64';
import {beginningOf, bytesOf} from '../../core/storage/sources';
import {type Call, CALLS, FLOWER_VERSION, MESSAGE, type Metadata, type Sent} from './calls';
import {type NodeKey, publicKeyPEM, sign} from './nodeKey';
import {decode, encode, type MessageOf, type Schema} from './protobuf';
import {type Inflatable, inflatable, hashOf, objectsOf, type ObjectTree, treeOf} from './records';
import {pause} from './waiting';

/** Flower's error codes that a node handles. */
const CODES = {keyInUse: 23, registrationOff: 2001, notActivated: 2004, runIsOver: 2007, noSuchRun: 2008};

/** Thrown when a server understood a call and refuses it. */
export class Refusal extends Error {
  constructor(
    readonly call: string,
    readonly status: number,
    readonly code: number | undefined,
    text: string,
  ) {
    super(`The SuperLink refused ${call} (${status}): ${text}`);
  }

  /** Whether it refuses because the run has ended. */
  get isRunOver(): boolean {
    return this.code === CODES.runIsOver || this.code === CODES.noSuchRun;
  }

  /** Whether it does not know the node. */
  get isStranger(): boolean {
    return this.status === 401;
  }
}

/** Thrown when a call got no complete answer, or the server is temporarily unavailable. */
export class Unreachable extends Error {}

/** The time in milliseconds after which a server has noticed that a node is gone. */
const ABSENCE = 4000;

/** The most bytes of replies other than objects of arrays. */
const MAX_BYTES = 2 ** 20;

/** The most characters of a refusal in error messages. */
const MAX_REFUSAL_BYTES = 2 ** 16;

/** The node of a SuperLink, and its calls. */
export class FlowerNode {
  bytesSent = 0;
  bytesReceived = 0;
  private nodeId = 0n;
  /** The public half of the key, as each call says it. */
  private readonly publicKey: Promise<Uint8Array>;

  constructor(
    private readonly url: string,
    private readonly key: NodeKey,
    private readonly heartbeatInterval: number,
    private readonly mostObjectBytes: number,
  ) {
    this.publicKey = publicKeyPEM(key).then(text => new TextEncoder().encode(text));
  }

  /** Registers and activates the node: the same node as before if its key is known. */
  async arrive(signal: AbortSignal): Promise<void> {
    const publicKey = await this.publicKey;
    const activate = async () => {
      const {nodeId} = await this.call('activate', {publicKey, heartbeatInterval: this.heartbeatInterval}, signal);
      this.nodeId = nodeId ?? 0n;
    };
    try {
      await this.call('register', {publicKey}, signal);
    } catch (error) {
      // Registered earlier, or by its public key, as servers that authenticate nodes require.
      if (!(error instanceof Refusal && (error.code === CODES.keyInUse || error.code === CODES.registrationOff))) {
        throw error;
      }
      // The node may have been killed while it handled a message. Until its last heartbeat expires, the server waits
      // for the reply and refuses to activate the node twice. It checks every three seconds.
      await this.whenGone(activate, signal);
      await this.leave(signal);
      await pause(ABSENCE, signal);
    }
    await activate();
  }

  /**
   * Retries until the server has missed the heartbeats of the earlier process with this node's key.
   *
   * @throws LoRAError if it does not know the key.
   */
  private async whenGone(activate: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const end = Date.now() + 1000 * (2 * this.heartbeatInterval + 15);
    for (;;) {
      try {
        await activate();
        return;
      } catch (error) {
        if (!(error instanceof Refusal && error.code === CODES.notActivated && Date.now() < end)) {
          throw error;
        }
        if (!(await this.isKnown(signal))) {
          throw ioError(
            'The SuperLink does not know the key of this node, and admits only registered nodes. Write ' +
              "nodeKeyText(key, 'public') to a file, and pass that to `flwr supernode register`.",
            {cause: error},
          );
        }
        await pause(1000, signal);
      }
    }
  }

  /**
   * Whether the server knows the key. It has one code for unknown and for active nodes, but checks the key before the
   * interval, so this sends an invalid interval.
   */
  private async isKnown(signal: AbortSignal): Promise<boolean> {
    const request = {publicKey: await this.publicKey, heartbeatInterval: 0};
    return this.call('activate', request, signal).then(
      () => true,
      (error: unknown) => !(error instanceof Refusal && error.code === CODES.notActivated),
    );
  }

  /** Deactivates the node. The server keeps its key and the replies that it pushed. */
  async leave(signal: AbortSignal): Promise<void> {
    await this.call('deactivate', {nodeId: this.nodeId}, signal);
  }

  /** Unregisters the node. The server drops its replies that nobody has pulled. */
  async forget(signal: AbortSignal): Promise<void> {
    await this.call('unregister', {nodeId: this.nodeId}, signal);
  }

  async heartbeat(signal: AbortSignal): Promise<void> {
    const {success} = await this.call('heartbeat', {...this.self, heartbeatInterval: this.heartbeatInterval}, signal);
    if (!success) {
      throw new Refusal('heartbeat', 401, undefined, 'it does not know this node');
    }
  }

  /** Whether a run is in progress. */
  async isRunning(runId: bigint, signal: AbortSignal): Promise<boolean> {
    try {
      await this.call('getRun', {...this.self, runId}, signal);
      return true;
    } catch (error) {
      if (error instanceof Refusal && error.isRunOver) {
        return false;
      }
      throw error;
    }
  }

  /** Pulls the next message and the names of its objects, if there is one. */
  async pull(signal: AbortSignal): Promise<{metadata: Metadata; tree: ObjectTree} | undefined> {
    const {messages, trees} = await this.call('pull', this.self, signal);
    const [message] = messages;
    const [tree] = trees as ObjectTree[];
    return message?.metadata === undefined || tree === undefined ? undefined : {metadata: message.metadata, tree};
  }

  /**
   * Pulls the objects of a message, by their names. Their names are their SHA-256, which is checked.
   *
   * @throws LoRAError if one is missing or does not match its name, or if they exceed the size of any message of
   *     this model.
   */
  async pullObjects({runId = 0n}: Metadata, tree: ObjectTree, signal: AbortSignal): Promise<Map<string, Uint8Array>> {
    const objects = new Map<string, Uint8Array>();
    let bytes = 0;
    for (const objectId of idsOf(tree)) {
      if (!objects.has(objectId)) {
        const content = await this.pullObject(runId, objectId, signal);
        bytes += content.length;
        if (bytes > this.mostObjectBytes) {
          throw tooLargeError(
            `The message of the server has more than ${this.mostObjectBytes.toLocaleString('en')} bytes, more than ` +
              'the tensors of this adapter need.',
          );
        }
        if ((await hashOf(content)) !== objectId) {
          throw damagedError('The server sent an object that does not match its hash. It was changed in transit.');
        }
        objects.set(objectId, content);
      }
    }
    return objects;
  }

  private async pullObject(runId: bigint, objectId: string, signal: AbortSignal): Promise<Uint8Array> {
    for (let waits = 0; ; waits++) {
      const request = {...this.self, runId, objectId};
      const {found, available, content = new Uint8Array(0)} = await this.call('pullObject', request, signal);
      if (!found || waits > 100) {
        throw damagedError('The message of the server names an object that it does not have.');
      }
      if (available) {
        return content;
      }
      await pause(100, signal); // the server is still receiving it
    }
  }

  /** Confirms that a message has arrived. The server then drops its objects. */
  async confirm({runId = 0n}: Metadata, tree: ObjectTree, signal: AbortSignal): Promise<void> {
    await this.call('confirm', {...this.self, runId, messageObjectId: tree.objectId ?? ''}, signal);
  }

  /** Builds the reply to a message: its content, or why there is none. */
  async reply(to: Metadata, said: Inflatable | {code: bigint; reason: string}): Promise<Reply> {
    const now = Date.now() / 1000;
    const error = 'code' in said ? said : undefined;
    const metadata: Metadata = {
      runId: to.runId ?? 0n,
      srcNodeId: to.dstNodeId ?? 0n,
      dstNodeId: to.srcNodeId ?? 0n,
      replyToMessageId: to.messageId ?? '',
      groupId: to.groupId ?? '',
      ttl: Math.max(1, (to.createdAt ?? now) + (to.ttl ?? 3600) - now), // must not outlive the message
      messageType: to.messageType ?? '',
      createdAt: now,
      srcTaskId: to.dstTaskId ?? 0n,
      dstTaskId: to.srcTaskId ?? 0n,
    };
    const body = encode(MESSAGE, {metadata, ...(error && {error})});
    return {object: await inflatable('Message', 'code' in said ? [] : [said], body), metadata, error};
  }

  /** Announces a reply. Returns which of its objects the server lacks. */
  async announce({object, metadata, error}: Reply, seconds: number, signal: AbortSignal): Promise<Announced> {
    const message = {metadata: {...metadata, messageId: object.id}, ...(error ? {error} : {content: {}})};
    const request = {...this.self, messages: [message], trees: [treeOf(object)], runtimes: [seconds]};
    const {objectsToPush, sessionId = ''} = await this.call('push', request as Sent<'push'>, signal);
    const asked = new Set(objectsToPush);
    return {sessionId, objects: [...objectsOf(object)].filter(([objectId]) => asked.has(objectId))};
  }

  /** Sends an object of a reply. Returns whether the server stored it. */
  async pushObject(
    {metadata: {runId = 0n}}: Reply,
    sessionId: string,
    [objectId, content]: readonly [string, Uint8Array],
    signal: AbortSignal,
  ): Promise<boolean> {
    const {stored} = await this.call('pushObject', {...this.self, runId, objectId, content, sessionId}, signal);
    return stored === true;
  }

  private get self() {
    return {node: {nodeId: this.nodeId}};
  }

  private async call<C extends Call>(
    name: C,
    message: Sent<C>,
    signal: AbortSignal,
  ): Promise<MessageOf<(typeof CALLS)[C][2]>> {
    const [path, sent, received] = CALLS[name] as readonly [string, Schema, Schema];
    const body = encode(sent, message as MessageOf<Schema>);
    const timestamp = new Date().toISOString().replace('Z', '000+00:00');
    const retried = (error: unknown): never => {
      signal.throwIfAborted();
      throw new Unreachable(`${this.url} cannot be reached: ${messageOf(error)}`, {cause: error});
    };
    const response = await fetch(`${this.url}/v1/fleet/${path}`, {
      method: 'POST',
      body: body as Uint8Array<ArrayBuffer>,
      signal,
      headers: {
        'content-type': 'application/protobuf',
        'flwr-public-key': base64Of(await this.publicKey),
        'flwr-timestamp': timestamp,
        'flwr-signature': base64Of(await sign(this.key, timestamp)),
        'flwr-package-name': 'flwr',
        'flwr-package-version': FLOWER_VERSION,
        'flwr-component-name': 'SuperNode',
      },
    }).catch(retried);
    if (!response.ok) {
      throw await refusalOf(name, response, signal).catch(retried);
    }
    this.bytesSent += body.length;
    const maxBytes = name === 'pullObject' ? this.mostObjectBytes + MAX_BYTES : MAX_BYTES;
    const bytes = await bytesOf(response, {signal, maxBytes}).catch((error: unknown) => {
      if ((error as Error).cause === undefined) {
        throw error; // it is too large
      }
      return retried(error);
    });
    this.bytesReceived += bytes.length;
    return decode(received, bytes) as MessageOf<(typeof CALLS)[C][2]>;
  }
}

/** A reply that is ready to be pushed, also repeatedly. */
export interface Reply {
  object: Inflatable;
  metadata: Metadata;
  error: {code: bigint; reason: string} | undefined;
}

/** A reply as the server takes it: objects by their names, inner ones before those that contain them. */
export interface Announced {
  sessionId: string;
  objects: [name: string, content: Uint8Array][];
}

/** Responses of proxies whose server is starting or overloaded. */
const FOR_NOW = [408, 429, 500, 502, 503, 504];

async function refusalOf(call: string, response: Response, signal: AbortSignal): Promise<Error> {
  const {status} = response;
  const isForNow = FOR_NOW.includes(status);
  const text = new TextDecoder().decode(await beginningOf(response, isForNow ? 0 : MAX_REFUSAL_BYTES, {signal}));
  if (isForNow) {
    return new Unreachable(`The SuperLink answered ${status}.`);
  }
  if (status === 404 || status === 405) {
    return unsupportedError(
      `${response.url}: this is not the Fleet API of Flower over HTTP. The server must be a SuperLink of version ` +
        `${FLOWER_VERSION.replace(/\.\d+$/, '')}; a page needs a proxy on its own origin.`,
    );
  }
  return new Refusal(call, status, codeIn(text), text.slice(0, 500));
}

function codeIn(text: string): number | undefined {
  try {
    const {code} = JSON.parse(text) as {code?: unknown};
    return typeof code === 'number' ? code : undefined;
  } catch {
    return undefined;
  }
}

function* idsOf({objectId = '', children}: ObjectTree): Generator<string> {
  for (const child of children) {
    yield* idsOf(child);
  }
  yield objectId;
}
