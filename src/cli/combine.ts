import {type Adapter, combineAdapters, type CombineOptions, type MajoritySign} from '../node';
import {type Arguments, type Command, integerOf, nameOf, numberOf, required, UsageError} from './command';
import {besideOf, MODEL_OPTIONS, readAnyAdapter} from './sources';
import {ADAPTER_OPTIONS, adapterTarget, pathsOf, writeAdapter} from './targets';

/** Makes one adapter of several. */
export const combine: Command = {
  usage: '<adapter>… --weights 0.7,0.3 --out <path> [--method ties --density 0.2] [--rank 8] [--force]',
  summary: 'combines adapters into one, or lowers the rank of one',
  options: {
    weights: {value: '<w,w,…>', help: 'the weight of each adapter. Default for one adapter: 1'},
    method: {value: '<name>', help: 'exact, ties or dare. Default: exact'},
    density: {value: '<share>', help: 'for ties and dare: the share of values to keep'},
    'majority-sign': {value: '<name>', help: 'for ties: total or frequency. Default: total'},
    seed: {value: '<integer>', help: 'for dare: makes the random choice reproducible'},
    rank: {value: '<integer>', help: 'the highest rank of a layer of the result'},
    budget: {value: '<integer>', help: 'the most values that all factors of the result may have together'},
    ...ADAPTER_OPTIONS,
    ...MODEL_OPTIONS,
  },
  run: async (args, terminal) => {
    const paths = pathsOf(args, 1, Infinity, 'one or more adapters');
    const out = required(args, 'out', 'combined.safetensors');
    const options = optionsOf(args);
    const weights = weightsOf(args, paths.length, options);
    const target = await adapterTarget(args, out);
    const beside = await besideOf(args, terminal);
    const adapters: Adapter[] = [];
    for (const path of paths) {
      adapters.push(await readAnyAdapter(path, beside, terminal));
    }
    const parts = adapters.map((adapter, i) => ({adapter, weight: weights[i] ?? 1}));
    const combined = await combineAdapters(parts, options);
    await writeAdapter(combined, args, target, beside, terminal);
    terminal.out(out);
  },
};

function weightsOf({values}: Arguments, count: number, {method}: CombineOptions): number[] {
  const text = values.weights;
  if (text === undefined) {
    if (count > 1) {
      throw new UsageError(
        `--weights is missing. For example: --weights ${Array.from({length: count}, () => '0.5').join()}.`,
      );
    }
    return [1];
  }
  const weights = text.split(',').map(weightText => (weightText.trim() === '' ? NaN : Number(weightText)));
  if (weights.length !== count || !weights.every(Number.isFinite)) {
    throw new UsageError(`--weights must be ${count} numbers with commas between, got "${text}".`);
  }
  if (method === 'ties' && weights.some(weight => weight <= 0)) {
    throw new UsageError(`--method ties needs positive weights, got "${text}". To subtract: --method exact.`);
  }
  return weights;
}

const METHODS = {
  exact: {takes: [], needs: []},
  ties: {takes: ['density', 'majority-sign'], needs: [['density', '0.2']]},
  dare: {takes: ['density', 'seed'], needs: [['density', '0.5']]},
} as const;

function optionsOf(args: Arguments): CombineOptions {
  const methods = Object.keys(METHODS) as (keyof typeof METHODS)[];
  const method = nameOf(args, 'method', methods);
  const {takes, needs} = METHODS[method ?? 'exact'] as {takes: readonly string[]; needs: readonly string[][]};
  for (const option of ['density', 'majority-sign', 'seed']) {
    if (args.values[option] !== undefined && !takes.includes(option)) {
      const which = methods.filter(name => (METHODS[name].takes as readonly string[]).includes(option));
      throw new UsageError(`--${option} is for --method ${which.join(' or ')}.`);
    }
  }
  for (const [option = '', example = ''] of needs) {
    required(args, option, example);
  }
  const density = numberOf(args, 'density');
  if (density !== undefined && !(density > 0 && density <= 1)) {
    throw new UsageError(`--density must be above 0 and at most 1, got "${args.values.density}".`);
  }
  const majoritySign = nameOf<MajoritySign>(args, 'majority-sign', ['total', 'frequency']);
  const seed = integerOf(args, 'seed');
  const [rank, budget] = ['rank', 'budget'].map(option => integerOf(args, option, 1));
  const options = {
    ...(method !== undefined && {method}),
    ...(density !== undefined && {density}),
    ...(majoritySign !== undefined && {majoritySign}),
    ...(seed !== undefined && {seed}),
    ...(rank !== undefined && {rank}),
    ...(budget !== undefined && {budget}),
  };
  return options as CombineOptions; // as METHODS say
}
