import {listed, LoRAError} from '../errors';
import {type Adapter, combineAdapters, type CombineOptions, compressAdapter, type MajoritySign} from '../node';
import {namesNotFinite} from '../tfjs/finite';
import {type Arguments, type Command, numberOf, required, UsageError} from './command';
import {besideOf, MODEL_OPTIONS, readAnyAdapter} from './sources';
import {ADAPTER_OPTIONS, formatOf, pathsOf, writeAdapter} from './targets';

/** Makes one adapter of several. */
export const combine: Command = {
  usage: '<adapter>… --weights 0.7,0.3 --out <path> [--method ties --density 0.2] [--rank 8]',
  summary: 'makes one adapter of several, or one of lower rank of one',
  options: {
    weights: {value: '<w,w,…>', help: 'the weight of each adapter. Default for one adapter: 1'},
    method: {value: '<name>', help: 'exact, ties or dare. Default: exact'},
    density: {value: '<share>', help: 'for ties and dare: the share of entries that are kept'},
    'majority-sign': {value: '<name>', help: 'for ties: total or frequency. Default: total'},
    seed: {value: '<integer>', help: 'for dare: makes the choice reproducible'},
    rank: {value: '<integer>', help: 'the rank of the result: the best approximation of that rank'},
    ...ADAPTER_OPTIONS,
    ...MODEL_OPTIONS,
  },
  run: async (given, terminal) => {
    const paths = pathsOf(given, 1, Infinity, 'one adapter or several');
    const out = required(given, 'out', 'combined.safetensors');
    formatOf(out);
    const weights = weightsOf(given, paths.length);
    const rank = numberOf(given, 'rank');
    const options = optionsOf(given);
    const beside = await besideOf(given, terminal);
    const adapters: Adapter[] = [];
    for (const path of paths) {
      adapters.push(await readAnyAdapter(path, beside, terminal));
    }
    const parts = adapters.map((adapter, i) => ({adapter, weight: weights[i] ?? 1}));
    const combined =
      rank === undefined ? combineAdapters(parts, options) : await compressAdapter(parts, {...options, rank});
    await checkFinite(combined);
    await writeAdapter(combined, out, beside, given.values.dtype, terminal);
    terminal.out(out);
  },
};

/** Refuses a result that is not finite, since the weights are too large or an adapter is not finite itself. */
async function checkFinite({tensors}: Adapter): Promise<void> {
  const broken = await namesNotFinite(tensors);
  if (broken.length > 0) {
    throw new LoRAError(
      `The result is not finite: ${listed(broken)}. Take smaller weights, or look at the adapters with inspect.`,
    );
  }
}

function weightsOf({values}: Arguments, count: number): number[] {
  const text = values.weights;
  if (text === undefined) {
    if (count > 1) {
      throw new UsageError(
        `--weights is missing, such as --weights ${Array.from({length: count}, () => '0.5').join()}.`,
      );
    }
    return [1];
  }
  const weights = text.split(',').map(part => (part.trim() === '' ? NaN : Number(part)));
  if (weights.length !== count || !weights.every(Number.isFinite)) {
    throw new UsageError(`--weights must be ${count} numbers with commas between, got "${text}".`);
  }
  return weights;
}

function optionsOf(given: Arguments): CombineOptions {
  const {method, 'majority-sign': majoritySign} = given.values;
  const [density, seed] = [numberOf(given, 'density'), numberOf(given, 'seed')];
  return {
    ...(method !== undefined && {method: method as 'exact'}),
    ...(density !== undefined && {density}),
    ...(majoritySign !== undefined && {majoritySign: majoritySign as MajoritySign}),
    ...(seed !== undefined && {seed}),
  };
}
