import * as tf from '@tensorflow/tfjs';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {whileMerged} from '../../../core/model/whileMerged';
import {sitesOf} from '../../../core/rewire/walk';
import {type Interface, writeModel, type WriteModelOptions} from '../../onnx/export/writeModel';
import type {Write} from '../../onnx/layers/call';
import type {Rules} from '../../onnx/layers/layers';
import type {GraphWriter} from '../../onnx/write/graphWriter';
import {Fraction, TYPE} from '../../onnx/write/messages';
import {PositionEmbedding} from '../layers/addedEmbeddings';
import {Attention, type AttentionArgs} from '../layers/attention';
import {loadedPreprocessor} from '../net/preprocessorKey';
import {BLOCK_RULES, weightsType} from './blockRules';
import {configText} from './configText';
import {isAttention} from './isDecoder';
import {objectOf} from './languageFacts';
import {SPEECH} from './speechFacts';

/** A Whisper as transformers.js takes it. */
interface SpeechFiles {
  /** The files by their paths. */
  files: Record<string, string | FileBytes>;
  /** What transformers.js needs in `config.json`. */
  config: Record<string, unknown>;
}

/**
 * Writes the encoder and the decoder of a Whisper. The decoder has no branches: after the first pass, the states that
 * it makes keys and values of are none, and those of the cache come before them.
 *
 * @param positions the longest transcript.
 * @throws LoRAError `ERR_UNSUPPORTED` with a line for each layer that cannot be written.
 */
export async function speechFiles(
  model: tf.LayersModel,
  positions: number,
  config: Readonly<Record<string, unknown>>,
  options: WriteModelOptions,
): Promise<SpeechFiles> {
  return whileMerged(model, async plain => {
    const [sound] = plain.inputs;
    const heard = plain.getLayer('model/encoder/layer_norm').output as tf.SymbolicTensor;
    const {dtype, suffix} = weightsType(plain);
    const files: Record<string, string | FileBytes> = {};
    const add = async (name: string, written: tf.LayersModel, interfaceNames: Interface) => {
      const path = `${name}${suffix}.onnx`;
      const {file, data} = await writeModel(written, options, {...interfaceNames, dataFile: `${path}_data`});
      files[`onnx/${path}`] = file;
      files[`onnx/${path}_data`] = data;
    };
    await add('encoder_model', tf.model({inputs: sound as tf.SymbolicTensor, outputs: heard}), {
      inputs: [{name: 'input_features', channelsFirst: true, axes: ['batch_size', 'frames']}],
      outputs: [{name: 'last_hidden_state', tensor: heard}],
      rules: BLOCK_RULES,
    });
    await add('decoder_model_merged', plain, decoderInterface(plain, heard));
    const preprocessor = loadedPreprocessor(plain);
    return {
      files: {
        'generation_config.json': configText(generationConfig(model, positions, config)),
        ...(preprocessor !== undefined && {
          'preprocessor_config.json': configText(withLengths(objectOf(preprocessor))),
        }),
        ...files,
      },
      config: {is_encoder_decoder: true, 'transformers.js_config': {dtype, use_external_data_format: true}},
    };
  });
}

/** The settings of transcripts: those that the model was loaded with, and those whose defaults do not fit. */
function generationConfig(model: tf.LayersModel, positions: number, config: Readonly<Record<string, unknown>>) {
  const {bos_token_id, eos_token_id, pad_token_id, decoder_start_token_id} = config;
  const {suppress_tokens, begin_suppress_tokens} = config;
  const loaded = objectOf((model.getUserDefinedMetadata() as Record<string, unknown>)[SPEECH]);
  return {
    ...{bos_token_id, eos_token_id, pad_token_id, decoder_start_token_id, suppress_tokens, begin_suppress_tokens},
    ...loaded,
    ...{is_multilingual: 'lang_to_id' in loaded, max_length: positions},
  };
}

/** A preprocessor with the lengths that follow from its others, which earlier files lack. */
function withLengths(preprocessor: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const {chunk_length = 30, sampling_rate = 16_000, hop_length = 160} = preprocessor as Record<string, number>;
  const samples = chunk_length * sampling_rate;
  return {n_samples: samples, nb_max_frames: Math.floor(samples / hop_length), ...preprocessor};
}

/** The past of the first layer: how many tokens came before, and how many states were heard. */
const PAST = {decoder: 'past_key_values.0.decoder.key', encoder: 'past_key_values.0.encoder.key'};

/** Names, types and sizes as transformers.js has them: it makes the first cache of the sizes that are numbers. */
function decoderInterface(model: tf.LayersModel, heard: tf.SymbolicTensor): Interface {
  const attentions = sitesOf(model).flatMap(({layer, path}) =>
    isAttention(layer) && /\/decoder\//.test(path) ? [layer] : [],
  );
  const width = heard.shape[2] ?? 0;
  const cacheValues = (prefix: string, lengths: Record<'decoder' | 'encoder', string>) =>
    attentions.flatMap((layer, i) => {
      const {heads} = layer.getConfig() as {heads: number};
      const side = layer.causal ? 'decoder' : 'encoder';
      return ['key', 'value'].map(name => ({
        name: `${prefix}.${Math.floor(i / 2)}.${side}.${name}`,
        type: TYPE.float,
        shape: ['batch_size', heads, lengths[side], width / heads],
      }));
    });
  const lengths = {decoder: 'past_decoder_sequence_length', encoder: 'past_encoder_sequence_length'};
  return {
    from: [model.inputs[1] as tf.SymbolicTensor, heard],
    inputs: [
      {name: 'input_ids', type: TYPE.int64, axes: ['batch_size', 'decoder_sequence_length']},
      {
        name: 'encoder_hidden_states',
        axes: ['batch_size', 'encoder_sequence_length'],
        read: (out, name) =>
          out.node('Slice', [name, out.sizeOf(PAST.encoder, 2), out.ints([Number.MAX_SAFE_INTEGER]), out.ints([1])]),
      },
    ],
    outputs: [{name: 'logits', tensor: model.outputs[0] as tf.SymbolicTensor}],
    rules: {...BLOCK_RULES, ...speechRules()},
    more: {
      inputs: cacheValues('past_key_values', lengths),
      outputs: cacheValues('present', {
        decoder: 'total_decoder_sequence_length',
        encoder: 'new_encoder_sequence_length',
      }),
    },
  };
}

/** Added to the score of a later token. */
const UNSEEN = -1e9;

/** Rules for the layers of the decoder that take earlier keys and values, or depend on how many there are. */
function speechRules(): Rules {
  const counts = {decoder: 0, encoder: 0};
  const attention: Write = (out, call) => {
    const {heads, keyValueHeads, packed, causal, cache, rotary, window, softCap, bias, scale} =
      call.fields<Required<AttentionArgs>>();
    const other = rotary ?? window ?? softCap;
    if (call.inputs.length !== 3 || heads !== keyValueHeads || packed || cache || bias || other !== null) {
      out.refuse('Only the attention of Whisper can be written with a cache of a transcript.');
    }
    const size = (call.input.shape[2] ?? 0) / heads;
    const settings = {num_heads: heads, scale: new Fraction(scale ?? 1 / Math.sqrt(size))};
    const side = causal ? 'decoder' : 'encoder';
    const index = counts[side]++;
    const [q = '', k = '', v = ''] = call.inputs.map(input => out.plain(input));
    const past = ['key', 'value'].map(name => `past_key_values.${index}.${side}.${name}`) as [string, string];
    const name = (values: readonly string[]) =>
      values.forEach((value, i) => out.rename(value, `present.${index}.${side}.${i === 0 ? 'key' : 'value'}`));
    if (causal) {
      const inputs = [q, k, v, '', '', laterTokens(out), ...past];
      const [y = '', ...present] = out.nodeOf('com.microsoft.MultiHeadAttention', inputs, settings, 3);
      name(present);
      return call.output(y);
    }
    const news = [k, v].map(x => out.node('Transpose', [out.reshape(x, [0, 0, heads, size])], {perm: [0, 2, 1, 3]}));
    const all = news.map((value, i) => out.node('Concat', [past[i] ?? '', value], {axis: 2}));
    name(news);
    return call.output(out.node('com.microsoft.MultiHeadAttention', [q, ...all], settings));
  };
  const positionEmbedding: Write = (out, call) => {
    const table = out.weight('embeddings', call.weight('embeddings'));
    const {past, end} = tokenCounts(out);
    return call.output(out.node('Add', [out.plain(call.input), out.node('Slice', [table, past, end, out.ints([0])])]));
  };
  return {[Attention.className]: attention, [PositionEmbedding.className]: positionEmbedding};
}

/** How many tokens came before, and how many there are with the new ones. */
function tokenCounts(out: GraphWriter): {past: string; length: string; end: string} {
  const [past, length] = [out.sizeOf(PAST.decoder, 2), out.sizeOf('input_ids', 1)];
  return {past, length, end: out.once('all tokens', () => out.node('Add', [past, length]))};
}

/** What hides tokens from those before them: `[1, 1, new tokens, all tokens]`. */
function laterTokens(out: GraphWriter): string {
  return out.once('later tokens', () => {
    const {past, length, end} = tokenCounts(out);
    const ofQueries = out.unsqueeze(out.node('Add', [out.positions(length), past]), [1]);
    const isLater = out.cast(out.node('Less', [ofQueries, out.positions(end)]), TYPE.float);
    return out.unsqueeze(out.node('Mul', [isLater, out.float(UNSEEN)]), [0, 1]);
  });
}
