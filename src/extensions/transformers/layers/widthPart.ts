import * as tf from '@tensorflow/tfjs';
import {count, flag, later, type Setting} from '../../../core/layers/formulaLayer';
import {LoRAError, show} from '../../../platform/errors';
import {defineLayer} from './definedLayer';

const partIndex: Setting<number> = {};

/**
 * One or more of several equal parts of the last axis, plus a bias: `[.., of·width]` → `[.., span·width]`. `index` says
 * which part, or the first of them, `of` how many there are, and `span` how many to take.
 *
 * @experimental
 */
export const WidthPart = defineLayer('WidthPart', {
  settings: {index: partIndex, of: count(), span: later(count(1)), bias: flag(false)},
  check({index, of, span}) {
    if (!Number.isInteger(index) || index < 0 || index + span > of) {
      throw new LoRAError(`index must be an integer from 0 to ${of - span}, got ${show(index)}.`);
    }
  },
  weights: ({of, span, bias}, [shape]) => ({
    ...(bias && {bias: {shape: [(span * Number(shape.at(-1))) / of], start: tf.initializers.zeros()}}),
  }),
  misfit: ([shape], {of}) => !Number.isInteger((shape.at(-1) ?? NaN) / of) && `${of} equal parts of the last axis`,
  shape: ([shape], {of, span}) => [...shape.slice(0, -1), (span * Number(shape.at(-1))) / of],
  formula(o, [x], {index, of, span}, w, [shape]) {
    const width = (shape.at(-1) ?? 0) / of;
    const columns = o.slice(x, shape.length - 1, index * width, (index + span) * width);
    return w.bias === undefined ? columns : o.add(columns, w.bias);
  },
});
