import {attentionUses, rolesOf, type Use} from '../../../src/core/keras/attention';
import type {Reading} from '../../../src/core/keras/layerConfigs';
import {callFaults} from '../../../src/core/keras/openCalls';
import {historyOf, isTensor, type KerasCall, type KerasTensor, readCall} from '../../../src/core/keras/nodes';

const tensorOf = (layer: string): KerasTensor => ({layer, node: 0, index: 0});
const [q, v, k] = [tensorOf('q'), tensorOf('v'), tensorOf('k')];
/** Masks. */
const [m, n, o] = [tensorOf('m'), tensorOf('n'), tensorOf('o')];

const readingOf = (isKeras3 = true): Reading => ({isKeras3, isMasked: false, faults: [], warnings: []});

/** The roles of the tensors of a call, such as `query q`, or what is wrong with it. */
function usesOf(call: Partial<KerasCall>, {masked = {}, isKeras3 = true}: {masked?: object; isKeras3?: boolean} = {}) {
  const reading = readingOf(isKeras3);
  const maskOf = ({layer}: KerasTensor) => (masked as Record<string, KerasTensor>)[layer];
  const [use] = attentionUses([{args: [], kwargs: {}, ...call}], '"a"', maskOf, reading) as [Use];
  return reading.faults.length > 0
    ? reading.faults
    : [...use.inputs.map(([role, {layer}]) => `${role} ${layer}`), ...(use.causal ? ['causal'] : [])];
}

describe('a call of attention', () => {
  test.each<[Partial<KerasCall>, string[]]>([
    [{args: [q, v]}, ['query q', 'value v', 'key v']],
    [{args: [q, v, k]}, ['query q', 'value v', 'key k']],
    [{args: [q], kwargs: {value: v, key: k}}, ['query q', 'value v', 'key k']],
    [{kwargs: {key: k, value: v, query: q}}, ['query q', 'value v', 'key k']],
    // A layer that takes a list decides itself what its keys are.
    [{args: [[q, v]]}, ['query q', 'value v']],
    [{args: [[q, v, k]]}, ['query q', 'value v', 'key k']],
    [{args: [[q, v]], kwargs: {mask: [m, n]}}, ['query q', 'value v', 'rows m', 'columns n']],
    [{args: [[q, v, k]], kwargs: {mask: [null, n, o]}}, ['query q', 'value v', 'key k', 'columns n']],
    [{args: [q, v], kwargs: {query_mask: m}}, ['query q', 'value v', 'key v', 'rows m']],
    [
      {args: [q, v, k], kwargs: {query_mask: m, value_mask: n, key_mask: o}},
      ['query q', 'value v', 'key k', 'rows m', 'columns n', 'columns o'],
    ],
    [{args: [q, v], kwargs: {attention_mask: m}}, ['query q', 'value v', 'key v', 'pairs m']],
    [{args: [q, v], kwargs: {use_causal_mask: true}}, ['query q', 'value v', 'key v', 'causal']],
    [{args: [q, v], kwargs: {use_causal_mask: false}}, ['query q', 'value v', 'key v']],
    [{args: [q, v], kwargs: {return_attention_scores: false, training: null}}, ['query q', 'value v', 'key v']],
  ])('%j has its tensors in their roles', (call, roles) => {
    expect(usesOf(call)).toEqual(roles);
  });

  test('takes masks of its inputs, unless the call says others', () => {
    const masked = {q: m, v: n, k: o};
    expect(usesOf({args: [q, v, k]}, {masked})).toEqual([
      ...['query q', 'value v', 'key k', 'rows m', 'columns n', 'columns o'],
    ]);
    expect(usesOf({args: [q, v]}, {masked})).toEqual(['query q', 'value v', 'key v', 'rows m', 'columns n']);
    expect(usesOf({args: [[q, v, k]]}, {masked})).toEqual(['query q', 'value v', 'key k', 'rows m', 'columns n']);
    expect(usesOf({args: [q, v], kwargs: {query_mask: o}}, {masked})).toEqual([
      ...['query q', 'value v', 'key v', 'rows o', 'columns n'],
    ]);
  });

  test.each<[Partial<KerasCall>, boolean]>([
    [{args: [q]}, true],
    [{args: [v, 3]}, true],
    [{args: [q, v, 'k']}, true],
    [{args: [q, v, k, m]}, true],
    [{args: [q, v], kwargs: {mask: m}}, true],
    [{args: [q, v], kwargs: {return_attention_scores: true}}, true],
    // Keras 3 writes what the call had while the model was built.
    [{args: [q, v], kwargs: {training: true}}, false],
  ])('%j is refused', (call, isKeras3) => {
    expect(usesOf(call, {isKeras3})).toEqual([
      expect.stringContaining('"a": a call may have only queries, values, keys and masks, got {'),
    ]);
    expect(usesOf({args: [q, v], kwargs: {training: true}})).toEqual(['query q', 'value v', 'key v']);
  });

  test('is like the others of its layer', () => {
    const use = (roles: Use['inputs'][number][0][], causal = false): Use => ({
      inputs: roles.map(role => [role, q] as const),
      causal,
    });
    const faultsOf = (...uses: Use[]) => {
      const reading = readingOf();
      rolesOf(uses, '"a"', reading);
      return reading.faults;
    };
    const different = ['"a" is called in different ways: with and without a key, masks or use_causal_mask.'];
    expect(faultsOf()).toEqual([]);
    expect(faultsOf(use(['query', 'value']), use(['query', 'value']))).toEqual([]);
    expect(faultsOf(use(['query', 'value']), use(['query', 'value', 'key']))).toEqual(different);
    expect(faultsOf(use(['query', 'value']), use(['query', 'value'], true))).toEqual(different);
    expect(rolesOf([use(['query', 'value'], true)], '"a"', readingOf())).toEqual({
      roles: ['query', 'value'],
      causal: true,
    });
  });
});

describe('a call in a file', () => {
  const x = {layer: 'x', node: 1, index: 2, shape: undefined};

  test.each<[string, unknown, KerasCall]>([
    ['of one tensor', [['x', 1, 2, {}]], {args: [x], kwargs: {}}],
    ['of two tensors', [['x', 1, 2, {}], ['y', 0, 0, {}]], {args: [[x, {...x, layer: 'y', node: 0, index: 0}]], kwargs: {}}], // prettier-ignore
    ['with a tensor by name', [['x', 1, 2, {mask: ['x', 1, 2], axis: 3}]], {args: [x], kwargs: {mask: x, axis: 3}}],
    ['of an operation', ['x', 1, 2, {y: 0.5}], {args: [x], kwargs: {y: 0.5}}],
    [
      'with a number for a tensor',
      [
        ['x', 1, 2, {}],
        ['_CONSTANT_VALUE', -1, 0.5, {}],
      ],
      {args: [[x, 0.5]], kwargs: {}},
    ],
  ])('of Keras 2 %s is read', (_, node, call) => {
    expect(readCall(node)).toEqual(call);
  });

  test('of Keras 3 has tensors anywhere in it', () => {
    const tensor = (shape?: number[]) => ({
      class_name: '__keras_tensor__',
      config: {shape, dtype: 'float32', keras_history: ['x', 1, 2]},
    });
    const call = readCall({args: [[tensor([2, 3]), 4]], kwargs: {mask: tensor(), axis: -1}});
    expect(call).toEqual({args: [[{...x, shape: [2, 3]}, 4]], kwargs: {mask: x, axis: -1}});
  });

  test.each([
    3,
    null,
    'x',
    [],
    [3],
    [['x', -1, 0]],
    [['x', 0.5, 0]],
    [['x', 0, -1]],
    {args: 3, kwargs: {}},
    {args: []},
  ])('%j is none', node => {
    expect(readCall(node)).toBeUndefined();
  });

  test('says where a tensor comes from', () => {
    expect(historyOf(['x', 0, 0], [null, 3])).toEqual({layer: 'x', node: 0, index: 0, shape: [null, 3]});
    expect(historyOf(['x', 0])).toBeUndefined();
    expect(historyOf([3, 0, 0])).toBeUndefined();
    expect([x, {layer: 'x'}, {node: 0, layer: 3}, null, [x]].map(isTensor)).toEqual([true, false, false, false, false]);
  });
});

test.each<[string, string[], [layer: string, node: number][]]>([
  ['the first call of an input', [], [['x', 0]]],
  ['a second call of an input', ['y'], [['x', 1]]],
  [
    'the call that a nested model is made with, and one in this model',
    [],
    [
      ['body', 0],
      ['body', 1],
    ],
  ],
  ['a call of a nested model that is not there', ['y'], [['body', 2]]],
  ['its own first call', ['y'], [['y', 0]]],
  [
    'its first call in its second',
    [],
    [
      ['x', 0],
      ['y', 0],
    ],
  ],
])('calls with %s wait for %j', (_, waiting, calls) => {
  const inbound = (entries: [string, number][]) => entries.map(([name, node]) => [[name, node, 0, {}]] as never);
  const layers = [
    {className: 'InputLayer', name: 'x', inboundNodes: []},
    {className: 'Dense', name: 'y', inboundNodes: inbound(calls)},
    {className: 'Functional', name: 'body', inboundNodes: inbound([['x', 0]])},
  ]; // prettier-ignore
  const faults = callFaults(layers, ({name}) => name);
  expect(faults.map(fault => fault.replace(/ is called with .*, which no layer returns\.$/, ''))).toEqual(waiting);
});
