import type {MessageOf, Schema} from './protobuf';

// The calls between a node and a Flower SuperLink: its Fleet API over HTTP. Flower does not document it and changes it.
// Only this file, `flower.ts` and `records.ts` depend on it.

/** The Flower version of these calls. Other patch versions are compatible. */
export const FLOWER_VERSION = '1.42.0';

const NODE = {nodeId: [1, 'uint64']} as const;

const METADATA = {
  runId: [1, 'uint64'],
  messageId: [2, 'string'],
  srcNodeId: [3, 'uint64'],
  dstNodeId: [4, 'uint64'],
  replyToMessageId: [5, 'string'],
  groupId: [6, 'string'],
  ttl: [7, 'double'],
  messageType: [8, 'string'],
  createdAt: [9, 'double'],
  srcTaskId: [10, 'uint64'],
  dstTaskId: [11, 'uint64'],
} as const;

const ERROR = {code: [1, 'sint64'], reason: [2, 'string']} as const;
export const MESSAGE = {metadata: [1, METADATA], content: [2, {}], error: [3, ERROR]} as const;

interface TreeSchema extends Schema {
  readonly objectId: readonly [1, 'string'];
  readonly children: readonly [2, () => TreeSchema, 'several'];
}
const TREE: TreeSchema = {objectId: [1, 'string'], children: [2, () => TREE, 'several']};

/** A call: its path, its request and its reply. */
export const CALLS = {
  register: ['register-node', {publicKey: [1, 'bytes']}, NODE],
  activate: ['activate-node', {publicKey: [1, 'bytes'], heartbeatInterval: [2, 'double']}, NODE],
  deactivate: ['deactivate-node', NODE, {}],
  unregister: ['unregister-node', NODE, {}],
  heartbeat: ['send-node-heartbeat', {node: [1, NODE], heartbeatInterval: [2, 'double']}, {success: [1, 'bool']}],
  getRun: ['get-run', {node: [1, NODE], runId: [2, 'uint64']}, {}],
  pull: ['pull-messages', {node: [1, NODE]}, {messages: [2, MESSAGE, 'several'], trees: [3, TREE, 'several']}],
  pullObject: [
    'pull-object',
    {node: [1, NODE], runId: [2, 'uint64'], objectId: [3, 'string']},
    {found: [1, 'bool'], available: [2, 'bool'], content: [3, 'bytes']},
  ],
  confirm: ['confirm-message-received', {node: [1, NODE], runId: [2, 'uint64'], messageObjectId: [3, 'string']}, {}],
  push: [
    'push-messages',
    {
      node: [1, NODE],
      messages: [2, MESSAGE, 'several'],
      trees: [3, TREE, 'several'],
      runtimes: [4, 'double', 'several'],
    },
    {objectsToPush: [3, 'string', 'several'], sessionId: [4, 'string']},
  ],
  pushObject: [
    'push-object',
    {
      node: [1, NODE],
      runId: [2, 'uint64'],
      objectId: [3, 'string'],
      content: [4, 'bytes'],
      sessionId: [5, 'string'],
    },
    {stored: [1, 'bool']},
  ],
} as const satisfies Record<string, readonly [path: string, sent: Schema, received: Schema]>;

export type Call = keyof typeof CALLS;
export type Sent<C extends Call> = MessageOf<(typeof CALLS)[C][1]>;
export type Metadata = MessageOf<typeof METADATA>;
