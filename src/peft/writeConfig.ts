import type {LoRAStrength} from '../methods/method';
import type {PEFTConfig} from './config';
import {type PEFTType, TYPES} from './methodTypes';

/** A module of an adapter that is written, as far as the config names it. */
export interface WrittenModule {
  path: string;
  strength: Required<LoRAStrength>;
  /** Whether its inputs are scaled, of IA³. */
  feedForward?: boolean;
}

/** What the config of an adapter of one type holds. */
export interface WrittenConfig {
  type: PEFTType;
  dora: boolean;
  /** Whether PyTorch has the weights of all modules that are adapted as `[in, out]`. */
  fanInFanOut: boolean;
  bias: PEFTConfig['bias'];
  modulesToSave: readonly string[];
  /** The paths of all modules that are known, those that are not adapted too. */
  all: readonly string[];
}

/**
 * The `adapter_config.json` of an adapter. Strengths that differ become patterns, each for one path.
 * Where a name in a list of targets would also be the end of another module's path, the targets become an expression.
 */
export function writePEFTConfig(
  modules: readonly WrittenModule[],
  {type, dora, fanInFanOut, bias, modulesToSave, all}: WrittenConfig,
): Record<string, unknown> {
  const stabilized = modules.length > 0 && modules.every(({strength}) => strength.rankStabilized);
  const strengths = modules.map(({path, strength: {rank, alpha, rankStabilized}}) => {
    // One config has one way of scaling.
    return {path, rank, alpha: rankStabilized && !stabilized ? alpha * Math.sqrt(rank) : alpha};
  });
  const r = mostCommon(strengths.map(({rank}) => rank)) ?? 8;
  const alpha = mostCommon(strengths.map(entry => entry.alpha)) ?? r;
  const paths = modules.map(({path}) => path);
  const own = new Set(paths);
  const ambiguous = all.some(other => !own.has(other) && ends(other).some(end => own.has(end)));
  const patterns = (differing: typeof strengths, key: 'rank' | 'alpha') =>
    Object.fromEntries(differing.map(entry => [`^${escaped(entry.path)}`, entry[key]]));
  const common = {
    base_model_name_or_path: null,
    inference_mode: true,
    modules_to_save: modulesToSave.length > 0 ? modulesToSave : null,
    peft_type: type,
    target_modules: ambiguous ? paths.map(escaped).join('|') : paths,
    task_type: null,
  };
  const rankPattern = patterns(
    strengths.filter(entry => entry.rank !== r),
    'rank',
  );
  const alphaPattern = patterns(
    strengths.filter(entry => entry.alpha !== alpha),
    'alpha',
  );
  switch (type) {
    case 'LORA':
      return {
        ...common,
        alpha_pattern: alphaPattern,
        bias,
        fan_in_fan_out: fanInFanOut,
        init_lora_weights: true,
        lora_alpha: alpha,
        lora_bias: false,
        lora_dropout: 0,
        r,
        rank_pattern: rankPattern,
        use_dora: dora,
        use_rslora: stabilized,
      };
    case 'IA3': {
      const feedForward = modules.filter(module => module.feedForward).map(({path}) => path);
      return {...common, ...TYPES.IA3.written, fan_in_fan_out: fanInFanOut, feedforward_modules: feedForward};
    }
    case 'VERA':
      return {...common, ...TYPES.VERA.written, fan_in_fan_out: fanInFanOut, r};
    default:
      return {...common, ...TYPES[type].written, r, alpha, rank_pattern: rankPattern, alpha_pattern: alphaPattern};
  }
}

/** What stands behind the dots of a path. */
function ends(path: string): string[] {
  const parts = path.split('.');
  return parts.slice(1).map((_, i) => parts.slice(i + 1).join('.'));
}

/** A path as a pattern that matches it alone. */
function escaped(path: string): string {
  return path.replace(/[^\w]/g, String.raw`\$&`);
}

function mostCommon(values: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  values.forEach(value => counts.set(value, (counts.get(value) ?? 0) + 1));
  return [...counts].sort(([, one], [, other]) => other - one)[0]?.[0];
}
