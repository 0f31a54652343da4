import {LoRAError, show} from '../errors';
import {Automaton, type Character, type Pattern} from '../formats/automaton';
import {Budget} from '../formats/budget';

// The patterns of an adapter's config are regular expressions in Python's spelling, and may come from anywhere. JavaScript's own engine
// goes back and forth. A hostile pattern makes it run without end, and nothing can stop it. An automaton takes steps in proportion to the pattern
// times the path.

const MAX_LENGTH = 2000;
const MAX_NESTING = 50;
const MAX_REPEAT = 1000;

/** Any character but the end of a line. */
const ANY: Character = {kind: 'character', test: each => each !== '\n'};

/** To read a character of a pattern takes about as long as so many steps of an automaton. */
const STEPS_PER_CHARACTER = 25;

/** A pattern that names modules. */
export interface PathPattern {
  /** Whether it names the module of a path. */
  matches: (path: Path) => boolean;
  /** The characters that it matches one by one, where it is no more than that; `null` stands for any character. */
  plain?: {atStart: boolean; characters: (string | null)[]};
}

/** The path of a module, such as `encoder.layer.0.query`, as patterns see it. */
export interface Path {
  characters: string[];
  /** Where a pattern may begin: at the start, and behind each dot. */
  starts: number[];
}

/** A path, ready for patterns. */
export function readPath(text: string): Path {
  const characters = Array.from(text); // by code points, as Python counts them
  const starts = [0];
  characters.forEach((character, i) => character === '.' && starts.push(i + 1));
  return {characters, starts};
}

/**
 * Reads a pattern that names modules as PEFT decides it for `rank_pattern` and `alpha_pattern`: it must match the path from its start, or
 * from behind one of its dots, to its end (`re.match(r"(.*\.)?(PATTERN)$", path)`).
 *
 * @throws LoRAError if the pattern is broken, too large, or uses what is not supported: lookarounds, backreferences, flags.
 */
export function readPathPattern(pattern: string, budget: Budget): PathPattern {
  const fail = (what: string): never => {
    throw new LoRAError(`The pattern ${show(pattern.slice(0, 100))} ${what}.`);
  };
  if (pattern.length > MAX_LENGTH) {
    fail(`is longer than ${MAX_LENGTH} characters`);
  }
  const parsed = lazy(() => {
    budget.spend(STEPS_PER_CHARACTER * pattern.length);
    return parse(pattern, fail);
  });
  const automaton = lazy(() => new Automaton(parsed(), budget, fail));
  const matches = ({characters, starts}: Path) => automaton().matches(characters, starts);
  const plain = simpleForm(pattern) ?? plainForm(parsed());
  if (plain === undefined) {
    automaton(); // refuses it here if it is too large
  }
  return {matches, ...(plain && {plain})};
}

/** That of characters and dots between `^` and `$`, which most patterns are. It takes no parser. */
function simpleForm(pattern: string): PathPattern['plain'] {
  const [, atStart, inner] = /^(\^?)([^\\^$|()[\]{}*+?]*)\$?$/.exec(pattern) ?? [];
  if (inner === undefined) {
    return undefined;
  }
  return {atStart: atStart !== '', characters: Array.from(inner, each => (each === '.' ? null : each))};
}

function lazy<T>(make: () => T): () => T {
  let made: {value: T} | undefined;
  return () => (made ??= {value: make()}).value;
}

/** A pattern as a function of a path. */
export function pathMatcher(pattern: string, budget = new Budget()): (path: string) => boolean {
  const {matches} = readPathPattern(pattern, budget);
  return path => matches(readPath(path));
}

function plainForm(pattern: Pattern): PathPattern['plain'] {
  const parts = flatten(pattern);
  const atStart = parts[0]?.kind === 'start';
  const inner = parts.slice(atStart ? 1 : 0, parts.at(-1)?.kind === 'end' ? -1 : undefined);
  const characters = inner.map(part => (part === ANY ? null : part.kind === 'character' ? part.only : undefined));
  return characters.includes(undefined) ? undefined : {atStart, characters: characters as (string | null)[]};
}

function flatten(pattern: Pattern): readonly Pattern[] {
  return pattern.kind === 'sequence' ? pattern.parts.flatMap(flatten) : [pattern];
}

function parse(pattern: string, fail: (what: string) => never): Pattern {
  let place = 0;
  let depth = 0;
  const take = (token: string): boolean => {
    const found = pattern.startsWith(token, place);
    place += found ? token.length : 0;
    return found;
  };

  /** The next character, as Python counts them. */
  const next = (): string | undefined => {
    const code = pattern.codePointAt(place);
    const character = code === undefined ? undefined : String.fromCodePoint(code);
    place += character?.length ?? 0;
    return character;
  };

  const alternatives = (): Pattern => {
    const options = [sequence()];
    while (take('|')) {
      options.push(sequence());
    }
    return options.length === 1 && options[0] ? options[0] : {kind: 'either', options};
  };
  const sequence = (): Pattern => {
    const parts: Pattern[] = [];
    while (place < pattern.length && pattern[place] !== '|' && pattern[place] !== ')') {
      parts.push(repeated(atom()));
    }
    return {kind: 'sequence', parts};
  };
  const repeated = (part: Pattern): Pattern => {
    if (!'*+?{'.includes(pattern[place] ?? ' ')) {
      return part;
    }
    const bounds = /^(?:[*+?]|\{(\d*)(,?)(\d*)\})/.exec(pattern.slice(place, place + 20));
    if (bounds === null || bounds[0] === '{}') {
      return part;
    }
    place += bounds[0].length;
    const [token, low = '', comma = '', high = ''] = bounds;
    const least = token === '+' ? 1 : Number(low);
    const most = token === '?' ? 1 : high !== '' ? Number(high) : comma === '' && low !== '' ? least : Infinity;
    if (least > most || least > MAX_REPEAT || (most > MAX_REPEAT && most !== Infinity)) {
      fail(`repeats something ${token}`);
    }
    take('?'); // whether it prefers few or many makes no difference to whether it matches
    if (/^[*+]|^\{\d/.test(pattern.slice(place))) {
      fail('repeats a repetition');
    }
    return {kind: 'repeat', part, least, most};
  };
  const atom = (): Pattern => {
    const character = next() ?? '';
    switch (character) {
      case '(':
        return group();
      case '[':
        return set();
      case '\\':
        return escape();
      case '.':
        return ANY;
      case '^':
        return {kind: 'start'};
      case '$':
        return {kind: 'end'};
      case '*':
      case '+':
      case '?':
        return fail('repeats nothing');
      default:
        return equalTo(character);
    }
  };
  const group = (): Pattern => {
    if (pattern[place] === '?' && !take('?:') && !/^\?P<\w+>/.test(pattern.slice(place, place + 100))) {
      fail('uses a lookaround, a backreference or a flag, which this library does not read');
    }
    place += /^\?P<\w+>/.exec(pattern.slice(place, place + 100))?.[0].length ?? 0;
    if (++depth > MAX_NESTING) {
      fail(`nests more than ${MAX_NESTING} groups`);
    }
    const inner = alternatives();
    depth--;
    return take(')') ? inner : fail('leaves a group open');
  };
  const escape = (): Pattern => {
    const letter = next() ?? fail('ends in a backslash');
    if (letter === 'A' || letter === 'Z') {
      return {kind: letter === 'A' ? 'start' : 'end'};
    }
    const known = classOf(letter);
    return known ? {kind: 'character', test: known} : equalTo(literal(letter));
  };
  const literal = (letter: string): string => {
    if (/[a-zA-Z\d]/.test(letter)) {
      fail(`uses \\${letter}, which this library does not read`);
    }
    return letter;
  };
  const set = (): Pattern => {
    const negated = take('^');
    const tests: ((character: string) => boolean)[] = [];
    const start = place;
    while (pattern[place] !== ']' || place === start) {
      const from = next() ?? fail('leaves a set open');
      const letter = from === '\\' ? (next() ?? fail('leaves a set open')) : from;
      const known = from === '\\' ? classOf(letter) : undefined;
      const low = from === '\\' && known === undefined ? literal(letter) : letter;
      if (known === undefined && pattern[place] === '-' && pattern[place + 1] !== ']') {
        place++;
        const high = next() ?? fail('leaves a set open');
        const top = high === '\\' ? literal(next() ?? fail('leaves a set open')) : high;
        tests.push(low <= top ? each => each >= low && each <= top : fail(`has the range ${low}-${top}`));
      } else {
        tests.push(known ?? (each => each === low));
      }
    }
    place++;
    return {kind: 'character', test: each => tests.some(test => test(each)) !== negated, cost: tests.length};
  };

  const whole = alternatives();
  return place === pattern.length ? whole : fail('closes a group that it did not open');
}

/** What `\d` and its like stand for. */
function classOf(letter: string): ((character: string) => boolean) | undefined {
  const expression = {d: /\d/, D: /\D/, w: /\w/, W: /\W/, s: /\s/, S: /\S/}[letter];
  return expression && (character => expression.test(character));
}

function equalTo(only: string): Character {
  return {kind: 'character', test: character => character === only, only};
}
