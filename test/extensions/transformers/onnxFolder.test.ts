import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from 'tfjs-lora';
import {fromONNX, toONNX} from 'tfjs-lora/onnx';
import {exportTransformer, loadTransformer} from 'tfjs-lora/transformers';
import {field} from '../../../src/extensions/onnx/file/protobuf';
import {readOnnx} from '../../../src/extensions/onnx/file/readOnnx';
import {disposeModel} from '../../../src/index';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {stirFactors} from '../../models';
import {floats, onnxFile, value} from '../onnx/files';
import {TRANSFORMERS} from '../onnx/transformers';
import {fixture, inputsOf} from './fixtures';

beforeAll(() => useBackend('cpu'));

async function loaded(name: string, options: object = {}): Promise<tf.LayersModel> {
  const {config, weights, tied, pooling} = fixture(name);
  return (await loadTransformer({config, weights, tied, pooling, tokenizer: false, ...options})).model;
}

async function onnxOf(model: tf.LayersModel): Promise<Uint8Array> {
  const files = await toONNX(model, {folder: true});
  return files['onnx/model.onnx'] as Uint8Array;
}

const ids = (name: string) => ({name, type: 7, shape: ['batch', 'sequence']});

test('an adapted encoder of texts gives states and embeddings, as transformers.js reads them', async () => {
  const base = await loaded('bert', {pooling: 'mean', tokenTypes: true});
  const model = applyLoRA(base, {rank: 1, seed: 1});
  stirFactors(model);
  const files = await toONNX(model, {folder: true});
  expect(Object.keys(files)).toEqual(['config.json', 'onnx/model.onnx']);
  expect(JSON.parse(files['config.json'] as string)).toMatchObject({model_type: 'bert', architectures: ['BertModel']});
  const file = files['onnx/model.onnx'] as Uint8Array;
  const {inputs, outputs} = readOnnx(file).graph;
  expect(inputs).toEqual([ids('input_ids'), ids('attention_mask'), ids('token_type_ids')]);
  expect(outputs.map(({name}) => name)).toEqual(['last_hidden_state', 'sentence_embedding']);
  const {expected} = fixture('bert');
  const [tokens, mask] = inputsOf(expected) as [tf.Tensor, tf.Tensor];
  const length = [tokens.shape[1]!];
  const inputShapes = {input_ids: length, attention_mask: length, token_type_ids: length};
  const again = await fromONNX(file, {inputShapes});
  const x = [tokens, mask, tf.zerosLike(tokens)];
  const [wanted, [, actual]] = [model.predict(x) as tf.Tensor, again.predict(x) as tf.Tensor[]] as const;
  expect(numbers(actual!)).toBeAllClose(numbers(wanted));
});

test.each([
  ['bert', ['last_hidden_state']],
  ['bertClasses', ['logits']],
  ['bertSpans', ['start_logits', 'end_logits']],
  ['bertTiedWords', ['logits']],
  ['clipTextProjection', ['text_embeds']],
])('%s has the outputs %p', async (name, names) => {
  const model = await loaded(name);
  expect(readOnnx(await onnxOf(model)).graph.outputs.map(each => each.name)).toEqual(names);
});

test.each([
  ['vit', ['last_hidden_state']],
  ['vitClasses', ['logits']],
  ['clipVisionPooled', ['last_hidden_state', 'pooler_output']],
  ['clipVisionProjection', ['image_embeds']],
])('%s takes images with their channels first, and has the outputs %p', async (name, names) => {
  const preprocessor = {do_resize: false};
  const model = await loaded(name, {preprocessor});
  const files = await toONNX(model, {folder: true});
  expect(JSON.parse(files['preprocessor_config.json'] as string)).toEqual(preprocessor);
  const {inputs, outputs, nodes} = readOnnx(files['onnx/model.onnx'] as Uint8Array).graph;
  expect(inputs).toEqual([{name: 'pixel_values', type: 1, shape: ['batch', 3, 'height', 'width']}]);
  expect(outputs.map(each => each.name)).toEqual(names);
  expect(nodes[0]!.op).toBe('Conv');
});

test.each([
  ['resnet', 'last_hidden_state'],
  ['convnextV2Classes', 'logits'],
  ['dinov3ConvNext', 'last_hidden_state'],
  ['segformerPositions', 'logits'],
  ['efficientnetClasses', 'logits'],
  ['swin', 'last_hidden_state'],
  ['swinV2Classes', 'logits'],
  ['beit', 'last_hidden_state'],
  ['dinov3', 'last_hidden_state'],
  ['mobilevitClasses', 'logits'],
])('%s computes the same, and has the output %s', async (name, output) => {
  const model = await loaded(name);
  const file = await onnxOf(model);
  expect(readOnnx(file).graph.outputs.map(each => each.name)).toEqual([output]);
  const [x] = inputsOf(fixture(name).expected) as [tf.Tensor];
  const again = await fromONNX(file, {inputShapes: {pixel_values: [3, 9, 9]}});
  const [wanted, actual] = tf.tidy(() =>
    [model.predict(x), again.predict(tf.transpose(x, [0, 3, 1, 2]))].map(y => numbers(y as tf.Tensor)),
  );
  expect(actual).toBeAllClose(wanted!, {rtol: 1e-4, atol: 2e-5});
});

test('a model for patches takes them with a mask and the grids of images', async () => {
  const model = await loaded('siglip2Pairs');
  const {inputs, outputs} = readOnnx(await onnxOf(model)).graph;
  expect(inputs.slice(2)).toEqual([
    {name: 'pixel_values', type: 1, shape: ['images', 'patches', 27]},
    {name: 'pixel_attention_mask', type: 7, shape: ['images', 'patches']},
    {name: 'spatial_shapes', type: 7, shape: ['images', 2]},
  ]);
  expect(outputs).toEqual([{name: 'logits_per_image', type: 1, shape: [null, null]}]);
});

test('a pooler that attends to the states leaves these an output', async () => {
  const model = await loaded('siglip2Pooled');
  expect(readOnnx(await onnxOf(model)).graph.outputs).toEqual([
    {name: 'last_hidden_state', type: 1, shape: ['batch', null, 8]},
    {name: 'pooler_output', type: 1, shape: ['batch', 8]},
  ]);
});

test('images and texts of a model for pairs have batches of their own', async () => {
  const model = await loaded('clipPairs');
  const {inputs, outputs} = readOnnx(await onnxOf(model)).graph;
  expect(inputs.map(({shape}) => shape![0])).toEqual(['texts', 'texts', 'images']);
  expect(outputs).toEqual([{name: 'logits_per_image', type: 1, shape: [null, null]}]);
});

test('the files of a tokenizer are written if it is given', async () => {
  const {config, weights} = fixture('bert');
  const model = {type: 'WordLevel', vocab: {'[UNK]': 0, good: 1}, unk_token: '[UNK]'};
  const parts = {normalizer: null, pre_tokenizer: {type: 'Whitespace'}, post_processor: null, decoder: null};
  const tokenizerJson = {version: '1.0', added_tokens: [], ...parts, model};
  const tokenizerConfig = {tokenizer_class: 'PreTrainedTokenizerFast'};
  const bert = await loadTransformer({config, weights, tokenizerJson, tokenizerConfig});
  const files = await toONNX(bert.model, {folder: true, tokenizer: bert.tokenizer});
  expect(JSON.parse(files['tokenizer.json'] as string)).toEqual(tokenizerJson);
  expect(JSON.parse(files['tokenizer_config.json'] as string)).toEqual(tokenizerConfig);
});

test('a language model is written with a cache, whose sizes are numbers, and its weights apart', async () => {
  const files = await toONNX(await loaded('gpt2'), {folder: true});
  const paths = ['config.json', 'generation_config.json', 'onnx/model.onnx', 'onnx/model.onnx_data'];
  expect(Object.keys(files)).toEqual(paths);
  expect(JSON.parse(files['config.json'] as string)).toMatchObject({
    'transformers.js_config': {dtype: 'fp32', use_external_data_format: true},
  });
  const {inputs, outputs} = readOnnx(files['onnx/model.onnx'] as Uint8Array).graph;
  const past = inputs.filter(({name}) => name.startsWith('past_key_values.'));
  expect(past[0]!.shape).toEqual(['batch_size', 3, 'past_sequence_length', 8]);
  expect(outputs).toHaveLength(past.length + 1);
});

test('a Whisper becomes an encoder, and a decoder without branches that returns the states of what it heard', async () => {
  const generation = {
    lang_to_id: {'<|en|>': 5},
    no_timestamps_token_id: 8,
    suppress_tokens: [3],
    return_timestamps: true,
  };
  const preprocessor = {chunk_length: 2, sampling_rate: 100, hop_length: 20, feature_size: 5};
  const files = await toONNX(await loaded('whisperTiedText', {generation, preprocessor}), {folder: true});
  const [encoder, decoder] = ['encoder_model', 'decoder_model_merged'].map(name => {
    expect(files).toHaveProperty([`onnx/${name}.onnx_data`]);
    return readOnnx(files[`onnx/${name}.onnx`] as Uint8Array).graph;
  });
  expect(encoder!.inputs).toEqual([{name: 'input_features', type: 1, shape: ['batch_size', 5, 'frames']}]);
  expect(encoder!.outputs.map(({name}) => name)).toEqual(['last_hidden_state']);
  expect(decoder!.nodes.some(({op}) => op === 'If')).toBe(false);
  const past = decoder!.inputs.filter(({name}) => name.startsWith('past_key_values.'));
  const names = decoder!.outputs.map(({name}) => name.replace('present', 'past_key_values'));
  expect(names).toEqual(['logits', ...past.map(({name}) => name)]);
  expect(past.slice(0, 4).map(({name, shape}) => [name, shape![1], shape![3]])).toEqual(
    ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'].map(name => [`past_key_values.0.${name}`, 2, 6]),
  );
  const json = (name: string) => JSON.parse(files[name] as string) as object;
  expect(json('config.json')).toMatchObject({is_encoder_decoder: true, model_type: 'whisper'});
  expect(json('generation_config.json')).toMatchObject({
    ...{lang_to_id: {'<|en|>': 5}, is_multilingual: true, no_timestamps_token_id: 8, suppress_tokens: [3]},
    ...{decoder_start_token_id: 1, eos_token_id: 2, max_length: 9},
  });
  expect(json('preprocessor_config.json')).toEqual({...preprocessor, n_samples: 200, nb_max_frames: 10});
});

test('a model without a config is refused, and so are options that do not fit', async () => {
  const bert = await loaded('bert');
  const plain = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
  await expect(toONNX(plain, {folder: true})).rejects.toMatchObject({
    code: 'ERR_MISFIT',
    message: expect.stringContaining('toONNX(model) without {folder: true}') as string,
  });
  for (const [options, message] of [
    [{folder: true, dtype: 'bfloat16'}, "'float32' or 'float16', got \"bfloat16\""],
    [{folder: true, tokenizer: {}}, 'one that loadTransformer gave'],
    [{tokenizer: {}}, 'tokenizer is for {folder: true}'],
    [{folder: 'out'}, 'folder must be true or false, got "out"'],
  ] as const) {
    await expect(toONNX(bert, options as object as {folder: true})).rejects.toThrow(message);
  }
  await expect(exportTransformer(bert, {onnx: true} as object)).rejects.toThrow('no option "onnx"');
});

beforeAll(() => useBackend('cpu'));

test.each(TRANSFORMERS)(
  '$name: an ONNX file has the weights of the hub',
  async ({config, file, ids, shape, values}) => {
    await withoutLeaks(async () => {
      const {model} = await loadTransformer({config, weights: file, tokenizer: false});
      const x = [tf.tensor2d(ids, undefined, 'int32'), tf.ones([ids.length, ids[0]!.length], 'int32')];
      const y = model.predict(x) as tf.Tensor;
      expect(y.shape).toEqual(shape);
      expect(numbers(y)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * Math.max(...values.map(Math.abs))});
      tf.dispose([x, y]);
      disposeModel(model);
    });
  },
);

test('adapters of PEFT fit: layers have the names of the hub', async () => {
  const {config, file} = TRANSFORMERS[0]!;
  const {model} = await loadTransformer({config, weights: new Blob([file.slice()]), tokenizer: false});
  const adapted = applyLoRA(model, {rank: 2, targets: [/attention\/self\/(query|value)$/]});
  expect(adapted.layers.filter(({name}) => name.endsWith('query')).map(({name}) => name)).toEqual([
    'bert/encoder/layer/0/attention/self/query',
  ]);
});

const load = (weights: Uint8Array) => loadTransformer({config: TRANSFORMERS[0]!.config, weights, tokenizer: false});

test('a file that lacks weights, or has a matrix of no module, is refused with a line for each', async () => {
  const weights = onnxFile({
    nodes: [{op: 'MatMul', inputs: ['x', 'onnx::MatMul_9'], outputs: ['y']}],
    initializers: [floats('onnx::MatMul_9', [8, 8], Array<number>(64).fill(0))],
    inputs: [value('x', [null, 8])],
    outputs: [value('y', [null, 8])],
  });
  await expect(load(weights)).rejects.toThrow(
    /onnx::MatMul_9: no weight of the model[^]*query.weight: not in the files/,
  );
});

test('a file whose tensors are elsewhere is refused', async () => {
  const external = [
    field(1, 4),
    field(2, 1),
    field(8, 'a.weight'),
    field(13, [field(1, 'location'), field(2, 'b')]),
    field(14, 1),
  ];
  const weights = onnxFile({nodes: [], initializers: [external], inputs: [], outputs: []});
  await expect(load(weights)).rejects.toMatchObject({code: 'ERR_NOT_FOUND'});
});

test('hostile names are refused as names that the model does not have', async () => {
  const names = ['__proto__.weight', 'constructor.bias', '.weight', '..bias', `${'a.'.repeat(100_000)}weight`];
  // As many prefixes as there are tensors.
  const prefixed = Array.from({length: 300}, (_, i) => [`p${i}.embeddings.LayerNorm.bias`, `q${i}.weight`]).flat();
  const initializers = [...names, ...prefixed].map(name => floats(name, [1], [0]));
  const weights = onnxFile({nodes: [], initializers, inputs: [], outputs: []});
  await withoutLeaks(async () => {
    await expect(load(weights)).rejects.toMatchObject({code: 'ERR_MISFIT'});
  });
});
