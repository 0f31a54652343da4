import type {Json, Parts} from './kind';

/** Numbers in [0, 1) that depend on a seed alone (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Numbers in [0, 1). */
export type Random = () => number;

/** What one would write in a file to do harm. */
const HOSTILE: readonly (() => Json)[] = [
  ...[null, true, false, 0, -1, 1, 2, 3, 7, 1.5, 64, 1e6, 1e8, 1e9, 2 ** 31, 2 ** 53, 1e308, -1e308, 1e-320].map(
    value => () => value,
  ),
  ...['', 'x', '0', '1e9', '__proto__', 'constructor', 'toString', 'NaN', 'linear', 'softmax', 'zeros'].map(
    value => () => value,
  ),
  ...[
    'Sequential',
    'Model',
    'Functional',
    'InputLayer',
    'Dense',
    'LSTM',
    'RepeatVector',
    'tfjs-lora>LoRADense',
    'Embedding',
  ].map(value => () => value),
  ...['(a+)+b', '.*.*.*.*.*.*.*.*.*x', 'a{1000}', '(((a?){30}){30}){30}', '[^.]*', '*.*.*.*', '\ud800', 'ä.ö/ü'].map(
    value => () => value,
  ),
  () => [],
  () => ({}),
  () => [1, 2],
  () => [1e5, 1e5],
  () => [null, -1, 'x'],
  () => 'a.'.repeat(20_000),
  () => '/'.repeat(100_000),
  () => Array.from({length: 50_000}, (_, i) => i),
  () => Array.from({length: 5000}, () => ({className: 'Dense', config: {name: 'x', units: 1}})),
  () => nested(1000),
  () => ({className: 'VarianceScaling', config: {scale: 'x', mode: 'fanIn', distribution: 'normal'}}),
  () => ({className: 'TruncatedNormal', config: {mean: 0, stddev: 'x'}}),
  () => ({className: 'TruncatedNormal', config: {mean: 0, stddev: -1}}),
  () => ({className: 'Orthogonal', config: {gain: 1}}),
  () => ({
    className: 'Sequential',
    config: {layers: [{className: 'Dense', config: {units: 1e8, batchInputShape: [1, 9]}}]},
  }),
  () => ({className: 'Dense', config: {name: 'dense', units: 1e8}}),
  () => ({className: 'RepeatVector', config: {name: 'repeat', n: 1e9}}),
  () => ({className: 'UpSampling2D', config: {name: 'up', size: [1e5, 1e5]}}),
  () => ({
    className: 'StackedRNNCells',
    config: {cells: Array.from({length: 3000}, () => ({className: 'LSTMCell', config: {units: 900}}))},
  }),
];

/** Keys that are of no use in a file, or that something may fall over. */
const KEYS = [
  '__proto__',
  'constructor',
  'weights',
  'layers',
  'initializer',
  'kernelInitializer',
  'batchInputShape',
  'x',
];

function nested(depth: number): Json {
  let value: Json = 1;
  for (let i = 0; i < depth; i++) {
    value = i % 2 === 0 ? [value] : {a: value};
  }
  return value;
}

/** Files with some damage done to them. */
export function damaged(parts: Parts, random: Random): Parts {
  const result: Record<string, Json | Uint8Array> = {...parts};
  const names = Object.keys(parts);
  for (let count = 1 + below(random, 3); count > 0; count--) {
    const name = pick(random, names);
    const part = result[name]!;
    const next = part instanceof Uint8Array ? damagedBytes(part, random) : damagedJson(part, random);
    // Copies in copies can come to gigabytes, which take their time whatever is done with them.
    result[name] = next instanceof Uint8Array || isOrdinary(next) ? next : part;
  }
  return result;
}

/** A few megabytes: far more than the JSON of a file has. */
const MAX_CHARACTERS = 5e6;
/** More than JSON.parse is asked for by any file, and less than what this file's own recursion can take. */
const MAX_LEVELS = 1500;

/** Whether a value has no more characters and levels as JSON than are allowed. */
function isOrdinary(value: Json): boolean {
  let left = MAX_CHARACTERS;
  const visit = (entry: Json, level: number): boolean => {
    left -= typeof entry === 'string' ? entry.length : 4;
    if (left < 0 || typeof entry !== 'object' || entry === null) {
      return left >= 0;
    }
    return (
      level < MAX_LEVELS &&
      Object.entries(entry).every(([key, inner]) => {
        left -= key.length;
        return visit(inner, level + 1);
      })
    );
  };
  return visit(value, 0);
}

function damagedBytes(bytes: Uint8Array, random: Random): Uint8Array {
  const place = below(random, bytes.length);
  const draft = bytes.slice();
  switch (below(random, 6)) {
    case 0:
      draft[place] = draft[place]! ^ (1 << below(random, 8));
      return draft;
    case 1:
      draft[place] = below(random, 256);
      return draft;
    case 2:
      return draft.subarray(0, place);
    case 3:
      return Uint8Array.from([...draft, ...draft.subarray(place)]);
    case 4:
      return Uint8Array.from([...draft.subarray(0, place), ...draft.subarray(place + 1 + below(random, 8))]);
    default:
      return draft.fill(below(random, 256), place, place + 1 + below(random, 16));
  }
}

/** A place in a JSON value. */
interface Place {
  holder: Json[] | {[key: string]: Json};
  key: string;
}

function damagedJson(value: Json, random: Random): Json {
  const root = {value: structuredClone(value)};
  const places: Place[] = [];
  const visit = (holder: Place['holder']) => {
    for (const [key, entry] of Object.entries(holder)) {
      places.push({holder, key});
      if (typeof entry === 'object' && entry !== null && places.length < 5000) {
        visit(entry);
      }
    }
  };
  visit(root);
  damageAt(pick(random, places), places, random);
  return (root as {value?: Json}).value ?? null; // it may have been taken away
}

function damageAt({holder, key}: Place, places: readonly Place[], random: Random): void {
  const fields = holder as Record<string, Json>;
  const value = fields[key] ?? '';
  const other = pick(random, places);
  switch (below(random, 8)) {
    case 0:
    case 1:
      fields[key] = pick(random, HOSTILE)();
      return;
    case 2:
      if (Array.isArray(holder)) {
        holder.splice(Number(key), 1);
      } else {
        Reflect.deleteProperty(holder, key);
      }
      return;
    case 3:
      fields[key] = structuredClone((other.holder as Record<string, Json>)[other.key] ?? null);
      return;
    case 4:
      if (typeof value === 'number') {
        fields[key] = pick(random, [value + 1, value - 1, -value, value * 2, value * 1e7, value / 2]);
      } else if (typeof value === 'string') {
        const place = below(random, value.length + 1);
        fields[key] = value.slice(0, place) + pick(random, ['x', '.', '/', '*', '(', '[', '']) + value.slice(place + 1);
      } else {
        fields[key] = pick(random, HOSTILE)();
      }
      return;
    case 5:
      if (!Array.isArray(holder)) {
        Reflect.deleteProperty(holder, key);
        define(holder, pick(random, [...KEYS, `${key}x`, key.slice(1)]), value);
      }
      return;
    case 6:
      if (Array.isArray(value)) {
        fields[key] = Array.from({length: 1 + below(random, 3000)}, (_, i) => value[i % value.length] ?? null);
        return;
      }
      if (typeof value === 'object') {
        const entries = Object.entries(value);
        for (let i = below(random, 3000); i > 0 && entries.length > 0; i--) {
          const [name, entry] = entries[i % entries.length]!;
          define(value, `${name}${i}`, entry);
        }
        return;
      }
      fields[key] = pick(random, HOSTILE)();
      return;
    default:
      if (typeof value === 'object' && !Array.isArray(value)) {
        define(value, pick(random, KEYS), pick(random, HOSTILE)());
      } else {
        fields[key] = pick(random, HOSTILE)();
      }
  }
}

/** Sets a property of an object's own, of whatever name. */
function define(holder: {[key: string]: Json}, key: string, value: Json): void {
  Object.defineProperty(holder, key, {value, enumerable: true, configurable: true, writable: true});
}

export function below(random: Random, count: number): number {
  return Math.floor(random() * count);
}

export function pick<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)]!;
}
