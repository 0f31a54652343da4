import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  getAdapter,
  loadAdapter,
  LoRAError,
  type LoRAErrorCode,
  mergeLoRA,
  resetOptimizer,
  saveAdapter,
  setAdapter,
  toSafetensors,
  withAdapter,
} from 'tfjs-lora';
import type * as errors from '../../src/platform/errors';
import {
  brief,
  checkCount,
  checkNumber,
  checkOptions,
  faultLines,
  kindOf,
  listed,
  messageOf,
  show,
  throwFaults,
} from '../../src/platform/errors';
import {useBackend} from '../helpers';

beforeAll(() => useBackend('cpu'));

/** A few kilobytes. */
const MOST = 4096;
const names = (count: number) => Array.from({length: count}, (_, i) => `layer_${i}`);

test('an error of another copy of the library is a LoRAError, and JSON has its message', () => {
  jest.isolateModules(() => {
    const {LoRAError: Other} = jest.requireActual<typeof errors>('../../src/platform/errors');
    expect(Other).not.toBe(LoRAError);
    expect(new Other('rank')).toBeInstanceOf(LoRAError);
  });
  for (const value of [new Error('rank'), {name: 'LoRAError', code: 'ERR_OPTION'}, null, undefined, 'LoRAError']) {
    expect((value as unknown) instanceof LoRAError).toBe(false);
  }
  const error = new LoRAError('a\nb', {code: 'ERR_MISFIT', faults: ['a', 'b']});
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    name: 'LoRAError',
    code: 'ERR_MISFIT',
    message: 'a\nb',
    faults: ['a', 'b'],
  });
});

test('a short message is unchanged', () => {
  const message = `rank must be a positive integer, got 0.\n${'x'.repeat(3500)}`;
  expect(new LoRAError(message).message).toBe(message);
});

test('of many faults the first are told, and how many more there are', () => {
  const {message} = new LoRAError(`The adapter does not fit:\n${names(5000).join('\n')}`);
  expect(message.length).toBeLessThan(MOST);
  const lines = message.split('\n');
  expect(lines.slice(0, 3)).toEqual(['The adapter does not fit:', 'layer_0', 'layer_1']);
  expect(lines.at(-1)).toBe(`… and ${(5001 - (lines.length - 1)).toLocaleString('en')} more`);
});

test('a long line keeps its start and its end, which says what to do', () => {
  const {message} = new LoRAError(`There is no layer "${'x'.repeat(1e6)}". Take another name.`);
  expect(message.length).toBeLessThan(MOST);
  expect(message).toMatch(/^There is no layer "xxx.* … \(999,\d\d\d characters\) … x+"\. Take another name\.$/);
});

test('a list is shown by its first entries and the number of the others', () => {
  expect(listed(['a', 'b'])).toBe('a, b');
  expect(listed(names(4992), 2)).toBe('layer_0, layer_1, … and 4,990 more');
  expect(faultLines(['a', 'b'])).toBe('  a\n  b');
  expect(faultLines(names(4992), 2)).toBe('  layer_0\n  layer_1\n  … and 4,990 more');
});

test('up to 40 entries and 20 faults are shown', () => {
  expect(listed(names(40))).toBe(names(40).join(', '));
  expect(listed(names(41))).toBe(`${names(40).join(', ')}, … and 1 more`);
  expect(faultLines(names(20)).split('\n')).toHaveLength(20);
  expect(faultLines(names(21)).split('\n').slice(19)).toEqual(['  layer_19', '  … and 1 more']);
});

test('a message of 4000 characters and a fault of 400 are whole, and longer ones are cut', () => {
  expect(new LoRAError('x'.repeat(4000)).message).toBe('x'.repeat(4000));
  expect(new LoRAError('x'.repeat(4001)).message).toBe(`${'x'.repeat(750)} … (3,051 characters) … ${'x'.repeat(200)}`);
  // 39 lines of 100 characters, with their ends, are 3900
  expect(new LoRAError(Array(50).fill('x'.repeat(99)).join('\n')).message).toBe(
    `${'x'.repeat(99)}\n`.repeat(39) + '… and 11 more',
  );
  expect(faultLines(['x'.repeat(400)])).toBe(`  ${'x'.repeat(400)}`);
  expect(faultLines(['x'.repeat(401)])).toBe(`  ${'x'.repeat(270)} … (51 characters) … ${'x'.repeat(80)}`);
});

test('the message of an error has the cause of a failed request, and the name of an error without text', () => {
  expect(messageOf(new TypeError('fetch failed', {cause: new Error('refused')}))).toBe('fetch failed: refused');
  expect(messageOf(new TypeError('fetch failed'))).toBe('fetch failed');
  expect(messageOf(new Error('broken', {cause: new Error('refused')}))).toBe('broken');
  expect(messageOf(new TypeError(''))).toBe('TypeError.');
  expect(messageOf('a text')).toBe('a text');
  expect(messageOf(undefined)).toBe('undefined');
});

test.each([
  [null, 'null'],
  [undefined, 'undefined'],
  [Promise.resolve(1), 'a promise: await it'],
  [7, 'a number'],
  ['text', 'a string'],
  [() => 7, 'a function'],
  [[7], 'an array'],
  [{a: 7}, 'an object'],
  [Object.create(null), 'an object'],
  [new Map(), 'an object of class Map'],
])('the kind of %p is %s', (value, kind) => {
  expect(kindOf(value)).toBe(kind);
});

test('options that are missing, no object, or unknown are refused', () => {
  const check = (options: unknown, example?: string) => () =>
    checkOptions(options as {rank?: number; alpha?: number}, {rank: true, alpha: true}, example);
  check({})();
  check({rank: 2})();
  expect(check(undefined)).toThrow(/^The options are missing\.$/);
  expect(check(undefined, 'f({rank: 2})')).toThrow(/^The options are missing\. For example: f\({rank: 2}\)\.$/);
  expect(check(null)).toThrow(/^The options must be an object, or left out, got null\.$/);
  expect(check(7, 'f({rank: 2})')).toThrow(/got a number\. For example: f\({rank: 2}\)\.$/);
  expect(check(new Map(Object.entries({rank: 2})))).not.toThrow(); // it has no properties of its own
  expect(
    check(
      new (class Model {
        units = 2;
      })(),
    ),
  ).toThrow(/got an object of class Model\.$/);
  expect(check({rank: 2, ranks: 2})).toThrow(/^There is no option "ranks"\. The options are: rank, alpha\.$/);
});

test('a number that is not finite or does not fit is refused, and a count that is not whole or too small', () => {
  checkNumber('margin', 0.5, true, 'a number');
  expect(() => checkNumber('margin', NaN, true, 'a number')).toThrow(/^margin must be a number, got NaN\.$/);
  expect(() => checkNumber('margin', 2, false, 'below 1')).toThrow(/^margin must be below 1, got 2\.$/);
  checkCount('rank', 1);
  checkCount('rank', 0, 0);
  expect(() => checkCount('rank', 0)).toThrow(/^rank must be a whole number, 1 or more, got 0\.$/);
  expect(() => checkCount('rank', 1.5)).toThrow(/^rank must be a whole number, 1 or more, got 1\.5\.$/);
  expect(() => checkCount('rank', '2')).toThrow(/got "2"\.$/);
});

test('a value is shown by its first 100 characters, whatever it is', () => {
  expect(brief('x'.repeat(98))).toBe(`"${'x'.repeat(98)}"`);
  expect(brief('x'.repeat(99))).toBe(`"${'x'.repeat(99)}…`);
  expect([show(-Infinity), show(undefined), show(2n)]).toEqual(['-Infinity', 'undefined', 'bigint']);
});

test('an error about a model of very many layers names a few of them, and says how many it has', () => {
  const model = tf.sequential();
  for (let i = 0; i < 300; i++) {
    model.add(tf.layers.dense({units: 1, name: `a_layer_with_a_long_name_${i}`, ...(i === 0 && {inputShape: [1]})}));
  }
  const apply = () => applyLoRA(model, {targets: ['none']});
  expect(apply).toThrow(
    'The model has 300 layers, such as:\n  a_layer_with_a_long_name_0 (Dense)\n  a_layer_with_a_long_name_1 (Dense)\n',
  );
  try {
    apply();
  } catch (error) {
    expect((error as Error).message.length).toBeLessThan(MOST);
  }
});

test('of a value with very many entries the first are shown', () => {
  expect(show({a: [1, NaN], b: 'x'})).toBe('{"a":[1,null],"b":"x"}');
  const text = show({a: names(1990), b: names(100_000), c: {d: 1}});
  expect(text.startsWith('{"a":["layer_0","layer_1",')).toBe(true);
  expect(text.endsWith('"layer_5","layer_6","…","…"' + ',"…"'.repeat(99_991) + '],"c":"…"}')).toBe(true);
});

test('an error has a code, each fault, and its cause', () => {
  const cause = new TypeError('fetch failed');
  const error = new LoRAError('No answer.', {code: 'ERR_IO', cause});
  expect(error).toMatchObject({name: 'LoRAError', code: 'ERR_IO', faults: ['No answer.'], cause});
  expect(Object.keys(new LoRAError('Wrong.'))).not.toContain('cause');
  expect('cause' in new LoRAError('Wrong.')).toBe(false);
  expect(new LoRAError('Wrong.').code).toBe('ERR_OPTION');
  try {
    throwFaults(['a', 'b'], 'ERR_MISFIT');
  } catch (thrown) {
    expect(thrown).toMatchObject({message: 'a\nb', code: 'ERR_MISFIT', faults: ['a', 'b']});
  }
  expect.assertions(5);
});

const base = (units = 2) => tf.sequential({layers: [tf.layers.dense({units, inputShape: [3]})]});
const adapted = (units?: number) => applyLoRA(base(units), {rank: 1});

/** A call of the public interface that ends with an error of each code. */
const CALLS: Record<Exclude<LoRAErrorCode, 'ERR_DEVICE_LOST'>, () => unknown> = {
  ERR_OPTION: () => applyLoRA(base(), {rank: 0}),
  ERR_MISFIT: () => setAdapter(adapted(), getAdapter(adapted(4))),
  ERR_NOT_READY: () => resetOptimizer(adapted()),
  ERR_NOT_ADAPTED: () => mergeLoRA(base()),
  ERR_NOT_FOUND: () => loadAdapter('file:///nowhere/model.json'),
  ERR_DAMAGED: () => loadAdapter(new Uint8Array(4)),
  ERR_UNSUPPORTED: () => loadAdapter('carrier-pigeon://adapter'),
  ERR_TOO_LARGE: () => loadAdapter(new Uint8Array(4), {maxBytes: 3}),
  ERR_MEMORY: async () => {
    await useBackend('wasm');
    const backend = tf.backend() as unknown as {
      makeOutput(shape: number[], dtype: string): tf.TensorInfo;
      disposeData(dataId: tf.DataId): boolean;
    };
    const large: tf.TensorInfo[] = [];
    try {
      for (let i = 0; i < 17; i++) {
        large.push(backend.makeOutput([2 ** 26], 'float32')); // 256 MiB, to which nothing is written
      }
    } finally {
      large.forEach(({dataId}) => backend.disposeData(dataId));
    }
  },
  ERR_NUMERIC: async () => {
    const model = adapted();
    model.setWeights(model.getWeights().map(weight => tf.fill(weight.shape, NaN)));
    await toSafetensors(getAdapter(model));
  },
  ERR_BUSY: async () => {
    const model = adapted();
    const adapter = getAdapter(model);
    let end = (): void => undefined;
    const open = withAdapter(model, adapter, () => new Promise<void>(resolve => (end = resolve)));
    try {
      setAdapter(model, adapter);
    } finally {
      end();
      await open;
    }
  },
  ERR_DISPOSED: () => {
    const model = adapted();
    const adapter = getAdapter(model);
    tf.dispose(adapter.tensors);
    setAdapter(model, adapter);
  },
  ERR_IO: () => saveAdapter(adapted(), 'file:///dev/null/adapter'),
  ERR_ABORTED: () => loadAdapter('file:///nowhere/model.json', {signal: AbortSignal.abort()}),
};

test.each(Object.entries(CALLS))('%s is the code of an error', async (code, call) => {
  await useBackend('cpu');
  const error: unknown = await Promise.resolve()
    .then(call)
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  expect(error).toBeInstanceOf(LoRAError);
  expect(error).toMatchObject({name: 'LoRAError', code});
  expect((error as LoRAError).faults.length).toBeGreaterThan(0);
});

test('there is a call for each code; a lost graphics card is tested in Chromium', () => {
  const codes = [...readFileSync('src/platform/errors.ts', 'utf8').matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(
    ([, code]) => code,
  );
  expect(codes.sort()).toEqual([...Object.keys(CALLS), 'ERR_DEVICE_LOST'].sort());
});
