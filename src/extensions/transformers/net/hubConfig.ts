import {damagedError, kindOf, listed, LoRAError, show, throwFaults} from '../../../platform/errors';
import {duplicateKeys, nesting} from '../../../platform/formats/jsonText';

/** The largest 32-bit float. */
const MAX_FLOAT32 = 3.4028234663852886e38;

/** The longest list of sizes in a config. */
const MAX_LIST_LENGTH = 100;

/** Reads the `config.json` of an untrusted model of the hub and collects its faults. Only checked values are used. */
export class HubConfig {
  private constructor(
    private readonly fields: Readonly<Record<string, unknown>>,
    /** What the config belongs to, such as "model". */
    private readonly whose: string,
    private readonly faults: string[] = [],
  ) {}

  /** @throws LoRAError if it is not a JSON object. */
  static parse(config: string | object, whose = 'model'): HubConfig {
    let fields: unknown = config;
    try {
      // An object may contain itself.
      if (nesting(typeof config === 'string' ? config : JSON.stringify(config)) > 20) {
        throw new LoRAError('it is nested more deeply than one of a model');
      }
      fields = typeof config === 'string' ? JSON.parse(config) : config;
    } catch (error) {
      throw damagedError(`The ${whose}'s config cannot be read: ${(error as Error).message}`, {cause: error});
    }
    if (typeof config === 'string') {
      const twice = duplicateKeys(config);
      if (twice.length > 0) {
        throw damagedError(`The ${whose}'s config has ${listed(twice.map(show), 10)} twice.`);
      }
    }
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
      throw new LoRAError(`The ${whose}'s config must be a JSON object, got ${kindOf(fields)}.`);
    }
    return new HubConfig(fields as Record<string, unknown>, whose);
  }

  /** The same config with common names of fields replaced by the family's own names. */
  named(commonNames: Readonly<Record<string, string>>): HubConfig {
    const fields = {...this.fields};
    for (const [name, common] of Object.entries(commonNames)) {
      const [familyValue, commonValue] = [this.get(name), this.get(common)];
      if (familyValue !== undefined && commonValue !== undefined && familyValue !== commonValue) {
        this.faults.push(
          `${name} is ${show(familyValue)}, but ${common}, another name for it, is ${show(commonValue)}.`,
        );
      }
      if (commonValue !== undefined) {
        fields[name] = commonValue;
      }
    }
    return new HubConfig(fields, this.whose, this.faults);
  }

  /** The config of a part of the model, which is the value of a field; empty if the field is missing. */
  section(name: string): HubConfig {
    const fields = this.valueOf(name, {});
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
      this.faults.push(`${name} must be an object, got ${show(fields)}.`);
      return new HubConfig({}, this.whose, this.faults);
    }
    return new HubConfig(fields as Record<string, unknown>, this.whose, this.faults);
  }

  asObject(): Record<string, unknown> {
    return {...this.fields};
  }

  /** The same config with other values for some fields. */
  with(fields: Readonly<Record<string, unknown>>): HubConfig {
    return new HubConfig({...this.fields, ...fields}, this.whose, this.faults);
  }

  /** The same config with defaults for missing fields. */
  withDefaults(defaults: Readonly<Record<string, unknown>>): HubConfig {
    return this.with(Object.fromEntries(Object.entries(defaults).filter(([name]) => this.get(name) === undefined)));
  }

  /** The raw value of a field, `undefined` if it is missing. */
  get(name: string): unknown {
    return Object.hasOwn(this.fields, name) ? this.fields[name] : undefined;
  }

  /** `null` does not count as missing, because transformers refuses it too. */
  private valueOf(name: string, otherwise: unknown): unknown {
    const value = this.get(name);
    return value === undefined ? otherwise : value;
  }

  /** A positive integer, required unless there is a default. */
  count(name: string, otherwise?: number): number {
    const value = this.valueOf(name, otherwise);
    if (!Number.isSafeInteger(value) || (value as number) <= 0) {
      this.faults.push(`${name} must be a positive integer, got ${show(value)}.`);
      return 1;
    }
    return value as number;
  }

  /** A list of positive integers with at least one entry. */
  counts(name: string, otherwise: readonly number[]): number[] {
    const value = this.valueOf(name, otherwise);
    const isList = Array.isArray(value) && value.length > 0 && value.length <= MAX_LIST_LENGTH;
    if (!isList || !value.every(size => Number.isSafeInteger(size) && (size as number) > 0)) {
      this.faults.push(`${name} must be a list of positive integers, got ${show(value)}.`);
      return [...otherwise];
    }
    return value as number[];
  }

  nonNegative(name: string): number {
    const value = this.get(name);
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      this.faults.push(`${name} must be a non-negative integer, got ${show(value)}.`);
      return 0;
    }
    return value as number;
  }

  /** A positive integer, optional or `null`. */
  countOr(name: string, otherwise: number): number {
    return this.get(name) == null ? otherwise : this.count(name);
  }

  /** A non-negative integer below the value of another field. */
  index(name: string, {otherwise, below}: {otherwise?: number; below: string}): number {
    const value = this.valueOf(name, otherwise);
    const count = this.count(below);
    if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) >= count) {
      this.faults.push(`${name} must be an integer from 0 to ${below} − 1, ${count - 1}, got ${show(value)}.`);
      return 0;
    }
    return value as number;
  }

  /** A positive number that fits a 32-bit float, at most `most`. */
  number(name: string, otherwise: number, most = MAX_FLOAT32): number {
    const value = this.valueOf(name, otherwise);
    if (typeof value !== 'number' || !(value > 0 && value <= most)) {
      const limit = most === MAX_FLOAT32 ? '' : ` of at most ${most}`;
      this.faults.push(`${name} must be a positive number${limit}, got ${show(value)}.`);
      return otherwise;
    }
    return value;
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.valueOf(name, otherwise);
    if (typeof value !== 'boolean') {
      this.faults.push(`${name} must be true or false, got ${show(value)}.`);
      return otherwise;
    }
    return value;
  }

  choice<T>(name: string, table: Readonly<Record<string, T>>, otherwise: string): T {
    const value = this.valueOf(name, otherwise);
    if (typeof value !== 'string' || !Object.hasOwn(table, value)) {
      this.faults.push(`${name} is ${show(value)}; known are ${Object.keys(table).join(', ')}.`);
      return table[otherwise] as T;
    }
    return table[value] as T;
  }

  /** Refuses a field with an unsupported value. */
  expect(name: string, ...allowed: unknown[]): void {
    const value = this.get(name);
    if (value !== undefined && !allowed.includes(value)) {
      this.faults.push(
        `${name} is ${show(value)}, which is not supported. Supported: ${allowed.map(show).join(', ')}.`,
      );
    }
  }

  /** Refuses a size that is no multiple of another one, such as a width of the number of heads. */
  expectMultiple([name, value]: [name: string, value: number], [of, divisor]: [name: string, value: number]): void {
    if (value % divisor !== 0) {
      this.faults.push(`${name} must be a multiple of ${of} (${divisor}), got ${value}.`);
    }
  }

  fault(message: string): void {
    this.faults.push(message);
  }

  /** @throws LoRAError with a line for each fault. */
  check(): void {
    throwFaults(this.faults, 'ERR_UNSUPPORTED', `The ${this.whose}'s config is not supported:`);
  }
}
