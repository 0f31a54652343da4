import {brief, damagedError, LoRAError, messageOf, show, unsupportedError} from '../../platform/errors';
import {duplicateKeys} from '../../platform/formats/jsonText';
import {isTextList} from '../adapter/checkAdapter';
import type {Strength} from '../methods/method';
import {resolveStrength} from '../methods/lora';
import type {PEFTForm, WrittenFields, WrittenModule} from './methods/form';
import {lora} from './methods/lora';
import type {PEFTFiles} from './peftFiles';
import type {PrincipalInit} from '../methods/initializer';
import {formOfType, formTypes} from './methods/table';
import {type Budget, PatternTable} from './patternTable';

/** The settings of an `adapter_config.json` that determine what an adapter computes. */
export interface PEFTConfig {
  form: PEFTForm;
  /** Whether the updates have a magnitude (DoRA). */
  dora: boolean;
  /** The part of the base that was removed and trained as LoRA, if any. */
  init: PrincipalInit | undefined;
  /** Whether the adapted modules are GPT-2's `Conv1D`. */
  fanInFanOut: boolean;
  /** The strength of a module's update, by its dotted path. */
  strengthOf(path: string): Strength;
  fields: Readonly<Record<string, unknown>>;
  /** The field that lists the tokens whose rows train. */
  tokenField: string;
  /** Which biases the adapter holds. */
  bias: 'none' | 'lora_only' | 'all';
  /** Names of modules that it holds whole. */
  modulesToSave: string[];
  /** Whether it also holds a module whole if its weight is tied to one of these. */
  tied: boolean;
}

/** Fields that change what an adapter computes in ways that this library does not support. */
const REFUSED = [
  'use_qalora',
  'use_bdlora',
  'alora_invocation_tokens',
  'arrow_config',
  'kasa_config',
  'velora_config',
  'monteclora_config',
  'megatron_config',
  'target_parameters',
  'layer_replication',
];

/** Fields that are read, refused, or make no difference to what a saved adapter computes. */
function knownFields(): Set<string> {
  return new Set([
    ...REFUSED,
    ...['peft_type', 'r', 'lora_alpha', 'use_rslora', 'rank_pattern', 'alpha_pattern', 'bias', 'lora_bias'],
    ...['modules_to_save', 'init_lora_weights', 'fan_in_fan_out', 'lora_dropout', 'inference_mode', 'task_type'],
    ...['target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern', 'auto_mapping', 'peft_version'],
    ...['base_model_name_or_path', 'revision', 'megatron_core', 'qalora_group_size', 'runtime_config', 'loftq_config'],
    ...['eva_config', 'corda_config', 'lora_ga_config', 'use_dora', 'feedforward_modules', 'init_ia3_weights', 'alpha'],
    ...[
      'trainable_token_indices',
      'token_indices',
      'init_weights',
      'rank_dropout',
      'module_dropout',
      'ensure_weight_tying',
    ],
    ...['rank_dropout_scale', 'use_effective_conv2d', 'decompose_both'],
    ...['decompose_factor', 'projection_prng_key', 'save_projection', 'vera_dropout', 'd_initial'],
  ]);
}

/** Initialisations that change the base randomly, or in ways that the files do not record. */
const LOSES_BASE = /^(?:pissa_niter_|corda|lora_ga|loftq)/;

/**
 * Reads an `adapter_config.json`.
 *
 * It does not decide which modules are adapted: the tensors' names do, whether the config names targets by list, by
 * expression or as `all-linear`.
 *
 * @param config the text, or the object that it holds.
 * @param warn is called with doubtful settings.
 * @throws LoRAError with a line for each setting that is wrong or not supported.
 */
export function readPEFTConfig(
  config: PEFTFiles['config'],
  warn: (message: string) => void,
  budget: Budget,
): PEFTConfig {
  const fields = parseConfig(config);
  const faults: string[] = [];
  const {peft_type: type, bias = 'none'} = fields;
  const form = formOfType(type) ?? lora;
  if (form.type !== type) {
    faults.push(`peft_type is ${show(type)}; supported are ${formTypes().join(', ')}.`);
  }
  const {[form.rank ?? '']: r = form.rank === undefined ? 1 : 8} = fields;
  const {[form.alpha ?? '']: alpha = form.alpha === undefined ? r : 8} = fields;
  const {use_rslora: rankStabilized = false} = form === lora ? fields : {};
  for (const [field, only] of Object.entries(form.only ?? {})) {
    if ((fields[field] ?? only) !== only) {
      faults.push(`${field} is ${brief(fields[field])}, but only ${show(only)} is supported.`);
    }
  }
  for (const field of [...REFUSED, ...(form.refused ?? [])]) {
    if (isSet(fields[field])) {
      faults.push(
        `${field} is ${brief(fields[field])}, which is not supported. Merge the adapter in Python, or ` +
          'train one without it.',
      );
    }
  }
  const {init_lora_weights: start} = fields;
  const init = start === 'pissa' ? start : typeof start === 'string' && /^olora$/i.test(start) ? 'olora' : undefined;
  if (typeof start === 'string' && LOSES_BASE.test(start)) {
    faults.push(
      `init_lora_weights is ${brief(start)}: the adapter belongs to a base that was changed at random or by ` +
        'data. Save it in Python as plain LoRA, by save_pretrained with path_initial_model_for_weight_conversion.',
    );
  }
  if (init !== undefined && fields.use_dora === true) {
    faults.push(`use_dora is true, and init_lora_weights ${brief(start)}; this combination is not supported.`);
  }
  if (!isBias(bias)) {
    faults.push(`bias is ${brief(bias)}, not "none", "lora_only" or "all".`);
  }
  const modulesToSave = fields.modules_to_save ?? [];
  const tied = isSet(fields.ensure_weight_tying);
  const tokenField = form.tokens ?? 'trainable_token_indices';
  const indices = fields[tokenField];
  if (tied && !isSet(modulesToSave) && !isSet(indices)) {
    faults.push(
      'ensure_weight_tying is set, which is supported only with modules_to_save and trainable_token_indices. ' +
        'Merge the adapter in Python.',
    );
  }
  const lists = Array.isArray(indices) || !isSet(indices) ? [indices ?? []] : Object.values(indices as object);
  if (!lists.every(list => Array.isArray(list) && list.every(id => Number.isSafeInteger(id)))) {
    faults.push(`${tokenField} is ${brief(indices)}, not a list of token ids, or lists by module.`);
  }
  if (!isTextList(modulesToSave)) {
    faults.push(`modules_to_save is ${brief(modulesToSave)}, not a list of names.`);
  }
  const patterns = [fields.rank_pattern ?? {}, fields.alpha_pattern ?? {}].map((table, i) =>
    readPatterns(i === 0 ? 'rank_pattern' : 'alpha_pattern', table, faults, budget),
  );
  const strength = (path: string) =>
    resolveStrength({
      rank: (patterns[0]?.(path) ?? r) as number,
      alpha: (patterns[1]?.(path) ?? alpha) as number,
      rankStabilized: rankStabilized as boolean,
    });
  try {
    resolveStrength({rank: r as number, alpha: alpha as number, rankStabilized: rankStabilized as boolean});
  } catch (error) {
    faults.push((error as Error).message);
  }
  if (faults.length > 0 || !isBias(bias) || !isTextList(modulesToSave)) {
    throw unsupportedError(
      `This adapter_config.json cannot be imported:\n${faults.map(fault => `  ${fault}`).join('\n')}`,
      {faults},
    );
  }
  const fieldNames = knownFields();
  const unknown = Object.keys(fields).filter(field => !fieldNames.has(field) && isSet(fields[field]));
  if (unknown.length > 0) {
    warn(`adapter_config.json has fields that this library does not know and ignores: ${brief(unknown)}.`);
  }
  return {
    form,
    dora: fields.use_dora === true,
    init,
    fanInFanOut: fields.fan_in_fan_out === true,
    strengthOf: strength,
    fields,
    tokenField,
    bias,
    modulesToSave,
    tied,
  };
}

function parseConfig(config: PEFTFiles['config']): Record<string, unknown> {
  let fields: unknown = config;
  if (typeof config === 'string') {
    try {
      fields = JSON.parse(config);
    } catch (error) {
      throw damagedError(`adapter_config.json is not valid JSON: ${messageOf(error)}`, {cause: error});
    }
    const twice = duplicateKeys(config);
    if (twice.length > 0) {
      throw damagedError(`adapter_config.json has ${brief(twice)} twice.`);
    }
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw new LoRAError(`adapter_config.json must be an object or its text, got ${brief(fields)}.`);
  }
  return fields as Record<string, unknown>;
}

/** The tokens whose embeddings train in a module, if any do. PEFT takes names for the ends of paths. */
export function tokensAt({fields, tokenField}: PEFTConfig, path: string): number[] {
  const indices = fields[tokenField];
  if (Array.isArray(indices)) {
    return indices as number[];
  }
  const [, tokens = []] = Object.entries(indices ?? {}).find(([name]) => path.endsWith(name)) ?? [];
  return tokens as number[];
}

/** The value of a path in a table of patterns: that of the first pattern that matches. */
function readPatterns(
  field: string,
  table: unknown,
  faults: string[],
  budget: Budget,
): (path: string) => number | undefined {
  if (typeof table !== 'object' || table === null || Array.isArray(table)) {
    faults.push(`${field} is ${brief(table)}, not an object of numbers by pattern.`);
    return () => undefined;
  }
  const patterns = new PatternTable(budget);
  for (const [pattern, rowValue] of Object.entries(table as Record<string, unknown>)) {
    try {
      const valid = resolveStrength(
        field === 'rank_pattern' ? {rank: rowValue as number} : {alpha: rowValue as number},
      );
      const value = field === 'rank_pattern' ? valid.rank : valid.alpha;
      patterns.add({pattern, value});
    } catch (error) {
      if (budget.isSpent) {
        throw error;
      }
      faults.push(`${field}: ${(error as Error).message}`);
    }
  }
  return path => {
    const [first, ...laterRows] = patterns.rowsFor(path);
    const other = laterRows.find(({value}) => value !== first?.value);
    if (first !== undefined && other !== undefined && /^(?:0|[1-9]\d*)$/.test(first.pattern)) {
      const [index, second] = [first, other].map(({pattern}) => show(pattern));
      throw new LoRAError(
        `fits the patterns ${index} and ${second} of ${field}. The first in the file counts, and JavaScript puts ` +
          `keys that are whole numbers before others. Write "(${first.pattern})" for ${index}.`,
      );
    }
    return first?.value;
  };
}

/** Whether an adapter holds a module whole, or one around it. In PEFT `classifier` means `pre_classifier` too. */
export function savedModules(modulesToSave: readonly string[], budget: Budget): (path: string) => boolean {
  const names = new Set(modulesToSave);
  const lengths = [...new Set(modulesToSave.map(({length}) => length))];
  const matches = new Map<string, boolean>();
  const isSaved = (path: string): boolean =>
    lengths.some(length => {
      budget.spend(1 + length / 16);
      return length <= path.length && names.has(path.slice(path.length - length));
    });
  return path => {
    // From the outermost module inwards. The result for each is cached for its inner modules.
    for (let end = path.indexOf('.'); ; end = path.indexOf('.', end + 1)) {
      const outer = end < 0 ? path : path.slice(0, end);
      const saved = matches.get(outer) ?? isSaved(outer);
      matches.set(outer, saved);
      if (saved || end < 0) {
        return saved;
      }
    }
  };
}

/** Whether a field is neither empty nor missing. */
export function isSet(value: unknown): boolean {
  return typeof value === 'object' && value !== null ? Object.keys(value).length > 0 : Boolean(value);
}

function isBias(value: unknown): value is PEFTConfig['bias'] {
  return value === 'none' || value === 'lora_only' || value === 'all';
}

/** The contents of the config of an adapter of one type. */
interface WrittenConfig extends Pick<WrittenFields, 'bias' | 'fanInFanOut'> {
  form: PEFTForm;
  modulesToSave: readonly string[];
  /** The paths of all known modules, including those that are not adapted. */
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
  const pathSet = new Set(paths);
  const ambiguous = all.some(other => !pathSet.has(other) && ends(other).some(end => pathSet.has(end)));
  const patterns = (differing: typeof strengths, key: 'rank' | 'alpha') =>
    Object.fromEntries(differing.map(entry => [`^${escaped(entry.path)}`, entry[key]]));
  return {
    base_model_name_or_path: null,
    inference_mode: true,
    // A config of rows of tokens alone has no such field.
    ...(form.tokens === undefined && {modules_to_save: modulesToSave.length > 0 ? modulesToSave : null}),
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

function ends(path: string): string[] {
  const parts = path.split('.');
  return parts.slice(1).map((_, i) => parts.slice(i + 1).join('.'));
}

/** A path as a pattern that matches only it. */
function escaped(path: string): string {
  return path.replace(/[^\w]/g, String.raw`\$&`);
}

function mostCommon(values: readonly number[]): number | undefined {
  const counts = new Map<number, number>();
  values.forEach(value => counts.set(value, (counts.get(value) ?? 0) + 1));
  return [...counts].sort(([, one], [, other]) => other - one)[0]?.[0];
}
