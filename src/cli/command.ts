import {parseArgs} from 'node:util';
import {closestTo} from '../platform/closest';

/** Where a command writes: results to `out`, progress and errors to `err`. */
export interface Terminal {
  out: (text: string) => void;
  err: (text: string) => void;
}

export interface Option {
  help: string;
  /** How help shows the value, such as `<path>`. Without it the option is a switch. */
  value?: string;
}

export interface Arguments {
  paths: string[];
  /** The values of options, by name. */
  values: Readonly<Record<string, string | undefined>>;
  switches: ReadonlySet<string>;
}

/** A command of `npx tfjs-lora`. */
export interface Command {
  /** The usage after the command's name, such as `<path>… [--json]`. */
  usage: string;
  summary: string;
  options: Readonly<Record<string, Option>>;
  run(args: Arguments, terminal: Terminal): Promise<void>;
}

/** An incorrect call of a command; its help is shown. */
export class UsageError extends Error {}

/** The options of every command. */
const ALWAYS: Readonly<Record<string, Option>> = {help: {help: 'shows this'}};

/**
 * Reads the arguments of a command.
 *
 * @throws UsageError if an option does not exist, with the closest name, is given twice, or its value is missing.
 */
export function parse(args: readonly string[], command: Command): Arguments {
  const options = {...command.options, ...ALWAYS};
  const types = Object.entries(options).map(([name, {value}]) => [
    name,
    {type: value === undefined ? ('boolean' as const) : ('string' as const)},
  ]);
  const {tokens} = parseArgs({
    args: [...args],
    options: Object.fromEntries(types) as Record<string, {type: 'boolean' | 'string'}>,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const paths: string[] = [];
  const values: Record<string, string> = {};
  const switches = new Set<string>();
  for (const token of tokens) {
    if (token.kind === 'positional') {
      paths.push(token.value);
    } else if (token.kind === 'option') {
      const option = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
      if (option === undefined) {
        throw new UsageError(unknownOption(token.rawName, Object.keys(options)));
      }
      if (option.value === undefined) {
        if (token.value !== undefined) {
          throw new UsageError(`--${token.name} takes no value, got "${token.value}".`);
        }
        switches.add(token.name);
      } else if (Object.hasOwn(values, token.name)) {
        throw new UsageError(`--${token.name} is given twice: "${values[token.name]}" and "${token.value}".`);
      } else if (token.value === undefined) {
        throw new UsageError(`--${token.name} needs a value: --${token.name} ${option.value}.`);
      } else {
        values[token.name] = token.value;
      }
    }
  }
  return {paths, values, switches};
}

function unknownOption(option: string, options: readonly string[]): string {
  const [closest] = closestTo(option.replace(/^-+/, ''), options);
  return `There is no option "${option}".${closest === undefined ? '' : ` Did you mean "--${closest}"?`}`;
}

export function helpOf(name: string, {usage, summary, options}: Command): string {
  const rows = Object.entries({...options, ...ALWAYS}).map(([option, {help, value}]): [string, string] => [
    `  --${option}${value === undefined ? '' : ` ${value}`}`,
    help,
  ]);
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, help]) => `${left.padEnd(width)}  ${help}`);
  return [`tfjs-lora ${name} ${usage}`, '', summary, '', ...lines].join('\n');
}

/**
 * The number that an option has.
 *
 * @throws UsageError if it is not a number.
 */
export function numberOf({values}: Arguments, option: string): number | undefined {
  const text = values[option];
  if (text === undefined) {
    return undefined;
  }
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new UsageError(`--${option} must be a number, got "${text}".`);
  }
  return value;
}

/**
 * The whole number that an option has, of `least` or more.
 *
 * @throws UsageError if it is something else.
 */
export function integerOf(args: Arguments, option: string, least = -Infinity): number | undefined {
  const value = numberOf(args, option);
  if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
    const expected = least > 0 ? 'a positive integer' : 'an integer';
    throw new UsageError(`--${option} must be ${expected}, got "${args.values[option]}".`);
  }
  return value;
}

/**
 * The name that an option has, one of several.
 *
 * @throws UsageError if it is another.
 */
export function nameOf<T extends string>({values}: Arguments, option: string, names: readonly T[]): T | undefined {
  const text = values[option];
  if (text === undefined || (names as readonly string[]).includes(text)) {
    return text as T | undefined;
  }
  const last = names.at(-1);
  throw new UsageError(`--${option} must be ${names.slice(0, -1).join(', ')} or ${last}, got "${text}".`);
}

/**
 * The value of an option that must be there.
 *
 * @throws UsageError if it is missing.
 */
export function required({values}: Arguments, option: string, example: string): string {
  const value = values[option];
  if (value === undefined) {
    throw new UsageError(`--${option} is missing. For example: --${option} ${example}.`);
  }
  return value;
}
