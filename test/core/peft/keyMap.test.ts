import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter, LoRAError, mergeLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {checkKeyMap, closestNames, type KeyMap, nameMapper} from '../../../src/core/peft/modules';
import {Budget, PatternTable} from '../../../src/core/peft/patternTable';
import {decodeSafetensors} from '../../../src/platform/formats/decodeSafetensors';
import {encodeSafetensors} from '../../../src/platform/formats/encodeSafetensors';
import {fixture} from '../../extensions/transformers/fixtures';
import {withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {expectedOf, peftFiles, readText} from '../../peftNetworks';

function mapName(keyMap: KeyMap, name: string, way: 'import' | 'export'): string | null | undefined {
  return nameMapper(keyMap, way, new Budget())(name);
}

describe('a table of names', () => {
  const table = {
    'encoder.layer.*.attention.*': 'layer_*_*',
    'encoder.layer.*.norm': 'layer_*_norm',
    classifier: 'head/out',
  };

  test.each([
    ['encoder.layer.11.attention.query', 'layer_11_query'],
    ['encoder.layer.0.norm', 'layer_0_norm'],
    ['classifier', 'head/out'],
  ])('maps %s and %s to each other', (module, layer) => {
    expect(mapName(table, module, 'import')).toBe(layer);
    expect(mapName(table, layer, 'export')).toBe(module);
  });

  test('says nothing of other names', () => {
    expect(mapName(table, 'my.classifier', 'import')).toBeUndefined();
    expect(mapName(table, 'encoder.layer.0.attention.self.query', 'import')).toBeUndefined();
    expect(mapName(table, 'layer_0/norm', 'export')).toBeUndefined();
  });

  test('takes all characters but the star as they are', () => {
    expect(mapName({'a.b+': 'c'}, 'a.b+', 'import')).toBe('c');
    expect(mapName({'a.b+': 'c'}, 'axbb', 'import')).toBeUndefined();
    expect(mapName({'a.*': '$&_*'}, 'a.b', 'import')).toBe('$&_b');
  });

  test('gives each star what an expression of JavaScript gives it', () => {
    const text = fc.array(fc.constantFrom('a', 'b', '.', '/', '*'), {maxLength: 9}).map(parts => parts.join(''));
    const name = fc.array(fc.constantFrom('a', 'b', '.', '/'), {maxLength: 12}).map(parts => parts.join(''));
    fc.assert(
      fc.property(text, name, (pattern, module) => {
        const stars = pattern.split('*').length - 1;
        const layer = Array.from({length: stars}, () => '<*>').join('');
        const expression = pattern.replace(/[./]/g, String.raw`\$&`).replaceAll('*', '([^./]+)');
        const parts = new RegExp(`^${expression}$`).exec(module)?.slice(1);
        const expected = parts?.map(part => `<${part}>`).join('');
        expect(mapName({[pattern]: layer}, module, 'import')).toBe(expected);
      }),
      {numRuns: 3000, seed: 5},
    );
  });

  test('of many stars is compared within the time that a test has', () => {
    const table = {[`${'*a'.repeat(40)}b`]: '*'.repeat(40)};
    expect(mapName(table, 'a'.repeat(1000), 'import')).toBeUndefined();
  });

  test('is two names to a row, with as many stars in one as in the other', () => {
    expect(() => checkKeyMap({'a.*': 'b', c: 'd', 'e.*': 'f_*', g: 1})).toThrow(
      'Rows of keyMap must be two names with as many * in one as in the other:\n  "a.*": "b"\n  "g": 1',
    );
    expect(() => checkKeyMap(null)).toThrow('keyMap must be a function or a table');
  });
});

test('a function of names is asked either way', () => {
  const keyMap = (name: string) => (name === 'a' ? 'b' : name === 'skip' ? null : undefined);
  expect(mapName(keyMap, 'a', 'export')).toBe('b');
  expect(mapName(keyMap, 'skip', 'import')).toBeNull();
  expect(mapName(keyMap, 'c', 'import')).toBeUndefined();
});

test('the closest names are those with the fewest changes, whatever the separators', () => {
  const layers = ['conv2d_1', 'layer_0_query', 'layer_0/value', 'head'];
  expect(closestNames('layer.0.value', layers, 2)).toEqual(['layer_0/value', 'layer_0_query']);
  expect(closestNames('net.Head', layers, 1)).toEqual(['head']);
  expect(closestNames('conv2d1', layers, 1)).toEqual(['conv2d_1']);
});

/** Whether a table of one pattern finds a path. */
function matches(pattern: string, path: string): boolean {
  const table = new PatternTable(new Budget());
  table.add({pattern, value: 1});
  return table.rowsFor(path).length > 0;
}

/** PEFT's own rule, `re.match(rf"(.*\.)?({key})$", path)`, for patterns that JavaScript's engine spells alike. */
function peftMatches(pattern: string, path: string): boolean {
  return new RegExp(String.raw`^(.*\.)?(${pattern})$`).test(path);
}

test.each([
  ['fc1', 'fc1', true],
  ['fc1', 'encoder.fc1', true],
  ['fc1', 'encoder.xfc1', false],
  ['fc1', 'fc1.dense', false],
  ['^fc1', 'fc1', true],
  ['^fc1', 'encoder.fc1', false],
  ['layer.0.query', 'encoder.layer.0.query', true],
  [String.raw`layer\.[0-3]\.(query|value)`, 'encoder.layer.2.value', true],
  [String.raw`layer\.[0-3]\.(query|value)`, 'encoder.layer.4.value', false],
  [String.raw`layer\.\d+\..*`, 'layer.12.attention.query', true],
  [String.raw`.*\.query`, 'query', false],
  ['a|b.c', 'x.a', true],
  ['a|b.c', 'x.b.c', true],
  ['a{,2}b', 'b', true],
  ['a{,}b', 'aaab', true],
  ['a{}', 'a{}', true],
  [String.raw`^layer\.0\.query`, 'layer.0.query', true],
  [String.raw`^layer\.0\.query`, 'layer_0.query', false],
  ['layer.0.query', 'layer_0_query', true],
  [String.raw`(.*\.)?query`, 'query', true],
  [String.raw`(.*\.)??query`, 'a.query', true],
  [String.raw`layers\.\d{1,2}\.(?:q|k)_proj`, 'model.layers.17.k_proj', true],
  [String.raw`layers\.\d{1,2}\.(?:q|k)_proj`, 'model.layers.117.k_proj', false],
  [String.raw`layer\_1`, 'layer_1', true],
  [String.raw`[\_x]1`, '_1', true],
  ['.', '😀', true],
  ['[^.]+', 'a.b', true],
  ['[]x]', ']', true],
  ['[a-]', '-', true],
  [String.raw`[\w-]+`, 'a-b', true],
  ['a??b*?', 'abb', true],
  ['', 'a', false],
  ['', 'a.', true],
])('%p of %p: %p', (pattern, path, expected) => {
  expect(matches(pattern, path)).toBe(expected);
});

test('patterns match what the expression of PEFT matches', () => {
  const single = fc.constantFrom(
    'a',
    'b',
    String.raw`\.`,
    '.',
    '[ab]',
    '[^a]',
    '[a-z0-9]',
    String.raw`[\d.]`,
    String.raw`\d`,
    '0',
  );
  const times = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,3}', '{0,}', '*?');
  const pattern = fc.letrec<{any: string}>(tie => ({
    any: fc.oneof(
      {maxDepth: 5},
      fc.tuple(single, times).map(parts => parts.join('')),
      fc.constantFrom('^', '$', 'ab'),
      fc.tuple(tie('any'), tie('any')).map(parts => parts.join('')),
      fc.tuple(tie('any'), tie('any'), fc.constantFrom('', '?')).map(([one, other, end]) => `(${one}|${other})${end}`),
    ),
  })).any;
  const path = fc.array(fc.constantFrom('a', 'b', '.', '0'), {maxLength: 8}).map(parts => parts.join(''));
  fc.assert(
    fc.property(pattern, path, (expression, text) => {
      expect(matches(expression, text)).toBe(peftMatches(expression, text));
    }),
    {numRuns: 5000, seed: 7},
  );
});

test('each row that matches a path takes from the budget', () => {
  const spentBy = (rows: number) => {
    const budget = new Budget(10_000);
    const spend = jest.spyOn(budget, 'spend');
    const table = new PatternTable(budget);
    Array.from({length: rows}).forEach((_, value) => table.add({pattern: 'fc1', value}));
    spend.mockClear();
    expect(table.rowsFor('fc1')).toHaveLength(rows);
    return spend.mock.calls.reduce((sum, [steps]) => sum + steps, 0);
  };
  expect(spentBy(500) - spentBy(1)).toBe(499);
});

test('a budget is spent when more is taken than there is', () => {
  const budget = new Budget(3);
  budget.spend(3);
  expect(budget.isSpent).toBe(false);
  expect(() => {
    budget.spend(1);
  }).toThrow(/takes too long/);
  expect(budget.isSpent).toBe(true);
});

test('a pattern that is made to take for ever ends, or has spent its budget', () => {
  const path = 'a'.repeat(900);
  expect(matches('.*.*.*.*.*.*.*.*b', path)).toBe(false);
  expect(matches(`${'a?'.repeat(400)}b`, path)).toBe(false);
  expect(matches(`${'(a|a)'.repeat(200)}b`, path)).toBe(false);
  const table = new PatternTable(new Budget());
  table.add({pattern: '.*[a-z]'.repeat(285), value: 1});
  const read = () => Array.from({length: 1000}, () => table.rowsFor(path));
  expect(read).toThrow(/takes too long/);
});

test.each([
  ['(', /leaves a group open/],
  [')', /closes a group/],
  ['[a', /leaves a set open/],
  ['*a', /repeats nothing/],
  ['a**', /repeats a repetition/],
  ['a{3,2}', /repeats something/],
  ['a{99999}', /repeats something/],
  ['[b-a]', /has \[b-a\], which is not a set/],
  ['\\', /ends in a backslash/],
  ['(?=a)', /lookaround/],
  ['(?i)a', /flag/],
  [String.raw`(a)\1`, /uses \\1/],
  [String.raw`\bfc`, /uses \\b/],
  ['('.repeat(100), /nests more than/],
  ['.*'.repeat(1500), /longer than/],
  ['(a+)+b', /repeats a group\. Write a pattern for each module/],
  ['(?:ab){2}', /repeats a group/],
  ['(?P<name>a)', /named group/],
])('%p is refused', (pattern, message) => {
  expect(() => matches(pattern, '')).toThrow(LoRAError);
  expect(() => matches(pattern, '')).toThrow(message);
});

const CLOSE = {rtol: 2e-5, atol: 2e-5};

async function load(name: string): Promise<tf.LayersModel> {
  const {config, weights} = fixture(name);
  return (await loadTransformer({config, weights})).model;
}

/** The logits that a model gives for the tokens of an adapter's fixture. */
function logits(model: tf.LayersModel, name: string): number[] {
  const {ids} = JSON.parse(readText('made', name, 'expected.json')) as {ids: number[][]};
  return tf.tidy(() => {
    const tokens = tf.tensor2d(ids, undefined, 'int32');
    return Array.from((model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor).dataSync());
  });
}

const tensorsOf = (bytes: Uint8Array) =>
  [...decodeSafetensors(bytes).tensors].map(([name, {shape, data}]) => [name, shape, Array.from(data!)]).sort();

test.each([
  ['gpt2Saved', 'gpt2'],
  ['llamaEmbeddings', 'llama'],
])('%s, an adapter of PEFT, gives its outputs', async (name, base) => {
  await withoutLeaks(async () => {
    const model = await load(base);
    const adapter = await loadAdapter(peftFiles('made', name), {model});
    const adapted = applyLoRA(model, adapter);
    const merged = mergeLoRA(adapted);
    const {data} = expectedOf('made', name).y;
    expect(logits(adapted, name)).toBeAllClose(data, CLOSE);
    expect(logits(merged, name)).toBeAllClose(data, CLOSE);
    tf.dispose(adapter.tensors);
    [merged, adapted, model].forEach(disposeModel);
  });
});

describe("GPT-2's Conv1D as a whole module", () => {
  test('is exported as PEFT has it, from a model that was saved and loaded too', async () => {
    const model = await load('gpt2');
    const files = peftFiles('made', 'gpt2Saved');
    const adapted = applyLoRA(model, await loadAdapter(files, {model}));
    const loaded = await reloaded(adapted);
    for (const each of [adapted, loaded]) {
      const {weights, config} = await exportPEFT(each);
      expect(tensorsOf(weights)).toEqual(tensorsOf(files.weights));
      expect(config.fan_in_fan_out).toBe(true);
    }
  });

  test('is known in a part of a model and in a merged one', async () => {
    const model = await load('gpt2');
    const files = peftFiles('made', 'gpt2Saved');
    const merged = mergeLoRA(applyLoRA(model, await loadAdapter(files, {model})));
    const part = tf.model({
      inputs: merged.inputs,
      outputs: merged.getLayer('transformer/h/1/mlp/c_fc').output,
    });
    const {tensors} = await loadAdapter(files, {model: part});
    const stored = decodeSafetensors(files.weights).tensors;
    const kernel = tensors['transformer/h/1/attn/c_proj/kernel']!;
    expect(Array.from(kernel.dataSync())).toEqual(
      Array.from(stored.get('base_model.model.transformer.h.1.attn.c_proj.weight')!.data!),
    );
  });

  test('is refused where a Dense layer does not say whether it is one, and both would fit', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 72, inputShape: [24], name: 'c_attn'}),
        tf.layers.dense({units: 24, name: 'wide'}),
        tf.layers.dense({units: 24, name: 'c_proj'}),
      ],
    });
    const read = () =>
      loadAdapter(peftFiles('made', 'gpt2Saved'), {
        model,
        keyMap: name => (name.startsWith('transformer.h.0.attn') ? name.split('.').at(-1) : null),
      });
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(/h\.0\.attn\.c_proj: The weight is square/);
  });

  test('has no updates by LoHa and LoKr in PEFT', async () => {
    const model = await load('gpt2');
    const adapted = applyLoRA(model, {rank: 1, method: 'loha', targets: [/c_fc$/]});
    await expect(exportPEFT(adapted)).rejects.toThrow(
      "transformer/h/0/mlp/c_fc: PEFT has no updates of GPT-2's Conv1D by the method loha",
    );
  });
});

describe('weights of the base in a file of PEFT', () => {
  test('that are not those of the model are refused by name', async () => {
    const model = await load('llama');
    const {config, weights} = peftFiles('made', 'llamaEmbeddings');
    const {tensors} = decodeSafetensors(weights);
    const name = 'base_model.model.model.embed_tokens.base_layer.weight';
    const changed = [...tensors].map(([key, {shape, data}]) => {
      return [key, {shape, data: key === name ? data!.map(value => value + 1e-3) : data!}] as const;
    });
    const read = () => loadAdapter({config, weights: encodeSafetensors(Object.fromEntries(changed))}, {model});
    await expect(read).rejects.toThrow(LoRAError);
    await expect(read).rejects.toThrow(
      /model\.embed_tokens: .*not the weight of this model.*save_embedding_layers=False/s,
    );
  });
});
