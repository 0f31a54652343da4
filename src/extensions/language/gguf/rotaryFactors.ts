import {unsupportedError} from '../../../platform/errors';
import {frequenciesOf} from '../../transformers/layers/rotaryAngles';

type Config = Readonly<Record<string, unknown>>;

/** RoPE scaling that Meta's Llama 3 models share, except for `factor`. */
const LLAMA_3 = {low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192};

/**
 * Adds the RoPE scaling that the file's factors imply to a config: that of Llama 3, recognized by its formula, or
 * LongRoPE.
 *
 * @throws LoRAError if the factors match no known formula.
 */
export function withFactors(config: Config, factors: ReadonlyMap<string, Float32Array>): Config {
  const [free, long, short] = ['rope_freqs', 'rope_factors_long', 'rope_factors_short'].map(name =>
    factors.get(`${name}.weight`),
  );
  if (long !== undefined && short !== undefined) {
    const scaling = config.rope_scaling as object | undefined;
    return {
      ...config,
      rope_scaling: {...scaling, rope_type: 'longrope', long_factor: [...long], short_factor: [...short]},
    };
  }
  return free === undefined || free.every(factor => factor === 1)
    ? config
    : {...config, rope_scaling: llama3(config, free)};
}

function llama3({rope_theta: base}: Config, factors: Float32Array): Config {
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  const {low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: positions} = LLAMA_3;
  const plain = frequenciesOf({base: Number(base ?? 10_000)}, 2 * factors.length);
  const isKnown = plain.every((frequency, j) => {
    const share = (positions * frequency) / (2 * Math.PI);
    const smooth = Math.min(1, Math.max(0, (share - low) / (high - low)));
    const wanted = 1 / ((1 - smooth) / factor + smooth);
    return Math.abs((factors[j] ?? NaN) - wanted) <= 1e-4 * wanted;
  });
  if (!isKnown) {
    throw unsupportedError(
      'rope_freqs.weight of the GGUF file has factors other than those of Llama 3, which are not supported.',
    );
  }
  return {rope_type: 'llama3', factor, ...LLAMA_3};
}
