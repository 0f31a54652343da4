import {LoRAError, show} from '../errors';

// The patterns of an adapter's config are regular expressions in Python's spelling, and may come from anywhere. JavaScript's own engine
// goes back and forth, for ever if a pattern is made for it, and cannot be stopped. Here each part of a pattern maps the set of places
// where it may begin to the set of those where it may end: steps in proportion to the pattern's length times the square of the path's.

/** The places in `text` where a match may end that begins at one of the given places, which ascend. */
type Part = (text: string, starts: ReadonlySet<number>) => ReadonlySet<number>;

const MAX_LENGTH = 2000;
const MAX_NESTING = 50;
const MAX_REPEAT = 1000;

/**
 * Whether a pattern names a module, as PEFT decides it for `rank_pattern` and `alpha_pattern`: it must match the path from its start, or
 * from behind one of its dots, to its end (`re.match(r"(.*\.)?(PATTERN)$", path)`).
 *
 * @throws LoRAError if the pattern is broken, or uses what is not supported: lookarounds, backreferences, flags.
 */
export function pathMatcher(pattern: string): (path: string) => boolean {
  const part = parse(pattern);
  return path => {
    const starts = new Set([0]);
    for (let dot = path.indexOf('.'); dot >= 0; dot = path.indexOf('.', dot + 1)) {
      starts.add(dot + 1);
    }
    return part(path, starts).has(path.length);
  };
}

function parse(pattern: string): Part {
  let place = 0;
  let depth = 0;
  const fail = (what: string): never => {
    throw new LoRAError(`The pattern ${show(pattern.slice(0, 100))} ${what}.`);
  };
  if (pattern.length > MAX_LENGTH) {
    fail(`is longer than ${MAX_LENGTH} characters`);
  }
  const take = (token: string): boolean => {
    const found = pattern.startsWith(token, place);
    place += found ? token.length : 0;
    return found;
  };

  const alternatives = (): Part => {
    const options = [sequence()];
    while (take('|')) {
      options.push(sequence());
    }
    return options.length === 1 && options[0] ? options[0] : either(options);
  };
  const sequence = (): Part => {
    const parts: Part[] = [];
    while (place < pattern.length && pattern[place] !== '|' && pattern[place] !== ')') {
      parts.push(repeated(atom()));
    }
    return (text, starts) => parts.reduce((places, part) => part(text, places), starts);
  };
  const repeated = (part: Part): Part => {
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
    return repeat(part, least, most);
  };
  const atom = (): Part => {
    const character = pattern[place++] ?? '';
    switch (character) {
      case '(':
        return group();
      case '[':
        return oneOf(set());
      case '\\':
        return escape();
      case '.':
        return oneOf(each => each !== '\n');
      case '^':
        return (_, starts) => (starts.has(0) ? new Set([0]) : new Set());
      case '$':
        return (text, starts) => (starts.has(text.length) ? new Set([text.length]) : new Set());
      case '*':
      case '+':
      case '?':
        return fail('repeats nothing');
      default:
        return equalTo(character);
    }
  };
  const group = (): Part => {
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
  const escape = (): Part => {
    const letter = pattern[place++] ?? fail('ends in a backslash');
    if (letter === 'A' || letter === 'Z') {
      return (text, starts) => {
        const end = letter === 'A' ? 0 : text.length;
        return starts.has(end) ? new Set([end]) : new Set();
      };
    }
    const known = classOf(letter);
    return known ? oneOf(known) : equalTo(literal(letter));
  };
  const literal = (letter: string): string => {
    if (/[a-zA-Z\d]/.test(letter)) {
      fail(`uses \\${letter}, which this library does not read`);
    }
    return letter;
  };
  const set = (): ((character: string) => boolean) => {
    const negated = take('^');
    const tests: ((character: string) => boolean)[] = [];
    const start = place;
    while (pattern[place] !== ']' || place === start) {
      const from = pattern[place++] ?? fail('leaves a set open');
      const letter = from === '\\' ? (pattern[place++] ?? fail('leaves a set open')) : from;
      const known = from === '\\' ? classOf(letter) : undefined;
      const low = from === '\\' && known === undefined ? literal(letter) : letter;
      if (known === undefined && pattern[place] === '-' && pattern[place + 1] !== ']') {
        place++;
        const high = pattern[place++] ?? fail('leaves a set open');
        const top = high === '\\' ? literal(pattern[place++] ?? fail('leaves a set open')) : high;
        tests.push(low <= top ? each => each >= low && each <= top : fail(`has the range ${low}-${top}`));
      } else {
        tests.push(known ?? (each => each === low));
      }
    }
    place++;
    return each => tests.some(test => test(each)) !== negated;
  };

  const whole = alternatives();
  return place === pattern.length ? whole : fail('closes a group that it did not open');
}

/** What `\d` and its like stand for. */
function classOf(letter: string): ((character: string) => boolean) | undefined {
  const expression = {d: /\d/, D: /\D/, w: /\w/, W: /\W/, s: /\s/, S: /\S/}[letter];
  return expression && (character => expression.test(character));
}

function oneOf(test: (character: string) => boolean): Part {
  return (text, starts) => {
    const ends = new Set<number>();
    for (const start of starts) {
      const character = text[start];
      if (character !== undefined && test(character)) {
        ends.add(start + 1);
      }
    }
    return ends;
  };
}

function equalTo(expected: string): Part {
  return oneOf(character => character === expected);
}

function either(options: readonly Part[]): Part {
  return (text, starts) => new Set(options.flatMap(option => [...option(text, starts)]));
}

function repeat(part: Part, least: number, most: number): Part {
  return (text, starts) => {
    let places = starts;
    for (let count = 0; count < least; count++) {
      const next = part(text, places);
      if (sameSet(places, next)) {
        break; // as it will be each time after
      }
      places = next;
    }
    const ends = new Set(places);
    for (let count = least; count < most && places.size > 0; count++) {
      const before = ends.size;
      places = part(text, places);
      places.forEach(place => ends.add(place));
      if (ends.size === before) {
        break; // nothing that was not tried before
      }
    }
    return ends;
  };
}

function sameSet(one: ReadonlySet<number>, other: ReadonlySet<number>): boolean {
  return one.size === other.size && [...one].every(place => other.has(place));
}
