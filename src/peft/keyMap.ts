import {LoRAError, show} from '../errors';

/**
 * Says how the names of PyTorch's modules and of tfjs's layers correspond.
 *
 * A table has a row for each kind of name: a module's path, and the path of its layer. A `*` stands for a part of a name without dots and
 * slashes, the same in both. Of the rows that fit the first of those with the fewest stars counts, and the table serves both ways.
 *
 *     {'encoder.layer.*.attention.query': 'layer_*_query', classifier: 'head'}
 *
 * A function is given a name and returns the other: the layer of a module when importing, the module of a layer when exporting. `null` leaves
 * it out; for `undefined` the default holds.
 */
export type KeyMap = Readonly<Record<string, string>> | ((name: string) => string | null | undefined);

/**
 * The name that a `keyMap` gives another: `undefined` if it says nothing of it, `null` to leave it out.
 *
 * @throws LoRAError if a function gives something else.
 */
export function mapName(keyMap: KeyMap, name: string, way: 'import' | 'export'): string | null | undefined {
  if (typeof keyMap === 'function') {
    const mapped: unknown = keyMap(name);
    if (mapped !== undefined && mapped !== null && typeof mapped !== 'string') {
      throw new LoRAError(`keyMap gives ${show(mapped)} for ${show(name)}, which is neither a name nor null.`);
    }
    return mapped;
  }
  const rows = Object.entries(keyMap).map(([module, layer]) => (way === 'import' ? [module, layer] : [layer, module]));
  rows.sort(([one = ''], [other = '']) => countStars(one) - countStars(other));
  for (const [from = '', to = ''] of rows) {
    const parts = starsOf(from, name);
    if (parts !== undefined) {
      let star = 0;
      return to.replace(/\*/g, () => parts[star++] ?? '');
    }
  }
  return undefined;
}

/** @throws LoRAError with a line for each row of a table that cannot be understood. */
export function checkKeyMap(keyMap: unknown): asserts keyMap is KeyMap {
  if (typeof keyMap === 'function') {
    return;
  }
  if (typeof keyMap !== 'object' || keyMap === null || Array.isArray(keyMap)) {
    throw new LoRAError(`keyMap must be a function or a table such as {'encoder.fc': 'dense_1'}, got ${show(keyMap)}.`);
  }
  const faults = Object.entries(keyMap as Record<string, unknown>)
    .filter(([module, layer]) => typeof layer !== 'string' || countStars(module) !== countStars(layer))
    .map(([module, layer]) => `  ${show(module)}: ${show(layer)}`);
  if (faults.length > 0) {
    throw new LoRAError(
      `Rows of keyMap must be two names with as many * in one as in the other:\n${faults.join('\n')}`,
    );
  }
}

function countStars(text: string): number {
  return text.split('*').length;
}

/** What the stars of a pattern stand for in a name, or `undefined` if it does not fit. */
function starsOf(pattern: string, name: string): string[] | undefined {
  const expression = pattern
    .split('*')
    .map(part => part.replace(/[^\w]/g, String.raw`\$&`))
    .join('([^./]+)');
  return new RegExp(`^${expression}$`).exec(name)?.slice(1);
}

/** A name's parts, whichever way they are separated. */
export function partsOf(name: string): string[] {
  return name.split(/[./]/);
}

/** The candidates that look most like a name. */
export function closest(name: string, candidates: readonly string[], count = 3): string[] {
  const plain = simplified(name);
  return candidates
    .map(candidate => ({
      candidate,
      distance: Math.min(
        distance(plain, simplified(candidate)),
        distance(simplified(lastPart(name)), simplified(lastPart(candidate))),
      ),
    }))
    .sort((one, other) => one.distance - other.distance)
    .slice(0, count)
    .map(({candidate}) => candidate);
}

/** The last part of a name. */
export function lastPart(name: string): string {
  return partsOf(name).at(-1) ?? name;
}

/** A name without what spellings differ in. */
function simplified(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z\d]/g, '')
    .slice(-100);
}

/** How many characters have to be put in, left out or changed to make one text of another (Levenshtein). */
function distance(one: string, other: string): number {
  let row = Array.from({length: other.length + 1}, (_, i) => i);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const changed = (row[j - 1] ?? 0) + (one[i - 1] === other[j - 1] ? 0 : 1);
      next.push(Math.min(changed, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
