import {createHash, createPublicKey, verify} from 'node:crypto';
import {readFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {join} from 'node:path';
import protobuf from 'protobufjs';
import 'protobufjs/ext/descriptor/index.js';

// A SuperLink for tests: the Fleet API by Flower's own descriptors, in memory, for one run. It can fail as servers do.

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const FOLDER = 'test/fixtures/flower';
const root = (protobuf.Root as unknown as {fromDescriptor(bytes: Uint8Array): protobuf.Root}).fromDescriptor(
  readFileSync(join(FOLDER, 'fleet.binpb')),
);

/** A type of Flower's messages. Its objects have names as Flower spells them, and 64-bit numbers as texts. */
export function typeOf(name: string): protobuf.Type {
  return root.lookupType(`flwr.proto.${name}`);
}

export function objectOf(name: string, bytes: Uint8Array): Record<string, unknown> {
  return typeOf(name).toObject(typeOf(name).decode(bytes), {
    longs: String,
    defaults: true,
    arrays: true,
    bytes: Buffer,
  });
}

/** A round as Flower wrote it, by `test/python/make_flower.py`. */
export interface RoundFile {
  pulled: string;
  objects: Record<string, string>;
  arrays: Record<string, {shape: number[]; values: number[]}>;
  reply: {
    metrics: Record<string, number | number[]>;
    objects: Record<string, string>;
    metricRecord: string;
    chunks: Record<string, string>;
  };
}

export function roundFile(): RoundFile {
  return JSON.parse(readFileSync(join(FOLDER, 'round.json'), 'utf8')) as RoundFile;
}

/** A message that the server has for its nodes: bytes of a PullMessagesResponse, and the objects. */
export interface Task {
  pulled: Uint8Array;
  objects: ReadonlyMap<string, Uint8Array>;
}

/** What a node pushed. */
export interface Pushed {
  metadata: Record<string, unknown>;
  error: {code: string; reason: string} | null;
  tree: {object_id: string; children: unknown[]};
  objects: Map<string, Uint8Array>;
}

/** What goes wrong with an answer. */
export interface Fault {
  /** The call whose answer it is; of any if none is given. */
  path?: string;
  /** A status in place of the answer, with a body. */
  status?: number;
  body?: string;
  /** The connection ends before the answer. */
  hangUp?: boolean;
  /** The connection ends behind so many bytes of the body. The server has done what was asked. */
  cutAt?: number;
  /** No answer ever comes. */
  isSilent?: boolean;
  /** The body never ends. */
  isEndless?: boolean;
  /** It goes wrong again and again. */
  stays?: boolean;
}

type Body = Record<string, unknown>;

const TYPES: Readonly<Record<string, [request: string, response: string]>> = {
  'register-node': ['RegisterNodeFleetRequest', 'RegisterNodeFleetResponse'],
  'activate-node': ['ActivateNodeRequest', 'ActivateNodeResponse'],
  'deactivate-node': ['DeactivateNodeRequest', 'DeactivateNodeResponse'],
  'unregister-node': ['UnregisterNodeFleetRequest', 'UnregisterNodeFleetResponse'],
  'send-node-heartbeat': ['SendNodeHeartbeatRequest', 'SendNodeHeartbeatResponse'],
  'get-run': ['GetRunRequest', 'GetRunResponse'],
  'pull-messages': ['PullMessagesRequest', 'PullMessagesResponse'],
  'pull-object': ['PullObjectRequest', 'PullObjectResponse'],
  'confirm-message-received': ['ConfirmMessageReceivedRequest', 'ConfirmMessageReceivedResponse'],
  'push-messages': ['PushMessagesRequest', 'PushMessagesResponse'],
  'push-object': ['PushObjectRequest', 'PushObjectResponse'],
};

export class SuperLink {
  /** Paths of the calls, in order. */
  readonly calls: string[] = [];
  readonly pushed: Pushed[] = [];
  /** What goes wrong with the next answers, each with one. */
  readonly faults: Fault[] = [];
  port = 0;
  isRunning = true;
  onCall: (path: string) => void = () => undefined;
  /** Whether somebody has closed the connection of an answer that never ends. */
  isLeft = false;
  /** Whether only nodes are admitted that are among `nodes` already, as with `--enable-supernode-auth`. */
  isClosed = false;
  /** Public keys of the nodes, and their numbers. */
  readonly nodes = new Map<string, string>();
  private server!: Server;
  private nextNode = 2n ** 63n + 5n;

  constructor(readonly tasks: Task[]) {}

  async start(): Promise<string> {
    this.server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const path = request.url!.replace('/v1/fleet/', '');
        this.calls.push(path);
        this.onCall(path);
        const at = this.faults.findIndex(fault => fault.path === undefined || fault.path === path);
        const fault = this.faults[at];
        if (fault !== undefined && !fault.stays) {
          this.faults.splice(at, 1);
        }
        const send = (status: number, sent: Uint8Array | string = '') => {
          const {cutAt, isEndless} = fault ?? {};
          if (cutAt !== undefined) {
            response.writeHead(status, {'content-length': sent.length});
            response.write(Buffer.from(sent).subarray(0, cutAt), () => request.socket.destroy());
            response.flushHeaders();
          } else if (isEndless) {
            response.writeHead(status);
            const more = (): unknown => response.write(Buffer.alloc(2 ** 16, 32)) && setImmediate(more);
            response.on('drain', more).on('close', () => (this.isLeft = true));
            more();
          } else {
            response.writeHead(status).end(sent);
          }
        };
        if (fault?.hangUp) {
          request.socket.destroy();
          return;
        }
        if (fault?.isSilent) {
          return;
        }
        if (fault?.status !== undefined) {
          send(fault.status, fault.body);
          return;
        }
        const [requestType = '', responseType = ''] = TYPES[path] ?? [];
        const body = objectOf(requestType, Buffer.concat(chunks));
        const {status = 200, message = {}, bytes} = this.answer(path, body, request.headers as Record<string, string>);
        const type = typeOf(responseType);
        const sent = bytes ?? type.encode(type.fromObject(message)).finish();
        send(status, status === 200 ? sent : JSON.stringify(message));
      });
    });
    await new Promise<void>(resolve => {
      this.server.listen(0, '127.0.0.1', resolve);
    });
    this.port = (this.server.address() as AddressInfo).port;
    return `http://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise(resolve => {
      this.server.close(resolve);
    });
  }

  private answer(
    path: string,
    body: Body,
    headers: Readonly<Record<string, string>>,
  ): {status?: number; message?: Body; bytes?: Uint8Array} {
    const pem = Buffer.from(headers['flwr-public-key']!, 'base64').toString();
    const timestamp = headers['flwr-timestamp']!;
    const signature = Buffer.from(headers['flwr-signature']!, 'base64');
    if (!verify('sha256', Buffer.from(timestamp), createPublicKey(pem), signature)) {
      return {status: 401, message: {detail: 'Invalid signature'}};
    }
    const node = (body.node as Body | undefined)?.node_id ?? body.node_id;
    if (node !== undefined && node !== null && this.nodes.get(pem) !== node) {
      return {status: 401, message: {detail: 'Invalid SuperNode authentication'}};
    }
    switch (path) {
      case 'register-node':
        if (this.isClosed) {
          return {status: 412, message: {code: 2001, detail: 'SuperNode authentication is enabled.'}};
        }
        if (this.nodes.has(pem)) {
          return {status: 400, message: {code: 23, message: 'Public key already in use'}};
        }
        this.nodes.set(pem, String(this.nextNode++));
        return {};
      case 'activate-node':
        if (!this.nodes.has(pem)) {
          return {status: 412, message: {code: 2004, detail: 'Failed to activate SuperNode.'}};
        }
        if (!((body.heartbeat_interval as number) >= 10)) {
          return {status: 400, message: {code: 2003, detail: 'Invalid heartbeat interval.'}};
        }
        return {message: {node_id: this.nodes.get(pem)}};
      case 'unregister-node':
        this.nodes.delete(pem);
        return {};
      case 'send-node-heartbeat':
        return {message: {success: true}};
      case 'get-run':
        return this.isRunning ? {} : {status: 403, message: {code: 2007, message: 'The run is not running'}};
      case 'pull-messages': {
        const [task] = this.tasks;
        return task === undefined ? {} : {bytes: task.pulled};
      }
      case 'pull-object': {
        const content = this.tasks[0]?.objects.get(body.object_id as string);
        return {
          message: {
            object_found: content !== undefined,
            object_available: content?.length !== 0,
            object_content: content,
          },
        };
      }
      case 'confirm-message-received':
        this.tasks.shift();
        return {};
      case 'push-messages': {
        const [message] = body.messages_list as Pushed[];
        const [tree] = body.message_object_trees as Pushed['tree'][];
        this.pushed.push({metadata: message!.metadata, error: message!.error, tree: tree!, objects: new Map()});
        return {message: {objects_to_push: namesOf(tree!), session_id: 'session'}};
      }
      case 'push-object': {
        const content = body.object_content as Buffer;
        const name = createHash('sha256').update(content).digest('hex');
        this.pushed.at(-1)!.objects.set(name, content);
        const {objects, tree} = this.pushed.at(-1)!;
        if (objects.size === namesOf(tree).length && this.tasks.length === 0) {
          this.isRunning = false;
        }
        return {message: {stored: name === body.object_id}};
      }
      default:
        return {};
    }
  }
}

/** The names in a tree, each once. */
export function namesOf({object_id: name, children}: Pushed['tree']): string[] {
  return [...new Set([...(children as Pushed['tree'][]).flatMap(namesOf), name])];
}

/** The message that Flower wrote, as a task. */
export function flowerTask({pulled, objects}: RoundFile): Task {
  return {
    pulled: Buffer.from(pulled, 'base64'),
    objects: new Map(Object.entries(objects).map(([name, content]) => [name, Buffer.from(content, 'base64')])),
  };
}

/** A message of a round that brings no tensors. */
export function emptyTask(messageType = 'train', round = 1): Task {
  const hash = (content: Buffer) => createHash('sha256').update(content).digest('hex');
  const content = Buffer.from('RecordDict  2\0{}');
  const inner = hash(content);
  const body = typeOf('Message').encode({}).finish();
  const message = Buffer.concat([Buffer.from(`Message ${inner} ${body.length}\0`), body]);
  const metadata = {
    run_id: 7,
    message_type: messageType,
    group_id: String(round),
    message_id: hash(message),
    ttl: 60,
  };
  const type = typeOf('PullMessagesResponse');
  const pulled = type.fromObject({
    messages_list: [{metadata}],
    message_object_trees: [{object_id: hash(message), children: [{object_id: inner}]}],
  });
  return {
    pulled: type.encode(pulled).finish(),
    objects: new Map([
      [inner, content],
      [hash(message), message],
    ]),
  };
}
