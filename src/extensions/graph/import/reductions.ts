import {flagOf, inputsOf} from '../graphDef';
import {INDEXED, ofFirst, ofSecond, sizeOf, valueOf} from './bounds';
import {rowFor, type LayerRule, type Operation, type ShapeRule} from './operation';
import {alongAxes, alongLast, mixed} from './rowRules';

const reduced: ShapeRule = ([x = []], values, node) => {
  const axes = values(1)?.map(axis => (axis < 0 ? axis + x.length : axis));
  const keeps = flagOf(node, 'keep_dims');
  return axes && x.flatMap((size, axis) => (axes.includes(axis) ? (keeps ? [1] : []) : [size]));
};

/** The mean over all pixels of an image. */
const mean: LayerRule = (node, planner) => {
  const [x = '', axes] = inputsOf(node);
  const flow = planner.floats(x);
  const list = planner.numbers(axes)?.map(axis => (axis < 0 ? axis + 4 : axis));
  if (flow?.shapes[0].length !== 4 || list === undefined || list.sort().join() !== '1,2') {
    return false;
  }
  planner.addLayer(node, {className: 'GlobalAveragePooling2D', inputs: [x]});
  if (flagOf(node, 'keep_dims')) {
    const channels = flow.shapes[0][3] ?? 1;
    planner.addLayer(node, {
      suffix: 'Reshape',
      className: 'Reshape',
      config: {targetShape: [1, 1, channels]},
      inputs: [node.name],
    });
  }
  return true;
};

const along: Operation = {size: ofFirst, rows: alongAxes};

/** Operations that reduce, accumulate or sort along axes, and counts. */
export const REDUCTIONS: Readonly<Record<string, Operation>> = {
  ...rowFor('Prod All Any ArgMax ArgMin Cumsum Cumprod ReverseV2 EuclideanNorm', along),
  ...rowFor('Max Min Sum', {...along, shape: reduced}),
  Mean: {...along, shape: reduced, layer: mean},
  Reverse: {size: ofFirst, rows: mixed},
  TopKV2: {size: ofFirst, rows: alongLast, work: ([x]) => INDEXED * sizeOf(x)},
  ...rowFor('LowerBound UpperBound', {size: ofSecond, rows: mixed}),
  Bincount: {size: ([, size]) => valueOf(size), rows: mixed},
  DenseBincount: {size: ([x, size]) => valueOf(size) * (x?.shape[0] ?? 1), rows: mixed},
};
