import * as tf from '@tensorflow/tfjs';
import {callsOf} from '../../core/rewire/walk';
import type {EarlierPositions} from '../transformers/kernels/transformer';
import {type Decoding, type KeysAndValues, RecentPositions, whileDecoding} from '../transformers/layers/decoding';

/**
 * Decodes the transcript of one clip. Everything that depends only on the clip, such as the keys and values of
 * cross-attention, is computed once. Each pass computes only the new tokens.
 */
export class SpeechSession implements Decoding {
  /** The keys and values of each layer that attends to earlier tokens, `[1, tokens, width]`. */
  private readonly cache = new Map<tf.layers.Layer, KeysAndValues>();
  readonly recent = new RecentPositions();
  /** Results that depend only on the clip and are used later. */
  private readonly heard: ReadonlyMap<tf.SymbolicTensor, tf.Tensor>;
  private readonly calls: ReturnType<typeof callsOf>;
  positions!: tf.Tensor2D;
  from = 0;

  /** @param features the clip, `[1, frames, bins]`. */
  constructor(
    private readonly model: tf.LayersModel,
    features: tf.Tensor,
  ) {
    const [sound, ids] = model.inputs as [tf.SymbolicTensor, tf.SymbolicTensor];
    const ofTokens = new Set([ids]);
    const calls = callsOf(model);
    this.calls = calls.filter(({inputTensors, outputTensors}) => {
      const depends = inputTensors.some(tensor => ofTokens.has(tensor));
      outputTensors.forEach(tensor => depends && ofTokens.add(tensor));
      return depends;
    });
    const used = new Set(this.calls.flatMap(({inputTensors}) => inputTensors).filter(tensor => !ofTokens.has(tensor)));
    const outputs = [...used].filter(tensor => tensor !== sound);
    const encoder = tf.model({inputs: sound, outputs});
    this.heard = new Map(
      [encoder.predict(features)].flat().map((value, i) => [outputs[i] as tf.SymbolicTensor, value]),
    );
  }

  extended(layer: tf.layers.Layer, append: (past: EarlierPositions) => KeysAndValues): KeysAndValues {
    const cached = this.cache.get(layer);
    const all = append({cached, count: this.from});
    tf.dispose(cached);
    this.cache.set(layer, [tf.keep(tf.clone(all[0])), tf.keep(tf.clone(all[1]))]);
    return all;
  }

  /** Appends tokens and computes the logits for the next one. */
  async logits(tokens: readonly number[]): Promise<Float32Array> {
    const logits = tf.tidy(() => {
      const ids = tf.tensor2d([...tokens], [1, tokens.length], 'int32');
      this.positions = tf.tensor2d(
        tokens.map((_, i) => this.from + i),
        [1, tokens.length],
        'int32',
      );
      const values = new Map<tf.SymbolicTensor, tf.Tensor>([
        ...this.heard,
        [this.model.inputs[1] as tf.SymbolicTensor, ids],
      ]);
      whileDecoding(this, () => {
        for (const {outboundLayer, inputTensors, outputTensors} of this.calls) {
          const inputs = inputTensors.map(tensor => values.get(tensor) as tf.Tensor);
          const results = [outboundLayer.call(inputs, {})].flat();
          outputTensors.forEach((tensor, i) => values.set(tensor, results[i] as tf.Tensor));
        }
      });
      const all = values.get(this.model.outputs[0] as tf.SymbolicTensor) as tf.Tensor3D;
      return tf.slice3d(all, [0, tokens.length - 1, 0], [1, 1, all.shape[2]]);
    });
    this.from += tokens.length;
    try {
      return await logits.data<'float32'>();
    } finally {
      logits.dispose();
    }
  }

  /** Forgets the tokens, and keeps what was heard. */
  restart(): void {
    tf.dispose([...this.cache.values()].flat());
    this.cache.clear();
    this.recent.clear();
    this.from = 0;
  }

  dispose(): void {
    this.restart();
    tf.dispose([...this.heard.values()]);
  }
}
