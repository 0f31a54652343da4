import {makeSvg} from '../../shared/svg';
import {movedApart} from './plane';
import type {Places} from './protocol';

/** Half of the width of the map, in its own units. */
const HALF = 100;
/** How far from the middle a point may lie, in halves. */
const BOUND = 1.06;
/** Of a point, in the map's units, where there is room. */
const RADIUS = 7;

/** What a point of the map shows. */
export interface Dot {
  text: string;
  group: string;
}

/** The plane of sentences. Points glide to where they are next, and none covers another. */
export class SentenceMap {
  private dots: SVGGElement[] = [];
  private readonly lines: SVGLineElement[];

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly choose: (index: number) => void,
    neighbours: number,
  ) {
    this.lines = Array.from({length: neighbours}, () => this.svg.appendChild(makeSvg('line', {class: 'near'})));
  }

  show(sentences: readonly Dot[], points: Places['points'], chosen: number, near: readonly number[]): void {
    while (this.dots.length < sentences.length) {
      this.dots.push(this.newDot(this.dots.length));
    }
    this.dots.splice(sentences.length).forEach(dot => dot.remove());
    // Many points are smaller, so that all of them have room.
    const scale = Math.min(1, 10 / Math.sqrt(sentences.length));
    const apart = movedApart(points, (2 * RADIUS * scale + 0.5) / HALF, BOUND);
    this.dots.forEach((dot, i) => {
      const [x, y] = apart[i]!;
      const {text, group} = sentences[i]!;
      dot.style.transform = `translate(${HALF * x}px, ${HALF * y}px) scale(${scale})`;
      dot.dataset['group'] = group;
      dot.classList.toggle('chosen', i === chosen);
      dot.querySelector('title')!.textContent = group === '' ? text : `${text} (${group})`;
    });
    this.lines.forEach((line, i) => {
      const [from, to] = [apart[chosen]!, apart[near[i] ?? chosen]!];
      for (const [name, value] of Object.entries({x1: from[0], y1: from[1], x2: to[0], y2: to[1]})) {
        line.setAttribute(name, String(HALF * value));
      }
    });
  }

  private newDot(index: number): SVGGElement {
    const dot = makeSvg(
      'g',
      {class: 'dot'},
      makeSvg('title'),
      makeSvg('circle', {r: RADIUS}),
      makeSvg('text', {'text-anchor': 'middle', dy: '0.35em'}, String(index + 1)),
    );
    dot.addEventListener('click', () => this.choose(index));
    return this.svg.appendChild(dot);
  }
}
