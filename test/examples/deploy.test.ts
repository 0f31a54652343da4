import {type AdapterInputs, swapAdapters} from '../../examples/deploy/swapAdapters';

class FakeTensor {
  readonly ort_tensor: object;

  constructor(type: string, data: ArrayBufferView, dims: readonly number[]) {
    this.ort_tensor = {type, data, dims};
  }
}

/** A session like those of transformers.js, which returns what it is fed. */
function fakeModel() {
  const factors = [
    {name: 'q_proj.lora_A', type: 'float32', shape: [3, 'q_proj.rank']},
    {name: 'q_proj.lora_B', type: 'float32', shape: ['q_proj.rank', 2]},
  ];
  const inputMetadata = [{name: 'input_ids', type: 'int64', shape: ['batch_size', 'sequence_length']}, ...factors];
  const session = {
    inputNames: inputMetadata.map(({name}) => name),
    inputMetadata,
    outputNames: ['logits'],
    config: {},
    run: (feeds: Record<string, unknown>) => Promise.resolve(feeds),
    release: () => Promise.resolve(),
  };
  return {sessions: {model: session}};
}

const factor = (dims: [number, number], data: number[]) => ({
  type: 'float32' as const,
  dims,
  data: Float32Array.from(data),
});

test('the switch of the example feeds the adapter in use, or zeros, and makes its tensors once', async () => {
  const model = fakeModel();
  const {use} = swapAdapters(model, FakeTensor);
  expect(model.sessions.model.inputNames).toEqual(['input_ids']);
  const off = await model.sessions.model.run({input_ids: 1});
  expect(off).toEqual({
    input_ids: 1,
    'q_proj.lora_A': factor([3, 1], [0, 0, 0]),
    'q_proj.lora_B': factor([1, 2], [0, 0]),
  });
  const inputs: AdapterInputs = {
    'q_proj.lora_A': factor([3, 1], [1, 2, 3]),
    'q_proj.lora_B': factor([1, 2], [4, 5]),
  };
  use(inputs);
  const on = await model.sessions.model.run({input_ids: 1});
  expect(on).toEqual({input_ids: 1, ...inputs});
  use(null);
  expect(await model.sessions.model.run({input_ids: 1})).toEqual(off);
  use(inputs);
  expect((await model.sessions.model.run({}))['q_proj.lora_A']).toBe(on['q_proj.lora_A']);
});
