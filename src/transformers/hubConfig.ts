import {kindOf, LoRAError, listed, show, throwFaults} from '../errors';
import {duplicateKeys, nesting} from '../formats/jsonText';

/**
 * Reads the `config.json` of a model of the hub, and collects what is wrong with it. Nothing that it says is believed beyond what is asked
 * of it here.
 */
export class HubConfig {
  private readonly faults: string[] = [];

  private constructor(private readonly fields: Readonly<Record<string, unknown>>) {}

  /** @throws LoRAError if it is no JSON object. */
  static parse(config: string | object): HubConfig {
    let fields: unknown = config;
    if (typeof config === 'string') {
      try {
        if (nesting(config) > 20) {
          throw new LoRAError('it is nested more deeply than one of a model');
        }
        fields = JSON.parse(config);
      } catch (error) {
        throw new LoRAError(`The model's config cannot be read: ${(error as Error).message}`);
      }
      const twice = duplicateKeys(config);
      if (twice.length > 0) {
        throw new LoRAError(`The model's config has ${listed(twice.map(show), 10)} twice.`);
      }
    }
    if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
      throw new LoRAError(`The model's config must be a JSON object, got ${kindOf(fields)}.`);
    }
    return new HubConfig(fields as Record<string, unknown>);
  }

  /** A field as it is. */
  get(name: string): unknown {
    return Object.hasOwn(this.fields, name) ? this.fields[name] : undefined;
  }

  /** A positive whole number; without `otherwise` it has to be there. */
  count(name: string, otherwise?: number): number {
    const value = this.get(name) ?? otherwise;
    if (!Number.isSafeInteger(value) || (value as number) <= 0) {
      this.faults.push(`${name} must be a positive integer, got ${show(value)}.`);
      return 1;
    }
    return value as number;
  }

  /** A positive number. */
  number(name: string, otherwise: number): number {
    const value = this.get(name) ?? otherwise;
    if (typeof value !== 'number' || !(value > 0 && value < Infinity)) {
      this.faults.push(`${name} must be a positive number, got ${show(value)}.`);
      return otherwise;
    }
    return value;
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.get(name) ?? otherwise;
    if (typeof value !== 'boolean') {
      this.faults.push(`${name} must be true or false, got ${show(value)}.`);
      return otherwise;
    }
    return value;
  }

  /** What stands in a table under the name that a field has. */
  choice<T>(name: string, table: Readonly<Record<string, T>>, otherwise: string): T {
    const value = this.get(name) ?? otherwise;
    if (typeof value !== 'string' || !Object.hasOwn(table, value)) {
      this.faults.push(`${name} is ${show(value)}; known are ${Object.keys(table).join(', ')}.`);
      return table[otherwise] as T;
    }
    return table[value] as T;
  }

  /** Refuses a field that has another value than the one that is computed by. */
  expect(name: string, ...allowed: unknown[]): void {
    const value = this.get(name);
    if (value !== undefined && value !== null && !allowed.includes(value)) {
      this.faults.push(
        `${name} is ${show(value)}, for which there is no code here; it may be ${allowed.map(show).join(' or ')}.`,
      );
    }
  }

  fault(message: string): void {
    this.faults.push(message);
  }

  /** @throws LoRAError with a line for each fault. */
  check(): void {
    throwFaults(
      this.faults.length === 0 ? [] : ["The model's config does not fit:", ...this.faults.map(fault => `  ${fault}`)],
    );
  }
}
