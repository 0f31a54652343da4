/** The maximum number of suggested names. */
const SUGGESTED = 3;

/** How different a suggestion may be, as a share of the longer text. */
const TOLERANCE = 0.5;

/** How much more different than the closest one a suggestion may be. */
const SPREAD = 0.25;

/** The maximum difference of a text that is part of a name, or contains it. */
const PART_DIFFERENCE = 0.4;

/** Longer names are compared by their beginning, which bounds the time. */
const COMPARED = 80;

/** The names most like a text, the closest first. Ignores case. */
export function closestTo(text: string, names: Iterable<string>): string[] {
  const similar = [...new Set(names)]
    .map(name => ({name, difference: differenceOf(text, name)}))
    .filter(({difference}) => difference <= TOLERANCE)
    .sort((one, other) => one.difference - other.difference);
  const limit = (similar[0]?.difference ?? 0) + SPREAD;
  return similar
    .filter(({difference}) => difference <= limit)
    .slice(0, SUGGESTED)
    .map(({name}) => name);
}

/** From 0 for the same text to 1 for nothing in common. */
function differenceOf(text: string, name: string): number {
  const [one, other] = [text, name].map(value => value.slice(0, COMPARED).toLowerCase()) as [string, string];
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  if (short.length < 2) {
    return 1;
  }
  const difference = editsBetween(one, other) / long.length;
  return long.includes(short) ? Math.min(difference, PART_DIFFERENCE) : difference;
}

/** How many characters must be inserted, deleted or changed to make the texts equal (Levenshtein). */
export function editsBetween(one: string, other: string): number {
  let row = Array.from({length: other.length + 1}, (_, j) => j);
  for (let i = 0; i < one.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++) {
      const changed = (row[j] ?? 0) + (one[i] === other[j] ? 0 : 1);
      next.push(Math.min(changed, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
