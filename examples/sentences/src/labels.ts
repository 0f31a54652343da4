/** Where a label is, relative to its point, as SVG places text. */
export interface Spot {
  anchor: 'start' | 'middle' | 'end';
  dx: number;
  dy: number;
}

export interface LabelOptions {
  /** The width of each label, and the height of all. */
  widths: readonly number[];
  height: number;
  /** The radius of the points, which no label covers. */
  radius: number;
  /** How far from the middle a label may reach, to each side. */
  bound: number;
  /** The indices of the points in the order in which they get their labels. The first one gets a label in any case. */
  order: readonly number[];
}

type Box = readonly [left: number, top: number, right: number, bottom: number];

/** Puts a label near each point where it covers no point and no other label; `null` if there is no room for it. */
export function placeLabels(
  points: readonly (readonly [x: number, y: number])[],
  {widths, height, radius, bound, order}: LabelOptions,
): (Spot | null)[] {
  const spots: (Spot | null)[] = points.map(() => null);
  const taken: Box[] = points.map(([x, y]) => [x - radius, y - radius, x + radius, y + radius]);
  const [beside, above] = [1.4 * radius, radius + 0.55 * height];
  const candidates: Spot[] = [
    ...[0, -0.6, 0.6].flatMap(share => [
      {anchor: 'start' as const, dx: beside, dy: share * height},
      {anchor: 'end' as const, dx: -beside, dy: share * height},
    ]),
    ...[-above, above].flatMap(dy => [
      {anchor: 'middle' as const, dx: 0, dy},
      {anchor: 'start' as const, dx: -radius, dy},
      {anchor: 'end' as const, dx: radius, dy},
    ]),
  ];
  for (const [turn, i] of order.entries()) {
    const [x, y] = points[i]!;
    const inside = candidates
      .map(spot => ({spot, box: boxOf(x, y, spot, widths[i]!, height)}))
      .filter(({box}) => box.every(side => Math.abs(side) <= bound));
    const found = inside.find(({box}) => !taken.some(other => overlaps(box, other))) ?? (turn === 0 ? inside[0] : null);
    if (found != null) {
      taken.push(found.box);
      spots[i] = found.spot;
    }
  }
  return spots;
}

function boxOf(x: number, y: number, {anchor, dx, dy}: Spot, width: number, height: number): Box {
  const left = x + dx - {start: 0, middle: width / 2, end: width}[anchor];
  return [left, y + dy - height / 2, left + width, y + dy + height / 2];
}

function overlaps(one: Box, other: Box): boolean {
  return one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
}

/** The start of a sentence, with whole words if possible. */
export function labelOf(text: string, most: number): string {
  if (text.length <= most) {
    return text;
  }
  const start = text.slice(0, most);
  const end = start.lastIndexOf(' ');
  return `${start.slice(0, end > most / 2 ? end : most - 1).replace(/[\s,.:;]+$/, '')} …`;
}
