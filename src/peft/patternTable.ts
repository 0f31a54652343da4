import {type Path, type PathPattern, readPath, readPathPattern} from './pathPattern';
import type {Budget} from '../formats/budget';

/** A pattern and what it gives the paths that it matches. */
export interface Row {
  pattern: string;
  value: number;
}

/** A row and its place in the table. */
interface Placed extends Row {
  place: number;
}

/** Rows whose patterns are of one length and have wildcards at the same places. */
interface Group {
  wildcards: number[];
  rows: Map<string, Placed[]>;
}

/** To put a key together and look it up takes about as long as so many steps of an automaton. */
const STEPS_PER_CHARACTER = 3;

/**
 * Patterns of which the first that matches counts. Those that are plain names, as most are, are found by looking a path up instead of
 * trying each, however many there are.
 */
export class PatternTable {
  private size = 0;
  private readonly groups = new Map<number, Map<string, Group>>(); // by length, then by wildcards
  private readonly others: (Placed & Pick<PathPattern, 'matches'>)[] = [];

  constructor(private readonly budget: Budget) {}

  /** @throws LoRAError if the pattern cannot be read. */
  add(row: Row): void {
    const placed = {...row, place: this.size++};
    const {plain, matches} = readPathPattern(row.pattern, this.budget);
    if (plain === undefined) {
      this.others.push({...placed, matches});
      return;
    }
    const {atStart, characters} = plain;
    const wildcards = characters.flatMap((character, i) => (character === null ? [i] : []));
    const ofLength = getOrAdd(this.groups, characters.length, () => new Map<string, Group>());
    const group = getOrAdd(ofLength, wildcards.join(), () => ({wildcards, rows: new Map<string, Placed[]>()}));
    getOrAdd(group.rows, keyOf(characters, atStart), () => []).push(placed);
  }

  /** The rows whose patterns match a path, in their order. */
  rowsFor(text: string): Row[] {
    const path = readPath(text);
    const found: Placed[] = this.others.filter(({matches}) => matches(path));
    for (const start of path.starts) {
      for (const group of this.groups.get(path.characters.length - start)?.values() ?? []) {
        found.push(...this.rowsIn(group, path, start));
      }
    }
    return found.sort((one, other) => one.place - other.place);
  }

  private rowsIn({wildcards, rows}: Group, {characters}: Path, start: number): Placed[] {
    this.budget.spend(STEPS_PER_CHARACTER * (characters.length - start + 1));
    const rest: (string | null)[] = characters.slice(start);
    if (wildcards.some(i => rest[i] === '\n')) {
      return []; // which a wildcard does not stand for
    }
    wildcards.forEach(i => (rest[i] = null));
    const anywhere = rows.get(keyOf(rest, false)) ?? [];
    const atStart = start === 0 ? (rows.get(keyOf(rest, true)) ?? []) : [];
    this.budget.spend(anywhere.length + atStart.length);
    return [...anywhere, ...atStart];
  }
}

/** Wildcards are left out: the rows of a group have them at the same places. */
function keyOf(characters: readonly (string | null)[], atStart: boolean): string {
  return (atStart ? '^' : ' ') + characters.join('');
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}
