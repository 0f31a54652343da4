import {makeSvg} from '../../shared/svg';
import type {Labelled, Places} from './encoder';
import {labelOf, placeLabels} from './labels';
import {movedApart} from './plane';

/** Half of the width of the map, and of its view, in its own units. */
const [HALF, VIEW] = [100, 115];
/** How far from the middle a point may be, in halves. */
const BOUND = 1.06;
/** The radius of a point and the least distance of two, in the map's units, while there is room. */
const [RADIUS, DISTANCE] = [3.4, 14];
/** The height of a label in pixels, and the most letters of one. */
const [LABEL, LETTERS] = [12, 26];

type Shown = [sentences: readonly Labelled[], points: Places['points'], chosen: number, near: readonly number[]];

/** The sentences as points with labels. Points glide to their next positions, and none covers another. */
export class SentenceMap {
  private dots: SVGGElement[] = [];
  private readonly lines: SVGLineElement[];
  private shown: Shown | undefined;

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly choose: (index: number) => void,
    neighbours: number,
  ) {
    this.lines = Array.from({length: neighbours}, () => this.svg.appendChild(makeSvg('line', {class: 'near'})));
    // Labels keep their size in pixels.
    new ResizeObserver(() => this.shown && this.show(...this.shown)).observe(svg);
  }

  show(...shown: Shown): void {
    this.shown = shown;
    const [sentences, points, chosen, near] = shown;
    while (this.dots.length < sentences.length) {
      this.dots.push(this.newDot(this.dots.length));
    }
    this.dots.splice(sentences.length).forEach(dot => dot.remove());
    // Many points are smaller, so that there is room for all of them.
    const scale = Math.min(1, 10 / Math.sqrt(sentences.length));
    const apart = movedApart(points, (DISTANCE * scale) / HALF, BOUND);
    this.dots.forEach((dot, i) => {
      const [x, y] = apart[i]!;
      const {text, group} = sentences[i]!;
      dot.style.transform = `translate(${HALF * x}px, ${HALF * y}px)`;
      dot.dataset['group'] = group;
      dot.classList.toggle('chosen', i === chosen);
      dot.querySelector('circle')!.setAttribute('r', String(RADIUS * scale));
      dot.querySelector('title')!.textContent = group === '' ? text : `${text} (${group})`;
      dot.querySelector('text')!.textContent = labelOf(text, LETTERS);
    });
    this.label(apart, RADIUS * scale, [...new Set([chosen, ...near, ...apart.keys()])]);
    this.lines.forEach((line, i) => {
      const [from, to] = [apart[chosen]!, apart[near[i] ?? chosen]!];
      for (const [name, value] of Object.entries({x1: from[0], y1: from[1], x2: to[0], y2: to[1]})) {
        line.setAttribute(name, String(HALF * value));
      }
    });
  }

  private label(points: Places['points'], radius: number, order: readonly number[]): void {
    const height = (LABEL * 2 * VIEW) / Math.max(this.svg.clientWidth, 1);
    const texts = this.dots.map(dot => dot.querySelector('text')!);
    texts.forEach(text => text.setAttribute('font-size', String(height)));
    const spots = placeLabels(
      points.map(([x, y]) => [HALF * x, HALF * y]),
      {widths: texts.map(text => text.getComputedTextLength()), height: 1.15 * height, radius, bound: VIEW, order},
    );
    texts.forEach((text, i) => {
      const spot = spots[i];
      text.classList.toggle('hidden-label', spot === null);
      Object.entries({x: spot?.dx, y: spot?.dy, 'text-anchor': spot?.anchor}).forEach(
        ([name, value]) => value !== undefined && text.setAttribute(name, String(value)),
      );
    });
  }

  private newDot(index: number): SVGGElement {
    const dot = makeSvg('g', {class: 'dot'}, makeSvg('title'), makeSvg('circle'), makeSvg('text', {dy: '0.35em'}));
    dot.addEventListener('click', () => this.choose(index));
    return this.svg.appendChild(dot);
  }
}
