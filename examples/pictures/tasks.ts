import {readFileSync} from 'node:fs';
import {isDistinct, rasterise} from '../shared/drawings';
import {fluentEmoji} from '../shared/emoji';
import {packageFile} from '../shared/packages';
import {shuffled} from '../shared/random';
import {type Draw, FACES, TEXTURES} from './drawn';
import {loadPanoramas, photo, ROOMS, viewOf} from './places';

/** An image of a class. */
export interface Picture {
  label: number;
  /** Square RGB values from 0 to 255. */
  pixels: (size: number) => Float32Array;
}

/** Four classes of images: eighty of each measure accuracy, and a seed chooses ten others of each to train on. */
export interface Task {
  classes: readonly string[];
  open: () => Promise<Images>;
}

interface Images {
  test: Picture[];
  train: (seed: number) => Picture[];
}

const [TRAIN, TEST] = [10, 80];
/** So many images of a class there are where they are drawn. */
const DRAWN = 1000;

/** Emoji of these categories show objects. */
const CATEGORIES = ['Animals & Nature', 'Food & Drink', 'Objects', 'Travel & Places'];

/** The tasks by which settings are chosen, and those that were kept for the report. */
export const TASKS = {
  choose: {
    objects: kinds(),
    digits: digits(['3', '5', '8', '9']),
    textures: drawings(TEXTURES),
  },
  report: {
    faces: drawings(FACES),
    orientation: orientation(),
    rooms: rooms(),
  },
} satisfies Record<string, Record<string, Task>>;

/** Images of classes, numbered from 0 in each: the first ones are those to test. */
interface Pool {
  count: number;
  picture: (label: number, index: number) => Picture['pixels'];
}

function task(classes: readonly string[], openPool: () => Pool | Promise<Pool>): Task {
  return {
    classes,
    open: async () => {
      const {count, picture} = await openPool();
      const images = (indicesOf: (label: number) => readonly number[]) =>
        classes.flatMap((_, label) => indicesOf(label).map(index => ({label, pixels: picture(label, index)})));
      const indices = Array.from({length: count}, (_, i) => i);
      return {
        test: images(() => indices.slice(0, TEST)),
        train: seed => images(label => shuffled(indices.slice(TEST), 100 * seed + label).slice(0, TRAIN)),
      };
    },
  };
}

/** Images that are drawn. */
function drawings(draw: Readonly<Record<string, Draw>>): Task {
  const draws = Object.values(draw);
  const picture: Pool['picture'] = (label, index) => size => rasterise(draws[label]!(DRAWN * label + index), size);
  return task(Object.keys(draw), () => ({count: DRAWN, picture}));
}

/** The bodies of the emoji of some categories, in an order of chance. */
function emoji(categories: readonly string[]): string[] {
  const {icons, categories: names} = fluentEmoji();
  const all = categories.flatMap(category => names[category]!.filter(name => name in icons && isDistinct(name)));
  return shuffled(all, 1).map(name => icons[name]!.body);
}

/** Emoji of categories. */
function kinds(): Task {
  return task(CATEGORIES, () => {
    const bodies = CATEGORIES.map(category => emoji([category]));
    return {
      count: Math.min(...bodies.map(({length}) => length)),
      picture: (label, index) => size => rasterise(bodies[label]![index]!, size),
    };
  });
}

/** Emoji that are rotated by quarters. Each emoji is in one class only. */
function orientation(): Task {
  const angles = ['0°', '90°', '180°', '270°'];
  return task(angles, () => {
    const bodies = emoji(CATEGORIES);
    return {
      count: Math.floor(bodies.length / angles.length),
      picture: (label, index) => size =>
        rasterise(`<g transform="rotate(${90 * label} 16 16)">${bodies[angles.length * index + label]!}</g>`, size),
    };
  });
}

/** Handwritten digits of the package `mnist`, in ink on paper. */
function digits(classes: readonly string[]): Task {
  const side = 28;
  return task(classes, () => {
    const ink = classes.map(digit => {
      const text = readFileSync(packageFile(`mnist/src/digits/${digit}.json`), 'utf8');
      return (JSON.parse(text) as {data: number[]}).data;
    });
    return {
      count: Math.floor(Math.min(...ink.map(({length}) => length)) / side ** 2),
      picture: (label, index) => size => {
        const values = ink[label]!.slice(index * side ** 2, (index + 1) * side ** 2);
        const scale = side / size;
        return Float32Array.from({length: 3 * size * size}, (_, i) => {
          const at = (position: number) => Math.max(0, Math.min(side - 1.001, (position + 0.5) * scale - 0.5));
          const [x, y] = [at(Math.floor(i / 3) % size), at(Math.floor(i / (3 * size)))];
          const [column, row] = [Math.floor(x), Math.floor(y)];
          const between = (line: number) => {
            const [left, right] = [values[line * side + column]!, values[line * side + column + 1]!];
            return left + (right - left) * (x - column);
          };
          return 255 * (1 - between(row) - (between(row + 1) - between(row)) * (y - row));
        });
      },
    };
  });
}

/** Photos of rooms: those to train on show one half of a room, and those to test its other half. */
function rooms(): Task {
  return task(ROOMS, async () => {
    const panoramas = await loadPanoramas();
    return {
      count: DRAWN,
      picture: (label, index) => size =>
        photo(panoramas[label]!, viewOf(index < TEST ? 1 : 0, DRAWN * label + index), size),
    };
  });
}
