import {LoRAError, show} from '../errors';
import {editsBetween} from '../model/closest';
import type {Budget} from '../formats/budget';

/**
 * Says how the names of PyTorch's modules and of tfjs's layers correspond.
 *
 * A table has a row for each kind of name: a module's path, and the path of its layer. A `*` stands for a part of a
 * name without dots and slashes, the same in both. Of the rows that fit the first of those with the fewest stars
 * counts, and the table serves both ways.
 *
 *     {'encoder.layer.*.attention.query': 'layer_*_query', classifier: 'head'}
 *
 * A function is given a name and returns the other: the layer of a module when importing, the module of a layer when
 * exporting. `null` leaves it out; for `undefined` the default holds.
 */
export type KeyMap = Readonly<Record<string, string>> | ((name: string) => string | null | undefined);

/**
 * The names that a `keyMap` gives others: `undefined` if it says nothing of one, `null` to leave it out.
 *
 * @throws LoRAError if a function gives something else; and what the budget throws.
 */
export function nameMapper(
  keyMap: KeyMap,
  way: 'import' | 'export',
  budget: Budget,
): (name: string) => string | null | undefined {
  if (typeof keyMap === 'function') {
    return name => {
      const mapped: unknown = keyMap(name);
      if (mapped !== undefined && mapped !== null && typeof mapped !== 'string') {
        throw new LoRAError(`keyMap gives ${show(mapped)} for ${show(name)}, which is neither a name nor null.`);
      }
      return mapped;
    };
  }
  const plain = new Map<string, string>();
  const starred: {from: string[]; to: string[]}[] = [];
  for (const [module, layer] of Object.entries(keyMap)) {
    const [from, to] = way === 'import' ? [module, layer] : [layer, module];
    if (from.includes('*')) {
      starred.push({from: from.split('*'), to: to.split('*')});
    } else if (!plain.has(from)) {
      plain.set(from, to);
    }
  }
  starred.sort((one, other) => one.from.length - other.from.length);
  return name => {
    const exact = plain.get(name);
    if (exact !== undefined) {
      return exact;
    }
    for (const {from, to} of starred) {
      const parts = starsOf(from, name, budget);
      if (parts !== undefined) {
        return to.map((text, i) => text + (parts[i] ?? '')).join('');
      }
    }
    return undefined;
  };
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

/**
 * What the stars of a pattern stand for in a name, or `undefined` if it does not fit. Each stands for as much as it
 * can, the first of them first.
 *
 * @param texts what stands before, between and behind the stars.
 */
function starsOf(texts: readonly string[], name: string, budget: Budget): string[] | undefined {
  const first = texts[0] ?? '';
  const last = texts.at(-1) ?? '';
  budget.spend(1);
  if (!name.startsWith(first) || !name.endsWith(last)) {
    return undefined;
  }
  // From the last star backwards: at which places of the name it can begin, so that all that follows can stand too.
  const begins = texts.slice(1).map(() => new Uint8Array(name.length + 1));
  const restFits = (star: number, place: number): boolean => {
    const text = texts[star + 1] ?? '';
    return star === begins.length - 1
      ? place === name.length - text.length
      : name.startsWith(text, place) && begins[star + 1]?.[place + text.length] === 1;
  };
  for (const [star, fits] of [...begins.entries()].reverse()) {
    budget.spend(name.length * (1 + (texts[star + 1] ?? '').length / 16));
    for (let place = name.length - 1; place >= 0; place--) {
      if (!isSeparator(name[place]) && (fits[place + 1] === 1 || restFits(star, place + 1))) {
        fits[place] = 1;
      }
    }
  }
  if (begins[0]?.[first.length] !== 1) {
    return undefined;
  }
  let start = first.length;
  return begins.map((_, star) => {
    let end = start;
    for (let place = start; place < name.length && !isSeparator(name[place]); place++) {
      end = restFits(star, place + 1) ? place + 1 : end;
    }
    const part = name.slice(start, end);
    start = end + (texts[star + 1] ?? '').length;
    return part;
  });
}

function isSeparator(character: string | undefined): boolean {
  return character === '.' || character === '/';
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
        editsBetween(plain, simplified(candidate)),
        editsBetween(simplified(lastPart(name)), simplified(lastPart(candidate))),
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
