import {show, tooLargeError, unsupportedError} from '../../platform/errors';

/** About two seconds' worth. */
const STEPS = 30_000_000;

/** How much work the files of one import may cause: comparing names with patterns spends from it. */
export class Budget {
  constructor(private left = STEPS) {}

  /** Whether there is nothing left. */
  get isSpent(): boolean {
    return this.left < 0;
  }

  /** @throws LoRAError if there is not so much left. */
  spend(steps: number): void {
    this.left -= steps;
    if (this.left < 0) {
      throw tooLargeError(
        'Comparing the names in these files with their patterns takes too long. Use fewer or simpler patterns: ' +
          'plain names, for instance.',
      );
    }
  }
}

// The patterns of an adapter's config are regular expressions of Python that may come from anywhere, and JavaScript's
// own engine can take for ever over one. Here each pattern is read once, with all places of a path at which its next
// part can begin. The time is proportional to both lengths, since repeated groups, which files of PEFT do not have, are
// refused.

const MAX_LENGTH = 2000;
const MAX_NESTING = 50;
const MAX_REPEAT = 1000;
/** Reading a character of a pattern takes about as long as this many steps. */
const STEPS_PER_CHARACTER = 25;

/** A pattern and what it gives the paths that it matches. */
interface PatternRow {
  pattern: string;
  value: number;
}

interface PlacedRow extends PatternRow {
  /** Its place in the table. */
  place: number;
}

/** Rows of one length with wildcards at the same places, by their other characters. */
interface Group {
  wildcards: number[];
  length: number;
  rows: Map<string, PlacedRow[]>;
}

/**
 * Patterns that name modules, as those of `rank_pattern` and `alpha_pattern`: one must match the path of a module from
 * its start, or from after one of its dots, to its end (`re.match(r"(.*\.)?(PATTERN)$", path)`). Plain names, as most
 * are, are looked up, however many there are.
 */
export class PatternTable {
  private size = 0;
  private readonly groups = new Map<string, Group>();
  private readonly compiledRows: (PlacedRow & {matches: Matcher})[] = [];

  constructor(private readonly budget: Budget) {}

  /**
   * @throws LoRAError if the pattern is broken, too long, or uses what is not read: repeated groups, lookarounds,
   * backreferences, flags.
   */
  add(row: PatternRow): void {
    const placed = {...row, place: this.size++};
    const [, anchor, plain] = /^(\^?)((?:[^\\^$|()[\]{}*+?]|\\[^a-zA-Z\d])*)\$?$/.exec(row.pattern) ?? [];
    if (plain === undefined) {
      this.compiledRows.push({...placed, matches: parse(row.pattern, this.budget)});
      return;
    }
    this.budget.spend(row.pattern.length);
    const characters = plain.match(/\\?./gsu) ?? [];
    const wildcards = characters.flatMap((character, i) => (character === '.' ? [i] : []));
    const {length} = characters;
    const group = getOrAdd(this.groups, `${length}: ${wildcards.join()}`, () => {
      return {wildcards, length, rows: new Map<string, PlacedRow[]>()};
    });
    const between = characters.filter(character => character !== '.').map(character => character.replace(/^\\/, ''));
    getOrAdd(group.rows, `${anchor} ${between.join('')}`, () => []).push(placed);
  }

  /** The rows whose patterns match a path, in their order. */
  rowsFor(text: string): PatternRow[] {
    const path = Array.from(text); // by code points, as Python counts them
    const begins = new Uint8Array(path.length + 1);
    begins[0] = 1;
    path.forEach((character, i) => (begins[i + 1] = character === '.' ? 1 : 0));
    const matching: PlacedRow[] = this.compiledRows.filter(({matches}) => matches(begins, path)[path.length] === 1);
    for (const {wildcards, length, rows} of this.groups.values()) {
      this.budget.spend(1);
      const start = path.length - length;
      if (begins[start] === 1 && wildcards.every(i => path[start + i] !== '\n')) {
        this.budget.spend(3 * length);
        const between = path.slice(start).filter((_, i) => !wildcards.includes(i));
        const anchors = start === 0 ? ['', '^'] : [''];
        matching.push(...anchors.flatMap(anchor => rows.get(`${anchor} ${between.join('')}`) ?? []));
      }
    }
    this.budget.spend(matching.length);
    return matching.sort((one, other) => one.place - other.place);
  }
}

function getOrAdd<V>(map: Map<string, V>, key: string, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}

/** For each place in a path, its end too: 1 if the next part of a pattern can begin there, else 0. */
type Places = Uint8Array;

/** A part of a pattern: where in a path it can end, by where it can begin. */
type Matcher = (begins: Places, path: readonly string[]) => Places;

type Test = (character: string) => boolean;

function parse(pattern: string, budget: Budget): Matcher {
  const fail = (what: string): never => {
    throw unsupportedError(
      `The pattern ${show(pattern.slice(0, 100))} ${what}. Write a pattern for each module in its place: the ` +
        "module's name.",
    );
  };
  let place = 0;
  let depth = 0;
  /** Takes what an expression with the flag `y` finds here, if it does. */
  const take = (expression: RegExp): RegExpExecArray | null => {
    expression.lastIndex = place;
    const match = expression.exec(pattern);
    place += match?.[0].length ?? 0;
    return match;
  };
  const alternatives = (): Matcher => {
    const options = [sequence()];
    while (take(/\|/y)) {
      options.push(sequence());
    }
    return (begins, path) => options.map(option => option(begins, path)).reduce(either);
  };
  const sequence = (): Matcher => {
    const matchers: Matcher[] = [];
    while (/[^|)]/y.test(pattern[place] ?? '|')) {
      matchers.push(take(/\(/y) ? group() : take(/\^/y) ? atStart : take(/\$/y) ? atEnd : repeated(character()));
    }
    return (begins, path) =>
      matchers.reduce((places, matcher) => (places.includes(1) ? matcher(places, path) : places), begins);
  };
  const group = (): Matcher => {
    if (take(/\?(?!:)/y)) {
      fail('uses a named group, a lookaround, a backreference or a flag');
    }
    take(/\?:/y);
    if (++depth > MAX_NESTING) {
      fail(`nests more than ${MAX_NESTING} groups`);
    }
    const inner = alternatives();
    depth--;
    if (!take(/\)/y)) {
      fail('leaves a group open');
    }
    const isOptional = take(/\?\??/y) !== null;
    if (take(/[*+?]|\{[\d,]/y)) {
      fail('repeats a group');
    }
    return isOptional ? (begins, path) => either(begins, inner(begins, path)) : inner;
  };
  const character = (): Test => {
    const [text = ''] = take(/\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|./suy) ?? [];
    if (text === '.') {
      return char => char !== '\n';
    }
    if (/^[*+?[\\]$/.test(text)) {
      fail({'[': 'leaves a set open', '\\': 'ends in a backslash'}[text] ?? 'repeats nothing');
    }
    if (!/^[[\\]/.test(text)) {
      return char => char === text;
    }
    const [unknown] = /\\(?![dDwWsS])[a-zA-Z\d]/.exec(text) ?? [];
    if (unknown !== undefined) {
      fail(`uses ${unknown}`);
    }
    // In JavaScript a bracket that comes first is escaped, and what needs no escape has none.
    const spelled = text.replace(/^(\[\^?)\]/, '$1\\]').replace(/\\([^a-zA-Z\d$()*+./?[\\\]^{|}-])/gu, '$1');
    try {
      const single = new RegExp(`^${spelled}$`, 'u');
      return char => single.test(char);
    } catch {
      return fail(`has ${text}, which is not a set of characters`);
    }
  };
  const repeated = (test: Test): Matcher => {
    const [token = '', low = '', comma = '', high = ''] = take(/(?:[*+?]|\{(?=[\d,])(\d*)(,?)(\d*)\})\??/y) ?? [];
    const least = token === '' || token.startsWith('+') ? 1 : Number(low);
    const isOnce = token === '' || token.startsWith('?');
    const most = isOnce ? 1 : high !== '' ? Number(high) : low !== '' && comma === '' ? least : Infinity;
    if (least > most || least > MAX_REPEAT || (most > MAX_REPEAT && most !== Infinity)) {
      fail(`repeats something ${token}`);
    }
    if (take(/[*+?]|\{[\d,]/y)) {
      fail('repeats a repetition');
    }
    return (begins, path) => repeat(test, {least, most}, begins, path, budget);
  };

  if (pattern.length > MAX_LENGTH) {
    fail(`is longer than ${MAX_LENGTH} characters`);
  }
  budget.spend(STEPS_PER_CHARACTER * pattern.length);
  const matcher = alternatives();
  return place === pattern.length ? matcher : fail('closes a group that it did not open');
}

function either(one: Places, other: Places): Places {
  return one.map((value, i) => value | (other[i] ?? 0));
}

function atStart(begins: Places): Places {
  return begins.map((value, i) => (i === 0 ? value : 0));
}

function atEnd(begins: Places): Places {
  return begins.map((value, i) => (i === begins.length - 1 ? value : 0));
}

/** The positions after this many characters. */
function repeat(
  test: Test,
  {least, most}: {least: number; most: number},
  begins: Places,
  path: readonly string[],
  budget: Budget,
): Places {
  /** Goes one character on, to `to` and `all`; where `to` is `from`, as many as there are. */
  const step = (from: Places, to: Places, all = to): Places => {
    let tests = 0;
    for (let i = from.indexOf(1); i >= 0 && i < path.length; i = from.indexOf(1, i + 1)) {
      tests++;
      if (test(path[i] as string)) {
        to[i + 1] = 1;
        all[i + 1] = 1;
      }
    }
    budget.spend(1 + path.length / 16 + tests);
    return to;
  };
  let places = begins;
  for (let i = 0; i < least && places.includes(1); i++) {
    places = step(places, new Uint8Array(begins.length));
  }
  const all = places.slice();
  if (most === Infinity) {
    return step(all, all);
  }
  for (let i = least; i < most && places.includes(1); i++) {
    places = step(places, new Uint8Array(begins.length), all);
  }
  return all;
}
