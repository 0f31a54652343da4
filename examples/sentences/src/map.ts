import type {Places} from './protocol';

const NAMESPACE = 'http://www.w3.org/2000/svg';
/** Half of the width of the map, in its own units. */
const HALF = 100;

/** What a point of the map shows. */
export interface Dot {
  text: string;
  group: string;
}

/** The plane of sentences. Points glide to where they are next. */
export class SentenceMap {
  private dots: SVGGElement[] = [];
  private readonly lines: SVGLineElement[];

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly choose: (index: number) => void,
    neighbours: number,
  ) {
    this.lines = Array.from({length: neighbours}, () => this.svg.appendChild(element('line', {class: 'near'})));
  }

  show(sentences: readonly Dot[], points: Places['points'], chosen: number, near: readonly number[]): void {
    while (this.dots.length < sentences.length) {
      this.dots.push(this.newDot(this.dots.length));
    }
    this.dots.forEach((dot, i) => {
      const [x, y] = points[i]!;
      const {text, group} = sentences[i]!;
      dot.style.transform = `translate(${HALF * x}px, ${HALF * y}px)`;
      dot.dataset['group'] = group;
      dot.classList.toggle('chosen', i === chosen);
      dot.querySelector('title')!.textContent = text;
    });
    this.lines.forEach((line, i) => {
      const [from, to] = [points[chosen]!, points[near[i] ?? chosen]!];
      for (const [name, value] of Object.entries({x1: from[0], y1: from[1], x2: to[0], y2: to[1]})) {
        line.setAttribute(name, String(HALF * value));
      }
    });
  }

  private newDot(index: number): SVGGElement {
    const label = element('text', {'text-anchor': 'middle', dy: '0.35em'});
    label.textContent = String(index + 1);
    const dot = element('g', {class: 'dot'});
    dot.append(element('title', {}), element('circle', {r: '7'}), label);
    dot.addEventListener('click', () => this.choose(index));
    return this.svg.appendChild(dot);
  }
}

function element<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Record<string, string>,
): SVGElementTagNameMap[K] {
  const made = document.createElementNS(NAMESPACE, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}
