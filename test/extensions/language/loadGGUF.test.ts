import {createHash} from 'node:crypto';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, LoRAError, summarizeLoRA} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {openGGUF, PIECE} from '../../../src/extensions/language/gguf/ggufFile';
import {HeaderReader, type MetadataValue} from '../../../src/extensions/language/gguf/headerReader';
import {tokenizerFiles} from '../../../src/extensions/language/gguf/tokenizerFiles';
import {readerOf} from '../../../src/core/storage/sources';
import {useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {drawnTexts} from './drawnTexts';
import {builtGGUF, type BuiltValue, expectedOf, fileOf, GGUF_NAMES, MORE_GGUF_NAMES} from './ggufFiles';
import {headerOf} from './ggufHeaders';
import {QuantizedDense} from '../../../src/extensions/quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../../../src/extensions/quantized/layers/quantizedEmbedding';

function logitsOf(model: tf.LayersModel, ids: readonly number[][]): {shown: number[]; shape: number[]} {
  return tf.tidy(() => {
    const tokens = tf.tensor2d([...ids], undefined, 'int32');
    const y = model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor3D;
    const shown = tf.stridedSlice(y, [0, 0, 0], y.shape, [1, 4, 5]);
    return {shown: [...shown.dataSync()], shape: y.shape};
  });
}

describe('a model of a GGUF file', () => {
  test.each([...GGUF_NAMES, ...MORE_GGUF_NAMES])('%s gives the logits that transformers gives', async name => {
    const {ids, logits} = expectedOf(name);
    await withoutLeaks(async () => {
      const {model} = await loadGGUF(fileOf(name));
      const {shown, shape} = logitsOf(model, ids);
      expect(shape).toEqual([2, 12, 320]);
      const largest = Math.max(...logits.map(Math.abs));
      expect(shown).toBeAllClose(logits, {rtol: 0, atol: 1e-4 * largest});
      disposeModel(model);
    });
  });

  // Rows of Llama and GPT-NeoX are reordered.
  test.each(['llama', 'gptneox', 'kQuants'])('%s is read into the memory of wasm in pieces', async name => {
    const weightsOf = async () => {
      const {model} = await loadGGUF(new Response(fileOf(name)), {tokenizer: false});
      const values = model.getWeights().map(weight => [...weight.dataSync()]);
      disposeModel(model);
      return values;
    };
    const {bytes} = PIECE;
    await withoutLeaks(async () => {
      PIECE.bytes = 999;
      const take = jest.spyOn(HeaderReader.prototype, 'take');
      const values = await weightsOf();
      const sizes = take.mock.calls.map(([size]) => size);
      PIECE.bytes = bytes;
      await useBackend('cpu'); // which has no memory that is read into
      take.mockClear();
      expect(values).toEqual(await weightsOf());
      expect(Math.max(...sizes)).toBeLessThan(Math.max(...take.mock.calls.map(([size]) => size)));
      take.mockRestore();
      await useBackend('wasm');
    });
  });

  test('holds its matrices in the blocks of the file, or as numbers', async () => {
    const {model} = await loadGGUF(fileOf('kQuants'));
    const inBlocks = model.layers.filter(
      layer => layer instanceof QuantizedDense || layer instanceof QuantizedEmbedding,
    );
    expect(inBlocks.map(layer => layer.getConfig().blocks)).toEqual(
      ['Q4_K', 'Q5_K', 'Q6_K', 'Q4_K', 'Q8_0', 'Q6_K', 'Q4_K', 'Q8_0'].map(name => ({name})),
    );
    const {model: plain} = await loadGGUF(fileOf('kQuants'), {quantized: false});
    expect(plain.layers.map(layer => layer.getClassName())).toContain('Dense');
    const {ids, logits} = expectedOf('kQuants');
    expect(logitsOf(plain, ids).shown).toBeAllClose(logits, {rtol: 0, atol: 1e-4 * Math.max(...logits.map(Math.abs))});
  });

  test('counts its parameters, not the integers that hold them', async () => {
    const counts = [];
    for (const quantized of [true, false]) {
      const {model} = await loadGGUF(fileOf('kQuants'), {quantized});
      const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/]});
      counts.push(summarizeLoRA(adapted).totalParameters);
      [adapted, model].forEach(disposeModel);
    }
    expect(counts[0]).toBe(counts[1]);
  });

  test('is the same from bytes, a Blob and a Response', async () => {
    const {ids} = expectedOf('llama3');
    const bytes = fileOf('llama3');
    const chunks = () =>
      new ReadableStream<Uint8Array>({
        start: controller => {
          for (let at = 0; at < bytes.length; at += 777) {
            controller.enqueue(bytes.slice(at, at + 777));
          }
          controller.close();
        },
      });
    const all: number[][] = [];
    for (const source of [bytes, new Blob([bytes]), new Response(chunks())]) {
      const {model} = await loadGGUF(source);
      all.push(logitsOf(model, ids).shown);
      disposeModel(model);
    }
    expect(all[1]).toEqual(all[0]);
    expect(all[2]).toEqual(all[0]);
  });

  test('is adapted, saved and loaded', async () => {
    const {ids} = expectedOf('llama');
    const {model} = await loadGGUF(fileOf('llama'), {gradientCheckpointing: true});
    const adapted = applyLoRA(model, {rank: 2, targets: [/q_proj$/, /v_proj$/]});
    expect(logitsOf(adapted, ids)).toEqual(logitsOf(model, ids));
    const loaded = await reloaded(adapted);
    expect(logitsOf(loaded, ids)).toEqual(logitsOf(model, ids));
    expect(loaded.getUserDefinedMetadata()).toMatchObject({language: {ends: [2, 0]}});
  });
});

test.each([
  [false, 0],
  [true, 7],
  ['most', 6],
] as const)('with gradientCheckpointing: %p, %p of seven blocks are computed again', async (way, count) => {
  const {model} = await loadGGUF(fileOf('gemma3'), {gradientCheckpointing: way, tokenizer: false});
  expect(model.layers.filter(layer => layer.getClassName().endsWith('>CheckpointedBlock'))).toHaveLength(count);
});

describe('a tokenizer of a GGUF file', () => {
  test.each(GGUF_NAMES)('%s gives the tokens that transformers gives, and the texts back', async name => {
    const {texts, decoded} = expectedOf(name);
    const {model, tokenizer} = await loadGGUF(fileOf(name));
    disposeModel(model);
    expect(texts.map(([text]) => [text, [...tokenizer.encode(text).ids]])).toEqual(texts);
    const back = texts.map(([text]) => {
      const {ids} = tokenizer.encode(text, {add_special_tokens: false});
      return ids.length === 0 ? '' : tokenizer.decode(ids, {skip_special_tokens: false});
    });
    // The decoder of bytes in `@huggingface/tokenizers` drops U+FEFF.
    const isOfPieces = ['kQuants', 'gemma3', 'phi3'].includes(name);
    expect(back).toEqual(isOfPieces ? decoded.map(text => text.replaceAll('\ufeff', '')) : decoded);
  });

  test.each(GGUF_NAMES)('%s gives the tokens that the hub gives for a thousand texts', async name => {
    const {model, tokenizer} = await loadGGUF(fileOf(name));
    disposeModel(model);
    const ids = drawnTexts().map(text => tokenizer.encode(text).ids);
    const hashes = Array.from({length: 20}, (_, i) =>
      createHash('sha256')
        .update(JSON.stringify(ids.slice(50 * i, 50 * (i + 1))))
        .digest('hex')
        .slice(0, 8),
    );
    expect(hashes).toEqual(expectedOf(name).hashes);
  });

  // What llama.cpp sets for each kind, where the file does not say it.
  test.each<readonly [pre: string, isSo: boolean]>([
    ...['llama-bpe', 'falcon3', 'pixtral', 'lfm2', 'tekken'].map(pre => [pre, true] as const),
    ...['dbrx', 'gpt-4o', 'qwen2', 'smollm', 'gpt-2'].map(pre => [pre, false] as const),
  ])('of the kind %s starts texts with a token, and takes whole tokens without merges: %s', async (pre, isSo) => {
    const lists = ['tokens', 'token_type', 'merges'].map(name => `tokenizer.ggml.${name}`);
    const {metadata} = await openGGUF(await readerOf(fileOf('llama3'), {}), lists);
    const changed = new Map<string, MetadataValue>([...metadata, ['tokenizer.ggml.pre', pre]]);
    changed.delete('tokenizer.ggml.add_bos_token');
    const {tokenizerJson} = tokenizerFiles(changed, 320);
    const {model, post_processor: processor} = tokenizerJson as Record<string, Record<string, unknown>>;
    expect(model!.ignore_merges).toBe(isSo);
    expect((processor!.single as unknown[]).length).toBe(isSo ? 2 : 1);
  });

  test('comes with the chat template of the file', async () => {
    const {model, tokenizerConfig} = await loadGGUF(fileOf('qwen2'));
    disposeModel(model);
    expect(tokenizerConfig.chat_template).toContain('<|im_start|>');
    expect(tokenizerConfig).toMatchObject({bos_token: '<|im_start|>', eos_token: '<|im_end|>'});
  });
});

describe('what is refused', () => {
  const refused = async (file: Uint8Array | Blob, message: RegExp, more = {}) => {
    const {numTensors} = tf.memory();
    await expect(loadGGUF(file, more)).rejects.toThrow(message);
    await expect(loadGGUF(file, more)).rejects.toThrow(LoRAError);
    expect(tf.memory().numTensors).toBe(numTensors);
  };

  test('no GGUF file, another version, an end too soon', async () => {
    await refused(new TextEncoder().encode('this is a text'), /does not begin with the letters GGUF/);
    const version = fileOf('llama');
    version[4] = 9;
    await refused(version, /version 9/);
    await refused(fileOf('llama').subarray(0, 3000), /ends at byte|are left|would end at byte/);
    await refused(fileOf('llama').subarray(0, -64), /would end at byte/);
    await refused(new Blob([fileOf('llama').subarray(0, -64)]), /would end at byte/);
  });

  test('sizes that are beyond the file, before anything is made', async () => {
    const huge = (value: BuiltValue) => builtGGUF({pairs: {'general.architecture': value}, tensors: []});
    await refused(huge({text: 2n ** 50n}), /more bytes of a text/);
    await refused(huge({list: 2n ** 40n}), /more entries of a list/);
    await refused(builtGGUF({pairs: {}, tensors: [], tensorCount: 2n ** 50n}), /more tensors/);
    await refused(builtGGUF({pairs: {}, tensors: [], pairCount: 2n ** 62n}), /an impossible size or offset/);
    const tensor = {name: 'a', shape: [2 ** 40, 2 ** 40], type: 8};
    await refused(builtGGUF({pairs: {}, tensors: [tensor]}), /do not fill/);
    await refused(builtGGUF({pairs: {}, tensors: [{...tensor, shape: [2 ** 20, 32]}]}), /would end at byte/);
  });

  test('an architecture, a type, a kind of tokenizer without code, by name', async () => {
    await refused(builtGGUF({pairs: {'general.architecture': 'mamba'}, tensors: []}), /"mamba".*Supported: llama/);
    await refused(builtGGUF({pairs: {'general.architecture': '\ufeffllama'}, tensors: []}), /"\ufeffllama"/);
    const tensor = {name: 'token_embd.weight', shape: [4, 256], type: 11};
    await refused(builtGGUF({pairs: {'general.architecture': 'llama'}, tensors: [tensor]}), /of type Q3_K/);
    const changed = (from: string, to: string) => {
      const bytes = fileOf('llama');
      const at = Buffer.from(bytes).indexOf(from);
      bytes.set(new TextEncoder().encode(to), at);
      return bytes;
    };
    await refused(changed('smollm', 'smokey'), /tokenizer.ggml.pre of the GGUF file is "smokey"/);
  });

  test('tensors that do not fit, a line each', async () => {
    const bytes = fileOf('llama');
    bytes.set(new TextEncoder().encode('blk.0.attn_r.weight'), Buffer.from(bytes).indexOf('blk.0.attn_q.weight'));
    await refused(
      bytes,
      /blk\.0\.attn_q\.weight: not in the file\n {2}blk\.0\.attn_r\.weight: not a weight of the model/,
    );
  });

  test('lists in lists, and lists that no vocabulary and no setting has', async () => {
    const list = (key: string, count: number) =>
      builtGGUF({pairs: {'general.architecture': 'llama', [key]: new Float32Array(count)}, tensors: []});
    await refused(list('tokenizer.ggml.scores', 2 ** 22 + 1), /has a list of 4,194,305 entries/);
    await refused(list('llama.feed_forward_length', 2 ** 16 + 1), /has a list of 65,537 entries/);
    const nested = list('llama.other', 1);
    nested[nested.indexOf(9) + 4] = 9;
    await refused(nested, /has nested lists, "llama\.other"/);
  });

  test('lists that nobody asks for are passed over, however they come', async () => {
    const texts = ['a', '', 'b'.repeat(100_000), ...Array.from({length: 1000}, (_, i) => `text ${i}`)];
    const others = {
      'tokenizer.ggml.others': texts,
      'general.numbers': new Float32Array(100_000),
      'general.flags': [true],
    };
    const {file} = headerOf(8, {}, others);
    for (const source of [file, new Blob([file]), new Response(file)]) {
      await loadGGUF(source);
    }
  });

  test('more merges and longer tokens than a vocabulary has', async () => {
    const tokens = Array.from({length: 250}, (_, i) => 'z'.repeat(i + 1));
    const file = (more: Record<string, BuiltValue>) =>
      headerOf(
        8,
        {},
        {
          'tokenizer.ggml.tokens': tokens,
          'tokenizer.ggml.scores': new Float32Array(tokens.length),
          'tokenizer.ggml.token_type': new Int32Array(tokens.length).fill(1),
          ...more,
        },
      ).file;
    await refused(file({}), /more than 16 merges for each of its 250 tokens/);
    const merges = Array.from({length: 5000}, () => 'z z');
    await refused(file({'tokenizer.ggml.merges': merges}), /more than 16 merges for each of its 250/);
    const long = ['z'.repeat(2 ** 23), 'zz'];
    await refused(
      file({
        'tokenizer.ggml.tokens': [...long, 'y'],
        'tokenizer.ggml.scores': new Float32Array(3),
        'tokenizer.ggml.token_type': Int32Array.of(1, 1, 1),
      }),
      /more than 8,388,608 characters/,
    );
  });

  test('a token that has two numbers', async () => {
    const {file} = headerOf(
      8,
      {},
      {
        'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', 'a', 'b', 'a'],
        'tokenizer.ggml.scores': new Float32Array(6),
        'tokenizer.ggml.token_type': Int32Array.of(2, 3, 3, 1, 1, 1),
      },
    );
    await refused(file, /the token "a" twice, with the ids 3 and 5/);
  });

  test('options that are none', async () => {
    await refused(fileOf('llama'), /"block" is no option|block/, {block: 4});
    await refused(fileOf('llama'), /Tokenizer must be a class/, {Tokenizer: 5});
    await refused(fileOf('llama'), /Template must be a class/, {Template: 'x'});
    await refused(fileOf('llama'), /tokenizer must be true or false/, {tokenizer: null});
    await refused(fileOf('llama'), /gradientCheckpointing must be true, false or 'most', got "all"/, {
      gradientCheckpointing: 'all',
    });
  });
});
