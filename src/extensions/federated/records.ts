import {damagedError, unsupportedError} from '../../platform/errors';
import {concatenate} from '../../platform/formats/byteReader';
import {decode, encode} from './protobuf';
import {type FloatArray, fromNPY, toNPY} from './npy';

// The content of a Flower message is a tree of objects: a type, the names of the inner objects, and a body. An object
// is named by its SHA-256, so that none is sent twice and each can be checked.

/** A value of a server's config. */
export type ConfigValue = boolean | number | string | Uint8Array | (boolean | number | string | Uint8Array)[];

export type Metrics = Record<string, number | readonly number[]>;

/** The content of a message. */
export interface Records {
  /** The name of the record of arrays, which the reply uses too. */
  arraysName: string;
  arrays: Record<string, FloatArray>;
  config: Record<string, ConfigValue>;
}

/** An object as it is sent. */
export interface Inflatable {
  id: string;
  bytes: Uint8Array;
  children: readonly Inflatable[];
}

export interface ObjectTree {
  objectId?: string;
  children: ObjectTree[];
}

/** Arrays are split into chunks of this many bytes. */
const CHUNK = 5 * 2 ** 20;

/** The config key of strategies that expect nodes to clip their updates and add noise to the mean. */
const CLIPPING = 'clipping_norm';

const DOUBLES = {vals: [1, 'double', 'several']} as const;
const SINTS = {vals: [1, 'sint64', 'several']} as const;
const UINTS = {vals: [1, 'uint64', 'several']} as const;

const METRIC_VALUE = {
  double: [1, 'double'],
  sint64: [2, 'sint64'],
  uint64: [3, 'uint64'],
  doubleList: [21, DOUBLES],
  sintList: [22, SINTS],
  uintList: [23, UINTS],
} as const;

const METRIC_RECORD = {
  items: [1, {key: [1, 'string'], value: [2, METRIC_VALUE]}, 'several'],
} as const;

const CONFIG_VALUE = {
  double: [1, 'double'],
  sint64: [2, 'sint64'],
  uint64: [3, 'uint64'],
  bool: [4, 'bool'],
  string: [5, 'string'],
  bytes: [6, 'bytes'],
  doubleList: [21, DOUBLES],
  sintList: [22, SINTS],
  uintList: [23, UINTS],
  boolList: [24, {vals: [1, 'bool', 'several']}],
  stringList: [25, {vals: [1, 'string', 'several']}],
  bytesList: [26, {vals: [1, 'bytes', 'several']}],
} as const;

const CONFIG_RECORD = {
  items: [1, {key: [1, 'string'], value: [2, CONFIG_VALUE]}, 'several'],
} as const;

/** Makes an object of a type that contains others. */
export async function inflatable(type: string, children: readonly Inflatable[], body: Uint8Array): Promise<Inflatable> {
  const ids = [...new Set(children.map(({id}) => id))];
  const bytes = concatenate([utf8(`${type} ${ids.join(',')} ${body.length}\0`), body]);
  return {id: await hashOf(bytes), bytes, children: [...new Map(children.map(child => [child.id, child])).values()]};
}

/** Returns the SHA-256 of bytes, which names their object. */
export async function hashOf(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
}

export function treeOf({id, children}: Inflatable): ObjectTree {
  return {objectId: id, children: children.map(treeOf)};
}

/** The objects of a tree by their names, inner ones before those that contain them. */
export function objectsOf(root: Inflatable, objects = new Map<string, Uint8Array>()): Map<string, Uint8Array> {
  root.children.forEach(child => objectsOf(child, objects));
  return objects.set(root.id, root.bytes);
}

/** Builds the content of a reply: arrays, if there are any, and metrics. */
export async function writeRecords(
  arraysName: string,
  arrays: Readonly<Record<string, FloatArray>> | undefined,
  metrics: Metrics,
): Promise<Inflatable> {
  const records: Record<string, Inflatable> = {};
  if (arrays !== undefined) {
    const objects = await mapValues(arrays, writeArray);
    records[arraysName] = await around('ArrayRecord', objects);
  }
  const items = Object.entries(metrics).map(([key, value]) => ({key, value: metricValue(value)}));
  records.metrics = await inflatable('MetricRecord', [], encode(METRIC_RECORD, {items}));
  return around('RecordDict', records);
}

/** Makes an object whose body names the inner objects. */
function around(type: string, children: Readonly<Record<string, Inflatable>>): Promise<Inflatable> {
  const ids = Object.fromEntries(Object.entries(children).map(([name, {id}]) => [name, id]));
  return inflatable(type, Object.values(children), utf8(JSON.stringify(ids)));
}

async function writeArray(array: FloatArray): Promise<Inflatable> {
  const bytes = toNPY(array);
  const chunks: Inflatable[] = [];
  for (let from = 0; from < bytes.length; from += CHUNK) {
    chunks.push(await inflatable('ArrayChunk', [], bytes.subarray(from, from + CHUNK)));
  }
  const ids = [...new Set(chunks.map(({id}) => id))];
  const said = {
    dtype: 'float32',
    shape: array.shape,
    stype: 'numpy.ndarray',
    arraychunk_ids: chunks.map(({id}) => ids.indexOf(id)), // equal chunks are sent once
  };
  return inflatable('Array', chunks, utf8(JSON.stringify(said)));
}

/** Encodes an integer, which Python reads as `int`, or a float. */
function metricValue(value: number | readonly number[]) {
  if (typeof value === 'number') {
    return Number.isSafeInteger(value) ? {sint64: BigInt(value)} : {double: value};
  }
  return value.every(Number.isSafeInteger) ? {sintList: {vals: value.map(BigInt)}} : {doubleList: {vals: [...value]}};
}

/**
 * Reads the content of a message.
 *
 * @param id name of the content.
 * @param objects bytes of all objects of the message, by their names.
 * @throws LoRAError if objects are missing or of another type, or if only Flower's own client supports this kind of
 *     message.
 */
export function readRecords(id: string, objects: ReadonlyMap<string, Uint8Array>): Records {
  const bytesOf = (name: string): Uint8Array => {
    const bytes = objects.get(name);
    if (bytes === undefined) {
      throw damagedError('The message of the server names an object that it does not have.');
    }
    return bytes;
  };
  const [arrays, config]: [[string, FloatArray][], [string, ConfigValue][]] = [[], []];
  let arraysName: string | undefined;
  for (const [name, recordId] of Object.entries(idsIn(opened(bytesOf(id), 'RecordDict').body))) {
    const record = opened(bytesOf(recordId));
    if (/secagg/i.test(name)) {
      throw unsupportedError(
        "The run requires secure aggregation (SecAgg), which only Flower's Python client supports.",
      );
    } else if (record.type === 'ArrayRecord' && arraysName === undefined) {
      arraysName = name;
      for (const [arrayName, arrayId] of Object.entries(idsIn(record.body))) {
        arrays.push([arrayName, readArray(opened(bytesOf(arrayId), 'Array'), bytesOf)]);
      }
    } else if (record.type === 'ConfigRecord') {
      for (const {key = '', value} of decode(CONFIG_RECORD, record.body).items) {
        if (key === CLIPPING) {
          throw unsupportedError(
            `The strategy expects nodes to clip their updates (${CLIPPING}), which only Flower's Python client ` +
              'does. Use DifferentialPrivacyServerSideFixedClipping, which clips on the server.',
          );
        }
        config.push([key, configValue(value ?? {})]);
      }
    } else {
      throw unsupportedError(
        `The message has a record "${name}" of type ${record.type}. This node supports strategies that send one ` +
          'record of arrays, and configs.',
      );
    }
  }
  // Names are untrusted: assigning `__proto__` would lose it.
  return {arraysName: arraysName ?? '', arrays: Object.fromEntries(arrays), config: Object.fromEntries(config)};
}

interface Opened {
  type: string;
  children: string[];
  body: Uint8Array;
}

/** Splits an object into its parts. */
export function opened(bytes: Uint8Array, expected?: string): Opened {
  const end = bytes.indexOf(0);
  const [type = '', ids = '', length] = new TextDecoder().decode(bytes.subarray(0, Math.max(end, 0))).split(' ');
  const body = bytes.subarray(end + 1);
  if (end < 0 || Number(length) !== body.length || (expected !== undefined && type !== expected)) {
    throw damagedError(`The server sent an object that is not a valid ${expected ?? 'object of Flower'}.`);
  }
  return {type, children: ids === '' ? [] : ids.split(','), body};
}

function readArray({children, body}: Opened, bytesOf: (id: string) => Uint8Array): FloatArray {
  const {stype, arraychunk_ids: indices} = parsed(body);
  if (stype !== 'numpy.ndarray' || !Array.isArray(indices)) {
    throw unsupportedError('Arrays must be numpy.ndarray; other formats are not supported.');
  }
  const chunks = indices.map(index => opened(bytesOf(children[Number(index)] ?? ''), 'ArrayChunk').body);
  return fromNPY(concatenate(chunks));
}

type Wire = Partial<Record<keyof typeof CONFIG_VALUE, unknown>>;

function configValue(value: Wire): ConfigValue {
  const [recordValue] = Object.values(value);
  const one = (item: unknown) =>
    (typeof item === 'bigint' ? Number(item) : item) as boolean | number | string | Uint8Array;
  return recordValue !== null && typeof recordValue === 'object' && 'vals' in recordValue
    ? (recordValue.vals as unknown[]).map(one)
    : one(recordValue ?? '');
}

function idsIn(body: Uint8Array): Record<string, string> {
  const ids = parsed(body);
  if (!Object.values(ids).every(id => typeof id === 'string')) {
    throw damagedError('The server sent a record whose objects have no names.');
  }
  return ids as Record<string, string>;
}

function parsed(body: Uint8Array): Record<string, unknown> {
  try {
    const value = JSON.parse(new TextDecoder().decode(body)) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>;
    }
  } catch {
    // thrown below
  }
  throw damagedError('The server sent an object whose body is not a JSON object.');
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

async function mapValues<T, U>(
  values: Readonly<Record<string, T>>,
  f: (value: T) => Promise<U>,
): Promise<Record<string, U>> {
  const entries = await Promise.all(Object.entries(values).map(async ([key, value]) => [key, await f(value)] as const));
  return Object.fromEntries(entries);
}
