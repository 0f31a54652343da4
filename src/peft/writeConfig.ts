import type {PEFTForm, WrittenFields, WrittenModule} from './methods/form';

/** What the config of an adapter of one type holds. */
interface WrittenConfig extends Pick<WrittenFields, 'bias' | 'fanInFanOut'> {
  form: PEFTForm;
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
  {form, fanInFanOut, bias, modulesToSave, all}: WrittenConfig,
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
  return {
    base_model_name_or_path: null,
    inference_mode: true,
    modules_to_save: modulesToSave.length > 0 ? modulesToSave : null,
    peft_type: form.type,
    target_modules: ambiguous ? paths.map(escaped).join('|') : paths,
    task_type: null,
    ...form.config({
      ...{modules, r, alpha, stabilized, bias, fanInFanOut},
      patterns: {
        alpha_pattern: patterns(
          strengths.filter(entry => entry.alpha !== alpha),
          'alpha',
        ),
        rank_pattern: patterns(
          strengths.filter(entry => entry.rank !== r),
          'rank',
        ),
      },
    }),
  };
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
